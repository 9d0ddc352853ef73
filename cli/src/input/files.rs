//! The files of a deployment: those that were named, and those in folders.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{is_stdin, name_of, unreadable};
use crate::output::Failure;

/// How many files are read in all.
const MAX_FILES: usize = 10_000;
/// How deeply folders are nested.
const MAX_DEPTH: usize = 32;

const FEWER: &str = "name the folder with the configuration";

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub path: PathBuf,
    /// Whether it was named itself, not by its folder.
    pub is_named: bool,
}

/// The files, and those in folders, which are read in the order of their names.
///
/// # Errors
/// If a folder cannot be read, or there are too many files.
pub fn collect(paths: &[PathBuf]) -> Result<Vec<Found>, Failure> {
    let (mut found, mut known) = (Vec::new(), HashSet::new());
    // What is named twice, or also in a folder, is read once.
    for path in paths.iter().filter(|path| !path.is_dir()) {
        if known.insert(path.clone()) {
            found.push(Found { path: path.clone(), is_named: true });
        }
    }
    for path in paths.iter().filter(|path| path.is_dir()) {
        let mut inside = Vec::new();
        add_folder(path, 0, &mut inside)?;
        found.extend(inside.into_iter().filter(|file| known.insert(file.path.clone())));
    }
    if found.len() > MAX_FILES {
        let problem = format!("and the other folders have more than {MAX_FILES} files");
        return Err(Failure::new(paths.first().map_or_else(String::new, |path| name_of(path)), problem, FEWER));
    }
    Ok(found)
}

fn add_folder(folder: &Path, depth: usize, found: &mut Vec<Found>) -> Result<(), Failure> {
    if depth > MAX_DEPTH {
        let problem = format!("is more than {MAX_DEPTH} folders deep");
        return Err(Failure::new(name_of(folder), problem, FEWER));
    }
    let entries = fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>().map_err(|error| unreadable(folder, &error))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let kind = entry.file_type().map_err(|error| unreadable(&path, &error))?;
        if kind.is_dir() {
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                add_folder(&path, depth.saturating_add(1), found)?;
            }
            continue;
        }
        // A link to a file is read, as in the volume of a ConfigMap. A link to a folder is not followed.
        if !has_our_ending(&path) || kind.is_symlink() && path.is_dir() {
            continue;
        }
        if found.len() >= MAX_FILES {
            let problem = format!("has more than {MAX_FILES} files");
            return Err(Failure::new(name_of(folder), problem, FEWER));
        }
        found.push(Found { path, is_named: false });
    }
    Ok(())
}

fn has_our_ending(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ["json", "json5", "yaml", "yml"].iter().any(|ours| ending == *ours))
}

/// Refuses what is not a regular file: a pipe has no end before somebody writes to it.
///
/// # Errors
/// If it is a pipe, a socket or a device.
pub fn regular(path: &Path) -> Result<(), Failure> {
    if !is_stdin(path) && path.metadata().is_ok_and(|data| !data.is_file() && !data.is_dir()) {
        let remedy = "give a file, or `-` for standard input";
        return Err(Failure::new(name_of(path), "is not a regular file", remedy));
    }
    Ok(())
}

//! The files of a deployment: those that were named, and those in folders.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::{name_of, unreadable};
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

/// Opens a regular file. Anything else may have no end, or none before somebody writes to it.
///
/// # Errors
/// If it cannot be opened, or is anything else.
pub fn regular(path: &Path) -> Result<File, Failure> {
    let data = path.metadata().map_err(|error| unreadable(path, &error))?;
    // The kernel's own files are regular by name only.
    let is_kernels = path.canonicalize().is_ok_and(|real| ["/proc", "/sys"].iter().any(|top| real.starts_with(top)));
    if !data.is_file() || is_kernels {
        return Err(Failure::new(name_of(path), "is not a regular file", "give a file, or - for standard input"));
    }
    File::open(path).map_err(|error| unreadable(path, &error))
}

/// Opens a log: a regular file, or a pipe, such as `<(zcat access.log.gz)`.
///
/// # Errors
/// If it cannot be opened, or is anything else.
pub fn open_log(path: &Path) -> Result<File, Failure> {
    let data = path.metadata().map_err(|error| unreadable(path, &error))?;
    if is_pipe(data.file_type()) { File::open(path).map_err(|error| unreadable(path, &error)) } else { regular(path) }
}

#[cfg(unix)]
fn is_pipe(kind: fs::FileType) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&kind)
}

#[cfg(not(unix))]
const fn is_pipe(_: fs::FileType) -> bool {
    false
}

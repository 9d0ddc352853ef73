//! usage: image write MODULE BILL FOLDER        writes the images as an OCI image layout
//!        image push FOLDER REPOSITORY [OPTION…] pushes all of it with skopeo, which is given the options

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use image::Release;
use image::layout::tag_of;
use serde_json::Value;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match *arguments {
        ["write", module, bill, folder] => write(module, bill, Path::new(folder)),
        ["push", folder, repository, ref options @ ..] => push(folder, repository, options),
        _ => {
            eprintln!("usage: image write MODULE BILL FOLDER\n       image push FOLDER REPOSITORY [OPTION OF SKOPEO…]");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("image: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn write(module: &str, bill: &str, folder: &Path) -> Result<(), String> {
    let read = |file: &str| fs::read(file).map_err(|error| format!("cannot read {file}: {error}"));
    let revision = revision();
    if revision.is_none() {
        eprintln!(
            "image: no revision is recorded: this is not a git checkout, or it has changes that are not committed"
        );
    }
    let release = Release { module: &read(module)?, bill: &read(bill)?, revision: revision.as_deref() };
    let layout = release.layout()?;
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(format!("cannot remove {}: {error}", folder.display()));
        }
        _ => layout.write(folder)?,
    }
    for (tag, digest) in layout.listed() {
        println!("{tag}\t{digest}");
    }
    Ok(())
}

/// The commit of the sources, if the module was built from exactly that.
fn revision() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
    };
    let changes = git(&["status", "--porcelain"])?;
    if changes.is_empty() { git(&["rev-parse", "HEAD"]) } else { None }
}

/// Pushes all tagged images of the layout, including the bills of materials, without changing a byte.
fn push(folder: &str, repository: &str, options: &[&str]) -> Result<(), String> {
    if repository.contains("://") || !repository.contains('/') {
        return Err(format!(
            "{repository:?} is not a repository; for example, write registry.example.com/openclaw-trusted-proxy"
        ));
    }
    let file = format!("{folder}/index.json");
    let text = fs::read_to_string(&file).map_err(|error| format!("cannot read {file}: {error}; run `make image`"))?;
    let index: Value = serde_json::from_str(&text).map_err(|error| format!("{file} is not JSON: {error}"))?;
    let entries = index.get("manifests").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for tag in entries.iter().filter_map(tag_of) {
        let status = Command::new("skopeo")
            .args(["copy", "--quiet", "--preserve-digests"])
            .args(options)
            .args([format!("oci:{folder}:{tag}"), format!("docker://{repository}:{tag}")])
            .status()
            .map_err(|error| format!("cannot run skopeo: {error}; install it (on Debian: apt-get install skopeo)"))?;
        if !status.success() {
            return Err(format!("skopeo could not push {tag} to {repository}, see above"));
        }
        println!("{repository}:{tag}");
    }
    Ok(())
}

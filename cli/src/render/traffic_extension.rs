//! A WasmPlugin as a TrafficExtension, into which Istio translates it since 1.30. Comments are kept.

/// What a WasmPlugin has in `spec`, and a TrafficExtension in `spec.wasm`.
const OF_MODULE: [&str; 10] = [
    "url",
    "sha256",
    "imagePullPolicy",
    "imagePullSecret",
    "verificationKey",
    "pluginName",
    "pluginConfig",
    "failStrategy",
    "vmConfig",
    "type",
];
/// What a comment says of releases that have no TrafficExtension.
const OF_OLDER_RELEASES: &str = " Istio before 1.25 supports only that.";
/// The columns of a comment.
const COLUMNS: usize = 120;

/// Manifests with a TrafficExtension for each WasmPlugin. `None`, if there is no WasmPlugin, or one with `targetRef`,
/// which a TrafficExtension does not have.
pub fn traffic_extensions(manifests: &str) -> Option<String> {
    let mut count = 0_usize;
    let mut documents = Vec::new();
    for document in manifests.split("\n---\n") {
        match document.split_once("kind: WasmPlugin\n") {
            Some((start, rest)) => {
                count = count.saturating_add(1);
                documents.push(format!("{start}kind: TrafficExtension\n{}", with_module_apart(rest)?));
            }
            None => documents.push(document.to_owned()),
        }
    }
    (count > 0).then(|| comments_for_it(&documents.join("\n---\n")))
}

/// A manifest after its kind, with what concerns the module in `wasm`.
fn with_module_apart(manifest: &str) -> Option<String> {
    let (metadata, spec) = manifest.split_once("\nspec:\n")?;
    let (mut own, mut module) = (String::new(), String::new());
    for (key, lines) in members(spec) {
        if key == "targetRef" {
            return None;
        }
        if OF_MODULE.contains(&key) {
            for line in lines {
                let space = if line.is_empty() { "" } else { "  " };
                module.push_str(&format!("{space}{line}\n"));
            }
        } else {
            lines.iter().for_each(|line| own.push_str(&format!("{line}\n")));
        }
    }
    // The last document ends with a line break, the others do not.
    let end = if spec.ends_with('\n') { "" } else { "\n" };
    let all = format!("{metadata}\nspec:\n{own}  wasm:\n{module}");
    Some(all.strip_suffix(end).unwrap_or(&all).to_owned())
}

/// The members of an object that is indented by two columns, each with its lines and the comment before it.
fn members(object: &str) -> Vec<(&str, Vec<&str>)> {
    let mut members: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut before = Vec::new();
    for line in object.lines() {
        let inner = line.strip_prefix("  ").unwrap_or_default();
        if inner.starts_with('#') {
            before.push(line);
        } else if let Some((key, _)) = inner.split_once(':').filter(|_| !inner.starts_with([' ', '-'])) {
            let mut lines = std::mem::take(&mut before);
            lines.push(line);
            members.push((key, lines));
        } else if let Some((_, lines)) = members.last_mut() {
            lines.append(&mut before);
            lines.push(line);
        }
    }
    members
}

/// The same with comments that name a TrafficExtension.
fn comments_for_it(manifests: &str) -> String {
    let mut text = String::new();
    // The lines of a paragraph, all with the same space before them.
    let mut paragraph: Vec<&str> = Vec::new();
    for line in manifests.lines() {
        let is_prose = start_of_prose(line).is_some();
        if !is_prose || paragraph.first().is_some_and(|first| start_of_prose(first) != start_of_prose(line)) {
            write_paragraph(&std::mem::take(&mut paragraph), &mut text);
        }
        if is_prose {
            paragraph.push(line);
        } else {
            text.push_str(line);
            text.push('\n');
        }
    }
    write_paragraph(&paragraph, &mut text);
    text
}

/// The columns before a line of a comment, if it is prose. Drawings are indented.
fn start_of_prose(line: &str) -> Option<usize> {
    let trimmed = line.trim_start();
    let is_prose = trimmed.strip_prefix("# ").is_some_and(|words| !words.starts_with([' ', '-']));
    is_prose.then(|| line.len().saturating_sub(trimmed.len()))
}

fn write_paragraph(lines: &[&str], text: &mut String) {
    let Some(space) = lines.first().copied().and_then(start_of_prose) else { return };
    let words: Vec<&str> = lines.iter().map(|line| line.trim_start().trim_start_matches("# ")).collect();
    let (old, is_long) = (words.join(" "), lines.iter().any(|line| line.chars().count() > COLUMNS));
    let new = old.replace("WasmPlugin", "TrafficExtension").replace(OF_OLDER_RELEASES, "");
    if new == old && !is_long {
        lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        return;
    }
    let start = format!("{}#", " ".repeat(space));
    let mut line = start.clone();
    for word in new.split(' ') {
        if line.len() > start.len() && line.chars().count().saturating_add(word.chars().count()) >= COLUMNS {
            text.push_str(&format!("{line}\n"));
            line.clone_from(&start);
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&format!("{line}\n"));
}

//! Reads what an operator has: an `openclaw.json` with its includes and variables, or a plugin configuration.

mod environment;
mod excerpt;
mod includes;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use policy::config::{Compiled, compile};

pub use environment::{Environment, has_reference};
pub use excerpt::is_secret;

use crate::json5::{self, Member, Node, Span, Value};
use crate::output::{Excerpt, Failure, Problem};

/// What is read at most: a configuration with 100,000 users has a few MB.
const MAX_BYTES: u64 = 64 << 20;

/// What belongs to a configuration besides its file.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// The filter's own settings beside an openclaw.json: a file with the object that is `filter` in the plugin
    /// configuration
    #[arg(long, value_name = "FILE")]
    pub filter: Option<PathBuf>,
    /// A file with NAME=value lines that the Gateway's environment is made of; may be given more than once, the first
    /// that sets a name counts
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// The environment of this command is not the Gateway's: leave it out of account
    #[arg(long)]
    pub ignore_environment: bool,
}

/// What a file turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The Gateway's own configuration.
    OpenClaw,
    /// The configuration of the filter: `{"gateway": …, "filter": …}`.
    Plugin,
}

/// A file that was read.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// As it was named.
    pub name: String,
    text: String,
}

/// A configuration, and where everything in it is.
#[derive(Debug)]
pub struct Configuration {
    /// What the file is.
    pub kind: Kind,
    /// The whole document, its includes and variables resolved.
    pub document: Node,
    /// The plugin configuration that it comes to, as the filter reads it.
    pub plugin: Node,
    /// The variables that the Gateway sees, as far as they are known here.
    pub environment: Environment,
    /// Variables in the gateway block that nothing sets: the path of the text, and the name.
    pub unresolved: Vec<(String, String)>,
    files: Vec<SourceFile>,
}

/// Reads a configuration. `-` is standard input.
///
/// # Errors
/// What cannot be read, or is not a configuration.
pub fn read(path: &Path, options: &Options) -> Result<Configuration, Failure> {
    let mut files = Vec::new();
    let mut document = read_document(path, &mut files)?;
    let is = |key: &str| document.member(key).is_some();
    if !matches!(document.value, Value::Object(_)) {
        return Err(Failure::new(
            name_of(path),
            "holds no object",
            "give an openclaw.json, or a plugin configuration: {\"gateway\": {...}, \"filter\": {...}}",
        ));
    }
    if !is("gateway") && (is("trustedProxies") || is("auth") && is("controlUi")) {
        return Err(Failure::new(
            name_of(path),
            "looks like a gateway block alone",
            "put it into an object: {\"gateway\": {...}}",
        ));
    }
    // `filter` is not a key of the Gateway's.
    let kind = if is("filter") { Kind::Plugin } else { Kind::OpenClaw };
    let mut unresolved = Vec::new();
    let mut environment = Environment::read(&options.env_file, options.ignore_environment)?;
    if kind == Kind::OpenClaw {
        includes::resolve(&mut document, path, &mut files)?;
        environment.add_of_openclaw(path, &document)?;
        environment.substitute(&mut document, &mut unresolved);
        // The value of a secret is nothing to a filter.
        unresolved.retain(|(path, _)| path.starts_with("gateway.") && !path.split('.').any(is_secret));
    }
    let mut plugin = document.clone();
    if let (Kind::OpenClaw, Value::Object(members)) = (kind, &mut plugin.value) {
        members.retain(|member| member.key == "gateway");
    }
    if let Some(path) = &options.filter {
        if kind == Kind::Plugin {
            return Err(Failure::new(
                "--filter",
                "is given beside a plugin configuration, which holds the filter's settings itself",
                "leave one of them out",
            ));
        }
        add_filter(&mut plugin, path, &mut files)?;
    }
    Ok(Configuration { kind, document, plugin, environment, unresolved, files })
}

/// Puts the filter's own settings beside the gateway block.
fn add_filter(plugin: &mut Node, path: &Path, files: &mut Vec<SourceFile>) -> Result<(), Failure> {
    let mut filter = read_document(path, files)?;
    // The whole plugin configuration will do too, if it is about the filter alone.
    if let [Member { key, node, .. }] = filter.members()
        && key == "filter"
    {
        filter = node.clone();
    }
    if filter.member("gateway").is_some() {
        return Err(Failure::new(
            name_of(path),
            "has a gateway block of its own",
            "give the file with the filter's settings alone to --filter",
        ));
    }
    if let Value::Object(members) = &mut plugin.value {
        members.push(Member { key: "filter".to_owned(), key_span: filter.span, node: filter });
    }
    Ok(())
}

impl Configuration {
    /// The configuration as the filter gets it.
    pub fn plugin_json(&self) -> String {
        self.plugin.to_json()
    }

    /// A value of the plugin configuration, by keys.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(&self.plugin, |node, key| node.member(key))
    }

    /// The files that were read, the one that was asked for first.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The text of the file that was asked for.
    pub fn text(&self) -> &str {
        self.files.first().map_or("", |file| &file.text)
    }

    /// Compiles it with the filter's own code.
    ///
    /// # Errors
    /// Everything that is wrong with it, with the place in the source.
    pub fn compile(&self) -> Result<Compiled, Vec<Problem>> {
        compile(self.plugin_json().as_bytes()).map_err(|errors| {
            let problem = |error: &policy::config::ConfigError| {
                self.problem(&error.path, error.problem.clone(), error.remedy.clone())
            };
            errors.as_slice().iter().map(problem).collect()
        })
    }

    /// Compiles it for a question that needs a policy.
    ///
    /// # Errors
    /// Where it makes no policy, or not surely the one that the filter would have.
    pub fn policy(&self) -> Result<Compiled, Failure> {
        let unresolved = self.unresolved_problems();
        if unresolved.is_empty() { self.compile().map_err(Failure::Input) } else { Err(Failure::Input(unresolved)) }
    }

    /// What is wrong with variables that nothing sets.
    pub fn unresolved_problems(&self) -> Vec<Problem> {
        let problem = |(path, name): &(String, String)| {
            self.problem(
                path,
                format!("uses the variable {name}, which nothing here sets"),
                "set it as for the Gateway: in the environment, with --env-file, or in the env block",
            )
        };
        self.unresolved.iter().map(problem).collect()
    }

    /// A problem at a JSON path, with the place in the source: the value's own, or of what is around it.
    pub fn problem(&self, path: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Problem {
        let excerpt = self.excerpt(path);
        Problem { place: path.to_owned(), problem: problem.into(), remedy: remedy.into(), excerpt }
    }

    /// The place of a JSON path in the source.
    pub fn excerpt(&self, path: &str) -> Option<Excerpt> {
        // What no object has is missing in the whole.
        let places = [&self.plugin, &self.document].map(|root| find(root, root.span, path));
        let (span, _) = places.into_iter().min_by_key(|(_, rest)| rest.len()).filter(|(_, rest)| *rest != path)?;
        let file = self.files.get(span.file)?;
        Some(excerpt::of(&file.name, &file.text, span))
    }
}

/// Where a path leads: the place of the value, or of the innermost one around it, and how much of the path is left.
///
/// The tree leads the way, since a key may hold dots itself.
fn find<'p>(node: &Node, place: Span, path: &'p str) -> (Span, &'p str) {
    let mut best = (place, path);
    let mut consider = |node: &Node, key: Span, step: &str| {
        let Some(rest) = path.strip_prefix(step).filter(|rest| rest.is_empty() || rest.starts_with(['.', '['])) else {
            return;
        };
        // A large value is shown by its key, a small one together with it.
        let is_large = matches!(node.value, Value::List(_) | Value::Object(_));
        let place = if is_large || key.file != node.span.file { key } else { Span { end: node.span.end, ..key } };
        let found = find(node, place, rest);
        if found.1.len() < best.1.len() {
            best = found;
        }
    };
    match &node.value {
        Value::List(items) => {
            let number = path.strip_prefix('[').and_then(|rest| rest.split_once(']')).and_then(|(n, _)| n.parse().ok());
            if let Some((at, item)) = number.and_then(|at: usize| Some((at, items.get(at)?))) {
                consider(item, item.span, &format!("[{at}]"));
            }
        }
        Value::Object(members) => {
            for Member { key, key_span, node } in members {
                for step in [key.clone(), format!(".{key}"), format!("[{key:?}]")] {
                    consider(node, *key_span, &step);
                }
            }
        }
        _ => {}
    }
    best
}

/// Reads one JSON5 file.
fn read_document(path: &Path, files: &mut Vec<SourceFile>) -> Result<Node, Failure> {
    let name = name_of(path);
    let text = read_text(path)?;
    let parsed = json5::parse(&text, files.len());
    let node = parsed.map_err(|error| {
        Failure::Input(vec![Problem {
            place: name.clone(),
            problem: error.problem,
            remedy: error.remedy.to_owned(),
            excerpt: Some(excerpt::of(&name, &text, error.span)),
        }])
    })?;
    files.push(SourceFile { name, text });
    Ok(node)
}

/// Reads a text file, or standard input for `-`.
///
/// # Errors
/// What cannot be read, is too large, or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read_bytes(path)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::new(name_of(path), format!("is not UTF-8: the byte {at} fits nowhere"), "save it as UTF-8")
    })
}

/// Reads a file, or standard input for `-`.
///
/// # Errors
/// What cannot be read, or is too large.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |error: io::Error| {
        Failure::new(
            name_of(path),
            format!("cannot be read: {error}"),
            "check the path, and that you may read the file",
        )
    };
    let mut bytes = Vec::new();
    let limit = MAX_BYTES.saturating_add(1);
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(unreadable)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
        return Err(Failure::new(
            name_of(path),
            format!("has more than {} MiB", MAX_BYTES >> 20),
            "give a smaller file",
        ));
    }
    Ok(bytes)
}

/// What a file is called in messages.
pub fn name_of(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() }
}

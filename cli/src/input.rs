//! Reads a configuration: an `openclaw.json` with its includes and variables, or a plugin configuration.

mod environment;
mod excerpt;
mod hidden;
mod includes;

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use policy::config::{Compiled, MOST_ERRORS, compile};

pub use environment::{Environment, has_reference};
pub use excerpt::is_secret;
pub use hidden::Hidden;

use crate::json5::{self, Member, Node, Span, Value};
use crate::output::{Excerpt, Failure, Problem};

/// The largest file that is read, and the most that a file and its includes have together. A configuration with 100,000
/// users has a few MB.
const MAX_BYTES: u64 = 64 << 20;

/// A configuration and what belongs to it, as arguments.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Input {
    /// An openclaw.json or a plugin configuration; - is standard input
    pub file: PathBuf,
    /// The filter's settings for an openclaw.json: a file with the object that a plugin configuration has under
    /// `filter`
    #[arg(long, value_name = "FILE")]
    pub filter: Option<PathBuf>,
    /// A file with NAME=value lines from the Gateway's environment; may be repeated, and the first file that sets a
    /// name wins
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Do not read this command's own environment, because the Gateway runs in a different one
    #[arg(long)]
    pub ignore_environment: bool,
    /// The option that `filter` was given with, if it is another one.
    #[arg(skip)]
    pub filter_option: Option<&'static str>,
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
    /// The name that it was given.
    pub name: String,
    text: String,
    /// Where secrets are in it.
    secrets: OnceCell<Vec<std::ops::Range<usize>>>,
}

/// A configuration, and where everything in it is.
#[derive(Debug)]
pub struct Configuration {
    /// What the file is.
    pub kind: Kind,
    /// The whole document, with its includes and variables resolved.
    pub document: Node,
    /// The resulting plugin configuration, as the filter reads it.
    pub plugin: Node,
    /// The variables that the Gateway sees, as far as they are known here.
    pub environment: Environment,
    /// Variables in the gateway block that are not set: the path of the string, and the name of the variable.
    pub unresolved: Vec<(String, String)>,
    /// Hides what variables became.
    pub hidden: Hidden,
    files: Vec<SourceFile>,
}

impl Input {
    /// Whether the configuration is read from standard input.
    pub fn is_stdin(&self) -> bool {
        is_stdin(&self.file)
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// If a file cannot be read, or is not a configuration.
    pub fn read(&self) -> Result<Configuration, Failure> {
        let path = self.file.as_path();
        let mut files = Vec::new();
        let mut document = read_document(path, &mut files)?;
        let is = |key: &str| document.member(key).is_some();
        if !matches!(document.value, Value::Object(_)) {
            return Err(Failure::new(
                name_of(path),
                "is not an object",
                "give an openclaw.json, or a plugin configuration: {\"gateway\": {...}, \"filter\": {...}}",
            ));
        }
        if !is("gateway") && (is("trustedProxies") || is("auth") && is("controlUi")) {
            return Err(Failure::new(
                name_of(path),
                "looks like only the gateway block",
                "wrap it in an object: {\"gateway\": {...}}",
            ));
        }
        // The Gateway has no key `filter`.
        let kind = if is("filter") { Kind::Plugin } else { Kind::OpenClaw };
        let (mut unresolved, mut replaced) = (Vec::new(), Vec::new());
        let mut environment = Environment::read(&self.env_file, self.ignore_environment)?;
        if kind == Kind::OpenClaw {
            includes::resolve(&mut document, path, &mut files)?;
            environment.add_of_openclaw(path, &document)?;
            replaced = environment.substitute(&mut document, &mut unresolved);
            // The filter does not read the values of secrets.
            unresolved.retain(|(path, _)| path.starts_with("gateway.") && !path.split('.').any(is_secret));
        }
        let mut plugin = document.clone();
        if let (Kind::OpenClaw, Value::Object(members)) = (kind, &mut plugin.value) {
            members.retain(|member| member.key == "gateway");
        }
        if let Some(path) = &self.filter {
            let option = self.filter_option.unwrap_or("--filter");
            if kind == Kind::Plugin {
                return Err(Failure::new(
                    option,
                    "cannot be used with a plugin configuration, which has the filter's settings itself",
                    "remove one of them",
                ));
            }
            add_filter(&mut plugin, path, option, &mut files)?;
        }
        let hidden = Hidden::new(replaced);
        Ok(Configuration { kind, document, plugin, environment, unresolved, hidden, files })
    }
}

/// Adds the filter's settings next to the gateway block.
fn add_filter(plugin: &mut Node, path: &Path, option: &str, files: &mut Vec<SourceFile>) -> Result<(), Failure> {
    let mut filter = read_document(path, files)?;
    // A plugin configuration is accepted too, if it has only the filter's settings.
    if let [Member { key, node, .. }] = filter.members()
        && key == "filter"
    {
        filter = node.clone();
    }
    if filter.member("gateway").is_some() {
        return Err(Failure::new(
            name_of(path),
            "has a gateway block of its own",
            format!("give {option} a file with only the filter's settings"),
        ));
    }
    if let Value::Object(members) = &mut plugin.value {
        members.push(Member { key: "filter".to_owned(), key_span: filter.span, node: filter });
    }
    Ok(())
}

impl Configuration {
    /// A plugin configuration that was found inside another file.
    ///
    /// # Errors
    /// If it is not JSON.
    pub fn of_plugin(name: &str, text: String) -> Result<Self, Failure> {
        let document = json5::parse(&text, 0).map_err(|error| Failure::new(name, error.problem, error.remedy))?;
        let (plugin, files) =
            (document.clone(), vec![SourceFile { name: name.to_owned(), text, secrets: OnceCell::new() }]);
        let (environment, unresolved) = (Environment::default(), Vec::new());
        let hidden = Hidden::new(Vec::new());
        Ok(Self { kind: Kind::Plugin, document, plugin, environment, unresolved, hidden, files })
    }

    /// The plugin configuration as JSON, as the filter gets it.
    pub fn plugin_json(&self) -> String {
        self.plugin.to_json()
    }

    /// The value in the plugin configuration at a path of keys.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(&self.plugin, |node, key| node.member(key))
    }

    /// The files that were read, the one that was named first at the front.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The text of the file that was named as the configuration.
    pub fn text(&self) -> &str {
        self.files.first().map_or("", |file| &file.text)
    }

    /// Compiles it with the filter's own code.
    ///
    /// # Errors
    /// All errors in it, each with its location in the source.
    pub fn compile(&self) -> Result<Compiled, Vec<Problem>> {
        compile(self.plugin_json().as_bytes()).map_err(|errors| {
            let problem = |error: &policy::config::ConfigError| {
                self.problem(&error.path, error.problem.clone(), error.remedy.clone())
            };
            errors.as_slice().iter().map(problem).collect()
        })
    }

    /// Compiles it for a command that needs a policy.
    ///
    /// # Errors
    /// If it does not compile, or if unset variables leave it unclear which policy the filter has.
    pub fn policy(&self) -> Result<Compiled, Failure> {
        let unresolved = self.unresolved_problems();
        if unresolved.is_empty() { self.compile().map_err(Failure::Input) } else { Err(Failure::Input(unresolved)) }
    }

    /// One problem for each variable that is not set.
    pub fn unresolved_problems(&self) -> Vec<Problem> {
        let problem = |(path, name): &(String, String)| {
            self.problem(
                path,
                format!("uses the variable {name}, which is not set"),
                "set it as you do for the Gateway: in the environment, with --env-file, or in the env block",
            )
        };
        let mut problems: Vec<_> = self.unresolved.iter().take(MOST_ERRORS).map(problem).collect();
        if let Some(more) = self.unresolved.len().checked_sub(MOST_ERRORS).filter(|more| *more > 0) {
            problems.push(self.problem("", format!("{more} more strings use variables that are not set"), ""));
        }
        problems
    }

    /// A problem at a JSON path, with its location in the source: that of the value, or of what encloses it.
    pub fn problem(&self, path: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Problem {
        let excerpt = self.excerpt(path);
        let (problem, remedy) = self.hidden.problem(path, &problem.into(), &remedy.into());
        Problem { place: path.to_owned(), problem, remedy, excerpt }
    }

    /// The location of a JSON path in the source.
    pub fn excerpt(&self, path: &str) -> Option<Excerpt> {
        // The longest match wins. Where nothing matches, there is nothing to show.
        let places = [&self.plugin, &self.document].map(|root| find(root, root.span, path));
        let (span, _) = places.into_iter().min_by_key(|(_, rest)| rest.len()).filter(|(_, rest)| *rest != path)?;
        let file = self.files.get(span.file)?;
        let secrets = file.secrets.get_or_init(|| excerpt::secrets(&file.text));
        Some(excerpt::of(&file.name, &file.text, span, secrets, |line| self.hidden.parts(line)))
    }
}

/// Follows a path: the location of the value, or of the innermost one around it, and the rest of the path.
///
/// This walks the tree instead of splitting the path, because a key may contain dots.
fn find<'p>(node: &Node, place: Span, path: &'p str) -> (Span, &'p str) {
    let mut best = (place, path);
    let mut consider = |node: &Node, key: Span, step: &str| {
        let Some(rest) = path.strip_prefix(step).filter(|rest| rest.is_empty() || rest.starts_with(['.', '['])) else {
            return;
        };
        // A large value is shown by its key, a small one together with its key.
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
            excerpt: Some(excerpt::of(&name, &text, error.span, &excerpt::secrets(&text), |_| Vec::new())),
        }])
    })?;
    files.push(SourceFile { name, text, secrets: OnceCell::new() });
    Ok(node)
}

/// Reads a text file, or standard input for `-`.
///
/// # Errors
/// If it cannot be read, is too large, or is not valid UTF-8.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read_bytes(path)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::new(name_of(path), format!("is not valid UTF-8 (byte {at})"), "save it as UTF-8")
    })
}

/// Reads a file, or standard input for `-`.
///
/// # Errors
/// If it cannot be read, or is too large.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let limit = MAX_BYTES.saturating_add(1);
    let read = if is_stdin(path) {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|error| unreadable(path, &error))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
        return Err(Failure::new(
            name_of(path),
            format!("is larger than {} MiB", MAX_BYTES >> 20),
            "use a smaller file",
        ));
    }
    Ok(bytes)
}

/// A file, or standard input, that cannot be read.
pub fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(name_of(path), format!("cannot be read: {error}"), "check the path and the permissions of the file")
}

/// Whether a path is `-`, which means standard input.
pub fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The name of a file in messages.
pub fn name_of(path: &Path) -> String {
    if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() }
}

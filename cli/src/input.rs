//! Reads a configuration: an `openclaw.json` with its includes and variables, or a plugin configuration.

mod deployment;
mod embedded;
mod environment;
mod excerpt;
mod files;
mod hidden;
mod includes;
mod scan;

use std::cell::OnceCell;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::OnceLock;

use policy::config::{Compiled, MOST_ERRORS, compile};
use policy::text::trim_configured;

use deployment::is_configuration;
use embedded::Places;

pub use deployment::{Deployment, Document, Host, Names, Placed, full_name, is_deployment, is_manager, wasm_settings};
pub use environment::{Environment, has_reference};
pub use excerpt::is_secret;
pub use files::open_log;
pub use hidden::Hidden;

use crate::json5::{self, Member, Node, Span, SyntaxError, Value};
use crate::output::{Excerpt, Failure, Problem};
use crate::yaml;

/// The largest file that is read, and the most that a file and its includes have together. A configuration with 100,000
/// users has a few MB.
const MAX_BYTES: u64 = 64 << 20;

/// What standard input had. A file is read again when it turns out to hold several policies.
static STDIN: OnceLock<Vec<u8>> = OnceLock::new();

/// A configuration and what belongs to it, as arguments.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Input {
    /// An openclaw.json, a plugin configuration, or a file that has one policy in it; - is standard input
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

impl Kind {
    /// Its name in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::OpenClaw => "openclaw",
            Self::Plugin => "plugin",
        }
    }

    /// What it is, in a sentence.
    pub const fn title(self) -> &'static str {
        match self {
            Self::OpenClaw => "the Gateway's configuration",
            Self::Plugin => "the filter's configuration",
        }
    }
}

/// A file that was read.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// The name that it was given.
    pub name: String,
    text: Rc<str>,
    format: Format,
    /// Where secrets are in it.
    secrets: Rc<OnceCell<Vec<std::ops::Range<usize>>>>,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json5,
    Yaml,
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
    /// The text that Envoy passes to the filter, if that is known.
    passed_on: Option<String>,
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
        let (documents, file) = self.documents()?;
        match documents.as_slice() {
            [document] if !is_deployment(document) => self.configuration(document.clone(), file),
            _ => self.only_policy(&Deployment::of(file, documents)),
        }
    }

    /// Reads the configuration, if the file is one itself, and not a file that holds one.
    ///
    /// # Errors
    /// If a file cannot be read, or is not a configuration.
    pub fn read_plain(&self) -> Result<Option<Configuration>, Failure> {
        let (mut documents, file) = self.documents()?;
        match documents.pop() {
            Some(document)
                if documents.is_empty()
                    && !is_deployment(&document)
                    && (file.format == Format::Json5 || is_configuration(&document)) =>
            {
                self.configuration(document, file).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn documents(&self) -> Result<(Vec<Node>, SourceFile), Failure> {
        let file = SourceFile::new(&self.file, read_text(&self.file)?);
        Ok((parse_documents(&file, 0)?, file))
    }

    /// The policy of a file that has one.
    fn only_policy(&self, deployment: &Deployment) -> Result<Configuration, Failure> {
        match (deployment.policies.as_slice(), deployment.failures.as_slice()) {
            ([placed], []) => self.placed(placed, deployment),
            (_, [_, ..]) => Err(Failure::Input(deployment.failures.clone())),
            ([], []) => Err(Failure::new(
                name_of(&self.file),
                "has no policy of this filter",
                "give an openclaw.json, a plugin configuration, or a file that has one policy in it",
            )),
            (policies, []) => {
                let all: Vec<_> = policies.iter().map(|placed| placed.place.as_str()).collect();
                let problem = format!("has {} policies: {}", all.len(), all.join(", "));
                Err(Failure::new(name_of(&self.file), problem, "give a file with one of them"))
            }
        }
    }

    /// A policy that was found in another file.
    ///
    /// # Errors
    /// If it is not a configuration, or other files cannot be read.
    pub fn placed(&self, placed: &Placed, deployment: &Deployment) -> Result<Configuration, Failure> {
        let Some(file) = deployment.files.get(placed.holder.file).cloned() else {
            return Err(Failure::new(placed.place.clone(), "is not there", ""));
        };
        let mut node = placed.node.clone();
        node.move_spans(&|span| Span { file: 0, ..span });
        if !matches!(node.value, Value::Object(_)) {
            let remedy = "write the policy, {\"gateway\": {...}, \"filter\": {...}}";
            let (problem, remedy, span) = match placed.text.as_deref().map(|text| json5::parse(text, 0)) {
                Some(Err(SyntaxError { span, problem, remedy })) => {
                    (format!("is not JSON: {problem}"), remedy, Places::of(&file.text, &node).find(span))
                }
                _ => ("is not an object".to_owned(), remedy, node.span),
            };
            return Err(Failure::Input(vec![Problem {
                place: placed.place.clone(),
                problem,
                remedy: remedy.to_owned(),
                excerpt: file.excerpt(span),
            }]));
        }
        let mut configuration = if placed.kind == Kind::OpenClaw {
            if let Some(span) = includes::find(&node) {
                return Err(Failure::Input(vec![Problem {
                    place: placed.place.clone(),
                    problem: "includes a file, which is not looked for from here".to_owned(),
                    remedy: "check the file itself, in its folder".to_owned(),
                    excerpt: file.excerpt(span),
                }]));
            }
            Self { file: PathBuf::from("-"), ..self.clone() }.configuration(node, file)?
        } else {
            if self.filter.is_some() {
                return Err(self.has_filter());
            }
            Configuration::whole(node, file)
        };
        configuration.passed_on.clone_from(&placed.text);
        Ok(configuration)
    }

    fn has_filter(&self) -> Failure {
        Failure::new(
            self.filter_option.unwrap_or("--filter"),
            "cannot be used with a plugin configuration, which has the filter's settings itself",
            "remove one of them",
        )
    }

    /// Makes a configuration of a document.
    fn configuration(&self, mut document: Node, file: SourceFile) -> Result<Configuration, Failure> {
        let path = self.file.as_path();
        let mut files = vec![file];
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
            if kind == Kind::Plugin {
                return Err(self.has_filter());
            }
            add_filter(&mut plugin, path, self.filter_option.unwrap_or("--filter"), &mut files)?;
        }
        let hidden = Hidden::new(replaced);
        // A file in YAML is not what the filter gets.
        let as_it_is = files.first().filter(|file| kind == Kind::Plugin && file.format == Format::Json5);
        let passed_on = as_it_is.map(|file| file.text.to_string());
        Ok(Configuration { kind, document, plugin, environment, unresolved, hidden, files, passed_on })
    }
}

/// Adds the filter's settings next to the gateway block.
fn add_filter(plugin: &mut Node, path: &Path, option: &str, files: &mut Vec<SourceFile>) -> Result<(), Failure> {
    let file = SourceFile::new(path, read_text(path)?);
    let mut documents = parse_documents(&file, files.len())?;
    files.push(file);
    let mut filter = match documents.pop() {
        Some(filter) if documents.is_empty() => filter,
        _ => return Err(Failure::new(name_of(path), "is not one document", "give the filter's settings alone")),
    };
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
    /// A plugin configuration that is in no file.
    ///
    /// # Errors
    /// If it is not JSON.
    pub fn of_plugin(name: &str, text: String) -> Result<Self, Failure> {
        let document = json5::parse(&text, 0).map_err(|error| Failure::new(name, error.problem, error.remedy))?;
        Ok(Self::whole(document, SourceFile::new(Path::new(name), text)))
    }

    /// A plugin configuration that was found inside another file.
    fn whole(document: Node, file: SourceFile) -> Self {
        let (plugin, files) = (document.clone(), vec![file]);
        let (environment, unresolved) = (Environment::default(), Vec::new());
        let hidden = Hidden::new(Vec::new());
        Self { kind: Kind::Plugin, document, plugin, environment, unresolved, hidden, files, passed_on: None }
    }

    /// The plugin configuration as JSON, as the filter gets it.
    pub fn plugin_json(&self) -> String {
        self.plugin.to_json()
    }

    /// The value in the plugin configuration at a path of keys.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(&self.plugin, |node, key| node.member(key))
    }

    /// Where the Gateway takes webhooks (`hooks.path`), without a slash at its end.
    pub fn hooks_path(&self) -> String {
        let path = self.document.at(&["hooks", "path"]).text().unwrap_or_default();
        let path = trim_configured(path).trim_matches('/');
        if path.is_empty() { "/hooks".to_owned() } else { format!("/{path}") }
    }

    /// The files that were read, the one that was named first at the front.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The text that Envoy passes to the filter, if that is known.
    pub fn passed_on(&self) -> Option<&str> {
        self.passed_on.as_deref()
    }

    /// How a value is written in its file.
    pub fn written(&self, node: &Node) -> &str {
        let file = self.files.get(node.span.file);
        file.and_then(|file| file.text.get(node.span.start..node.span.end)).unwrap_or_default()
    }

    /// Compiles it with the filter's own code.
    ///
    /// # Errors
    /// All errors in it, each with its location in the source.
    pub fn compile(&self) -> Result<Compiled, Vec<Problem>> {
        self.compile_as(&self.plugin_json())
    }

    /// Compiles it after it was changed to this JSON.
    ///
    /// # Errors
    /// All errors in it, each with its location in the source.
    pub fn compile_as(&self, json: &str) -> Result<Compiled, Vec<Problem>> {
        compile(json.as_bytes()).map_err(|errors| {
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
        Some(excerpt::of(&file.name, &file.text, span, file.secrets(), |line| self.hidden.parts(line)))
    }
}

impl SourceFile {
    fn secrets(&self) -> &[std::ops::Range<usize>] {
        self.secrets.get_or_init(|| match self.format {
            Format::Json5 => excerpt::secrets(&self.text),
            Format::Yaml => excerpt::secrets_of_yaml(&self.text),
        })
    }

    /// The line in which a part of it starts.
    pub fn excerpt(&self, span: Span) -> Option<Excerpt> {
        Some(excerpt::of(&self.name, &self.text, span, self.secrets(), |_| Vec::new()))
    }
}

/// Follows a path: the location of the value, or of the innermost one around it, and the rest of the path.
///
/// This walks the tree instead of splitting the path, because a key may contain dots.
fn find<'p>(node: &Node, place: Span, path: &'p str) -> (Span, &'p str) {
    let mut best = (place, path);
    let mut consider = |node: &Node, key: Span, rest: Option<&'p str>| {
        let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with(['.', '['])) else { return };
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
                consider(item, item.span, path.strip_prefix(&format!("[{at}]")));
            }
        }
        Value::Object(members) => {
            for Member { key, key_span, node } in members {
                let is_quoted = path.starts_with("[\"");
                let quoted = is_quoted.then(|| path.strip_prefix(&format!("[{key:?}]"))).flatten();
                let dotted = path.strip_prefix('.').and_then(|path| path.strip_prefix(key.as_str()));
                for rest in [path.strip_prefix(key.as_str()), dotted, quoted] {
                    consider(node, *key_span, rest);
                }
            }
        }
        _ => {}
    }
    best
}

/// Reads one JSON5 file.
fn read_document(path: &Path, files: &mut Vec<SourceFile>) -> Result<Node, Failure> {
    let file = SourceFile { format: Format::Json5, ..SourceFile::new(path, read_text(path)?) };
    let node = json5::parse(&file.text, files.len()).map_err(|error| syntax(&file, error))?;
    files.push(file);
    Ok(node)
}

/// The documents of a file: one of JSON5, or any number of YAML.
fn parse_documents(file: &SourceFile, number: usize) -> Result<Vec<Node>, Failure> {
    let parsed = match file.format {
        Format::Json5 => json5::parse(&file.text, number).map(|node| vec![node]),
        Format::Yaml => yaml::parse(&file.text, number),
    };
    parsed.map_err(|error| syntax(file, error))
}

fn syntax(file: &SourceFile, error: SyntaxError) -> Failure {
    let SyntaxError { span, problem, remedy } = error;
    let excerpt = file.excerpt(span);
    Failure::Input(vec![Problem { place: file.name.clone(), problem, remedy: remedy.to_owned(), excerpt }])
}

/// What a file is, by its name. Without a known ending, such as on standard input, what does not start as JSON5 does is
/// YAML.
fn format_of(path: &Path, text: &str) -> Format {
    let is = |ending: &str| path.extension().is_some_and(|other| other == ending);
    if is("yaml") || is("yml") {
        return Format::Yaml;
    }
    let start = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{FEFF}');
    let is_json = is("json") || is("json5") || start.is_empty() || start.starts_with(['{', '[', '/', '"', '\'']);
    if is_json { Format::Json5 } else { Format::Yaml }
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
/// If it cannot be read, is not a regular file, or is too large.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    // Standard input can be asked for again.
    if let (true, Some(known)) = (is_stdin(path), STDIN.get()) {
        return Ok(known.clone());
    }
    let bytes = read_with(path, |file| {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map(|_| bytes)
    })?;
    if is_stdin(path) {
        let _ = STDIN.set(bytes.clone());
    }
    Ok(bytes)
}

/// Reads a file, or standard input for `-`, with a reader that need not keep all of it.
///
/// # Errors
/// If it cannot be read, is not a regular file, or is too large.
pub fn read_with<T>(path: &Path, read: impl FnOnce(&mut dyn Read) -> io::Result<T>) -> Result<T, Failure> {
    let file: Box<dyn Read> =
        if is_stdin(path) { Box::new(io::stdin().lock()) } else { Box::new(files::regular(path)?) };
    let mut file = file.take(MAX_BYTES.saturating_add(1));
    let value = read(&mut file).map_err(|error| unreadable(path, &error))?;
    if file.limit() == 0 {
        return Err(Failure::new(
            name_of(path),
            format!("is larger than {} MiB", MAX_BYTES >> 20),
            "use a smaller file",
        ));
    }
    Ok(value)
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

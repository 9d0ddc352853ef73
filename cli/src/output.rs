//! The tool's output: text for people, coloured only on a terminal, or one JSON object.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write};
use std::process::ExitCode;

use policy::text::is_hostile;
pub use policy::text::visible;
use serde_json::{Value, json};

/// The answer of a command, as an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No errors, or the request passes.
    Fine,
    /// Errors were found, or the request is refused.
    Found,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Fine => 0,
            Outcome::Found => 1,
        })
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// One or more problems with the input, ready to be printed.
    Input(Vec<Problem>),
    /// Problems with a part of the input. The answer about the others is written.
    Partly(Vec<Problem>),
    /// The output cannot be written.
    Output(io::Error),
}

impl Failure {
    /// A single problem: its place, what is wrong, and how to fix it.
    pub fn new(place: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Input(vec![Problem {
            place: place.into(),
            problem: problem.into(),
            remedy: remedy.into(),
            excerpt: None,
        }])
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// A problem with the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it is: a JSON path, a file, or an argument.
    pub place: String,
    /// What is wrong.
    pub problem: String,
    /// How to fix it; empty if the problem already says so.
    pub remedy: String,
    /// The line in the source.
    pub excerpt: Option<Excerpt>,
}

impl Problem {
    /// The problem as JSON.
    pub fn to_json(&self) -> Value {
        let (problem, remedy) = (shortened(&self.problem), shortened(&self.remedy));
        let mut object = json!({"path": self.place, "problem": problem, "remedy": remedy});
        if let (Some(excerpt), Some(object)) = (&self.excerpt, object.as_object_mut()) {
            object.insert("file".to_owned(), excerpt.file.clone().into());
            object.insert("line".to_owned(), excerpt.line.into());
            object.insert("column".to_owned(), excerpt.column.into());
        }
        object
    }
}

/// A line of a source file, and the part of it that has the problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The file, by the name that it was given.
    pub file: String,
    /// The line number, starting at 1.
    pub line: usize,
    /// The column in characters, starting at 1.
    pub column: usize,
    /// The line, safe to show: no secrets, no control characters, not too long.
    pub text: String,
    /// The start and the length of the mark in `text`, in characters.
    pub mark: (usize, usize),
}

/// When to use colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The meaning of a text, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Success.
    Good,
    /// Failure.
    Bad,
    /// Needs attention.
    Doubtful,
    /// A place, a heading.
    Strong,
    /// An aside.
    Faint,
}

impl Style {
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Bad => "1;31",
            Self::Doubtful => "33",
            Self::Strong => "1",
            Self::Faint => "2",
        }
    }
}

/// A text in its colour; made by [`Output::paint`].
pub struct Painted<T> {
    style: Option<Style>,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.style {
            Some(style) => write!(f, "\x1b[{}m{}\x1b[0m", style.code(), self.text),
            None => self.text.fmt(f),
        }
    }
}

/// JSON or YAML, with names for the characters that are hostile or that YAML readers take for line breaks: `\u2028`. In
/// both, such characters occur only inside texts. `wide` writes those that do not fit into four digits.
fn plain(text: &str, wide: fn(char) -> String) -> Cow<'_, str> {
    let is_named = |c: char| (!c.is_ascii() || c == '\x7F') && is_hostile(c);
    if !text.contains(is_named) {
        return Cow::Borrowed(text);
    }
    let name = |c: char| match u32::from(c) {
        _ if !is_named(c) => c.to_string(),
        code @ 0..=0xFFFF => format!("\\u{code:04x}"),
        _ => wide(c),
    };
    Cow::Owned(text.chars().map(name).collect())
}

/// JSON that is safe to show and to put into a YAML block.
pub fn plain_json(text: &str) -> Cow<'_, str> {
    plain(text, |c| c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect())
}

/// JSON that is safe to show and to read as YAML, which knows no surrogates.
pub fn plain_yaml(text: &str) -> Cow<'_, str> {
    plain(text, |c| format!("\\U{:08x}", u32::from(c)))
}

/// Standard output, where answers go. Use `write!`; write errors end the program quietly.
pub struct Output {
    out: BufWriter<StdoutLock<'static>>,
    json: bool,
    coloured: bool,
    errors_coloured: bool,
}

impl Output {
    /// The standard output of this program.
    pub fn new(json: bool, colour: Colour) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let coloured = |terminal: bool| match colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => terminal && !no_colour,
        };
        Self {
            out: BufWriter::new(io::stdout().lock()),
            json,
            coloured: !json && coloured(io::stdout().is_terminal()),
            errors_coloured: coloured(io::stderr().is_terminal()),
        }
    }

    /// Whether the output is one JSON object.
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Makes the output one JSON object.
    pub const fn set_json(&mut self) {
        (self.json, self.coloured) = (true, false);
    }

    /// A text in its colour, if colour is on.
    pub fn paint<T: fmt::Display>(&self, style: Style, text: T) -> Painted<T> {
        Painted { style: self.coloured.then_some(style), text }
    }

    /// Writes the one JSON object.
    pub fn json(&mut self, value: &Value) -> io::Result<()> {
        writeln!(self.out, "{}", plain_json(&format!("{value:#}")))
    }

    /// Writes a problem and its excerpt. `label` is its severity.
    pub fn problem(&mut self, style: Style, label: &str, problem: &Problem) -> io::Result<()> {
        let coloured = self.coloured;
        write_problem(&mut self.out, coloured, style, label, problem)
    }

    /// Writes why there is no answer to standard error; with `--json`, also to standard output.
    pub fn failure(&mut self, failure: &Failure) -> io::Result<()> {
        let problems = match failure {
            Failure::Input(problems) | Failure::Partly(problems) => problems.clone(),
            Failure::Output(error) => vec![Problem {
                place: "standard output".to_owned(),
                problem: format!("cannot be written: {error}"),
                remedy: "free some space, or write somewhere else".to_owned(),
                excerpt: None,
            }],
        };
        // Output that cannot be written now is not part of an answer.
        let _ = self.out.flush();
        let mut err = BufWriter::new(io::stderr().lock());
        for problem in &problems {
            write_problem(&mut err, self.errors_coloured, Style::Bad, "error", problem)?;
        }
        err.flush()?;
        if self.json && matches!(failure, Failure::Input(_)) {
            let problems: Vec<_> = problems.iter().map(Problem::to_json).collect();
            self.json(&json!({"verdict": "no answer", "errors": problems}))?;
            self.out.flush()?;
        }
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The most characters of a text that are shown.
const LONGEST: usize = 1000;

/// A text that is not too long: a configuration can have a key of a megabyte.
fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => {
            let (start, rest) = text.split_at_checked(end).unwrap_or((text, ""));
            Cow::Owned(format!("{start}… and {} more characters", rest.chars().count()))
        }
        None => Cow::Borrowed(text),
    }
}

fn write_problem(out: &mut impl Write, coloured: bool, style: Style, label: &str, problem: &Problem) -> io::Result<()> {
    let paint = |style, text: &str| Painted { style: coloured.then_some(style), text: text.to_owned() };
    let Problem { place, problem, remedy, excerpt } = problem;
    let [place, problem, remedy] = [place, problem, remedy].map(|text| shortened(text));
    let (place, problem, remedy) = (visible(&place), visible(&problem), visible(&remedy));
    let place = if place.is_empty() { String::new() } else { format!("{}: ", paint(Style::Strong, &place)) };
    writeln!(out, "{}: {place}{problem}", paint(style, label))?;
    if let Some(Excerpt { file, line, column, text, mark: (start, length) }) = excerpt {
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        writeln!(out, " {margin}{} {}:{line}:{column}", paint(Style::Faint, "-->"), visible(file))?;
        writeln!(out, " {} {text}", paint(Style::Faint, &format!("{number} |")))?;
        let marks = "^".repeat(*length.max(&1));
        writeln!(out, " {margin} {} {}{}", paint(Style::Faint, "|"), " ".repeat(*start), paint(style, &marks))?;
    }
    if remedy.is_empty() { Ok(()) } else { writeln!(out, "   {} {remedy}", paint(Style::Faint, "=")) }
}

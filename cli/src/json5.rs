//! A parser for JSON5, the format of OpenClaw's configuration, that keeps the position of every value.
//!
//! Existing parsers keep no positions, or accept only comments and trailing commas. This one is stricter than the
//! Gateway's parser in two ways: a key that appears twice in one object is an error instead of a lost setting, and an
//! unpaired surrogate is an error.

use std::collections::HashSet;
use std::fmt::Write as _;

use policy::text::trim_configured;

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The index of the file.
    pub file: usize,
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

/// A value, and its position in the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub span: Span,
    pub value: Value,
}

/// A JSON5 value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(f64),
    String(String),
    List(Vec<Node>),
    Object(Vec<Member>),
}

/// One key of an object, and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub key: String,
    pub key_span: Span,
    pub node: Node,
}

/// What stands where nothing is.
static NULL: Node = Node { span: Span { file: 0, start: 0, end: 0 }, value: Value::Null };

/// Why a text is not JSON5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    pub span: Span,
    pub problem: String,
    pub remedy: &'static str,
}

/// The same depth as in the filter's own parser.
pub const MAX_DEPTH: usize = 127;

impl Node {
    /// A member of an object, by its key.
    pub fn member(&self, key: &str) -> Option<&Node> {
        self.members().iter().find(|member| member.key == key).map(|member| &member.node)
    }

    /// The members of an object; none if this is another kind of value.
    pub fn members(&self) -> &[Member] {
        match &self.value {
            Value::Object(members) => members,
            _ => &[],
        }
    }

    /// The items of a list; none if this is another kind of value.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The value at a path of keys; null where there is none.
    pub fn at(&self, path: &[&str]) -> &Node {
        path.iter().fold(self, |node, key| node.member(key).unwrap_or(&NULL))
    }

    /// Whether there is a value. A null counts as none.
    pub fn is_set(&self) -> bool {
        self.value != Value::Null
    }

    /// The texts in a list, trimmed as the Gateway trims them.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.items().iter().filter_map(Self::text).map(trim_configured)
    }

    /// Whether this is the boolean `true`.
    pub fn is_true(&self) -> bool {
        self.value == Value::Bool(true)
    }

    /// Changes the positions of this value and of all values in it.
    pub fn move_spans(&mut self, to: &impl Fn(Span) -> Span) {
        self.span = to(self.span);
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.move_spans(to)),
            Value::Object(members) => members.iter_mut().for_each(|member| {
                member.key_span = to(member.key_span);
                member.node.move_spans(to);
            }),
            _ => {}
        }
    }

    /// The text of a string value.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value as plain JSON, in the same order.
    pub fn to_json(&self) -> String {
        let mut json = String::new();
        self.write_json(&mut json);
        json
    }

    fn write_json(&self, out: &mut String) {
        let quote = |text: &str| serde_json::Value::from(text).to_string();
        match &self.value {
            Value::Null => out.push_str("null"),
            Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            // JSON has no Infinity or NaN. Zero keeps the value a number.
            Value::Number(number) => {
                let _ = write!(out, "{}", if number.is_finite() { *number } else { 0.0 });
            }
            Value::String(text) => out.push_str(&quote(text)),
            Value::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    out.push(if at == 0 { '[' } else { ',' });
                    item.write_json(out);
                }
                out.push_str(if items.is_empty() { "[]" } else { "]" });
            }
            Value::Object(members) => {
                for (at, Member { key, node, .. }) in members.iter().enumerate() {
                    out.push(if at == 0 { '{' } else { ',' });
                    out.push_str(&quote(key));
                    out.push(':');
                    node.write_json(out);
                }
                out.push_str(if members.is_empty() { "{}" } else { "}" });
            }
        }
    }
}

/// Reads one JSON5 text.
///
/// # Errors
/// The first syntax error.
pub fn parse(text: &str, file: usize) -> Result<Node, SyntaxError> {
    let mut parser = Parser { text, file, at: 0, depth: 0 };
    parser.skip_blank()?;
    let node = parser.value()?;
    parser.skip_blank()?;
    match parser.peek() {
        None => Ok(node),
        Some(c) => Err(parser.unexpected(c, "the end of the text", "remove everything after the value")),
    }
}

struct Parser<'t> {
    text: &'t str,
    file: usize,
    at: usize,
    depth: usize,
}

type Parsed<T> = Result<T, SyntaxError>;

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at = self.at.saturating_add(c.len_utf8());
        Some(c)
    }

    fn eat(&mut self, wanted: &str) -> bool {
        let there = self.rest().starts_with(wanted);
        if there {
            self.at = self.at.saturating_add(wanted.len());
        }
        there
    }

    /// Takes characters as long as they match.
    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let taken = rest.get(..rest.find(|c| !wanted(c)).unwrap_or(rest.len())).unwrap_or_default();
        self.at = self.at.saturating_add(taken.len());
        taken
    }

    /// The span from a byte to the current position.
    const fn since(&self, start: usize) -> Span {
        Span { file: self.file, start, end: self.at }
    }

    fn error<T>(&self, from: usize, problem: impl Into<String>, remedy: &'static str) -> Parsed<T> {
        Err(SyntaxError { span: self.since(from), problem: problem.into(), remedy })
    }

    fn unexpected(&self, c: char, wanted: &str, remedy: &'static str) -> SyntaxError {
        let problem = format!("expected {wanted}, found {c:?}");
        let end = self.at.saturating_add(c.len_utf8());
        SyntaxError { span: Span { file: self.file, start: self.at, end }, problem, remedy }
    }

    fn ended<T>(&self, wanted: &str) -> Parsed<T> {
        let at = self.text.trim_end().len();
        let problem = format!("expected {wanted}, found the end of the text");
        let span = Span { file: self.file, start: at, end: at };
        Err(SyntaxError { span, problem, remedy: "close every brace, bracket and quote" })
    }

    /// Skips white space and comments.
    fn skip_blank(&mut self) -> Parsed<()> {
        loop {
            self.take_while(is_blank);
            let from = self.at;
            if self.eat("//") {
                self.take_while(|c| !is_line_end(c));
            } else if self.eat("/*") {
                match self.rest().find("*/") {
                    Some(end) => self.at = self.at.saturating_add(end).saturating_add(2),
                    None => {
                        self.at = from.saturating_add(2);
                        return self.error(from, "a comment is not closed", "end it with */");
                    }
                }
            } else {
                return Ok(());
            }
        }
    }

    fn value(&mut self) -> Parsed<Node> {
        const WANTED: &str = "a value";
        let from = self.at;
        let value = match self.peek() {
            None => return self.ended(WANTED),
            Some('{') => self.nested(Self::object)?,
            Some('[') => self.nested(Self::list)?,
            Some('"' | '\'') => Value::String(self.string()?),
            Some(c) if c.is_ascii_digit() || matches!(c, '+' | '-' | '.') => self.number()?,
            Some(c) if is_name_start(c) => {
                let word = self.take_while(is_name_part);
                match word {
                    "null" => Value::Null,
                    "true" => Value::Bool(true),
                    "false" => Value::Bool(false),
                    "Infinity" => Value::Number(f64::INFINITY),
                    "NaN" => Value::Number(f64::NAN),
                    _ => return self.error(from, "a word without quotes is not a value", "write strings in quotes"),
                }
            }
            Some(c) => {
                return Err(self.unexpected(c, WANTED, "write an object, a list, a string in quotes, or a number"));
            }
        };
        Ok(Node { span: self.since(from), value })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Parsed<Value>) -> Parsed<Value> {
        if self.depth >= MAX_DEPTH {
            return self.error(self.at, format!("more than {MAX_DEPTH} levels of nesting"), "use fewer levels");
        }
        self.depth = self.depth.saturating_add(1);
        self.next();
        let value = read(self);
        self.depth = self.depth.saturating_sub(1);
        value
    }

    /// After the opening brace.
    fn object(&mut self) -> Parsed<Value> {
        let (mut members, mut keys) = (Vec::new(), HashSet::new());
        loop {
            self.skip_blank()?;
            if self.eat("}") {
                return Ok(Value::Object(members));
            }
            let from = self.at;
            let key = self.key()?;
            let key_span = self.since(from);
            if !keys.insert(key.clone()) {
                return self.error(from, format!("the key {key:?} appears twice in one object"), "remove one of them");
            }
            self.skip_blank()?;
            match self.peek() {
                Some(':') => self.next(),
                Some(c) => return Err(self.unexpected(c, "a colon", "write a colon between the key and the value")),
                None => return self.ended("a colon"),
            };
            self.skip_blank()?;
            let node = self.value()?;
            members.push(Member { key, key_span, node });
            self.separator('}')?;
        }
    }

    /// After the opening bracket.
    fn list(&mut self) -> Parsed<Value> {
        let mut items = Vec::new();
        loop {
            self.skip_blank()?;
            if self.eat("]") {
                return Ok(Value::List(items));
            }
            items.push(self.value()?);
            self.separator(']')?;
        }
    }

    /// A comma, or the closing mark, which is not consumed.
    fn separator(&mut self, close: char) -> Parsed<()> {
        self.skip_blank()?;
        match self.peek() {
            Some(',') => {
                self.next();
                Ok(())
            }
            Some(c) if c == close => Ok(()),
            Some(c) => Err(self.unexpected(c, &format!("a comma or {close:?}"), "separate entries with commas")),
            None => self.ended(&format!("a comma or {close:?}")),
        }
    }

    fn key(&mut self) -> Parsed<String> {
        match self.peek() {
            None => self.ended("a key or '}'"),
            Some('"' | '\'') => self.string(),
            Some(_) => self.name(),
        }
    }

    /// A key without quotes.
    fn name(&mut self) -> Parsed<String> {
        const REMEDY: &str = "write the key in quotes";
        let mut name = String::new();
        while let Some(c) = self.peek() {
            let from = self.at;
            let c = if c == '\\' {
                self.next();
                if !self.eat("u") {
                    return self.error(from, "a backslash in a key that is not a \\u escape", REMEDY);
                }
                self.unicode(from)?
            } else if is_name_part(c) {
                self.next();
                c
            } else {
                break;
            };
            if !(if name.is_empty() { is_name_start(c) } else { is_name_part(c) }) {
                return self.error(from, format!("{c:?} is not allowed here in an unquoted key"), REMEDY);
            }
            name.push(c);
        }
        match self.peek() {
            Some(c) if name.is_empty() => Err(self.unexpected(c, "a key or '}'", REMEDY)),
            _ => Ok(name),
        }
    }

    fn string(&mut self) -> Parsed<String> {
        let from = self.at;
        let quote = self.next();
        let mut text = String::new();
        loop {
            let start = self.at;
            match self.next() {
                None | Some('\n' | '\r') => {
                    self.at = start;
                    return self.error(from, "a string is not closed", "end it with the same quote that starts it");
                }
                c if c == quote => return Ok(text),
                Some('\\') => self.escape(start, &mut text)?,
                Some(c) => text.push(c),
            }
        }
    }

    /// After a backslash in a string.
    fn escape(&mut self, from: usize, text: &mut String) -> Parsed<()> {
        let c = self.next();
        text.push(match c {
            None => return self.ended("an escape"),
            Some('b') => '\u{8}',
            Some('f') => '\u{C}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\u{B}',
            Some('x') => char::from_u32(self.hex(from, 2)?).unwrap_or_default(),
            Some('u') => self.unicode(from)?,
            Some('0') if !self.peek().is_some_and(|c| c.is_ascii_digit()) => '\0',
            Some('0'..='9') => {
                return self.error(from, "an escape that starts with a digit", "write \\x and two hexadecimal digits");
            }
            Some('\r') => {
                self.eat("\n");
                return Ok(());
            }
            Some(c) if is_line_end(c) => return Ok(()),
            Some(c) => c,
        });
        Ok(())
    }

    fn hex(&mut self, from: usize, digits: usize) -> Parsed<u32> {
        let mut number = 0_u32;
        for _ in 0..digits {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(16)) else {
                return self.error(from, "an invalid escape", "write \\x and two hexadecimal digits, or \\u and four");
            };
            self.next();
            number = number.wrapping_mul(16) | digit;
        }
        Ok(number)
    }

    /// After `\u`. A surrogate needs its other half.
    fn unicode(&mut self, from: usize) -> Parsed<char> {
        let high = self.hex(from, 4)?;
        let pair = if (0xD800..0xDC00).contains(&high) && self.eat("\\u") {
            let low = self.hex(from, 4)?;
            [high, low].map(|half| u16::try_from(half).unwrap_or_default()).to_vec()
        } else {
            vec![u16::try_from(high).unwrap_or_default()]
        };
        match char::decode_utf16(pair).next() {
            Some(Ok(c)) => Ok(c),
            _ => self.error(from, "an unpaired surrogate", "write both halves, or the character itself"),
        }
    }

    fn number(&mut self) -> Parsed<Value> {
        const REMEDY: &str = "write a decimal number, or a string in quotes";
        let from = self.at;
        let negative = self.eat("-");
        if !negative {
            self.eat("+");
        }
        let sign = if negative { -1.0 } else { 1.0 };
        let number = if self.eat("Infinity") {
            f64::INFINITY
        } else if self.eat("NaN") {
            f64::NAN
        } else if self.eat("0x") || self.eat("0X") {
            let digits = self.take_while(|c| c.is_ascii_hexdigit());
            if digits.is_empty() {
                return self.error(from, "a hexadecimal number without digits", REMEDY);
            }
            digits.chars().filter_map(|c| c.to_digit(16)).fold(0.0, |sum, digit| sum * 16.0 + f64::from(digit))
        } else {
            let start = self.at;
            let whole = self.take_while(|c| c.is_ascii_digit());
            let fraction = if self.eat(".") { self.take_while(|c| c.is_ascii_digit()) } else { "" };
            let is_octal = whole.len() > 1 && whole.starts_with('0');
            let mut is_good = !(is_octal || whole.is_empty() && fraction.is_empty());
            if self.eat("e") || self.eat("E") {
                let _ = self.eat("-") || self.eat("+");
                is_good &= !self.take_while(|c| c.is_ascii_digit()).is_empty();
            }
            match self.text.get(start..self.at).unwrap_or_default().parse() {
                Ok(number) if is_good => number,
                _ => return self.error(from, "an invalid number", REMEDY),
            }
        };
        if self.peek().is_some_and(is_name_part) {
            self.take_while(is_name_part);
            return self.error(from, "an invalid number", REMEDY);
        }
        Ok(Value::Number(sign * number))
    }
}

/// White space of ECMAScript 5, including line ends.
pub fn is_blank(c: char) -> bool {
    is_line_end(c) || c == '\u{FEFF}' || (c.is_whitespace() && c != '\u{85}')
}

const fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}

fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || matches!(c, '$' | '_')
}

fn is_name_part(c: char) -> bool {
    is_name_start(c) || c.is_numeric() || matches!(c, '\u{200C}' | '\u{200D}')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The parsed text as JSON. Numbers that JSON lacks are written by name.
    fn read(text: &str) -> Result<String, String> {
        parse(text, 0).map(|node| shown(&node)).map_err(|error| error.problem)
    }

    fn shown(node: &Node) -> String {
        match &node.value {
            Value::Number(number) if !number.is_finite() => format!("{number}"),
            Value::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(",")),
            Value::Object(members) => {
                let quote = |text: &str| serde_json::Value::from(text).to_string();
                let member = |member: &Member| format!("{}:{}", quote(&member.key), shown(&member.node));
                format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
            }
            _ => node.to_json(),
        }
    }

    #[test]
    fn everything_that_json5_adds_to_json_is_read() {
        for (text, expected) in [
            ("// a\n{/* b */}", "{}"),
            ("{a: 1, $b_2: 'x', \"c\": [1, 2,],}", r#"{"a":1,"$b_2":"x","c":[1,2]}"#),
            ("{ä: 1, \\u0061b: 2}", r#"{"ä":1,"ab":2}"#),
            ("{null: null, true: true, Infinity: false}", r#"{"null":null,"true":true,"Infinity":false}"#),
            ("'it\\'s'", r#""it's""#),
            ("'\"'", r#""\"""#),
            ("'a\\\nb\\\r\nc\\\u{2028}d'", r#""abcd""#),
            ("'\\x41\\u00e9\\ud83d\\ude00\\v\\0\\q'", "\"Aé😀\\u000b\\u0000q\""),
            ("\u{FEFF}\u{A0}\u{2003}[\u{B}\u{C}]\u{2028}", "[]"),
            ("'\u{2028}'", "\"\u{2028}\""),
            ("[0x1F, 0XaB, -0x1, +1, .5, 5., -.5, 1e3, 1E-2, +.5e+1]", "[31,171,-1,1,0.5,5,-0.5,1000,0.01,5]"),
            ("[Infinity, -Infinity, NaN, +Infinity]", "[inf,-inf,NaN,inf]"),
            ("null", "null"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text:?}");
        }
    }

    /// The reference is the Gateway's own parser.
    #[cfg(feature = "gateway")]
    #[test]
    fn texts_good_and_damaged_read_as_with_the_gateways_reader() {
        use proptest::strategy::ValueTree as _;
        use proptest::test_runner::TestRunner;
        let mut runner = TestRunner::deterministic();
        let any = prop_oneof![document(), damaged()];
        let texts: Vec<String> = (0..4000).map(|_| any.new_tree(&mut runner).unwrap().current()).collect();
        let mut read_by_both = 0;
        for (text, theirs) in texts.iter().zip(crate::npm::read("json5", &texts)) {
            match (read(text), theirs) {
                (Ok(ours), Some(theirs)) => {
                    assert_eq!(ours, theirs, "{text:?}");
                    read_by_both += 1;
                }
                (Err(problem), Some(_)) => assert!(is_deliberate(&problem), "{text:?}: {problem}"),
                (Ok(_), None) => panic!("{text:?} is read only here"),
                (Err(_), None) => {}
            }
        }
        assert!(read_by_both > 1000, "only {read_by_both} texts were read by both");
    }

    #[test]
    fn a_text_that_is_not_json5_is_an_error_with_its_place() {
        for (text, place, problem) in [
            ("", "", "expected a value, found the end"),
            ("{", "", "expected a key or '}', found the end"),
            ("{a: 1", "", "expected a comma or '}', found the end"),
            ("{a 1}", "1", "expected a colon"),
            ("{a: 1 b: 2}", "b", "expected a comma"),
            ("{a: 1} x", "x", "expected the end"),
            ("{a: hello}", "hello", "a word without quotes"),
            ("{a: 'x\n'}", "'x", "not closed"),
            ("/* a", "/*", "comment is not closed"),
            ("{1a: 1}", "1", "is not allowed here"),
            ("{a-b: 1}", "-", "expected a colon"),
            ("{,}", ",", "expected a key"),
            ("[,]", ",", "expected a value"),
            ("[1,,2]", ",", "expected a value"),
            ("{a: 1, 'a': 2}", "'a'", "appears twice"),
            ("[010]", "010", "invalid number"),
            ("[1x]", "1x", "invalid number"),
            ("[.]", ".", "invalid number"),
            ("[1e]", "1e", "invalid number"),
            ("[0x]", "0x", "without digits"),
            ("'\\ud83d'", "\\ud83d", "surrogate"),
            ("'\\1'", "\\1", "escape that starts with a digit"),
            ("'\\xg'", "\\x", "invalid escape"),
            ("{\\x: 1}", "\\", "not a \\u escape"),
            ("\"\\", "", "expected an escape, found the end"),
        ] {
            let error = parse(text, 0).unwrap_err();
            assert!(error.problem.contains(problem), "{text:?}: {}", error.problem);
            assert_eq!(&text[error.span.start..error.span.end], place, "{text:?}: {}", error.problem);
        }
        let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
        assert!(parse(&deep, 0).unwrap_err().problem.contains("levels"));
        assert!(parse(&deep[1..deep.len() - 1], 0).is_ok());
    }

    /// An unquoted word is not repeated: it may be a secret with its quotes forgotten.
    #[test]
    fn no_error_repeats_a_value() {
        for text in ["{token: s3cr3t}", "{token: 's3cr3t", "{token: s3cr3t-x}", "{token: 12s3cr3t}"] {
            let problem = parse(text, 0).unwrap_err().problem;
            assert!(!problem.contains("s3cr3t"), "{text}: {problem}");
        }
    }

    /// Blanks and comments between two tokens.
    fn gap() -> impl Strategy<Value = &'static str> {
        prop::sample::select(&["", " ", "\n", "\t", "/* , } */", "// ]\n", "\u{FEFF}"][..])
    }

    fn text() -> impl Strategy<Value = String> {
        let part = prop::sample::select(
            &[
                "a", "B", "é", "😀", "\\n", "\\x41", "\\u00e9", "\\\n", "\\'", "\\\"", "\\\\", " ", "//", "${X}",
                "\u{2028}",
            ][..],
        );
        (prop::sample::select(&['"', '\''][..]), prop::collection::vec(part, 0..5))
            .prop_map(|(quote, parts)| format!("{quote}{}{quote}", parts.concat()))
    }

    /// A JSON5 text.
    fn document() -> impl Strategy<Value = String> {
        let scalars =
            &["null", "true", "false", "0", "-0", "1.5", "0x1f", "+.5", "5.", "1e3", "-0XA", "Infinity", "-NaN"];
        let leaf = prop_oneof![prop::sample::select(&scalars[..]).prop_map(str::to_owned), text()];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let items = prop::collection::vec((gap(), inner.clone(), gap()), 0..4);
            let key = prop_oneof![
                prop::sample::select(&["a", "_b", "$c", "dé", "\\u0065"][..]).prop_map(str::to_owned),
                text()
            ];
            let members = prop::collection::vec((gap(), key, gap(), gap(), inner, gap()), 0..4);
            let comma = prop::sample::select(&["", ","][..]);
            prop_oneof![
                (items, comma.clone()).prop_map(|(items, last)| {
                    let items: Vec<_> = items.into_iter().map(|(a, item, b)| format!("{a}{item}{b}")).collect();
                    let last = if items.is_empty() { "" } else { last };
                    format!("[{}{last}]", items.join(","))
                }),
                (members, comma).prop_map(|(members, last)| {
                    let member = |(a, key, b, c, value, d)| format!("{a}{key}{b}:{c}{value}{d}");
                    let members: Vec<_> = members.into_iter().map(member).collect();
                    let last = if members.is_empty() { "" } else { last };
                    format!("{{{}{last}}}", members.join(","))
                }),
            ]
        })
    }

    /// A JSON5 text with a few characters changed.
    fn damaged() -> impl Strategy<Value = String> {
        let change = (
            any::<prop::sample::Index>(),
            prop::sample::select(&["", ",", "}", "'", "\\", "/", "\n", "0", "x", "\u{85}", "*/"][..]),
        );
        (document(), prop::collection::vec(change, 1..3)).prop_map(|(text, changes)| {
            let mut chars: Vec<String> = text.chars().map(String::from).collect();
            for (at, put) in changes {
                let at = at.index(chars.len());
                chars[at] = put.to_owned();
            }
            chars.concat()
        })
    }

    /// A value as another parser reads it.
    #[derive(Debug, serde::Deserialize)]
    #[serde(untagged)]
    enum Other {
        Null(()),
        Bool(bool),
        Number(f64),
        String(String),
        List(Vec<Other>),
        Object(std::collections::BTreeMap<String, Other>),
    }

    fn same(ours: &Node, other: &Other) -> bool {
        match (&ours.value, other) {
            (Value::Null, Other::Null(())) => true,
            (Value::Bool(a), Other::Bool(b)) => a == b,
            (Value::Number(a), Other::Number(b)) => a == b || (a.is_nan() && b.is_nan()),
            (Value::String(a), Other::String(b)) => a == b,
            (Value::List(a), Other::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
            (Value::Object(a), Other::Object(b)) => {
                a.len() == b.len() && a.iter().all(|a| b.get(&a.key).is_some_and(|b| same(&a.node, b)))
            }
            _ => false,
        }
    }

    /// Parses every value again from its span.
    fn check_places(text: &str, node: &Node) {
        let Span { start, end, .. } = node.span;
        assert_eq!(parse(&text[start..end], 0).map(|again| shown(&again)), Ok(shown(node)), "{text:?} {start}..{end}");
        match &node.value {
            Value::List(items) => items.iter().for_each(|item| check_places(text, item)),
            Value::Object(members) => {
                for Member { key, key_span, node } in members {
                    let again = parse(&format!("{{{}:0}}", &text[key_span.start..key_span.end]), 0).unwrap();
                    assert_eq!(&again.members()[0].key, key, "{text:?}");
                    check_places(text, node);
                }
            }
            _ => {}
        }
    }

    /// Whether this parser is stricter on purpose, as the head of this file says.
    fn is_deliberate(problem: &str) -> bool {
        problem.contains("appears twice") || problem.contains("surrogate")
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_good_text_reads_as_with_another_reader(text in document()) {
            match parse(&text, 0) {
                Ok(node) => {
                    let other: Other = json5::from_str(&text).map_err(|error| TestCaseError::fail(format!("{text:?}: {error}")))?;
                    prop_assert!(same(&node, &other), "{text:?}: {node:?} {other:?}");
                    check_places(&text, &node);
                }
                Err(error) => prop_assert!(is_deliberate(&error.problem), "{text:?}: {}", error.problem),
            }
        }

        #[test]
        fn a_damaged_text_is_refused_where_another_reader_refuses_it(text in damaged()) {
            match (parse(&text, 0), json5::from_str::<Other>(&text)) {
                (Ok(node), Ok(other)) => prop_assert!(same(&node, &other), "{text:?}: {node:?} {other:?}"),
                (Ok(_), Err(error)) => prop_assert!(false, "{text:?} is read here, but not elsewhere: {error}"),
                (Err(error), Ok(_)) => prop_assert!(is_deliberate(&error.problem), "{text:?} is read elsewhere: {}", error.problem),
                (Err(_), Err(_)) => {}
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*", bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse(&text, 0);
            let _ = parse(&String::from_utf8_lossy(&bytes), 0);
        }
    }
}

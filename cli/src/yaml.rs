//! Reads YAML into the same values as JSON5, each with its position.
//!
//! The types are those of the core schema of YAML 1.2. Merge keys (`<<`) are read as kubectl reads them.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span as Place, Tag};

use crate::json5::{MAX_DEPTH, Member, Node, Span, SyntaxError, Value};

/// How many values a text may have, with those that aliases repeat. A list of lists of aliases would otherwise become a
/// document without end.
const MAX_VALUES: usize = 2_000_000;

const TEMPLATES: &str = "give Envoy's bootstrap or rendered manifests, without templates";

type Parsed<T> = Result<T, SyntaxError>;

/// Reads the documents of a YAML text. Empty documents are left out.
///
/// # Errors
/// The first error.
pub fn parse(text: &str, file: usize) -> Parsed<Vec<Node>> {
    let mut builder =
        Builder { text, file, open: Vec::new(), anchors: HashMap::new(), values: 0, documents: Vec::new() };
    for event in Parser::new_from_str(text) {
        let (event, place) = event.map_err(|error| builder.syntax(&error))?;
        builder.add(event, place)?;
    }
    Ok(builder.documents)
}

/// The value of a plain scalar, by the core schema.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Number(f64::NAN),
        _ => {}
    }
    number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

fn number(text: &str) -> Option<f64> {
    let radix = |digits: &str, radix: u32| {
        let sum = |sum: Option<f64>, c: char| Some(sum? * f64::from(radix) + f64::from(c.to_digit(radix)?));
        if digits.is_empty() { None } else { digits.chars().fold(Some(0.0), sum) }
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
    if [".inf", ".Inf", ".INF"].contains(&bare) {
        return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    let digits = bare.strip_prefix('.').unwrap_or(bare);
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit())
        && bare.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    text.parse().ok().filter(|_| is_number)
}

/// Whether readers of YAML 1.1, such as kubectl and Envoy, take a plain word for a boolean. In YAML 1.2 it is a text.
pub fn is_old_boolean(word: &str) -> bool {
    ["yes", "no", "on", "off"].iter().any(|old| {
        let capital = old.get(..1).unwrap_or_default().to_ascii_uppercase() + old.get(1..).unwrap_or_default();
        word == *old || word == capital || word == old.to_ascii_uppercase()
    })
}

/// A list or an object that is not finished.
struct Open {
    start: Place,
    anchor: usize,
    kind: Kind,
}

enum Kind {
    List(Vec<Node>),
    Object {
        members: Vec<Member>,
        keys: HashSet<String>,
        /// A key that waits for its value.
        key: Option<(String, Span)>,
        /// What is merged into it, with the place of the `<<`.
        merged: Vec<(Node, Span)>,
    },
}

struct Builder<'t> {
    text: &'t str,
    file: usize,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    values: usize,
    documents: Vec<Node>,
}

impl Builder<'_> {
    fn span(&self, place: Place) -> Span {
        let offset = |at: Option<usize>| at.unwrap_or(self.text.len()).min(self.text.len());
        let (start, end) = (offset(place.start.byte_offset()), offset(place.end.byte_offset()));
        Span { file: self.file, start, end: end.max(start) }
    }

    fn error<T>(&self, place: Place, problem: impl Into<String>, remedy: &'static str) -> Parsed<T> {
        Err(SyntaxError { span: self.span(place), problem: problem.into(), remedy })
    }

    fn syntax(&self, error: &ScanError) -> SyntaxError {
        let place = self.span(Place::empty(*error.marker()));
        // Where a line starts, the mark is at its first character.
        let rest = self.text.get(place.start..).unwrap_or_default();
        let blank = rest.len().saturating_sub(rest.trim_start_matches([' ', '\t']).len());
        let start = place.start.saturating_add(blank);
        let info = error.info();
        if info.contains("recursion") {
            let problem = format!("more than {MAX_DEPTH} levels of nesting");
            return SyntaxError { span: place, problem, remedy: "use fewer levels" };
        }
        let before = self.text.get(..start).and_then(|before| before.rsplit('\n').next()).unwrap_or_default();
        let line = rest.lines().next().unwrap_or_default();
        let remedy = if info.contains("anchor") {
            "define the anchor above, or write the value itself"
        } else if before.contains("{{") || line.contains("{{") || before.ends_with('{') {
            TEMPLATES
        } else if before.contains('\t') || rest.starts_with('\t') || info.contains("tab") {
            "indent with spaces: YAML allows no tabs there"
        } else {
            "check the indentation, the colons and the quotes of this line and of the one above it"
        };
        SyntaxError { span: Span { start, end: start, ..place }, problem: format!("is not YAML: {info}"), remedy }
    }

    fn add(&mut self, event: Event<'_>, place: Place) -> Parsed<()> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                // Where a block or an empty scalar has no place of its own, there is nothing to mark.
                let span = self.span(place);
                if self.is_key() {
                    return self.key(text.into_owned(), place);
                }
                let value = self.scalar(&text, style, tag.as_deref(), place)?;
                self.finish(Node { span, value }, anchor, 1)
            }
            Event::SequenceStart(_, anchor, _) => self.start(Kind::List(Vec::new()), anchor, place),
            Event::MappingStart(_, anchor, _) => {
                let kind = Kind::Object { members: Vec::new(), keys: HashSet::new(), key: None, merged: Vec::new() };
                self.start(kind, anchor, place)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(place),
            Event::Alias(anchor) => {
                let Some((node, values)) = self.anchors.get(&anchor) else {
                    return self.error(place, "is an alias inside of what it stands for", "write the value itself");
                };
                let (values, mut node) = (*values, node.clone());
                if self.is_key() {
                    return match node.value {
                        Value::String(text) => self.key(text, place),
                        _ => self.error(place, "is an alias as a key", "write the key itself"),
                    };
                }
                if depth(&node, MAX_DEPTH.saturating_sub(self.open.len())).is_none() {
                    return self.error(place, format!("more than {MAX_DEPTH} levels of nesting"), "use fewer levels");
                }
                if !matches!(node.value, Value::List(_) | Value::Object(_)) {
                    node.span = self.span(place);
                }
                self.finish(node, 0, values)
            }
            Event::UnresolvedAlias(name) => self.error(
                place,
                format!("is not YAML: the alias *{name} has no anchor"),
                "write the value itself, or define the anchor above",
            ),
            _ => Ok(()),
        }
    }

    /// Whether a key comes next.
    fn is_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { kind: Kind::Object { key: None, .. }, .. }))
    }

    fn key(&mut self, text: String, place: Place) -> Parsed<()> {
        let span = self.span(place);
        if let Some(Open { kind: Kind::Object { keys, key, .. }, .. }) = self.open.last_mut() {
            if !keys.insert(text.clone()) {
                let problem = format!("the key {text:?} appears twice in one object");
                return Err(SyntaxError { span, problem, remedy: "remove one of them" });
            }
            *key = Some((text, span));
        }
        Ok(())
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>, place: Place) -> Parsed<Value> {
        Ok(match tag {
            None if style == ScalarStyle::Plain => plain(text),
            Some(tag)
                if tag.is_yaml_core_schema() && style == ScalarStyle::Plain && !tag.is_yaml_core_schema_tag("str") =>
            {
                if tag.is_yaml_core_schema_tag("binary") {
                    return self.error(place, "is !!binary", "write the text itself");
                }
                plain(text)
            }
            _ => Value::String(text.to_owned()),
        })
    }

    fn start(&mut self, kind: Kind, anchor: usize, place: Place) -> Parsed<()> {
        if self.is_key() {
            let start = self.span(place).start;
            let is_template = self.text.get(..start).is_some_and(|before| before.ends_with('{'));
            let remedy = if is_template { TEMPLATES } else { "write keys as texts" };
            return self.error(place, "is not YAML that can be read: a list or an object as a key", remedy);
        }
        if self.open.len() >= MAX_DEPTH {
            return self.error(place, format!("more than {MAX_DEPTH} levels of nesting"), "use fewer levels");
        }
        self.open.push(Open { start: place, anchor, kind });
        Ok(())
    }

    fn end(&mut self, place: Place) -> Parsed<()> {
        let Some(Open { start, anchor, kind }) = self.open.pop() else { return Ok(()) };
        let span = Span { end: self.span(place).end.max(self.span(start).start), ..self.span(start) };
        let value = match kind {
            Kind::List(items) => Value::List(items),
            Kind::Object { mut members, merged, .. } => {
                for (node, span) in merged {
                    merge(&mut members, node, span)?;
                }
                Value::Object(members)
            }
        };
        let node = Node { span, value };
        // An anchored value is kept a second time.
        let values = if anchor > 0 { count(&node) } else { 1 };
        self.finish(node, anchor, values)
    }

    /// A value is complete. `values` is how many it has, as far as they are new.
    fn finish(&mut self, node: Node, anchor: usize, values: usize) -> Parsed<()> {
        self.values = self.values.saturating_add(values);
        if self.values > MAX_VALUES {
            let problem = format!("more than {MAX_VALUES} values, with those that aliases repeat");
            return Err(SyntaxError { span: node.span, problem, remedy: "use fewer or smaller aliases" });
        }
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), values));
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => {
                if node.value != Value::Null {
                    self.documents.push(node);
                }
            }
            Some(Kind::List(items)) => items.push(node),
            Some(Kind::Object { members, key, merged, .. }) => match key.take() {
                Some((key, span)) if key == "<<" => merged.push((node, span)),
                Some((key, key_span)) => members.push(Member { key, key_span, node }),
                None => {}
            },
        }
        Ok(())
    }
}

/// Adds what is merged: an object, or a list of objects. Keys that are already there stay.
fn merge(members: &mut Vec<Member>, node: Node, span: Span) -> Parsed<()> {
    let mut keys: HashSet<_> = members.iter().map(|member| member.key.clone()).collect();
    let all = match node.value {
        Value::List(items) => items,
        _ => vec![node],
    };
    for one in all {
        let Value::Object(more) = one.value else {
            let problem = "merges what is not an object".to_owned();
            return Err(SyntaxError { span, problem, remedy: "write the alias of an object after `<<:`" });
        };
        members.extend(more.into_iter().filter(|member| keys.insert(member.key.clone())));
    }
    Ok(())
}

/// How many values a value has, with itself.
fn count(node: &Node) -> usize {
    let inner = match &node.value {
        Value::List(items) => items.iter().map(count).fold(0, usize::saturating_add),
        Value::Object(members) => members.iter().map(|member| count(&member.node)).fold(0, usize::saturating_add),
        _ => 0,
    };
    inner.saturating_add(1)
}

/// Some if a value has at most so many levels of lists and objects.
fn depth(node: &Node, most: usize) -> Option<()> {
    match &node.value {
        Value::List(items) => items.iter().try_for_each(|item| depth(item, most.checked_sub(1)?)),
        Value::Object(members) => members.iter().try_for_each(|member| depth(&member.node, most.checked_sub(1)?)),
        _ => Some(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scalars_are_those_of_the_core_schema() {
        for (text, value) in [
            ("", "null"),
            ("~", "null"),
            ("true", "true"),
            ("False", "false"),
            ("yes", "\"yes\""),
            ("0x10", "16"),
            ("0o17", "15"),
            ("-1.5e3", "-1500"),
            (".5", "0.5"),
            ("1_000", "\"1_000\""),
            ("10.0.0.1", "\"10.0.0.1\""),
            ("1e", "\"1e\""),
            ("infinity", "\"infinity\""),
            ("\"1\"", "\"1\""),
            ("'true'", "\"true\""),
            ("!!str 1", "\"1\""),
            ("2026-11-26", "\"2026-11-26\""),
        ] {
            let node = parse(&format!("- {text}\n- x"), 0).unwrap().remove(0);
            assert_eq!(node.items().first().map(Node::to_json), Some(value.to_owned()), "{text}");
        }
    }

    /// Checks that each span is a part of the text.
    fn check(node: &Node, text: &str) {
        assert!(text.get(node.span.start..node.span.end).is_some(), "{:?} in {text:?}", node.span);
        for member in node.members() {
            assert!(text.get(member.key_span.start..member.key_span.end).is_some(), "{:?} in {text:?}", node.span);
            check(&member.node, text);
        }
        node.items().iter().for_each(|item| check(item, text));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_text_makes_it_panic_and_every_span_is_in_it(
            parts in prop::collection::vec("[ab]: |- |\n|\n  |\\[|\\]|\\{|\\}|, |&a |\\*a|<<: |'|\"|#|\\||>|\t|é|\r\n|---\n|!!str |\\PC", 0..30),
        ) {
            let text = parts.concat();
            match parse(&text, 0) {
                Ok(documents) => documents.iter().for_each(|node| check(node, &text)),
                Err(error) => prop_assert!(text.get(error.span.start..error.span.end).is_some(), "{text:?}: {error:?}"),
            }
        }
    }
}

//! The Gateway's own schema of an openclaw.json, for each release that was tried.
//!
//! `schema.json` has what the packages themselves say, as JSON Schema without its texts: of all blocks the names, and
//! the blocks `gateway` and `hooks` whole. `trimmed` means that a text is trimmed first, and `code` that the Gateway
//! runs code of its own on the value, which [`super::code`] repeats. An older release is a JSON merge patch (RFC 7396)
//! to the next newer one. `tests/gateway/starts.rs` compares all of it with the packages, and writes it.

use std::collections::BTreeSet;

use policy::config::{MOST_ERRORS, Release, nearest};
use policy::text::trim_configured;
use serde_json::{Map, Value as Json};

use super::code;
use crate::input::is_secret;
use crate::json5::{Member, Node, Value};

/// For how many unknown keys the nearest one is looked up: more than are shown.
const MOST_NEAREST: usize = 10 * MOST_ERRORS;

const TABLE: &str = include_str!("schema.json");

/// The schema of a release.
#[derive(Debug, Clone)]
pub struct Schema {
    pub release: Release,
    root: Json,
}

/// Why the Gateway does not accept a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub id: &'static str,
    pub path: String,
    /// What is wrong, to be followed by what the Gateway says.
    pub what: String,
    /// What the Gateway says.
    pub said: String,
    pub remedy: String,
}

/// The id of a key that the Gateway does not have.
pub const UNKNOWN_KEY: &str = "filter.unknown_key";
/// The id of a word that the Gateway does not allow.
pub const UNKNOWN_VALUE: &str = "filter.unknown_value";
/// The id of anything else.
pub const INVALID: &str = "check.config_invalid";

impl Schema {
    /// The schemas of all releases, the newest first.
    pub fn all() -> Vec<Self> {
        let table: Json = serde_json::from_str(TABLE).unwrap_or_default();
        let mut root = Json::Null;
        let mut all = Vec::new();
        for row in table.as_array().into_iter().flatten() {
            merge(&mut root, row.get("patch").unwrap_or(&Json::Null));
            if let Some(release) = row.get("release").and_then(Json::as_str).and_then(Release::parse) {
                all.push(Self { release, root: root.clone() });
            }
        }
        all
    }

    /// Everything that this release refuses in a document.
    pub fn refusals(&self, document: &Node) -> Vec<Refusal> {
        self.look(document, MOST_NEAREST)
    }

    /// The paths of the keys that this release does not have.
    pub fn unknown_keys(&self, document: &Node) -> BTreeSet<String> {
        let all = self.look(document, 0).into_iter();
        all.filter(|refusal| refusal.id == UNKNOWN_KEY).map(|refusal| refusal.path).collect()
    }

    fn look(&self, document: &Node, nearest: usize) -> Vec<Refusal> {
        let mut look = Look { refusals: Vec::new(), nearest };
        look.at(&self.root, document, &Place::default());
        look.refusals
    }
}

/// Applies a JSON merge patch.
fn merge(base: &mut Json, patch: &Json) {
    let Json::Object(patch) = patch else {
        *base = patch.clone();
        return;
    };
    if !base.is_object() {
        *base = Json::Object(Map::new());
    }
    let Json::Object(members) = base else { return };
    for (key, value) in patch {
        if value.is_null() {
            members.remove(key);
        } else {
            merge(members.entry(key.clone()).or_insert(Json::Null), value);
        }
    }
}

/// Where a value is.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Its path in the document.
    pub path: String,
    /// Its path in the schema: `*` for names that the operator chooses, `[]` for the items of a list.
    pub pattern: String,
    /// Whether it belongs to a secret, so that it is not shown.
    is_secret: bool,
}

impl Place {
    /// A member of an object.
    pub fn member(&self, key: &str, pattern: &str) -> Self {
        let dot = |path: &str| if path.is_empty() { "" } else { "." };
        let is_plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '$'));
        let path =
            if is_plain { format!("{}{}{key}", self.path, dot(&self.path)) } else { format!("{}[{key:?}]", self.path) };
        let pattern = format!("{}{}{pattern}", self.pattern, dot(&self.pattern));
        Self { path, pattern, is_secret: self.is_secret || is_secret(key) }
    }

    fn item(&self, at: usize) -> Self {
        Self { path: format!("{}[{at}]", self.path), pattern: format!("{}[]", self.pattern), is_secret: self.is_secret }
    }
}

struct Look {
    refusals: Vec<Refusal>,
    /// For how many more keys the nearest one is looked up.
    nearest: usize,
}

impl Look {
    fn refuse(&mut self, id: &'static str, place: &Place, what: &str, said: &str, remedy: &str) {
        self.refusals.push(Refusal {
            id,
            path: place.path.clone(),
            what: what.to_owned(),
            said: said.to_owned(),
            remedy: remedy.to_owned(),
        });
    }

    fn at(&mut self, schema: &Json, node: &Node, place: &Place) {
        if let Some(alternatives) = ["anyOf", "oneOf"].iter().find_map(|one| schema.get(*one)?.as_array()) {
            self.alternatives(schema, alternatives, node, place);
            return;
        }
        if let Some(words) = schema.get("enum").and_then(Json::as_array) {
            self.word(words, node, place);
            return;
        }
        let Some(wanted) = schema.get("type").and_then(Json::as_str) else { return };
        if !is(wanted, node) {
            self.wrong_type(&[schema], node, place);
            return;
        }
        match &node.value {
            Value::String(text) => self.text(schema, text, place),
            Value::Number(number) => self.number(schema, *number, place),
            Value::List(items) => {
                let schema = schema.get("items").unwrap_or(&Json::Null);
                for (at, item) in items.iter().enumerate() {
                    self.at(schema, item, &place.item(at));
                }
            }
            Value::Object(members) => self.object(schema, members, node, place),
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// One of several schemas must accept the value. If none does, the one that was meant says why.
    fn alternatives(&mut self, schema: &Json, alternatives: &[Json], node: &Node, place: &Place) {
        let refusals = |schema: &Json| {
            let mut look = Self { refusals: Vec::new(), nearest: self.nearest };
            look.at(schema, node, place);
            look.refusals
        };
        if alternatives.iter().any(|one| refusals(one).is_empty()) {
            return;
        }
        let meant: Vec<&Json> = alternatives.iter().filter(|one| accepts_type(one, node)).collect();
        // A reference to a secret is told by its source.
        let sources = |one: &Json| one.pointer("/properties/source/enum").and_then(Json::as_array).cloned();
        let source = node.member("source");
        let is_source = |one: &Json| {
            let word = source.and_then(Node::text);
            sources(one).is_none_or(|words| word.is_some_and(|word| words.iter().any(|one| one == word)))
        };
        let of_source: Vec<&&Json> = meant.iter().filter(|one| is_source(one)).collect();
        match (&meant[..], &of_source[..]) {
            (_, [one]) => self.refusals.extend(refusals(one)),
            ([], _) => self.wrong_type(&[schema], node, place),
            (several, _) => {
                let words: Vec<Json> = several.iter().filter_map(|one| sources(one)).flatten().collect();
                let place = place.member("source", "source");
                let what = match source {
                    Some(source) => format!("is {}, and no source of secrets", kind(source)),
                    None => "is missing".to_owned(),
                };
                let remedy = format!("write one of {}", quoted(&words));
                self.refuse(INVALID, &place, &what, "Invalid input", &remedy);
            }
        }
    }

    fn word(&mut self, words: &[Json], node: &Node, place: &Place) {
        let found = words.iter().any(|word| match (word, &node.value) {
            (Json::String(word), Value::String(text)) => word == text,
            (Json::Bool(word), Value::Bool(value)) => word == value,
            _ => false,
        });
        if found {
            return;
        }
        let seen = match &node.value {
            Value::String(text) if !place.is_secret => format!("{text:?}"),
            _ => kind(node).to_owned(),
        };
        let texts: Vec<&str> = words.iter().filter_map(Json::as_str).collect();
        let meant = node.text().and_then(|text| nearest(text, &texts));
        let remedy = match (meant, code::bind_mode(&place.pattern, node)) {
            (_, Some(remedy)) => remedy,
            (Some(meant), None) => format!("did you mean \"{meant}\"? It can be {}", quoted(words)),
            (None, None) => format!("write one of {}", quoted(words)),
        };
        let said = match words {
            [word] => format!("Invalid input: expected {word}"),
            _ => format!("Invalid input (allowed: {})", listed(words)),
        };
        self.refuse(UNKNOWN_VALUE, place, &format!("is {seen}"), &said, &remedy);
    }

    fn wrong_type(&mut self, schemas: &[&Json], node: &Node, place: &Place) {
        let mut wanted = BTreeSet::new();
        schemas.iter().for_each(|schema| types(schema, &mut wanted));
        let names: Vec<&str> = wanted.iter().map(|name| english(name)).collect();
        let said = match (&Vec::from_iter(&wanted)[..], schemas) {
            ([one], [schema]) if schema.get("type").is_some() => {
                let name = match **one {
                    "integer" => "number",
                    "object" if schema.get("propertyNames").is_some() => "record",
                    other => other,
                };
                format!("Invalid input: expected {name}, received {}", received(node))
            }
            _ => "Invalid input".to_owned(),
        };
        let remedy = match &node.value {
            Value::String(text) if wanted.contains("integer") && text.trim().parse::<f64>().is_ok() => {
                "write the number without quotes".to_owned()
            }
            Value::String(text) if wanted.contains("boolean") && ["true", "false"].contains(&text.trim()) => {
                format!("write {} without quotes", text.trim())
            }
            Value::String(_) if wanted.contains("array") => "write a list, even with one entry: [\"…\"]".to_owned(),
            Value::Null => format!("remove it, or write {}", names.join(" or ")),
            _ => format!("write {}", names.join(" or ")),
        };
        self.refuse(INVALID, place, &format!("is {}", kind(node)), &said, &remedy);
    }

    fn text(&mut self, schema: &Json, text: &str, place: &Place) {
        let is_trimmed = schema.get("trimmed").is_some_and(|trimmed| *trimmed == true);
        let text = if is_trimmed { trim_configured(text) } else { text };
        let length = |key: &str| schema.get(key).and_then(Json::as_u64);
        let count = u64::try_from(text.encode_utf16().count()).unwrap_or(u64::MAX);
        if length("minLength").is_some_and(|least| count < least) {
            self.refuse(
                INVALID,
                place,
                if text.is_empty() { "is blank" } else { "is too short" },
                &format!("Too small: expected string to have >={} characters", length("minLength").unwrap_or_default()),
                "write a text, or remove the key if it is not needed",
            );
        } else if let Some(most) = length("maxLength").filter(|most| count > *most) {
            self.refuse(
                INVALID,
                place,
                &format!("has {count} characters"),
                &format!("Too big: expected string to have <={most} characters"),
                &format!("write at most {most} characters"),
            );
        } else if let Some(pattern) = schema.get("pattern").and_then(Json::as_str)
            && !code::matches(pattern, text)
        {
            self.refuse(
                INVALID,
                place,
                "does not have the form that the Gateway expects",
                &format!("Invalid string: must match pattern /{pattern}/"),
                &format!("write what matches /{pattern}/"),
            );
        } else if schema.get("code").is_some()
            && let Some((said, remedy)) = code::of_text(&place.pattern, text)
        {
            self.refuse(INVALID, place, "is not accepted", said, remedy);
        }
    }

    fn number(&mut self, schema: &Json, number: f64, place: &Place) {
        let bound = |key: &str| schema.get(key).and_then(Json::as_f64);
        let is_integer = schema.get("type").is_some_and(|wanted| *wanted == "integer");
        let shown = |bound: f64| if bound.abs() < 1e15 { bound.to_string() } else { format!("{bound:e}") };
        let (least, above, most) = (bound("minimum"), bound("exclusiveMinimum"), bound("maximum"));
        let range = match (least, above, most.filter(|most| *most < 1e15)) {
            (Some(least), _, Some(most)) if least.abs() < 1e15 => {
                format!("write a whole number from {} to {}", shown(least), shown(most))
            }
            (Some(least), _, _) if least.abs() < 1e15 => format!("write a whole number of at least {}", shown(least)),
            (_, Some(above), Some(most)) => {
                format!("write a whole number above {}, and at most {}", shown(above), shown(most))
            }
            (_, Some(above), None) => format!("write a whole number above {}", shown(above)),
            _ if is_integer => "write a whole number".to_owned(),
            _ => "write a number".to_owned(),
        };
        let said = if !number.is_finite() {
            let received = if number.is_nan() { "NaN" } else { "number" };
            format!("Invalid input: expected number, received {received}")
        } else if is_integer && number.fract() != 0.0 {
            "Invalid input: expected int, received number".to_owned()
        } else if let Some(least) = least.filter(|least| number < *least) {
            format!("Too small: expected number to be >={}", shown(least))
        } else if let Some(above) = above.filter(|above| number <= *above) {
            format!("Too small: expected number to be >{}", shown(above))
        } else if let Some(most) = most.filter(|most| number > *most) {
            format!("Too big: expected number to be <={}", shown(most))
        } else {
            return;
        };
        self.refuse(INVALID, place, &format!("is {number}"), &said, &range);
    }

    fn object(&mut self, schema: &Json, members: &[Member], node: &Node, place: &Place) {
        let known = schema.get("properties").and_then(Json::as_object);
        let rest = schema.get("additionalProperties");
        for Member { key, node, .. } in members {
            if let Some(below) = known.and_then(|known| known.get(key)) {
                let mut place = place.member(key, key);
                // What the id of a reference to a secret must be depends on its source.
                let source = schema.pointer("/properties/source/enum/0").and_then(Json::as_str);
                if let Some(source) = source.filter(|_| key == "id") {
                    place.pattern = format!("{source} id");
                }
                self.at(below, node, &place);
            } else if rest.is_some_and(|rest| *rest == false) {
                let known: Vec<&str> = known.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                self.unknown_key(key, &known, place);
            } else {
                if let Some(names) = schema.get("propertyNames") {
                    let name = Node { value: Value::String(key.clone()), ..node.clone() };
                    let before = self.refusals.len();
                    self.at(names, &name, &place.member(key, "<name>"));
                    if let Some(refusal) = self.refusals.get_mut(before) {
                        refusal.what = "is not a name that the Gateway accepts".to_owned();
                        "Invalid key in record".clone_into(&mut refusal.said);
                    }
                }
                if let Some(schema) = rest.filter(|rest| rest.is_object()) {
                    self.at(schema, node, &place.member(key, "*"));
                }
            }
        }
        for name in schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str) {
            if node.member(name).is_none() {
                let wanted = known.and_then(|known| known.get(name)).unwrap_or(&Json::Null);
                let mut names = BTreeSet::new();
                types(wanted, &mut names);
                let words = wanted.get("enum").and_then(Json::as_array);
                let (said, remedy) = match (words, names.first()) {
                    (Some(words), _) => (
                        format!("Invalid option: expected one of {}", listed(words)),
                        format!("write one of {}", quoted(words)),
                    ),
                    (None, Some(name)) => {
                        let name = if *name == "integer" { "number" } else { name };
                        (
                            format!("Invalid input: expected {name}, received undefined"),
                            format!("write {}", english(name)),
                        )
                    }
                    (None, None) => ("Invalid input".to_owned(), "add it".to_owned()),
                };
                let what = format!("is missing, and {} needs it", place.path);
                self.refuse(INVALID, &place.member(name, name), &what, &said, &remedy);
            }
        }
        if schema.get("code").is_some() {
            for (below, said, remedy) in code::of_object(&place.pattern, node) {
                let below = below.iter().fold(place.clone(), |place, key| place.member(key, key));
                self.refuse(INVALID, &below, "is not accepted", &said, &remedy);
            }
        }
    }

    fn unknown_key(&mut self, key: &str, known: &[&str], place: &Place) {
        // The filter's own block is not the Gateway's, but its name can be misspelled too.
        let more = if place.path.is_empty() { vec!["filter"] } else { Vec::new() };
        let all = [known, &more].concat();
        let meant = if self.nearest > 0 { nearest(key, &all) } else { None };
        self.nearest = self.nearest.saturating_sub(1);
        let remedy = match meant {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None if known.len() > 12 => "remove it".to_owned(),
            None => format!("remove it, or write one of {}", known.join(", ")),
        };
        let said = format!("Unrecognized key: {key:?}");
        self.refuse(UNKNOWN_KEY, &place.member(key, key), "unknown key", &said, &remedy);
    }
}

/// Whether a value is of a type of JSON Schema.
fn is(wanted: &str, node: &Node) -> bool {
    match &node.value {
        Value::Null => wanted == "null",
        Value::Bool(_) => wanted == "boolean",
        // Whether it is an integer is said more exactly than by its type.
        Value::Number(_) => matches!(wanted, "number" | "integer"),
        Value::String(_) => wanted == "string",
        Value::List(_) => wanted == "array",
        Value::Object(_) => wanted == "object",
    }
}

fn accepts_type(schema: &Json, node: &Node) -> bool {
    let mut all = BTreeSet::new();
    types(schema, &mut all);
    all.iter().any(|wanted| is(wanted, node))
}

/// The types that a schema allows.
fn types<'s>(schema: &'s Json, all: &mut BTreeSet<&'s str>) {
    all.extend(schema.get("type").and_then(Json::as_str));
    for word in schema.get("enum").and_then(Json::as_array).into_iter().flatten() {
        all.insert(if word.is_boolean() { "boolean" } else { "string" });
    }
    for one in ["anyOf", "oneOf"].iter().filter_map(|one| schema.get(*one)?.as_array()).flatten() {
        types(one, all);
    }
}

fn english(name: &str) -> &'static str {
    match name {
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "array" => "a list",
        "object" => "an object",
        _ => "a text",
    }
}

fn kind(node: &Node) -> &'static str {
    match &node.value {
        Value::Null => "null",
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::List(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn received(node: &Node) -> &'static str {
    match &node.value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_nan() => "NaN",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::List(_) => "array",
        Value::Object(_) => "object",
    }
}

fn listed(words: &[Json]) -> String {
    words.iter().map(Json::to_string).collect::<Vec<_>>().join(", ")
}

fn quoted(words: &[Json]) -> String {
    match words {
        [.., last] if words.len() > 1 => {
            let first: Vec<String> = words.iter().take(words.len().saturating_sub(1)).map(Json::to_string).collect();
            format!("{} or {last}", first.join(", "))
        }
        _ => listed(words),
    }
}

#[cfg(test)]
mod tests {
    use super::super::code::{OBJECTS, PATTERNS, TEXTS};
    use super::*;
    use crate::json5::parse;

    fn refusals(schema: &Schema, text: &str) -> Vec<(String, String, String)> {
        let refusals = schema.refusals(&parse(text, 0).unwrap());
        refusals.into_iter().map(|one| (one.path, format!("{}: {}", one.what, one.said), one.remedy)).collect()
    }

    fn newest() -> Schema {
        Schema::all().swap_remove(0)
    }

    /// What the schemas leave to code, and the patterns that they have.
    fn collect(
        schema: &Json,
        place: &Place,
        texts: &mut BTreeSet<String>,
        objects: &mut BTreeSet<String>,
        patterns: &mut BTreeSet<String>,
    ) {
        patterns.extend(schema.get("pattern").and_then(Json::as_str).map(str::to_owned));
        if schema.get("code").is_some() {
            let all =
                if schema.get("type").is_some_and(|wanted| *wanted == "string") { &mut *texts } else { &mut *objects };
            all.insert(place.pattern.clone());
        }
        let source = schema.pointer("/properties/source/enum/0").and_then(Json::as_str);
        for (name, below) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
            let mut place = place.member(name, name);
            if let Some(source) = source.filter(|_| name == "id") {
                place.pattern = format!("{source} id");
            }
            collect(below, &place, texts, objects, patterns);
        }
        let below = [
            ("items", place.item(0)),
            ("additionalProperties", place.member("x", "*")),
            ("propertyNames", place.member("x", "<name>")),
        ];
        for (key, place) in below {
            schema.get(key).into_iter().for_each(|schema| collect(schema, &place, texts, objects, patterns));
        }
        for one in ["anyOf", "oneOf"].iter().filter_map(|one| schema.get(*one)?.as_array()).flatten() {
            collect(one, place, texts, objects, patterns);
        }
    }

    #[test]
    fn all_code_and_all_patterns_of_the_schemas_are_known() {
        let (mut texts, mut objects, mut patterns) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let all = Schema::all();
        assert!(all.len() > 10 && all.first().is_some_and(|first| first.release == Release::NEWEST), "{}", all.len());
        assert!(all.is_sorted_by(|one, other| one.release > other.release));
        for schema in &all {
            collect(&schema.root, &Place::default(), &mut texts, &mut objects, &mut patterns);
        }
        assert_eq!(texts, TEXTS.iter().map(|(path, ..)| (*path).to_owned()).collect());
        assert_eq!(objects, OBJECTS.iter().map(|path| (*path).to_owned()).collect());
        assert_eq!(patterns, PATTERNS.iter().map(|(pattern, _)| (*pattern).to_owned()).collect());
    }

    #[test]
    fn a_refusal_names_the_path_and_what_to_write() {
        for (gateway, path, said, remedy) in [
            (
                "controlUI: {}",
                "gateway.controlUI",
                "unknown key: Unrecognized key: \"controlUI\"",
                "did you mean \"controlUi\"?",
            ),
            (
                "tailscale: { modes: 'off' }",
                "gateway.tailscale.modes",
                "unknown key: Unrecognized key: \"modes\"",
                "did you mean \"mode\"?",
            ),
            (
                "bind: '0.0.0.0'",
                "gateway.bind",
                "is \"0.0.0.0\": Invalid input (allowed: \"auto\", \"lan\", \"loopback\", \"custom\", \"tailnet\")",
                "write \"lan\", which is every address",
            ),
            (
                "bind: '10.0.0.7'",
                "gateway.bind",
                "is \"10.0.0.7\": Invalid input (allowed: \"auto\", \"lan\", \"loopback\", \"custom\", \"tailnet\")",
                "write \"custom\" here, and \"10.0.0.7\" in gateway.customBindHost",
            ),
            (
                "port: '18789'",
                "gateway.port",
                "is a text: Invalid input: expected number, received string",
                "write the number without quotes",
            ),
            (
                "port: 70000",
                "gateway.port",
                "is 70000: Too big: expected number to be <=65535",
                "write a whole number from 1 to 65535",
            ),
            (
                "auth: { password: { source: 'vualt', provider: 'x', id: 'x' } }",
                "gateway.auth.password.source",
                "is a text, and no source of secrets: Invalid input",
                "write one of \"env\", \"file\", \"exec\" or \"store\"",
            ),
            (
                "auth: { password: { source: 'exec', provider: 'x', id: '../hunter2' } }",
                "gateway.auth.password.id",
                "is not accepted: Exec secret reference id must match /^[A-Za-z0-9][A-Za-z0-9._:/#-]{0,255}$/ and must not \
                 include \".\" or \"..\" path segments (example: \"vault/openai/api-key\" or \"aws/secret#json_key\").",
                "write an id such as \"vault/gateway/password\"",
            ),
            (
                "trustedProxies: '10.0.0.1'",
                "gateway.trustedProxies",
                "is a text: Invalid input: expected array, received string",
                "write a list, even with one entry: [\"…\"]",
            ),
            (
                "controlUi: null",
                "gateway.controlUi",
                "is null: Invalid input: expected object, received null",
                "remove it, or write an object",
            ),
        ] {
            let wanted = vec![(path.to_owned(), said.to_owned(), remedy.to_owned())];
            assert_eq!(refusals(&newest(), &format!("{{ gateway: {{ {gateway} }} }}")), wanted, "{gateway}");
        }
        let wanted = vec![(
            "Gatewey".to_owned(),
            "unknown key: Unrecognized key: \"Gatewey\"".to_owned(),
            "did you mean \"gateway\"?".to_owned(),
        )];
        assert_eq!(refusals(&newest(), "{ Gatewey: {} }"), wanted);
        assert_eq!(refusals(&newest(), "{ agents: { anything: 1 }, gateway: { bind: 'lan' } }"), []);
    }
}

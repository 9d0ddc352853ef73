//! The shapes of the configuration's values, for the JSON Schema. Leaves are schemas, objects are lists of keys.
//!
//! The schemas are draft 7, which every editor supports. Later drafts add nothing that is needed here.

use serde_json::{Value, json};

use crate::cookies::OF_THE_GATEWAY;
use crate::scopes::Scope;

/// One key of an object of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its default, in Markdown: JSON between backticks, or words. Empty if there is none.
    pub default: &'static str,
    /// Its meaning, in Markdown.
    pub meaning: &'static str,
    /// Its shape.
    pub(super) holds: Shape,
}

/// The shape of a key's value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// A value that this schema accepts.
    Leaf(fn() -> Value),
    /// An object.
    Object(Keys),
    /// A word, or an object.
    WordOr(&'static str, Keys),
}

/// The keys of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys {
    pub(super) keys: &'static [Key],
    /// Whether other keys are allowed.
    pub(super) is_open: bool,
    /// The keys that must be present.
    pub(super) required: &'static [&'static str],
    /// Keys that require other keys.
    pub(super) needs: &'static [(&'static str, &'static [&'static str])],
}

impl Keys {
    /// An object in which other keys are allowed.
    pub(super) const fn open(keys: &'static [Key], required: &'static [&'static str]) -> Self {
        Self { keys, is_open: true, required, needs: &[] }
    }

    /// An object in which no other keys are allowed.
    pub(super) const fn closed(keys: &'static [Key], required: &'static [&'static str]) -> Self {
        Self { keys, is_open: false, required, needs: &[] }
    }
}

/// `gateway.auth.mode`.
pub(super) const AUTH_MODE: &str = "trusted-proxy";

/// What to write instead of a path that is not plain.
pub(super) const PATH_REMEDY: &str = "write \"/x\", or \"/x/*\" for everything below; no query, no \"%\", \"\\\", \"#\", \"//\", \".\" or \"..\" segment";

pub(super) fn user_ceilings() -> Value {
    json!({"type": "object", "additionalProperties": known_scopes(), "required": ["*"]})
}

pub(super) fn group_ceilings() -> Value {
    json!({"type": "object", "additionalProperties": known_scopes(), "properties": {"*": false}})
}

pub(super) fn anything() -> Value {
    json!({})
}

/// A release of the Gateway. Which of them are too old is left to the reader.
pub(super) fn release() -> Value {
    let number = "(?:0|[1-9][0-9]{0,3})";
    let suffix = format!("-(?:{number}|(?:alpha|beta|rc)\\.{number})");
    pattern(
        &format!("^2[0-9]{{3}}\\.(?:[1-9]|1[0-2])\\.{number}(?:{suffix})?$"),
        "write the release that `openclaw --version` shows, such as \"2026.9.6\"",
    )
}

pub(super) fn boolean() -> Value {
    json!({"type": "boolean"})
}

pub(super) fn string() -> Value {
    json!({"type": "string"})
}

pub(super) fn strings() -> Value {
    list(&string())
}

fn list(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

pub(super) fn choice<T>(choices: &[(&str, T)]) -> Value {
    let words: Vec<_> = choices.iter().map(|(word, _)| word).collect();
    json!({"enum": words})
}

pub(super) fn auth_mode() -> Value {
    json!({"const": AUTH_MODE})
}

pub(super) fn no_token() -> Value {
    json!({"anyOf": [{"type": "null"}, {"type": "string", "pattern": format!("^{BLANK}*$")}]})
}

/// Property paths are separated by NULs.
const WITHOUT_NUL: &str = r"^[^\u0000]+$";

pub(super) fn filter_state_key() -> Value {
    json!({"type": "string", "pattern": WITHOUT_NUL})
}

pub(super) fn metadata_path() -> Value {
    json!({"type": "array", "minItems": 2, "items": {"type": "string", "pattern": WITHOUT_NUL}})
}

pub(super) fn metadata_paths() -> Value {
    list(&metadata_path())
}

/// Where a peer's identity can be read from. The `wasm.` keys are what plugins write.
pub(super) fn peer_identity() -> Value {
    let key = json!({"type": "string", "pattern": WITHOUT_NUL, "not": {"pattern": r"^wasm\."}});
    let filter_state = json!({
        "type": "object", "required": ["filterState"], "properties": {"filterState": key}, "additionalProperties": false,
    });
    json!({"type": "array", "minItems": 1, "uniqueItems": true, "items": {"anyOf": [{"const": "certificate"}, filter_state]}})
}

/// A URI as in a certificate: it has a scheme, and is not a pattern.
pub(super) fn trusted_peers() -> Value {
    list(&json!({"type": "string", "pattern": r"^[A-Za-z][0-9A-Za-z+.-]*:[!-)+-~]*$"}))
}

pub(super) fn scopes() -> Value {
    known_scopes()
}

fn known_scopes() -> Value {
    list(&json!({"$ref": "#/definitions/scope"}))
}

pub(super) fn default_scopes() -> Value {
    within(Scope::DEFAULT)
}

pub(super) fn plugin_scopes() -> Value {
    within(Scope::PLUGIN_DEFAULT)
}

fn within(granted: &[Scope]) -> Value {
    let held = Scope::ALL.into_iter().filter(|scope| granted.iter().any(|held| held.satisfies(*scope)));
    list(&json!({"enum": held.map(Scope::name).collect::<Vec<_>>()}))
}

// ---- patterns: only what JavaScript and other regular expression engines have in common ----

/// What JavaScript's `trim` removes.
const BLANK: &str = r"[\t-\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]";

pub(super) fn pattern(pattern: &str, wanted: &str) -> Value {
    // Some editors show `patternErrorMessage` instead of the pattern. Others ignore it.
    json!({"type": "string", "pattern": pattern, "patternErrorMessage": wanted})
}

/// A pattern with white space around it, which is trimmed.
pub(super) fn trimmed(inner: &str) -> String {
    format!("^{BLANK}*(?:{inner}){BLANK}*$")
}

pub(super) fn identity_header() -> Value {
    json!({"$ref": "#/definitions/identityHeader"})
}

/// Printable Latin-1 without a blank at the start: what a header's value can start with.
pub(super) fn user_prefix() -> Value {
    json!({"type": "string", "pattern": r"^[!-~\u00a1-\u00ff][ -~\u00a0-\u00ff]*$"})
}

/// A header for each secret, and the digests that its value may have.
pub(super) fn required_values() -> Value {
    json!({
        "type": "object",
        "propertyNames": {"$ref": "#/definitions/identityHeader"},
        "additionalProperties": {
            "type": "object", "required": ["sha256"], "properties": {"sha256": digests()}, "additionalProperties": false,
        },
    })
}

/// What to write instead of text that is not a duration.
pub(super) const AGE_REMEDY: &str =
    "write a number without a leading zero and one unit (s, m, h or d), such as \"12h\", and at most \"365d\"";

/// How old a socket may become. That it is at most 365 days is left to the reader.
pub(super) fn socket_age() -> Value {
    pattern("^[1-9][0-9]{0,7}[smhd]$", AGE_REMEDY)
}

pub(super) fn digests() -> Value {
    json!({"type": "array", "minItems": 1, "items": pattern("^[0-9A-Fa-f]{64}$", DIGEST_REMEDY)})
}

/// What to write instead of text that is not a SHA-256 digest.
pub(super) const DIGEST_REMEDY: &str =
    "write the secret's SHA-256 as 64 hexadecimal digits (printf %s \"$SECRET\" | sha256sum)";

/// Names of cookies, which are tokens (RFC 6265, section 4.1.1), or the start of names and a star.
pub(super) fn cookies() -> Value {
    let own = OF_THE_GATEWAY.map(|prefix| format!("^{prefix}")).join("|");
    // A start of names that the Gateway's own names continue.
    let starts = OF_THE_GATEWAY.map(|prefix| {
        let inner = prefix.chars().rev().fold(String::new(), |inner, c| format!("(?:{c}{inner})?"));
        format!("^{inner}\\*$")
    });
    let not = format!("{own}|{}", starts.join("|"));
    list(&json!({"type": "string", "pattern": "^[!#$%&'+.^_`|~0-9A-Za-z-]+\\*?$", "not": {"pattern": not}}))
}

pub(super) fn header_names() -> Value {
    list(&json!({"$ref": "#/definitions/headerName"}))
}

pub(super) fn stripped_headers() -> Value {
    list(&identity_header())
}

pub(super) fn proxies() -> Value {
    list(&json!({"$ref": "#/definitions/proxy"}))
}

pub(super) fn paths() -> Value {
    list(&json!({"$ref": "#/definitions/path"}))
}

pub(super) fn anonymous_paths() -> Value {
    list(&path("(?:ws:)?"))
}

/// A plain path, or everything below one.
pub(super) fn path(before: &str) -> Value {
    // Printable ASCII without `#`, `%`, `*`, `/`, `?` and `\`. The second one is also without the dot.
    const ANY: &str = r"[!-\u0022$&-)+-.0->@-\u005b\u005d-~]";
    const NO_DOT: &str = r"[!-\u0022$&-)+-\u002d0->@-\u005b\u005d-~]";
    let segment = format!("(?:{NO_DOT}{ANY}*|\\.{NO_DOT}{ANY}*|\\.\\.{ANY}+)");
    pattern(&format!("^{before}/(?:(?:{segment}/)*(?:{segment})?|(?:{segment}/)+\\*)$"), PATH_REMEDY)
}

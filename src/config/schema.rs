//! The JSON Schema of the configuration, for editors: `docs/plugin-config.schema.json` is this.
//!
//! Draft 7, which every editor knows; later drafts would add nothing that is needed here. Not in the module.
#![forbid(unsafe_code)]

use serde_json::{Map, Value, json};

use super::keys::{self, Key};
use crate::policy::names::{RESERVED, RESERVED_PREFIXES, TOKEN_PUNCTUATION};
use crate::policy::scopes::Scope;

/// What the reader refuses and the schema does not.
#[derive(Debug, Clone, Copy)]
pub struct Beyond {
    /// What it is, in a few words.
    pub what: &'static str,
    /// Parts of the reader's own words, by which its errors of this kind are known.
    pub problems: &'static [&'static str],
}

/// All that the schema leaves to the reader: `tests/schema.rs` shows that there is nothing else.
pub const BEYOND: &[Beyond] = &[
    Beyond {
        what: "JSON text that is no plain JSON value: comments, a key that stands twice, nesting beyond 128",
        problems: &["is not JSON", "is empty"],
    },
    Beyond { what: "CIDR blocks with host bits set (10.0.0.5/8)", problems: &["has host bits set"] },
    Beyond {
        what: "IPv6 addresses with too many or too few groups, and IPv4-mapped blocks with a prefix below 96",
        problems: &["is no IPv6 address", "is an IPv4-mapped block with a prefix below 96"],
    },
    Beyond {
        what: "header names that clash: two that fold to one (X-User, x_user), or one that is to be stripped and needed",
        problems: &[
            "folds to the same name as",
            "is the filter's own business",
            "is needed elsewhere in this configuration",
            "carries the user",
        ],
    },
    Beyond {
        what: "users and groups with an @ that differ only in case",
        problems: &["stands there twice: names with an @"],
    },
];

/// The schema.
#[must_use]
pub fn schema() -> Value {
    let beyond: Vec<_> = BEYOND.iter().map(|beyond| beyond.what).collect();
    let mut schema = closed(keys::ROOT, &["gateway"]);
    let head = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Plugin configuration of openclaw-trusted-proxy",
        "description": format!("Made from src/config by tests/schema.rs. What it cannot see, and the filter refuses: {}.", beyond.join("; ")),
        "allOf": [names_a_proxy(), edge_has_assertion(), certificate_has_peers()],
        "definitions": {
            "headerName": header_name(),
            "identityHeader": {"allOf": [{"$ref": "#/definitions/headerName"}, {"not": reserved()}]},
            "proxy": proxy(),
            "path": path(""),
            "scope": {"enum": Scope::ALL.map(Scope::name)},
        },
    });
    if let (Some(schema), Value::Object(head)) = (schema.as_object_mut(), head) {
        schema.extend(head);
    }
    schema
}

/// The keys of the whole configuration that have a row in the README's table, with the prefix that they have there.
pub fn documented() -> impl Iterator<Item = (&'static str, &'static Key)> {
    let scopes = keys::SCOPES.iter().map(|key| ("scopes.", key));
    let own = keys::FILTER.iter().filter(|key| key.name != "scopes").map(|key| ("", key));
    own.chain(scopes)
}

// ---- objects ----

/// An object that may have other keys than these.
fn open(table: &[Key], required: &[&str]) -> Value {
    let properties: Map<_, _> = table.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let object = json!({"type": "object", "properties": properties});
    if required.is_empty() { object } else { with(object, "required", required) }
}

/// An object with no other keys than these.
fn closed(table: &[Key], required: &[&str]) -> Value {
    with(open(table, required), "additionalProperties", false)
}

/// The schema with one more keyword.
fn with(mut schema: Value, keyword: &str, value: impl serde::Serialize) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert(keyword.to_owned(), json!(value));
    }
    schema
}

fn property(key: &Key) -> Value {
    let mut property = (key.holds)();
    // Draft 7 ignores everything beside a reference.
    if property.get("$ref").is_some() {
        property = json!({"allOf": [property]});
    }
    property = with(property, "description", key.meaning);
    let default = key.default.strip_prefix('`').and_then(|text| text.strip_suffix('`'));
    match default.and_then(|text| serde_json::from_str::<Value>(text).ok()) {
        Some(default) => with(property, "default", default),
        None => property,
    }
}

pub(super) fn gateway() -> Value {
    open(keys::GATEWAY, &["auth"])
}

pub(super) fn auth() -> Value {
    open(keys::AUTH, &["mode", "trustedProxy"])
}

pub(super) fn trusted_proxy() -> Value {
    closed(keys::TRUSTED_PROXY, &["userHeader"])
}

pub(super) fn remote() -> Value {
    open(keys::REMOTE, &[])
}

pub(super) fn control_ui() -> Value {
    open(keys::CONTROL_UI, &[])
}

pub(super) fn http() -> Value {
    open(keys::HTTP, &[])
}

pub(super) fn endpoints() -> Value {
    open(keys::ENDPOINTS, &[])
}

pub(super) fn endpoint() -> Value {
    open(keys::ENDPOINT, &[])
}

pub(super) fn filter() -> Value {
    closed(keys::FILTER, &[])
}

pub(super) fn assertion() -> Value {
    closed(keys::ASSERTION, &["metadata", "as"])
}

pub(super) fn peer_address() -> Value {
    json!({"oneOf": [{"const": keys::CONNECTION}, closed(keys::PEER_ADDRESS, &["filterState"])]})
}

/// Ceilings need one for everybody else, and groups the header that lists them.
pub(super) fn scopes() -> Value {
    with(closed(keys::SCOPES, &[]), "dependencies", json!({"groups": ["groupsHeader", "users"]}))
}

pub(super) fn user_ceilings() -> Value {
    json!({"type": "object", "additionalProperties": known_scopes(), "required": ["*"]})
}

pub(super) fn group_ceilings() -> Value {
    json!({"type": "object", "additionalProperties": known_scopes(), "properties": {"*": false}})
}

// ---- across keys ----

/// Where `filter` holds all of this.
fn where_filter(properties: &Value) -> Value {
    let names: Vec<_> = properties.as_object().into_iter().flat_map(Map::keys).collect();
    json!({
        "required": ["filter"],
        "properties": {"filter": {"type": "object", "required": names, "properties": properties}},
    })
}

/// A list of proxies is empty only where something else vouches for the peer.
fn names_a_proxy() -> Value {
    let some = json!({"minItems": 1});
    json!({
        "if": {"anyOf": [
            where_filter(&json!({"edge": {"const": true}})),
            where_filter(&json!({"peerTrust": {"const": "certificate"}})),
        ]},
        "else": {
            "if": where_filter(&json!({"trustedProxies": true})),
            "then": where_filter(&json!({"trustedProxies": some})),
            "else": {"properties": {"gateway": {"required": ["trustedProxies"], "properties": {"trustedProxies": some}}}},
        },
    })
}

fn edge_has_assertion() -> Value {
    json!({"if": where_filter(&json!({"edge": {"const": true}})), "then": where_filter(&json!({"assertion": true}))})
}

fn certificate_has_peers() -> Value {
    json!({
        "if": where_filter(&json!({"peerTrust": {"const": "certificate"}})),
        "then": where_filter(&json!({"trustedPeers": {"minItems": 1}})),
    })
}

// ---- values ----

pub(super) fn anything() -> Value {
    json!({})
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
    json!({"const": keys::AUTH_MODE})
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

/// A URI as it can stand in a certificate: no pattern, and it has a scheme.
pub(super) fn trusted_peers() -> Value {
    list(&json!({"type": "string", "pattern": r"^[A-Za-z][0-9A-Za-z+.-]*:[!-)+-~]*$"}))
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

// ---- patterns: in the common part of what JavaScript and the other engines understand ----

/// What JavaScript's `trim` takes away.
const BLANK: &str = r"[\t-\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]";

fn pattern(pattern: &str, wanted: &str) -> Value {
    // The second key is for editors that show it instead of the pattern; others ignore it.
    json!({"type": "string", "pattern": pattern, "patternErrorMessage": wanted})
}

/// A pattern around which blanks are trimmed.
fn trimmed(inner: &str) -> String {
    format!("^{BLANK}*(?:{inner}){BLANK}*$")
}

pub(super) fn identity_header() -> Value {
    json!({"$ref": "#/definitions/identityHeader"})
}

pub(super) fn header_names() -> Value {
    list(&json!({"$ref": "#/definitions/headerName"}))
}

pub(super) fn stripped_headers() -> Value {
    list(&identity_header())
}

fn header_name() -> Value {
    // A hyphen at the end of a class stands for itself, and a circumflex anywhere but at its start.
    let punctuation = TOKEN_PUNCTUATION.replace('-', "");
    pattern(&trimmed(&format!("[{punctuation}0-9A-Za-z-]+")), "write a header name: letters, digits and hyphens")
}

/// Names that fold like a reserved one.
fn reserved() -> Value {
    let folding = |name: &str| -> String {
        let one = |c: char| match c {
            'a'..='z' => format!("[{}{c}]", c.to_ascii_uppercase()),
            '0'..='9' => c.to_string(),
            _ => "[^0-9A-Za-z]".to_owned(),
        };
        name.chars().map(one).collect()
    };
    let exact = RESERVED.iter().map(|name| folding(name));
    let prefixes = RESERVED_PREFIXES.iter().map(|prefix| folding(prefix) + "[!-~]*");
    json!({"pattern": trimmed(&exact.chain(prefixes).collect::<Vec<_>>().join("|"))})
}

pub(super) fn proxies() -> Value {
    list(&json!({"$ref": "#/definitions/proxy"}))
}

/// An address or CIDR block. Of IPv6 only the characters are checked.
fn proxy() -> Value {
    const OCTET: &str = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    let v4 = format!("(?:{OCTET}\\.){{3}}{OCTET}");
    let v6 = "[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*";
    let inner =
        format!("{v4}(?:/(?:3[0-2]|[12]?[0-9]))?|\\[{v4}\\]|{v6}(?:/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9]))?|\\[{v6}\\]");
    pattern(&trimmed(&inner), "write one IP address or CIDR block, such as \"10.0.0.1\" or \"10.0.0.0/24\"")
}

pub(super) fn paths() -> Value {
    list(&json!({"$ref": "#/definitions/path"}))
}

pub(super) fn anonymous_paths() -> Value {
    list(&path("(?:ws:)?"))
}

/// A plain path, or everything below one.
fn path(before: &str) -> Value {
    // Printable ASCII without `#`, `%`, `*`, `/`, `?` and `\`; in the second without the dot too.
    const ANY: &str = r"[!-\u0022$&-)+-.0->@-\u005b\u005d-~]";
    const NO_DOT: &str = r"[!-\u0022$&-)+-\u002d0->@-\u005b\u005d-~]";
    let segment = format!("(?:{NO_DOT}{ANY}*|\\.{NO_DOT}{ANY}*|\\.\\.{ANY}+)");
    pattern(
        &format!("^{before}/(?:(?:{segment}/)*(?:{segment})?|(?:{segment}/)+\\*)$"),
        "write \"/x\", or \"/x/*\" for everything below; no query, no \"%\", \"\\\", \"#\", \"//\", \".\" or \"..\" segment",
    )
}

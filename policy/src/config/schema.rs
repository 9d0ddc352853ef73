//! The JSON Schema of the configuration, for editors. It is published as `docs/plugin-config.schema.json`.
//!
//! The schema is draft 7, which every editor supports. It is not part of the module.

use serde_json::{Map, Value, json};

use super::header_names::{RESERVED, RESERVED_PREFIXES, TOKEN_PUNCTUATION};
use super::keys;
use super::shapes::{Key, Keys, Shape, path, pattern, trimmed};
use crate::scopes::Scope;

/// A class of errors that the reader finds and the schema does not.
#[derive(Debug, Clone, Copy)]
pub struct Beyond {
    /// What the class is, in a few words.
    pub what: &'static str,
    /// Parts of the reader's messages. An error that contains one of them belongs to this class.
    pub problems: &'static [&'static str],
}

/// Everything that the schema leaves to the reader. `tests/native/schema.rs` checks that there is nothing else.
pub const BEYOND: &[Beyond] = &[
    Beyond {
        what: "JSON text that is not a plain JSON value: comments, a key that appears twice, nesting beyond 128",
        problems: &["is not JSON", "is empty"],
    },
    Beyond { what: "CIDR blocks with host bits set (10.0.0.5/8)", problems: &["has host bits set"] },
    Beyond {
        what: "IPv6 addresses with too many or too few groups, and IPv4-mapped blocks with a prefix below 96",
        problems: &["is not an IPv6 address", "is an IPv4-mapped block with a prefix below 96"],
    },
    Beyond {
        what: "header names that clash: two that fold to one (X-User, x_user), or one that is both stripped and needed",
        problems: &[
            "folds to the same name as",
            "is managed by the filter itself",
            "is needed elsewhere in this configuration",
            "carries the user",
        ],
    },
    Beyond {
        what: "headers of secrets that differ only in case, and the digest of an empty value",
        problems: &["appears twice: header names have no case", "is the digest of an empty value"],
    },
    Beyond { what: "users that differ only in case", problems: &["appears twice: users are compared in lower case"] },
    Beyond { what: "a socketMaxAge of more than 365 days", problems: &["is longer than 365 days"] },
    Beyond { what: "groups that contain the separator of groups", problems: &["contains the separator"] },
    Beyond {
        what: "what the release in filter.gatewayVersion does not have: releases before 2026.4.2, keys of trustedProxy, and spaces around the names of headers",
        problems: &[
            "is older than 2026.4.2",
            "is not a key of the Gateway",
            "it is not known how the Gateway",
            "has spaces around it, and the Gateway",
        ],
    },
];

/// The schema.
#[must_use]
pub fn schema() -> Value {
    let beyond: Vec<_> = BEYOND.iter().map(|beyond| beyond.what).collect();
    let mut schema = object(&Keys::closed(keys::ROOT, &["gateway"]));
    let head = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Plugin configuration of openclaw-trusted-proxy",
        "description": format!("Generated from policy/src/config by tests/native/schema.rs. The filter also rejects what a schema cannot express: {}.", beyond.join("; ")),
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

/// The keys of `filter` and of `filter.scopes`, each with its prefix below `filter`.
pub fn documented() -> impl Iterator<Item = (&'static str, &'static Key)> {
    let scopes = keys::SCOPES.iter().map(|key| ("scopes.", key));
    let own = keys::FILTER.iter().filter(|key| key.name != "scopes").map(|key| ("", key));
    own.chain(scopes)
}

// ---- objects ----

/// A schema of an object.
fn object(object: &Keys) -> Value {
    let properties: Map<_, _> = object.keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let mut schema = json!({"type": "object", "properties": properties});
    if !object.required.is_empty() {
        schema = with(schema, "required", object.required);
    }
    if !object.is_open {
        schema = with(schema, "additionalProperties", false);
    }
    if !object.needs.is_empty() {
        let needs: Map<_, _> = object.needs.iter().map(|(key, others)| ((*key).to_owned(), json!(others))).collect();
        schema = with(schema, "dependencies", needs);
    }
    schema
}

fn shape(shape: &Shape) -> Value {
    match shape {
        Shape::Leaf(schema) => schema(),
        Shape::Object(keys) => object(keys),
        Shape::WordOr(word, keys) => json!({"oneOf": [{"const": word}, object(keys)]}),
    }
}

/// The schema with one more keyword.
fn with(mut schema: Value, keyword: &str, value: impl serde::Serialize) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert(keyword.to_owned(), json!(value));
    }
    schema
}

fn property(key: &Key) -> Value {
    let mut property = shape(&key.holds);
    // Draft 7 ignores everything next to a reference.
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

// ---- across keys ----

/// Matches a configuration whose `filter` has all of these properties.
fn where_filter(properties: &Value) -> Value {
    let names: Vec<_> = properties.as_object().into_iter().flat_map(Map::keys).collect();
    json!({
        "required": ["filter"],
        "properties": {"filter": {"type": "object", "required": names, "properties": properties}},
    })
}

/// A list of proxies may be empty only if no address is required of the peer.
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

// ---- definitions ----

fn header_name() -> Value {
    // A hyphen is literal at the end of a class, and a circumflex anywhere except at its start.
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

/// An address or CIDR block. Of IPv6 only the characters are checked.
fn proxy() -> Value {
    const OCTET: &str = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    let v4 = format!("(?:{OCTET}\\.){{3}}{OCTET}");
    let v6 = "[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*";
    let inner =
        format!("{v4}(?:/(?:3[0-2]|[12]?[0-9]))?|\\[{v4}\\]|{v6}(?:/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9]))?|\\[{v6}\\]");
    pattern(&trimmed(&inner), "write one IP address or CIDR block, such as \"10.0.0.1\" or \"10.0.0.0/24\"")
}

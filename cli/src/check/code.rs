//! What the Gateway checks with code of its own, where its schema can say no more than that it does (`code` and
//! `pattern` in `schema.json`). Where reading a value exactly as the Gateway's JavaScript does would take a parser of
//! URLs, the rarer forms are refused.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use policy::origin::Origin;
use policy::text::trim_configured as trim;

use crate::json5::{Member, Node, Value};

/// What the Gateway says, and what to write instead.
type Said = (&'static str, &'static str);

/// The rules about texts, by their path in the schema. `<source> id` is the id of a reference to a secret.
pub const TEXTS: [(&str, fn(&str) -> bool, Said); 10] = [
    (
        "file id",
        is_file_id,
        (
            "File secret reference id must be an absolute JSON pointer (example: \"/providers/openai/apiKey\"), or \"value\" \
             for singleValue mode.",
            "write a JSON pointer, such as \"/gateway/password\", or \"value\"",
        ),
    ),
    (
        "exec id",
        is_exec_id,
        (
            "Exec secret reference id must match /^[A-Za-z0-9][A-Za-z0-9._:/#-]{0,255}$/ and must not include \".\" or \"..\" \
             path segments (example: \"vault/openai/api-key\" or \"aws/secret#json_key\").",
            "write an id such as \"vault/gateway/password\"",
        ),
    ),
    (
        "gateway.publicOrigin",
        is_public_origin,
        (
            "gateway.publicOrigin must be a bare HTTPS origin; HTTP is allowed only for localhost, 127.0.0.1, or [::1]",
            "write an origin without a path, such as \"https://claw.example.com\"",
        ),
    ),
    (
        "gateway.portals.ingress.domain",
        is_portal_domain,
        (
            "Portal ingress domain must be a bare DNS domain",
            "write a domain without scheme, port or wildcard, such as \"previews.example.net\"",
        ),
    ),
    (
        "gateway.roles.definitions.*.agents[]",
        |text| is_of(text, 64, |c| c.is_ascii_alphanumeric(), |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')),
        ("Invalid agent id", "write letters, digits, - and _, starting with a letter or a digit"),
    ),
    (
        "gateway.tls.certPath",
        |text| !trim(text).is_empty(),
        ("certPath must not be blank", "write the path of the certificate, or remove the key"),
    ),
    (
        "gateway.tls.keyPath",
        |text| !trim(text).is_empty(),
        ("keyPath must not be blank", "write the path of the key, or remove the key here"),
    ),
    ("gateway.controlUi.chatMessageMaxWidth", is_css_width, WIDTH),
    ("hooks.mappings[].transform.module", is_module, MODULE),
    ("hooks.internal.handlers[].module", is_module, MODULE),
];

const MODULE: Said = (
    "module must be a safe relative path (no absolute paths)",
    "write a path below the folder, without \"..\", \":\" and a leading \"/\" or \"~\"",
);
const WIDTH: Said = (
    "Expected a CSS width value such as 960px, 82%, min(1280px, 82%), or calc(100% - 2rem)",
    "write a width such as \"960px\"",
);

/// The objects on which the Gateway runs code. That of the whole file is about blocks that are not read here.
#[cfg(test)]
pub const OBJECTS: [&str; 6] =
    ["", "gateway", "gateway.remote.edgeAuth", "gateway.roles", "gateway.roles.definitions", "hooks"];

/// The patterns of the schemas.
pub const PATTERNS: [(&str, fn(&str) -> bool); 5] = [
    ("^[A-Z][A-Z0-9_]{0,127}$", |text| {
        is_of(text, 128, |c| c.is_ascii_uppercase(), |c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    }),
    ("^[a-z][a-z0-9_-]{0,63}$", |text| {
        let is_more = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        is_of(text, 64, |c| c.is_ascii_lowercase(), is_more)
    }),
    (r"^[^.[\]]+$", |text| !text.is_empty() && !text.contains(['.', '[', ']'])),
    (r"^https:\/\/[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\.cloudflareaccess\.com$", |text| {
        let name = text.strip_prefix("https://").and_then(|rest| rest.strip_suffix(".cloudflareaccess.com"));
        name.is_some_and(|name| is_inside(name, |c| c == '.'))
    }),
    ("^svc:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$", |text| {
        text.strip_prefix("svc:").is_some_and(|name| name.len() <= 63 && is_inside(name, |_| false))
    }),
];

/// Whether a text matches a pattern of the schema. One that is not listed matches nothing.
pub fn matches(pattern: &str, text: &str) -> bool {
    PATTERNS.iter().any(|(known, matches)| *known == pattern && matches(text))
}

/// What the Gateway says about a text, by its path in the schema. A path that is not listed refuses everything.
pub fn of_text(pattern: &str, text: &str) -> Option<Said> {
    match TEXTS.iter().find(|(path, ..)| *path == pattern) {
        Some((_, accepts, said)) => (!accepts(text)).then_some(*said),
        None => Some(("the Gateway checks this with code that is not known here", "remove it")),
    }
}

/// What the Gateway says about an object: the path below it, the text, and what to write instead.
pub fn of_object(pattern: &str, node: &Node) -> Vec<(Vec<String>, String, String)> {
    let mut all = Vec::new();
    let mut say = |path: &[&str], said: &str, remedy: &str| {
        all.push((path.iter().map(|key| (*key).to_owned()).collect(), said.to_owned(), remedy.to_owned()));
    };
    match pattern {
        "gateway" => of_gateway(node, &mut say),
        "gateway.remote.edgeAuth" => of_edge_headers(node.members(), &mut say),
        "gateway.roles" => {
            let default = node.member("default").and_then(Node::text).map(trim);
            let roles = node.member("definitions").map(Node::members).unwrap_or_default();
            if default.is_some_and(|default| !roles.iter().any(|role| trim(&role.key) == default)) {
                say(
                    &["default"],
                    "gateway.roles.default must name a configured role definition",
                    "write the name of a role in gateway.roles.definitions",
                );
            }
        }
        "gateway.roles.definitions" if node.members().is_empty() => {
            say(
                &[],
                "gateway.roles.definitions must contain at least one role definition",
                "define a role, or remove roles",
            );
        }
        "hooks" => of_hooks(node, &mut say),
        _ => {}
    }
    all
}

fn of_gateway(node: &Node, say: &mut impl FnMut(&[&str], &str, &str)) {
    // Until 2026.7.35.
    let number = |key: &str| match node.member(key).map(|node| &node.value) {
        Some(Value::Number(number)) => Some(*number),
        _ => None,
    };
    let health = number("channelHealthCheckMinutes").unwrap_or(5.0);
    if health != 0.0 && number("channelStaleEventThresholdMinutes").is_some_and(|threshold| threshold < health) {
        say(
            &["channelStaleEventThresholdMinutes"],
            "channelStaleEventThresholdMinutes should be >= channelHealthCheckMinutes to avoid delayed stale detection",
            "write at least as many minutes as channelHealthCheckMinutes has (5 if it is not set)",
        );
    }
    // Since 2026.9.6.
    let Some(ingress) = node.member("portals").and_then(|portals| portals.member("ingress")) else { return };
    let listed = node.member("controlUi").and_then(|ui| ui.member("allowedOrigins"));
    let mut origins: Vec<&str> = node.member("publicOrigin").and_then(Node::text).into_iter().collect();
    if let Some(Value::List(items)) = listed.map(|node| &node.value) {
        origins.extend(items.iter().filter_map(Node::text));
    }
    let domain = ingress.member("domain").and_then(Node::text).unwrap_or_default().to_ascii_lowercase();
    let is_below = |host: &str| host == domain || host.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.'));
    if !domain.is_empty() && origins.iter().any(|origin| is_below(&host_of(origin))) {
        say(
            &["portals", "ingress", "domain"],
            "Portal ingress must use a separate domain from Gateway and Control UI origins",
            "write a domain that no listed origin and not publicOrigin is below",
        );
    }
    let port = ingress.member("port").map(|node| &node.value);
    if port.is_some_and(|port| *port == Value::Number(number("port").unwrap_or(18_789.0))) {
        say(
            &["portals", "ingress", "port"],
            "Portal ingress port must differ from the Gateway port",
            "write another port than gateway.port (18789 if it is not set)",
        );
    }
}

fn of_edge_headers(headers: &[Member], say: &mut impl FnMut(&[&str], &str, &str)) {
    const OWNED: [&str; 8] = [
        "host",
        "connection",
        "upgrade",
        "content-length",
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-protocol",
        "sec-websocket-extensions",
    ];
    if headers.is_empty() {
        let said = "invalid gateway.remote.edgeAuth: header map must not be empty";
        return say(&[], said, "name a header, or remove edgeAuth");
    }
    let mut names = BTreeSet::new();
    for Member { key, .. } in headers {
        let name = key.to_ascii_lowercase();
        if name.is_empty()
            || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
        {
            let said = format!("invalid gateway.remote.edgeAuth header name: {key:?}");
            say(&[key], &said, "write a legal header name");
        } else if OWNED.contains(&&*name) {
            let said = format!("gateway.remote.edgeAuth cannot set transport-owned header {key:?}");
            say(&[key], &said, "remove it");
        } else if !names.insert(name) {
            let said = format!("gateway.remote.edgeAuth header names differ only by case: {key:?}");
            say(&[key], &said, "keep one of them");
        }
    }
}

fn of_hooks(node: &Node, say: &mut impl FnMut(&[&str], &str, &str)) {
    let is_set = |node: Option<&Node>| node.and_then(Node::text).is_some_and(|text| !trim(text).is_empty());
    let Some(Value::List(mappings)) = node.member("mappings").map(|node| &node.value) else { return };
    for mapping in mappings {
        let is = |key: &str, word: &str| mapping.member(key).and_then(Node::text) == Some(word);
        let is_agent = mapping.member("action").is_none() || is("action", "agent");
        let has_key = is_set(mapping.member("sessionKey")) || is_set(node.member("defaultSessionKey"));
        if is_agent && is("sessionMode", "persistent") && !has_key && mapping.member("transform").is_none() {
            say(
                &["mappings"],
                "persistent hook mappings require sessionKey, hooks.defaultSessionKey, or a transform",
                "add a sessionKey to the mapping",
            );
        }
    }
}

/// What to write instead of an address or a misread word for `gateway.bind`.
pub fn bind_mode(pattern: &str, node: &Node) -> Option<String> {
    let text = node.text().map(trim).filter(|_| pattern == "gateway.bind")?.to_ascii_lowercase();
    let host = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&text);
    match host {
        "0.0.0.0" | "::" | "*" | "all" | "any" | "public" => {
            return Some("write \"lan\", which is every address".to_owned());
        }
        "localhost" | "local" | "host" => return Some("write \"loopback\"".to_owned()),
        "tailscale" => return Some("write \"tailnet\"".to_owned()),
        _ => {}
    }
    match host.parse().ok()? {
        IpAddr::V4(address) if address.is_loopback() => Some("write \"loopback\"".to_owned()),
        IpAddr::V4(address) => Some(format!("write \"custom\" here, and \"{address}\" in gateway.customBindHost")),
        IpAddr::V6(address) if address.is_loopback() => Some("write \"loopback\"".to_owned()),
        IpAddr::V6(_) => Some("write \"lan\": the Gateway listens on IPv4 addresses".to_owned()),
    }
}

/// A first letter, and then others.
fn is_of(text: &str, most: usize, is_first: fn(char) -> bool, is_more: fn(char) -> bool) -> bool {
    let mut letters = text.chars();
    text.len() <= most && letters.next().is_some_and(is_first) && letters.all(is_more)
}

/// Lowercase letters, digits and dashes (or what else is given), with neither at the ends.
fn is_inside(text: &str, is_more: fn(char) -> bool) -> bool {
    let is_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(is_end) && text.ends_with(is_end) && text.chars().all(|c| is_end(c) || c == '-' || is_more(c))
}

fn is_file_id(text: &str) -> bool {
    let is_escaped = |segment: &str| segment.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    text == "value" || text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_escaped))
}

fn is_exec_id(text: &str) -> bool {
    let is_more = |c: char| c.is_ascii_alphanumeric() || "._:/#-".contains(c);
    is_of(text, 256, |c| c.is_ascii_alphanumeric(), is_more) && !text.split('/').any(|part| matches!(part, "." | ".."))
}

fn is_module(text: &str) -> bool {
    let text = trim(text);
    let is_above = text.split(['/', '\\']).any(|part| part == "..");
    !text.is_empty() && !text.starts_with(['/', '~']) && !text.contains(':') && !is_above
}

fn is_public_origin(text: &str) -> bool {
    // What every parser of URLs trims.
    let text = text.trim_matches(|c: char| c <= ' ');
    let bare = text.strip_suffix('/').unwrap_or(text);
    let (Some(_), Some((scheme, _))) = (Origin::parse(bare.as_bytes()), bare.split_once("://")) else { return false };
    match &*scheme.to_ascii_lowercase() {
        "https" => true,
        "http" => ["localhost", "127.0.0.1", "[::1]"].contains(&&*host_of(bare)),
        _ => false,
    }
}

fn is_portal_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        let label = label.to_ascii_lowercase();
        // International labels have rules of their own.
        label.len() <= 63 && is_inside(&label, |_| false) && !label.starts_with("xn--")
    };
    let last = text.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    text.len() <= 220
        && text.contains('.')
        && !is_number
        && text.split('.').all(is_label)
        && text.parse::<Ipv4Addr>().is_err()
}

/// The host of an origin, in lowercase, or something that is none.
fn host_of(origin: &str) -> String {
    let (_, rest) = origin.split_once(':').unwrap_or_default();
    let rest = rest.trim_start_matches(['/', '\\']);
    let rest = rest.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let rest = rest.rsplit('@').next().unwrap_or_default();
    let end = rest.find(']').map_or_else(|| rest.find(':').unwrap_or(rest.len()), |at| at.saturating_add(1));
    rest.get(..end).unwrap_or_default().to_ascii_lowercase()
}

/// A width in CSS, as releases until 2026.7.35 take it.
fn is_css_width(text: &str) -> bool {
    const KEYWORDS: [&str; 3] = ["none", "min-content", "max-content"];
    const FUNCTIONS: [&str; 5] = ["calc", "clamp", "fit-content", "max", "min"];
    const UNITS: [&str; 8] = ["ch", "em", "rem", "vh", "vmax", "vmin", "vw", "px"];
    let is_blank = |c: char| trim(c.encode_utf8(&mut [0; 4])).is_empty();
    let text = trim(text).split(is_blank).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    let text = text.to_ascii_lowercase();
    if text.is_empty() || text.len() > 96 {
        return false;
    }
    let number = text.trim_end_matches(|c: char| c.is_ascii_lowercase() || c == '%');
    let unit = text.get(number.len()..).unwrap_or_default();
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = match number.split_once('.') {
        Some(("", rest)) => is_digits(rest),
        Some((whole, rest)) => is_digits(whole) && is_digits(rest),
        None => is_digits(number),
    };
    if KEYWORDS.contains(&&*text) || (is_number && (unit == "%" || UNITS.contains(&unit))) {
        return true;
    }
    let mut depth = 0_i32;
    let is_balanced = text.chars().all(|c| {
        depth = depth.saturating_add(match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        });
        depth >= 0
    });
    // An identifier starts with a letter, and goes on with letters, digits and dashes.
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let mut words = text
        .split(|c| !is_part(c))
        .filter_map(|word| word.find(|c: char| c.is_ascii_lowercase()).and_then(|at| word.get(at..)));
    let is_function = FUNCTIONS.iter().any(|name| {
        let inner = text.strip_prefix(name).and_then(|rest| rest.strip_prefix('(')?.strip_suffix(')'));
        inner.is_some_and(|inner| !inner.is_empty())
    });
    is_balanced
        && depth == 0
        && is_function
        && text.chars().all(|c| c.is_ascii_alphanumeric() || ".%+-*/(), ".contains(c))
        && words.all(|word| FUNCTIONS.contains(&word) || KEYWORDS.contains(&word) || UNITS.contains(&word))
}

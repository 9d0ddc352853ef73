//! What Envoy does before the filter runs, with the configurations in `envoy/`: what it answers itself, and what it
//! changes.

use policy::Peer;
use policy::names::SCOPES_HEADER;

use super::answered::Answered;
use super::http1;
use super::normal::normalized;
use super::sent::{Header, Sent, is_token};
use crate::input::Configuration;
use crate::json5::Node;

/// `max_request_headers_kb`.
const MOST_BYTES: usize = 15 << 10;
/// `max_headers_count`.
const MOST_HEADERS: usize = 100;
/// The most names that `Connection` may list.
const MOST_NAMED: usize = 10;

/// Headers whose copies Envoy always joins into one value.
const MERGED: [&str; 6] = ["x-forwarded-for", "x-forwarded-host", "origin", "authorization", "referer", "user-agent"];
/// More of them. With `--as-seen`, copies stay as they are given.
const MERGED_TOO: [&str; 31] = [
    ":authority",
    "accept",
    "accept-encoding",
    "access-control-request-headers",
    "access-control-request-method",
    "cache-control",
    "cdn-loop",
    "connection",
    "content-encoding",
    "content-type",
    "expect",
    "grpc-timeout",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "pragma",
    "proxy-connection",
    "proxy-status",
    "te",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-client-trace-id",
    "x-forwarded-client-cert",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-envoy-attempt-count",
    "x-request-id",
];
/// What Envoy takes from nobody: `internal_address_config` names no client.
const INTERNAL: [&str; 22] = [
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-internal",
    "x-envoy-ip-tags",
    "x-envoy-max-retries",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-envoy-original-url",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-stream-duration-ms",
    "x-forwarded-client-cert",
];

/// What is in front of Envoy, and what Envoy therefore does.
#[derive(Debug)]
pub struct Front {
    /// Clients connect to Envoy itself: it adds the peer to X-Forwarded-For.
    is_edge: bool,
    /// `use_remote_address`.
    is_remote: bool,
    /// The headers that Envoy removes.
    removed: Vec<String>,
}

impl Front {
    /// As `render` writes it for this configuration.
    pub fn of(configuration: &Configuration) -> Self {
        let text =
            |path: &[&str]| configuration.at(path).and_then(Node::text).map(|name| name.trim().to_ascii_lowercase());
        let is_edge = configuration.plugin.at(&["filter", "edge"]).is_true();
        let theirs = text(&["gateway", "auth", "trustedProxy", "userHeader"]);
        let own = text(&["filter", "upstreamUserHeader"]);
        let removed = if is_edge {
            let groups = text(&["filter", "scopes", "groupsHeader"]).unwrap_or_else(|| "x-forwarded-groups".to_owned());
            own.or(theirs).into_iter().chain([SCOPES_HEADER.to_owned(), groups]).collect()
        } else {
            own.into_iter().filter(|own| theirs.as_ref() != Some(own)).collect()
        };
        let is_remote = configuration.at(&["filter", "peerAddress", "filterState"]).is_none();
        Self { is_edge, is_remote, removed }
    }
}

/// The header map that Envoy shows the filter, or its own answer. Its changes are added to `notes`. Without a front,
/// nothing is changed.
pub fn seen(sent: &Sent, peer: Peer, front: Option<&Front>, notes: &mut Vec<String>) -> Result<Vec<Header>, Answered> {
    if front.is_some() {
        parsed(sent)?;
    }
    let mut map: Vec<Header> = vec![
        (":method".to_owned(), sent.method.clone().into_bytes()),
        (":path".to_owned(), sent.path.clone().into_bytes()),
        (":scheme".to_owned(), sent.scheme.clone().into_bytes()),
    ];
    for (name, value) in &sent.headers {
        let name = name.to_ascii_lowercase();
        let name = if name == "host" { ":authority".to_owned() } else { name };
        let is_merged = MERGED.contains(&name.as_str()) || (front.is_some() && MERGED_TOO.contains(&name.as_str()));
        add(&mut map, name, value.trim_ascii(), is_merged);
    }
    let Some(front) = front else { return Ok(map) };
    if sent.method == "CONNECT" && !sent.http2 {
        map.retain(|(name, _)| !matches!(name.as_str(), ":path" | ":authority"));
        map.push((":authority".to_owned(), sent.path.clone().into_bytes()));
    }
    let is_upgrade = upgrade(&mut map, notes);
    if !is_upgrade && !sent.http2 {
        named_by_connection(&mut map, notes)?;
    }
    managed(&mut map, sent, notes)?;
    if let Some(value) = value(&map, "upgrade").filter(|_| is_upgrade && !sent.http2)
        && !value.eq_ignore_ascii_case(b"websocket")
    {
        return Err(Answered::new(
            403,
            "upgrade_failed",
            format!("Upgrade is \"{}\"; Envoy upgrades only to websocket", value.escape_ascii()),
            "have the client ask for one upgrade, to websocket, or for none",
        ));
    }
    change(&mut map, peer, sent, front, is_upgrade, notes);
    Ok(map)
}

fn add(map: &mut Vec<Header>, name: String, value: &[u8], is_merged: bool) {
    match map.iter_mut().find(|(other, _)| is_merged && *other == name) {
        Some((_, all)) => {
            if !all.is_empty() && !value.is_empty() {
                all.push(b',');
            }
            all.extend_from_slice(value);
        }
        None => map.push((name, value.to_vec())),
    }
}

fn value<'a>(map: &'a [Header], name: &str) -> Option<&'a [u8]> {
    map.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_slice())
}

/// The tokens of a list, in lower case.
fn tokens(list: &[u8]) -> Vec<String> {
    let tokens = list.split(|&byte| byte == b',').map(|token| token.trim_ascii().to_ascii_lowercase());
    tokens.filter(|token| !token.is_empty()).map(|token| String::from_utf8_lossy(&token).into_owned()).collect()
}

/// What Envoy's parser does not accept.
fn parsed(sent: &Sent) -> Result<(), Answered> {
    const FEWER: &str = "send less: large cookies and tokens are the usual cause";
    let of_http2 = |answer: Answered, details| if sent.http2 { answer.over_http2(details) } else { answer };
    let size = sent.size();
    if size > MOST_BYTES {
        let because = format!("the headers have {size} bytes, and max_request_headers_kb allows {MOST_BYTES}");
        let answer = Answered::new(431, "http1.headers_too_large", because, FEWER);
        return Err(of_http2(answer, "http2.header_list_size_too_large"));
    }
    if let Some(flaw) = sent.wire.as_ref().and_then(|wire| wire.flaw.clone()) {
        return Err(flaw);
    }
    if !sent.http2 {
        if !http1::is_method(&sent.method) {
            let because = format!("{:?} is not a method that Envoy's parser of HTTP/1.1 knows", sent.method);
            return Err(Answered::malformed(because, "use a registered method, in upper case, such as POST"));
        }
        if !sent.wire.as_ref().is_some_and(|wire| wire.is_url) {
            http1::target(&sent.method, &sent.path)?;
        }
    }
    let mut names: Vec<String> = Vec::new();
    for (name, _) in &sent.headers {
        let name = name.to_ascii_lowercase();
        if name.is_empty() || !name.bytes().all(is_token) {
            let answer = Answered::malformed(
                format!("{name:?} is not a header name"),
                "use letters, digits and hyphens, and no space before the colon",
            );
            return Err(of_http2(answer, "http2.invalid.header.field"));
        }
        if name.contains('_') {
            let answer = Answered::new(
                400,
                "http1.unexpected_underscore",
                format!("the name {name} has an underscore (headers_with_underscores_action)"),
                "rename the header, or set headers_with_underscores_action: ALLOW in Envoy: the filter removes every \
                 spelling of an identity header that is not the policy's",
            );
            return Err(of_http2(answer, "http2.unexpected_underscore"));
        }
        let is_joined = MERGED.contains(&name.as_str()) || MERGED_TOO.contains(&name.as_str()) || name == "host";
        if !is_joined || !names.contains(&name) {
            names.push(name);
        }
    }
    if names.len() > MOST_HEADERS {
        let because = format!("there are {} headers, and max_headers_count allows {MOST_HEADERS}", names.len());
        let answer = Answered::new(431, "http1.too_many_headers", because, "send fewer headers");
        return Err(of_http2(answer, "http2.too_many_headers"));
    }
    if sent.http2 { Ok(()) } else { framed(sent) }
}

/// Whether the end of the body is clear.
fn framed(sent: &Sent) -> Result<(), Answered> {
    const ONE: &str = "have the proxy send one Content-Length, or Transfer-Encoding: chunked, and not both";
    let copies = |wanted: &str| {
        let named = sent.headers.iter().filter(move |(name, _)| name.eq_ignore_ascii_case(wanted));
        named.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect::<Vec<_>>()
    };
    let (lengths, encodings) = (copies("content-length"), copies("transfer-encoding"));
    let is_number = |text: &String| text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u64>().is_ok();
    if lengths.len() > 1 || !lengths.iter().all(is_number) {
        return Err(Answered::malformed("Content-Length is not one number", ONE));
    }
    if encodings.is_empty() {
        return Ok(());
    }
    if !lengths.is_empty() {
        return Err(Answered::new(
            400,
            "http1.content_length_and_chunked_not_allowed",
            "the request has both Content-Length and Transfer-Encoding",
            ONE,
        ));
    }
    if sent.method == "CONNECT" || !encodings.join(",").eq_ignore_ascii_case("chunked") {
        return Err(Answered::new(501, "http1.invalid_transfer_encoding", "Transfer-Encoding is not chunked", ONE));
    }
    Ok(())
}

/// Whether this is an upgrade. Drops what asks for one in vain.
fn upgrade(map: &mut Vec<Header>, notes: &mut Vec<String>) -> bool {
    let Some(protocol) = value(map, "upgrade") else { return false };
    let is_h2c = protocol.eq_ignore_ascii_case(b"h2c");
    let connection = value(map, "connection").map(tokens).unwrap_or_default();
    if !connection.iter().any(|token| token == "upgrade") {
        map.retain(|(name, _)| name != "upgrade");
        notes.push("Envoy drops Upgrade, because Connection does not name it".to_owned());
        return false;
    }
    if is_h2c {
        map.retain(|(name, _)| !["upgrade", "http2-settings"].contains(&name.as_str()));
        notes.push("Envoy ignores an upgrade to h2c".to_owned());
    }
    !is_h2c
}

/// Removes the headers that `Connection` names.
fn named_by_connection(map: &mut Vec<Header>, notes: &mut Vec<String>) -> Result<(), Answered> {
    let named = value(map, "connection").map(tokens).unwrap_or_default();
    let refused = |because: String| {
        Answered::new(
            400,
            "http1.connection_header_rejected",
            because,
            "have the proxy send Connection without names of other headers",
        )
    };
    if named.len() >= MOST_NAMED {
        return Err(refused(format!("Connection names {} headers, and Envoy allows {}", named.len(), MOST_NAMED - 1)));
    }
    for name in named {
        match name.as_str() {
            "close" | "http2-settings" | "keep-alive" | "upgrade" | "connection" | "te" => continue,
            "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto" => {
                return Err(refused(format!("Connection names {name}, which would remove it")));
            }
            pseudo if pseudo.starts_with(':') => {
                return Err(refused(format!("Connection names {name}")));
            }
            _ => {}
        }
        let real = if name == "host" { ":authority" } else { &name };
        if value(map, real).is_some() {
            map.retain(|(other, _)| other != real);
            notes.push(format!("Envoy removes {name}, because Connection names it"));
        }
    }
    Ok(())
}

/// What Envoy's connection manager does not accept, and the path as it makes it.
fn managed(map: &mut [Header], sent: &Sent, notes: &mut Vec<String>) -> Result<(), Answered> {
    if let Some(version) = sent.wire.as_ref().and_then(|wire| wire.low_version.as_ref()) {
        return Err(Answered::new(
            426,
            "low_version",
            format!("the request is {version}, and Envoy accepts HTTP/1.1 and HTTP/2"),
            "have the proxy speak HTTP/1.1 to Envoy: in nginx, proxy_http_version 1.1",
        ));
    }
    match value(map, ":authority") {
        None if sent.wire.is_some() => {
            let answer = Answered::new(400, "missing_host_header", "Host is missing", "have the proxy send Host");
            return Err(if sent.http2 { answer.over_http2("http2.violation.of.messaging.rule") } else { answer });
        }
        Some(host) if !host.iter().all(|byte| is_of_authority(*byte)) => {
            let answer = Answered::new(
                400,
                "http.invalid_authority",
                format!("Host is \"{}\", which has a character that no host has", host.escape_ascii()),
                "have the proxy send the host of the address, with its port if it has one",
            );
            return Err(if sent.http2 { answer.over_http2("http2.invalid.header.field") } else { answer });
        }
        _ => {}
    }
    let Some(path) = map.iter_mut().find(|(name, _)| name == ":path").map(|(_, path)| path) else {
        return Ok(());
    };
    if path.first() != Some(&b'/') {
        return Err(Answered::new(
            404,
            "absolute_path_rejected",
            format!("the path is \"{}\", and must begin with a slash", before_query(path).escape_ascii()),
            "write a path that begins with /",
        ));
    }
    let old = String::from_utf8_lossy(path).into_owned();
    let Some(new) = normalized(&old) else {
        return Err(Answered::new(
            400,
            "path_normalization_failed",
            "the path has a fragment (#) or a NUL (%00)",
            "have the client send the path without it",
        ));
    };
    if new != old {
        let shown = new.split('?').next().unwrap_or_default();
        notes.push(format!("Envoy normalizes the path: the filter and the Gateway get \"{shown}\" (normalize_path)"));
        *path = new.into_bytes();
    }
    if sent.method == "QUERY" && value(map, "content-type").is_none_or(<[u8]>::is_empty) {
        return Err(Answered::new(
            400,
            "query_missing_content_type",
            "a QUERY has no Content-Type",
            "have the client send Content-Type",
        ));
    }
    Ok(())
}

fn before_query(path: &[u8]) -> &[u8] {
    path.split(|byte| *byte == b'?').next().unwrap_or_default()
}

fn is_of_authority(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]@".contains(&byte)
}

/// Changes a request as Envoy does.
fn change(map: &mut Vec<Header>, peer: Peer, sent: &Sent, front: &Front, is_upgrade: bool, notes: &mut Vec<String>) {
    for name in &front.removed {
        if map.iter().any(|(other, _)| other == name) {
            map.retain(|(other, _)| other != name);
            notes.push(format!("Envoy removes {name} before the filter runs (--as-seen turns this off)"));
        }
    }
    if let Some((_, te)) = map.iter_mut().find(|(name, _)| name == "te")
        && tokens(te).iter().any(|token| token == "trailers")
    {
        *te = b"trailers".to_vec();
    }
    let is_removed = |(name, value): &Header| match name.as_str() {
        "connection" => !is_upgrade && !sent.http2,
        "keep-alive" | "proxy-connection" | "transfer-encoding" => true,
        "te" => !value.is_empty() && value != b"trailers",
        "referer" => !is_referer(value),
        name => front.is_remote && INTERNAL.contains(&name),
    };
    let mut removed: Vec<_> = map.iter().filter(|header| is_removed(header)).map(|(name, _)| name.clone()).collect();
    removed.dedup();
    map.retain(|header| !is_removed(header));
    removed.retain(|name| name != "connection");
    if !removed.is_empty() {
        notes.push(format!("Envoy removes {} before the filter runs (--as-seen turns this off)", removed.join(", ")));
    }
    if let (true, Peer::Known(address)) = (front.is_edge, peer) {
        let ip = address.ip().to_string();
        add(map, "x-forwarded-for".to_owned(), ip.as_bytes(), true);
        notes.push(format!(
            "Envoy adds the peer, {ip}, to X-Forwarded-For (use_remote_address; --as-seen turns this off)"
        ));
        if address.is_loopback() {
            notes.push(
                "for a loopback peer, Envoy may write its own address instead, if it has one; that counts as a client"
                    .to_owned(),
            );
        }
    }
    for (name, value) in
        [("x-forwarded-proto", &*sent.scheme), ("x-request-id", "00000000-0000-4000-8000-000000000000")]
    {
        match map.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) if front.is_remote && old != value.as_bytes() => {
                *old = value.as_bytes().to_vec();
                notes.push(format!("Envoy writes {name} itself"));
            }
            Some(_) => {}
            None => map.push((name.to_owned(), value.as_bytes().to_vec())),
        }
    }
    if let (true, Peer::Known(address)) = (front.is_remote, peer) {
        map.retain(|(name, _)| name != "x-envoy-external-address");
        map.push(("x-envoy-external-address".to_owned(), address.ip().to_string().into_bytes()));
    }
}

/// What Envoy answers to a request that the filter has admitted: it routes no CONNECT.
pub fn routed(sent: &Sent) -> Option<Answered> {
    let answer = Answered::new(
        404,
        "route_not_found",
        "no route takes CONNECT",
        "have the client send an ordinary request: Envoy is not a forward proxy",
    );
    (sent.method == "CONNECT" && !sent.http2).then_some(Answered { after_filter: true, ..answer })
}

/// Whether Envoy passes on this `Referer`: a URL without a user and a fragment, or a path.
fn is_referer(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    if text.contains(['#', ' ', '\t', '"', '<', '>', '\\', '^', '`', '{', '|', '}']) {
        return false;
    }
    match text.split_once("://") {
        Some((_, rest)) => {
            !rest.split(['/', '?']).next().unwrap_or_default().contains('@') && http1::target("GET", text).is_ok()
        }
        None => text.is_ascii() && !text.split('/').next().unwrap_or_default().contains(':'),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_request_makes_it_panic_and_what_goes_on_is_a_path(
            line in "(GET|CONNECT|OPTIONS|\\PC){1,3} (/|%2e|%|\\.|;|#|\\?|\\\\|\\*|://|@|:|\\PC){0,20}( HTTP/1\\.[01])?",
            headers in "((Host|Connection|Upgrade|TE|Content-Length|\\PC){1,2}(: ?)?(te|upgrade|host|,|0|\\PC){0,6}\r?\n){0,6}",
        ) {
            let front = Front { is_edge: true, is_remote: true, removed: vec!["x-user".to_owned()] };
            if let Ok(sent) = http1::parse(format!("{line}\r\n{headers}\r\n").as_bytes())
                && let Ok(map) = seen(&sent, Peer::Unknown, Some(&front), &mut Vec::new())
            {
                let path = value(&map, ":path");
                prop_assert_eq!(path.is_none(), sent.method == "CONNECT" && !sent.http2);
                prop_assert!(path.is_none_or(|path| path.starts_with(b"/")));
            }
        }
    }
}

//! The decision vectors: one table of cases, checked in the same way at every level of the tests (natively,
//! in the release module on wasmtime, and in a real Envoy).

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
use tungstenite::Message;
use tungstenite::protocol::{Role, WebSocket};

use crate::echo;
use crate::wire::{self, Connection};

/// One request, its configuration, and the expected outcome.
#[derive(Clone, Debug)]
pub struct Vector {
    /// Names the case in failures.
    pub id: String,
    /// Whether the request asks for an upgrade to WebSocket.
    pub websocket: bool,
    /// The peer's address, without a port.
    pub remote_addr: String,
    /// The request method; GET if the case does not name one.
    pub method: String,
    /// The request target as sent, including the query.
    pub path: String,
    /// The headers in the order in which they are sent; copies are separate entries.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The plugin configuration.
    pub config: Value,
    /// The expected outcome.
    pub expect: Expect,
}

/// The expected outcome of a vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The request is forwarded.
    Admit {
        /// The only user header upstream, read as Latin-1; if `None`, neither a user nor scopes may arrive.
        user: Option<String>,
        /// The tokens of the only scopes header upstream; if `None`, no scopes header may arrive.
        scopes: Option<Vec<String>>,
    },
    /// The request is refused.
    Refuse {
        /// The HTTP status of a refusal that is not a WebSocket close.
        status: u16,
        /// The reason code.
        reason: String,
    },
}

/// The observed outcome.
#[derive(Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The request was forwarded.
    Admitted {
        /// What the upstream received: names in any case; copies are separate entries.
        upstream: Vec<(String, Vec<u8>)>,
    },
    /// An ordinary HTTP response.
    Refused {
        /// Its status.
        status: u16,
        /// `error.reason` of its JSON body, if there is one.
        reason: Option<String>,
    },
    /// A WebSocket that was opened and closed at once.
    Closed {
        /// The close code.
        code: u16,
        /// The close text.
        reason: String,
    },
    /// Anything else, as text.
    Other(String),
}

/// What a client is told of a code: not which header is missing.
#[must_use]
pub fn told(code: &str) -> &str {
    const NAMING: [&str; 2] = ["trusted_proxy_missing_header", "trusted_proxy_header_value"];
    NAMING.into_iter().find(|naming| code.starts_with(naming)).unwrap_or(code)
}

/// The longest reason that fits into a close frame.
const CLOSE_REASON_LIMIT: usize = 123;
const SCOPES_HEADER: &str = "x-openclaw-scopes";

/// Reads every vector of `tests/data/decisions.jsonl`.
///
/// # Panics
/// If the file is missing or a case is malformed, with one line that names the file and line.
pub fn load() -> Vec<Vector> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../data/decisions.jsonl");
    let text = std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("cannot read the decision vectors {}: {error}", file.display()));
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            Vector::parse(line).unwrap_or_else(|error| panic!("{}:{}: {error}", file.display(), index + 1))
        })
        .collect()
}

impl Vector {
    /// Reads one line of the table.
    pub fn parse(line: &str) -> Result<Self, String> {
        // The headers are read a second time, because a JSON object as a value does not keep its order.
        let ordered: OrderedHeaders = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let case: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let text = |key: &str| -> Result<String, String> {
            case[key].as_str().map(str::to_owned).ok_or_else(|| format!("`{key}` must be a string"))
        };
        let websocket = match text("surface")?.as_str() {
            "http" => false,
            "ws" => true,
            other => return Err(format!("`surface` is `{other}`; it must be `http` or `ws`")),
        };
        if !case["config"].is_object() {
            return Err("`config` must be an object".to_owned());
        }
        Ok(Self {
            id: text("id")?,
            websocket,
            remote_addr: text("remoteAddr")?,
            method: if case["method"].is_null() { "GET".to_owned() } else { text("method")? },
            path: text("path")?,
            headers: ordered.0,
            config: case["config"].clone(),
            expect: Expect::parse(&case["expect"])?,
        })
    }

    /// The header that carries the user upstream, in lower case.
    pub fn user_header(&self) -> String {
        self.config["filter"]["upstreamUserHeader"]
            .as_str()
            .or_else(|| self.config["gateway"]["auth"]["trustedProxy"]["userHeader"].as_str())
            .unwrap_or_default()
            .to_ascii_lowercase()
    }

    /// The headers to send: the case's own, plus, on an upgrade, those of the handshake that the case does not set
    /// itself.
    pub fn on_the_wire(&self) -> Vec<(String, Vec<u8>)> {
        const HANDSHAKE: [(&str, &str); 4] = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let missing = HANDSHAKE
            .iter()
            .filter(|(name, _)| self.websocket && !self.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)));
        missing
            .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
            .chain(self.headers.iter().cloned())
            .collect()
    }

    /// Sends the request to a listener that trusts PROXY lines, with an [`Echo`](crate::echo::Echo) behind it.
    ///
    /// # Errors
    /// If no response comes.
    pub fn play(&self, address: SocketAddr) -> io::Result<Outcome> {
        let mut connection = Connection::open(address)?;
        connection.send(&wire::proxy_line(&self.remote_addr))?;
        connection.send(&wire::request(&self.method, &self.path, &self.on_the_wire()))?;
        let response = connection.response(&self.method)?;
        let answer = echo::answer(&response);
        Ok(match response.status {
            101 => {
                let (stream, rest) = connection.into_parts();
                match WebSocket::from_partially_read(stream, rest, Role::Client, None).read() {
                    Ok(Message::Text(text)) => {
                        Outcome::Admitted { upstream: echo::received(&serde_json::from_str(&text).unwrap_or_default()) }
                    }
                    Ok(Message::Close(Some(frame))) => {
                        Outcome::Closed { code: frame.code.into(), reason: frame.reason.to_string() }
                    }
                    other => Outcome::Other(format!("101 and {other:?}")),
                }
            }
            200 if answer["headers"].is_array() => Outcome::Admitted { upstream: echo::received(&answer) },
            status => {
                let reason = response.json()["error"]["reason"].as_str().map(str::to_owned);
                Outcome::Refused { status, reason }
            }
        })
    }

    /// Compares the observed outcome with the expected one; the error says in one line how they differ.
    pub fn judge(&self, outcome: &Outcome) -> Result<(), String> {
        match (&self.expect, outcome) {
            (Expect::Admit { user, scopes }, Outcome::Admitted { upstream }) => {
                self.judge_upstream(upstream, user.as_deref(), scopes.as_deref())
            }
            (Expect::Admit { .. }, other) => Err(format!("{other}, expected to be admitted")),
            (Expect::Refuse { status, reason }, outcome) => self.judge_refusal(outcome, *status, reason),
        }
    }

    fn judge_upstream(
        &self,
        upstream: &[(String, Vec<u8>)],
        user: Option<&str>,
        scopes: Option<&[String]>,
    ) -> Result<(), String> {
        let copies = |name: &str| -> Vec<String> {
            upstream
                .iter()
                .filter(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.iter().copied().map(char::from).collect())
                .collect()
        };
        let (users, stamped) = (copies(&self.user_header()), copies(SCOPES_HEADER));
        let Some(user) = user else {
            return if users.is_empty() && stamped.is_empty() {
                Ok(())
            } else {
                Err(format!("identity without authentication: user {users:?}, scopes {stamped:?}"))
            };
        };
        if users != [user] {
            return Err(format!("user {users:?} upstream, expected {user:?}"));
        }
        match (scopes, stamped.as_slice()) {
            (None, []) => Ok(()),
            (None, _) => Err(format!("scopes {stamped:?} upstream, expected no such header")),
            (Some(wanted), [one]) if tokens(one).eq(wanted.iter().map(String::as_str)) => Ok(()),
            (Some(wanted), _) => Err(format!("scopes {stamped:?} upstream, expected one header of {wanted:?}")),
        }
    }

    fn judge_refusal(&self, outcome: &Outcome, status: u16, reason: &str) -> Result<(), String> {
        let is_it = |code: &str| code == reason || code == told(reason);
        match outcome {
            Outcome::Admitted { .. } => Err(format!("ADMITTED, expected {reason}")),
            Outcome::Closed { code: 1008, reason: text } if self.websocket => {
                if text.len() > CLOSE_REASON_LIMIT {
                    Err(format!("close reason of {} bytes: {text:?}", text.len()))
                } else if is_it(text.split_once(": ").map_or(&**text, |(_, code)| code)) {
                    Ok(())
                } else {
                    Err(format!("close reason {text:?}, expected {reason}"))
                }
            }
            Outcome::Refused { status: seen, reason: code } if !self.websocket => {
                if *seen != status {
                    Err(format!("status {seen} with reason {code:?}, expected {status} with {reason}"))
                } else if code.as_deref().is_some_and(is_it) || (code.is_none() && self.method == "HEAD") {
                    Ok(())
                } else {
                    Err(format!("reason {code:?}, expected {reason}"))
                }
            }
            other => Err(format!(
                "{other}, expected {} for {reason}",
                if self.websocket { "101 and close 1008".to_owned() } else { format!("status {status}") }
            )),
        }
    }
}

/// The nonempty tokens of a comma-separated list.
fn tokens(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|token| !token.is_empty())
}

impl Expect {
    fn parse(value: &Value) -> Result<Self, String> {
        let malformed = |key: &str| format!("`expect.{key}` is missing or has the wrong type");
        if value["admit"].as_bool().ok_or_else(|| malformed("admit"))? {
            let strings = |list: &Vec<Value>| -> Option<Vec<String>> {
                list.iter().map(|item| item.as_str().map(str::to_owned)).collect()
            };
            Ok(Self::Admit {
                user: match value.get("user") {
                    Some(Value::Null) => None,
                    Some(Value::String(user)) => Some(user.clone()),
                    _ => return Err(malformed("user")),
                },
                scopes: match value.get("scopes") {
                    Some(Value::Null) => None,
                    Some(Value::Array(list)) => Some(strings(list).ok_or_else(|| malformed("scopes"))?),
                    _ => return Err(malformed("scopes")),
                },
            })
        } else {
            Ok(Self::Refuse {
                status: value["status"]
                    .as_u64()
                    .and_then(|status| u16::try_from(status).ok())
                    .ok_or_else(|| malformed("status"))?,
                reason: value["reason"].as_str().ok_or_else(|| malformed("reason"))?.to_owned(),
            })
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admitted { .. } => f.write_str("ADMITTED"),
            Self::Refused { status, reason: Some(reason) } => write!(f, "refused with {status} {reason}"),
            Self::Refused { status, reason: None } => write!(f, "refused with {status} and no reason"),
            Self::Closed { code, reason } => write!(f, "closed with {code} {reason:?}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        if let Self::Admitted { upstream } = self {
            let lines = upstream.iter().map(|(name, value)| format!("{name}: {}", value.escape_ascii()));
            f.debug_list().entries(lines).finish()?;
        }
        Ok(())
    }
}

/// The `headers` of a case, in the order of the file.
struct OrderedHeaders(Vec<(String, Vec<u8>)>);

impl<'de> Deserialize<'de> for OrderedHeaders {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Case;
        impl<'de> Visitor<'de> for Case {
            type Value = OrderedHeaders;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a case with `headers`")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut headers = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key == "headers" {
                        headers = Some(map.next_value::<Pairs>()?.0);
                    } else {
                        map.next_value::<Value>()?;
                    }
                }
                headers.map(OrderedHeaders).ok_or_else(|| A::Error::missing_field("headers"))
            }
        }
        struct Pairs(Vec<(String, Vec<u8>)>);
        impl<'de> Deserialize<'de> for Pairs {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Names;
                impl<'de> Visitor<'de> for Names {
                    type Value = Pairs;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object of header names and values")
                    }
                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        let mut pairs = Vec::new();
                        while let Some((name, value)) = map.next_entry::<String, Value>()? {
                            let values = match value {
                                Value::Array(copies) => copies,
                                one => vec![one],
                            };
                            for value in values {
                                pairs.push((name.clone(), header_bytes(&value).map_err(A::Error::custom)?));
                            }
                        }
                        Ok(Pairs(pairs))
                    }
                }
                deserializer.deserialize_map(Names)
            }
        }
        deserializer.deserialize_map(Case)
    }
}

/// A string is its UTF-8 bytes, and `{"b64": …}` gives raw bytes.
fn header_bytes(value: &Value) -> Result<Vec<u8>, String> {
    if let Some(text) = value.as_str() {
        return Ok(text.as_bytes().to_vec());
    }
    let encoded = value["b64"].as_str().ok_or_else(|| format!("`{value}` is not a header value"))?;
    BASE64.decode(encoded).map_err(|error| format!("`{encoded}`: {error}"))
}

/// Judges every vector, and prints one example of each kind of failure before it fails.
/// # Panics
/// If any vector was decided wrongly.
pub fn judge_all(level: &str, mut decide: impl FnMut(&Vector) -> Outcome) {
    let cases = load();
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for case in &cases {
        if let Err(difference) = case.judge(&decide(case)) {
            let kind = difference.split(['[', '(', '"', '{']).next().unwrap_or_default().to_owned();
            wrong.entry(kind).or_default().push(format!("{}: {difference}", case.id));
        }
    }
    for examples in wrong.values() {
        println!("{:5}  {}", examples.len(), examples[0]);
    }
    let count: usize = wrong.values().map(Vec::len).sum();
    println!("{level}: {} cases, {count} wrong", cases.len());
    assert_eq!(
        count,
        0,
        "{level}: {count} of {} cases are wrong; an example of each kind is printed above",
        cases.len()
    );
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn vector(surface: &str, method: &str, expect: &str) -> Vector {
        Vector::parse(&format!(
            r#"{{"id": "t", "surface": "{surface}", "remoteAddr": "10.0.0.1", "method": "{method}", "path": "/",
                "headers": {{"x-b": "2", "x-a": ["1", {{"b64": "oA=="}}], "upgrade": "websocket"}},
                "config": {{"gateway": {{"auth": {{"trustedProxy": {{"userHeader": "X-User"}}}}}}}}, "expect": {expect}}}"#
        ))
        .unwrap()
    }

    fn admitted(headers: &[(&str, &[u8])]) -> Outcome {
        Outcome::Admitted {
            upstream: headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect(),
        }
    }

    #[test]
    fn headers_keep_the_order_of_the_file_and_copies_stay_apart() {
        let case = vector("ws", "GET", r#"{"admit": false, "reason": "r", "status": 401}"#);
        let sent: Vec<_> = case.on_the_wire();
        let names: Vec<_> = sent.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key", "x-b", "x-a", "x-a", "upgrade"]);
        assert_eq!(sent[5].1, [0xA0]);
    }

    #[test]
    fn the_judge_tells_right_from_wrong() {
        let user = r#"{"admit": true, "user": "\u00e9", "scopes": ["a", "b"]}"#;
        let bare = r#"{"admit": true, "user": "u", "scopes": null}"#;
        let nobody = r#"{"admit": true, "user": null, "scopes": null}"#;
        let refuse = r#"{"admit": false, "reason": "some_code", "status": 401}"#;
        let missing = r#"{"admit": false, "reason": "trusted_proxy_missing_header_x-edge", "status": 401}"#;
        let refused = |status, reason: Option<&str>| Outcome::Refused { status, reason: reason.map(str::to_owned) };
        let closed = |code, reason: &str| Outcome::Closed { code, reason: reason.to_owned() };
        let e: &[u8] = b"\xe9";
        let cases: &[(&str, &str, &str, Outcome, bool)] = &[
            ("http", "GET", user, admitted(&[("x-user", e), ("x-openclaw-scopes", b"a, ,b,")]), true),
            ("http", "GET", user, admitted(&[("x-user", "é".as_bytes()), ("x-openclaw-scopes", b"a,b")]), false),
            ("http", "GET", user, admitted(&[("X-User", e), ("x-user", e), ("x-openclaw-scopes", b"a,b")]), false),
            ("http", "GET", user, admitted(&[("x-user", e), ("x-openclaw-scopes", b"b,a")]), false),
            (
                "http",
                "GET",
                user,
                admitted(&[("x-user", e), ("x-openclaw-scopes", b"a"), ("x-openclaw-scopes", b"b")]),
                false,
            ),
            ("http", "GET", user, admitted(&[("x-user", e)]), false),
            ("http", "GET", user, refused(401, Some("some_code")), false),
            ("http", "GET", bare, admitted(&[("x-user", b"u")]), true),
            ("http", "GET", bare, admitted(&[("x-user", b"u"), ("x-openclaw-scopes", b"")]), false),
            ("http", "GET", nobody, admitted(&[("x-other", b"u")]), true),
            ("http", "GET", nobody, admitted(&[("x-user", b"")]), false),
            ("http", "GET", nobody, admitted(&[("x-openclaw-scopes", b"a")]), false),
            ("http", "GET", refuse, refused(401, Some("some_code")), true),
            ("http", "GET", refuse, refused(403, Some("some_code")), false),
            ("http", "GET", refuse, refused(401, Some("other_code")), false),
            ("http", "GET", refuse, refused(401, None), false),
            ("http", "HEAD", refuse, refused(401, None), true),
            ("http", "GET", refuse, closed(1008, "proxy authentication required: some_code"), false),
            ("http", "GET", refuse, admitted(&[]), false),
            ("ws", "GET", refuse, closed(1008, "proxy authentication required: some_code"), true),
            ("ws", "GET", refuse, closed(1000, "proxy authentication required: some_code"), false),
            ("ws", "GET", refuse, closed(1008, "proxy authentication required: some_"), false),
            ("ws", "GET", missing, closed(1008, "x: trusted_proxy_missing_header"), true),
            ("ws", "GET", missing, closed(1008, "x: trusted_proxy_missing_header_x-other"), false),
            ("http", "GET", missing, refused(401, Some("trusted_proxy_missing_header")), true),
            ("ws", "GET", refuse, closed(1008, &format!("{}: some_code", "p".repeat(130))), false),
            ("ws", "GET", refuse, refused(401, Some("some_code")), false),
            ("ws", "GET", refuse, Outcome::Other("nothing came".to_owned()), false),
        ];
        for (surface, method, expect, outcome, right) in cases {
            let verdict = vector(surface, method, expect).judge(outcome);
            assert_eq!(verdict.is_ok(), *right, "{surface} {method} {expect} {outcome:?}: {verdict:?}");
        }
    }

    #[test]
    fn the_table_reads_and_holds_cases_of_every_kind_under_names_of_their_own() {
        let cases = load();
        let names: HashSet<_> = cases.iter().map(|case| &case.id).collect();
        assert_eq!(names.len(), cases.len());
        for websocket in [false, true] {
            for admit in [false, true] {
                let kind = |case: &&Vector| {
                    case.websocket == websocket && matches!(case.expect, Expect::Admit { .. }) == admit
                };
                assert!(cases.iter().filter(kind).count() > 10, "websocket: {websocket}, admitted: {admit}");
            }
        }
    }
}

//! Attacks, how they are judged, and the laws for every request that reaches the upstream.

use std::fmt;
use std::net::Ipv4Addr;

use harness::vectors::told;
use model::IDENTITY_HEADERS;
use url::Url;

use crate::attack::drive::Got;
use crate::attack::frames::{self, Fields};
use crate::attack::http3;
use crate::attack::place::{Mode, over_quic};
use crate::attack::upstream::Sighting;

/// The user whom the proxy names.
pub const NICK: &str = "nick@example.com";
/// Another allowed user, whose identity attackers want.
pub const ADMIN: &str = "admin@example.com";
/// The proxy that the policies trust.
pub const PROXY: &str = "203.0.113.7";
/// A peer that they do not trust.
pub const STRANGER: &str = "198.51.100.66";
/// The proxy and the stranger where the connection is QUIC, which has no PROXY line: other addresses of this host.
pub const LOCAL_PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);
pub const LOCAL_STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
/// A client behind the proxy.
pub const CLIENT: &str = "198.51.100.9";

/// The scopes of a request without the header, on a plugin's path and on the Gateway's own paths.
pub const WRITE: &str = "operator.write";
pub const OWN: &str = "operator.admin,operator.read,operator.write,operator.approvals,operator.questions,operator.pairing,operator.talk.secrets";

/// One attack: it is played against the filter, and then against the same listener without the filter.
#[derive(Clone)]
pub struct Attack {
    /// A sentence, without its full stop.
    pub name: String,
    pub shots: Vec<Shot>,
}

/// The traffic on one connection.
#[derive(Clone)]
pub struct Shot {
    /// Of the listener and its policy.
    pub mode: &'static str,
    pub how: How,
    /// Sent one after the other, each after everything before it was answered.
    pub steps: Vec<Step>,
    /// Whether a refusal may lack a body.
    pub head: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// HTTP/1.1, or bytes that resemble it.
    Http1,
    /// HTTP/2 frames; the steps use the streams 1, 3, 5 and so on.
    Http2,
    /// HTTP/3 frames, from this address of this host; each step has a stream of its own, which the client ends if
    /// `ends`.
    Http3 { from: Ipv4Addr, ends: bool },
    /// The same, but each step after the first comes from another address.
    MovingHttp3 { from: Ipv4Addr, then: Ipv4Addr },
}

impl How {
    /// Whether it needs a listener for QUIC.
    const fn is_quic(self) -> bool {
        matches!(self, Self::Http3 { .. } | Self::MovingHttp3 { .. })
    }
}

#[derive(Clone)]
pub struct Step {
    pub bytes: Vec<u8>,
    /// The answers, in order.
    pub expect: Vec<Expect>,
}

/// A header of every request, by which the upstream identifies it. Each shot inserts its own number.
pub const TAG: &str = "x-attack";
/// The placeholder until then.
pub const UNTAGGED: &str = "0000000000";

/// The outcome of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The filter's refusal.
    Refused(u16, String),
    /// The filter's refusal of a WebSocket: 101, then close 1008 with this reason code.
    Closed(String),
    /// Envoy itself answers with this status, before the filter sees anything. 0: it closes without an answer.
    Stopped(u16),
    /// Envoy opens a tunnel; what follows goes to another listener of it.
    Tunnel,
    /// It reaches the upstream, like this.
    Admitted(Passed),
    /// The filter's refusal where reasons are hidden: this status, or close 1008 on a WebSocket, and no reason.
    Hidden(u16),
    /// The filter's refusal as Envoy converts it for gRPC: a success with this error code in a header.
    Grpc(u16),
    /// Envoy answers with this status, or closes, when the request may already be on its way as Nick's. That one
    /// request arrives, whole or in part, or nothing arrives.
    CutOff(u16),
    /// The connection ends; nothing more follows.
    End,
}

/// The form in which an admitted request reaches the upstream.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Passed {
    /// `None`: anonymous, without any identity.
    pub user: Option<String>,
    /// `None`: no such header.
    pub scopes: Option<String>,
    /// Whether the proxy itself named scopes, which then apply on every path.
    pub named: bool,
    /// The target, if the attack is about it.
    pub target: Option<Vec<u8>>,
    /// The copies of Origin that arrive, if the attack is about them.
    pub origins: Option<Vec<&'static str>>,
    /// The number of bytes in the body, or after the upgrade.
    pub body: Option<usize>,
    /// The status with which the upstream answers, if it is not 200 or 101.
    pub answer: Option<u16>,
    /// Trailers, as names.
    pub trailers: Vec<String>,
}

pub fn refused(reason: &str) -> Expect {
    Expect::Refused(if reason == "proxy_attribution_required" { 403 } else { 401 }, told(reason).to_owned())
}

pub fn closed(reason: &str) -> Expect {
    Expect::Closed(told(reason).to_owned())
}

/// Admitted as Nick, with the scopes that the path gives if none were named.
pub fn nick(scopes: &str) -> Expect {
    Expect::Admitted(Passed { user: Some(NICK.to_owned()), scopes: Some(scopes.to_owned()), ..Passed::default() })
}

/// Admitted as Nick with scopes that the proxy named.
pub fn nick_named(scopes: &str) -> Expect {
    Expect::Admitted(Passed {
        user: Some(NICK.to_owned()),
        scopes: Some(scopes.to_owned()),
        named: true,
        ..Passed::default()
    })
}

/// A WebSocket of Nick's, whose absent scopes header stays absent.
pub fn nick_socket() -> Expect {
    Expect::Admitted(Passed { user: Some(NICK.to_owned()), ..Passed::default() })
}

pub fn anonymous() -> Expect {
    Expect::Admitted(Passed::default())
}

impl Expect {
    /// The same, with more expectations about what arrives.
    pub fn with(mut self, change: impl FnOnce(&mut Passed)) -> Self {
        if let Self::Admitted(passed) = &mut self {
            change(passed);
        }
        self
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(status, reason) => write!(out, "refused: {status} `{reason}`"),
            Self::Closed(reason) => write!(out, "refused: close 1008 `{reason}`"),
            Self::Tunnel => out.write_str("a tunnel opens"),
            Self::Hidden(status) => write!(out, "refused: {status} without a reason"),
            Self::Stopped(0) => out.write_str("stopped by Envoy: connection closed"),
            Self::Stopped(status) => write!(out, "stopped by Envoy: {status}"),
            Self::Grpc(code) => write!(out, "refused: gRPC error {code}"),
            Self::CutOff(0) => out.write_str("cut off by Envoy on its way: connection closed"),
            Self::CutOff(status) => write!(out, "cut off by Envoy on its way: {status}"),
            Self::End => out.write_str("connection closed"),
            Self::Admitted(passed) => {
                match &passed.user {
                    Some(user) => write!(out, "passes as {}", user.split('@').next().unwrap_or_default())?,
                    None => out.write_str("passes without identity")?,
                }
                match passed.scopes.as_deref() {
                    None if passed.user.is_some() => out.write_str(", scopes header stays absent"),
                    None => Ok(()),
                    Some("") => out.write_str(", no scopes"),
                    Some(OWN) => out.write_str(", default scopes of an own path"),
                    Some(WRITE) if !passed.named => out.write_str(", `operator.write`"),
                    Some(scopes) => write!(out, ", `{scopes}`"),
                }
            }
        }
    }
}

/// A request for HTTP/1.1 or HTTP/2.
#[derive(Clone)]
pub struct Request {
    /// Sent before everything else: the PROXY line.
    pub proxy: Vec<u8>,
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    pub version: &'static str,
    pub host: Option<Vec<u8>>,
    pub headers: Fields,
    /// Raw lines, each with its line end; HTTP/1.1 only.
    pub lines: Vec<u8>,
    /// The body, including its framing; HTTP/1.1 only.
    pub tail: Vec<u8>,
}

impl Request {
    /// From a peer, by the PROXY protocol, without a user.
    pub fn from_peer(peer: &str) -> Self {
        Self { proxy: harness::wire::proxy_line(peer), ..Self::direct() }
    }

    /// Without a PROXY line: on its own connection, or later on a connection.
    pub fn direct() -> Self {
        Self {
            proxy: Vec::new(),
            method: b"GET".to_vec(),
            target: b"/".to_vec(),
            version: "HTTP/1.1",
            host: Some(b"claw.example.com".to_vec()),
            headers: vec![(TAG.into(), UNTAGGED.into())],
            lines: Vec::new(),
            tail: Vec::new(),
        }
    }

    /// Through the trusted proxy, with a client but no user.
    pub fn proxied() -> Self {
        Self::from_peer(PROXY).header("x-forwarded-for", CLIENT)
    }

    /// Through the trusted proxy, with Nick as the user.
    pub fn honest() -> Self {
        Self::proxied().header("x-forwarded-user", NICK)
    }

    /// The same from another peer.
    pub fn proxied_by(mut self, peer: &str) -> Self {
        self.proxy = harness::wire::proxy_line(peer);
        self
    }

    pub fn method(mut self, method: &str) -> Self {
        method.as_bytes().clone_into(&mut self.method);
        self
    }

    pub fn target(mut self, target: impl AsRef<[u8]>) -> Self {
        target.as_ref().clone_into(&mut self.target);
        self
    }

    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.as_bytes().to_vec());
        self
    }

    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    pub fn all<N: AsRef<[u8]>, V: AsRef<[u8]>>(self, headers: &[(N, V)]) -> Self {
        headers.iter().fold(self, |this, (name, value)| this.header(name, value))
    }

    pub fn lines(mut self, lines: impl AsRef<[u8]>) -> Self {
        self.lines.extend_from_slice(lines.as_ref());
        self
    }

    pub fn tail(mut self, tail: impl AsRef<[u8]>) -> Self {
        self.tail.extend_from_slice(tail.as_ref());
        self
    }

    /// A WebSocket handshake.
    pub fn upgrade(self) -> Self {
        self.all(&[
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ])
    }

    /// The same request on a connection that is already open.
    pub fn again(mut self) -> Self {
        self.proxy.clear();
        self
    }

    pub fn http1(&self) -> Vec<u8> {
        let mut bytes = self.proxy.clone();
        for part in [&self.method, &b" "[..], &self.target, b" ", self.version.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
        let host = self.host.iter().map(|host| (b"host".to_vec(), host.clone()));
        for (name, value) in host.chain(self.headers.iter().cloned()) {
            bytes.extend([&name[..], b": ", &value, b"\r\n"].concat());
        }
        bytes.extend([&self.lines[..], b"\r\n", &self.tail].concat());
        bytes
    }

    /// The fields of a HEADERS frame; HTTP/2 names are in lower case.
    pub fn fields(&self) -> Fields {
        let mut fields: Fields = vec![
            (b":method".to_vec(), self.method.clone()),
            (b":scheme".to_vec(), b"http".to_vec()),
            (b":path".to_vec(), self.target.clone()),
        ];
        fields.extend(self.host.iter().map(|host| (b":authority".to_vec(), host.clone())));
        fields.extend(self.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())));
        fields
    }
}

/// One request on one connection of HTTP/1.1.
pub fn h1(request: Request, expect: Expect) -> Shot {
    Shot { head: request.method == b"HEAD", ..h1_bytes(request.http1(), vec![expect]) }
}

/// Bytes on one connection, and the answers.
pub fn h1_bytes(bytes: Vec<u8>, expect: Vec<Expect>) -> Shot {
    Shot { mode: "raw", how: How::Http1, steps: vec![Step { bytes, expect }], head: false }
}

/// Requests on one connection, each sent after the answer to the previous one.
pub fn h1_steps(requests: Vec<(Request, Expect)>) -> Shot {
    let mut steps = Vec::new();
    for (request, expect) in requests {
        let request = if steps.is_empty() { request } else { request.again() };
        steps.push(Step { bytes: request.http1(), expect: vec![expect] });
    }
    Shot { mode: "raw", how: How::Http1, steps, head: false }
}

/// Requests on one connection, all sent at once.
pub fn h1_pipelined(requests: Vec<(Request, Expect)>) -> Shot {
    let (mut bytes, mut expect) = (Vec::new(), Vec::new());
    for (request, one) in requests {
        let request = if bytes.is_empty() { request } else { request.again() };
        bytes.extend(request.http1());
        expect.push(one);
    }
    h1_bytes(bytes, expect)
}

/// One request on one connection of HTTP/2.
pub fn h2(request: &Request, expect: Expect) -> Shot {
    h2_fields(&request.proxy, &request.fields(), &[], expect)
}

/// A HEADERS frame on one connection of HTTP/2, and the frames after it.
pub fn h2_fields(proxy: &[u8], fields: &[(Vec<u8>, Vec<u8>)], rest: &[u8], expect: Expect) -> Shot {
    let bytes =
        [proxy.to_vec(), frames::opening(), frames::headers(1, fields, rest.is_empty()), rest.to_vec()].concat();
    Shot { mode: "raw", how: How::Http2, steps: vec![Step { bytes, expect: vec![expect] }], head: false }
}

/// One request on one connection of HTTP/3.
pub fn h3(request: &Request, expect: Expect) -> Shot {
    h3_fields(local(request), request.fields(), &[], true, expect)
}

/// A HEADERS frame on one connection of HTTP/3, and the frames after it.
pub fn h3_fields(from: Ipv4Addr, fields: Fields, rest: &[u8], ends: bool, expect: Expect) -> Shot {
    let fields = secure(fields);
    let bytes = [http3::headers(&fields), rest.to_vec()].concat();
    let how = How::Http3 { from, ends };
    Shot { mode: "raw", how, steps: vec![Step { bytes, expect: vec![expect] }], head: false }
}

/// Bytes on a stream of HTTP/3.
pub fn h3_bytes(bytes: Vec<u8>, expect: Expect) -> Shot {
    let how = How::Http3 { from: LOCAL_PROXY, ends: true };
    Shot { mode: "raw", how, steps: vec![Step { bytes, expect: vec![expect] }], head: false }
}

/// Requests on one connection of HTTP/3, each on its own stream.
pub fn h3_steps(requests: &[(Request, Expect)]) -> Shot {
    let from = requests.first().map_or(LOCAL_PROXY, |(request, _)| local(request));
    let step = |(request, expect): &(Request, Expect)| Step {
        bytes: http3::headers(&secure(request.fields())),
        expect: vec![expect.clone()],
    };
    Shot { mode: "raw", how: How::Http3 { from, ends: true }, steps: requests.iter().map(step).collect(), head: false }
}

/// The address in place of the one that a PROXY line names.
fn local(request: &Request) -> Ipv4Addr {
    if request.proxy == harness::wire::proxy_line(STRANGER) { LOCAL_STRANGER } else { LOCAL_PROXY }
}

/// The scheme that QUIC has.
fn secure(mut fields: Fields) -> Fields {
    for (name, value) in &mut fields {
        if name == b":scheme" && value == b"http" {
            *value = b"https".to_vec();
        }
    }
    fields
}

/// Requests on one connection of HTTP/2, each on its own stream.
pub fn h2_steps(requests: Vec<(Request, Expect)>) -> Shot {
    let mut steps = Vec::new();
    for (request, expect) in requests {
        let stream = u32::try_from(2 * steps.len() + 1).expect("few");
        let mut bytes = frames::headers(stream, &request.fields(), true);
        if steps.is_empty() {
            bytes = [request.proxy.clone(), frames::opening(), bytes].concat();
        }
        steps.push(Step { bytes, expect: vec![expect] });
    }
    Shot { mode: "raw", how: How::Http2, steps, head: false }
}

/// An attack of one shot.
pub fn attack(mode: &'static str, name: impl Into<String>, shot: Shot) -> Attack {
    shots(mode, name, vec![shot])
}

/// An attack of several shots, each over its own connection.
pub fn shots(mode: &'static str, name: impl Into<String>, shots: Vec<Shot>) -> Attack {
    let at = |how: How| if how.is_quic() { over_quic(mode) } else { Some(mode) };
    let shots = shots.into_iter().map(|shot| {
        let mode = at(shot.how).unwrap_or_else(|| panic!("the mode `{mode}` has no listener for QUIC"));
        Shot { mode, ..shot }
    });
    Attack { name: name.into(), shots: shots.collect() }
}

/// The same request over HTTP/1.1 and HTTP/2, and over HTTP/3 where the mode has a listener for it.
pub fn both(mode: &'static str, name: impl Into<String>, request: Request, expect: Expect) -> Attack {
    shots(mode, name, versions(mode, &request, &expect))
}

/// One connection for each version of HTTP that the mode has a listener for.
pub fn versions(mode: &str, request: &Request, expect: &Expect) -> Vec<Shot> {
    let mut all = vec![h1(request.clone(), expect.clone()), h2(request, expect.clone())];
    let fields = request.fields();
    let length: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    // Over HTTP/3 Envoy takes no byte beyond ASCII in a header. Headers of more than 16 KiB it may leave unanswered.
    if over_quic(mode).is_some() && length <= 16 * 1024 {
        let is_ascii = fields.iter().all(|(_, value)| value.is_ascii());
        all.push(h3(request, if is_ascii { expect.clone() } else { Expect::Stopped(0) }));
    }
    all
}

impl Attack {
    /// The outcomes: in order on one connection, and without repetitions.
    pub fn outcome(&self) -> String {
        let mut said: Vec<(&str, Vec<String>)> = Vec::new();
        for shot in &self.shots {
            let mut on_one: Vec<String> = shot.expected().map(Expect::to_string).collect();
            on_one.dedup();
            let text = on_one.join(", then ");
            match said.iter_mut().find(|(mode, _)| *mode == shot.mode) {
                Some((_, all)) if all.contains(&text) => {}
                Some((_, all)) => all.push(text),
                None => said.push((shot.mode, vec![text])),
            }
        }
        said.dedup_by(|one, other| one.1 == other.1);
        match said.as_slice() {
            [(_, one)] => one.join("; "),
            many => many.iter().map(|(mode, all)| format!("{mode}: {}", all.join("; "))).collect::<Vec<_>>().join("; "),
        }
    }
}

impl Shot {
    /// Every outcome, in order.
    pub fn expected(&self) -> impl Iterator<Item = &Expect> {
        self.steps.iter().flat_map(|step| &step.expect)
    }
}

/// What was observed.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub got: Vec<Got>,
    pub seen: Vec<Sighting>,
}

/// Compares the observed outcome with the expected one.
pub fn judge(shot: &Shot, mode: &Mode, outcome: &Outcome) -> Result<(), String> {
    let expected: Vec<&Expect> = shot.expected().collect();
    for (index, expect) in expected.iter().enumerate() {
        let got = outcome.got.get(index).unwrap_or(&Got::Nothing);
        if !agrees(expect, got, shot.head) {
            return Err(format!("answer {} was {got}, expected: {expect}", index + 1));
        }
    }
    if let Some(more) = outcome.got.get(expected.len()) {
        return Err(format!("one answer too many: {more}"));
    }
    let passed: Vec<&Passed> = expected
        .iter()
        .filter_map(|expect| if let Expect::Admitted(passed) = expect { Some(passed) } else { None })
        .collect();
    if expected.iter().any(|expect| matches!(expect, Expect::CutOff(_))) {
        if outcome.seen.len() > 1 || !passed.is_empty() {
            return Err(format!("{} requests reached the upstream, expected one at most", outcome.seen.len()));
        }
        return outcome.seen.iter().try_for_each(|sighting| laws(sighting, mode, false));
    }
    if passed.len() != outcome.seen.len() {
        return Err(format!("{} requests reached the upstream, expected {}", outcome.seen.len(), passed.len()));
    }
    for (passed, sighting) in passed.into_iter().zip(&outcome.seen) {
        matches_sighting(passed, mode, sighting)?;
        laws(sighting, mode, passed.named)?;
    }
    Ok(())
}

fn agrees(expect: &Expect, got: &Got, head: bool) -> bool {
    match (expect, got) {
        (Expect::Refused(status, reason), Got::Answer { status: seen, reason: code, .. }) => {
            status == seen && (code.as_ref() == Some(reason) || (head && code.is_none()))
        }
        (Expect::Closed(reason), Got::Closed { code: 1008, reason: text }) => text.ends_with(&format!(": {reason}")),
        (Expect::Stopped(0) | Expect::CutOff(0) | Expect::End, Got::Nothing) => true,
        (Expect::Stopped(status) | Expect::CutOff(status), Got::Answer { status: seen, reason: None, .. }) => {
            status == seen
        }
        (Expect::Tunnel, Got::Answer { status: 200, reason: None, .. }) => true,
        (Expect::Hidden(101), Got::Closed { code: 1008, reason }) => !reason.contains(':'),
        (Expect::Hidden(status), Got::Answer { status: seen, reason: None, text, .. }) => {
            status == seen && !["trusted_proxy", "attribution", "trustedProxies"].iter().any(|word| text.contains(word))
        }
        (Expect::Grpc(code), Got::Answer { grpc, .. }) => *grpc == Some(*code),
        (Expect::Admitted(Passed { answer: Some(wanted), .. }), Got::Answer { status, reason: None, .. }) => {
            wanted == status
        }
        (Expect::Admitted(Passed { answer: None, .. }), Got::Answer { status: 200, .. } | Got::Switched) => true,
        _ => false,
    }
}

fn matches_sighting(passed: &Passed, mode: &Mode, sighting: &Sighting) -> Result<(), String> {
    let users = sighting.values(mode.user_header);
    let wanted: Vec<&str> = passed.user.as_deref().into_iter().collect();
    if users != wanted {
        return Err(format!("the upstream saw the users {users:?}, expected {wanted:?}"));
    }
    let scopes = sighting.values("x-openclaw-scopes");
    let wanted: Vec<&str> = passed.scopes.as_deref().into_iter().collect();
    if scopes != wanted {
        return Err(format!("the upstream saw the scopes {scopes:?}, expected {wanted:?}"));
    }
    if let Some(target) = &passed.target
        && *target != sighting.target
    {
        return Err(format!(
            "the upstream saw `{}`, expected `{}`",
            sighting.target.escape_ascii(),
            target.escape_ascii()
        ));
    }
    let origins = sighting.values("origin");
    if let Some(wanted) = &passed.origins
        && origins != *wanted
    {
        return Err(format!("the upstream saw the origins {origins:?}, expected {wanted:?}"));
    }
    if let Some(length) = passed.body
        && length != sighting.body.len() + sighting.behind.len()
    {
        let seen = sighting.body.len() + sighting.behind.len();
        return Err(format!("the upstream saw {seen} bytes behind the headers, expected {length}"));
    }
    let trailers: Vec<&String> = sighting.trailers.iter().map(|(name, _)| name).collect();
    if trailers != passed.trailers.iter().collect::<Vec<_>>() {
        return Err(format!("the upstream saw the trailers {trailers:?}, expected {:?}", passed.trailers));
    }
    Ok(())
}

/// A name as a careless server might read it (CGI turns every unusual character into `_`, as do some PHP and Python
/// servers).
pub fn careless(name: &str) -> String {
    name.chars().map(|one| if one.is_ascii_alphanumeric() { one.to_ascii_lowercase() } else { '-' }).collect()
}

/// The invariants for every request that reaches the upstream, in any attack.
pub fn laws(sighting: &Sighting, mode: &Mode, named: bool) -> Result<(), String> {
    if let Some(problem) = &sighting.problem {
        return Err(format!("the upstream could not read a {problem}"));
    }
    let is_managed = |name: &str| {
        let plain = careless(name);
        let is_built_in = IDENTITY_HEADERS.iter().any(|managed| match managed.strip_suffix('*') {
            Some(prefix) => plain.starts_with(prefix),
            None => plain == *managed,
        });
        is_built_in || plain == mode.user_header
    };
    for (name, value) in &sighting.headers {
        if value.iter().any(|byte| b"\r\n\0".contains(byte)) {
            return Err(format!("the upstream saw a line break or a NUL in `{name}: {}`", value.escape_ascii()));
        }
        let exact = name.to_ascii_lowercase();
        let may_stand =
            exact == mode.user_header || exact == "x-openclaw-scopes" || mode.spared.contains(&exact.as_str());
        if is_managed(name) && !may_stand {
            return Err(format!("the upstream saw `{name}: {}`", value.escape_ascii()));
        }
    }
    // Node keeps nominated headers, other servers drop them.
    for token in sighting.values("connection").iter().flat_map(|value| value.split(',')) {
        if is_managed(token.trim()) {
            return Err(format!("the upstream saw Connection nominate `{token}`"));
        }
    }
    let users = sighting.values(mode.user_header);
    let path = whatwg_path(&sighting.target);
    let is_upgrade = !sighting.values("upgrade").is_empty();
    match users.as_slice() {
        [] => {
            let free = if is_upgrade { &mode.anonymous_upgrades } else { &mode.anonymous };
            if !mode.delegates && !path.as_deref().is_some_and(|path| holds(free, path)) {
                return Err(format!("nobody was named, and to the Gateway the path is {path:?}"));
            }
        }
        [user] if user == NICK || mode.users.contains(&user.as_str()) => {}
        other => return Err(format!("the upstream saw the users {other:?}")),
    }
    let scopes = sighting.values("x-openclaw-scopes");
    match scopes.as_slice() {
        [] if is_upgrade || users.is_empty() => {}
        [one] if named || is_upgrade || one == WRITE => {}
        [_] if path.as_deref().is_some_and(|path| holds(&mode.own, path)) => {}
        other => return Err(format!("the upstream saw the scopes {other:?}, and to the Gateway the path is {path:?}")),
    }
    Ok(())
}

/// Whether a list of exact paths, and of paths with `*` for one segment or, at the end, for any suffix, contains a
/// path.
fn holds(list: &[&str], path: &str) -> bool {
    list.iter().any(|entry| match entry.split_once('*') {
        None => *entry == path,
        Some((before, "")) => path.strip_prefix(before).is_some_and(|rest| !rest.is_empty()),
        Some((before, after)) => path
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .is_some_and(|middle| !middle.is_empty() && !middle.contains('/')),
    })
}

/// The path as the Gateway reads it: `new URL(request.url, "http://localhost").pathname`, after Node has read the
/// bytes as Latin-1.
pub fn whatwg_path(target: &[u8]) -> Option<String> {
    let text: String = target.iter().map(|byte| char::from(*byte)).collect();
    let base = Url::parse("http://localhost").expect("a good URL");
    base.join(&text).ok().map(|url| url.path().to_owned())
}

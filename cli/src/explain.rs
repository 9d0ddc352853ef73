//! `explain`: what the filter does with one request, rule by rule.

mod answer;
mod answered;
mod browser;
mod caller;
mod connection;
mod curl;
mod fix;
mod front;
mod har;
mod http1;
mod log;
mod normal;
mod secret;
mod sent;
mod socket;

use std::path::PathBuf;

use policy::headers::serialize;
use policy::peer::{Address, socket_address};
use policy::{Identity, IdentitySource, Peer, PeerAddress, Policy, Request};

use crate::input::{self, Input};
use crate::output::{Failure, Outcome, Output};
use answer::Answer;
use front::Front;
use sent::{Malformed, Sent};

const HELP: &str = "\
The request is what your proxy (Envoy's peer) sends. Give its address with --peer, and the
headers with -H. Or give the whole request with --request, --har or --curl; then -H replaces
headers of the same name. Envoy comes first, as envoy/envoy.yaml configures it: what it answers
itself (such as 426 to HTTP/1.0) is the answer, and what it changes before the filter runs (the
path, headers from hop to hop, X-Forwarded-Proto, X-Request-Id, headers that it removes early; at
the edge also the peer's address in X-Forwarded-For) is changed here too, unless you use --as-seen.
--log reads a request from an access log instead, and --browser tries what a browser asks for.
Values that may be secrets are shown as ***.

Examples:
  openclaw-trusted-proxy explain openclaw.json --peer 10.0.0.1 \\
    -H 'x-forwarded-for: 203.0.113.7' -H 'x-forwarded-user: nick@example.com'
  openclaw-trusted-proxy explain openclaw.json --peer 10.0.0.1 --ws \\
    --request request.http -H 'origin: https://claw.example.com'
  openclaw-trusted-proxy explain openclaw.json --peer 10.0.0.1 \\
    --method POST --path /tools/invoke --json
  openclaw-trusted-proxy explain openclaw.json --peer 10.0.0.1 \\
    --har recording.har --entry /control-ui-config.json \\
    -H 'x-forwarded-for: 203.0.113.7' -H 'x-forwarded-user: nick@example.com'
  openclaw-trusted-proxy explain openclaw.json --peer 10.0.0.1 \\
    --curl \"curl https://claw.example.com/ -H 'x-forwarded-user: nick'\"
  openclaw-trusted-proxy explain openclaw.json --browser https://claw.example.com/
  openclaw-trusted-proxy explain openclaw.json --log access.log \\
    --request-id 3f1c0d4e-9a4b-4d3e-8a52-4b1f0c7d2a11
  openclaw-trusted-proxy explain stricter.json --opened-under openclaw.json \\
    --peer 10.0.0.1 --ws --request request.http

Exit codes: 0 the request passes, 1 it is refused (also by Envoy), 2 no answer.
With --browser: 0 all three requests pass, 1 one of them is refused, 2 no answer.
With --opened-under: 0 the open socket stays, 1 it is closed, 2 no answer.";

/// What describes one request on the command line, except for its peer.
const ONE_REQUEST: [&str; 15] = [
    "headers",
    "method",
    "path",
    "ws",
    "http2",
    "request",
    "har",
    "curl",
    "as_seen",
    "opened_under",
    "assertion",
    "certificate_uri_san",
    "true_claim",
    "filter_state",
    "destination",
];

/// Explain the decision on one request: what each rule saw, the verdict, and what the upstream gets
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    #[command(flatten)]
    input: Input,
    /// What becomes of a WebSocket that this request opened when FILE was in force, a configuration like the first one
    #[arg(long, value_name = "FILE", help_heading = "An open socket")]
    opened_under: Option<PathBuf>,
    /// The filter's settings for --opened-under, if that is an openclaw.json
    #[arg(long, value_name = "FILE", requires = "opened_under", help_heading = "An open socket")]
    opened_under_filter: Option<PathBuf>,

    /// The peer that opened the connection to Envoy: IP, or IP:PORT as Envoy shows it (port 0 means that the address
    /// is from a header)
    #[arg(long, value_name = "IP[:PORT]", required_unless_present_any = ["log", "browser"], help_heading = "The request")]
    peer: Option<String>,
    /// A header; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", help_heading = "The request")]
    headers: Vec<String>,
    /// The method [default: GET]
    #[arg(long, value_name = "METHOD", help_heading = "The request")]
    method: Option<String>,
    /// The path, with its query [default: /]
    #[arg(long, value_name = "PATH", help_heading = "The request")]
    path: Option<String>,
    /// Make this a WebSocket handshake: add the headers that are missing
    #[arg(long, help_heading = "The request")]
    ws: bool,
    /// Use HTTP/2, where a handshake has no key and a refusal is an ordinary response
    #[arg(long, help_heading = "The request")]
    http2: bool,
    /// A file with the head of an HTTP/1.1 request; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["har", "curl"], help_heading = "The request")]
    request: Option<PathBuf>,
    /// A HAR file, as saved by a browser's developer tools
    #[arg(long, value_name = "FILE", conflicts_with = "curl", help_heading = "The request")]
    har: Option<PathBuf>,
    /// The entry in the HAR file: its number, starting at 1, or part of its URL
    #[arg(long, value_name = "N|URL", requires = "har", help_heading = "The request")]
    entry: Option<String>,
    /// A curl command, as one argument
    #[arg(long, value_name = "COMMAND", help_heading = "The request")]
    curl: Option<String>,
    /// The request is what the filter sees: leave out what Envoy answers, adds and changes
    #[arg(long, help_heading = "The request")]
    as_seen: bool,

    /// An access log with what the policy reads, as `replay` reads it; - is standard input
    #[arg(
        long,
        value_name = "FILE",
        requires = "recorded",
        conflicts_with_all = ONE_REQUEST,
        conflicts_with = "peer",
        help_heading = "A request in a log"
    )]
    log: Option<PathBuf>,
    /// The ID of the request in the log: x-request-id
    #[arg(long, value_name = "ID", requires = "log", group = "recorded", help_heading = "A request in a log")]
    request_id: Option<String>,
    /// The number of the line in the log
    #[arg(long, value_name = "N", requires = "log", group = "recorded", help_heading = "A request in a log")]
    line: Option<u64>,

    /// The address of the Control UI: try the page, a script of it, and the socket, for a user who is signed in
    #[arg(
        long,
        value_name = "URL",
        conflicts_with_all = ONE_REQUEST,
        conflicts_with = "log",
        help_heading = "A browser"
    )]
    browser: Option<String>,
    /// The user [default: the first of allowUsers]
    #[arg(long, value_name = "NAME", requires = "browser", help_heading = "A browser")]
    user: Option<String>,

    /// The identity that Envoy verified (filter.assertion)
    #[arg(long, value_name = "VALUE", help_heading = "The connection")]
    assertion: Option<String>,
    /// A URI SAN of the peer's certificate in mutual TLS; Envoy shows the filter only the first
    #[arg(long, value_name = "URI", help_heading = "The connection")]
    certificate_uri_san: Vec<String>,
    /// A claim that Envoy verified to be true (filter.assertion.requireTrue), by the last name in its path
    #[arg(long, value_name = "NAME", help_heading = "The connection")]
    true_claim: Vec<String>,
    /// A filter state that Envoy wrote (filter.peerIdentity)
    #[arg(long, value_name = "KEY=VALUE", value_parser = read_filter_state, help_heading = "The connection")]
    filter_state: Vec<(String, String)>,
    /// The address on which Envoy accepted the connection (filter.rejectSameHost)
    #[arg(long, value_name = "IP", help_heading = "The connection")]
    destination: Option<String>,
}

impl Args {
    fn peer(&self) -> &str {
        self.peer.as_deref().unwrap_or_default()
    }

    /// The identity of the peer that is given for a source.
    fn identity(&self, source: &IdentitySource) -> Option<&str> {
        match source {
            IdentitySource::Certificate => self.certificate_uri_san.first().map(String::as_str),
            IdentitySource::FilterState(key) => {
                self.filter_state.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
            }
        }
    }

    /// The configuration that was in force when the socket was opened.
    fn opened_under(&self) -> Option<Input> {
        let file = self.opened_under.clone()?;
        let filter = self.opened_under_filter.clone();
        Some(Input { file, filter, filter_option: Some("--opened-under-filter"), ..self.input.clone() })
    }

    /// Adds what Envoy knows of the connection, as far as the policy reads it.
    fn add_connection<'a>(&'a self, policy: &Policy, request: &mut Request<'a>) -> Result<(), Failure> {
        let destination = self.destination.as_deref().map(read_destination).transpose()?;
        request.destination = destination.filter(|_| policy.needs_destination());
        if !self.as_seen {
            connection::check(self, policy)?;
        }
        if policy.assertion_path().is_some() {
            request.assertion = self.assertion.as_deref().map(str::as_bytes);
            let is_true = |path: &[u8]| {
                self.true_claim.iter().any(|name| path.rsplit(|byte| *byte == 0).next() == Some(name.as_bytes()))
            };
            request.claims_are_true = policy.required_claims().all(is_true);
        }
        let sources = policy.identity_sources();
        request.identity = sources.iter().find_map(|source| Some(source.of(self.identity(source)?.as_bytes())));
        Ok(())
    }
}

fn read_filter_state(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

/// Runs the subcommand.
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    if args.input.is_stdin() && args.request.as_deref().is_some_and(input::is_stdin) {
        return Err(Failure::new("-", "is given for both the policy and the request", "read one of them from a file"));
    }
    let opened_under = args.opened_under();
    let is_stdin_twice = |other: &Input| {
        other.is_stdin() && (args.input.is_stdin() || args.request.as_deref().is_some_and(input::is_stdin))
    };
    if opened_under.as_ref().is_some_and(is_stdin_twice) {
        return Err(Failure::new(
            "--opened-under",
            "is standard input, like another file",
            "read one of them from a file",
        ));
    }
    if args.input.is_stdin() && args.log.as_deref().is_some_and(input::is_stdin) {
        return Err(Failure::new("-", "is given for both the policy and the log", "read one of them from a file"));
    }
    let configuration = args.input.read()?;
    if let Some(log) = &args.log {
        return log::run(args, &configuration, log, out);
    }
    if let Some(url) = &args.browser {
        return browser::run(args, &configuration, url, out);
    }
    let policy = configuration.policy()?.policy;
    let opened_under = opened_under.map(|input| input.read()).transpose()?;
    let (peer_text, peer) = read_peer(args.peer(), &policy);
    if peer == Peer::Unknown && !args.as_seen {
        check_peer(args.peer())?;
    }
    let sent = read_request(args)?;
    let mut notes = Vec::new();
    let front = (!args.as_seen).then(|| Front::of(&configuration));
    let headers = match front::seen(&sent, peer, front.as_ref(), &mut notes) {
        Ok(headers) => headers,
        Err(answered) => return answer::write_answered(&answered, &sent, &peer_text, out),
    };
    let map = serialize(&headers);
    let Ok(mut request) = policy.read(peer, &map) else {
        // We serialized this map ourselves, so only its size can be wrong.
        return Err(Failure::new("the request", "has more headers than a header map can hold", "remove some"));
    };
    args.add_connection(&policy, &mut request)?;
    if policy.needs_destination() && args.destination.is_none() {
        notes.push(
            "filter.rejectSameHost needs the address that the peer connected to: give it with --destination".into(),
        );
    }
    if policy.assertion_path().is_some() {
        if args.assertion.is_none() {
            notes.push("filter.assertion needs the identity that Envoy verified: give it with --assertion".into());
        } else if !request.claims_are_true {
            notes.push("filter.assertion.requireTrue needs claims that are true: name each with --true-claim".into());
        }
    }
    let sources = policy.identity_sources();
    if request.identity.is_none() && !sources.is_empty() {
        let by = sources.iter().map(|source| match source {
            IdentitySource::Certificate => "its certificate's first URI SAN with --certificate-uri-san".to_owned(),
            IdentitySource::FilterState(key) => format!("the filter state with --filter-state {key}=..."),
        });
        notes.push(format!(
            "filter.trustedPeers needs the peer's identity: give {}",
            by.collect::<Vec<_>>().join(", or ")
        ));
    }
    let is_tunnel = matches!(request.identity, Some(Identity::FilterState(_)));
    if peer == Peer::Unknown && !is_tunnel {
        notes.push(format!(
            "--peer {peer_text:?} is not an address as Envoy shows it, such as 10.0.0.1:4711 or [fd00::1]:4711 (here the \
             port may be left out)"
        ));
    }
    note_what_has_no_effect(args, &policy, &request, &mut notes);
    let socket = match &opened_under {
        Some(before) => Some(socket::judge(args, before, &configuration, &policy, &sent, &mut notes)?),
        None => None,
    };
    let answer = Answer::new(&configuration, &policy, &request, &peer_text, &sent, notes).about(socket);
    match front.and_then(|_| front::routed(&sent)).filter(|_| answer.passes()) {
        Some(answered) => answer::write_answered(&answered, &sent, &peer_text, out),
        None => answer.write(out),
    }
}

/// The peer as Envoy shows it. A bare address gets a port, because it came from a socket.
fn read_peer(text: &str, policy: &Policy) -> (String, Peer) {
    let bare = Address::parse(text.as_bytes());
    match (policy.peer_address(), bare) {
        (PeerAddress::FilterState(_), _) => (text.to_owned(), Peer::from_filter_state(text.as_bytes())),
        (PeerAddress::Connection, Some(address)) => {
            let text =
                if address.ip().is_ipv6() { format!("[{text}]:40000") } else { format!("{}:40000", address.ip()) };
            let peer = Peer::from_connection(text.as_bytes());
            (text, peer)
        }
        (PeerAddress::Connection, None) => (text.to_owned(), Peer::from_connection(text.as_bytes())),
    }
}

/// Refuses a peer that Envoy never shows. What it shows of a Unix socket or an internal listener has no address.
fn check_peer(text: &str) -> Result<(), Failure> {
    if ["/", "@", "envoy://"].iter().any(|start| text.starts_with(start)) {
        return Ok(());
    }
    Err(Failure::new(
        "--peer",
        format!("{text:?} is not an IP address, nor one with a port from 0 to 65535"),
        "give the address of your proxy, such as 10.0.0.1, 10.0.0.1:4711, fd00::1 or [fd00::1]:4711",
    ))
}

fn read_destination(text: &str) -> Result<Address, Failure> {
    let address = Address::parse(text.as_bytes()).or_else(|| socket_address(text.as_bytes()));
    address.ok_or_else(|| {
        Failure::new(
            "--destination",
            format!("{text:?} is not an IP address"),
            "give the address on which Envoy accepted the connection, such as 10.0.0.2 or 10.0.0.2:443",
        )
    })
}

/// The request from its source, with the arguments applied on top.
fn read_request(args: &Args) -> Result<Sent, Failure> {
    let mut sent = if let Some(path) = &args.request {
        http1::parse(&input::read_bytes(path)?).map_err(|error| error.at(&input::name_of(path)))?
    } else if let Some(path) = &args.har {
        let name = input::name_of(path);
        let read = input::read_with(path, |file| har::read(file, args.entry.as_deref()))?;
        read.map_err(|error| error.at(&name))?
    } else if let Some(command) = &args.curl {
        curl::parse(command).map_err(|error| error.at("--curl"))?
    } else {
        Sent::default()
    };
    let mut own = Vec::new();
    for header in &args.headers {
        own.push(sent::parse_header(header).map_err(|error| error.at("-H"))?);
    }
    sent.headers.retain(|(name, _)| !own.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)));
    sent.headers.extend(own);
    if let Some(method) = &args.method {
        sent::check_method(method).map_err(|error| error.at("--method"))?;
        sent.method.clone_from(method);
    }
    if let Some(path) = &args.path {
        sent::check_path(&sent.method, path).map_err(|error| error.at("--path"))?;
        sent.path.clone_from(path);
    }
    if args.as_seen
        && let Some(flaw) = sent.wire.take().and_then(|wire| wire.flaw)
    {
        return Err(Malformed::new(flaw.because, flaw.remedy).at("the request"));
    }
    match &mut sent.wire {
        // Envoy says what is wrong with it.
        Some(wire) => {
            let is_changed = !args.headers.is_empty() || args.method.is_some() || args.path.is_some() || args.ws;
            wire.size = wire.size.filter(|_| !is_changed);
            wire.is_url &= args.path.is_none();
        }
        None => sent.check().map_err(|error| error.at("the request"))?,
    }
    sent.http2 |= args.http2;
    if args.ws {
        if sent.method != "GET" {
            let problem = format!("is a handshake, which is a GET, and the method is {}", sent.method);
            return Err(Failure::new("--ws", problem, "leave out --ws, or the method"));
        }
        sent.make_websocket();
    }
    Ok(sent)
}

/// Notes which arguments have no effect.
fn note_what_has_no_effect(args: &Args, policy: &Policy, request: &Request<'_>, notes: &mut Vec<String>) {
    for (given, asked, note) in [
        (
            args.assertion.is_some(),
            policy.assertion_path().is_some(),
            "--assertion has no effect: filter.assertion is not set",
        ),
        (
            !args.certificate_uri_san.is_empty(),
            policy.needs_certificate(),
            "--certificate-uri-san has no effect: the policy does not check filter.trustedPeers",
        ),
        (
            !args.true_claim.is_empty(),
            policy.required_claims().next().is_some(),
            "--true-claim has no effect: filter.assertion.requireTrue is not set",
        ),
        (
            !args.filter_state.is_empty(),
            policy.identity_sources().iter().any(|source| matches!(source, IdentitySource::FilterState(_))),
            "--filter-state has no effect: the policy reads no identity from filter state (filter.peerIdentity)",
        ),
        (
            args.destination.is_some(),
            policy.needs_destination(),
            "--destination has no effect: filter.rejectSameHost is off",
        ),
    ] {
        if given && !asked {
            notes.push(note.to_owned());
        }
    }
    if args.certificate_uri_san.len() > 1 && policy.needs_certificate() {
        notes.push("only the first --certificate-uri-san counts: Envoy shows the filter no others".to_owned());
    }
    if args.as_seen && !policy::path::is_plain(request.path()) {
        notes.push(
            "the path is judged as it is; an Envoy with normalize_path and merge_slashes normalizes it first"
                .to_owned(),
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_description_of_a_request_makes_it_panic(
            text in "(curl|GET / HTTP/1.1|\r\n|: |-H|-d|--url|https://|['\"\\\\$ ]|\\PC){0,30}",
            bytes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let _ = super::curl::parse(&format!("curl {text}"));
            let _ = super::curl::parse(&text);
            let _ = super::http1::parse(text.as_bytes());
            let _ = super::http1::parse(&[b"GET / HTTP/1.1\n", &bytes[..]].concat());
            let _ = super::har::read(text.as_bytes(), None);
            let _ = super::sent::parse_header(&text);
        }
    }
}

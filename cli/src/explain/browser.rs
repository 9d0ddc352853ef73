//! What a browser asks for when somebody opens the Control UI: the page, a script of it, and the socket.

use std::io::Write as _;
use std::net::IpAddr;

use policy::headers::serialize;
use policy::peer::socket_address;
use policy::{Peer, PeerAddress, Reason};
use serde_json::{Value as Json, json};

use super::answer::{Answer, Summary};
use super::front::{self, Front};
use super::sent::Sent;
use super::{Args, check_peer, fix, read_peer, secret};
use crate::candidates;
use crate::input::Configuration;
use crate::json5::{Node, Value};
use crate::output::{Failure, Outcome, Output, Style, visible};
use crate::record::STAND_IN;
use crate::replay::Judge;

/// One of the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Page,
    Asset,
    Socket,
}

impl Step {
    const ALL: [Self; 3] = [Self::Page, Self::Asset, Self::Socket];

    const fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Asset => "asset",
            Self::Socket => "socket",
        }
    }
}

/// The page that is opened.
struct Page {
    origin: String,
    path: String,
    /// `controlUi.basePath`.
    base: String,
    scheme: String,
    host: String,
}

/// Who opens it, and how it comes to Envoy.
#[derive(Debug, Clone)]
struct Visit {
    user: Vec<u8>,
    peer: String,
    client: String,
}

/// The results.
struct Tried {
    step: Step,
    path: String,
    summary: Summary,
}

/// Tries the three requests.
pub fn run(args: &Args, configuration: &Configuration, url: &str, out: &mut Output) -> Result<Outcome, Failure> {
    let page = Page::read(url, configuration)?;
    // Secrets and required headers count as sent.
    let judge = Judge::of(configuration)?;
    let front = Front::of(configuration);
    let (visit, tried) = find(args, configuration, &judge, &front, &page)?;
    let mut notes = Vec::new();
    if configuration.at(&["gateway", "controlUi", "enabled"]).is_some_and(|node| node.value == Value::Bool(false)) {
        notes.push("gateway.controlUi.enabled is false: this Gateway has no Control UI".to_owned());
    }
    if !page.path.starts_with(&page.base) {
        notes.push(format!("The Control UI is below {} (gateway.controlUi.basePath)", page.base));
    }
    let sent: Vec<_> =
        judge.policy.secret_headers().chain(judge.policy.required_headers().iter().map(String::as_str)).collect();
    if !sent.is_empty() {
        notes.push(format!("Counted as sent by the proxy: {}", sent.join(", ")));
    }
    for (is_read, what) in [
        (judge.policy.assertion_path().is_some(), "the identity that Envoy verified is this user"),
        (!judge.policy.identity_sources().is_empty(), "the peer has the first identity of filter.trustedPeers"),
    ] {
        if is_read {
            notes.push(format!("Assumed: {what}"));
        }
    }
    let notes = notes.iter().map(|note| configuration.hidden.text(note).into_owned()).collect();
    Report { page: &page, visit: &visit, tried: &tried, notes, configuration }.write(out)?;
    Ok(if tried.iter().all(|one| one.summary.passes) { Outcome::Fine } else { Outcome::Found })
}

impl Page {
    fn read(url: &str, configuration: &Configuration) -> Result<Self, Failure> {
        let failure = |problem: String, remedy: &str| Failure::new("--browser", problem, remedy);
        let address = "give the address of the page, such as https://claw.example.com/";
        let shown = url.split(['?', '#']).next().unwrap_or_default();
        let (scheme, rest) = url
            .split_once("://")
            .filter(|(scheme, _)| ["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()))
            .ok_or_else(|| failure(format!("{shown:?} does not begin with https:// or http://"), address))?;
        let scheme = scheme.to_ascii_lowercase();
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(failure("has a user".to_owned(), "leave it out, and give --user NAME"));
        }
        let host = authority.to_ascii_lowercase();
        let default = if scheme == "https" { ":443" } else { ":80" };
        let host = host.strip_suffix(default).unwrap_or(&host).to_owned();
        let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_of_host) {
            return Err(failure(format!("{authority:?} is not a host"), address));
        }
        let path = path.split(['?', '#']).next().unwrap_or_default();
        if path.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(failure(format!("{path:?} is not a path"), "write it in ASCII, with %XX for other bytes"));
        }
        let base = configuration.at(&["gateway", "controlUi", "basePath"]).and_then(Node::text).unwrap_or_default();
        let base = base.trim().trim_matches('/');
        let base = if base.is_empty() { String::new() } else { format!("/{base}") };
        let path = if matches!(path, "" | "/") { format!("{base}/") } else { path.to_owned() };
        Ok(Self { origin: format!("{scheme}://{host}"), path, base, scheme, host })
    }
}

/// The visit in which most requests pass: from the addresses of the listed proxies, for a client that is none.
fn find(
    args: &Args,
    configuration: &Configuration,
    judge: &Judge,
    front: &Front,
    page: &Page,
) -> Result<(Visit, Vec<Tried>), Failure> {
    let is_edge = is_edge(configuration);
    let peers = match &args.peer {
        Some(peer) => {
            if read_peer(peer, &judge.policy).1 == Peer::Unknown {
                check_peer(peer)?;
            }
            vec![peer.clone()]
        }
        None => candidates::peers(configuration).iter().map(IpAddr::to_string).collect(),
    };
    let clients = candidates::clients(configuration);
    let mut best: Option<(Visit, Vec<Tried>)> = None;
    for peer in &peers {
        for user in users(args, configuration) {
            for client in &clients {
                let visit = Visit { user: user.clone(), peer: peer.clone(), client: client.to_string() };
                let tried = Step::ALL
                    .into_iter()
                    .map(|step| attempt(configuration, judge, front, page, &visit, step))
                    .collect::<Result<Vec<_>, _>>()?;
                let rank = rank(&tried);
                if best.as_ref().is_none_or(|(_, known)| self::rank(known) < rank) {
                    best = Some((visit, tried));
                }
                if rank.0 == Step::ALL.len() || is_edge {
                    break;
                }
            }
        }
        if best.as_ref().is_some_and(|(_, tried)| rank(tried).0 == Step::ALL.len()) {
            break;
        }
    }
    best.ok_or_else(|| Failure::new("--browser", "has no peer to try", "give --peer, the address of your proxy"))
}

/// Whether browsers connect to Envoy itself.
fn is_edge(configuration: &Configuration) -> bool {
    configuration.plugin.at(&["filter", "edge"]).is_true()
}

/// How many requests pass, and else how far they come.
fn rank(tried: &[Tried]) -> (usize, usize) {
    let order = |reason: Option<Reason>| match reason {
        Some(Reason::UntrustedSource) => 0,
        Some(Reason::LoopbackSource) => 1,
        Some(Reason::AttributionRequired) => 2,
        Some(Reason::UserNotAllowed) => 3,
        _ => 4,
    };
    (
        tried.iter().filter(|one| one.summary.passes).count(),
        tried.iter().map(|one| order(one.summary.cause)).fold(0, usize::saturating_add),
    )
}

/// The user as bytes: the one that is given as UTF-8, or the first of allowUsers, spelled as it may come.
fn users(args: &Args, configuration: &Configuration) -> Vec<Vec<u8>> {
    if let Some(user) = &args.user {
        return vec![user.clone().into_bytes()];
    }
    let mut listed = configuration.plugin.at(&["gateway", "auth", "trustedProxy", "allowUsers"]).texts();
    candidates::spellings(listed.next().unwrap_or(candidates::ANY_USER))
}

/// The request of a step, as the proxy sends it.
fn request(configuration: &Configuration, judge: &Judge, page: &Page, visit: &Visit, step: Step) -> Sent {
    let text = |path: &[&str]| configuration.at(path).and_then(Node::text).unwrap_or_default().to_owned();
    let path = match step {
        Step::Page => page.path.clone(),
        Step::Asset => format!("{}/assets/index.js", page.base),
        Step::Socket => format!("{}/", page.base),
    };
    let mut sent = Sent { path, scheme: page.scheme.clone(), ..Sent::default() };
    let mut add = |name: &str, value: &[u8]| sent.headers.push((name.to_owned(), value.to_vec()));
    add("host", page.host.as_bytes());
    if !is_edge(configuration) {
        add("x-forwarded-for", visit.client.as_bytes());
        add("x-forwarded-proto", page.scheme.as_bytes());
        let header = String::from_utf8_lossy(judge.policy.user_header()).into_owned();
        add(&header, &[text(&["filter", "userPrefix"]).as_bytes(), &visit.user].concat());
    }
    let [site, mode, dest] = match step {
        Step::Page => ["none", "navigate", "document"],
        // A module script has `crossorigin`, so the browser sends Origin.
        Step::Asset => ["same-origin", "cors", "script"],
        Step::Socket => ["same-origin", "websocket", "empty"],
    };
    for (name, value) in [("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)] {
        add(name, value.as_bytes());
    }
    if step != Step::Page {
        add("origin", page.origin.as_bytes());
    }
    if step == Step::Socket {
        sent.make_websocket();
    }
    let more = judge.policy.secret_headers().chain(judge.policy.required_headers().iter().map(String::as_str));
    for name in more {
        if sent.header(name).is_none() {
            sent.headers.push((name.to_owned(), STAND_IN.to_vec()));
        }
    }
    sent
}

fn attempt(
    configuration: &Configuration,
    judge: &Judge,
    front: &Front,
    page: &Page,
    visit: &Visit,
    step: Step,
) -> Result<Tried, Failure> {
    let sent = request(configuration, judge, page, visit, step);
    let path = sent.path.clone();
    let (peer_text, peer) = match judge.policy.peer_address() {
        PeerAddress::FilterState(_) => (visit.peer.clone(), Peer::from_filter_state(visit.peer.as_bytes())),
        PeerAddress::Connection => read_peer(&visit.peer, &judge.policy),
    };
    let map = match front::seen(&sent, peer, Some(front), &mut Vec::new()) {
        Ok(headers) => serialize(&headers),
        Err(answered) => {
            let mut summary = Summary::of_envoy(&answered);
            summary.text = configuration.hidden.text(&summary.text).into_owned();
            return Ok(Tried { step, path, summary });
        }
    };
    let mut request = judge
        .policy
        .read(peer, &map)
        .map_err(|_| Failure::new("--browser", "makes more headers than a header map can hold", "use a shorter one"))?;
    request.destination = socket_address(b"198.51.100.253:8080");
    request.assertion = judge.policy.assertion_path().map(|_| visit.user.as_slice());
    request.claims_are_true = true;
    let identity = configuration.plugin.at(&["filter", "trustedPeers"]).texts().next();
    request.identity = judge.policy.identity_sources().first().and_then(|source| Some(source.of(identity?.as_bytes())));
    let answer = Answer::new(configuration, &judge.policy, &request, &peer_text, &sent, Vec::new());
    let mut summary = answer.summary();
    // The page is what makes these requests.
    summary.fixes.retain(|fix| fix != fix::OTHER_SITE);
    Ok(Tried { step, path, summary })
}

/// What is written.
struct Report<'a> {
    page: &'a Page,
    visit: &'a Visit,
    tried: &'a [Tried],
    notes: Vec<String>,
    configuration: &'a Configuration,
}

impl Report<'_> {
    fn fixes(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        for fix in self.tried.iter().flat_map(|one| &one.summary.fixes) {
            if !all.contains(&fix.as_str()) {
                all.push(fix);
            }
        }
        all
    }

    /// What somebody sees who opens the page.
    fn conclusion(&self) -> &'static str {
        let passes: Vec<bool> = self.tried.iter().map(|one| one.summary.passes).collect();
        match passes[..] {
            [true, true, true] => "The page opens, and connects.",
            [true, true, false] => "The page opens, but its socket is refused: it cannot connect.",
            [true, false, true] => "The page stays blank: its scripts are refused.",
            [true, false, false] => "The page stays blank: its scripts and its socket are refused.",
            _ => "The page does not open.",
        }
    }

    fn write(&self, out: &mut Output) -> Result<(), Failure> {
        // They may come from the configuration, and be values of variables.
        let hidden = |text: &str| secret::without_tokens(&self.configuration.hidden.text(text));
        let (page, visit) = (self.page, self.visit);
        let user = hidden(&String::from_utf8_lossy(&visit.user));
        let (peer, url) = (hidden(&visit.peer), hidden(&format!("{}{}", page.origin, page.path)));
        if out.is_json() {
            let steps: Vec<Json> = self.tried.iter().map(|one| one.to_json(&hidden(&one.path))).collect();
            let all = self.tried.iter().all(|one| one.summary.passes);
            out.json(&json!({
                "verdict": if all { "admitted" } else { "refused" },
                "url": url,
                "origin": page.origin,
                "user": user,
                "peer": peer,
                "client": if is_edge(self.configuration) { Json::Null } else { json!(visit.client) },
                "steps": steps,
                "conclusion": self.conclusion(),
                "fix": self.fixes(),
                "notes": self.notes,
            }))?;
            return Ok(());
        }
        let from = if is_edge(self.configuration) {
            format!("from {peer}")
        } else {
            format!("from the proxy {peer}, for the client {}", visit.client)
        };
        let head = format!("{url} in a browser, as {user}: {from}");
        writeln!(out, "{}\n", out.paint(Style::Strong, visible(&head)))?;
        for Tried { step, path, summary } in self.tried {
            let style = if summary.passes { Style::Good } else { Style::Bad };
            let what = if *step == Step::Socket { " (WebSocket)" } else { "" };
            let path = format!("GET {}{what}", hidden(path));
            writeln!(out, "  {:<7} {:<28} {}", step.name(), visible(&path), out.paint(style, visible(&summary.text)))?;
        }
        writeln!(out, "\n{}", self.conclusion())?;
        for (title, lines) in
            [("How to fix it", self.fixes()), ("Notes", self.notes.iter().map(String::as_str).collect())]
        {
            if !lines.is_empty() {
                writeln!(out, "\n{}", out.paint(Style::Strong, format!("{title}:")))?;
                for line in lines {
                    writeln!(out, "  - {}", visible(line))?;
                }
            }
        }
        Ok(())
    }
}

impl Tried {
    fn to_json(&self, path: &str) -> Json {
        json!({
            "step": self.step.name(),
            "path": path,
            "verdict": self.summary.verdict,
            "reason": self.summary.reason,
            "passes": self.summary.passes,
            "fix": self.summary.fixes,
        })
    }
}

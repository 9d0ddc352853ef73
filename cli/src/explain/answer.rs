//! The decision on one request, and everything that follows from it.

use std::convert::Infallible;
use std::io::Write as _;

use policy::answer::reply::Reply;
use policy::text::quoted;
use policy::{Edit, Kind, Mode, Policy, Reason, Refusal, Request, ScopeStep, Step, Verdict};
use serde_json::{Value, json};

use super::answered::Answered;
use super::sent::{Header, Sent};
use super::socket::Socket;
use super::{fix, secret};
use crate::input::{Configuration, Hidden};
use crate::output::{Failure, Outcome, Output, Style, visible};

/// The full answer about one request.
pub struct Answer<'a> {
    policy: &'a Policy,
    request: &'a Request<'a>,
    peer: &'a str,
    http2: bool,
    steps: Vec<Step>,
    verdict: &'static str,
    /// The refusal: in force, only reported, or left to the Gateway.
    refusal: Option<Refusal<'a>>,
    /// Its code, as it is shown.
    reason: Option<String>,
    user: Option<&'a [u8]>,
    scopes: Option<String>,
    scopes_because: Option<String>,
    /// Each scope that the request has, or asks for in vain.
    scope_steps: Vec<ScopeStep>,
    /// The groups that were read, if the policy has ceilings.
    groups: Option<Vec<&'a [u8]>>,
    /// The headers that the upstream gets, if the request goes on.
    upstream: Option<Upstream>,
    client: Option<Reply>,
    fixes: Vec<String>,
    notes: Vec<String>,
    socket: Option<Socket>,
}

/// What the upstream gets.
#[derive(Default)]
struct Upstream {
    headers: Vec<Header>,
    set: Vec<Header>,
    removed: Vec<String>,
}

/// An answer in short.
pub struct Summary {
    pub verdict: &'static str,
    pub reason: Option<String>,
    /// The same, if it is the filter's.
    pub cause: Option<Reason>,
    /// Whether the request is let through. In report mode, what would be refused is not.
    pub passes: bool,
    /// Verdict and reason.
    pub text: String,
    pub fixes: Vec<String>,
}

impl Summary {
    /// What Envoy itself answers.
    pub fn of_envoy(answered: &Answered) -> Self {
        Self {
            verdict: "refused_by_envoy",
            reason: None,
            cause: None,
            passes: false,
            text: answered.sentence(),
            fixes: vec![upper_first(&answered.remedy)],
        }
    }
}

impl<'a> Answer<'a> {
    /// The answer in short.
    pub fn summary(self) -> Summary {
        let passes = !matches!(self.verdict, "refused" | "would_refuse");
        let verdict = self.verdict.replace('_', " ");
        Summary {
            verdict: self.verdict,
            cause: self.refusal.map(|refusal| refusal.reason),
            passes,
            text: self.reason.as_ref().map_or_else(|| verdict.clone(), |reason| format!("{verdict}: {reason}")),
            reason: self.reason,
            fixes: self.fixes,
        }
    }

    /// Decides with the policy.
    pub fn new(
        configuration: &Configuration,
        policy: &'a Policy,
        request: &'a Request<'a>,
        peer: &'a str,
        sent: &Sent,
        mut notes: Vec<String>,
    ) -> Self {
        let (decision, steps) = policy.trace(request);
        let enforces = policy.mode() == Mode::Enforce;
        let mut upstream = Upstream { headers: headers_of(request), ..Upstream::default() };
        let mut answer = Self {
            policy,
            request,
            peer,
            http2: sent.http2,
            steps,
            verdict: "refused",
            refusal: None,
            reason: None,
            user: None,
            scopes: None,
            scopes_because: None,
            scope_steps: Vec::new(),
            groups: None,
            upstream: None,
            client: None,
            fixes: Vec::new(),
            notes: Vec::new(),
            socket: None,
        };
        match decision {
            Ok(admission) => {
                (answer.verdict, answer.user, answer.refusal) = match admission.kind() {
                    Kind::Identified(user) => ("admitted", Some(user), None),
                    Kind::Anonymous => ("anonymous", None, None),
                    Kind::Delegated(refusal) => ("delegated", None, Some(refusal)),
                };
                answer.scopes = admission.scopes().map(|scopes| text_of(scopes.header().as_bytes()));
                answer.scopes_because = policy.explain_scopes(request, &admission);
                answer.scope_steps = policy.scope_steps(request, &admission);
                answer.groups = policy.groups_read(request).filter(|_| answer.user.is_some());
                if enforces {
                    let Ok(()) = admission.stamp(policy, request, |edit| {
                        upstream.apply(edit);
                        Ok::<(), Infallible>(())
                    });
                    if sent.http2 && request.is_websocket() && !request.fields.websocket_key.is_present() {
                        upstream.apply(Edit::Set { name: b"sec-websocket-key", value: b"(a new key)" });
                    }
                }
                answer.upstream = Some(upstream);
            }
            Err(refusal) => {
                answer.user = refusal.user;
                answer.refusal = Some(refusal);
                answer.fixes = fix::fixes(configuration, policy, request, &refusal);
                if enforces {
                    let hide = policy.hides_reasons();
                    let closed =
                        if policy.closes_websockets() { Reply::websocket(&refusal, request, hide) } else { None };
                    let closed = closed.filter(|_| !sent.http2);
                    answer.client = Some(closed.unwrap_or_else(|| Reply::http(&refusal, Some(request), hide)));
                } else {
                    answer.verdict = "would_refuse";
                    answer.upstream = Some(upstream);
                }
            }
        }
        if !enforces {
            notes.push("filter.mode is \"report\": nothing is refused, and no header is changed".to_owned());
        }
        answer.notes = notes;
        answer.hide(&configuration.hidden);
        answer
    }

    /// Adds what becomes of an open socket.
    pub fn about(self, socket: Option<Socket>) -> Self {
        Self { socket, ..self }
    }

    /// Hides tokens, and what variables in the configuration became. The request itself is the caller's own.
    fn hide(&mut self, hidden: &Hidden) {
        let texts = self.steps.iter_mut().map(|step| &mut step.saw).chain(&mut self.fixes).chain(&mut self.notes);
        let scopes = self.scope_steps.iter_mut().flat_map(|step| [&mut step.name, &mut step.because]);
        for text in texts.chain(&mut self.scopes_because).chain(scopes) {
            *text = secret::without_tokens(&hidden.text(text));
        }
        self.reason = self.refusal.map(|refusal| hidden.text(&refusal.to_string()).into_owned());
        if let Some(upstream) = &mut self.upstream {
            let came: Vec<String> = headers_of(self.request).into_iter().map(|(name, _)| name).collect();
            let names = upstream.set.iter_mut().chain(&mut upstream.headers).map(|(name, _)| name);
            for name in names.filter(|name| !came.contains(name)) {
                *name = hidden.text(name).into_owned();
            }
        }
    }

    /// The code for which the request is refused, or would be.
    pub fn refused_for(&self) -> Option<String> {
        self.reason.clone().filter(|_| matches!(self.verdict, "refused" | "would_refuse"))
    }

    /// Whether the request goes on to the Gateway.
    pub fn passes(&self) -> bool {
        self.upstream.is_some()
    }

    /// Writes the answer, and returns whether the request passes, or whether the open socket stays.
    pub fn write(&self, out: &mut Output) -> Result<Outcome, Failure> {
        if out.is_json() {
            out.json(&self.to_json())?;
        } else {
            self.write_text(out)?;
        }
        let refused = self
            .socket
            .as_ref()
            .map_or_else(|| matches!(self.verdict, "refused" | "would_refuse"), |socket| !socket.stays());
        Ok(if refused { Outcome::Found } else { Outcome::Fine })
    }

    fn to_json(&self) -> Value {
        let pairs = |headers: &[Header]| -> Vec<Value> {
            headers.iter().map(|(name, value)| json!([name, self.shown(name, value)])).collect()
        };
        json!({
            "verdict": self.verdict,
            "reason": self.reason,
            "mode": if self.policy.mode() == Mode::Enforce { "enforce" } else { "report" },
            "user": self.user.map(|user| secret::without_tokens(&text_of(user))),
            "scopes": self.scopes,
            "scopesBecause": self.scopes_because,
            "eachScope": self.scope_steps.iter().map(|step| json!({
                "scope": step.name,
                "granted": step.granted,
                "because": step.because,
            })).collect::<Vec<_>>(),
            "groups": self.groups.as_ref().map(|groups| {
                groups.iter().map(|group| secret::without_tokens(&text_of(group))).collect::<Vec<_>>()
            }),
            "request": {
                "peer": self.peer,
                "method": text_of(self.request.method()),
                "path": text_of(self.request.path()),
                "protocol": self.protocol(),
                "upgrade": self.request.is_upgrade(),
            },
            "rules": self.steps.iter().map(|step| json!({
                "rule": step.rule.number(),
                "asks": step.rule.question(),
                "verdict": step.verdict.word(),
                "saw": step.saw,
            })).collect::<Vec<_>>(),
            "upstream": self.upstream.as_ref().map(|upstream| json!({
                "headers": pairs(&upstream.headers),
                "set": pairs(&upstream.set),
                "removed": upstream.removed,
            })),
            "client": self.client.as_ref().map(|reply| {
                let closed = close_text(reply);
                json!({
                    "status": reply.status,
                    "closeCode": closed.as_ref().map(|(code, _)| code),
                    "closeReason": closed.as_ref().map(|(_, reason)| reason),
                    "contentType": content_type(reply),
                })
            }),
            "envoy": Value::Null,
            "socket": self.socket.as_ref().map(Socket::to_json),
            "fix": self.fixes,
            "notes": self.notes,
        })
    }

    const fn protocol(&self) -> &'static str {
        if self.http2 { "HTTP/2" } else { "HTTP/1.1" }
    }

    fn write_text(&self, out: &mut Output) -> Result<(), Failure> {
        let (method, path) = (text_of(self.request.method()), text_of(self.request.path()));
        let what = if self.request.is_websocket() { ", a WebSocket handshake" } else { "" };
        let head = format!("{method} {path} from {} over {}{what}", self.peer, self.protocol());
        writeln!(out, "{}\n", out.paint(Style::Strong, visible(&head)))?;
        let width = self.steps.iter().map(|step| step.rule.question().len()).max().unwrap_or_default();
        for Step { rule, verdict, saw } in &self.steps {
            let style = match verdict {
                Verdict::Passed | Verdict::Admitted => Style::Good,
                Verdict::Refused => Style::Bad,
                Verdict::Delegated => Style::Doubtful,
                Verdict::Skipped | Verdict::NotReached => Style::Faint,
            };
            let word = format!("{:<11}", verdict.word());
            let line = format!("{:>3}  {:<width$}  {} {saw}", rule.number(), rule.question(), out.paint(style, word));
            writeln!(out, "{}", line.trim_end())?;
        }
        writeln!(out)?;
        let style = match self.verdict {
            "refused" => Style::Bad,
            "would_refuse" | "delegated" => Style::Doubtful,
            _ => Style::Good,
        };
        let verdict = match (&self.reason, &self.user) {
            (Some(reason), _) => format!("{}: {reason}", self.verdict.replace('_', " ")),
            (None, Some(user)) => {
                format!("{} as {}", self.verdict, visible(&secret::without_tokens(&text_of(user))))
            }
            (None, None) => format!("{}: passes without an identity", self.verdict),
        };
        writeln!(out, "{}", out.paint(style, verdict))?;
        if let Some(because) = &self.scopes_because {
            writeln!(out, "scopes: {because}")?;
        }
        self.write_scopes(out)?;
        if let Some(upstream) = &self.upstream {
            self.write_upstream(out, upstream)?;
        }
        if let Some(reply) = &self.client {
            write_client(out, reply)?;
        }
        if let Some(socket) = &self.socket {
            socket.write(out)?;
        }
        for (title, lines) in [("How to fix it", &self.fixes), ("Notes", &self.notes)] {
            if !lines.is_empty() {
                writeln!(out, "\n{}", out.paint(Style::Strong, format!("{title}:")))?;
                for line in lines {
                    writeln!(out, "  - {}", visible(line))?;
                }
            }
        }
        Ok(())
    }

    /// The groups that were read, and the scopes, those with the same cause on one line.
    fn write_scopes(&self, out: &mut Output) -> Result<(), Failure> {
        if let Some(groups) = self.groups.as_ref().filter(|groups| !groups.is_empty()) {
            let names: Vec<_> = groups.iter().map(|group| secret::without_tokens(&quoted(group))).collect();
            writeln!(out, "groups: {}", names.join(", "))?;
        }
        let mut lines: Vec<(bool, &str, Vec<&str>)> = Vec::new();
        for ScopeStep { name, granted, because } in &self.scope_steps {
            match lines.iter_mut().find(|(other, cause, _)| other == granted && cause == because) {
                Some((.., names)) => names.push(name),
                None => lines.push((*granted, because, vec![name])),
            }
        }
        for (granted, because, names) in lines {
            let (sign, style) = if granted { ("+", Style::Good) } else { ("-", Style::Bad) };
            writeln!(out, "  {} {}: {because}", out.paint(style, sign), names.join(", "))?;
        }
        Ok(())
    }

    /// The headers as a difference: what came in, and what goes out.
    fn write_upstream(&self, out: &mut Output, upstream: &Upstream) -> Result<(), Failure> {
        writeln!(out, "\n{}", out.paint(Style::Strong, "What the upstream gets (- removed, + set):"))?;
        let changed = |name: &str| {
            upstream.removed.iter().any(|other| other == name) || upstream.set.iter().any(|(other, _)| other == name)
        };
        let came = headers_of(self.request);
        for (name, value) in &came {
            let line = format!("{name}: {}", visible(&self.shown(name, value)));
            if changed(name) {
                writeln!(out, "{}", out.paint(Style::Bad, format!("  - {line}")))?;
            } else {
                writeln!(out, "    {line}")?;
            }
        }
        for (name, value) in &upstream.set {
            let line = format!("  + {name}: {}", visible(&self.shown(name, value)));
            writeln!(out, "{}", out.paint(Style::Good, line.trim_end()))?;
        }
        Ok(())
    }

    /// The value of a header, or asterisks if it may be a secret.
    fn shown(&self, name: &str, value: &[u8]) -> String {
        // Proxies authenticate with such headers. X-Forwarded-* and the user header are not credentials.
        let is_required = || {
            !name.starts_with("x-forwarded-")
                && name.as_bytes() != self.policy.user_header()
                && self.policy.required_headers().iter().any(|required| required.eq_ignore_ascii_case(name))
        };
        let is_compared = self.policy.secret_headers().any(|secret| secret.eq_ignore_ascii_case(name));
        if is_compared && value == b"verified" {
            // What the filter puts in place of a secret is none.
            return "verified".to_owned();
        }
        match text_of(value) {
            text if !text.is_empty() && (secret::is_secret_header(name) || is_required() || is_compared) => {
                "***".to_owned()
            }
            // A query may contain a secret too.
            text if matches!(name, ":path" | "referer") && text.contains('?') => {
                format!("{}?***", text.split('?').next().unwrap_or_default())
            }
            text => secret::without_tokens(&text),
        }
    }
}

impl Upstream {
    fn apply(&mut self, edit: Edit<'_>) {
        let (Edit::Set { name, .. } | Edit::Remove { name }) = edit;
        self.headers.retain(|(other, _)| other.as_bytes() != name);
        let name = text_of(name);
        match edit {
            Edit::Set { value, .. } => {
                self.headers.push((name.clone(), value.to_vec()));
                self.set.push((name, value.to_vec()));
            }
            Edit::Remove { .. } => self.removed.push(name),
        }
    }
}

/// Writes what Envoy itself answers to a request.
pub fn write_answered(answered: &Answered, sent: &Sent, peer: &str, out: &mut Output) -> Result<Outcome, Failure> {
    let path = sent.path.split('?').next().unwrap_or_default();
    // A URL may have a password.
    let path = path.rsplit_once('@').filter(|_| !path.starts_with('/')).map_or(path, |(_, rest)| rest);
    let path = secret::without_tokens(path);
    let low_version = sent.wire.as_ref().and_then(|wire| wire.low_version.as_deref());
    let protocol = if sent.http2 { "HTTP/2" } else { low_version.unwrap_or("HTTP/1.1") };
    let (sentence, remedy) = (secret::without_tokens(&answered.sentence()), upper_first(&answered.remedy));
    if out.is_json() {
        out.json(&json!({
            "verdict": "refused_by_envoy",
            "reason": null,
            "mode": null,
            "user": null,
            "scopes": null,
            "scopesBecause": null,
            "eachScope": [],
            "groups": null,
            "request": {
                "peer": peer,
                "method": sent.method,
                "path": path,
                "protocol": protocol,
                "upgrade": sent.header("upgrade").is_some(),
            },
            "rules": [],
            "upstream": null,
            "client": {"status": answered.status, "closeCode": null, "closeReason": null, "contentType": null},
            "envoy": {
                "status": answered.status,
                "details": answered.details,
                "because": secret::without_tokens(&answered.because),
                "afterFilter": answered.after_filter,
            },
            "socket": null,
            "fix": [remedy],
            "notes": [],
        }))?;
        return Ok(Outcome::Found);
    }
    let what = format!("{} {path}", sent.method);
    let head = format!("{} from {peer} over {protocol}", what.trim_end());
    writeln!(out, "{}\n", out.paint(Style::Strong, visible(&head)))?;
    writeln!(out, "{}", out.paint(Style::Bad, visible(&sentence)))?;
    writeln!(out, "  In the access log, details is {}.", answered.details)?;
    writeln!(out, "\n{}", out.paint(Style::Strong, "How to fix it:"))?;
    writeln!(out, "  - {}", visible(&remedy))?;
    Ok(Outcome::Found)
}

fn upper_first(text: &str) -> String {
    let mut chars = text.chars();
    let first: String = chars.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}

fn headers_of(request: &Request<'_>) -> Vec<Header> {
    request.headers.iter().map(|(name, value)| (text_of(name), value.to_vec())).collect()
}

/// The refusal as the client sees it.
fn write_client(out: &mut Output, reply: &Reply) -> Result<(), Failure> {
    writeln!(out, "\n{}", out.paint(Style::Strong, "What the client sees:"))?;
    if let Some((code, reason)) = close_text(reply) {
        writeln!(out, "  {} Switching Protocols, then close {code}: {reason}", reply.status)?;
    } else if content_type(reply).is_some_and(|kind| kind.contains("json")) {
        writeln!(out, "  HTTP {}: {}", reply.status, text_of(&reply.body))?;
    } else {
        writeln!(out, "  HTTP {}: a page that explains the refusal", reply.status)?;
    }
    Ok(())
}

/// The close code and reason, if the reply is a WebSocket that is closed immediately.
fn close_text(reply: &Reply) -> Option<(u16, String)> {
    match &*reply.body {
        [_, _, high, low, reason @ ..] if reply.status == 101 => {
            Some((u16::from_be_bytes([*high, *low]), text_of(reason)))
        }
        _ => None,
    }
}

fn content_type(reply: &Reply) -> Option<String> {
    reply.headers.iter().find(|(name, _)| *name == "content-type").map(|(_, value)| text_of(value))
}

/// Bytes as Latin-1, as the Gateway reads them.
fn text_of(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

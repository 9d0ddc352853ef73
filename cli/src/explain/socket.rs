//! What becomes of a WebSocket that is open when another policy comes into force.

use std::borrow::Cow;
use std::io::{self, Write as _};

use policy::headers::{Headers, serialize};
use policy::scopes::Scope;
use policy::sockets::{Ended, Handshake, MOST_BYTES, Standing};
use policy::{Mode, Policy};
use serde_json::{Value, json};

use super::front::{self, Front};
use super::sent::Sent;
use super::{Args, read_peer, secret};
use crate::input::Configuration;
use crate::output::{Failure, Output, Style, visible};

/// What becomes of an open socket.
pub struct Socket {
    /// The configuration under which it was opened.
    opened_under: String,
    /// `stays`, `closed`, or `would_close` in report mode.
    fate: &'static str,
    /// The code with which it is closed.
    reason: Option<String>,
    /// What it was let through with.
    before: Held,
    /// What it would be let through with now. `None` if it would be refused, or if that is not clear.
    now: Option<Held>,
    because: &'static str,
}

/// What a socket has at the Gateway.
struct Held {
    user: Option<String>,
    /// `None` if the filter does not limit them.
    scopes: Option<Vec<&'static str>>,
    /// Whether it is known at all.
    is_known: bool,
}

impl Held {
    fn of(standing: &Standing) -> Self {
        match standing {
            Standing::Unknown => Self { user: None, scopes: None, is_known: false },
            Standing::Known { user, reach } => {
                let text: Option<String> = user.as_ref().map(|user| user.iter().copied().map(char::from).collect());
                Self {
                    user: text.map(|user| secret::without_tokens(&user)),
                    scopes: reach.scopes().map(|scopes| scopes.map(Scope::name).collect()),
                    is_known: true,
                }
            }
        }
    }

    fn text(&self) -> String {
        if !self.is_known {
            return "not known: the Gateway got headers that the filter would have changed".to_owned();
        }
        let user = self.user.as_deref().unwrap_or("no user");
        match self.scopes.as_deref() {
            None => format!("{user}, without a limit of scopes"),
            Some([]) => format!("{user}, without any scope"),
            Some(scopes) => format!("{user}, at most {}", scopes.join(",")),
        }
    }

    fn to_json(&self) -> Value {
        if self.is_known { json!({"user": self.user, "scopes": self.scopes}) } else { Value::Null }
    }
}

/// Opens the socket under the configuration before, and decides it again under the one that is in force now.
pub fn judge(
    args: &Args,
    before: &Configuration,
    now: &Configuration,
    policy: &Policy,
    sent: &Sent,
    notes: &mut Vec<String>,
) -> Result<Socket, Failure> {
    const OPTION: &str = "--opened-under";
    let old = before.policy()?.policy;
    let (_, peer) = read_peer(args.peer(), &old);
    let front = (!args.as_seen).then(|| Front::of(before));
    // Notes on what Envoy changes were made once.
    let headers = front::seen(sent, peer, front.as_ref(), &mut Vec::new())
        .map_err(|answered| Failure::new(OPTION, answered.sentence(), answered.remedy))?;
    let map = serialize(&headers);
    let too_large = || {
        let most = MOST_BYTES >> 10;
        Failure::new(
            "the request",
            format!("has more headers than are kept of an open socket: {most} KiB"),
            "remove some",
        )
    };
    let mut opened = old.read(peer, &map).map_err(|_| too_large())?;
    args.add_connection(&old, &mut opened)?;
    if !opened.is_upgrade() {
        let remedy = "add --ws, or give the request that opened it";
        return Err(Failure::new(OPTION, "is about an open WebSocket, and this request is not a handshake", remedy));
    }
    let decision = old.decide(&opened);
    if let (Err(refusal), Mode::Enforce) = (&decision, old.mode()) {
        let code = before.hidden.text(&refusal.to_string()).into_owned();
        return Err(Failure::new(
            OPTION,
            format!("{} refuses this request ({code}), so no such socket is open", name_of(before)),
            "give a request that was let through",
        ));
    }
    let standing = old.standing(&opened, &decision);
    let handshake =
        Headers::parse(&map).ok().and_then(|headers| Handshake::keep(&old, &headers)).ok_or_else(too_large)?;
    let (_, peer) = read_peer(args.peer(), policy);
    let mut again = policy.read(peer, handshake.map()).map_err(|_| too_large())?;
    args.add_connection(policy, &mut again)?;
    let ended = policy.recheck(&standing, &handshake, &again).err();
    let decision = policy.decide(&again);
    let is_clear = !matches!(ended, Some(Ended::Unclear | Ended::Refused(_)));
    let held = decision.ok().filter(|_| is_clear).map(|admission| Held::of(&policy.enforced(&again, &admission)));
    let rules = policy.sockets();
    if rules.max_age.is_some() || rules.until_assertion {
        notes.push("how long a socket may be open (filter.socketMaxAge, filter.socketsUntil) is not judged".to_owned());
    }
    let (fate, ended) = match (ended, policy.mode()) {
        (None, _) => ("stays", None),
        (Some(ended), _) if !rules.recheck => {
            let code = now.hidden.text(&ended.to_string()).into_owned();
            notes.push(format!("filter.openSockets is \"keep\": otherwise the socket would be closed: {code}"));
            ("stays", None)
        }
        (Some(ended), Mode::Enforce) => ("closed", Some(ended)),
        (Some(ended), Mode::Report) => ("would_close", Some(ended)),
    };
    let because = match (&ended, &standing) {
        (None, _) if !rules.recheck => "Open sockets are not decided again.",
        (None, _) => "It has the same user, and no fewer scopes.",
        (Some(Ended::Refused(_)), _) => "The handshake would be refused now.",
        (Some(Ended::UserChanged), Standing::Unknown) => {
            "In report mode the handshake went on as it came, so it is not known whose socket it is."
        }
        (Some(Ended::UserChanged), _) => "It would have another user now.",
        (Some(Ended::ScopesReduced), _) => "It would have fewer scopes now.",
        (Some(Ended::Unclear), _) => {
            "The policy reads a header whose value is not kept: no rule read it, and it is longer than 256 bytes."
        }
        (Some(Ended::MaxAge), _) => "It is too old.",
    };
    Ok(Socket {
        opened_under: name_of(before).into_owned(),
        fate,
        reason: ended.map(|ended| now.hidden.text(&ended.to_string()).into_owned()),
        before: Held::of(&standing),
        now: held,
        because,
    })
}

/// The name of the file that was given.
fn name_of(configuration: &Configuration) -> Cow<'_, str> {
    configuration.files().first().map_or(Cow::Borrowed("the configuration"), |file| Cow::Borrowed(&file.name))
}

impl Socket {
    /// Whether it stays open.
    pub fn stays(&self) -> bool {
        self.fate == "stays"
    }

    pub fn to_json(&self) -> Value {
        json!({
            "openedUnder": self.opened_under,
            "fate": self.fate,
            "reason": self.reason,
            "before": self.before.to_json(),
            "now": self.now.as_ref().map(Held::to_json),
            "because": self.because,
        })
    }

    pub fn write(&self, out: &mut Output) -> io::Result<()> {
        let title = format!("A socket that this request opened under {}:", self.opened_under);
        writeln!(out, "\n{}", out.paint(Style::Strong, visible(&title)))?;
        let style = match self.fate {
            "stays" => Style::Good,
            "closed" => Style::Bad,
            _ => Style::Doubtful,
        };
        let reason = self.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        let fate = format!("{}{reason}", self.fate.replace('_', " "));
        writeln!(out, "  {}", out.paint(style, visible(&fate)))?;
        writeln!(out, "  before: {}", visible(&self.before.text()))?;
        if let Some(now) = &self.now {
            writeln!(out, "  now:    {}", visible(&now.text()))?;
        }
        writeln!(out, "  {}", self.because)
    }
}

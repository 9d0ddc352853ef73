//! Open sockets of a real Gateway follow the policy: which of them an edit closes, and what is left of a right.

use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use harness::envoy::{Source, eventually};
use harness::gateway::{Denied, Device, Session, Stack, control_ui};
use harness::merge::merge;
use harness::wire::{self, Headers};
use serde_json::{Value, json};

use crate::devices::{PROXY, pair};

/// Another proxy.
const PROXY_2: &str = "10.0.0.2";
const NICK: &str = "nick@example.com";
const MARY: &str = "mary@example.com";
/// Whom every edit removes: when these sockets are closed, the worker has decided all others.
const CANARY: &str = "canary@example.com";
const USERS: [&str; 3] = [NICK, MARY, CANARY];

const NOT_ALLOWED: &str = "trusted_proxy_user_not_allowed";
const USER_MISSING: &str = "trusted_proxy_user_missing";
const USER_CHANGED: &str = "trusted_proxy_socket_user_changed";
const REDUCED: &str = "trusted_proxy_socket_scopes_reduced";

/// Which headers a handshake has, and where it comes from.
#[derive(Clone)]
struct Caller {
    peer: &'static str,
    headers: Vec<(&'static str, &'static str)>,
}

/// A user, with headers that replace the usual ones.
fn user(name: &'static str, more: &[(&'static str, &'static str)]) -> Caller {
    let usual = [
        ("host", "claw.example.com"),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-user", name),
        ("origin", "https://claw.example.com"),
    ];
    let mut headers: Vec<_> =
        usual.into_iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name)).collect();
    headers.extend(more);
    Caller { peer: PROXY, headers }
}

impl Caller {
    fn from(mut self, peer: &'static str) -> Self {
        self.peer = peer;
        self
    }

    fn headers(&self) -> Headers {
        self.headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
    }

    fn open(&self, stack: &Stack) -> Result<Session, Denied> {
        Session::open(connect(stack, self.peer), "/", &self.headers(), &control_ui())
    }
}

fn connect(stack: &Stack, peer: &str) -> TcpStream {
    let mut stream = wire::open(stack.http()).unwrap();
    std::io::Write::write_all(&mut stream, &wire::proxy_line(peer)).unwrap();
    stream
}

/// Whether the Gateway answers on this socket, and not the end of it.
fn is_open(session: &mut Session) -> bool {
    // An error that is not text is the Gateway's answer.
    session.call("sessions.list", &json!({})).map_or_else(|error| error.is_object(), |_| true)
}

/// Whether the Gateway lets this session write.
fn may_write(session: &mut Session) -> bool {
    match session.call("sessions.create", &json!({})) {
        Ok(_) => true,
        Err(error) => {
            assert!(error.to_string().contains("missing scope"), "{error}");
            false
        }
    }
}

/// What becomes of a socket.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Stays,
    /// Closed for this reason, and the next one is refused for it.
    Refused(&'static str),
    /// Closed for this reason. The next one gets in, and may write or not.
    Again(&'static str, bool),
}
use Fate::{Again, Refused, Stays};

struct Place {
    stack: Stack,
    base: Value,
}

/// One Gateway for all tests here, for one at a time.
fn place() -> MutexGuard<'static, Place> {
    static PLACE: OnceLock<Mutex<Place>> = OnceLock::new();
    PLACE.get_or_init(|| Mutex::new(Place::new())).lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place {
    fn new() -> Self {
        let all = ["operator.admin", "operator.read", "operator.write", "operator.approvals"];
        let stack = Stack::start(
            &json!({
                "trustedProxies": ["127.0.0.1", "::1", "10.0.0.0/8"],
                "auth": {
                    "identityScopes": {NICK: all, MARY: all},
                    "trustedProxy": {"allowUsers": USERS},
                },
                "controlUi": {"allowedOrigins": ["https://claw.example.com", "http://localhost:5173"]},
            }),
            &json!({}),
        );
        let base = stack.policy();
        Self { stack, base }
    }

    fn policy(&self, changes: &[&Value]) -> Value {
        let mut policy = self.base.clone();
        changes.iter().for_each(|change| merge(&mut policy, (*change).clone()));
        policy
    }

    /// The same without the canaries.
    fn edited(&self, changes: &[&Value]) -> Value {
        let mut policy = self.policy(changes);
        let users = policy["gateway"]["auth"]["trustedProxy"]["allowUsers"].as_array_mut().unwrap();
        users.retain(|user| user != CANARY);
        policy
    }

    /// Sockets of users who are removed by the next edit, on every worker.
    fn canaries(&self) -> Vec<Session> {
        let accepted = || {
            let stats = self.stack.envoy().process().ask("/stats?filter=worker_").unwrap().text();
            let of_worker = stats.lines().filter(|line| line.contains(".downstream_cx_total: "));
            of_worker.filter(|line| line.starts_with("listener.127.0.0.1_")).map(str::to_owned).collect::<Vec<_>>()
        };
        let before = accepted();
        assert_eq!(before.len(), 2, "a counter for each worker: {before:?}");
        let mut canaries = Vec::new();
        while accepted().iter().zip(&before).any(|(now, before)| now == before) {
            canaries.push(user(CANARY, &[]).open(&self.stack).unwrap());
        }
        canaries
    }

    /// Makes an edit, and returns when every worker has decided the sockets with it.
    fn edit(&self, policy: &Value, canaries: Vec<Session>) {
        self.stack.put_policy(policy);
        for mut canary in canaries {
            eventually("a canary's socket to be closed", || !is_open(&mut canary));
        }
    }

    /// How many sockets were closed for this reason, according to the log.
    fn closings(&self, reason: &str) -> usize {
        let mark = format!("closed a socket reason={reason}");
        self.stack.envoy().lines(Source::Log).iter().filter(|line| line.contains(&mark)).count()
    }
}

#[test]
fn an_edit_closes_the_sockets_of_a_real_gateway_that_lost_their_right_and_no_others() {
    let place = place();
    let nick = || user(NICK, &[]);
    let mary = || user(MARY, &[]);
    let writer = || user(MARY, &[("x-forwarded-groups", "writers")]);
    let none = json!({});
    let ceilings = |nick: &str, groups: &Value| {
        let users = json!({NICK: [nick], "*": ["operator.read"]});
        json!({"filter": {"scopes": {"users": users, "groupsHeader": "x-forwarded-groups", "groups": groups}}})
    };
    let writers = json!({"writers": ["operator.write"], "readers": ["operator.read"]});
    let no_writers = json!({"writers": null, "readers": ["operator.read"]});
    let may_read = ceilings("operator.read", &writers);
    let may_write_too = ceilings("operator.write", &writers);
    let origins = |origins: &[&str]| json!({"gateway": {"controlUi": {"allowedOrigins": origins}}});
    let allowed = |users: &[&str]| json!({"gateway": {"auth": {"trustedProxy": {"allowUsers": users}}}});
    let private = ("host", "192.168.1.5:18789");
    let own = ("origin", "http://192.168.1.5:18789");
    let other_header = json!({
        "gateway": {"auth": {"trustedProxy": {"userHeader": "x-auth-email"}}},
        "filter": {"upstreamUserHeader": "x-forwarded-user"},
    });

    let table: Vec<(&str, &Value, Value, Vec<(Caller, Fate)>)> = vec![
        ("nobody's", &none, json!({"filter": {"hideReasons": true}}), vec![(nick(), Stays), (mary(), Stays)]),
        ("a user", &none, allowed(&[MARY]), vec![(nick(), Refused(NOT_ALLOWED)), (mary(), Stays)]),
        (
            "a group",
            &may_read,
            ceilings("operator.read", &no_writers),
            vec![(nick(), Stays), (mary(), Stays), (writer(), Again(REDUCED, false))],
        ),
        (
            "a ceiling, lowered",
            &may_write_too,
            may_read.clone(),
            vec![(nick(), Again(REDUCED, false)), (mary(), Stays)],
        ),
        (
            "a ceiling, raised",
            &may_read,
            may_write_too.clone(),
            vec![(nick(), Stays), (mary(), Stays), (writer(), Stays)],
        ),
        (
            "ceilings where there were none",
            &none,
            may_write_too.clone(),
            vec![(nick(), Again(REDUCED, true)), (mary(), Again(REDUCED, false))],
        ),
        (
            "no ceilings any more",
            &may_read,
            json!({"filter": {"scopes": null}}),
            vec![(nick(), Stays), (writer(), Stays)],
        ),
        (
            "an origin",
            &none,
            origins(&["http://localhost:5173"]),
            vec![
                (nick(), Refused("trusted_proxy_origin_not_allowed")),
                (user(MARY, &[("origin", "http://localhost:5173")]), Stays),
            ],
        ),
        (
            "a peer",
            &none,
            json!({"filter": {"trustedProxies": [PROXY_2]}}),
            vec![(nick(), Refused("trusted_proxy_untrusted_source")), (mary().from(PROXY_2), Stays)],
        ),
        (
            "a required header",
            &none,
            json!({"gateway": {"auth": {"trustedProxy": {"requiredHeaders": ["x-edge"]}}}}),
            vec![(nick(), Refused("trusted_proxy_missing_header")), (user(MARY, &[("x-edge", "1")]), Stays)],
        ),
        (
            "the Gateway's release",
            &none,
            json!({"filter": {"gatewayVersion": "2026.5.7"}}),
            vec![(user(NICK, &[private, own]), Refused("trusted_proxy_origin_not_allowed")), (mary(), Stays)],
        ),
        (
            "the user header",
            &none,
            other_header,
            vec![
                (user(NICK, &[("x-auth-email", NICK)]), Stays),
                (user(MARY, &[]), Refused(USER_MISSING)),
                (user(NICK, &[("x-auth-email", MARY)]), Again(USER_CHANGED, true)),
            ],
        ),
    ];
    for (what, before, after, sockets) in table {
        place.stack.put_policy(&place.policy(&[before]));
        let mut open: Vec<_> = sockets
            .into_iter()
            .map(|(caller, fate)| {
                (caller.open(&place.stack).unwrap_or_else(|denied| panic!("{what}: {denied:?}")), caller, fate)
            })
            .collect();
        for (session, ..) in &mut open {
            assert!(is_open(session), "{what}: before the edit");
        }
        let could: Vec<bool> = open.iter_mut().map(|(session, ..)| may_write(session)).collect();
        let canaries = place.canaries();
        let logged = |fate: &Fate| match fate {
            // The canaries are closed for this one too, and the log leaves repeated lines out.
            Stays | Refused(NOT_ALLOWED) => 0,
            Refused(reason) | Again(reason, _) => place.closings(reason),
        };
        let before_edit: Vec<usize> = open.iter().map(|(_, _, fate)| logged(fate)).collect();
        place.edit(&place.edited(&[before, &after]), canaries);
        for (((mut session, caller, fate), could), before_edit) in open.into_iter().zip(could).zip(before_edit) {
            let what = format!("{what}: {:?}, {fate:?}", caller.headers);
            // The socket goes on as it was, whatever the policy grants by now.
            if matches!(fate, Stays) {
                assert_eq!(may_write(&mut session), could, "{what}");
            } else {
                assert!(session.call("sessions.create", &json!({})).is_err_and(|error| error.is_string()), "{what}");
            }
            if !matches!(fate, Stays | Refused(NOT_ALLOWED)) {
                eventually("the reason in the log", || logged(&fate) > before_edit);
            }
            let reached = place.stack.relay().count();
            match (fate, caller.open(&place.stack)) {
                (Refused(reason), Err(Denied::Closed(1008, text, None))) => {
                    assert!(text.contains(reason), "{what}: {text}");
                    assert_eq!(place.stack.relay().count(), reached, "{what}: nothing reaches the Gateway");
                }
                (Again(_, writes), Ok(mut session)) => {
                    assert_eq!((could, may_write(&mut session)), (true, writes), "{what}");
                }
                (Stays, Ok(_)) => {}
                (_, other) => panic!("{what}: {:?}", other.map(|session| session.hello)),
            }
        }
    }
}

#[test]
fn a_rejected_policy_and_report_mode_close_nobody() {
    let place = place();
    let nick = user(NICK, &[]);
    let none = json!({});
    let without_nick = json!({"gateway": {"auth": {"trustedProxy": {"allowUsers": [MARY]}}}});
    place.stack.put_policy(&place.policy(&[&none]));
    let mut session = nick.open(&place.stack).unwrap();
    let canaries = place.canaries();
    let canary_count = u64::try_from(canaries.len()).unwrap();

    // Without Nick, and with a key that does not exist.
    place.stack.put_rejected_policy(&place.policy(&[&without_nick, &json!({"filter": {"no-such-key": 1}})]));
    // In report mode, every socket is decided, and counted once.
    let name = format!("wasmcustom.openclaw_trusted_proxy.sockets.result=would_close.reason={NOT_ALLOWED}");
    let before = place.stack.envoy().process().stat(&name);
    place.stack.put_policy(&place.edited(&[&without_nick, &json!({"filter": {"mode": "report"}})]));
    eventually("all sockets to be decided", || place.stack.envoy().process().stat(&name) == before + canary_count + 1);
    assert!(is_open(&mut session) && may_write(&mut session));
    place.edit(&place.edited(&[&without_nick]), canaries);
    assert!(!is_open(&mut session), "report mode is off");
    assert_eq!(place.stack.envoy().process().stat(&name), before + canary_count + 1);
    assert!(matches!(nick.open(&place.stack), Err(Denied::Closed(1008, ..))));
}

/// The sockets of devices: they pass without a user.
#[test]
fn sockets_without_a_user_stay_as_long_as_the_policy_lets_such_pass() {
    let place = place();
    let delegate = json!({"filter": {"webSocketRefusal": "delegate"}});
    let anonymous = json!({"filter": {"anonymousPaths": ["ws:/node"]}});
    let nobody = [("host", "claw.example.com"), ("x-forwarded-for", "203.0.113.7")];
    let nobody = Caller { peer: PROXY, headers: nobody.to_vec() };
    place.stack.put_policy(&place.policy(&[&delegate]));
    let mut nick = user(NICK, &[]).open(&place.stack).unwrap();
    let phone = Device::new(("openclaw-ios", "ui"), "operator", vec!["operator.read", "operator.write"]);
    let token = pair(&place.stack, &mut nick, &phone, "limited");
    let open = |path: &str| {
        phone.open_at(connect(&place.stack, PROXY), path, &nobody.headers(), Some(("deviceToken", &token)))
    };

    let without_nick = json!({"gateway": {"auth": {"trustedProxy": {"allowUsers": [MARY]}}}});
    let read_only =
        json!({"filter": {"scopes": {"users": {"*": ["operator.admin"]}, "withoutUser": ["operator.read"]}}});
    // Before and after the edit, where the device is, whether its socket stays, and what its next one may.
    let table = [
        ("another user is removed", &delegate, without_nick.clone(), "/", true, Some(true)),
        ("devices are not delegated", &delegate, json!({"filter": {"webSocketRefusal": "close"}}), "/", false, None),
        ("devices may only read", &delegate, read_only.clone(), "/", false, Some(false)),
        ("another user is removed", &anonymous, without_nick, "/node", true, Some(true)),
        ("the path is not anonymous", &anonymous, json!({"filter": {"anonymousPaths": []}}), "/node", false, None),
        ("devices may only read", &anonymous, read_only, "/node", false, Some(false)),
    ];
    for (what, before, after, path, stays, next) in table {
        place.stack.put_policy(&place.policy(&[before]));
        let mut session = open(path).unwrap_or_else(|denied| panic!("{what}, {path}: {denied:?}"));
        assert!(may_write(&mut session), "{what}, {path}");
        // A canary is delegated too, once it is not allowed: it has lost its user.
        let canaries = place.canaries();
        place.edit(&place.edited(&[before, &after]), canaries);
        if stays {
            assert!(may_write(&mut session), "{what}, {path}");
        } else {
            assert!(!is_open(&mut session), "{what}, {path}");
        }
        match (open(path), next) {
            (Ok(mut session), Some(writes)) => assert_eq!(may_write(&mut session), writes, "{what}, {path}"),
            (Err(Denied::Closed(1008, reason, None)), None) => {
                assert!(reason.contains(USER_MISSING), "{what}, {path}: {reason}");
            }
            (other, _) => panic!("{what}, {path}: {:?}", other.map(|session| session.hello)),
        }
    }
}

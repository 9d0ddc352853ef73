//! The kinds of requests (good, bad and hostile ones) and what each policy decides about them.

use std::ops::RangeInclusive;

use harness::echo;
use harness::wire::{Response, values};

use crate::policies::{STAMP, Side, stamp};

/// The header that numbers a request, so that the upstream's record shows whether it arrived.
pub const ID: &str = "x-soak-id";

/// The header that every policy requires.
pub const EDGE: &str = "x-edge";

/// What a policy decides about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It reaches the upstream with this user and these scopes.
    Admitted(&'static str, &'static str),
    /// It reaches the upstream without any identity.
    Anonymous,
    /// The filter refuses it.
    Refused(u16, &'static str),
    /// Envoy refuses it before the filter.
    Malformed(u16),
}

pub struct Kind {
    pub name: &'static str,
    pub method: &'static str,
    pub path: &'static str,
    pub headers: &'static [(&'static str, &'static [u8])],
    pub body: &'static [u8],
    /// Whether it carries the header that the proxy in front adds to every request.
    pub through_the_edge: bool,
    /// For requests that HTTP/2 cannot express. Each goes over its own connection, because Envoy closes such
    /// connections.
    pub http1_only: bool,
    /// Sent unchanged, with `#` replaced by the number.
    pub raw: &'static str,
    /// How often it is sent, relative to the others.
    pub weight: u32,
    /// The expectation under A and under B.
    pub expect: [Expect; 2],
}

impl Kind {
    pub fn expect(&self, side: Side) -> Expect {
        self.expect[usize::from(side == Side::B)]
    }
}

const ALICE: (&str, &[u8]) = ("x-forwarded-user", b"alice@example.com");
const BOB: (&str, &[u8]) = ("x-forwarded-user", b"bob@example.com");
const CAROL: (&str, &[u8]) = ("x-forwarded-user", b" carol@example.com");
const DAVE: (&str, &[u8]) = ("x-forwarded-user", b"dave@example.com");
const CLIENT: (&str, &[u8]) = ("x-forwarded-for", b"203.0.113.7");

const EVERYTHING: &str = "operator.admin,operator.read,operator.write,operator.approvals,operator.questions,\
                          operator.pairing,operator.talk.secrets";
const WRITE: &str = "operator.write";
const READ: &str = "operator.read";

const fn both(expect: Expect) -> [Expect; 2] {
    [expect, expect]
}

const NOT_ALLOWED: Expect = Expect::Refused(401, "trusted_proxy_user_not_allowed");

const ORDINARY: Kind = Kind {
    name: "",
    method: "GET",
    path: "/",
    headers: &[],
    body: b"",
    through_the_edge: true,
    http1_only: false,
    raw: "",
    weight: 6,
    expect: both(Expect::Anonymous),
};

const UPLOAD: &[u8] = &[b'u'; 2048];
const LARGE: &[u8] = &[b'x'; 16 * 1024];

pub const KINDS: &[Kind] = &[
    Kind {
        name: "carol, the Gateway's own path",
        path: "/tools/invoke",
        headers: &[CLIENT, CAROL],
        weight: 12,
        expect: [Expect::Admitted("carol@example.com", EVERYTHING), Expect::Admitted("carol@example.com", READ)],
        ..ORDINARY
    },
    Kind {
        name: "carol, a plugin's path",
        path: "/plugin/page?x=1",
        headers: &[CLIENT, CAROL],
        weight: 12,
        expect: [Expect::Admitted("carol@example.com", WRITE), Expect::Admitted("carol@example.com", READ)],
        ..ORDINARY
    },
    Kind {
        name: "carol, scopes named",
        path: "/tools/invoke",
        headers: &[CLIENT, CAROL, ("x-openclaw-scopes", b"operator.read, nonsense,operator.read")],
        expect: both(Expect::Admitted("carol@example.com", READ)),
        ..ORDINARY
    },
    Kind {
        name: "carol, an upload",
        method: "POST",
        path: "/plugin/upload",
        headers: &[CLIENT, CAROL],
        body: UPLOAD,
        expect: [Expect::Admitted("carol@example.com", WRITE), Expect::Admitted("carol@example.com", READ)],
        ..ORDINARY
    },
    Kind {
        name: "carol, an origin of A",
        headers: &[CLIENT, CAROL, ("origin", b"https://a.example")],
        expect: [
            Expect::Admitted("carol@example.com", WRITE),
            Expect::Refused(401, "trusted_proxy_origin_not_allowed"),
        ],
        ..ORDINARY
    },
    Kind {
        name: "alice",
        headers: &[CLIENT, ALICE],
        weight: 10,
        expect: [Expect::Admitted("alice@example.com", WRITE), NOT_ALLOWED],
        ..ORDINARY
    },
    Kind {
        name: "bob",
        headers: &[CLIENT, BOB],
        weight: 10,
        expect: [NOT_ALLOWED, Expect::Admitted("bob@example.com", READ)],
        ..ORDINARY
    },
    Kind {
        name: "health, with a forged identity",
        path: "/health",
        headers: &[
            ("x-forwarded-user", b"root"),
            ("x-openclaw-scopes", b"operator.admin"),
            ("tailscale-user-login", b"root"),
        ],
        expect: both(Expect::Anonymous),
        ..ORDINARY
    },
    Kind {
        name: "carol, aliases and an escaped path",
        path: "/x/..%2ftools/invoke",
        headers: &[
            CLIENT,
            CAROL,
            ("x.forwarded.user", b"root"),
            ("x-forwarded-email", b"root@example.com"),
            ("x-auth-request-user", b"root"),
            ("tailscale-user-login", b"root"),
        ],
        expect: [Expect::Admitted("carol@example.com", WRITE), Expect::Admitted("carol@example.com", READ)],
        ..ORDINARY
    },
    Kind { name: "dave", headers: &[CLIENT, DAVE], weight: 8, expect: both(NOT_ALLOWED), ..ORDINARY },
    Kind {
        name: "dave, an upload",
        method: "POST",
        headers: &[CLIENT, DAVE],
        body: UPLOAD,
        weight: 2,
        expect: both(NOT_ALLOWED),
        ..ORDINARY
    },
    Kind {
        name: "nobody",
        path: "/tools/invoke",
        headers: &[CLIENT],
        expect: both(Expect::Refused(401, "trusted_proxy_user_missing")),
        ..ORDINARY
    },
    Kind {
        name: "nobody, a browser",
        headers: &[CLIENT, ("accept", b"text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")],
        expect: both(Expect::Refused(401, "trusted_proxy_user_missing")),
        ..ORDINARY
    },
    Kind {
        name: "carol, round the edge",
        headers: &[CLIENT, CAROL],
        through_the_edge: false,
        expect: both(Expect::Refused(401, "trusted_proxy_missing_header")),
        ..ORDINARY
    },
    Kind {
        name: "carol and alice at once",
        headers: &[CLIENT, CAROL, ALICE],
        expect: both(Expect::Refused(401, "trusted_proxy_user_repeated")),
        ..ORDINARY
    },
    Kind {
        name: "carol, a foreign origin",
        headers: &[CLIENT, CAROL, ("origin", b"https://evil.example")],
        expect: both(Expect::Refused(401, "trusted_proxy_origin_not_allowed")),
        ..ORDINARY
    },
    Kind {
        name: "a user that is not UTF-8",
        headers: &[CLIENT, ("x-forwarded-user", b"\xff\xfe@\x80")],
        expect: both(NOT_ALLOWED),
        ..ORDINARY
    },
    Kind {
        name: "an alias with an underscore",
        headers: &[CLIENT, CAROL, ("x_forwarded_user", b"root")],
        http1_only: true,
        weight: 2,
        expect: both(Expect::Malformed(400)),
        ..ORDINARY
    },
    Kind {
        name: "too large a header",
        headers: &[CLIENT, CAROL, ("x-large", LARGE)],
        http1_only: true,
        weight: 1,
        expect: both(Expect::Malformed(431)),
        ..ORDINARY
    },
    Kind {
        name: "two lengths at once",
        http1_only: true,
        raw: "POST / HTTP/1.1\r\nhost: claw.example.com\r\nx-forwarded-for: 203.0.113.7\r\nx-edge: 1\r\n\
              x-forwarded-user: carol@example.com\r\nx-soak-id: #\r\n\
              content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        weight: 1,
        expect: both(Expect::Malformed(400)),
        ..ORDINARY
    },
    Kind {
        name: "no HTTP",
        http1_only: true,
        raw: "GET / HTTP/1.1\r\nhost: claw.example.com\r\nx-soak-id: #\r\nno colon\r\n\r\n",
        weight: 1,
        expect: both(Expect::Malformed(400)),
        ..ORDINARY
    },
];

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Admitted,
    Anonymous,
    Refused,
    Malformed,
    /// Envoy could not reach the upstream, which was down.
    UpstreamDown,
}

impl Verdict {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Anonymous => "anonymous",
            Self::Refused => "refused",
            Self::Malformed => "refused by Envoy",
            Self::UpstreamDown => "upstream down",
        }
    }

    /// Whether the request must not have reached the upstream.
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::Refused | Self::Malformed)
    }
}

/// Explains a response by the policies that may have decided it; the error says why none of them explains it.
pub fn judge(
    kind: &Kind,
    id: u64,
    response: &Response,
    policies: RangeInclusive<u64>,
    upstream_down: bool,
) -> Result<Verdict, String> {
    let expected = |side| kind.expect(side);
    let any = |passes: &dyn Fn(Expect) -> bool| policies.clone().any(|version| passes(expected(Side::of(version))));
    match response.status {
        200 => admitted(kind, id, response, &policies),
        status @ (500..) => {
            let text = response.text();
            let envoys = text.starts_with("upstream connect error") || text.starts_with("no healthy upstream");
            let passes = any(&|expect| matches!(expect, Expect::Admitted(..) | Expect::Anonymous));
            match (upstream_down, envoys, passes) {
                (true, true, true) => Ok(Verdict::UpstreamDown),
                (false, ..) => Err(format!("{status} while the upstream was up")),
                (_, false, _) => Err(format!("{status} that the upstream did not cause")),
                (_, _, false) => {
                    Err(format!("{status} for a request that every policy refuses: Envoy tried to send it upstream"))
                }
            }
        }
        status => {
            if any(&|expect| expect == Expect::Malformed(status)) {
                return Ok(Verdict::Malformed);
            }
            let seen = reason(response).unwrap_or_default();
            if any(&|expect| matches!(expect, Expect::Refused(code, reason) if (code, reason) == (status, &seen))) {
                Ok(Verdict::Refused)
            } else {
                Err(format!("{status} {seen:?} matches none of the policies {policies:?}"))
            }
        }
    }
}

fn admitted(kind: &Kind, id: u64, response: &Response, policies: &RangeInclusive<u64>) -> Result<Verdict, String> {
    let answer = response.json();
    let upstream = echo::received(&answer);
    if values(&upstream, ID) != [id.to_string()] {
        return Err("200 is not the echo of this request".to_owned());
    }
    let left =
        ["x-forwarded-user", "x.forwarded.user", "x-forwarded-email", "x-auth-request-user", "tailscale-user-login"]
            .into_iter()
            .find(|name| !values(&upstream, name).is_empty());
    if let Some(left) = left {
        return Err(format!("{left} reached the upstream"));
    }
    let stamped: Vec<_> = upstream.iter().filter(|(name, _)| name.starts_with(STAMP)).map(|(name, _)| name).collect();
    let scopes = values(&upstream, "x-openclaw-scopes");
    match stamped.as_slice() {
        [] => match (kind.expect(Side::A), scopes.is_empty()) {
            (Expect::Anonymous, true) => Ok(Verdict::Anonymous),
            (_, false) => Err(format!("no user, but scopes {scopes:?} reached the upstream")),
            _ => Err("passed without a user".to_owned()),
        },
        [name] => {
            let version = name.trim_start_matches(STAMP).parse().unwrap_or(u64::MAX);
            if !policies.contains(&version) || **name != stamp(version) {
                return Err(format!("decided by policy {name}, and only {policies:?} may be in force"));
            }
            let users = values(&upstream, name);
            match kind.expect(Side::of(version)) {
                Expect::Admitted(user, wanted) if users == [user] && scopes == [wanted] => Ok(Verdict::Admitted),
                other => Err(format!("policy {version} gives {other:?}, but {users:?} {scopes:?} arrived")),
            }
        }
        several => Err(format!("stamped more than once: {several:?}")),
    }
}

/// The reason for a refusal, from the JSON or from the page for browsers.
fn reason(response: &Response) -> Option<String> {
    match response.json()["error"]["reason"].as_str() {
        Some(reason) => Some(reason.to_owned()),
        None => {
            let text = response.text();
            let start = text.find("trusted_proxy_")?;
            Some(text[start..].chars().take_while(|one| one.is_ascii_lowercase() || *one == '_').collect())
        }
    }
}

//! WebSockets that stay open, with occasional messages, and some that are refused.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use harness::http::Request;
use harness::tungstenite::{self, Message, WebSocket, client};
use harness::wire;

use crate::Soak;
use crate::kinds::EDGE;
use crate::policies::Era;

/// How many are open at once on one Envoy.
const SOCKETS: usize = 12;

#[derive(Default)]
pub struct Sockets {
    pub opened: u64,
    pub messages: u64,
    /// Closed together with the first Envoy, when its drain time was over.
    pub left_with_parent: u64,
    /// Alice's, which were closed because of a policy B.
    pub closed_by_policy: u64,
    pub open_at_the_end: usize,
    /// The longest time that one was open, in seconds.
    pub longest: u64,
    /// Alice's handshakes that B refused, as it should.
    pub not_now: u64,
    pub refused: u64,
}

struct Open {
    socket: WebSocket<TcpStream>,
    user: &'static str,
    era: Era,
    since: Instant,
    /// The newest policy that was known to be in force before it was opened.
    version: u64,
}

impl Open {
    /// Whether the policy may have closed it: A lets Alice in, and B does not.
    fn may_be_closed(&self, soak: &Soak) -> bool {
        self.user == ALICE && soak.ledger.written() > self.version
    }

    /// Whether the policy must have closed it: a B has been in force for a second, and then another one.
    fn must_be_closed(&self, soak: &Soak) -> bool {
        self.user == ALICE && soak.ledger.acknowledged(self.era) >= self.version.saturating_add(4)
    }
}

const ALICE: &str = "alice@example.com";

/// Keeps sockets open until the end. Half are Alice's: A lets her in and B does not, and closes her sockets.
pub fn keep(soak: &Soak) -> Sockets {
    let mut seen = Sockets::default();
    let mut open: Vec<Open> = Vec::new();
    let mut sequence = 0_u64;
    while !soak.ended() {
        let era = soak.ledger.era();
        // During the handover it is unknown which Envoy a new socket would lead to.
        while era != Era::Between && open.iter().filter(|one| one.era == era).count() < SOCKETS {
            let alices = open.iter().filter(|one| one.era == era && one.user == ALICE).count();
            let user = if alices < SOCKETS / 2 { ALICE } else { "carol@example.com" };
            let version = soak.ledger.acknowledged(era);
            match handshake(soak, user) {
                Ok(Ok(socket)) => {
                    seen.opened += 1;
                    open.push(Open { socket, user, era, since: Instant::now(), version });
                }
                Ok(Err(reason)) if user == ALICE && reason == NOT_ALLOWED => {
                    seen.not_now += 1;
                    break;
                }
                Ok(Err(reason)) => soak.problem(format!("a WebSocket of {user} was refused: {reason}")),
                Err(error) => soak.problem(format!("a WebSocket of {user} did not open: {error}")),
            }
            if soak.ended() {
                break;
            }
        }
        open.retain_mut(|one| {
            sequence += 1;
            let message = Message::text(format!("message {sequence}"));
            let result = one.socket.send(message.clone()).and_then(|()| one.socket.read());
            match result {
                Ok(_) if one.must_be_closed(soak) => {
                    soak.problem(format!("a WebSocket of {} outlived its right", one.user));
                    false
                }
                Ok(back) if back == message => {
                    seen.messages += 1;
                    seen.longest = seen.longest.max(one.since.elapsed().as_secs());
                    true
                }
                _ if soak.ledger.may_be_gone(one.era) => {
                    seen.left_with_parent += 1;
                    false
                }
                Err(_) if one.may_be_closed(soak) => {
                    seen.closed_by_policy += 1;
                    false
                }
                other => {
                    soak.problem(format!(
                        "a WebSocket of {} to the {:?} Envoy was cut after {:.1} s: {other:?}",
                        one.user,
                        one.era,
                        one.since.elapsed().as_secs_f64()
                    ));
                    false
                }
            }
        });
        match handshake(soak, "dave@example.com") {
            Ok(Err(reason)) if reason == NOT_ALLOWED => seen.refused += 1,
            Ok(Err(reason)) => soak.problem(format!("a WebSocket of dave was refused with {reason}")),
            Ok(Ok(_)) => soak.problem("a WebSocket of dave was let in".to_owned()),
            Err(error) => soak.problem(format!("a WebSocket of dave got no answer: {error}")),
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    seen.open_at_the_end = open.len();
    seen
}

const NOT_ALLOWED: &str = "1008 proxy authentication required: trusted_proxy_user_not_allowed";

/// Opens a WebSocket; the inner error is the close frame of a refusal. Also reads the upstream's first message.
fn handshake(soak: &Soak, user: &str) -> Result<Result<WebSocket<TcpStream>, String>, String> {
    let request = Request::builder()
        .uri("ws://claw.example.com/live")
        .header("host", "claw.example.com")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", tungstenite::handshake::client::generate_key())
        .header("x-forwarded-for", "203.0.113.7")
        .header(EDGE, "1")
        .header("x-forwarded-user", user)
        .body(())
        .map_err(|error| error.to_string())?;
    let stream = wire::open(soak.address).map_err(|error| error.to_string())?;
    let (mut socket, _) = client(request, stream).map_err(|error| error.to_string())?;
    match socket.read() {
        Ok(Message::Text(_)) => Ok(Ok(socket)),
        Ok(Message::Close(Some(frame))) => Ok(Err(format!("{} {}", u16::from(frame.code), frame.reason))),
        Ok(other) => Err(format!("the first message is {other:?}")),
        Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
            Err("no response for a minute".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

//! Plays one shot over one connection.

use std::fmt;
use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use harness::wire::{Connection, Response};

use crate::attack::frames::Client;
use crate::attack::http3;
use crate::attack::place::Address;
use crate::attack::suite::{Expect, How, Shot};

/// The response to one request.
#[derive(Clone)]
pub enum Got {
    Answer {
        status: u16,
        /// The reason, which only the filter's refusals contain.
        reason: Option<String>,
        text: String,
        /// The header `grpc-status`.
        grpc: Option<u16>,
    },
    /// 101 and a close frame.
    Closed { code: u16, reason: String },
    /// 101, or 200 to an extended CONNECT, and the upstream's greeting.
    Switched,
    /// The connection or the stream ended.
    Nothing,
    /// Nothing more arrived in time.
    Silence,
    /// Something else.
    Odd(String),
}

impl fmt::Display for Got {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer { status, reason: Some(reason), .. } => write!(out, "{status} {reason}"),
            Self::Answer { status, text, .. } => {
                write!(out, "{status} {:?}", text.chars().take(80).collect::<String>())
            }
            Self::Closed { code, reason } => write!(out, "close {code} {reason:?}"),
            Self::Switched => out.write_str("an open WebSocket"),
            Self::Nothing => out.write_str("closed without an answer"),
            Self::Silence => out.write_str("silence"),
            Self::Odd(what) => out.write_str(what),
        }
    }
}

impl fmt::Debug for Got {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

/// A connection of any kind.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(bytes),
            Self::Unix(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(address: &Address, patience: Duration) -> io::Result<Stream> {
    Ok(match address {
        Address::Socket(address) => {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(patience))?;
            stream.set_write_timeout(Some(patience))?;
            Stream::Tcp(stream)
        }
        Address::Pipe(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(patience))?;
            stream.set_write_timeout(Some(patience))?;
            Stream::Unix(stream)
        }
        Address::Quic(..) => return Err(Error::other("this listener speaks QUIC only")),
    })
}

/// Plays a shot. `patience` only ends shots that would hang. `after` runs before the connection is closed.
pub fn play(shot: &Shot, address: &Address, patience: Duration, after: impl FnOnce()) -> Vec<Got> {
    let mut got = Vec::new();
    let result = match (shot.how, address) {
        (How::Http3 { from, .. } | How::MovingHttp3 { from, .. }, Address::Quic(server, certificate)) => {
            let client = http3::Client::open(*server, from.into(), certificate, patience);
            client.and_then(|client| http3(shot, &client, &mut got, after))
        }
        (How::Http3 { .. } | How::MovingHttp3 { .. }, _) => Err(Error::other("this listener does not speak QUIC")),
        (how, _) => open(address, patience).and_then(|stream| match how {
            How::Http2 => http2(shot, stream, &mut got, after),
            _ => http1(shot, stream, &mut got, after),
        }),
    };
    if let Err(error) = result {
        got.push(of_error(&error));
    }
    got
}

fn of_error(error: &Error) -> Got {
    match error.kind() {
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::BrokenPipe
        | ErrorKind::ConnectionAborted => Got::Nothing,
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Got::Silence,
        _ => Got::Odd(error.to_string()),
    }
}

fn http1(shot: &Shot, stream: Stream, got: &mut Vec<Got>, after: impl FnOnce()) -> io::Result<()> {
    let mut connection = Connection::new(stream);
    for step in &shot.steps {
        // Envoy may have answered and closed the connection before everything was sent; the answer counts.
        let sent = connection.send(&step.bytes);
        if sent.as_ref().is_err_and(|error| matches!(of_error(error), Got::Odd(_) | Got::Silence)) {
            sent?;
        }
        for expect in &step.expect {
            // An answer that opens a tunnel has no body either.
            let bodiless = shot.head || *expect == Expect::Tunnel;
            let response = connection.response(if bodiless { "HEAD" } else { "GET" })?;
            if response.status == 101 {
                got.push(socket(&mut connection)?);
                continue;
            }
            got.push(Got::Answer {
                status: response.status,
                reason: reason(&response),
                text: response.text(),
                grpc: response.header("grpc-status").and_then(|code| code.parse().ok()),
            });
        }
    }
    after();
    Ok(())
}

/// The first frame of a WebSocket.
fn socket(connection: &mut Connection<Stream>) -> io::Result<Got> {
    let head = connection.exactly(2)?;
    let payload = connection.exactly(usize::from(head[1] & 0x7f))?;
    Ok(match (head[0], payload.as_slice()) {
        (0x81, b"upstream") => Got::Switched,
        (0x88, [high, low, text @ ..]) => {
            let reason = String::from_utf8_lossy(text).into_owned();
            let rest = connection.rest()?;
            if rest.is_empty() {
                Got::Closed { code: u16::from_be_bytes([*high, *low]), reason }
            } else {
                Got::Odd(format!("behind the close frame: {}", rest.escape_ascii()))
            }
        }
        _ => Got::Odd(format!("101, then {}", [head, payload].concat().escape_ascii())),
    })
}

fn http2(shot: &Shot, stream: Stream, got: &mut Vec<Got>, after: impl FnOnce()) -> io::Result<()> {
    let mut client = Client::new(stream);
    for (index, step) in shot.steps.iter().enumerate() {
        client.send(&step.bytes)?;
        for _ in &step.expect {
            let answer = client.answer(u32::try_from(2 * index + 1).expect("few"))?;
            got.push(match answer.status {
                Some(status) => Got::Answer {
                    status,
                    reason: reason_of(&answer.body),
                    text: String::from_utf8_lossy(&answer.body).into_owned(),
                    grpc: answer.grpc,
                },
                None => Got::Nothing,
            });
        }
    }
    after();
    Ok(())
}

fn http3(shot: &Shot, client: &http3::Client, got: &mut Vec<Got>, after: impl FnOnce()) -> io::Result<()> {
    let mut streams = Vec::new();
    for (index, step) in shot.steps.iter().enumerate() {
        if let (How::MovingHttp3 { then, .. }, 1) = (shot.how, index) {
            client.move_to(then.into())?;
        }
        let ends = !matches!(shot.how, How::Http3 { ends: false, .. });
        let (answer, stream) = match client.ask(&step.bytes, ends) {
            Ok(answered) => answered,
            // A stream may be reset and the connection go on.
            Err(error) if matches!(of_error(&error), Got::Nothing) => {
                got.push(Got::Nothing);
                continue;
            }
            Err(error) => return Err(error),
        };
        streams.push(stream);
        got.push(match answer.status {
            Some(status) => Got::Answer {
                status,
                reason: reason_of(&answer.body),
                text: String::from_utf8_lossy(&answer.body).into_owned(),
                grpc: None,
            },
            None => Got::Nothing,
        });
    }
    after();
    Ok(())
}

fn reason(response: &Response) -> Option<String> {
    reason_of(&response.body)
}

/// The reason of a refusal, from its JSON or from its page. A page that reflects parts of the request gives none.
fn reason_of(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    if text.starts_with("<!doctype html>") && !text.contains("<script>alert") {
        let start = text.find("trusted_proxy_")?;
        return text.get(start..)?.split(|one: char| !one.is_ascii_lowercase() && one != '_').next().map(str::to_owned);
    }
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    body["error"]["reason"].as_str().map(str::to_owned)
}

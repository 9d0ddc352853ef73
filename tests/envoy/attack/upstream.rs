//! The server behind Envoy: it records every request, byte for byte as far as the rules need it, and answers 200.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use harness::tungstenite::handshake::derive_accept_key;
use harness::wire::{Connection, Headers, latin1, values};

/// The first frame sent on a WebSocket.
pub const GREETING: &[u8] = b"\x81\x08upstream";

/// One request that arrived.
#[derive(Clone, Debug, Default)]
pub struct Sighting {
    pub method: String,
    /// The request target from the request line.
    pub target: Vec<u8>,
    pub version: String,
    /// Names as they arrived, values without surrounding white space, copies as separate entries, in order.
    pub headers: Headers,
    pub trailers: Headers,
    pub body: Vec<u8>,
    /// The bytes after an upgrade.
    pub behind: Vec<u8>,
    /// The part that could not be read.
    pub problem: Option<String>,
}

impl Sighting {
    /// All copies of a header, as Latin-1.
    pub fn values(&self, name: &str) -> Vec<String> {
        values(&self.headers, name)
    }

    fn read(head: &[u8]) -> Self {
        let mut lines = head.strip_suffix(b"\n\r\n").unwrap_or(head).split(|byte| *byte == b'\n');
        let mut this = Self::default();
        let line = lines.next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        match parts.as_slice() {
            [method, target, version] => {
                (this.method, this.target, this.version) = (latin1(method), target.to_vec(), latin1(version));
            }
            _ => this.problem = Some(format!("request line `{}`", line.escape_ascii())),
        }
        for line in lines {
            let Some((line, colon)) =
                line.strip_suffix(b"\r").and_then(|line| Some((line, line.iter().position(|byte| *byte == b':')?)))
            else {
                this.problem = Some(format!("header line `{}`", line.escape_ascii()));
                continue;
            };
            this.headers.push((latin1(&line[..colon]), trim(&line[colon + 1..]).to_vec()));
        }
        this
    }
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Sighting>>,
    ended: AtomicBool,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Vec<Sighting>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server on a free port of 127.0.0.1, until it is dropped.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Upstream {
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let accepting = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for stream in listener.incoming() {
                    if shared.ended.load(Ordering::SeqCst) {
                        break;
                    }
                    let Ok(stream) = stream else { continue };
                    let shared = Arc::clone(&shared);
                    // It ends with its connection, which ends with Envoy.
                    std::thread::spawn(move || drop(serve(&stream, &shared)));
                }
            }
        });
        Ok(Self { address, shared, accepting: Some(accepting) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Sighting> {
        self.shared.seen().clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.accepting.take() {
            drop(thread.join());
        }
    }
}

fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = Connection::new(stream);
    while let Some(head) = connection.head()? {
        let sighting = Sighting::read(&head);
        let (method, headers) = (sighting.method.clone(), sighting.headers.clone());
        let place = {
            let mut seen = shared.seen();
            seen.push(sighting);
            seen.len() - 1
        };
        let amend = |change: &dyn Fn(&mut Sighting)| {
            if let Some(sighting) = shared.seen().get_mut(place) {
                change(sighting);
            }
        };
        if !values(&headers, "upgrade").is_empty() {
            let Some(key) = values(&headers, "sec-websocket-key").into_iter().next() else {
                // The same answer as from the Gateway's WebSocket library.
                return connection.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            };
            let accept = derive_accept_key(key.as_bytes());
            let mut answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\n\r\n"
            )
            .into_bytes();
            answer.extend_from_slice(GREETING);
            connection.send(&answer)?;
            loop {
                let bytes = connection.some()?;
                if bytes.is_empty() {
                    return Ok(());
                }
                amend(&|sighting| sighting.behind.extend_from_slice(&bytes));
            }
        }
        // If both framings are present, Node uses the chunks, and so does this server.
        let (body, trailers) = connection.body(&headers)?.unwrap_or_default();
        amend(&|sighting| (sighting.body, sighting.trailers) = (body.clone(), trailers.clone()));
        connection.send(match method.as_str() {
            "HEAD" => b"HTTP/1.1 200 OK\r\n\r\n",
            "CONNECT" => b"HTTP/1.1 501 No\r\ncontent-length: 0\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n",
        })?;
    }
    Ok(())
}

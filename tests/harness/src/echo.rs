//! An upstream that answers with the request it received.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use base64::Engine as _;
use serde_json::{Value, json};
use tungstenite::protocol::{Role, WebSocket};

use crate::wire::{Connection, Headers, latin1, owned, values};

/// The header that carries the same JSON in base64 when a response has no body: the answer to HEAD.
pub const HEAD_ANSWER: &str = "x-echo";

/// A server on a free port of 127.0.0.1, until it is dropped.
///
/// The answer to any request is 200 and the JSON `{"method", "path", "headers": [[name, value], …], "trailers": …,
/// "body"}`. Values are read as Latin-1, and copies are kept in order. A WebSocket is accepted and receives that JSON
/// as its first message; every later message is echoed back.
pub struct Echo {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    requests: AtomicUsize,
    ended: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
    on_request: Box<dyn Fn(&Headers) + Send + Sync>,
}

impl Echo {
    /// Starts the server.
    pub fn start() -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), |_| {})
    }

    /// Starts the server at an address, which may be one that it used before; `on_request` is called with the headers
    /// of each request.
    pub fn start_at(address: SocketAddr, on_request: impl Fn(&Headers) + Send + Sync + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            requests: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            open: Mutex::default(),
            on_request: Box::new(on_request),
        });
        let accepting = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Ok(Self { address, shared, accepting: Some(accepting) })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests arrived so far, including WebSockets.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.accepting.take() {
            drop(thread.join());
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut serving: Vec<JoinHandle<()>> = Vec::new();
    for stream in listener.incoming() {
        if shared.ended.load(Ordering::SeqCst) {
            break;
        }
        let Ok(stream) = stream else { continue };
        let Ok(handle) = stream.try_clone() else { continue };
        let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|stream| stream.peer_addr().is_ok());
        open.push(handle);
        drop(open);
        serving.retain(|thread| !thread.is_finished());
        let shared = Arc::clone(shared);
        serving.push(std::thread::spawn(move || {
            // A client that goes away in the middle of a request is not an error of the echo server.
            drop(serve(&stream, &shared));
            drop(stream.shutdown(Shutdown::Both));
        }));
    }
    for stream in shared.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        drop(stream.shutdown(Shutdown::Both));
    }
    for thread in serving {
        drop(thread.join());
    }
}

fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = Connection::new(stream);
    while let Some(head) = connection.head()? {
        let mut slots = [httparse::EMPTY_HEADER; 256];
        let mut parsed = httparse::Request::new(&mut slots);
        if parsed.parse(&head).is_err() {
            return connection.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
        let (method, path) = (parsed.method.unwrap_or_default().to_owned(), parsed.path.unwrap_or_default().to_owned());
        let headers = owned(parsed.headers);
        let (body, trailers) = connection.body(&headers)?.unwrap_or_default();
        shared.requests.fetch_add(1, Ordering::SeqCst);
        (shared.on_request)(&headers);
        let answer = json!({
            "method": method, "path": path, "headers": pairs(&headers), "trailers": pairs(&trailers), "body": latin1(&body),
        });

        if values(&headers, "upgrade").iter().any(|value| value.eq_ignore_ascii_case("websocket")) {
            return websocket(connection, &headers, &answer);
        }
        let text = format!("{answer}\n");
        let close = values(&headers, "connection").iter().any(|value| value.eq_ignore_ascii_case("close"));
        let mut response = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n".to_owned();
        if close {
            response.push_str("connection: close\r\n");
        }
        if method == "HEAD" {
            response.push_str(&format!(
                "{HEAD_ANSWER}: {}\r\n\r\n",
                base64::engine::general_purpose::STANDARD.encode(&text)
            ));
        } else {
            response.push_str(&format!("content-length: {}\r\n\r\n{text}", text.len()));
        }
        connection.send(response.as_bytes())?;
        if close {
            break;
        }
    }
    Ok(())
}

fn websocket(mut connection: Connection<&TcpStream>, headers: &Headers, answer: &Value) -> io::Result<()> {
    let Some(key) = values(headers, "sec-websocket-key").into_iter().next() else {
        // The same answer as from the Gateway's WebSocket library.
        return connection.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    };
    let mut response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {}\r\n",
        tungstenite::handshake::derive_accept_key(key.as_bytes()),
    );
    if let Some(offered) = values(headers, "sec-websocket-protocol").into_iter().next() {
        let first = offered.split(',').next().unwrap_or_default().trim();
        response.push_str(&format!("sec-websocket-protocol: {first}\r\n"));
    }
    connection.send(format!("{response}\r\n").as_bytes())?;
    let (stream, buffer) = connection.into_parts();
    let mut socket = WebSocket::from_partially_read(stream, buffer, Role::Server, None);
    socket.send(answer.to_string().into()).map_err(gone)?;
    loop {
        match socket.read() {
            Ok(message) if message.is_text() || message.is_binary() => socket.send(message).map_err(gone)?,
            Ok(_) => {}
            Err(_) => return Ok(()),
        }
    }
}

fn pairs(headers: &Headers) -> Vec<[String; 2]> {
    headers.iter().map(|(name, value)| [name.clone(), latin1(value)]).collect()
}

fn gone(error: tungstenite::Error) -> io::Error {
    io::Error::new(ErrorKind::BrokenPipe, error)
}

/// The headers in an answer of the echo server, as bytes again.
pub fn received(answer: &Value) -> Headers {
    let pairs = answer["headers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    pairs.iter().map(|pair| (text(&pair[0]), text(&pair[1]).chars().map(|one| one as u8).collect())).collect()
}

/// The echo server's answer in a response to any method; null if the response is not from the echo server.
pub fn answer(response: &crate::wire::Response) -> Value {
    match response.header(HEAD_ANSWER) {
        Some(text) => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
            serde_json::from_slice(&bytes).unwrap_or_default()
        }
        None => response.json(),
    }
}

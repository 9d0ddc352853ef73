//! A WebSocket over HTTP/2 (RFC 8441), byte by byte.

use std::io::{self, Error, Read as _, Write as _};
use std::net::SocketAddr;

use http::{Method, Request, Version};

use crate::http2::Stream;
use crate::wire;

/// Opens a WebSocket, sends bytes if it was admitted, and returns the status and the bytes received: the whole body
/// of a refusal, or otherwise everything up to `last`.
///
/// # Panics
/// If there is no answer in time, or if it is not HTTP/2.
pub fn open(address: SocketAddr, headers: &[(&str, &str)], send: &[u8], last: &[u8]) -> (u16, Vec<u8>) {
    let mut socket = socket(address, headers).expect("an answer over HTTP/2");
    if socket.status != 200 {
        let mut refusal = Vec::new();
        socket.read_to_end(&mut refusal).expect("the whole refusal");
        return (socket.status, refusal);
    }
    if !send.is_empty() {
        socket.write_all(send).expect("the stream is open");
    }
    (socket.status, socket.read_until(last, wire::PATIENCE).expect("an answer over HTTP/2 in time"))
}

/// Opens a WebSocket on a connection of its own.
///
/// # Errors
/// If there is no answer in time, or if it is not HTTP/2.
pub fn socket(address: SocketAddr, headers: &[(&str, &str)]) -> io::Result<Stream> {
    let mut request =
        Request::builder().method(Method::CONNECT).uri("http://claw.example.com/").version(Version::HTTP_2);
    request = request.header("sec-websocket-version", "13").extension(h2::ext::Protocol::from_static("websocket"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Stream::open(tokio::net::TcpStream::connect(address), request.body(()).map_err(Error::other)?)
}

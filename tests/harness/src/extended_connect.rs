//! A WebSocket over HTTP/2 (RFC 8441), byte by byte.

use std::io::{self, Error};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::{Method, Request, Version};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::wire;

/// Opens a WebSocket, sends bytes if it was admitted, and returns the status and the bytes received: the whole body
/// of a refusal, or otherwise everything up to `last`.
///
/// # Panics
/// If there is no answer in time, or if it is not HTTP/2.
pub fn open(address: SocketAddr, headers: &[(&str, &str)], send: &'static [u8], last: &[u8]) -> (u16, Vec<u8>) {
    let mut socket = Socket::open(address, headers).expect("an answer over HTTP/2");
    if socket.status != 200 {
        return (socket.status, socket.rest().expect("the whole refusal"));
    }
    if !send.is_empty() {
        socket.send(send).expect("the stream is open");
    }
    (socket.status, socket.read_until(last, wire::PATIENCE).expect("an answer over HTTP/2 in time"))
}

/// A WebSocket that stays open. Every call blocks.
pub struct Socket {
    /// The status of the answer: 200 if it is open.
    pub status: u16,
    runtime: Runtime,
    upload: SendStream<Bytes>,
    download: RecvStream,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Socket {
    /// Opens a WebSocket on a connection of its own.
    ///
    /// # Errors
    /// If there is no answer in time, or if it is not HTTP/2.
    pub fn open(address: SocketAddr, headers: &[(&str, &str)]) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let opening = async {
            let stream = tokio::net::TcpStream::connect(address).await?;
            let (mut client, connection) = h2::client::handshake(stream).await.map_err(Error::other)?;
            let connection = tokio::spawn(connection);
            while !client.is_extended_connect_protocol_enabled() {
                tokio::task::yield_now().await;
            }
            client = client.ready().await.map_err(Error::other)?;
            let mut request =
                Request::builder().method(Method::CONNECT).uri("http://claw.example.com/").version(Version::HTTP_2);
            request =
                request.header("sec-websocket-version", "13").extension(h2::ext::Protocol::from_static("websocket"));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.body(()).map_err(Error::other)?;
            let (response, upload) = client.send_request(request, false).map_err(Error::other)?;
            let response = response.await.map_err(Error::other)?;
            Ok::<_, Error>((response.status().as_u16(), upload, response.into_body(), connection))
        };
        let opened = runtime.block_on(async { timeout(wire::PATIENCE, opening).await })?;
        let (status, upload, download, connection) = opened?;
        Ok(Self { status, runtime, upload, download, connection })
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// If the stream was closed.
    pub fn send(&mut self, bytes: &'static [u8]) -> io::Result<()> {
        let _guard = self.runtime.enter();
        self.upload.send_data(Bytes::from_static(bytes), false).map_err(Error::other)
    }

    /// Everything up to `last`, which must come within `patience`.
    ///
    /// # Errors
    /// If the stream ended or was reset, or if it did not come in time.
    pub fn read_until(&mut self, last: &[u8], patience: Duration) -> io::Result<Vec<u8>> {
        let Self { runtime, download, .. } = self;
        let reading = async {
            let mut bytes = Vec::new();
            while !bytes.ends_with(last) || bytes.is_empty() {
                let Some(part) = download.data().await else { return Err(io::ErrorKind::UnexpectedEof.into()) };
                let part = part.map_err(Error::other)?;
                download.flow_control().release_capacity(part.len()).map_err(Error::other)?;
                bytes.extend_from_slice(&part);
            }
            Ok(bytes)
        };
        runtime.block_on(async { timeout(patience, reading).await })?
    }

    /// Everything up to the end.
    fn rest(&mut self) -> io::Result<Vec<u8>> {
        let Self { runtime, download, .. } = self;
        let reading = async {
            let mut bytes = Vec::new();
            while let Some(part) = download.data().await {
                let part = part.map_err(Error::other)?;
                download.flow_control().release_capacity(part.len()).map_err(Error::other)?;
                bytes.extend_from_slice(&part);
            }
            Ok(bytes)
        };
        runtime.block_on(async { timeout(wire::PATIENCE, reading).await })?
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

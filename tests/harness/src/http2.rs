//! A stream of HTTP/2 that stays open, byte by byte. Every call blocks.

use std::io::{self, Error, Read, Write};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use h2::client::{Connection, SendRequest};
use h2::{RecvStream, SendStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::wire;

/// An open stream, on a connection of its own.
pub struct Stream {
    /// The status of the answer: 200 if the stream stays open.
    pub status: u16,
    runtime: Runtime,
    upload: SendStream<Bytes>,
    download: RecvStream,
    arrived: Bytes,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Stream {
    /// Connects, sends a request whose body goes on, and waits for the answer's headers.
    ///
    /// # Errors
    /// If there is no answer in time, or if it is not HTTP/2.
    pub fn open<C>(connecting: impl Future<Output = io::Result<C>>, request: Request<()>) -> io::Result<Self>
    where
        C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let opening = async {
            let (mut client, connection): (SendRequest<Bytes>, Connection<C>) =
                h2::client::handshake(connecting.await?).await.map_err(Error::other)?;
            let connection = tokio::spawn(connection);
            if request.extensions().get::<h2::ext::Protocol>().is_some() {
                while !client.is_extended_connect_protocol_enabled() {
                    tokio::task::yield_now().await;
                }
            }
            client = client.ready().await.map_err(Error::other)?;
            let (response, upload) = client.send_request(request, false).map_err(Error::other)?;
            let response = response.await.map_err(Error::other)?;
            Ok::<_, Error>((response.status().as_u16(), upload, response.into_body(), connection))
        };
        let opened = runtime.block_on(async { timeout(wire::PATIENCE, opening).await })?;
        let (status, upload, download, connection) = opened?;
        Ok(Self { status, runtime, upload, download, arrived: Bytes::new(), connection })
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
                bytes.extend_from_slice(&part(download).await?.ok_or(io::ErrorKind::UnexpectedEof)?);
            }
            Ok(bytes)
        };
        runtime.block_on(async { timeout(patience, reading).await })?
    }
}

/// The bytes that arrive next; `None` at the end.
async fn part(download: &mut RecvStream) -> io::Result<Option<Bytes>> {
    let Some(part) = download.data().await else { return Ok(None) };
    let part = part.map_err(Error::other)?;
    download.flow_control().release_capacity(part.len()).map_err(Error::other)?;
    Ok(Some(part))
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Self { runtime, download, arrived, .. } = self;
        while arrived.is_empty() {
            let next = runtime.block_on(async { timeout(wire::PATIENCE, part(download)).await })?;
            let Some(next) = next? else { return Ok(0) };
            *arrived = next;
        }
        let length = into.len().min(arrived.len());
        arrived.copy_to_slice(&mut into[..length]);
        Ok(length)
    }
}

impl Write for Stream {
    /// Nothing is sent before the next read.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _guard = self.runtime.enter();
        self.upload.send_data(Bytes::copy_from_slice(bytes), false).map_err(Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

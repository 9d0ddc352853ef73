//! A QUIC connection (RFC 9000) on which the bytes of each stream are the caller's own.

use std::io::{self, Error, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, RecvStream, SendStream};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// A connection. Every call blocks, for `patience` at most.
pub struct Connection {
    runtime: Runtime,
    endpoint: Endpoint,
    connection: quinn::Connection,
    patience: Duration,
}

/// A stream in both directions.
pub struct Stream {
    receive: RecvStream,
    /// Dropped, it would end the client's direction.
    send: SendStream,
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::ConnectionAborted, error)
}

impl Connection {
    /// Connects from an address of this host to a server whose certificate is in a PEM file.
    ///
    /// # Errors
    /// If there is no connection in time.
    pub fn open(
        server: SocketAddr,
        from: IpAddr,
        name: &str,
        protocol: &[u8],
        certificate: &Path,
        patience: Duration,
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate).map_err(Error::other)?).map_err(Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls =
            rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
        let mut tls = tls.map_err(Error::other)?.with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![protocol.to_vec()];
        let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).map_err(Error::other)?));
        let (endpoint, connection) = runtime.block_on(async {
            let endpoint = Endpoint::client(SocketAddr::new(from, 0))?;
            let connecting = endpoint.connect_with(config, server, name).map_err(Error::other)?;
            let connection = timeout(patience, connecting).await?.map_err(failed)?;
            Ok::<_, Error>((endpoint, connection))
        })?;
        Ok(Self { runtime, endpoint, connection, patience })
    }

    /// Goes on from another address of this host.
    ///
    /// # Errors
    /// If there is no such address.
    pub fn move_to(&self, from: IpAddr) -> io::Result<()> {
        let _guard = self.runtime.enter();
        self.endpoint.rebind(std::net::UdpSocket::bind(SocketAddr::new(from, 0))?)
    }

    /// Sends bytes on a new stream in one direction, which stays open.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn send(&self, bytes: &[u8]) -> io::Result<SendStream> {
        self.runtime.block_on(async {
            let mut stream = self.connection.open_uni().await.map_err(failed)?;
            stream.write_all(bytes).await.map_err(failed)?;
            Ok(stream)
        })
    }

    /// Sends bytes on a new stream in both directions, and ends its own direction if `end`.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn ask(&self, bytes: &[u8], end: bool) -> io::Result<Stream> {
        self.runtime.block_on(async {
            let (mut send, receive) = self.connection.open_bi().await.map_err(failed)?;
            // The answer may come, and the server may lose interest, before everything is sent.
            let sent = send.write_all(bytes).await;
            if end && sent.is_ok() {
                drop(send.finish());
            }
            Ok(Stream { receive, send })
        })
    }

    /// Sends more bytes on a stream.
    ///
    /// # Errors
    /// If the stream or the connection was reset.
    pub fn write(&self, stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
        self.runtime.block_on(async { timeout(self.patience, stream.send.write_all(bytes)).await })?.map_err(failed)
    }

    /// The next bytes on a stream; none at its end.
    ///
    /// # Errors
    /// If the stream or the connection was reset, or nothing came in time.
    pub fn read(&self, stream: &mut Stream) -> io::Result<Vec<u8>> {
        let read = async { timeout(self.patience, stream.receive.read_chunk(64 * 1024, true)).await };
        let chunk = self.runtime.block_on(read)?.map_err(failed)?;
        Ok(chunk.map(|chunk| chunk.bytes.to_vec()).unwrap_or_default())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connection.close(0_u8.into(), b"");
        // The server learns of it.
        self.runtime.block_on(async { drop(timeout(Duration::from_millis(200), self.endpoint.wait_idle()).await) });
    }
}

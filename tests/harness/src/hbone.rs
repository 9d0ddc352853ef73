//! A client of Istio's tunnel (HBONE): HTTP CONNECT over HTTP/2 and mutual TLS. It sends whatever it is given, and does
//! not check who the server is.

use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Method, Request};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http2::Stream;
use crate::pki::Identity;

/// What a client says before anything is in the tunnel.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// The name in the TLS handshake.
    pub server_name: &'a str,
    /// Where the tunnel shall lead: an address and a port.
    pub authority: &'a str,
    /// The headers of the CONNECT request.
    pub headers: &'a [(&'a str, &'a str)],
}

/// Opens a tunnel over a connection, with this certificate or without one. What is written to the stream is in the
/// tunnel, if its status is 200.
///
/// # Errors
/// If the server does not accept the certificate, or does not answer.
pub fn open(tcp: TcpStream, identity: Option<&Identity>, opening: &Opening<'_>) -> io::Result<Stream> {
    let mut request = Request::builder().method(Method::CONNECT).uri(opening.authority);
    for (name, value) in opening.headers {
        request = request.header(*name, *value);
    }
    let request = request.body(()).map_err(Error::other)?;
    let name = ServerName::try_from(opening.server_name.to_owned()).map_err(Error::other)?;
    let session = ClientConnection::new(Arc::new(config(identity)?), name).map_err(Error::other)?;
    tcp.set_nonblocking(true)?;
    Stream::open(async { Ok(Secured { tcp: tokio::net::TcpStream::from_std(tcp)?, session }) }, request)
}

fn config(identity: Option<&Identity>) -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)));
    let mut config = match identity {
        Some(identity) => {
            let chain = CertificateDer::pem_file_iter(identity.certificate()).map_err(Error::other)?;
            let chain = chain.collect::<Result<Vec<_>, _>>().map_err(Error::other)?;
            let key = PrivateKeyDer::from_pem_file(identity.key()).map_err(Error::other)?;
            builder.with_client_auth_cert(chain, key).map_err(Error::other)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Takes any certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// TLS over a connection of tokio.
struct Secured {
    tcp: tokio::net::TcpStream,
    session: ClientConnection,
}

/// The connection for rustls, which reads and writes what is possible now.
struct Now<'a, 'c, 'w> {
    tcp: Pin<&'a mut tokio::net::TcpStream>,
    context: &'c mut Context<'w>,
}

impl Read for Now<'_, '_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(into);
        match self.tcp.as_mut().poll_read(self.context, &mut buffer) {
            Poll::Ready(done) => done.map(|()| buffer.filled().len()),
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Now<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.tcp.as_mut().poll_write(self.context, bytes) {
            Poll::Ready(done) => done,
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `Pending` instead of an error for what is not possible now.
fn later<T>(done: io::Result<T>) -> Poll<io::Result<T>> {
    match done {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
        done => Poll::Ready(done),
    }
}

impl Secured {
    /// Sends what rustls has to send.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            let mut now = Now { tcp: Pin::new(&mut self.tcp), context };
            ready!(later(self.session.write_tls(&mut now)))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Secured {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            // The handshake goes on here too. The next read waits anyway.
            let _: Poll<_> = this.poll_send(context)?;
            match later(this.session.reader().read(into.initialize_unfilled())) {
                Poll::Ready(done) => return Poll::Ready(done.map(|length| into.advance(length))),
                Poll::Pending => {
                    let mut now = Now { tcp: Pin::new(&mut this.tcp), context };
                    let length = ready!(later(this.session.read_tls(&mut now)))?;
                    let processed = this.session.process_new_packets().map_err(Error::other);
                    if let Err(error) = processed {
                        return Poll::Ready(Err(error));
                    }
                    if length == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

impl AsyncWrite for Secured {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // What was written before goes first, so that rustls does not keep more and more.
        ready!(this.poll_send(context))?;
        Poll::Ready(this.session.writer().write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.session.send_close_notify();
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.tcp).poll_shutdown(context)
    }
}

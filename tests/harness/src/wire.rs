//! HTTP/1.1 on the wire: write any bytes, read the response byte by byte.

use std::fmt;
use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// How long a peer may stay silent before a read fails. It only ends a test that would hang; nothing is measured with
/// it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Headers in order of arrival; copies are separate entries.
pub type Headers = Vec<(String, Vec<u8>)>;

/// The values of all copies of a header, read as Latin-1.
pub fn values(headers: &Headers, name: &str) -> Vec<String> {
    headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| latin1(value)).collect()
}

/// Bytes as the characters with the same numbers.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The line that a proxy with the PROXY protocol sends first, here from port 40000 of `peer`.
pub fn proxy_line(peer: &str) -> Vec<u8> {
    proxy_line_from(peer, 40000)
}

/// Like [`proxy_line`], from any port.
pub fn proxy_line_from(peer: &str, port: u16) -> Vec<u8> {
    let (family, destination) = if peer.contains(':') { ("TCP6", "2001:db8::ffff") } else { ("TCP4", "192.0.2.1") };
    format!("PROXY {family} {peer} {destination} {port} 80\r\n").into_bytes()
}

/// The bytes of a request without a body.
pub fn request<N: AsRef<[u8]>, V: AsRef<[u8]>>(method: &str, path: &str, headers: &[(N, V)]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
    for (name, value) in headers {
        for part in [name.as_ref(), b": ", value.as_ref(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// A response.
#[derive(Clone, Default)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers as they arrived.
    pub headers: Headers,
    /// Status line and headers as bytes, with the empty line.
    pub head: Vec<u8>,
    /// The body, without its framing. The body of a 101 is left in the connection.
    pub body: Vec<u8>,
}

impl Response {
    /// The first copy of a header.
    pub fn header(&self, name: &str) -> Option<String> {
        values(&self.headers, name).into_iter().next()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null if it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}", latin1(&self.head), latin1(&self.body))
    }
}

/// One end of an HTTP/1.1 connection.
pub struct Connection<S = TcpStream> {
    stream: S,
    buffer: Vec<u8>,
}

impl Connection<TcpStream> {
    /// Opens a connection.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::new(open(address)?))
    }
}

/// Opens a plain connection whose reads time out after [`PATIENCE`].
pub fn open(address: SocketAddr) -> io::Result<TcpStream> {
    ready(TcpStream::connect(address)?)
}

/// An address of this machine that is not loopback. A connection from it to 127.0.0.1 stays inside the machine, and
/// the server sees a peer address other than loopback. The error is one line that says what to do.
pub fn own_address() -> Result<IpAddr, String> {
    // Asks the system which address it would use; nothing is sent.
    let found = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    found.ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified()).ok_or_else(|| {
        "this machine has no IPv4 address but loopback: connect it to a network, or give one to an interface with a default route"
            .to_owned()
    })
}

/// Like [`open`], from this address.
#[cfg(feature = "clients")]
pub fn open_from(source: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stream = runtime.block_on(async {
        let socket = if source.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
        socket.bind(SocketAddr::new(source, 0))?;
        socket.connect(address).await?.into_std()
    })?;
    stream.set_nonblocking(false)?;
    ready(stream)
}

fn ready(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends one GET on its own connection.
pub fn get<N: AsRef<[u8]>, V: AsRef<[u8]>>(
    address: SocketAddr,
    path: &str,
    headers: &[(N, V)],
) -> io::Result<Response> {
    let mut connection = Connection::open(address)?;
    let mut all: Headers = vec![("host".to_owned(), address.to_string().into_bytes())];
    all.extend(headers.iter().map(|(name, value)| (latin1(name.as_ref()), value.as_ref().to_vec())));
    all.push(("connection".to_owned(), b"close".to_vec()));
    connection.send(&request("GET", path, &all))?;
    connection.response("GET")
}

impl<S: Read + Write> Connection<S> {
    /// Uses an open stream.
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// The stream, and the bytes that were read from it but not consumed yet.
    pub fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.buffer)
    }

    /// Writes bytes.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Reads one final response to a request of this method; interim ones (1xx other than 101) are skipped.
    pub fn response(&mut self, method: &str) -> io::Result<Response> {
        loop {
            let head = self.head()?.ok_or_else(|| Error::new(ErrorKind::UnexpectedEof, "closed without a response"))?;
            let mut slots = [httparse::EMPTY_HEADER; 256];
            let mut parsed = httparse::Response::new(&mut slots);
            parsed.parse(&head).map_err(invalid)?;
            let status = parsed.code.unwrap_or_default();
            let headers = owned(parsed.headers);
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let body = match status {
                101 | 204 | 304 => Vec::new(),
                _ if method == "HEAD" => Vec::new(),
                // What follows is in the tunnel.
                200..300 if method == "CONNECT" => Vec::new(),
                _ => match self.body(&headers)? {
                    Some((body, _)) => body,
                    None => self.rest()?,
                },
            };
            return Ok(Response { status, headers, head, body });
        }
    }

    /// Reads up to and including the empty line after the headers; `None` if the peer closed before it sent anything.
    pub fn head(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                return Ok(Some(self.buffer.drain(..end + 4).collect()));
            }
            if !self.fill()? {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(Error::new(ErrorKind::UnexpectedEof, "closed in the middle of the headers")),
                };
            }
        }
    }

    /// Reads a body and its trailers as framed by the headers; `None` if they do not frame one.
    pub fn body(&mut self, headers: &Headers) -> io::Result<Option<(Vec<u8>, Headers)>> {
        if values(headers, "transfer-encoding").iter().any(|value| value.eq_ignore_ascii_case("chunked")) {
            return self.chunked().map(Some);
        }
        let Some(length) = values(headers, "content-length").into_iter().next() else { return Ok(None) };
        let length = length.trim().parse().map_err(|_| invalid("a content-length that is not a number"))?;
        Ok(Some((self.exactly(length)?, Headers::new())))
    }

    /// Reads until the peer closes the connection, with or without a reset.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return Ok(std::mem::take(&mut self.buffer)),
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => {
                    return Ok(std::mem::take(&mut self.buffer));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads the bytes that have arrived, or waits for some; empty at the end.
    pub fn some(&mut self) -> io::Result<Vec<u8>> {
        if self.buffer.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Reads this many bytes.
    pub fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            if !self.fill()? {
                return Err(Error::new(ErrorKind::UnexpectedEof, "closed in the middle of a body"));
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn chunked(&mut self) -> io::Result<(Vec<u8>, Headers)> {
        let mut body = Vec::new();
        loop {
            let size = latin1(&self.line()?);
            let size = size.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| invalid("a chunk without a size"))?;
            if size == 0 {
                break;
            }
            body.extend(self.exactly(size)?);
            self.line()?;
        }
        let mut trailers = Headers::new();
        loop {
            let line = latin1(&self.line()?);
            let Some((name, value)) = line.split_once(':') else { return Ok((body, trailers)) };
            trailers.push((name.to_owned(), value.trim().chars().map(|one| one as u8).collect()));
        }
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let mut line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                line.truncate(end);
                return Ok(line);
            }
            if !self.fill()? {
                return Err(Error::new(ErrorKind::UnexpectedEof, "closed in the middle of a line"));
            }
        }
    }

    fn fill(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 16 * 1024];
        let count = self.stream.read(&mut bytes)?;
        self.buffer.extend_from_slice(bytes.get(..count).unwrap_or_default());
        Ok(count > 0)
    }
}

/// The first message on a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    /// A text; from the echo server, the request that it received.
    Text(String),
    /// A close frame, with its code and reason.
    Close(u16, String),
}

/// Reads the first message of a WebSocket, after the 101.
///
/// # Panics
/// If it is neither.
pub fn first_message<S: Read + Write>(connection: Connection<S>) -> First {
    use tungstenite::Message;
    use tungstenite::protocol::{Role, WebSocket};
    let (stream, rest) = connection.into_parts();
    match WebSocket::from_partially_read(stream, rest, Role::Client, None).read() {
        Ok(Message::Text(text)) => First::Text(text.to_string()),
        Ok(Message::Close(Some(frame))) => First::Close(frame.code.into(), frame.reason.to_string()),
        other => panic!("neither a text nor a close frame: {other:?}"),
    }
}

/// Parsed headers, with names as they arrived.
pub fn owned(headers: &[httparse::Header<'_>]) -> Headers {
    headers.iter().map(|header| (header.name.to_owned(), header.value.to_vec())).collect()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn invalid(error: impl fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidData, error.to_string())
}

/// Opens a TLS connection that trusts only this certificate (PEM) and offers this protocol (ALPN).
#[cfg(feature = "clients")]
pub fn open_tls(
    address: SocketAddr,
    name: &str,
    certificate: &[u8],
    protocol: &str,
) -> io::Result<rustls::StreamOwned<rustls::ClientConnection, TcpStream>> {
    tls_over(open(address)?, name, certificate, &[protocol])
}

/// Like [`open_tls`], over an open connection, and with any number of protocols.
#[cfg(feature = "clients")]
pub fn tls_over(
    stream: TcpStream,
    name: &str,
    certificate: &[u8],
    protocols: &[&str],
) -> io::Result<rustls::StreamOwned<rustls::ClientConnection, TcpStream>> {
    use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
    use std::sync::Arc;

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate).map_err(invalid)?).map_err(invalid)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(invalid)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).map_err(invalid)?;
    let session = rustls::ClientConnection::new(Arc::new(config), name).map_err(invalid)?;
    Ok(rustls::StreamOwned::new(session, stream))
}

//! HTTP/3 frame by frame (RFC 9114), over a real QUIC connection: a client library would refuse to send most of this.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use harness::quic::{Connection, Stream};

use crate::attack::frames::{Fields, huffman_number, push_prefixed};

const DATA: u64 = 0;
const HEADERS: u64 = 1;
/// What a client sends on its control stream: the type of the stream, and SETTINGS without a setting. So the server may
/// use no dynamic table, and every answer can be decoded on its own.
const CONTROL: [u8; 3] = [0, 4, 0];

/// An integer of QUIC (RFC 9000, section 16).
fn push_number(bytes: &mut Vec<u8>, number: usize) {
    match number {
        0..64 => bytes.push(number as u8),
        64..0x4000 => bytes.extend((number as u16 | 0x4000).to_be_bytes()),
        _ => bytes.extend((number as u32 | 0x8000_0000).to_be_bytes()),
    }
}

/// A frame of any type below 64.
pub fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind as u8];
    push_number(&mut bytes, payload.len());
    bytes.extend_from_slice(payload);
    bytes
}

/// One HEADERS frame. Every field is a literal, neither compressed nor indexed (RFC 9204, section 4.5.6).
pub fn headers(fields: &Fields) -> Vec<u8> {
    // No dynamic table is used.
    let mut block = vec![0, 0];
    for (name, value) in fields {
        push_prefixed(&mut block, 0x20, 3, name.len());
        block.extend_from_slice(name);
        push_prefixed(&mut block, 0, 7, value.len());
        block.extend_from_slice(value);
    }
    frame(HEADERS, &block)
}

/// One DATA frame.
pub fn data(bytes: &[u8]) -> Vec<u8> {
    frame(DATA, bytes)
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: Option<u16>,
    pub body: Vec<u8>,
}

/// A connection.
pub struct Client {
    connection: Connection,
    /// It stays open as long as the connection.
    _control: Box<dyn std::any::Any>,
}

impl Client {
    pub fn open(server: SocketAddr, from: IpAddr, certificate: &Path, patience: Duration) -> io::Result<Self> {
        let connection = Connection::open(server, from, "claw.example.com", b"h3", certificate, patience)?;
        let control = Box::new(connection.send(&CONTROL)?);
        Ok(Self { connection, _control: control })
    }

    /// Sends bytes on a stream, and reads until these bytes come back.
    pub fn exchange(&self, stream: &mut Stream, bytes: &[u8], answer: &[u8]) -> io::Result<()> {
        self.connection.write(stream, bytes)?;
        let mut buffer = Vec::new();
        while !buffer.windows(answer.len()).any(|part| part == answer) {
            match self.connection.read(stream)? {
                more if more.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => buffer.extend(more),
            }
        }
        Ok(())
    }

    pub fn move_to(&self, from: IpAddr) -> io::Result<()> {
        self.connection.move_to(from)
    }

    /// Sends bytes on a stream of their own, and reads the answer: up to the headers of a success, which need not end,
    /// or otherwise to the end of the stream or of the connection. The stream goes on until the answer was read.
    pub fn ask(&self, bytes: &[u8], end: bool) -> io::Result<(Answer, Stream)> {
        let mut stream = self.connection.ask(bytes, end)?;
        let (mut buffer, mut answer) = (Vec::new(), Answer::default());
        while answer.status != Some(200) {
            match self.connection.read(&mut stream) {
                Ok(more) if more.is_empty() => break,
                Ok(more) => buffer.extend(more),
                // What came before a reset is the answer.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted && answer.status.is_some() => break,
                Err(error) => return Err(error),
            }
            while let Some((kind, payload, length)) = first_frame(&buffer) {
                match kind {
                    HEADERS if answer.status.is_none_or(|status| status < 200) => answer.status = status(payload),
                    DATA => answer.body.extend_from_slice(payload),
                    _ => {}
                }
                buffer.drain(..length);
            }
        }
        Ok((answer, stream))
    }
}

/// The first frame: its type, its payload, and its whole length. `None` if it is not complete.
fn first_frame(bytes: &[u8]) -> Option<(u64, &[u8], usize)> {
    let (kind, one) = number(bytes)?;
    let (length, two) = number(bytes.get(one..)?)?;
    let start = one + two;
    let end = start + usize::try_from(length).ok()?;
    Some((kind, bytes.get(start..end)?, end))
}

/// An integer of QUIC, and its length.
fn number(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = 1 << (first >> 6);
    let rest = bytes.get(1..length)?;
    Some((rest.iter().fold(u64::from(first & 0x3f), |number, byte| number << 8 | u64::from(*byte)), length))
}

/// The status at the start of a header block, where Envoy writes it.
fn status(block: &[u8]) -> Option<u16> {
    // The static table (RFC 9204, appendix A): 24 to 28 and 63 to 71.
    const EARLY: [u16; 5] = [103, 200, 304, 404, 503];
    const LATE: [u16; 9] = [100, 204, 206, 302, 400, 403, 421, 425, 500];
    match block.get(2..)? {
        [index @ 0xd8..=0xdc, ..] => EARLY.get(usize::from(index - 0xd8)).copied(),
        [0xff, index @ 0..=8, ..] => LATE.get(usize::from(*index)).copied(),
        // A literal whose name is one of these.
        [0x5f | 0x7f, 9..=13 | 48..=56, length, text @ ..] => {
            let text = text.get(..usize::from(length & 0x7f))?;
            if length & 0x80 == 0 { std::str::from_utf8(text).ok()?.parse().ok() } else { huffman_number(text) }
        }
        _ => None,
    }
}

#[test]
fn numbers_and_a_status_read_in_every_form_in_which_they_may_come() {
    for value in [0, 63, 64, 0x3fff, 0x4000, 0x3fff_ffff] {
        let mut bytes = Vec::new();
        push_number(&mut bytes, value);
        assert_eq!(number(&bytes), Some((value as u64, bytes.len())), "{value}");
        assert_eq!(number(&bytes[..bytes.len() - 1]), None, "{value}");
    }
    let cases: [(&[u8], Option<u16>); 6] = [
        (&[0, 0, 0xd9], Some(200)),
        (&[0, 0, 0xff, 0], Some(100)),
        (&[0, 0, 0xff, 4], Some(400)),
        (&[0, 0, 0x5f, 9, 3, b'4', b'0', b'1'], Some(401)),
        (&[0, 0, 0x5f, 9, 0x82, 0x68, 0x01], Some(401)),
        (&[0, 0, 0x51, 1, b'x'], None),
    ];
    for (block, expected) in cases {
        assert_eq!(status(block), expected, "{block:?}");
    }
}

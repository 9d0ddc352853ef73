//! HTTP/2 frame by frame: a client library would refuse to send most of this.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

/// A header field list for a HEADERS frame, including pseudo headers.
pub type Fields = Vec<(Vec<u8>, Vec<u8>)>;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;
const MAX_FRAME: usize = 16_384;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is small").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The opening of a connection. Without a dynamic table in the other direction, every answer can be decoded on its
/// own.
pub fn opening() -> Vec<u8> {
    const HEADER_TABLE_SIZE: [u8; 6] = [0, 1, 0, 0, 0, 0];
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &HEADER_TABLE_SIZE)].concat()
}

/// HEADERS and as many CONTINUATIONs as needed. Every field is a literal, neither compressed nor indexed.
pub fn headers(stream: u32, fields: &[(Vec<u8>, Vec<u8>)], end_stream: bool) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            push_length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    let parts: Vec<&[u8]> = if block.is_empty() { vec![&[]] } else { block.chunks(MAX_FRAME).collect() };
    let mut bytes = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let end_headers = if index + 1 == parts.len() { END_HEADERS } else { 0 };
        let (kind, flags) = if index == 0 {
            (HEADERS, end_headers | if end_stream { END_STREAM } else { 0 })
        } else {
            (CONTINUATION, end_headers)
        };
        bytes.extend(frame(kind, flags, stream, part));
    }
    bytes
}

/// One DATA frame.
pub fn data(stream: u32, bytes: &[u8], end_stream: bool) -> Vec<u8> {
    frame(DATA, if end_stream { END_STREAM } else { 0 }, stream, bytes)
}

/// A length without Huffman coding (RFC 7541, section 5.2).
fn push_length(block: &mut Vec<u8>, length: usize) {
    push_prefixed(block, 0, 7, length);
}

/// An integer that shares its first byte (RFC 7541, section 5.1).
pub fn push_prefixed(block: &mut Vec<u8>, first: u8, bits: u8, number: usize) {
    let most = (1 << bits) - 1;
    if number < most {
        block.push(first | number as u8);
        return;
    }
    block.push(first | most as u8);
    let mut rest = number - most;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// The frames received on one stream.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    pub status: Option<u16>,
    pub body: Vec<u8>,
    pub ended: bool,
    pub grpc: Option<u16>,
}

/// A connection on which frames were sent.
pub struct Client<S> {
    io: S,
    buffer: Vec<u8>,
    streams: BTreeMap<u32, Stream>,
    closed: bool,
}

impl<S: Read + Write> Client<S> {
    pub fn new(io: S) -> Self {
        Self { io, buffer: Vec::new(), streams: BTreeMap::new(), closed: false }
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.write_all(bytes)?;
        self.io.flush()
    }

    /// Reads the answer on a stream: up to the headers of a success, which need not end, or otherwise to the end of
    /// the stream or of the connection.
    pub fn answer(&mut self, stream: u32) -> io::Result<Stream> {
        loop {
            let state = self.streams.entry(stream).or_default();
            if self.closed || state.ended || state.status == Some(200) {
                return Ok(state.clone());
            }
            self.frame()?;
        }
    }

    fn frame(&mut self) -> io::Result<()> {
        let Some(head) = self.exactly(9)? else { return Ok(()) };
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        let Some(payload) = self.exactly(length)? else { return Ok(()) };
        match kind {
            SETTINGS if flags & ACK == 0 => self.send(&frame(SETTINGS, ACK, 0, &[]))?,
            PING if flags & ACK == 0 => self.send(&frame(PING, ACK, 0, &payload))?,
            GOAWAY => {
                let last = u32::from_be_bytes([payload[0] & 0x7f, payload[1], payload[2], payload[3]]);
                let code = u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]]);
                // A graceful GOAWAY lets open streams finish.
                if code != 0 {
                    self.closed = true;
                }
                for (id, state) in &mut self.streams {
                    if *id > last {
                        state.ended = true;
                    }
                }
            }
            RST_STREAM => self.streams.entry(stream).or_default().ended = true,
            HEADERS | DATA => {
                let mut part = payload.as_slice();
                if flags & PADDED != 0 {
                    let padding = usize::from(part[0]);
                    part = &part[1..part.len() - padding];
                }
                let state = self.streams.entry(stream).or_default();
                if kind == HEADERS {
                    if flags & PRIORITY != 0 {
                        part = &part[5..];
                    }
                    if let Some(status) = status(part).filter(|status| *status >= 200) {
                        state.status = Some(status);
                        state.grpc = grpc_status(part);
                    }
                } else {
                    state.body.extend_from_slice(part);
                }
                state.ended |= flags & END_STREAM != 0;
            }
            WINDOW_UPDATE => {}
            _ => {}
        }
        Ok(())
    }

    fn exactly(&mut self, length: usize) -> io::Result<Option<Vec<u8>>> {
        while self.buffer.len() < length {
            let mut bytes = [0; 16 * 1024];
            match self.io.read(&mut bytes) {
                Ok(0) => {
                    self.closed = true;
                    return Ok(None);
                }
                Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    self.closed = true;
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Some(self.buffer.drain(..length).collect()))
    }
}

/// The status at the start of a header block, where Envoy writes it.
fn status(mut block: &[u8]) -> Option<u16> {
    while let [0x20..=0x3f, rest @ ..] = block {
        block = rest; // the size of the dynamic table
    }
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    match block {
        [index @ 0x88..=0x8e, ..] => INDEXED.get(usize::from(index - 0x88)).copied(),
        // A literal whose name is the eighth to fourteenth of the static table.
        [0x08..=0x0e | 0x18 | 0x48..=0x4e, length, text @ ..] => {
            let text = text.get(..usize::from(length & 0x7f))?;
            if length & 0x80 == 0 { std::str::from_utf8(text).ok()?.parse().ok() } else { huffman_number(text) }
        }
        _ => None,
    }
}

/// The header `grpc-status` in a header block, if it is a literal; its name is Huffman-coded.
fn grpc_status(block: &[u8]) -> Option<u16> {
    const NAME: [u8; 8] = [0x9a, 0xca, 0xc8, 0xb2, 0x12, 0x34, 0xda, 0x8f];
    let at = block.windows(NAME.len()).position(|window| window == NAME)? + NAME.len();
    let length = usize::from(block.get(at)? & 0x7f);
    let text = block.get(at + 1..at + 1 + length)?;
    if block[at] & 0x80 == 0 { std::str::from_utf8(text).ok()?.parse().ok() } else { huffman_number(text) }
}

/// Huffman-coded digits (RFC 7541, appendix B): 0 to 2 take five bits, 3 to 9 take six.
pub fn huffman_number(bytes: &[u8]) -> Option<u16> {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0_u16, |all, bit| all << 1 | u16::from(*bit));
    let mut rest = bits.as_slice();
    let mut value = 0;
    while rest.len() >= 5 {
        let short = number(&rest[..5]);
        if short <= 2 {
            (value, rest) = (value * 10 + short, &rest[5..]);
        } else {
            let long = number(rest.get(..6)?);
            if !(0b01_1001..=0b01_1111).contains(&long) {
                break;
            }
            (value, rest) = (value * 10 + 3 + long - 0b01_1001, &rest[6..]);
        }
    }
    Some(value)
}

#[test]
fn a_status_reads_in_every_form_in_which_it_may_come() {
    let cases: [(&[u8], Option<u16>); 7] = [
        (&[0x88], Some(200)),
        (&[0x20, 0x8c], Some(400)),
        (&[0x48, 3, b'4', b'0', b'1'], Some(401)),
        // The examples of RFC 7541, appendix C.6.
        (&[0x48, 0x82, 0x64, 0x02], Some(302)),
        (&[0x08, 0x82, 0x68, 0x01], Some(401)),
        (&[0x48, 0x83, 0b0110_1001, 0b1001_0000, 0b1111_1111], Some(431)),
        (&[0x40], None),
    ];
    for (block, expected) in cases {
        assert_eq!(status(block), expected, "{block:?}");
    }
}

//! Envoy's dynamic metadata with the types of its values.
//!
//! A host provides a single value as bytes without its type: those of a number are eight bytes, which can also be a
//! name of eight letters. The attribute `metadata`, which has everything, is the serialized message
//! `envoy.config.core.v3.Metadata`. Its values are of `google.protobuf.Value`, which have types.

/// One value, by its type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    /// A string.
    Text(&'a [u8]),
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A list, an object or null.
    Other,
}

// Fields of the messages, by their numbers.
/// `Metadata.filter_metadata` and `Struct.fields`: maps, so each entry has a key and a value.
const ENTRIES: u64 = 1;
const KEY: u64 = 1;
const VALUE: u64 = 2;
/// `Value.number_value`.
const NUMBER: u64 = 2;
/// `Value.string_value`.
const STRING: u64 = 3;
/// `Value.bool_value`.
const BOOL: u64 = 4;
/// `Value.struct_value`.
const STRUCT: u64 = 5;

/// The value at a path: the name of the filter that wrote it, then the keys, separated by NULs. `None` if there is
/// none, or if the message cannot be read.
pub(crate) fn get<'a>(metadata: &'a [u8], path: &[u8]) -> Option<Value<'a>> {
    let mut keys = path.split(|&byte| byte == 0);
    // The metadata of one filter is a struct.
    let mut fields = entry(metadata, keys.next()?)?;
    let mut keys = keys.peekable();
    while let Some(key) = keys.next() {
        let value = last(entry(fields, key)?)?;
        match (value, keys.peek()) {
            ((STRUCT, Content::Bytes(inner)), Some(_)) => fields = inner,
            (_, Some(_)) => return None,
            ((STRING, Content::Bytes(text)), None) => return Some(Value::Text(text)),
            ((BOOL, Content::Number(number)), None) => return Some(Value::Bool(number != 0)),
            ((NUMBER, Content::Double(bits)), None) => return Some(Value::Number(f64::from_le_bytes(bits))),
            (_, None) => return Some(Value::Other),
        }
    }
    None
}

/// The value of a map's entry.
fn entry<'a>(map: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let mut found = None;
    for field in Fields(map) {
        let (ENTRIES, Content::Bytes(pair)) = field? else { continue };
        let (mut name, mut value) = (&[][..], &[][..]);
        for field in Fields(pair) {
            match field? {
                (KEY, Content::Bytes(text)) => name = text,
                (VALUE, Content::Bytes(message)) => value = message,
                _ => {}
            }
        }
        if name == key {
            found = Some(value);
        }
    }
    found
}

/// The last field of a message: a value has only one, and of several the last one counts.
fn last(message: &[u8]) -> Option<(u64, Content<'_>)> {
    let mut last = None;
    for field in Fields(message) {
        last = Some(field?);
    }
    last
}

/// The content of a field.
#[derive(Debug, Clone, Copy)]
enum Content<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Double([u8; 8]),
    /// Four bytes.
    Single,
}

/// The fields of a message, each with its number. `None` is a field that cannot be read; it is the last one.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Content<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Content<'a>)> {
        let tag = self.varint()?;
        let content = match tag & 7 {
            0 => Content::Number(self.varint()?),
            1 => Content::Double(*self.cut(8)?.first_chunk()?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Content::Bytes(self.cut(length)?)
            }
            5 => self.cut(4).map(|_| Content::Single)?,
            _ => return None,
        };
        Some((tag >> 3, content))
    }

    fn cut(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    /// A number of at most 64 bits, seven bits in each byte, the lowest ones first.
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7F).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Envoy 1.40 provides for metadata that `set_metadata` wrote:
    /// `{"rt": {"payload": {"email": 6.013915486788844e-154, "ok": true, "name": "nick@ex.", "n": null, "list": ["a"]}}}`.
    const FROM_ENVOY: &[u8] = b"\na\n\x02rt\x12[\nY\n\x07payload\x12N*L\n\x07\n\x01n\x12\x02\x08\x00\n\x08\n\x02ok\x12\x02 \x01\n\x12\n\x04name\x12\n\x1a\x08nick@ex.\n\x0f\n\x04list\x12\x072\x05\n\x03\x1a\x01a\n\x12\n\x05email\x12\t\x11admin   ";

    #[test]
    fn a_value_is_known_by_its_type_and_not_by_its_bytes() {
        for (path, expected) in [
            (&b"rt\0payload\0name"[..], Some(Value::Text(b"nick@ex."))),
            (b"rt\0payload\0email", Some(Value::Number(6.013915486788844e-154))),
            (b"rt\0payload\0ok", Some(Value::Bool(true))),
            (b"rt\0payload\0n", Some(Value::Other)),
            (b"rt\0payload\0list", Some(Value::Other)),
            (b"rt\0payload", Some(Value::Other)),
            (b"rt\0payload\0name\0x", None),
            (b"rt\0payload\0list\0a", None),
            (b"rt\0payload\0other", None),
            (b"rt\0ok", None),
            (b"rt", None),
            (b"other\0payload\0name", None),
            (b"", None),
        ] {
            assert_eq!(get(FROM_ENVOY, path), expected, "{}", path.escape_ascii());
        }
    }

    #[test]
    fn a_message_that_is_cut_has_no_value_that_the_whole_one_lacks() {
        let whole = get(FROM_ENVOY, b"rt\0payload\0name");
        for end in 0..FROM_ENVOY.len() {
            let cut = FROM_ENVOY.get(..end).unwrap_or_default();
            assert_eq!(get(cut, b"rt\0payload\0name"), None, "cut at {end}, of {whole:?}");
            for at in 0..end {
                let mut broken = cut.to_vec();
                broken.iter_mut().skip(at).take(1).for_each(|byte| *byte = 0xFF);
                let _ = get(&broken, b"rt\0payload\0name");
            }
        }
        assert_eq!(get(b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", b"a"), None);
    }
}

//! Namespaces and Secrets as newer kubectls send them: in Kubernetes' protocol buffers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// The media type of such a body.
pub const TYPE: &str = "application/vnd.kubernetes.protobuf";

/// The object in a body, as far as these two kinds need it; `None` if it is something else.
pub fn object(body: &[u8]) -> Option<Value> {
    // An envelope: the object's type and its bytes.
    let envelope = fields(body.strip_prefix(b"k8s\0")?)?;
    let type_of = fields(first(&envelope, 1)?)?;
    let (version, kind) = (text(&type_of, 1)?, text(&type_of, 2)?);
    let inner = fields(first(&envelope, 2)?)?;
    let mut object = json!({"apiVersion": version, "kind": kind, "metadata": metadata(&fields(first(&inner, 1)?)?)?});
    match kind.as_str() {
        "Namespace" => {}
        "Secret" => {
            object["data"] = map(&inner, 2, |bytes| Some(Value::String(STANDARD.encode(bytes))))?.into();
            object["type"] = text(&inner, 3)?.into();
        }
        _ => return None,
    }
    Some(object)
}

fn metadata(of: &Fields<'_>) -> Option<Value> {
    let string = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok().map(Value::String);
    let mut metadata =
        json!({"name": text(of, 1)?, "labels": map(of, 11, string)?, "annotations": map(of, 12, string)?});
    if let Some(namespace) = text(of, 3).filter(|namespace| !namespace.is_empty()) {
        metadata["namespace"] = namespace.into();
    }
    Some(metadata)
}

/// The length-delimited fields of a message, by number.
type Fields<'b> = Vec<(u64, &'b [u8])>;

fn fields(mut bytes: &[u8]) -> Option<Fields<'_>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let tag = number(&mut bytes)?;
        match tag & 7 {
            0 => drop(number(&mut bytes)?),
            2 => {
                let length = usize::try_from(number(&mut bytes)?).ok()?;
                let (field, rest) = bytes.split_at_checked(length)?;
                all.push((tag >> 3, field));
                bytes = rest;
            }
            _ => return None,
        }
    }
    Some(all)
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn first<'b>(fields: &Fields<'b>, number: u64) -> Option<&'b [u8]> {
    fields.iter().find(|(one, _)| *one == number).map(|(_, bytes)| *bytes)
}

fn text(fields: &Fields<'_>, number: u64) -> Option<String> {
    String::from_utf8(first(fields, number)?.to_vec()).ok()
}

fn map(of: &Fields<'_>, number: u64, value: impl Fn(&[u8]) -> Option<Value>) -> Option<Map<String, Value>> {
    let entries = of.iter().filter(|(one, _)| *one == number);
    let entry = |bytes| {
        let entry = fields(bytes)?;
        Some((text(&entry, 1)?, value(first(&entry, 2).unwrap_or_default())?))
    };
    entries.map(|(_, bytes)| entry(bytes)).collect()
}

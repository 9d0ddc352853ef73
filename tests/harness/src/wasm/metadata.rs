//! Dynamic metadata as Envoy serializes it for the attribute `metadata`.

use serde_json::Value;

/// The serialized `envoy.config.core.v3.Metadata`: an object of the filters that wrote it, each with an object.
pub fn metadata(all: &Value) -> Vec<u8> {
    map(all, fields)
}

/// The fields of a `google.protobuf.Struct`.
fn fields(object: &Value) -> Vec<u8> {
    map(object, value)
}

/// The entries of a map, each with its key and its value.
fn map(object: &Value, of: fn(&Value) -> Vec<u8>) -> Vec<u8> {
    let entry =
        |(key, member): (&String, &Value)| bytes(1, &[bytes(1, key.as_bytes()), bytes(2, &of(member))].concat());
    object.as_object().into_iter().flatten().flat_map(entry).collect()
}

/// A `google.protobuf.Value`.
fn value(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => vec![1 << 3, 0],
        Value::Number(number) => [&[2 << 3 | 1][..], &number.as_f64().expect("a double").to_le_bytes()].concat(),
        Value::String(text) => bytes(3, text.as_bytes()),
        Value::Bool(is_true) => vec![4 << 3, u8::from(*is_true)],
        Value::Object(_) => bytes(5, &fields(value)),
        Value::Array(items) => {
            bytes(6, &items.iter().flat_map(|item| bytes(1, &self::value(item))).collect::<Vec<_>>())
        }
    }
}

/// A field with a length.
fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
    let mut all = vec![field << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        all.push(u8::try_from(length & 0x7F).expect("seven bits") | 0x80);
        length >>= 7;
    }
    all.push(u8::try_from(length).expect("seven bits"));
    all.extend_from_slice(content);
    all
}

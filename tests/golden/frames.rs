//! Golden frames on disk, and bodies as JSON values that a test can take apart and pack again.

use std::fs;
use std::path::PathBuf;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Value, json};
use tasker_core::protocol::{self, Message};

/// The body as a value.
pub fn unpack(body: &[u8]) -> Value {
    rmp_serde::from_slice(body).expect("a body is MessagePack with string keys")
}

/// A value as a body. (`serde_json` itself would write numbers as it does for its own use.)
pub fn pack(value: &Value) -> Vec<u8> {
    rmp_serde::to_vec(&Packed(value)).expect("values can be packed")
}

struct Packed<'a>(&'a Value);

impl Serialize for Packed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => serializer.serialize_u64(value),
                (None, Some(value)) => serializer.serialize_i64(value),
                (None, None) => serializer.serialize_f64(number.as_f64().expect("a number")),
            },
            Value::String(text) => serializer.serialize_str(text),
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(&Packed(item)))?;
                list.end()
            }
            Value::Object(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                entries.iter().try_for_each(|(key, value)| map.serialize_entry(key, &Packed(value)))?;
                map.end()
            }
        }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).expect("hex digits are ASCII"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("two hex digits")).collect()
}

/// The fixture of a message as it is to be on disk.
pub fn fixture(message: &Message) -> Value {
    let (header, body) = protocol::encode(message);
    json!({
        "name": message.message_type().name(),
        "message_type": message.message_type() as u16,
        "header_hex": hex(&header),
        "body_hex": hex(&body),
        "fields": unpack(&body),
    })
}

pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.json"))
}

/// The fixture on disk.
pub fn read(name: &str) -> Value {
    let path = path(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!(
            "failed to read {}: {error}; TASKER_UPDATE_GOLDEN=1 cargo test --test protocol writes it",
            path.display()
        )
    });
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{} is not JSON: {error}", path.display()))
}

pub fn write(name: &str, fixture: &Value) {
    let text = serde_json::to_string_pretty(fixture).expect("a value is JSON");
    fs::write(path(name), text + "\n").expect("the golden folder is writable");
}

//! JSON text as an opaque payload: checked once at the door, never decoded into numbers.

use std::fmt;

use bytes::Bytes;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

/// A JSON document as text. Only known to be UTF-8 until [`check`](JsonText::check) was called.
#[derive(Clone, PartialEq, Eq)]
pub struct JsonText(Bytes);

/// Why a document was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at line {line} column {column}")]
pub struct JsonError {
    /// What is wrong.
    pub reason: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
}

impl JsonText {
    /// Takes text that is JSON by construction, or that is checked later.
    pub fn new(text: impl Into<String>) -> JsonText {
        JsonText(Bytes::from(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a JsonText is made from UTF-8 only")
    }

    /// The text's bytes, shared.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Takes bytes that were a `JsonText` before, or are checked to be UTF-8.
    pub fn from_bytes(bytes: Bytes) -> Result<JsonText, std::str::Utf8Error> {
        std::str::from_utf8(&bytes)?;
        Ok(JsonText(bytes))
    }

    /// A part of another document, digit for digit: no number passes through a float.
    pub fn to_raw(&self) -> Box<RawValue> {
        RawValue::from_string(self.as_str().to_owned()).unwrap_or_else(|_| {
            // The broker checks every payload; one that is not JSON is still shown, as a string.
            let quoted = serde_json::Value::from(self.as_str()).to_string();
            RawValue::from_string(quoted).expect("a quoted string is JSON")
        })
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the text is empty (and so not a document).
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the document's outermost value is an object.
    pub fn is_object(&self) -> bool {
        self.0.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
    }

    /// Checks that this is one JSON document which Postgres can store and query: valid syntax, no `\u0000`, no lone
    /// surrogate, nested at most 127 deep (`serde_json`'s recursion limit).
    pub fn check(&self) -> Result<(), JsonError> {
        let mut deserializer = serde_json::Deserializer::from_slice(&self.0);
        Check.deserialize(&mut deserializer).and_then(|()| deserializer.end()).map_err(|error| {
            let text = error.to_string();
            let reason = text.split(" at line ").next().unwrap_or(&text).to_owned();
            JsonError { reason, line: error.line(), column: error.column() }
        })
    }
}

impl Default for JsonText {
    /// The empty object.
    fn default() -> JsonText {
        JsonText(Bytes::from_static(b"{}"))
    }
}

impl fmt::Debug for JsonText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "JsonText({})", self.as_str())
    }
}

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<JsonText, D::Error> {
        struct TextVisitor;

        impl Visitor<'_> for TextVisitor {
            type Value = JsonText;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("JSON text as a MessagePack string or bin")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<JsonText, E> {
                Ok(JsonText(Bytes::copy_from_slice(text.as_bytes())))
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<JsonText, E> {
                std::str::from_utf8(bytes).map_err(|_| E::custom("JSON text is not UTF-8"))?;
                Ok(JsonText(Bytes::copy_from_slice(bytes)))
            }
        }

        deserializer.deserialize_any(TextVisitor)
    }
}

/// Walks a document without keeping anything of it.
struct Check;

impl<'de> DeserializeSeed<'de> for Check {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        if text.contains('\0') {
            return Err(E::custom("NUL character (\\u0000) in a string"));
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while sequence.next_element_seed(Check)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // With `arbitrary_precision`, a number arrives as a map with one private key and its text: it passes unread.
        while map.next_key_seed(Check)?.is_some() {
            map.next_value_seed(Check)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::JsonText;

    #[test]
    fn large_integers_and_long_decimals_pass_untouched() {
        for text in ["340282366920938463463374607431768211456", "[109.97, 1e999, -0.0]", "{\"a\":{\"b\":[]}}", "null"] {
            JsonText::new(text).check().expect(text);
        }
    }

    #[test]
    fn a_part_of_another_document_keeps_every_digit() {
        for text in ["340282366920938463463374607431768211456", "{\"a\": 209.970,\"b\":1E+2}", "-0.0", "\"\\u00e9\""] {
            assert_eq!(serde_json::to_string(&JsonText::new(text).to_raw()).expect("serialize"), text);
        }
        assert_eq!(JsonText::new("{broken").to_raw().get(), "\"{broken\"");
    }

    #[test]
    fn what_postgres_cannot_store_is_refused_with_its_place() {
        for (text, reason) in [
            ("{\"a\":\"\\u0000\"}", "NUL"),
            ("{\"\\u0000\":1}", "NUL"),
            ("{\"a\":\"\\ud800\"}", "hex escape"),
            ("{\"a\":\"\\ud800x\"}", "hex escape"),
            ("{\"a\":\"\\udc00\"}", "surrogate"),
            ("{\"a\":1", "EOF"),
            ("{} {}", "trailing"),
            ("", "EOF"),
        ] {
            let error = JsonText::new(text).check().expect_err(text);
            assert!(error.reason.contains(reason), "{text}: {error}");
            assert_eq!(error.line, 1, "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = "[".repeat(100_000);
        assert!(JsonText::new(deep).check().expect_err("deep").reason.contains("recursion"));
    }
}

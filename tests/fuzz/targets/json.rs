//! Any text as a payload: what passes is a document that Postgres stores, and whatever is such a document passes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tasker_fuzz::protocol::JsonText;

/// `serde_json`'s own limit.
const DEPTH_MAX: usize = 127;

/// Keys that `serde_json` takes for a number or a raw value of its own: its reading of them says nothing about JSON.
const PRIVATE: &str = "$serde_json::private::";

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let checked = JsonText::new(text).check();
    if is_private(text) {
        return;
    }
    match (checked, serde_json::from_str::<Value>(text)) {
        (Ok(()), Ok(value)) => {
            assert!(is_storable(&value), "a NUL passes in {text:?}");
            assert!(depth(&value) <= DEPTH_MAX, "too deep");
        }
        (Err(refusal), Ok(value)) => assert!(!is_storable(&value), "{text:?} is refused: {refusal}"),
        (Ok(()), Err(error)) => panic!("{text:?} passes, and is not JSON: {error}"),
        (Err(refusal), Err(_)) => {
            assert!(refusal.line >= 1 && refusal.line <= 1 + text.matches('\n').count(), "{refusal}");
            assert!(refusal.reason.len() < 200, "{refusal}");
        }
    }
});

/// Whether the text has one of the private keys, written with escapes or without.
fn is_private(text: &str) -> bool {
    let mut parts = text.split("\\u");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok()).and_then(char::from_u32);
        plain.extend(code);
        plain.push_str(if code.is_some() { &part[4..] } else { part });
    }
    plain.contains(PRIVATE)
}

fn is_storable(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => !text.contains('\0'),
        Value::Array(items) => items.iter().all(is_storable),
        Value::Object(entries) => entries.iter().all(|(key, value)| !key.contains('\0') && is_storable(value)),
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(entries) => 1 + entries.values().map(depth).max().unwrap_or(0),
    }
}

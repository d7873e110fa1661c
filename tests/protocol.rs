//! The wire format against its golden frames, its document, and bytes that are not messages.

#[path = "golden/document.rs"]
mod document;
#[path = "golden/frames.rs"]
mod frames;
#[path = "golden/samples.rs"]
mod samples;

use std::collections::BTreeSet;

use document::{Document, linked};
use frames::{fixture, pack, unhex, unpack};
use proptest::prelude::*;
use samples::samples;
use serde_json::Value;
use tasker_core::protocol::{self, ControlKind, ErrorCode, Message, MessageType, TaskStatus, Topic};
use uuid::Uuid;

#[test]
fn there_is_a_sample_of_each_message_type() {
    let sampled: Vec<&str> = samples().iter().map(|message| message.message_type().name()).collect();
    let defined: Vec<&str> = MessageType::ALL.iter().map(|message_type| message_type.name()).collect();
    assert_eq!(BTreeSet::from_iter(&sampled), BTreeSet::from_iter(&defined));
    assert_eq!(sampled.len(), defined.len());
}

#[test]
fn each_message_comes_back_as_it_was_sent() {
    for message in samples() {
        let (header, body) = protocol::encode(&message);
        assert_eq!(protocol::decode(&header, &body).as_ref(), Ok(&message));
    }
}

#[test]
fn frames_are_the_golden_ones_byte_for_byte() {
    for message in samples() {
        let name = message.message_type().name();
        let expected = fixture(&message);
        if std::env::var_os("TASKER_UPDATE_GOLDEN").is_some() {
            frames::write(name, &expected);
        }
        let golden = frames::read(name);
        assert_eq!(golden, expected, "{name}");
        let hex = |key: &str| unhex(golden[key].as_str().expect("hex text"));
        assert_eq!(protocol::decode(&hex("header_hex"), &hex("body_hex")).as_ref(), Ok(&message), "{name}");
    }
}

#[test]
fn the_document_lists_the_messages_codes_and_topics_that_exist() {
    let document = Document::read();
    let defined: BTreeSet<(String, u16)> =
        MessageType::ALL.iter().map(|message_type| (message_type.name().to_owned(), *message_type as u16)).collect();
    let listed = document.messages();
    let named: BTreeSet<(String, u16)> = listed.iter().map(|(name, (code, _))| (name.clone(), *code)).collect();
    assert_eq!(named, defined);
    for (name, (code, direction)) in listed {
        let expected = match code >> 8 {
            1 => "worker to broker",
            2 => "broker to worker",
            3 => "client to broker",
            4 => "broker to client",
            5 => "broker to all",
            6 => "published",
            group => panic!("group {group} of {name} is not defined"),
        };
        assert_eq!(direction, expected, "{name}");
    }

    let codes: Vec<String> = ErrorCode::ALL.iter().map(|code| code.as_str().to_owned()).collect();
    assert_eq!(document.names("## Error codes"), codes);
    for (row, code) in document.rows("## Error codes").iter().zip(ErrorCode::ALL) {
        assert_eq!(row[1], if code.retryable() { "yes" } else { "no" }, "{}", code.as_str());
    }
    let topics: Vec<String> = Topic::ALL.iter().map(|topic| topic.as_str().to_owned()).collect();
    assert_eq!(document.names("### Event topics"), topics);
    let controls = [ControlKind::Cancel, ControlKind::Drain, ControlKind::Pause].map(|kind| kind.topic().to_owned());
    assert_eq!(document.names("### Control topics"), controls);
}

#[test]
fn the_document_names_each_field_and_says_truly_whether_it_is_required() {
    let document = Document::read();
    for message in samples() {
        let (header, body) = protocol::encode(&message);
        let name = message.message_type().name();
        let whole = unpack(&body);
        check_fields(&document, name, &whole, &|changed: &Value| protocol::decode(&header, &pack(changed)).map(|_| ()));
    }
}

type Decode<'a> = &'a dyn Fn(&Value) -> Result<(), protocol::DecodeError>;

/// Compares a structure with its table; then does the same for the structures in it.
fn check_fields(document: &Document, name: &str, value: &Value, decode: Decode<'_>) {
    let object = value.as_object().unwrap_or_else(|| panic!("{name} is a map"));
    let fields = document.fields(name);
    let documented: BTreeSet<&str> = fields.iter().map(|field| field.key.as_str()).collect();
    let sent: BTreeSet<&str> = object.keys().map(String::as_str).collect();
    assert_eq!(documented, sent, "keys of {name}: in PROTOCOL.md and in the sample");
    for field in fields {
        let mut without = object.clone();
        without.shift_remove(&field.key);
        match decode(&Value::Object(without)) {
            Ok(()) => assert!(!field.required, "{name}.{} may be left out", field.key),
            Err(refusal) => {
                assert!(field.required, "{name}.{} is required: {refusal}", field.key);
                assert_eq!(refusal.0.code, ErrorCode::InvalidField, "{refusal}");
                assert_eq!(refusal.0.field.as_ref(), Some(&field.key), "{refusal}");
            }
        }
        let Some(structure) = linked(&field.kind) else { continue };
        let replaced = |inner: &Value| {
            let mut object = object.clone();
            object[&field.key] = if value[&field.key].is_array() { vec![inner.clone()].into() } else { inner.clone() };
            decode(&Value::Object(object))
        };
        let inner = &value[&field.key];
        check_fields(document, structure, inner.get(0).unwrap_or(inner), &replaced);
    }
}

#[test]
fn the_worked_example_is_a_golden_frame() {
    let document = Document::read();
    let golden = frames::read("WaitForTask");
    for (line, key) in [("Frame 1, the header:", "header_hex"), ("Frame 2, the body:", "body_hex")] {
        assert_eq!(unhex(&document.block_after(line)), unhex(golden[key].as_str().expect("hex text")), "{key}");
    }
}

#[test]
fn unknown_keys_are_ignored_at_every_level() {
    for message in samples() {
        let (header, body) = protocol::encode(&message);
        let mut value = unpack(&body);
        add_unknown_key(&mut value);
        assert_eq!(protocol::decode(&header, &pack(&value)).as_ref(), Ok(&message));
    }
}

fn add_unknown_key(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            entries.values_mut().for_each(add_unknown_key);
            entries.insert("key_of_a_later_version".to_owned(), serde_json::json!([{"deep": [1, null]}, "text"]));
        }
        Value::Array(items) => items.iter_mut().for_each(add_unknown_key),
        _ => {}
    }
}

#[test]
fn numbers_may_come_in_any_width_and_json_as_bin() {
    let id = Uuid::from_u128(7);
    let header = MessageType::ReportPartialResult.header();
    // {"correlation_id": id, "results": []} with a str 32 and an array 32.
    let mut body = vec![0xdf, 0, 0, 0, 2, 0xd9, 14];
    body.extend(b"correlation_id\xdb\0\0\0\x24");
    body.extend(id.to_string().bytes());
    body.extend(b"\xa7results\xdd\0\0\0\0");
    protocol::decode(&header, &body).expect("wide encodings are as good as narrow ones");

    let payload = protocol::CustomEvent { name: "n".to_owned(), payload: protocol::JsonText::new("[1]") };
    let as_bin = b"\x82\xa4name\xa1n\xa7payload\xc4\x03[1]";
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(&as_bin[..]).with_human_readable();
    let read: protocol::CustomEvent = serde::Deserialize::deserialize(&mut deserializer).expect("bin is text");
    assert_eq!(read, payload);
}

#[test]
fn what_is_not_a_message_is_refused_with_a_code() {
    let command = Uuid::from_u128(9);
    let status = Message::from(TaskStatus {
        correlation_id: command,
        task_id: Uuid::from_u128(1),
        include_steps: false,
        include_results: vec![],
    });
    let (header, body) = protocol::encode(&status);
    let nested = |marker: &[u8], depth: usize| {
        let mut bytes = b"\x81\xa4deep".to_vec();
        (0..depth).for_each(|_| bytes.extend(marker));
        bytes
    };
    let mut wrong_type = unpack(&body);
    wrong_type["include_steps"] = "yes".into();
    let mut bad_id = unpack(&body);
    bad_id["task_id"] = "not-an-id".into();
    type Case = (&'static str, Vec<u8>, Vec<u8>, ErrorCode, Uuid);
    let cases: Vec<Case> = vec![
        ("no header", vec![], body.clone(), ErrorCode::MalformedMessage, command),
        ("short header", header[..3].to_vec(), body.clone(), ErrorCode::MalformedMessage, command),
        ("long header", [&header[..], &[0]].concat(), body.clone(), ErrorCode::MalformedMessage, command),
        ("wrong magic", vec![0x55, 1, 3, 4], body.clone(), ErrorCode::MalformedMessage, command),
        ("version 9", vec![0x54, 9, 3, 4], body.clone(), ErrorCode::UnsupportedVersion, command),
        ("unknown type", vec![0x54, 1, 0xff, 0xff], body.clone(), ErrorCode::UnknownMessage, command),
        ("empty body", header.to_vec(), vec![], ErrorCode::MalformedMessage, Uuid::nil()),
        ("no map", header.to_vec(), b"\x93\x01\x02\x03".to_vec(), ErrorCode::MalformedMessage, Uuid::nil()),
        ("wrong type", header.to_vec(), pack(&wrong_type), ErrorCode::MalformedMessage, command),
        ("bad id", header.to_vec(), pack(&bad_id), ErrorCode::MalformedMessage, command),
        ("deep arrays", header.to_vec(), nested(b"\x91", 100_000), ErrorCode::MalformedMessage, Uuid::nil()),
        ("deep maps", header.to_vec(), nested(b"\x81\xa1a", 100_000), ErrorCode::MalformedMessage, Uuid::nil()),
        ("huge map", header.to_vec(), b"\xdf\xff\xff\xff\xff".to_vec(), ErrorCode::MalformedMessage, Uuid::nil()),
        (
            "huge list",
            MessageType::ReportPartialResult.header().to_vec(),
            b"\x81\xa7results\xdd\xff\xff\xff\xff".to_vec(),
            ErrorCode::MalformedMessage,
            Uuid::nil(),
        ),
        (
            "huge text",
            header.to_vec(),
            b"\x81\xaecorrelation_id\xdb\xff\xff\xff\xff".to_vec(),
            ErrorCode::MalformedMessage,
            Uuid::nil(),
        ),
    ];
    let long_word = pack(&serde_json::json!({"correlation_id": command, "level": "ä".repeat(100_000)}));
    let long_word =
        ("long word", MessageType::HealthCheck.header().to_vec(), long_word, ErrorCode::MalformedMessage, command);
    for (what, header, body, code, correlation_id) in cases.into_iter().chain([long_word]) {
        let refusal = protocol::decode(&header, &body).expect_err(what).0;
        assert_eq!((refusal.code, refusal.correlation_id), (code, correlation_id), "{what}: {}", refusal.message);
        assert!(!refusal.message.is_empty() && refusal.message.len() < 1_000, "{what}");
    }
    for length in 0..body.len() {
        let refusal = protocol::decode(&header, &body[..length]).expect_err("truncated").0;
        assert_eq!(refusal.code, ErrorCode::MalformedMessage, "{length} bytes: {}", refusal.message);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(header in prop::collection::vec(any::<u8>(), 0..8), body in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = protocol::decode(&header, &body);
        for message_type in MessageType::ALL {
            let _ = protocol::decode(&message_type.header(), &body);
        }
    }

    #[test]
    fn no_damaged_message_makes_the_decoder_panic(index in any::<prop::sample::Index>(), place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let samples = samples();
        let (header, mut body) = protocol::encode(&samples[index.index(samples.len())]);
        let place = place.index(body.len());
        body[place] = byte;
        let _ = protocol::decode(&header, &body);
    }
}

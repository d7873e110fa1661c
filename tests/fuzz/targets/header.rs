//! Any header, with a body that is an empty map: taken or refused by the rule that it breaks, in the order of its bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tasker_fuzz::protocol::{ErrorCode, HEADER_BYTES, MAGIC, MessageType, PROTOCOL_VERSION, decode};

const EMPTY_MAP: &[u8] = &[0x80];

fuzz_target!(|header: &[u8]| {
    let known = |high, low| MessageType::from_code(u16::from_be_bytes([high, low]));
    let code = decode(header, EMPTY_MAP).map_err(|error| error.0.code);
    match header {
        &[MAGIC, PROTOCOL_VERSION, high, low] => match known(high, low) {
            Some(message_type) => {
                assert_eq!(message_type.header(), header);
                // Some messages need no field; in any other, one is missing.
                assert!(matches!(code, Ok(_) | Err(ErrorCode::InvalidField)), "{code:?}");
            }
            None => assert_eq!(code.expect_err("not defined"), ErrorCode::UnknownMessage),
        },
        &[MAGIC, ..] if header.len() == HEADER_BYTES => {
            assert_eq!(code.expect_err("another version"), ErrorCode::UnsupportedVersion);
        }
        _ => assert_eq!(code.expect_err("no header"), ErrorCode::MalformedMessage),
    }
});

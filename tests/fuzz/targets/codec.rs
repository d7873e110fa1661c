//! Any frames: what is taken is the same when it is sent on, and what is refused is refused in few words.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tasker_fuzz::protocol::{HEADER_BYTES, decode, encode};

/// Longest message of a refusal: it goes back to the peer, into the log, and stays far below what the peer has sent.
const MESSAGE_BYTES_MAX: usize = 1000;

fuzz_target!(|frames: &[u8]| {
    let (header, body) = frames.split_at(frames.len().min(HEADER_BYTES));
    match decode(header, body) {
        Ok(message) => {
            let (again, packed) = encode(&message);
            assert_eq!(again, header);
            let unpacked = decode(&again, &packed).expect("what was written can be read");
            // As bytes: NaN is not equal to itself.
            assert_eq!(encode(&unpacked).1, packed);
        }
        Err(refusal) => {
            assert!(refusal.0.message.len() <= MESSAGE_BYTES_MAX, "{} bytes", refusal.0.message.len());
            assert!(refusal.0.field.is_none_or(|field| field.len() <= MESSAGE_BYTES_MAX));
        }
    }
});

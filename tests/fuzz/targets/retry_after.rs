//! Any text and time of day as a `retry_after`: a wait within its bound, or none.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tasker_engine::{RETRY_AFTER_MS_MAX, parse_retry_after};

fuzz_target!(|input: (i64, &str)| {
    let (now_wall_ms, text) = input;
    if let Some(wait_ms) = parse_retry_after(text, now_wall_ms) {
        assert!(wait_ms <= RETRY_AFTER_MS_MAX);
        assert_eq!(parse_retry_after(&format!(" {text} "), now_wall_ms), Some(wait_ms));
    }
});

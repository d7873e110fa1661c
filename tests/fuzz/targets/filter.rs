//! Any text as a filter: one whose canonical text says the same, or refused in few words at a place that exists.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tasker_fuzz::filter::{Filter, VALUES_MAX};

/// Longest message of a refusal.
const MESSAGE_BYTES_MAX: usize = 1000;

fuzz_target!(|text: &str| {
    match Filter::parse(text) {
        Ok(filter) => {
            let canonical = filter.to_string();
            assert!(filter.context.len() + filter.text.any.len() <= VALUES_MAX);
            // Quotes and whole times make it longer than what was taken; nothing else may.
            match Filter::parse(&canonical) {
                Ok(again) => assert_eq!(again, filter, "{canonical:?}"),
                Err(error) => assert!(canonical.len() > text.len(), "{canonical:?}: {error}"),
            }
        }
        Err(error) => {
            assert!((1..=text.chars().count() + 1).contains(&error.position), "{error}");
            assert!(error.to_string().len() <= MESSAGE_BYTES_MAX, "{error}");
        }
    }
});

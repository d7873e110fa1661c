//! The pure decision core of Tasker Core: what happened comes in as events, what must be saved and sent goes out.
//!
//! No clock, no randomness, no threads, no I/O: time and seeds are arguments. The same events at the same times give the
//! same effects, so a simulator can run years of faults in seconds.

mod config;
mod effect;
mod event;
mod id;
mod snapshot;
mod state;
mod template;
mod time;

pub use config::*;
pub use effect::*;
pub use event::*;
pub use id::*;
pub use snapshot::*;
pub use state::*;
pub use template::*;
pub use time::*;

/// The checksum by which two payloads are told apart: XXH3, 64 bits. It is stored with each accepted result.
pub fn checksum(payload: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(payload)
}

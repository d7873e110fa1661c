//! Bytes of messages that were read and are not done with: waiting for the engine, or for the commit that they are part of.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts those bytes against their limit. The gateway takes; whoever is done with a message gives back.
#[derive(Debug)]
pub struct Budget {
    bytes: AtomicU64,
    bytes_max: u64,
}

impl Budget {
    pub(super) fn new(bytes_max: u64) -> Budget {
        Budget { bytes: AtomicU64::new(0), bytes_max }
    }

    /// The limit.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Bytes that are taken now.
    pub fn taken(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether a message of this size fits. One thread takes, so that what fits still fits when it is taken.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.taken().saturating_add(bytes) <= self.bytes_max
    }

    pub(super) fn take(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Messages of so many bytes, from [`Received::bytes`](super::Received::bytes), are done with.
    pub fn give_back(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

//! What has come and gone, counted by whoever has the sockets and read by whoever likes.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::protocol::ErrorCode;

/// Counts since the start. One thread at a time writes.
#[derive(Debug, Default)]
pub struct Traffic {
    messages_received: Count,
    bytes_received: Count,
    messages_sent: Count,
    bytes_sent: Count,
    events_published: Count,
    bytes_published: Count,
    /// By code, in the order of the type.
    refusals: [Count; ErrorCode::ALL.len()],
    connections: Count,
    connections_cut: Count,
    handshakes_failed: Count,
}

/// The counts at one moment. Bytes are those of header and body, without what the transport adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficCounts {
    /// Messages of peers.
    pub messages_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Messages to peers.
    pub messages_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Events for subscribers, each counted once however many there are.
    pub events_published: u64,
    /// Their bytes.
    pub bytes_published: u64,
    /// Refusals that were sent, of every code.
    pub refusals: Vec<(&'static str, u64)>,
    /// Connections at this moment, subscribers included.
    pub connections: u64,
    /// Connections that were cut because they passed a bound.
    pub connections_cut: u64,
    /// Connections that ended before their handshake did.
    pub handshakes_failed: u64,
}

impl Traffic {
    /// The counts now.
    pub fn counts(&self) -> TrafficCounts {
        let refusals = ErrorCode::ALL.iter().zip(&self.refusals);
        TrafficCounts {
            messages_received: self.messages_received.get(),
            bytes_received: self.bytes_received.get(),
            messages_sent: self.messages_sent.get(),
            bytes_sent: self.bytes_sent.get(),
            events_published: self.events_published.get(),
            bytes_published: self.bytes_published.get(),
            refusals: refusals.map(|(code, count)| (code.as_str(), count.get())).collect(),
            connections: self.connections.get(),
            connections_cut: self.connections_cut.get(),
            handshakes_failed: self.handshakes_failed.get(),
        }
    }

    pub(super) fn received(&self, bytes: usize) {
        self.messages_received.add(1);
        self.bytes_received.add(bytes as u64);
    }

    pub(super) fn sent(&self, messages: usize, bytes: usize) {
        self.messages_sent.add(messages as u64);
        self.bytes_sent.add(bytes as u64);
    }

    pub(super) fn published(&self, bytes: usize) {
        self.events_published.add(1);
        self.bytes_published.add(bytes as u64);
    }

    pub(super) fn refused(&self, code: ErrorCode) {
        // Its place among the codes: the list has them in the order of the type.
        self.refusals[code as usize].add(1);
    }

    pub(super) fn connections(&self, now: usize, cut: u64, handshakes_failed: u64) {
        self.connections.set(now as u64);
        self.connections_cut.set(cut);
        self.handshakes_failed.set(handshakes_failed);
    }
}

/// A number that one thread changes, so that no change waits for another's.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn add(&self, more: u64) {
        self.set(self.get() + more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_a_count_of_its_own() {
        let traffic = Traffic::default();
        for (times, &code) in (1..).zip(ErrorCode::ALL) {
            (0..times).for_each(|_| traffic.refused(code));
        }
        let expected: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).zip(1..).collect();
        assert_eq!(traffic.counts().refusals, expected);
    }
}

//! The way in to the engine. Commands are taken or refused at once, because a peer that is not heard looks dead from both
//! sides; heartbeats and lost connections are always taken, and wait here while there is no room.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crossbeam_channel::Sender;
use tasker_engine::{Event, PeerId};
use tokio::sync::Notify;

use super::{Budget, Incoming, Received};

pub(super) struct Inbox {
    /// Without a bound of its own, because a bounded one takes its memory at once. Gone when this goes.
    sender: Option<Sender<Received>>,
    /// Wakes the reader.
    arrived: Arc<Notify>,
    events_max: usize,
    budget: Arc<Budget>,
    /// The last heartbeat of each peer that there was no room for.
    beats: BTreeMap<PeerId, Incoming>,
    /// Peers that a message did not reach.
    unreachable: BTreeSet<PeerId>,
}

/// Why a command is not taken, with the limit that is reached.
pub(super) enum Full {
    /// So many wait for the engine.
    Events(u64),
    /// So many bytes are not done with.
    Bytes(u64),
}

impl Inbox {
    pub(super) fn new(sender: Sender<Received>, arrived: Arc<Notify>, events_max: usize, budget: Arc<Budget>) -> Inbox {
        Inbox {
            sender: Some(sender),
            arrived,
            events_max,
            budget,
            beats: BTreeMap::new(),
            unreachable: BTreeSet::new(),
        }
    }

    /// Whether there is room for a command of this size. What waits goes first.
    pub(super) fn room(&mut self, bytes: u64) -> Result<(), Full> {
        if !self.hand_over() || self.is_full() {
            return Err(Full::Events(u64::try_from(self.events_max).unwrap_or(u64::MAX)));
        }
        if !self.budget.has_room(bytes) {
            return Err(Full::Bytes(self.budget.bytes_max()));
        }
        Ok(())
    }

    /// Takes a command that there is room for.
    pub(super) fn put(&mut self, incoming: Incoming, bytes: u64) {
        self.budget.take(bytes);
        self.send(Received { incoming, bytes });
    }

    /// Whoever has the sockets is the only sender, so that there is room still for whoever has looked.
    fn is_full(&self) -> bool {
        self.sender.as_ref().is_some_and(|sender| sender.len() >= self.events_max)
    }

    fn send(&self, received: Received) {
        // An inbox without a reader takes nothing any more: whoever stopped the engine stops this thread next.
        if let Some(sender) = &self.sender {
            let _ = sender.send(received);
        }
        self.arrived.notify_one();
    }

    /// Takes a heartbeat. `false` when it has replaced an earlier one of the peer that was waiting: the newer says all that
    /// the older did.
    pub(super) fn put_beat(&mut self, peer: PeerId, beat: Incoming) -> bool {
        let first = self.beats.insert(peer, beat).is_none();
        self.hand_over();
        first
    }

    /// A message to this peer could not be delivered.
    pub(super) fn put_unreachable(&mut self, peer: PeerId) {
        self.unreachable.insert(peer);
    }

    /// Hands over what waits; `false` when there is no room for all of it.
    pub(super) fn hand_over(&mut self) -> bool {
        while !self.is_full() {
            let beat = self.beats.pop_first().map(|(_, beat)| beat);
            let lost = || Some(Incoming::Event(Event::PeerUnreachable { peer: self.unreachable.pop_first()? }));
            let Some(incoming) = beat.or_else(lost) else { return true };
            self.send(Received { incoming, bytes: 0 });
        }
        !self.waits()
    }

    /// Whether something waits for room.
    pub(super) fn waits(&self) -> bool {
        !self.beats.is_empty() || !self.unreachable.is_empty()
    }
}

impl Drop for Inbox {
    /// The reader is told that nothing comes any more.
    fn drop(&mut self) {
        self.sender = None;
        self.arrived.notify_one();
    }
}

//! The way in to the engine. Commands are taken or refused at once, because a peer that is not heard looks dead from both
//! sides; heartbeats and lost connections are always taken, and wait here while there is no room.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crossbeam_channel::{Sender, TrySendError};
use tasker_engine::{Event, PeerId};

use super::{Budget, Incoming, Received};

pub(super) struct Inbox {
    sender: Sender<Received>,
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
    pub(super) fn new(sender: Sender<Received>, budget: Arc<Budget>) -> Inbox {
        Inbox { sender, budget, beats: BTreeMap::new(), unreachable: BTreeSet::new() }
    }

    /// Whether there is room for a command of this size. What waits goes first.
    pub(super) fn room(&mut self, bytes: u64) -> Result<(), Full> {
        if !self.hand_over() || self.sender.is_full() {
            return Err(Full::Events(self.sender.capacity().map_or(u64::MAX, |events| events as u64)));
        }
        if !self.budget.has_room(bytes) {
            return Err(Full::Bytes(self.budget.bytes_max()));
        }
        Ok(())
    }

    /// Takes a command that there is room for.
    pub(super) fn put(&mut self, incoming: Incoming, bytes: u64) {
        self.budget.take(bytes);
        // The gateway's thread is the only sender. An inbox without a reader takes nothing any more: whoever stopped the
        // engine stops this thread next.
        let _ = self.sender.try_send(Received { incoming, bytes });
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
        while let Some((peer, incoming)) = self.beats.pop_first() {
            if let Err(TrySendError::Full(beat)) = self.sender.try_send(Received { incoming, bytes: 0 }) {
                self.beats.insert(peer, beat.incoming);
                return false;
            }
        }
        while let Some(peer) = self.unreachable.pop_first() {
            let incoming = Incoming::Event(Event::PeerUnreachable { peer });
            if let Err(TrySendError::Full(_)) = self.sender.try_send(Received { incoming, bytes: 0 }) {
                self.unreachable.insert(peer);
                return false;
            }
        }
        true
    }

    /// Whether something waits for room.
    pub(super) fn waits(&self) -> bool {
        !self.beats.is_empty() || !self.unreachable.is_empty()
    }
}

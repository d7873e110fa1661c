//! Who is connected: numbers for routing ids, unanswered commands, offences. The table is bounded; when it is full,
//! peers that are not workers and were quiet longest make room.

use std::collections::HashMap;
use std::time::Instant;

use tasker_engine::PeerId;

use super::guard::Link;
use super::limits::{COMMANDS_OUTSTANDING_MAX, OFFENCES_MAX, SILENCE};

/// The table of peers.
#[derive(Debug)]
pub(super) struct Peers {
    ids: HashMap<Box<[u8]>, PeerId>,
    peers: HashMap<PeerId, Peer>,
    peers_max: usize,
    numbers_given: u64,
    messages_seen: u64,
}

#[derive(Debug)]
struct Peer {
    routing_id: Box<[u8]>,
    /// Its key; none without CURVE.
    user: Option<Box<str>>,
    link: Link,
    worker: bool,
    /// Messages that it takes in one.
    bundle_max: usize,
    outstanding: u32,
    offences: u8,
    silent_until: Option<Instant>,
    seen_at_message: u64,
}

impl Peers {
    pub(super) fn new(peers_max: usize) -> Peers {
        Peers { ids: HashMap::new(), peers: HashMap::new(), peers_max, numbers_given: 0, messages_seen: 0 }
    }

    /// The number of the peer that sent a message, a new one for a new peer; `None` when there are too many peers.
    pub(super) fn seen(&mut self, routing_id: &[u8], user: Option<&str>) -> Option<PeerId> {
        self.messages_seen += 1;
        if let Some(&id) = self.ids.get(routing_id) {
            self.entry(id).seen_at_message = self.messages_seen;
            return Some(id);
        }
        if self.peers.len() >= self.peers_max {
            self.evict();
        }
        if self.peers.len() >= self.peers_max {
            return None;
        }
        self.numbers_given += 1;
        let (id, routing_id) = (PeerId(self.numbers_given), Box::<[u8]>::from(routing_id));
        self.ids.insert(routing_id.clone(), id);
        let seen_at_message = self.messages_seen;
        let peer = Peer {
            routing_id,
            user: user.map(Box::from),
            link: Link::default(),
            worker: false,
            bundle_max: 1,
            outstanding: 0,
            offences: 0,
            silent_until: None,
            seen_at_message,
        };
        self.peers.insert(id, peer);
        Some(id)
    }

    /// Forgets and returns the peer of this routing id when it came with another key: the socket has given the place to
    /// the newcomer, who is not to be taken for it.
    pub(super) fn displace(&mut self, routing_id: &[u8], user: &str) -> Option<PeerId> {
        let id = *self.ids.get(routing_id)?;
        if self.entry(id).user.as_deref() == Some(user) {
            return None;
        }
        self.forget(id);
        Some(id)
    }

    /// Where to send what is meant for a peer.
    pub(super) fn routing_id(&self, id: PeerId) -> Option<&[u8]> {
        self.peers.get(&id).map(|peer| &*peer.routing_id)
    }

    /// The connection that leads to a peer.
    pub(super) fn link(&self, id: PeerId) -> Option<Link> {
        self.peers.get(&id).map(|peer| peer.link)
    }

    /// The connection by which the message at hand came.
    pub(super) fn link_mut(&mut self, id: PeerId) -> &mut Link {
        &mut self.entry(id).link
    }

    /// The connection is gone; the same routing id counts as a new peer from now on.
    pub(super) fn forget(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.remove(&id) {
            self.ids.remove(&peer.routing_id);
        }
    }

    /// Workers keep their place in the table.
    pub(super) fn mark_worker(&mut self, id: PeerId, worker: bool) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.worker = worker;
        }
    }

    /// Notes how many messages a peer takes in one.
    pub(super) fn takes_bundles(&mut self, id: PeerId, messages: Option<u32>) {
        let messages = messages.and_then(|messages| usize::try_from(messages).ok());
        self.entry(id).bundle_max = messages.unwrap_or(1);
    }

    /// How many messages it takes in one; a stranger takes one.
    pub(super) fn bundle_max(&self, id: PeerId) -> usize {
        self.peers.get(&id).map_or(1, |peer| peer.bundle_max)
    }

    /// A message that could be read makes up for those before it that could not.
    pub(super) fn pardon(&mut self, id: PeerId) {
        self.entry(id).offences = 0;
    }

    /// Counts a command that will be answered; `false` when too many are unanswered.
    pub(super) fn ask(&mut self, id: PeerId) -> bool {
        let peer = self.entry(id);
        let room = peer.outstanding < COMMANDS_OUTSTANDING_MAX;
        peer.outstanding += u32::from(room);
        room
    }

    /// Counts an answer.
    pub(super) fn answer(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.outstanding = peer.outstanding.saturating_sub(1);
        }
    }

    /// Whether a peer is silenced. Asked for each message, so that the clock is read for offenders only.
    pub(super) fn is_silenced(&mut self, id: PeerId) -> bool {
        let peer = self.entry(id);
        let silenced = peer.silent_until.is_some_and(|until| Instant::now() < until);
        if peer.silent_until.is_some() && !silenced {
            (peer.silent_until, peer.offences) = (None, 0);
        }
        silenced
    }

    /// Counts an unreadable message; too many in a row, and the peer is not heard for a while. `true` when this was
    /// the one too many.
    pub(super) fn offend(&mut self, id: PeerId) -> bool {
        let peer = self.entry(id);
        peer.offences += 1;
        let silenced = peer.offences >= OFFENCES_MAX;
        if silenced {
            peer.silent_until = Some(Instant::now() + SILENCE);
        }
        silenced
    }

    fn entry(&mut self, id: PeerId) -> &mut Peer {
        self.peers.get_mut(&id).expect("the sender of the message at hand is in the table")
    }

    /// Removes the quieter half of the peers that are neither workers nor waiting for an answer: half, so that a full
    /// table is not searched for each newcomer.
    fn evict(&mut self) {
        let idle = self.peers.iter().filter(|(_, peer)| !peer.worker && peer.outstanding == 0);
        let mut idle: Vec<(u64, PeerId)> = idle.map(|(&id, peer)| (peer.seen_at_message, id)).collect();
        idle.sort_unstable();
        for &(_, id) in &idle[..idle.len().div_ceil(2)] {
            self.forget(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_never_given_twice() {
        let mut peers = Peers::new(10);
        let first = peers.seen(b"a", None).expect("room");
        assert_eq!(peers.seen(b"a", None), Some(first));
        peers.forget(first);
        assert_ne!(peers.seen(b"a", None), Some(first));
        assert_eq!(peers.routing_id(first), None);
    }

    #[test]
    fn a_routing_id_belongs_to_the_key_that_it_came_with() {
        let mut peers = Peers::new(10);
        let first = peers.seen(b"a", Some("anna")).expect("room");
        assert_eq!(peers.displace(b"a", "anna"), None);
        assert_eq!(peers.seen(b"a", Some("anna")), Some(first));
        assert_eq!(peers.displace(b"b", "mallory"), None, "nobody had it");
        assert_eq!(peers.displace(b"a", "mallory"), Some(first));
        assert_eq!(peers.routing_id(first), None, "what is meant for the one must not reach the other");
        assert_ne!(peers.seen(b"a", Some("mallory")), Some(first));
    }

    #[test]
    fn a_full_table_keeps_workers_and_those_who_wait_for_an_answer() {
        let mut peers = Peers::new(4);
        let ids: Vec<PeerId> = (b'a'..=b'd').map(|name| peers.seen(&[name], None).expect("room")).collect();
        peers.mark_worker(ids[0], true);
        assert!(peers.ask(ids[1]));
        assert!(peers.seen(b"e", None).is_some());
        let known: Vec<bool> = ids.iter().map(|&id| peers.routing_id(id).is_some()).collect();
        assert_eq!(known, [true, true, false, true]);
        assert!(peers.seen(b"f", None).is_some(), "makes room again");
        for id in 1..=10 {
            peers.mark_worker(PeerId(id), true);
        }
        assert_eq!(peers.seen(b"g", None), None);
        assert!(peers.seen(b"a", None).is_some(), "those who are in stay in");
    }

    #[test]
    fn offences_in_a_row_silence_and_a_readable_message_forgives() {
        let mut peers = Peers::new(1);
        let id = peers.seen(b"a", None).expect("room");
        for _ in 1..OFFENCES_MAX {
            assert!(!peers.offend(id));
        }
        peers.pardon(id);
        for _ in 1..OFFENCES_MAX {
            assert!(!peers.offend(id));
        }
        assert!(!peers.is_silenced(id));
        assert!(peers.offend(id));
        assert!(peers.is_silenced(id));
    }

    #[test]
    fn unanswered_commands_are_bounded() {
        let mut peers = Peers::new(1);
        let id = peers.seen(b"a", None).expect("room");
        for _ in 0..COMMANDS_OUTSTANDING_MAX {
            assert!(peers.ask(id));
        }
        assert!(!peers.ask(id));
        peers.answer(id);
        assert!(peers.ask(id));
    }
}

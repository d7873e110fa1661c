//! Messages of one turn to the same peer, sent as one. Each message that is sent wakes a thread of libzmq here and one there,
//! and then whoever waits for it: a worker that hears of its results and its next batch together is woken once.

use std::collections::HashMap;

use tasker_engine::PeerId;

use super::frames::Encoded;
use super::limits::{BUNDLE_BYTES_MAX, BUNDLE_MESSAGES_MAX};

/// What waits for the end of the turn.
#[derive(Default)]
pub(super) struct Bundles {
    open: HashMap<PeerId, Bundle>,
}

/// Messages to one peer, in their order.
#[derive(Default)]
struct Bundle {
    messages: Vec<Encoded>,
    bytes: usize,
}

impl Bundles {
    /// Adds a message for a peer that takes so many at once. What is to be sent now, before anything else to that peer.
    pub(super) fn add(&mut self, peer: PeerId, takes: usize, message: Encoded) -> Option<Vec<Encoded>> {
        let most = takes.clamp(1, BUNDLE_MESSAGES_MAX);
        let bytes = message.size().bytes;
        let bundle = self.open.entry(peer).or_default();
        // A large message gains nothing by company, and would keep it waiting.
        let full = bundle.messages.len() >= most || bundle.bytes + bytes > BUNDLE_BYTES_MAX;
        let due = (full && !bundle.messages.is_empty()).then(|| std::mem::take(bundle).messages);
        bundle.messages.push(message);
        bundle.bytes += bytes;
        due
    }

    /// Whether something waits for this peer, which what comes later must not overtake.
    pub(super) fn has(&self, peer: PeerId) -> bool {
        self.open.contains_key(&peer)
    }

    /// Everything, at the end of the turn.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (PeerId, Vec<Encoded>)> + use<> {
        std::mem::take(&mut self.open).into_iter().map(|(peer, bundle)| (peer, bundle.messages))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Drain, Message};

    fn message(bytes: usize) -> Encoded {
        Encoded::of(&Message::from(Drain { reason: "x".repeat(bytes) }))
    }

    fn lengths(bundle: Option<Vec<Encoded>>) -> Option<usize> {
        bundle.map(|messages| messages.len())
    }

    #[test]
    fn a_bundle_is_sent_when_its_peer_takes_no_more() {
        let mut bundles = Bundles::default();
        assert_eq!(lengths(bundles.add(PeerId(1), 2, message(1))), None);
        assert_eq!(lengths(bundles.add(PeerId(2), 2, message(1))), None);
        assert_eq!(lengths(bundles.add(PeerId(1), 2, message(1))), None);
        assert_eq!(lengths(bundles.add(PeerId(1), 2, message(1))), Some(2));
        let mut rest: Vec<(PeerId, usize)> = bundles.take().map(|(peer, left)| (peer, left.len())).collect();
        rest.sort_unstable();
        assert_eq!(rest, [(PeerId(1), 1), (PeerId(2), 1)]);
        assert_eq!(bundles.take().count(), 0);
    }

    #[test]
    fn who_takes_one_at_a_time_now_gets_what_waited_first() {
        let mut bundles = Bundles::default();
        bundles.add(PeerId(1), 16, message(1));
        bundles.add(PeerId(1), 16, message(1));
        assert!(bundles.has(PeerId(1)) && !bundles.has(PeerId(2)));
        assert_eq!(lengths(bundles.add(PeerId(1), 0, message(1))), Some(2));
        assert_eq!(lengths(bundles.add(PeerId(1), 1, message(1))), Some(1));
        assert_eq!(bundles.take().map(|(_, left)| left.len()).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn however_many_a_peer_takes_there_is_a_bound() {
        let mut bundles = Bundles::default();
        for _ in 0..BUNDLE_MESSAGES_MAX {
            assert_eq!(lengths(bundles.add(PeerId(1), usize::MAX, message(1))), None);
        }
        assert_eq!(lengths(bundles.add(PeerId(1), usize::MAX, message(1))), Some(BUNDLE_MESSAGES_MAX));
    }

    #[test]
    fn large_messages_travel_alone_and_in_their_order() {
        let mut bundles = Bundles::default();
        assert_eq!(lengths(bundles.add(PeerId(1), 10, message(1))), None);
        assert_eq!(lengths(bundles.add(PeerId(1), 10, message(BUNDLE_BYTES_MAX))), Some(1));
        assert_eq!(lengths(bundles.add(PeerId(1), 10, message(1))), Some(1));
    }
}

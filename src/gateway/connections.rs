//! Connections of a socket as the guard knows them, and the judgement on each: what waits for it, and for how long.

use std::os::fd::RawFd;
use std::time::Instant;

use nix::sys::socket::SockaddrStorage;
use tasker_engine::PeerId;

use super::guard::Link;
use super::tcp;

/// All that a subscriber may ever send. It has only prefixes to say, and libzmq keeps a hundred times their size.
const SUBSCRIBER_BYTES_MAX: u64 = 1 << 20;
/// Bytes of an incomplete message from which on the process's memory is watched. libzmq takes 64 bytes for an empty frame,
/// which has 2 on the wire.
const INCOMPLETE_BYTES_NOTED: u64 = 256 * 1024;

/// Connections of one socket by their descriptors, which are small numbers.
#[derive(Default)]
pub(super) struct Connections {
    pub(super) places: Vec<Option<Connection>>,
    pub(super) count: usize,
}

pub(super) struct Connection {
    /// Descriptors are used again, these numbers are not.
    pub(super) number: u64,
    /// `None` for a unix socket, of which the kernel counts nothing.
    pub(super) address: Option<SockaddrStorage>,
    pub(super) peer: Option<PeerId>,
    /// Bytes of the messages that the gateway has read: at least, so that only libzmq's own are missing.
    pub(super) read: u64,
    /// The same at the last look.
    pub(super) read_before: u64,
    /// Since when a message is incomplete or waits to be read, if it is a large one.
    pub(super) waiting_since: Option<Instant>,
    /// Bytes of the messages that libzmq has taken for this peer.
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    /// For a subscriber, when the kernel last had sent all: bytes published and acknowledged by then.
    pub(super) clear: (u64, u64),
}

/// Why a connection is cut.
#[derive(Clone, Copy, Debug)]
pub(super) enum Offence {
    /// It is one too many.
    Surplus,
    /// It sends more than can be read, or a message without an end.
    Unread,
    /// Memory has grown by its bound while it has been sending a message for longer than others.
    Swelling,
    /// It does not read what it gets.
    Unacknowledged,
    /// A subscriber that says too much.
    Talkative,
}

impl Offence {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Offence::Surplus => "there are as many connections as allowed",
            Offence::Unread => "it has sent too many bytes without completing a message that could be read",
            Offence::Swelling => "its unfinished message takes much more memory than it has bytes",
            Offence::Unacknowledged => "it does not read what is sent to it",
            Offence::Talkative => "it has sent more than subscriptions need",
        }
    }
}

impl Connection {
    pub(super) fn take_acknowledged(&mut self, traffic: tcp::Traffic) {
        self.acknowledged = traffic.acknowledged;
        // libzmq's own, such as the handshake, is acknowledged too: what is counted here starts anew with each calm.
        self.sent = self.sent.max(self.acknowledged);
    }

    /// Whether nothing of a peer has stopped half way: no large message is incomplete, and it has taken all that was sent.
    pub(super) fn is_quiet(&self) -> bool {
        self.waiting_since.is_none() && self.sent <= self.acknowledged
    }

    pub(super) fn judge_peer(&mut self, traffic: tcp::Traffic, most: u64, now: Instant) -> Option<Offence> {
        // More was counted than came: the rest of the estimate is forgotten with each calm.
        self.read = self.read.min(traffic.received);
        self.take_acknowledged(traffic);
        let waiting = traffic.received - self.read;
        if waiting > most {
            return Some(Offence::Unread);
        }
        if waiting < INCOMPLETE_BYTES_NOTED || self.read != self.read_before {
            self.waiting_since = None;
        } else {
            self.waiting_since.get_or_insert(now);
        }
        self.read_before = self.read;
        (self.sent - self.acknowledged > most).then_some(Offence::Unacknowledged)
    }

    /// What is filtered away or lost at the high-water mark counts as if it waited, but only against subscribers that
    /// keep the kernel waiting at each look.
    pub(super) fn judge_subscriber(&mut self, traffic: tcp::Traffic, published: u64, most: u64) -> Option<Offence> {
        if traffic.received > SUBSCRIBER_BYTES_MAX {
            return Some(Offence::Talkative);
        }
        if traffic.unsent == 0 {
            self.clear = (published, traffic.acknowledged);
        }
        let (published_then, acknowledged_then) = self.clear;
        let waiting = (published - published_then).saturating_sub(traffic.acknowledged - acknowledged_then);
        (waiting > most).then_some(Offence::Unacknowledged)
    }
}

impl Connections {
    pub(super) fn insert(&mut self, place: usize, connection: Connection) {
        if place >= self.places.len() {
            self.places.resize_with(place + 1, || None);
        }
        if self.places[place].replace(connection).is_none() {
            self.count += 1;
        }
    }

    pub(super) fn remove(&mut self, fd: RawFd) {
        let place = usize::try_from(fd).ok().and_then(|place| self.places.get_mut(place));
        if place.is_some_and(|place| place.take().is_some()) {
            self.count -= 1;
        }
    }

    pub(super) fn at(&mut self, fd: RawFd) -> Option<&mut Connection> {
        self.places.get_mut(usize::try_from(fd).ok()?)?.as_mut()
    }

    pub(super) fn longest_waiting(&self) -> Option<RawFd> {
        let waiting = (0..).zip(&self.places).filter_map(|(fd, place)| Some((place.as_ref()?.waiting_since?, fd)));
        waiting.min().map(|(_, fd)| fd)
    }

    pub(super) fn linked(&mut self, link: &Link) -> Option<&mut Connection> {
        self.at(link.fd).filter(|connection| connection.number == link.number)
    }

    /// Asks the kernel about each connection. Those that are gone without a word are removed.
    pub(super) fn offenders(
        &mut self,
        mut judge: impl FnMut(&mut Connection, tcp::Traffic) -> Option<Offence>,
    ) -> Vec<(RawFd, Offence)> {
        let mut offenders = Vec::new();
        for (fd, place) in (0..).zip(&mut self.places) {
            let Some(connection) = place else { continue };
            if connection.address.is_none() {
                continue;
            }
            match tcp::traffic(fd) {
                Ok(traffic) if connection.address == tcp::peer_address(fd) => {
                    offenders.extend(judge(connection, traffic).map(|offence| (fd, offence)));
                }
                Ok(_) | Err(_) => {
                    *place = None;
                    self.count -= 1;
                }
            }
        }
        offenders
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn connection() -> Connection {
        Connection {
            number: 1,
            address: None,
            peer: None,
            read: 0,
            read_before: 0,
            waiting_since: None,
            sent: 0,
            acknowledged: 0,
            clear: (0, 0),
        }
    }

    fn traffic(received: u64, acknowledged: u64, unsent: u32) -> tcp::Traffic {
        tcp::Traffic { received, acknowledged, unsent }
    }

    #[test]
    fn bytes_that_nobody_could_read_are_bounded() {
        let mut peer = connection();
        peer.read = 5_000;
        assert!(peer.judge_peer(traffic(4_900, 0, 0), 100, Instant::now()).is_none(), "counted at most, came less");
        assert!(peer.judge_peer(traffic(5_000, 0, 0), 100, Instant::now()).is_none());
        assert!(matches!(peer.judge_peer(traffic(5_001, 0, 0), 100, Instant::now()), Some(Offence::Unread)));
        peer.read += 50;
        assert!(peer.judge_peer(traffic(5_001, 0, 0), 100, Instant::now()).is_none(), "read in the meantime");
    }

    #[test]
    fn who_is_in_one_message_for_longest_is_known() {
        let start = Instant::now();
        let mut work = Connections::default();
        let large = INCOMPLETE_BYTES_NOTED;
        for (place, seconds) in [(3, 2), (5, 1), (7, 3)] {
            let mut peer = connection();
            assert!(peer.judge_peer(traffic(large, 0, 0), 2 * large, start + Duration::from_secs(seconds)).is_none());
            work.insert(place, peer);
        }
        assert_eq!(work.longest_waiting(), Some(5));
        assert!(!work.at(5).expect("inserted").is_quiet());
        let peer = work.at(5).expect("inserted");
        peer.read = 1;
        assert!(peer.judge_peer(traffic(2 * large, 0, 0), 2 * large, start).is_none());
        assert_eq!(work.longest_waiting(), Some(3), "the other one has completed a message");
    }

    #[test]
    fn bytes_that_the_peer_does_not_take_are_bounded() {
        let mut peer = connection();
        assert!(peer.judge_peer(traffic(0, 300, 0), 100, Instant::now()).is_none(), "a handshake that nobody counted");
        peer.sent += 100;
        assert!(peer.judge_peer(traffic(0, 300, 9), 100, Instant::now()).is_none());
        peer.sent += 1;
        assert!(matches!(peer.judge_peer(traffic(0, 300, 9), 100, Instant::now()), Some(Offence::Unacknowledged)));
        assert!(peer.judge_peer(traffic(0, 301, 9), 100, Instant::now()).is_none(), "it reads on");
        assert!(!peer.is_quiet(), "not all of it");
        assert!(peer.judge_peer(traffic(0, 401, 0), 100, Instant::now()).is_none());
        assert!(peer.is_quiet());
    }

    #[test]
    fn a_subscriber_that_keeps_up_now_and_then_stays() {
        let mut subscriber = connection();
        for round in 1..10 {
            assert!(subscriber.judge_subscriber(traffic(9, 0, 0), round * 1_000, 100).is_none());
        }
        assert!(subscriber.judge_subscriber(traffic(9, 0, 7), 9_100, 100).is_none());
        assert!(subscriber.judge_subscriber(traffic(9, 50, 7), 9_150, 100).is_none(), "slow, but it gets on");
        let frozen = subscriber.judge_subscriber(traffic(9, 50, 7), 9_151, 100);
        assert!(matches!(frozen, Some(Offence::Unacknowledged)));
        let talkative = subscriber.judge_subscriber(traffic(SUBSCRIBER_BYTES_MAX + 1, 50, 0), 9_151, 100);
        assert!(matches!(talkative, Some(Offence::Talkative)));
    }
}

//! Holds each connection to a number of bytes. libzmq counts messages, and hands none over before its last frame is there:
//! a message that never ends, a backlog, or replies that nobody reads would grow unseen. The kernel knows the bytes that
//! came and went; what the gateway has not read or the peer has not acknowledged of them is with libzmq.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::SockaddrStorage;
use tasker_engine::PeerId;

use super::log_limit::LogLimit;
use super::memory;
use super::monitor::{Happened, Monitor};
use super::sockets::Sockets;
use super::tcp;

/// The shortest time between two looks at all connections: what a peer may send beyond its bound unseen.
const SWEEP_TIME_MIN: Duration = Duration::from_millis(50);
/// The longest.
const SWEEP_TIME_MAX: Duration = Duration::from_millis(500);
/// Time between looks for each connection. A look costs about a microsecond, so this is one percent of a core.
const SWEEP_TIME_PER_CONNECTION: Duration = Duration::from_micros(100);
/// All that a subscriber may ever send. It has only prefixes to say, and libzmq keeps a hundred times their size.
const SUBSCRIBER_BYTES_MAX: u64 = 1 << 20;
/// Bytes of an incomplete message from which on the process's memory is watched. libzmq takes 64 bytes for an empty frame,
/// which has 2 on the wire.
const INCOMPLETE_BYTES_NOTED: u64 = 256 * 1024;
/// Most bytes that libzmq adds to a frame on the wire: 9 for its length, 33 when it is encrypted (ZMTP 3.1, RFC 37 and 26).
const FRAME_OVERHEAD_MAX: usize = 42;
/// Fewest.
const FRAME_OVERHEAD_MIN: usize = 2;
/// Messages and bytes after which it is asked anew which connection a peer uses. When a peer comes back under its routing
/// id, nothing else tells.
const LINK_MESSAGES_MAX: u32 = 64;
const LINK_BYTES_MAX: usize = 256 * 1024;

/// The connections of both sockets.
pub(super) struct Guard {
    work: Connections,
    events: Connections,
    /// Those that are bound: what ends at another port is not ours.
    ports: Vec<u16>,
    peer_bytes_max: u64,
    connections_max: usize,
    /// All bytes published.
    published: u64,
    connections_made: u64,
    next_sweep: Option<Instant>,
    /// The process's memory when a message was first found incomplete.
    memory_before: Option<u64>,
    pub(super) cut: u64,
    pub(super) handshakes_failed: u64,
    log: LogLimit,
}

/// Connections of one socket by their descriptors, which are small numbers.
#[derive(Default)]
struct Connections {
    places: Vec<Option<Connection>>,
    count: usize,
}

struct Connection {
    /// Descriptors are used again, these numbers are not.
    number: u64,
    /// `None` for a unix socket, of which the kernel counts nothing.
    address: Option<SockaddrStorage>,
    peer: Option<PeerId>,
    /// Bytes of the messages that the gateway has read: at least, so that only libzmq's own are missing.
    read: u64,
    /// The same at the last look.
    read_before: u64,
    /// Since when a message is incomplete or waits to be read, if it is a large one.
    waiting_since: Option<Instant>,
    /// Bytes of the messages that libzmq has taken for this peer.
    sent: u64,
    acknowledged: u64,
    /// For a subscriber, when the kernel last had sent all: bytes published and acknowledged by then.
    clear: (u64, u64),
}

/// Which connection a peer's messages come by, as of the last look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    fd: RawFd,
    /// Zero for none.
    number: u64,
    messages: u32,
    bytes: usize,
}

/// Frames of a message, and the bytes in them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    pub(super) frames: usize,
    pub(super) bytes: usize,
}

impl Size {
    pub(super) fn with_frame(self, bytes: usize) -> Size {
        Size { frames: self.frames + 1, bytes: self.bytes + bytes }
    }
}

/// Why a connection is cut.
#[derive(Clone, Copy, Debug)]
enum Offence {
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
    fn as_str(self) -> &'static str {
        match self {
            Offence::Surplus => "there are as many connections as allowed",
            Offence::Unread => "it has sent too many bytes without completing a message that could be read",
            Offence::Swelling => "its unfinished message takes much more memory than it has bytes",
            Offence::Unacknowledged => "it does not read what is sent to it",
            Offence::Talkative => "it has sent more than subscriptions need",
        }
    }
}

impl Guard {
    pub(super) fn new(sockets: &Sockets, peer_bytes_max: u64, connections_max: usize) -> Guard {
        let endpoints = sockets.endpoints.work.iter().chain(&sockets.endpoints.events);
        let ports = endpoints.filter_map(|endpoint| endpoint.strip_prefix("tcp://")?.rsplit_once(':')?.1.parse().ok());
        Guard {
            work: Connections::default(),
            events: Connections::default(),
            ports: ports.collect(),
            peer_bytes_max,
            connections_max,
            published: 0,
            connections_made: 0,
            next_sweep: None,
            memory_before: None,
            cut: 0,
            handshakes_failed: 0,
            log: LogLimit::default(),
        }
    }

    /// Connections of both sockets.
    pub(super) fn connections(&self) -> usize {
        self.work.count + self.events.count
    }

    /// How long the gateway may sleep before the next look at the connections; for ever while there are none.
    pub(super) fn sleep_ms_max(&self) -> i64 {
        let Some(next) = self.next_sweep else { return -1 };
        let rest = next.saturating_duration_since(Instant::now());
        // Rounded up, so that it is time then.
        i64::try_from(rest.as_millis()).unwrap_or(i64::MAX).saturating_add(1)
    }

    /// Takes what libzmq tells of connections.
    pub(super) fn hear(&mut self, sockets: &Sockets) {
        self.hear_of(&sockets.work_monitor, |guard| &mut guard.work);
        self.hear_of(&sockets.events_monitor, |guard| &mut guard.events);
        match self.connections() {
            0 => self.next_sweep = None,
            _ if self.next_sweep.is_none() => self.next_sweep = Some(Instant::now() + SWEEP_TIME_MIN),
            _ => {}
        }
    }

    fn hear_of(&mut self, monitor: &Monitor, side: fn(&mut Guard) -> &mut Connections) {
        while let Some(happened) = monitor.next() {
            match happened {
                Happened::Accepted(fd) => self.accept(fd, side),
                Happened::Disconnected(fd) => side(self).remove(fd),
                Happened::HandshakeFailed => self.handshakes_failed += 1,
            }
        }
    }

    fn accept(&mut self, fd: RawFd, side: fn(&mut Guard) -> &mut Connections) {
        let Ok(place) = usize::try_from(fd) else { return };
        self.connections_made += 1;
        let address = if self.is_ours(fd) { tcp::peer_address(fd) } else { None };
        let connection = Connection {
            number: self.connections_made,
            address,
            peer: None,
            read: 0,
            read_before: 0,
            waiting_since: None,
            sent: 0,
            acknowledged: 0,
            clear: (self.published, 0),
        };
        // An earlier connection in this place is gone: libzmq says nothing when another one takes over its routing id.
        side(self).insert(place, connection);
        if address.is_none() {
            return;
        }
        tcp::expect_progress(fd);
        if self.connections() > self.connections_max {
            self.cut(fd, side, Offence::Surplus);
        }
    }

    /// Whether a descriptor is a TCP connection to one of the bound ports.
    fn is_ours(&self, fd: RawFd) -> bool {
        tcp::local_port(fd).is_some_and(|port| self.ports.contains(&port))
    }

    /// Counts a message of a peer. `fd` asks libzmq for the connection by which it came.
    pub(super) fn has_read(
        &mut self,
        sockets: &Sockets,
        (peer, link): (Option<PeerId>, &mut Link),
        size: Size,
        fd: impl FnOnce() -> Option<RawFd>,
    ) {
        let bytes = size.bytes + size.frames * FRAME_OVERHEAD_MAX;
        link.messages += 1;
        link.bytes = link.bytes.saturating_add(bytes);
        let stale = link.messages > LINK_MESSAGES_MAX || link.bytes > LINK_BYTES_MAX;
        if let Some(connection) = self.work.linked(link).filter(|_| !stale) {
            connection.read += bytes as u64;
            return;
        }
        *link = Link::default();
        let Some(fd) = fd() else { return };
        if self.work.at(fd).is_none() {
            self.hear(sockets);
        }
        let Some(connection) = self.work.at(fd) else { return };
        *link = Link { fd, number: connection.number, messages: 0, bytes: 0 };
        connection.peer = peer;
        connection.read += bytes as u64;
    }

    /// Counts a message that libzmq has taken for a peer.
    pub(super) fn has_sent(&mut self, link: &Link, size: Size) {
        if let Some(connection) = self.work.linked(link) {
            connection.sent += (size.bytes + size.frames * FRAME_OVERHEAD_MIN) as u64;
        }
    }

    /// Counts a message to all subscribers.
    pub(super) fn has_published(&mut self, size: Size) {
        self.published += (size.bytes + size.frames * FRAME_OVERHEAD_MIN) as u64;
    }

    /// Whether more waits for a peer than may. Its connection is cut then.
    pub(super) fn is_clogged(&mut self, link: &Link) -> bool {
        let most = self.peer_bytes_max;
        let Some(connection) = self.work.linked(link) else { return false };
        if connection.sent.saturating_sub(connection.acknowledged) <= most {
            return false;
        }
        let Ok(traffic) = tcp::traffic(link.fd) else { return false };
        connection.take_acknowledged(traffic);
        let clogged = connection.sent - connection.acknowledged > most;
        clogged && self.cut(link.fd, |guard| &mut guard.work, Offence::Unacknowledged)
    }

    /// Looks at all connections when it is time to, and cuts those that are beyond a bound. The peers at their ends.
    pub(super) fn sweep(&mut self) -> Vec<PeerId> {
        let now = Instant::now();
        if self.next_sweep.is_none_or(|next| now < next) {
            return Vec::new();
        }
        let connections = u32::try_from(self.connections()).unwrap_or(u32::MAX);
        let pause = SWEEP_TIME_PER_CONNECTION.saturating_mul(connections).clamp(SWEEP_TIME_MIN, SWEEP_TIME_MAX);
        self.next_sweep = (connections > 0).then(|| now + pause);

        let (most, published) = (self.peer_bytes_max, self.published);
        let offenders = self.work.offenders(|connection, traffic| connection.judge_peer(traffic, most, now));
        let swelling = self.swelling(&offenders).map(|fd| (fd, Offence::Swelling));
        let mut cut = Vec::new();
        for (fd, offence) in offenders.into_iter().chain(swelling) {
            let peer = self.work.at(fd).and_then(|connection| connection.peer);
            if self.cut(fd, |guard| &mut guard.work, offence) {
                cut.extend(peer);
            }
        }
        let judge = |connection: &mut Connection, traffic| connection.judge_subscriber(traffic, published, most);
        for (fd, offence) in self.events.offenders(judge) {
            self.cut(fd, |guard| &mut guard.events, offence);
        }
        cut
    }

    /// The connection that has been in one message the longest, when memory has grown by the bound meanwhile: frames of few
    /// bytes take up to 33 times their size, and nothing else tells how many they are.
    fn swelling(&mut self, offenders: &[(RawFd, Offence)]) -> Option<RawFd> {
        let longest = self.work.longest_waiting().filter(|fd| offenders.iter().all(|(offender, _)| offender != fd));
        let now = if longest.is_some() { memory::resident() } else { None };
        let (Some(now), before) = (now, self.memory_before) else {
            self.memory_before = None;
            return None;
        };
        let before = *self.memory_before.insert(before.unwrap_or(now));
        if now.saturating_sub(before) <= self.peer_bytes_max {
            return None;
        }
        // What is freed may stay with the process: only what comes on top counts against the next one.
        self.memory_before = None;
        longest
    }

    /// Cuts a connection, unless its descriptor is another's by now.
    fn cut(&mut self, fd: RawFd, side: fn(&mut Guard) -> &mut Connections, offence: Offence) -> bool {
        let ours = self.is_ours(fd);
        let connections = side(self);
        let peer = connections.at(fd).and_then(|connection| connection.peer);
        connections.remove(fd);
        if !ours {
            return false;
        }
        let address = tcp::peer_address(fd).map(|address| address.to_string());
        tcp::cut(fd);
        self.cut += 1;
        if let Some(left_out) = self.log.admit(Instant::now()) {
            let (peer, address) = (peer.map(|peer| peer.0), address.as_deref());
            tracing::warn!(peer, address, left_out, "cut a connection: {}", offence.as_str());
        }
        true
    }
}

impl Connection {
    fn take_acknowledged(&mut self, traffic: tcp::Traffic) {
        self.acknowledged = traffic.acknowledged;
        // libzmq's own, such as the handshake, is acknowledged too: what is counted here starts anew with each calm.
        self.sent = self.sent.max(self.acknowledged);
    }

    fn judge_peer(&mut self, traffic: tcp::Traffic, most: u64, now: Instant) -> Option<Offence> {
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
    fn judge_subscriber(&mut self, traffic: tcp::Traffic, published: u64, most: u64) -> Option<Offence> {
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
    fn insert(&mut self, place: usize, connection: Connection) {
        if place >= self.places.len() {
            self.places.resize_with(place + 1, || None);
        }
        if self.places[place].replace(connection).is_none() {
            self.count += 1;
        }
    }

    fn remove(&mut self, fd: RawFd) {
        let place = usize::try_from(fd).ok().and_then(|place| self.places.get_mut(place));
        if place.is_some_and(|place| place.take().is_some()) {
            self.count -= 1;
        }
    }

    fn at(&mut self, fd: RawFd) -> Option<&mut Connection> {
        self.places.get_mut(usize::try_from(fd).ok()?)?.as_mut()
    }

    fn longest_waiting(&self) -> Option<RawFd> {
        let waiting = (0..).zip(&self.places).filter_map(|(fd, place)| Some((place.as_ref()?.waiting_since?, fd)));
        waiting.min().map(|(_, fd)| fd)
    }

    fn linked(&mut self, link: &Link) -> Option<&mut Connection> {
        self.at(link.fd).filter(|connection| connection.number == link.number)
    }

    /// Asks the kernel about each connection. Those that are gone without a word are removed.
    fn offenders(
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

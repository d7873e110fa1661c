//! Holds each connection to a number of bytes. libzmq counts messages, and hands none over before its last frame is there:
//! a message that never ends, a backlog, or replies that nobody reads would grow unseen. The kernel knows the bytes that
//! came and went; what the gateway has not read or the peer has not acknowledged of them is with libzmq.

use std::iter::Sum;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use nix::poll::PollTimeout;
use tasker_engine::PeerId;

use super::connections::{Connection, Connections, Offence};
use super::log_limit::LogLimit;
use super::memory;
use super::monitor::{Happened, Monitor};
use super::sockets::Sockets;
use super::stir::Stir;
use super::tcp;

/// The shortest time between two looks at all connections while bytes move: what a peer may send beyond its bound unseen.
const SWEEP_TIME_MIN: Duration = Duration::from_millis(50);
/// The longest.
const SWEEP_TIME_MAX: Duration = Duration::from_millis(500);
/// Time between looks for each connection. A look costs about a microsecond, so this is one percent of a core.
const SWEEP_TIME_PER_CONNECTION: Duration = Duration::from_micros(100);
/// Time between looks while nothing moves. Whatever a peer does begins with bytes, and those end the calm; this is for
/// connections that have gone without a word.
const CALM_TIME: Duration = Duration::from_secs(2);
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
    /// What arrives.
    stir: Stir,
    /// Something has arrived or was sent since the look before, or has stopped half way.
    is_stirred: bool,
    /// The process's memory when a message was first found incomplete.
    memory_before: Option<u64>,
    pub(super) cut: u64,
    pub(super) handshakes_failed: u64,
    log: LogLimit,
}

/// Which connection a peer's messages come by, as of the last look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    pub(super) fd: RawFd,
    /// Zero for none.
    pub(super) number: u64,
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

impl Sum for Size {
    fn sum<I: Iterator<Item = Size>>(sizes: I) -> Size {
        sizes
            .fold(Size::default(), |all, size| Size { frames: all.frames + size.frames, bytes: all.bytes + size.bytes })
    }
}

impl Guard {
    pub(super) fn new(sockets: &Sockets, stir: Stir, peer_bytes_max: u64, connections_max: usize) -> Guard {
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
            stir,
            is_stirred: false,
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
    pub(super) fn sleep_max(&self) -> PollTimeout {
        let Some(next) = self.next_sweep else { return PollTimeout::NONE };
        let rest = next.saturating_duration_since(Instant::now());
        // Rounded up, so that it is time then.
        PollTimeout::try_from(rest.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX)
    }

    /// When the connections are looked at next.
    pub(super) fn next_sweep(&self) -> Option<Instant> {
        self.next_sweep
    }

    /// Whether nothing moves.
    pub(super) fn is_calm(&self) -> bool {
        !self.is_stirred
    }

    /// What ends the calm.
    pub(super) fn stir_fd(&self) -> BorrowedFd<'_> {
        self.stir.as_fd()
    }

    /// Ends the calm: bytes move. Looks follow each other closely until none do.
    pub(super) fn stir(&mut self) {
        if self.is_stirred {
            return;
        }
        self.is_stirred = true;
        self.stir.take(self.connections());
        self.next_sweep = (self.connections() > 0).then(|| Instant::now() + self.pause());
    }

    /// Time to the next look while bytes move.
    fn pause(&self) -> Duration {
        let connections = u32::try_from(self.connections()).unwrap_or(u32::MAX);
        SWEEP_TIME_PER_CONNECTION.saturating_mul(connections).clamp(SWEEP_TIME_MIN, SWEEP_TIME_MAX)
    }

    /// Takes what libzmq tells of connections.
    pub(super) fn hear(&mut self, sockets: &Sockets) {
        self.hear_of(&sockets.work_monitor, |guard| &mut guard.work);
        self.hear_of(&sockets.events_monitor, |guard| &mut guard.events);
        match self.connections() {
            0 => self.next_sweep = None,
            _ if self.next_sweep.is_none() => self.next_sweep = Some(Instant::now() + self.pause()),
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
        self.stir.watch(fd);
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
        self.stir();
        if let Some(connection) = self.work.linked(link) {
            connection.sent += (size.bytes + size.frames * FRAME_OVERHEAD_MIN) as u64;
        }
    }

    /// Counts a message to all subscribers.
    pub(super) fn has_published(&mut self, size: Size) {
        self.stir();
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
        // Before the look, so that what arrives during it is looked at by the next one.
        let mut is_stirred = self.stir.take(self.connections());
        let (most, published) = (self.peer_bytes_max, self.published);
        let offenders = self.work.offenders(|connection, traffic| {
            let offence = connection.judge_peer(traffic, most, now);
            is_stirred |= traffic.unsent > 0 || !connection.is_quiet();
            offence
        });
        let swelling = self.swelling(&offenders).map(|fd| (fd, Offence::Swelling));
        let mut cut = Vec::new();
        for (fd, offence) in offenders.into_iter().chain(swelling) {
            let peer = self.work.at(fd).and_then(|connection| connection.peer);
            if self.cut(fd, |guard| &mut guard.work, offence) {
                cut.extend(peer);
            }
        }
        let silent = self.events.offenders(|connection, traffic| {
            is_stirred |= traffic.unsent > 0;
            connection.judge_subscriber(traffic, published, most)
        });
        for (fd, offence) in silent {
            self.cut(fd, |guard| &mut guard.events, offence);
        }
        self.is_stirred = is_stirred;
        let pause = if self.is_stirred { self.pause() } else { CALM_TIME };
        self.next_sweep = (self.connections() > 0).then(|| now + pause);
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

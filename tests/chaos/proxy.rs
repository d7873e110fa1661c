//! A TCP proxy that cuts, holds and delays: the network between two processes of a round.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use nix::sys::socket::{Shutdown, shutdown};

/// How the writer of a broker introduces itself to Postgres.
const WRITER: &[u8] = b"tasker writer";

/// Where connections are passed on to.
#[derive(Clone, Debug)]
pub enum Upstream {
    Port(u16),
    Socket(PathBuf),
}

/// A direction, seen from whoever connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    There,
    Back,
}

#[derive(Debug, Default)]
struct Rules {
    /// Nothing gets through; it arrives later, as lost packets do.
    held: [bool; 2],
    delay: Duration,
    /// Commits of a broker whose answer is cut off, from now on.
    answers_to_cut: u32,
    /// Requests of a broker's writer that are cut off before they arrive.
    requests_to_cut: u32,
    ended: bool,
}

pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: Upstream,
    rules: Mutex<Rules>,
    changed: Condvar,
    links: Mutex<Vec<Arc<Link>>>,
}

/// A connection, with both its ends.
struct Link {
    ends: [File; 2],
    is_writer: AtomicBool,
    is_cut: AtomicBool,
    /// Nothing gets through any more, and nobody is told.
    is_stranded: AtomicBool,
}

impl Proxy {
    /// Listens on a free port.
    pub fn start(upstream: Upstream) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
        let port = listener.local_addr().expect("it is bound").port();
        let (rules, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { upstream, rules, changed, links: Mutex::default() });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.rules().ended {
                    return;
                }
                Shared::accept(&accepting, client);
            }
        });
        Proxy { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// For ZeroMQ.
    pub fn endpoint(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// Cuts every connection; new ones are let through.
    pub fn cut(&self) {
        let links = std::mem::take(&mut *self.shared.links.lock().expect("nobody panics with it"));
        links.iter().for_each(|link| link.cut());
        self.shared.changed.notify_all();
    }

    /// Nothing gets through the connections of now any more, and neither end is told; new ones are let through. A
    /// firewall that has forgotten them does that.
    pub fn strand(&self) {
        let links = self.shared.links.lock().expect("nobody panics with it");
        links.iter().for_each(|link| link.is_stranded.store(true, Ordering::Relaxed));
    }

    /// Holds back what goes this way, or lets it go on.
    pub fn hold(&self, way: Way, held: bool) {
        self.change(|rules| rules.held[way as usize] = held);
    }

    /// Every piece takes so much longer.
    pub fn delay(&self, delay: Duration) {
        self.change(|rules| rules.delay = delay);
    }

    /// The next commits of a broker happen, and their answer is lost with the connection.
    pub fn cut_answers(&self, count: u32) {
        self.change(|rules| rules.answers_to_cut = count);
    }

    /// The next requests of a broker's writer are lost with the connection.
    pub fn cut_requests(&self, count: u32) {
        self.change(|rules| rules.requests_to_cut = count);
    }

    /// Nothing is held or delayed any more.
    pub fn let_through(&self) {
        self.change(|rules| {
            rules.held = [false; 2];
            rules.delay = Duration::ZERO;
        });
    }

    /// Whether all that was to be cut has been.
    pub fn has_cut(&self) -> bool {
        let rules = self.shared.rules();
        rules.answers_to_cut + rules.requests_to_cut == 0
    }

    /// As it was at first.
    pub fn heal(&self) {
        self.change(|rules| *rules = Rules::default());
    }

    fn change(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.shared.rules());
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.change(|rules| rules.ended = true);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        self.cut();
    }
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().expect("nobody panics with it")
    }

    fn accept(shared: &Arc<Shared>, client: TcpStream) {
        let server = match &shared.upstream {
            Upstream::Port(port) => TcpStream::connect(("127.0.0.1", *port)).map(|server| {
                server.set_nodelay(true).expect("it is connected");
                OwnedFd::from(server)
            }),
            Upstream::Socket(path) => UnixStream::connect(path).map(OwnedFd::from),
        };
        // Nobody listens there: the client sees its connection end.
        let Ok(server) = server else { return };
        client.set_nodelay(true).expect("it is connected");
        let ends = [File::from(OwnedFd::from(client)), File::from(server)];
        let [is_writer, is_cut, is_stranded] = [const { AtomicBool::new(false) }; 3];
        let link = Arc::new(Link { ends, is_writer, is_cut, is_stranded });
        let mut links = shared.links.lock().expect("nobody panics with it");
        links.retain(|link| !link.is_cut.load(Ordering::Relaxed));
        links.push(link.clone());
        drop(links);
        for way in [Way::There, Way::Back] {
            let (shared, link) = (shared.clone(), link.clone());
            std::thread::spawn(move || shared.pump(&link, way));
        }
    }

    fn pump(&self, link: &Link, way: Way) {
        let (from, to) = match way {
            Way::There => (&link.ends[0], &link.ends[1]),
            Way::Back => (&link.ends[1], &link.ends[0]),
        };
        let mut buffer = vec![0; 65_536];
        while let Ok(length @ 1..) = ({ from }).read(&mut buffer) {
            let piece = &buffer[..length];
            if !self.admits(link, way, piece) || ({ to }).write_all(piece).is_err() {
                break;
            }
        }
        link.cut();
    }

    /// Waits until the piece may go on; `false` when the connection is to be cut instead.
    fn admits(&self, link: &Link, way: Way, piece: &[u8]) -> bool {
        if way == Way::There && contains(piece, WRITER) {
            link.is_writer.store(true, Ordering::Relaxed);
        }
        let is_writer = link.is_writer.load(Ordering::Relaxed);
        let mut rules = self.rules();
        if is_writer && way == Way::Back && rules.answers_to_cut > 0 && tells_of_a_commit(piece) {
            rules.answers_to_cut -= 1;
            return false;
        }
        if is_writer && way == Way::There && rules.requests_to_cut > 0 && piece[0] == b'B' {
            rules.requests_to_cut -= 1;
            return false;
        }
        let delay = rules.delay;
        let is_held = |rules: &mut Rules| {
            let held = rules.held[way as usize] || link.is_stranded.load(Ordering::Relaxed);
            held && !link.is_cut.load(Ordering::Relaxed)
        };
        drop(self.changed.wait_while(rules, is_held).expect("nobody panics with it"));
        // What a slow network does is the point of it.
        std::thread::sleep(delay);
        true
    }
}

impl Link {
    fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
        for end in &self.ends {
            let _ = shutdown(end.as_raw_fd(), Shutdown::Both);
        }
    }
}

/// The tags of a group that was written in one statement, and of one with templates.
fn tells_of_a_commit(piece: &[u8]) -> bool {
    contains(piece, b"SELECT 1\0") || contains(piece, b"COMMIT\0")
}

fn contains(piece: &[u8], part: &[u8]) -> bool {
    piece.windows(part.len()).any(|window| window == part)
}

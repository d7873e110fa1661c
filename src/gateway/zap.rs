//! Who may connect. libzmq asks for every connection, before it hands on any message of it (ZAP, ZeroMQ RFC 27); one
//! small thread answers by the list of peers. What a connected peer may do is decided elsewhere (`roles`).

use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use nix::sys::eventfd::{EfdFlags, EventFd};
use zmq::{Context, DONTWAIT, PollItem, Socket};

use super::log_limit::LogLimit;
use super::{Error, Security};
use crate::security::{Access, PublicKey, Role};

/// Where libzmq asks.
const ENDPOINT: &str = "inproc://zeromq.zap.01";
/// The version of what it asks.
const VERSION: &[u8] = b"1.0";
/// Nobody listed comes in with another mechanism.
const MECHANISM: &[u8] = b"CURVE";
/// `ZMQ_ZAP_ENFORCE_DOMAIN`: without an answer nobody gets in. By default libzmq would let everybody in.
const ZAP_ENFORCE_DOMAIN: c_int = 93;

unsafe extern "C" {
    /// libzmq's, for the option that the crate `zmq` does not know. Returns 0, or -1 for an option or value that is none.
    fn zmq_setsockopt(socket: *mut c_void, option: c_int, value: *const c_void, bytes: usize) -> c_int;
}

/// The two kinds of endpoints: not everybody who may subscribe may command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Domain {
    Work,
    Events,
}

impl Domain {
    const fn as_str(self) -> &'static str {
        match self {
            Domain::Work => "work",
            Domain::Events => "events",
        }
    }
}

/// Demands keys of everybody who connects to a socket that is not bound yet, whatever the transport.
pub(super) fn demand_keys(socket: &mut Socket, security: &Security, domain: Domain) -> Result<(), zmq::Error> {
    socket.set_curve_server(true)?;
    socket.set_curve_secretkey(security.key.reveal())?;
    socket.set_zap_domain(domain.as_str())?;
    let on: c_int = 1;
    // SAFETY: the socket is open, and the option is an int.
    let set = unsafe {
        let value = (&raw const on).cast::<c_void>();
        zmq_setsockopt(socket.as_mut_ptr(), ZAP_ENFORCE_DOMAIN, value, size_of::<c_int>())
    };
    if set == 0 { Ok(()) } else { Err(zmq::Error::EINVAL) }
}

/// The thread that answers. It must be there before the first bind and until the sockets are closed; dropping it ends it.
pub(super) struct Zap {
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Zap {
    pub(super) fn start(context: &Context, access: Access) -> Result<Zap, Error> {
        let socket = context.socket(zmq::REP).map_err(Error::Socket)?;
        socket.set_linger(0).map_err(Error::Socket)?;
        socket.bind(ENDPOINT).map_err(Error::Socket)?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let stop = Arc::new(EventFd::from_flags(flags).map_err(|error| Error::Thread(error.into()))?);
        let handler = Handler { access, refusals: LogLimit::default() };
        let stopped = stop.clone();
        let builder = std::thread::Builder::new().name("zap".to_owned());
        let thread = builder.spawn(move || handler.run(&socket, &stopped)).map_err(Error::Thread)?;
        Ok(Zap { stop, thread: Some(thread) })
    }
}

impl Drop for Zap {
    fn drop(&mut self) {
        // Fails only when the counter is at its end, and then the thread has been told already.
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that admits connections has ended by a panic");
        }
    }
}

struct Handler {
    access: Access,
    refusals: LogLimit,
}

/// What libzmq is told: a peer's key, to be kept with each of its messages, or why it is refused.
type Verdict = Result<PublicKey, &'static str>;

impl Handler {
    fn run(mut self, socket: &Socket, stop: &EventFd) {
        loop {
            let mut items =
                [PollItem::from_fd(stop.as_fd().as_raw_fd(), zmq::POLLIN), socket.as_poll_item(zmq::POLLIN)];
            // An error is an interrupted system call: the round that follows finds nothing and comes back.
            let _ = zmq::poll(&mut items, -1);
            if items[0].is_readable() {
                return;
            }
            let answered = match socket.recv_multipart(DONTWAIT) {
                Ok(request) => socket.send_multipart(self.answer(&request), DONTWAIT),
                Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = answered {
                tracing::error!(%error, "failed to admit a connection");
            }
        }
    }

    /// The answer to a request: version, request id, status code, status text, user id, metadata.
    fn answer(&mut self, request: &[Vec<u8>]) -> [Vec<u8>; 6] {
        let id = request.get(1).cloned().unwrap_or_default();
        let (status, text, user) = match self.judge(request) {
            Ok(key) => ("200", "OK", key.to_string()),
            Err(problem) => ("400", problem, String::new()),
        };
        [VERSION.into(), id, status.into(), text.into(), user.into_bytes(), Vec::new()]
    }

    fn judge(&mut self, request: &[Vec<u8>]) -> Verdict {
        let frames: Vec<&[u8]> = request.iter().map(Vec::as_slice).collect();
        let [VERSION, _, domain, address, _, MECHANISM, credentials] = frames[..] else {
            return Err("not a CURVE handshake");
        };
        let Some(key) = PublicKey::from_bytes(credentials) else { return Err("not a key") };
        let peer = self.access.peer(&key);
        let problem = match &peer {
            None => "the key is not listed",
            Some(peer) if peer.role == Role::Subscriber && domain != Domain::Events.as_str().as_bytes() => {
                "a subscriber may hear events only"
            }
            Some(_) => return Ok(key),
        };
        if let Some(left_out) = self.refusals.admit(Instant::now()) {
            let name = peer.as_ref().map_or("", |peer| &peer.name);
            let (endpoint, address) = (String::from_utf8_lossy(domain), String::from_utf8_lossy(address));
            tracing::warn!(public_key = %key, name, %endpoint, %address, left_out, "refused a connection: {problem}");
        }
        Err(problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::{KeyPair, Peer};

    fn peer(role: Role) -> Peer {
        let public_key = KeyPair::generate().public;
        Peer { name: role.to_string(), public_key, role, namespaces: Vec::new() }
    }

    #[test]
    fn only_listed_keys_get_in_and_subscribers_only_where_events_are() {
        let (worker, subscriber, stranger) = (peer(Role::Worker), peer(Role::Subscriber), peer(Role::Operator));
        let access = Access::new(&[worker.clone(), subscriber.clone()]);
        let mut handler = Handler { access: access.clone(), refusals: LogLimit::default() };
        let mut ask = |mechanism: &str, domain: Domain, credentials: &[u8]| {
            let request: [&[u8]; 7] =
                [b"1.0", b"7", domain.as_str().as_bytes(), b"10.0.0.1", b"", mechanism.as_bytes(), credentials];
            let answer = handler.answer(&request.map(<[u8]>::to_vec));
            let text = |frame: &[u8]| String::from_utf8(frame.to_vec()).expect("text");
            assert_eq!((text(&answer[0]), text(&answer[1])), ("1.0".to_owned(), "7".to_owned()));
            (text(&answer[2]), text(&answer[4]))
        };
        let yes = |peer: &Peer| ("200".to_owned(), peer.public_key.to_string());
        let no = ("400".to_owned(), String::new());
        for domain in [Domain::Work, Domain::Events] {
            assert_eq!(ask("CURVE", domain, worker.public_key.bytes()), yes(&worker));
            assert_eq!(ask("CURVE", domain, stranger.public_key.bytes()), no);
            assert_eq!(ask("NULL", domain, worker.public_key.bytes()), no);
            assert_eq!(ask("CURVE", domain, b"short"), no);
        }
        assert_eq!(ask("CURVE", Domain::Events, subscriber.public_key.bytes()), yes(&subscriber));
        assert_eq!(ask("CURVE", Domain::Work, subscriber.public_key.bytes()), no);
        access.replace(std::slice::from_ref(&stranger));
        assert_eq!(ask("CURVE", Domain::Work, stranger.public_key.bytes()), yes(&stranger));
        assert_eq!(ask("CURVE", Domain::Work, worker.public_key.bytes()), no);
    }
}

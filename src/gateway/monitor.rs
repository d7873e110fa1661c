//! What libzmq tells of the connections of a socket: accepted, gone, turned away. The events arrive some time after what
//! they tell of, but those of one socket in order.

use std::os::fd::RawFd;

use zmq::{Context, Socket, SocketEvent, SocketType};

use super::Error;
use super::attentive::Attentive;

/// Events that may wait to be read. A thread of libzmq waits beyond, and accepts nobody meanwhile.
const EVENTS_WAITING_MAX: i32 = 100_000;

/// What has happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happened {
    Accepted(RawFd),
    Disconnected(RawFd),
    /// The peer was too slow, spoke another protocol, or may not enter. `Disconnected` follows.
    HandshakeFailed,
}

/// The receiving end of a socket's events. It must outlive [`quiet`], or libzmq's thread waits for ever to tell them.
pub(super) struct Monitor {
    socket: Attentive,
}

impl Monitor {
    /// Listens from now on; to be called before the socket is bound.
    pub(super) fn watch(context: &Context, watched: &Socket, name: &str) -> Result<Monitor, Error> {
        let endpoint = format!("inproc://{name}");
        let connect = || {
            let events = [
                SocketEvent::ACCEPTED,
                SocketEvent::DISCONNECTED,
                SocketEvent::HANDSHAKE_FAILED_NO_DETAIL,
                SocketEvent::HANDSHAKE_FAILED_PROTOCOL,
                SocketEvent::HANDSHAKE_FAILED_AUTH,
            ];
            watched.monitor(&endpoint, events.into_iter().map(|event| i32::from(event.to_raw())).sum())?;
            let socket = context.socket(SocketType::PAIR)?;
            socket.set_rcvhwm(EVENTS_WAITING_MAX)?;
            socket.connect(&endpoint)?;
            Attentive::new(socket)
        };
        connect().map(|socket| Monitor { socket }).map_err(Error::Socket)
    }

    /// To be waited for.
    pub(super) fn socket(&self) -> &Attentive {
        &self.socket
    }

    /// The next event, when there is one.
    pub(super) fn next(&self) -> Option<Happened> {
        let (mut frame, mut address) = (zmq::Message::new(), zmq::Message::new());
        loop {
            if !self.socket.receive(&mut frame) || !self.socket.receive(&mut address) {
                return None;
            }
            if let Some(happened) = read(&frame) {
                return Some(happened);
            }
        }
    }
}

/// Ends the telling: a monitor that is told nothing takes the place of the one before.
pub(super) fn quiet(watched: &Socket, name: &str) {
    if let Err(error) = watched.monitor(&format!("inproc://{name}-quiet"), 0) {
        tracing::warn!(%error, "failed to end the watch over a socket");
    }
}

/// An event has 16 bits, its value 32: the descriptor of a connection, or an error.
fn read(frame: &[u8]) -> Option<Happened> {
    let &[e0, e1, v0, v1, v2, v3] = frame else { return None };
    let value = i32::from_ne_bytes([v0, v1, v2, v3]);
    match SocketEvent::from_raw(u16::from_ne_bytes([e0, e1])) {
        SocketEvent::ACCEPTED => Some(Happened::Accepted(value)),
        SocketEvent::DISCONNECTED => Some(Happened::Disconnected(value)),
        SocketEvent::HANDSHAKE_FAILED_NO_DETAIL
        | SocketEvent::HANDSHAKE_FAILED_PROTOCOL
        | SocketEvent::HANDSHAKE_FAILED_AUTH => Some(Happened::HandshakeFailed),
        _ => None,
    }
}

//! Whether a socket is connected now, and why it cannot be. (`ZMQ_IMMEDIATE` would tell by the socket being writable; but
//! with it a reply that has arrived is lost when the broker goes away before it is read.)

use std::time::Instant;

use uuid::Uuid;
use zmq::SocketEvent;

use super::{Error, poll};

const CONNECTED: u16 = SocketEvent::HANDSHAKE_SUCCEEDED as u16;
const DISCONNECTED: u16 = SocketEvent::DISCONNECTED as u16;
const KEY_REFUSED: u16 = SocketEvent::HANDSHAKE_FAILED_AUTH as u16;
const BROKEN_OFF: u16 = SocketEvent::HANDSHAKE_FAILED_NO_DETAIL as u16;
const MISUNDERSTOOD: u16 = SocketEvent::HANDSHAKE_FAILED_PROTOCOL as u16;

/// `ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH`: one side wants CURVE, and the other does not.
const MECHANISM_MISMATCH: u32 = 0x1100_0002;

/// The state of a socket's one connection.
pub(super) struct Link {
    monitor: zmq::Socket,
    endpoint: String,
    has_keys: bool,
    connected: bool,
    /// A handshake was broken off; libzmq goes on trying.
    broken_off: bool,
    refusal: Option<Refusal>,
}

/// Why there will be no connection: after either of them libzmq does not try again.
#[derive(Clone, Copy)]
enum Refusal {
    Key,
    Mechanism,
}

impl Link {
    /// Watches a socket that does not connect yet. The socket must be closed before the link.
    pub(super) fn watch(
        context: &zmq::Context,
        socket: &zmq::Socket,
        endpoint: &str,
        has_keys: bool,
    ) -> Result<Link, Error> {
        let address = format!("inproc://link-{}", Uuid::new_v4());
        let events = CONNECTED | DISCONNECTED | KEY_REFUSED | BROKEN_OFF | MISUNDERSTOOD;
        socket.monitor(&address, i32::from(events))?;
        let monitor = context.socket(zmq::PAIR)?;
        monitor.set_linger(0)?;
        monitor.connect(&address)?;
        let endpoint = endpoint.to_owned();
        Ok(Link { monitor, endpoint, has_keys, connected: false, broken_off: false, refusal: None })
    }

    /// Can be read when something has happened to the connection.
    pub(super) fn monitor(&self) -> &zmq::Socket {
        &self.monitor
    }

    /// Whether the last handshake was broken off by the other side.
    pub(super) fn broken_off(&self) -> bool {
        self.broken_off
    }

    /// Waits for a connection; whether there is one before the deadline. That there can be none is an error.
    pub(super) fn await_connection(&mut self, deadline: Instant) -> Result<bool, Error> {
        self.catch_up()?;
        while !self.connected {
            if !poll(&[(&self.monitor, zmq::POLLIN)], deadline)? {
                return Ok(false);
            }
            self.catch_up()?;
        }
        Ok(true)
    }

    /// Takes what has happened since. An event is two frames; the first holds its number and a value.
    pub(super) fn catch_up(&mut self) -> Result<(), Error> {
        loop {
            match self.monitor.recv_multipart(zmq::DONTWAIT) {
                Err(zmq::Error::EAGAIN) => break,
                Err(zmq::Error::EINTR) => {}
                frames => {
                    if let Some(&[low, high, a, b, c, d]) = frames?.first().map(Vec::as_slice) {
                        self.note(u16::from_ne_bytes([low, high]), u32::from_ne_bytes([a, b, c, d]));
                    }
                }
            }
        }
        let endpoint = self.endpoint.clone();
        match self.refusal {
            None => Ok(()),
            Some(Refusal::Key) => Err(Error::KeyRefused { endpoint }),
            Some(Refusal::Mechanism) if self.has_keys => Err(Error::NoKeysThere { endpoint }),
            Some(Refusal::Mechanism) => Err(Error::KeyNeeded { endpoint }),
        }
    }

    fn note(&mut self, event: u16, value: u32) {
        match event {
            CONNECTED => (self.connected, self.broken_off) = (true, false),
            DISCONNECTED => self.connected = false,
            KEY_REFUSED => self.refusal = Some(Refusal::Key),
            MISUNDERSTOOD if value == MECHANISM_MISMATCH => self.refusal = Some(Refusal::Mechanism),
            BROKEN_OFF => self.broken_off = true,
            _ => {}
        }
    }
}

//! Whether a socket is connected now. (`ZMQ_IMMEDIATE` would tell by the socket being writable; but with it a reply
//! that has arrived is lost when the broker goes away before it is read.)

use std::time::Instant;

use uuid::Uuid;
use zmq::SocketEvent;

use super::{Error, poll};

const CONNECTED: u16 = SocketEvent::HANDSHAKE_SUCCEEDED as u16;
const DISCONNECTED: u16 = SocketEvent::DISCONNECTED as u16;

/// The state of a socket's one connection.
pub(super) struct Link {
    monitor: zmq::Socket,
    connected: bool,
}

impl Link {
    /// Watches a socket that does not connect yet. The socket must be closed before the link.
    pub(super) fn watch(context: &zmq::Context, socket: &zmq::Socket) -> Result<Link, Error> {
        let endpoint = format!("inproc://link-{}", Uuid::new_v4());
        socket.monitor(&endpoint, i32::from(CONNECTED | DISCONNECTED))?;
        let monitor = context.socket(zmq::PAIR)?;
        monitor.set_linger(0)?;
        monitor.connect(&endpoint)?;
        Ok(Link { monitor, connected: false })
    }

    /// Waits for a connection; whether there is one before the deadline.
    pub(super) fn await_connection(&mut self, deadline: Instant) -> Result<bool, Error> {
        self.catch_up()?;
        while !self.connected {
            if !poll(&self.monitor, zmq::POLLIN, deadline)? {
                return Ok(false);
            }
            self.catch_up()?;
        }
        Ok(true)
    }

    /// Takes what has happened since. An event is two frames; the first holds its number and a value.
    fn catch_up(&mut self) -> Result<(), Error> {
        loop {
            match self.monitor.recv_multipart(zmq::DONTWAIT) {
                Err(zmq::Error::EAGAIN) => return Ok(()),
                Err(zmq::Error::EINTR) => {}
                frames => {
                    if let Some(&[low, high, ..]) = frames?.first().map(Vec::as_slice) {
                        match u16::from_ne_bytes([low, high]) {
                            CONNECTED => self.connected = true,
                            DISCONNECTED => self.connected = false,
                            _ => {}
                        }
                    }
                }
            }
        }
    }
}

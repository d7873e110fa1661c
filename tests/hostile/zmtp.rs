//! A peer on the bare wire (ZMTP 3.0, RFC 23), which sends what no library would.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tasker_core::protocol::{self, Message};

use crate::support::PATIENCE;

/// A connection to the broker.
pub struct Wire {
    stream: TcpStream,
}

/// The broker has closed the connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed;

impl Wire {
    /// Connects and says nothing.
    pub fn connect(endpoint: &str) -> Wire {
        let address = endpoint.strip_prefix("tcp://").expect("the broker listens on TCP");
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a minute fits");
        stream.set_write_timeout(Some(PATIENCE)).expect("a minute fits");
        Wire { stream }
    }

    /// Connects and completes the handshake as a socket of this type.
    pub fn greet(endpoint: &str, socket_type: &str) -> Result<Wire, Closed> {
        let mut wire = Wire::connect(endpoint);
        wire.send(&greeting())?;
        wire.receive(64)?;
        wire.send(&ready(socket_type))?;
        let header = wire.receive(2)?;
        wire.receive(header[1].into())?;
        Ok(wire)
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Closed> {
        self.stream.write_all(bytes).map_err(|error| closed(error.kind()))
    }

    pub fn receive(&mut self, length: usize) -> Result<Vec<u8>, Closed> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).map_err(|error| closed(error.kind()))?;
        Ok(bytes)
    }

    pub fn send_message(&mut self, message: impl Into<Message>) -> Result<(), Closed> {
        let (header, body) = protocol::encode(&message.into());
        self.send(&[frame(true, &header), frame(false, &body)].concat())
    }

    /// Reads on until the broker closes the connection.
    pub fn wait_for_end(&mut self) {
        let mut bytes = [0; 4096];
        while !matches!(self.stream.read(&mut bytes).map_err(|error| closed(error.kind())), Ok(0) | Err(Closed)) {}
    }

    /// Sends the bytes one by one, each when the broker has been silent for a while. How many it took until it closed.
    pub fn trickle(&mut self, bytes: &[u8], pause: Duration) -> usize {
        self.stream.set_read_timeout(Some(pause)).expect("it fits");
        for (sent, byte) in bytes.iter().enumerate() {
            if self.send(&[*byte]).is_err() {
                return sent;
            }
            let mut heard = [0; 64];
            match self.stream.read(&mut heard) {
                Ok(0) => return sent,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => {
                    closed(error.kind());
                    return sent;
                }
            }
        }
        bytes.len()
    }
}

fn closed(kind: ErrorKind) -> Closed {
    match kind {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => Closed,
        other => panic!("the broker neither takes nor closes: {other}"),
    }
}

/// Signature, version 3.0, mechanism NULL, no server, filler.
pub fn greeting() -> [u8; 64] {
    let mut greeting = [0; 64];
    (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
    greeting[12..16].copy_from_slice(b"NULL");
    greeting
}

/// The command that ends a handshake.
pub fn ready(socket_type: &str) -> Vec<u8> {
    let mut body = b"\x05READY\x0bSocket-Type".to_vec();
    body.extend((socket_type.len() as u32).to_be_bytes());
    body.extend(socket_type.bytes());
    [&[4, body.len() as u8], &body[..]].concat()
}

/// A frame of a message.
pub fn frame(more: bool, body: &[u8]) -> Vec<u8> {
    let flags = u8::from(more);
    match u8::try_from(body.len()) {
        Ok(length) => [&[flags, length], body].concat(),
        Err(_) => [&announce(more, body.len() as u64)[..], body].concat(),
    }
}

/// The beginning of a long frame.
pub fn announce(more: bool, length: u64) -> [u8; 9] {
    let mut start = [2 | u8::from(more); 9];
    start[1..].copy_from_slice(&length.to_be_bytes());
    start
}

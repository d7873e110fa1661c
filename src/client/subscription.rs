//! The broker's events, with a word where some were lost.

use std::time::Instant;

use uuid::Uuid;

use super::link::Link;
use super::{Error, connect, poll, socket};
use crate::protocol::{Event, Message, decode};
use crate::security::ClientKeys;

/// Every topic: only who hears everything can tell from the sequence that something is missing.
const PREFIXES: [&str; 2] = ["event.", "control."];

/// Events that may wait here to be read: some seconds of a busy broker.
const RECEIVE_MESSAGES_MAX: i32 = 100_000;

/// What a subscriber hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// Something happened.
    Event(Box<Event>),
    /// Events were lost, or another broker process speaks: read the state anew.
    Gap,
}

/// A subscription to all events of a broker.
pub struct Subscription {
    /// Closed before the link, which watches it.
    socket: zmq::Socket,
    link: Link,
    /// Whether a missing sequence number means a lost event.
    hears_all: bool,
    /// The broker process and the sequence number heard last.
    last: Option<(Uuid, u64)>,
    /// The event that revealed a gap, told after it.
    held: Option<Box<Event>>,
}

impl Subscription {
    /// Begins to connect to a broker that demands no keys. Events from before the connection stands are not heard.
    pub fn connect(endpoint: &str) -> Result<Subscription, Error> {
        Subscription::connect_with(endpoint, None)
    }

    /// Begins to connect, with keys if the broker demands them.
    pub fn connect_with(endpoint: &str, keys: Option<&ClientKeys>) -> Result<Subscription, Error> {
        Subscription::to(endpoint, keys, &PREFIXES)
    }

    /// Begins to connect, to hear only topics with these prefixes. What is lost of them is not told.
    pub fn to_topics(endpoint: &str, keys: Option<&ClientKeys>, prefixes: &[&str]) -> Result<Subscription, Error> {
        let subscription = Subscription::to(endpoint, keys, prefixes)?;
        Ok(Subscription { hears_all: false, ..subscription })
    }

    fn to(endpoint: &str, keys: Option<&ClientKeys>, prefixes: &[&str]) -> Result<Subscription, Error> {
        let context = zmq::Context::new();
        let socket = socket(&context, zmq::SUB, keys)?;
        socket.set_rcvhwm(RECEIVE_MESSAGES_MAX)?;
        for prefix in prefixes {
            socket.set_subscribe(prefix.as_bytes())?;
        }
        let link = Link::watch(&context, &socket, endpoint, keys.is_some())?;
        connect(&socket, endpoint)?;
        Ok(Subscription { socket, link, hears_all: true, last: None, held: None })
    }

    /// The next notice, or `None` when there is none before the deadline. That there will never be one, because the broker
    /// refused the key, is an error.
    pub fn next(&mut self, deadline: Instant) -> Result<Option<Notice>, Error> {
        if let Some(event) = self.held.take() {
            return Ok(Some(Notice::Event(event)));
        }
        loop {
            if !poll(&[(&self.socket, zmq::POLLIN), (self.link.monitor(), zmq::POLLIN)], deadline)? {
                return Ok(None);
            }
            self.link.catch_up()?;
            let frames = match self.socket.recv_multipart(zmq::DONTWAIT) {
                Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => continue,
                received => received?,
            };
            let [_topic, header, body] = frames.as_slice() else { continue };
            let (broker_id, sequence, event) = match decode(header, body) {
                Ok(Message::Event(event)) => (event.broker_id, event.sequence, Some(Box::new(event))),
                Ok(Message::Control(control)) => (control.broker_id, control.sequence, None),
                // What a later release publishes and this one does not know: counted as lost with the next one.
                _ => continue,
            };
            let gap =
                self.hears_all && self.last.is_some_and(|(broker, last)| broker != broker_id || sequence != last + 1);
            self.last = Some((broker_id, sequence));
            if gap {
                self.held = event;
                return Ok(Some(Notice::Gap));
            }
            if let Some(event) = event {
                return Ok(Some(Notice::Event(event)));
            }
        }
    }
}

//! A ROUTER, and if need be a PUB, that answers as a test tells it to.

use std::thread::JoinHandle;

use tasker_core::protocol::{Event, HEADER_BYTES, Message, decode, encode};
use uuid::Uuid;

/// The broker's side of one conversation.
pub struct Peer {
    router: zmq::Socket,
    publisher: zmq::Socket,
    identity: Vec<u8>,
}

pub struct FakeBroker {
    pub work: String,
    pub events: String,
    thread: JoinHandle<()>,
}

impl FakeBroker {
    /// Binds free ports and runs `script` on a thread of its own.
    pub fn start(script: impl FnOnce(&mut Peer) + Send + 'static) -> FakeBroker {
        let context = zmq::Context::new();
        let bind = |kind| {
            let socket = context.socket(kind).expect("socket");
            // A broken test ends by itself.
            socket.set_rcvtimeo(20_000).expect("receive time-out");
            socket.set_linger(1_000).expect("linger");
            socket.bind("tcp://127.0.0.1:*").expect("bind");
            let endpoint = socket.get_last_endpoint().expect("endpoint").expect("UTF-8");
            (socket, endpoint)
        };
        let (router, work) = bind(zmq::ROUTER);
        let (publisher, events) = bind(zmq::XPUB);
        let thread = std::thread::spawn(move || script(&mut Peer { router, publisher, identity: Vec::new() }));
        FakeBroker { work, events, thread }
    }

    /// Waits for the script's end and its assertions.
    pub fn join(self) {
        self.thread.join().expect("the script of the fake broker");
    }
}

impl Peer {
    /// The next command.
    pub fn receive(&mut self) -> Message {
        let frames = self.router.recv_multipart(0).expect("a command in time");
        let [identity, header, body] = frames.as_slice() else { panic!("{} frames", frames.len()) };
        self.identity.clone_from(identity);
        decode(header, body).expect("a valid message")
    }

    /// Answers the peer of the last command.
    pub fn send(&self, message: impl Into<Message>) {
        let (header, body) = encode(&message.into());
        self.send_frames(&[header.to_vec(), body]);
    }

    pub fn send_frames(&self, frames: &[Vec<u8>]) {
        let parts = std::iter::once(&self.identity).chain(frames);
        self.router.send_multipart(parts, 0).expect("send");
    }

    /// Waits until somebody has subscribed to all events.
    pub fn await_subscriber(&self) {
        for _ in 0..2 {
            let subscription = self.publisher.recv_bytes(0).expect("a subscription in time");
            assert!([b"\x01event.".as_slice(), b"\x01control."].contains(&subscription.as_slice()));
        }
    }

    pub fn publish(&self, broker_id: Uuid, sequence: u64, event: Event) {
        let topic = event.topic.clone();
        let event = Event { broker_id, sequence, ..event };
        let (header, body): ([u8; HEADER_BYTES], Vec<u8>) = encode(&event.into());
        self.publisher.send_multipart([topic.as_bytes(), &header, &body], 0).expect("publish");
    }
}

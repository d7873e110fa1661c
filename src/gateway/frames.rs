//! Messages as frames on a socket: sent without waiting, and read into buffers that are used again.

use std::os::fd::RawFd;

use zmq::{DONTWAIT, SNDMORE};

use super::guard::Size;
use crate::protocol::{self, ErrorCode, ErrorReply, Message};

/// Sends a message after its first frame: routing id or topic.
pub(super) fn send_frames(socket: &zmq::Socket, first: &[u8], message: &Message) -> Result<Size, zmq::Error> {
    let (header, body) = protocol::encode(message);
    let size = Size::default().with_frame(header.len()).with_frame(body.len());
    socket.send(first, SNDMORE | DONTWAIT)?;
    socket.send(&header[..], SNDMORE | DONTWAIT)?;
    socket.send(body, DONTWAIT)?;
    Ok(size)
}

/// One message as it was read. The buffers are used again for the next.
pub(super) struct Frames {
    pub(super) routing_id: zmq::Message,
    pub(super) header: zmq::Message,
    body: zmq::Message,
    surplus: zmq::Message,
    /// Frames after the routing id, as they came over the wire.
    pub(super) size: Size,
}

impl Frames {
    pub(super) fn new() -> Frames {
        let frame = zmq::Message::new;
        Frames { routing_id: frame(), header: frame(), body: frame(), surplus: frame(), size: Size::default() }
    }

    /// Reads the next message, when there is one; of frames that do not belong there, only the number is kept.
    pub(super) fn read(&mut self, router: &zmq::Socket) -> bool {
        self.size = Size::default();
        if !receive(router, &mut self.routing_id) {
            return false;
        }
        let mut more = self.routing_id.get_more();
        while more {
            let frame = match self.size.frames {
                0 => &mut self.header,
                1 => &mut self.body,
                _ => &mut self.surplus,
            };
            if !receive(router, frame) {
                break;
            }
            self.size = self.size.with_frame(frame.len());
            more = frame.get_more();
        }
        true
    }

    /// The descriptor of the connection by which it came.
    pub(super) fn fd(&mut self) -> Option<RawFd> {
        self.header.gets("__fd")?.parse().ok()
    }

    pub(super) fn message(&self) -> Result<Message, Box<ErrorReply>> {
        if self.size.frames != 2 {
            let message = format!("a message has 2 frames, header and body; this one has {}", self.size.frames);
            return Err(Box::new(ErrorReply::new(ErrorCode::MalformedMessage, message)));
        }
        protocol::decode(&self.header, &self.body).map_err(|error| error.0)
    }
}

/// Reads a frame, when there is one. The frames of a message arrive together.
pub(super) fn receive(socket: &zmq::Socket, frame: &mut zmq::Message) -> bool {
    loop {
        match socket.recv(frame, DONTWAIT) {
            Ok(()) => return true,
            Err(zmq::Error::EINTR) => {}
            Err(_) => return false,
        }
    }
}

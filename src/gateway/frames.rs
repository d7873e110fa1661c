//! Messages as frames on a socket: sent without waiting, and read into buffers that are used again.

use std::os::fd::RawFd;

use zmq::SNDMORE;

use super::attentive::Attentive;
use super::guard::Size;
use super::limits::BUNDLE_MESSAGES_MAX;
use crate::protocol::{self, ErrorCode, ErrorReply, HEADER_BYTES, Message};

/// A message as it goes over the wire: header and body.
pub(super) struct Encoded {
    header: [u8; HEADER_BYTES],
    body: Vec<u8>,
}

impl Encoded {
    pub(super) fn of(message: &Message) -> Encoded {
        let (header, body) = protocol::encode(message);
        Encoded { header, body }
    }

    pub(super) fn size(&self) -> Size {
        Size::default().with_frame(self.header.len()).with_frame(self.body.len())
    }
}

/// Sends messages after their first frame, routing id or topic: all of them, or none. Their bodies are used up.
pub(super) fn send_frames(socket: &Attentive, first: &[u8], messages: &mut [Encoded]) -> Result<(), zmq::Error> {
    socket.send(first, SNDMORE)?;
    let last = messages.len() - 1;
    for (index, message) in messages.iter_mut().enumerate() {
        let more = if index == last { 0 } else { SNDMORE };
        socket.send(&message.header[..], SNDMORE)?;
        socket.send(std::mem::take(&mut message.body), more)?;
    }
    Ok(())
}

/// What was read in one go: a message, or a bundle of them. The buffers are used again for the next.
pub(super) struct Frames {
    pub(super) routing_id: zmq::Message,
    /// Header, body, and those of the messages that follow; more than there may be share the last one.
    frames: Vec<zmq::Message>,
    /// Frames after the routing id, as they came over the wire.
    pub(super) size: Size,
}

impl Frames {
    /// One more than a bundle may have, so that one too many is seen.
    const FRAMES_MAX: usize = 2 * BUNDLE_MESSAGES_MAX + 1;

    pub(super) fn new() -> Frames {
        let frames = vec![zmq::Message::new(), zmq::Message::new()];
        Frames { routing_id: zmq::Message::new(), frames, size: Size::default() }
    }

    /// Reads what came next, when there is something; of frames that do not belong there, only the number is kept.
    pub(super) fn read(&mut self, router: &Attentive) -> bool {
        self.size = Size::default();
        if !router.receive(&mut self.routing_id) {
            return false;
        }
        let mut more = self.routing_id.get_more();
        while more {
            let place = self.size.frames.min(Self::FRAMES_MAX - 1);
            if place == self.frames.len() {
                self.frames.push(zmq::Message::new());
            }
            let frame = &mut self.frames[place];
            if !router.receive(frame) {
                break;
            }
            self.size = self.size.with_frame(frame.len());
            more = frame.get_more();
        }
        true
    }

    /// The routing id, and the first frame after it, which knows of the connection.
    pub(super) fn origin(&mut self) -> (&zmq::Message, Option<&mut zmq::Message>) {
        (&self.routing_id, self.frames.first_mut().filter(|_| self.size.frames > 0))
    }

    /// The descriptor of the connection by which it came.
    pub(super) fn fd(&mut self) -> Option<RawFd> {
        self.frames[0].gets("__fd")?.parse().ok()
    }

    /// How many messages these are, by their number of frames.
    pub(super) fn count(&self) -> Result<usize, Box<ErrorReply>> {
        let frames = self.size.frames;
        if frames == 0 || frames % 2 == 1 {
            let message =
                format!("a message has 2 frames, header and body, and a bundle those of each; here are {frames}");
            return Err(Box::new(ErrorReply::new(ErrorCode::MalformedMessage, message)));
        }
        if frames > 2 * BUNDLE_MESSAGES_MAX {
            let message = format!("a bundle has at most {BUNDLE_MESSAGES_MAX} messages; this one has {}", frames / 2);
            return Err(Box::new(ErrorReply::new(ErrorCode::MalformedMessage, message)));
        }
        Ok(frames / 2)
    }

    /// One of the messages.
    pub(super) fn message(&self, index: usize) -> Result<Message, Box<ErrorReply>> {
        protocol::decode(&self.frames[2 * index], &self.frames[2 * index + 1]).map_err(|error| error.0)
    }

    /// Its size.
    pub(super) fn size_of(&self, index: usize) -> Size {
        Size::default().with_frame(self.frames[2 * index].len()).with_frame(self.frames[2 * index + 1].len())
    }
}

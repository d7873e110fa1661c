//! A socket that is asked for messages only when it may have some. libzmq has a descriptor for each socket that tells when
//! to ask; but it tells only once, and libzmq itself takes the sign when it happens to look, which it does while it sends.
//! Asking costs two system calls, `zmq_poll` over five sockets up to thirty.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use zmq::{DONTWAIT, Message, POLLIN, Sendable, Socket};

/// What is known of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It has nothing, and its descriptor will tell when it has.
    Silent,
    /// It may have something.
    Ready,
    /// It had nothing before something was sent, and may have something now without telling.
    Sent,
}

/// A socket, and whether it may have messages.
pub(super) struct Attentive {
    socket: Socket,
    fd: RawFd,
    state: Cell<State>,
}

impl Attentive {
    /// Of a socket that nobody has read from yet.
    pub(super) fn new(socket: Socket) -> zmq::Result<Attentive> {
        let fd = socket.get_fd()?;
        Ok(Attentive { socket, fd, state: Cell::new(State::Ready) })
    }

    /// To set it up.
    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Its descriptor has told.
    pub(super) fn wake(&self) {
        self.state.set(State::Ready);
    }

    /// Whether it is worth reading.
    pub(super) fn may_have_messages(&self) -> bool {
        self.state.get() != State::Silent
    }

    /// Whether its descriptor will tell of the next message: to be asked before anybody waits for it.
    pub(super) fn is_silent(&self) -> bool {
        if self.state.get() == State::Sent {
            // An error is said again by whoever reads.
            let has_none = self.socket.get_events().is_ok_and(|events| !events.contains(POLLIN));
            self.state.set(if has_none { State::Silent } else { State::Ready });
        }
        self.state.get() == State::Silent
    }

    /// Reads a frame, when there is one. The frames of a message arrive together.
    pub(super) fn receive(&self, frame: &mut Message) -> bool {
        loop {
            match self.socket.recv(frame, DONTWAIT) {
                Ok(()) => return true,
                Err(zmq::Error::EINTR) => {}
                Err(_) => {
                    // libzmq has taken all signs, and found nothing.
                    self.state.set(State::Silent);
                    return false;
                }
            }
        }
    }

    /// Sends a frame without waiting.
    pub(super) fn send(&self, frame: impl Sendable, flags: i32) -> zmq::Result<()> {
        if self.state.get() == State::Silent {
            self.state.set(State::Sent);
        }
        self.socket.send(frame, flags | DONTWAIT)
    }
}

impl AsFd for Attentive {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is the socket's, and open as long as that is.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use zmq::{Context, SNDMORE, SocketType};

    use super::*;

    /// A router, and a dealer that is connected with it and known to it.
    fn pair() -> (Attentive, Attentive, Context) {
        let context = Context::new();
        let router = context.socket(SocketType::ROUTER).expect("descriptors are left");
        router.bind("tcp://127.0.0.1:*").expect("loopback");
        let endpoint = router.get_last_endpoint().expect("bound").expect("text");
        let dealer = context.socket(SocketType::DEALER).expect("descriptors are left");
        dealer.set_identity(b"dealer").expect("a routing id");
        dealer.connect(&endpoint).expect("it is bound");
        (Attentive::new(router).expect("it is open"), Attentive::new(dealer).expect("it is open"), context)
    }

    /// Waits as the gateway does.
    fn wait(socket: &Attentive) {
        while socket.is_silent() {
            let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::NONE).expect("nobody interrupts");
            socket.wake();
        }
    }

    /// All messages that are there, each of two frames.
    fn read(socket: &Attentive, messages: &mut usize) {
        let mut frame = Message::new();
        while socket.may_have_messages() && socket.receive(&mut frame) {
            assert!(frame.get_more() && socket.receive(&mut frame), "a message has two frames");
            *messages += 1;
        }
    }

    #[test]
    fn no_message_is_missed_by_a_socket_that_sends() {
        const MESSAGES: usize = 20_000;
        let (router, dealer, _context) = pair();
        let peer = std::thread::spawn(move || {
            let (mut sent, mut heard) = (0, 0);
            while heard < MESSAGES {
                // Up to three at once, so that some come while the other side sends.
                while sent < MESSAGES && sent < heard + 3 {
                    dealer.send(&b"header"[..], SNDMORE).expect("room");
                    dealer.send(&b"body"[..], 0).expect("room");
                    sent += 1;
                }
                wait(&dealer);
                read(&dealer, &mut heard);
            }
        });
        let (mut heard, mut answered) = (0, 0);
        let mut frame = Message::new();
        while answered < MESSAGES {
            while router.may_have_messages() && router.receive(&mut frame) {
                while frame.get_more() {
                    assert!(router.receive(&mut frame), "the frames of a message arrive together");
                }
                heard += 1;
            }
            while answered < heard {
                router.send(&b"dealer"[..], SNDMORE).expect("it is known");
                router.send(&b"header"[..], SNDMORE).expect("room");
                router.send(&b"body"[..], 0).expect("room");
                answered += 1;
            }
            if answered < MESSAGES {
                wait(&router);
            }
        }
        peer.join().expect("it heard everything");
    }

    #[test]
    fn a_socket_that_has_sent_is_asked_before_it_is_waited_for() {
        let (router, dealer, _context) = pair();
        dealer.send(&b"header"[..], SNDMORE).expect("room");
        dealer.send(&b"body"[..], 0).expect("room");
        let mut frame = Message::new();
        while !router.receive(&mut frame) {
            wait(&router);
        }
        (0..2).for_each(|_| assert!(router.receive(&mut frame), "the frames of a message arrive together"));
        assert!(!router.receive(&mut frame) && !router.may_have_messages());
        router.send(&b"dealer"[..], SNDMORE).expect("it is known");
        router.send(&b"answer"[..], 0).expect("room");
        assert!(router.may_have_messages(), "nobody knows");
        assert!(router.is_silent(), "it was asked");
        assert!(!router.may_have_messages());
    }
}

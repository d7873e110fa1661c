//! Tells when bytes arrive at any connection, without waking anybody who does not ask: libzmq reads them in threads of its
//! own, and the gateway would otherwise learn of an endless message only by looking again and again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Connections that are asked about in one system call.
const EVENTS_AT_ONCE: usize = 256;

/// An epoll set of its own beside libzmq's. It is edge-triggered: a connection shows up once for all that arrived since it
/// was last asked for. The kernel then looks at what the connection is ready for, and libzmq may have read the bytes by
/// then: that it can be written to keeps it in the set of what is reported. The guard sees to those that cannot. Closed
/// descriptors are taken out by the kernel.
pub(super) struct Stir {
    epoll: Epoll,
}

impl Stir {
    pub(super) fn new() -> io::Result<Stir> {
        Ok(Stir { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)? })
    }

    /// Watches a connection, beginning with what has arrived already.
    pub(super) fn watch(&self, fd: RawFd) {
        let arrived = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET, 0);
        // SAFETY: the descriptor is used for this one call; should it be closed already, the call fails.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        // It is gone then, or watched already.
        let _ = self.epoll.add(fd, arrived);
    }

    /// Whether something has arrived since the last time, at any of so many connections.
    pub(super) fn take(&self, connections: usize) -> bool {
        let mut events = [EpollEvent::empty(); EVENTS_AT_ONCE];
        // What arrives meanwhile may stay for the next time: somebody who sends all the time must not keep the gateway here.
        for round in 0..=connections / EVENTS_AT_ONCE {
            match self.epoll.wait(&mut events, EpollTimeout::ZERO) {
                Ok(EVENTS_AT_ONCE) => {}
                Ok(count) => return round > 0 || count > 0,
                // An interrupted call; better to look in vain than to miss something.
                Err(_) => return true,
            }
        }
        true
    }
}

/// Readable when something has arrived.
impl AsFd for Stir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn what_arrives_is_told_once_whether_it_is_read_or_not() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let mut near = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (mut far, _) = listener.accept().expect("somebody came");
        let stir = Stir::new().expect("descriptors are left");
        near.write_all(b"before").expect("room");
        far.peek(&mut [0]).expect("it has arrived");
        stir.watch(far.as_raw_fd());
        assert!(stir.take(1), "what came before the watch counts");
        assert!(!stir.take(1), "nothing since");
        near.write_all(b"more").expect("room");
        far.read_exact(&mut [0; 10]).expect("it has arrived");
        assert!(stir.take(1), "read by somebody else");
        assert!(!stir.take(1));
        drop(far);
        assert!(!stir.take(1), "a closed connection says nothing");
    }
}

//! What the gateway's thread waits for. It holds descriptors of its own, so that others may use the sockets meanwhile.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::guard::Guard;
use super::sockets::{SOCKETS, Sockets};
use super::wake::Wake;

/// Descriptors of the sockets, and of whatever else calls the thread.
pub(super) struct Watch {
    sockets: [OwnedFd; SOCKETS],
    stir: OwnedFd,
    wake: Arc<Wake>,
}

/// What to wait for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) at_most: PollTimeout,
    /// Messages of peers; otherwise somebody else reads them.
    pub(super) messages: bool,
    /// Bytes at any connection.
    pub(super) bytes: bool,
}

/// What has happened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    /// In the order of [`Sockets::all`].
    pub(super) sockets: [bool; SOCKETS],
    pub(super) bytes: bool,
}

impl Watch {
    pub(super) fn new(sockets: &Sockets, guard: &Guard, wake: Arc<Wake>) -> io::Result<Watch> {
        let [router, publisher, work_monitor, events_monitor] =
            sockets.all().map(|socket| socket.as_fd().try_clone_to_owned());
        let sockets = [router?, publisher?, work_monitor?, events_monitor?];
        Ok(Watch { sockets, stir: guard.stir_fd().try_clone_to_owned()?, wake })
    }

    pub(super) fn wait(&self, plan: Plan) -> Told {
        let [router, publisher, work_monitor, events_monitor] = self.sockets.each_ref().map(AsFd::as_fd);
        // In the place of what is not waited for.
        let wake = self.wake.as_fd();
        let router = if plan.messages { router } else { wake };
        let stir = if plan.bytes { self.stir.as_fd() } else { wake };
        // A connection is told of before its first message arrives: seen in this order, never after it.
        let mut fds =
            [router, publisher, work_monitor, events_monitor, stir, wake].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // An error is an interrupted system call: the turn that follows finds nothing and comes back.
        let _ = poll(&mut fds, plan.at_most);
        let [router, sockets @ .., stirred, called] = fds.map(|fd| fd.any().unwrap_or_default());
        if called {
            self.wake.clear();
        }
        let [publisher, work_monitor, events_monitor] = sockets;
        let sockets = [router && plan.messages, publisher, work_monitor, events_monitor];
        Told { sockets, bytes: stirred && plan.bytes }
    }
}

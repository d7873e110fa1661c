//! How the gateway's thread hears that something was handed over.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// Wakes the gateway's thread from its poll. Costs one system call for all that is handed over while the thread is
/// awake.
#[derive(Debug)]
pub(super) struct Wake {
    fd: EventFd,
    signalled: AtomicBool,
}

impl Wake {
    pub(super) fn new() -> io::Result<Wake> {
        let fd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Wake { fd, signalled: AtomicBool::new(false) })
    }

    pub(super) fn signal(&self) {
        if !self.signalled.swap(true, Ordering::AcqRel) {
            // Fails only when the counter is at its end, and then the thread is awake anyway.
            let _ = self.fd.write(1);
        }
    }

    /// To be called before the look at what was handed over: whoever comes after that look signals anew.
    pub(super) fn clear(&self) {
        let _ = self.fd.read();
        self.signalled.store(false, Ordering::Release);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

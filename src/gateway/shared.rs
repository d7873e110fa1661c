//! Who has the sockets: the gateway's thread as a rule, and for a moment whoever finds it at rest. While little goes on,
//! waking that thread takes longer than what it has to do.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::carrier::Carrier;
use super::watch::{Told, Watch};
use super::{Outbox, Outgoing, Stopped};

/// Larger groups are left to the gateway's thread, so that they are packed while the engine goes on. A step's end and the
/// next one's dispatch are two messages and a few events.
const MESSAGES_AT_ONCE: usize = 16;

/// The sockets with all that is known of those behind them.
pub(super) struct Shared {
    /// Gone when the gateway's thread has ended. The lock is also the fence that libzmq wants where another thread goes
    /// on with a socket.
    carrier: Mutex<Option<Carrier>>,
    /// Somebody else reads what peers say.
    is_relieved: AtomicBool,
}

/// Closes the sockets at the end of the thread, whatever ends it.
struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let carrier = self.0.lock().take();
        // Without the lock: the last messages may take a while to leave.
        drop(carrier);
    }
}

impl Shared {
    pub(super) fn new(carrier: Carrier) -> Shared {
        Shared { carrier: Mutex::new(Some(carrier)), is_relieved: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Carrier>> {
        self.carrier.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The gateway's thread.
    pub(super) fn run(&self, watch: &Watch) {
        let _closing = Closing(self);
        let mut told = Told::default();
        loop {
            let relieved = self.is_relieved.load(Ordering::Acquire);
            let plan = self.lock().as_mut().and_then(|carrier| carrier.turn(told, !relieved));
            let Some(plan) = plan else { return };
            told = watch.wait(plan);
        }
    }
}

/// The engine's own way to the sockets: it sends, and reads what peers say, without waking the gateway's thread.
pub struct Line {
    shared: Arc<Shared>,
    outbox: Outbox,
    signs: OwnedFd,
}

impl Line {
    pub(super) fn new(shared: Arc<Shared>, outbox: Outbox) -> io::Result<Line> {
        let signs = shared.lock().as_ref().map(|carrier| carrier.router_fd().try_clone_to_owned()).transpose()?;
        let signs = signs.ok_or(io::ErrorKind::NotConnected)?;
        Ok(Line { shared, outbox, signs })
    }

    /// A descriptor that becomes readable when there may be something to [`Line::read`]. It may show that when there is
    /// nothing, and shows each thing once: to be watched for changes (`EPOLLET`), and never to be read itself.
    pub fn signs(&self) -> io::Result<OwnedFd> {
        self.signs.try_clone()
    }

    /// Whether the caller reads what peers say, instead of the gateway's thread. It does so at each of the signs then, and
    /// once now.
    pub fn listen(&self, listens: bool) {
        self.shared.is_relieved.store(listens, Ordering::Release);
        if listens {
            self.read();
        } else {
            self.outbox.wake.signal();
        }
    }

    /// Reads what peers have said, which is then in the inbox that the gateway was started with. Waits for the gateway's
    /// thread, should that have the sockets.
    pub fn read(&self) {
        if let Some(carrier) = &mut *self.shared.lock() {
            carrier.visit(true);
        }
    }

    /// Like [`Outbox::send`]; what is little leaves before this returns, when the gateway's thread is at rest.
    pub fn send(&self, group: Vec<Outgoing>) -> Result<(), Stopped> {
        if group.is_empty() {
            return Ok(());
        }
        if group.len() > MESSAGES_AT_ONCE || self.outbox.has_groups() {
            return self.outbox.send(group);
        }
        // What is handed over before the lock is had is not overlooked: whoever has it is called.
        self.outbox.put_silently(group)?;
        match self.shared.carrier.try_lock() {
            Ok(mut carrier) => {
                if let Some(carrier) = &mut *carrier {
                    carrier.visit(false);
                }
            }
            Err(_) => self.outbox.wake.signal(),
        }
        Ok(())
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Line").field("outbox", &self.outbox).finish_non_exhaustive()
    }
}

//! Who reads what peers say. The gateway's thread does when there is much, so that messages are unpacked while the engine
//! decides; the engine's own thread when there is little, because to wake another thread takes longer than to read.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Runtime;

use crate::gateway::{Line, Outgoing, Stopped};

/// What a turn takes in at most while there is little: a few workers that report, and submissions of a few tasks.
const EVENTS_OF_LITTLE: usize = 4;
/// In bytes.
const BYTES_OF_LITTLE: u64 = 16 * 1024;
/// Turns in a row that take in little, until there is little to do: under load some do, too, between large ones.
const TURNS_OF_LITTLE: u32 = 16;

/// The engine's way to the sockets.
pub(crate) struct Ear {
    line: Line,
    signs: AsyncFd<OwnedFd>,
    listens: bool,
    turns: u32,
}

impl Ear {
    /// Of a thread that waits in this runtime. At first the gateway's thread reads.
    pub(crate) fn new(line: Line, runtime: &Runtime) -> io::Result<Ear> {
        let _entered = runtime.enter();
        // SAFETY: the descriptor belongs to the AsyncFd, and is open as long as that is.
        let signs = unsafe { AsyncFd::register_with_interest(line.signs()?, Interest::READABLE) }?;
        Ok(Ear { line, signs, listens: false, turns: 0 })
    }

    /// Whether [`Ear::hear`] is to be waited for.
    pub(super) fn listens(&self) -> bool {
        self.listens
    }

    /// Waits until peers may have said something, and reads it.
    pub(super) async fn hear(&self) {
        // It fails only when the runtime ends, and then nobody waits any more.
        if let Ok(mut signs) = self.signs.readable().await {
            // Before reading: what comes meanwhile is shown anew.
            signs.clear_ready();
            self.line.read();
        }
    }

    /// Notes what a turn has taken in.
    pub(super) fn note_turn(&mut self, events: usize, bytes: u64) {
        let is_little = events <= EVENTS_OF_LITTLE && bytes <= BYTES_OF_LITTLE;
        self.turns = if is_little { self.turns.saturating_add(1) } else { 0 };
        if !is_little && self.listens {
            self.listen(false);
        } else if !self.listens && self.turns >= TURNS_OF_LITTLE {
            self.listen(true);
        }
    }

    /// Sends, as [`Line::send`] does.
    pub(super) fn send(&self, group: Vec<Outgoing>) -> Result<(), Stopped> {
        self.line.send(group)
    }

    fn listen(&mut self, listens: bool) {
        self.listens = listens;
        self.line.listen(listens);
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.line.listen(false);
    }
}

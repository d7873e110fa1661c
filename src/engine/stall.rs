//! The broker itself stood still: it was stopped, starved, or could not listen. Nobody was silent or late for that.

use crate::batch::ItemStatus;
use crate::engine::Engine;
use crate::time::Now;

impl Engine {
    /// Takes time in which the broker heard nobody off what is held against workers: their silence, and the timeouts of the
    /// steps that they run. Call it before [`pass_deadlines`](Engine::pass_deadlines), which would else give up workers whose
    /// signs of life wait in a socket.
    pub fn excuse(&mut self, now: Now, stalled_ms: u64) {
        for registration in self.workers.registrations() {
            // Its deadline fires all the same, and finds that it is not time yet.
            self.workers.change(registration, |worker| worker.seen = now.mono.min(worker.seen + stalled_ms));
        }
        for (_, batch) in self.batches.iter_mut() {
            batch.told = now.mono.min(batch.told + stalled_ms);
            for item in batch.items.iter_mut().filter(|item| item.status == ItemStatus::Open) {
                item.deadline = item.deadline + stalled_ms;
            }
        }
    }
}

//! One engine after another in the same process: after the database refused a commit group, the engine that decided it is
//! ahead of the store. A new one is recovered, and takes over what the store does not hold: connections and waiting clients.

use std::collections::BTreeSet;

use crate::deadlines::Deadline;
use crate::effect::Effects;
use crate::engine::Engine;
use crate::id::Origin;
use crate::time::Now;
use crate::workers::Standing;

impl Engine {
    /// Takes over from an engine that is given up. Commands in `undecided` are about to be handled again, so that what they
    /// left behind is not taken over.
    pub fn succeed(&mut self, now: Now, old: &Engine, undecided: &BTreeSet<Origin>, out: &mut Effects) {
        for worker in old.workers.iter() {
            let Some(peer) = worker.peer else { continue };
            let leaving = worker.leaving.filter(|origin| !undecided.contains(origin));
            let drained = worker.drained.clone().filter(|order| !undecided.contains(&order.by));
            let standing = match worker.standing {
                Standing::Draining if leaving.is_none() && drained.is_none() => Standing::Active,
                standing => standing,
            };
            let check_at = now.mono + self.config.heartbeat_ms;
            let serves = self.registry.coverage(&worker.introduction.capabilities);
            let mut awaited_until = None;
            let attached = self.workers.attach(worker.registration, peer, |successor| {
                awaited_until = Some(std::mem::replace(&mut successor.check_at, check_at));
                successor.standing = standing;
                successor.leaving = leaving;
                successor.drained = drained;
                successor.unproven = worker.unproven;
                successor.seen = worker.seen;
                successor.serve(serves);
            });
            if let Some(until) = awaited_until.filter(|_| attached) {
                self.deadlines.remove(until, Deadline::Worker(worker.registration));
                self.deadlines.add(check_at, Deadline::Worker(worker.registration));
            }
        }
        self.keep_times(old);
        for (origin, task, until) in old.waiters.iter() {
            if !undecided.contains(&origin) {
                self.wait_asked(now, origin, task, until.since(now.mono), out);
            }
        }
        self.loads = old.loads.without(undecided);
        self.generation = old.generation + 1;
        self.draining = old.draining;
    }

    /// What is out goes on: a batch waits from its dispatch on, however often groups are refused meanwhile.
    fn keep_times(&mut self, old: &Engine) {
        for (id, batch) in self.batches.iter_mut() {
            let Some(known) = old.batches.get(id) else { continue };
            batch.dispatched = known.dispatched;
            batch.told = known.told;
            batch.progress.clone_from(&known.progress);
            for (item, before) in batch.items.iter_mut().zip(&known.items) {
                item.deadline = before.deadline;
            }
            if let Some(due) = batch.next_due() {
                self.deadlines.remove(batch.due, Deadline::Batch(id));
                self.deadlines.add(due, Deadline::Batch(id));
                batch.due = due;
            }
        }
    }
}

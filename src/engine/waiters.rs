//! Clients that wait for the end of a task.

use std::collections::{BTreeMap, HashMap};

use crate::deadlines::Deadline;
use crate::delivery::{Deliver, Read, Reply};
use crate::effect::Effects;
use crate::engine::Engine;
use crate::hash::BuildIdHasher;
use crate::id::{Origin, TaskId};
use crate::refusal::{Refusal, RefusalKind};
use crate::task::Task;
use crate::time::{Mono, Now};

#[derive(Debug)]
struct Waiter {
    task: TaskId,
    origin: Origin,
    until: Mono,
}

/// Waiting clients by number, and their numbers by task.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    next: u64,
    waiters: BTreeMap<u64, Waiter>,
    by_task: HashMap<TaskId, Vec<u64>, BuildIdHasher>,
}

impl Waiters {
    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Who waits for which task, and until when.
    pub fn iter(&self) -> impl Iterator<Item = (Origin, TaskId, Mono)> {
        self.waiters.values().map(|waiter| (waiter.origin, waiter.task, waiter.until))
    }
}

impl Engine {
    pub(crate) fn wait_asked(&mut self, now: Now, origin: Origin, id: TaskId, timeout_ms: u64, out: &mut Effects) {
        if !self.tasks.contains_key(&id) {
            out.deliveries.push(Deliver::Read(Read::Waited { to: origin, task: id }));
            return;
        }
        let limit = self.config.waiters_max as usize;
        if self.waiters.waiters.len() >= limit {
            let message = format!("{limit} clients are waiting for tasks already");
            out.refuse(origin, Refusal::new(RefusalKind::Overloaded, message).limit(limit as u64));
            return;
        }
        let until = now.mono + timeout_ms.min(self.config.wait_ms_max);
        self.waiters.next += 1;
        let number = self.waiters.next;
        self.waiters.waiters.insert(number, Waiter { task: id, origin, until });
        self.waiters.by_task.entry(id).or_default().push(number);
        self.deadlines.add(until, Deadline::Wait(number));
    }

    /// The time of a waiting client is up.
    pub(crate) fn wait_due(&mut self, now: Now, number: u64, out: &mut Effects) {
        let Some(waiter) = self.waiters.waiters.remove(&number) else { return };
        if let Some(numbers) = self.waiters.by_task.get_mut(&waiter.task) {
            numbers.retain(|&other| other != number);
            if numbers.is_empty() {
                self.waiters.by_task.remove(&waiter.task);
            }
        }
        let task = self.tasks.get(&waiter.task).expect("a task that ends answers its waiters");
        let report = Box::new(self.report(now, task, false));
        out.reply(waiter.origin, Reply::Waited { finished: false, task: report });
    }

    /// Tells everybody who waited for a task that it has ended.
    pub(crate) fn answer_waiters(&mut self, now: Now, task: &Task, out: &mut Effects) {
        for number in self.waiters.by_task.remove(&task.id).unwrap_or_default() {
            let waiter = self.waiters.waiters.remove(&number).expect("both maps hold the same waiters");
            self.deadlines.remove(waiter.until, Deadline::Wait(number));
            let report = Box::new(self.report(now, task, false));
            out.reply(waiter.origin, Reply::Waited { finished: true, task: report });
        }
    }
}

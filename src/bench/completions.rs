//! Hears when tasks end, by the broker's events; asks for those whose events were lost.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Error, Shared, Target};
use crate::client::{Client, Notice, Subscription};
use crate::protocol::{Event, Topic};

/// How a task may end.
const ENDS: [Topic; 4] = [Topic::TaskCompleted, Topic::TaskFailed, Topic::TaskCancelled, Topic::TaskResolved];

/// How often the listener looks whether it is over.
const LOOK: Duration = Duration::from_millis(20);

/// When tasks ended.
#[derive(Debug, Default)]
pub(super) struct Ends {
    pub at: HashMap<Uuid, Instant>,
    /// Of those that did not complete.
    pub failed: u64,
    pub last: Option<Instant>,
}

/// How many tasks have ended. Whoever waits is woken when it has come to as many as it waits for, and not before: a load that
/// keeps the processors from sleeping would be measured with what it measures.
#[derive(Debug)]
pub(super) struct Ended {
    count: AtomicU64,
    /// The smallest count that somebody waits for.
    awaited: AtomicU64,
    lock: Mutex<()>,
    reached: Condvar,
}

impl Default for Ended {
    fn default() -> Ended {
        let (count, awaited) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        Ended { count, awaited, lock: Mutex::default(), reached: Condvar::new() }
    }
}

impl Ended {
    pub fn get(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    pub fn reset(&self) {
        self.count.store(0, Ordering::SeqCst);
    }

    /// One more.
    fn note(&self) {
        let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        // Either this sees what is awaited, or who awaits it sees the count.
        if count >= self.awaited.load(Ordering::SeqCst) {
            let _lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever waits for more says so again.
            self.awaited.store(u64::MAX, Ordering::SeqCst);
            self.reached.notify_all();
        }
    }

    /// Waits until there are so many, but not for longer than that. Whether there are.
    pub fn wait_for(&self, count: u64, longest: Duration) -> bool {
        let until = Instant::now() + longest;
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            self.awaited.fetch_min(count, Ordering::SeqCst);
            let left = until.saturating_duration_since(Instant::now());
            if self.get() >= count || left.is_zero() {
                return self.get() >= count;
            }
            lock = self.reached.wait_timeout(lock, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Starts a thread that listens until the run is over.
pub(super) fn listen(target: &Target, template: &str, shared: &Arc<Shared>) -> Result<JoinHandle<()>, Error> {
    let topics: Vec<&str> = ENDS.iter().map(|topic| topic.as_str()).collect();
    let mut subscription = Subscription::to_topics(&target.events, target.keys.as_ref(), &topics)?;
    let (template, shared) = (template.to_owned(), shared.clone());
    Ok(std::thread::spawn(move || {
        while !shared.is_over() {
            match subscription.next(Instant::now() + LOOK) {
                Ok(Some(Notice::Event(event))) if event.template.as_deref() == Some(&template) => note(&event, &shared),
                Ok(_) => {}
                Err(error) => shared.fail(error.into()),
            }
        }
    }))
}

fn note(event: &Event, shared: &Shared) {
    let Some(task) = event.task_id else { return };
    let now = Instant::now();
    {
        let mut ends = shared.ends();
        ends.at.insert(task, now);
        ends.failed += u64::from(event.topic != Topic::TaskCompleted.as_str());
        ends.last = Some(now);
    }
    shared.ended.note();
}

/// Waits for the end of a task whatever became of its event.
pub(super) fn ask_for(client: &mut Client, task: Uuid) -> Result<(), Error> {
    let waited = client.wait_for_task(task, Some(super::STALL))?;
    if waited.finished {
        Ok(())
    } else {
        Err(Error::Stalled { waited: super::STALL, left: 1, template: waited.task.name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than any machine stands still.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn whoever_waits_is_woken_by_the_count_it_waits_for() {
        let ended = Ended::default();
        assert!(!ended.wait_for(1, Duration::ZERO));
        std::thread::scope(|scope| {
            let waiters = [2, 3, 1].map(|count| {
                let ended = &ended;
                scope.spawn(move || (ended.wait_for(count, LONG), ended.get() >= count))
            });
            (0..3).for_each(|_| ended.note());
            for waiter in waiters {
                assert_eq!(waiter.join().expect("it waits only"), (true, true));
            }
        });
        assert!(ended.wait_for(3, Duration::ZERO));
        ended.reset();
        assert!(!ended.wait_for(1, Duration::ZERO));
    }
}

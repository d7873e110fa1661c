//! What the broker counts. The loop counts a group when it is durable, the writer notes the lease, the inbox its oldest row;
//! whoever scrapes reads. Every number has one writer, so that counting takes no lock and no allocation.

mod counts;
mod histogram;
mod history;
mod numbers;
mod observer;
mod tally;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tasker_engine::{StepEnd, TaskState};
use uuid::Uuid;

pub use counts::{Counts, NamespaceCounts, TemplateCounts};
pub use histogram::Spread;
pub use history::{MINUTES, Minute};
pub(crate) use numbers::Numbers;
pub(crate) use observer::Question;
pub use observer::{Figures, Observer};
pub(crate) use tally::Tally;

use histogram::{COMMIT_ROWS, COMMIT_TIMES_US, Count, Histogram, TIMES_US};
use tally::{CLOSINGS, DISPOSITIONS, FLEET_ACTIONS, OPERATIONS, WORKER_ENDS};

/// Namespaces that are counted apart: some ten series each. What comes later is counted together, as [`OTHER`].
pub const NAMESPACES_MAX: usize = 100;

/// The label of all namespaces beyond [`NAMESPACES_MAX`].
pub const OTHER: &str = "other";

/// States in which tasks end.
pub const TASK_ENDS: [TaskState; 4] =
    [TaskState::Complete, TaskState::Error, TaskState::Cancelled, TaskState::ResolvedManually];

/// Everything that is counted in this process.
#[derive(Debug)]
pub struct Metrics {
    broker_id: Uuid,
    epoch: i64,
    started: Instant,
    started_at: SystemTime,
    lease: Duration,
    /// The last is for all others.
    namespaces: Box<[Namespace]>,
    queued_us: Histogram,
    ran_us: Histogram,
    lived_us: Histogram,
    commit_rows: Histogram,
    commit_us: Histogram,
    groups_refused: Count,
    rows: RowCounts,
    /// Milliseconds after `started`.
    committed_ms: AtomicU64,
    leased_ms: AtomicU64,
    inbox_oldest_ms: AtomicU64,
    /// Seconds since the Unix epoch; 0 for never.
    upkeep_at: AtomicI64,
    postgres_up: AtomicBool,
    draining: AtomicBool,
}

/// What is counted by namespace.
#[derive(Debug, Default)]
struct Namespace {
    name: OnceLock<Box<str>>,
    tasks_created: Count,
    tasks_ended: [Count; TASK_ENDS.len()],
    steps_dispatched: Count,
    steps_ended: [Count; StepEnd::ALL.len()],
}

/// What rows tell; see [`Tally`].
#[derive(Debug, Default)]
struct RowCounts {
    dispositions: [Count; DISPOSITIONS.len()],
    operations: [Count; OPERATIONS.len()],
    fleet_actions: [Count; FLEET_ACTIONS.len()],
    batches: Count,
    closings: [Count; CLOSINGS.len()],
    differing: Count,
    workers: Count,
    worker_ends: [Count; WORKER_ENDS.len()],
    steps_in_error: Count,
    tasks_reopened: Count,
    inbox_taken: Count,
    inbox_refused: Count,
}

impl Metrics {
    /// Of a broker that has just claimed its lane.
    pub(crate) fn new(broker_id: Uuid, epoch: i64, lease: Duration) -> Metrics {
        let namespaces: Box<[Namespace]> = (0..=NAMESPACES_MAX).map(|_| Namespace::default()).collect();
        Metrics {
            broker_id,
            epoch,
            started: Instant::now(),
            started_at: SystemTime::now(),
            lease,
            namespaces,
            queued_us: Histogram::new(TIMES_US),
            ran_us: Histogram::new(TIMES_US),
            lived_us: Histogram::new(TIMES_US),
            commit_rows: Histogram::new(COMMIT_ROWS),
            commit_us: Histogram::new(COMMIT_TIMES_US),
            groups_refused: Count::default(),
            rows: RowCounts::default(),
            committed_ms: AtomicU64::new(0),
            leased_ms: AtomicU64::new(0),
            inbox_oldest_ms: AtomicU64::new(0),
            upkeep_at: AtomicI64::new(0),
            postgres_up: AtomicBool::new(true),
            draining: AtomicBool::new(false),
        }
    }

    /// The lease has been extended, by a commit or by itself.
    pub(crate) fn lease_extended(&self) {
        self.leased_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// For how long the oldest row of the inbox had waited when it was looked at; 0 when there was none.
    pub(crate) fn inbox_seen(&self, oldest_ms: u64) {
        self.inbox_oldest_ms.store(oldest_ms, Ordering::Relaxed);
    }

    /// The database has what it needs for the months to come.
    pub(crate) fn upkeep_done(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.upkeep_at.store(i64::try_from(now.as_secs()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn set_postgres(&self, up: bool) {
        self.postgres_up.store(up, Ordering::Relaxed);
    }

    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The database has refused a group.
    pub(crate) fn group_refused(&self) {
        self.groups_refused.add(1);
    }

    /// The label under which a namespace is counted.
    pub fn label<'a>(&self, namespace: &'a str) -> &'a str {
        let known = self.namespaces.iter().any(|known| known.name.get().is_some_and(|name| **name == *namespace));
        if known { namespace } else { OTHER }
    }

    /// The place where a namespace is counted.
    fn place(&self, namespace: &str) -> usize {
        let taken = |place: &usize| self.namespaces[*place].name.get_or_init(|| namespace.into());
        (0..NAMESPACES_MAX).find(|place| **taken(place) == *namespace).unwrap_or(NAMESPACES_MAX)
    }

    fn group_committed(&self, tally: &Tally, rows: u32, took: Duration) {
        self.committed_ms.store(self.now_ms(), Ordering::Relaxed);
        self.commit_rows.add(rows.into());
        self.commit_us.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.rows.add(tally);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl RowCounts {
    fn add(&self, tally: &Tally) {
        let each = |counts: &[Count], more: &[u64]| counts.iter().zip(more).for_each(|(count, &more)| count.add(more));
        each(&self.dispositions, &tally.dispositions);
        each(&self.operations, &tally.operations);
        each(&self.fleet_actions, &tally.fleet_actions);
        each(&self.closings, &tally.closings);
        each(&self.worker_ends, &tally.worker_ends);
        self.batches.add(tally.batches);
        self.differing.add(tally.differing);
        self.workers.add(tally.workers);
        self.steps_in_error.add(tally.steps_in_error);
        self.tasks_reopened.add(tally.tasks_reopened);
        self.inbox_taken.add(tally.inbox_taken);
        self.inbox_refused.add(tally.inbox_refused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_beyond_the_bound_are_counted_together() {
        let metrics = Metrics::new(Uuid::nil(), 1, Duration::from_secs(10));
        let places: Vec<usize> = (0..NAMESPACES_MAX + 2).map(|number| metrics.place(&format!("n{number}"))).collect();
        let expected: Vec<usize> = (0..=NAMESPACES_MAX).chain([NAMESPACES_MAX]).collect();
        assert_eq!(places, expected);
        assert_eq!(metrics.place("n7"), 7, "who is known stays where they are");
        assert_eq!((metrics.label("n99"), metrics.label("n100"), metrics.label("none")), ("n99", OTHER, OTHER));
    }
}

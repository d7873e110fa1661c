//! The counts as whoever reads them gets them.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use tasker_engine::StepEnd;
use uuid::Uuid;

use super::histogram::Count;
use super::tally::{CLOSINGS, DISPOSITIONS, FLEET_ACTIONS, OPERATIONS, WORKER_ENDS};
use super::{Metrics, NAMESPACES_MAX, OTHER, Spread, TASK_ENDS};

/// A count with the label that tells it from others of its kind.
pub type Labelled = Vec<(&'static str, u64)>;

/// Everything that was counted since the broker started. Each number is of this moment; two of them may differ by what
/// happened between the two looks.
#[derive(Clone, Debug)]
pub struct Counts {
    /// The process.
    pub broker_id: Uuid,
    /// The lease's epoch.
    pub epoch: i64,
    /// When the broker claimed its lane.
    pub started_at: SystemTime,
    /// By namespace.
    pub namespaces: Vec<NamespaceCounts>,
    /// How long steps were ready before they were handed out, in microseconds.
    pub queued_us: Spread,
    /// How long handlers ran, by their workers' word, in microseconds.
    pub ran_us: Spread,
    /// How long tasks took from their creation to their end, in microseconds.
    pub lived_us: Spread,
    /// Rows of commit groups.
    pub commit_rows: Spread,
    /// How long they took, in microseconds.
    pub commit_us: Spread,
    /// Commit groups that the database refused.
    pub groups_refused: u64,
    /// Results that were not simply accepted, by disposition.
    pub results_noted: Labelled,
    /// What operators did to tasks and steps, to namespaces and workers, by operation.
    pub operator_actions: Labelled,
    /// Batches that were handed out.
    pub batches: u64,
    /// Batches that were closed, by state.
    pub batches_closed: Labelled,
    /// Of them, those whose worker said something else in the end than before.
    pub batches_differing: u64,
    /// Registrations of workers.
    pub workers_registered: u64,
    /// Registrations that ended, by reason.
    pub workers_ended: Labelled,
    /// Steps that failed for good.
    pub steps_in_error: u64,
    /// Tasks that an operator made unfinished again.
    pub tasks_reopened: u64,
    /// Rows of the inbox that became tasks, or named one that there was.
    pub inbox_taken: u64,
    /// Rows of the inbox that were refused.
    pub inbox_refused: u64,
    /// How long the oldest row of the inbox had waited when it was last looked at, in milliseconds.
    pub inbox_oldest_ms: u64,
    /// Milliseconds since a group was committed, or since the start.
    pub committed_ms_ago: u64,
    /// Milliseconds until the lease ends, as far as this broker knows; negative when it should have ended.
    pub lease_remaining_ms: i64,
    /// When partitions were last looked after, in seconds since the Unix epoch.
    pub upkeep_at: Option<i64>,
    /// Whether the writer has its connection.
    pub postgres_up: bool,
    /// Whether the broker is about to stop.
    pub draining: bool,
}

/// What was counted of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceCounts {
    /// Its name, or [`OTHER`].
    pub namespace: Box<str>,
    /// The counts.
    pub counts: TemplateCounts,
}

/// What was counted of a template, or of all those of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TemplateCounts {
    /// Tasks that were made.
    pub tasks_created: u64,
    /// Tasks that ended, in the order of [`TASK_ENDS`].
    pub tasks_ended: [u64; TASK_ENDS.len()],
    /// Steps that were handed out, each time that they were.
    pub steps_dispatched: u64,
    /// Steps that were settled, and attempts that ended, in the order of [`StepEnd::ALL`].
    pub steps_ended: [u64; StepEnd::ALL.len()],
}

impl Metrics {
    /// All counts.
    pub fn counts(&self) -> Counts {
        let now_ms = self.now_ms();
        let milliseconds = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let leased_until = self.leased_ms.load(Ordering::Relaxed).saturating_add(self.lease.as_millis() as u64);
        let rows = &self.rows;
        Counts {
            broker_id: self.broker_id,
            epoch: self.epoch,
            started_at: self.started_at,
            namespaces: self.namespace_counts(),
            queued_us: self.queued_us.spread(),
            ran_us: self.ran_us.spread(),
            lived_us: self.lived_us.spread(),
            commit_rows: self.commit_rows.spread(),
            commit_us: self.commit_us.spread(),
            groups_refused: self.groups_refused.get(),
            results_noted: labelled(&DISPOSITIONS, &rows.dispositions),
            operator_actions: [labelled(&OPERATIONS, &rows.operations), labelled(&FLEET_ACTIONS, &rows.fleet_actions)]
                .concat(),
            batches: rows.batches.get(),
            batches_closed: labelled(&CLOSINGS, &rows.closings),
            batches_differing: rows.differing.get(),
            workers_registered: rows.workers.get(),
            workers_ended: labelled(&WORKER_ENDS, &rows.worker_ends),
            steps_in_error: rows.steps_in_error.get(),
            tasks_reopened: rows.tasks_reopened.get(),
            inbox_taken: rows.inbox_taken.get(),
            inbox_refused: rows.inbox_refused.get(),
            inbox_oldest_ms: self.inbox_oldest_ms.load(Ordering::Relaxed),
            committed_ms_ago: now_ms.saturating_sub(self.committed_ms.load(Ordering::Relaxed)),
            lease_remaining_ms: milliseconds(leased_until) - milliseconds(now_ms),
            upkeep_at: Some(self.upkeep_at.load(Ordering::Relaxed)).filter(|&at| at > 0),
            postgres_up: self.postgres_up.load(Ordering::Relaxed),
            draining: self.draining.load(Ordering::Relaxed),
        }
    }

    /// Those namespaces of which there is a template; the last is that of all others, when there are any.
    fn namespace_counts(&self) -> Vec<NamespaceCounts> {
        let counts = self.namespaces.iter().enumerate().filter_map(|(place, namespace)| {
            let counts = TemplateCounts {
                tasks_created: namespace.tasks_created.get(),
                tasks_ended: namespace.tasks_ended.each_ref().map(Count::get),
                steps_dispatched: namespace.steps_dispatched.get(),
                steps_ended: namespace.steps_ended.each_ref().map(Count::get),
            };
            let others = (place == NAMESPACES_MAX && counts != TemplateCounts::default()).then(|| OTHER.into());
            let namespace = namespace.name.get().cloned().or(others)?;
            Some(NamespaceCounts { namespace, counts })
        });
        counts.collect()
    }
}

fn labelled(labels: &[&'static str], counts: &[Count]) -> Labelled {
    labels.iter().copied().zip(counts.iter().map(Count::get)).collect()
}

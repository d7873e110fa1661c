//! What the rows of a commit group tell, added up when it is handed over and counted when it is durable.

use tasker_engine::{BatchState, Disposition, Save};

/// Results that were not simply accepted, by what was made of them.
pub(super) const DISPOSITIONS: [&str; 5] = ["duplicate", "late", "unknown", "contradicting", "refused"];
/// What operators do to tasks.
pub(super) const OPERATIONS: [&str; 3] = ["cancel", "retry", "resolve"];
/// What operators do to namespaces and workers.
pub(super) const FLEET_ACTIONS: [&str; 3] = ["pause", "resume", "drain"];
/// How batches close.
pub(super) const CLOSINGS: [&str; 4] = ["completed", "failed", "timeout", "cancelled"];
/// How registrations of workers end.
pub(super) const WORKER_ENDS: [&str; 5] = ["superseded", "reconnected", "lost", "unregistered", "drained"];

/// Rows by what they say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(super) dispositions: [u64; DISPOSITIONS.len()],
    pub(super) operations: [u64; OPERATIONS.len()],
    pub(super) fleet_actions: [u64; FLEET_ACTIONS.len()],
    pub(super) batches: u64,
    pub(super) closings: [u64; CLOSINGS.len()],
    pub(super) differing: u64,
    pub(super) workers: u64,
    pub(super) worker_ends: [u64; WORKER_ENDS.len()],
    pub(super) steps_in_error: u64,
    pub(super) tasks_reopened: u64,
    pub(super) inbox_taken: u64,
    pub(super) inbox_refused: u64,
}

impl Tally {
    /// Adds a row.
    pub fn add(&mut self, save: &Save) {
        match save {
            Save::BatchClosed { state, differences, .. } => {
                self.differing += u64::from(!differences.is_empty());
                match state {
                    BatchState::Completed => self.closings[0] += 1,
                    BatchState::Failed => self.closings[1] += 1,
                    BatchState::Timeout => self.closings[2] += 1,
                    BatchState::Cancelled => self.closings[3] += 1,
                    BatchState::Created | BatchState::Published | BatchState::Executing => {}
                }
            }
            Save::AttemptFailed(failed) => self.steps_in_error += u64::from(failed.retry_in_ms.is_none()),
            Save::ResultReceived(received) => match received.disposition {
                Disposition::Accepted => {}
                Disposition::Duplicate => self.dispositions[0] += 1,
                Disposition::Late => self.dispositions[1] += 1,
                Disposition::Unknown => self.dispositions[2] += 1,
                Disposition::Contradicting => self.dispositions[3] += 1,
                Disposition::Refused => self.dispositions[4] += 1,
            },
            Save::OperatorAction(action) => {
                if let Some(place) = OPERATIONS.iter().position(|&operation| operation == action.kind()) {
                    self.operations[place] += 1;
                }
            }
            Save::FleetAction(acted) => {
                if let Some(place) = FLEET_ACTIONS.iter().position(|&action| action == acted.action.kind.name()) {
                    self.fleet_actions[place] += 1;
                }
            }
            Save::Batch(_) => self.batches += 1,
            Save::WorkerRegistered { .. } => self.workers += 1,
            Save::WorkerEnded { reason, .. } => {
                if let Some(place) = WORKER_ENDS.iter().position(|end| end == reason) {
                    self.worker_ends[place] += 1;
                }
            }
            Save::TaskReopened { .. } => self.tasks_reopened += 1,
            Save::InboxTaken { refusal: None, .. } => self.inbox_taken += 1,
            Save::InboxTaken { refusal: Some(_), .. } => self.inbox_refused += 1,
            Save::Template(_)
            | Save::Task(_)
            | Save::TaskFinished { .. }
            | Save::StepSettled(_)
            | Save::StepReturned { .. }
            | Save::Command(_) => {}
        }
    }
}

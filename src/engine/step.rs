//! One step of a task: its state machine. Only this file changes a step's phase.
//!
//! ```text
//!            satisfied          dispatched            succeeded
//!  Waiting ------------> Ready ------------> Dispatched ----------> Settled
//!     |                  ^  ^ ^               |  |  |                  ^
//!     |   retry due      |  | '---------------'  |  |  failed, final   |
//!     |  .---------------'  |    returned        |  '--------> Failed  |
//!     |  |                  '--------------------|--------------'      |
//!     | Retrying <-------------------------------'   reset             |
//!     |             failed, to be retried                              |
//!     '---- bypassed (only Waiting, Ready) ----------------------------'
//!  resolved: from every phase but Settled and Cancelled to Settled
//!  cancelled: from Waiting, Ready, Dispatched, Retrying to Cancelled
//! ```

use bytes::Bytes;

use crate::effect::SettledKind;
use crate::id::BatchId;
use crate::state::StepState;
use crate::time::Mono;

/// Where a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Some parents are not satisfied.
    Waiting,
    /// Could run since then.
    Ready(Mono),
    /// In a batch; `attempts` is the number of the open attempt.
    Dispatched(BatchId),
    /// The last attempt failed, the next may start then.
    Retrying(Mono),
    /// Has its result.
    Settled(SettledKind),
    /// Ended in error.
    Failed,
    /// Its task was cancelled.
    Cancelled,
}

/// What can happen to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepInput {
    Satisfied,
    Dispatched(BatchId),
    Succeeded,
    FailedToRetry(Mono),
    FailedForGood,
    Returned,
    RetryDue,
    Cancelled,
    Reset,
    Resolved,
    Bypassed,
}

/// A step that is asked for what its phase does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Illegal;

/// A step of a live task.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    phase: Phase,
    /// Attempts made, the open one included; returned ones do not count.
    pub attempts: u32,
    /// Most attempts: the template's limit, on top of the attempts made at the last reset.
    pub limit: u32,
    /// Parents that are not satisfied.
    pub parents_left: u32,
    /// Bytes of the results of its satisfied parents.
    pub parents_bytes: u64,
    /// Children that still need the result.
    pub children_left: u32,
    /// Attempts lost with their worker since the last reset.
    pub losses: u32,
    /// Checksum of the accepted result.
    pub checksum: u64,
    /// The result, as long as a child needs it.
    pub result: Option<Bytes>,
}

impl Step {
    pub fn new(limit: u32, parents: u32, children: u32, now: Mono) -> Step {
        Step {
            phase: if parents == 0 { Phase::Ready(now) } else { Phase::Waiting },
            attempts: 0,
            limit,
            parents_left: parents,
            parents_bytes: 0,
            children_left: children,
            losses: 0,
            checksum: 0,
            result: None,
        }
    }

    /// A step as the store found it.
    pub fn restored(mut self, phase: Phase) -> Step {
        self.phase = phase;
        self
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What was ready before its task's time had come begins to wait now.
    pub fn wait_from(&mut self, now: Mono) {
        if let Phase::Ready(since) = &mut self.phase {
            *since = now;
        }
    }

    /// The transition table.
    pub fn next(phase: Phase, input: StepInput, now: Mono) -> Result<Phase, Illegal> {
        use {Phase as P, StepInput as I};
        match (phase, input) {
            (P::Waiting, I::Satisfied) | (P::Retrying(_), I::RetryDue) | (P::Failed, I::Reset) => Ok(P::Ready(now)),
            (P::Ready(_), I::Dispatched(batch)) => Ok(P::Dispatched(batch)),
            (P::Dispatched(_), I::Succeeded) => Ok(P::Settled(SettledKind::Complete)),
            (P::Dispatched(_), I::FailedToRetry(at)) => Ok(P::Retrying(at)),
            (P::Dispatched(_), I::FailedForGood) => Ok(P::Failed),
            (P::Dispatched(_), I::Returned) => Ok(P::Ready(now)),
            (P::Waiting | P::Ready(_), I::Bypassed) => Ok(P::Settled(SettledKind::Bypassed)),
            (P::Waiting | P::Ready(_) | P::Dispatched(_) | P::Retrying(_), I::Cancelled) => Ok(P::Cancelled),
            (P::Waiting | P::Ready(_) | P::Dispatched(_) | P::Retrying(_) | P::Failed, I::Resolved) => {
                Ok(P::Settled(SettledKind::ResolvedManually))
            }
            (
                P::Waiting | P::Ready(_) | P::Dispatched(_) | P::Retrying(_) | P::Settled(_) | P::Failed | P::Cancelled,
                I::Satisfied
                | I::Dispatched(_)
                | I::Succeeded
                | I::FailedToRetry(_)
                | I::FailedForGood
                | I::Returned
                | I::RetryDue
                | I::Cancelled
                | I::Reset
                | I::Resolved
                | I::Bypassed,
            ) => Err(Illegal),
        }
    }

    /// Applies an input and counts attempts; on `Err` nothing has changed.
    pub fn apply(&mut self, input: StepInput, now: Mono) -> Result<(), Illegal> {
        self.phase = Step::next(self.phase, input, now)?;
        match input {
            StepInput::Dispatched(_) => self.attempts += 1,
            StepInput::Returned => self.attempts -= u32::from(!planted!(ReturnUsesAttempt)),
            StepInput::Reset => self.losses = 0,
            StepInput::Satisfied
            | StepInput::Succeeded
            | StepInput::FailedToRetry(_)
            | StepInput::FailedForGood
            | StepInput::RetryDue
            | StepInput::Cancelled
            | StepInput::Resolved
            | StepInput::Bypassed => {}
        }
        Ok(())
    }
}

impl Phase {
    /// The state under which everybody else knows the phase.
    pub fn state(self) -> StepState {
        match self {
            Phase::Waiting | Phase::Ready(_) => StepState::Pending,
            Phase::Dispatched(_) => StepState::InProgress,
            Phase::Retrying(_) => StepState::WaitingForRetry,
            Phase::Settled(kind) => kind.state(),
            Phase::Failed => StepState::Error,
            Phase::Cancelled => StepState::Cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn phases() -> Vec<Phase> {
        vec![
            Phase::Waiting,
            Phase::Ready(Mono(3)),
            Phase::Dispatched(BatchId(Uuid::nil())),
            Phase::Retrying(Mono(5)),
            Phase::Settled(SettledKind::Complete),
            Phase::Settled(SettledKind::Bypassed),
            Phase::Settled(SettledKind::ResolvedManually),
            Phase::Failed,
            Phase::Cancelled,
        ]
    }

    #[test]
    fn every_pair_of_phase_and_input_is_in_the_table() {
        // A row a phase, a column an input; `.` is refused.
        let expected = [
            // sat  disp  succ  retry fail  ret   due   canc  reset res   byp
            "ready .     .     .     .     .     .     cancelled . resolved bypassed",
            ".     dispatched . .    .     .     .     cancelled . resolved bypassed",
            ".     .     complete retrying failed ready . cancelled . resolved .",
            ".     .     .     .     .     .     ready cancelled . resolved .",
            ".     .     .     .     .     .     .     .     .     .     .",
            ".     .     .     .     .     .     .     .     .     .     .",
            ".     .     .     .     .     .     .     .     .     .     .",
            ".     .     .     .     .     .     .     .     ready resolved .",
            ".     .     .     .     .     .     .     .     .     .     .",
        ];
        let batch = BatchId(Uuid::nil());
        let inputs = [
            StepInput::Satisfied,
            StepInput::Dispatched(batch),
            StepInput::Succeeded,
            StepInput::FailedToRetry(Mono(5)),
            StepInput::FailedForGood,
            StepInput::Returned,
            StepInput::RetryDue,
            StepInput::Cancelled,
            StepInput::Reset,
            StepInput::Resolved,
            StepInput::Bypassed,
        ];
        let name = |result: Result<Phase, Illegal>| match result {
            Err(Illegal) => ".",
            Ok(Phase::Waiting) => "waiting",
            Ok(Phase::Ready(Mono(4))) => "ready",
            Ok(Phase::Ready(_)) => "ready at another time",
            Ok(Phase::Dispatched(_)) => "dispatched",
            Ok(Phase::Retrying(_)) => "retrying",
            Ok(Phase::Settled(SettledKind::Complete)) => "complete",
            Ok(Phase::Settled(SettledKind::Bypassed)) => "bypassed",
            Ok(Phase::Settled(SettledKind::ResolvedManually)) => "resolved",
            Ok(Phase::Failed) => "failed",
            Ok(Phase::Cancelled) => "cancelled",
        };
        for (phase, row) in phases().into_iter().zip(expected) {
            let cells: Vec<&str> = row.split_whitespace().collect();
            assert_eq!(cells.len(), inputs.len());
            for (input, cell) in inputs.into_iter().zip(cells) {
                assert_eq!(name(Step::next(phase, input, Mono(4))), cell, "{phase:?} with {input:?}");
            }
        }
    }

    #[test]
    fn a_returned_attempt_is_not_counted() {
        let mut step = Step::new(1, 0, 0, Mono(3));
        step.apply(StepInput::Dispatched(BatchId(Uuid::nil())), Mono(4)).expect("ready");
        assert_eq!(step.attempts, 1);
        step.apply(StepInput::Returned, Mono(5)).expect("dispatched");
        assert_eq!(step.attempts, 0);
        assert_eq!(step.phase(), Phase::Ready(Mono(5)));
    }
}

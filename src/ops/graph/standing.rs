//! How a step is, for those who look: its state, and whether nothing but a worker is missing.

use tasker_engine::StepState;

/// A step's state, with *ready* told from *pending*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Ended in error.
    Error,
    /// An attempt failed; the next waits for its time.
    WaitingForRetry,
    /// A worker has it.
    InProgress,
    /// Could run now.
    Ready,
    /// Waits for parents.
    Pending,
    /// Cancelled.
    Cancelled,
    /// Settled by hand, or bypassed.
    ResolvedManually,
    /// Has a result.
    Complete,
}

impl Standing {
    /// Every standing: what needs a look first.
    pub const ALL: [Standing; 8] = [
        Standing::Error,
        Standing::WaitingForRetry,
        Standing::InProgress,
        Standing::Ready,
        Standing::Pending,
        Standing::Cancelled,
        Standing::ResolvedManually,
        Standing::Complete,
    ];

    /// Of a step with this state, that could run now or not.
    pub const fn of(state: StepState, ready: bool) -> Standing {
        match state {
            StepState::Pending if ready => Standing::Ready,
            StepState::Pending => Standing::Pending,
            StepState::InProgress => Standing::InProgress,
            StepState::Complete => Standing::Complete,
            StepState::Error => Standing::Error,
            StepState::Cancelled => Standing::Cancelled,
            StepState::ResolvedManually => Standing::ResolvedManually,
            StepState::WaitingForRetry => Standing::WaitingForRetry,
        }
    }

    /// The name: that of the state, or `ready`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Standing::Error => "error",
            Standing::WaitingForRetry => "waiting_for_retry",
            Standing::InProgress => "in_progress",
            Standing::Ready => "ready",
            Standing::Pending => "pending",
            Standing::Cancelled => "cancelled",
            Standing::ResolvedManually => "resolved_manually",
            Standing::Complete => "complete",
        }
    }
}

//! What happened to tasks and steps, for whoever counts it. The rows that are saved say less: not of which template a task
//! is, and not how long a step has waited.

use crate::effect::{FailureCause, SettledKind};
use crate::state::TaskState;

/// Something that counts as soon as it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A task was made.
    TaskCreated {
        /// Place of its template in [`Engine::template_keys`](crate::Engine::template_keys).
        template: u32,
    },
    /// A task has ended.
    TaskEnded {
        /// As above.
        template: u32,
        /// How.
        state: TaskState,
        /// Milliseconds since it was made, by the wall clock.
        lived_ms: u64,
    },
    /// A step was handed to a worker.
    StepDispatched {
        /// As above.
        template: u32,
        /// Milliseconds for which it was ready and waited.
        queued_ms: u64,
    },
    /// A step was settled, or an attempt of it is over.
    StepEnded {
        /// As above.
        template: u32,
        /// How.
        end: StepEnd,
        /// How long its handler ran, in microseconds, as its worker says; 0 when nothing is known of it.
        ran_us: u64,
    },
}

macro_rules! step_ends {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// How a step was settled, or an attempt of it ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum StepEnd { $($(#[$doc])* $variant,)* }

        impl StepEnd {
            /// Every end, in the order of the type.
            pub const ALL: &[StepEnd] = &[$(StepEnd::$variant,)*];

            /// The name, as in SQL where it has one.
            pub const fn as_str(self) -> &'static str {
                match self { $(StepEnd::$variant => $text,)* }
            }
        }
    };
}

step_ends! {
    /// With a result.
    Complete = "complete",
    /// Skipped by its request.
    Bypassed = "bypassed",
    /// Settled by an operator.
    ResolvedManually = "resolved_manually",
    /// Its handler failed.
    Failed = "failed",
    /// Its deadline passed.
    TimedOut = "timed_out",
    /// Its worker was lost.
    WorkerLost = "worker_lost",
    /// It came back unrun.
    Returned = "returned",
}

impl StepEnd {
    /// Whether a worker says how long it ran.
    pub const fn has_run(self) -> bool {
        matches!(self, StepEnd::Complete | StepEnd::Failed)
    }
}

impl From<SettledKind> for StepEnd {
    fn from(kind: SettledKind) -> StepEnd {
        match kind {
            SettledKind::Complete => StepEnd::Complete,
            SettledKind::Bypassed => StepEnd::Bypassed,
            SettledKind::ResolvedManually => StepEnd::ResolvedManually,
        }
    }
}

impl From<FailureCause> for StepEnd {
    fn from(cause: FailureCause) -> StepEnd {
        match cause {
            FailureCause::Failed => StepEnd::Failed,
            FailureCause::TimedOut => StepEnd::TimedOut,
            FailureCause::WorkerLost => StepEnd::WorkerLost,
        }
    }
}

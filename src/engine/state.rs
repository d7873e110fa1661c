//! The states of tasks, steps and batches, under the names that SQL, wire and logs use.

macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every state.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// The name.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }

            /// The state with this name.
            pub fn from_name(name: &str) -> Option<$name> {
                match name { $($text => Some($name::$variant),)* _ => None }
            }
        }
    };
}

states! {
    /// State of a task.
    TaskState {
        /// Nothing of it was dispatched yet.
        Pending = "pending",
        /// At least one step was dispatched or has ended.
        InProgress = "in_progress",
        /// Every step is complete.
        Complete = "complete",
        /// No step can run any more, and at least one ended in error.
        Error = "error",
        /// Cancelled by a client or an operator.
        Cancelled = "cancelled",
        /// Every step is complete or was resolved by hand, at least one by hand.
        ResolvedManually = "resolved_manually",
    }
}

states! {
    /// State of a step.
    StepState {
        /// Not dispatched: waits for parents, a worker or its task's `run_at`.
        Pending = "pending",
        /// A worker has it.
        InProgress = "in_progress",
        /// It has a result.
        Complete = "complete",
        /// It failed for good.
        Error = "error",
        /// Its task was cancelled before it ended.
        Cancelled = "cancelled",
        /// An operator settled it, or the request bypassed it.
        ResolvedManually = "resolved_manually",
        /// An attempt failed; the next waits for its time.
        WaitingForRetry = "waiting_for_retry",
    }
}

states! {
    /// State of a batch.
    BatchState {
        /// Decided, not yet durable.
        Created = "created",
        /// Durable and sent.
        Published = "published",
        /// The worker reported something of it.
        Executing = "executing",
        /// Every step of it is accounted for.
        Completed = "completed",
        /// Its worker was lost or left.
        Failed = "failed",
        /// At least one of its steps passed its deadline.
        Timeout = "timeout",
        /// Every step of it was cancelled.
        Cancelled = "cancelled",
    }
}

impl TaskState {
    /// Whether the task has ended.
    pub const fn is_final(self) -> bool {
        match self {
            TaskState::Pending | TaskState::InProgress => false,
            TaskState::Complete | TaskState::Error | TaskState::Cancelled | TaskState::ResolvedManually => true,
        }
    }
}

impl StepState {
    /// Whether children may start.
    pub const fn satisfies_dependents(self) -> bool {
        match self {
            StepState::Complete | StepState::ResolvedManually => true,
            StepState::Pending
            | StepState::InProgress
            | StepState::Error
            | StepState::Cancelled
            | StepState::WaitingForRetry => false,
        }
    }

    /// Whether the step has ended.
    pub const fn is_final(self) -> bool {
        match self {
            StepState::Complete | StepState::ResolvedManually | StepState::Error | StepState::Cancelled => true,
            StepState::Pending | StepState::InProgress | StepState::WaitingForRetry => false,
        }
    }
}

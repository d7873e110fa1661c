//! Bugs planted on purpose, one at a time and for one thread, so that the simulation can show that it catches them. Compiled with the
//! feature `planted` only.

use std::cell::Cell;

/// A bug of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// A report counts whatever attempt it names.
    AttemptNotCompared,
    /// A report counts whichever worker sends it.
    RegistrationNotCompared,
    /// A step that has its result takes another.
    SecondResultAccepted,
    /// A result that comes twice frees two slots.
    SlotFreedTwice,
    /// A worker gets one step more than it has slots.
    CreditOffByOne,
    /// A step is ready when one of its last two parents is done.
    ChildReadyEarly,
    /// A step gets one attempt more than its limit.
    AttemptLimitOffByOne,
    /// The steps of a worker that fell silent stay with it.
    LostStepsStay,
    /// A completion closes its batch over steps that are open.
    CompletionClosesOpenSteps,
    /// What the store knows under an idempotency key is not looked at.
    KeyForgotten,
    /// A step may lose any number of workers.
    PoisonLimitIgnored,
    /// A step that comes back unrun has used an attempt.
    ReturnUsesAttempt,
    /// The next attempt does not wait for its time.
    RetryBeforeItsTime,
    /// The next attempt never comes.
    RetryForgotten,
    /// A step whose task was cancelled stays open in its batch.
    CancelledStepStaysOpen,
    /// A result after the deadline counts.
    LateResultAccepted,
    /// A task does not wait for its time.
    RunAtIgnored,
    /// A result that changed nothing is acknowledged and not kept.
    LedgerSkipped,
    /// A parent's result is dropped while a child still needs it.
    ParentResultDropped,
    /// A task with a failed step is called complete.
    FailureOverlooked,
    /// What becomes ready in a paused namespace is handed out.
    PauseIgnored,
}

impl Planted {
    /// All of them.
    pub const ALL: [Planted; 21] = [
        Planted::AttemptNotCompared,
        Planted::RegistrationNotCompared,
        Planted::SecondResultAccepted,
        Planted::SlotFreedTwice,
        Planted::CreditOffByOne,
        Planted::ChildReadyEarly,
        Planted::AttemptLimitOffByOne,
        Planted::LostStepsStay,
        Planted::CompletionClosesOpenSteps,
        Planted::KeyForgotten,
        Planted::PoisonLimitIgnored,
        Planted::ReturnUsesAttempt,
        Planted::RetryBeforeItsTime,
        Planted::RetryForgotten,
        Planted::CancelledStepStaysOpen,
        Planted::LateResultAccepted,
        Planted::RunAtIgnored,
        Planted::LedgerSkipped,
        Planted::ParentResultDropped,
        Planted::FailureOverlooked,
        Planted::PauseIgnored,
    ];
}

thread_local! {
    static PRESENT: Cell<Option<Planted>> = const { Cell::new(None) };
}

/// Gives engines on this thread a bug, or none.
pub fn plant(bug: Option<Planted>) {
    PRESENT.set(bug);
}

pub(crate) fn is_planted(bug: Planted) -> bool {
    PRESENT.get() == Some(bug)
}

//! The pure decision core of Tasker Core: what happened comes in as events, what must be saved and sent goes out.
//!
//! No clock, no randomness, no threads, no I/O: time and seeds are arguments. The same events at the same times give the
//! same effects, so a simulator can run years of faults in seconds.
//!
//! The contract with whoever drives an [`Engine`]:
//! 1. Take all events that are waiting, give each to [`Engine::handle`], let [`Engine::pass_deadlines`] act on the time,
//!    then call [`Engine::plan`] once. All three add to one [`Effects`].
//! 2. Write the saves in one transaction, in their order.
//! 3. Only when that is committed, release the deliveries, in their order.
//! 4. When the transaction is refused, this engine is ahead of the store: [`recover`](Engine::recover) another, let it
//!    [`succeed`](Engine::succeed) this one, and give it the same events one at a time.

/// Whether a bug is planted; see `planted`.
#[cfg(feature = "planted")]
macro_rules! planted {
    ($bug:ident) => {
        crate::planted::is_planted(crate::planted::Planted::$bug)
    };
}
/// No bug is planted without the feature of that name.
#[cfg(not(feature = "planted"))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

mod attempt;
mod batch;
mod census;
mod completion;
mod config;
mod dag;
mod deadlines;
mod delivery;
mod dispatch;
mod effect;
mod engine;
mod event;
mod explain;
mod figures;
mod fleet;
mod hash;
mod id;
mod inquiries;
mod inspect;
mod line;
mod liveness;
mod loads;
mod mark;
mod operate;
mod planner;
#[cfg(feature = "planted")]
mod planted;
mod progress;
mod recover;
mod refusal;
mod registry;
mod report;
mod results;
mod retry;
mod snapshot;
mod span;
mod stall;
mod state;
mod status;
mod step;
mod submit;
mod succession;
mod task;
mod template;
mod time;
mod waiters;
mod workers;

pub use config::*;
pub use dag::{Cycle, Dag};
pub use delivery::*;
pub use effect::*;
pub use engine::Engine;
pub use event::*;
pub use explain::*;
pub use fleet::*;
pub use id::*;
pub use loads::LoadTurn;
pub use mark::{Mark, StepEnd};
#[cfg(feature = "planted")]
pub use planted::{Planted, plant};
pub use refusal::*;
pub use report::*;
pub use results::StrangeReports;
pub use retry::{Backoff, BackoffKind, RETRY_AFTER_MS_MAX, parse_retry_after};
pub use snapshot::*;
pub use span::{AttemptEnd, Span, SpanOf};
pub use state::*;
pub use submit::Submission;
pub use template::{
    ContextCheck, ContextError, DEPENDENCIES_MAX, STEPS_MAX, StepTemplate, Template, TemplateError, TemplateKey,
};
pub use time::*;

/// The checksum by which two payloads are told apart: XXH3, 64 bits. It is stored with each accepted result.
pub fn checksum(payload: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(payload)
}

//! The pure decision core of Tasker Core: what happened comes in as events, what must be saved and sent goes out.

mod dag;
mod retry;
mod template;

pub use dag::{Cycle, Dag};
pub use retry::{Backoff, BackoffKind, RETRY_AFTER_MS_MAX, parse_retry_after};
pub use template::{
    ContextCheck, ContextError, DEPENDENCIES_MAX, STEPS_MAX, StepTemplate, Template, TemplateError, TemplateKey,
};

//! The filter language of task lists, the same in the API, on the pages and on the command line. It knows what a filter says,
//! not how it is answered: that is the store's.
//!
//! A filter is words with blanks between them; a task has to fulfil them all.
//!
//! ```text
//! state:error namespace:shop step:charge since:1h ctx.order.id:42 -tag:test "card declined"
//! ```
//!
//! | term | tasks |
//! |---|---|
//! | `state:error` | in this state: `pending`, `in_progress`, `complete`, `error`, `cancelled`, `resolved_manually` |
//! | `namespace:shop`, `name:order`, `version:1.0.0` | of these templates |
//! | `tag:vip` | with this tag |
//! | `key:ORDER-7` | with this idempotency key |
//! | `id:0197f3a2` | with this id; its beginning will do |
//! | `initiator:ada`, `correlation:r-17` | whose request says so |
//! | `priority:5`, `priority:>5`, `priority:<=0`, `priority:1..9` | with such a priority |
//! | `since:1h`, `until:2026-11-25T10:00` | created at this time or later; created before it |
//! | `ctx.order.id:42` | whose context has this value there, compared as text: `42` is not `42.0`, a digit is never lost |
//! | `step:charge` | with a step of this name |
//! | `step.state:error` | with a step in this state: those of tasks, and `waiting_for_retry` |
//! | `worker:w-1` | with a step that this worker has run |
//! | `error:Timeout` | with a failed attempt whose class, code or message contains this, in upper or lower case |
//! | `timeout`, `"card declined"` | with this text in context, key, tags, initiator, reason, correlation id or the message of a failed attempt, in upper or lower case; a task id finds that task |
//!
//! - `-` before a term negates it: `-tag:test`. `since` and `until` are each other's negation, and take no `-`.
//! - A key that comes again, and values with commas, are alternatives: `state:error,cancelled` is `state:error state:cancelled`.
//!   Negated ones exclude each: `-tag:a,b` has neither tag. Free texts are no alternatives: each has to occur.
//! - `step`, `step.state`, `worker` and `error` speak of the same step: `step:charge step.state:error` finds tasks whose step
//!   `charge` is in error. Negated ones restrict that step (`step:charge -step.state:complete`). With negated ones alone, no
//!   step of the task is like that (`-error:Timeout`).
//! - Values with blanks, commas or quotes stand in double quotes, in which `\"` and `\\` are a quote and a backslash. A part of
//!   a path with a dot, a colon or a blank does, too: `ctx."order id".x:1`. Numbers in paths count elements of arrays.
//! - Times are RFC 3339, without an offset in UTC, without a time of day midnight; or so long ago: `30s`, `15m`, `1h`, `7d`.
//!
//! [`Filter`] parses it, and its `Display` writes the canonical text, which parses to the same filter.

mod canonical;
mod error;
mod moment;
mod parse;
mod values;

use std::str::FromStr;

pub use canonical::quote;
pub use error::{Error, Problem};
pub use moment::Moment;
pub use values::{IdPrefix, PriorityRange, StepState, TaskState};

/// Longest filter in bytes: far more than anybody types, and short enough for an address of a page.
pub const FILTER_BYTES_MAX: usize = 2_000;

/// Most values of a filter, all terms together. Each is compared with every task that is looked at.
pub const VALUES_MAX: usize = 50;

/// Most parts of a path into the context.
pub const PATH_PARTS_MAX: usize = 16;

/// All keys, in the order of the canonical text; `ctx.` stands for all paths into the context.
pub const KEYS: [&str; 17] = [
    "state",
    "namespace",
    "name",
    "version",
    "tag",
    "key",
    "id",
    "initiator",
    "correlation",
    "priority",
    "since",
    "until",
    "ctx.",
    "step",
    "step.state",
    "worker",
    "error",
];

/// What has to be true of a task. The default selects all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Its state.
    pub state: Values<TaskState>,
    /// Namespace of its template.
    pub namespace: Values<String>,
    /// Name of its template.
    pub name: Values<String>,
    /// Version of its template.
    pub version: Values<String>,
    /// Its tags.
    pub tag: Values<String>,
    /// Its idempotency key.
    pub key: Values<String>,
    /// Its id.
    pub id: Values<IdPrefix>,
    /// Who asked for it.
    pub initiator: Values<String>,
    /// The correlation id of its request.
    pub correlation: Values<String>,
    /// Its priority.
    pub priority: Values<PriorityRange>,
    /// Created then or later.
    pub since: Option<Moment>,
    /// Created before.
    pub until: Option<Moment>,
    /// Values of its context; no path comes twice.
    pub context: Vec<(Vec<String>, Values<String>)>,
    /// Names of a step.
    pub step: Values<String>,
    /// States of that step.
    pub step_state: Values<StepState>,
    /// Workers that had that step.
    pub worker: Values<String>,
    /// What class, code or message of a failed attempt of that step contains.
    pub error: Values<String>,
    /// Free texts. Each of `any` must occur, none of `none`.
    pub text: Values<String>,
}

/// What is said of one key: one of `any`, unless it is empty, and none of `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values<T> {
    /// Alternatives.
    pub any: Vec<T>,
    /// Exclusions.
    pub none: Vec<T>,
}

impl<T> Default for Values<T> {
    fn default() -> Values<T> {
        Values { any: Vec::new(), none: Vec::new() }
    }
}

impl<T: PartialEq> Values<T> {
    /// Whether nothing is said of the key.
    pub fn is_empty(&self) -> bool {
        self.any.is_empty() && self.none.is_empty()
    }

    /// Another alternative or exclusion, unless it is there already.
    pub fn add(&mut self, negated: bool, value: T) {
        let values = if negated { &mut self.none } else { &mut self.any };
        if !values.contains(&value) {
            values.push(value);
        }
    }
}

impl Filter {
    /// Parses a filter.
    pub fn parse(text: &str) -> Result<Filter, Error> {
        parse::parse(text)
    }

    /// Whether it selects all tasks.
    pub fn is_empty(&self) -> bool {
        *self == Filter::default()
    }

    /// Whether it says anything of steps.
    pub fn has_step_terms(&self) -> bool {
        !(self.step.is_empty() && self.step_state.is_empty() && self.worker.is_empty() && self.error.is_empty())
    }

    /// The values of a path into the context, to add to.
    pub fn context_at(&mut self, path: Vec<String>) -> &mut Values<String> {
        let place = self.context.iter().position(|(known, _)| *known == path).unwrap_or_else(|| {
            self.context.push((path, Values::default()));
            self.context.len() - 1
        });
        &mut self.context[place].1
    }

    /// The states that a task may be in.
    pub fn states(&self) -> Vec<TaskState> {
        allowed(&TaskState::ALL, &self.state)
    }
}

/// The members of a closed set that some values admit.
pub(crate) fn allowed<T: Copy + PartialEq>(all: &[T], values: &Values<T>) -> Vec<T> {
    let is_allowed = |value: &T| (values.any.is_empty() || values.any.contains(value)) && !values.none.contains(value);
    all.iter().copied().filter(is_allowed).collect()
}

impl FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Filter, Error> {
        Filter::parse(text)
    }
}

#[cfg(test)]
mod tests;

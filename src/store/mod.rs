//! Postgres: the only place with SQL. It writes commit groups, gives the ground state back, and answers questions.
//!
//! It knows what rows mean, but decides nothing: saves come from the engine, and what to do about an error is for the
//! server to say. One [`Writer`] owns a lane and with it the right to write; readers use a small pool beside it.
//!
//! ```text
//!   claim ──► Writer ──commit──► Ok ──► commit ──► ...
//!               ▲        ├─────► Err(Refused)      nothing of the group is written; split it, or refuse its event
//!               │        ├─────► Err(LostLease)    stop: somebody else owns the lane
//!               │        └─────► Err(Unavailable)  nobody knows whether it is written ──► resume finds out
//!               └──────────────────── Ok ◄──────────────────────────────────────────────────┘
//! ```

mod bind;
mod connect;
mod diagnose;
mod dossier;
mod error;
mod fleet;
mod group;
mod inbox;
mod inspect;
mod json;
mod lane;
mod listing;
mod measure;
mod migrate;
mod pages;
mod recover;
pub mod retention;
mod rows;
mod scratch;
mod search;
mod statement;
mod step_file;
mod templates;
mod workers;
mod writer;

pub use connect::pool;
pub use diagnose::{
    ClockFacts, Diagnosis, InboxFacts, LaneFacts, MissingPartition, OpenTransaction, RefusedCommand, SchemaFacts,
    ServerFacts, Slot, TableFacts, diagnose,
};
pub use dossier::{Dossier, EXCERPT_BYTES_MAX, Excerpt, Payload, StepLine, dossier, payload};
pub use error::Error;
pub use fleet::last_errors;
pub use group::Group;
pub use inbox::{Found, InboxRow, InboxRows, find_task, take_inbox};
pub use inspect::{StepView, TaskView, lookup_keys, ping, task_status};
pub use lane::{Broker, claim};
pub use listing::LIST_TIMEOUT;
pub use measure::{Mark, Measure, Server, StepTimes};
pub use migrate::{MIGRATOR, MigrationReport, ensure_partitions, migrate, missing_migrations};
pub use pages::{
    ActCursor, ActedOn, Acts, Attempt, AttemptState, BatchDetail, BatchFilter, BatchPage, BatchRow, BatchStep,
    DEAD_TASKS_MAX, DeadEnd, DeadEnds, Failing, LedgerEntry, NamespaceRow, Namespaces, OperatorAct, Registration,
    StepHistory, StepNode, TIMELINE_ROWS_MAX, TaskDetail, Timeline, TimelineRow, Transition, TransitionCursor,
    Transitions, UNFINISHED_COUNTED_MAX, acts, batch_detail, dead_ends, list_batches, namespaces, operator_acts,
    registrations, step_history, step_nodes, task_detail, timeline, transitions,
};
pub use recover::{Recovered, load_outcomes, load_task, recover};
pub use scratch::Scratch;
pub use search::{
    Budget, COUNT_MAX, Count, Cursor, LastError, PAGE_TASKS_MAX, Page, TaskRow, count_tasks, count_tasks_within,
    search_tasks, search_tasks_within,
};
pub use step_file::{PARENTS_MAX, StepFile, step_file};
pub use templates::{StoredTemplate, stored_templates};
pub use writer::{Committed, Writer};

//! End-to-end stories: a real Postgres, real sockets and real Ruby worker processes around one broker. Each module is one
//! promise of the product. Nothing sleeps: a test waits for an answer, a line of a log, or a handler at its gate.

mod announcing;
mod awake;
mod bench;
mod concurrency;
mod corruptions;
mod draining;
mod events;
mod exactly_once;
mod flood;
mod idle;
mod invariants;
mod large_results;
mod limit;
mod metrics;
mod operators;
mod postgres_away;
mod progress;
mod reconciliation;
mod refusals;
mod refused_rows;
mod restart;
mod retention;
mod retries;
mod security;
mod stalled;
mod submission;
mod support;
mod tracing;
mod try_task;
mod versions;
mod workloads;

#[path = "../peers/mod.rs"]
mod peers;

//! Chaos on real processes: brokers, Ruby workers and a Postgres of their own are killed, stopped, cut off and slowed down,
//! at moments that a seed decides, while mixed tasks run. Then everything that was promised is looked up, in the database
//! and in what the handlers noted outside of it. CONTRIBUTING.md says how to run many rounds.

mod checks;
mod clock;
mod clocks;
mod cluster;
mod fault;
mod fleet;
mod plan;
mod postgres;
mod process;
mod proxy;
mod recovery;
mod report;
mod round;
mod rounds;
mod scene;
mod standby;
mod submitter;

#[path = "../stories/invariants.rs"]
mod invariants;
#[path = "../stories/support/mod.rs"]
mod support;

//! A deterministic simulation of all of Tasker Core's moving parts: the real engine in a broker process, an in-memory store
//! that checks every save, a network, workers and clients, in virtual time and with every fault that a seed calls for.
//! The same seed gives the same history. See CONTRIBUTING.md for how to run it.

mod broker;
mod bugs;
mod checks;
mod client;
mod faults;
mod network;
mod replay;
mod rng;
mod run;
mod schedule;
mod search;
mod worker;

#[path = "../../src/engine/tests/scenarios/count.rs"]
mod count;
#[allow(dead_code, reason = "shared with the engine's scenarios, which use more of it")]
#[path = "../../src/engine/tests/scenarios/store.rs"]
mod store;
#[allow(dead_code, reason = "shared with the engine's scenarios, which use more of it")]
#[path = "../../src/engine/tests/scenarios/world.rs"]
mod world;

pub use bugs::Bug;
pub use run::{Summary, run};
pub use search::{Failure, Found, from_env, search};

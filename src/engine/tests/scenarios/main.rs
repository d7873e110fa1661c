//! The engine as a whole: scenarios as text, random runs, and large graphs, on an in-memory store that refuses what must
//! never be saved.

mod count;
mod counting;
mod dispatching;
mod draining;
mod explaining;
mod fleet;
mod inquiring;
mod large;
mod leaving;
mod operating;
mod progressing;
mod random;
mod registering;
mod reporting;
mod restarting;
mod script;
mod store;
mod submitting;
mod telling;
mod tracing;
mod world;

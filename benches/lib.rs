//! Fixed work for engine and codec: the same events and messages in every run, on every machine. The protocol is compiled
//! from the broker's own sources, so that nothing else of the broker has to be built to count its instructions.

pub mod broker;
pub mod messages;
#[path = "../src/protocol/mod.rs"]
pub mod protocol;
pub mod shapes;
pub mod snapshot;

/// The only part of a workload whose instructions `benches/count` counts: it switches collection on when it enters this
/// function, and off when it leaves it.
#[inline(never)]
pub fn counted<T>(work: impl FnOnce() -> T) -> T {
    std::hint::black_box(work())
}

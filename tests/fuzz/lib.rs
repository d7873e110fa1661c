//! The modules under test, compiled from the broker's own sources: without sockets, database and command line, which
//! would take minutes to build and are not fuzzed.

#[path = "../../src/filter/mod.rs"]
pub mod filter;
#[path = "../../src/protocol/mod.rs"]
pub mod protocol;
#[path = "../../src/template/mod.rs"]
pub mod template;
#[path = "../../src/time.rs"]
pub mod time;

//! The HTTP side of a real broker: who may come in, what is refused, what is answered.

mod acts;
mod api;
mod document;
mod doors;
mod lists;
mod probes;
mod task_page;
mod visitor;

#[path = "../stories/support/mod.rs"]
mod support;

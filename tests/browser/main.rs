//! The dashboard in a real browser, with a real broker and Ruby workers behind it: what operators do at night, every page as it
//! looks, and how soon the picture of a large task is there.
//!
//! ```text
//! TASKER_SCREENSHOTS=target/screenshots cargo nextest run --test browser every_page
//! TASKER_TASK_PAGE_RUNS=5 cargo nextest run --test browser --no-capture large_tasks
//! ```

mod acts;
mod browser;
mod doors;
mod large;
mod looks;
mod pages;
mod scene;
mod sound;

#[path = "../http/document.rs"]
mod document;
#[path = "../stories/support/mod.rs"]
mod support;
#[path = "../http/visitor.rs"]
mod visitor;

//! The dashboard: pages that are complete without JavaScript, and follow events with it.
//!
//! [`base`] is the frame of every page; a component is a function of its own file that returns markup. Nothing here asks the
//! broker: pages are drawn from what they are given. Nothing is inline, neither scripts nor styles: the policy forbids it.

pub mod assets;
pub mod badge;
pub mod base;
pub mod chart;
pub mod confirm;
pub mod empty;
pub mod filter_box;
pub mod graph;
pub mod notice;
pub mod pager;
pub mod payload;
pub mod table;
pub mod task;
pub mod time;

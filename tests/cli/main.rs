//! The `tasker` command as its users run it: without a broker, and against a ROUTER that plays one.

mod client;
mod commands;
mod contexts;
#[path = "../stories/support/database.rs"]
#[allow(dead_code, reason = "the stories use the rest")]
mod database;
mod doctor;
mod examples;
mod fake_broker;
mod keys;
mod offline;
mod serve;
mod service;
mod tasker;
mod top;

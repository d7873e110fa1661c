//! Tasker Core: a workflow orchestration broker over ZeroMQ and Postgres.

pub mod protocol;

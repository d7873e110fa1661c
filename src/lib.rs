//! Tasker Core: a workflow orchestration broker over ZeroMQ and Postgres.

pub mod archive;
pub mod awake;
pub mod bench;
pub mod cli;
pub mod client;
pub mod config;
pub mod filter;
pub mod gateway;
pub mod ops;
pub mod otel;
pub mod postgres;
pub mod protocol;
pub mod security;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod template;
pub mod time;

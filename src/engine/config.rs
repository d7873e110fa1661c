//! The limits and times that the engine works with. Defaults and meanings for operators are in `config/default.toml`.

/// Settings of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Workers send a heartbeat this often, in milliseconds. Three missed ones make a worker suspect.
    pub heartbeat_ms: u64,
    /// Silence after which a worker is lost, in milliseconds.
    pub worker_timeout_ms: u64,
    /// After a restart, how long workers may take to come back and claim their batches, in milliseconds.
    pub recovery_grace_ms: u64,
    /// Most steps in one batch.
    pub batch_steps_max: u32,
    /// Payload (contexts, inputs, parents' results) after which a batch takes no further step, in bytes.
    pub batch_bytes_max: u64,
    /// Largest batch as it is sent, in bytes. A step that alone is larger ends in error.
    pub delivery_bytes_max: u64,
    /// Worker losses after which a step ends in error, whatever its limit says.
    pub poison_limit: u32,
    /// Most unfinished steps in memory; a submission beyond is refused as `overloaded`.
    pub steps_max: u64,
    /// Payload of unfinished tasks in memory (requests, and results that steps wait for), in bytes; with as much a
    /// submission is refused as `overloaded`.
    pub held_bytes_max: u64,
    /// Most clients waiting for the end of tasks.
    pub waiters_max: u32,
    /// Longest wait for the end of a task, in milliseconds.
    pub wait_ms_max: u64,
    /// Largest concurrency that a worker may register.
    pub worker_concurrency_max: u32,
    /// Most registered workers.
    pub workers_max: u32,
    /// Whether spans of tasks and attempts are told.
    pub spans: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            heartbeat_ms: 5_000,
            worker_timeout_ms: 30_000,
            recovery_grace_ms: 15_000,
            batch_steps_max: 100,
            batch_bytes_max: 4 * 1024 * 1024,
            delivery_bytes_max: 16 * 1024 * 1024,
            poison_limit: 3,
            steps_max: 2_000_000,
            held_bytes_max: 1 << 30,
            waiters_max: 10_000,
            wait_ms_max: 60_000,
            worker_concurrency_max: 10_000,
            workers_max: 10_000,
            spans: false,
        }
    }
}

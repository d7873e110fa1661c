//! A broker in a process of its own, as in production, so that it can be killed.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;

use super::Database;
use super::ruby::dies_with_us;

pub struct BrokerProcess {
    child: Child,
    ready: Ready,
    settings: Vec<(String, String)>,
}

/// What `tasker broker -o json` says when it can be reached.
#[derive(Clone, Deserialize)]
struct Ready {
    work: Vec<String>,
    events: Vec<String>,
    #[serde(default)]
    http: String,
}

impl BrokerProcess {
    /// Starts a broker on free ports and waits until it can be reached.
    pub fn start(database: &Database) -> BrokerProcess {
        BrokerProcess::start_with(database, &[])
    }

    /// The same with other settings: `section.key` and value.
    pub fn start_with(database: &Database, settings: &[(&str, &str)]) -> BrokerProcess {
        let any = vec!["tcp://127.0.0.1:0".to_owned()];
        let variable = |key: &str| format!("TASKER__{}", key.replace('.', "__").to_uppercase());
        let settings = settings.iter().map(|(key, value)| (variable(key), (*value).to_owned())).collect();
        BrokerProcess::at(database, &Ready { work: any.clone(), events: any, http: String::new() }, settings)
    }

    /// Starts another one where this one was.
    pub fn start_again(&mut self, database: &Database) {
        *self = BrokerProcess::at(database, &self.ready.clone(), std::mem::take(&mut self.settings));
    }

    fn at(database: &Database, endpoints: &Ready, settings: Vec<(String, String)>) -> BrokerProcess {
        let mut command = broker_command(database.url(), &endpoints.work.join(","), &endpoints.events.join(","));
        command.envs(settings.iter().cloned()).env("TASKER__LOG__LEVEL", "warn").stdout(Stdio::piped());
        let mut child = command.spawn().expect("cargo has built it");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the pipe stands");
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("not ready: {line:?}: {error}"));
        BrokerProcess { child, ready, settings }
    }

    pub fn work(&self) -> &str {
        &self.ready.work[0]
    }

    pub fn events(&self) -> &str {
        &self.ready.events[0]
    }

    /// Where the API is.
    pub fn http(&self) -> &str {
        &self.ready.http
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process number"));
        kill(pid, signal).expect("it is our child");
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Waits until it has ended.
    pub fn ended(&mut self) -> ExitStatus {
        self.child.wait().expect("it is our child")
    }

    /// Resident memory in bytes, as the kernel counts it now.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it is our child");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it runs");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// How often its threads have gone to sleep or were put to sleep.
    pub fn context_switches(&self) -> u64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it is our child");
        let of_thread = |status: String| -> u64 {
            let counts = status.lines().filter(|line| line.contains("ctxt_switches:"));
            counts.map(|line| line.rsplit('\t').next().and_then(|count| count.parse().ok()).unwrap_or(0)).sum()
        };
        let statuses = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("status")).ok());
        statuses.map(of_thread).sum()
    }

    /// Stops it in order.
    pub fn stop(&mut self) {
        self.terminate();
        let status = self.ended();
        assert!(status.success(), "the broker ended with {status}");
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A broker at these endpoints that says as JSON when it can be reached. `TASKER_CHAOS_BINARY` names another build of the
/// program than the one that was built with the tests.
pub fn broker_command(database_url: &str, work: &str, events: &str) -> Command {
    let program = std::env::var_os("TASKER_CHAOS_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_tasker").into());
    let mut command = Command::new(program);
    command.args(["broker", "--output", "json"]).env("DATABASE_URL", database_url);
    command
        .env("TASKER__ENDPOINTS__WORK", work)
        .env("TASKER__ENDPOINTS__EVENTS", events)
        .env("TASKER__HTTP__LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null());
    dies_with_us(&mut command);
    command
}

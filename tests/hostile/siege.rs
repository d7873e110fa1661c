//! A broker under attack, with an honest worker and client, and the broker's memory as the kernel counts it.

use std::fs;
use std::time::Instant;

use tasker_core::client::Client;
use tasker_core::protocol::*;
use uuid::Uuid;

use crate::support::{BrokerProcess, Database, PATIENCE, RubyWorker, Serves, repository};

/// A mebibyte.
pub const MIB: u64 = 1 << 20;
/// What a broker's memory moves by when nothing is wrong: caches, buffers, a few threads' arenas.
pub const NOISE: u64 = 32 * MIB;
/// The bound for a connection in these tests, twice the largest message.
pub const PEER_BYTES_MAX: u64 = 32 * MIB;

/// Dropped from top to bottom: the broker before its database.
pub struct Siege {
    client: Client,
    _worker: RubyWorker,
    pub broker: BrokerProcess,
    pub database: Database,
}

impl Siege {
    pub fn begin() -> Siege {
        Siege::with(&[])
    }

    /// A broker with other settings, and a worker that serves it.
    pub fn with(settings: &[(&str, &str)]) -> Siege {
        let database = Database::create();
        let peer_bytes_max = PEER_BYTES_MAX.to_string();
        let settings = [&[("LIMITS__PEER_BYTES_MAX", &*peer_bytes_max)], settings].concat();
        let broker = BrokerProcess::start_with(&database, &settings);
        let handlers = [repository("tests/stories/ruby/handlers.rb")];
        let templates = [repository("tests/stories/templates/chain.yaml")];
        let worker = RubyWorker::start(broker.work(), "honest", 4, &handlers, &Serves::Files(&templates));
        worker.registered();
        let client = Client::connect(broker.work(), PATIENCE).expect("the endpoint is valid");
        let mut siege = Siege { client, _worker: worker, broker, database };
        siege.carries_on();
        siege
    }

    /// The honest client and worker do not notice: a workflow of four steps goes through.
    pub fn carries_on(&mut self) {
        let request = TaskRequest {
            namespace: "stories".to_owned(),
            name: "chain".to_owned(),
            context: JsonText::new("{}"),
            ..TaskRequest::default()
        };
        let submitted = InitializeTask { correlation_id: Uuid::nil(), tasks: vec![request] };
        let outcome = self.client.request(submitted).expect("the broker answers").tasks.remove(0);
        let task = outcome.task_id.unwrap_or_else(|| panic!("refused: {:?}", outcome.error));
        let waited = self.client.wait_for_task(task, Some(PATIENCE)).expect("the broker answers");
        assert!(waited.finished && waited.task.state == "complete", "{:?}", waited.task);
    }

    pub fn health(&mut self) -> HealthReport {
        let check = HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Full };
        self.client.request(check).expect("the broker answers")
    }

    /// Refusals with a code so far.
    pub fn refusals(&mut self, code: ErrorCode) -> u64 {
        let refusals = self.health().refusals;
        refusals.iter().find(|refusal| refusal.code == code.as_str()).map_or(0, |refusal| refusal.count)
    }

    /// Lets honest work go on until the health report shows something.
    pub fn until(&mut self, what: &str, shows: impl Fn(&HealthReport) -> bool) -> HealthReport {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let report = self.health();
            if shows(&report) {
                return report;
            }
            assert!(Instant::now() < deadline, "waited in vain until {what}: {report:?}");
            self.carries_on();
        }
    }

    /// The broker's memory now; its peak is counted anew from here.
    pub fn memory(&self) -> Memory {
        let pid = self.broker.pid();
        fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("it is our child");
        Memory { pid, before: in_memory(pid, "VmRSS") }
    }
}

/// A process's memory before an attack.
pub struct Memory {
    pid: u32,
    before: u64,
}

impl Memory {
    /// The peak since must be within a bound.
    pub fn stayed_within(&self, bound: u64) {
        let grown = in_memory(self.pid, "VmHWM").saturating_sub(self.before);
        eprintln!("the broker's memory was {} MiB and grew by {} MiB", self.before / MIB, grown / MIB);
        assert!(grown <= bound, "memory grew by {} MiB, more than {} MiB", grown / MIB, bound / MIB);
    }
}

/// A line of the process's status, in bytes.
fn in_memory(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it is our child, and lives");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib: u64 = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).expect("a number of kB");
    kib * 1024
}

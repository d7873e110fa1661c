//! Cores that wait awake while work goes on: the kernel is asked, and asked no longer when nothing goes on.

use tasker_core::awake::{DEVICE, WakeLatency};
use tasker_core::config::Config;
use tasker_core::protocol::TaskRequest;
use tasker_core::server::{Broker, Error, Options};

use crate::support::{Database, Stage};

/// Longer than the test takes.
const LONG_MS: u64 = 60_000;

fn submit(stage: &mut Stage) {
    stage.register("chain");
    stage.submit(TaskRequest { namespace: "stories".to_owned(), name: "chain".to_owned(), ..TaskRequest::default() });
}

/// On a machine that gives no leave to ask, the broker says so.
#[test]
fn a_commit_keeps_cores_awake_for_a_while() {
    let latency = match WakeLatency::open() {
        Ok(latency) => latency,
        Err(error) => return refused(&error.to_string()),
    };
    let is_awake = || latency.is_awake().expect("the device can be read");
    // The device is the machine's: somebody else may have asked, and then nobody can see that we do not.
    let others_ask = is_awake();

    let mut stage = Stage::with(|config| config.broker.keep_awake_ms = LONG_MS);
    submit(&mut stage);
    assert!(is_awake(), "it goes on for a minute");
    // That request ends with its broker, and the next one by itself.
    stage.stop();
    stage.start_with(|config| config.broker.keep_awake_ms = 1);
    submit(&mut stage);
    stage.until("nothing is asked any more", |_| (others_ask || !is_awake()).then_some(()));
}

fn refused(problem: &str) {
    let database = Database::create();
    let mut config = Config::default();
    config.broker.keep_awake_ms = LONG_MS;
    let error = Broker::start(Options { config, database_url: database.url().to_owned() }).expect_err("it may not ask");
    assert!(matches!(error, Error::Awake(_)), "{error}");
    assert_eq!(error.to_string(), format!("broker.keep_awake_ms is set, and {problem}"));
    assert!(problem.starts_with(DEVICE), "{problem}");
}

//! A worker and client in another language, written from PROTOCOL.md alone, against a whole broker.

use std::path::Path;
use std::process::Command;

use tasker_core::config::Config;
use tasker_core::postgres::testing::TestDatabase;
use tasker_core::server::{Broker, Options};
use tasker_core::store::MIGRATOR;

/// A Python with pyzmq and msgpack; `tests/run` makes one.
const PYTHON_VARIABLE: &str = "TASKER_TEST_PYTHON";

#[tokio::test(flavor = "multi_thread")]
async fn a_python_worker_runs_the_linear_workload_exactly() {
    let python = std::env::var(PYTHON_VARIABLE).expect("TASKER_TEST_PYTHON names a Python with pyzmq and msgpack");
    let database = TestDatabase::create(&MIGRATOR).await.expect("Postgres is installed");
    let mut config = Config::default();
    config.endpoints.work = vec!["tcp://127.0.0.1:0".to_owned()];
    config.endpoints.events = vec!["tcp://127.0.0.1:0".to_owned()];
    let database_url = database.url.clone();
    let broker = tokio::task::spawn_blocking(|| Broker::start(Options { config, database_url }));
    let broker = broker.await.expect("no panic").expect("the broker starts");
    let work = broker.endpoints().work[0].clone();

    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut worker = Command::new(python);
    worker.arg(folder.join("tests/clients/raw_worker.py")).arg(work);
    worker.arg(folder.join("examples/linear_workflow/template.yaml"));
    let run = tokio::task::spawn_blocking(move || worker.output());
    let output = run.await.expect("no panic").expect("Python starts");
    let (told, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{complaints}");
    let exact = "340282366920938463463374607431768211456";
    assert!(told.contains(exact), "{told}");

    tokio::task::spawn_blocking(move || broker.stop()).await.expect("no panic").expect("the broker stops in order");
}

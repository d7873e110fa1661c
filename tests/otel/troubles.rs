//! A collector that is away, or says nothing, costs spans and nothing else.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use tasker_core::config::Config;
use tasker_core::otel::export_timeout;
use tasker_core::protocol::*;
use uuid::Uuid;

use crate::collector::Collector;
use crate::support::{BrokerProcess, Database, PATIENCE, connect, task, worker_at};

/// Runs ten tasks to their ends.
fn work(broker: &BrokerProcess) {
    let worker = worker_at(broker.work(), "one", 5, &["chain"]);
    worker.registered();
    let mut client = connect(broker.work());
    let command = InitializeTask { correlation_id: Uuid::nil(), tasks: vec![task("chain", "{}"); 10] };
    for task in client.request(command).expect("accepted").tasks {
        let waited = client.wait_for_task(task.task_id.expect("accepted"), Some(PATIENCE)).expect("the broker answers");
        assert_eq!((waited.finished, waited.task.state.as_str()), (true, "complete"));
    }
    assert!(worker.stop().success());
}

/// A number from the broker's metrics.
fn metric(database: &Database, broker: &BrokerProcess, series: &str) -> u64 {
    let text = database.run(async {
        let answer = reqwest::get(format!("{}/metrics", broker.http())).await.expect("it answers");
        answer.text().await.expect("text")
    });
    let line = text.lines().find_map(|line| line.strip_prefix(series)).unwrap_or_else(|| panic!("no {series}: {text}"));
    line.trim().parse().expect("a number")
}

#[test]
fn with_the_collector_away_work_goes_on_and_the_spans_are_counted() {
    let database = Database::create();
    let nobody = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    let endpoint = format!("http://{}", nobody.local_addr().expect("it is bound"));
    drop(nobody);
    let mut broker = BrokerProcess::start_with(&database, &[("otel.endpoint", &endpoint)]);
    work(&broker);
    let deadline = Instant::now() + PATIENCE;
    // A task and four attempts each, and perhaps some waits.
    while metric(&database, &broker, "tasker_spans_dropped_total{reason=\"export_failed\"}") < 50 {
        assert!(Instant::now() < deadline, "nothing is counted");
    }
    assert_eq!(metric(&database, &broker, "tasker_spans_dropped_total{reason=\"queue_full\"}"), 0);
    assert_eq!(metric(&database, &broker, "tasker_spans_exported_total"), 0);
    broker.stop();
}

#[test]
fn a_collector_that_never_answers_keeps_nobody_from_working_or_ending() {
    let database = Database::create();
    let collector = Collector::mute();
    let mut broker = BrokerProcess::start_with(&database, &[("otel.endpoint", collector.endpoint())]);
    work(&broker);
    collector.until("something is sent", |spans| !spans.is_empty());
    broker.stop();
    assert_eq!(database.number("SELECT count(*) FROM tasker.lanes WHERE owner IS NULL"), 1, "the lease was given back");
}

#[test]
fn the_variables_of_the_standard_say_how_long_a_collector_may_take() {
    let said = |all: Option<&str>, traces: Option<&str>| {
        export_timeout(|name| if name == "OTEL_EXPORTER_OTLP_TIMEOUT" { all } else { traces }.map(str::to_owned))
    };
    assert_eq!(said(None, None), Duration::from_secs(10));
    assert_eq!(said(Some("500"), None), Duration::from_millis(500));
    assert_eq!(said(Some("500"), Some("700")), Duration::from_millis(700));
    assert_eq!(said(Some("soon"), Some("")), Duration::from_secs(10));
}

#[test]
fn only_an_address_without_tls_is_taken_and_the_variable_of_the_standard_gives_one() {
    let load = |name: &str, value: &str| {
        let config = Config::load(None, [(name.to_owned(), value.to_owned())]).map_err(|error| error.to_string());
        config.map(|config| config.otel.endpoint)
    };
    let standard = "OTEL_EXPORTER_OTLP_ENDPOINT";
    assert_eq!(load(standard, "http://collector:4318").as_deref(), Ok("http://collector:4318"));
    assert_eq!(load(standard, "").as_deref(), Ok(""));
    for wrong in ["https://collector:4318", "collector:4318", "http://"] {
        let refusal = load("TASKER__OTEL__ENDPOINT", wrong).expect_err("refused");
        assert!(refusal.starts_with("TASKER__OTEL__ENDPOINT: otel.endpoint: "), "{refusal}");
        assert!(refusal.contains("must begin with http://"), "{refusal}");
    }
}

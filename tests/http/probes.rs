//! What supervisors are told.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::support::{BrokerProcess, Database, broker_command, dies_with_us};
use crate::visitor::Visitor;

fn says(visitor: &Visitor, path: &str) -> (u16, String) {
    let answer = visitor.get(path);
    let verdict = answer.json();
    assert_eq!(verdict["status"] == "ok", answer.status == 200, "{verdict}");
    (answer.status, verdict["stage"].as_str().expect("a stage").to_owned())
}

#[test]
fn a_broker_that_is_ready_says_so() {
    let database = Database::create();
    let broker = BrokerProcess::start(&database);
    let visitor = Visitor::of(&broker);
    for path in ["/livez", "/readyz", "/startupz"] {
        assert_eq!(says(&visitor, path), (200, "ready".to_owned()), "{path}");
    }
}

/// The priority of a broker's threads, with their names.
fn nice_of_threads(broker: &BrokerProcess) -> Vec<(String, i64)> {
    let threads = std::fs::read_dir(format!("/proc/{}/task", broker.pid())).expect("it runs");
    let of_thread = |thread: std::path::PathBuf| {
        let stat = std::fs::read_to_string(thread.join("stat")).ok()?;
        let (name, fields) = stat.split_once('(')?.1.rsplit_once(')')?;
        Some((name.to_owned(), fields.split_whitespace().nth(16)?.parse().ok()?))
    };
    threads.filter_map(|thread| of_thread(thread.ok()?.path())).collect()
}

#[test]
fn whoever_looks_gives_way_to_the_broker() {
    let database = Database::create();
    let broker = BrokerProcess::start(&database);
    // It has served something, so that its threads are there.
    assert_eq!(Visitor::of(&broker).get("/").status, 200);
    let threads = nice_of_threads(&broker);
    let (http, others): (Vec<_>, Vec<_>) = threads.iter().partition(|(name, _)| name == "http");
    let own = others.iter().map(|(_, nice)| *nice).min().expect("it has threads");
    assert!(!http.is_empty() && http.iter().all(|(_, nice)| *nice == (own + 10).min(19)), "{threads:?}");
    assert!(others.iter().all(|(_, nice)| *nice == own), "{threads:?}");
}

#[test]
fn a_standby_lives_and_takes_no_work() {
    let database = Database::create();
    let owner = BrokerProcess::start(&database);
    let mut command = broker_command(database.url(), "tcp://127.0.0.1:0", "tcp://127.0.0.1:0");
    dies_with_us(&mut command);
    command.env("TASKER__LOG__LEVEL", "info").env("TASKER__LOG__FORMAT", "json").stderr(Stdio::piped());
    let mut standby = command.stdout(Stdio::null()).spawn().expect("cargo has built it");
    let mut lines = BufReader::new(standby.stderr.take().expect("it is piped")).lines();
    let mut address = None;
    // It says where it listens, and then that it waits.
    for line in &mut lines {
        let line = line.expect("the pipe stands");
        let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
        address = address.or_else(|| line["address"].as_str().map(str::to_owned));
        if line["message"].as_str().is_some_and(|message| message.contains("waiting as its standby")) {
            break;
        }
    }
    let visitor = Visitor::with(&format!("http://{}", address.expect("it listens")), Default::default());
    assert_eq!(says(&visitor, "/livez"), (200, "standby".to_owned()));
    assert_eq!(says(&visitor, "/startupz"), (200, "standby".to_owned()));
    assert_eq!(says(&visitor, "/readyz"), (503, "standby".to_owned()));
    let metrics = visitor.get("/metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.text.contains("tasker_stage{stage=\"standby\"} 1"), "{}", metrics.text);
    assert!(!metrics.text.contains("tasker_lease_epoch"), "it has no lease");
    let refused = visitor.get("/api/v1/workers");
    assert_eq!(refused.problem(), (503, "unavailable".to_owned()));
    assert_eq!(refused.header("retry-after"), "1");
    drop(owner);
    for line in lines {
        if line.expect("the pipe stands").contains("the broker is ready") {
            break;
        }
    }
    assert_eq!(says(&visitor, "/readyz"), (200, "ready".to_owned()));
    standby.kill().expect("it is our child");
    standby.wait().expect("it is our child");
}

#[test]
fn a_loop_that_stands_still_is_not_alive() {
    let database = Database::create();
    let broker = BrokerProcess::start_with(&database, &[("database.lease_seconds", "600")]);
    let visitor = Visitor::of(&broker);
    assert_eq!(says(&visitor, "/livez").0, 200);
    // A thread cannot be stopped from outside; the whole process can, and then nobody answers at all.
    broker.signal(Signal::SIGSTOP);
    let pid = Pid::from_raw(i32::try_from(broker.pid()).expect("a process number"));
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).expect("it is our child");
    assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGSTOP), "all of its threads stand");
    let request = visitor.request(reqwest::Method::GET, "/livez");
    let answer =
        visitor.run(async { tokio::time::timeout(std::time::Duration::from_millis(500), request.send()).await });
    assert!(answer.is_err(), "a stopped process answered");
    broker.signal(Signal::SIGCONT);
    assert_eq!(says(&visitor, "/livez"), (200, "ready".to_owned()));
}

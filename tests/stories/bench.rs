//! `tasker bench` counts what really happened.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tasker_core::awake::WakeLatency;
use tempfile::TempDir;

use crate::support::{PATIENCE, Stage, repository};

fn bench(arguments: &[&str]) -> Output {
    bench_in(&std::env::temp_dir(), arguments)
}

/// A run whose temporary things are in this folder.
fn bench_in(folder: &Path, arguments: &[&str]) -> Output {
    command_in(folder, arguments).output().expect("it can be started")
}

fn command_in(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tasker"));
    command.args(["bench", "--timeout", "60s"]).args(arguments).stdin(Stdio::null());
    command.env_remove("DATABASE_URL").env("TMPDIR", folder);
    command
}

fn passable_folder() -> TempDir {
    let folder = TempDir::with_prefix("b").expect("there is a temporary folder");
    // Under root Postgres runs as another user, who must get through.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).expect("it is ours");
    folder
}

/// What is in a folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(folder).expect("it is ours");
    found.map(|entry| entry.expect("an entry").path()).collect()
}

fn report(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {said}", output.status);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn number(report: &Value, path: &str) -> f64 {
    let found = report.pointer(path).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("no number at {path} in {report:#}"))
}

/// Percentiles that can be of so many values.
fn is_distributed(report: &Value, path: &str, count: f64) {
    let at = |name: &str| number(report, &format!("{path}/{name}"));
    assert!(at("count") == count, "{path}: {} of {count}", at("count"));
    let rising = [at("p50_ms"), at("p90_ms"), at("p99_ms"), at("max_ms")];
    assert!(rising[0] > 0.0 && rising.is_sorted(), "{path}: {rising:?}");
}

#[test]
fn a_run_with_a_broker_of_its_own_counts_every_task_and_leaves_nothing_behind() {
    let folder = passable_folder();
    let output = bench_in(
        folder.path(),
        &[
            "--start",
            "--tasks",
            "300",
            "--warm-up",
            "50",
            "--shape",
            "diamond",
            "--runs",
            "2",
            "--with-limit",
            "-o",
            "json",
        ],
    );
    let report = report(&output);
    assert_eq!((number(&report, "/tasks"), number(&report, "/steps")), (300.0, 1_200.0));
    assert_eq!((number(&report, "/tasks_failed"), number(&report, "/ends_unheard")), (0.0, 0.0));
    let steps_per_second = number(&report, "/steps") / number(&report, "/seconds");
    assert!((number(&report, "/steps_per_second") / steps_per_second - 1.0).abs() < 0.001);
    is_distributed(&report, "/submit_to_complete", 300.0);
    is_distributed(&report, "/submit_to_accepted", 300.0);
    is_distributed(&report, "/started_to_accepted", 1_200.0);
    is_distributed(&report, "/ready_to_started", 1_200.0);
    assert!(number(&report, "/submit_to_accepted/p50_ms") <= number(&report, "/submit_to_complete/p50_ms"));
    // A group is one number in both distributions, and in the database.
    let groups = number(&report, "/commit_sizes/count");
    assert!(groups > 0.0 && groups == number(&report, "/commit_times_us/count"));
    let written = report.pointer("/written/group_sizes").and_then(Value::as_array).expect("the database was asked");
    let in_database: f64 = written.iter().filter_map(|size| size.get(1)?.as_f64()).sum();
    // Groups that committed between the two looks, of broker and database.
    assert!((in_database - groups).abs() <= 5.0, "{in_database} groups in the database, {groups} by the broker");
    assert!(number(&report, "/wal_bytes_per_step") > 100.0);
    let ratio = number(&report, "/steps_per_second") / number(&report, "/limit/steps_per_second");
    assert!((number(&report, "/ratio_to_limit") / ratio - 1.0).abs() < 0.001);
    assert_eq!(number(&report, "/limit/steps"), 1_200.0);
    assert_eq!(report.pointer("/floor"), Some(&Value::Null), "tasks that share commits have none of their own");
    for process in ["broker_us", "postgres_us", "bench_us"] {
        assert!(number(&report, &format!("/cpu/{process}")) > 0.0, "{process}");
    }
    assert!(entries(folder.path()).is_empty(), "{:?}", entries(folder.path()));
}

#[test]
fn a_task_that_is_alone_is_held_against_its_commits_and_round_trips() {
    let folder = passable_folder();
    let load = ["--start", "--tasks", "30", "--warm-up", "5", "--shape", "chain:2", "--in-flight", "1"];
    let output = bench_in(folder.path(), &[&load[..], &["--with-limit", "-o", "json"]].concat());
    let report = report(&output);
    let round = number(&report, "/limit/commit_ms/p50") + number(&report, "/round_trip/p50_ms");
    assert_eq!(number(&report, "/floor/rounds"), 3.0);
    assert!((number(&report, "/floor/ms") - 3.0 * round).abs() < 1e-9);
    let ratio = number(&report, "/submit_to_complete/p50_ms") / number(&report, "/floor/ms");
    assert!((number(&report, "/floor/ratio") - ratio).abs() < 1e-9);
    // Absent where this machine does not let us look.
    assert_eq!(report.pointer("/kept_awake").is_some_and(Value::is_number), WakeLatency::open().is_ok(), "{report}");
}

#[test]
fn being_looked_at_is_compared_with_not_being_looked_at() {
    let folder = passable_folder();
    let sizes = ["--start", "--runs", "2", "--tasks", "400", "--warm-up", "20", "--in-flight", "50"];
    let output = bench_in(folder.path(), &[&sizes[..], &["--with-pollers", "1", "-o", "json"]].concat());
    let report = report(&output);
    assert_eq!(number(&report, "/pollers"), 1.0);
    assert_eq!((number(&report, "/full/setting/in_flight"), number(&report, "/lone/setting/in_flight")), (50.0, 1.0));
    for load in ["full", "lone"] {
        let rounds = report.pointer(&format!("/{load}/rounds")).and_then(Value::as_array).expect("they are told");
        assert_eq!(rounds.len(), 2);
        let steps = |round: &Value, pass: &str| number(round, &format!("/{pass}/steps_per_second"));
        let [first, second] = [0, 1].map(|round| steps(&rounds[round], "polled") / steps(&rounds[round], "quiet"));
        let ratio = |which: &str| number(&report, &format!("/{load}/compared/0/ratio/{which}"));
        assert_eq!((ratio("low"), ratio("high")), (first.min(second), first.max(second)));
        assert!((ratio("median") - (first + second) / 2.0).abs() < 1e-9);
        let compared = report.pointer(&format!("/{load}/compared")).and_then(Value::as_array).expect("they are told");
        assert_eq!(compared.len(), 6, "a figure is missing: {compared:#?}");
        assert!(compared.iter().all(|figure| number(figure, "/quiet") > 0.0 && number(figure, "/polled") > 0.0));
        // Each kind has asked in each of the two passes.
        for look in ["overview", "tasks", "metrics", "api"] {
            assert!(number(&report, &format!("/{load}/polled/{look}/count")) >= 2.0, "{look}");
        }
        assert!(number(&report, &format!("/{load}/polled/events")) > 0.0);
        assert_eq!(number(&report, &format!("/{load}/tasks_failed")), 0.0);
    }
    assert!(entries(folder.path()).is_empty(), "{:?}", entries(folder.path()));
}

#[test]
fn whoever_polls_and_is_refused_ends_the_run() {
    let folder = passable_folder();
    let tokens = folder.path().join("tokens");
    let tasker = || Command::new(env!("CARGO_BIN_EXE_tasker"));
    let made = tasker().args(["token", "new", "anna", "--role", "read", "--file"]).arg(&tokens).output();
    let made = made.expect("it can be started");
    assert!(made.status.success(), "{made:?}");
    let mine = folder.path().join("mine");
    fs::write(&mine, &made.stdout).expect("it is ours");
    let run = |token: &[&Path]| {
        let sizes = ["--start", "--tasks", "40", "--warm-up", "0", "--with-pollers", "1"];
        let mut command = command_in(folder.path(), &sizes);
        for file in token {
            command.arg("--token-file").arg(file);
        }
        command.env("TASKER__HTTP__TOKEN_FILE", &tokens).output().expect("it can be started")
    };
    let refused = run(&[]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{said}");
    // Which of them is refused first is chance: programs are told, people are sent to the log-in.
    let refusals = [" refused with 401", " refused with 303"];
    assert!(said.contains("whoever polls was not answered: GET /"), "{said}");
    assert!(refusals.iter().any(|refusal| said.contains(refusal)), "{said}");
    let let_in = run(&[&mine]);
    assert!(let_in.status.success(), "{let_in:?}");
    assert!(String::from_utf8_lossy(&let_in.stdout).contains("POLLED / QUIET"), "{let_in:?}");
}

#[test]
fn workers_that_run_already_are_measured_at_a_fixed_rate() {
    let mut stage = Stage::open();
    stage.register("chain");
    let worker = stage.worker("here", 20, &["chain"]);
    worker.registered();
    let template = repository("tests/stories/templates/chain.yaml").display().to_string();
    let output = bench(&[
        "--broker",
        &stage.work,
        "--events",
        &stage.events,
        "--database",
        stage.database.url(),
        "--worker",
        "none",
        "--template",
        &template,
        "--tasks",
        "100",
        "--warm-up",
        "0",
        "--open-loop",
        "--rate",
        "200",
        "-o",
        "json",
    ]);
    let report = report(&output);
    assert_eq!(number(&report, "/tasks"), 100.0);
    // The last of 100 tasks is due after 99 two-hundredths of a second, and none is submitted before it is due.
    assert!(number(&report, "/seconds") >= Duration::from_millis(495).as_secs_f64());
    is_distributed(&report, "/submit_to_complete", 100.0);
    let workers = report.pointer("/setting/workers").and_then(Value::as_array).expect("they are listed");
    assert_eq!(workers.len(), 1);
    assert!(workers[0]["language"].as_str().is_some_and(|language| language.starts_with("ruby")), "{workers:?}");
    assert!(number(&report, "/cpu/workers_us") > 0.0);
    assert!(number(&report, "/memory/workers_bytes") > 1e6);
    assert!(worker.stop().success());
}

#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    let folder = passable_folder();
    let mut command = command_in(folder.path(), &["--start", "--tasks", "100000000"]);
    let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("it can be started");
    let deadline = Instant::now() + PATIENCE;
    let is_ready = || entries(folder.path()).iter().any(|broker| broker.join("ready").exists());
    while !is_ready() {
        assert!(Instant::now() < deadline, "no broker is ready");
        std::thread::sleep(Duration::from_millis(10));
    }
    let broker = entries(folder.path())[0].join("ready");
    let broker: Value = serde_json::from_slice(&fs::read(broker).expect("it is ready")).expect("it is JSON");
    let pid = i32::try_from(child.id()).expect("a process number");
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(7));
    assert!(entries(folder.path()).is_empty(), "the folder of the broker is still there");
    let broker = broker["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a process number");
    assert!(kill(Pid::from_raw(broker), None).is_err(), "the broker runs on");
}

#[test]
fn what_the_broker_refuses_is_told() {
    let stage = Stage::open();
    let nowhere = bench(&["--broker", &stage.work, "--tasks", "1"]);
    assert_eq!(nowhere.status.code(), Some(2), "{nowhere:?}");
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("events endpoint"));
    let shape = bench(&["--shape", "ring:3"]);
    assert_eq!(shape.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&shape.stderr).contains("fan-out:N"));
}

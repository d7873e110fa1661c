//! `tasker up` and `tasker broker`, from start to ordered end.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::tasker::{command, run};

/// A broker process that said that it is ready.
pub struct Serving {
    child: Child,
    stdout: BufReader<ChildStdout>,
    ready: Value,
}

impl Serving {
    pub fn start(command: &mut Command) -> Serving {
        let mut child =
            command.args(["-o", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("read");
        if line.is_empty() {
            let output = child.wait_with_output().expect("its end");
            panic!("ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Serving { child, stdout, ready: serde_json::from_str(&line).expect("one line of JSON") }
    }

    pub fn endpoint(&self, name: &str) -> &str {
        self.ready[name][0].as_str().expect("an endpoint")
    }

    pub fn http(&self) -> String {
        self.ready["http"].as_str().expect("an address").to_owned()
    }

    /// Asks for the end, and returns the exit code and what was logged.
    pub fn stop(mut self) -> (Option<i32>, String) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).expect("signal");
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("read");
        assert_eq!(rest, "", "only the endpoints are data");
        let output = self.child.wait_with_output().expect("its end");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn up_brings_everything_and_a_second_start_finds_it_again() {
    let folder = TempDir::new().expect("temporary folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (data, ready_file, template) = (path("data"), path("ready.json"), path("order.yaml"));
    let yaml =
        "name: order\nnamespace_name: shop\nversion: 1.0.0\nstep_templates:\n  - name: pay\n    handler_class: Pay\n";
    std::fs::write(&template, yaml).expect("write");

    let up = ["up", "--port", "0", "--data", &data];
    let broker = Serving::start(command(&up).args(["--template", &template, "--ready-file", &ready_file]));
    let announced: Value = serde_json::from_slice(&std::fs::read(&ready_file).expect("ready file")).expect("JSON");
    assert_eq!(announced, broker.ready);
    let tasker = |broker: &Serving, arguments: &[&str]| {
        let endpoints = ["--broker", broker.endpoint("work"), "--events", broker.endpoint("events")];
        let run = run(command(arguments).args(endpoints));
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.stderr);
        run.stdout
    };
    let task = tasker(&broker, &["task", "submit", "shop/order", "--context", "{\"total\": 209.970}"]);

    // A broker in production does not touch a database that is behind.
    let url = broker.ready["database"].as_str().expect("URL").replace("/tasker?", "/postgres?");
    let behind = run(command(&["broker"]).env("DATABASE_URL", &url).env("TASKER__HTTP__LISTEN", ""));
    assert_eq!(behind.code, 7, "{}", behind.stderr);
    assert!(behind.stderr.contains("error: the database lacks the migrations 1, "), "{}", behind.stderr);
    assert!(behind.stderr.contains("hint: run `tasker migrate`"), "{}", behind.stderr);
    let migrated = run(command(&["migrate"]).env("DATABASE_URL", &url));
    assert_eq!(migrated.code, 0, "{}", migrated.stderr);
    let other = Serving::start(
        command(&["broker"])
            .env("DATABASE_URL", &url)
            .env("TASKER__ENDPOINTS__WORK", "tcp://127.0.0.1:0")
            .env("TASKER__ENDPOINTS__EVENTS", "tcp://127.0.0.1:0")
            .env("TASKER__HTTP__LISTEN", "127.0.0.1:0"),
    );
    assert!(tasker(&other, &["health"]).starts_with("status    ok\n"));
    assert_eq!(other.stop().0, Some(0));

    let (code, log) = broker.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(!std::path::Path::new(&ready_file).exists());
    assert!(!std::path::Path::new(&data).join("cluster/postmaster.pid").exists(), "Postgres still runs");

    let broker = Serving::start(&mut command(&up));
    tasker(&broker, &["step", "resolve", task.trim(), "pay", "--result", "340282366920938463463374607431768211456"]);
    tasker(&broker, &["task", "watch", task.trim()]);
    let status = tasker(&broker, &["task", "status", task.trim(), "--results", "-o", "json"]);
    assert!(status.contains("\"result\": 340282366920938463463374607431768211456"), "{status}");
    assert_eq!(broker.stop().0, Some(0));
}

#[test]
fn a_broker_without_a_database_does_not_start() {
    let run = run(&mut command(&["broker"]));
    assert_eq!(run.code, 5);
    assert!(
        run.stderr.starts_with("error: default: database.url: no database is given\nhint: set DATABASE_URL"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_database_that_is_away_ends_the_start_with_7() {
    let mut broker = command(&["broker"]);
    broker.env("DATABASE_URL", "postgres://anna:secret@127.0.0.1:1/tasker").env("TASKER__HTTP__LISTEN", "");
    let run = run(&mut broker);
    assert_eq!(run.code, 7, "{}", run.stderr);
    assert!(
        run.stderr.starts_with("error: the database is unavailable: ") && !run.stderr.contains("secret"),
        "{}",
        run.stderr
    );
}

#[test]
fn up_checks_what_it_is_given_before_it_starts_anything() {
    let folder = TempDir::new().expect("temporary folder");
    let data = folder.path().join("data");
    let data = data.to_str().expect("UTF-8");
    for (arguments, code, message) in [
        (
            ["--work-endpoint", "tcp://0.0.0.0:0"],
            5,
            "error: the command line: endpoints.work: tcp://0.0.0.0:0 can be reached",
        ),
        (["--template", "/no/such.yaml"], 2, "error: failed to read /no/such.yaml"),
        (["--postgres-bin", "/no/such/bin"], 7, "error: "),
    ] {
        let run = run(command(&["up", "--data", data, "--events-endpoint", "tcp://127.0.0.1:0"])
            .args(arguments)
            .env("RUST_LOG", "error"));
        assert_eq!(run.code, code, "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.starts_with(message), "{arguments:?}: {}", run.stderr);
    }
}

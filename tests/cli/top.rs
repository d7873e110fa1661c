//! `tasker top` against a real broker: one frame, frames for programs, and the terminal as it was when it ends. `tasker health` as a
//! probe of the same broker.

use std::process::Command;

use serde_json::Value;

use crate::database::Database;
use crate::serve::Serving;
use crate::tasker::{Run, command, run, tasker};

/// A broker with a database of its own.
fn broker(database: &Database) -> Serving {
    Serving::start(
        command(&["broker"])
            .env("DATABASE_URL", database.url())
            .env("TASKER__ENDPOINTS__WORK", "tcp://127.0.0.1:0")
            .env("TASKER__ENDPOINTS__EVENTS", "tcp://127.0.0.1:0")
            .env("TASKER__HTTP__LISTEN", "127.0.0.1:0"),
    )
}

fn ask(broker: &Serving, arguments: &[&str]) -> Run {
    let endpoints = ["--broker", broker.endpoint("work"), "--events", broker.endpoint("events"), "--timeout", "10s"];
    run(command(arguments).args(endpoints))
}

#[test]
fn one_frame_has_the_broker_and_its_namespaces() {
    let database = Database::create();
    let broker = broker(&database);
    let folder = tempfile::TempDir::new().expect("temporary folder");
    let path = folder.path().join("order.yaml");
    let yaml =
        "name: order\nnamespace_name: shop\nversion: 1.0.0\nstep_templates:\n  - name: pay\n    handler_class: Pay\n";
    std::fs::write(&path, yaml).expect("written");
    assert_eq!(ask(&broker, &["template", "register", path.to_str().expect("UTF-8")]).code, 0);
    assert_eq!(ask(&broker, &["task", "submit", "shop/order"]).code, 0);
    let frame = ask(&broker, &["top", "--once", "--interval", "200ms"]);
    assert_eq!(frame.code, 0, "{}", frame.stderr);
    assert!(frame.stdout.contains("1 tasks  1 steps ready  0 in progress"), "{}", frame.stdout);
    let namespace = frame.stdout.lines().find(|line| line.starts_with("shop ")).expect("a row");
    assert_eq!(namespace.split_whitespace().collect::<Vec<_>>(), ["shop", "active", "1", "0", "0", "1", "0"]);
    assert!(!frame.stdout.contains('\u{1b}'), "{}", frame.stdout);
    let frame = ask(&broker, &["top", "--once", "--interval", "200ms", "-o", "json"]);
    let look: Value = serde_json::from_str(&frame.stdout).expect("JSON");
    assert_eq!((&look["health"]["steps_ready"], &look["namespaces"][0]["name"]), (&1.into(), &"shop".into()));
    assert_eq!(look["rates"]["steps"], 0.0);
    let no_terminal = ask(&broker, &["top"]);
    assert_eq!(no_terminal.code, 2);
    assert!(no_terminal.stderr.contains("hint: --once"), "{}", no_terminal.stderr);
    assert_eq!(broker.stop().0, Some(0));
}

/// Types into `tasker top` on a terminal of its own.
fn typed(broker: &Serving, steps: &[&str]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/terminal.py");
    let mut python = Command::new("python3");
    python.arg(script).args(steps).args(["--", env!("CARGO_BIN_EXE_tasker"), "top", "--interval", "200ms"]);
    python.args(["--broker", broker.endpoint("work"), "--events", broker.endpoint("events"), "--timeout", "10s"]);
    python.env("TASKER_CONTEXTS", "/no/such/contexts.toml").env("TERM", "xterm-256color");
    let run = run(&mut python);
    assert_eq!(run.code, 0, "{}", run.stderr);
    run.stdout
}

#[test]
fn the_terminal_is_given_back_by_a_key_and_by_a_signal() {
    let database = Database::create();
    let broker = broker(&database);
    let restored = "status 0\nattributes restored\nscreen left\ncursor shown\n";
    // Sorted by the next column, with the help over it and away again, then the end.
    // What is looked for are words that are drawn anew: blanks that were there are not.
    let keys = ["READY▼", "s", "▼", "?", "scroll", "xq"];
    assert_eq!(typed(&broker, &keys), restored);
    assert_eq!(typed(&broker, &["namespaces", "!SIGTERM"]), restored);
    assert_eq!(typed(&broker, &["namespaces", "\u{3}"]), restored);
    assert_eq!(broker.stop().0, Some(0));
}

#[test]
fn a_probe_tells_by_its_code() {
    let database = Database::create();
    let broker = broker(&database);
    let http = broker.http();
    for question in ["--live", "--ready", "--startup"] {
        let probe = tasker(&["health", question, "--http", &http]);
        assert_eq!((probe.code, probe.stdout.as_str()), (0, "ok (ready)\n"), "{question}: {}", probe.stderr);
    }
    let json = tasker(&["health", "--ready", "--http", &http, "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&json.stdout).expect("JSON")["status"], "ok");
    assert_eq!(broker.stop().0, Some(0));
    let gone = tasker(&["health", "--live", "--http", &http]);
    assert_eq!((gone.code, gone.stdout.as_str()), (4, ""), "{}", gone.stderr);
    // Somebody else, who is silent.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", silent.local_addr().expect("an address"));
    assert_eq!(tasker(&["health", "--ready", "--http", &address, "--timeout", "200ms"]).code, 4);
    assert_eq!(tasker(&["health", "--ready", "--live"]).code, 2);
    assert_eq!(tasker(&["health", "--ready", "--http", "https://x"]).code, 2);
}

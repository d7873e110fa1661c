//! What needs no broker, and what happens when there is none.

use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::tasker::{command, run, tasker};

const TASK: &str = "0190b8a4-0000-7000-8000-000000000000";

/// A file in a new folder.
fn file(name: &str, text: &str) -> (TempDir, String) {
    let folder = TempDir::new().expect("temporary folder");
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("write");
    let path = path.to_str().expect("UTF-8").to_owned();
    (folder, path)
}

#[test]
fn help_lists_every_subcommand_and_the_exit_codes() {
    let help = tasker(&["--help"]);
    assert_eq!(help.code, 0);
    for word in [
        "prune",
        "archive",
        "template",
        "task",
        "step",
        "worker",
        "namespace",
        "health",
        "key",
        "config",
        "completions",
        "TASKER_BROKER",
        "Exit codes:",
    ] {
        assert!(help.stdout.contains(word), "{word} is missing in\n{}", help.stdout);
    }
    assert_eq!(tasker(&["--version"]).stdout, concat!("tasker ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn completions_know_the_subcommands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = tasker(&["completions", shell]);
        assert_eq!(script.code, 0, "{shell}");
        assert!(script.stdout.contains("submit") && script.stdout.contains("resolve"), "{shell}");
    }
}

#[test]
fn bad_usage_ends_with_2_and_says_what_is_wrong() {
    let (_folder, broken) = file("context.json", "{\"a\":\n \"\\u0000\"}");
    let cases: &[(&[&str], &str)] = &[
        (&[], "Usage: tasker"),
        (&["tsak"], "unrecognized subcommand 'tsak'"),
        (&["task", "status", "7"], "invalid value '7' for '<TASK>'"),
        (&["task", "submit", "order"], "expected NAMESPACE/NAME or NAMESPACE/NAME@VERSION"),
        (&["task", "submit", "shop/order", "--run-at", "soon"], "expected a time such as"),
        (&["task", "submit", "shop/order", "--for", "5s"], "--wait"),
        (&["task", "submit", "shop/order", "--context", "[1]"], "error: --context must be a JSON object\n"),
        (&["task", "submit", "shop/order", "--context", "{\"a\": 1"], "error: the argument:1:7: not valid JSON: EOF"),
        (&["task", "submit", "shop/order", "--context", &broken], "context.json:2:9: not valid JSON: NUL"),
        (
            &["task", "submit", "shop/order", "--context", "/no/such/file"],
            "error: failed to read /no/such/file: No such file",
        ),
        (&["task", "list", "--limit", "0"], "0 is not in 1..=1000"),
        (&["prune", "--older-than", "0d"], "expected days, 1d to 36500d"),
        (&["task", "list", "--state", "done"], "[possible values: pending, in_progress, complete"),
        (&["health", "--timeout", "5 s"], "none of the units ms, s, m, h, d"),
        (&["health", "--broker", "localhost"], "error: `localhost` cannot be connected to: "),
        (&["template", "register", "/no/such.yaml"], "error: failed to read /no/such.yaml: No such file"),
    ];
    for (arguments, message) in cases {
        let run = tasker(arguments);
        assert_eq!(run.code, 2, "{arguments:?}\n{}", run.stderr);
        assert!(run.stderr.contains(message), "{arguments:?} said\n{}", run.stderr);
        assert_eq!(run.stdout, "", "{arguments:?}");
    }
}

#[test]
fn an_unreachable_broker_ends_with_4_within_the_time_out() {
    // Bound and never listening: no other process can take the port while the test runs.
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = reserved.local_addr().expect("address").port();
    drop(reserved);
    let endpoint = format!("tcp://127.0.0.1:{port}");
    for arguments in [
        &["health"] as &[&str],
        &["task", "status", TASK],
        &["task", "wait", TASK],
        &["task", "watch", TASK],
        &["task", "submit", "shop/order"],
        &["worker", "list"],
        &["namespace", "list"],
        &["task", "why", TASK],
        &["template", "list"],
    ] {
        let started = Instant::now();
        let run = run(command(arguments).args(["--timeout", "300ms", "--broker", &endpoint]));
        assert_eq!(run.code, 4, "{arguments:?}\n{}", run.stderr);
        assert!(
            run.stderr.starts_with(&format!("error: no broker could be reached at {endpoint} within 0.3 s\nhint: "))
        );
        assert_eq!(run.stdout, "");
        // Generous for a busy machine; the default time-out alone would be 5 s.
        assert!(started.elapsed() < Duration::from_secs(4), "{arguments:?} took {:?}", started.elapsed());
    }
}

#[test]
fn a_listener_that_is_no_broker_ends_with_4() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("tcp://{}", silent.local_addr().expect("address"));
    let run = tasker(&["health", "--timeout", "200ms", "--broker", &endpoint]);
    assert_eq!(run.code, 4, "{}", run.stderr);
}

#[test]
fn config_show_prints_toml_with_origins_and_without_the_password() {
    let (_folder, path) = file("broker.toml", "[engine]\nheartbeat_ms = 2000\n");
    let show = run(command(&["config", "show", "-c", &path])
        .env("DATABASE_URL", "postgres://anna:geheim@db/tasker")
        .env("TASKER__LOG__FORMAT", "json"));
    assert_eq!(show.code, 0, "{}", show.stderr);
    for line in [
        "[engine]".to_owned(),
        format!("{:<40} # {path}", "heartbeat_ms = 2000"),
        format!("{:<40} # default", "poison_limit = 3"),
        format!("{:<40} # TASKER__LOG__FORMAT", "format = \"json\""),
        format!("{:<40} # DATABASE_URL", "url = \"postgres://anna:****@db/tasker\""),
    ] {
        assert!(show.stdout.lines().any(|shown| shown == line), "{line} is missing in\n{}", show.stdout);
    }
    assert!(!show.stdout.contains("geheim"));
    // What is shown can be read again.
    let (_folder, again) = file("again.toml", &show.stdout);
    assert_eq!(tasker(&["config", "check", "-c", &again]).code, 0);
}

#[test]
fn config_show_prints_json() {
    let show = tasker(&["config", "show", "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&show.stdout).expect("JSON");
    assert_eq!(shown["engine"]["heartbeat_ms"]["value"], 5_000);
    assert_eq!(shown["engine"]["heartbeat_ms"]["origin"], "default");
}

#[test]
fn a_bad_configuration_ends_with_5_and_names_file_and_key() {
    let (_folder, path) = file("broker.toml", "[engine]\nheartbeat_ms = 10\n");
    for command in ["show", "check"] {
        let run = tasker(&["config", command, "-c", &path]);
        assert_eq!(run.code, 5);
        let message = format!("error: {path}: engine.heartbeat_ms: 10 is out of range, 1000 to 600000 is allowed\n");
        assert!(run.stderr.starts_with(&message), "{}", run.stderr);
        assert_eq!(run.stdout, "");
    }
    let check = run(command(&["config", "check"]).env("TASKER_CONFIG", "/no/such.toml"));
    assert_eq!((check.code, check.stdout.as_str()), (5, ""));
    assert!(check.stderr.contains("/no/such.toml"), "{}", check.stderr);
}

#[cfg(not(feature = "otel"))]
#[test]
fn a_broker_that_was_built_without_traces_does_not_start_with_a_collector() {
    let mut broker = command(&["broker"]);
    broker.env("DATABASE_URL", "postgres://127.0.0.1:1/tasker").env("TASKER__HTTP__LISTEN", "127.0.0.1:0");
    let refused = run(broker.env("TASKER__OTEL__ENDPOINT", "http://127.0.0.1:4318"));
    assert_eq!(refused.code, 5);
    let message = "error: TASKER__OTEL__ENDPOINT: otel.endpoint: this program was built without the feature `otel`";
    assert!(refused.stderr.starts_with(message), "{}", refused.stderr);
    // The variable of the standard is meant for whoever can heed it.
    let show =
        run(command(&["config", "show", "-o", "json"]).env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318"));
    let shown: serde_json::Value = serde_json::from_str(&show.stdout).expect("JSON");
    assert_eq!(shown["otel"]["endpoint"]["value"], "");
}

const TEMPLATE: &str = "\
name: order
namespace_name: shop
version: 1.0.0
step_templates:
  - name: pay
    handler_class: Pay
";

#[test]
fn a_valid_template_passes() {
    let (_folder, path) = file("order.yaml", TEMPLATE);
    let valid = tasker(&["template", "validate", &path]);
    assert_eq!((valid.code, valid.stdout.as_str()), (0, ""), "{}", valid.stderr);
    assert_eq!(valid.stderr, format!("{path}: shop/order@1.0.0 is valid\n"));
}

#[test]
fn the_problems_of_a_template_are_printed_with_their_places() {
    let text = TEMPLATE.replace("handler_class: Pay", "handler_class: Pay\n    colour: red\n    depends_on_step: ship");
    let (_folder, path) = file("order.yaml", &text);
    let invalid = tasker(&["template", "validate", &path]);
    assert_eq!(invalid.code, 1, "{}", invalid.stderr);
    for place in [format!("{path}:7:5: step_templates[0].colour: "), format!("{path}:8:")] {
        assert!(invalid.stdout.lines().any(|line| line.starts_with(&place)), "{place} in\n{}", invalid.stdout);
    }
    let json = tasker(&["template", "validate", &path, "-o", "json"]);
    let files: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(json.code, 1);
    assert_eq!(files[0]["problems"][0]["line"], 7);
    assert_eq!(files[0]["problems"][0]["key"], "step_templates[0].colour");
}

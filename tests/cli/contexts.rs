//! Several brokers by name: what is written, and which of option, variable, context and default counts.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tasker_core::protocol::{ErrorCode, ErrorReply, HealthReport, Message};
use tempfile::TempDir;

use crate::fake_broker::{FakeBroker, Peer};
use crate::tasker::{Run, command, run};

/// A folder with a file of contexts.
struct Home(TempDir);

impl Home {
    fn new() -> Home {
        Home(TempDir::new().expect("temporary folder"))
    }

    fn file(&self) -> std::path::PathBuf {
        self.0.path().join("tasker/contexts.toml")
    }

    fn tasker(&self, arguments: &[&str]) -> Run {
        run(command(arguments).env_remove("TASKER_CONTEXTS").env("XDG_CONFIG_HOME", self.0.path()))
    }
}

fn answers(peer: &mut Peer) {
    let Message::HealthCheck(command) = peer.receive() else { panic!("not a health check") };
    let (correlation_id, status) = (command.correlation_id, "ok".to_owned());
    peer.send(HealthReport { correlation_id, status, ..HealthReport::default() });
}

#[test]
fn contexts_are_added_listed_used_shown_and_removed() {
    let home = Home::new();
    let list = home.tasker(&["context", "list"]);
    assert_eq!((list.code, list.stderr.as_str()), (0, "there are no contexts; `tasker context add` makes one\n"));
    let add = home.tasker(&["context", "add", "prod", "--broker", "tcp://prod:7570", "--http", "http://prod:7572"]);
    assert_eq!((add.code, add.stderr.as_str()), (0, "`prod` is the current context\n"));
    assert_eq!(std::fs::metadata(home.file()).expect("written").mode() & 0o777, 0o600);
    let key = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
    let arguments = ["context", "add", "test", "--broker", "ipc:///run/t", "--server-key", key, "--key-file", "my.key"];
    assert_eq!(home.tasker(&arguments).code, 0);
    assert_eq!(home.tasker(&arguments).code, 2, "it is there");
    let shown = home.tasker(&["context", "show", "test", "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!((&shown["current"], &shown["server_key"]), (&false.into(), &key.into()));
    assert!(Path::new(shown["key_file"].as_str().expect("a file")).is_absolute(), "{shown}");
    assert_eq!(home.tasker(&["context", "use", "test"]).code, 0);
    let list = home.tasker(&["context", "list"]);
    let lines: Vec<&str> = list.stdout.lines().collect();
    assert!(lines[1].starts_with("   prod  tcp://prod:7570") && lines[2].starts_with("*  test"), "{}", list.stdout);
    let script = home.tasker(&["completions", "bash"]).stdout;
    assert!(script.contains("prod test"), "the names are completed");
    assert_eq!(
        home.tasker(&["context", "remove", "test"]).stderr,
        "`test` is removed; there is no current context now\n"
    );
    assert_eq!(home.tasker(&["context", "remove", "test"]).code, 2);
}

#[test]
fn no_secret_gets_into_a_context() {
    let home = Home::new();
    let secret = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs";
    let key = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
    for arguments in
        [["--server-key", key, "--key-file", secret], ["--http", "http://anna:geheim@prod", "--token-file", "t"]]
    {
        let run = home.tasker(&[&["context", "add", "a", "--broker", "tcp://a:1"] as &[&str], &arguments].concat());
        assert_eq!(run.code, 2, "{}", run.stderr);
        assert!(!run.stderr.contains(secret) && !run.stderr.contains("geheim"), "{}", run.stderr);
    }
    assert!(!home.file().exists());
    std::fs::create_dir_all(home.file().parent().expect("a folder")).expect("made");
    std::fs::write(home.file(), format!("[contexts.a]\nsecret_key = \"{secret}\"\n")).expect("written");
    let run = home.tasker(&["health", "--context", "a"]);
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(run.stderr.contains("contexts.a.secret_key: a context holds no secret"), "{}", run.stderr);
    assert!(!run.stderr.contains(secret));
}

#[test]
fn an_option_goes_before_a_variable_and_that_before_a_context() {
    let home = Home::new();
    let nowhere = ["--timeout", "10s"];
    let health = |how: &[&str], variables: &[(&str, &str)]| {
        let arguments = [&["health", "--level", "basic"] as &[&str], &nowhere, how].concat();
        let mut command = command(&arguments);
        run(command.env("TASKER_CONTEXTS", home.file()).envs(variables.iter().copied()))
    };
    for (name, broker) in [("away", "tcp://127.0.0.1:1"), ("also-away", "tcp://127.0.0.1:1")] {
        assert_eq!(home.tasker(&["context", "add", name, "--broker", broker]).code, 0);
    }
    for how in 0..5 {
        let broker = FakeBroker::start(answers);
        let work = broker.work.clone();
        assert_eq!(home.tasker(&["context", "add", "here", "--broker", &work, "--replace"]).code, 0);
        let run = match how {
            // The option, against everything.
            0 => health(&["--broker", &work], &[("TASKER_BROKER", "tcp://127.0.0.1:1"), ("TASKER_CONTEXT", "away")]),
            // The variable, against the contexts.
            1 => health(&[], &[("TASKER_BROKER", &work), ("TASKER_CONTEXT", "away")]),
            // The context that the option names, against that of the variable and the current one.
            2 => health(&["--context", "here"], &[("TASKER_CONTEXT", "away")]),
            3 => health(&[], &[("TASKER_CONTEXT", "here")]),
            // The current one.
            _ => {
                assert_eq!(home.tasker(&["context", "use", "here"]).code, 0);
                health(&[], &[])
            }
        };
        assert_eq!(run.code, 0, "{how}: {}", run.stderr);
        broker.join();
    }
}

#[test]
fn the_context_of_a_submitted_task_is_not_that_of_a_broker() {
    let home = Home::new();
    for option in ["-C", "--context"] {
        let broker = FakeBroker::start(|peer| {
            let Message::InitializeTask(command) = peer.receive() else { panic!("not a submission") };
            assert_eq!(command.tasks[0].context.as_str(), "{\"a\": 1}");
            let refusal = ErrorReply::new(ErrorCode::Overloaded, "not now");
            peer.send(refusal.for_command(command.correlation_id));
        });
        assert_eq!(home.tasker(&["context", "add", "here", "--broker", &broker.work, "--replace"]).code, 0);
        assert_eq!(home.tasker(&["context", "add", "away", "--broker", "tcp://127.0.0.1:1", "--replace"]).code, 0);
        assert_eq!(home.tasker(&["context", "use", "away"]).code, 0);
        let submit = ["task", "submit", "shop/order", "--context", "{\"a\": 1}", "--timeout", "10s"];
        let arguments = match option {
            "-C" => [&submit as &[&str], &["-C", "here"]].concat(),
            option => [&[option, "here"] as &[&str], &submit].concat(),
        };
        assert_eq!(home.tasker(&arguments).code, 3, "{option}");
        broker.join();
    }
}

#[test]
fn an_unknown_context_is_wrong_usage_and_named_with_the_known_ones() {
    let home = Home::new();
    assert_eq!(home.tasker(&["context", "add", "prod", "--broker", "tcp://prod:7570"]).code, 0);
    let run = home.tasker(&["health", "--context", "pord"]);
    assert_eq!((run.code, run.stderr.as_str()), (2, "error: no context is called `pord`; there are prod\n"));
}

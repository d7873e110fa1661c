//! A broker that demands keys: who holds a listed one does what its role allows, everybody else is turned away, and both
//! sides say so. The broker is a process of its own, because the list is read again on a signal.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tasker_core::client::{self, Client, Notice, Subscription};
use tasker_core::protocol::*;
use tasker_core::security::{ClientKeys, KeyPair, PublicKey, Role, SecretKey};
use tempfile::TempDir;
use uuid::Uuid;

use crate::invariants;
use crate::support::{Database, HANDLERS, Log, PATIENCE, RubyWorker, Serves, dies_with_us, read, repository, task};

/// A peer's key, in a file of its own.
struct Key {
    name: String,
    file: PathBuf,
    pair: KeyPair,
    entry: String,
}

/// A broker process with keys; ended before its database.
struct Guarded {
    child: Child,
    work: String,
    events: String,
    log: Arc<Log>,
    public: PublicKey,
    own: SecretKey,
    folder: TempDir,
    database: Database,
}

impl Guarded {
    /// Starts a broker that lists these keys.
    fn start(folder: TempDir, keys: &[&Key]) -> Guarded {
        let database = Database::create();
        let KeyPair { public, secret: own } = KeyPair::generate();
        own.write(&folder.path().join("broker.key"), false).expect("the folder is ours");
        let config = folder.path().join("broker.toml");
        write_list(folder.path(), keys);
        let mut command = Command::new(env!("CARGO_BIN_EXE_tasker"));
        command.args(["broker", "--output", "json", "--config"]).arg(&config).env("DATABASE_URL", database.url());
        command.env("TASKER__LOG__LEVEL", "info").env("TASKER__HTTP__LISTEN", "127.0.0.1:0");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        dies_with_us(&mut command);
        let mut child = command.spawn().expect("cargo has built it");
        let log = Log::of(child.stderr.take().expect("it is piped"));
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("it is piped")).read_line(&mut line).expect("the pipe stands");
        let ready: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("not ready: {error}: {}", log.text()));
        let endpoint = |kind: &str| ready[kind][0].as_str().expect("an endpoint").to_owned();
        let (work, events) = (endpoint("work"), endpoint("events"));
        Guarded { child, work, events, log, public, own, folder, database }
    }

    fn keys(&self, key: &Key) -> ClientKeys {
        ClientKeys { server: self.public, own: key.pair.secret.clone() }
    }

    fn client(&self, key: &Key) -> Client {
        Client::connect_with(&self.work, Some(&self.keys(key)), PATIENCE).expect("the endpoint is valid")
    }

    /// A Ruby worker of the stories' chain with this key.
    fn worker(&self, name: &str, key: &Key, server: &PublicKey) -> RubyWorker {
        let (server, file) = (server.to_string(), key.file.to_str().expect("UTF-8"));
        RubyWorker::start_with(
            &["--server-key", &server, "--key-file", file, "--events", &self.events],
            &self.work,
            name,
            5,
            &[repository(HANDLERS)],
            &Serves::Files(&[repository("tests/stories/templates/chain.yaml")]),
        )
    }

    /// Runs `tasker` with this key.
    fn tasker(&self, key: &Key, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tasker"));
        command.args(arguments).env("TASKER_BROKER", &self.work).env("TASKER_EVENTS", &self.events);
        command.env("TASKER_SERVER_KEY", self.public.to_string()).env("TASKER_KEY_FILE", &key.file);
        let output = command.output().expect("cargo has built it");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("UTF-8"))
    }

    fn hang_up(&self) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGHUP).expect("it is our child");
    }

    fn logged(&self, text: &str) -> String {
        self.log.has(text).unwrap_or_else(|lines| panic!("the broker never said {text:?}: {lines:#?}"))
    }

    /// Ends the broker in order, and looks at what it and the database are left with.
    fn stop(mut self, secrets: &[&Key]) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).expect("it is our child");
        let status = self.child.wait().expect("it is our child");
        assert!(status.success(), "the broker ended with {status}: {}", self.log.text());
        let log = self.log.text();
        for secret in secrets.iter().map(|key| &key.pair.secret).chain([&self.own]) {
            assert!(!log.contains(&secret.reveal_text()), "a secret is in the log");
        }
        invariants::hold(&self.database);
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder() -> TempDir {
    TempDir::with_prefix("tasker").expect("there is a temporary folder")
}

fn key(folder: &TempDir, name: &str, role: Role, namespaces: &str) -> Key {
    let pair = KeyPair::generate();
    let file = folder.path().join(format!("{name}.key"));
    pair.secret.write(&file, false).expect("the folder is ours");
    let entry = format!(
        "[[security.peers]]\nname = \"{name}\"\npublic_key = \"{}\"\nrole = \"{role}\"\n{namespaces}\n",
        pair.public
    );
    Key { name: name.to_owned(), file, pair, entry }
}

/// Writes the broker's configuration.
fn write_list(folder: &Path, keys: &[&Key]) {
    let any = "[\"tcp://127.0.0.1:0\"]";
    let mut text = format!("[endpoints]\nwork = {any}\nevents = {any}\n[security]\ncurve = true\n");
    text.push_str(&format!("secret_key_file = {:?}\n", folder.join("broker.key")));
    text.extend(keys.iter().map(|key| key.entry.as_str()));
    std::fs::write(folder.join("broker.toml"), text).expect("the folder is ours");
}

fn submit(client: &mut Client) -> Uuid {
    let tasks = vec![task("chain", "{\"start\": 1}")];
    let submitted = client.request(InitializeTask { correlation_id: Uuid::nil(), tasks }).expect("accepted");
    submitted.tasks[0].task_id.unwrap_or_else(|| panic!("{:?}", submitted.tasks[0].error))
}

fn complete(client: &mut Client, task: Uuid) {
    let waited = client.wait_for_task(task, Some(PATIENCE)).expect("the broker answers");
    assert_eq!((waited.finished, waited.task.state.as_str()), (true, "complete"));
}

fn cancel(task_id: Uuid) -> CancelTask {
    CancelTask { correlation_id: Uuid::nil(), task_id, actor: "anna".to_owned(), reason: "seen enough".to_owned() }
}

fn refusal<C: client::Command>(client: &mut Client, command: C) -> ErrorReply {
    match client.request(command) {
        Err(client::Error::Refused(refusal)) => *refusal,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was accepted"),
    }
}

#[test]
fn everybody_does_what_the_key_allows_and_nothing_else() {
    let folder = folder();
    let fleet = key(&folder, "fleet", Role::Worker, "namespaces = [\"stories\"]");
    let strangers = key(&folder, "strangers", Role::Worker, "namespaces = [\"elsewhere\"]");
    let rivals = key(&folder, "rivals", Role::Worker, "namespaces = [\"*\"]");
    let app = key(&folder, "app", Role::Client, "");
    let ops = key(&folder, "ops", Role::Operator, "");
    let screen = key(&folder, "screen", Role::Subscriber, "");
    let unlisted = key(&folder, "unlisted", Role::Operator, "");
    let listed = [&fleet, &strangers, &rivals, &app, &ops, &screen];
    let broker = Guarded::start(folder, &listed);

    let worker = broker.worker("w", &fleet, &broker.public);
    worker.registered();
    let mut subscription = Subscription::connect_with(&broker.events, Some(&broker.keys(&screen))).expect("valid");
    let mut client = broker.client(&app);
    let deadline = Instant::now() + PATIENCE;
    let heard = loop {
        // A subscription takes its time: of some task everything is heard.
        let submitted = submit(&mut client);
        complete(&mut client, submitted);
        if let Some(Notice::Event(event)) =
            subscription.next(Instant::now() + Duration::from_millis(200)).expect("not refused")
        {
            break event;
        }
        assert!(Instant::now() < deadline, "no event was heard");
    };
    assert!(heard.topic.starts_with("event."), "{heard:?}");

    // A client may not cancel, an operator may, and goes on record with its key.
    let waiting = broker.database.texts("SELECT task_id::text FROM tasker.tasks LIMIT 1").remove(0);
    let refused = refusal(&mut client, cancel(waiting.parse().expect("an id")));
    assert_eq!((refused.code, refused.retryable), (ErrorCode::Forbidden, false));
    let (code, said) = broker.tasker(&app, &["task", "cancel", &waiting]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("code: forbidden") && said.contains("`app` is a client"), "{said}");
    let mut operator = broker.client(&ops);
    let yaml = read("tests/stories/templates/chain.yaml").replace("name: chain", "name: unserved");
    client.request(RegisterTemplate { correlation_id: Uuid::nil(), yaml, source: None }).expect("accepted");
    let unserved = TaskRequest { name: "unserved".to_owned(), ..task("chain", "{}") };
    let command = InitializeTask { correlation_id: Uuid::nil(), tasks: vec![unserved] };
    let unserved = client.request(command).expect("accepted").tasks[0].task_id.expect("accepted");
    operator.request(cancel(unserved)).expect("an operator may");
    assert_eq!(broker.database.text("SELECT actor FROM tasker.operator_actions"), "anna (ops)");
    let pause = |namespace: &str, actor: &str| PauseNamespace {
        correlation_id: Uuid::nil(),
        namespace: namespace.to_owned(),
        actor: actor.to_owned(),
        reason: String::new(),
    };
    let refused = refusal(&mut client, pause("nowhere", "anna"));
    assert_eq!(refused.code, ErrorCode::Forbidden);
    operator.request(pause("nowhere", "anna")).expect("an operator may");
    assert_eq!(broker.database.text("SELECT actor FROM tasker.paused_namespaces"), "anna (ops)");

    // Workers stay within their namespaces, and nobody takes another's name.
    let mut outside = broker.worker("s", &strangers, &broker.public);
    outside.logged("may not serve the namespace stories");
    assert_eq!(outside.ended().code(), Some(3));
    let mut thief = broker.worker("w", &rivals, &broker.public);
    thief.logged("the name w belongs to a worker with another key");
    assert_eq!(thief.ended().code(), Some(3));
    let names = "SELECT key_name FROM tasker.worker_registrations WHERE ended_at IS NULL";
    assert_eq!(broker.database.texts(names), ["fleet"]);

    // A key that is not listed, or not for this endpoint: both sides say so.
    let mut wrong = broker.worker("x", &unlisted, &broker.public);
    wrong.logged("refused this key");
    assert_eq!(wrong.ended().code(), Some(3));
    let line = broker.logged("the key is not listed");
    assert!(line.contains(&unlisted.pair.public.to_string()) && line.contains("work"), "{line}");
    let (code, said) = broker.tasker(&screen, &["health"]);
    assert_eq!((code, said.contains("refused this key")), (Some(3), true), "{said}");
    broker.logged("a subscriber may hear events only");
    let impostor = broker.worker("y", &fleet, &unlisted.pair.public);
    impostor.logged("is the server key right?");
    // Who has no key gets nowhere, and nobody minds.
    let limit = Duration::from_secs(2);
    let mut without = Client::connect(&broker.work, limit).expect("the endpoint is valid");
    let refused = without.request(HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Basic });
    assert!(
        matches!(refused, Err(client::Error::KeyNeeded { .. } | client::Error::HandshakeBrokenOff { .. })),
        "{refused:?}"
    );
    let (code, said) = broker.tasker(&ops, &["worker", "list"]);
    assert_eq!((code, said.contains("stories/chain")), (Some(0), true), "{said}");

    let last = submit(&mut client);
    complete(&mut client, last);
    let (code, said) = broker.tasker(&app, &["task", "watch", &last.to_string()]);
    assert_eq!(code, Some(0), "{said}");
    drop(impostor);
    assert!(worker.stop().success());
    broker.stop(&[&listed[..], &[&unlisted]].concat());
}

#[test]
fn a_hangup_reads_the_list_again_and_only_a_sound_one_counts() {
    let folder = folder();
    let fleet = key(&folder, "fleet", Role::Worker, "namespaces = [\"stories\"]");
    let app = key(&folder, "app", Role::Client, "");
    let late = key(&folder, "late", Role::Client, "");
    let broker = Guarded::start(folder, &[&fleet, &app]);
    let health = || HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Basic };
    let worker = broker.worker("w", &fleet, &broker.public);
    worker.registered();
    let mut client = broker.client(&app);
    client.request(health()).expect("listed");
    let refused = broker.client(&late).request(health()).expect_err("not listed yet");
    assert!(matches!(refused, client::Error::KeyRefused { .. }), "{refused}");

    // A list that makes no sense leaves the one before in force.
    write_list(broker.folder.path(), &[&fleet, &app, &late, &late]);
    broker.hang_up();
    let line = broker.logged("failed to read the list of peers again");
    assert!(line.contains("broker.toml: security.peers[3].name: `late` is the name of"), "{line}");
    client.request(health()).expect("still listed");
    let refused = broker.client(&late).request(health()).expect_err("still not listed");
    assert!(matches!(refused, client::Error::KeyRefused { .. }), "{refused}");

    write_list(broker.folder.path(), &[&fleet, &late]);
    broker.hang_up();
    let line = broker.logged("the list of peers was read again");
    assert!(line.contains(&late.name) && line.contains(&app.name) && !line.contains(&fleet.name), "{line}");
    let mut latecomer = broker.client(&late);
    latecomer.request(health()).expect("listed by now");
    let refused = refusal(&mut client, health());
    assert_eq!(refused.code, ErrorCode::Forbidden, "{refused:?}");
    let refused = broker.client(&app).request(health()).expect_err("listed no more");
    assert!(matches!(refused, client::Error::KeyRefused { .. }), "{refused}");
    // Who was not touched works on.
    let submitted = submit(&mut latecomer);
    complete(&mut latecomer, submitted);
    assert!(worker.stop().success());
    broker.stop(&[&fleet, &app, &late]);
}

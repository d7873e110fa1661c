//! A healthy system gets a clean bill; each planted fault is found and named.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tasker_core::client::{Notice, Subscription};
use tasker_core::protocol::{Capability, Message, RegisterWorker, Topic, encode};
use tasker_core::security::KeyPair;
use tempfile::TempDir;
use uuid::Uuid;

use crate::database::Database;
use crate::serve::Serving;
use crate::tasker::{Run, command, run};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A broker on a database of its own, and a configuration that fits both.
struct Clinic {
    broker: Serving,
    folder: TempDir,
    database: Database,
}

impl Clinic {
    fn open() -> Clinic {
        let database = Database::create();
        let broker = Serving::start(
            command(&["broker"])
                .env("DATABASE_URL", database.url())
                .env("TASKER__ENDPOINTS__WORK", "tcp://127.0.0.1:0")
                .env("TASKER__ENDPOINTS__EVENTS", "tcp://127.0.0.1:0")
                .env("TASKER__HTTP__LISTEN", "127.0.0.1:0")
                .env("TASKER__ENGINE__HEARTBEAT_MS", "1000")
                .env("TASKER__LOG__LEVEL", "warn"),
        );
        Clinic { broker, folder: TempDir::new().expect("temporary folder"), database }
    }

    /// A file with the configuration of the broker, and more.
    fn config(&self, more: &str) -> PathBuf {
        let (work, events) = (self.broker.endpoint("work"), self.broker.endpoint("events"));
        self.write(
            "tasker.toml",
            &format!("{}\n[endpoints]\nwork = [\"{work}\"]\nevents = [\"{events}\"]\n[http]\nlisten = \"\"\n", more),
        )
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("ours");
        path
    }

    /// A doctor who looks at this clinic.
    fn doctor(&self, more: &str) -> Command {
        let config = self.config(more);
        let mut doctor = command(&["doctor", "-o", "json", "-c", config.to_str().expect("UTF-8")]);
        // Each connection to this server counts, and the other tests' as well.
        doctor.env("DATABASE_URL", self.database.url()).current_dir(self.folder.path());
        doctor
    }
}

/// Settings with which the limits of this machine do not matter.
const PLAIN: &str = "[limits]\npeers_max = 10\n[engine]\nheartbeat_ms = 1000";

fn findings(run: &Run) -> Vec<Value> {
    let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("no report: {}", run.stderr));
    report["findings"].as_array().expect("a list").clone()
}

/// Runs the doctor, who has to find this and nothing worse.
fn finds(mut doctor: Command, check: &str, level: &str, text: &str) {
    let run = run(&mut doctor);
    let code = match level {
        "warning" => 1,
        "problem" => 2,
        _ => 3,
    };
    let findings = findings(&run);
    let found = findings.iter().find(|finding| finding["check"] == check && finding["level"] == level);
    let found = found.unwrap_or_else(|| panic!("{check} is no {level}: {findings:#?}"));
    assert!(found["found"].as_str().expect("a text").contains(text), "{found:#}");
    assert!(found["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "{found:#}");
    assert!(run.code >= code, "{check}: ended with {}", run.code);
}

#[test]
fn a_healthy_system_is_found_healthy() {
    let clinic = Clinic::open();
    let healthy = run(clinic.doctor(PLAIN).arg("--worker-round-trip"));
    let ill: Vec<Value> = findings(&healthy).into_iter().filter(|finding| finding["level"] != "ok").collect();
    assert_eq!((healthy.code, &ill), (0, &vec![]), "{}", healthy.stderr);
    let trips = "SELECT count(*) FROM tasker.task_status WHERE namespace = 'tasker-doctor' AND state = 'complete'";
    assert_eq!(clinic.database.number(trips), 1);
    let left = "SELECT count(*) FROM tasker.worker_registrations WHERE ended_at IS NULL";
    assert_eq!(clinic.database.number(left), 0, "the worker has left");
    assert_eq!(clinic.broker.stop().0, Some(0));
}

#[test]
fn each_planted_fault_is_found_and_named() {
    let clinic = Clinic::open();
    let without_broker = Database::create();
    let elsewhere = |doctor: &mut Command| {
        doctor.env("DATABASE_URL", without_broker.url());
    };

    // 1. A key that the configuration does not have.
    let doctor = clinic.doctor("[engine]\nheartbeet_ms = 1000");
    finds(doctor, "configuration", "problem", "engine.heartbeet_ms: unknown key");

    // 2. A database that is not there.
    let mut doctor = clinic.doctor(PLAIN);
    doctor.env("DATABASE_URL", clinic.database.url().replace("tasker_test_", "no_such_"));
    finds(doctor, "database", "problem", "does not exist");

    // 3. A role that may not in.
    let mut doctor = clinic.doctor(PLAIN);
    doctor.env("DATABASE_URL", clinic.database.url().replacen("tasker@", "mallory:geheim@", 1));
    finds(doctor, "database", "problem", "mallory");

    // 4. A migration that was not run.
    let newest = "(SELECT max(version) FROM tasker._sqlx_migrations)";
    without_broker.execute(&format!(
        "CREATE TABLE kept AS SELECT * FROM tasker._sqlx_migrations WHERE version = {newest};
         DELETE FROM tasker._sqlx_migrations WHERE version = {newest}"
    ));
    let mut doctor = clinic.doctor(PLAIN);
    elsewhere(&mut doctor);
    finds(doctor, "database.migrations", "problem", "is missing");
    without_broker.execute("INSERT INTO tasker._sqlx_migrations SELECT * FROM kept; DROP TABLE kept");

    // 5. A migration of a later release.
    without_broker.execute(
        "INSERT INTO tasker._sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'of tomorrow', true, 'x', 0)",
    );
    let mut doctor = clinic.doctor(PLAIN);
    elsewhere(&mut doctor);
    finds(doctor, "database.migrations", "warning", "9999");
    without_broker.execute("DELETE FROM tasker._sqlx_migrations WHERE version = 9999");

    // 6. Commits that are told before they are durable.
    let name = without_broker.text("SELECT current_database()::text");
    without_broker.execute(&format!("ALTER DATABASE {name} SET synchronous_commit = off"));
    let mut doctor = clinic.doctor(PLAIN);
    elsewhere(&mut doctor);
    finds(doctor, "database.durability", "warning", "synchronous_commit = off");
    without_broker.execute(&format!("ALTER DATABASE {name} RESET synchronous_commit"));

    // 7. A partition that nobody has made.
    without_broker.execute("SELECT tasker.ensure_partitions((now() AT TIME ZONE 'UTC')::date, 3)");
    without_broker.execute(
        "DO $$ BEGIN EXECUTE 'DROP TABLE tasker.group_log' || to_char(now() AT TIME ZONE 'UTC', '\"_y\"YYYY\"m\"MM'); END $$",
    );
    let mut doctor = clinic.doctor(PLAIN);
    elsewhere(&mut doctor);
    finds(doctor, "database.partitions", "problem", "group_log");

    // 8. Requests that nobody takes.
    without_broker.execute(
        "SELECT tasker.submit_task('shop', 'order', '{}');
         UPDATE tasker.task_inbox SET submitted_at = now() - interval '1 hour'",
    );
    let mut doctor = clinic.doctor(PLAIN);
    elsewhere(&mut doctor);
    finds(doctor, "database.inbox", "warning", "1 requests wait in tasker.task_inbox, the oldest for 1 h");

    // 9. A transaction that somebody has forgotten.
    let forgotten = std::thread::scope(|scope| {
        let (begun, has_begun) = std::sync::mpsc::channel();
        let (end, ends) = std::sync::mpsc::channel::<()>();
        let database = &without_broker;
        let session = scope.spawn(move || {
            database.hold_transaction(
                "a forgetful script",
                || begun.send(()).expect("awaited"),
                || {
                    let _ = ends.recv();
                },
            );
        });
        has_begun.recv().expect("it begins");
        let mut doctor = clinic.doctor(PLAIN);
        elsewhere(&mut doctor);
        doctor.args(["--long-transaction", "0s"]);
        finds(doctor, "database.transactions", "warning", "a forgetful script");
        drop(end);
        session.join()
    });
    forgotten.expect("it ends");

    // 10. A port that somebody else has.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let path = clinic.write("taken.toml", &format!("[endpoints]\nwork = [\"tcp://127.0.0.1:{port}\"]\n"));
    let mut doctor = command(&["doctor", "-o", "json", "--timeout", "300ms", "-c", path.to_str().expect("UTF-8")]);
    doctor.env("DATABASE_URL", clinic.database.url());
    finds(doctor, "ports", "problem", &format!("tcp://127.0.0.1:{port} is held by"));

    // 11. No broker.
    let mut doctor = clinic.doctor(PLAIN);
    doctor.args(["--timeout", "300ms", "--broker", "tcp://127.0.0.1:1"]);
    finds(doctor, "broker", "problem", "no broker could be reached at tcp://127.0.0.1:1");

    // 12. A key that others can read; 13. one that is not listed; 14. a wrong key of the broker.
    let (broker, stranger) = (KeyPair::generate(), KeyPair::generate());
    let broker_key = clinic.write("broker.key", &broker.secret.reveal_text());
    let stranger_key = clinic.write("stranger.key", &stranger.secret.reveal_text());
    let curve = format!("{PLAIN}\n[security]\ncurve = true\nsecret_key_file = {broker_key:?}\n");
    fs::set_permissions(&broker_key, Permissions::from_mode(0o644)).expect("ours");
    finds(clinic.doctor(&curve), "curve.files", "problem", "can be read by others (its mode is 644)");
    fs::set_permissions(&broker_key, Permissions::from_mode(0o600)).expect("ours");
    let keys = |server: &KeyPair| {
        let mut doctor = clinic.doctor(&curve);
        let server = server.public.to_string();
        doctor.args(["--timeout", "1s", "--server-key", &server, "--key-file"]).arg(&stranger_key);
        doctor
    };
    finds(keys(&broker), "curve.peers", "problem", "which [[security.peers]] does not list");
    finds(keys(&stranger), "curve.server_key", "problem", "--server-key is not the key of security.secret_key_file");

    // 15. Clocks that differ.
    let mut doctor = Command::new("faketime");
    let config = clinic.config(PLAIN);
    doctor.args(["-f", "+1h", env!("CARGO_BIN_EXE_tasker"), "doctor", "-o", "json", "-c"]).arg(config);
    doctor.env("DATABASE_URL", clinic.database.url()).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    doctor.env("TASKER_CONTEXTS", "/no/such/contexts.toml").current_dir(clinic.folder.path());
    finds(doctor, "clock.database", "problem", "behind this machine's");

    // 16. Too few open files for the connections that are allowed.
    let config = clinic.config("[limits]\npeers_max = 1000");
    let mut doctor = Command::new("sh");
    doctor.args(["-c", "ulimit -n 256 && exec \"$0\" doctor -o json -c \"$1\"", env!("CARGO_BIN_EXE_tasker")]);
    doctor.arg(config).current_dir(clinic.folder.path()).env("TASKER_CONTEXTS", "/no/such/contexts.toml");
    elsewhere(&mut doctor);
    finds(doctor, "descriptors", "warning", "may have 256 files open; limits.peers_max = 1000");

    // 17. A worker that has fallen silent.
    let _socket = silent_worker(&clinic);
    finds(clinic.doctor(PLAIN), "workers", "problem", "worker sleeper (suspect");
}

/// Registers a worker that says nothing more, and waits until the broker suspects it.
fn silent_worker(clinic: &Clinic) -> zmq::Socket {
    let mut events = Subscription::connect(clinic.broker.endpoint("events")).expect("subscribe");
    let socket = zmq::Context::new().socket(zmq::DEALER).expect("socket");
    socket.set_identity(Uuid::new_v4().simple().to_string().as_bytes()).expect("identity");
    socket.connect(clinic.broker.endpoint("work")).expect("connect");
    let introduction = RegisterWorker {
        correlation_id: Uuid::new_v4(),
        name: "sleeper".to_owned(),
        incarnation: Uuid::new_v4(),
        templates: vec![Capability { template: "shop/*".to_owned(), yaml: None, source: None }],
        concurrency: 1,
        host: "here".to_owned(),
        pid: 1,
        language: "rust".to_owned(),
        library: "test".to_owned(),
        open_batches: Vec::new(),
        unacknowledged: Vec::new(),
        bundle_max: None,
    };
    let (header, body) = encode(&Message::from(introduction));
    socket.send_multipart([&header[..], &body[..]], 0).expect("sent");
    let deadline = Instant::now() + PATIENCE;
    loop {
        match events.next(deadline).expect("the connection stands").expect("suspected in time") {
            Notice::Event(event) if event.topic == Topic::WorkerSuspected.as_str() => return socket,
            _ => {}
        }
    }
}

#[test]
fn the_bundle_is_whole_and_has_no_secrets() {
    let clinic = Clinic::open();
    let broker = KeyPair::generate();
    let secret = broker.secret.reveal_text();
    let key = clinic.write("broker.key", &secret);
    let payload = "{\"card\": \"4111-planted-payload\"}";
    clinic
        .database
        .execute(&format!("SELECT tasker.submit_task('shop', 'order', '{payload}', reason => 'planted reason')"));
    let bundle = clinic.folder.path().join("bundle.tar.gz");
    let more = format!("{PLAIN}\n[security]\nsecret_key_file = {key:?}\n");
    let mut doctor = clinic.doctor(&more);
    let url = clinic.database.url().replacen("tasker@", "tasker:planted-password@", 1) + "&password=planted-too";
    doctor.env("DATABASE_URL", url).env("TASKER_TOKEN_FILE", "/no/token").arg("--bundle").arg(&bundle);
    let told = run(&mut doctor);
    assert!(told.stderr.contains("the bundle is in"), "{}", told.stderr);
    let unpacked = clinic.folder.path().join("unpacked");
    fs::create_dir(&unpacked).expect("made");
    let tar = Command::new("tar").arg("xzf").arg(&bundle).arg("-C").arg(&unpacked).status().expect("tar runs");
    assert!(tar.success());
    let mut names = Vec::new();
    for entry in fs::read_dir(unpacked.join("tasker-doctor")).expect("one folder") {
        let path = entry.expect("a file").path();
        let text = fs::read_to_string(&path).expect("UTF-8");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(serde_json::from_str::<Value>(&text).is_ok(), "{name} is JSON");
        for planted in ["planted", "4111", secret.as_str()] {
            assert!(!text.contains(planted), "{name} has {planted}");
        }
        names.push(name);
    }
    names.sort();
    let expected = [
        "config.json",
        "findings.json",
        "health.json",
        "lanes.json",
        "postgres.json",
        "refusals.json",
        "tables.json",
        "versions.json",
        "workers.json",
    ];
    assert_eq!(names, expected);
    let health = fs::read_to_string(unpacked.join("tasker-doctor/health.json")).expect("there");
    assert!(health.contains("\"postgres_round_trip_us\""), "{health}");
    assert!(!told.stdout.contains("planted"), "{}", told.stdout);
}

#[test]
fn what_cannot_be_checked_is_said() {
    let folder = TempDir::new().expect("temporary folder");
    let run =
        run(command(&["doctor", "--timeout", "300ms", "--broker", "tcp://127.0.0.1:1"]).current_dir(folder.path()));
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stdout.contains("unknown  database"), "{}", run.stdout);
    assert!(run.stdout.contains("-> set DATABASE_URL"), "{}", run.stdout);
}

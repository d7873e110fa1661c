//! What a configuration may say, and how a refusal reads.

use std::collections::BTreeSet;
use std::path::Path;

use tasker_core::config::{Config, explain, is_loopback};
use tasker_core::security::{KeyPair, Role};
use tempfile::TempDir;

/// Loads `text` as `broker.toml`; a refusal is returned with the folder's name taken out.
fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
    let folder = TempDir::new().expect("temporary folder");
    let file = folder.path().join("broker.toml");
    std::fs::write(&file, text).expect("write broker.toml");
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(Some(&file), environment)
        .map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
}

#[test]
fn the_defaults_alone_are_valid_and_give_the_engine_its_defaults() {
    let config = Config::load(None, []).expect("defaults");
    assert_eq!(config.engine(), tasker_engine::Config::default());
    assert_eq!(config.endpoints.work, ["tcp://127.0.0.1:7570"]);
    assert_eq!(config.database.url.reveal(), None);
    assert_eq!(config, Config::default());
}

#[test]
fn every_documented_key_is_a_field_and_every_field_is_documented() {
    let documented: BTreeSet<String> =
        explain(None, []).expect("defaults").into_iter().map(|entry| entry.key).collect();
    let config = serde_json::to_value(Config::default()).expect("serialize");
    let mut fields = BTreeSet::new();
    for (section, values) in config.as_object().expect("sections") {
        for name in values.as_object().expect("keys").keys() {
            fields.insert(format!("{section}.{name}"));
        }
    }
    assert_eq!(documented, fields);
}

#[test]
fn every_default_has_a_comment_above_it() {
    let text = include_str!("../config/default.toml");
    let mut commented = false;
    for (number, line) in text.lines().enumerate() {
        match line {
            _ if line.starts_with('#') => commented = true,
            _ if line.contains(" = ") => {
                assert!(commented, "config/default.toml:{}: say what this option means: {line}", number + 1);
                commented = false;
            }
            _ => commented = false,
        }
    }
}

#[test]
fn a_refusal_names_the_file_and_the_key() {
    let cases: &[(&str, &str)] = &[
        (
            "[engine]\nhartbeat_ms = 1000",
            "broker.toml: engine.hartbeat_ms: unknown key; [engine] has batch_bytes_max, batch_steps_max, heartbeat_ms, held_bytes_max, poison_limit, \
             recovery_grace_ms, steps_max, wait_ms_max, waiters_max, worker_concurrency_max, worker_timeout_ms, \
             workers_max",
        ),
        (
            "[brokr]\nenvironment = 'test'",
            "broker.toml: brokr: unknown section; there are broker, database, endpoints, engine, http, limits, log, \
             otel, postgres, retention, security, worker",
        ),
        ("engine = 5", "broker.toml: engine: expected a section, found an integer"),
        (
            "heartbeat_ms = 5",
            "broker.toml: heartbeat_ms: unknown section; there are broker, database, endpoints, engine, http, limits, log, otel, postgres, retention, security, worker",
        ),
        ("[engine]\nheartbeat_ms = \"5000\"", "broker.toml: engine.heartbeat_ms: expected an integer, found a string"),
        (
            "[engine]\nheartbeat_ms = 5000.5",
            "broker.toml: engine.heartbeat_ms: expected an integer, found a decimal number",
        ),
        ("[engine.heartbeat_ms]\na = 1", "broker.toml: engine.heartbeat_ms: expected an integer, found a section"),
        ("[endpoints]\nwork = \"tcp://127.0.0.1:1\"", "broker.toml: endpoints.work: expected a list, found a string"),
        ("[endpoints]\nwork = [1]", "broker.toml: endpoints.work: expected a list of strings, found an integer in it"),
        (
            "[endpoints]\nallow_insecure = 1",
            "broker.toml: endpoints.allow_insecure: expected a boolean, found an integer",
        ),
        ("[endpoints]\nwork = []", "broker.toml: endpoints.work: must name at least one endpoint"),
        (
            "[endpoints]\nevents = [\"udp://x\"]",
            "broker.toml: endpoints.events: `udp://x` is neither tcp://ADDRESS:PORT nor ipc:///PATH",
        ),
        (
            "[endpoints]\nwork = [\"tcp://127.0.0.1\"]",
            "broker.toml: endpoints.work: `tcp://127.0.0.1` must have an address and a port from 0 to 65535",
        ),
        (
            "[endpoints]\nwork = [\"tcp://0.0.0.0:7570\"]",
            "broker.toml: endpoints.work: tcp://0.0.0.0:7570 can be reached from other machines and would be neither \
             encrypted nor authenticated; set security.curve = true, bind a loopback address, or set \
             endpoints.allow_insecure = true in a network that you trust",
        ),
        (
            "[engine]\nheartbeat_ms = 999",
            "broker.toml: engine.heartbeat_ms: 999 is out of range, 1000 to 600000 is allowed",
        ),
        (
            "[engine]\nworker_timeout_ms = 2999",
            "broker.toml: engine.worker_timeout_ms: 2999 is out of range, 3000 to 3600000 is allowed",
        ),
        (
            "[engine]\nworker_timeout_ms = 14999",
            "broker.toml: engine.worker_timeout_ms: 14999 is less than three heartbeats (engine.heartbeat_ms), 15000",
        ),
        (
            "[engine]\nheartbeat_ms = 20000",
            "default: engine.worker_timeout_ms: 30000 is less than three heartbeats (engine.heartbeat_ms), 60000",
        ),
        ("[engine]\npoison_limit = 0", "broker.toml: engine.poison_limit: 0 is out of range, at least 1 is allowed"),
        ("[limits]\npeers_max = -1", "broker.toml: limits.peers_max: must not be negative"),
        (
            "[limits]\npeers_max = 4294967296",
            "broker.toml: limits.peers_max: expected an unsigned 32 bit integer, found 64-bit unsigned integer `4294967296`",
        ),
        (
            "[limits]\npayload_bytes_max = 16777216",
            "broker.toml: limits.payload_bytes_max: 16777216 does not fit into a message (limits.message_bytes_max), \
             16777216",
        ),
        (
            "[limits]\npeer_bytes_max = 33554431",
            "broker.toml: limits.peer_bytes_max: 33554431 is less than two messages (limits.message_bytes_max), 33554432",
        ),
        ("[log]\nformat = \"xml\"", "broker.toml: log.format: `xml` is neither text nor json"),
        ("[worker]\nlog_format = \"xml\"", "broker.toml: worker.log_format: `xml` is neither text nor json"),
        (
            "[log]\nlevel = \"a=b=c\"",
            "broker.toml: log.level: `a=b=c` is not a log filter: error parsing level filter: expected one of \"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\", or a number 0-5",
        ),
        (
            "[database]\nurl = \"mysql://anna:secret@db/x\"",
            "broker.toml: database.url: must begin with postgres:// or postgresql://",
        ),
        (
            "[log]\nlevel = \"inof\"",
            "broker.toml: log.level: `inof` is none of error, warn, info, debug, trace, off, nor MODULE=LEVEL",
        ),
        ("[broker]\nenvironment = \"\"", "broker.toml: broker.environment: must not be empty"),
        (
            "[worker]\nconcurrency = 10001",
            "broker.toml: worker.concurrency: 10001 is more than a broker takes (engine.worker_concurrency_max), 10000",
        ),
        (
            "[worker]\nconcurrency = 101\nprocesses = 100",
            "broker.toml: worker.concurrency: 10100 is more than a broker takes (engine.worker_concurrency_max), 10000",
        ),
        ("[worker]\nprocesses = 1001", "broker.toml: worker.processes: 1001 is out of range, 0 to 1000 is allowed"),
        (
            "[worker]\nbroker = \"here\"",
            "broker.toml: worker.broker: `here` is neither tcp://ADDRESS:PORT nor ipc:///PATH",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(load(text, &[]).expect_err(text), *message, "for {text}");
    }
}

/// Two keys for documents.
const KEYS: [&str; 2] = ["Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID", "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"];

#[test]
fn peers_are_read_with_their_roles() {
    let config = load(
        &format!(
            "[endpoints]\nwork = ['tcp://0.0.0.0:7570']\n[security]\ncurve = true\nsecret_key_file = '/k'\n\
             [[security.peers]]\nname = 'fleet'\npublic_key = '{}'\nrole = 'worker'\nnamespaces = ['billing', '*']\n\
             [[security.peers]]\nname = 'anna'\npublic_key = '{}'\nrole = 'operator'\n",
            KEYS[0], KEYS[1]
        ),
        &[],
    )
    .expect("valid");
    let [fleet, anna] = &config.security.peers[..] else { panic!("{:?}", config.security) };
    assert_eq!((fleet.name.as_str(), fleet.role, fleet.namespaces.len()), ("fleet", Role::Worker, 2));
    assert_eq!((anna.public_key.to_string().as_str(), anna.role), (KEYS[1], Role::Operator));
}

#[test]
fn a_peer_that_makes_no_sense_is_refused_with_its_place() {
    let peer = |lines: &str| format!("[[security.peers]]\nname = 'a'\n{lines}\n");
    let client = |key: &str| peer(&format!("public_key = '{key}'\nrole = 'client'"));
    let [one, other] = KEYS;
    let cases: &[(String, &str)] = &[
        ("[security]\npeers = 5".into(), "peers: expected a list of tables, found an integer"),
        ("[security]\npeers = ['a']".into(), "peers[0]: expected a table, found a string"),
        (client(one) + "rol = 'x'", "peers[0].rol: unknown key; a peer has name, public_key, role, namespaces"),
        (client(one) + "namespaces = 'x'", "peers[0].namespaces: expected a list of strings, found a string"),
        (client(one) + "namespaces = [1]", "peers[0].namespaces: expected a list of strings, found a list"),
        (client(one) + &peer("public_key = 7"), "peers[1].public_key: expected a string, found an integer"),
        (peer(""), "peers[0].public_key: is missing"),
        (client("abc"), "peers[0].public_key: is not a key: it has 3 characters instead of 40"),
        (
            peer(&format!("public_key = '{one}'\nrole = 'admin'")),
            "peers[0].role: `admin` is none of worker, client, operator, subscriber",
        ),
        (
            peer(&format!("public_key = '{one}'\nrole = 'worker'")),
            "peers[0].namespaces: a worker needs the namespaces that it may serve, or \"*\" for all",
        ),
        (client(one) + "namespaces = ['x']", "peers[0].namespaces: only workers have namespaces, and this is a client"),
        (client(one).replace("'a'", "''"), "peers[0].name: a name has 1 to 255 bytes, not 0"),
        (client(one).replace("'a'", "\"a\\n\""), "peers[0].name: a name has no control characters"),
        (client(one) + &client(other), "peers[1].name: `a` is the name of security.peers[0] already"),
        (
            client(one) + &client(one).replace("'a'", "'b'"),
            "peers[1].public_key: is the key of security.peers[0] already",
        ),
    ];
    for (text, problem) in cases {
        assert_eq!(load(text, &[]).expect_err(text), format!("broker.toml: security.{problem}"), "for {text}");
    }
    let refused = load("", &[("TASKER__SECURITY__PEERS", "a")]).expect_err("no list of tables");
    let problem = "TASKER__SECURITY__PEERS: security.peers: is a list of tables, which only a file can have";
    assert_eq!(refused, problem);
}

#[test]
fn keys_that_are_half_given_are_refused() {
    for (text, problem) in [
        (
            "[security]\ncurve = true",
            "default: security.secret_key_file: must name the file with the broker's key when security.curve is true; \
             `tasker key new` makes one",
        ),
        (
            "[worker]\nsecret_key_file = '/k'",
            "default: worker.server_public_key: worker.server_public_key and worker.secret_key_file belong together",
        ),
        (
            "[worker]\nsecret_key_file = '/k'\nserver_public_key = 'x'",
            "broker.toml: worker.server_public_key: is not a key: it has 1 characters instead of 40",
        ),
    ] {
        assert_eq!(load(text, &[]).expect_err(text), problem, "for {text}");
    }
}

#[test]
fn the_brokers_key_is_read_when_it_is_needed_and_never_shown() {
    let folder = TempDir::new().expect("temporary folder");
    let path = folder.path().join("broker.key");
    let file = path.to_str().expect("UTF-8");
    let config =
        |curve: bool| load(&format!("[security]\ncurve = {curve}\nsecret_key_file = '{file}'"), &[]).expect("valid");
    assert_eq!(config(false).secret_key(), Ok(None));
    let refused = config(true).secret_key().expect_err("no file").to_string();
    assert_eq!(
        refused,
        format!("{file}: security.secret_key_file: cannot be read: No such file or directory (os error 2)")
    );
    std::fs::write(&path, "no key").expect("write");
    let refused = config(true).secret_key().expect_err("readable by others").to_string();
    assert!(refused.starts_with(&format!("{file}: security.secret_key_file: can be read by others")), "{refused}");
    let pair = KeyPair::generate();
    pair.secret.write(&path, true).expect("written");
    assert_eq!(config(true).secret_key(), Ok(Some(pair.secret.clone())));
    let shown = format!("{:?} {}", config(true), serde_json::to_string(&config(true)).expect("serialize"));
    assert!(!shown.contains(&pair.secret.reveal_text()), "{shown}");
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    let error = load("[engine]\nheartbeat_ms = \n", &[]).expect_err("not TOML");
    assert!(error.starts_with("broker.toml is not valid TOML: ") && error.contains("line 2"), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_refused_by_name() {
    let error = Config::load(Some(Path::new("/nowhere/broker.toml")), []).expect_err("no such file").to_string();
    assert_eq!(error, "failed to read /nowhere/broker.toml: No such file or directory (os error 2)");
}

#[test]
fn the_environment_goes_before_the_file_and_the_file_before_the_defaults() {
    let config = load(
        "[engine]\nheartbeat_ms = 2000\nbatch_steps_max = 7\n[worker]\nname = \"file\"",
        &[
            ("TASKER__ENGINE__HEARTBEAT_MS", "3000"),
            ("TASKER__WORKER__NAME", "42"),
            ("TASKER__ENDPOINTS__WORK", "tcp://127.0.0.1:0, ipc:///tmp/work"),
            ("TASKER__ENDPOINTS__ALLOW_INSECURE", "true"),
            ("DATABASE_URL", "postgres://anna:secret@db/tasker"),
            ("TASKER_BROKER", "not a setting"),
            ("PATH", "/bin"),
        ],
    )
    .expect("valid");
    assert_eq!(config.engine.heartbeat_ms, 3_000);
    assert_eq!(config.engine.batch_steps_max, 7);
    assert_eq!(config.engine.poison_limit, 3);
    assert_eq!(config.worker.name, "42");
    assert_eq!(config.endpoints.work, ["tcp://127.0.0.1:0", "ipc:///tmp/work"]);
    assert!(config.endpoints.allow_insecure);
    assert_eq!(config.database.url.reveal(), Some("postgres://anna:secret@db/tasker"));
}

#[test]
fn a_refused_variable_is_named_with_its_key() {
    let cases = [
        (("TASKER__ENGINE__STEPS_MAX", "many"), "TASKER__ENGINE__STEPS_MAX: engine.steps_max: expected an integer"),
        (
            ("TASKER__ENDPOINTS__ALLOW_INSECURE", "yes"),
            "TASKER__ENDPOINTS__ALLOW_INSECURE: endpoints.allow_insecure: expected true or false",
        ),
        (("TASKER__LOG__COLOUR", "1"), "TASKER__LOG__COLOUR: log.colour: unknown key; [log] has format, level"),
        (
            ("TASKER__ENGINE", "1"),
            "TASKER__ENGINE: engine: unknown key; [engine] has batch_bytes_max, batch_steps_max, heartbeat_ms, held_bytes_max, poison_limit, recovery_grace_ms, steps_max, wait_ms_max, waiters_max, worker_concurrency_max, worker_timeout_ms, workers_max",
        ),
        (
            ("DATABASE_URL", "mysql://a:secret@b/c"),
            "DATABASE_URL: database.url: must begin with postgres:// or postgresql://",
        ),
    ];
    for (variable, message) in cases {
        assert_eq!(load("", &[variable]).expect_err(message), message);
    }
}

#[test]
fn what_is_shown_says_where_it_comes_from_and_hides_the_password() {
    let environment = [("DATABASE_URL".to_owned(), "postgres://anna:geheim@db/tasker".to_owned())];
    let entries = explain(None, environment.clone()).expect("valid");
    let entry = |key: &str| entries.iter().find(|entry| entry.key == key).expect("documented key");
    assert_eq!(entry("database.url").value, "postgres://anna:****@db/tasker");
    assert_eq!(entry("database.url").origin, "DATABASE_URL");
    assert_eq!(entry("engine.heartbeat_ms").origin, "default");
    let config = Config::load(None, environment).expect("valid");
    for shown in [format!("{config:?}"), serde_json::to_string(&config).expect("serialize")] {
        assert!(!shown.contains("geheim") && shown.contains("anna"), "{shown}");
    }
}

#[test]
fn only_addresses_of_this_machine_are_loopback() {
    for endpoint in ["tcp://127.0.0.1:1", "tcp://127.9.9.9:1", "tcp://[::1]:1", "tcp://localhost:1", "ipc:///tmp/x"] {
        assert!(is_loopback(endpoint), "{endpoint}");
    }
    for endpoint in [
        "tcp://*:1",
        "tcp://0.0.0.0:1",
        "tcp://[::]:1",
        "tcp://10.0.0.1:1",
        "tcp://eth0:1",
        "tcp://localhost.example:1",
    ] {
        assert!(!is_loopback(endpoint), "{endpoint}");
    }
}

//! Who is let in: tokens and their roles, pages of strangers, requests that are no requests.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Instant;

use nix::sys::signal::Signal;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderValue};
use tasker_core::security::{Holder, TokenRole};
use tempfile::TempDir;

use crate::support::{BrokerProcess, Database, PATIENCE, read};
use crate::visitor::{Answer, Visitor};

/// A broker that demands tokens, and one of each role.
struct Guarded {
    broker: BrokerProcess,
    file: PathBuf,
    tokens: Vec<(TokenRole, String)>,
    _folder: TempDir,
    _database: Database,
}

impl Guarded {
    fn open() -> Guarded {
        let folder = TempDir::with_prefix("tasker").expect("there is a temporary folder");
        let file = folder.path().join("tokens");
        let tokens = TokenRole::ALL.map(|role| {
            let (holder, token) = Holder::generate(&format!("{role}er"), role);
            holder.add_to(&file).expect("the folder is ours");
            (role, token)
        });
        let database = Database::create();
        let path = file.to_str().expect("our own path is UTF-8");
        let broker = BrokerProcess::start_with(&database, &[("http.token_file", path)]);
        Guarded { broker, file, tokens: tokens.to_vec(), _folder: folder, _database: database }
    }

    fn token(&self, role: TokenRole) -> &str {
        &self.tokens.iter().find(|(of, _)| *of == role).expect("each role has one").1
    }

    fn visitor(&self, role: TokenRole) -> Visitor {
        Visitor::holding(&self.broker, self.token(role))
    }
}

#[test]
fn metrics_are_for_whoever_may_look() {
    let guarded = Guarded::open();
    let visitor = guarded.visitor(TokenRole::Read);
    for (path, sample) in
        [("/metrics", "tasker_postgres_up 1.0"), ("/metrics/detailed", "# TYPE tasker_worker_state gauge")]
    {
        let plain = visitor.get(path);
        assert_eq!((plain.status, plain.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
        assert!(plain.text.lines().any(|line| line == sample), "{}", plain.text);
        assert!(plain.text.contains("tasker_stage{stage=\"ready\"} 1"), "{}", plain.text);
        let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
        let open = visitor.send(visitor.request(Method::GET, path).header("accept", accept));
        let expected = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert_eq!((open.status, open.header("content-type")), (200, expected));
        assert!(open.text.ends_with("# EOF\n"));
    }
}

const SUBMISSION: &str = r#"{"namespace": "nowhere", "name": "nothing"}"#;

fn register(visitor: &Visitor) -> Answer {
    let yaml = read("tests/stories/templates/gated.yaml");
    visitor.send(visitor.request(Method::POST, "/api/v1/templates").body(yaml))
}

#[test]
fn nobody_comes_in_without_a_token() {
    let guarded = Guarded::open();
    for visitor in [Visitor::of(&guarded.broker), Visitor::holding(&guarded.broker, "tsk_0123")] {
        for path in
            ["/api/v1/workers", "/api/v1/events", "/news", "/api/v1/nothing", "/metrics", "/metrics/detailed", "/"]
        {
            let refused = visitor.get(path);
            assert_eq!(refused.problem(), (401, "unauthorized".to_owned()), "{path}");
            assert!(refused.header("www-authenticate").starts_with("Bearer"));
        }
        assert_eq!(visitor.post("/api/v1/tasks", SUBMISSION).problem(), (401, "unauthorized".to_owned()));
        assert_eq!(visitor.get("/livez").status, 200, "probes have no tokens");
    }
    // A browser is shown where to log in.
    let visitor = Visitor::of(&guarded.broker);
    let shown = visitor.send(visitor.request(Method::GET, "/tasks?q=state:error").header("accept", "text/html"));
    assert_eq!((shown.status, shown.header("location")), (303, "/login?next=%2Ftasks%3Fq%3Dstate%3Aerror"));
}

#[test]
fn each_role_may_what_it_is_for() {
    let guarded = Guarded::open();
    let reader = guarded.visitor(TokenRole::Read);
    assert_eq!(reader.get("/api/v1/workers").status, 200);
    assert_eq!(reader.post("/api/v1/tasks", SUBMISSION).problem(), (403, "forbidden".to_owned()));
    assert_eq!(register(&reader).problem(), (403, "forbidden".to_owned()));
    let operator = guarded.visitor(TokenRole::Operate);
    // It gets as far as the broker, which knows no such template.
    assert_eq!(operator.post("/api/v1/tasks", SUBMISSION).problem(), (404, "unknown_template".to_owned()));
    assert_eq!(register(&operator).problem(), (403, "forbidden".to_owned()));
    let admin = guarded.visitor(TokenRole::Admin);
    assert_eq!(register(&admin).status, 201);
    assert_eq!(register(&admin).status, 200);
}

#[test]
fn people_are_refused_with_a_page_and_programs_with_a_problem() {
    let guarded = Guarded::open();
    let reader = guarded.visitor(TokenRole::Read);
    let as_person =
        |method: Method, path: &str| reader.send(reader.request(method, path).header("accept", "text/html"));
    for (method, path, status, code) in
        [(Method::GET, "/nothing/here", 404, "not_found"), (Method::POST, "/namespaces/a/pause", 403, "forbidden")]
    {
        let page = as_person(method.clone(), path);
        assert_eq!((page.status, page.header("content-type")), (status, "text/html; charset=utf-8"));
        assert!(page.text.contains(code) && page.text.contains("<h1>"), "{}", page.text);
        assert_eq!(reader.send(reader.request(method, path)).problem(), (status, code.to_owned()));
    }
}

#[test]
fn whoever_came_in_may_leave() {
    let guarded = Guarded::open();
    let reader = guarded.visitor(TokenRole::Read);
    let out = |site: &str| reader.send(reader.request(Method::POST, "/logout").header("sec-fetch-site", site));
    assert_eq!(out("cross-site").problem(), (403, "forbidden".to_owned()));
    let left = out("same-origin");
    assert_eq!((left.status, left.header("location")), (303, "/login"));
}

#[test]
fn a_token_that_was_taken_away_is_nothing_at_once() {
    let guarded = Guarded::open();
    let (reader, admin) = (guarded.visitor(TokenRole::Read), guarded.visitor(TokenRole::Admin));
    assert_eq!(reader.get("/api/v1/workers").status, 200);
    let text = std::fs::read_to_string(&guarded.file).expect("the file");
    let left: String = text.lines().filter(|line| !line.contains(" read ")).map(|line| format!("{line}\n")).collect();
    std::fs::write(&guarded.file, left).expect("the folder is ours");
    guarded.broker.signal(Signal::SIGHUP);
    let deadline = Instant::now() + PATIENCE;
    while reader.get("/api/v1/workers").status == 200 {
        assert!(Instant::now() < deadline, "the token is still good");
    }
    assert_eq!(admin.get("/api/v1/workers").status, 200);
}

#[test]
fn a_session_stands_for_its_token_and_only_here() {
    let guarded = Guarded::open();
    let stranger = Visitor::of(&guarded.broker);
    let form = |token: &str| format!("token={token}&next=%2Ftasks");
    let log_in = |token: &str| {
        let request = stranger.request(Method::POST, "/login").header("sec-fetch-site", "same-origin");
        stranger.send(request.header("content-type", "application/x-www-form-urlencoded").body(form(token)))
    };
    assert_eq!(log_in("wrong").status, 401);
    let welcome = log_in(guarded.token(TokenRole::Operate));
    assert_eq!((welcome.status, welcome.header("location")), (303, "/tasks"));
    let cookie = welcome.header("set-cookie").to_owned();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(guarded.token(TokenRole::Operate)), "the token itself is in no cookie");
    let mut headers = HeaderMap::new();
    let value = cookie.split(';').next().expect("a value");
    headers.insert("cookie", HeaderValue::from_str(value).expect("a header"));
    let visitor = Visitor::with(guarded.broker.http(), headers);
    assert_eq!(visitor.get("/api/v1/workers").status, 200);
    let post = |name: &str, value: &str| {
        let request = visitor.request(Method::POST, "/api/v1/tasks").header("content-type", "application/json");
        visitor.send(request.header(name, value).body(SUBMISSION))
    };
    // The cookie comes along from everywhere; what the browser says of the page decides.
    assert_eq!(visitor.post("/api/v1/tasks", SUBMISSION).problem(), (403, "forbidden".to_owned()));
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        assert_eq!(post(name, value).problem(), (403, "forbidden".to_owned()), "{name}: {value}");
    }
    assert_eq!(post("origin", guarded.broker.http()).problem().0, 404);
    assert_eq!(post("sec-fetch-site", "same-origin").problem().0, 404);
    let out = visitor.request(Method::POST, "/logout").header("sec-fetch-site", "same-origin");
    assert_eq!(visitor.send(out).status, 303);
    assert_eq!(visitor.get("/api/v1/workers").problem(), (401, "unauthorized".to_owned()));
}

#[test]
fn pages_of_strangers_can_neither_act_nor_read() {
    let database = Database::create();
    let broker = BrokerProcess::start_with(&database, &[("http.hosts", "tasker.internal")]);
    let visitor = Visitor::of(&broker);
    for (name, value) in [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")] {
        let request = visitor.request(Method::POST, "/api/v1/tasks").header(name, value);
        let request = request.header("content-type", "application/json").body(SUBMISSION);
        assert_eq!(visitor.send(request).problem(), (403, "forbidden".to_owned()), "{name}: {value}");
    }
    // A name of a stranger that leads to this machine.
    let as_host = |host: &str| visitor.send(visitor.request(Method::GET, "/api/v1/workers").header("host", host));
    assert_eq!(as_host("evil.example").problem(), (421, "misdirected".to_owned()));
    assert_eq!(as_host("evil.example:7572").problem(), (421, "misdirected".to_owned()));
    for host in ["localhost", "localhost:1", "127.0.0.1", "[::1]:7572", "tasker.internal"] {
        assert_eq!(as_host(host).status, 200, "{host}");
    }
    // No answer may be shown in a frame, run scripts of others, or be kept.
    let answer = visitor.get("/api/v1/workers");
    assert!(answer.header("content-security-policy").contains("frame-ancestors 'none'"));
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

#[test]
fn hostile_parameters_are_refused() {
    let database = Database::create();
    let broker = BrokerProcess::start(&database);
    let visitor = Visitor::of(&broker);
    for (path, expected) in [
        ("/api/v1/tasks/1", (400, "invalid_field")),
        ("/api/v1/tasks/..%2f..%2fetc%2fpasswd", (400, "invalid_field")),
        ("/api/v1/tasks/0197a3c2-0000-7000-8000-000000000000", (404, "unknown_task")),
        ("/api/v1/tasks/0197a3c2-0000-7000-8000-000000000000?steps=maybe", (400, "invalid_field")),
        ("/api/v1/tasks/0197a3c2-0000-7000-8000-000000000000?unknown=1", (400, "invalid_field")),
        ("/api/v1/templates/a/%00", (400, "invalid_field")),
        ("/api/v1/templates/a/b?version=%27%3B%20DROP%20TABLE%20tasks", (404, "unknown_template")),
        ("/api/v1/templates/%3Cscript%3E/b", (404, "unknown_template")),
        ("/api/v2/tasks", (404, "not_found")),
    ] {
        let (status, code) = expected;
        assert_eq!(visitor.get(path).problem(), (status, code.to_owned()), "{path}");
    }
    for (body, expected) in [
        ("", (400, "invalid_field")),
        ("{", (400, "invalid_field")),
        (r#"{"namespace": "a"}"#, (422, "invalid_field")),
        (r#"{"namespace": "a", "name": "b", "surprise": 1}"#, (422, "invalid_field")),
        (r#"{"namespace": "a", "name": "b", "context": 1}"#, (400, "invalid_field")),
        (r#"{"namespace": "a", "name": "b", "context": {"a": "\u0000"}}"#, (400, "invalid_json")),
        (r#"{"namespace": "a\u0000", "name": "b"}"#, (400, "invalid_field")),
    ] {
        let (status, code) = expected;
        assert_eq!(visitor.post("/api/v1/tasks", body).problem(), (status, code.to_owned()), "{body}");
    }
    let deep = format!(r#"{{"namespace": "a", "name": "b", "context": {{"a": {}}}}}"#, "[".repeat(100_000));
    assert_eq!(visitor.post("/api/v1/tasks", &deep).problem().0, 400);
    let large = format!(r#"{{"namespace": "{}", "name": "b"}}"#, "x".repeat(17 << 20));
    assert_eq!(visitor.post("/api/v1/tasks", &large).problem(), (413, "too_large".to_owned()));
    // The rest of the body was not read, and the connection is gone with it.
    let visitor = Visitor::of(&broker);
    assert_eq!(visitor.send(visitor.request(Method::DELETE, "/api/v1/workers")).problem().0, 405);
    for garbage in ["\u{16}\u{3}\u{1} not HTTP\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: \u{0}\r\n\r\n"] {
        assert!(raw(&broker, garbage.as_bytes()).starts_with("HTTP/1.1 400"), "{garbage:?}");
    }
    let endless = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(1_000_000));
    assert!(raw(&broker, endless.as_bytes()).starts_with("HTTP/1.1 431"));
    assert_eq!(visitor.get("/readyz").status, 200);
}

/// What is answered to bytes that no client would send.
fn raw(broker: &BrokerProcess, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(broker.http().trim_start_matches("http://")).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a minute fits");
    // It may hang up before it has read all of it.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

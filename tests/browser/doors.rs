//! Who comes in with a token, and what each is shown.

use serde_json::json;
use tasker_core::security::{Holder, TokenRole};
use tempfile::TempDir;

use crate::browser::Browser;
use crate::looks::{LOOKS, Stop, Walk};
use crate::scene::{register, submit};
use crate::sound::demand;
use crate::support::{BrokerProcess, Database, read};
use crate::visitor::Visitor;

fn log_in(browser: &Browser, token: &str) {
    browser.write("#token", token);
    browser.follow("form button");
}

/// A broker that demands tokens, and one of each role.
struct Guarded {
    broker: BrokerProcess,
    database: Database,
    tokens: [String; 3],
    _folder: TempDir,
}

impl Guarded {
    fn open() -> Guarded {
        let folder = TempDir::with_prefix("tasker").expect("there is a temporary folder");
        let file = folder.path().join("tokens");
        let roles = [("looks", TokenRole::Read), ("ada", TokenRole::Operate), ("root", TokenRole::Admin)];
        let tokens = roles.map(|(name, role)| {
            let (holder, token) = Holder::generate(name, role);
            holder.add_to(&file).expect("the folder is ours");
            token
        });
        let database = Database::create();
        let path = file.to_str().expect("our own path is UTF-8");
        let broker = BrokerProcess::start_with(&database, &[("http.token_file", path)]);
        Guarded { broker, database, tokens, _folder: folder }
    }
}

#[test]
fn people_log_in_with_a_token_and_see_what_they_may_do() {
    let guarded = Guarded::open();
    let Guarded { broker, database, tokens: [reader, operator, admins], .. } = &guarded;
    let admin = Visitor::holding(broker, admins);
    register(&admin, read("tests/browser/templates/island.yaml"));
    let task = submit(&admin, "island/nobody_comes", &json!({}));
    let browser = Browser::open(broker.http());

    // Who is not known is sent to the log-in, and from there to where he wanted to.
    browser.visit("/namespaces");
    assert_eq!(browser.place(), "/login?next=%2Fnamespaces");
    assert_eq!(browser.count("nav, table"), 0);
    demand(&browser, "the log-in");
    log_in(&browser, "tsk_wrong");
    assert_eq!(browser.text("[role=alert]"), "This token is not known here.");
    assert_eq!(browser.console().len(), 1, "the browser tells of the 401, and of nothing else");
    demand(&browser, "a refused log-in");
    log_in(&browser, reader);
    assert_eq!(browser.place(), "/namespaces");
    assert_eq!(browser.text(".viewer"), "looks · read");
    for page in ["/namespaces", "/workers", "/dead-ends", "/dead-ends/retry?q=state:pending", &format!("/tasks/{task}")]
    {
        browser.visit(page);
        assert_eq!(browser.count("main form[method=post], main button.act, details.confirm"), 0, "{page}");
        demand(&browser, "who may only look");
    }

    browser.follow("#log-out");
    assert_eq!(browser.place(), "/login");
    browser.visit("/tasks");
    assert_eq!(browser.place(), "/login?next=%2Ftasks");
    log_in(&browser, operator);
    assert_eq!(browser.place(), "/tasks");
    browser.visit(&format!("/tasks/{task}"));
    browser.confirm("cancel", "nobody will come");
    assert_eq!(browser.text("#task-head .badge"), "cancelled");
    assert_eq!(database.text("SELECT actor || ': ' || reason FROM tasker.operator_actions"), "ada: nobody will come");
    demand(&browser, "who may act");
}

#[test]
fn the_log_in_is_sound_wide_and_narrow_light_and_dark() {
    let guarded = Guarded::open();
    let browser = Browser::open(guarded.broker.http());
    let mut walk = Walk::with(&browser);
    for look in LOOKS {
        walk.change(look);
        walk.stop(&Stop::new("log-in", "/workers", "tasker token new"));
        browser.visit("/login");
        log_in(&browser, "tsk_wrong");
        assert_eq!(browser.console().len(), 1, "the browser tells of the 401, and of nothing else");
        walk.look("log-in-refused", true);
        browser.visit("/login?next=%2Fworkers");
        log_in(&browser, &guarded.tokens[1]);
        walk.look("workers-none", true);
        browser.follow("#log-out");
    }
    walk.end();
}

//! Every page with something on it, wide and narrow, light and dark.

use reqwest::Method;
use serde_json::json;

use crate::looks::{LOOKS, Stop, Walk};
use crate::scene::Scene;
use crate::sound::faults;
use crate::support::{HANDLERS, RubyWorker, Serves, repository};

/// Has tasks of all kinds of ends, and says where to look, and which task a retry can be tried with.
fn stops(scene: &Scene, gate: &str) -> (Vec<Stop>, String) {
    let id = json!({ "number": 18_446_744_073_709_551_615_u64, "customer": { "name": "Ada", "token": "t0p" } });
    let complete = scene.submit("shop/invoice", &json!({ "start": 41, "order": id }));
    let failed = scene.submit("shop/order", &json!({ "order": id }));
    let fan = scene.submit("shop/catalogue", &json!({ "start": 0 }));
    let refund = scene.submit("shop/refund", &json!({}));
    for (task, state) in [(&complete, "complete"), (&failed, "error"), (&fan, "complete"), (&refund, "error")] {
        assert_eq!(scene.ended(task), state);
    }
    let waiting = scene.submit("shop/patient", &json!({ "order": id }));
    let lonely = scene.submit("island/nobody_comes", &json!({}));
    let running = scene.submit("shop/order", &json!({ "repaired": 1, "gate": gate }));
    let batch = scene.database.text("SELECT max(batch_id::text) FROM tasker.batches");
    let task = |task: &str| format!("/tasks/{task}");
    let stops = vec![
        Stop::new("overview", "/", "Ended a minute"),
        Stop::new("tasks", "/tasks", "shown of 7"),
        Stop::new("tasks-filtered", "/tasks?q=state:error", "2 shown of 2"),
        Stop::new("tasks-none", "/tasks?q=tag:nowhere", "No task matches."),
        Stop::new("tasks-wrong", "/tasks?q=stat:error", "at character 1"),
        Stop::new("task-complete", task(&complete), "100%"),
        Stop::new("task-failed", task(&failed), "PermanentError"),
        Stop::new("task-step-failed", format!("{}?step=charge", task(&failed)), "Backtrace"),
        Stop::new("task-step-behind", format!("{}?step=pack", task(&failed)), "ended in error"),
        Stop::with("task-retry", task(&failed), "PermanentError", "#retry > summary"),
        Stop::with(
            "task-resolve",
            format!("{}?step=charge", task(&failed)),
            "CARD_DECLINED",
            "#resolve-step > summary",
        ),
        Stop::new("task-waiting", format!("{}?step=ask_the_bank", task(&waiting)), "Next attempt"),
        Stop::new("task-no-worker", format!("{}?step=wait_for_a_ship", task(&lonely)), "No worker"),
        Stop::new("task-running", format!("{}?step=pack", task(&running)), "running"),
        Stop::new("task-fan", task(&fan), "202 steps"),
        Stop::new("task-fan-open", format!("{}?open=1&find=page_17", task(&fan)), "page_17"),
        Stop::new("dead-ends", "/dead-ends", "pay_back"),
        Stop::new("retry-preview", "/dead-ends/retry?q=state:error", "2 tasks match"),
        Stop::new("retry-none", "/dead-ends/retry?q=tag:nowhere", "No task matches."),
        Stop::new("workers", "/workers", "night-1"),
        Stop::with("worker-drain", "/workers", "night-1", "#drain-night-2 > summary"),
        Stop::new("worker", "/workers/night-1", "Its batches"),
        Stop::new("worker-unknown", "/workers/nobody", "was ever registered"),
        Stop::new("batches", "/batches", "night-1"),
        Stop::new("batches-none", "/batches?only=differing", "No batch here."),
        Stop::new("batch", format!("/batches/{batch}"), "Reconciliation"),
        Stop::new("namespaces", "/namespaces", "a look at the charts"),
        Stop::with("namespace-pause", "/namespaces", "shop", "#pause-shop > summary"),
        Stop::new("audit", "/acts", "harbour"),
        Stop::new("templates", "/templates", "shop/order"),
        Stop::new("audit", "/acts", "a look at the charts"),
        Stop::new("template", "/templates/shop/order?version=1.4.0", "CARD_DECLINED"),
    ];
    (stops, refund)
}

#[test]
fn every_page_is_sound_wide_and_narrow_light_and_dark() {
    let scene = Scene::open();
    let handlers = [repository(HANDLERS)];
    let second = RubyWorker::start(scene.broker.work(), "night-2", 16, &handlers, &Serves::Stored(&["shop"]));
    second.registered();
    let gate = scene.gate();
    let (stops, refund) = stops(&scene, gate.path());
    let packer = gate.next();
    let browser = scene.browser();
    let pause = scene.visitor.request(Method::POST, "/namespaces/harbour/pause").header("origin", scene.broker.http());
    let reason = "reason=a+look+at+the+charts+of+the+sea,+which+will+take+until+the+tide+comes+back";
    let paused = pause.header("content-type", "application/x-www-form-urlencoded").body(reason);
    assert_eq!(scene.visitor.send(paused).status, 303);
    let mut walk = Walk::with(&browser);
    for look in LOOKS {
        walk.change(look);
        for stop in &stops {
            walk.stop(stop);
        }
        // A phone has no keys, and no help for them.
        if look.width > 720 {
            browser.visit("/");
            browser.keys("?");
            walk.look("help", false);
        }
        // What a form leads to.
        browser.visit("/dead-ends/retry?q=state:error+name:refund");
        browser.write("#bulk input[name=reason]", "to see what comes of it");
        browser.follow("#bulk button[value=all]");
        browser.shows("main > .notice", "1 of 1 tasks run again.");
        walk.look("retry-outcome", true);
        for (name, path, title) in [
            ("error-no-page", "/nothing/here", "Not Found"),
            ("error-no-task", "/tasks/00000000-0000-0000-0000-000000000000", "Not Found"),
            ("error-wrong", "/batches?only=some", "Bad Request"),
        ] {
            browser.visit(path);
            assert_eq!(browser.text("h1"), title);
            let told = browser.console();
            assert_eq!(told.len(), 1, "the browser tells of the status, and of nothing else: {told:?}");
            walk.look(name, true);
        }
        // It fails again, for the next look.
        assert_eq!(scene.ended(&refund), "error");
    }
    packer.release("packed");
    walk.end();
}

/// Each check sees what it is there for.
#[test]
fn faults_of_a_page_are_seen() {
    let scene = Scene::open();
    let browser = scene.browser();
    LOOKS[2].of(&browser);
    let spoil = |script: &str| {
        browser.visit("/templates");
        browser.run(script);
        faults(&browser).join("\n")
    };
    assert_eq!(spoil(""), "");
    for (script, fault) in [
        ("console.warn('beware')", "in the console: "),
        ("document.querySelector('h1').setAttribute('style', 'color: red')", "against the policy: style-src"),
        (
            "document.body.append(Object.assign(new Image(), { src: 'http://127.0.0.1:9/', alt: 'x' }))",
            "against the policy: img-src",
        ),
        ("document.title = 'Tasker'", "the title is \"Tasker\""),
        ("document.querySelector('main').append(document.createElement('h1'))", "2 first headings"),
        (
            "document.querySelector('main').append(Object.assign(document.createElement('p'), { id: 'main' }))",
            "the id main",
        ),
        ("document.querySelector('main').append('wide'.repeat(200))", "pixels wide on 390"),
        ("document.querySelector('main').append(document.createElement('button'))", "button has no name"),
        ("document.querySelector('h1').style.color = 'rgb(200 200 200)'", "h1 has a contrast of"),
        ("document.querySelector('.brand').style.outline = 'none'", "abrand does not show that it has the focus"),
        ("document.querySelector('.skip').remove()", "the first stop of Tab is abrand"),
        ("document.querySelector('.skip').style.top = '-90px'", "askip has the focus out of sight"),
    ] {
        let faults = spoil(script);
        assert!(faults.contains(fault), "{script}: {faults}");
    }
}

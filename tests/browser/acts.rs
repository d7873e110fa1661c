//! What operators do at night, from the list to the end of the task.

use fantoccini::key::Key;
use serde_json::json;

use crate::scene::Scene;
use crate::sound::demand;

/// Something that a page which is loaded again does not have.
const MARK: &str = "window.here = 'still the same page'";
const MARKED: &str = "return window.here === 'still the same page'";

#[test]
fn a_failed_task_is_found_by_filter_understood_retried_and_seen_to_complete() {
    let scene = Scene::open();
    let gate = scene.gate();
    // Fails in its first attempt, and would not in the second.
    let failed = scene.submit("shop/order", &json!({ "repaired": 2, "gate": gate.path() }));
    let complete = scene.submit("shop/invoice", &json!({ "start": 41 }));
    assert_eq!((scene.ended(&failed).as_str(), scene.ended(&complete).as_str()), ("error", "complete"));
    let browser = scene.browser();

    browser.visit("/tasks");
    browser.shows("#found", "2 shown of 2");
    browser.keys("/");
    browser.keys("state:error step:charge");
    browser.press(Key::Enter);
    browser.shows("#found", "1 shown of 1");
    assert!(browser.text("#tasks").contains("PermanentError: attempt 1 fails as asked"));
    assert_eq!(browser.count(&format!("#found a[href='/tasks/{complete}']")), 0);
    browser.follow(&format!("#found a[href='/tasks/{failed}']"));
    assert_eq!(browser.place(), format!("/tasks/{failed}"));
    assert_eq!(browser.text("#task-head .badge"), "error");

    // Why: what the worker reported, and what the broker says of the steps behind it.
    browser.follow("#step-rows a[href*='step=charge']");
    let step = browser.text("#step");
    assert!(step.contains("TaskerCore::Errors::PermanentError: attempt 1 fails as asked"), "{step}");
    assert!(step.contains("CARD_DECLINED") && step.contains("on night-1"), "{step}");
    browser.click("#step .failure summary");
    assert!(browser.text("#step .failure pre").contains("handlers.rb"));
    browser.follow("#step-rows a[href*='step=pack']");
    let why = browser.text("#step .why");
    assert!(why.contains("it waits for what has ended in error: charge"), "{why}");
    assert!(!why.contains("No worker"), "one serves it: {why}");

    browser.confirm("retry", "the bank answers again");
    assert_eq!(browser.text("main > .notice"), "Failed steps have new attempts.");
    let packer = gate.next();
    assert_eq!((packer.step.as_str(), packer.attempt), ("pack", 1));
    browser.until("the graph shows that pack runs", "document.querySelector('[data-step=\"3\"].busy')");
    browser.run(MARK);
    packer.release("packed");
    browser.shows("#task-head .badge", "complete");
    browser.shows("#task-head .legend", "100% of 5 steps");
    browser.until("the graph shows it, too", "document.querySelectorAll('.node.good').length === 5");
    assert_eq!(browser.run(MARKED), true, "the page was loaded again");
    let acts = "SELECT operation || ': ' || reason FROM tasker.operator_actions";
    assert_eq!(scene.database.texts(acts), ["retry: the bank answers again"]);
    browser.follow("#step-rows a[href*='step=charge']");
    assert!(browser.text("#step").contains("the bank answers again"));
    demand(&browser, "after all of it");
}

/// A stream of events that is opened when the test says so.
const LATE: &str = "const Stream = EventSource;
    window.EventSource = class extends EventTarget {
        constructor(url) {
            super();
            const pass = (event) => this.dispatchEvent(new MessageEvent(event.type, { data: event.data }));
            window.listen = () => ['open', 'message', 'gap', 'error'].forEach((type) => this.stream.addEventListener(type, pass),
                this.stream = new Stream(url));
        }
        close() { if (this.stream) this.stream.close(); }
    };";

#[test]
fn what_happens_before_the_page_listens_is_seen_as_well() {
    let scene = Scene::open();
    let gate = scene.gate();
    let browser = scene.browser();
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": LATE }));
    let task = scene.submit("shop/order", &json!({ "repaired": 1, "gate": gate.path() }));
    let packer = gate.next();
    browser.visit(&format!("/tasks/{task}"));
    assert_eq!(browser.text("#task-head .badge"), "running");
    packer.release("packed");
    assert_eq!(scene.ended(&task), "complete");
    browser.run("listen()");
    browser.shows("#task-head .badge", "complete");
}

#[test]
fn a_namespace_is_paused_and_resumed_and_a_worker_drained() {
    let mut scene = Scene::open();
    let gate = scene.gate();
    let browser = scene.browser();

    browser.visit("/namespaces");
    browser.confirm("pause-shop", "stock-taking until five");
    assert!(browser.text("main > .notice").contains("The namespace is paused"));
    let row = browser.text("#namespace-shop");
    assert!(row.contains("paused") && row.contains("stock-taking until five"), "{row}");
    let task = scene.submit("shop/order", &json!({ "repaired": 1, "gate": gate.path() }));
    browser.visit(&format!("/tasks/{task}"));
    assert_eq!(browser.text("#task-head .badge"), "pending");
    let head = browser.text("#task-head");
    assert!(head.contains("the namespace shop is paused: stock-taking until five"), "{head}");
    browser.follow("#step-rows a[href*='step=validate']");
    assert!(browser.text("#step .why").contains("the namespace shop is paused"));
    assert_eq!(scene.database.number("SELECT count(*) FROM tasker.batches"), 0);

    browser.visit("/namespaces");
    browser.confirm("resume-shop", "all is counted");
    assert!(browser.text("main > .notice").contains("The namespace goes on"));
    assert_eq!(browser.text("#namespace-shop .badge"), "active");
    let packer = gate.next();
    let begun = "SELECT count(*) FROM tasker.batches AS batch, tasker.fleet_actions AS act
                 WHERE act.operation = 'resume' AND batch.created_at < act.acted_at";
    assert_eq!(scene.database.number(begun), 0, "nothing was handed out before it was resumed");

    // The worker has a step still: it is seen to drain, and to be gone when that step has ended.
    browser.visit("/workers");
    browser.run(MARK);
    browser.confirm("drain-night-1", "the host is replaced");
    assert!(browser.text("main > .notice").contains("The worker finishes what it has"));
    browser.shows("#worker-night-1 .badge", "draining");
    assert_eq!(browser.count("#drain-night-1"), 0);
    browser.run(MARK);
    packer.release("packed");
    browser.until("the worker has left", "!document.getElementById('worker-night-1')");
    assert_eq!(browser.run(MARKED), true, "the page was loaded again");
    browser.shows("#workers", "No worker is registered.");
    assert!(scene.worker.ended().success());
    let acts = "SELECT concat_ws(' ', operation, subject, reason) FROM tasker.fleet_actions ORDER BY action_id";
    let done =
        ["pause shop stock-taking until five", "resume shop all is counted", "drain night-1 the host is replaced"];
    assert_eq!(scene.database.texts(acts), done);
    demand(&browser, "after all of it");
}

#[test]
fn dead_ends_are_previewed_and_retried_selected_and_all_together() {
    let scene = Scene::open();
    let repairable = json!({ "repaired": 2 });
    let refunds: Vec<String> = (0..4).map(|_| scene.submit("shop/refund", &repairable)).collect();
    let order = scene.submit("shop/order", &json!({}));
    assert!(refunds.iter().chain([&order]).all(|task| scene.ended(task) == "error"));
    let browser = scene.browser();

    browser.visit("/dead-ends");
    assert_eq!(browser.count("#groups tbody tr"), 2);
    browser.follow("#groups a.button[href*='refund']");
    assert!(browser.text("main").contains("4 tasks match."));
    assert_eq!(browser.count("#tasks tbody tr"), 4);
    assert_eq!(browser.count(&format!("#tasks a[href='/tasks/{order}']")), 0);
    browser.click(&format!("#tasks input[value='{}']", refunds[0]));
    browser.write("#bulk input[name=reason]", "one to see");
    browser.follow("#bulk button[value=selected]");
    assert_eq!(browser.text("main > .notice"), "1 of 1 tasks run again.");
    assert_eq!(browser.text("#outcomes .badge"), "retried");
    assert_eq!(scene.ended(&refunds[0]), "complete");

    browser.visit("/dead-ends");
    browser.follow("#groups a.button[href*='refund']");
    browser.shows("#bulk", "3 tasks match.");
    browser.write("#bulk input[name=reason]", "the account is open");
    browser.follow("#bulk button[value=all]");
    assert_eq!(browser.text("main > .notice"), "3 of 3 tasks run again.");
    assert_eq!(browser.count("#outcomes .badge.good"), 3);
    assert!(refunds.iter().all(|task| scene.ended(task) == "complete"));
    browser.visit("/dead-ends");
    assert_eq!(browser.count("#groups tbody tr"), 1, "only the order is left");
    let acts = "SELECT reason || ' ' || count(*) FROM tasker.operator_actions GROUP BY reason ORDER BY reason";
    assert_eq!(scene.database.texts(acts), ["one to see 1", "the account is open 3"]);
    demand(&browser, "after all of it");
}

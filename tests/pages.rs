//! Pages drawn from what a store could say, the largest ones too. They are left in `target/pages`, to be looked at; times are
//! printed with `--no-capture`.

use std::fs;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use tasker_core::ops::graph::{Graph, Standing, Step, View};
use tasker_core::ops::pages::assets;
use tasker_core::ops::pages::base::{Live, Page, Tab};
use tasker_core::ops::pages::task::{Looked, TaskPage, Wanted};
use tasker_core::ops::redact::Redaction;
use tasker_core::protocol::{NamedStep, StepExplained, StepExplanation};
use tasker_core::store::{
    ActedOn, Attempt, AttemptState, Dossier, Excerpt, Failing, OperatorAct, StepFile, StepHistory, StepLine, Timeline,
    TimelineRow,
};
use tasker_engine::{StepState, TaskId, TaskState};
use uuid::Uuid;

const CREATED: i64 = 1_795_667_000_000;

/// Name, handler, state, parents, start and run time in milliseconds.
type Sketch = (String, &'static str, StepState, Vec<u32>, i64, i64);

fn text(text: &str) -> Excerpt {
    Excerpt { text: text.to_owned(), bytes: text.len() }
}

fn sketch(name: &str, handler: &'static str, state: StepState, parents: &[u32], start: i64, ran: i64) -> Sketch {
    (name.to_owned(), handler, state, parents.to_vec(), start, ran)
}

fn dossier(name: &str, sketches: Vec<Sketch>) -> (Dossier, Timeline) {
    let mut rows = Vec::new();
    let mut steps = Vec::new();
    for (number, (name, handler, state, parents, start, ran)) in (0..).zip(sketches) {
        let begun = state != StepState::Pending;
        let ended = matches!(state, StepState::Complete | StepState::Error);
        let failed = matches!(state, StepState::Error | StepState::WaitingForRetry);
        if begun {
            let state = match state {
                StepState::Complete => AttemptState::Complete,
                StepState::Error | StepState::WaitingForRetry => AttemptState::Failed,
                _ => AttemptState::InProgress,
            };
            rows.push(TimelineRow {
                step: number,
                attempt: 1,
                state,
                dispatched_at_ms: Some(CREATED + start),
                started_at_ms: Some(CREATED + start),
                finished_at_ms: (ended || failed).then_some(CREATED + start + ran),
                duration_us: None,
                retry_at_ms: (failed && !ended).then_some(CREATED + start + ran + 4_000),
                registration: None,
                batch: None,
            });
        }
        steps.push(StepLine {
            name,
            handler: handler.to_owned(),
            state,
            ready: state == StepState::Pending && parents.is_empty(),
            attempts: u32::from(begun),
            retry_limit: 3,
            skippable: false,
            timeout_ms: 30_000,
            parents,
            worker: begun.then(|| "worker-eu-1".to_owned()),
            retry_at_ms: (state == StepState::WaitingForRetry).then_some(CREATED + start + ran + 4_000),
            dispatched_at_ms: begun.then_some(CREATED + start),
            finished_at_ms: ended.then_some(CREATED + start + ran),
            duration_us: (ended || failed).then_some(ran.unsigned_abs() * 1_000),
            error_class: failed.then(|| "Net::ReadTimeout".to_owned()),
            error_message: failed.then(|| "no answer from payments.internal after 10 s".to_owned()),
        });
    }
    let timeline = Timeline { rows, is_cut: false, workers: Vec::new() };
    let dossier = Dossier {
        id: TaskId(Uuid::from_u128(0x0193_7f00_1111_7000_8000_0000_0000_0042)),
        namespace: "fulfillment".to_owned(),
        name: name.to_owned(),
        version: "1.4.0".to_owned(),
        state: TaskState::InProgress,
        priority: 5,
        created_at_ms: CREATED,
        finished_at_ms: None,
        run_at_ms: None,
        read_at_ms: CREATED + 14_000,
        tags: vec!["eu".to_owned(), "express".to_owned()],
        idempotency_key: Some("order-18446744073709551616".to_owned()),
        initiator: Some("web".to_owned()),
        source_system: Some("shop".to_owned()),
        reason: Some("placed by customer".to_owned()),
        correlation_id: None,
        context: text(
            r#"{"order":{"id":18446744073709551616,"total":109.970,"items":[{"sku":"A-1","count":2},{"sku":"B-9","count":1}]},"customer":{"email":"ada@example.org","token":"t0p-s3cret"},"gift":null,"express":true}"#,
        ),
        options: None,
        steps,
    };
    (dossier, timeline)
}

/// An order as it could be: one step has failed, one waits for its next attempt, one runs.
fn order() -> (Dossier, Timeline) {
    use StepState::*;
    dossier(
        "process_order",
        vec![
            sketch("validate_order", "Orders::Validate", Complete, &[], 40, 310),
            sketch("check_fraud", "Risk::Check", Complete, &[0], 420, 2_900),
            sketch("reserve_stock", "Stock::Reserve", Complete, &[0], 410, 1_200),
            sketch("charge_card", "Payments::Charge", Error, &[1], 3_500, 10_000),
            sketch("pick_items", "Warehouse::Pick", Complete, &[2], 1_700, 3_100),
            sketch("print_label", "Shipping::Label", WaitingForRetry, &[2], 1_720, 900),
            sketch("pack_parcel", "Warehouse::Pack", InProgress, &[4], 5_000, 9_000),
            sketch("ship_parcel", "Shipping::Ship", Pending, &[3, 5, 6], 0, 0),
            sketch("notify_customer_that_the_parcel_is_on_its_way", "Mail::Notify", Pending, &[0, 7], 0, 0),
            sketch("update_ledger", "Ledger::Update", Pending, &[3], 0, 0),
        ],
    )
}

/// Steps of `shape` in all states, as a large import could be.
fn large(steps: u32, shape: impl Fn(u32) -> Vec<u32>) -> (Dossier, Timeline) {
    const HANDLERS: [&str; 4] = ["Import::Fetch", "Import::Convert", "Import::Check", "Import::Store"];
    let of = |step: u32| {
        let state = match step * 100 / steps {
            0..60 if step % 97 == 13 => StepState::Error,
            0..60 => StepState::Complete,
            60..70 => StepState::InProgress,
            _ => StepState::Pending,
        };
        let handler = HANDLERS[(step % 7 % 4) as usize];
        (format!("import_part_{step}"), handler, state, shape(step), i64::from(step), 400 + i64::from(step * 37 % 900))
    };
    dossier("import", (0..steps).map(of).collect())
}

/// What is known of a step that has failed twice.
struct Known {
    file: StepFile,
    history: StepHistory,
    acts: Vec<OperatorAct>,
    explained: StepExplained,
}

fn known(timeline: &Timeline) -> Known {
    let attempt = |number: u32| Attempt {
        row: TimelineRow {
            attempt: number,
            state: AttemptState::Failed,
            finished_at_ms: Some(CREATED + 13_500),
            dispatched_at_ms: Some(CREATED + 3_500),
            ..timeline.rows[0].clone()
        },
        worker: Some("worker-eu-1".to_owned()),
        queue_us: None,
        failing: Some(Failing {
            is_final: number == 2,
            class: "Net::ReadTimeout".to_owned(),
            message: "no answer from payments.internal after 10 s".to_owned(),
            code: Some("E_GATEWAY".to_owned()),
            context: Some(Bytes::from_static(br#"{"gateway":"payments.internal","api_token":"x","token":"y"}"#)),
            backtrace: vec!["app/handlers/charge.rb:42:in `charge'".to_owned(), "app/handlers/charge.rb:17".to_owned()],
        }),
        returned_because: None,
    };
    let act = OperatorAct {
        id: 1,
        on: ActedOn::Task { task: TaskId(Uuid::nil()), step: Some("charge_card".to_owned()) },
        operation: "retry".to_owned(),
        actor: "ada".to_owned(),
        reason: "gateway is back".to_owned(),
        before: "error".to_owned(),
        after: "pending".to_owned(),
        acted_at_ms: CREATED,
    };
    let explanation = StepExplanation {
        step: "ship_parcel".to_owned(),
        message: "It waits for charge_card, print_label and pack_parcel.".to_owned(),
        held_up_by: vec![NamedStep { step: "charge_card".to_owned(), state: "error".to_owned() }],
        ..StepExplanation::default()
    };
    let serving = (3, 2, 20, 20);
    Known {
        file: StepFile {
            inputs: text(r#"{"currency":"EUR","retries":{"limit":3}}"#),
            result: None,
            metadata: None,
            kind: None,
            parents: vec![("check_fraud".to_owned(), Some(text(r#"{"score":0.02,"checked_by":"rules-7"}"#)))],
        },
        history: StepHistory { attempts: vec![attempt(1), attempt(2)], ledger: Vec::new() },
        acts: vec![act],
        explained: StepExplained {
            steps: vec![explanation],
            workers_serving: serving.0,
            workers_active: serving.1,
            slots: serving.2,
            slots_used: serving.3,
            ..StepExplained::default()
        },
    }
}

/// Draws the page of a task, leaves it in `target/pages`, and says how long it took.
fn draw(file: &str, (dossier, timeline): &(Dossier, Timeline), address: &str) -> String {
    let known = known(timeline);
    let start = Instant::now();
    let parameters = address.split('&').filter_map(|parameter| parameter.split_once('='));
    let wanted = Wanted::of("/tasks/0193", parameters);
    let number = dossier.steps.iter().position(|step| Some(&step.name) == wanted.step.as_ref());
    let looked = number.map(|number| Looked {
        number,
        file: &known.file,
        history: &known.history,
        acts: &known.acts,
        explained: Some(&known.explained),
    });
    let redaction = Redaction::new(["token"]);
    let page =
        TaskPage { dossier, timeline, wanted: &wanted, looked, halt: None, redaction: &redaction, may_operate: true };
    let title = format!("{} · task", dossier.name);
    let page = Page {
        title: &title,
        tab: Some(Tab::Tasks),
        broker: "ok",
        viewer: "ada · operate",
        notice: None,
        live: Some(Live { news: "/news" }),
        body: page.body().expect("acyclic"),
    };
    let html = page.render().into_string();
    println!("{file}: {} bytes in {:?}", html.len(), start.elapsed());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pages");
    fs::create_dir_all(folder.join("assets")).expect("a folder");
    fs::write(folder.join(file), &html).expect("written");
    for asset in [&*assets::STYLE, &*assets::SCRIPT, &*assets::ICON] {
        fs::write(folder.join(&asset.path[1..]), asset.body).expect("written");
    }
    html
}

#[test]
fn an_order_and_its_failed_step() {
    let html = draw("order.html", &order(), "");
    assert!(html.contains("18446744073709551616") && !html.contains("t0p-s3cret"));
    let html = draw("step.html", &order(), "step=charge_card");
    assert!(html.contains("charge.rb:42") && html.contains("Resolve this step"));
    let html = draw("waits.html", &order(), "step=ship_parcel");
    assert!(html.contains("It waits for charge_card"));
}

#[test]
fn large_tasks_are_pages_of_a_bounded_size() {
    let fan = large(2_000, |step| match step {
        0 => vec![],
        1_999 => (1..1_999).collect(),
        _ => vec![0],
    });
    let random =
        large(10_000, |step| (1..=6).filter_map(|back: u32| step.checked_sub(back * back * 61 + step % 11)).collect());
    let chain = large(10_000, |step| step.checked_sub(1).into_iter().collect());
    let layers = large(10_000, |step| {
        if step < 400 { vec![] } else { (0..5).map(|at| step / 400 * 400 - 400 + (step * 7 + at * 71) % 400).collect() }
    });
    for (file, dossier, address) in [
        ("fan.html", &fan, ""),
        ("fan-open.html", &fan, "open=1&find=part_12"),
        ("random.html", &random, ""),
        ("chain.html", &chain, ""),
        ("layers.html", &layers, ""),
        ("layers-open.html", &layers, "open=0.1.2.3.400.401.402.403"),
    ] {
        let html = draw(file, dossier, address);
        assert!(html.len() < 1_200_000, "{file}: {} bytes", html.len());
    }
}

/// Only the layout: what a page adds to it is above.
#[test]
fn layouts_of_ten_thousand_steps() {
    type Shape = (&'static str, fn(u32) -> Vec<u32>);
    const SHAPES: [Shape; 5] = [
        ("fan", |step| if step == 0 { vec![] } else { vec![0] }),
        ("chain", |step| step.checked_sub(1).into_iter().collect()),
        ("random", |step| (1..=5).filter_map(|back: u32| step.checked_sub(back * 7 + step * back % 97)).collect()),
        ("wide layers", |step| {
            if step < 500 {
                vec![]
            } else {
                (0..6).map(|at| step / 500 * 500 - 500 + (step * 3 + at * 83) % 500).collect()
            }
        }),
        ("all of the hundred before", |step| (step.saturating_sub(100)..step).collect()),
    ];
    const HANDLERS: [&str; 5] = ["A", "B", "C", "D", "E"];
    for steps in [2_000, 10_000] {
        for (shape, parents) in SHAPES {
            let step = |at: u32| Step {
                name: "step",
                handler: HANDLERS[(at % 5) as usize],
                standing: Standing::Pending,
                run_us: Some(u64::from(at % 13)),
                attempts: 0,
                parents: parents(at),
            };
            let all: Vec<Step> = (0..steps).map(step).collect();
            let edges: usize = all.iter().map(|step| step.parents.len()).sum();
            let start = Instant::now();
            let drawing = Graph::new(all).expect("acyclic").drawing(&View::default());
            println!(
                "{shape}: {steps} steps, {edges} dependencies, {} boxes, {} lines in {:?}",
                drawing.boxes.len(),
                drawing.lines.len(),
                start.elapsed()
            );
            assert!(drawing.boxes.len() <= 300);
        }
    }
}

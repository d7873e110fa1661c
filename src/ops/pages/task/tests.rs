//! The page of a task, drawn from what a store could say.

use tasker_engine::{StepState, TaskId, TaskState};
use uuid::Uuid;

use super::*;
use crate::protocol::{StepExplained, StepExplanation};
use crate::store::{Attempt, AttemptState, Excerpt, Failing, StepFile, StepHistory, TimelineRow};

const CREATED: i64 = 1_795_667_000_000;

fn text(text: &str) -> Excerpt {
    Excerpt { text: text.to_owned(), bytes: text.len() }
}

fn line(name: &str, handler: &str, state: StepState, parents: &[u32]) -> StepLine {
    let ran = !matches!(state, StepState::Pending);
    let ended = matches!(state, StepState::Complete | StepState::Error);
    StepLine {
        name: name.to_owned(),
        handler: handler.to_owned(),
        state,
        ready: false,
        attempts: u32::from(ran),
        retry_limit: 3,
        skippable: false,
        timeout_ms: 30_000,
        parents: parents.to_vec(),
        worker: ran.then(|| "worker-1".to_owned()),
        retry_at_ms: None,
        dispatched_at_ms: ran.then_some(CREATED + 100),
        finished_at_ms: ended.then_some(CREATED + 1_300),
        duration_us: ended.then_some(1_150_000),
        error_class: (state == StepState::Error).then(|| "Net::Error".to_owned()),
        error_message: (state == StepState::Error).then(|| "no <answer>".to_owned()),
    }
}

fn dossier(steps: Vec<StepLine>) -> Dossier {
    Dossier {
        id: TaskId(Uuid::from_u128(7)),
        namespace: "shop".to_owned(),
        name: "order".to_owned(),
        version: "1.0.0".to_owned(),
        state: TaskState::InProgress,
        priority: 0,
        created_at_ms: CREATED,
        finished_at_ms: None,
        run_at_ms: None,
        read_at_ms: CREATED + 2_000,
        tags: vec!["eu".to_owned()],
        idempotency_key: None,
        initiator: Some("web".to_owned()),
        source_system: None,
        reason: None,
        correlation_id: None,
        context: text(r#"{"id":18446744073709551616,"token":"abc"}"#),
        options: None,
        steps,
    }
}

/// An attempt of each step that has begun.
fn timeline(dossier: &Dossier) -> Timeline {
    let begun = dossier.steps.iter().zip(0..).filter(|(step, _)| step.attempts > 0);
    let row = |(step, number): (&StepLine, u32)| TimelineRow {
        step: number,
        attempt: 1,
        state: match step.state {
            StepState::Error => AttemptState::Failed,
            StepState::InProgress => AttemptState::InProgress,
            _ => AttemptState::Complete,
        },
        dispatched_at_ms: step.dispatched_at_ms,
        started_at_ms: None,
        finished_at_ms: step.finished_at_ms,
        duration_us: None,
        retry_at_ms: None,
        registration: None,
        batch: None,
    };
    Timeline { rows: begun.map(row).collect(), is_cut: false, workers: Vec::new() }
}

fn order() -> Dossier {
    dossier(vec![
        line("reserve", "Reserve", StepState::Complete, &[]),
        line("charge", "Charge", StepState::Error, &[0]),
        line("pack", "Pack", StepState::InProgress, &[0]),
        line("ship", "Ship", StepState::Pending, &[1, 2]),
    ])
}

fn file() -> StepFile {
    StepFile {
        inputs: text("{}"),
        result: None,
        metadata: None,
        kind: None,
        parents: vec![("reserve".to_owned(), Some(text("[1.50]")))],
    }
}

fn history(dossier: &Dossier) -> StepHistory {
    let failing = Failing {
        is_final: true,
        class: "Net::Error".to_owned(),
        message: "no <answer>".to_owned(),
        code: Some("E1".to_owned()),
        context: Some(bytes::Bytes::from_static(br#"{"TOKEN": "secret"}"#)),
        backtrace: vec!["charge.rb:7".to_owned(), "charge.rb:9".to_owned()],
    };
    let attempt = Attempt {
        row: timeline(dossier).rows.remove(1),
        worker: Some("worker-1".to_owned()),
        queue_us: None,
        failing: Some(failing),
        returned_because: None,
    };
    StepHistory { attempts: vec![attempt], ledger: Vec::new() }
}

fn explained(step: &str) -> StepExplained {
    let message = "it waits for charge".to_owned();
    let explanation = StepExplanation { step: step.to_owned(), message, ..StepExplanation::default() };
    StepExplained { steps: vec![explanation], ..StepExplained::default() }
}

fn page(dossier: &Dossier, parameters: &[(&str, &str)], may_operate: bool) -> String {
    let wanted = Wanted::of("/tasks/7", parameters.iter().copied());
    let redaction = Redaction::new(["token"]);
    let number = dossier.steps.iter().position(|step| Some(&step.name) == wanted.step.as_ref());
    let (file, history) = (file(), number.map(|_| history(dossier)));
    let explained = explained(wanted.step.as_deref().unwrap_or(""));
    let looked = number.zip(history.as_ref()).map(|(number, history)| Looked {
        number,
        file: &file,
        history,
        acts: &[],
        explained: Some(&explained),
    });
    let timeline = timeline(dossier);
    let page = TaskPage {
        dossier,
        timeline: &timeline,
        wanted: &wanted,
        looked,
        halt: None,
        redaction: &redaction,
        may_operate,
    };
    page.body().expect("acyclic").into_string()
}

#[test]
fn a_task_is_shown_with_its_numbers_exact_and_its_secrets_gone() {
    let shown = page(&order(), &[], false);
    assert!(shown.contains("18446744073709551616") && !shown.contains("abc"));
    assert!(shown.contains("25%") && shown.contains("1 of 4 steps are done"));
    assert!(!shown.contains("<form class=\"card\""), "who may only look gets no buttons");
    assert!(!shown.contains("style=") && !shown.contains("onclick"), "the policy forbids what is inline");
}

#[test]
fn a_failed_step_is_shown_with_its_error_and_can_be_acted_on() {
    let shown = page(&order(), &[("step", "charge")], true);
    assert!(shown.contains("no &lt;answer&gt;") && shown.contains("charge.rb:7\ncharge.rb:9"));
    assert!(shown.contains("action=\"/tasks/00000000-0000-0000-0000-000000000007/retry\""));
    assert!(shown.contains("name=\"step\" value=\"charge\"") && shown.contains("Result of reserve"));
    assert!(!shown.contains("secret"), "keys are found whatever their case");
    assert!(!shown.contains("waits for charge"), "it has ended");
    let shown = page(&order(), &[("step", "ship")], false);
    assert!(shown.contains("it waits for charge") && shown.contains("No worker serves this template"));
}

#[test]
fn the_table_is_searched_filtered_and_paged() {
    let steps = (0..450).map(|at| line(&format!("step_{at}"), "Work", StepState::Pending, &[])).collect();
    let many = dossier(steps);
    let rows = |parameters: &[(&str, &str)]| page(&many, parameters, false).matches("<tr id=\"step-").count();
    assert_eq!((rows(&[]), rows(&[("page", "2")]), rows(&[("page", "99")])), (200, 50, 50));
    assert_eq!((rows(&[("find", "STEP_44")]), rows(&[("state", "error")])), (11, 0));
    assert_eq!(rows(&[("group", "0"), ("find", "_7")]), 11, "all are of one group");
    assert!(page(&many, &[], false).contains("page=1#steps"));
}

#[test]
fn a_timeline_has_so_many_lanes_and_says_so() {
    let steps = (0..100).map(|at| line(&format!("step_{at}"), "Work", StepState::Complete, &[])).collect();
    let shown = page(&dossier(steps), &[], false);
    assert!(shown.contains(&format!("Shown are {LANES_MAX} of 100 steps")));
    let nothing = page(&dossier(vec![line("a", "A", StepState::Pending, &[])]), &[], false);
    assert!(nothing.contains("Nothing has run yet"));
}

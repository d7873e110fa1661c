//! Pictures of a model, compared line by line.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use uuid::Uuid;

use super::super::look::{Activity, FailedStep, Look, News, Rates};
use super::*;
use crate::protocol::{HealthReport, NamespaceSummary, WorkerSummary};

fn look() -> Look {
    let health = HealthReport {
        status: "ok".to_owned(),
        version: "0.1.0".to_owned(),
        broker_id: Uuid::nil(),
        epoch: 3,
        uptime_seconds: 125,
        postgres: "up".to_owned(),
        tasks: Some(7),
        steps_ready: Some(1),
        steps_in_progress: Some(2),
        workers: Some(2),
        slots: Some(15),
        ..HealthReport::default()
    };
    let worker = |name: &str, in_flight, seen_ms_ago| WorkerSummary {
        name: name.to_owned(),
        state: "active".to_owned(),
        in_flight,
        concurrency: 10,
        batches: 1,
        seen_ms_ago,
        host: "h1".to_owned(),
        templates: vec!["shop/*".to_owned()],
        ..WorkerSummary::default()
    };
    let activity = |template: &str, tasks, steps| Activity {
        template: template.to_owned(),
        rates: Rates { tasks, steps },
        tasks: 12,
        steps: 48,
        failures: 1,
        in_progress: 2,
    };
    let failure = FailedStep {
        at_ms: 0,
        template: "shop/order@1.0.0".to_owned(),
        step: "pay".to_owned(),
        attempt: 2,
        worker: "a".to_owned(),
        reason: "declined\nby the bank".to_owned(),
    };
    let namespace = NamespaceSummary {
        name: "shop".to_owned(),
        paused: true,
        tasks: 7,
        steps_ready: 1,
        steps_in_progress: 2,
        steps_waiting: 11,
        workers: 2,
        ..NamespaceSummary::default()
    };
    Look {
        health,
        namespaces: vec![namespace],
        workers: vec![worker("a", 2, 400), worker("b", 9, 1_200)],
        templates: vec![activity("shop/order@1.0.0", 1.5, 6.0), activity("shop/refund@1.0.0", 0.0, 20.25)],
        rates: Some(Rates { tasks: 1.5, steps: 26.25 }),
        failures: vec![failure],
        events_lost: false,
    }
}

fn press(model: &mut Model, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\t' => KeyCode::Tab,
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            key => KeyCode::Char(key),
        };
        assert!(!model.press(KeyEvent::new(code, KeyModifiers::NONE)), "{key:?} ended it");
    }
}

fn picture(model: &Model, width: u16, height: u16) -> Vec<String> {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(_) = terminal.draw(|frame| draw(frame, model));
    let cells = terminal.backend().buffer().content().chunks(usize::from(width));
    let line = |line: &[ratatui::buffer::Cell]| line.iter().map(ratatui::buffer::Cell::symbol).collect::<String>();
    cells.map(|cells| line(cells).trim_end().to_owned()).collect()
}

#[test]
fn a_plain_frame_has_everything() {
    let expected = "\
broker    ok
          00000000-0000-0000-0000-000000000000 epoch 3  version 0.1.0  up 2 m 05 s  Postgres up
work      7 tasks  1 steps ready  2 in progress  2 workers with 15 slots
rates     1.5 tasks/s, 26.2 steps/s
namespaces (1)
NAMESPACE  STATE   READY▼  RUNNING  WAITING  TASKS  WORKERS
shop       paused  1       2        11       7      2
templates (2)
TEMPLATE           TASKS/S  STEPS/S▼  RUNNING  TASKS  STEPS  FAILED
shop/refund@1.0.0  0.0      20.2      2        12     48     1
shop/order@1.0.0   1.5      6.0       2        12     48     1
workers (2)
WORKER  STATE   BUSY▼  SLOTS  BATCHES  SEEN      HOST  TEMPLATES
b       active  9      10     1        1.20 s    h1    shop/*
a       active  2      10     1        400.0 ms  h1    shop/*
failures (1)
AT▼                       TEMPLATE          STEP  ATTEMPT  WORKER  REASON
1970-01-01T00:00:00.000Z  shop/order@1.0.0  pay   2        a       declined by the bank
";
    assert_eq!(plain(&Model::new(look())), expected);
}

#[test]
fn keys_sort_and_filter_the_chosen_table() {
    let mut model = Model::new(look());
    // Workers by slots, then by batches, by when they were seen; the other way round.
    press(&mut model, "\t\tsssr");
    let rows: Vec<String> = model.rows(2).iter().map(|row| row[0].shown().to_owned()).collect();
    assert_eq!(rows, ["a", "b"]);
    let lines = picture(&model, 100, 24);
    assert!(lines.iter().any(|line| line.contains("SEEN▲")), "{lines:#?}");
    press(&mut model, "/REFUND\n");
    assert_eq!((model.rows(1).len(), model.rows(2).len()), (1, 0));
    assert!(picture(&model, 100, 24).last().is_some_and(|line| line.starts_with("filter: REFUND")));
    press(&mut model, "\u{1b}");
    assert_eq!(model.rows(2).len(), 2);
    press(&mut model, "2j");
    assert!(!picture(&model, 100, 24).iter().any(|line| line.starts_with("shop/refund")), "scrolled out");
}

#[test]
fn a_pause_keeps_the_picture() {
    let mut model = Model::new(look());
    press(&mut model, "p");
    model.take(News::Look(Box::default()));
    assert_eq!(model.look.workers.len(), 2);
    assert!(picture(&model, 100, 24).last().is_some_and(|line| line.starts_with("PAUSED")));
    press(&mut model, "p");
    model.take(News::Look(Box::default()));
    assert_eq!(model.look.workers.len(), 0);
}

#[test]
fn a_broker_that_is_away_is_told_and_the_rest_stays() {
    let mut model = Model::new(look());
    model.take(News::Away("no broker\ncould be reached".to_owned()));
    assert_eq!(picture(&model, 80, 24)[0], "broker    away: no broker could be reached");
    assert_eq!(model.look.workers.len(), 2);
    model.take(News::Look(Box::new(look())));
    assert_eq!(picture(&model, 80, 24)[0], "broker    ok");
}

#[test]
fn the_help_lies_over_everything_and_every_size_is_drawn() {
    let mut model = Model::new(look());
    press(&mut model, "?");
    let lines = picture(&model, 100, 24);
    assert!(lines.iter().any(|line| line.contains("sort by the next column")), "{lines:#?}");
    for (width, height) in [(1, 1), (10, 3), (40, 12), (300, 100)] {
        picture(&model, width, height);
    }
    press(&mut model, "x");
    assert!(!model.has_help);
    assert!(model.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
}

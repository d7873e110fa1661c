//! What is told for traces: which stretches of time, from when to when, and of which attempts. That each end of a task and of
//! an attempt is told once is compared after each commit of every scenario (`count`).

use tasker_engine::{AttemptEnd, Config, SpanOf};

use crate::script::Stage;

fn stage(lines: &str) -> Stage {
    let mut stage = Stage::new(Config::default());
    play(&mut stage, lines);
    stage
}

fn play(stage: &mut Stage, lines: &str) {
    lines.lines().map(str::trim).filter(|line| !line.is_empty()).for_each(|line| drop(stage.act(line)));
}

/// Each span in words, with its begin and end in milliseconds after the start of the world.
fn told(stage: &Stage) -> Vec<String> {
    let start = Stage::new(Config::default()).world.now.wall.0;
    let spans = stage.world.spans.iter();
    let line = |span: &tasker_engine::Span| {
        let name = |step: u32| span.template.steps[step as usize].name.clone();
        let what = match &span.of {
            SpanOf::Task { state } => format!("task {}", state.as_str()),
            SpanOf::Again { state } => format!("again {}", state.as_str()),
            SpanOf::Wait { step, attempt, .. } => format!("wait {} {attempt}", name(*step)),
            SpanOf::Attempt { step, attempt, worker, end, .. } => {
                let worker = worker.as_deref().unwrap_or("?");
                let why = match end {
                    AttemptEnd::Failed { message, retry_in_ms, .. } => format!(": {message}, {retry_in_ms:?}"),
                    AttemptEnd::Returned { reason } => format!(": {reason}"),
                    AttemptEnd::Complete | AttemptEnd::Cancelled => String::new(),
                };
                format!("attempt {} {attempt} on {worker} {}{why}", name(*step), end.as_str())
            }
        };
        format!("{}-{} {what}", span.begun.0 - start, span.ended.0 - start)
    };
    spans.map(line).collect()
}

#[test]
fn a_task_lasts_from_its_acceptance_and_an_attempt_from_its_dispatch() {
    let stage = stage(
        "
        template line: a b(a)
        pass 5
        submit T line
        pass 20
        w registers 1
        pass 30
        w done T.a
        pass 40
        w done T.b
        ",
    );
    assert_eq!(
        told(&stage),
        ["5-25 wait a 1", "25-55 attempt a 1 on w complete", "55-95 attempt b 1 on w complete", "5-95 task complete"],
        "b was handed out at once"
    );
}

#[test]
fn an_engine_that_was_recovered_tells_when_an_attempt_began() {
    let stage = stage(
        "
        template one: a
        w registers 1
        submit T one
        pass 100
        crash
        pass 100
        w reconnects
        w done T.a
        ",
    );
    assert_eq!(told(&stage), ["0-201 attempt a 1 on w complete", "0-201 task complete"], "a crash takes a millisecond");
}

#[test]
fn failures_say_what_went_wrong_and_whether_another_attempt_follows() {
    let stage = stage(
        "
        template one: a
        w registers 1
        submit T one
        w fails T.a after=0.5
        pass 500
        w returns T.a
        pass 1000
        w fails T.a permanent
        ",
    );
    let told = told(&stage);
    assert!(told[0].starts_with("0-0 attempt a 1 on w failed: ") && told[0].ends_with("Some(500)"), "{told:?}");
    assert!(told[1].starts_with("500-500 attempt a 2 on w returned: "), "{told:?}");
    assert_eq!(told[2], "500-1500 wait a 2", "what comes back unrun waits anew");
    assert!(told[3].starts_with("1500-1500 attempt a 2 on w failed: ") && told[3].ends_with("None"), "{told:?}");
    assert_eq!(told[4..], ["0-1500 task error"]);
}

#[test]
fn what_an_operator_stops_is_over_and_a_task_that_runs_again_has_another_stretch() {
    let mut stage = stage(
        "
        template two: a b
        w registers 4
        submit T two
        pass 10
        cancel T
        submit U two
        w fails U.a permanent
        resolve U.b
        pass 10
        ",
    );
    let first = ["0-10 attempt a 1 on w cancelled", "0-10 attempt b 1 on w cancelled", "0-10 task cancelled"];
    assert_eq!(told(&stage)[..3], first);
    let ended = told(&stage);
    assert!(ended.contains(&"10-10 attempt b 1 on w cancelled".to_owned()), "{ended:?}");
    assert_eq!(ended.last().map(String::as_str), Some("10-10 task error"), "{ended:?}");
    play(&mut stage, "retry U\npass 7\nw done U.a");
    let again = told(&stage);
    assert_eq!(again.last().map(String::as_str), Some("20-27 again resolved_manually"), "{again:?}");
}

#[test]
fn nothing_is_told_unless_somebody_traces() {
    let mut stage = stage("template one: a");
    stage.world.config.spans = false;
    play(&mut stage, "crash\nw registers 1\nsubmit T one\nw done T.a");
    assert_eq!(told(&stage), Vec::<String>::new());
}

//! How long steps wait for a worker, and that nothing counts as waiting that does not. That the counts are right is compared
//! after each commit of every scenario (`count`).

use tasker_engine::{Config, Mark};

use crate::script::Stage;

fn stage(lines: &str) -> Stage {
    let mut stage = Stage::new(Config::default());
    play(&mut stage, lines);
    stage
}

fn play(stage: &mut Stage, lines: &str) {
    lines.lines().map(str::trim).filter(|line| !line.is_empty()).for_each(|line| drop(stage.act(line)));
}

/// For how long the oldest ready step of each template has waited.
fn ages(stage: &Stage) -> Vec<Option<u64>> {
    stage.world.engine.figures(stage.world.now).templates.iter().map(|template| template.oldest_ready_ms).collect()
}

/// How long each dispatched step had waited, in order.
fn queued(stage: &Stage) -> Vec<u64> {
    let marks = stage.world.marks.iter();
    marks
        .filter_map(|mark| if let Mark::StepDispatched { queued_ms, .. } = mark { Some(*queued_ms) } else { None })
        .collect()
}

#[test]
fn a_step_waits_from_the_moment_on_in_which_it_could_run() {
    let mut stage = stage(
        "
        template line: a b(a)
        w registers 1
        submit T line
        pass 300
        w done T.a
        submit U line
        ",
    );
    assert_eq!(queued(&stage), [0, 0], "a worker was free for both");
    assert_eq!(ages(&stage), [Some(0)], "it is taken by then");
    play(&mut stage, "pass 40");
    assert_eq!(ages(&stage), [Some(40)]);
    play(&mut stage, "w done T.b");
    assert_eq!((queued(&stage), ages(&stage)), (vec![0, 0, 40], vec![None]));
}

#[test]
fn the_age_is_that_of_the_oldest_whatever_is_taken_before_it() {
    let mut stage = stage(
        "
        template line: a b(a)
        template other: a
        submit T line
        pass 100
        submit U line
        pass 100
        submit V line + submit X other
        pass 100
        ",
    );
    assert_eq!(ages(&stage), [Some(300), Some(100)]);
    play(&mut stage, "cancel U");
    assert_eq!(ages(&stage), [Some(300), Some(100)]);
    play(&mut stage, "cancel T");
    assert_eq!(ages(&stage), [Some(100), Some(100)]);
    play(&mut stage, "crash");
    assert_eq!(ages(&stage), [Some(0), Some(0)], "a restart begins to count anew");
}

#[test]
fn a_delayed_task_waits_from_its_time_on() {
    let mut stage = stage(
        "
        template single: a
        submit T single in=5000
        pass 4999
        ",
    );
    assert_eq!(ages(&stage), [None]);
    let scheduled = |stage: &Stage| stage.world.engine.figures(stage.world.now).templates[0].steps_scheduled;
    assert_eq!(scheduled(&stage), 1);
    play(&mut stage, "pass 1\npass 70");
    assert_eq!((ages(&stage), scheduled(&stage)), (vec![Some(70)], 0));
    play(&mut stage, "w registers 1");
    assert_eq!(queued(&stage), [70]);
}

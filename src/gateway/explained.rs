//! Explanations as they are sent, with a sentence for people.

use std::fmt::Write;
use std::sync::Arc;

use tasker_engine::{Explanation, StepExplanation, StepState, WhyNot};
use uuid::Uuid;

use super::templates::capability_text;
use crate::protocol;

/// Why steps do not run, as it is sent.
pub fn step_explained(correlation_id: Uuid, explanation: &Explanation) -> protocol::StepExplained {
    let Explanation { serving, pause, .. } = explanation;
    let worker = |(name, state, in_flight, concurrency): &(Arc<str>, &str, u32, u32)| protocol::ServingWorker {
        name: name.to_string(),
        state: (*state).to_owned(),
        in_flight: *in_flight,
        concurrency: *concurrency,
    };
    protocol::StepExplained {
        correlation_id,
        task_id: explanation.task.0,
        template: explanation.template.to_string(),
        task_state: explanation.state.as_str().to_owned(),
        steps: explanation.steps.iter().map(|step| step_explanation(explanation, step)).collect(),
        steps_left_off: explanation.steps_left_off,
        run_at_ms: explanation.run_at.map(|at| at.0),
        paused_by: pause.as_ref().map(|pause| pause.actor.to_string()),
        pause_reason: pause.as_ref().map(|pause| pause.reason.to_string()),
        paused_at_ms: pause.as_ref().map(|pause| pause.at.0),
        namespace_steps_ready: explanation.namespace_ready,
        workers_serving: serving.workers,
        workers_active: serving.active,
        slots: serving.slots,
        slots_used: serving.slots_used,
        workers: serving.named.iter().map(worker).collect(),
        capabilities: explanation.capabilities.iter().map(capability_text).collect(),
    }
}

fn step_explanation(facts: &Explanation, step: &StepExplanation) -> protocol::StepExplanation {
    let error = step.error.as_ref();
    protocol::StepExplanation {
        step: step.name.to_string(),
        state: step.state.as_str().to_owned(),
        reason: step.why.as_str().to_owned(),
        message: sentence(facts, step),
        attempts: step.attempts,
        retry_limit: step.retry_limit,
        waits_for: named(&step.waits_for),
        waits_for_left_off: step.waits_for_left_off,
        held_up_by: named(&step.held_up_by),
        in_ms: step.in_ms,
        worker: step.worker.as_ref().map(ToString::to_string),
        since_ms: step.since_ms,
        error_class: error.map(|(class, _)| class.clone()),
        error_message: error.map(|(_, message)| message.clone()),
    }
}

fn named(steps: &[(Arc<str>, StepState)]) -> Vec<protocol::NamedStep> {
    let named = |(step, state): &(Arc<str>, StepState)| protocol::NamedStep {
        step: step.to_string(),
        state: state.as_str().to_owned(),
    };
    steps.iter().map(named).collect()
}

fn sentence(facts: &Explanation, step: &StepExplanation) -> String {
    let Explanation { serving, template, .. } = facts;
    let soon = step.in_ms.map(span).unwrap_or_default();
    let worker = step.worker.as_deref().unwrap_or("a worker");
    match step.why {
        WhyNot::Dependencies => match &*step.held_up_by {
            [] => format!("it waits for {}", listed(&step.waits_for, step.waits_for_left_off)),
            above if *above == *step.waits_for => format!("it waits for {}", listed(above, step.waits_for_left_off)),
            above => {
                let parents = listed(&step.waits_for, step.waits_for_left_off);
                format!("it waits for {parents}, and above that for {}", listed(above, 0))
            }
        },
        WhyNot::FailedDependency => {
            let failed: Vec<_> =
                step.held_up_by.iter().filter(|(_, state)| *state == StepState::Error).cloned().collect();
            format!("it waits for what has ended in error: {}; that has to be retried or resolved", listed(&failed, 0))
        }
        WhyNot::RunAt if soon.is_empty() => "the time of its task has not come".to_owned(),
        WhyNot::RunAt => format!("its task does not start before {soon} from now"),
        WhyNot::RetryWait => format!(
            "attempt {} of {} failed{}; the next one may start in {soon}",
            step.attempts,
            step.retry_limit,
            error(step)
        ),
        WhyNot::NamespacePaused => {
            let mut text = format!("the namespace {} is paused", template.namespace);
            if let Some(pause) = &facts.pause {
                // Both may be empty, and writing to a string does not fail.
                let _ = if pause.actor.is_empty() { Ok(()) } else { write!(text, " by {}", pause.actor) };
                let _ = if pause.reason.is_empty() { Ok(()) } else { write!(text, ": {}", pause.reason) };
            }
            text
        }
        WhyNot::NoWorker => format!("no worker that is registered serves {template}"),
        WhyNot::WorkerAwaited if step.worker.is_some() => {
            format!("{worker} has it, and has not come back since the broker was started; it is awaited for {soon}")
        }
        WhyNot::WorkerAwaited => {
            format!("the workers that serve it have not come back since the broker was started; awaited for {soon}")
        }
        WhyNot::NoCredit if serving.active == 0 => {
            format!("of the {} workers that serve it, none takes work now", serving.workers)
        }
        WhyNot::NoCredit => format!(
            "{} of {} slots are taken of the workers that serve it; it is one of {} steps of its namespace that are ready",
            serving.slots_used, serving.slots, facts.namespace_ready
        ),
        WhyNot::InLine => "it is ready and goes out next".to_owned(),
        WhyNot::BrokerDraining => "the broker is about to stop and hands out nothing".to_owned(),
        WhyNot::PostgresAway => "Postgres is away, and nothing is handed out that is not durable".to_owned(),
        WhyNot::Running => {
            let since = step.since_ms.map(span).unwrap_or_default();
            format!("{worker} has had it for {since}; its timeout is in {soon}")
        }
        WhyNot::Settled if step.state == StepState::Complete => "it is complete".to_owned(),
        WhyNot::Settled => "it was bypassed, or resolved by hand".to_owned(),
        WhyNot::Failed => {
            format!("it ended in error after attempt {} of {}{}", step.attempts, step.retry_limit, error(step))
        }
        WhyNot::Cancelled => "its task was cancelled".to_owned(),
    }
}

fn listed(steps: &[(Arc<str>, StepState)], left_off: u32) -> String {
    let mut text: Vec<String> = steps.iter().map(|(step, state)| format!("{step} ({})", state.as_str())).collect();
    if left_off > 0 {
        text.push(format!("{left_off} more"));
    }
    text.join(", ")
}

fn error(step: &StepExplanation) -> String {
    match &step.error {
        Some((class, message)) if message.is_empty() => format!(" ({class})"),
        Some((class, message)) => format!(" ({class}: {message})"),
        None => String::new(),
    }
}

/// Two units are exact enough for people.
fn span(ms: u64) -> String {
    let (seconds, minutes, hours) = (ms / 1_000, ms / 60_000, ms / 3_600_000);
    match ms {
        0..60_000 => format!("{seconds}.{} s", ms % 1_000 / 100),
        60_000..3_600_000 => format!("{minutes} min {} s", seconds % 60),
        3_600_000..86_400_000 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{} d {} h", hours / 24, hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use tasker_engine::{Pause, Serving, TaskId, TaskState, TemplateKey, Wall};

    use super::*;

    fn facts() -> Explanation {
        Explanation {
            task: TaskId(Uuid::nil()),
            template: TemplateKey { namespace: "shop".into(), name: "order".into(), version: "1.0.0".into() },
            state: TaskState::InProgress,
            run_at: None,
            pause: Some(Pause { actor: "anna".into(), reason: "deploy".into(), at: Wall(5) }),
            namespace_ready: 7,
            serving: Serving::default(),
            capabilities: Vec::new(),
            steps: Vec::new(),
            steps_left_off: 0,
        }
    }

    fn step(why: WhyNot) -> StepExplanation {
        StepExplanation {
            step: 0,
            name: "pay".into(),
            state: StepState::Pending,
            why,
            attempts: 1,
            retry_limit: 3,
            waits_for: Vec::new(),
            waits_for_left_off: 0,
            held_up_by: Vec::new(),
            in_ms: Some(1_250),
            worker: None,
            since_ms: Some(400),
            error: Some(("E".to_owned(), "broken".to_owned())),
        }
    }

    #[test]
    fn times_have_two_units() {
        for (ms, text) in [
            (0, "0.0 s"),
            (59_999, "59.9 s"),
            (60_000, "1 min 0 s"),
            (3_546_400, "59 min 6 s"),
            (3_600_000, "1 h 0 min"),
            (86_400_000, "1 d 0 h"),
            (u64::MAX, "213503982334 d 14 h"),
        ] {
            assert_eq!(span(ms), text);
        }
    }

    #[test]
    fn a_reason_is_a_sentence_for_people() {
        let parent = |state| ("a".into(), state);
        let above = [parent(StepState::InProgress)];
        let waiting = StepExplanation {
            waits_for: above.to_vec(),
            waits_for_left_off: 2,
            held_up_by: above.to_vec(),
            ..step(WhyNot::Dependencies)
        };
        let further = StepExplanation {
            held_up_by: vec![("b".into(), StepState::InProgress)],
            waits_for: vec![parent(StepState::Pending)],
            ..step(WhyNot::Dependencies)
        };
        let failed = StepExplanation { held_up_by: vec![parent(StepState::Error)], ..step(WhyNot::FailedDependency) };
        let running = StepExplanation { worker: Some("w".into()), ..step(WhyNot::Running) };
        for (step, expected) in [
            (waiting, "it waits for a (in_progress), 2 more"),
            (further, "it waits for a (pending), and above that for b (in_progress)"),
            (failed, "it waits for what has ended in error: a (error); that has to be retried or resolved"),
            (step(WhyNot::NamespacePaused), "the namespace shop is paused by anna: deploy"),
            (step(WhyNot::RetryWait), "attempt 1 of 3 failed (E: broken); the next one may start in 1.2 s"),
            (step(WhyNot::NoWorker), "no worker that is registered serves shop/order@1.0.0"),
            (running, "w has had it for 0.4 s; its timeout is in 1.2 s"),
        ] {
            assert_eq!(sentence(&facts(), &step), expected);
        }
    }
}

//! Why steps of a task do not run that is not live, from what the database says of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tasker_engine::{
    EXPLAINED_MAX, Explanation, NAMED_MAX, Serving, StepExplanation, StepState, TaskState, TemplateKey, Wall, WhyNot,
};

use crate::store::{StepView, TaskView};

/// Dependencies above one step that are walked for what holds it up, as in the engine.
const WALK_MAX: usize = 1_000;

/// The explanation of one step, or of all that have no result. `None` when the task has no step of that name.
pub(super) fn of_view(view: &TaskView, step: Option<&str>) -> Option<Explanation> {
    let numbers: Vec<usize> = match step {
        Some(name) => vec![view.steps.iter().position(|step| step.name == name)?],
        None => (0..view.steps.len()).filter(|&number| is_open(state(&view.steps[number]))).collect(),
    };
    let by_name: HashMap<&str, usize> = (0..).zip(&view.steps).map(|(number, step)| (&*step.name, number)).collect();
    let explained = numbers.iter().take(EXPLAINED_MAX).map(|&number| explain(view, &by_name, number)).collect();
    let left_off = numbers.len().saturating_sub(EXPLAINED_MAX);
    let (namespace, name, version) = (&*view.namespace, &*view.name, &*view.version);
    Some(Explanation {
        task: view.id,
        template: TemplateKey { namespace: namespace.into(), name: name.into(), version: version.into() },
        state: TaskState::from_name(&view.state).unwrap_or(TaskState::Error),
        run_at: view.run_at_ms.map(Wall),
        pause: None,
        namespace_ready: 0,
        serving: Serving::default(),
        capabilities: Vec::new(),
        steps: explained,
        steps_left_off: u32::try_from(left_off).unwrap_or(u32::MAX),
    })
}

fn explain(view: &TaskView, by_name: &HashMap<&str, usize>, number: usize) -> StepExplanation {
    let step = &view.steps[number];
    let unsettled: Vec<usize> = parents(step, by_name).filter(|&parent| !is_settled(&view.steps[parent])).collect();
    let held_up_by = if state(step) == StepState::Pending { blockers(view, by_name, number) } else { Vec::new() };
    let failed = held_up_by.iter().any(|&above| state(&view.steps[above]) == StepState::Error);
    let why = match state(step) {
        StepState::Pending if failed => WhyNot::FailedDependency,
        StepState::Pending if !unsettled.is_empty() => WhyNot::Dependencies,
        StepState::Pending if !step.ready => WhyNot::RunAt,
        StepState::Pending => WhyNot::InLine,
        StepState::InProgress => WhyNot::Running,
        StepState::WaitingForRetry => WhyNot::RetryWait,
        StepState::Complete | StepState::ResolvedManually => WhyNot::Settled,
        StepState::Error => WhyNot::Failed,
        StepState::Cancelled => WhyNot::Cancelled,
    };
    let named = |numbers: &[usize]| -> Vec<(Arc<str>, StepState)> {
        let steps = numbers.iter().take(NAMED_MAX).map(|&number| &view.steps[number]);
        steps.map(|step| (Arc::from(&*step.name), state(step))).collect()
    };
    let waits = state(step) == StepState::Pending;
    let error = step.error_class.clone().map(|class| (class, step.error_message.clone().unwrap_or_default()));
    StepExplanation {
        step: step.step,
        name: Arc::from(&*step.name),
        state: state(step),
        why,
        attempts: step.attempts,
        retry_limit: step.retry_limit,
        waits_for: if waits { named(&unsettled) } else { Vec::new() },
        waits_for_left_off: if waits { left_off(unsettled.len()) } else { 0 },
        held_up_by: named(&held_up_by),
        in_ms: step.retry_in_ms,
        worker: step.worker.as_deref().filter(|_| why == WhyNot::Running).map(Arc::from),
        since_ms: None,
        error,
    }
}

fn left_off(named: usize) -> u32 {
    u32::try_from(named.saturating_sub(NAMED_MAX)).unwrap_or(u32::MAX)
}

/// The steps above one that do not wait themselves.
fn blockers(view: &TaskView, by_name: &HashMap<&str, usize>, number: usize) -> Vec<usize> {
    let (mut above, mut seen, mut found) = (vec![number], HashSet::new(), Vec::new());
    let mut walk_left = WALK_MAX;
    while let Some(step) = above.pop() {
        for parent in parents(&view.steps[step], by_name) {
            if walk_left == 0 {
                return found;
            }
            walk_left -= 1;
            if is_settled(&view.steps[parent]) || !seen.insert(parent) {
                continue;
            }
            match state(&view.steps[parent]) {
                StepState::Pending if !view.steps[parent].ready => above.push(parent),
                _ => found.push(parent),
            }
        }
    }
    found
}

fn parents<'a>(step: &'a StepView, by_name: &'a HashMap<&str, usize>) -> impl Iterator<Item = usize> + 'a {
    step.parents.iter().filter_map(|name| by_name.get(&**name).copied())
}

/// The view derives no other states.
fn state(step: &StepView) -> StepState {
    StepState::from_name(&step.state).unwrap_or(StepState::Pending)
}

fn is_settled(step: &StepView) -> bool {
    state(step).satisfies_dependents()
}

fn is_open(state: StepState) -> bool {
    match state {
        StepState::Pending | StepState::InProgress | StepState::WaitingForRetry | StepState::Error => true,
        StepState::Complete | StepState::ResolvedManually | StepState::Cancelled => false,
    }
}

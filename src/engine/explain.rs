//! Why a step does not run: answered from what the engine holds. It looks at the steps asked for, at what is above them, and
//! at the workers; at no other task.

use std::collections::HashSet;
use std::sync::Arc;

use crate::census::Place;
use crate::delivery::{Deliver, Read, Reply};
use crate::effect::Effects;
use crate::engine::Engine;
use crate::event::Capability;
use crate::fleet::Pause;
use crate::hash::BuildIdHasher;
use crate::id::{Origin, TaskId};
use crate::state::{StepState, TaskState};
use crate::step::Phase;
use crate::task::{Task, count};
use crate::template::TemplateKey;
use crate::time::{Now, Wall};
use crate::workers::{Standing, Worker};

/// Steps in one answer: more than anybody reads, few enough for a message.
pub const EXPLAINED_MAX: usize = 1_000;
/// Dependencies that one answer looks at: a millisecond or two of the engine's time. The steps that are left then are left
/// off.
const DEPENDENCIES_MAX: u32 = 100_000;
/// Dependencies above one step that are walked for what holds it up, and what is named of it.
const WALK_MAX: u32 = 1_000;
/// Steps, workers and capabilities that are named; of the rest there is the number.
pub const NAMED_MAX: usize = 20;

/// A question why steps do not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplanationQuery {
    /// The task.
    pub task: TaskId,
    /// The step; all that have no result when there is none.
    pub step: Option<String>,
    /// The store cannot be reached: what is decided now waits for it.
    pub store_away: bool,
}

/// Why a step does or does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhyNot {
    /// Steps above it have no result yet.
    Dependencies,
    /// A step above it has ended in error.
    FailedDependency,
    /// The time of its task has not come.
    RunAt,
    /// Its last attempt failed, and the time of the next has not come.
    RetryWait,
    /// Its namespace is paused.
    NamespacePaused,
    /// No worker serves its template.
    NoWorker,
    /// The workers that have it, or serve it, have not come back since the broker was started.
    WorkerAwaited,
    /// The workers that serve its template take nothing more now.
    NoCredit,
    /// It goes out with the next batch.
    InLine,
    /// The broker is about to stop.
    BrokerDraining,
    /// Postgres cannot be reached.
    PostgresAway,
    /// A worker has it.
    Running,
    /// It has a result.
    Settled,
    /// It ended in error.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl WhyNot {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            WhyNot::Dependencies => "dependencies",
            WhyNot::FailedDependency => "failed_dependency",
            WhyNot::RunAt => "run_at",
            WhyNot::RetryWait => "retry_wait",
            WhyNot::NamespacePaused => "namespace_paused",
            WhyNot::NoWorker => "no_worker",
            WhyNot::WorkerAwaited => "worker_awaited",
            WhyNot::NoCredit => "no_credit",
            WhyNot::InLine => "in_line",
            WhyNot::BrokerDraining => "broker_draining",
            WhyNot::PostgresAway => "postgres_away",
            WhyNot::Running => "running",
            WhyNot::Settled => "settled",
            WhyNot::Failed => "failed",
            WhyNot::Cancelled => "cancelled",
        }
    }
}

/// Why steps of a task do not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The task.
    pub task: TaskId,
    /// Its template.
    pub template: TemplateKey,
    /// Its state.
    pub state: TaskState,
    /// When it may run, when that is said.
    pub run_at: Option<Wall>,
    /// That its namespace is paused.
    pub pause: Option<Pause>,
    /// Steps of its namespace that could run now, those of other tasks included.
    pub namespace_ready: u64,
    /// The workers that serve its template.
    pub serving: Serving,
    /// What the other workers can run, when none serves it.
    pub capabilities: Vec<Capability>,
    /// The steps, in order of the template.
    pub steps: Vec<StepExplanation>,
    /// Steps that would be there, too, if there were room.
    pub steps_left_off: u32,
}

/// The workers that serve a template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// How many.
    pub workers: u32,
    /// Of those, how many take work.
    pub active: u32,
    /// Slots of those.
    pub slots: u32,
    /// Slots of those that are taken.
    pub slots_used: u32,
    /// Some of them: name, state, slots taken, slots.
    pub named: Vec<(Arc<str>, &'static str, u32, u32)>,
    awaited: u32,
    /// Milliseconds that those are awaited for.
    awaited_ms: u64,
    credit: u32,
}

/// Why one step does or does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepExplanation {
    /// Index in the template.
    pub step: u32,
    /// Its name.
    pub name: Arc<str>,
    /// Its state.
    pub state: StepState,
    /// Why.
    pub why: WhyNot,
    /// Attempts made.
    pub attempts: u32,
    /// Most attempts.
    pub retry_limit: u32,
    /// Parents without a result, with their states.
    pub waits_for: Vec<(Arc<str>, StepState)>,
    /// Parents without a result that are not named.
    pub waits_for_left_off: u32,
    /// The steps above it that everything waits for which it waits for: they run, or are ready, or have failed.
    pub held_up_by: Vec<(Arc<str>, StepState)>,
    /// Milliseconds until what it waits for: the retry, the time of its task, the end of its timeout, of a grace period.
    pub in_ms: Option<u64>,
    /// The worker that has it.
    pub worker: Option<Arc<str>>,
    /// Milliseconds since that worker was given it.
    pub since_ms: Option<u64>,
    /// Class and message of its last error, when the store was asked.
    pub error: Option<(String, String)>,
}

impl Engine {
    pub(crate) fn explanation_asked(&self, now: Now, origin: Origin, query: ExplanationQuery, out: &mut Effects) {
        let Some(task) = self.tasks.get(&query.task) else {
            out.deliveries.push(Deliver::Read(Read::Explanation { to: origin, query, live: None }));
            return;
        };
        let steps = match &query.step {
            Some(name) => match self.step_number(query.task, name) {
                Ok(number) => vec![number],
                Err(refusal) => return out.refuse(origin, refusal),
            },
            None => (0..count(task.steps.len())).filter(|&step| is_open(task.step(step).phase())).collect(),
        };
        let explanation = Box::new(self.explain(now, task, &steps, query.store_away));
        let failed = explanation.steps.iter().any(|step| matches!(step.why, WhyNot::RetryWait | WhyNot::Failed));
        if failed && !query.store_away {
            let live = Some(explanation);
            out.deliveries.push(Deliver::Read(Read::Explanation { to: origin, query, live }));
        } else {
            out.reply(origin, Reply::Explained(explanation));
        }
    }

    fn explain(&self, now: Now, task: &Task, numbers: &[u32], store_away: bool) -> Explanation {
        let namespace = &task.template.key.namespace;
        let serving = self.serving(now, task.template_index);
        let capabilities = if serving.workers == 0 { self.capabilities() } else { Vec::new() };
        let mut explanation = Explanation {
            task: task.id,
            template: task.template.key.clone(),
            state: task.state(),
            run_at: task.run_at,
            pause: self.pauses.get(namespace).cloned(),
            namespace_ready: self
                .registry
                .of_namespace(namespace)
                .map(|index| self.census.of(index).steps(Place::Ready))
                .sum(),
            serving,
            capabilities,
            steps: Vec::new(),
            steps_left_off: 0,
        };
        let mut dependencies_left = DEPENDENCIES_MAX;
        for &number in numbers.iter().take(EXPLAINED_MAX) {
            if dependencies_left == 0 {
                break;
            }
            let step = self.explain_step(now, task, number, &explanation, store_away, &mut dependencies_left);
            explanation.steps.push(step);
        }
        explanation.steps_left_off = count(numbers.len() - explanation.steps.len());
        explanation
    }

    fn explain_step(
        &self,
        now: Now,
        task: &Task,
        number: u32,
        facts: &Explanation,
        store_away: bool,
        dependencies_left: &mut u32,
    ) -> StepExplanation {
        let step = task.step(number);
        let phase = step.phase();
        let mut explained = StepExplanation {
            step: number,
            name: task.template.steps[number as usize].name.clone(),
            state: phase.state(),
            why: WhyNot::Settled,
            attempts: step.attempts,
            retry_limit: step.limit,
            waits_for: Vec::new(),
            waits_for_left_off: 0,
            held_up_by: Vec::new(),
            in_ms: None,
            worker: None,
            since_ms: None,
            error: None,
        };
        explained.why = match phase {
            Phase::Waiting => explain_waiting(task, number, &mut explained, dependencies_left),
            Phase::Ready(_) => match task.start_at {
                Some(at) => {
                    explained.in_ms = Some(at.since(now.mono));
                    WhyNot::RunAt
                }
                None => self.explain_ready(facts, store_away, &mut explained),
            },
            Phase::Retrying(at) => {
                explained.in_ms = Some(at.since(now.mono));
                WhyNot::RetryWait
            }
            Phase::Dispatched(batch) => {
                let batch = self.batches.get(batch).expect("a dispatched step is in an open batch");
                let item = batch.items.iter().find(|item| item.task == task.id && item.step == number);
                explained.in_ms = item.map(|item| item.deadline.since(now.mono));
                explained.since_ms = Some(now.mono.since(batch.dispatched));
                let worker = self.workers.get(batch.registration);
                explained.worker = worker.map(Worker::name);
                if worker.is_some_and(|worker| worker.standing == Standing::Awaited) {
                    explained.in_ms = worker.map(|worker| worker.check_at.since(now.mono));
                    WhyNot::WorkerAwaited
                } else {
                    WhyNot::Running
                }
            }
            Phase::Settled(_) => WhyNot::Settled,
            Phase::Failed => WhyNot::Failed,
            Phase::Cancelled => WhyNot::Cancelled,
        };
        explained
    }

    /// What a step waits for that could run.
    fn explain_ready(&self, facts: &Explanation, store_away: bool, explained: &mut StepExplanation) -> WhyNot {
        let serving = &facts.serving;
        if store_away {
            WhyNot::PostgresAway
        } else if self.draining {
            WhyNot::BrokerDraining
        } else if facts.pause.is_some() {
            WhyNot::NamespacePaused
        } else if serving.workers == 0 {
            WhyNot::NoWorker
        } else if serving.awaited == serving.workers {
            explained.in_ms = Some(serving.awaited_ms);
            WhyNot::WorkerAwaited
        } else if serving.credit == 0 {
            WhyNot::NoCredit
        } else {
            WhyNot::InLine
        }
    }

    fn serving(&self, now: Now, template: u32) -> Serving {
        let mut serving = Serving::default();
        let covers = |capability: &Capability| self.registry.covers(capability, template);
        // Workers that are awaited have no table of what they serve.
        for worker in self.workers.iter().filter(|worker| worker.introduction.capabilities.iter().any(covers)) {
            serving.workers += 1;
            serving.credit += worker.credit();
            let slots = worker.introduction.concurrency;
            if worker.state() == Standing::Active.as_str() {
                serving.active += 1;
                serving.slots += slots;
                serving.slots_used += worker.out;
            }
            if worker.standing == Standing::Awaited {
                serving.awaited += 1;
                serving.awaited_ms = serving.awaited_ms.max(worker.check_at.since(now.mono));
            }
            if serving.named.len() < NAMED_MAX {
                serving.named.push((worker.name(), worker.state(), worker.out, slots));
            }
        }
        serving
    }

    /// What workers can run, each once.
    fn capabilities(&self) -> Vec<Capability> {
        let mut seen = HashSet::new();
        let all = self.workers.iter().flat_map(|worker| &worker.introduction.capabilities);
        all.filter(|&capability| seen.insert(capability)).take(NAMED_MAX).cloned().collect()
    }
}

/// Whether a step is listed when none is named: it waits, it runs, or it has failed.
fn is_open(phase: Phase) -> bool {
    match phase {
        Phase::Waiting | Phase::Ready(_) | Phase::Dispatched(_) | Phase::Retrying(_) | Phase::Failed => true,
        Phase::Settled(_) | Phase::Cancelled => false,
    }
}

/// Names the parents that a step waits for, and the steps above them that hold all of it up.
fn explain_waiting(task: &Task, number: u32, explained: &mut StepExplanation, dependencies_left: &mut u32) -> WhyNot {
    let named = |step: u32| (task.template.steps[step as usize].name.clone(), task.step(step).phase().state());
    for &parent in task.template.dag.parents(number) {
        *dependencies_left = dependencies_left.saturating_sub(1);
        if !task.step(parent).phase().state().satisfies_dependents() {
            if explained.waits_for.len() < NAMED_MAX {
                explained.waits_for.push(named(parent));
            } else {
                explained.waits_for_left_off += 1;
            }
        }
    }
    let mut seen: HashSet<u32, BuildIdHasher> = HashSet::default();
    let mut above = vec![number];
    let mut walk_left = WALK_MAX.min(*dependencies_left);
    let mut why = WhyNot::Dependencies;
    while let Some(step) = above.pop() {
        for &parent in task.template.dag.parents(step) {
            if walk_left == 0 {
                return why;
            }
            walk_left -= 1;
            *dependencies_left -= 1;
            match task.step(parent).phase() {
                Phase::Settled(_) => {}
                Phase::Waiting => {
                    if seen.insert(parent) {
                        above.push(parent);
                    }
                }
                phase @ (Phase::Ready(_)
                | Phase::Dispatched(_)
                | Phase::Retrying(_)
                | Phase::Failed
                | Phase::Cancelled) => {
                    if phase == Phase::Failed {
                        why = WhyNot::FailedDependency;
                    }
                    if seen.insert(parent) && explained.held_up_by.len() < NAMED_MAX {
                        explained.held_up_by.push(named(parent));
                    }
                }
            }
        }
    }
    why
}

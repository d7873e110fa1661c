//! The rows of a run, group by group, as a broker under load writes them: each group takes results of steps that earlier
//! groups have dispatched, closes their batches, ends tasks, makes new ones, and dispatches what is ready then.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tasker_engine::{
    Backoff, BatchId, BatchItem, BatchState, Capability, Command, IdSource, Mono, NewBatch, NewTask, Origin, PeerId,
    RegistrationId, Save, SettledKind, StepSettled, StepTemplate, TaskId, TaskLabels, TaskState, Template,
    TemplateError, TemplateKey, TemplateSource, Wall, WorkerIntroduction, checksum,
};
use uuid::Uuid;

use super::{GroupSize, LimitOptions};

/// From dispatch until a step would time out, as in a template that says nothing about it.
const TIMEOUT_MS: u64 = 30_000;

/// A group to be committed.
pub(super) struct Prepared {
    pub saves: Vec<Save>,
    pub oldest_open_batch: Option<Uuid>,
}

/// A step that a worker has.
struct OpenStep {
    task: TaskId,
    step: u32,
    batch: BatchId,
    /// It is the last of its batch.
    closes: bool,
}

pub(super) struct Work {
    template: Arc<Template>,
    registration: RegistrationId,
    ids: IdSource,
    steps_per_task: u32,
    batch_steps: usize,
    tasks_per_command: u64,
    context: Bytes,
    result: Bytes,
    result_checksum: u64,
    sizes: Sizes,
    tasks_left: u64,
    tasks_made: u64,
    /// In order of dispatch.
    open: VecDeque<OpenStep>,
    /// Steps that are kept open: so many that results for one group are there while another commits.
    open_max: usize,
}

impl Work {
    pub fn new(options: &LimitOptions) -> Result<Work, TemplateError> {
        let steps_per_task = options.steps_per_task.get();
        let largest = options.groups.iter().map(|(size, _)| size.get()).max().unwrap_or(1);
        let result = json_text(options.result_bytes);
        let (high, low) = Uuid::now_v7().as_u64_pair();
        let mut ids = IdSource::new([high, low]);
        Ok(Work {
            template: chain(steps_per_task)?,
            registration: RegistrationId(ids.uuid(now())),
            ids,
            steps_per_task,
            batch_steps: options.batch_steps.get() as usize,
            tasks_per_command: u64::from(options.tasks_per_command.get()),
            context: json_object(options.context_bytes),
            result_checksum: checksum(&result),
            result,
            sizes: Sizes::new(&options.groups),
            tasks_left: options.steps.div_ceil(u64::from(steps_per_task)).max(1),
            tasks_made: 0,
            open: VecDeque::new(),
            open_max: 2 * largest as usize,
        })
    }

    /// What is there before the first task.
    pub fn prologue(&self) -> [Save; 2] {
        let worker = WorkerIntroduction {
            name: "bench".into(),
            incarnation: Uuid::now_v7(),
            capabilities: vec![Capability::Namespace(self.template.key.namespace.clone())],
            templates: Vec::new(),
            concurrency: u32::try_from(self.open_max).unwrap_or(u32::MAX),
            host: "bench".into(),
            pid: std::process::id(),
            language: "none".into(),
            library: "none".into(),
            key: None,
            open_batches: Vec::new(),
            unacknowledged: Vec::new(),
        };
        let template = TemplateSource {
            template: Arc::clone(&self.template),
            yaml: String::new().into(),
            digest: [0; 32],
            description: None,
            task_handler_class: None,
            handler_config: None,
            environment: None,
        };
        let registration = self.registration;
        [Save::Template(template), Save::WorkerRegistered { registration, worker: Box::new(worker) }]
    }

    /// The next group; `None` when every task has ended. Makes no tasks any more unless `goes_on`.
    pub fn next_group(&mut self, goes_on: bool) -> Option<Prepared> {
        if !goes_on {
            self.tasks_left = 0;
        }
        let size = self.sizes.next();
        let (mut saves, mut ready) = (Vec::new(), Vec::new());
        let (mut settled, mut made, mut ended) = (0, 0, 0);
        loop {
            let is_open = self.settle_one(&mut saves, &mut ready);
            settled += usize::from(is_open);
            ended += usize::from(is_open && matches!(saves.last(), Some(Save::TaskFinished { .. })));
            let makes = self.tasks_left > 0 && self.open.len() + ready.len() < self.open_max;
            if makes {
                ready.push((self.make_task(&mut saves), 0));
                made += 1;
            }
            let is_full = match size {
                GroupSize::Steps(steps) => settled.max(made) >= steps.get() as usize,
                // A task's end is no row of its own, as `group_log` counts.
                GroupSize::Rows(rows) => {
                    saves.len() - ended + ready.len().div_ceil(self.batch_steps) >= rows.get() as usize
                }
            };
            if is_full || !(is_open || makes) {
                break;
            }
        }
        self.dispatch(ready, &mut saves);
        let oldest_open_batch = self.open.front().map(|open| open.batch.0);
        (!saves.is_empty()).then_some(Prepared { saves, oldest_open_batch })
    }

    /// Takes the result of the step that was dispatched first.
    fn settle_one(&mut self, saves: &mut Vec<Save>, ready: &mut Vec<(TaskId, u32)>) -> bool {
        let Some(OpenStep { task, step, batch, closes }) = self.open.pop_front() else { return false };
        saves.push(Save::StepSettled(StepSettled {
            task,
            step,
            attempt: 1,
            kind: SettledKind::Complete,
            batch: Some(batch),
            registration: Some(self.registration),
            dispatched_ms_ago: 1,
            started_at_us: now().0.saturating_mul(1_000),
            duration_us: 1,
            result: self.result.clone(),
            checksum: self.result_checksum,
            metadata: None,
        }));
        if closes {
            saves.push(Save::BatchClosed { batch, state: BatchState::Completed, differences: Vec::new() });
        }
        if step + 1 < self.steps_per_task {
            ready.push((task, step + 1));
        } else {
            saves.push(Save::TaskFinished { task, state: TaskState::Complete });
        }
        true
    }

    fn make_task(&mut self, saves: &mut Vec<Save>) -> TaskId {
        let id = TaskId(self.ids.uuid(now()));
        if self.tasks_made.is_multiple_of(self.tasks_per_command) {
            saves.push(Save::Command(Command {
                name: "InitializeTask",
                origin: Origin { peer: PeerId(1), correlation: self.ids.uuid(now()) },
                task: Some(id),
                outcome: "accepted",
                taken: Mono(0),
                duration_ms: 0,
            }));
        }
        saves.push(Save::Task(Box::new(NewTask {
            id,
            template: Arc::clone(&self.template),
            context: self.context.clone(),
            priority: 0,
            idempotency_key: None,
            bypass_steps: Vec::new(),
            run_at: None,
            labels: TaskLabels::default(),
        })));
        self.tasks_made += 1;
        self.tasks_left -= 1;
        id
    }

    fn dispatch(&mut self, ready: Vec<(TaskId, u32)>, saves: &mut Vec<Save>) {
        for steps in ready.chunks(self.batch_steps) {
            let batch = BatchId(self.ids.uuid(now()));
            let items = steps.iter().map(|&(task, step)| BatchItem { task, step, attempt: 1 }).collect();
            let registration = self.registration;
            saves.push(Save::Batch(NewBatch { id: batch, registration, items, deadline_in_ms: TIMEOUT_MS }));
            let last = steps.len() - 1;
            let open = |(at, &(task, step))| OpenStep { task, step, batch, closes: at == last };
            self.open.extend(steps.iter().enumerate().map(open));
        }
    }
}

impl GroupSize {
    fn get(self) -> u32 {
        match self {
            GroupSize::Steps(size) | GroupSize::Rows(size) => size.get(),
        }
    }
}

/// Sizes in turn, each as often as it is to occur, and evenly spread.
struct Sizes {
    /// Each with its share, and how much of a turn it is owed.
    sizes: Vec<(GroupSize, f64, f64)>,
}

impl Sizes {
    #[allow(clippy::cast_precision_loss, reason = "shares need no more digits")]
    fn new(counts: &[(GroupSize, u64)]) -> Sizes {
        let total: u64 = counts.iter().map(|(_, count)| count).sum();
        let share = |&(size, count): &(GroupSize, u64)| (size, count as f64 / total as f64, 0.0);
        Sizes { sizes: counts.iter().map(share).collect() }
    }

    fn next(&mut self) -> GroupSize {
        for (_, share, owed) in &mut self.sizes {
            *owed += *share;
        }
        match self.sizes.iter_mut().max_by(|a, b| a.2.total_cmp(&b.2)) {
            Some((size, _, owed)) => {
                *owed -= 1.0;
                *size
            }
            None => GroupSize::Steps(NonZeroU32::MIN),
        }
    }
}

/// The rows of a step do not depend on how many parents it has; these have none.
fn chain(steps: u32) -> Result<Arc<Template>, TemplateError> {
    let step = |number: u32| {
        let step = StepTemplate {
            name: format!("step_{number}").into(),
            handler_class: "Bench::Step".into(),
            retryable: true,
            retry_limit: 3,
            backoff: Backoff::default(),
            skippable: false,
            timeout_ms: TIMEOUT_MS,
            inputs: Bytes::from_static(b"{}"),
            custom_events: Box::default(),
            dependent_system: None,
        };
        (step, Vec::new())
    };
    let key = TemplateKey { namespace: "bench".into(), name: "limit".into(), version: "1.0.0".into() };
    Ok(Arc::new(Template::new(key, (0..steps).map(step).collect())?))
}

fn json_text(bytes: usize) -> Bytes {
    format!("\"{}\"", "x".repeat(bytes.saturating_sub(2))).into()
}

fn json_object(bytes: usize) -> Bytes {
    const FRAME: &str = r#"{"fill":""}"#;
    match bytes.checked_sub(FRAME.len()) {
        Some(rest) => format!(r#"{{"fill":"{}"}}"#, "x".repeat(rest)).into(),
        None => Bytes::from_static(b"{}"),
    }
}

fn now() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

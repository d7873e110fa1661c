//! Requests for tasks and for templates, and the looking up of idempotency keys.

use std::sync::Arc;

use bytes::Bytes;

use crate::deadlines::Deadline;
use crate::delivery::{Deliver, KeyLookup, Notice, NoticeKind, Read, Reply, TaskInitialized};
use crate::effect::{Effects, NewTask, Save, SettledKind, StepSettled};
use crate::engine::Engine;
use crate::event::{Event, TaskRequest, TemplateSource};
use crate::id::{Origin, TaskId};
use crate::mark::Mark;
use crate::refusal::{Refusal, RefusalKind};
use crate::step::StepInput;
use crate::task::Task;
use crate::template::{Template, TemplateKey};
use crate::time::Now;

/// What the store knows under an idempotency key: a task, and the template that it runs.
type KnownKey = Option<(TaskId, TemplateKey)>;

/// The result of a step that a request bypasses.
const NO_RESULT: Bytes = Bytes::from_static(b"null");

/// Requests on their way through the store, which says which of their idempotency keys it knows. The engine keeps nothing
/// of them meanwhile: they come back with the answer.
#[derive(Clone, Debug)]
pub struct Submission {
    from: Source,
    /// Each row with the position of its key in the look-up.
    rows: Vec<(Result<TaskRequest, Refusal>, Option<usize>)>,
    /// Payload and texts of the requests.
    bytes: u64,
    /// Of the engine that asked.
    generation: u64,
}

/// Where requests came from.
#[derive(Clone, Debug)]
enum Source {
    Command(Origin),
    /// Row numbers of the inbox, one a request.
    Inbox(Vec<i64>),
}

impl Submission {
    /// The command that brought the requests; none when the inbox did.
    pub fn origin(&self) -> Option<Origin> {
        match self.from {
            Source::Command(origin) => Some(origin),
            Source::Inbox(_) => None,
        }
    }

    /// The rows of the inbox that the requests came from; none when a command brought them.
    pub fn inbox_rows(&self) -> &[i64] {
        match &self.from {
            Source::Command(_) => &[],
            Source::Inbox(numbers) => numbers,
        }
    }

    /// The event that brought the requests, to be handled anew.
    pub fn into_event(self) -> Event {
        let requests = self.rows.into_iter().map(|(request, _)| request);
        match self.from {
            Source::Command(origin) => Event::TasksSubmitted { origin, requests: requests.collect() },
            Source::Inbox(numbers) => {
                // What the inbox holds is not refused before it comes to the engine.
                let rows = numbers.into_iter().zip(requests);
                Event::InboxTaken { rows: rows.collect() }
            }
        }
    }
}

impl Engine {
    pub(crate) fn template_submitted(&mut self, origin: Origin, source: TemplateSource, out: &mut Effects) {
        let template = source.template.clone();
        let registered = self.register_template(source, out);
        out.audit("RegisterTemplate", origin, None, registered.as_ref().map(|_| ()));
        match registered {
            Ok(created) => out.reply(origin, Reply::TemplateRegistered { template, created }),
            Err(refusal) => out.refuse(origin, refusal),
        }
    }

    /// Takes a template into the registry and tells which workers serve it; `Ok(false)` when it was there already.
    pub(crate) fn register_template(&mut self, source: TemplateSource, out: &mut Effects) -> Result<bool, Refusal> {
        let template = source.template.clone();
        let Some(index) = self.registry.register(source.clone())? else { return Ok(false) };
        self.take_template_in(index);
        out.saves.push(Save::Template(source));
        out.publish(Notice { template: Some(template), ..Notice::new(NoticeKind::TemplateRegistered) });
        Ok(true)
    }

    /// Makes a queue for a new template and finds its workers.
    pub(crate) fn take_template_in(&mut self, index: u32) {
        let namespace = &self.registry.get(index).template.key.namespace;
        self.queues.add_template(namespace, self.pauses.contains_key(namespace));
        self.census.add_template();
        for registration in self.workers.registrations() {
            let registry = &self.registry;
            self.workers.change(registration, |worker| {
                let serves =
                    worker.introduction.capabilities.iter().any(|capability| registry.covers(capability, index));
                worker.set_serves(index, serves);
            });
        }
    }

    pub(crate) fn tasks_submitted(
        &mut self,
        now: Now,
        origin: Origin,
        requests: Vec<Result<TaskRequest, Refusal>>,
        out: &mut Effects,
    ) {
        self.look_keys_up(now, Source::Command(origin), requests, out);
    }

    pub(crate) fn inbox_taken(&mut self, now: Now, rows: Vec<(i64, Result<TaskRequest, Refusal>)>, out: &mut Effects) {
        let (numbers, requests) = rows.into_iter().unzip();
        self.look_keys_up(now, Source::Inbox(numbers), requests, out);
    }

    /// Asks the store for the keys that no live task has; without any, goes straight on. A command is refused when too much
    /// is being asked already; what the inbox holds is taken at the pace of the commits anyway.
    fn look_keys_up(&mut self, now: Now, from: Source, requests: Vec<Result<TaskRequest, Refusal>>, out: &mut Effects) {
        let mut keys = Vec::new();
        let rows: Vec<_> = requests
            .into_iter()
            .map(|row| {
                let key = row.as_ref().ok().and_then(key_of).filter(|key| !self.keys.contains_key(key));
                let position = key.map(|key| {
                    keys.push(key);
                    keys.len() - 1
                });
                (row, position)
            })
            .collect();
        let bytes = rows.iter().filter_map(|(row, _)| row.as_ref().ok()).map(TaskRequest::bytes).sum();
        let submission = Submission { from, rows, bytes, generation: self.generation };
        if keys.is_empty() {
            self.create_tasks(now, submission, &[], out);
            return;
        }
        let count = submission.rows.len() as u64;
        if let Source::Command(origin) = submission.from
            && let Err(refusal) = self.lookups.room(count, bytes, "requests with idempotency keys")
        {
            out.refuse(origin, refusal);
            return;
        }
        self.lookups.asked(count, bytes);
        out.deliveries.push(Deliver::Read(Read::IdempotencyKeys { submission: Box::new(submission), keys }));
    }

    pub(crate) fn keys_looked_up(&mut self, now: Now, submission: Submission, found: &[KnownKey], out: &mut Effects) {
        if submission.generation != self.generation {
            // Which tasks ended since the question is known to the engine that asked, mixed with what was refused.
            let requests = submission.rows.into_iter().map(|(row, _)| row).collect();
            return self.look_keys_up(now, submission.from, requests, out);
        }
        let (rows, bytes) = (submission.rows.len() as u64, submission.bytes);
        // A task of this very answer may end at once, and its key be asked for again by the next row.
        self.create_tasks(now, submission, found, out);
        self.lookups.answered(rows, bytes);
        if self.lookups.none() {
            self.ended_keys.clear();
        }
    }

    fn create_tasks(&mut self, now: Now, submission: Submission, found: &[KnownKey], out: &mut Effects) {
        let outcomes: Vec<Result<TaskInitialized, Refusal>> = submission
            .rows
            .into_iter()
            .map(|(row, position)| {
                let request = row?;
                let stored = position.and_then(|position| found.get(position)?.as_ref());
                let stored = stored.filter(|_| !planted!(KeyForgotten));
                self.create_task(now, request, stored, out)
            })
            .collect();
        match submission.from {
            Source::Command(origin) => {
                let refusal = outcomes.iter().find_map(|outcome| outcome.as_ref().err());
                let first = outcomes.iter().find_map(|outcome| outcome.as_ref().ok()).map(|task| task.task);
                out.audit("InitializeTask", origin, first, refusal.map_or(Ok(()), Err));
                out.reply(origin, Reply::TasksInitialized(outcomes));
            }
            Source::Inbox(numbers) => {
                let mut later = Vec::new();
                for (row, outcome) in numbers.into_iter().zip(outcomes) {
                    // Whoever put it there has committed it and hears nothing of a refusal that passes.
                    if outcome.as_ref().is_err_and(|refusal| refusal.kind == RefusalKind::Overloaded) {
                        later.push(row);
                        continue;
                    }
                    let refusal =
                        outcome.err().map(|refusal| format!("{}: {}", refusal.kind.as_str(), refusal.message));
                    out.saves.push(Save::InboxTaken { row, refusal });
                }
                if !later.is_empty() {
                    out.deliveries.push(Deliver::InboxLater { rows: later });
                }
            }
        }
    }

    fn create_task(
        &mut self,
        now: Now,
        request: TaskRequest,
        stored: Option<&(TaskId, TemplateKey)>,
        out: &mut Effects,
    ) -> Result<TaskInitialized, Refusal> {
        let index = self.registry.resolve(&request.namespace, &request.name, request.version.as_deref())?;
        let template = self.registry.get(index).template.clone();
        if let Some(key) = key_of(&request) {
            let live = self.keys.get(&key).or_else(|| self.ended_keys.get(&key)).copied();
            // The template is the one that the first request chose; it may be older than today's highest version.
            if let Some(task) = live {
                let template = self.tasks.get(&task).map_or(template, |task| task.template.clone());
                return Ok(TaskInitialized { task, template, duplicate: true });
            }
            if let Some((task, key)) = stored {
                let chosen = self.registry.index(key).map(|index| self.registry.get(index).template.clone());
                return Ok(TaskInitialized { task: *task, template: chosen.unwrap_or(template), duplicate: true });
            }
        }
        let bypass_steps = bypass_numbers(&template, &request.bypass_steps)?;
        let (context, options) = admit(&template, &request)?;
        let given = request.labels.bytes() - request.labels.options.as_ref().map_or(0, Bytes::len);
        let payload = context.len() + options.as_ref().map_or(0, Bytes::len) + given;
        self.check_room(template.steps.len(), payload)?;

        let id = TaskId(self.ids.uuid(now.wall));
        let mut labels = request.labels;
        labels.options = options;
        let mut task = Task::new(id, template.clone(), index, context.clone(), labels.clone(), now.wall, now.mono);
        task.priority = request.priority;
        task.idempotency_key = request.idempotency_key.clone();
        task.run_at = request.run_at;
        task.turn = self.queues.draw_turn();
        if let Some(run_at) = request.run_at.filter(|&run_at| run_at > now.wall && !planted!(RunAtIgnored)) {
            let start_at = now.mono_at(run_at);
            task.start_at = Some(start_at);
            self.deadlines.add(start_at, Deadline::Start(id));
        }
        if let Some(key) = task.key_lookup() {
            self.keys.insert(key, id);
        }
        out.saves.push(Save::Task(Box::new(NewTask {
            id,
            template: template.clone(),
            context,
            priority: request.priority,
            idempotency_key: request.idempotency_key,
            bypass_steps: bypass_steps.clone(),
            run_at: request.run_at,
            labels,
        })));
        out.publish(task.notice(NoticeKind::TaskInitialized));
        self.steps_unfinished += template.steps.len() as u64;
        self.held_bytes += task.held_bytes;
        self.census.enter(&task);
        out.marks.push(Mark::TaskCreated { template: index });
        self.tasks.insert(id, Box::new(task));
        for step in bypass_steps {
            self.settle_unrun(id, step, StepInput::Bypassed, SettledKind::Bypassed, NO_RESULT, out);
        }
        self.advance_task(now, id, out);
        Ok(TaskInitialized { task: id, template, duplicate: false })
    }

    /// Settles a step without a worker: bypassed by its request, or resolved by an operator.
    pub(crate) fn settle_unrun(
        &mut self,
        id: TaskId,
        step: u32,
        input: StepInput,
        kind: SettledKind,
        result: Bytes,
        out: &mut Effects,
    ) {
        self.move_step(id, step, input);
        let checksum = crate::checksum(&result);
        let task = self.tasks.get_mut(&id).expect("moved just now");
        task.start(&mut self.census);
        task.step_mut(step).checksum = checksum;
        let attempt = task.step(step).attempts;
        out.publish(task.step_notice(NoticeKind::StepResolved, step));
        out.saves.push(Save::StepSettled(StepSettled {
            task: id,
            step,
            attempt,
            kind,
            batch: None,
            registration: None,
            dispatched_ms_ago: 0,
            started_at_us: 0,
            duration_us: 0,
            result: result.clone(),
            checksum,
            metadata: None,
        }));
        out.marks.push(Mark::StepEnded { template: task.template_index, end: kind.into(), ran_us: 0 });
        self.satisfy_children(id, step, result);
    }

    fn check_room(&self, steps: usize, payload: usize) -> Result<(), Refusal> {
        let limit = self.config.held_bytes_max;
        if self.held_bytes + payload as u64 > limit {
            let message = format!(
                "the broker holds {} bytes of payload for unfinished tasks and takes at most {limit}",
                self.held_bytes
            );
            return Err(Refusal::new(RefusalKind::Overloaded, message).limit(limit));
        }
        let limit = self.config.steps_max;
        if self.steps_unfinished + steps as u64 > limit {
            let message =
                format!("the broker holds {} unfinished steps and takes at most {limit}", self.steps_unfinished);
            return Err(Refusal::new(RefusalKind::Overloaded, message).limit(limit));
        }
        Ok(())
    }
}

fn key_of(request: &TaskRequest) -> Option<KeyLookup> {
    let key = request.idempotency_key.clone()?;
    Some(KeyLookup { namespace: Arc::from(&*request.namespace), name: Arc::from(&*request.name), key })
}

/// Checks context and options against the template and merges its defaults under them.
fn admit(template: &Template, request: &TaskRequest) -> Result<(Bytes, Option<Bytes>), Refusal> {
    let given = request.labels.options.clone();
    let Some(check) = &template.context_check else { return Ok((request.context.clone(), given)) };
    let refuse = |field: &str, error: crate::ContextError| {
        let place = if error.pointer.is_empty() { "the document" } else { &error.pointer };
        let message = format!("{field} of {}: {place}: {}", template.key, error.message);
        Refusal::new(RefusalKind::InvalidContext, message).field(field).position(error.pointer)
    };
    let text = std::str::from_utf8(&request.context).expect("the gateway takes UTF-8 only");
    let context = check.admit(text).map_err(|error| refuse("context", error))?;
    let options_text = given.as_deref().map(|text| std::str::from_utf8(text).expect("the gateway takes UTF-8 only"));
    let options = check.options(options_text).map_err(|error| refuse("options", error))?;
    Ok((context.unwrap_or_else(|| request.context.clone()), options.or(given)))
}

fn bypass_numbers(template: &Template, names: &[String]) -> Result<Vec<u32>, Refusal> {
    let mut numbers = Vec::with_capacity(names.len());
    for name in names {
        let Some(number) = template.step_number(name) else {
            let message = format!("template {} has no step {name}", template.key);
            return Err(Refusal::new(RefusalKind::UnknownStep, message).field("bypass_steps"));
        };
        if !template.steps[number as usize].skippable {
            let message = format!("step {name} of {} is not skippable", template.key);
            return Err(Refusal::new(RefusalKind::InvalidField, message).field("bypass_steps"));
        }
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    Ok(numbers)
}

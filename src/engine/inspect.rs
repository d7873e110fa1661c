//! Questions that change nothing: how is a task, who works, which templates are there.

use crate::delivery::{Deliver, Read, Reply};
use crate::effect::Effects;
use crate::engine::Engine;
use crate::event::StatusQuery;
use crate::id::Origin;
use crate::refusal::{Refusal, RefusalKind};
use crate::registry::Registry;
use crate::report::{StepLine, TaskReport, TemplateReport, WorkerReport};
use crate::step::Phase;
use crate::task::{Task, count};
use crate::time::Now;

impl Engine {
    pub(crate) fn status_asked(&mut self, now: Now, origin: Origin, query: StatusQuery, out: &mut Effects) {
        match self.tasks.get(&query.task) {
            Some(task) if query.include_results.is_empty() => {
                let report = Box::new(self.report(now, task, query.include_steps));
                out.reply(origin, Reply::Status(report));
            }
            // Results are not kept in memory once the children have them, and a finished task is not kept at all.
            task => {
                let progress = task.map_or_else(Vec::new, |task| self.progress_of_all(task));
                out.deliveries.push(Deliver::Read(Read::Status { to: origin, query, progress }));
            }
        }
    }

    pub(crate) fn report(&self, now: Now, task: &Task, include_steps: bool) -> TaskReport {
        let steps = if include_steps {
            (0..count(task.steps.len())).map(|number| self.step_line(now, task, number)).collect()
        } else {
            Vec::new()
        };
        TaskReport {
            id: task.id,
            template: task.template.key.clone(),
            state: task.state(),
            priority: task.priority,
            counts: task.step_counts(),
            created_at: task.created_at,
            finished_at: task.state().is_final().then_some(now.wall),
            run_at: task.run_at,
            tags: task.labels.tags.clone(),
            steps,
        }
    }

    fn step_line(&self, now: Now, task: &Task, number: u32) -> StepLine {
        let step = task.step(number);
        let definition = &task.template.steps[number as usize];
        let phase = step.phase();
        let worker = match phase {
            Phase::Dispatched(batch) => self
                .batches
                .get(batch)
                .and_then(|batch| self.workers.get(batch.registration))
                .map(|worker| worker.name()),
            Phase::Waiting
            | Phase::Ready(_)
            | Phase::Retrying(_)
            | Phase::Settled(_)
            | Phase::Failed
            | Phase::Cancelled => None,
        };
        StepLine {
            step: number,
            name: definition.name.clone(),
            state: phase.state(),
            attempts: step.attempts,
            retry_limit: step.limit,
            ready: matches!(phase, Phase::Ready(_)) && task.is_due(),
            parents: task
                .template
                .dag
                .parents(number)
                .iter()
                .map(|&parent| task.template.steps[parent as usize].name.clone())
                .collect(),
            worker,
            progress: self.progress_of(task, number).cloned(),
            retry_in_ms: if let Phase::Retrying(at) = phase { Some(at.since(now.mono)) } else { None },
        }
    }

    pub(crate) fn workers_asked(&mut self, now: Now, origin: Origin, out: &mut Effects) {
        let reports = self
            .workers
            .iter()
            .map(|worker| WorkerReport {
                name: worker.name(),
                registration: worker.registration,
                incarnation: worker.introduction.incarnation,
                state: worker.state(),
                concurrency: worker.introduction.concurrency,
                in_flight: worker.out,
                batches: count(worker.batches.len()),
                seen_ms_ago: now.mono.since(worker.seen),
                capabilities: worker.introduction.capabilities.clone(),
                host: worker.introduction.host.clone(),
                pid: worker.introduction.pid,
                language: worker.introduction.language.clone(),
                library: worker.introduction.library.clone(),
            })
            .collect();
        out.reply(origin, Reply::Workers(reports));
    }

    pub(crate) fn templates_asked(&mut self, origin: Origin, namespace: Option<&str>, out: &mut Effects) {
        let reports = self
            .registry
            .iter()
            .filter(|(_, source)| namespace.is_none_or(|namespace| &*source.template.key.namespace == namespace))
            .map(|(index, _)| self.template_report(index))
            .collect();
        out.reply(origin, Reply::Templates(reports));
    }

    pub(crate) fn template_asked(
        &mut self,
        origin: Origin,
        namespace: &str,
        name: &str,
        version: Option<&str>,
        out: &mut Effects,
    ) {
        match self.registry.resolve(namespace, name, version) {
            Ok(index) => out.reply(origin, Reply::Template(Box::new(self.template_report(index)))),
            Err(refusal) => out.refuse(origin, refusal),
        }
    }

    fn template_report(&self, index: u32) -> TemplateReport {
        let workers = self.workers.iter().filter(|worker| worker.peer.is_some() && worker.serves(index)).count();
        TemplateReport { source: Registry::get(&self.registry, index).clone(), workers: count(workers) }
    }
}

/// The refusal for an id that names no task.
pub(crate) fn unknown_task(id: crate::id::TaskId) -> Refusal {
    Refusal::new(RefusalKind::UnknownTask, format!("there is no task {id}")).field("task_id")
}

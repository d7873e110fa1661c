//! What an engine knows of itself in numbers, for whoever watches it. Costs what there are templates and workers, however
//! many tasks live.

use crate::census::Place;
use crate::engine::Engine;
use crate::report::{EngineFigures, HealthCounts, TemplateFigures, WorkerFigures};
use crate::template::TemplateKey;
use crate::time::Now;

impl Engine {
    /// All numbers.
    pub fn figures(&self, now: Now) -> EngineFigures {
        let templates = self.registry.indices().map(|index| {
            let counts = self.census.of(index);
            TemplateFigures {
                key: self.registry.get(index).template.key.clone(),
                tasks_pending: counts.tasks_pending,
                tasks_in_progress: counts.tasks_in_progress,
                steps_waiting: counts.steps(Place::Waiting),
                steps_scheduled: counts.steps(Place::Scheduled),
                steps_ready: counts.steps(Place::Ready),
                steps_in_progress: counts.steps(Place::InProgress),
                steps_retrying: counts.steps(Place::Retrying),
                oldest_ready_ms: counts.oldest_ready().map(|since| now.mono.since(since)),
            }
        });
        let workers = self.workers.iter().map(|worker| WorkerFigures {
            name: worker.name(),
            state: worker.standing.as_str(),
            slots: worker.introduction.concurrency,
            in_flight: worker.out,
            seen_ms_ago: now.mono.since(worker.seen),
        });
        EngineFigures {
            templates: templates.collect(),
            workers: workers.collect(),
            templates_without_worker: self.templates_without_worker().len() as u64,
            steps_unfinished: self.steps_unfinished,
            steps_unfinished_max: self.config.steps_max,
            held_bytes: self.held_bytes,
            held_bytes_max: self.config.held_bytes_max,
            batches: self.batches.len() as u64,
            waiters: self.waiters.len() as u64,
        }
    }

    /// Numbers for a health check.
    pub fn health(&self) -> HealthCounts {
        HealthCounts {
            tasks: self.tasks.len() as u64,
            steps_ready: self.census.steps(Place::Ready),
            steps_in_progress: self.census.steps(Place::InProgress),
            steps_unfinished: self.steps_unfinished,
            workers: self.workers.len() as u64,
            slots: self.workers.iter().map(|worker| u64::from(worker.introduction.concurrency)).sum(),
            templates: self.registry.len() as u64,
            templates_without_worker: self.templates_without_worker(),
            namespaces_paused: self.pauses.keys().cloned().collect(),
        }
    }

    /// Steps that are ready, and steps that are with workers.
    pub fn steps_now(&self) -> (u64, u64) {
        (self.census.steps(Place::Ready), self.census.steps(Place::InProgress))
    }

    /// Templates with waiting work that no connected worker serves, but for those of paused namespaces.
    pub fn templates_without_worker(&self) -> Vec<TemplateKey> {
        let served = |template| self.workers.iter().any(|worker| worker.peer.is_some() && worker.serves(template));
        let waiting = self.queues.waiting_templates().filter(|&template| !served(template));
        waiting.map(|template| self.registry.get(template).template.key.clone()).collect()
    }

    /// The registered templates from this place on, in the order in which [`Mark`](crate::Mark)s number them.
    pub fn template_keys(&self, from: usize) -> impl Iterator<Item = &TemplateKey> {
        self.registry.indices().skip(from).map(|index| &self.registry.get(index).template.key)
    }
}

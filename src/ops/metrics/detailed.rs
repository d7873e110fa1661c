//! `/metrics/detailed`: series by template and by worker. As many as there are of both, hence apart: a monitoring system
//! that keeps them all is a choice.

use std::fmt;

use prometheus_client::registry::Unit;
use tasker_engine::{StepEnd, TemplateFigures};

use super::Inside;
use super::page::{Labels, Page};
use crate::server::metrics::{TASK_ENDS, TemplateCounts};

impl Inside {
    pub(super) fn write_detailed(&self, page: &mut Page<'_>) -> fmt::Result {
        let Some(figures) = &self.figures else { return Ok(()) };
        let templates = || figures.engine.templates.iter().zip(&figures.templates);
        let gauges = |value: fn(&TemplateFigures) -> u64| {
            templates().map(move |(template, _)| (named(template), value(template) as f64))
        };
        page.gauges(
            "template_tasks",
            None,
            "Unfinished tasks of a template.",
            gauges(|template| template.tasks_pending + template.tasks_in_progress),
        )?;
        let help = "Steps of a template that wait for a worker.";
        page.gauges("template_steps_ready", None, help, gauges(|template| template.steps_ready))?;
        let help = "Steps of a template that workers have.";
        page.gauges("template_steps_in_progress", None, help, gauges(|template| template.steps_in_progress))?;
        let ages =
            templates().map(|(template, _)| (named(template), template.oldest_ready_ms.unwrap_or(0) as f64 / 1e3));
        let help = "For how long the oldest ready step of a template has waited.";
        page.gauges("template_oldest_ready_step_age", Some(Unit::Seconds), help, ages)?;
        let counters = |value: fn(&TemplateCounts) -> u64| {
            templates().map(move |(template, counts)| (named(template), value(counts)))
        };
        let help = "Tasks of a template that were made.";
        page.counters("template_tasks_created", None, help, counters(|counts| counts.tasks_created))?;
        let help = "Steps of a template that were handed out.";
        page.counters("template_steps_dispatched", None, help, counters(|counts| counts.steps_dispatched))?;
        let ended = templates().flat_map(|(template, counts)| {
            let states = TASK_ENDS.iter().zip(counts.tasks_ended);
            states.map(move |(state, count)| (labelled(template, "state", state.as_str()), count))
        });
        page.counters("template_tasks_ended", None, "Tasks of a template that ended.", ended)?;
        let ended = templates().flat_map(|(template, counts)| {
            let outcomes = StepEnd::ALL.iter().zip(counts.steps_ended);
            outcomes.map(move |(end, count)| (labelled(template, "outcome", end.as_str()), count))
        });
        let help = "Steps of a template that were settled, and attempts that failed or came back.";
        page.counters("template_steps_ended", None, help, ended)?;

        let workers = || figures.engine.workers.iter();
        let states = workers().map(|worker| (vec![("worker", &*worker.name), ("state", worker.state)], 1.0));
        page.gauges("worker_state", None, "The state of a worker, as a label.", states)?;
        let slots = workers().map(|worker| (vec![("worker", &*worker.name)], f64::from(worker.slots)));
        page.gauges("worker_concurrency", None, "Steps that a worker runs at a time.", slots)?;
        let used = workers().map(|worker| (vec![("worker", &*worker.name)], f64::from(worker.in_flight)));
        page.gauges("worker_steps", None, "Steps that a worker has.", used)?;
        let ages = workers().map(|worker| (vec![("worker", &*worker.name)], worker.seen_ms_ago as f64 / 1e3));
        let help = "Time since a worker's last sign of life.";
        page.gauges("worker_heartbeat_age", Some(Unit::Seconds), help, ages)
    }
}

fn named(template: &TemplateFigures) -> Labels<'_> {
    let key = &template.key;
    vec![("namespace", &*key.namespace), ("template", &*key.name), ("version", &*key.version)]
}

fn labelled<'a>(template: &'a TemplateFigures, label: &'static str, value: &'static str) -> Labels<'a> {
    let mut labels = named(template);
    labels.push((label, value));
    labels
}

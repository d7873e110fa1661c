//! `/metrics`: series whose number is bounded. Namespaces are labels up to a limit; whatever there may be more of is not.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::registry::Unit;
use tasker_engine::{StepEnd, TemplateFigures};

use super::Inside;
use super::page::{Labels, MICROSECONDS, ONES, Page};
use crate::server::metrics::TASK_ENDS;

/// States that a worker is shown in.
const WORKER_STATES: [&str; 4] = ["active", "suspect", "draining", "awaited"];

/// Live tasks and steps of a namespace.
#[derive(Default)]
struct Live {
    tasks: [u64; 2],
    steps: [u64; 5],
    oldest_ready_ms: u64,
}

const TASK_STATES: [&str; 2] = ["pending", "in_progress"];
const STEP_STATES: [&str; 5] = ["waiting_for_dependencies", "scheduled", "ready", "in_progress", "waiting_for_retry"];

impl Live {
    fn add(&mut self, template: &TemplateFigures) {
        let TemplateFigures { tasks_pending, tasks_in_progress, .. } = *template;
        let TemplateFigures { steps_waiting, steps_scheduled, steps_ready, steps_in_progress, steps_retrying, .. } =
            *template;
        let add =
            |counts: &mut [u64], more: &[u64]| counts.iter_mut().zip(more).for_each(|(count, more)| *count += more);
        add(&mut self.tasks, &[tasks_pending, tasks_in_progress]);
        add(&mut self.steps, &[steps_waiting, steps_scheduled, steps_ready, steps_in_progress, steps_retrying]);
        self.oldest_ready_ms = self.oldest_ready_ms.max(template.oldest_ready_ms.unwrap_or(0));
    }
}

impl Inside {
    pub(super) fn write_state(&self, page: &mut Page<'_>) -> fmt::Result {
        let counts = &self.counts;
        let broker_id = counts.broker_id.to_string();
        let build = vec![("version", env!("CARGO_PKG_VERSION")), ("broker_id", &*broker_id)];
        page.info("build", "Which broker this is.", &build)?;
        let started = seconds_of(counts.started_at);
        page.gauge("start_time", Some(Unit::Seconds), "When the broker took the lane, in Unix time.", started)?;
        let answers = f64::from(u8::from(self.figures.is_some()));
        page.gauge(
            "event_loop_answers",
            None,
            "Whether the event loop answered this scrape within a second.",
            answers,
        )?;
        let up = f64::from(u8::from(counts.postgres_up));
        page.gauge("postgres_up", None, "Whether Postgres answers the writer.", up)?;
        let draining = f64::from(u8::from(counts.draining));
        page.gauge("draining", None, "Whether the broker is stopping and takes no new tasks.", draining)?;
        page.gauge(
            "lease_epoch",
            None,
            "How often the lane has been claimed, by this broker last.",
            counts.epoch as f64,
        )?;
        let help = "Time until the lease ends unless it is extended; negative when it has ended.";
        page.gauge("lease_remaining", Some(Unit::Seconds), help, counts.lease_remaining_ms as f64 / 1e3)?;
        let help = "Time since a group was committed, or since the start.";
        page.gauge("last_commit_age", Some(Unit::Seconds), help, counts.committed_ms_ago as f64 / 1e3)?;
        let help = "When partitions were last made ahead of time, in Unix time.";
        let upkeep = counts.upkeep_at.map(|at| (Labels::new(), at as f64));
        page.gauges("upkeep_success_timestamp", Some(Unit::Seconds), help, upkeep)
    }

    /// What only the event loop knows.
    pub(super) fn write_live(&self, page: &mut Page<'_>) -> fmt::Result {
        let Some(figures) = &self.figures else { return Ok(()) };
        let engine = &figures.engine;
        let mut live: BTreeMap<&str, Live> = BTreeMap::new();
        for template in &engine.templates {
            live.entry(self.observer.label(&template.key.namespace)).or_default().add(template);
        }
        let tasks = live.iter().flat_map(|(&namespace, live)| {
            let states = TASK_STATES.into_iter().zip(live.tasks);
            states.map(move |(state, count)| (vec![("namespace", namespace), ("state", state)], count as f64))
        });
        page.gauges("tasks", None, "Unfinished tasks.", tasks)?;
        let steps = live.iter().flat_map(|(&namespace, live)| {
            let states = STEP_STATES.into_iter().zip(live.steps);
            states.map(move |(state, count)| (vec![("namespace", namespace), ("state", state)], count as f64))
        });
        page.gauges("steps", None, "Steps of unfinished tasks that have not ended.", steps)?;
        let ages = live.iter();
        let ages = ages.map(|(&namespace, live)| (vec![("namespace", namespace)], live.oldest_ready_ms as f64 / 1e3));
        let help = "For how long the oldest ready step has waited for a worker, since the start at most.";
        page.gauges("oldest_ready_step_age", Some(Unit::Seconds), help, ages)?;

        page.gauge("unfinished_steps", None, "Steps that count against the limit.", engine.steps_unfinished as f64)?;
        let help = "Most unfinished steps; further tasks are refused.";
        page.gauge("unfinished_steps_limit", None, help, engine.steps_unfinished_max as f64)?;
        let help = "Payload of unfinished tasks in memory.";
        page.gauge("held_payload", Some(Unit::Bytes), help, engine.held_bytes as f64)?;
        let help = "Most payload in memory; further tasks are refused.";
        page.gauge("held_payload_limit", Some(Unit::Bytes), help, engine.held_bytes_max as f64)?;
        page.gauge("open_batches", None, "Batches that are not closed.", engine.batches as f64)?;
        page.gauge("waiting_clients", None, "Clients that wait for the end of a task.", engine.waiters as f64)?;
        page.gauge("templates", None, "Registered templates.", engine.templates.len() as f64)?;
        let help = "Templates with ready steps that no connected worker serves.";
        page.gauge("templates_without_worker", None, help, engine.templates_without_worker as f64)?;

        let workers = &engine.workers;
        let states = WORKER_STATES.map(|state| {
            let count = workers.iter().filter(|worker| worker.state == state).count();
            (vec![("state", state)], count as f64)
        });
        page.gauges("workers", None, "Registered workers.", states)?;
        let slots: u64 = workers.iter().map(|worker| u64::from(worker.slots)).sum();
        page.gauge("worker_slots", None, "Steps that all workers together run at a time.", slots as f64)?;
        let used: u64 = workers.iter().map(|worker| u64::from(worker.in_flight)).sum();
        page.gauge("worker_slots_used", None, "Steps that workers have.", used as f64)?;
        let connected = workers.iter().filter(|worker| worker.state != "awaited");
        let oldest = connected.map(|worker| worker.seen_ms_ago).max().unwrap_or(0);
        let help = "Time since the last sign of life of the worker that has been silent the longest.";
        page.gauge("oldest_heartbeat_age", Some(Unit::Seconds), help, oldest as f64 / 1e3)
    }

    /// What has become of tasks and steps.
    pub(super) fn write_work(&self, page: &mut Page<'_>) -> fmt::Result {
        let counts = &self.counts;
        let by_namespace = || counts.namespaces.iter().map(|found| (&*found.namespace, &found.counts));
        let created = by_namespace().map(|(namespace, counts)| (vec![("namespace", namespace)], counts.tasks_created));
        page.counters("tasks_created", None, "Tasks that were made.", created)?;
        let ended = by_namespace().flat_map(|(namespace, counts)| {
            let states = TASK_ENDS.iter().zip(counts.tasks_ended);
            states.map(move |(state, count)| (vec![("namespace", namespace), ("state", state.as_str())], count))
        });
        page.counters("tasks_ended", None, "Tasks that ended, each time that they did.", ended)?;
        page.counter("tasks_reopened", None, "Tasks in error that an operator let go on.", counts.tasks_reopened)?;
        let dispatched =
            by_namespace().map(|(namespace, counts)| (vec![("namespace", namespace)], counts.steps_dispatched));
        page.counters("steps_dispatched", None, "Steps that were handed out, each time that they were.", dispatched)?;
        let ended = by_namespace().flat_map(|(namespace, counts)| {
            let outcomes = StepEnd::ALL.iter().zip(counts.steps_ended);
            outcomes.map(move |(end, count)| (vec![("namespace", namespace), ("outcome", end.as_str())], count))
        });
        page.counters("steps_ended", None, "Steps that were settled, and attempts that failed or came back.", ended)?;
        page.counter("steps_in_error", None, "Steps that failed for good.", counts.steps_in_error)?;
        let seconds = || Some(Unit::Seconds);
        let help = "How long steps were ready before they were handed out.";
        page.histogram("step_queue_time", seconds(), help, &counts.queued_us, MICROSECONDS)?;
        let help = "How long handlers ran, by their workers' word.";
        page.histogram("step_run_time", seconds(), help, &counts.ran_us, MICROSECONDS)?;
        let help = "How long tasks took from their creation to their end.";
        page.histogram("task_duration", seconds(), help, &counts.lived_us, MICROSECONDS)?;
        let help = "Results that were not simply accepted.";
        page.counters("results_noted", None, help, labelled("disposition", &counts.results_noted))?;
        let help = "What operators did.";
        page.counters("operator_actions", None, help, labelled("operation", &counts.operator_actions))?;
        page.counter("batches_dispatched", None, "Batches that were handed out.", counts.batches)?;
        page.counters("batches_closed", None, "Batches that were closed.", labelled("state", &counts.batches_closed))?;
        let help = "Closed batches whose worker said something else in the end than before.";
        page.counter("batches_differing", None, help, counts.batches_differing)?;
        page.counter("worker_registrations", None, "Registrations of workers.", counts.workers_registered)?;
        let help = "Registrations of workers that ended.";
        page.counters("worker_registrations_ended", None, help, labelled("reason", &counts.workers_ended))?;
        let taken = [("taken", counts.inbox_taken), ("refused", counts.inbox_refused)];
        page.counters("inbox_rows", None, "Rows of the inbox that were dealt with.", labelled("outcome", &taken))?;
        let help = "How long the oldest row of the inbox had waited when it was last looked at.";
        page.gauge("inbox_oldest_row_age", seconds(), help, counts.inbox_oldest_ms as f64 / 1e3)
    }

    pub(super) fn write_commits(&self, page: &mut Page<'_>) -> fmt::Result {
        let counts = &self.counts;
        page.histogram("commit_rows", None, "Rows of commit groups.", &counts.commit_rows, ONES)?;
        let help = "How long commit groups took, from their handing over until they were known to be durable.";
        page.histogram("commit_duration", Some(Unit::Seconds), help, &counts.commit_us, MICROSECONDS)?;
        page.counter("commits_refused", None, "Commit groups that Postgres refused.", counts.groups_refused)
    }

    pub(super) fn write_traffic(&self, page: &mut Page<'_>) -> fmt::Result {
        let traffic = &self.traffic;
        let bytes = || Some(Unit::Bytes);
        page.counter("messages_received", None, "Messages of workers and clients.", traffic.messages_received)?;
        page.counter("received", bytes(), "Bytes of their frames.", traffic.bytes_received)?;
        page.counter("messages_sent", None, "Messages to workers and clients.", traffic.messages_sent)?;
        page.counter("sent", bytes(), "Bytes of their frames.", traffic.bytes_sent)?;
        page.counter(
            "events_published",
            None,
            "Events, however many subscribers there are.",
            traffic.events_published,
        )?;
        page.counter("published", bytes(), "Bytes of their frames.", traffic.bytes_published)?;
        page.counters("refusals", None, "Refusals that were sent.", labelled("code", &traffic.refusals))?;
        page.gauge("connections", None, "Connections, subscribers included.", traffic.connections as f64)?;
        page.counter("connections_cut", None, "Connections that passed a bound.", traffic.connections_cut)?;
        let help = "Connections that ended before their handshake did.";
        page.counter("handshakes_failed", None, help, traffic.handshakes_failed)
    }

    /// Of a broker that traces.
    pub(super) fn write_spans(&self, page: &mut Page<'_>) -> fmt::Result {
        let Some(spans) = self.observer.spans() else { return Ok(()) };
        page.counter("spans_exported", None, "Spans that the collector has taken.", spans.sent())?;
        let dropped = [("queue_full", spans.found_full()), ("export_failed", spans.failed())];
        page.counters("spans_dropped", None, "Spans that are lost.", labelled("reason", &dropped))
    }
}

fn labelled<'a>(
    label: &'static str,
    counts: &'a [(&'static str, u64)],
) -> impl Iterator<Item = (Labels<'static>, u64)> + 'a {
    counts.iter().map(move |&(name, count)| (vec![(label, name)], count))
}

fn seconds_of(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

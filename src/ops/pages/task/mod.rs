//! The page of one task: how it is, its graph, the step that is looked at, its attempts over time, all of its steps.

mod detail;
mod steps;
mod timeline;
mod wanted;

use maud::{Markup, html};
use tasker_engine::{Cycle, StepState};

pub use detail::Looked;
pub use steps::PAGE_STEPS;
pub use timeline::LANES_MAX;
pub use wanted::Wanted;

use super::badge::{badge, icon, look};
use super::confirm::Confirm;
use super::filter_box::{FilterBox, encode};
use super::graph::{Target, graph};
use super::pager::{counted, grouped};
use super::payload::excerpt;
use super::time::{span, span_ms, time, time_or_dash};
use crate::ops::graph::{Graph, Standing, Step, View};
use crate::ops::redact::Redaction;
use crate::protocol::StepExplanation;
use crate::store::{Dossier, StepLine, Timeline};

/// What the bar of a task has a colour for, from left to right.
const BEGUN: [Standing; 6] = [
    Standing::Complete,
    Standing::ResolvedManually,
    Standing::InProgress,
    Standing::WaitingForRetry,
    Standing::Error,
    Standing::Cancelled,
];

/// Longer values get the room of two.
const SHORT: usize = 18;

/// What the page is drawn from.
#[derive(Clone, Copy, Debug)]
pub struct TaskPage<'a> {
    /// The task.
    pub dossier: &'a Dossier,
    /// What is looked at.
    pub wanted: &'a Wanted,
    /// Attempts of all steps.
    pub timeline: &'a Timeline,
    /// The step that is looked at.
    pub looked: Option<Looked<'a>>,
    /// Why the first step that could run does not, when that takes more than its turn.
    pub halt: Option<&'a StepExplanation>,
    /// What is not shown of payloads.
    pub redaction: &'a Redaction,
    /// Whether who looks may act.
    pub may_operate: bool,
}

impl TaskPage<'_> {
    /// The content of the page; an error when the steps wait for each other, which no stored template allows.
    pub fn body(&self) -> Result<Markup, Cycle> {
        let dossier = self.dossier;
        let graph = Graph::new(dossier.steps.iter().map(drawn).collect())?;
        let chosen = self.looked.map(|looked| looked.number).filter(|number| *number < dossier.steps.len());
        let detail = self.looked.filter(|_| chosen.is_some()).map(|looked| self.detail(&looked));
        Ok(html! {
            (self.header())
            div class="split wide-first" {
                section class="panel" aria-label="Graph" { (self.graph(&graph, chosen)) }
                @if let Some(detail) = detail { (detail) }
            }
            section class="panel" id="timeline" data-refresh aria-label="Timeline" {
                header { h2 { "Timeline" } }
                (timeline::timeline(dossier, self.timeline, graph.critical_path(), &|name| self.wanted.with_step(Some(name))))
            }
            (self.request())
            section class="panel" aria-label="Steps" { (self.steps(&graph)) }
        })
    }

    fn header(&self) -> Markup {
        let Dossier { id, namespace, name, version, state, .. } = self.dossier;
        let over = self.dossier.finished_at_ms.is_some();
        let took = self.dossier.finished_at_ms.unwrap_or(self.dossier.read_at_ms) - self.dossier.created_at_ms;
        let failed = self.count(Standing::Error);
        html! {
            section id="task-head" data-refresh class="panel" {
                p class="crumbs" {
                    a href="/tasks" { "Tasks" } " / "
                    a href={ "/tasks?q=" (encode(&format!("namespace:{namespace}"))) } { (namespace) } " / "
                    a href={ "/tasks?q=" (encode(&format!("namespace:{namespace} name:{name}"))) } { (name) }
                }
                div class="title" {
                    h1 { (name) span class="muted" { " @" (version) } }
                    (badge(state.as_str()))
                    span class="grow" {}
                    @if self.may_operate {
                        @if failed > 0 { (self.retry(failed)) }
                        @if !over { (self.cancel()) }
                    }
                }
                @if let Some(halt) = self.halt {
                    div class="notice warn" { (icon("pause")) span { (halt.message) } }
                }
                (self.progress())
                dl class="facts" {
                    div class="double" { dt { "Task" } dd { code { (id.0) } } }
                    div { dt { "Created" } dd { (time(self.dossier.created_at_ms)) } }
                    div { dt { "Ended" } dd { (time_or_dash(self.dossier.finished_at_ms)) } }
                    div { dt { @if over { "Took" } @else { "Age" } } dd { (span_ms(took)) } }
                    @if let Some(run_at_ms) = self.dossier.run_at_ms {
                        div { dt { "Not before" } dd { (time(run_at_ms)) } }
                    }
                    @if !self.dossier.tags.is_empty() {
                        div { dt { "Tags" } dd class="row" {
                            @for tag in &self.dossier.tags {
                                a class="tag" href={ "/tasks?q=" (encode(&format!("tag:{tag}"))) } { (tag) }
                            }
                        } }
                    }
                }
            }
        }
    }

    /// How far it is: a bar, and each state with its count, which leads to the steps in it.
    fn progress(&self) -> Markup {
        let total = self.dossier.steps.len().max(1);
        let counts = Standing::ALL.map(|standing| (standing, self.count(standing)));
        let done = self.count(Standing::Complete) + self.count(Standing::ResolvedManually);
        // In thousandths of the width. What has not begun is what is left of it.
        let mut at = 0;
        let bars = BEGUN.map(|standing| {
            let width = self.count(standing) * 1_000 / total;
            at += width;
            (standing, at - width, width)
        });
        html! {
            svg class="meter" viewBox="0 0 1000 8" preserveAspectRatio="none" role="img"
                aria-label={ (done) " of " (total) " steps are done" } {
                @for (standing, x, width) in bars.into_iter().filter(|(.., width)| *width > 0) { rect class=(tone(standing)) x=(x) y="0" width=(width) height="8" {} }
            }
            p class="legend" {
                span { strong { (done * 100 / total) "%" } "of " (grouped(total as u64)) " steps" }
                @for (standing, count) in counts.iter().filter(|(_, count)| *count > 0) {
                    a class=(tone(*standing)) href={ (self.wanted.with_state(Some(standing.as_str()))) "#steps" } {
                        (icon(look(standing.as_str()).map_or("ring", |look| look.symbol)))
                        (grouped(*count as u64)) " " (look(standing.as_str()).map_or("", |look| look.label))
                    }
                }
            }
        }
    }

    fn count(&self, standing: Standing) -> usize {
        self.dossier.steps.iter().filter(|step| standing_of(step) == standing).count()
    }

    fn retry(&self, failed: usize) -> Markup {
        let confirm = Confirm {
            id: "retry",
            title: "Retry…",
            explain: html! { "Gives " (counted(failed as u64, "failed step")) " new attempts." },
            action: &format!("/tasks/{}/retry", self.dossier.id.0),
            fields: html! {},
            button: "Retry",
            danger: false,
            reason_required: false,
            form: None,
        };
        confirm.markup()
    }

    fn cancel(&self) -> Markup {
        let confirm = Confirm {
            id: "cancel",
            title: "Cancel…",
            explain: html! { "Running steps are told to stop, and waiting ones never start. This cannot be undone." },
            action: &format!("/tasks/{}/cancel", self.dossier.id.0),
            fields: html! {},
            button: "Cancel this task",
            danger: true,
            reason_required: true,
            form: None,
        };
        confirm.markup()
    }

    fn graph(&self, steps: &Graph, chosen: Option<usize>) -> Markup {
        let open = self.wanted.open.clone();
        let chosen = chosen.and_then(|number| u32::try_from(number).ok());
        let view = View { open, search: &self.wanted.search, chosen };
        let address = |target: Target| match target {
            Target::Step(name) => format!("{}#step", self.wanted.with_step(Some(name))),
            Target::Open(first) => self.wanted.opened(first),
            Target::Close(first) => self.wanted.closed(first),
            Target::Table(group) => format!("{}#steps", self.wanted.with_group(Some(group.first))),
        };
        let keep = self.wanted.kept();
        let keep: Vec<(&str, &str)> = keep.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let found = FilterBox {
            action: &self.wanted.path,
            name: "find",
            text: &self.wanted.search,
            label: "Find steps by name",
            placeholder: "step name",
            error: None,
            keep: &keep,
            examples: &[],
        };
        html! {
            header {
                h2 { "Graph" }
                span id="critical" data-refresh class="muted small" { (critical(steps)) }
                span class="grow" {}
                button type="button" class="small" hidden data-fit aria-pressed="false" { "Fit" }
                (found.markup())
            }
            div id="graph-panel" data-refresh { (graph(steps, &view, &address)) }
        }
    }

    fn request(&self) -> Markup {
        let dossier = self.dossier;
        let raw = |which| format!("/tasks/{}/raw/{which}", dossier.id.0);
        let said = [
            ("Reason", &dossier.reason),
            ("Initiator", &dossier.initiator),
            ("Source system", &dossier.source_system),
            ("Correlation id", &dossier.correlation_id),
            ("Idempotency key", &dossier.idempotency_key),
        ];
        html! {
            section class="panel" aria-label="Request" {
                header { h2 { "Request" } }
                dl class="facts" {
                    div { dt { "Priority" } dd { (dossier.priority) } }
                    @for (title, value) in said {
                        @if let Some(value) = value {
                            div class=(if value.len() > SHORT { "double" } else { "" }) { dt { (title) } dd { (value) } }
                        }
                    }
                }
                (excerpt("Context", &dossier.context, Some(&raw("context")), self.redaction))
                @if let Some(options) = &dossier.options {
                    (excerpt("Options", options, Some(&raw("options")), self.redaction))
                }
            }
        }
    }
}

/// The critical path in numbers.
fn critical(graph: &Graph) -> String {
    let path = graph.critical_path();
    let ran = path.iter().filter_map(|&step| graph.steps()[step as usize].run_us).fold(0, u64::saturating_add);
    let of = format!("critical path {} of {} steps", grouped(path.len() as u64), grouped(graph.steps().len() as u64));
    if ran > 0 { format!("{of}, {}", span(ran)) } else { of }
}

fn standing_of(step: &StepLine) -> Standing {
    Standing::of(step.state, step.ready)
}

fn tone(standing: Standing) -> &'static str {
    look(standing.as_str()).map_or("idle", |look| look.tone)
}

fn drawn(step: &StepLine) -> Step<'_> {
    // A step that is under way, or waits for its next attempt, tells nothing yet of how long it runs.
    let ended = matches!(step.state, StepState::Complete | StepState::Error);
    Step {
        name: &step.name,
        handler: &step.handler,
        standing: standing_of(step),
        run_us: step.duration_us.filter(|_| ended),
        attempts: step.attempts,
        parents: step.parents.clone(),
    }
}

#[cfg(test)]
mod tests;

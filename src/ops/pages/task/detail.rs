//! One step of a task: why it is as it is, how its attempts failed, what it got and gave.

use maud::{Markup, html};
use tasker_engine::{StepState, TaskState};

use super::{TaskPage, standing_of};
use crate::ops::pages::badge::badge;
use crate::ops::pages::confirm::Confirm;
use crate::ops::pages::filter_box::encode;
use crate::ops::pages::payload::{bytes, excerpt, shortened};
use crate::ops::pages::time::{dash, span, span_ms, time};
use crate::protocol::{NamedStep, StepExplained, StepExplanation};
use crate::store::{Attempt, Failing, LedgerEntry, OperatorAct, StepFile, StepHistory, StepLine};

/// Parents that are named; the graph has all of them.
const PARENTS_NAMED_MAX: usize = 12;
/// Letters of an error message that are shown, and lines and letters of a backtrace.
const MESSAGE_LETTERS: usize = 4_000;
const BACKTRACE_LETTERS: usize = 16_000;
/// Letters of a result that was not simply accepted.
const LEDGER_LETTERS: usize = 300;

/// A step that is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Looked<'a> {
    /// Its number.
    pub number: usize,
    /// Its payloads.
    pub file: &'a StepFile,
    /// Its attempts.
    pub history: &'a StepHistory,
    /// What operators did to it.
    pub acts: &'a [OperatorAct],
    /// Why it does not run, as far as the broker knows.
    pub explained: Option<&'a StepExplained>,
}

impl TaskPage<'_> {
    pub(super) fn detail(&self, looked: &Looked) -> Markup {
        let step = &self.dossier.steps[looked.number];
        let file = looked.file;
        let raw = |which: &str, step: &str| format!("/tasks/{}/raw/{which}?step={}", self.dossier.id.0, encode(step));
        html! {
            section class="panel" id="step" data-refresh aria-label={ "Step " (step.name) } {
                header {
                    h2 { (step.name) }
                    (badge(standing_of(step).as_str()))
                    span class="grow" {}
                    @if self.may_operate { (self.acts(step)) }
                    a class="button" href=(self.wanted.with_step(None)) { "Close" }
                }
                @if let Some(explained) = looked.explained { (why(step, explained)) }
                (self.facts(step))
                @for attempt in looked.history.attempts.iter().rev() {
                    @if let Some(failing) = &attempt.failing { (self.failure(attempt, failing)) }
                }
                (excerpt("Inputs", &file.inputs, Some(&raw("inputs", &step.name)), self.redaction))
                @if let Some(result) = &file.result {
                    (excerpt("Result", result, Some(&raw("result", &step.name)), self.redaction))
                }
                @if let Some(metadata) = &file.metadata { (excerpt("Metadata", metadata, None, self.redaction)) }
                @for (parent, result) in &file.parents {
                    @if let Some(result) = result {
                        (excerpt(&format!("Result of {parent}"), result, Some(&raw("result", parent)), self.redaction))
                    }
                }
                @if step.parents.len() > file.parents.len() {
                    p class="muted" { "Results of the first " (file.parents.len()) " of " (step.parents.len()) " parents are shown." }
                }
                @if !looked.acts.is_empty() { (acts(looked.acts)) }
                @if !looked.history.ledger.is_empty() { (self.ledger(&looked.history.ledger)) }
            }
        }
    }

    fn acts(&self, step: &StepLine) -> Markup {
        let task = self.dossier.id.0;
        let name = html! { input type="hidden" name="step" value=(step.name); };
        let retry = Confirm {
            id: "retry-step",
            title: "Retry…",
            explain: html! { "Gives this step new attempts." },
            action: &format!("/tasks/{task}/retry"),
            fields: name.clone(),
            button: "Retry this step",
            danger: false,
            reason_required: false,
            form: None,
        };
        let resolve = Confirm {
            id: "resolve-step",
            title: "Resolve…",
            explain: html! { "Settles this step by hand. Its children get the result, as if a worker had given it." },
            action: &format!("/tasks/{task}/resolve"),
            fields: html! { (name) label { "Result (JSON)" textarea name="result" spellcheck="false" { "null" } } },
            button: "Resolve this step",
            danger: true,
            reason_required: true,
            form: None,
        };
        let settled = matches!(step.state, StepState::Complete | StepState::ResolvedManually | StepState::Cancelled);
        html! {
            @if step.state == StepState::Error { (retry.markup()) }
            @if !settled { (resolve.markup()) }
        }
    }

    fn facts(&self, step: &StepLine) -> Markup {
        let named = step.parents.iter().filter_map(|&parent| self.dossier.steps.get(parent as usize));
        html! {
            dl class="facts" {
                div { dt { "Handler" } dd { code { (step.handler) } } }
                div { dt { "Attempts" } dd { (step.attempts) " of " (step.retry_limit) } }
                div { dt { "Timeout" } dd { (span_ms(step.timeout_ms)) } }
                div { dt { "Worker" } dd { @if let Some(worker) = &step.worker { (worker) } @else { (dash()) } } }
                @if let Some(at_ms) = step.dispatched_at_ms { div { dt { "Handed out" } dd { (time(at_ms)) } } }
                @if let Some(at_ms) = step.finished_at_ms { div { dt { "Ended" } dd { (time(at_ms)) } } }
                @if let Some(us) = step.duration_us { div { dt { "Ran" } dd { (span(us)) } } }
                @if let Some(at_ms) = step.retry_at_ms { div { dt { "Next attempt" } dd { (time(at_ms)) } } }
                @if !step.parents.is_empty() {
                    div class="whole" {
                        dt { "Waits for" }
                        dd class="row" {
                            @for parent in named.take(PARENTS_NAMED_MAX) {
                                a class="tag" href={ (self.wanted.with_step(Some(&parent.name))) "#step" } { (parent.name) }
                            }
                            @if step.parents.len() > PARENTS_NAMED_MAX {
                                span class="muted" { "and " (step.parents.len() - PARENTS_NAMED_MAX) " more" }
                            }
                        }
                    }
                }
            }
        }
    }

    fn failure(&self, attempt: &Attempt, failing: &Failing) -> Markup {
        let row = &attempt.row;
        let took = row.finished_at_ms.zip(row.dispatched_at_ms).map(|(to, from)| span_ms(to - from));
        let backtrace = failing.backtrace.join("\n");
        html! {
            div class="failure" {
                p class="row" {
                    strong { "Attempt " (row.attempt) }
                    (badge(row.state.name()))
                    @if let Some(at_ms) = row.finished_at_ms {
                        span class="muted" { (time(at_ms)) @if let Some(took) = took { " after " (took) } }
                    }
                    @if let Some(worker) = &attempt.worker { span class="muted" { "on " (worker) } }
                    @if let Some(code) = &failing.code { span class="tag" { (code) } }
                    @if failing.is_final { span class="tag" { "final" } }
                }
                p class="error-text" { strong { (failing.class) } ": " (shortened(&failing.message, MESSAGE_LETTERS)) }
                @if !backtrace.is_empty() {
                    details class="fold" {
                        summary { "Backtrace" }
                        pre tabindex="0" { code { (shortened(&backtrace, BACKTRACE_LETTERS)) } }
                    }
                }
                @if let Some(context) = &failing.context { (bytes("Error context", context, self.redaction)) }
            }
        }
    }

    fn ledger(&self, entries: &[LedgerEntry]) -> Markup {
        html! {
            h3 { "Results that were not simply accepted" }
            ul {
                @for entry in entries {
                    li {
                        "attempt " (entry.attempt) ": " (entry.disposition) " (" (entry.status) ")"
                        @if let Some(worker) = &entry.worker { " of " (worker) }
                        " " (time(entry.received_at_ms)) " "
                        code { (shortened(&self.redaction.apply(&entry.payload), LEDGER_LETTERS)) }
                    }
                }
            }
        }
    }
}

/// Why it does not run, when it has not ended.
fn why(step: &StepLine, explained: &StepExplained) -> Markup {
    let waits = matches!(step.state, StepState::Pending | StepState::WaitingForRetry | StepState::InProgress);
    let Some(explanation) = explained.steps.iter().find(|found| found.step == step.name).filter(|_| waits) else {
        return html! {};
    };
    html! {
        div class="notice why" {
            div {
                strong { (explanation.message) }
                (hints(explanation, explained))
            }
        }
    }
}

fn hints(explanation: &StepExplanation, explained: &StepExplained) -> Markup {
    let named = |steps: &[NamedStep]| {
        let names: Vec<String> = steps.iter().map(|named| format!("{} ({})", named.step, named.state)).collect();
        names.join(", ")
    };
    // Who serves the template of a task that has ended is not counted.
    let ended = TaskState::from_name(&explained.task_state).is_some_and(TaskState::is_final);
    html! {
        ul {
            @if !explanation.held_up_by.is_empty() { li { "Held up by " (named(&explanation.held_up_by)) } }
            @if let Some(by) = &explained.paused_by {
                li {
                    "The namespace is paused"
                    @if !by.is_empty() { " by " (by) }
                    @if let Some(at_ms) = explained.paused_at_ms { ", " (time(at_ms)) }
                    @if let Some(reason) = &explained.pause_reason { ": " (reason) }
                }
            }
            @if !ended && explained.workers_serving == 0 {
                li { "No worker serves this template" }
            } @else if !ended {
                li {
                    (explained.workers_active) " of " (explained.workers_serving) " workers that serve it take work; "
                    (explained.slots_used) " of their " (explained.slots) " slots are taken"
                }
            }
        }
    }
}

fn acts(acts: &[OperatorAct]) -> Markup {
    html! {
        h3 { "What operators did" }
        ul {
            @for act in acts {
                li {
                    (act.operation) " by " (if act.actor.is_empty() { "nobody named" } else { &act.actor }) " " (time(act.acted_at_ms))
                    @if !act.reason.is_empty() { ": " (act.reason) }
                }
            }
        }
    }
}

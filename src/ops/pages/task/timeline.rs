//! Attempts over time: for each step when it waited for a worker, when it ran, when it waited for its next attempt.

use std::collections::{BTreeMap, HashSet};

use maud::{Markup, html};
use tasker_engine::StepState;

use crate::ops::pages::empty::empty;
use crate::ops::pages::graph::cut;
use crate::ops::pages::time::{span, span_ms};
use crate::store::{AttemptState, Dossier, StepLine, Timeline, TimelineRow};

/// Steps that are shown; those that matter first: failed, critical, slow.
pub const LANES_MAX: usize = 60;

/// Units of the picture: its width, where bars begin, and the height of a lane.
const WIDTH: i64 = 1_000;
const LEFT: i64 = 190;
const LANE: i64 = 20;
/// Where lanes begin, below the scale.
const TOP: i64 = 22;
/// A bar is at least so wide, so that it can be seen.
const BAR_LEAST: i64 = 2;

/// An attempt that was handed out.
#[derive(Clone, Copy)]
struct Run<'a> {
    row: &'a TimelineRow,
    dispatched_at_ms: i64,
}

/// The attempts of a task's steps; `address` says what a step leads to.
pub(super) fn timeline(
    dossier: &Dossier,
    timeline: &Timeline,
    critical: &[u32],
    address: &dyn Fn(&str) -> String,
) -> Markup {
    let mut lanes: BTreeMap<u32, Vec<Run>> = BTreeMap::new();
    for row in timeline.rows.iter().filter(|row| (row.step as usize) < dossier.steps.len()) {
        // What was settled without running has no dispatch.
        if let Some(dispatched_at_ms) = row.dispatched_at_ms {
            lanes.entry(row.step).or_default().push(Run { row, dispatched_at_ms });
        }
    }
    if lanes.is_empty() {
        return empty("Nothing has run yet", html! { "Attempts appear here as soon as a worker takes a step." });
    }
    let count = lanes.len();
    let scale = Scale::of(dossier, &lanes);
    let lanes = foremost(lanes, critical, dossier);
    let height = TOP + lanes.len() as i64 * LANE + 4;
    html! {
        div class="timeline" tabindex="0" aria-label="Timeline" {
            svg viewBox={ "0 0 " (WIDTH) " " (height) } role="group" aria-label={ "Attempts of " (lanes.len()) " steps over time" } {
                (scale.ticks(height))
                @for (row, (step, attempts)) in (0..).zip(&lanes) {
                    @let line = &dossier.steps[*step as usize];
                    @let y = TOP + row * LANE;
                    a href={ (address(&line.name)) "#step" } {
                        title { (line.name) }
                        line class="lane" x1="0" x2=(WIDTH) y1=(y) y2=(y) {}
                        text x="4" y=(y + 14) { (cut(&line.name, 27)) }
                        @for bar in bars(dossier, line, attempts, &scale) { (bar.markup(y)) }
                    }
                }
            }
        }
        p class="legend" {
            (key("wait", "waits for a worker")) (key("busy", "with a worker")) (key("good", "came back complete")) (key("bad", "failed"))
            (key("retry", "waits for its next attempt")) (key("off", "came back unrun"))
        }
        @if lanes.len() < count {
            p class="muted" { "Shown are " (lanes.len()) " of " (count) " steps: those that failed, are on the critical path, or ran longest." }
        }
        @if timeline.is_cut { p class="muted" { "There are more attempts than are shown." } }
    }
}

fn key(class: &str, what: &str) -> Markup {
    html! { span { svg width="14" height="8" aria-hidden="true" { rect class={ "bar " (class) } width="14" height="8" rx="2" {} } (what) } }
}

/// The steps to show, in order of their first dispatch.
fn foremost<'a>(lanes: BTreeMap<u32, Vec<Run<'a>>>, critical: &[u32], dossier: &Dossier) -> Vec<(u32, Vec<Run<'a>>)> {
    let critical: HashSet<u32> = critical.iter().copied().collect();
    let mut lanes: Vec<(u32, Vec<Run>)> = lanes.into_iter().collect();
    lanes.sort_by_key(|(step, attempts)| {
        let failed = dossier.steps[*step as usize].state == StepState::Error;
        let over = |run: &Run| run.row.finished_at_ms.unwrap_or(dossier.read_at_ms) - run.dispatched_at_ms;
        let ran: i64 = attempts.iter().map(over).sum();
        (!failed, !critical.contains(step), std::cmp::Reverse(ran), *step)
    });
    lanes.truncate(LANES_MAX);
    lanes.sort_by_key(|(step, attempts)| (attempts.first().map(|attempt| attempt.dispatched_at_ms), *step));
    lanes
}

/// From the task's creation to its end, or to now.
struct Scale {
    from_ms: i64,
    length_ms: i64,
}

impl Scale {
    fn of(dossier: &Dossier, lanes: &BTreeMap<u32, Vec<Run>>) -> Scale {
        let all = || lanes.values().flatten();
        let first = all().map(|attempt| attempt.dispatched_at_ms).min().unwrap_or(dossier.created_at_ms);
        let last = all().filter_map(|run| run.row.finished_at_ms).max().unwrap_or(dossier.read_at_ms);
        // A task that was to start later is shown from its start on.
        let from_ms = dossier.run_at_ms.unwrap_or(dossier.created_at_ms).min(first);
        let to_ms = dossier.finished_at_ms.unwrap_or(dossier.read_at_ms).max(last);
        Scale { from_ms, length_ms: (to_ms - from_ms).max(1) }
    }

    fn x(&self, at_ms: i64) -> i64 {
        let part = (at_ms - self.from_ms).clamp(0, self.length_ms) as i128 * i128::from(WIDTH - LEFT - 4);
        LEFT + (part / i128::from(self.length_ms)) as i64
    }

    fn ticks(&self, height: i64) -> Markup {
        html! {
            @for part in 0..=4 {
                @let x = self.x(self.from_ms + self.length_ms * part / 4);
                @let anchor = if part == 4 { "end" } else { "start" };
                line class="lane" x1=(x) x2=(x) y1="4" y2=(height) {}
                text x=(if part == 4 { x - 4 } else { x + 4 }) y="14" text-anchor=(anchor) { (span_ms(self.length_ms * part / 4)) }
            }
        }
    }
}

struct Bar {
    class: &'static str,
    from: i64,
    to: i64,
    says: String,
}

impl Bar {
    fn markup(&self, y: i64) -> Markup {
        let width = (self.to - self.from).max(BAR_LEAST);
        html! {
            rect class={ "bar " (self.class) } x=(self.from) y=(y + 5) width=(width) height="11" rx="2" { title { (self.says) } }
        }
    }
}

fn bars(dossier: &Dossier, step: &StepLine, attempts: &[Run], scale: &Scale) -> Vec<Bar> {
    let mut bars = Vec::with_capacity(attempts.len() * 2);
    let mut bar = |class, from_ms: i64, to_ms: i64, what: &str| {
        if to_ms > from_ms || class != "wait" {
            let says = format!("{what}, {}", span_ms(to_ms - from_ms));
            bars.push(Bar { class, from: scale.x(from_ms), to: scale.x(to_ms), says });
        }
    };
    // Ready from when its last parent ended.
    let parents = step.parents.iter().filter_map(|&parent| dossier.steps.get(parent as usize)?.finished_at_ms);
    let mut ready_ms = parents.max().unwrap_or(scale.from_ms);
    for attempt in attempts {
        bar("wait", ready_ms, attempt.dispatched_at_ms, "waited for a worker");
        let end_ms = attempt.row.finished_at_ms.unwrap_or(dossier.read_at_ms);
        let (class, what) = match attempt.row.state {
            AttemptState::InProgress => ("busy", "runs"),
            AttemptState::Complete => ("good", "complete"),
            AttemptState::Failed => ("bad", "failed"),
            AttemptState::TimedOut => ("bad", "timed out"),
            AttemptState::WorkerLost => ("bad", "lost with its worker"),
            AttemptState::Returned => ("off", "came back unrun"),
            AttemptState::Bypassed | AttemptState::ResolvedManually => ("hand", "settled by hand"),
        };
        // From its dispatch to its outcome, by the broker; how long the handler ran of that, by the worker.
        let ran = attempt.row.duration_us.map(|us| format!(", ran {}", span(us))).unwrap_or_default();
        bar(
            class,
            attempt.dispatched_at_ms,
            end_ms,
            &format!("attempt {}: {what}{ran}; with a worker", attempt.row.attempt),
        );
        ready_ms = end_ms;
        if let Some(retry_at_ms) = attempt.row.retry_at_ms {
            bar(
                "retry",
                end_ms,
                retry_at_ms.min(dossier.finished_at_ms.unwrap_or(dossier.read_at_ms)).max(end_ms),
                "waits for its next attempt",
            );
            ready_ms = retry_at_ms.max(end_ms);
        }
    }
    bars
}

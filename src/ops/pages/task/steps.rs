//! All steps of a task as a table, a page at a time, by search, standing or group.

use maud::{Markup, html};

use super::{TaskPage, standing_of};
use crate::ops::graph::{Graph, Item, Standing, View};
use crate::ops::pages::badge::{badge, look};
use crate::ops::pages::empty::empty;
use crate::ops::pages::pager::{Pager, grouped};
use crate::ops::pages::table::{Row, name, number, table, text, wide};
use crate::ops::pages::time::{dash, span, time_or_dash};
use crate::store::StepLine;

/// Steps on a page of the table.
pub const PAGE_STEPS: usize = 200;

impl TaskPage<'_> {
    pub(super) fn steps(&self, graph: &Graph) -> Markup {
        let found = self.selected(graph);
        let pages = found.len().div_ceil(PAGE_STEPS).max(1);
        let page = self.wanted.page.min(pages - 1);
        let shown = &found[page * PAGE_STEPS..found.len().min((page + 1) * PAGE_STEPS)];
        let rows: Vec<Row> = shown.iter().map(|&step| self.row(step, &self.dossier.steps[step])).collect();
        let columns = [
            name("Step"),
            text("State"),
            number("Attempts"),
            number("Ran"),
            text("Worker"),
            text("Ended"),
            wide("Error"),
        ];
        let previous = (page > 0).then(|| format!("{}#steps", self.wanted.with_page(page - 1)));
        let next = (page + 1 < pages).then(|| format!("{}#steps", self.wanted.with_page(page + 1)));
        let total = grouped(found.len() as u64);
        let pager = Pager {
            shown: shown.len(),
            total: &total,
            first: None,
            previous: previous.as_deref(),
            next: next.as_deref(),
        };
        html! {
            header {
                h2 id="steps" { "Steps" }
                span class="grow" {}
                (self.standings())
            }
            div id="steps-table" data-refresh {
                @if rows.is_empty() {
                    (empty("No step is like this", html! { a href=(self.wanted.with_group(None)) { "Show all steps" } }))
                } @else {
                    (table("step-rows", "Steps of this task", &columns, &rows))
                    @if pages > 1 { (pager.markup()) }
                }
            }
        }
    }

    /// Links for each standing that some step has.
    fn standings(&self) -> Markup {
        let there = Standing::ALL.into_iter().filter(|standing| self.count(*standing) > 0);
        let current = self.wanted.state.as_deref();
        html! {
            p id="standings" data-refresh class="examples" {
                a href={ (self.wanted.with_group(None)) "#steps" }
                    aria-current=[(current.is_none() && self.wanted.group.is_none()).then_some("true")] { "all" }
                @for standing in there {
                    a href={ (self.wanted.with_state(Some(standing.as_str()))) "#steps" }
                        aria-current=[(current == Some(standing.as_str())).then_some("true")] {
                        (look(standing.as_str()).map_or(standing.as_str(), |look| look.label))
                    }
                }
                @if self.wanted.group.is_some() { a href={ (self.wanted.with_group(None)) "#steps" } aria-current="true" { "one group ×" } }
            }
        }
    }

    /// Numbers of the steps that the table has.
    fn selected(&self, graph: &Graph) -> Vec<usize> {
        let search = self.wanted.search.to_lowercase();
        let wanted = |step: &StepLine| {
            let state = self.wanted.state.as_deref();
            state.is_none_or(|state| standing_of(step).as_str() == state)
                && (search.is_empty() || step.name.to_lowercase().contains(&search))
        };
        let of_group = self.wanted.group.and_then(|first| {
            let boxes = graph.drawing(&View::default()).boxes;
            boxes.into_iter().find_map(|placed| match placed.item {
                Item::Group(group) if group.first == first => Some(group.steps),
                Item::Group(_) | Item::Step(_) => None,
            })
        });
        let numbers: Vec<usize> = match of_group {
            Some(steps) => steps.into_iter().map(|step| step as usize).collect(),
            None => (0..self.dossier.steps.len()).collect(),
        };
        numbers.into_iter().filter(|&number| wanted(&self.dossier.steps[number])).collect()
    }

    fn row(&self, number: usize, step: &StepLine) -> Row {
        let attempts = match step.attempts {
            0 => dash(),
            attempts => html! { (attempts) span class="muted" { " / " (step.retry_limit) } },
        };
        let error = step.error_class.as_deref().map(|class| {
            let message = step.error_message.as_deref().unwrap_or("");
            html! { span title=(message) { (class) ": " (message) } }
        });
        Row::new(
            format!("step-{number}"),
            vec![
                html! { a href={ (self.wanted.with_step(Some(&step.name))) "#step" } { (step.name) } },
                badge(standing_of(step).as_str()),
                attempts,
                step.duration_us.map_or_else(dash, |us| html! { (span(us)) }),
                step.worker.as_deref().map_or_else(dash, |worker| html! { (worker) }),
                time_or_dash(step.finished_at_ms),
                error.unwrap_or_default(),
            ],
        )
    }
}

//! Tasks that ended in error, by what failed; retrying one, some, or all that match.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, State};
use axum::routing::get;
use maud::{Markup, html};
use serde::Deserialize;
use tasker_engine::TaskId;
use uuid::Uuid;

use super::{Answer, Frame};
use crate::filter::Filter;
use crate::ops::bulk::{self, Outcome, TASKS_MAX};
use crate::ops::guard::Visitor;
use crate::ops::pages::base::{Live, Tab};
use crate::ops::pages::confirm::REASON_MAX;
use crate::ops::pages::empty::empty;
use crate::ops::pages::filter_box::{FilterBox, encode};
use crate::ops::pages::notice::{Notice, Tone};
use crate::ops::pages::pager::{counted, grouped};
use crate::ops::pages::table::{self, Row};
use crate::ops::pages::time::time;
use crate::ops::problem::Problem;
use crate::ops::reason::demanded;
use crate::ops::site::Shared;
use crate::security::TokenRole;
use crate::store::{self, DeadEnd, TaskRow};

/// Tasks that are shown to be selected; all that match may be more.
const ROWS: u32 = 100;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/dead-ends", get(groups)).route("/dead-ends/retry", get(preview).post(retry))
}

async fn groups(State(site): State<Shared>, visitor: Visitor) -> Answer {
    let found = store::dead_ends(site.pool()?).await?;
    let columns = [
        table::name("Step"),
        table::number("Tasks"),
        table::text("Error"),
        table::wide("Newest message"),
        table::number("Newest"),
        table::text(""),
    ];
    let may_operate = visitor.role >= TokenRole::Operate;
    let rows: Vec<Row> = found.groups.iter().enumerate().map(|(at, group)| group_row(at, group, may_operate)).collect();
    let body = html! {
        h1 { "Dead ends" }
        p class="muted" { "Tasks that ended in error. Nothing of them runs again unless somebody retries, resolves or cancels." }
        div id="dead-ends" data-refresh {
            @if rows.is_empty() {
                (empty("No task ended in error.", html! { "This is how it should be." }))
            } @else {
                (table::table("groups", "Failed tasks by what failed", &columns, &rows))
                @if found.is_capped {
                    p class="muted" { "The newest " (grouped(found.tasks.into())) " failed tasks are looked at; there are more." }
                }
            }
        }
    };
    let live = Some(Live { news: "/news?topics=event.task" });
    Ok(Frame { title: "Dead ends", tab: Some(Tab::DeadEnds), notice: None, live }.around(&site, &visitor, body).await)
}

fn group_row(at: usize, group: &DeadEnd, may_operate: bool) -> Row {
    let filter = encode(&bulk::filter_of(group));
    let cells = vec![
        html! {
            a href={ "/tasks?q=" (filter) } { (group.step) }
            " " span class="muted" { (group.template) }
        },
        html! { (grouped(group.tasks.into())) },
        html! { code { (group.class) } },
        html! { a href={ "/tasks/" (group.newest) "?step=" (encode(&group.step)) } { (group.message) } },
        time(group.failed_at_ms),
        html! { @if may_operate { a class="button" href={ "/dead-ends/retry?q=" (filter) } { "Retry…" } } },
    ];
    Row::new(format!("group-{at}"), cells)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    q: String,
}

/// What would be retried, before it is.
async fn preview(
    State(site): State<Shared>,
    visitor: Visitor,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Answer {
    let Query(Wanted { q }) = wanted?;
    let text = if q.is_empty() { "state:error".to_owned() } else { q };
    let parsed = Filter::parse(&text);
    let error = parsed.as_ref().err().map(ToString::to_string);
    let filter_box = FilterBox {
        action: "/dead-ends/retry",
        name: "q",
        text: &text,
        label: "Which tasks",
        placeholder: "state:error step:charge since:1d",
        error: error.as_deref(),
        keep: &[],
        examples: &[],
    };
    let choice = match &parsed {
        Ok(filter) => {
            let page = store::search_tasks(site.pool()?, filter, None, ROWS).await?;
            let count = store::count_tasks(site.pool()?, filter).await?;
            let total = match count.is_capped {
                true => format!("{}+ tasks match", grouped(count.tasks.into())),
                false if count.tasks == 1 => "1 task matches".to_owned(),
                false => format!("{} match", counted(count.tasks.into(), "task")),
            };
            choice(&text, &page.tasks, &total, visitor.role >= TokenRole::Operate)
        }
        Err(_) => html! {},
    };
    let body = html! {
        h1 { "Retry tasks" }
        (filter_box.markup())
        (choice)
    };
    let frame = Frame { title: "Retry tasks", tab: Some(Tab::DeadEnds), notice: None, live: None };
    Ok(frame.around(&site, &visitor, body).await)
}

fn choice(filter: &str, tasks: &[TaskRow], total: &str, may_operate: bool) -> Markup {
    if tasks.is_empty() {
        return empty("No task matches.", html! { a href="/dead-ends" { "Dead ends" } });
    }
    let columns = [table::name("Task"), table::number("Created"), table::wide("Last error")];
    let rows: Vec<Row> = tasks.iter().map(|row| task_row(row, may_operate)).collect();
    let table = table::table("tasks", "Tasks that match, newest first", &columns, &rows);
    if !may_operate {
        return html! { p { (total) "." } (table) };
    }
    html! {
        form id="bulk" method="post" action="/dead-ends/retry" {
            input type="hidden" name="q" value=(filter);
            div class="panel" {
                p { b { (total) "." } " Failed steps get new attempts; at most " (TASKS_MAX) " at a time." }
                label { "Reason" input name="reason" maxlength=(REASON_MAX) required autocomplete="off"; }
                p class="row" {
                    button class="act" name="which" value="selected" { "Retry selected" }
                    button class="act" name="which" value="all" { "Retry all that match" }
                }
            }
            (table)
        }
    }
}

fn task_row(row: &TaskRow, may_operate: bool) -> Row {
    let task = &row.task;
    let id = task.id.to_string();
    let cells = vec![
        html! { a href={ "/tasks/" (id) } title=(id) { (task.namespace) "/" (task.name) } " " code class="muted" { (id) } },
        time(task.created_at_ms),
        html! {
            @if let Some(error) = &row.last_error { (error.step) ": " (error.class) ": " (error.message) }
        },
    ];
    Row { id: format!("task-{id}"), choice: may_operate.then_some(id), cells }
}

/// What the form of the preview sends.
#[derive(Debug, Default)]
struct Order {
    filter: String,
    reason: String,
    all: bool,
    selected: Vec<TaskId>,
}

impl Order {
    fn of(fields: Vec<(String, String)>) -> Result<Order, Problem> {
        let mut order = Order::default();
        for (name, value) in fields {
            match name.as_str() {
                "q" => order.filter = value,
                "reason" => order.reason = value,
                "which" => order.all = value == "all",
                "select" => {
                    let id = value.parse::<Uuid>().map_err(|_| Problem::invalid("select", "this is no task's id"))?;
                    order.selected.push(TaskId(id));
                }
                _ => return Err(Problem::invalid("body", format!("`{name}` is no field of this form"))),
            }
        }
        order.reason = demanded(&order.reason)?;
        if !order.all && order.selected.is_empty() {
            return Err(Problem::invalid("select", "no task is selected"));
        }
        if order.selected.len() > TASKS_MAX as usize {
            return Err(Problem::invalid("select", format!("at most {TASKS_MAX} tasks are retried at a time")));
        }
        Ok(order)
    }
}

async fn retry(
    State(site): State<Shared>,
    visitor: Visitor,
    sent: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Answer {
    let Form(fields) = sent?;
    let order = Order::of(fields)?;
    let (tasks, are_more) = match order.all {
        true => {
            let filter = Filter::parse(&order.filter).map_err(|error| Problem::invalid("q", error.to_string()))?;
            bulk::matching(&site, &filter).await?
        }
        false => (order.selected, false),
    };
    let outcomes = bulk::retry(&site, &tasks, &visitor.actor(""), &order.reason).await;
    let body = told(&outcomes, tasks.len(), are_more, &order.filter);
    let retried = outcomes.iter().filter(|outcome| outcome.result.is_ok()).count();
    let text = format!("{retried} of {} tasks run again.", tasks.len());
    let tone = if retried == tasks.len() { Tone::Good } else { Tone::Warn };
    let notice = Some(Notice { tone, text: &text });
    let frame = Frame { title: "Retried tasks", tab: Some(Tab::DeadEnds), notice, live: None };
    Ok(frame.around(&site, &visitor, body).await)
}

fn told(outcomes: &[Outcome], asked: usize, are_more: bool, filter: &str) -> Markup {
    let mut refused: BTreeMap<&str, usize> = BTreeMap::new();
    for problem in outcomes.iter().filter_map(|outcome| outcome.result.as_ref().err()) {
        *refused.entry(problem.code).or_default() += 1;
    }
    let columns = [table::name("Task"), table::text("Outcome"), table::wide("Steps, or why not")];
    let rows: Vec<Row> = outcomes.iter().map(outcome_row).collect();
    html! {
        h1 { "Retried tasks" }
        @for (code, count) in &refused { p { (count) " refused: " code { (code) } } }
        @if outcomes.len() < asked {
            p { "The broker could not answer any more; " (asked - outcomes.len()) " tasks were not asked for." }
        }
        @if are_more {
            p { "More tasks match. " a href={ "/dead-ends/retry?q=" (encode(filter)) } { "Go on with the next ones" } }
        }
        (table::table("outcomes", "What became of each task", &columns, &rows))
    }
}

fn outcome_row(outcome: &Outcome) -> Row {
    let id = outcome.task.to_string();
    let (word, text) = match &outcome.result {
        Ok(steps) => (html! { span class="badge good" { "retried" } }, steps.join(", ")),
        Err(problem) => (html! { span class="badge bad" { (problem.code) } }, problem.detail.clone()),
    };
    Row::new(
        format!("outcome-{id}"),
        vec![html! { a href={ "/tasks/" (id) } { code { (id) } } }, word, html! { (text) }],
    )
}

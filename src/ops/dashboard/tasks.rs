//! The list of tasks by a filter.

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::routing::get;
use maud::{Markup, html};
use serde::Deserialize;

use super::{Answer, Frame};
use crate::filter::Filter;
use crate::ops::guard::Visitor;
use crate::ops::pages::badge::badge;
use crate::ops::pages::base::{Live, Tab};
use crate::ops::pages::empty::empty;
use crate::ops::pages::filter_box::{FilterBox, encode};
use crate::ops::pages::notice::info;
use crate::ops::pages::pager::{Pager, grouped};
use crate::ops::pages::table::{self, Row};
use crate::ops::pages::time::{dash, span_ms, time, utc};
use crate::ops::problem::Problem;
use crate::ops::site::{Shared, Site};
use crate::store::{self, Cursor, TaskRow};

/// Rows of a page: what one looks through before one narrows the filter.
const ROWS: u32 = 50;

/// Filters that are often wanted.
const EXAMPLES: [(&str, &str); 5] = [
    ("All", ""),
    ("Failed", "state:error"),
    ("Running", "state:in_progress"),
    ("Pending", "state:pending"),
    ("Last hour", "since:1h"),
];

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/tasks", get(list))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    q: String,
    after: Option<String>,
}

async fn list(State(site): State<Shared>, visitor: Visitor, wanted: Result<Query<Wanted>, QueryRejection>) -> Answer {
    let Query(wanted) = wanted?;
    let filter = Filter::parse(&wanted.q);
    let error = filter.as_ref().err().map(ToString::to_string);
    let filter_box = FilterBox {
        action: "/tasks",
        name: "q",
        text: &wanted.q,
        label: "Filter",
        placeholder: "state:error namespace:billing step:charge ctx.order.id:42 since:1h",
        error: error.as_deref(),
        keep: &[],
        examples: &EXAMPLES,
    };
    let found = match &filter {
        Ok(filter) => rows(&site, filter, &wanted).await?,
        // What is wrong is said at the field.
        Err(_) => html! {},
    };
    let body = html! {
        h1 { "Tasks" }
        (filter_box.markup())
        (found)
    };
    let live = wanted.after.is_none().then_some(Live { news: "/news?topics=event.task" });
    Ok(Frame { title: "Tasks", tab: Some(Tab::Tasks), notice: None, live }.around(&site, &visitor, body).await)
}

async fn rows(site: &Site, filter: &Filter, wanted: &Wanted) -> Result<Markup, Problem> {
    let after = match wanted.after.as_deref() {
        None => None,
        Some(text) => {
            let cursor = text.parse::<Cursor>();
            Some(cursor.map_err(|_| Problem::invalid("after", "this is no place in the list"))?)
        }
    };
    let page = store::search_tasks(site.pool()?, filter, after, ROWS).await?;
    let count = site.counts.count(site.pool()?, filter).await?;
    let more = if count.is_capped { "+" } else { "" };
    let total = format!("{}{more}", grouped(count.tasks.into()));
    let first = format!("/tasks?q={}", encode(&wanted.q));
    let next = page.next.map(|next| format!("{first}&after={next}"));
    let pager = Pager {
        shown: page.tasks.len(),
        total: &total,
        first: wanted.after.is_some().then_some(&first),
        previous: None,
        next: next.as_deref(),
    };
    let columns = [
        table::name("Task"),
        table::text("State"),
        table::number("Steps"),
        table::number("Created"),
        table::number("Took"),
        table::wide("Last error, tags"),
    ];
    let rows: Vec<Row> = page.tasks.iter().map(row).collect();
    Ok(html! {
        div id="found" data-refresh {
            @if let Some(searched) = page.searched_back_to_ms.filter(|_| page.next.is_some()) {
                (info(&format!("Searched back to {} UTC; Next looks further back.", &utc(searched)[..19])))
            }
            @if rows.is_empty() {
                (empty("No task matches.", html! { "Take a term out of the filter, or look at " a href="/tasks" { "all tasks" } "." }))
            } @else {
                (table::table("tasks", "Tasks, newest first", &columns, &rows))
            }
            (pager.markup())
        }
    })
}

fn row(row: &TaskRow) -> Row {
    let task = &row.task;
    let id = task.id.to_string();
    let done = task.counts.complete + task.counts.resolved_manually;
    let cells = vec![
        html! { a href={ "/tasks/" (id) } title=(id) { (task.namespace) "/" (task.name) } },
        badge(&task.state),
        html! { @if row.is_counted { (grouped(done.into())) " / " (grouped(task.total.into())) } @else { (dash()) } },
        time(task.created_at_ms),
        row.duration_ms.map_or_else(dash, |took| html! { (span_ms(took)) }),
        html! {
            @if let Some(error) = &row.last_error {
                span class="error-text" { (error.step) ": " (error.class) ": " (error.message) } " "
            }
            @for tag in &task.tags { span class="tag" { (tag) } " " }
        },
    ];
    Row::new(format!("task-{id}"), cells)
}

//! What operators did, to whatever.

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::routing::get;
use maud::{Markup, html};
use serde::Deserialize;
use tasker_engine::TaskId;

use super::{Answer, Frame};
use crate::ops::guard::Visitor;
use crate::ops::pages::badge::badge;
use crate::ops::pages::base::Tab;
use crate::ops::pages::empty::empty;
use crate::ops::pages::filter_box::encode;
use crate::ops::pages::pager::Pager;
use crate::ops::pages::table::{self, Row};
use crate::ops::pages::time::time;
use crate::ops::problem::Problem;
use crate::ops::site::Shared;
use crate::store::{self, ActCursor, ActedOn, OperatorAct};

/// Rows of a page.
const ROWS: u32 = 50;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/acts", get(list))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    after: Option<String>,
}

async fn list(State(site): State<Shared>, visitor: Visitor, wanted: Result<Query<Wanted>, QueryRejection>) -> Answer {
    let Query(Wanted { after }) = wanted?;
    let after = after.as_deref().map(str::parse::<ActCursor>).transpose();
    let after = after.map_err(|_| Problem::invalid("after", "this is no place in the list"))?;
    let found = store::acts(site.pool()?, after, ROWS).await?;
    let columns = [
        table::name("Act"),
        table::text("On"),
        table::text("Before"),
        table::text("After"),
        table::text("Who"),
        table::wide("Why"),
        table::number("When"),
    ];
    let rows: Vec<Row> = found.acts.iter().map(row).collect();
    let next = found.next.map(|next| format!("/acts?after={next}"));
    let body = html! {
        h1 { "Audit" }
        p class="muted" { "What people did to tasks, namespaces and workers, over any way in." }
        @if rows.is_empty() {
            (empty("Nobody has acted.", html! { "Retries, cancellations, resolved steps, pauses and drains are listed here." }))
        } @else {
            (table::table("acts", "Acts of operators, newest first", &columns, &rows))
        }
        (Pager { shown: rows.len(), total: "", first: after.map(|_| "/acts"), previous: None, next: next.as_deref() }.markup())
    };
    Ok(Frame { title: "Audit", tab: Some(Tab::Audit), notice: None, live: None }.around(&site, &visitor, body).await)
}

fn row(act: &OperatorAct) -> Row {
    let (kind, on) = match &act.on {
        ActedOn::Task { task, step } => ("task", of_task(*task, step.as_deref())),
        ActedOn::Namespace(name) => {
            let filter = encode(&format!("namespace:{name:?}"));
            ("fleet", html! { a href={ "/tasks?q=" (filter) } { "namespace " (name) } })
        }
        ActedOn::Worker(name) => ("fleet", html! { a href={ "/workers/" (encode(name)) } { "worker " (name) } }),
    };
    let cells = vec![
        html! { (act.operation) },
        on,
        badge(&act.before),
        badge(&act.after),
        html! { (act.actor) },
        html! { (act.reason) },
        time(act.acted_at_ms),
    ];
    Row::new(format!("{kind}-act-{}", act.id), cells)
}

fn of_task(task: TaskId, step: Option<&str>) -> Markup {
    html! {
        @match step {
            Some(step) => a href={ "/tasks/" (task) "?step=" (encode(step)) } { "step " (step) },
            None => a href={ "/tasks/" (task) } { "task " code { (task) } },
        }
    }
}

//! What operators did, to whatever.

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::routing::get;
use maud::{Markup, html};
use serde::Deserialize;

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
use crate::store::{self, Act, ActCursor, FleetAct, OperatorAct};

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

fn row(act: &Act) -> Row {
    match act {
        Act::Task(act) => of_task(act),
        Act::Fleet(act) => of_fleet(act),
    }
}

fn of_task(act: &OperatorAct) -> Row {
    let task = act.task.to_string();
    let on = html! {
        @match &act.step {
            Some(step) => a href={ "/tasks/" (task) "?step=" (encode(step)) } { "step " (step) },
            None => a href={ "/tasks/" (task) } { "task " code { (task) } },
        }
    };
    let states = (act.before.as_str(), act.after.as_str());
    Row::new(
        format!("task-act-{}", act.id),
        cells(&act.operation, on, states, &act.actor, &act.reason, act.acted_at_ms),
    )
}

fn of_fleet(act: &FleetAct) -> Row {
    let on = html! {
        @if act.subject_kind == "worker" {
            a href={ "/workers/" (encode(&act.subject)) } { "worker " (act.subject) }
        } @else {
            a href={ "/tasks?q=" (encode(&format!("namespace:{:?}", act.subject))) } { "namespace " (act.subject) }
        }
    };
    let states = (act.before.as_str(), act.after.as_str());
    Row::new(
        format!("fleet-act-{}", act.id),
        cells(&act.operation, on, states, &act.actor, &act.reason, act.acted_at_ms),
    )
}

fn cells(
    operation: &str,
    on: Markup,
    (before, after): (&str, &str),
    actor: &str,
    reason: &str,
    acted_at_ms: i64,
) -> Vec<Markup> {
    let text = |text: &str| html! { (text) };
    vec![text(operation), on, badge(before), badge(after), text(actor), text(reason), time(acted_at_ms)]
}

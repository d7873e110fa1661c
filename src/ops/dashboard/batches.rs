//! Batches: what was handed to whom, and whether the closing report agrees with what was reported before.

use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::routing::get;
use maud::html;
use serde::Deserialize;
use tasker_engine::BatchId;
use uuid::Uuid;

use super::{Answer, Frame};
use crate::ops::guard::Visitor;
use crate::ops::pages::badge::badge;
use crate::ops::pages::base::Tab;
use crate::ops::pages::empty::empty;
use crate::ops::pages::filter_box::encode;
use crate::ops::pages::pager::Pager;
use crate::ops::pages::table::{self, Row};
use crate::ops::pages::time::{time, time_or_dash};
use crate::ops::problem::Problem;
use crate::ops::site::Shared;
use crate::store::{self, BatchFilter, BatchRow, BatchStep};

/// Rows of a page.
const ROWS: u32 = 50;

/// Steps that the page of a batch shows at a time.
const STEPS: u32 = 200;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/batches", get(list)).route("/batches/{batch}", get(show))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    worker: Option<String>,
    /// `open` or `differing`.
    only: Option<String>,
    before: Option<Uuid>,
}

async fn list(State(site): State<Shared>, visitor: Visitor, wanted: Result<Query<Wanted>, QueryRejection>) -> Answer {
    let Query(Wanted { worker, only, before }) = wanted?;
    let only = only.unwrap_or_default();
    if !["", "open", "differing"].contains(&only.as_str()) {
        return Err(Problem::invalid("only", "is neither open nor differing").into());
    }
    let worker = worker.filter(|worker| !worker.is_empty());
    let filter = BatchFilter { worker: worker.clone(), is_open: only == "open", is_differing: only == "differing" };
    let page = store::list_batches(site.pool()?, &filter, before.map(BatchId), ROWS).await?;
    let of_worker = worker.as_deref().map(|worker| format!("&worker={}", encode(worker))).unwrap_or_default();
    let first = format!("/batches?only={only}{of_worker}");
    let next = page.next.map(|next| format!("{first}&before={next}"));
    let columns = [
        table::name("Batch"),
        table::text("State"),
        table::text("Worker"),
        table::number("Steps"),
        table::number("Complete"),
        table::number("Failed"),
        table::number("Returned"),
        table::number("Created"),
        table::number("Closed"),
        table::text("Reconciliation"),
    ];
    let rows: Vec<Row> = page.batches.iter().map(row).collect();
    let body = html! {
        h1 { "Batches" @if let Some(worker) = &worker { " of " (worker) } }
        p class="examples" {
            @for (title, which) in [("All", ""), ("Open", "open"), ("With differences", "differing")] {
                a href={ "/batches?only=" (which) (of_worker) } aria-current=[(only == which).then_some("true")] { (title) }
            }
        }
        div id="batches" data-refresh {
            @if rows.is_empty() {
                (empty("No batch here.", html! {
                    @if page.is_short { "There may be some further back." } @else { "A batch is made when a worker takes steps." }
                }))
            } @else {
                (table::table("batch-rows", "Batches, newest first", &columns, &rows))
            }
        }
        (Pager { shown: rows.len(), total: "", first: before.map(|_| first.as_str()), previous: None, next: next.as_deref() }.markup())
    };
    let frame = Frame { title: "Batches", tab: Some(Tab::Batches), notice: None, live: None };
    Ok(frame.around(&site, &visitor, body).await)
}

fn row(batch: &BatchRow) -> Row {
    let id = batch.id.to_string();
    let cells = vec![
        html! { a href={ "/batches/" (id) } { code { (id) } } },
        badge(&batch.state),
        html! { @if let Some(worker) = &batch.worker { a href={ "/workers/" (encode(worker)) } { (worker) } } },
        html! { (batch.total) },
        html! { (batch.complete) },
        html! { (batch.failed) },
        html! { (batch.returned) },
        time(batch.created_at_ms),
        time_or_dash(batch.closed_at_ms),
        html! { @if batch.differences.is_some() { span class="badge warn" { "differs" } } },
    ];
    Row::new(format!("batch-{id}"), cells)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct From {
    #[serde(default)]
    from: u32,
}

async fn show(
    State(site): State<Shared>,
    visitor: Visitor,
    batch: Result<Path<Uuid>, PathRejection>,
    from: Result<Query<From>, QueryRejection>,
) -> Answer {
    let (Path(id), Query(From { from })) = (batch?, from?);
    let detail = store::batch_detail(site.pool()?, BatchId(id), Some(from).filter(|from| *from > 0), STEPS).await?;
    let detail = detail.ok_or_else(|| Problem::unknown_batch(id))?;
    let batch = &detail.batch;
    let columns = [table::name("Step"), table::number("Attempt"), table::text("Came back as"), table::wide("Task")];
    let rows: Vec<Row> = detail.items.iter().map(step).collect();
    let next = detail.next.map(|next| format!("/batches/{id}?from={next}"));
    let differences = batch.differences.as_ref().map(|text| String::from_utf8_lossy(text).into_owned());
    let body = html! {
        div class="row" { h1 { "Batch" } (badge(&batch.state)) }
        div class="panel" {
            dl class="facts" {
                div class="double" { dt { "Id" } dd { code { (id) } } }
                div { dt { "Worker" } dd { @if let Some(worker) = &batch.worker { a href={ "/workers/" (encode(worker)) } { (worker) } } } }
                div { dt { "Created" } dd { (time(batch.created_at_ms)) } }
                div { dt { "Deadline" } dd { (time(batch.deadline_ms)) } }
                div { dt { "Closed" } dd { (time_or_dash(batch.closed_at_ms)) } }
                div { dt { "Steps" } dd { (batch.total) } }
            }
        }
        div class="panel" {
            h2 { "Reconciliation" }
            @match &differences {
                Some(text) => {
                    p { "The closing report does not agree with what was reported step by step:" }
                    pre { (text) }
                }
                None => p class="muted" { "The closing report agrees with what was reported, or is still to come." },
            }
        }
        (table::table("steps", "Steps of this batch", &columns, &rows))
        (Pager { shown: rows.len(), total: "", first: None, previous: None, next: next.as_deref() }.markup())
    };
    let frame = Frame { title: "Batch", tab: Some(Tab::Batches), notice: None, live: None };
    Ok(frame.around(&site, &visitor, body).await)
}

fn step(item: &BatchStep) -> Row {
    let task = item.task.to_string();
    let name = item.name.clone().unwrap_or_else(|| item.step.to_string());
    let cells = vec![
        html! { a href={ "/tasks/" (task) "?step=" (encode(&name)) } { (name) } },
        html! { (item.attempt) },
        badge(&item.state),
        html! { a href={ "/tasks/" (task) } { code { (task) } } },
    ];
    Row::new(format!("item-{}", item.position), cells)
}

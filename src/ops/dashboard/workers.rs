//! Workers that are registered now, what each has, and its episodes; draining.

use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Redirect;
use axum::routing::{get, post};
use maud::{Markup, html};
use uuid::Uuid;

use super::acts::{Done, Sent, reason};
use super::refusal::Refusal;
use super::{Answer, Frame};
use crate::ops::guard::Visitor;
use crate::ops::pages::badge::badge;
use crate::ops::pages::base::{Live, Tab};
use crate::ops::pages::confirm::Confirm;
use crate::ops::pages::empty::empty;
use crate::ops::pages::filter_box::encode;
use crate::ops::pages::pager::counted;
use crate::ops::pages::table::{self, Row};
use crate::ops::pages::time::{span_ms, time, time_or_dash};
use crate::ops::site::Shared;
use crate::protocol::{DrainWorker, ListWorkers, WorkerSummary};
use crate::security::TokenRole;
use crate::store::{self, Registration};

/// Episodes that the page of a worker shows.
const EPISODES: u32 = 50;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/workers", get(list))
        .route("/workers/{worker}", get(show))
        .route("/workers/{worker}/drain", post(drain))
}

async fn list(State(site): State<Shared>, visitor: Visitor, done: Result<Query<Done>, QueryRejection>) -> Answer {
    let Query(done) = done?;
    let workers = site.ask(ListWorkers { correlation_id: Uuid::nil() }).await?.workers;
    let columns = [
        table::name("Worker"),
        table::text("State"),
        table::number("Slots used"),
        table::number("Batches"),
        table::number("Heard of"),
        table::text("Host"),
        table::text("Library"),
        table::wide("Serves"),
        table::text(""),
    ];
    let may_operate = visitor.role >= TokenRole::Operate;
    let rows: Vec<Row> = workers.iter().map(|worker| row(worker, may_operate)).collect();
    let body = html! {
        h1 { "Workers" }
        div id="workers" data-refresh {
            @if rows.is_empty() {
                (empty("No worker is registered.", html! { "Start one with " code { "tasker-worker" } "; tasks wait until then." }))
            } @else {
                (table::table("worker-rows", "Registered workers", &columns, &rows))
            }
        }
    };
    let live = Some(Live { news: "/news" });
    let frame = Frame { title: "Workers", tab: Some(Tab::Workers), notice: done.notice(), live };
    Ok(frame.around(&site, &visitor, body).await)
}

fn row(worker: &WorkerSummary, may_operate: bool) -> Row {
    let name = &worker.name;
    let cells = vec![
        html! { a href={ "/workers/" (encode(name)) } { (name) } },
        badge(&worker.state),
        html! { (worker.in_flight) " / " (worker.concurrency) },
        html! { (worker.batches) },
        html! { (span_ms(i64::try_from(worker.seen_ms_ago).unwrap_or(i64::MAX))) " ago" },
        html! { (worker.host) " · " (worker.pid) },
        html! { (worker.library) },
        html! { (worker.templates.join(", ")) },
        html! { @if may_operate && worker.state != "draining" { (form(worker)) } },
    ];
    Row::new(format!("worker-{name}"), cells)
}

fn form(worker: &WorkerSummary) -> Markup {
    let name = &worker.name;
    let confirm = Confirm {
        id: &format!("drain-{name}"),
        title: "Drain",
        explain: html! { b { (name) } " finishes the " (counted(worker.in_flight.into(), "step")) " that it has, gets no more, and ends." },
        action: &format!("/workers/{}/drain", encode(name)),
        fields: html! {},
        button: "Drain",
        danger: false,
        reason_required: true,
        form: None,
    };
    confirm.markup()
}

async fn show(State(site): State<Shared>, visitor: Visitor, worker: Result<Path<String>, PathRejection>) -> Answer {
    let Path(worker) = worker?;
    let episodes = store::registrations(site.pool()?, Some(&worker), None, EPISODES).await?;
    let columns = [
        table::name("Registered"),
        table::number("Ended"),
        table::text("Because"),
        table::number("Slots"),
        table::text("Host"),
        table::text("Library"),
        table::wide("Serves"),
    ];
    let rows: Vec<Row> = episodes.iter().map(episode).collect();
    let body = html! {
        h1 { (worker) }
        p class="row" {
            a class="button" href={ "/batches?worker=" (encode(&worker)) } { "Its batches" }
            a class="button" href={ "/tasks?q=" (encode(&format!("worker:{worker:?}"))) } { "Its tasks" }
        }
        @if rows.is_empty() {
            (empty("No worker of this name was ever registered.", html! { a href="/workers" { "Workers" } }))
        } @else {
            (table::table("episodes", "Episodes of this worker, newest first", &columns, &rows))
        }
    };
    let frame = Frame { title: &worker, tab: Some(Tab::Workers), notice: None, live: None };
    Ok(frame.around(&site, &visitor, body).await)
}

fn episode(episode: &Registration) -> Row {
    let cells = vec![
        time(episode.registered_at_ms),
        time_or_dash(episode.ended_at_ms),
        badge(episode.end_reason.as_deref().unwrap_or("active")),
        html! { (episode.concurrency) },
        html! { (episode.host) " · " (episode.pid) },
        html! { (episode.library) ", " (episode.language) },
        html! { (episode.templates.join(", ")) },
    ];
    Row::new(format!("episode-{}", episode.id), cells)
}

async fn drain(
    State(site): State<Shared>,
    visitor: Visitor,
    worker: Result<Path<String>, PathRejection>,
    sent: Sent,
) -> Result<Redirect, Refusal> {
    let (Path(worker), reason) = (worker?, reason(sent)?);
    site.ask(DrainWorker { correlation_id: Uuid::nil(), worker, actor: visitor.actor(""), reason }).await?;
    Ok(Redirect::to("/workers?done=draining"))
}

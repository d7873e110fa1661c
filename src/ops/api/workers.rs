//! Workers: who is there, who was, and draining.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::Serialize;
use tasker_engine::RegistrationId;
use utoipa::ToSchema;
use uuid::Uuid;

use super::acts::Act;
use super::paging::Page;
use crate::ops::guard::Visitor;
use crate::ops::problem::Problem;
use crate::ops::site::Shared;
use crate::protocol::{DrainWorker, ErrorCode, ListWorkers, WorkerSummary};
use crate::store;

/// The workers that are registered now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Workers {
    /// By name.
    workers: Vec<WorkerSummary>,
}

/// List workers
///
/// Those that are registered now.
#[utoipa::path(get, path = "/workers", operation_id = "list_workers", tag = "workers",
    responses((status = 200, description = "All of them.", body = Workers)))]
pub(super) async fn list(State(site): State<Shared>) -> Result<Json<Workers>, Problem> {
    let workers = site.ask(ListWorkers { correlation_id: Uuid::nil() }).await?.workers;
    Ok(Json(Workers { workers }))
}

/// A worker from its registration to its end.
#[derive(Debug, Serialize, ToSchema)]
struct Registration {
    registration_id: Uuid,
    worker: String,
    /// Most steps at once.
    concurrency: u32,
    host: String,
    pid: i64,
    /// Language and version.
    language: String,
    /// Library and version.
    library: String,
    /// What it could run: `namespace/name@version`, with `*` for all names.
    templates: Vec<String>,
    registered_at_ms: i64,
    /// Not there while it lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at_ms: Option<i64>,
    /// `superseded`, `reconnected`, `lost`, `unregistered` or `drained`.
    #[serde(skip_serializing_if = "Option::is_none")]
    end_reason: Option<String>,
}

impl From<store::Registration> for Registration {
    fn from(row: store::Registration) -> Registration {
        Registration {
            registration_id: row.id.0,
            worker: row.worker,
            concurrency: row.concurrency,
            host: row.host,
            pid: row.pid,
            language: row.language,
            library: row.library,
            templates: row.templates,
            registered_at_ms: row.registered_at_ms,
            ended_at_ms: row.ended_at_ms,
            end_reason: row.end_reason,
        }
    }
}

/// A page of registrations.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Registrations {
    registrations: Vec<Registration>,
    /// Where to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// List the registrations of a worker
///
/// Newest first, those that have ended included.
#[utoipa::path(get, path = "/workers/{worker}/registrations", operation_id = "list_registrations", tag = "workers",
    params(("worker" = String, Path, description = "Its name."), Page),
    responses((status = 200, description = "A page.", body = Registrations)))]
pub(super) async fn registrations(
    State(site): State<Shared>,
    worker: Result<Path<String>, PathRejection>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Registrations>, Problem> {
    let (Path(worker), Query(page)) = (worker?, page?);
    let (after, rows) = (page.after::<Uuid>()?.map(RegistrationId), page.rows()?);
    let found = store::registrations(site.pool()?, Some(&worker), after, rows).await?;
    if found.is_empty() && after.is_none() {
        let detail = format!("no worker of the name {worker} was ever registered");
        return Err(Problem::not_found(ErrorCode::UnknownWorker.as_str(), detail));
    }
    let is_full = found.len() == rows as usize;
    let next = found.last().filter(|_| is_full).map(|row| row.id.to_string());
    Ok(Json(Registrations { registrations: found.into_iter().map(Registration::from).collect(), next }))
}

/// A worker that is about to leave.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Draining {
    worker: String,
    /// `false` when it was draining already, and nothing was done.
    changed: bool,
    /// Steps that it still has.
    in_flight: u32,
    /// Batches that it still has.
    batches: u32,
}

/// Drain a worker
///
/// It finishes what it has, gets no more, and leaves. A reason is needed.
#[utoipa::path(post, path = "/workers/{worker}/drain", operation_id = "drain_worker", tag = "workers",
    params(("worker" = String, Path, description = "Its name.")), request_body = Act,
    responses((status = 200, description = "It is told.", body = Draining)))]
pub(super) async fn drain(
    State(site): State<Shared>,
    visitor: Visitor,
    worker: Result<Path<String>, PathRejection>,
    act: Result<Json<Act>, JsonRejection>,
) -> Result<Json<Draining>, Problem> {
    let (Path(worker), Json(act)) = (worker?, act?);
    let (actor, reason) = act.reasoned(&visitor)?;
    let told = site.ask(DrainWorker { correlation_id: Uuid::nil(), worker, actor, reason }).await?;
    let (changed, in_flight, batches) = (told.changed, told.in_flight, told.batches);
    Ok(Json(Draining { worker: told.worker, changed, in_flight, batches }))
}

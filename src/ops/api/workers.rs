//! Workers, and the broker itself.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use uuid::Uuid;

use crate::ops::problem::Problem;
use crate::ops::site::Shared;
use crate::protocol::{HealthCheck, HealthLevel, HealthReport, ListWorkers, WorkerSummary};

/// The workers that are registered now.
#[derive(Debug, Serialize)]
pub(super) struct Workers {
    workers: Vec<WorkerSummary>,
}

pub(super) async fn list(State(site): State<Shared>) -> Result<Json<Workers>, Problem> {
    let workers = site.ask(ListWorkers { correlation_id: Uuid::nil() }).await?.workers;
    Ok(Json(Workers { workers }))
}

pub(super) async fn health(State(site): State<Shared>) -> Result<Json<HealthReport>, Problem> {
    Ok(Json(site.ask(HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Full }).await?))
}

//! Namespaces, and pausing them.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::acts::Act;
use crate::ops::guard::Visitor;
use crate::ops::problem::Problem;
use crate::ops::site::Shared;
use crate::protocol::{ListNamespaces, NamespaceChanged, NamespaceSummary, PauseNamespace, ResumeNamespace};

/// Namespaces by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Namespaces {
    /// Those with templates, and those that are paused.
    namespaces: Vec<NamespaceSummary>,
}

/// List namespaces
#[utoipa::path(get, path = "/namespaces", operation_id = "list_namespaces", tag = "namespaces",
    responses((status = 200, description = "All of them.", body = Namespaces)))]
pub(super) async fn list(State(site): State<Shared>) -> Result<Json<Namespaces>, Problem> {
    let namespaces = site.ask(ListNamespaces { correlation_id: Uuid::nil() }).await?.namespaces;
    Ok(Json(Namespaces { namespaces }))
}

/// What became of a pause or its end.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Changed {
    /// `false` when it was so already, and nothing was done.
    changed: bool,
    /// The namespace as it is now.
    namespace: NamespaceSummary,
}

impl From<NamespaceChanged> for Json<Changed> {
    fn from(reply: NamespaceChanged) -> Json<Changed> {
        Json(Changed { changed: reply.changed, namespace: reply.namespace })
    }
}

/// Pause a namespace
///
/// Running steps finish. New tasks are taken, and nothing of them starts. A reason is needed.
#[utoipa::path(post, path = "/namespaces/{namespace}/pause", operation_id = "pause_namespace", tag = "namespaces",
    params(("namespace" = String, Path, description = "Its name.")), request_body = Act,
    responses((status = 200, description = "It is paused.", body = Changed)))]
pub(super) async fn pause(
    State(site): State<Shared>,
    visitor: Visitor,
    namespace: Result<Path<String>, PathRejection>,
    act: Result<Json<Act>, JsonRejection>,
) -> Result<Json<Changed>, Problem> {
    let (Path(namespace), Json(act)) = (namespace?, act?);
    let (actor, reason) = act.reasoned(&visitor)?;
    Ok(site.ask(PauseNamespace { correlation_id: Uuid::nil(), namespace, actor, reason }).await?.into())
}

/// Resume a namespace
///
/// What is ready in it is handed out again. A reason is needed.
#[utoipa::path(post, path = "/namespaces/{namespace}/resume", operation_id = "resume_namespace", tag = "namespaces",
    params(("namespace" = String, Path, description = "Its name.")), request_body = Act,
    responses((status = 200, description = "It goes on.", body = Changed)))]
pub(super) async fn resume(
    State(site): State<Shared>,
    visitor: Visitor,
    namespace: Result<Path<String>, PathRejection>,
    act: Result<Json<Act>, JsonRejection>,
) -> Result<Json<Changed>, Problem> {
    let (Path(namespace), Json(act)) = (namespace?, act?);
    let (actor, reason) = act.reasoned(&visitor)?;
    Ok(site.ask(ResumeNamespace { correlation_id: Uuid::nil(), namespace, actor, reason }).await?.into())
}

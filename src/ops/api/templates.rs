//! Templates.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection, StringRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::view;
use crate::ops::guard::Administrator;
use crate::ops::problem::Problem;
use crate::ops::site::Shared;
use crate::protocol::{ListTemplates, RegisterTemplate, ShowTemplate, TemplateSummary};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    namespace: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Templates {
    templates: Vec<TemplateSummary>,
}

pub(super) async fn list(
    State(site): State<Shared>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Templates>, Problem> {
    let Query(Wanted { namespace }) = wanted?;
    let templates = site.ask(ListTemplates { correlation_id: Uuid::nil(), namespace }).await?.templates;
    Ok(Json(Templates { templates }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Version {
    version: Option<String>,
}

/// A template with its definition.
#[derive(Debug, Serialize)]
pub(super) struct Template {
    #[serde(flatten)]
    template: TemplateSummary,
    yaml: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_handler_class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handler_config: Option<Box<RawValue>>,
}

pub(super) async fn show(
    State(site): State<Shared>,
    path: Result<Path<(String, String)>, PathRejection>,
    version: Result<Query<Version>, QueryRejection>,
) -> Result<Json<Template>, Problem> {
    let (Path((namespace, name)), Query(Version { version })) = (path?, version?);
    let version = version.map(|version| format!("@{version}")).unwrap_or_default();
    let template = format!("{namespace}/{name}{version}");
    let definition = site.ask(ShowTemplate { correlation_id: Uuid::nil(), template }).await?;
    Ok(Json(Template {
        template: definition.template,
        yaml: definition.yaml,
        task_handler_class: definition.task_handler_class,
        handler_config: definition.handler_config.as_ref().map(view::raw),
    }))
}

/// A template is stored now, or was before.
#[derive(Debug, Serialize)]
pub(super) struct Registered {
    template: String,
    created: bool,
    steps: Vec<String>,
}

/// The body is the YAML.
pub(super) async fn register(
    State(site): State<Shared>,
    _: Administrator,
    yaml: Result<String, StringRejection>,
) -> Result<(StatusCode, Json<Registered>), Problem> {
    let yaml = yaml?;
    let stored = site.ask(RegisterTemplate { correlation_id: Uuid::nil(), yaml, source: None }).await?;
    let status = if stored.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(Registered { template: stored.template, created: stored.created, steps: stored.steps })))
}

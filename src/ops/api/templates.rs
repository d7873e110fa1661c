//! Templates.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection, StringRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::view;
use crate::ops::guard::Administrator;
use crate::ops::problem::Problem;
use crate::ops::site::Shared;
use crate::protocol::{ListTemplates, RegisterTemplate, ShowTemplate, TemplateSummary};

/// Which templates.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only those of this namespace.
    namespace: Option<String>,
}

/// Registered templates, each version for itself.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Templates {
    templates: Vec<TemplateSummary>,
}

/// List templates
#[utoipa::path(get, path = "/templates", operation_id = "list_templates", tag = "templates", params(Wanted),
    responses((status = 200, description = "All of them.", body = Templates)))]
pub(super) async fn list(
    State(site): State<Shared>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Templates>, Problem> {
    let Query(Wanted { namespace }) = wanted?;
    let templates = site.ask(ListTemplates { correlation_id: Uuid::nil(), namespace }).await?.templates;
    Ok(Json(Templates { templates }))
}

/// Which version.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Version {
    /// The highest when nothing is said.
    version: Option<String>,
}

/// A template with its definition.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Template {
    #[serde(flatten)]
    template: TemplateSummary,
    /// As it was registered.
    yaml: String,
    /// Class whose `initialize_task` may adjust or refuse a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    task_handler_class: Option<String>,
    /// The task handler's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    handler_config: Option<Box<RawValue>>,
}

/// Show a template
#[utoipa::path(get, path = "/templates/{namespace}/{name}", operation_id = "show_template", tag = "templates",
    params(("namespace" = String, Path, description = "Its namespace."), ("name" = String, Path, description = "Its name."),
           Version),
    responses((status = 200, description = "The template with its definition.", body = Template)))]
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
        handler_config: definition.handler_config.as_ref().map(|config| view::raw(config.as_str())),
    }))
}

/// A template is stored now, or was before.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Registered {
    /// `namespace/name@version`.
    template: String,
    /// Whether it was not there before.
    created: bool,
    /// Names of its steps in order of definition.
    steps: Vec<String>,
}

/// Register a template
///
/// The body is the YAML. Takes a token with the role `admin`. A version that is there already is not changed.
#[utoipa::path(post, path = "/templates", operation_id = "register_template", tag = "templates",
    request_body(content = String, content_type = "application/yaml", description = "The definition."),
    responses((status = 201, description = "It is stored now.", body = Registered),
              (status = 200, description = "It was stored before, just so.", body = Registered)))]
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

//! Messages about templates, between clients and the broker.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::json::JsonText;

/// Store a template.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegisterTemplate {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
    /// The template's YAML.
    pub yaml: String,
    /// File name, for error messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// A template is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TemplateRegistered {
    /// From the request.
    pub correlation_id: Uuid,
    /// `namespace/name@version`.
    pub template: String,
    /// `false` when the very same definition was stored before.
    pub created: bool,
    /// Step names in order of definition.
    pub steps: Vec<String>,
}

/// List templates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListTemplates {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
    /// Only this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Reply to [`ListTemplates`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TemplateList {
    /// From the request.
    pub correlation_id: Uuid,
    /// By namespace, name, then version.
    pub templates: Vec<TemplateSummary>,
}

/// One template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TemplateSummary {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Number of steps.
    pub steps: u32,
    /// Workers that serve it now.
    pub workers: u32,
    /// SHA-256 of the YAML, in hex.
    pub digest: String,
}

/// One template with its definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShowTemplate {
    /// Carried back in the reply.
    pub correlation_id: Uuid,
    /// `namespace/name` (highest version) or `namespace/name@version`.
    pub template: String,
}

/// Reply to [`ShowTemplate`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TemplateDefinition {
    /// From the request.
    pub correlation_id: Uuid,
    /// The template.
    pub template: TemplateSummary,
    /// The YAML as registered.
    pub yaml: String,
    /// Class whose `initialize_task` may adjust or refuse a request, when the template names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_handler_class: Option<String>,
    /// JSON object: the task handler's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler_config: Option<JsonText>,
}

//! Templates and their definitions.

use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::routing::get;
use maud::html;
use serde::Deserialize;
use uuid::Uuid;

use super::{Answer, Frame};
use crate::ops::guard::Visitor;
use crate::ops::pages::base::Tab;
use crate::ops::pages::empty::empty;
use crate::ops::pages::filter_box::encode;
use crate::ops::pages::table::{self, Row};
use crate::ops::site::Shared;
use crate::protocol::{ListTemplates, ShowTemplate, TemplateSummary};

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/templates", get(list)).route("/templates/{namespace}/{name}", get(show))
}

async fn list(State(site): State<Shared>, visitor: Visitor) -> Answer {
    let templates = site.ask(ListTemplates { correlation_id: Uuid::nil(), namespace: None }).await?.templates;
    let columns = [
        table::name("Template"),
        table::text("Version"),
        table::number("Steps"),
        table::number("Workers"),
        table::wide("Description"),
    ];
    let rows: Vec<Row> = templates.iter().map(row).collect();
    let body = html! {
        h1 { "Templates" }
        @if rows.is_empty() {
            (empty("No template yet.", html! { code { "tasker template register FILE" } " stores one." }))
        } @else {
            (table::table("templates", "Registered templates", &columns, &rows))
        }
    };
    let frame = Frame { title: "Templates", tab: Some(Tab::Templates), notice: None, live: None };
    Ok(frame.around(&site, &visitor, body).await)
}

fn path(template: &TemplateSummary) -> String {
    let TemplateSummary { namespace, name, version, .. } = template;
    format!("/templates/{}/{}?version={}", encode(namespace), encode(name), encode(version))
}

fn row(template: &TemplateSummary) -> Row {
    let TemplateSummary { namespace, name, version, .. } = template;
    let cells = vec![
        html! { a href=(path(template)) { (namespace) "/" (name) } },
        html! { (version) },
        html! { (template.steps) },
        html! { (template.workers) },
        html! { @if let Some(text) = &template.description { span title=(text) { (text) } } },
    ];
    Row::new(format!("template-{namespace}-{name}-{version}"), cells)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Version {
    version: Option<String>,
}

async fn show(
    State(site): State<Shared>,
    visitor: Visitor,
    path: Result<Path<(String, String)>, PathRejection>,
    version: Result<Query<Version>, QueryRejection>,
) -> Answer {
    let (Path((namespace, name)), Query(Version { version })) = (path?, version?);
    let version = version.map(|version| format!("@{version}")).unwrap_or_default();
    let question = ShowTemplate { correlation_id: Uuid::nil(), template: format!("{namespace}/{name}{version}") };
    let definition = site.ask(question).await?;
    let template = &definition.template;
    let title = format!("{}/{}@{}", template.namespace, template.name, template.version);
    let filter = format!("namespace:{namespace:?} name:{name:?}");
    let body = html! {
        h1 { (title) }
        @if let Some(description) = &template.description { p { (description) } }
        p class="row" { a class="button" href={ "/tasks?q=" (encode(&filter)) } { "Its tasks" } }
        div class="panel" {
            dl class="facts" {
                div { dt { "Steps" } dd { (template.steps) } }
                div { dt { "Workers that serve it" } dd { (template.workers) } }
                div class="double" { dt { "Digest" } dd { code { (template.digest) } } }
            }
            pre { (definition.yaml) }
        }
    };
    let frame = Frame { title: &title, tab: Some(Tab::Templates), notice: None, live: None };
    Ok(frame.around(&site, &visitor, body).await)
}

//! Namespaces: what waits in each, and pausing.

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
use crate::ops::pages::pager::grouped;
use crate::ops::pages::table::{self, Row};
use crate::ops::pages::time::time;
use crate::ops::site::Shared;
use crate::protocol::{ListNamespaces, NamespaceSummary, PauseNamespace, ResumeNamespace};
use crate::security::TokenRole;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/namespaces", get(list))
        .route("/namespaces/{namespace}/pause", post(pause))
        .route("/namespaces/{namespace}/resume", post(resume))
}

async fn list(State(site): State<Shared>, visitor: Visitor, done: Result<Query<Done>, QueryRejection>) -> Answer {
    let Query(done) = done?;
    let namespaces = site.ask(ListNamespaces { correlation_id: Uuid::nil() }).await?.namespaces;
    let columns = [
        table::name("Namespace"),
        table::text("State"),
        table::number("Tasks"),
        table::number("Ready"),
        table::number("Running"),
        table::number("Waiting"),
        table::number("Workers"),
        table::number("Templates"),
        table::wide("Paused"),
        table::text(""),
    ];
    let may_operate = visitor.role >= TokenRole::Operate;
    let rows: Vec<Row> = namespaces.iter().map(|namespace| row(namespace, may_operate)).collect();
    let body = html! {
        h1 { "Namespaces" }
        div id="namespaces" data-refresh {
            @if rows.is_empty() {
                (empty("No namespace yet.", html! { "One comes with the first template: " code { "tasker template register FILE" } "." }))
            } @else {
                (table::table("namespace-rows", "Namespaces by name", &columns, &rows))
            }
        }
    };
    let live = Some(Live { news: "/news" });
    let frame = Frame { title: "Namespaces", tab: Some(Tab::Namespaces), notice: done.notice(), live };
    Ok(frame.around(&site, &visitor, body).await)
}

fn row(namespace: &NamespaceSummary, may_operate: bool) -> Row {
    let name = &namespace.name;
    let cells = vec![
        html! { a href={ "/tasks?q=" (encode(&format!("namespace:{name}"))) } { (name) } },
        badge(if namespace.paused { "paused" } else { "active" }),
        html! { (grouped(namespace.tasks)) },
        html! { (grouped(namespace.steps_ready)) },
        html! { (grouped(namespace.steps_in_progress)) },
        html! { (grouped(namespace.steps_waiting)) },
        html! { (namespace.workers) },
        html! { (namespace.templates) },
        html! {
            @if let Some(at) = namespace.paused_at_ms { (time(at)) }
            @if let Some(by) = namespace.paused_by.as_ref().filter(|by| !by.is_empty()) { " by " (by) }
            @if let Some(reason) = &namespace.reason { ": " span title=(reason) { (reason) } }
        },
        html! { @if may_operate { (form(namespace)) } },
    ];
    Row::new(format!("namespace-{name}"), cells)
}

fn form(namespace: &NamespaceSummary) -> Markup {
    let name = &namespace.name;
    let (what, title, explain) = match namespace.paused {
        true => ("resume", "Resume", html! { "What is ready in " b { (name) } " is handed out again." }),
        false => (
            "pause",
            "Pause",
            html! { "Running steps of " b { (name) } " finish. New tasks are taken, and nothing of them starts." },
        ),
    };
    let confirm = Confirm {
        id: &format!("{what}-{name}"),
        title,
        explain,
        action: &format!("/namespaces/{}/{what}", encode(name)),
        fields: html! {},
        button: title,
        danger: false,
        reason_required: true,
        form: None,
    };
    confirm.markup()
}

async fn pause(
    State(site): State<Shared>,
    visitor: Visitor,
    namespace: Result<Path<String>, PathRejection>,
    sent: Sent,
) -> Result<Redirect, Refusal> {
    let (Path(namespace), reason) = (namespace?, reason(sent)?);
    site.ask(PauseNamespace { correlation_id: Uuid::nil(), namespace, actor: visitor.actor(""), reason }).await?;
    Ok(Redirect::to("/namespaces?done=paused"))
}

async fn resume(
    State(site): State<Shared>,
    visitor: Visitor,
    namespace: Result<Path<String>, PathRejection>,
    sent: Sent,
) -> Result<Redirect, Refusal> {
    let (Path(namespace), reason) = (namespace?, reason(sent)?);
    site.ask(ResumeNamespace { correlation_id: Uuid::nil(), namespace, actor: visitor.actor(""), reason }).await?;
    Ok(Redirect::to("/namespaces?done=resumed"))
}

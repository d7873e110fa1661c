//! The dashboard over HTTP: what a page asks for, and what its forms do. How pages look is in `pages`.

mod acts;
mod audit;
mod batches;
mod dead_ends;
mod files;
mod namespaces;
mod overview;
mod refusal;
mod task;
mod tasks;
mod templates;
mod workers;

use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use maud::Markup;
use uuid::Uuid;

use super::guard::{Visitor, wants_page};
use super::pages::base::{Live, Page, Tab};
use super::pages::notice::Notice;
use super::problem::Problem;
use super::site::{Shared, Site};
use crate::protocol::{HealthCheck, HealthLevel};
use refusal::Refusal;

/// How long a page waits to hear how the broker is; without an answer it says how far the broker is.
const HEALTH: Duration = Duration::from_millis(500);

/// What a page is answered with.
type Answer = Result<Markup, Refusal>;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .merge(files::routes())
        .merge(overview::routes())
        .merge(tasks::routes())
        .merge(task::routes())
        .merge(dead_ends::routes())
        .merge(workers::routes())
        .merge(batches::routes())
        .merge(namespaces::routes())
        .merge(templates::routes())
        .merge(audit::routes())
}

/// A refusal, as a page for people and as a problem for programs.
pub(super) fn refused(problem: Problem, headers: &HeaderMap) -> Response {
    if wants_page(headers) { Refusal::from(problem).into_response() } else { problem.into_response() }
}

/// Whatever has no route.
pub(super) async fn no_such_page(uri: Uri, headers: HeaderMap) -> Response {
    refused(Problem::not_found("not_found", format!("there is nothing at {}", uri.path())), &headers)
}

/// What surrounds the content of a page.
struct Frame<'a> {
    title: &'a str,
    tab: Option<Tab>,
    notice: Option<Notice<'a>>,
    live: Option<Live<'a>>,
}

impl Frame<'_> {
    /// The whole page.
    async fn around(self, site: &Site, visitor: &Visitor, body: Markup) -> Markup {
        let Frame { title, tab, notice, live } = self;
        let viewer = match &visitor.name {
            Some(name) => format!("{name} · {}", visitor.role),
            None => String::new(),
        };
        let broker = state(site).await;
        Page { title, tab, broker: &broker, viewer: &viewer, notice, live, body }.render()
    }
}

/// The broker's state in one word.
async fn state(site: &Site) -> String {
    let question = HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Basic };
    match tokio::time::timeout(HEALTH, site.ask(question)).await {
        Ok(Ok(report)) => report.status,
        Ok(Err(_)) | Err(_) => site.handle.stage().as_str().to_owned(),
    }
}

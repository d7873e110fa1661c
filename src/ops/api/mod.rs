//! The API: commands and questions of PROTOCOL.md as resources. Payloads are parts of the documents, digit for digit.

mod acts;
mod audit;
mod batches;
mod broker;
mod dead_ends;
mod document;
mod namespaces;
mod paging;
mod steps;
mod tasks;
mod templates;
mod view;
mod workers;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::events;
use super::site::Shared;

/// Where the API is.
const ROOT: &str = "/api/v1";

/// All operations with what the document says of them: one without the other cannot be.
fn operations() -> OpenApiRouter<Shared> {
    let operations = OpenApiRouter::new()
        .routes(routes!(tasks::list, tasks::submit))
        .routes(routes!(acts::retry_many))
        .routes(routes!(tasks::show))
        .routes(routes!(tasks::request))
        .routes(routes!(tasks::wait))
        .routes(routes!(tasks::transitions))
        .routes(routes!(acts::cancel))
        .routes(routes!(acts::retry))
        .routes(routes!(steps::why))
        .routes(routes!(steps::list))
        .routes(routes!(steps::show))
        .routes(routes!(acts::resolve))
        .routes(routes!(dead_ends::list))
        .routes(routes!(templates::list, templates::register))
        .routes(routes!(templates::show))
        .routes(routes!(workers::list))
        .routes(routes!(workers::registrations))
        .routes(routes!(workers::drain))
        .routes(routes!(batches::list))
        .routes(routes!(batches::show))
        .routes(routes!(namespaces::list))
        .routes(routes!(namespaces::pause))
        .routes(routes!(namespaces::resume))
        .routes(routes!(audit::list))
        .routes(routes!(broker::health))
        .routes(routes!(broker::stats))
        .routes(routes!(events::events));
    OpenApiRouter::with_openapi(document::frame()).nest(ROOT, operations)
}

pub(super) fn routes() -> Router<Shared> {
    let (router, paths) = operations().split_for_parts();
    let text = document::finished(paths);
    let document = move || async move { ([(CONTENT_TYPE, "application/json")], text) };
    router.route(&format!("{ROOT}/openapi.json"), get(document))
}

/// The OpenAPI document.
pub(super) fn document() -> String {
    document::finished(operations().into_openapi())
}

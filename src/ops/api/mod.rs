//! The API: commands and questions of PROTOCOL.md as resources. Payloads are parts of the documents, digit for digit.

mod tasks;
mod templates;
mod view;
mod workers;

use axum::Router;
use axum::routing::{get, post};

use super::site::Shared;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/health", get(workers::health))
        .route("/workers", get(workers::list))
        .route("/templates", get(templates::list).post(templates::register))
        .route("/templates/{namespace}/{name}", get(templates::show))
        .route("/tasks", post(tasks::submit))
        .route("/tasks/{task}", get(tasks::show))
        .route("/tasks/{task}/wait", get(tasks::wait))
        .route("/tasks/{task}/cancel", post(tasks::cancel))
        .route("/tasks/{task}/retry", post(tasks::retry))
        .route("/tasks/{task}/steps/{step}/resolve", post(tasks::resolve))
}

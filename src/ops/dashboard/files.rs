//! Style, script and icon: the same for everybody, and kept by browsers for ever.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::ops::pages::assets;
use crate::ops::site::Shared;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/assets/{file}", get(file))
}

async fn file(uri: Uri) -> Response {
    match assets::find(uri.path()) {
        Some(asset) => ([(CONTENT_TYPE, asset.kind), (CACHE_CONTROL, assets::CACHE)], asset.body).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

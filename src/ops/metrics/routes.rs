//! `GET /metrics` and `GET /metrics/detailed`, for whoever may look. A standby answers, too, with how far it is.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{Extent, Format, scrape};
use crate::ops::problem::Problem;
use crate::ops::site::{Shared, Site};

pub(in crate::ops) fn routes() -> Router<Shared> {
    Router::new().route("/metrics", get(bounded)).route("/metrics/detailed", get(detailed))
}

async fn bounded(State(site): State<Shared>, headers: HeaderMap) -> Result<Response, Problem> {
    answer(&site, &headers, Extent::Bounded).await
}

async fn detailed(State(site): State<Shared>, headers: HeaderMap) -> Result<Response, Problem> {
    answer(&site, &headers, Extent::Detailed).await
}

async fn answer(site: &Site, headers: &HeaderMap, extent: Extent) -> Result<Response, Problem> {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::accepted(&accepts.collect::<Vec<_>>().join(","));
    let observer = site.handle.inside().map(|inside| &inside.observer);
    let written = scrape(site.handle.stage(), observer, extent, format).await;
    let text = written.map_err(|_| Problem::unavailable("the metrics could not be written"))?;
    Ok(([(header::CONTENT_TYPE, format.content_type())], text).into_response())
}

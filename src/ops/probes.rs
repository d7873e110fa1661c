//! Health for supervisors and load balancers. Open to everybody: they say one word, and nobody can make them cost much.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use uuid::Uuid;

use super::problem::Problem;
use super::site::{Shared, Site};
use crate::protocol::{HealthCheck, HealthLevel};
use crate::server::Stage;
use crate::store;

/// A loop that has not turned for this long will not. It does in milliseconds; recovering a million steps after a refused
/// group takes some seconds.
const TURN: Duration = Duration::from_secs(10);

/// How long the broker may take to say how it is. It answers that without a commit.
const ANSWER: Duration = Duration::from_secs(2);

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).route("/startupz", get(startupz))
}

/// What a probe says.
#[derive(Debug, Serialize)]
struct Verdict {
    /// `ok`, or what it is instead.
    status: &'static str,
    /// How far the broker is.
    stage: &'static str,
    /// What is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
}

fn verdict(stage: Stage, problems: Vec<String>) -> (StatusCode, Json<Verdict>) {
    let (code, status) = match problems.is_empty() {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    (code, Json(Verdict { status, stage: stage.as_str(), problems }))
}

/// Whether a restart would help: the event loop turns. Postgres that is away is no reason.
async fn livez(State(site): State<Shared>) -> (StatusCode, Json<Verdict>) {
    let mut problems = Vec::new();
    if !site.handle.turns(TURN).await {
        problems.push(format!("the event loop has not turned for {} s, or has ended", TURN.as_secs()));
    }
    verdict(site.handle.stage(), problems)
}

/// Whether work should come here: the sockets are bound, Postgres answers, and the broker is no standby and does not stop.
/// Migrations were looked at before the start.
async fn readyz(State(site): State<Shared>) -> (StatusCode, Json<Verdict>) {
    let stage = site.handle.stage();
    let mut problems = Vec::new();
    if stage != Stage::Ready {
        problems.push(format!("the broker is {}", stage.as_str()));
        return verdict(stage, problems);
    }
    let question = HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Basic };
    match tokio::time::timeout(ANSWER, site.ask(question)).await {
        // The writer's session and one that reads are two things to lose. A template without a worker is a reason to look, none to send work elsewhere.
        Ok(Ok(report)) if report.postgres == "up" => match tokio::time::timeout(ANSWER, ping(&site)).await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => problems.push(problem.detail),
            Err(_) => problems.push(format!("Postgres did not answer a question within {} s", ANSWER.as_secs())),
        },
        Ok(Ok(_)) => problems.push("Postgres is away: nothing can be made durable".to_owned()),
        Ok(Err(problem)) => problems.push(problem.detail),
        Err(_) => problems.push(format!("the broker did not say how it is within {} s", ANSWER.as_secs())),
    }
    verdict(stage, problems)
}

async fn ping(site: &Site) -> Result<(), Problem> {
    Ok(store::ping(site.pool()?).await?)
}

/// Whether the start is over. A standby has started: it waits, and needs no more time.
async fn startupz(State(site): State<Shared>) -> (StatusCode, Json<Verdict>) {
    let stage = site.handle.stage();
    let problems = match stage {
        Stage::Starting => vec!["the broker is starting".to_owned()],
        Stage::Standby | Stage::Ready | Stage::Draining | Stage::Stopped => Vec::new(),
    };
    verdict(stage, problems)
}

//! What happens, as it happens: the events of the broker as a stream (`text/event-stream`). Like those on the events
//! endpoint they may be lost, and whoever hears of a gap looks again.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use utoipa::IntoParams;
use uuid::Uuid;

use super::listen::stop;
use super::problem::Problem;
use super::site::Shared;
use crate::protocol;

/// A silent stream says that it is there, so that proxies keep it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Which events are wanted; all of them when nothing is said.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only those of this task.
    task: Option<Uuid>,
    /// Only topics that begin so, separated by commas.
    topics: Option<String>,
}

impl Wanted {
    fn has(&self, event: &protocol::Event) -> bool {
        let of_task = self.task.is_none_or(|task| event.task_id == Some(task));
        let topics = self.topics.as_deref().unwrap_or_default();
        of_task && topics.split(',').any(|prefix| event.topic.starts_with(prefix.trim()))
    }
}

/// Follow events
///
/// A stream of server-sent events that does not end. The data of each is a JSON object with `sequence`, `at_ms`, `topic`, and what
/// it concerns: `task_id`, `template`, `step`, `attempt`, `batch_id`, `worker`, `state`, `reason`. One named `gap` says in `lost` how
/// many were left out for a reader that is too slow.
#[utoipa::path(get, path = "/events", operation_id = "follow_events", tag = "broker", params(Wanted),
    responses((status = 200, description = "The stream.", body = String, content_type = "text/event-stream")))]
pub(super) async fn events(
    State(site): State<Shared>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let Query(wanted) = wanted?;
    let heard = site.inside()?.desk.listen();
    let stopped = site.stopped.clone();
    let stream = stream::unfold((heard, stopped, wanted), |(mut heard, mut stopped, wanted)| async move {
        loop {
            let event = tokio::select! {
                event = heard.recv() => event,
                () = stop(&mut stopped) => return None,
            };
            let event = match event {
                Ok(event) if wanted.has(&event) => told(&event),
                Ok(_) => continue,
                Err(RecvError::Lagged(lost)) => Event::default().event("gap").data(json!({ "lost": lost }).to_string()),
                Err(RecvError::Closed) => return None,
            };
            return Some((Ok(event), (heard, stopped, wanted)));
        }
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// An event as it is told: the topic is its name, so that a browser can listen to some. Payloads of custom events are left
/// out; they may hold what is not shown to everybody.
fn told(event: &protocol::Event) -> Event {
    let told = json!({
        "sequence": event.sequence,
        "at_ms": event.at_ms,
        "topic": event.topic,
        "task_id": event.task_id,
        "template": event.template,
        "step": event.step,
        "attempt": event.attempt,
        "batch_id": event.batch_id,
        "worker": event.worker,
        "state": event.state,
        "reason": event.reason,
    });
    Event::default().id(event.sequence.to_string()).data(told.to_string())
}

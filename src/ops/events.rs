//! What happens, as it happens: the events of the broker as a stream (`text/event-stream`). Like those on the events
//! endpoint they may be lost, and whoever hears of a gap looks again. Pages only need to know that there is news.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use axum::routing::get;
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use utoipa::IntoParams;
use uuid::Uuid;

use super::listen::stop;
use super::problem::Problem;
use super::site::Shared;
use crate::gateway::{Interest, News, Post, Reader};
use crate::protocol;

/// Where pages hear that there is news.
pub(super) const NEWS: &str = "/news";

/// A silent stream says that it is there, so that proxies keep it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// After it has told events, a stream holds still for so long. What comes meanwhile is told together, which costs less.
const EVENTS_PAUSE: Duration = Duration::from_millis(100);

/// Most events that are told at once: 1,000 a second, far more than anybody reads, and too few to slow the broker down. Whoever needs
/// all of them subscribes at the events endpoint.
const EVENTS_TOLD_MAX: usize = 100;

/// Most topics of a listener: the gateway compares each event with all of them.
const TOPICS_MAX: usize = 20;

/// A page looks again at most so often.
const NEWS_PAUSE: Duration = Duration::from_secs(1);

/// What pages are told; the events of the API are among its operations.
pub(super) fn routes() -> Router<Shared> {
    Router::new().route(NEWS, get(news))
}

/// Which events are wanted; all of them when nothing is said.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only those of this task.
    task: Option<Uuid>,
    /// Only topics that begin so, separated by commas; at most 20.
    topics: Option<String>,
}

impl Wanted {
    fn interest(self) -> Result<Interest, Problem> {
        let topics = self.topics.unwrap_or_default();
        let topics = topics.split(',').map(str::trim).filter(|prefix| !prefix.is_empty());
        let topics: Vec<String> = topics.map(str::to_owned).collect();
        if topics.len() > TOPICS_MAX {
            let problem = Problem::invalid("topics", format!("has {} topics, not at most {TOPICS_MAX}", topics.len()));
            return Err(problem.limited_to(TOPICS_MAX as u64));
        }
        Ok(Interest { topics, task: self.task })
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
    let reader = site.inside()?.desk.read(wanted.interest()?);
    Ok(stream_of(reader, site.stopped.clone()))
}

/// Says that something has happened that a page may show; not what.
async fn news(
    State(site): State<Shared>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let Query(wanted) = wanted?;
    let news = site.inside()?.desk.news(wanted.interest()?);
    Ok(stream_of(news, site.stopped.clone()))
}

/// What a stream tells.
trait Source: Send {
    /// How long it holds still after it has told something.
    const PAUSE: Duration;

    /// Waits for something to tell.
    fn next(&mut self) -> impl Future<Output = VecDeque<Event>> + Send;
}

impl Source for Reader {
    const PAUSE: Duration = EVENTS_PAUSE;

    async fn next(&mut self) -> VecDeque<Event> {
        let Post { events, lost } = self.take(EVENTS_TOLD_MAX).await;
        let gap = (lost > 0).then(|| Event::default().event("gap").data(json!({ "lost": lost }).to_string()));
        events.iter().map(|event| told(event)).chain(gap).collect()
    }
}

impl Source for News {
    const PAUSE: Duration = NEWS_PAUSE;

    async fn next(&mut self) -> VecDeque<Event> {
        self.come().await;
        VecDeque::from([Event::default().data("{}")])
    }
}

fn stream_of<S: Source + 'static>(
    source: S,
    stopped: watch::Receiver<bool>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let begin = (source, stopped, VecDeque::new(), Instant::now());
    let stream = stream::unfold(begin, |(mut source, mut stopped, mut left, mut not_before)| async move {
        if left.is_empty() {
            let next = async {
                sleep_until(not_before).await;
                source.next().await
            };
            left = tokio::select! {
                next = next => next,
                () = stop(&mut stopped) => return None,
            };
            not_before = Instant::now() + S::PAUSE;
        }
        left.pop_front().map(|event| (Ok(event), (source, stopped, left, not_before)))
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// An event as it is told: the topic is in it, not its name, so that a browser hears all of them. Payloads of custom events are left
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

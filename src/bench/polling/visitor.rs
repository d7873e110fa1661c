//! What those do who look at a broker, at the pace at which they do it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::PollError;
use super::http::{Connection, Problem, Site};
use super::lines::Lines;
use super::tally::{Look, Tally};

/// A page that follows events is fetched again at most so often; INTERVAL_MS of `app.js`.
const PAGE_PAUSE: Duration = Duration::from_secs(1);

/// Between two scrapes. Prometheus waits 15 s to a minute; a run of some seconds would have none.
const SCRAPE_PAUSE: Duration = Duration::from_secs(1);

/// Between two rounds of a program that asks the API in a loop.
const API_PAUSE: Duration = Duration::from_secs(1);

/// Where a page says which events it follows.
const FOLLOWS: &str = "data-live=\"";

/// What nobody but a failure ends.
pub(super) type Endless = Result<Infallible, PollError>;

/// Somebody who has this page open: it is fetched, and fetched again when the events that it follows tell of news.
pub(super) async fn open_page(site: Arc<Site>, tally: Arc<Tally>, look: Look, path: &'static str) -> Endless {
    let mut connection = Connection::to(&site);
    let page = tally.time(look, connection.get(path, &[("accept", "text/html")])).await?;
    let events = follows(&page).ok_or_else(|| PollError::at(path, Problem::Still))?;
    let news = Notify::new();
    let listening = async {
        let mut stream = Connection::to(&site).open(&events).await?;
        let mut lines = Lines::default();
        loop {
            let heard = lines.take(&stream.next().await?);
            tally.heard(heard);
            if heard.events + heard.lost > 0 {
                news.notify_one();
            }
        }
    };
    let renewing = async {
        loop {
            let renewed = Instant::now();
            news.notified().await;
            sleep_until(renewed + PAGE_PAUSE).await;
            tally.time(look, connection.get(path, &[("accept", "text/html"), ("x-partial", "1")])).await?;
        }
    };
    tokio::select! { end = listening => end, end = renewing => end }
}

/// The address of the events, as the page has it.
fn follows(page: &str) -> Option<String> {
    let (_, after) = page.split_once(FOLLOWS)?;
    Some(after.split_once('"')?.0.replace("&amp;", "&"))
}

/// A program that reads all events.
pub(super) async fn listen(site: Arc<Site>, tally: Arc<Tally>) -> Endless {
    let mut stream = Connection::to(&site).open("/api/v1/events").await?;
    let mut lines = Lines::default();
    loop {
        tally.heard(lines.take(&stream.next().await?));
    }
}

/// Prometheus.
pub(super) async fn scrape(site: Arc<Site>, tally: Arc<Tally>) -> Endless {
    let mut connection = Connection::to(&site);
    loop {
        tally.time(Look::Metrics, connection.get("/metrics", &[])).await?;
        sleep(SCRAPE_PAUSE).await;
    }
}

/// A program that asks how the broker is, who works, which tasks there are, and how far the newest one is of which it has heard.
pub(super) async fn ask(site: Arc<Site>, tally: Arc<Tally>) -> Endless {
    let mut connection = Connection::to(&site);
    loop {
        for path in ["/api/v1/health", "/api/v1/workers", "/api/v1/tasks?limit=50"] {
            tally.time(Look::Api, connection.get(path, &[])).await?;
        }
        if let Some(task) = tally.newest_task() {
            tally.time(Look::Api, connection.get(&format!("/api/v1/tasks/{task}?steps=true"), &[])).await?;
        }
        sleep(API_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_which_events_it_follows() {
        let page = "<body data-live=\"/api/v1/events?topics=a&amp;task=b\" data-task=\"b\">";
        assert_eq!(follows(page).as_deref(), Some("/api/v1/events?topics=a&task=b"));
        assert_eq!(follows("<body>"), None);
    }
}

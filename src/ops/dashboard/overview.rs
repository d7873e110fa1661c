//! The first page: how the broker is, what waits, what happened in the last hours.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use maud::{Markup, html};
use uuid::Uuid;

use super::{Answer, Frame};
use crate::ops::guard::Visitor;
use crate::ops::pages::badge::{badge, icon};
use crate::ops::pages::base::{Live, Tab};
use crate::ops::pages::chart::{Chart, Series};
use crate::ops::pages::filter_box::encode;
use crate::ops::pages::notice::{Notice, Tone};
use crate::ops::pages::pager::grouped;
use crate::ops::pages::table::{self, Row};
use crate::ops::pages::time::{dash, span};
use crate::ops::site::Shared;
use crate::protocol::{HealthCheck, HealthLevel, HealthReport, ListNamespaces, NamespaceSummary};
use crate::server::metrics::{Figures, Minute};

/// Minutes that the charts show.
const SHOWN: usize = 3 * 60;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/", get(show))
}

async fn show(State(site): State<Shared>, visitor: Visitor) -> Answer {
    let health = site.ask(HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Detailed }).await?;
    let namespaces = site.ask(ListNamespaces { correlation_id: Uuid::nil() }).await?.namespaces;
    let observer = &site.inside()?.observer;
    let minutes = observer.history().await.unwrap_or_default();
    let ages = ages(observer.figures().await);
    let minutes = &minutes[minutes.len().saturating_sub(SHOWN)..];
    let body = html! {
        h1 class="hidden" { "Overview" }
        div id="problems" data-refresh {
            @for problem in &health.problems { (Notice { tone: Tone::Warn, text: problem }.markup()) }
        }
        (tiles(&health, &namespaces, &ages))
        div class="split" {
            (steps_chart(minutes))
            (times_chart(minutes))
        }
        (waiting(&namespaces, &ages))
        p class="muted" {
            "Broker " code { (health.broker_id) } ", version " (health.version) ", epoch " (health.epoch) ", up "
            (span(health.uptime_seconds.saturating_mul(1_000_000))) ", Postgres " (health.postgres) "."
        }
    };
    let live = Some(Live { news: "/news" });
    Ok(Frame { title: "Overview", tab: Some(Tab::Overview), notice: None, live }.around(&site, &visitor, body).await)
}

/// For how long the oldest ready step of each namespace has waited, in milliseconds; nothing when the loop does not answer.
fn ages(figures: Option<Figures>) -> BTreeMap<Arc<str>, u64> {
    let mut ages = BTreeMap::new();
    for template in figures.map(|figures| figures.engine.templates).unwrap_or_default() {
        if let Some(oldest_ms) = template.oldest_ready_ms {
            let age = ages.entry(template.key.namespace).or_insert(oldest_ms);
            *age = oldest_ms.max(*age);
        }
    }
    ages
}

/// How long something has waited, in words.
fn waited(age_ms: Option<&u64>) -> Markup {
    age_ms.map_or_else(dash, |age_ms| html! { (span(age_ms.saturating_mul(1_000))) })
}

fn tiles(health: &HealthReport, namespaces: &[NamespaceSummary], ages: &BTreeMap<Arc<str>, u64>) -> Markup {
    let waiting: u64 = namespaces.iter().map(|namespace| namespace.steps_waiting).sum();
    let number = |count: u64| html! { (grouped(count)) };
    let tile = |href: &str, value: Markup, symbol: &str, tone: &str, what: &str| {
        html! {
            a class="tile" href=(href) {
                span class="value" { (value) }
                span class={ "what " (tone) } { (icon(symbol)) (what) }
            }
        }
    };
    html! {
        div class="tiles" id="tiles" data-refresh {
            (tile("/tasks?q=state%3Ain_progress%2Cpending", number(health.tasks.unwrap_or(0)), "play", "busy", "live tasks"))
            (tile("/namespaces", number(health.steps_ready.unwrap_or(0)), "dot", "next", "steps ready"))
            (tile("/namespaces", waited(ages.values().max()), "clock", "warn", "longest wait"))
            (tile("/namespaces", number(health.steps_in_progress.unwrap_or(0)), "play", "busy", "steps running"))
            (tile("/namespaces", number(waiting), "ring", "idle", "steps waiting"))
            (tile("/workers", number(health.workers.unwrap_or(0)), "check", "good", "workers"))
            (tile("/workers", number(health.slots.unwrap_or(0)), "ring", "idle", "slots"))
        }
    }
}

fn steps_chart(minutes: &[Minute]) -> Markup {
    let ended = |minute: &Minute| minute.steps_ended.iter().map(|count| u64::from(*count)).sum::<u64>();
    let [ended, tasks]: [Vec<u64>; 2] = [
        minutes.iter().map(ended).collect(),
        minutes.iter().map(|minute| minute.tasks_ended.iter().map(|count| u64::from(*count)).sum()).collect(),
    ];
    let chart = Chart {
        id: "throughput",
        title: "Ended a minute",
        series: &[
            Series { name: "attempts and steps", tone: "busy", values: &ended },
            Series { name: "tasks", tone: "good", values: &tasks },
        ],
        format: grouped,
    };
    chart.markup()
}

fn times_chart(minutes: &[Minute]) -> Markup {
    let queued: Vec<u64> = minutes.iter().map(|minute| minute.queued_us[1]).collect();
    let ran: Vec<u64> = minutes.iter().map(|minute| minute.ran_us[1]).collect();
    let chart = Chart {
        id: "times",
        title: "Time of the slowest in 100",
        series: &[
            Series { name: "ready until handed out", tone: "warn", values: &queued },
            Series { name: "run", tone: "busy", values: &ran },
        ],
        format: span,
    };
    chart.markup()
}

fn waiting(namespaces: &[NamespaceSummary], ages: &BTreeMap<Arc<str>, u64>) -> Markup {
    let columns = [
        table::name("Namespace"),
        table::text("State"),
        table::number("Tasks"),
        table::number("Ready"),
        table::number("For"),
        table::number("Running"),
        table::number("Waiting"),
        table::number("Workers"),
    ];
    let mut busiest: Vec<&NamespaceSummary> = namespaces.iter().filter(|namespace| namespace.tasks > 0).collect();
    busiest.sort_by_key(|namespace| std::cmp::Reverse((namespace.steps_ready, namespace.tasks)));
    let rows = busiest.iter().take(10).map(|namespace| {
        let name = &namespace.name;
        let cells = vec![
            html! { a href={ "/tasks?q=" (encode(&format!("namespace:{name}"))) } { (name) } },
            badge(if namespace.paused { "paused" } else { "active" }),
            html! { (grouped(namespace.tasks)) },
            html! { (grouped(namespace.steps_ready)) },
            waited(ages.get(&**name)),
            html! { (grouped(namespace.steps_in_progress)) },
            html! { (grouped(namespace.steps_waiting)) },
            html! { (namespace.workers) },
        ];
        Row::new(format!("waiting-{name}"), cells)
    });
    let rows: Vec<Row> = rows.collect();
    html! {
        section class="panel" id="waiting" data-refresh {
            h2 { "Where work waits" }
            @if rows.is_empty() {
                p class="muted" { "Nothing waits: every task has ended." }
            } @else {
                (table::table("waiting-rows", "Namespaces with unfinished tasks", &columns, &rows))
            }
        }
    }
}

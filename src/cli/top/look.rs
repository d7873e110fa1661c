//! What a look at the broker brings: how it is, who works, and what its events tell between two looks.

use std::collections::{BTreeMap, VecDeque};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use serde::Serialize;
use uuid::Uuid;

use crate::cli::serve::broken;
use crate::cli::{Failure, Global};
use crate::client::{self, Client, Notice, Subscription};
use crate::protocol::{
    Event, HealthCheck, HealthLevel, HealthReport, ListNamespaces, ListWorkers, NamespaceSummary, Topic, WorkerSummary,
};

/// Failures that are kept, the latest first.
const FAILURES_KEPT: usize = 100;

/// Templates that are told apart; further ones are counted together.
const TEMPLATES_MAX: usize = 1_000;

/// What further templates are called.
const OTHERS: &str = "(others)";

/// The broker at one moment.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Look {
    pub health: HealthReport,
    pub namespaces: Vec<NamespaceSummary>,
    pub workers: Vec<WorkerSummary>,
    /// By template, in the order of their names.
    pub templates: Vec<Activity>,
    /// Over all templates, a second; absent when no events are heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates: Option<Rates>,
    /// The latest first.
    pub failures: Vec<FailedStep>,
    /// Whether events were lost, so that rates are too low.
    pub events_lost: bool,
}

/// What happens a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Rates {
    pub tasks: f64,
    pub steps: f64,
}

/// What was heard of a template.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Activity {
    pub template: String,
    /// Tasks that ended a second, and steps that completed.
    pub rates: Rates,
    /// Since this program listens: tasks that ended, steps that completed, attempts that failed.
    pub tasks: u64,
    pub steps: u64,
    pub failures: u64,
    /// Steps that went out and have not come back, of those that were seen going out.
    pub in_progress: u64,
}

/// An attempt that failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct FailedStep {
    pub at_ms: i64,
    pub template: String,
    pub step: String,
    pub attempt: u32,
    pub worker: String,
    pub reason: String,
}

/// What comes from the thread that looks.
pub(super) enum News {
    Look(Box<Look>),
    /// There was no answer, and why; the next look may have one.
    Away(String),
}

/// Looks at one broker.
pub(super) struct Observer {
    client: Client,
    events: Option<Subscription>,
    heard: Heard,
    since: Instant,
}

impl Observer {
    pub(super) fn connect(global: &Global) -> Result<Observer, Failure> {
        // Subscribed before the first look, so that it hears what follows that.
        let events = global.subscribe()?;
        Ok(Observer { client: global.connect()?, events, heard: Heard::default(), since: Instant::now() })
    }

    /// Listens for an interval, then asks.
    pub(super) fn look(&mut self, interval: Duration) -> Result<Look, client::Error> {
        let until = self.since + interval;
        match &mut self.events {
            Some(events) => {
                while let Some(notice) = events.next(until)? {
                    self.heard.take(&notice);
                }
            }
            None => thread::sleep(until.saturating_duration_since(Instant::now())),
        }
        let health = HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Detailed };
        let health = self.client.request(health)?;
        let workers = self.client.request(ListWorkers { correlation_id: Uuid::nil() })?.workers;
        let namespaces = match self.client.request(ListNamespaces { correlation_id: Uuid::nil() }) {
            Ok(list) => list.namespaces,
            // A broker of an earlier release has no such list.
            Err(client::Error::Refused(_)) => Vec::new(),
            Err(error) => return Err(error),
        };
        let seconds = self.since.elapsed().as_secs_f64();
        self.since = Instant::now();
        let (templates, rates) = self.heard.rates(seconds);
        Ok(Look {
            health,
            namespaces,
            workers,
            templates,
            rates: self.events.is_some().then_some(rates),
            failures: self.heard.failures.iter().cloned().collect(),
            events_lost: std::mem::take(&mut self.heard.lost),
        })
    }

    /// Looks again and again on a thread of its own, until nobody takes what it sees.
    pub(super) fn watch(mut self, interval: Duration) -> Result<Receiver<News>, Failure> {
        // One that was not looked at yet is enough.
        let (tell, news) = bounded(1);
        let work = move || {
            loop {
                let began = Instant::now();
                let news = match self.look(interval) {
                    Ok(look) => News::Look(Box::new(look)),
                    Err(error) => {
                        self.since = Instant::now();
                        thread::sleep(interval.saturating_sub(began.elapsed()));
                        News::Away(error.to_string())
                    }
                };
                if tell.send(news).is_err() {
                    return;
                }
            }
        };
        let started = thread::Builder::new().name("look".to_owned()).spawn(work);
        started.map_err(|error| broken("start a thread", &error))?;
        Ok(news)
    }
}

/// What events have told.
#[derive(Default)]
pub(super) struct Heard {
    templates: BTreeMap<String, Counts>,
    failures: VecDeque<FailedStep>,
    lost: bool,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    tasks: u64,
    steps: u64,
    failures: u64,
    dispatched: u64,
    returned: u64,
    /// As they were at the look before.
    tasks_before: u64,
    steps_before: u64,
}

impl Heard {
    pub(super) fn take(&mut self, notice: &Notice) {
        match notice {
            Notice::Gap => self.lost = true,
            Notice::Event(event) => self.hear(event),
        }
    }

    fn hear(&mut self, event: &Event) {
        let Some(topic) = Topic::ALL.iter().find(|topic| topic.as_str() == event.topic) else { return };
        let Some(template) = &event.template else { return };
        let is_known = self.templates.contains_key(template) || self.templates.len() < TEMPLATES_MAX;
        let counts = self.templates.entry(if is_known { template } else { OTHERS }.to_owned()).or_default();
        match topic {
            Topic::TaskCompleted | Topic::TaskFailed | Topic::TaskCancelled | Topic::TaskResolved => counts.tasks += 1,
            Topic::StepDispatched => counts.dispatched += 1,
            Topic::StepCompleted => {
                counts.steps += 1;
                counts.returned += 1;
            }
            Topic::StepReturned => counts.returned += 1,
            Topic::StepFailed | Topic::StepRetrying => {
                counts.failures += 1;
                counts.returned += 1;
                self.fail(event);
            }
            _ => {}
        }
    }

    fn fail(&mut self, event: &Event) {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        self.failures.push_front(FailedStep {
            at_ms: event.at_ms,
            template: text(&event.template),
            step: text(&event.step),
            attempt: event.attempt.unwrap_or(0),
            worker: text(&event.worker),
            reason: text(&event.reason),
        });
        self.failures.truncate(FAILURES_KEPT);
    }

    /// What happened a second since the call before.
    fn rates(&mut self, seconds: f64) -> (Vec<Activity>, Rates) {
        let mut all = Rates::default();
        let a_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let templates = self.templates.iter_mut().map(|(template, counts)| {
            let rates = Rates {
                tasks: a_second(counts.tasks - counts.tasks_before),
                steps: a_second(counts.steps - counts.steps_before),
            };
            all.tasks += rates.tasks;
            all.steps += rates.steps;
            (counts.tasks_before, counts.steps_before) = (counts.tasks, counts.steps);
            let Counts { tasks, steps, failures, dispatched, returned, .. } = *counts;
            let in_progress = dispatched.saturating_sub(returned);
            Activity { template: template.clone(), rates, tasks, steps, failures, in_progress }
        });
        (templates.collect(), all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(topic: Topic, template: &str) -> Notice {
        Notice::Event(Box::new(Event {
            topic: topic.as_str().to_owned(),
            template: Some(template.to_owned()),
            step: Some("pay".to_owned()),
            ..Event::default()
        }))
    }

    #[test]
    fn rates_are_of_the_time_since_the_look_before() {
        let mut heard = Heard::default();
        for _ in 0..4 {
            heard.take(&event(Topic::StepDispatched, "shop/order@1"));
            heard.take(&event(Topic::StepCompleted, "shop/order@1"));
        }
        heard.take(&event(Topic::TaskCompleted, "shop/order@1"));
        heard.take(&event(Topic::StepDispatched, "shop/order@1"));
        let (templates, rates) = heard.rates(2.0);
        assert_eq!(rates, Rates { tasks: 0.5, steps: 2.0 });
        assert_eq!((templates[0].steps, templates[0].in_progress), (4, 1));
        assert_eq!(heard.rates(2.0).1, Rates::default(), "nothing happened since");
    }

    #[test]
    fn failures_are_kept_the_latest_first_and_not_for_ever() {
        let mut heard = Heard::default();
        for _ in 0..FAILURES_KEPT {
            heard.take(&event(Topic::StepRetrying, "shop/order@1"));
        }
        heard.take(&event(Topic::StepFailed, "shop/refund@1"));
        assert_eq!((heard.failures.len(), heard.failures[0].template.as_str()), (FAILURES_KEPT, "shop/refund@1"));
        heard.take(&Notice::Gap);
        assert!(heard.lost);
    }

    #[test]
    fn templates_without_end_are_counted_together() {
        let mut heard = Heard::default();
        for number in 0..TEMPLATES_MAX + 5 {
            heard.take(&event(Topic::StepCompleted, &format!("t{number}")));
        }
        let (templates, _) = heard.rates(1.0);
        assert_eq!(templates.len(), TEMPLATES_MAX + 1);
        assert_eq!(templates.iter().find(|activity| activity.template == OTHERS).map(|others| others.steps), Some(5));
    }
}

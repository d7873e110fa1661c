//! What is published: topics, sequence numbers, and who wants to hear any of it.

use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

use tasker_engine::{Notice, NoticeKind, TaskId};
use uuid::Uuid;

use super::desk::Answers;
use super::limits::SUBSCRIPTIONS_MAX;
use crate::protocol::{Control, ControlKind, Event, JsonText, Message, Topic};

/// Numbers what is published, and builds only what somebody subscribed to.
pub(super) struct Publisher {
    broker_id: Uuid,
    sequence: u64,
    wanted: Subscriptions,
    desk: Answers,
}

/// A message with its topic.
pub(super) type Published = (String, Message);

impl Publisher {
    pub(super) fn new(broker_id: Uuid, desk: Answers) -> Publisher {
        Publisher { broker_id, sequence: 0, wanted: Subscriptions::default(), desk }
    }

    /// Takes what the socket says about its subscribers.
    pub(super) fn hear(&mut self, frame: &[u8]) {
        self.wanted.hear(frame);
    }

    /// The event for a notice, when a subscriber wants it; who listens at the desk is told here. It has its number in any case,
    /// so that gaps show.
    pub(super) fn event(&mut self, notice: Notice) -> Option<Published> {
        self.sequence += 1;
        let topic = event_topic(&notice);
        let task_id = notice.task.map(|task| task.0);
        let (is_wanted, is_read) = (self.wanted.has(&topic), self.desk.listeners().want(&topic, task_id));
        if !is_wanted && !is_read {
            return None;
        }
        let step = notice.step.zip(notice.template.as_ref());
        let step = step.map(|(step, template)| template.steps[step as usize].name.to_string());
        let named = notice.custom.as_ref().map(|custom| &custom.0);
        let event = Event {
            sequence: self.sequence,
            broker_id: self.broker_id,
            at_ms: now_ms(),
            topic: topic.clone(),
            task_id,
            template: notice.template.map(|template| template.key.to_string()),
            step,
            attempt: notice.attempt,
            batch_id: notice.batch.map(|batch| batch.0),
            worker: notice.worker.map(|worker| worker.to_string()),
            namespace: is_about_namespace(notice.kind).then(|| named.map(ToString::to_string)).flatten(),
            state: notice.state.map(str::to_owned),
            reason: notice.reason.map(|reason| reason.to_string()),
            payload: notice
                .custom
                .filter(|custom| !custom.1.is_empty())
                .map(|custom| JsonText::from_bytes(custom.1).expect("payloads were checked when they came in")),
        };
        if !is_wanted {
            self.desk.listeners().put(event);
            return None;
        }
        if is_read {
            self.desk.listeners().put(event.clone());
        }
        Some((topic, Message::Event(event)))
    }

    /// A hint to workers, when somebody listens.
    pub(super) fn control(&mut self, kind: ControlKind, task: Option<TaskId>) -> Option<Published> {
        self.sequence += 1;
        let topic = kind.topic().to_owned();
        let control =
            Control { sequence: self.sequence, broker_id: self.broker_id, kind, task_id: task.map(|task| task.0) };
        self.wanted.has(&topic).then_some((topic, Message::Control(control)))
    }
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

fn is_about_namespace(kind: NoticeKind) -> bool {
    matches!(kind, NoticeKind::NamespacePaused | NoticeKind::NamespaceResumed)
}

fn event_topic(notice: &Notice) -> String {
    let topic = match notice.kind {
        NoticeKind::TaskInitialized => Topic::TaskInitialized,
        NoticeKind::TaskStarted => Topic::TaskStarted,
        NoticeKind::TaskCompleted => Topic::TaskCompleted,
        NoticeKind::TaskFailed => Topic::TaskFailed,
        NoticeKind::TaskCancelled => Topic::TaskCancelled,
        NoticeKind::TaskResolved => Topic::TaskResolved,
        NoticeKind::TaskReset => Topic::TaskReset,
        NoticeKind::StepDispatched => Topic::StepDispatched,
        NoticeKind::StepCompleted => Topic::StepCompleted,
        NoticeKind::StepFailed => Topic::StepFailed,
        NoticeKind::StepRetrying => Topic::StepRetrying,
        NoticeKind::StepReturned => Topic::StepReturned,
        NoticeKind::StepResolved => Topic::StepResolved,
        NoticeKind::StepProgressed => Topic::StepProgressed,
        NoticeKind::BatchPublished => Topic::BatchPublished,
        NoticeKind::BatchClosed => Topic::BatchClosed,
        NoticeKind::WorkerRegistered => Topic::WorkerRegistered,
        NoticeKind::WorkerSuspected => Topic::WorkerSuspected,
        NoticeKind::WorkerLost => Topic::WorkerLost,
        NoticeKind::WorkerUnregistered => Topic::WorkerUnregistered,
        NoticeKind::WorkerDraining => Topic::WorkerDraining,
        NoticeKind::NamespacePaused => Topic::NamespacePaused,
        NoticeKind::NamespaceResumed => Topic::NamespaceResumed,
        NoticeKind::TemplateRegistered => Topic::TemplateRegistered,
        NoticeKind::Custom => {
            let namespace = notice.template.as_ref().map_or("", |template| &template.key.namespace);
            let name = notice.custom.as_ref().map_or("", |custom| &custom.0);
            return format!("event.custom.{namespace}.{name}");
        }
    };
    topic.as_str().to_owned()
}

/// The prefixes that subscribers asked for, all of them together. Costs that arise for each step (an event or two) are
/// saved when nobody wants them.
#[derive(Debug, Default)]
struct Subscriptions {
    prefixes: HashSet<Vec<u8>>,
    /// There were more prefixes than are told apart: everything is wanted from then on.
    overflowed: bool,
}

impl Subscriptions {
    /// A first subscriber to a prefix sends 1 and the prefix, the last one to leave 0 and the prefix (ZMTP, RFC 23).
    fn hear(&mut self, frame: &[u8]) {
        match frame {
            [1, prefix @ ..] if self.prefixes.len() < SUBSCRIPTIONS_MAX => {
                self.prefixes.insert(prefix.to_vec());
            }
            [1, ..] => self.overflowed = true,
            [0, prefix @ ..] => {
                self.prefixes.remove(prefix);
            }
            _ => {}
        }
    }

    fn has(&self, topic: &str) -> bool {
        // Everything is compared with an empty one by no look at memory: there is none behind it, and processors with AVX-512 take
        // a third of a microsecond to find that out.
        let begins = |prefix: &Vec<u8>| prefix.is_empty() || topic.as_bytes().starts_with(prefix);
        self.overflowed || self.prefixes.iter().any(begins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_built_for_nobody_but_everything_is_counted() {
        let mut publisher = Publisher::new(Uuid::nil(), Answers::new());
        assert!(publisher.event(Notice::new(NoticeKind::TaskStarted)).is_none());
        publisher.hear(b"\x01event.task.");
        assert!(publisher.event(Notice::new(NoticeKind::StepCompleted)).is_none());
        let Some((topic, Message::Event(event))) = publisher.event(Notice::new(NoticeKind::TaskStarted)) else {
            panic!("a subscribed event was not built");
        };
        assert_eq!((topic.as_str(), event.sequence), ("event.task.started", 3));
        publisher.hear(b"\x00event.task.");
        assert!(publisher.event(Notice::new(NoticeKind::TaskStarted)).is_none());
        assert!(publisher.control(ControlKind::Pause, None).is_none());
    }

    #[test]
    fn more_prefixes_than_are_kept_mean_everything() {
        let mut publisher = Publisher::new(Uuid::nil(), Answers::new());
        for number in 0..=SUBSCRIPTIONS_MAX {
            publisher.hear(format!("\x01{number}").as_bytes());
        }
        assert!(publisher.event(Notice::new(NoticeKind::TaskStarted)).is_some());
    }
}

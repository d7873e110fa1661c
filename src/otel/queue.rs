//! The way from the event loop to the thread that sends: bounded, and never waited for. What finds it full is dropped and
//! counted, since a trace may have a hole, and a broker may not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tasker_engine::{AttemptEnd, Span, SpanOf, TaskId, Template, Wall};
use tokio::sync::mpsc::Sender;

use super::{Sampling, TaskTrace};

/// An error's text as far as it is sent, in bytes. A trace says where to look; all of it is in the database.
const ERROR_BYTES_MAX: usize = 1_024;

/// What became of spans since the broker started.
#[derive(Debug, Default)]
pub struct Counts {
    sent: AtomicU64,
    found_full: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    /// The collector has taken them.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Dropped, because too many waited.
    pub fn found_full(&self) -> u64 {
        self.found_full.load(Ordering::Relaxed)
    }

    /// Dropped, because the collector did not take them.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    #[cfg(feature = "otel")]
    pub(super) fn count_sent(&self, spans: u64) {
        self.sent.fetch_add(spans, Ordering::Relaxed);
    }

    #[cfg(feature = "otel")]
    pub(super) fn count_failed(&self, spans: u64) {
        self.failed.fetch_add(spans, Ordering::Relaxed);
    }
}

/// A span of a trace that is recorded, with nothing that could be large.
#[derive(Debug)]
#[cfg_attr(not(feature = "otel"), expect(dead_code, reason = "read by what sends it"))]
pub(super) struct Record {
    pub trace: TaskTrace,
    pub task: TaskId,
    pub template: Arc<Template>,
    pub begun: Wall,
    pub ended: Wall,
    pub of: SpanOf,
}

/// The loop's end.
#[derive(Clone, Debug)]
pub struct Tracer {
    queue: Sender<Record>,
    sampling: Sampling,
    counts: Arc<Counts>,
}

impl Tracer {
    #[cfg(any(test, feature = "otel"))]
    pub(super) fn new(queue: Sender<Record>, sampling: Sampling) -> Tracer {
        Tracer { queue, sampling, counts: Arc::default() }
    }

    /// Which tasks without a trace are recorded.
    pub fn sampling(&self) -> Sampling {
        self.sampling
    }

    /// What became of spans.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Takes spans whose group is durable, as far as their traces are recorded. Waits for nothing.
    pub fn tell(&self, spans: Vec<Span>) {
        for span in spans {
            let trace = TaskTrace::of(span.task, &span.labels, self.sampling);
            if !trace.sampled {
                continue;
            }
            let Span { task, template, labels: _, begun, ended, mut of } = span;
            if let SpanOf::Attempt { end: AttemptEnd::Failed { message, .. }, .. } = &mut of {
                shorten(message);
            }
            if self.queue.try_send(Record { trace, task, template, begun, ended, of }).is_err() {
                self.counts.found_full.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn shorten(message: &mut Box<str>) {
    if message.len() > ERROR_BYTES_MAX {
        *message = message[..message.floor_char_boundary(ERROR_BYTES_MAX)].into();
    }
}

#[cfg(test)]
mod tests {
    use tasker_engine::{Backoff, StepTemplate, TaskLabels, TaskState, TemplateKey};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_finds_the_queue_full_is_dropped_and_counted() {
        let (queue, mut waiting) = tokio::sync::mpsc::channel(2);
        let tracer = Tracer::new(queue, Sampling { one_in: 1 });
        let key = TemplateKey { namespace: "shop".into(), name: "one".into(), version: "1.0.0".into() };
        let step = StepTemplate {
            name: "a".into(),
            handler_class: "Handler".into(),
            retryable: true,
            retry_limit: 3,
            backoff: Backoff::default(),
            skippable: false,
            timeout_ms: 1_000,
            inputs: "{}".into(),
            custom_events: Box::default(),
            dependent_system: None,
        };
        let template = Arc::new(Template::new(key, vec![(step, Vec::new())]).expect("a valid template"));
        let span = |number: u128| Span {
            task: TaskId(Uuid::from_u128(number)),
            template: template.clone(),
            labels: Arc::new(TaskLabels::default()),
            begun: Wall(1),
            ended: Wall(2),
            of: SpanOf::Task { state: TaskState::Complete },
        };
        tracer.tell((1..=5).map(span).collect());
        assert_eq!(tracer.counts().found_full(), 3);
        let kept = [waiting.try_recv(), waiting.try_recv()].map(|record| record.expect("it is there").task.0.as_u128());
        assert_eq!(kept, [1, 2]);
        tracer.tell(vec![span(6)]);
        assert_eq!((waiting.try_recv().is_ok(), tracer.counts().found_full()), (true, 3), "there is room again");
        drop(waiting);
        tracer.tell(vec![span(7)]);
        assert_eq!(tracer.counts().found_full(), 4, "nobody sends any more");
    }

    #[test]
    fn long_errors_are_cut_between_characters() {
        let mut text: Box<str> = "é".repeat(600).into();
        shorten(&mut text);
        assert_eq!(text.len(), 1_024);
        let mut text: Box<str> = format!("x{text}").into();
        shorten(&mut text);
        assert_eq!(text.len(), 1_023);
    }
}

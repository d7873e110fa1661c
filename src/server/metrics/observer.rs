//! Whoever watches a broker: reads what is counted, and asks the loop for what only it knows.

use std::sync::Arc;
use std::time::Duration;

use tasker_engine::EngineFigures;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::{Counts, Metrics, Minute, TemplateCounts};
use crate::gateway::{Traffic, TrafficCounts};
use crate::otel;
use crate::server::event_loop::Input;

/// How long the loop is waited for. It answers within a turn, unless it is busy with a replay.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the loop is asked.
#[derive(Debug)]
pub(crate) enum Question {
    Figures(oneshot::Sender<Figures>),
    History(oneshot::Sender<Vec<Minute>>),
}

/// What the loop knows at a moment.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Of the engine.
    pub engine: EngineFigures,
    /// What was counted of each of its templates, in the same order.
    pub templates: Vec<TemplateCounts>,
}

/// Watches a broker, also after it has ended.
#[derive(Clone, Debug)]
pub struct Observer {
    metrics: Arc<Metrics>,
    traffic: Arc<Traffic>,
    spans: Option<Arc<otel::Counts>>,
    inputs: UnboundedSender<Input>,
}

impl Observer {
    pub(crate) fn new(
        metrics: Arc<Metrics>,
        traffic: Arc<Traffic>,
        spans: Option<Arc<otel::Counts>>,
        inputs: UnboundedSender<Input>,
    ) -> Observer {
        Observer { metrics, traffic, spans, inputs }
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.metrics.counts()
    }

    /// The label under which a namespace is counted.
    pub fn label<'a>(&self, namespace: &'a str) -> &'a str {
        self.metrics.label(namespace)
    }

    /// What came and went.
    pub fn traffic(&self) -> TrafficCounts {
        self.traffic.counts()
    }

    /// What became of spans, where the broker traces.
    pub fn spans(&self) -> Option<&otel::Counts> {
        self.spans.as_deref()
    }

    /// How it is with tasks, steps and workers; nothing when the loop does not answer within a second. To be awaited in a
    /// runtime with a clock.
    pub async fn figures(&self) -> Option<Figures> {
        self.ask(Question::Figures).await
    }

    /// The minutes of the last day that are over, oldest first; nothing when the loop does not answer within a second.
    pub async fn history(&self) -> Option<Vec<Minute>> {
        self.ask(Question::History).await
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
        let (to, answer) = oneshot::channel();
        self.inputs.send(Input::Look(question(to))).ok()?;
        tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()
    }
}

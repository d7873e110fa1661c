//! The loop's side of what is counted: what is shared, what it keeps for itself (counts by template, the last hours), and
//! the counting of a group that is durable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tasker_engine::{Engine, Mark, Now, TaskState, TemplateKey};

use super::history::History;
use super::observer::{Figures, Question};
use super::{Metrics, TASK_ENDS, Tally, TemplateCounts};

/// All that the loop counts.
#[derive(Debug)]
pub(crate) struct Numbers {
    shared: Arc<Metrics>,
    /// In the engine's order.
    templates: Vec<Template>,
    history: History,
}

#[derive(Debug)]
struct Template {
    key: TemplateKey,
    /// Of its namespace, among the shared counts.
    place: usize,
    counts: TemplateCounts,
}

impl Numbers {
    pub fn new(shared: Arc<Metrics>) -> Numbers {
        Numbers { shared, templates: Vec::new(), history: History::new(Instant::now()) }
    }

    pub fn shared(&self) -> &Metrics {
        &self.shared
    }

    /// Counts a group that has become durable.
    pub fn group_committed(&mut self, engine: &Engine, marks: &[Mark], tally: &Tally, rows: u32, took: Duration) {
        self.shared.group_committed(tally, rows, took);
        self.meet(engine);
        self.history.turn_to(Instant::now());
        for mark in marks {
            self.count(*mark);
        }
    }

    /// Remembers what is to be seen in the minutes in which nothing happens.
    pub fn note_steps(&mut self, engine: &Engine) {
        self.history.note_steps(Instant::now(), engine.steps_now());
    }

    /// Another engine has taken over, which may number templates otherwise.
    pub fn follow(&mut self, engine: &Engine) {
        let mut before = std::mem::take(&mut self.templates);
        self.meet(engine);
        for template in &mut self.templates {
            if let Some(known) = before.iter_mut().find(|known| known.key == template.key) {
                template.counts = std::mem::take(&mut known.counts);
            }
        }
    }

    /// Answers whoever watches. Nobody may be waiting any more.
    pub fn answer(&mut self, question: Question, engine: &Engine, now: Now) {
        match question {
            Question::Figures(to) => {
                self.meet(engine);
                let templates = self.templates.iter().map(|template| template.counts.clone()).collect();
                let _ = to.send(Figures { engine: engine.figures(now), templates });
            }
            Question::History(to) => {
                let _ = to.send(self.history.minutes(Instant::now()));
            }
        }
    }

    /// Learns of templates that are new.
    fn meet(&mut self, engine: &Engine) {
        for key in engine.template_keys(self.templates.len()) {
            let place = self.shared.place(&key.namespace);
            self.templates.push(Template { key: key.clone(), place, counts: TemplateCounts::default() });
        }
    }

    fn count(&mut self, mark: Mark) {
        let (Mark::TaskCreated { template }
        | Mark::TaskEnded { template, .. }
        | Mark::StepDispatched { template, .. }
        | Mark::StepEnded { template, .. }) = mark;
        let Some(Template { place, counts, .. }) = self.templates.get_mut(template as usize) else { return };
        let namespace = &self.shared.namespaces[*place];
        match mark {
            Mark::TaskCreated { .. } => {
                counts.tasks_created += 1;
                namespace.tasks_created.add(1);
            }
            Mark::TaskEnded { state, lived_ms, .. } => {
                let Some(end) = end_of(state) else { return };
                counts.tasks_ended[end] += 1;
                namespace.tasks_ended[end].add(1);
                self.shared.lived_us.add(lived_ms.saturating_mul(1_000));
            }
            Mark::StepDispatched { queued_ms, .. } => {
                counts.steps_dispatched += 1;
                namespace.steps_dispatched.add(1);
                self.shared.queued_us.add(queued_ms.saturating_mul(1_000));
            }
            Mark::StepEnded { end, ran_us, .. } => {
                counts.steps_ended[end as usize] += 1;
                namespace.steps_ended[end as usize].add(1);
                if end.has_run() {
                    self.shared.ran_us.add(ran_us);
                }
            }
        }
        self.history.count(mark);
    }
}

/// The place of a final state.
pub(super) fn end_of(state: TaskState) -> Option<usize> {
    TASK_ENDS.iter().position(|&end| end == state)
}

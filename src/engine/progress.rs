//! What a running step says about how far it is. It is kept in memory with the open attempt, the latest instead of the one
//! before, and decides nothing.

use bytes::Bytes;

use crate::batch::{Batch, ItemStatus};
use crate::delivery::{Notice, NoticeKind, StepProgress};
use crate::effect::Effects;
use crate::engine::Engine;
use crate::event::StepReference;
use crate::id::{PeerId, TaskId};
use crate::step::Phase;
use crate::task::{Task, count};
use crate::time::Now;

impl Engine {
    /// Takes what is said of an open attempt, and no notice of anything else: nobody waits for an answer, and a heartbeat
    /// finds out sooner or later that a worker is not known.
    pub(crate) fn step_progressed(
        &mut self,
        now: Now,
        peer: PeerId,
        at: &StepReference,
        progress: Bytes,
        out: &mut Effects,
    ) {
        let Some(registration) = self.see(now, peer) else { return };
        let Some(index) = self.find_item(0, registration, at) else { return };
        let batch = self.batches.get_mut(at.batch).expect("the item was found in it");
        let item = &batch.items[index];
        if item.status != ItemStatus::Open {
            return;
        }
        let task = &self.tasks[&item.task];
        out.publish(Notice {
            batch: Some(at.batch),
            custom: Some(Box::new((item.name().clone(), progress.clone()))),
            ..task.step_notice(NoticeKind::StepProgressed, item.step)
        });
        batch.progress.insert(index, progress);
    }

    /// What the open attempt of a step said last.
    pub(crate) fn progress_of(&self, task: &Task, number: u32) -> Option<&Bytes> {
        let Phase::Dispatched(batch) = task.step(number).phase() else { return None };
        self.batches.get(batch)?.progress_of(task.id, number)
    }

    /// What the open attempts of a task said last, in order of their steps.
    pub(crate) fn progress_of_all(&self, task: &Task) -> Vec<StepProgress> {
        let said = |step| {
            let progress = self.progress_of(task, step)?.clone();
            Some(StepProgress { step, attempt: task.step(step).attempts, progress })
        };
        (0..count(task.steps.len())).filter_map(said).collect()
    }
}

impl Batch {
    fn progress_of(&self, task: TaskId, step: u32) -> Option<&Bytes> {
        let said = self.progress.iter().find(|&(&index, _)| {
            let item = &self.items[index];
            item.task == task && item.step == step && item.status == ItemStatus::Open
        });
        said.map(|(_, progress)| progress)
    }
}

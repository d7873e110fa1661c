//! What is known of a task: the status read last, moved on by the events since.

use std::collections::HashMap;

use uuid::Uuid;

use crate::protocol::{Event, StepSummary, TaskStatusReport, TaskSummary};

/// The known state of a task and its steps.
pub(super) struct Board {
    pub(super) task: TaskSummary,
    pub(super) steps: Vec<StepSummary>,
    numbers: HashMap<String, usize>,
}

impl Board {
    pub(super) fn new(report: TaskStatusReport) -> Board {
        let numbers = report.steps.iter().enumerate().map(|(number, step)| (step.name.clone(), number)).collect();
        Board { task: report.task, steps: report.steps, numbers }
    }

    pub(super) fn task_id(&self) -> Uuid {
        self.task.task_id
    }

    pub(super) fn state(&self) -> &str {
        &self.task.state
    }

    /// How many steps need no more work.
    pub(super) fn done(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step.state.as_str(), "complete" | "resolved_manually")).count()
    }

    /// Takes over a newer status. Returns the numbers of the steps that changed.
    pub(super) fn replace(&mut self, report: TaskStatusReport) -> Vec<usize> {
        let old = std::mem::replace(self, Board::new(report));
        let changed = |number: &usize| {
            let (was, is) = (old.steps.get(*number), &self.steps[*number]);
            was.is_none_or(|was| (&was.state, was.attempts) != (&is.state, is.attempts))
        };
        (0..self.steps.len()).filter(changed).collect()
    }

    /// Moves on by an event of this task. Returns the numbers of the steps that changed, or `None` when the status
    /// must be read: the event tells of more than one step's advance.
    pub(super) fn apply(&mut self, event: &Event) -> Option<Vec<usize>> {
        let name = event.step.as_ref()?;
        let number = *self.numbers.get(name)?;
        let state = event.state.as_ref()?;
        let step = &mut self.steps[number];
        let attempts = event.attempt.unwrap_or(step.attempts);
        // Events from before the status was read: the board is ahead of them.
        if (attempts, rank(state)) <= (step.attempts, rank(&step.state)) {
            return Some(Vec::new());
        }
        step.state.clone_from(state);
        step.attempts = attempts;
        step.ready = false;
        step.retry_in_ms = None;
        if event.worker.is_some() {
            step.worker.clone_from(&event.worker);
        }
        if matches!(state.as_str(), "error" | "waiting_for_retry") {
            step.error_message.clone_from(&event.reason);
        }
        Some(vec![number])
    }
}

/// How far an attempt is in this state.
fn rank(state: &str) -> u8 {
    match state {
        "pending" => 0,
        "in_progress" => 1,
        "waiting_for_retry" => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Board {
        let step = |name: &str, state: &str, attempts| StepSummary {
            name: name.to_owned(),
            state: state.to_owned(),
            attempts,
            ..StepSummary::default()
        };
        let steps = vec![step("a", "complete", 1), step("b", "in_progress", 1), step("c", "pending", 0)];
        Board::new(TaskStatusReport { correlation_id: Uuid::nil(), task: TaskSummary::default(), steps })
    }

    fn event(step: Option<&str>, state: &str, attempt: u32) -> Event {
        Event {
            step: step.map(str::to_owned),
            state: Some(state.to_owned()),
            attempt: Some(attempt),
            ..Event::default()
        }
    }

    #[test]
    fn events_move_steps_on_and_never_back() {
        let mut board = board();
        assert_eq!(board.done(), 1);
        for (name, state, attempt, changes) in [
            ("b", "waiting_for_retry", 1, vec![1]),
            ("b", "in_progress", 1, vec![]),
            ("b", "in_progress", 2, vec![1]),
            ("b", "complete", 2, vec![1]),
            ("a", "in_progress", 1, vec![]),
            ("c", "in_progress", 1, vec![2]),
        ] {
            assert_eq!(board.apply(&event(Some(name), state, attempt)), Some(changes), "{name} {state} {attempt}");
        }
        let states: Vec<&str> = board.steps.iter().map(|step| step.state.as_str()).collect();
        assert_eq!(states, ["complete", "complete", "in_progress"]);
        assert_eq!(board.done(), 2);
    }

    #[test]
    fn what_is_more_than_one_steps_advance_needs_the_status() {
        assert_eq!(board().apply(&event(None, "complete", 1)), None);
        assert_eq!(board().apply(&event(Some("unknown"), "complete", 1)), None);
    }

    #[test]
    fn a_newer_status_tells_which_steps_changed() {
        let mut board = board();
        let mut steps = board.steps.clone();
        steps[1].state = "complete".to_owned();
        let report = TaskStatusReport { correlation_id: Uuid::nil(), task: TaskSummary::default(), steps };
        assert_eq!(board.replace(report.clone()), [1]);
        assert!(board.replace(report).is_empty());
    }
}

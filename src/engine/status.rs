//! What counts of steps mean for people: execution status, recommended action, health. The SQL views say the same.

use crate::report::StepCounts;
use crate::state::TaskState;

impl StepCounts {
    /// All steps.
    pub fn total(&self) -> u32 {
        self.pending
            + self.in_progress
            + self.complete
            + self.error
            + self.cancelled
            + self.resolved_manually
            + self.waiting_for_retry
    }

    /// Where the task stands, in one word.
    pub fn execution_status(&self, state: TaskState) -> &'static str {
        if self.complete + self.resolved_manually == self.total() {
            "all_complete"
        } else if state == TaskState::Cancelled {
            "blocked_by_failures"
        } else if self.ready > 0 {
            "has_ready_steps"
        } else if self.in_progress > 0 {
            "processing"
        } else if self.waiting_for_retry > 0 {
            "waiting_for_retry"
        } else if self.error > 0 {
            "blocked_by_failures"
        } else {
            "waiting_for_dependencies"
        }
    }

    /// What to do about it.
    pub fn recommended_action(&self, state: TaskState) -> &'static str {
        match self.execution_status(state) {
            "has_ready_steps" => "execute_ready_steps",
            "processing" => "wait_for_completion",
            "waiting_for_retry" => "wait_for_retry",
            "waiting_for_dependencies" => "wait_for_dependencies",
            "blocked_by_failures" if state != TaskState::Cancelled => "handle_failures",
            _ => "none",
        }
    }

    /// `healthy`, `recovering` or `blocked`.
    pub fn health(&self) -> &'static str {
        if self.error > 0 && self.ready + self.in_progress + self.waiting_for_retry == 0 {
            "blocked"
        } else if self.error + self.waiting_for_retry > 0 {
            "recovering"
        } else {
            "healthy"
        }
    }

    /// Share of steps that are complete or resolved, 0 to 100 with two decimals.
    pub fn completion_percentage(&self) -> f64 {
        let total = self.total();
        if total == 0 {
            return 100.0;
        }
        (f64::from(self.complete + self.resolved_manually) * 10_000.0 / f64::from(total)).round() / 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_become_words() {
        let zero = StepCounts::default();
        let running = TaskState::InProgress;
        for (counts, state, expected) in [
            (StepCounts { complete: 4, ..zero }, TaskState::Complete, "all_complete none healthy 100"),
            (StepCounts { pending: 2, ready: 1, ..zero }, running, "has_ready_steps execute_ready_steps healthy 0"),
            (
                StepCounts { complete: 1, in_progress: 1, pending: 1, ..zero },
                running,
                "processing wait_for_completion healthy 33.33",
            ),
            (StepCounts { waiting_for_retry: 1, ..zero }, running, "waiting_for_retry wait_for_retry recovering 0"),
            (
                StepCounts { error: 1, pending: 1, ..zero },
                TaskState::Error,
                "blocked_by_failures handle_failures blocked 0",
            ),
            (StepCounts { error: 1, in_progress: 1, ..zero }, running, "processing wait_for_completion recovering 0"),
            (
                StepCounts { pending: 1, ..zero },
                TaskState::Pending,
                "waiting_for_dependencies wait_for_dependencies healthy 0",
            ),
            (StepCounts { cancelled: 1, ..zero }, TaskState::Cancelled, "blocked_by_failures none healthy 0"),
        ] {
            let words = format!(
                "{} {} {} {}",
                counts.execution_status(state),
                counts.recommended_action(state),
                counts.health(),
                counts.completion_percentage()
            );
            assert_eq!(words, expected, "{counts:?}");
        }
    }
}

//! A task's status as text and as JSON.

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::cli::output::{Table, one_line, or_dash};
use crate::cli::time::{format_between, format_ms, format_us};
use crate::protocol::{JsonText, StepCounts, StepSummary, TaskStatusReport, TaskSummary};

/// Longest error message in a table, in characters; JSON has all of it.
const ERROR_CHARS_MAX: usize = 100;
/// What a running step says about how far it is, likewise.
const PROGRESS_CHARS_MAX: usize = 60;

/// A report whose results, and what steps say about how far they are, are JSON values, digit for digit, and not strings of JSON.
#[derive(Serialize)]
pub(super) struct JsonReport<'a> {
    correlation_id: Uuid,
    task: &'a TaskSummary,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<JsonStep>,
}

/// A step of it.
#[derive(Serialize)]
pub(super) struct JsonStep {
    #[serde(flatten)]
    summary: StepSummary,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Box<RawValue>>,
}

impl JsonReport<'_> {
    pub(super) fn new(report: &TaskStatusReport) -> JsonReport<'_> {
        JsonReport {
            correlation_id: report.correlation_id,
            task: &report.task,
            steps: report.steps.iter().map(JsonStep::new).collect(),
        }
    }
}

impl JsonStep {
    pub(super) fn new(step: &StepSummary) -> JsonStep {
        JsonStep {
            result: step.result.as_ref().map(JsonText::to_raw),
            progress: step.progress.as_ref().map(JsonText::to_raw),
            summary: StepSummary { result: None, progress: None, ..step.clone() },
        }
    }
}

/// The whole report as text.
pub(super) fn describe(report: &TaskStatusReport) -> String {
    let mut text = describe_task(&report.task);
    if !report.steps.is_empty() {
        text.push('\n');
        text.push_str(&steps(&report.steps).render());
    }
    let results: Vec<&StepSummary> = report.steps.iter().filter(|step| step.result.is_some()).collect();
    if !results.is_empty() {
        text.push('\n');
        let mut table = Table::new(&["STEP", "RESULT"]);
        for step in results {
            let result = step.result.as_ref().map(|result| one_line(result.as_str(), usize::MAX - 1));
            table.row([step.name.clone(), result.unwrap_or_default()]);
        }
        text.push_str(&table.render());
    }
    text
}

/// The task alone.
pub(super) fn describe_task(task: &TaskSummary) -> String {
    let mut text = format!(
        "task      {}\ntemplate  {}/{}@{}\nstate     {}\nsteps     {:.2} % done: {}\nhealth    {} ({})\n",
        task.task_id,
        task.namespace,
        task.name,
        task.version,
        task.state,
        task.completion_percentage,
        count(&task.counts),
        task.health,
        task.execution_status,
    );
    if task.recommended_action != "none" {
        text.push_str(&format!("advice    {}\n", task.recommended_action));
    }
    if task.priority != 0 {
        text.push_str(&format!("priority  {}\n", task.priority));
    }
    if !task.tags.is_empty() {
        text.push_str(&format!("tags      {}\n", task.tags.join(", ")));
    }
    text.push_str(&format!("created   {}\n", format_ms(task.created_at_ms)));
    if let Some(run_at_ms) = task.run_at_ms {
        text.push_str(&format!("run at    {}\n", format_ms(run_at_ms)));
    }
    if let Some(finished_at_ms) = task.finished_at_ms {
        let after = format_between(task.created_at_ms, Some(finished_at_ms));
        text.push_str(&format!("finished  {}, after {after}\n", format_ms(finished_at_ms)));
    }
    text
}

/// `2 of 4 complete, 1 in_progress, 1 ready`.
pub(super) fn count(counts: &StepCounts) -> String {
    let waiting = counts.pending.saturating_sub(counts.ready);
    let parts = [
        (counts.in_progress, "in_progress"),
        (counts.ready, "ready"),
        (waiting, "pending"),
        (counts.waiting_for_retry, "waiting_for_retry"),
        (counts.error, "error"),
        (counts.cancelled, "cancelled"),
        (counts.resolved_manually, "resolved_manually"),
    ];
    let mut text = format!("{} of {} complete", counts.complete, counts.total);
    for (number, name) in parts {
        if number > 0 {
            text.push_str(&format!(", {number} {name}"));
        }
    }
    text
}

fn steps(steps: &[StepSummary]) -> Table {
    let mut table = Table::new(&["STEP", "STATE", "ATTEMPTS", "WORKER", "DURATION", "ERROR"]);
    for step in steps {
        table.row([
            step.name.clone(),
            state(step),
            format!("{}/{}", step.attempts, step.retry_limit),
            or_dash(step.worker.as_deref()),
            or_dash(step.duration_us.map(format_us)),
            error(step).unwrap_or_default(),
        ]);
    }
    table
}

/// The state, and what it waits for, or how far it is.
fn state(step: &StepSummary) -> String {
    match (step.retry_in_ms, &step.progress) {
        (Some(delay_ms), _) => format!("{} (in {})", step.state, format_us(delay_ms.saturating_mul(1_000))),
        (None, Some(said)) => format!("{} ({})", step.state, one_line(said.as_str(), PROGRESS_CHARS_MAX)),
        (None, None) if step.ready => format!("{} (ready)", step.state),
        (None, None) => step.state.clone(),
    }
}

/// `Class [CODE]: message`.
pub(super) fn error(step: &StepSummary) -> Option<String> {
    let class = step.error_class.as_deref()?;
    let code = step.error_code.as_ref().map(|code| format!(" [{code}]")).unwrap_or_default();
    let message = step.error_message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    Some(one_line(&format!("{class}{code}{message}"), ERROR_CHARS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> TaskStatusReport {
        let task = TaskSummary {
            namespace: "shop".to_owned(),
            name: "order".to_owned(),
            version: "1.0.0".to_owned(),
            state: "in_progress".to_owned(),
            counts: StepCounts { total: 3, pending: 1, complete: 1, waiting_for_retry: 1, ..StepCounts::default() },
            execution_status: "waiting_for_retry".to_owned(),
            recommended_action: "wait_for_retry".to_owned(),
            completion_percentage: 33.33,
            health: "recovering".to_owned(),
            ..TaskSummary::default()
        };
        let step = |name: &str, state: &str, attempts| StepSummary {
            name: name.to_owned(),
            state: state.to_owned(),
            attempts,
            retry_limit: 3,
            ..StepSummary::default()
        };
        let validate = StepSummary {
            worker: Some("a".to_owned()),
            duration_us: Some(1_500),
            result: Some(JsonText::new("{\"total\": 209.970,\n \"id\":340282366920938463463374607431768211456}")),
            ..step("validate", "complete", 1)
        };
        let reserve = StepSummary {
            retry_in_ms: Some(2_000),
            error_class: Some("OutOfStock".to_owned()),
            error_code: Some("E1".to_owned()),
            error_message: Some("none\nleft".to_owned()),
            ..step("reserve", "waiting_for_retry", 1)
        };
        let charge = StepSummary {
            progress: Some(JsonText::new("{\"done\": 1.0,\n \"of\": 4}")),
            ..step("charge", "in_progress", 1)
        };
        TaskStatusReport {
            correlation_id: Uuid::nil(),
            task,
            steps: vec![validate, reserve, charge, step("ship", "pending", 0)],
        }
    }

    #[test]
    fn text_has_the_task_its_steps_and_their_results() {
        let expected = "\
task      00000000-0000-0000-0000-000000000000
template  shop/order@1.0.0
state     in_progress
steps     33.33 % done: 1 of 3 complete, 1 pending, 1 waiting_for_retry
health    recovering (waiting_for_retry)
advice    wait_for_retry
created   1970-01-01T00:00:00.000Z

STEP      STATE                                  ATTEMPTS  WORKER  DURATION  ERROR
validate  complete                               1/3       a       1.5 ms
reserve   waiting_for_retry (in 2.00 s)          1/3       -       -         OutOfStock [E1]: none left
charge    in_progress ({\"done\": 1.0,  \"of\": 4})  1/3       -       -
ship      pending                                0/3       -       -

STEP      RESULT
validate  {\"total\": 209.970,  \"id\":340282366920938463463374607431768211456}
";
        assert_eq!(describe(&report()), expected);
    }

    #[test]
    fn json_has_results_as_values_digit_for_digit() {
        let text = serde_json::to_string(&JsonReport::new(&report())).expect("serialize");
        let result = "\"result\":{\"total\": 209.970,\n \"id\":340282366920938463463374607431768211456}}";
        assert!(text.contains(result), "{text}");
        assert_eq!(text.matches("\"result\"").count(), 1);
        assert!(text.contains("\"progress\":{\"done\": 1.0,\n \"of\": 4}}"), "{text}");
        assert_eq!(text.matches("\"progress\"").count(), 1);
    }
}

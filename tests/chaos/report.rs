//! What a round has to tell: how often steps ran more than once, and why they were allowed to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::support::Database;

use super::plan::Plan;
use super::submitter::Submitted;

#[derive(Default)]
pub struct Report {
    pub seed: u64,
    pub plan: String,
    pub took: Duration,
    pub executions: i64,
    /// Executions of an attempt that was begun before, by the reason for which it had come back.
    pub same_attempt: BTreeMap<String, i64>,
    /// Executions of a further attempt, by the cause that ended the one before.
    pub further_attempts: BTreeMap<String, i64>,
    /// Looks into the database by handlers, and those that found it away.
    pub witnessed: (i64, i64),
    pub requests_repeated: usize,
    pub tasks_known_already: usize,
}

impl Report {
    pub fn of(plan: &Plan, took: Duration, database: &Database, submitted: &Submitted) -> Report {
        let counts = |sql: &str| {
            let counted = database.texts(sql).into_iter().map(|line| {
                let (count, reason) = line.split_once(' ').expect("a count and a reason");
                (reason.to_owned(), count.parse().expect("a count"))
            });
            counted.collect::<BTreeMap<String, i64>>()
        };
        let number =
            |phase: &str| database.number(&format!("SELECT count(*) FROM chaos.ledger WHERE phase = '{phase}'"));
        Report {
            seed: plan.seed,
            plan: plan.to_string(),
            took,
            executions: number("begun"),
            same_attempt: counts(
                "SELECT concat(sum(tried.repeated), ' ', tried.reasons) FROM (
                     SELECT count(*) - 1 AS repeated, (
                         SELECT string_agg(DISTINCT back.reason, ' + ') FROM tasker.step_returns AS back
                         JOIN tasker.steps AS step USING (task_id, step_number)
                         WHERE back.task_id = note.task_id AND step.name = note.step AND back.attempt = note.attempt
                     ) AS reasons
                     FROM chaos.ledger AS note WHERE note.phase = 'begun'
                     GROUP BY note.task_id, note.step, note.attempt HAVING count(*) > 1
                 ) AS tried GROUP BY tried.reasons",
            ),
            further_attempts: counts(
                "SELECT concat(count(*), ' ', failure.cause) FROM (
                     SELECT DISTINCT task_id, step, attempt FROM chaos.ledger WHERE phase = 'begun' AND attempt > 1
                 ) AS tried JOIN tasker.steps AS step ON step.task_id = tried.task_id AND step.name = tried.step
                 JOIN tasker.step_attempts_failed AS failure ON failure.task_id = tried.task_id
                  AND failure.step_number = step.step_number AND failure.attempt = tried.attempt - 1
                 GROUP BY failure.cause",
            ),
            witnessed: (number("saw"), number("blind")),
            requests_repeated: submitted.repeated,
            tasks_known_already: submitted.known_already,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {:>4}  {:>5.1} s  {:>5} runs", self.seed, self.took.as_secs_f64(), self.executions)?;
        write!(f, ", same attempt again {}", Counts(&self.same_attempt))?;
        write!(f, ", further attempts {}", Counts(&self.further_attempts))?;
        write!(f, ", {} witnessed ({} blind)", self.witnessed.0, self.witnessed.1)?;
        write!(f, ", {} requests repeated ({} tasks known)", self.requests_repeated, self.tasks_known_already)?;
        write!(f, "  [{}]", self.plan)
    }
}

struct Counts<'a>(&'a BTreeMap<String, i64>);

impl fmt::Display for Counts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.values().sum::<i64>())?;
        let reasons: Vec<String> = self.0.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        if reasons.is_empty() { Ok(()) } else { write!(f, " ({})", reasons.join(", ")) }
    }
}

/// A table over all rounds.
pub fn summary(reports: &[Report]) -> String {
    let mut total = Report::default();
    for report in reports {
        total.took += report.took;
        total.executions += report.executions;
        for (sum, part) in
            [(&mut total.same_attempt, &report.same_attempt), (&mut total.further_attempts, &report.further_attempts)]
        {
            part.iter().for_each(|(reason, count)| *sum.entry(reason.clone()).or_default() += count);
        }
        total.witnessed.0 += report.witnessed.0;
        total.witnessed.1 += report.witnessed.1;
        total.requests_repeated += report.requests_repeated;
        total.tasks_known_already += report.tasks_known_already;
    }
    let mut lines = vec![
        format!("{:>8}  rounds in {:.0} s", reports.len(), total.took.as_secs_f64()),
        format!("{:>8}  executions of steps", total.executions),
    ];
    let repeats = total.same_attempt.iter().map(|(reason, count)| format!("{count:>8}  same attempt again: {reason}"));
    lines.extend(repeats);
    let further = total.further_attempts.iter();
    lines.extend(further.map(|(cause, count)| format!("{count:>8}  further attempt after: {cause}")));
    lines.push(format!("{:>8}  looks of handlers into the database", total.witnessed.0));
    lines.push(format!("{:>8}  submissions repeated", total.requests_repeated));
    lines.push(format!("{:>8}  tasks that an unanswered submission had made", total.tasks_known_already));
    lines.join("\n")
}

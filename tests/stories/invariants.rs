//! What must hold in the database after everything that was asked for has ended: each query counts violations. None of
//! them asks the broker or trusts a view of its own where the rows can be compared with each other instead.

#![allow(dead_code, reason = "the stories and the chaos rounds each use their own part")]

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::support::Database;

/// A promise, the query that counts where it is broken, and a corruption that it must see.
pub struct Invariant {
    pub name: &'static str,
    pub violations: &'static str,
    pub corruption: &'static str,
}

/// The one that a worker breaks which contradicts itself.
pub const CLOSINGS_AGREE: &str = "a worker's closing report and its results say the same";

/// Each try of a step that was settled or failed, with the group that recorded it.
const TRIES: &str = "(
    SELECT task_id, step_number, attempt, batch_id, seq, true AS success FROM tasker.step_outcomes WHERE kind = 'complete'
    UNION ALL
    SELECT task_id, step_number, attempt, batch_id, seq, false FROM tasker.step_attempts_failed
) AS try";

/// Each dispatched step with its batch's group.
const DISPATCHES: &str = "(
    SELECT item.task_id, item.step_number, item.attempt, batch.batch_id, batch.seq
    FROM tasker.batches AS batch
    CROSS JOIN LATERAL unnest(batch.task_ids, batch.step_numbers, batch.attempts) AS item (task_id, step_number, attempt)
) AS dispatch";

/// Every row that says which group wrote it.
const GROUP_ROWS: &str = "(
    SELECT lane, created_seq AS seq FROM tasker.tasks
    UNION ALL SELECT lane, seq FROM tasker.batches
    UNION ALL SELECT lane, seq FROM tasker.batch_closings
    UNION ALL SELECT lane, seq FROM tasker.step_outcomes
    UNION ALL SELECT lane, seq FROM tasker.step_attempts_failed
    UNION ALL SELECT lane, seq FROM tasker.step_returns
    UNION ALL SELECT lane, seq FROM tasker.received_results
    UNION ALL SELECT lane, seq FROM tasker.operator_actions
    UNION ALL SELECT lane, seq FROM tasker.fleet_actions
    UNION ALL SELECT lane, seq FROM tasker.worker_registrations
    UNION ALL SELECT lane, seq FROM tasker.commands
) AS written";

/// A step of the task on which the corruptions are tried.
const STEP: &str = "task_id = (SELECT min(task_id::text)::uuid FROM tasker.tasks) AND step_number";

pub const INVARIANTS: [Invariant; 19] = [
    Invariant {
        name: "every task has ended",
        violations: "SELECT count(*) FROM tasker.tasks WHERE final_state IS NULL",
        corruption: "UPDATE tasker.tasks SET final_state = NULL, finished_seq = NULL, finished_at = NULL",
    },
    Invariant {
        name: "the group that ended a task is in the log",
        violations: "SELECT count(*) FROM tasker.tasks AS task WHERE final_state IS NOT NULL AND NOT EXISTS (
                         SELECT FROM tasker.group_log AS log WHERE log.lane = task.lane AND log.seq = task.finished_seq)",
        corruption: "UPDATE tasker.tasks SET finished_seq = finished_seq + 1000000",
    },
    Invariant {
        name: "every step of a finished task has exactly one outcome, and no task ends before its last",
        violations: "SELECT count(*) FROM tasker.tasks AS task JOIN tasker.steps AS step USING (task_id)
                     LEFT JOIN tasker.step_outcomes AS outcome USING (task_id, step_number)
                     WHERE task.final_state IN ('complete', 'resolved_manually')
                       AND (outcome.task_id IS NULL OR outcome.seq > task.finished_seq)",
        corruption: "DELETE FROM tasker.step_outcomes WHERE {step} = 1",
    },
    Invariant {
        name: "attempts count from 1 without a gap, and only the last is a success",
        violations: "SELECT count(*) FROM (
                         SELECT FROM {tries} GROUP BY task_id, step_number
                         HAVING count(*) <> max(attempt) OR min(attempt) <> 1 OR count(DISTINCT attempt) <> count(*)
                             OR count(*) FILTER (WHERE success) > 1
                             OR max(attempt) FILTER (WHERE success) < max(attempt)) AS broken",
        corruption: "UPDATE tasker.step_outcomes SET attempt = 3 WHERE {step} = 1",
    },
    Invariant {
        // A step that fits no message is never sent: its try begins and ends in one group.
        name: "every try was dispatched, in an earlier group, to the worker that is named",
        violations: "SELECT count(*) FROM {tries} WHERE NOT EXISTS (
                         SELECT FROM tasker.batches AS batch
                         CROSS JOIN LATERAL unnest(batch.task_ids, batch.step_numbers, batch.attempts)
                             AS item (task_id, step_number, attempt)
                         WHERE batch.batch_id = try.batch_id AND item.task_id = try.task_id
                           AND (batch.seq < try.seq OR batch.seq = try.seq AND EXISTS (
                               SELECT FROM tasker.step_attempts_failed AS failure
                               WHERE failure.task_id = try.task_id AND failure.step_number = try.step_number
                                 AND failure.attempt = try.attempt
                                 AND failure.error_class = 'TaskerCore::Errors::StepTooLargeError'))
                           AND item.step_number = try.step_number AND item.attempt = try.attempt)",
        corruption: "UPDATE tasker.step_outcomes SET seq = 1 WHERE {step} = 1",
    },
    Invariant {
        name: "a try follows only when the one before is recorded",
        violations: "SELECT count(*) FROM {dispatches} WHERE dispatch.attempt > 1 AND NOT EXISTS (
                         SELECT FROM tasker.step_attempts_failed AS failure
                         WHERE failure.task_id = dispatch.task_id AND failure.step_number = dispatch.step_number
                           AND failure.attempt = dispatch.attempt - 1 AND failure.seq <= dispatch.seq)",
        corruption: "UPDATE tasker.batches SET attempts = array_fill(2, ARRAY[cardinality(attempts)])",
    },
    Invariant {
        name: "no try is dispatched twice, unless it came back unrun",
        violations: "SELECT count(*) FROM (
                         SELECT task_id, step_number, attempt, count(*) - (
                             SELECT count(*) FROM tasker.step_returns AS back
                             WHERE back.task_id = dispatch.task_id AND back.step_number = dispatch.step_number
                               AND back.attempt = dispatch.attempt) AS times
                         FROM {dispatches} GROUP BY task_id, step_number, attempt) AS tried WHERE times > 1",
        corruption: "INSERT INTO tasker.batches (batch_id, registration_id, seq, deadline, lane, task_ids, step_numbers, attempts)
                     SELECT gen_random_uuid(), registration_id, seq, deadline, lane, task_ids, step_numbers, attempts
                     FROM tasker.batches",
    },
    Invariant {
        name: "a step goes out when all its parents are settled",
        violations: "SELECT count(*) FROM {dispatches} JOIN tasker.tasks AS task USING (task_id)
                     JOIN tasker.template_steps AS definition
                       ON definition.template_id = task.template_id AND definition.step_number = dispatch.step_number
                     CROSS JOIN LATERAL unnest(definition.parents) AS parent (number)
                     WHERE NOT EXISTS (SELECT FROM tasker.step_outcomes AS outcome
                                       WHERE outcome.task_id = dispatch.task_id
                                         AND outcome.step_number = parent.number AND outcome.seq <= dispatch.seq)",
        corruption: "UPDATE tasker.step_outcomes SET seq = 1000000 WHERE {step} = 0",
    },
    Invariant {
        name: "no step has more tries than its limit, and what an operator added",
        violations: "SELECT count(*) FROM tasker.steps AS step WHERE step.retry_limit + coalesce((
                         SELECT max(attempts_before) FROM tasker.operator_actions AS action
                         WHERE action.operation = 'retry' AND action.task_id = step.task_id
                           AND action.step_number = step.step_number), 0) < (
                         SELECT max(attempt) FROM {tries}
                         WHERE try.task_id = step.task_id AND try.step_number = step.step_number)",
        corruption: "INSERT INTO tasker.step_attempts_failed (task_id, batch_id, registration_id, seq, dispatched_at, step_number,
                         attempt, lane, final, cause, error_class, error_message)
                     SELECT task_id, batch_id, registration_id, seq, dispatched_at, step_number, 1000, lane, true, 'failed', '', ''
                     FROM tasker.step_outcomes WHERE {step} = 1",
    },
    Invariant {
        name: "the groups of a lane are counted without a gap, up to what the lane says",
        violations: "SELECT count(*) FROM tasker.lanes AS lane WHERE lane.seq <> (
                         SELECT count(DISTINCT seq) FROM tasker.group_log AS log WHERE log.lane = lane.lane)
                     OR lane.seq <> (SELECT coalesce(max(seq), 0) FROM tasker.group_log AS log WHERE log.lane = lane.lane)
                     OR lane.seq <> (SELECT count(*) FROM tasker.group_log AS log WHERE log.lane = lane.lane)",
        corruption: "DELETE FROM tasker.group_log WHERE seq = 2",
    },
    Invariant {
        name: "epochs never go back",
        violations: "SELECT count(*) FROM (
                         SELECT epoch < lag(epoch) OVER (PARTITION BY lane ORDER BY seq) AS back FROM tasker.group_log
                     ) AS step WHERE back",
        corruption: "UPDATE tasker.group_log SET epoch = 7 WHERE seq = 2",
    },
    Invariant {
        name: "each group has the rows that it declared",
        violations: "SELECT count(*) FROM tasker.group_log AS log
                     FULL JOIN (SELECT lane, seq, count(*) AS rows FROM {group_rows} GROUP BY lane, seq) AS counted
                       ON counted.lane = log.lane AND counted.seq = log.seq
                     WHERE log.row_count IS DISTINCT FROM coalesce(counted.rows, 0)",
        corruption: "DELETE FROM tasker.batch_closings WHERE batch_id = (SELECT min(batch_id::text)::uuid FROM tasker.batches)",
    },
    Invariant {
        name: "a task's end is what its steps make of it",
        violations: "SELECT count(*) FROM tasker.tasks AS task JOIN (
                         SELECT step.task_id,
                                bool_or(outcome.task_id IS NULL) AS unsettled,
                                bool_or(outcome.kind = 'resolved_manually') AS by_hand
                         FROM tasker.steps AS step
                         LEFT JOIN tasker.step_outcomes AS outcome USING (task_id, step_number) GROUP BY step.task_id
                     ) AS steps USING (task_id)
                     WHERE task.final_state NOT IN ('cancelled')
                       AND task.final_state <> CASE WHEN unsettled THEN 'error' WHEN by_hand THEN 'resolved_manually'
                                                    ELSE 'complete' END",
        corruption: "UPDATE tasker.tasks SET final_state = 'error'",
    },
    Invariant {
        name: "a task in error has a step that failed for good, and only such tasks have one",
        violations: "SELECT count(*) FROM tasker.tasks AS task WHERE task.final_state <> 'cancelled'
                     AND (task.final_state = 'error') <> EXISTS (
                         SELECT FROM tasker.step_attempts_failed AS failure
                         WHERE failure.task_id = task.task_id AND failure.final
                           AND NOT EXISTS (SELECT FROM tasker.step_outcomes AS outcome
                                           WHERE outcome.task_id = failure.task_id
                                             AND outcome.step_number = failure.step_number)
                           AND failure.attempt > coalesce((
                               SELECT max(attempts_before) FROM tasker.operator_actions AS action
                               WHERE action.operation = 'retry' AND action.task_id = failure.task_id
                                 AND action.step_number = failure.step_number), 0))",
        corruption: "UPDATE tasker.tasks SET final_state = 'error'",
    },
    Invariant {
        name: "every task has its template and all of its steps",
        violations: "SELECT count(*) FROM tasker.tasks AS task
                     LEFT JOIN tasker.task_templates AS template USING (template_id)
                     WHERE template.template_id IS NULL OR (
                         SELECT count(*) = max(step_number) + 1 FROM tasker.template_steps AS definition
                         WHERE definition.template_id = task.template_id) IS NOT TRUE",
        corruption: "DELETE FROM tasker.template_steps WHERE step_number = 1",
    },
    Invariant {
        name: "no row belongs to a step that does not exist",
        violations: "SELECT count(*) FROM (
                         SELECT task_id, step_number FROM tasker.step_outcomes
                         UNION ALL SELECT task_id, step_number FROM tasker.step_attempts_failed
                         UNION ALL SELECT task_id, step_number FROM tasker.step_returns
                         UNION ALL SELECT task_id, step_number FROM {dispatches}
                     ) AS part WHERE NOT EXISTS (
                         SELECT FROM tasker.steps AS step
                         WHERE step.task_id = part.task_id AND step.step_number = part.step_number)",
        corruption: "DELETE FROM tasker.template_steps WHERE step_number = 3",
    },
    Invariant {
        name: "no row belongs to a task, batch or registration that does not exist",
        violations: "SELECT (SELECT count(*) FROM tasker.step_outcomes AS outcome WHERE NOT EXISTS (
                                 SELECT FROM tasker.tasks AS task WHERE task.task_id = outcome.task_id))
                          + (SELECT count(*) FROM tasker.idempotency_keys AS key WHERE NOT EXISTS (
                                 SELECT FROM tasker.tasks AS task
                                 WHERE task.task_id = key.task_id AND task.idempotency_key = key.key))
                          + (SELECT count(*) FROM tasker.batch_closings AS closing WHERE NOT EXISTS (
                                 SELECT FROM tasker.batches AS batch WHERE batch.batch_id = closing.batch_id))
                          + (SELECT count(*) FROM tasker.batches AS batch WHERE NOT EXISTS (
                                 SELECT FROM tasker.worker_registrations AS registration
                                 WHERE registration.registration_id = batch.registration_id))",
        corruption: "DELETE FROM tasker.worker_registrations",
    },
    Invariant {
        name: "no batch is open at rest",
        violations: "SELECT (SELECT count(*) FROM tasker.batches AS batch WHERE NOT EXISTS (
                                 SELECT FROM tasker.batch_closings AS closing WHERE closing.batch_id = batch.batch_id))
                          + (SELECT count(*) FROM tasker.lanes WHERE oldest_open_batch IS NOT NULL)",
        corruption: "DELETE FROM tasker.batch_closings",
    },
    Invariant {
        name: CLOSINGS_AGREE,
        violations: "SELECT count(*) FROM tasker.batch_closings WHERE differences IS NOT NULL",
        corruption: "UPDATE tasker.batch_closings SET differences = '[]'",
    },
];

impl Invariant {
    /// How often it is broken.
    pub fn count(&self, database: &Database) -> i64 {
        database.number(&self.query())
    }

    /// How often its corruption makes it appear broken, without leaving anything behind.
    pub fn count_corrupted(&self, database: &Database) -> i64 {
        database.number_after(&self.corruption.replace("{step}", STEP), &self.query())
    }

    fn query(&self) -> String {
        let query = self.violations.replace("{tries}", TRIES).replace("{dispatches}", DISPATCHES);
        query.replace("{group_rows}", GROUP_ROWS)
    }
}

/// Asserts all of them. A worker may still close its last batches: call it when the workers have left.
pub fn hold(database: &Database) {
    hold_but(database, "");
}

/// Asserts all of them but one, which a test breaks on purpose.
pub fn hold_but(database: &Database, broken_on_purpose: &str) {
    let broken = broken(database, INVARIANTS.iter().filter(|invariant| invariant.name != broken_on_purpose));
    assert!(broken.is_empty(), "broken: {broken:#?}");
}

/// Those that do not hold, with how often.
pub fn broken<'a>(database: &Database, invariants: impl IntoIterator<Item = &'a Invariant>) -> Vec<String> {
    let counted = invariants.into_iter().map(|invariant| (invariant.name, invariant.count(database)));
    counted.filter(|(_, count)| *count != 0).map(|(name, count)| format!("{count} x {name}")).collect()
}

/// Asserts that the tasks that were acknowledged, and no others, are there.
pub fn exactly_these_tasks(database: &Database, acknowledged: &[Uuid]) {
    let stored = database.texts("SELECT task_id::text FROM tasker.tasks ORDER BY 1");
    let mut expected: Vec<String> = acknowledged.iter().map(Uuid::to_string).collect();
    expected.sort();
    expected.dedup();
    assert_eq!(stored, expected);
}

/// Asserts that the handlers' own account, written to a file, and the database tell the same: each step ran once, and
/// what it returned is what is stored. Returns how many steps each worker process ran.
pub fn ran_once(database: &Database, ledger: &str) -> BTreeMap<String, usize> {
    let mut processes = BTreeMap::new();
    let mut account: Vec<String> = ledger
        .lines()
        .map(|line| {
            let (run, process) = line.rsplit_once(' ').expect("task step attempt result process");
            *processes.entry(process.to_owned()).or_default() += 1;
            run.to_owned()
        })
        .collect();
    account.sort();
    let mut stored = database.texts(
        "SELECT concat_ws(' ', task_id, step.name, outcome.attempt, outcome.result)
         FROM tasker.step_outcomes AS outcome JOIN tasker.steps AS step USING (task_id, step_number)",
    );
    stored.sort();
    let differences = account.iter().filter(|line| stored.binary_search(line).is_err());
    assert_eq!(differences.collect::<Vec<_>>(), Vec::<&String>::new(), "runs that are not stored");
    assert_eq!(account.len(), stored.len(), "runs and stored outcomes");
    processes
}

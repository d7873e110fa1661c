//! What must hold after a round besides the invariants of the database alone: it is compared with what the client was told
//! and with the account that the handlers kept outside of the broker.

use crate::invariants::{self, INVARIANTS, Invariant};
use crate::support::Database;

use super::submitter::Submitted;

/// An execution from its begin on, with its end if it had one.
const RUNS: &str = "(
    SELECT task_id, step.step_number, note.attempt, note.run, note.process FROM chaos.ledger AS note
    JOIN tasker.steps AS step USING (task_id) WHERE step.name = note.step AND note.phase = 'begun'
) AS run";

/// Results as the handlers write them: value, run, and the runs of the parents.
const RESULTS: &str = "(
    SELECT task_id, step_number, attempt, result #>> '{}' AS text, split_part(result #>> '{}', ' ', 1)::bigint AS value,
           split_part(result #>> '{}', ' ', 2) AS run, split_part(result #>> '{}', ' ', 3) AS parents
    FROM tasker.step_outcomes WHERE kind = 'complete'
)";

/// A task on which corruptions are tried.
const TASK: &str = "task_id = (SELECT min(task_id::text)::uuid FROM tasker.tasks)";

pub const CHECKS: [Check; 11] = [
    Check {
        name: "every acknowledged submission is there once, under its key",
        violations: "SELECT count(*) FROM chaos.acknowledged AS told WHERE (
                         SELECT count(*) FROM tasker.tasks AS task WHERE task.idempotency_key = told.key
                     ) <> 1 OR NOT EXISTS (
                         SELECT FROM tasker.tasks AS task JOIN tasker.idempotency_keys AS known USING (task_id)
                         WHERE task.task_id = told.task_id AND task.idempotency_key = told.key AND known.key = told.key)",
        corruption: "DELETE FROM tasker.tasks WHERE task_id = (SELECT min(task_id::text)::uuid FROM chaos.acknowledged)",
    },
    Check {
        name: "everything that was submitted is there once, and nothing else",
        violations: "SELECT count(*) FROM chaos.submitted AS sent FULL JOIN tasker.tasks AS task
                         ON task.idempotency_key = sent.key
                     WHERE sent.key IS NULL OR task.task_id IS NULL OR (
                         SELECT count(*) FROM tasker.tasks AS other WHERE other.idempotency_key = sent.key) > 1",
        corruption: "UPDATE tasker.tasks SET idempotency_key = 'another' WHERE {task}",
    },
    Check {
        name: "no request is left in the inbox",
        violations: "SELECT count(*) FROM tasker.task_inbox",
        corruption: "SELECT tasker.submit_task('chaos', 'chain', '{}')",
    },
    Check {
        name: "tasks end as their template says",
        violations: "SELECT count(*) FROM tasker.tasks AS task JOIN tasker.task_templates AS template USING (template_id)
                     WHERE task.final_state IS DISTINCT FROM
                           CASE template.name WHEN 'broken' THEN 'error' ELSE 'complete' END
                       AND NOT EXISTS (SELECT FROM tasker.operator_actions AS action
                                       WHERE action.operation = 'cancel' AND action.task_id = task.task_id)",
        corruption: "UPDATE tasker.tasks SET final_state = 'cancelled' WHERE {task}",
    },
    Check {
        name: "an accepted result was returned by a handler in that attempt",
        violations: "SELECT count(*) FROM {results} AS result JOIN tasker.steps AS step USING (task_id, step_number)
                     WHERE NOT EXISTS (
                         SELECT FROM chaos.ledger AS note WHERE note.phase = 'returned' AND note.task_id = result.task_id
                           AND note.step = step.name AND note.attempt = result.attempt AND note.text = result.text)",
        corruption: "UPDATE tasker.step_outcomes SET result = '\"7 0123456789abcdef \"' WHERE {task} AND step_number = 0",
    },
    Check {
        name: "a failure of a handler was raised by it in that attempt",
        violations: "SELECT count(*) FROM tasker.step_attempts_failed AS failure
                     JOIN tasker.steps AS step USING (task_id, step_number)
                     WHERE failure.cause = 'failed' AND NOT EXISTS (
                         SELECT FROM chaos.ledger AS note WHERE note.phase = 'raised' AND note.task_id = failure.task_id
                           AND note.step = step.name AND note.attempt = failure.attempt)",
        corruption: "DELETE FROM chaos.ledger WHERE phase = 'raised'",
    },
    Check {
        name: "values follow from those of the parents",
        violations: "SELECT count(*) FROM {results} AS result JOIN tasker.tasks AS task USING (task_id)
                     JOIN tasker.template_steps AS definition USING (template_id, step_number)
                     WHERE result.value <> 1 + CASE WHEN cardinality(definition.parents) = 0
                         THEN (task.context ->> 'start')::bigint
                         ELSE (SELECT sum(parent.value) FROM {results} AS parent WHERE parent.task_id = result.task_id
                                 AND parent.step_number = ANY (definition.parents)) END",
        corruption: "UPDATE tasker.step_outcomes SET result = to_json(regexp_replace(result #>> '{}', '^[0-9]+', '77777'))
                     WHERE {task} AND step_number = 1",
    },
    Check {
        name: "a step was given the accepted results of its parents",
        violations: "SELECT count(*) FROM {results} AS result JOIN tasker.tasks AS task USING (task_id)
                     JOIN tasker.template_steps AS definition USING (template_id, step_number)
                     WHERE result.parents <> coalesce((
                         SELECT string_agg(parent.run, ',' ORDER BY step.name COLLATE \"C\") FROM {results} AS parent
                         JOIN tasker.steps AS step USING (task_id, step_number)
                         WHERE parent.task_id = result.task_id AND parent.step_number = ANY (definition.parents)), '')",
        corruption: "UPDATE tasker.step_outcomes
                     SET result = to_json(regexp_replace(result #>> '{}', ' [0-9a-f]+', ' 0123456789abcdef'))
                     WHERE {task} AND step_number = 0",
    },
    Check {
        name: "on receipt the dispatch and the parents' results could be seen in the database",
        violations: "SELECT count(*) FROM chaos.ledger WHERE phase = 'missed'",
        corruption: "UPDATE chaos.ledger SET phase = 'missed' WHERE phase = 'saw'",
    },
    Check {
        name: "nothing ran that was not dispatched",
        violations: "SELECT count(*) FROM {runs} WHERE NOT EXISTS (
                         SELECT FROM tasker.batches AS batch
                         CROSS JOIN LATERAL unnest(batch.task_ids, batch.step_numbers, batch.attempts)
                             AS item (task_id, step_number, attempt)
                         WHERE item.task_id = run.task_id AND item.step_number = run.step_number
                           AND item.attempt = run.attempt)",
        corruption: "UPDATE chaos.ledger SET attempt = 9 WHERE phase = 'begun' AND {task}",
    },
    Check {
        name: "every execution beyond the first has a recorded cause",
        violations: "SELECT count(*) FROM (
                         SELECT run.task_id, run.step_number, run.attempt, count(*) - 1 AS repeated FROM {runs}
                         GROUP BY run.task_id, run.step_number, run.attempt) AS tried
                     WHERE tried.repeated > (
                         SELECT count(*) FROM tasker.step_returns AS back WHERE back.task_id = tried.task_id
                           AND back.step_number = tried.step_number AND back.attempt = tried.attempt)
                     OR tried.attempt - 1 > (
                         SELECT count(*) FROM tasker.step_attempts_failed AS failure
                         WHERE failure.task_id = tried.task_id AND failure.step_number = tried.step_number
                           AND failure.attempt < tried.attempt)",
        corruption: "INSERT INTO chaos.ledger SELECT * FROM chaos.ledger WHERE phase = 'begun' AND {task}",
    },
];

/// As an invariant, with more to fill in.
pub struct Check {
    name: &'static str,
    violations: &'static str,
    corruption: &'static str,
}

impl Check {
    fn query(&self) -> String {
        self.violations.replace("{runs}", RUNS).replace("{results}", RESULTS).replace("{task}", TASK)
    }

    /// How often it does not hold, if it does not.
    fn broken(&self, database: &Database) -> Option<String> {
        let count = database.number(&self.query());
        (count != 0).then(|| format!("{count} x {}", self.name))
    }

    /// Asserts that it sees its corruption.
    pub fn sees_its_corruption(&self, database: &Database) {
        let corruption = self.corruption.replace("{task}", TASK);
        let seen = database.number_after(&corruption, &self.query());
        assert!(seen > 0, "{} does not see {corruption}", self.name);
    }
}

/// Asserts everything: the invariants of the database alone, and the checks.
pub fn hold(database: &Database, submitted: &Submitted, ledger: &str) {
    load(database, submitted, ledger);
    let mut broken = invariants::broken(database, INVARIANTS.iter().filter(|invariant| applies(invariant)));
    broken.extend(CHECKS.iter().filter_map(|check| check.broken(database)));
    assert!(broken.is_empty(), "broken: {broken:#?}");
}

/// Brings what the client and the handlers know into the database, where it can be compared.
fn load(database: &Database, submitted: &Submitted, ledger: &str) {
    database.execute(
        "CREATE SCHEMA chaos;
         CREATE TABLE chaos.ledger (task_id uuid, step text, attempt integer, phase text, run text, process integer,
                                    text text);
         CREATE TABLE chaos.acknowledged (key text PRIMARY KEY, task_id uuid NOT NULL);
         CREATE TABLE chaos.submitted (key text PRIMARY KEY)",
    );
    let notes: Vec<Vec<&str>> = ledger.lines().map(|line| line.split('\t').collect()).collect();
    assert!(notes.iter().all(|note| note.len() == 7), "a line of the ledger is broken");
    let column = |index: usize| notes.iter().map(|note| note[index].to_owned()).collect();
    let columns: Vec<Vec<String>> = (0..7).map(column).collect();
    insert(
        database,
        "INSERT INTO chaos.ledger SELECT task_id::uuid, step, attempt::integer, phase, run, process::integer, text
         FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
             AS note (task_id, step, attempt, phase, run, process, text)",
        columns,
    );
    let (keys, ids): (Vec<String>, Vec<String>) =
        submitted.acknowledged.iter().map(|(key, id)| (key.clone(), id.to_string())).unzip();
    let all = [keys.clone(), submitted.by_inbox.clone()].concat();
    insert(
        database,
        "INSERT INTO chaos.acknowledged SELECT key, id::uuid FROM unnest($1::text[], $2::text[]) AS told (key, id)",
        vec![keys, ids],
    );
    insert(database, "INSERT INTO chaos.submitted SELECT unnest($1::text[])", vec![all]);
    database.execute("CREATE INDEX ON chaos.ledger (task_id, step, attempt); ANALYZE");
}

fn insert(database: &Database, sql: &'static str, columns: Vec<Vec<String>>) {
    let url = database.url().to_owned();
    database.run(async {
        use sqlx::Connection;
        let mut session = sqlx::PgConnection::connect(&url).await.expect("the database is there");
        let mut query = sqlx::query(sql);
        for column in columns {
            query = query.bind(column);
        }
        query.execute(&mut session).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    });
}

/// Which invariants of the database alone apply: after faults, a worker that was stopped and woke up may close a batch with
/// what it saw, which is then recorded as a difference.
fn applies(invariant: &Invariant) -> bool {
    invariant.name != "a worker's closing report and its results say the same"
}

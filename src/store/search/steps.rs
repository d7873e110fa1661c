//! What a filter says of steps. Positive terms speak of one step together; negative ones alone, of all steps.
//!
//! Names, workers and errors are looked up by the keys of the tables. The state of a step has one definition, the view
//! `step_status`, which reads several rows a step: it is asked last, for few tasks at once.

use std::time::Instant;

use sqlx::Row;
use uuid::Uuid;

use super::Candidate;
use crate::filter::{Filter, StepState, Values, allowed};
use crate::store::error::Error;
use crate::store::listing::{Listing, Sql};

/// Candidates of which the states of steps are looked up before more are looked for.
pub(super) const CANDIDATES_MAX: usize = 200;

/// Steps whose states one statement looks up, except that a task is never cut: some hundredths of a second.
const STEPS_AT_ONCE: u32 = 1_000;

/// Whether the terms ask for one step that fulfils them all.
pub(super) fn speak_of_one(filter: &Filter) -> bool {
    let Filter { step, step_state, worker, error, .. } = filter;
    !(step.any.is_empty() && step_state.any.is_empty() && worker.any.is_empty() && error.any.is_empty())
}

/// Whether states of steps have to be looked up. That a step is done is a row of its own.
pub(super) fn are_checked(filter: &Filter) -> bool {
    let is_row = if speak_of_one(filter) {
        are_among(filter, &[StepState::Complete, StepState::ResolvedManually])
    } else {
        filter.step_state.none.iter().all(|state| is_done(*state))
    };
    !is_row && !filter.step_state.is_empty()
}

fn is_done(state: StepState) -> bool {
    matches!(state, StepState::Complete | StepState::ResolvedManually)
}

fn are_among(filter: &Filter, states: &[StepState]) -> bool {
    allowed(&StepState::ALL, &filter.step_state).iter().all(|state| states.contains(state))
}

const OUTCOMES: &str = "tasker.step_outcomes";
const FAILURES: &str = "tasker.step_attempts_failed";

/// Adds what can be seen without the states of steps, on the row `task`.
pub(super) fn add(sql: &mut Sql, filter: &Filter) {
    if speak_of_one(filter) {
        return add_one(sql, filter);
    }
    if !filter.step.none.is_empty() {
        sql.add(
            " AND task.template_id NOT IN (SELECT named.template_id FROM tasker.template_steps AS named WHERE true",
        );
        add_names(sql, &Values { any: filter.step.none.clone(), none: Vec::new() });
        sql.add(")");
    }
    for state in filter.step_state.none.iter().filter(|state| is_done(**state)) {
        sql.add(" AND NOT EXISTS (SELECT FROM tasker.step_outcomes AS outcome WHERE outcome.task_id = task.task_id");
        sql.add(" AND (outcome.kind = 'complete') = ").bind(*state == StepState::Complete).add(" OFFSET 0)");
    }
    if !filter.error.none.is_empty() {
        sql.add(" AND NOT EXISTS (SELECT FROM tasker.step_attempts_failed AS failure");
        sql.add(" WHERE failure.task_id = task.task_id");
        add_error(sql, "failure", &filter.error.none);
        sql.add(" OFFSET 0)");
    }
    if !filter.worker.none.is_empty() {
        for table in [OUTCOMES, FAILURES] {
            sql.add(" AND NOT EXISTS (SELECT FROM ").add(table).add(" AS attempt WHERE attempt.task_id = task.task_id");
            add_worker(sql, "attempt", &filter.worker.none);
            sql.add(" OFFSET 0)");
        }
    }
}

/// One step for all terms, found by the rows that are fewest.
fn add_one(sql: &mut Sql, filter: &Filter) {
    let Filter { step, step_state, worker, error, .. } = filter;
    let has_states = !step_state.is_empty();
    let in_states = |states: &[StepState]| has_states && are_among(filter, states);
    if in_states(&[StepState::InProgress]) {
        // What is with a worker is in an open batch, and there are not many of those.
        sql.add(" AND task.task_id IN (SELECT item.task_id FROM tasker.open_items AS item)");
    }
    if in_states(&[StepState::Complete]) {
        add_driver(sql, filter, OUTCOMES, " AND driver.kind = 'complete'");
    } else if in_states(&[StepState::ResolvedManually]) {
        add_driver(sql, filter, OUTCOMES, " AND driver.kind <> 'complete'");
    } else if in_states(&[StepState::Complete, StepState::ResolvedManually]) {
        add_driver(sql, filter, OUTCOMES, "");
    } else if in_states(&[StepState::Error]) {
        add_driver(sql, filter, FAILURES, " AND driver.final");
    } else if in_states(&[StepState::Error, StepState::WaitingForRetry]) {
        add_driver(sql, filter, FAILURES, "");
    } else if !error.any.is_empty() {
        sql.add(" AND EXISTS (SELECT FROM ").add(FAILURES).add(" AS driver WHERE driver.task_id = task.task_id");
        add_error(sql, "driver", &error.any);
        add_rest(sql, &Filter { error: only_none(error), ..filter.clone() });
        sql.add(" OFFSET 0)");
    } else if !worker.any.is_empty() {
        let rest = Filter { worker: only_none(worker), ..filter.clone() };
        sql.add(" AND (false");
        for table in [OUTCOMES, FAILURES] {
            sql.add(" OR EXISTS (SELECT FROM ").add(table).add(" AS driver WHERE driver.task_id = task.task_id");
            add_worker(sql, "driver", &worker.any);
            add_rest(sql, &rest);
            sql.add(" OFFSET 0)");
        }
        sql.add(")");
    } else if error.none.is_empty() && worker.none.is_empty() {
        if !step.is_empty() {
            sql.add(" AND task.template_id IN");
            sql.add(" (SELECT named.template_id FROM tasker.template_steps AS named WHERE true");
            add_names(sql, step);
            sql.add(")");
        }
    } else {
        add_driver(sql, filter, "tasker.steps", "");
    }
}

/// A row of the table for a step of which all the rest is true.
fn add_driver(sql: &mut Sql, filter: &Filter, table: &'static str, condition: &'static str) {
    sql.add(" AND EXISTS (SELECT FROM ")
        .add(table)
        .add(" AS driver WHERE driver.task_id = task.task_id")
        .add(condition);
    add_rest(sql, filter);
    sql.add(" OFFSET 0)");
}

/// Names, errors and workers of the step of the row `driver`.
fn add_rest(sql: &mut Sql, filter: &Filter) {
    if !filter.step.is_empty() {
        sql.add(" AND EXISTS (SELECT FROM tasker.steps AS named");
        sql.add(" WHERE named.task_id = driver.task_id AND named.step_number = driver.step_number");
        add_names(sql, &filter.step);
        sql.add(" OFFSET 0)");
    }
    for (errors, opening) in [(&filter.error.any, " AND EXISTS"), (&filter.error.none, " AND NOT EXISTS")] {
        if !errors.is_empty() {
            sql.add(opening).add(" (SELECT FROM tasker.step_attempts_failed AS failure");
            sql.add(" WHERE failure.task_id = driver.task_id AND failure.step_number = driver.step_number");
            add_error(sql, "failure", errors);
            sql.add(" OFFSET 0)");
        }
    }
    for (workers, opening) in [(&filter.worker.any, " AND (false"), (&filter.worker.none, " AND NOT (false")] {
        if !workers.is_empty() {
            sql.add(opening);
            for table in [OUTCOMES, FAILURES] {
                sql.add(" OR EXISTS (SELECT FROM ").add(table).add(" AS attempt");
                sql.add(" WHERE attempt.task_id = driver.task_id AND attempt.step_number = driver.step_number");
                add_worker(sql, "attempt", workers);
                sql.add(" OFFSET 0)");
            }
            sql.add(")");
        }
    }
}

fn add_names(sql: &mut Sql, names: &Values<String>) {
    if !names.any.is_empty() {
        sql.add(" AND named.name = ANY (").bind(&names.any).add("::text[])");
    }
    if !names.none.is_empty() {
        sql.add(" AND named.name <> ALL (").bind(&names.none).add("::text[])");
    }
}

/// What the row of a failed attempt says.
fn add_error(sql: &mut Sql, row: &'static str, texts: &[String]) {
    sql.add(" AND (false");
    for text in texts {
        sql.add(" OR position(lower(").bind(text).add(") IN lower(concat_ws(E'\\n', ");
        sql.add(row).add(".error_class, ").add(row).add(".error_code, ").add(row).add(".error_message))) > 0");
    }
    sql.add(")");
}

/// Episodes of a worker that are looked for, the newest ones: each is compared with every attempt that is looked at.
const EPISODES_MAX: i64 = 1_000;

/// Whose the row of an attempt is. The episodes are looked up once.
fn add_worker(sql: &mut Sql, row: &'static str, names: &[String]) {
    sql.add(" AND ").add(row).add(".registration_id = ANY (ARRAY (SELECT registration.registration_id");
    sql.add(" FROM tasker.worker_registrations AS registration WHERE registration.worker = ANY (");
    sql.bind(names).add("::text[]) ORDER BY registration.registration_id DESC LIMIT ").bind(EPISODES_MAX).add("))");
}

fn only_none(values: &Values<String>) -> Values<String> {
    Values { any: Vec::new(), none: values.none.clone() }
}

/// What a look at the states of steps has found.
pub(super) struct Checked {
    /// In the order of the candidates.
    pub matching: Vec<Uuid>,
    /// The last candidate that was looked at, when time was over before the end.
    pub stopped_at: Option<Uuid>,
}

/// Those of the candidates whose steps are in the states of the filter.
pub(super) async fn check(
    listing: &mut Listing,
    filter: &Filter,
    candidates: Vec<Candidate>,
    deadline: Instant,
) -> Result<Checked, Error> {
    let ids = |candidates: &[Candidate]| candidates.iter().map(|candidate| candidate.id).collect::<Vec<_>>();
    if !are_checked(filter) {
        return Ok(Checked { matching: ids(&candidates), stopped_at: None });
    }
    let mut checked = Checked { matching: Vec::new(), stopped_at: None };
    let mut rest = &candidates[..];
    while !rest.is_empty() {
        let mut steps = 0;
        let fitting = rest.iter().take_while(|candidate| {
            steps += candidate.steps;
            steps <= STEPS_AT_ONCE
        });
        let (part, others) = rest.split_at(fitting.count().max(1));
        let part = ids(part);
        let found = in_states(listing, filter, &part).await?;
        checked.matching.extend(part.iter().filter(|id| found.contains(id) == speak_of_one(filter)));
        rest = others;
        if !rest.is_empty() && Instant::now() >= deadline {
            checked.stopped_at = part.last().copied();
            break;
        }
    }
    Ok(checked)
}

/// Tasks with a step in one of the states that fulfils the rest; in one of the excluded states when there is no rest.
async fn in_states(listing: &mut Listing, filter: &Filter, tasks: &[Uuid]) -> Result<Vec<Uuid>, Error> {
    let states = if speak_of_one(filter) {
        allowed(&StepState::ALL, &filter.step_state)
    } else {
        filter.step_state.none.clone()
    };
    let states: Vec<&str> = states.into_iter().map(StepState::name).collect();
    let mut sql =
        Sql::new("SELECT DISTINCT driver.task_id FROM tasker.step_status AS driver WHERE driver.task_id = ANY (");
    sql.bind(tasks).add("::uuid[]) AND driver.state = ANY (").bind(states).add("::text[])");
    if speak_of_one(filter) {
        add_rest(&mut sql, filter);
    }
    listing.rows(sql).await?.iter().map(|row| Ok(row.try_get("task_id")?)).collect()
}

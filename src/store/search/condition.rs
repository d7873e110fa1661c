//! What a filter says of a task, as SQL on its row `task`, whose key is known by then.
//!
//! `OFFSET 0` in an `EXISTS` keeps the planner from reading a whole table in place of a few rows by their key.

use super::steps;
use crate::filter::{Filter, StepState, TaskState, Values, allowed};
use crate::store::listing::Sql;

/// The states in which a task can be that the filter selects, also by what the states of its steps say of it.
pub(super) fn possible_states(filter: &Filter) -> Vec<TaskState> {
    let mut states = filter.states();
    if steps::speak_of_one(filter) && !filter.step_state.is_empty() {
        let step_states = allowed(&StepState::ALL, &filter.step_state);
        states.retain(|state| step_states.iter().any(|step_state| tasks_with(*step_state).contains(state)));
    }
    states
}

/// The states of tasks with a step in a state. Nothing has happened in a pending task, a task ends when nothing runs or waits
/// for a retry, and all steps of one that ended well are done.
fn tasks_with(step_state: StepState) -> &'static [TaskState] {
    use TaskState::{Cancelled, Complete, Error, InProgress, Pending, ResolvedManually};
    match step_state {
        StepState::Pending => &[Pending, InProgress, Error],
        StepState::InProgress | StepState::WaitingForRetry => &[InProgress],
        StepState::Error => &[InProgress, Error, Cancelled],
        StepState::Cancelled => &[Cancelled],
        StepState::Complete | StepState::ResolvedManually => {
            &[InProgress, Complete, Error, Cancelled, ResolvedManually]
        }
    }
}

/// Adds ` AND ...` for everything that one statement can see: all but the states of steps. What is cheap comes first.
pub(super) fn add(sql: &mut Sql, filter: &Filter) {
    add_states(sql, &possible_states(filter));
    add_template(sql, filter);
    for range in [(&filter.priority.any, " AND (false"), (&filter.priority.none, " AND NOT (false")] {
        let (ranges, opening) = range;
        if !ranges.is_empty() {
            sql.add(opening);
            for range in ranges {
                sql.add(" OR task.priority BETWEEN ").bind(range.from).add(" AND ").bind(range.to);
            }
            sql.add(")");
        }
    }
    for range in [(&filter.id.any, " AND (false"), (&filter.id.none, " AND NOT (false")] {
        let (prefixes, opening) = range;
        if !prefixes.is_empty() {
            sql.add(opening);
            for (first, last) in prefixes.iter().map(|prefix| prefix.range()) {
                sql.add(" OR task.task_id BETWEEN ").bind(first).add(" AND ").bind(last);
            }
            sql.add(")");
        }
    }
    add_text(sql, "task.idempotency_key", &filter.key);
    add_text(sql, "task.initiator", &filter.initiator);
    add_text(sql, "task.correlation_id", &filter.correlation);
    if !filter.tag.any.is_empty() {
        sql.add(" AND task.tags && ").bind(&filter.tag.any).add("::text[]");
    }
    if !filter.tag.none.is_empty() {
        sql.add(" AND NOT coalesce(task.tags && ").bind(&filter.tag.none).add("::text[], false)");
    }
    steps::add(sql, filter);
    for (path, values) in &filter.context {
        // As text, digit for digit: no number becomes a float.
        if !values.any.is_empty() {
            sql.add(" AND task.context #>> ").bind(path).add("::text[] = ANY (").bind(&values.any).add("::text[])");
        }
        if !values.none.is_empty() {
            sql.add(" AND NOT coalesce(task.context #>> ").bind(path).add("::text[] = ANY (");
            sql.bind(&values.none).add("::text[]), false)");
        }
    }
    for text in &filter.text.any {
        add_free_text(sql, " AND (", text);
    }
    for text in &filter.text.none {
        add_free_text(sql, " AND NOT (", text);
    }
}

/// An unfinished task is in progress when anything has happened to one of its steps.
fn add_states(sql: &mut Sql, states: &[TaskState]) {
    if states.len() == TaskState::ALL.len() {
        return;
    }
    let (pending, in_progress) = (states.contains(&TaskState::Pending), states.contains(&TaskState::InProgress));
    let ended = states.iter().filter(|state| !matches!(state, TaskState::Pending | TaskState::InProgress));
    let ended: Vec<&str> = ended.map(|state| state.name()).collect();
    sql.add(" AND (task.final_state = ANY (").bind(ended).add("::text[])");
    if pending || in_progress {
        sql.add(" OR task.final_state IS NULL");
        if pending != in_progress {
            sql.add(if in_progress { " AND (" } else { " AND NOT (" });
            sql.add(
                "EXISTS (SELECT FROM tasker.step_outcomes AS outcome WHERE outcome.task_id = task.task_id OFFSET 0)
                 OR EXISTS (SELECT FROM tasker.step_attempts_failed AS failure
                            WHERE failure.task_id = task.task_id OFFSET 0)
                 OR task.task_id IN (SELECT item.task_id FROM tasker.open_items AS item))",
            );
        }
    }
    sql.add(")");
}

fn add_template(sql: &mut Sql, filter: &Filter) {
    if filter.namespace.is_empty() && filter.name.is_empty() && filter.version.is_empty() {
        return;
    }
    sql.add(" AND task.template_id IN (SELECT template.template_id FROM tasker.task_templates AS template WHERE true");
    add_text(sql, "template.namespace", &filter.namespace);
    add_text(sql, "template.name", &filter.name);
    add_text(sql, "template.version", &filter.version);
    sql.add(")");
}

/// One of some texts, and none of others. What is absent is none of them.
fn add_text(sql: &mut Sql, column: &'static str, values: &Values<String>) {
    if !values.any.is_empty() {
        sql.add(" AND ").add(column).add(" = ANY (").bind(&values.any).add("::text[])");
    }
    if !values.none.is_empty() {
        sql.add(" AND coalesce(").add(column).add(" <> ALL (").bind(&values.none).add("::text[]), true)");
    }
}

fn add_free_text(sql: &mut Sql, opening: &'static str, text: &str) {
    sql.add(opening).add("position(lower(").bind(text);
    sql.add(
        ") IN lower(concat_ws(E'\n', task.idempotency_key, task.initiator, task.reason, task.correlation_id,
                             array_to_string(task.tags, E'\n'), task.context))) > 0
         OR EXISTS (SELECT FROM tasker.step_attempts_failed AS failure
                    WHERE failure.task_id = task.task_id AND position(lower(",
    );
    sql.bind(text).add(") IN lower(failure.error_message)) > 0 OFFSET 0))");
}

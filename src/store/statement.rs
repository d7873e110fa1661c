//! The statement that writes a group: the fence, the log row, and a part for each table that has rows, in one round trip.
//!
//! Each part inserts from arrays (`unnest` in the select list, which Postgres runs without materializing) and joins the
//! fence: when the fence finds no row, no part finds any. Only the parts that are needed are in the text, since an empty
//! part costs as much as a few rows; there is a prepared statement for each combination that occurs.

use std::collections::HashMap;
use std::sync::Arc;

use super::rows::Rows;

/// Parameters of the fence: lane, epoch, expected seq, lease in ms, oldest open batch, row count, broker.
pub(super) const FENCE_PARAMETERS: usize = 7;

/// Takes the lane's row, and with it the right to write, or finds nothing. The session counts, too: a group that was sent
/// before its connection was cut may reach Postgres after the owner has come back on another one.
const FENCE: &str = "WITH fence AS (
    UPDATE tasker.lanes SET seq = seq + 1, expires_at = now() + $4 * interval '1 ms', oldest_open_batch = $5
    WHERE lane = $1 AND epoch = $2 AND seq = $3 AND owner = $7 AND backend_pid = pg_backend_pid()
    RETURNING lane, seq
), logged AS (
    INSERT INTO tasker.group_log (lane, seq, epoch, row_count) SELECT lane, seq, $2, $6 FROM fence
)";

/// A piece of the statement. Its parameters are written `{1}`, `{2}`, because their numbers depend on what comes before.
pub(super) struct Part {
    parameters: usize,
    is_needed: fn(&Rows<'_>) -> bool,
    sql: &'static str,
}

/// In this order they are written and bound.
pub(super) const PARTS: [Part; 17] = [
    Part {
        parameters: 16,
        is_needed: |rows| !rows.tasks.is_empty(),
        sql: "new_tasks AS (
            INSERT INTO tasker.tasks (task_id, lane, created_seq, template_id, priority, run_at, context, idempotency_key,
                initiator, source_system, reason, tags, correlation_id, options, traceparent, tracestate, bypass_steps,
                final_state, finished_seq, finished_at)
            SELECT task_id, lane, seq, template_id, priority, timestamptz 'epoch' + run_at_ms * interval '1 ms', context,
                idempotency_key, initiator, source_system, reason, tags::text[], correlation_id, options,
                traceparent, tracestate, bypass_steps::integer[], ended, CASE WHEN ended IS NOT NULL THEN seq END,
                CASE WHEN ended IS NOT NULL THEN now() END
            FROM fence, (SELECT unnest({1}::uuid[]) AS task_id, unnest({2}::integer[]) AS template_id,
                unnest({3}::integer[]) AS priority, unnest({4}::bigint[]) AS run_at_ms, unnest({5}::json[]) AS context,
                unnest({6}::text[]) AS idempotency_key, unnest({7}::text[]) AS initiator,
                unnest({8}::text[]) AS source_system, unnest({9}::text[]) AS reason, unnest({10}::text[]) AS tags,
                unnest({11}::text[]) AS correlation_id, unnest({12}::json[]) AS options,
                unnest({13}::text[]) AS traceparent, unnest({14}::text[]) AS tracestate,
                unnest({15}::text[]) AS bypass_steps, unnest({16}::text[]) AS ended) AS row
        )",
    },
    Part {
        parameters: 5,
        is_needed: |rows| rows.tasks.iter().any(|row| row.task.idempotency_key.is_some()),
        sql: "new_keys AS (
            INSERT INTO tasker.idempotency_keys (namespace, name, key, task_id, template_id)
            SELECT namespace, name, key, task_id, template_id
            FROM fence, (SELECT unnest({1}::text[]) AS namespace, unnest({2}::text[]) AS name,
                unnest({3}::text[]) AS key, unnest({4}::uuid[]) AS task_id,
                unnest({5}::integer[]) AS template_id) AS row
        )",
    },
    // A task may have left by its age between the look at it and this group: a row of NULLs, which Postgres refuses.
    Part {
        parameters: 1,
        is_needed: |rows| !rows.reopened.is_empty(),
        sql: "reopened AS (
            INSERT INTO tasker.task_reopenings (task_id, seq, lane, final_state, finished_seq, finished_at)
            SELECT task.task_id, fence.seq, fence.lane, task.final_state, task.finished_seq, task.finished_at
            FROM fence, (SELECT DISTINCT unnest({1}::uuid[]) AS task_id) AS row
            LEFT JOIN tasker.tasks AS task ON task.task_id = row.task_id
            WHERE task.task_id IS NULL OR task.final_state IS NOT NULL
        )",
    },
    Part {
        parameters: 2,
        is_needed: |rows| !rows.ended.is_empty(),
        sql: "ended AS (
            UPDATE tasker.tasks AS task SET final_state = row.state,
                finished_seq = CASE WHEN row.state IS NOT NULL THEN fence.seq END,
                finished_at = CASE WHEN row.state IS NOT NULL THEN now() END
            FROM fence, (SELECT unnest({1}::uuid[]) AS task_id, unnest({2}::text[]) AS state) AS row
            WHERE task.task_id = row.task_id
        )",
    },
    Part {
        parameters: 8,
        is_needed: |rows| !rows.batches.is_empty(),
        sql: "new_batches AS (
            INSERT INTO tasker.batches (batch_id, registration_id, seq, lane, deadline, task_ids, step_numbers, attempts)
            SELECT batch_id, registration_id, seq, lane, now() + deadline_ms * interval '1 ms',
                ({6}::uuid[])[first:last], ({7}::integer[])[first:last], ({8}::integer[])[first:last]
            FROM fence, (SELECT unnest({1}::uuid[]) AS batch_id, unnest({2}::uuid[]) AS registration_id,
                unnest({3}::bigint[]) AS deadline_ms, unnest({4}::integer[]) AS first,
                unnest({5}::integer[]) AS last) AS row
        )",
    },
    Part {
        parameters: 3,
        is_needed: |rows| !rows.closings.is_empty(),
        sql: "closings AS (
            INSERT INTO tasker.batch_closings (batch_id, seq, lane, state, differences)
            SELECT batch_id, seq, lane, state, differences
            FROM fence, (SELECT unnest({1}::uuid[]) AS batch_id, unnest({2}::text[]) AS state,
                unnest({3}::json[]) AS differences) AS row
        )",
    },
    Part {
        parameters: 12,
        is_needed: |rows| !rows.settled.is_empty(),
        sql: "settled AS (
            INSERT INTO tasker.step_outcomes (task_id, batch_id, registration_id, seq, checksum, duration_us, started_at,
                dispatched_at, step_number, attempt, lane, kind, result, metadata)
            SELECT task_id, batch_id, registration_id, seq, checksum, duration_us,
                timestamptz 'epoch' + started_us * interval '1 us', now() - dispatched_ms * interval '1 ms', step_number,
                attempt, lane, kind, result, metadata
            FROM fence, (SELECT unnest({1}::uuid[]) AS task_id, unnest({2}::uuid[]) AS batch_id,
                unnest({3}::uuid[]) AS registration_id, unnest({4}::bigint[]) AS checksum,
                unnest({5}::bigint[]) AS duration_us, unnest({6}::bigint[]) AS started_us,
                unnest({7}::bigint[]) AS dispatched_ms, unnest({8}::integer[]) AS step_number,
                unnest({9}::integer[]) AS attempt, unnest({10}::text[]) AS kind, unnest({11}::json[]) AS result,
                unnest({12}::json[]) AS metadata) AS row
        )",
    },
    Part {
        parameters: 15,
        is_needed: |rows| !rows.failed.is_empty(),
        sql: "failed AS (
            INSERT INTO tasker.step_attempts_failed (task_id, batch_id, registration_id, seq, duration_us, started_at,
                dispatched_at, retry_at, step_number, attempt, lane, final, cause, error_class, error_message, error_code,
                error_context, backtrace)
            SELECT task_id, batch_id, registration_id, seq, duration_us,
                timestamptz 'epoch' + started_us * interval '1 us', now() - dispatched_ms * interval '1 ms',
                now() + retry_ms * interval '1 ms', step_number, attempt, lane, retry_ms IS NULL, cause, error_class,
                error_message, error_code, error_context, backtrace::text[]
            FROM fence, (SELECT unnest({1}::uuid[]) AS task_id, unnest({2}::uuid[]) AS batch_id,
                unnest({3}::uuid[]) AS registration_id, unnest({4}::bigint[]) AS duration_us,
                unnest({5}::bigint[]) AS started_us, unnest({6}::bigint[]) AS dispatched_ms,
                unnest({7}::bigint[]) AS retry_ms, unnest({8}::integer[]) AS step_number,
                unnest({9}::integer[]) AS attempt, unnest({10}::text[]) AS cause, unnest({11}::text[]) AS error_class,
                unnest({12}::text[]) AS error_message, unnest({13}::text[]) AS error_code,
                unnest({14}::json[]) AS error_context, unnest({15}::text[]) AS backtrace) AS row
        )",
    },
    Part {
        parameters: 5,
        is_needed: |rows| !rows.returned.is_empty(),
        sql: "returned AS (
            INSERT INTO tasker.step_returns (task_id, batch_id, seq, step_number, attempt, lane, reason)
            SELECT task_id, batch_id, seq, step_number, attempt, lane, reason
            FROM fence, (SELECT unnest({1}::uuid[]) AS task_id, unnest({2}::uuid[]) AS batch_id,
                unnest({3}::integer[]) AS step_number, unnest({4}::integer[]) AS attempt,
                unnest({5}::text[]) AS reason) AS row
        )",
    },
    Part {
        parameters: 9,
        is_needed: |rows| !rows.received.is_empty(),
        sql: "received AS (
            INSERT INTO tasker.received_results (seq, lane, task_id, batch_id, registration_id, step, attempt, disposition,
                status, checksum, payload)
            SELECT seq, lane, task_id, batch_id, registration_id, step, attempt, disposition, status, checksum, payload
            FROM fence, (SELECT unnest({1}::uuid[]) AS task_id, unnest({2}::uuid[]) AS batch_id,
                unnest({3}::uuid[]) AS registration_id, unnest({4}::text[]) AS step, unnest({5}::bigint[]) AS attempt,
                unnest({6}::text[]) AS disposition, unnest({7}::text[]) AS status, unnest({8}::bigint[]) AS checksum,
                unnest({9}::text[]) AS payload) AS row
        )",
    },
    Part {
        parameters: 8,
        is_needed: |rows| !rows.actions.is_empty(),
        sql: "actions AS (
            INSERT INTO tasker.operator_actions (lane, seq, task_id, step_number, operation, actor, reason, state_before,
                state_after, attempts_before)
            SELECT lane, seq, task_id, step_number, operation, actor, reason, state_before, state_after, attempts_before
            FROM fence, (SELECT unnest({1}::uuid[]) AS task_id, unnest({2}::integer[]) AS step_number,
                unnest({3}::text[]) AS operation, unnest({4}::text[]) AS actor, unnest({5}::text[]) AS reason,
                unnest({6}::text[]) AS state_before, unnest({7}::text[]) AS state_after,
                unnest({8}::integer[]) AS attempts_before) AS row
        )",
    },
    Part {
        parameters: 7,
        is_needed: |rows| !rows.fleet_actions.is_empty(),
        sql: "fleet_actions AS (
            INSERT INTO tasker.fleet_actions (lane, seq, subject_kind, subject, operation, actor, reason, state_before,
                state_after)
            SELECT lane, seq, subject_kind, subject, operation, actor, reason, state_before, state_after
            FROM fence, unnest({1}::text[], {2}::text[], {3}::text[], {4}::text[], {5}::text[], {6}::text[],
                {7}::text[]) WITH ORDINALITY AS row (subject_kind, subject, operation, actor, reason, state_before,
                state_after, position)
            -- A namespace may be paused and resumed in one group, and the last one counts.
            ORDER BY position
        )",
    },
    Part {
        parameters: 15,
        is_needed: |rows| !rows.registered.is_empty(),
        sql: "new_workers AS (
            INSERT INTO tasker.workers (name) SELECT name FROM fence, (SELECT unnest({2}::text[]) AS name) AS row
            ON CONFLICT DO NOTHING
        ), registered AS (
            INSERT INTO tasker.worker_registrations (registration_id, worker, incarnation, broker_id, lane, seq,
                concurrency, host, pid, language, library, key_name, end_reason, ended_at, ended_seq)
            SELECT registration_id, worker, incarnation, $7, lane, seq, concurrency, host, pid, language, library, key_name,
                ended, CASE WHEN ended IS NOT NULL THEN now() END, CASE WHEN ended IS NOT NULL THEN seq END
            FROM fence, (SELECT unnest({1}::uuid[]) AS registration_id, unnest({2}::text[]) AS worker,
                unnest({3}::uuid[]) AS incarnation, unnest({4}::integer[]) AS concurrency, unnest({5}::text[]) AS host,
                unnest({6}::bigint[]) AS pid, unnest({7}::text[]) AS language, unnest({8}::text[]) AS library,
                unnest({9}::text[]) AS key_name, unnest({10}::text[]) AS ended) AS row
        ), may_run AS (
            INSERT INTO tasker.worker_templates (registration_id, position, namespace, name, version)
            SELECT registration_id, position, namespace, name, version
            FROM fence, (SELECT unnest({11}::uuid[]) AS registration_id, unnest({12}::integer[]) AS position,
                unnest({13}::text[]) AS namespace, unnest({14}::text[]) AS name, unnest({15}::text[]) AS version) AS row
        )",
    },
    Part {
        parameters: 2,
        is_needed: |rows| !rows.unregistered.is_empty(),
        sql: "unregistered AS (
            UPDATE tasker.worker_registrations AS registration
            SET ended_at = now(), ended_seq = fence.seq, end_reason = row.reason
            FROM fence, (SELECT unnest({1}::uuid[]) AS registration_id, unnest({2}::text[]) AS reason) AS row
            WHERE registration.registration_id = row.registration_id AND registration.ended_at IS NULL
        )",
    },
    Part {
        parameters: 6,
        is_needed: |rows| !rows.commands.is_empty(),
        sql: "commands AS (
            INSERT INTO tasker.commands (seq, lane, peer, correlation_id, task_id, name, outcome, duration_ms)
            SELECT seq, lane, peer, correlation_id, task_id, name, outcome, duration_ms
            FROM fence, (SELECT unnest({1}::bigint[]) AS peer, unnest({2}::uuid[]) AS correlation_id,
                unnest({3}::uuid[]) AS task_id, unnest({4}::text[]) AS name, unnest({5}::text[]) AS outcome,
                unnest({6}::integer[]) AS duration_ms) AS row
        )",
    },
    Part {
        parameters: 1,
        is_needed: |rows| !rows.inbox_taken.is_empty(),
        sql: "taken AS (
            DELETE FROM tasker.task_inbox AS request
            USING fence, (SELECT unnest({1}::bigint[]) AS inbox_id) AS row
            WHERE request.inbox_id = row.inbox_id
        )",
    },
    Part {
        parameters: 2,
        is_needed: |rows| !rows.inbox_refused.is_empty(),
        sql: "refused AS (
            UPDATE tasker.task_inbox AS request SET refusal = row.reason, refused_at = now()
            FROM fence, (SELECT unnest({1}::bigint[]) AS inbox_id, unnest({2}::text[]) AS reason) AS row
            WHERE request.inbox_id = row.inbox_id
        )",
    },
];

/// Statements by the parts that they have.
#[derive(Debug, Default)]
pub(super) struct Statements {
    texts: HashMap<u32, Arc<str>>,
}

/// Which parts these rows need, a bit a part.
pub(super) fn parts_of(rows: &Rows<'_>) -> u32 {
    let bit = |(index, part): (usize, &Part)| u32::from((part.is_needed)(rows)) << index;
    PARTS.iter().enumerate().map(bit).sum()
}

/// Parameters of the statement with these parts.
pub(super) fn parameters_of(parts: u32) -> usize {
    let parts = PARTS.iter().enumerate().filter(|(index, _)| parts & (1 << index) != 0);
    FENCE_PARAMETERS + parts.map(|(_, part)| part.parameters).sum::<usize>()
}

impl Statements {
    /// The statement with these parts.
    pub fn text(&mut self, parts: u32) -> Arc<str> {
        Arc::clone(self.texts.entry(parts).or_insert_with(|| build(parts).into()))
    }
}

fn build(parts: u32) -> String {
    let mut sql = String::from(FENCE);
    let mut bound = FENCE_PARAMETERS;
    for (index, part) in PARTS.iter().enumerate() {
        if parts & (1 << index) == 0 {
            continue;
        }
        let mut text = part.sql.to_owned();
        for parameter in 1..=part.parameters {
            text = text.replace(&format!("{{{parameter}}}"), &format!("${}", bound + parameter));
        }
        bound += part.parameters;
        sql.push_str(", ");
        sql.push_str(&text);
    }
    sql.push_str("\nSELECT seq FROM fence");
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_parts_follow_each_other() {
        let sql = build(u32::MAX >> (32 - PARTS.len()));
        let total = parameters_of(u32::MAX >> (32 - PARTS.len()));
        assert!(!sql.contains('{'), "{sql}");
        for number in 1..=total {
            let used = [format!("${number}:"), format!("${number} "), format!("${number},"), format!("${number}\n")];
            assert!(used.iter().any(|text| sql.contains(text)), "${number} of {total} is not used");
        }
        assert!(!sql.contains(&format!("${}", total + 1)));
    }
}

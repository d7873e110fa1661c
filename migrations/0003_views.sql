-- Views for people and for status requests. States are derived here from the rows of 0001, by the same rules as in the
-- broker. None recurses, so that a task of a thousand steps costs milliseconds when a query names the task.
--
-- What belongs to one step is looked up by key for each step (LATERAL with LIMIT, scalar subqueries) instead of joined:
-- without statistics, and new partitions have none, the planner takes every set for one row, and its joins and its EXISTS
-- then read all rows of a task for each of its steps.

-- Items of open batches that have not come back: what is with a worker, apart from what has an outcome by now.
CREATE VIEW tasker.open_items AS
SELECT item.task_id, item.step_number, item.attempt, batch.batch_id, batch.registration_id, batch.lane, batch.seq,
       batch.created_at, batch.deadline
FROM tasker.lanes AS lane
JOIN tasker.batches AS batch ON batch.lane = lane.lane AND batch.batch_id >= lane.oldest_open_batch
CROSS JOIN LATERAL unnest(batch.task_ids, batch.step_numbers, batch.attempts) AS item (task_id, step_number, attempt)
WHERE NOT EXISTS (SELECT FROM tasker.batch_closings AS closing WHERE closing.batch_id = batch.batch_id)
  AND NOT EXISTS (SELECT FROM tasker.step_returns AS back
                  WHERE back.task_id = item.task_id AND back.step_number = item.step_number
                    AND back.attempt = item.attempt AND back.batch_id = batch.batch_id);

-- The state of each step. Counted failures are those after the last reset. A step waits for its retry until it is
-- dispatched again, also when the time has come; one that was dispatched again and came back unrun is pending.
CREATE VIEW tasker.step_status AS
SELECT step.task_id, step.step_number, step.name,
       CASE
           WHEN outcome.kind = 'complete' THEN 'complete'
           WHEN outcome.kind IS NOT NULL THEN 'resolved_manually'
           WHEN failure.final AND failure.attempt > coalesce(reset.attempts_before, 0) THEN 'error'
           WHEN task.final_state = 'cancelled' THEN 'cancelled'
           WHEN item.attempt > coalesce(failure.attempt, 0) THEN 'in_progress'
           WHEN failure.attempt > coalesce(reset.attempts_before, 0)
                AND coalesce(back.attempt, 0) <= failure.attempt THEN 'waiting_for_retry'
           ELSE 'pending'
       END AS state,
       greatest(outcome.attempt, failure.attempt, item.attempt, 0) AS attempts,
       step.retry_limit + coalesce(reset.attempts_before, 0) AS retry_limit,
       CASE WHEN outcome.kind IS NULL AND failure.attempt > coalesce(reset.attempts_before, 0)
                 AND task.final_state IS DISTINCT FROM 'cancelled' AND coalesce(item.attempt, 0) <= failure.attempt
                 AND coalesce(back.attempt, 0) <= failure.attempt
            THEN failure.retry_at END AS retry_at,
       coalesce(outcome.batch_id, item.batch_id, failure.batch_id) AS batch_id,
       coalesce(outcome.registration_id, item.registration_id, failure.registration_id) AS registration_id,
       coalesce(outcome.dispatched_at, item.created_at, failure.dispatched_at) AS dispatched_at,
       coalesce(outcome.finished_at, CASE WHEN failure.final AND failure.attempt > coalesce(reset.attempts_before, 0)
                                          THEN failure.failed_at END) AS finished_at,
       coalesce(outcome.duration_us, failure.duration_us) AS duration_us,
       CASE WHEN outcome.kind IS NULL THEN failure.error_class END AS error_class,
       CASE WHEN outcome.kind IS NULL THEN failure.error_message END AS error_message,
       CASE WHEN outcome.kind IS NULL THEN failure.error_code END AS error_code,
       task.template_id, task.final_state, task.run_at
FROM tasker.steps AS step
JOIN tasker.tasks AS task ON task.task_id = step.task_id
LEFT JOIN tasker.step_outcomes AS outcome
       ON outcome.task_id = step.task_id AND outcome.step_number = step.step_number
LEFT JOIN LATERAL (
    SELECT * FROM tasker.step_attempts_failed AS attempt
    WHERE outcome.task_id IS NULL AND attempt.task_id = step.task_id AND attempt.step_number = step.step_number
    ORDER BY attempt.attempt DESC LIMIT 1
) AS failure ON true
LEFT JOIN LATERAL (
    SELECT max(action.attempts_before) AS attempts_before FROM tasker.operator_actions AS action
    WHERE action.task_id = step.task_id AND action.step_number = step.step_number AND action.operation = 'retry'
) AS reset ON true
LEFT JOIN LATERAL (
    SELECT attempt.attempt FROM tasker.step_returns AS attempt
    WHERE outcome.task_id IS NULL AND attempt.task_id = step.task_id AND attempt.step_number = step.step_number
    ORDER BY attempt.attempt DESC LIMIT 1
) AS back ON true
LEFT JOIN (
    SELECT DISTINCT ON (task_id, step_number) task_id, step_number, attempt, batch_id, registration_id, created_at
    FROM tasker.open_items ORDER BY task_id, step_number, attempt DESC, batch_id DESC
) AS item ON item.task_id = step.task_id AND item.step_number = step.step_number;

-- Who waits for whom, an edge a row.
CREATE VIEW tasker.step_dependencies AS
SELECT step.task_id, step.step_number, step.name, parent.step_number AS parent_number, parent.name AS parent_name,
       (SELECT outcome.kind FROM tasker.step_outcomes AS outcome
        WHERE outcome.task_id = step.task_id AND outcome.step_number = parent.step_number) IS NOT NULL AS satisfied
FROM tasker.steps AS step
JOIN tasker.tasks AS task ON task.task_id = step.task_id
JOIN tasker.template_steps AS definition
  ON definition.template_id = task.template_id AND definition.step_number = step.step_number
CROSS JOIN LATERAL unnest(definition.parents) AS edge (parent_number)
JOIN tasker.template_steps AS parent
  ON parent.template_id = task.template_id AND parent.step_number = edge.parent_number;

-- Why a step does or does not run.
CREATE VIEW tasker.step_readiness AS
SELECT checked.task_id, checked.step_number, checked.name, checked.state, checked.attempts, checked.retry_limit,
       checked.retry_at, checked.ready,
       CASE
           WHEN checked.state IN ('complete', 'resolved_manually') THEN 'it is done'
           WHEN checked.state = 'error' THEN 'it failed for good: ' || checked.error_message
           WHEN checked.state = 'cancelled' THEN 'its task was cancelled'
           WHEN checked.state = 'in_progress' THEN 'a worker has it'
           WHEN checked.state = 'waiting_for_retry' THEN
               'attempt ' || checked.attempts || ' of ' || checked.retry_limit || ' failed; the next one starts '
               || CASE WHEN checked.retry_at > now() THEN 'after ' || checked.retry_at
                       ELSE 'when a worker is free' END
           WHEN checked.final_state IS NOT NULL THEN 'its task has ended'
           WHEN NOT checked.parents_satisfied THEN
               'it waits for ' || (SELECT string_agg(edge.parent_name, ', ' ORDER BY edge.parent_number)
                                   FROM tasker.step_dependencies AS edge
                                   WHERE edge.task_id = checked.task_id AND edge.step_number = checked.step_number
                                     AND NOT edge.satisfied)
           WHEN checked.ready THEN 'it is ready and waits for a worker'
           ELSE 'its task does not start before ' || checked.run_at
       END AS reason
FROM (
    SELECT pending.*, coalesce(pending.parents_satisfied AND pending.final_state IS NULL
                               AND (pending.run_at IS NULL OR pending.run_at <= now()), false) AS ready
    FROM (
        SELECT status.*,
               CASE WHEN status.state = 'pending' THEN (
                   SELECT edge.parent_number FROM unnest(definition.parents) AS edge (parent_number)
                   WHERE (SELECT outcome.kind FROM tasker.step_outcomes AS outcome
                          WHERE outcome.task_id = status.task_id
                            AND outcome.step_number = edge.parent_number) IS NULL
                   LIMIT 1
               ) IS NULL END AS parents_satisfied
        FROM tasker.step_status AS status
        JOIN tasker.template_steps AS definition
          ON definition.template_id = status.template_id AND definition.step_number = status.step_number
    ) AS pending
) AS checked;

-- Tasks in numbers and words.
CREATE VIEW tasker.task_status AS
SELECT task.task_id, template.namespace, template.name, template.version,
       coalesce(task.final_state, CASE WHEN counts.untouched THEN 'pending' ELSE 'in_progress' END) AS state,
       task.priority, counts.total, counts.pending, counts.ready, counts.in_progress, counts.complete, counts.error,
       counts.cancelled, counts.resolved_manually, counts.waiting_for_retry,
       words.execution_status,
       CASE
           WHEN task.final_state = 'cancelled' THEN 'none'
           ELSE CASE words.execution_status
               WHEN 'all_complete' THEN 'none'
               WHEN 'has_ready_steps' THEN 'execute_ready_steps'
               WHEN 'processing' THEN 'wait_for_completion'
               WHEN 'waiting_for_retry' THEN 'wait_for_retry'
               WHEN 'blocked_by_failures' THEN 'handle_failures'
               ELSE 'wait_for_dependencies'
           END
       END AS recommended_action,
       round(100.0 * (counts.complete + counts.resolved_manually) / counts.total, 2)::numeric(5, 2)
           AS completion_percentage,
       CASE
           WHEN counts.error > 0 AND counts.ready + counts.in_progress + counts.waiting_for_retry = 0 THEN 'blocked'
           WHEN counts.error > 0 OR counts.waiting_for_retry > 0 THEN 'recovering'
           ELSE 'healthy'
       END AS health,
       task.created_at, task.finished_at, task.run_at, task.tags, task.initiator, task.source_system, task.reason,
       task.correlation_id, task.idempotency_key, task.lane
FROM tasker.tasks AS task
JOIN tasker.task_templates AS template ON template.template_id = task.template_id
JOIN (
    SELECT task_id,
           count(*)::integer AS total,
           count(*) FILTER (WHERE state = 'pending')::integer AS pending,
           count(*) FILTER (WHERE ready)::integer AS ready,
           count(*) FILTER (WHERE state = 'in_progress')::integer AS in_progress,
           count(*) FILTER (WHERE state = 'complete')::integer AS complete,
           count(*) FILTER (WHERE state = 'error')::integer AS error,
           count(*) FILTER (WHERE state = 'cancelled')::integer AS cancelled,
           count(*) FILTER (WHERE state = 'resolved_manually')::integer AS resolved_manually,
           count(*) FILTER (WHERE state = 'waiting_for_retry')::integer AS waiting_for_retry,
           bool_and(state = 'pending' AND attempts = 0) AS untouched
    FROM tasker.step_readiness GROUP BY task_id
) AS counts ON counts.task_id = task.task_id
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN counts.complete + counts.resolved_manually = counts.total THEN 'all_complete'
        WHEN counts.ready > 0 THEN 'has_ready_steps'
        WHEN counts.in_progress > 0 THEN 'processing'
        WHEN counts.waiting_for_retry > 0 THEN 'waiting_for_retry'
        WHEN counts.error > 0 OR task.final_state = 'cancelled' THEN 'blocked_by_failures'
        ELSE 'waiting_for_dependencies'
    END AS execution_status
) AS words;

-- Batches with what became of their steps.
CREATE VIEW tasker.batch_status AS
SELECT batch.batch_id, registration.worker, batch.registration_id,
       CASE
           WHEN closing.state IS NOT NULL THEN closing.state
           WHEN items.complete + items.failed + items.returned > 0 THEN 'executing'
           ELSE 'published'
       END AS state,
       items.total, items.complete, items.failed, items.returned,
       closing.differences, batch.created_at, batch.deadline, closing.closed_at, batch.lane, batch.seq
FROM tasker.batches AS batch
LEFT JOIN tasker.batch_closings AS closing ON closing.batch_id = batch.batch_id
LEFT JOIN tasker.worker_registrations AS registration ON registration.registration_id = batch.registration_id
CROSS JOIN LATERAL (
    SELECT count(*)::integer AS total, count(outcome.task_id)::integer AS complete,
           count(failure.task_id)::integer AS failed, count(back.task_id)::integer AS returned
    FROM unnest(batch.task_ids, batch.step_numbers, batch.attempts) AS item (task_id, step_number, attempt)
    LEFT JOIN tasker.step_outcomes AS outcome
           ON outcome.task_id = item.task_id AND outcome.step_number = item.step_number
          AND outcome.batch_id = batch.batch_id
    LEFT JOIN tasker.step_attempts_failed AS failure
           ON failure.task_id = item.task_id AND failure.step_number = item.step_number
          AND failure.attempt = item.attempt AND failure.batch_id = batch.batch_id
    LEFT JOIN tasker.step_returns AS back
           ON back.task_id = item.task_id AND back.step_number = item.step_number
          AND back.attempt = item.attempt AND back.batch_id = batch.batch_id
) AS items;

-- Every dispatch of a step. Those of a cancelled task may have left no other trace than the batch itself, so its batches
-- are searched by time; ids are made by the broker's clock, hence the margin.
CREATE VIEW tasker.step_dispatches AS
SELECT task_id, step_number, attempt, batch_id FROM tasker.step_outcomes WHERE kind = 'complete'
UNION
SELECT task_id, step_number, attempt, batch_id FROM tasker.step_attempts_failed
UNION
SELECT task_id, step_number, attempt, batch_id FROM tasker.step_returns
UNION
SELECT task_id, step_number, attempt, batch_id FROM tasker.open_items
UNION
SELECT task.task_id, item.step_number, item.attempt, batch.batch_id
FROM tasker.tasks AS task
JOIN tasker.batches AS batch
  ON batch.batch_id > tasker.uuid_at(task.created_at - interval '5 minutes')
 AND batch.batch_id < tasker.uuid_at(task.finished_at + interval '5 minutes')
 AND task.task_id = ANY (batch.task_ids)
CROSS JOIN LATERAL unnest(batch.task_ids, batch.step_numbers, batch.attempts) AS item (task_id, step_number, attempt)
WHERE task.final_state = 'cancelled' AND item.task_id = task.task_id;

-- The audit: every transition of tasks (`step` is NULL) and steps, from one state to the next, in the order in which they
-- were committed. `by` says who did it when a person did, `detail` why.
CREATE VIEW tasker.transitions AS
SELECT change.task_id, step.name AS step, change.step_number, change.attempt,
       lag(change.to_state) OVER (PARTITION BY change.task_id, change.step_number
                                  ORDER BY change.seq, change.attempt, change.batch_id, change.phase) AS from_state,
       change.to_state, change.at, change.batch_id, change.by, change.detail, change.lane, change.seq, change.phase
FROM (
    SELECT task_id, NULL::integer AS step_number, NULL::integer AS attempt, 'pending' AS to_state, created_at AS at,
           NULL::uuid AS batch_id, initiator AS by, reason AS detail, lane, created_seq AS seq, 0 AS phase
    FROM tasker.tasks
    UNION ALL
    SELECT dispatch.task_id, NULL, NULL, 'in_progress', min(batch.created_at), NULL, NULL, NULL, min(batch.lane),
           min(batch.seq), 2
    FROM tasker.step_dispatches AS dispatch JOIN tasker.batches AS batch ON batch.batch_id = dispatch.batch_id
    GROUP BY dispatch.task_id
    UNION ALL
    SELECT task_id, NULL, NULL, final_state, finished_at, NULL, NULL, NULL, lane, finished_seq, 6
    FROM tasker.tasks WHERE final_state IS NOT NULL
    UNION ALL
    SELECT task_id, NULL, NULL, final_state, finished_at, NULL, NULL, NULL, lane, finished_seq, 6
    FROM tasker.task_reopenings
    UNION ALL
    SELECT task_id, NULL, NULL, 'in_progress', reopened_at, NULL, NULL, NULL, lane, seq, 1
    FROM tasker.task_reopenings
    UNION ALL
    SELECT step.task_id, step.step_number, 0, 'pending', task.created_at, NULL, NULL, NULL, task.lane,
           task.created_seq, 0
    FROM tasker.steps AS step JOIN tasker.tasks AS task ON task.task_id = step.task_id
    UNION ALL
    SELECT dispatch.task_id, dispatch.step_number, dispatch.attempt, 'in_progress', batch.created_at,
           dispatch.batch_id, NULL, NULL, batch.lane, batch.seq, 2
    FROM tasker.step_dispatches AS dispatch JOIN tasker.batches AS batch ON batch.batch_id = dispatch.batch_id
    UNION ALL
    SELECT task_id, step_number, attempt, 'pending', returned_at, batch_id, NULL, reason, lane, seq, 3
    FROM tasker.step_returns
    UNION ALL
    SELECT task_id, step_number, attempt, CASE WHEN final THEN 'error' ELSE 'waiting_for_retry' END, failed_at,
           batch_id, NULL, cause || ': ' || error_class || ': ' || error_message, lane, seq, 3
    FROM tasker.step_attempts_failed
    UNION ALL
    SELECT outcome.task_id, outcome.step_number, outcome.attempt,
           CASE outcome.kind WHEN 'complete' THEN 'complete' ELSE 'resolved_manually' END, outcome.finished_at,
           outcome.batch_id, action.actor, CASE WHEN outcome.kind = 'bypassed' THEN 'bypassed' ELSE action.reason END,
           outcome.lane, outcome.seq, 5
    FROM tasker.step_outcomes AS outcome
    LEFT JOIN tasker.operator_actions AS action
           ON outcome.kind = 'resolved_manually' AND action.operation = 'resolve'
          AND action.task_id = outcome.task_id AND action.step_number = outcome.step_number
    UNION ALL
    SELECT task_id, step_number, attempts_before, 'pending', acted_at, NULL, actor, reason, lane, seq, 4
    FROM tasker.operator_actions WHERE operation = 'retry' AND step_number IS NOT NULL
    UNION ALL
    SELECT status.task_id, status.step_number, status.attempts + 1, 'cancelled', task.finished_at, NULL, action.actor,
           action.reason, task.lane, task.finished_seq, 6
    FROM tasker.step_status AS status
    JOIN tasker.tasks AS task ON task.task_id = status.task_id
    LEFT JOIN tasker.operator_actions AS action
           ON action.task_id = status.task_id AND action.operation = 'cancel'
    WHERE status.state = 'cancelled'
) AS change
LEFT JOIN tasker.steps AS step ON step.task_id = change.task_id AND step.step_number = change.step_number;

-- Registration episodes, open ones with what they have.
CREATE VIEW tasker.worker_health AS
SELECT registration.worker, registration.registration_id, registration.incarnation,
       CASE WHEN registration.ended_at IS NULL THEN 'registered' ELSE registration.end_reason END AS state,
       registration.concurrency, coalesce(load.steps, 0) AS steps_in_progress, coalesce(load.batches, 0) AS batches_open,
       load.oldest_dispatch, registration.host, registration.pid, registration.language, registration.library,
       (SELECT array_agg(may_run.namespace || '/' || coalesce(may_run.name, '*') || coalesce('@' || may_run.version, '')
                         ORDER BY may_run.position)
        FROM tasker.worker_templates AS may_run
        WHERE may_run.registration_id = registration.registration_id) AS templates,
       registration.broker_id, registration.registered_at, registration.ended_at
FROM tasker.worker_registrations AS registration
LEFT JOIN (
    SELECT item.registration_id, count(*)::integer AS steps, count(DISTINCT item.batch_id)::integer AS batches,
           min(item.created_at) AS oldest_dispatch
    FROM tasker.open_items AS item
    WHERE NOT EXISTS (SELECT FROM tasker.step_outcomes AS outcome
                      WHERE outcome.task_id = item.task_id AND outcome.step_number = item.step_number)
      AND NOT EXISTS (SELECT FROM tasker.step_attempts_failed AS failure
                      WHERE failure.task_id = item.task_id AND failure.step_number = item.step_number
                        AND failure.attempt = item.attempt)
    GROUP BY item.registration_id
) AS load ON load.registration_id = registration.registration_id AND registration.ended_at IS NULL;

-- Where the time goes: handlers by the time that they take. Narrow it by `task_id` range (`tasker.uuid_at`) on
-- `step_outcomes` when there is much history.
CREATE VIEW tasker.slowest_steps AS
SELECT template.namespace, template.name, template.version, definition.name AS step, definition.handler,
       count(*) AS runs, round(avg(outcome.duration_us) / 1000, 3) AS mean_ms,
       round((percentile_cont(0.5) WITHIN GROUP (ORDER BY outcome.duration_us) / 1000)::numeric, 3) AS p50_ms,
       round((percentile_cont(0.99) WITHIN GROUP (ORDER BY outcome.duration_us) / 1000)::numeric, 3) AS p99_ms,
       round(max(outcome.duration_us) / 1000.0, 3) AS max_ms
FROM tasker.step_outcomes AS outcome
JOIN tasker.tasks AS task ON task.task_id = outcome.task_id
JOIN tasker.task_templates AS template ON template.template_id = task.template_id
JOIN tasker.template_steps AS definition
  ON definition.template_id = task.template_id AND definition.step_number = outcome.step_number
WHERE outcome.kind = 'complete' AND outcome.duration_us IS NOT NULL
GROUP BY template.namespace, template.name, template.version, definition.name, definition.handler
ORDER BY p99_ms DESC;

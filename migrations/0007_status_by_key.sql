-- Status requests whose plan does not depend on what the planner believes about sizes. With statistics for some tables
-- only, it took the steps of a task for one, and looked for all open batches once for each of a thousand.

-- Items of open batches that have not come back: what is with a worker, apart from what has an outcome by now. Batches are
-- found by a range of their key, and what belongs to each by its key: the upper bound excludes nothing, but makes the
-- planner expect a small part of the table.
CREATE OR REPLACE VIEW tasker.open_items AS
SELECT item.task_id, item.step_number, item.attempt, batch.batch_id, batch.registration_id, batch.lane, batch.seq,
       batch.created_at, batch.deadline
FROM tasker.lanes AS lane
CROSS JOIN LATERAL (
    SELECT * FROM tasker.batches AS published
    WHERE published.lane = lane.lane
      AND published.batch_id BETWEEN lane.oldest_open_batch AND 'ffffffff-ffff-ffff-ffff-ffffffffffff'
      AND (SELECT closing.seq FROM tasker.batch_closings AS closing
           WHERE closing.batch_id = published.batch_id) IS NULL
    OFFSET 0
) AS batch
CROSS JOIN LATERAL unnest(batch.task_ids, batch.step_numbers, batch.attempts) AS item (task_id, step_number, attempt)
WHERE (SELECT back.seq FROM tasker.step_returns AS back
       WHERE back.task_id = item.task_id AND back.step_number = item.step_number
         AND back.attempt = item.attempt AND back.batch_id = batch.batch_id) IS NULL;

-- The state of each step. Counted failures are those after the last reset. A step waits for its retry until it is
-- dispatched again, also when the time has come; one that was dispatched again and came back unrun is pending.
--
-- Steps and open items are brought together by sorting, which takes as long as there are rows, whatever the plan.
CREATE OR REPLACE VIEW tasker.step_status AS
SELECT step.task_id, step.step_number, step.name,
       CASE
           WHEN outcome.kind = 'complete' THEN 'complete'
           WHEN outcome.kind IS NOT NULL THEN 'resolved_manually'
           WHEN failure.final AND failure.attempt > coalesce(reset.attempts_before, 0) THEN 'error'
           WHEN step.final_state = 'cancelled' THEN 'cancelled'
           WHEN step.item_attempt > coalesce(failure.attempt, 0) THEN 'in_progress'
           WHEN failure.attempt > coalesce(reset.attempts_before, 0)
                AND coalesce(back.attempt, 0) <= failure.attempt THEN 'waiting_for_retry'
           ELSE 'pending'
       END AS state,
       greatest(outcome.attempt, failure.attempt, step.item_attempt, 0) AS attempts,
       step.retry_limit + coalesce(reset.attempts_before, 0) AS retry_limit,
       CASE WHEN outcome.kind IS NULL AND failure.attempt > coalesce(reset.attempts_before, 0)
                 AND step.final_state IS DISTINCT FROM 'cancelled' AND coalesce(step.item_attempt, 0) <= failure.attempt
                 AND coalesce(back.attempt, 0) <= failure.attempt
            THEN failure.retry_at END AS retry_at,
       coalesce(outcome.batch_id, step.item_batch_id, failure.batch_id) AS batch_id,
       coalesce(outcome.registration_id, step.item_registration_id, failure.registration_id) AS registration_id,
       coalesce(outcome.dispatched_at, step.item_created_at, failure.dispatched_at) AS dispatched_at,
       coalesce(outcome.finished_at, CASE WHEN failure.final AND failure.attempt > coalesce(reset.attempts_before, 0)
                                          THEN failure.failed_at END) AS finished_at,
       coalesce(outcome.duration_us, failure.duration_us) AS duration_us,
       CASE WHEN outcome.kind IS NULL THEN failure.error_class END AS error_class,
       CASE WHEN outcome.kind IS NULL THEN failure.error_message END AS error_message,
       CASE WHEN outcome.kind IS NULL THEN failure.error_code END AS error_code,
       step.template_id, step.final_state, step.run_at
FROM (
    SELECT part.task_id, part.step_number, max(part.name) AS name, max(part.retry_limit) AS retry_limit,
           max(part.template_id) AS template_id, max(part.final_state) AS final_state, max(part.run_at) AS run_at,
           max(part.attempt) AS item_attempt,
           (array_agg(part.batch_id ORDER BY part.attempt DESC NULLS LAST, part.batch_id DESC))[1] AS item_batch_id,
           (array_agg(part.registration_id ORDER BY part.attempt DESC NULLS LAST, part.batch_id DESC))[1]
               AS item_registration_id,
           (array_agg(part.created_at ORDER BY part.attempt DESC NULLS LAST, part.batch_id DESC))[1] AS item_created_at
    FROM (
        SELECT task.task_id, definition.step_number, definition.name, definition.retry_limit, task.template_id,
               task.final_state, task.run_at, NULL::integer AS attempt, NULL::uuid AS batch_id,
               NULL::uuid AS registration_id, NULL::timestamptz AS created_at
        FROM tasker.tasks AS task
        JOIN tasker.template_steps AS definition ON definition.template_id = task.template_id
        UNION ALL
        SELECT item.task_id, item.step_number, NULL, NULL, NULL, NULL, NULL, item.attempt, item.batch_id,
               item.registration_id, item.created_at
        FROM tasker.open_items AS item
    ) AS part
    GROUP BY part.task_id, part.step_number HAVING count(part.template_id) > 0
) AS step
LEFT JOIN LATERAL (
    SELECT * FROM tasker.step_outcomes AS settled
    WHERE settled.task_id = step.task_id AND settled.step_number = step.step_number LIMIT 1
) AS outcome ON true
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
) AS back ON true;

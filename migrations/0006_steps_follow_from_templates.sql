-- Steps are no rows of their own any more: all that such a row held follows from the task and the step of its template,
-- which both never change. It was half of what Postgres wrote when a task was made, and a fifth of all that it wrote for a
-- step. `tasker.steps` answers the same questions as before.

ALTER TABLE tasker.steps RENAME TO steps_stored;

CREATE VIEW tasker.steps AS
SELECT task.task_id, step.step_number, step.retry_limit, step.name
FROM tasker.tasks AS task
JOIN tasker.template_steps AS step ON step.template_id = task.template_id;

-- A broker of the release before still inserts them, until it is replaced.
CREATE FUNCTION tasker.ignore_step() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER steps_follow_from_templates INSTEAD OF INSERT ON tasker.steps
FOR EACH ROW EXECUTE FUNCTION tasker.ignore_step();

-- Makes the partitions of `months` months from the one that contains `from_month`, where they are missing, and says how
-- many it made. Rows of such a month that went into the default partition move over. Attaching, instead of creating in
-- place, does not stop writers.
CREATE OR REPLACE FUNCTION tasker.ensure_partitions(from_month date, months integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    parent     text;
    key_column text;
    is_uuid    boolean;
    first_day  date;
    partition  text;
    lower_text text;
    upper_text text;
    made       integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('tasker.ensure_partitions'));
    FOR parent, key_column, is_uuid IN
        VALUES ('tasks', 'task_id', true), ('step_outcomes', 'task_id', true),
               ('step_attempts_failed', 'task_id', true), ('step_returns', 'task_id', true),
               ('batches', 'batch_id', true), ('batch_closings', 'batch_id', true),
               ('received_results', 'received_at', false), ('commands', 'received_at', false),
               ('group_log', 'committed_at', false)
    LOOP
        FOR month_index IN 0 .. months - 1 LOOP
            first_day := (date_trunc('month', from_month::timestamp) + make_interval(months => month_index))::date;
            partition := parent || to_char(first_day, '"_y"YYYY"m"MM');
            CONTINUE WHEN to_regclass('tasker.' || partition) IS NOT NULL;
            lower_text := first_day::text || ' 00:00:00+00';
            upper_text := (first_day + interval '1 month')::date::text || ' 00:00:00+00';
            IF is_uuid THEN
                lower_text := tasker.uuid_at(lower_text::timestamptz);
                upper_text := tasker.uuid_at(upper_text::timestamptz);
            END IF;
            EXECUTE format('CREATE TABLE tasker.%I (LIKE tasker.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
                           partition, parent);
            IF parent = 'tasks' THEN
                -- Room on each page for the one update that a task gets when it ends.
                EXECUTE format('ALTER TABLE tasker.%I SET (fillfactor = 80)', partition);
            END IF;
            EXECUTE format('WITH moved AS (DELETE FROM tasker.%I WHERE %I >= %L AND %I < %L RETURNING *)
                            INSERT INTO tasker.%I SELECT * FROM moved',
                           parent || '_default', key_column, lower_text, key_column, upper_text, partition);
            EXECUTE format('ALTER TABLE tasker.%I ATTACH PARTITION tasker.%I FOR VALUES FROM (%L) TO (%L)',
                           parent, partition, lower_text, upper_text);
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;

-- The state of each step. Counted failures are those after the last reset. A step waits for its retry until it is
-- dispatched again, also when the time has come; one that was dispatched again and came back unrun is pending.
CREATE OR REPLACE VIEW tasker.step_status AS
SELECT task.task_id, step.step_number, step.name,
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
FROM tasker.tasks AS task
JOIN tasker.template_steps AS step ON step.template_id = task.template_id
LEFT JOIN LATERAL (
    SELECT * FROM tasker.step_outcomes AS settled
    WHERE settled.task_id = task.task_id AND settled.step_number = step.step_number LIMIT 1
) AS outcome ON true
LEFT JOIN LATERAL (
    SELECT * FROM tasker.step_attempts_failed AS attempt
    WHERE outcome.task_id IS NULL AND attempt.task_id = task.task_id AND attempt.step_number = step.step_number
    ORDER BY attempt.attempt DESC LIMIT 1
) AS failure ON true
LEFT JOIN LATERAL (
    SELECT max(action.attempts_before) AS attempts_before FROM tasker.operator_actions AS action
    WHERE action.task_id = task.task_id AND action.step_number = step.step_number AND action.operation = 'retry'
) AS reset ON true
LEFT JOIN LATERAL (
    SELECT attempt.attempt FROM tasker.step_returns AS attempt
    WHERE outcome.task_id IS NULL AND attempt.task_id = task.task_id AND attempt.step_number = step.step_number
    ORDER BY attempt.attempt DESC LIMIT 1
) AS back ON true
LEFT JOIN (
    SELECT DISTINCT ON (task_id, step_number) task_id, step_number, attempt, batch_id, registration_id, created_at
    FROM tasker.open_items ORDER BY task_id, step_number, attempt DESC, batch_id DESC
) AS item ON item.task_id = task.task_id AND item.step_number = step.step_number;

-- Who waits for whom, an edge a row.
CREATE OR REPLACE VIEW tasker.step_dependencies AS
SELECT task.task_id, step.step_number, step.name, parent.step_number AS parent_number, parent.name AS parent_name,
       (SELECT outcome.kind FROM tasker.step_outcomes AS outcome
        WHERE outcome.task_id = task.task_id AND outcome.step_number = parent.step_number) IS NOT NULL AS satisfied
FROM tasker.tasks AS task
JOIN tasker.template_steps AS step ON step.template_id = task.template_id
CROSS JOIN LATERAL unnest(step.parents) AS edge (parent_number)
JOIN tasker.template_steps AS parent
  ON parent.template_id = task.template_id AND parent.step_number = edge.parent_number;

-- The audit: every transition of tasks (`step` is NULL) and steps, from one state to the next, in the order in which they
-- were committed. `by` says who did it when a person did, `detail` why.
CREATE OR REPLACE VIEW tasker.transitions AS
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

DROP TABLE tasker.steps_stored;

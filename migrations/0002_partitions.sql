-- Partitions by month, so that old rows leave by dropping tables and never by long deletes. Keys are version 7 UUIDs, which
-- begin with their time of creation: a month is a range of keys.
--
-- Each table also has a default partition. It stays empty unless the broker runs for months without anybody calling
-- `ensure_partitions`, or a clock is far off: then rows are late to leave, and nothing else happens.

-- The smallest version 7 UUID of a time; also good to select by time from tables that are keyed by UUID.
CREATE FUNCTION tasker.uuid_at(at timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- Makes the partitions of `months` months from the one that contains `from_month`, where they are missing, and says how
-- many it made. Rows of such a month that went into the default partition move over. Attaching, instead of creating in
-- place, does not stop writers.
CREATE FUNCTION tasker.ensure_partitions(from_month date, months integer) RETURNS integer
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
        VALUES ('tasks', 'task_id', true), ('steps', 'task_id', true), ('step_outcomes', 'task_id', true),
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

CREATE TABLE tasker.tasks_default PARTITION OF tasker.tasks DEFAULT WITH (fillfactor = 80);
CREATE TABLE tasker.steps_default PARTITION OF tasker.steps DEFAULT;
CREATE TABLE tasker.step_outcomes_default PARTITION OF tasker.step_outcomes DEFAULT;
CREATE TABLE tasker.step_attempts_failed_default PARTITION OF tasker.step_attempts_failed DEFAULT;
CREATE TABLE tasker.step_returns_default PARTITION OF tasker.step_returns DEFAULT;
CREATE TABLE tasker.batches_default PARTITION OF tasker.batches DEFAULT;
CREATE TABLE tasker.batch_closings_default PARTITION OF tasker.batch_closings DEFAULT;
CREATE TABLE tasker.received_results_default PARTITION OF tasker.received_results DEFAULT;
CREATE TABLE tasker.commands_default PARTITION OF tasker.commands DEFAULT;
CREATE TABLE tasker.group_log_default PARTITION OF tasker.group_log DEFAULT;

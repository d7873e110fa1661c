//! Much history, written by statements of SQL in the shape that the broker leaves.

use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tasker_core::postgres::testing::TestDatabase;
use tasker_core::store::{MIGRATOR, pool};
use tasker_engine::TaskId;
use uuid::Uuid;

/// A database with tasks of four steps. Of a thousand, 5 ended in error, 3 were cancelled, 1 was resolved by hand, 2 are
/// unfinished; 20 of the complete ones had a step that failed and was tried again. The oldest ten differ from all others.
pub struct History {
    pub database: TestDatabase,
    pub tasks: u32,
    session: PgPool,
}

/// An id of a time with a number, version 7. `$1` is the number of tasks: the newest is of this moment, and ten are made in
/// each second.
const FUNCTIONS: &str = "
    CREATE FUNCTION pg_temp.id(n bigint, kind int) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
        SELECT (lpad(to_hex(1790000000000 + n * 100), 12, '0') || '7' || lpad(to_hex(kind), 3, '0') || '8'
                || lpad(to_hex(n), 15, '0'))::uuid
    $$;
    CREATE FUNCTION pg_temp.at(n bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
        SELECT to_timestamp((1790000000000 + n * 100) / 1000.0)
    $$;
    CREATE FUNCTION pg_temp.state(n bigint, tasks bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT CASE WHEN n % 1000 < 5 THEN 'error' WHEN n % 1000 < 8 THEN 'cancelled'
                    WHEN n % 1000 = 8 THEN 'resolved_manually' WHEN n % 1000 < 11 THEN NULL ELSE 'complete' END
    $$;";

const STATEMENTS: &[&str] = &[
    "SELECT tasker.ensure_partitions(to_timestamp(1790000000)::date, 8)",
    "INSERT INTO tasker.task_templates (namespace, name, version, definition, digest)
     SELECT 'shop', name, '1.0.0', '', decode(repeat(md5(name), 2), 'hex') FROM (VALUES ('order'), ('refund')) AS t (name)",
    "INSERT INTO tasker.template_steps
     SELECT template.template_id, step.n - 1, step.name, 'H', true, 3, true, 30000, NULL, '{}',
            CASE WHEN step.n = 1 THEN '{}' ELSE ARRAY[step.n - 2] END::integer[]
     FROM tasker.task_templates AS template
     JOIN LATERAL unnest(CASE WHEN template.name = 'order' THEN ARRAY['reserve', 'charge', 'pack', 'ship']
                              ELSE ARRAY['refund_all', 'a', 'b', 'c'] END) WITH ORDINALITY AS step (name, n) ON true",
    "INSERT INTO tasker.worker_registrations (registration_id, worker, incarnation, broker_id, lane, seq, concurrency, host,
                                              pid, language, library)
     SELECT pg_temp.id(n, 9), CASE WHEN n = 0 THEN 'worker-old' ELSE 'worker-' || n END, gen_random_uuid(),
            gen_random_uuid(), 1, 1, 10, 'h', 1, 'ruby', 'x'
     FROM generate_series(0, 4) AS n",
    "INSERT INTO tasker.tasks (task_id, created_seq, finished_seq, created_at, finished_at, template_id, priority, lane,
                               final_state, context, idempotency_key, initiator, reason, tags, correlation_id)
     SELECT pg_temp.id(n, 1), n, CASE WHEN state IS NOT NULL THEN n END, pg_temp.at(n),
            CASE WHEN state IS NOT NULL THEN pg_temp.at(n) + interval '2 seconds' END,
            (SELECT template_id FROM tasker.task_templates WHERE name = CASE WHEN n < 10 THEN 'refund' ELSE 'order' END),
            0, 1, state,
            json_build_object('order', json_build_object('id', n, 'customer', 'c-' || n % 1000, 'total', n % 997 * 1.10),
                              'lines', json_build_array(json_build_object('sku', 'SKU-' || n % 5000, 'count', n % 7),
                                                        json_build_object('sku', 'SKU-' || n % 3000, 'count', n % 5)),
                              'note', repeat('deliver to the back door ', 4)),
            'ORDER-' || n, 'shop', NULL, CASE WHEN n < 10 THEN '{ancient}'::text[] ELSE '{web,nightly}' END, 'c-' || n
     FROM (SELECT n, pg_temp.state(n, {tasks}) AS state FROM generate_series(0::bigint, {tasks} - 1) AS n) AS task",
    "INSERT INTO tasker.idempotency_keys
     SELECT 'shop', CASE WHEN n < 10 THEN 'refund' ELSE 'order' END, 'ORDER-' || n, pg_temp.id(n, 1), 1
     FROM generate_series(0::bigint, {tasks} - 1) AS n",
    "INSERT INTO tasker.step_outcomes (task_id, batch_id, registration_id, seq, checksum, duration_us, started_at,
                                       dispatched_at, finished_at, step_number, attempt, lane, kind, result)
     SELECT pg_temp.id(n, 1), pg_temp.id(n / 4, 2), pg_temp.id(CASE WHEN n < 10 THEN 0 ELSE 1 + n % 4 END, 9), n, 0, 1500,
            pg_temp.at(n), pg_temp.at(n), pg_temp.at(n), step, 1, 1, 'complete', '{}'
     FROM generate_series(0::bigint, {tasks} - 1) AS n, generate_series(0, 3) AS step
     WHERE pg_temp.state(n, {tasks}) = 'complete' OR (step = 0 AND n % 1000 = 9)",
    "INSERT INTO tasker.step_outcomes (task_id, seq, checksum, step_number, attempt, lane, kind, result)
     SELECT pg_temp.id(n, 1), n, 0, step, 0, 1, 'resolved_manually', '{}'
     FROM generate_series(0::bigint, {tasks} - 1) AS n, generate_series(0, 3) AS step
     WHERE pg_temp.state(n, {tasks}) = 'resolved_manually'",
    "INSERT INTO tasker.step_attempts_failed (task_id, batch_id, registration_id, seq, dispatched_at, failed_at, retry_at,
                                              step_number, attempt, lane, final, cause, error_class, error_message)
     SELECT pg_temp.id(n, 1), pg_temp.id(n / 4, 2), pg_temp.id(1 + n % 4, 9), n, pg_temp.at(n), pg_temp.at(n),
            CASE WHEN ended THEN NULL ELSE pg_temp.at(n) END, 1, 1, 1, ended, 'failed',
            CASE WHEN ended THEN 'Net::Timeout' ELSE 'Flaky' END, 'the other side did not answer in time'
     FROM (SELECT n, pg_temp.state(n, {tasks}) = 'error' AS ended FROM generate_series(0::bigint, {tasks} - 1) AS n) AS task
     WHERE ended OR n % 50 = 17",
    "INSERT INTO tasker.batches (batch_id, registration_id, seq, created_at, deadline, lane, task_ids, step_numbers, attempts)
     SELECT pg_temp.id(b, 2), pg_temp.id(1 + b % 4, 9), b, pg_temp.at(b * 4), pg_temp.at(b * 4), 1,
            (SELECT array_agg(pg_temp.id(b * 4 + t / 4, 1) ORDER BY t) FROM generate_series(0, 15) AS t),
            (SELECT array_agg(t % 4 ORDER BY t) FROM generate_series(0, 15) AS t), array_fill(1, ARRAY[16])
     FROM generate_series(0::bigint, {tasks} / 4 - 1) AS b",
    "INSERT INTO tasker.batch_closings (batch_id, seq, closed_at, lane, state)
     SELECT pg_temp.id(b, 2), b, pg_temp.at(b * 4), 1, 'completed' FROM generate_series(0::bigint, {tasks} / 4 - 1) AS b",
    "VACUUM ANALYZE",
];

impl History {
    pub async fn write(tasks: u32) -> History {
        let database = TestDatabase::create(&MIGRATOR).await.unwrap();
        let mut session = PgConnection::connect(&database.url).await.unwrap();
        sqlx::raw_sql("SET synchronous_commit = off; SET work_mem = '64MB'").execute(&mut session).await.unwrap();
        sqlx::raw_sql(FUNCTIONS).execute(&mut session).await.unwrap();
        for statement in STATEMENTS {
            let sql = statement.replace("{tasks}", &tasks.to_string());
            sqlx::raw_sql(AssertSqlSafe(sql))
                .execute(&mut session)
                .await
                .unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        let session = pool(&database.url, 1).unwrap();
        History { database, tasks, session }
    }

    /// What autovacuum has not done yet.
    pub async fn forget_statistics(&self) {
        let sql = "DELETE FROM pg_statistic WHERE starelid IN (SELECT oid FROM pg_class
                       WHERE relnamespace = 'tasker'::regnamespace);
                   UPDATE pg_class SET reltuples = -1, relpages = 0, relallvisible = 0
                   WHERE relnamespace = 'tasker'::regnamespace";
        sqlx::raw_sql(sql).execute(&self.session).await.unwrap();
    }

    pub async fn analyze(&self) {
        sqlx::raw_sql("ANALYZE").execute(&self.session).await.unwrap();
    }

    /// A task that went well.
    pub async fn some_task(&self) -> TaskId {
        let sql = "SELECT task_id FROM tasker.tasks WHERE final_state = 'complete' ORDER BY task_id DESC LIMIT 1";
        TaskId(sqlx::query_scalar(sql).fetch_one(&self.session).await.unwrap())
    }

    /// How many tasks are newer than one, or are it.
    pub async fn newer_than(&self, task: Uuid) -> i64 {
        let sql = "SELECT count(*) FROM tasker.tasks WHERE task_id >= $1";
        sqlx::query_scalar(sql).bind(task).fetch_one(&self.session).await.unwrap()
    }
}

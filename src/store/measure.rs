//! What a benchmark asks the database about itself and about a broker's work. Nothing of a broker's own work is here.

use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::connect;
use super::error::Error;

/// Settings that decide what a commit costs.
const SETTINGS: [&str; 8] = [
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_level",
    "shared_buffers",
    "max_wal_size",
    "wal_compression",
    "data_checksums",
];

/// A database that is asked for figures.
#[derive(Debug)]
pub struct Measure {
    pool: PgPool,
}

/// The server, and the broker that owns the lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Version of Postgres.
    pub version: String,
    /// Settings that decide what a commit costs, by name.
    pub settings: Vec<(String, String)>,
    /// The server process that serves this session, when it runs on this machine.
    pub local_pid: Option<u32>,
    /// The broker's process and its host, while one has the lane.
    pub broker: Option<(u32, String)>,
}

/// How far the database is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// Bytes of WAL since the cluster was made.
    pub wal_bytes: f64,
    /// The last group of the broker's lane.
    pub seq: i64,
}

/// Times of a step in microseconds, all by clocks of the same second hand when worker and Postgres share a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepTimes {
    /// From the commit that made it ready until its handler started.
    pub ready_to_started_us: i64,
    /// From then until the commit of its result began.
    pub started_to_accepted_us: i64,
}

impl Measure {
    /// Connects when it is first asked.
    pub fn connect(url: &str) -> Result<Measure, Error> {
        Ok(Measure { pool: connect::pool(url, 1)? })
    }

    /// Who is there.
    pub async fn server(&self, lane: i16) -> Result<Server, Error> {
        let version = sqlx::query_scalar("SELECT current_setting('server_version')").fetch_one(&self.pool).await?;
        let names: Vec<String> = SETTINGS.iter().map(|name| (*name).to_owned()).collect();
        let settings = sqlx::query("SELECT name, current_setting(name) AS value FROM unnest($1::text[]) AS name")
            .bind(names)
            .fetch_all(&self.pool)
            .await?;
        let settings = settings.iter().map(|row| Ok((row.try_get("name")?, row.try_get("value")?)));
        let broker = sqlx::query(
            "SELECT broker.pid, broker.host FROM tasker.lanes AS lane
             JOIN tasker.brokers AS broker ON broker.broker_id = lane.owner WHERE lane.lane = $1",
        )
        .bind(lane)
        .fetch_optional(&self.pool)
        .await?;
        let broker = broker.map(|row| Ok::<_, sqlx::Error>((row.try_get::<i64, _>("pid")?, row.try_get("host")?)));
        let broker = broker.transpose()?.and_then(|(pid, host)| Some((u32::try_from(pid).ok()?, host)));
        Ok(Server {
            version,
            settings: settings.collect::<Result<_, sqlx::Error>>()?,
            local_pid: self.local_pid().await?,
            broker,
        })
    }

    /// The process of this session, when the address says that the server runs on this machine.
    pub async fn local_pid(&self) -> Result<Option<u32>, Error> {
        let sql = "SELECT CASE WHEN coalesce(inet_server_addr() <<= ANY ('{127.0.0.0/8,::1}'), true)
                       THEN pg_backend_pid() END";
        let pid: Option<i32> = sqlx::query_scalar(sql).fetch_one(&self.pool).await?;
        Ok(pid.and_then(|pid| u32::try_from(pid).ok()))
    }

    /// Bytes of write-ahead log since the server was made. Only differences mean anything.
    pub async fn wal_bytes(&self) -> Result<f64, Error> {
        let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.pool).await?)
    }

    /// How far WAL and lane are now.
    pub async fn mark(&self, lane: i16) -> Result<Mark, Error> {
        let sql = "SELECT seq FROM tasker.lanes WHERE lane = $1";
        let seq = sqlx::query_scalar(sql).bind(lane).fetch_optional(&self.pool).await?;
        Ok(Mark { wal_bytes: self.wal_bytes().await?, seq: seq.unwrap_or(0) })
    }

    /// Sizes of the groups of a lane between two marks: how many rows, and how many groups had so many.
    pub async fn group_sizes(&self, lane: i16, after: i64, until: i64) -> Result<Vec<(u32, u64)>, Error> {
        let rows = sqlx::query(
            "SELECT row_count, count(*) AS count FROM tasker.group_log
             WHERE lane = $1 AND seq > $2 AND seq <= $3 GROUP BY row_count ORDER BY row_count",
        )
        .bind(lane)
        .bind(after)
        .bind(until)
        .fetch_all(&self.pool)
        .await?;
        let sizes = rows.iter().map(|row| {
            let (size, count): (i32, i64) = (row.try_get("row_count")?, row.try_get("count")?);
            Ok((u32::try_from(size).unwrap_or(0), u64::try_from(count).unwrap_or(0)))
        });
        Ok(sizes.collect::<Result<_, sqlx::Error>>()?)
    }

    /// Steps of a batch on average, of those that were dispatched between two marks of a lane; `first` is an id from before.
    pub async fn steps_per_batch(&self, lane: i16, after: i64, until: i64, first: Uuid) -> Result<f64, Error> {
        let sql = "SELECT coalesce(avg(cardinality(task_ids)), 0)::float8 FROM tasker.batches
                   WHERE batch_id >= $4 AND lane = $1 AND seq > $2 AND seq <= $3";
        Ok(sqlx::query_scalar(sql).bind(lane).bind(after).bind(until).bind(first).fetch_one(&self.pool).await?)
    }

    /// Completed steps of tasks of a template, `namespace/name@version`, from the first to the last id.
    pub async fn completed_steps(&self, template: &str, first: Uuid, last: Uuid) -> Result<u64, Error> {
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM tasker.task_templates AS template
             JOIN tasker.tasks AS task ON task.template_id = template.template_id
             JOIN tasker.step_outcomes AS outcome ON outcome.task_id = task.task_id
             WHERE template.namespace || '/' || template.name || '@' || template.version = $1
               AND task.task_id BETWEEN $2 AND $3 AND outcome.task_id BETWEEN $2 AND $3 AND outcome.kind = 'complete'",
        )
        .bind(template)
        .bind(first)
        .bind(last)
        .fetch_one(&self.pool)
        .await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Times of all completed steps of these tasks.
    pub async fn step_times(&self, tasks: &[Uuid]) -> Result<Vec<StepTimes>, Error> {
        let rows = sqlx::query(
            "SELECT (extract(epoch FROM outcome.started_at - ready.at) * 1000000)::bigint AS queued,
                    (extract(epoch FROM outcome.finished_at - outcome.started_at) * 1000000)::bigint AS ran
             FROM tasker.tasks AS task
             JOIN tasker.step_outcomes AS outcome ON outcome.task_id = task.task_id
             JOIN tasker.template_steps AS definition ON definition.template_id = task.template_id
                                                     AND definition.step_number = outcome.step_number
             CROSS JOIN LATERAL (
                 SELECT greatest(task.created_at, max(parent.finished_at)) AS at FROM tasker.step_outcomes AS parent
                 WHERE parent.task_id = task.task_id AND parent.step_number = ANY (definition.parents)
             ) AS ready
             WHERE task.task_id = ANY ($1) AND outcome.started_at IS NOT NULL",
        )
        .bind(tasks)
        .fetch_all(&self.pool)
        .await?;
        let times = rows.iter().map(|row| {
            let (ready_to_started_us, started_to_accepted_us) = (row.try_get("queued")?, row.try_get("ran")?);
            Ok(StepTimes { ready_to_started_us, started_to_accepted_us })
        });
        Ok(times.collect::<Result<_, sqlx::Error>>()?)
    }
}

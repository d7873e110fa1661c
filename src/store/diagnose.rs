//! What a doctor asks the database: about itself, the schema, and what holds it up. Everything is read, nothing is locked, and
//! no payload is looked at. Each part can fail alone, for want of a right for example.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{ConnectOptions, Connection, PgConnection, Row};
use uuid::Uuid;

use super::connect::within;
use super::error::Error;
use super::migrate::MIGRATOR;

/// Longest wait for a session, and for each answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Rows of the inbox that are counted at most.
const INBOX_COUNTED_MAX: i64 = 10_000;

/// Refusals that are told, the latest first.
const REFUSALS_MAX: i64 = 100;

/// Settings that decide about durability, speed and room. None of them can hold a secret.
const SETTINGS: [&str; 22] = [
    "autovacuum",
    "checkpoint_timeout",
    "effective_cache_size",
    "fsync",
    "full_page_writes",
    "hot_standby",
    "huge_pages",
    "idle_in_transaction_session_timeout",
    "lock_timeout",
    "max_connections",
    "max_prepared_transactions",
    "max_wal_size",
    "server_version",
    "shared_buffers",
    "statement_timeout",
    "superuser_reserved_connections",
    "synchronous_commit",
    "synchronous_standby_names",
    "TimeZone",
    "wal_compression",
    "wal_level",
    "work_mem",
];

/// All that was found, each part or why it could not be.
#[derive(Debug)]
pub struct Diagnosis {
    /// The server.
    pub server: Result<ServerFacts, Error>,
    /// By how many microseconds the database's clock is ahead of this machine's, and how sure that is.
    pub clock: Result<ClockFacts, Error>,
    /// Migrations.
    pub schema: Result<SchemaFacts, Error>,
    /// What this role may not do, a sentence each.
    pub missing_rights: Result<Vec<String>, Error>,
    /// Partitions of this month and the next that are not there, as `table of month`; and whether one is of this month.
    pub missing_partitions: Result<Vec<MissingPartition>, Error>,
    /// Rows in default partitions, by table.
    pub default_rows: Result<Vec<(String, i64)>, Error>,
    /// The oldest transaction of another session, and prepared ones.
    pub transactions: Result<Vec<OpenTransaction>, Error>,
    /// The inbox.
    pub inbox: Result<InboxFacts, Error>,
    /// Replication slots.
    pub slots: Result<Vec<Slot>, Error>,
    /// Tables by size, the largest first.
    pub tables: Result<Vec<TableFacts>, Error>,
    /// Who owns the lanes.
    pub lanes: Result<Vec<LaneFacts>, Error>,
    /// By how many milliseconds the broker's clock was ahead of the database's at the last task, if that was today.
    pub broker_ahead_ms: Result<Option<i64>, Error>,
    /// Commands that were refused lately.
    pub refusals: Result<Vec<RefusedCommand>, Error>,
    /// Settings by name.
    pub settings: Result<Vec<(String, String)>, Error>,
}

/// The server as a whole.
#[derive(Clone, Debug, Serialize)]
pub struct ServerFacts {
    /// `server_version_num`, 150004 for 15.4.
    pub version_number: i32,
    /// As text.
    pub version: String,
    /// Whether it is a standby, on which nothing can be written.
    pub is_standby: bool,
    /// `fsync`.
    pub fsync: bool,
    /// `full_page_writes`.
    pub full_page_writes: bool,
    /// `synchronous_commit`, as a session has it.
    pub synchronous_commit: String,
    /// Sessions that there are.
    pub sessions: i64,
    /// Sessions that there may be for roles like this one.
    pub sessions_max: i64,
    /// Transactions since the oldest row was frozen; at two thousand million Postgres stops.
    pub transactions_unfrozen: i64,
    /// Bytes of this database.
    pub bytes: i64,
}

/// A comparison of two clocks.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ClockFacts {
    /// By how many milliseconds the database's clock is ahead of this machine's.
    pub ahead_ms: i64,
    /// The true difference is this close to it.
    pub error_ms: i64,
}

/// Which migrations were run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SchemaFacts {
    /// Whether there is a schema at all.
    pub exists: bool,
    /// Known here, not run there.
    pub missing: Vec<i64>,
    /// Run there, not known here: a later release was here.
    pub newer: Vec<i64>,
    /// Begun and not finished.
    pub failed: Vec<i64>,
    /// Run there with another content.
    pub different: Vec<i64>,
}

/// A partition that is not there.
#[derive(Clone, Debug, Serialize)]
pub struct MissingPartition {
    /// The table.
    pub table: String,
    /// `2026-11`.
    pub month: String,
    /// Whether that is now.
    pub is_current: bool,
}

/// A transaction of somebody.
#[derive(Clone, Debug, Serialize)]
pub struct OpenTransaction {
    /// `session` or `prepared`.
    pub kind: &'static str,
    /// The session's process number, or the name of a prepared transaction.
    pub name: String,
    /// What the application calls itself; the owner of a prepared one.
    pub application: String,
    /// `active`, `idle in transaction` and so on.
    pub state: String,
    /// How long it is open, in seconds.
    pub seconds: i64,
}

/// How the inbox is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct InboxFacts {
    /// Requests that wait, ten thousand at most.
    pub waiting: i64,
    /// Age of the oldest in seconds.
    pub oldest_seconds: i64,
    /// Requests that were refused and are still there, ten thousand at most.
    pub refused: i64,
}

/// A replication slot.
#[derive(Clone, Debug, Serialize)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Whether somebody reads from it.
    pub is_active: bool,
    /// Bytes of WAL that are kept for it.
    pub kept_bytes: i64,
}

/// A table or partition.
#[derive(Clone, Debug, Serialize)]
pub struct TableFacts {
    /// Its name in the schema.
    pub name: String,
    /// With indexes and what is stored apart.
    pub bytes: i64,
    /// Rows, about.
    pub rows: i64,
    /// Rows that are gone and still take room, about.
    pub dead_rows: i64,
}

/// A lane and its owner.
#[derive(Clone, Debug, Serialize)]
pub struct LaneFacts {
    /// The lane.
    pub lane: i16,
    /// Its epoch.
    pub epoch: i64,
    /// Host and process of the broker, while one owns it.
    pub owner: Option<(String, i64)>,
    /// Version of the broker.
    pub version: Option<String>,
    /// Milliseconds that are left of its lease; below 0 when it is over.
    pub lease_left_ms: Option<i64>,
}

/// A command that was refused.
#[derive(Clone, Debug, Serialize)]
pub struct RefusedCommand {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Which.
    pub command: String,
    /// The code of the refusal.
    pub code: String,
    /// The task, if it was about one.
    pub task_id: Option<Uuid>,
}

/// Asks everything. The outer error means that there is no session.
pub async fn diagnose(url: &str) -> Result<Diagnosis, Error> {
    let options = PgConnectOptions::from_str(url)?.application_name("tasker doctor");
    let options = options.options([("statement_timeout", "5000"), ("lock_timeout", "1000"), ("timezone", "UTC")]);
    let mut session = within(PATIENCE, options.connect()).await?;
    let it = &mut session;
    let diagnosis = Diagnosis {
        server: server(it).await,
        clock: clock(it).await,
        schema: schema(it).await,
        missing_rights: missing_rights(it).await,
        missing_partitions: missing_partitions(it).await,
        default_rows: default_rows(it).await,
        transactions: transactions(it).await,
        inbox: inbox(it).await,
        slots: slots(it).await,
        tables: tables(it).await,
        lanes: lanes(it).await,
        broker_ahead_ms: broker_ahead_ms(it).await,
        refusals: refusals(it).await,
        settings: settings(it).await,
    };
    // It ends with the process anyway.
    let _ = session.close().await;
    Ok(diagnosis)
}

async fn server(session: &mut PgConnection) -> Result<ServerFacts, Error> {
    let row = sqlx::query(
        "SELECT current_setting('server_version_num')::integer AS version_number,
             current_setting('server_version') AS version, pg_is_in_recovery() AS is_standby,
             current_setting('fsync')::boolean AS fsync, current_setting('full_page_writes')::boolean AS pages,
             current_setting('synchronous_commit') AS synchronous_commit,
             (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS sessions,
             current_setting('max_connections')::bigint
                 - current_setting('superuser_reserved_connections')::bigint AS sessions_max,
             (SELECT max(age(datfrozenxid))::bigint FROM pg_database) AS unfrozen,
             pg_database_size(current_database()) AS bytes",
    )
    .fetch_one(session)
    .await?;
    Ok(ServerFacts {
        version_number: row.try_get("version_number")?,
        version: row.try_get("version")?,
        is_standby: row.try_get("is_standby")?,
        fsync: row.try_get("fsync")?,
        full_page_writes: row.try_get("pages")?,
        synchronous_commit: row.try_get("synchronous_commit")?,
        sessions: row.try_get("sessions")?,
        sessions_max: row.try_get("sessions_max")?,
        transactions_unfrozen: row.try_get("unfrozen")?,
        bytes: row.try_get("bytes")?,
    })
}

async fn clock(session: &mut PgConnection) -> Result<ClockFacts, Error> {
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let before = now_ms();
    let there: i64 = sqlx::query_scalar(sql).fetch_one(session).await?;
    let after = now_ms();
    // The answer was made at some time between the two.
    let half = (after - before) / 2;
    Ok(ClockFacts { ahead_ms: there - (before + half), error_ms: half + 1 })
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

async fn schema(session: &mut PgConnection) -> Result<SchemaFacts, Error> {
    let find = "SELECT to_regclass('tasker._sqlx_migrations') IS NOT NULL";
    let known = || MIGRATOR.iter().map(|migration| migration.version);
    if !sqlx::query_scalar(find).fetch_one(&mut *session).await? {
        return Ok(SchemaFacts { missing: known().collect(), ..SchemaFacts::default() });
    }
    let rows = sqlx::query("SELECT version, success, checksum FROM tasker._sqlx_migrations ORDER BY version");
    let rows = rows.fetch_all(session).await?;
    let mut facts = SchemaFacts { exists: true, ..SchemaFacts::default() };
    let mut applied = Vec::new();
    for row in rows {
        let version: i64 = row.try_get("version")?;
        let checksum: Vec<u8> = row.try_get("checksum")?;
        applied.push(version);
        match MIGRATOR.iter().find(|migration| migration.version == version) {
            None => facts.newer.push(version),
            Some(_) if !row.try_get::<bool, _>("success")? => facts.failed.push(version),
            Some(known) if *known.checksum != *checksum => facts.different.push(version),
            Some(_) => {}
        }
    }
    facts.missing = known().filter(|version| !applied.contains(version)).collect();
    Ok(facts)
}

async fn missing_rights(session: &mut PgConnection) -> Result<Vec<String>, Error> {
    let rights = "SELECT CASE WHEN has_schema_privilege('tasker', 'USAGE') THEN NULL
             ELSE 'may not use the schema tasker' END
         UNION ALL SELECT CASE WHEN has_schema_privilege('tasker', 'CREATE') THEN NULL
             ELSE 'may not make partitions in the schema tasker' END
         UNION ALL SELECT 'may not read and write tasker.' || relation.relname
         FROM pg_class AS relation JOIN pg_namespace AS place ON place.oid = relation.relnamespace
         WHERE place.nspname = 'tasker' AND relation.relkind IN ('r', 'p') AND NOT relation.relispartition
           AND relation.relname <> '_sqlx_migrations'
           AND NOT (has_table_privilege(relation.oid, 'SELECT') AND has_table_privilege(relation.oid, 'INSERT'))";
    let rights: Vec<Option<String>> = sqlx::query_scalar(rights).fetch_all(session).await?;
    Ok(rights.into_iter().flatten().collect())
}

async fn missing_partitions(session: &mut PgConnection) -> Result<Vec<MissingPartition>, Error> {
    let rows = sqlx::query(
        "SELECT parent.relname::text AS parent, to_char(ahead.month, 'YYYY-MM') AS month,
             ahead.month = this.month AS is_current
         FROM (SELECT date_trunc('month', now() AT TIME ZONE 'UTC') AS month) AS this
         CROSS JOIN LATERAL generate_series(this.month, this.month + interval '1 month', interval '1 month')
             AS ahead (month)
         CROSS JOIN pg_class AS parent JOIN pg_namespace AS place ON place.oid = parent.relnamespace
         WHERE place.nspname = 'tasker' AND parent.relkind = 'p'
           AND to_regclass(format('tasker.%I', parent.relname || to_char(ahead.month, '\"_y\"YYYY\"m\"MM'))) IS NULL
         ORDER BY ahead.month, parent.relname",
    );
    let partition = |row: &PgRow| {
        Ok(MissingPartition {
            table: row.try_get("parent")?,
            month: row.try_get("month")?,
            is_current: row.try_get("is_current")?,
        })
    };
    rows.fetch_all(session).await?.iter().map(partition).collect()
}

async fn default_rows(session: &mut PgConnection) -> Result<Vec<(String, i64)>, Error> {
    let sql = "SELECT relname::text, n_live_tup FROM pg_stat_user_tables
               WHERE schemaname = 'tasker' AND relname LIKE '%\\_default' AND n_live_tup > 0 ORDER BY relname";
    Ok(sqlx::query_as(sql).fetch_all(session).await?)
}

async fn transactions(session: &mut PgConnection) -> Result<Vec<OpenTransaction>, Error> {
    let rows = sqlx::query(
        "(SELECT false AS is_prepared, pid::text AS name, application_name AS application, coalesce(state, '?') AS state,
              extract(epoch FROM clock_timestamp() - xact_start)::bigint AS seconds
          FROM pg_stat_activity
          WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
            AND backend_type = 'client backend'
          ORDER BY xact_start LIMIT 1)
         UNION ALL
         (SELECT true, gid, owner::text, 'prepared', extract(epoch FROM clock_timestamp() - prepared)::bigint
          FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared LIMIT 5)",
    );
    let transaction = |row: &PgRow| {
        Ok(OpenTransaction {
            kind: if row.try_get("is_prepared")? { "prepared" } else { "session" },
            name: row.try_get("name")?,
            application: row.try_get("application")?,
            state: row.try_get("state")?,
            seconds: row.try_get("seconds")?,
        })
    };
    rows.fetch_all(session).await?.iter().map(transaction).collect()
}

async fn inbox(session: &mut PgConnection) -> Result<InboxFacts, Error> {
    let row = sqlx::query(
        "SELECT (SELECT count(*) FROM (SELECT FROM tasker.task_inbox WHERE refusal IS NULL LIMIT $1) AS counted) AS waiting,
             (SELECT count(*) FROM (SELECT FROM tasker.task_inbox WHERE refusal IS NOT NULL LIMIT $1) AS counted) AS refused,
             coalesce((SELECT extract(epoch FROM clock_timestamp() - submitted_at)::bigint FROM tasker.task_inbox
                       WHERE refusal IS NULL ORDER BY inbox_id LIMIT 1), 0) AS oldest_seconds",
    )
    .bind(INBOX_COUNTED_MAX)
    .fetch_one(session)
    .await?;
    Ok(InboxFacts {
        waiting: row.try_get("waiting")?,
        oldest_seconds: row.try_get("oldest_seconds")?,
        refused: row.try_get("refused")?,
    })
}

async fn slots(session: &mut PgConnection) -> Result<Vec<Slot>, Error> {
    let rows = sqlx::query(
        "SELECT slot_name::text AS name, active, coalesce(pg_wal_lsn_diff(
             CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END,
             restart_lsn)::bigint, 0) AS kept
         FROM pg_replication_slots ORDER BY slot_name",
    );
    let slot = |row: &PgRow| {
        Ok(Slot { name: row.try_get("name")?, is_active: row.try_get("active")?, kept_bytes: row.try_get("kept")? })
    };
    rows.fetch_all(session).await?.iter().map(slot).collect()
}

async fn tables(session: &mut PgConnection) -> Result<Vec<TableFacts>, Error> {
    let rows = sqlx::query(
        "SELECT relname::text AS name, pg_total_relation_size(relid) AS bytes, n_live_tup AS rows, n_dead_tup AS dead
         FROM pg_stat_user_tables WHERE schemaname = 'tasker' ORDER BY bytes DESC, relname",
    );
    let table = |row: &PgRow| {
        Ok(TableFacts {
            name: row.try_get("name")?,
            bytes: row.try_get("bytes")?,
            rows: row.try_get("rows")?,
            dead_rows: row.try_get("dead")?,
        })
    };
    rows.fetch_all(session).await?.iter().map(table).collect()
}

async fn lanes(session: &mut PgConnection) -> Result<Vec<LaneFacts>, Error> {
    let rows = sqlx::query(
        "SELECT lane.lane, lane.epoch, broker.host, broker.pid, broker.version,
             (extract(epoch FROM lane.expires_at - clock_timestamp()) * 1000)::bigint AS left_ms
         FROM tasker.lanes AS lane LEFT JOIN tasker.brokers AS broker ON broker.broker_id = lane.owner
         ORDER BY lane.lane",
    );
    let lane = |row: &PgRow| {
        let (host, pid) = (row.try_get::<Option<String>, _>("host")?, row.try_get::<Option<i64>, _>("pid")?);
        Ok(LaneFacts {
            lane: row.try_get("lane")?,
            epoch: row.try_get("epoch")?,
            owner: host.zip(pid),
            version: row.try_get("version")?,
            lease_left_ms: row.try_get("left_ms")?,
        })
    };
    rows.fetch_all(session).await?.iter().map(lane).collect()
}

async fn broker_ahead_ms(session: &mut PgConnection) -> Result<Option<i64>, Error> {
    // The id has the broker's time in it, `created_at` is the database's.
    let row = sqlx::query(
        "SELECT task_id, (extract(epoch FROM created_at) * 1000)::bigint AS created_ms FROM tasker.tasks
         WHERE created_at > now() - interval '1 day' ORDER BY task_id DESC LIMIT 1",
    )
    .fetch_optional(session)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let (task, created_ms): (Uuid, i64) = (row.try_get("task_id")?, row.try_get("created_ms")?);
    let minted = task.get_timestamp().map(|timestamp| timestamp.to_unix());
    Ok(minted.and_then(|(seconds, nanoseconds)| {
        let minted_ms = i64::try_from(seconds).ok()?.checked_mul(1_000)? + i64::from(nanoseconds / 1_000_000);
        Some(minted_ms - created_ms)
    }))
}

async fn refusals(session: &mut PgConnection) -> Result<Vec<RefusedCommand>, Error> {
    let rows = sqlx::query(
        "SELECT (extract(epoch FROM received_at) * 1000)::bigint AS at_ms, name, outcome, task_id FROM tasker.commands
         WHERE outcome <> 'accepted' AND received_at > now() - interval '1 day' ORDER BY received_at DESC LIMIT $1",
    )
    .bind(REFUSALS_MAX);
    let refusal = |row: &PgRow| {
        Ok(RefusedCommand {
            at_ms: row.try_get("at_ms")?,
            command: row.try_get("name")?,
            code: row.try_get("outcome")?,
            task_id: row.try_get("task_id")?,
        })
    };
    rows.fetch_all(session).await?.iter().map(refusal).collect()
}

async fn settings(session: &mut PgConnection) -> Result<Vec<(String, String)>, Error> {
    let names: Vec<String> = SETTINGS.iter().map(|name| (*name).to_owned()).collect();
    let sql = "SELECT name, current_setting(name) FROM unnest($1::text[]) AS name";
    Ok(sqlx::query_as(sql).bind(names).fetch_all(session).await?)
}

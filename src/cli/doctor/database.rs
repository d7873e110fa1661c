//! What the database's answers mean.

use std::time::Duration;

use super::finding::Findings;
use crate::cli::time::format_us;
use crate::store::{self, Diagnosis, InboxFacts, OpenTransaction, SchemaFacts, ServerFacts};

/// Versions of Postgres that are tested.
const VERSION_MIN: i32 = 150_000;

/// Sessions that a broker takes at least: the writer, readers, and one for an operator.
const SESSIONS_ROOM: i64 = 8;

/// Transactions since the last freeze at which Postgres begins to warn itself, less a margin; autovacuum begins at a tenth.
const UNFROZEN_WARNING: i64 = 1_000_000_000;
const UNFROZEN_PROBLEM: i64 = 1_800_000_000;

/// A replication slot that nobody reads keeps WAL for ever; so much of it deserves a look.
const SLOT_BYTES_WARNING: i64 = 1 << 30;

/// Dead rows that are worth a look when they are also more than the living.
const DEAD_ROWS_WARNING: i64 = 100_000;

/// Clocks that differ by more make times in lists hard to compare; nothing else depends on them.
const CLOCK_WARNING_MS: i64 = 2_000;
/// By more, delayed starts and partitions go by another day.
const CLOCK_PROBLEM_MS: i64 = 60_000;

/// What is long, by the options of the command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub transaction: Duration,
    pub inbox: Duration,
}

/// That there is no session, and why.
pub(super) fn unreachable(findings: &mut Findings, shown_url: &str, error: &store::Error) {
    let advice = match error {
        store::Error::Unusable { .. } => "mend user, password, name or rights: the server is there and refuses us",
        _ => "start Postgres, or mend database.url (DATABASE_URL)",
    };
    findings.problem("database", format!("{shown_url}: {error}"), advice);
}

/// Everything else.
pub(super) fn check(findings: &mut Findings, diagnosis: &Diagnosis, shown_url: &str, patience: Patience) {
    findings.ok("database", format!("{shown_url} answers"));
    part(findings, "database.version", &diagnosis.server, server);
    part(findings, "database.migrations", &diagnosis.schema, schema);
    if diagnosis.schema.as_ref().is_ok_and(|schema| schema.exists) {
        inside(findings, diagnosis, patience);
    }
    part(findings, "database.transactions", &diagnosis.transactions, |findings, transactions| {
        self::transactions(findings, transactions, patience.transaction);
    });
    part(findings, "database.slots", &diagnosis.slots, |findings, slots| {
        let kept = |bytes: i64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
        match slots.iter().find(|slot| !slot.is_active && slot.kept_bytes > SLOT_BYTES_WARNING) {
            Some(slot) => findings.warning(
                "database.slots",
                format!(
                    "nobody reads the replication slot {}, and {} of WAL are kept for it",
                    slot.name,
                    kept(slot.kept_bytes)
                ),
                "start its reader, or drop it by pg_drop_replication_slot()",
            ),
            None => findings.ok("database.slots", format!("{} replication slots, none holds up WAL", slots.len())),
        }
    });
    part(findings, "clock.database", &diagnosis.clock, |findings, clock| {
        let found = format!("the database's clock is {} this machine's", ahead(clock.ahead_ms));
        clock_found(findings, "clock.database", clock.ahead_ms.abs() - clock.error_ms, &found);
    });
}

/// What needs the tables.
fn inside(findings: &mut Findings, diagnosis: &Diagnosis, patience: Patience) {
    part(findings, "database.rights", &diagnosis.missing_rights, |findings, missing| match missing.as_slice() {
        [] => findings.ok("database.rights", "this role may do what the broker does"),
        [first, ..] => findings.problem(
            "database.rights",
            format!("this role {first}, and lacks {} rights in all", missing.len()),
            "GRANT them, or run the broker as the role that ran `tasker migrate`",
        ),
    });
    part(findings, "database.partitions", &diagnosis.missing_partitions, |findings, missing| match missing.first() {
        None => findings.ok("database.partitions", "those of this month and the next are there"),
        Some(first) => {
            let found = format!("{} partitions are missing, {} of {} first", missing.len(), first.table, first.month);
            let advice =
                "`tasker migrate` makes them, and so does a broker, daily; until then rows go into the default ones";
            match first.is_current {
                true => findings.problem("database.partitions", found, advice),
                false => findings.warning("database.partitions", found, advice),
            }
        }
    });
    part(findings, "database.default_partitions", &diagnosis.default_rows, |findings, rows| match rows.first() {
        None => findings.ok("database.default_partitions", "are empty"),
        Some((table, count)) => findings.warning(
            "database.default_partitions",
            format!("{table} has about {count} rows, which no month takes along"),
            "`tasker migrate` moves them when their month is near; else look at the clocks",
        ),
    });
    part(findings, "database.inbox", &diagnosis.inbox, |findings, inbox| self::inbox(findings, inbox, patience.inbox));
    part(findings, "database.tables", &diagnosis.tables, |findings, tables| {
        let is_bloated =
            |table: &&store::TableFacts| table.dead_rows > DEAD_ROWS_WARNING && table.dead_rows > table.rows;
        match tables.iter().find(is_bloated) {
            Some(table) => findings.warning(
                "database.tables",
                format!("tasker.{} has {} dead rows and {} living ones", table.name, table.dead_rows, table.rows),
                "look for what keeps autovacuum from it (long transactions, slots), then VACUUM it",
            ),
            None => findings.ok("database.tables", format!("{} tables and partitions, none is bloated", tables.len())),
        }
    });
    part(findings, "clock.broker", &diagnosis.broker_ahead_ms, |findings, ahead_ms| match ahead_ms {
        None => findings.ok("clock.broker", "no task of the last day to compare by"),
        Some(ahead_ms) => {
            let found = format!("at the last task the broker's clock was {} the database's", ahead(*ahead_ms));
            clock_found(findings, "clock.broker", ahead_ms.abs(), &found);
        }
    });
}

/// One part, or why it is missing.
fn part<T>(
    findings: &mut Findings,
    check: &'static str,
    facts: &Result<T, store::Error>,
    look: impl FnOnce(&mut Findings, &T),
) {
    match facts {
        Ok(facts) => look(findings, facts),
        Err(error) => {
            findings.unknown(check, error.to_string(), "try again as the broker's role, or as one with more rights")
        }
    }
}

fn server(findings: &mut Findings, server: &ServerFacts) {
    match server.version_number >= VERSION_MIN {
        true => findings.ok("database.version", format!("Postgres {}", server.version)),
        false => findings.problem(
            "database.version",
            format!("Postgres {}", server.version),
            "15 is the oldest that is tested",
        ),
    }
    if server.is_standby {
        let found = "the server is a standby, on which nothing can be written";
        findings.problem("database.writable", found, "let database.url name the primary");
    }
    let off = [("fsync", !server.fsync), ("full_page_writes", !server.full_page_writes)];
    let off: Vec<&str> = off.into_iter().filter(|(_, is_off)| *is_off).map(|(name, _)| name).collect();
    if !off.is_empty() {
        let found = format!("{} = off: a crash of the machine can lose or spoil what was accepted", off.join(" and "));
        findings.problem("database.durability", found, "switch it on in postgresql.conf and reload");
    } else if server.synchronous_commit == "off" {
        findings.warning(
            "database.durability",
            "synchronous_commit = off: the broker sets it for itself, but what applications submit in SQL can be lost",
            "switch it on for this database or for the roles that call tasker.submit_task",
        );
    } else {
        let found = format!("fsync and full_page_writes are on, synchronous_commit = {}", server.synchronous_commit);
        findings.ok("database.durability", found);
    }
    let found = format!("{} of {} sessions are in use", server.sessions, server.sessions_max);
    match server.sessions_max - server.sessions < SESSIONS_ROOM {
        true => findings.warning("database.sessions", found, "raise max_connections, or find who holds so many"),
        false => findings.ok("database.sessions", found),
    }
    let found = format!("{} million transactions since the last freeze", server.transactions_unfrozen / 1_000_000);
    let advice = "find what keeps autovacuum from freezing (long transactions, slots), then VACUUM FREEZE";
    match server.transactions_unfrozen {
        UNFROZEN_PROBLEM.. => findings.problem("database.freeze", found, advice),
        UNFROZEN_WARNING.. => findings.warning("database.freeze", found, advice),
        _ => findings.ok("database.freeze", found),
    }
}

fn schema(findings: &mut Findings, schema: &SchemaFacts) {
    let list = |versions: &[i64]| versions.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    let check = "database.migrations";
    if !schema.exists {
        findings.problem(check, "the database has no tables of tasker", "run `tasker migrate`");
    } else if !schema.failed.is_empty() {
        let found = format!("migration {} was begun and did not end", list(&schema.failed));
        findings.problem(check, found, "look at the log of `tasker migrate`, mend the cause, and run it again");
    } else if !schema.different.is_empty() {
        let found = format!("migration {} was run with another content", list(&schema.different));
        findings.problem(check, found, "this program is not of a release, or the database is not");
    } else if !schema.missing.is_empty() {
        let found = format!("migration {} is missing", list(&schema.missing));
        findings.problem(check, found, "run `tasker migrate`, or start the broker with --migrate");
    } else if !schema.newer.is_empty() {
        let found = format!("the database has migration {}, which this program does not know", list(&schema.newer));
        findings.warning(
            check,
            found,
            "a later release was here: use that one, unless you are rolling back by one release",
        );
    } else {
        findings.ok(check, "all were run");
    }
}

fn transactions(findings: &mut Findings, transactions: &[OpenTransaction], patience: Duration) {
    let is_long = |open: &&OpenTransaction| u64::try_from(open.seconds).unwrap_or(0) >= patience.as_secs();
    let Some(open) = transactions.iter().filter(is_long).max_by_key(|open| (open.kind, open.seconds)) else {
        findings.ok("database.transactions", "none is open for long");
        return;
    };
    let age = format_us(u64::try_from(open.seconds).unwrap_or(0).saturating_mul(1_000_000));
    let OpenTransaction { kind, name, application, state, .. } = open;
    let (found, advice) = match *kind {
        "prepared" => (
            format!("the prepared transaction {name} of {application} is open for {age}"),
            "COMMIT PREPARED or ROLLBACK PREPARED it: until then vacuum cannot remove any row that died since"
                .to_owned(),
        ),
        _ => (
            format!("a transaction of {application:?} (process {name}, {state}) is open for {age}"),
            format!("end it by pg_terminate_backend({name}); until then vacuum cannot remove what died since"),
        ),
    };
    findings.warning("database.transactions", found, advice);
}

fn inbox(findings: &mut Findings, inbox: &InboxFacts, patience: Duration) {
    let age_seconds = u64::try_from(inbox.oldest_seconds).unwrap_or(0);
    let InboxFacts { waiting, refused, .. } = inbox;
    if *waiting > 0 && age_seconds >= patience.as_secs() {
        let age = format_us(age_seconds.saturating_mul(1_000_000));
        findings.warning(
            "database.inbox",
            format!("{waiting} requests wait in tasker.task_inbox, the oldest for {age}"),
            "a broker takes them within a second unless it is away, overloaded, or on another database",
        );
    } else {
        findings.ok("database.inbox", format!("{waiting} requests wait, {refused} refused ones are kept"));
    }
}

fn clock_found(findings: &mut Findings, check: &'static str, apart_ms: i64, found: &str) {
    let advice = "set the clocks by NTP (chrony, systemd-timesyncd) on all machines";
    match apart_ms {
        CLOCK_PROBLEM_MS.. => findings.problem(check, found, advice),
        CLOCK_WARNING_MS.. => findings.warning(check, found, advice),
        _ => findings.ok(check, found),
    }
}

/// `12.3 ms ahead of`.
fn ahead(ms: i64) -> String {
    let how = if ms < 0 { "behind" } else { "ahead of" };
    format!("{} {how}", format_us(ms.unsigned_abs().saturating_mul(1_000)))
}

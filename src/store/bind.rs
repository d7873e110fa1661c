//! Binds rows to the parameters of the statement that writes a group, part by part, an array a column.

use std::borrow::Cow;
use std::fmt::Write;

use sqlx::Postgres;
use sqlx::postgres::{PgArguments, PgBindIterExt};
use sqlx::query::Query;
use tasker_engine::BatchItem;

use super::json::JsonText;
use super::rows::{Rows, capability_columns};

type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// Binds one part.
pub(super) type Bind = for<'q> fn(Statement<'q>, &'q Rows<'q>, &'q [i32]) -> Statement<'q>;

/// The end of the year 9999 in microseconds: a worker's clock that shows more is as good as none.
const STARTED_AT_US_MAX: i64 = 253_402_300_799_000_000;

/// One for each of [`super::statement::PARTS`], in the same order.
pub(super) const BINDS: [Bind; super::statement::PARTS.len()] = [
    tasks,
    keys,
    reopened,
    ended,
    batches,
    closings,
    settled,
    failed,
    returned,
    received,
    actions,
    fleet_actions,
    registered,
    unregistered,
    commands,
    inbox_taken,
    inbox_refused,
];

/// Binds `$next` as an array with an element for each row.
macro_rules! columns {
    ($statement:expr, $rows:expr, $($column:expr),* $(,)?) => {{
        let statement = $statement;
        $(let statement = statement.bind($rows.iter().map($column).bind_iter());)*
        statement
    }};
}

fn tasks<'q>(statement: Statement<'q>, rows: &'q Rows<'q>, template_ids: &'q [i32]) -> Statement<'q> {
    let statement = statement.bind(rows.tasks.iter().map(|row| row.task.id.0).bind_iter()).bind(template_ids);
    columns!(
        statement,
        rows.tasks,
        |row| row.task.priority,
        |row| row.task.run_at.map(|at| at.0),
        |row| JsonText(&row.task.context),
        |row| row.task.idempotency_key.as_deref(),
        |row| row.task.labels.initiator.as_deref(),
        |row| row.task.labels.source_system.as_deref(),
        |row| row.task.labels.reason.as_deref(),
        |row| text_array(&row.task.labels.tags),
        |row| row.task.labels.correlation_id.as_deref(),
        |row| row.task.labels.options.as_deref().map(JsonText),
        |row| row.task.labels.trace.as_ref().map(|trace| &*trace.parent),
        |row| row.task.labels.trace.as_ref().and_then(|trace| trace.state.as_deref()),
        |row| Some(&row.task.bypass_steps).filter(|steps| !steps.is_empty()).map(|steps| integer_array(steps)),
        |row| row.ended.map(|state| state.as_str()),
    )
}

fn keys<'q>(statement: Statement<'q>, rows: &'q Rows<'q>, template_ids: &'q [i32]) -> Statement<'q> {
    let keyed = || {
        let tasks = rows.tasks.iter().map(|row| row.task).zip(template_ids);
        tasks.filter_map(|(task, template_id)| Some((task, *template_id, task.idempotency_key.as_deref()?)))
    };
    statement
        .bind(keyed().map(|(task, _, _)| &*task.template.key.namespace).bind_iter())
        .bind(keyed().map(|(task, _, _)| &*task.template.key.name).bind_iter())
        .bind(keyed().map(|(_, _, key)| key).bind_iter())
        .bind(keyed().map(|(task, _, _)| task.id.0).bind_iter())
        .bind(keyed().map(|(_, template_id, _)| template_id).bind_iter())
}

fn reopened<'q>(statement: Statement<'q>, rows: &'q Rows<'q>, _: &'q [i32]) -> Statement<'q> {
    columns!(statement, rows.reopened, |task| task.0)
}

fn ended<'q>(statement: Statement<'q>, rows: &'q Rows<'q>, _: &'q [i32]) -> Statement<'q> {
    columns!(statement, rows.ended, |(task, _)| task.0, |(_, state)| state.map(|state| state.as_str()))
}

/// The items of all batches in three flat arrays, and for each batch which of them are its own.
fn batches<'q>(statement: Statement<'q>, rows: &'q Rows<'q>, _: &'q [i32]) -> Statement<'q> {
    let items = || rows.batches.iter().flat_map(|batch| batch.items.iter());
    let (mut first, mut last) = (1, 0);
    let statement = columns!(
        statement,
        rows.batches,
        |batch| batch.id.0,
        |batch| batch.registration.0,
        |batch| big(batch.deadline_in_ms),
        |batch| {
            let start: i32 = first;
            first += length(&batch.items);
            start
        },
        |batch| {
            last += length(&batch.items);
            last
        },
    );
    statement
        .bind(items().map(|item| item.task.0).bind_iter())
        .bind(items().map(|item| int(item.step)).bind_iter())
        .bind(items().map(|item| int(item.attempt)).bind_iter())
}

fn closings<'q>(statement: Statement<'q>, rows: &'q Rows<'q>, _: &'q [i32]) -> Statement<'q> {
    columns!(statement, rows.closings, |(batch, _, _)| batch.0, |(_, state, _)| state.as_str(), |(
        _,
        _,
        differences,
    )| differences
        .as_ref()
        .map(|json| JsonText(json.as_bytes())),)
}

fn settled<'q>(statement: Statement<'q>, rows: &'q Rows<'q>, _: &'q [i32]) -> Statement<'q> {
    columns!(
        statement,
        rows.settled,
        |row| row.task.0,
        |row| row.batch.map(|batch| batch.0),
        |row| row.registration.map(|registration| registration.0),
        |row| row.checksum.cast_signed(),
        |row| row.batch.map(|_| big(row.duration_us)),
        |row| started_at_us(row.started_at_us),
        |row| row.batch.map(|_| big(row.dispatched_ms_ago)),
        |row| int(row.step),
        |row| int(row.attempt),
        |row| row.kind.as_str(),
        |row| JsonText::or_null(&row.result),
        |row| row.metadata.as_deref().map(JsonText),
    )
}

fn failed<'q>(statement: Statement<'q>, rows: &'q Rows<'q>, _: &'q [i32]) -> Statement<'q> {
    columns!(
        statement,
        rows.failed,
        |row| row.task.0,
        |row| row.batch.0,
        |row| row.registration.0,
        |row| big(row.duration_us),
        |row| started_at_us(row.started_at_us),
        |row| big(row.dispatched_ms_ago),
        |row| row.retry_in_ms.map(big),
        |row| int(row.step),
        |row| int(row.attempt),
        |row| row.cause.as_str(),
        |row| storable(&row.failure.class),
        |row| storable(&row.failure.message),
        |row| row.failure.code.as_deref().map(storable),
        |row| row.failure.context.as_deref().map(JsonText),
        |row| text_array(&row.failure.backtrace),
    )
}

fn returned<'q>(statement: Statement<'q>, rows: &'q Rows<'q>, _: &'q [i32]) -> Statement<'q> {
    columns!(
        statement,
        rows.returned,
        |row| row.task.0,
        |row| row.batch.0,
        |row| int(row.step),
        |row| int(row.attempt),
        |row| storable(row.reason),
    )
}

fn received<'q>(statement: Statement<'q>, rows: &'q Rows<'q>, _: &'q [i32]) -> Statement<'q> {
    columns!(
        statement,
        rows.received,
        |row| row.at.task.0,
        |row| row.at.batch.0,
        |row| row.registration.map(|registration| registration.0),
        |row| storable(&row.at.step),
        |row| i64::from(row.at.attempt),
        |row| row.disposition.as_str(),
        |row| row.status,
        |row| row.checksum.cast_signed(),
        |row| match String::from_utf8_lossy(&row.payload) {
            Cow::Borrowed(text) => storable(text),
            Cow::Owned(text) => Cow::Owned(storable(&text).into_owned()),
        },
    )
}

fn actions<'q>(statement: Statement<'q>, rows: &'q Rows<'q>, _: &'q [i32]) -> Statement<'q> {
    columns!(
        statement,
        rows.actions,
        |row| row.operation.task.0,
        |row| row.step.map(int),
        |row| row.kind(),
        |row| storable(&row.operation.actor),
        |row| storable(&row.operation.reason),
        |row| row.before,
        |row| row.after,
        |row| int(row.attempts_before),
    )
}

fn fleet_actions<'q>(statement: Statement<'q>, rows: &'q Rows<'q>, _: &'q [i32]) -> Statement<'q> {
    columns!(
        statement,
        rows.fleet_actions,
        |row| row.action.kind.subject(),
        |row| &*row.action.subject,
        |row| row.action.kind.name(),
        |row| storable(&row.action.actor),
        |row| storable(&row.action.reason),
        |row| row.before,
        |row| row.after,
    )
}

fn registered<'q>(statement: Statement<'q>, rows: &'q Rows<'q>, _: &'q [i32]) -> Statement<'q> {
    let capabilities = || {
        let of_row = |row: &'q super::rows::RegistrationRow<'q>| {
            row.worker.capabilities.iter().enumerate().map(|(position, capability)| {
                (row.registration.0, int(u32::try_from(position).unwrap_or(u32::MAX)), capability_columns(capability))
            })
        };
        rows.registered.iter().flat_map(of_row)
    };
    columns!(
        statement,
        rows.registered,
        |row| row.registration.0,
        |row| &*row.worker.name,
        |row| row.worker.incarnation,
        |row| int(row.worker.concurrency),
        |row| storable(&row.worker.host),
        |row| i64::from(row.worker.pid),
        |row| storable(&row.worker.language),
        |row| storable(&row.worker.library),
        |row| row.worker.key.as_deref(),
        |row| row.ended,
    )
    .bind(capabilities().map(|(registration, _, _)| registration).bind_iter())
    .bind(capabilities().map(|(_, position, _)| position).bind_iter())
    .bind(capabilities().map(|(_, _, (namespace, _, _))| namespace).bind_iter())
    .bind(capabilities().map(|(_, _, (_, name, _))| name).bind_iter())
    .bind(capabilities().map(|(_, _, (_, _, version))| version).bind_iter())
}

fn unregistered<'q>(statement: Statement<'q>, rows: &'q Rows<'q>, _: &'q [i32]) -> Statement<'q> {
    columns!(statement, rows.unregistered, |(registration, _)| registration.0, |(_, reason)| *reason)
}

fn commands<'q>(statement: Statement<'q>, rows: &'q Rows<'q>, _: &'q [i32]) -> Statement<'q> {
    columns!(
        statement,
        rows.commands,
        |row| row.origin.peer.0.cast_signed(),
        |row| row.origin.correlation,
        |row| row.task.map(|task| task.0),
        |row| row.name,
        |row| row.outcome,
        |row| int(row.duration_ms),
    )
}

fn inbox_taken<'q>(statement: Statement<'q>, rows: &'q Rows<'q>, _: &'q [i32]) -> Statement<'q> {
    statement.bind(&rows.inbox_taken)
}

fn inbox_refused<'q>(statement: Statement<'q>, rows: &'q Rows<'q>, _: &'q [i32]) -> Statement<'q> {
    columns!(statement, rows.inbox_refused, |(row, _)| *row, |(_, reason)| storable(reason))
}

/// Step numbers, attempts and the like, which limits keep far below 2^31.
fn int(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Durations.
fn big(value: u64) -> i64 {
    // A century in microseconds, so that no time that is computed from it leaves the range of a timestamp.
    const CENTURY_US: u64 = 3_155_760_000_000_000;
    value.min(CENTURY_US).cast_signed()
}

fn started_at_us(value: i64) -> Option<i64> {
    (1..=STARTED_AT_US_MAX).contains(&value).then_some(value)
}

fn length(items: &[BatchItem]) -> i32 {
    i32::try_from(items.len()).unwrap_or(i32::MAX)
}

/// Text from a peer, without the NUL that Postgres refuses in text: a worker's error message must not stop a commit.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{FFFD}")) } else { Cow::Borrowed(text) }
}

/// The literal of a `text[]`: arrays of arrays must be rectangular, so that each row's array travels as text.
fn text_array<T: AsRef<str>>(items: &[T]) -> Option<String> {
    if items.is_empty() {
        return None;
    }
    let mut literal = String::from("{");
    for (index, item) in items.iter().enumerate() {
        literal.push_str(if index == 0 { "\"" } else { ",\"" });
        for character in storable(item.as_ref()).chars() {
            if matches!(character, '"' | '\\') {
                literal.push('\\');
            }
            literal.push(character);
        }
        literal.push('"');
    }
    literal.push('}');
    Some(literal)
}

/// The literal of an `integer[]`.
pub(super) fn integer_array(items: &[u32]) -> String {
    let mut literal = String::from("{");
    for (index, item) in items.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(literal, "{comma}{item}");
    }
    literal.push('}');
    literal
}

//! The writer of a lane: commits groups in order, one at a time, and finds out what became of a commit whose answer was
//! lost.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::postgres::PgArguments;
use sqlx::{Arguments, AssertSqlSafe, Connection, PgConnection, Row};
use tasker_engine::TemplateKey;
use uuid::Uuid;

use super::bind::BINDS;
use super::connect;
use super::error::Error;
use super::group::Group;
use super::lane::milliseconds;
use super::rows::Rows;
use super::statement::{self, Statements};
use super::templates;

/// What an array of one short value takes on its way to Postgres: its length, five numbers, the value's length, each of four
/// bytes, and eight of the value.
const ARRAY_BYTES: usize = 36;

/// What a row takes there, mostly; so much room is made before.
const ROW_BYTES: usize = 160;

/// A group that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its place in the lane.
    pub seq: i64,
    /// Rows that carry this seq, as declared in `group_log`.
    pub rows: u32,
}

/// The right to write to a lane, and the session to do it with.
#[derive(Debug)]
pub struct Writer {
    url: String,
    /// `None` after trouble, when nobody knows what became of the last group: [`Writer::resume`] finds out.
    session: Option<PgConnection>,
    broker: Uuid,
    lane: i16,
    epoch: i64,
    /// Of the last group that is known to be committed.
    seq: i64,
    lease: Duration,
    statements: Statements,
    template_ids: HashMap<TemplateKey, i32>,
}

impl Writer {
    pub(super) async fn new(
        url: &str,
        mut session: PgConnection,
        broker: Uuid,
        lane: i16,
        epoch: i64,
        seq: i64,
        lease: Duration,
    ) -> Result<Writer, Error> {
        let template_ids = templates::ids(&mut session).await?;
        let statements = Statements::default();
        Ok(Writer {
            url: url.into(),
            session: Some(session),
            broker,
            lane,
            epoch,
            seq,
            lease,
            statements,
            template_ids,
        })
    }

    /// The lane.
    pub fn lane(&self) -> i16 {
        self.lane
    }

    /// The epoch under which this writer writes.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// The place of the last group that is known to be committed.
    pub fn seq(&self) -> i64 {
        self.seq
    }

    /// Writes a group. After [`Error::Unavailable`] it may or may not be written: call [`Writer::resume`] with the same
    /// group. The same goes for a call that was cancelled.
    pub async fn commit(&mut self, group: &Group<'_>) -> Result<Committed, Error> {
        let Some(mut session) = self.session.take() else {
            return Err(Error::unavailable("there is no session; resume first"));
        };
        let written = self.write(&mut session, group).await;
        if !matches!(written, Err(Error::Unavailable { .. })) {
            self.session = Some(session);
        }
        written
    }

    /// Finds out whether the group was committed before the connection was lost, and commits it if not. Call it again
    /// after a pause while it answers [`Error::Unavailable`].
    ///
    /// Locking the lane's row waits for a transaction of ours that may still run. One that has not even begun by then is
    /// fenced: the lane names the new session.
    pub async fn resume(&mut self, group: &Group<'_>) -> Result<Committed, Error> {
        let Some(seq) = self.reconnect().await? else { return Err(self.lost()) };
        if seq == self.seq {
            return self.commit(group).await;
        }
        if seq != self.seq + 1 {
            return Err(Error::corrupt(format!("lane {} is at seq {seq}, expected {}", self.lane, self.seq + 1)));
        }
        self.seq = seq;
        let rows = Rows::sort(group.saves).count();
        Ok(Committed { seq, rows: u32::try_from(rows).unwrap_or(u32::MAX) })
    }

    /// Extends the lease; to be called a few times a lease while nothing is committed. Also reconnects.
    pub async fn renew(&mut self) -> Result<(), Error> {
        let Some(mut session) = self.session.take() else {
            return match self.reconnect().await? {
                Some(seq) if seq == self.seq => Ok(()),
                Some(seq) => Err(Error::corrupt(format!("lane {} is at seq {seq}, expected {}", self.lane, self.seq))),
                None => Err(self.lost()),
            };
        };
        let renewed = sqlx::query(
            "UPDATE tasker.lanes SET expires_at = now() + $4 * interval '1 ms'
             WHERE lane = $1 AND epoch = $2 AND owner = $3",
        )
        .bind(self.lane)
        .bind(self.epoch)
        .bind(self.broker)
        .bind(milliseconds(self.lease))
        .execute(&mut session)
        .await?;
        self.session = Some(session);
        if renewed.rows_affected() == 1 { Ok(()) } else { Err(self.lost()) }
    }

    /// Gives the lane up at an orderly end, so that the next broker need not wait.
    pub async fn release(mut self) -> Result<(), Error> {
        let Some(mut session) = self.session.take() else { return Ok(()) };
        sqlx::query(
            "WITH freed AS (
                 UPDATE tasker.lanes SET owner = NULL, expires_at = NULL, backend_pid = NULL, backend_start = NULL
                 WHERE lane = $1 AND epoch = $2 AND owner = $3
             )
             UPDATE tasker.brokers SET ended_at = now() WHERE broker_id = $3",
        )
        .bind(self.lane)
        .bind(self.epoch)
        .bind(self.broker)
        .execute(&mut session)
        .await?;
        Ok(session.close().await?)
    }

    fn lost(&self) -> Error {
        Error::LostLease { lane: self.lane, epoch: self.epoch }
    }

    /// A new session, entered into the lane's row in place of the old one. Answers the lane's seq, or nothing when the
    /// lane is somebody else's.
    async fn reconnect(&mut self) -> Result<Option<i64>, Error> {
        self.session = None;
        let mut session = connect::writer(&self.url).await?;
        let seq = sqlx::query_scalar(
            "UPDATE tasker.lanes SET backend_pid = pg_backend_pid(), expires_at = now() + $4 * interval '1 ms',
                 backend_start = (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())
             WHERE lane = $1 AND epoch = $2 AND owner = $3 RETURNING seq",
        )
        .bind(self.lane)
        .bind(self.epoch)
        .bind(self.broker)
        .bind(milliseconds(self.lease))
        .fetch_optional(&mut session)
        .await?;
        // The group may have stored templates.
        self.template_ids = templates::ids(&mut session).await?;
        self.session = Some(session);
        Ok(seq)
    }

    async fn write(&mut self, session: &mut PgConnection, group: &Group<'_>) -> Result<Committed, Error> {
        let rows = Rows::sort(group.saves);
        if rows.templates.is_empty() {
            return self.write_rows(session, &rows, group.oldest_open_batch).await;
        }
        let before = (self.seq, self.template_ids.clone());
        let mut transaction = session.begin().await?;
        let outcome = match self.write_with_templates(&mut transaction, &rows, group.oldest_open_batch).await {
            Ok(committed) => transaction.commit().await.map(|()| committed).map_err(Error::from),
            Err(error) => transaction.rollback().await.map_err(Error::from).and(Err(error)),
        };
        if outcome.is_err() {
            (self.seq, self.template_ids) = before;
        }
        outcome
    }

    /// Templates go first, because tasks and steps of the same group need their rows.
    async fn write_with_templates(
        &mut self,
        session: &mut PgConnection,
        rows: &Rows<'_>,
        oldest_open_batch: Option<Uuid>,
    ) -> Result<Committed, Error> {
        self.template_ids.extend(templates::store(session, &rows.templates).await?);
        self.write_rows(session, rows, oldest_open_batch).await
    }

    /// The statement. Its answer is read to the end, because the commit comes after the row and can still fail.
    async fn write_rows(
        &mut self,
        session: &mut PgConnection,
        rows: &Rows<'_>,
        oldest_open_batch: Option<Uuid>,
    ) -> Result<Committed, Error> {
        let count = u32::try_from(rows.count()).unwrap_or(u32::MAX);
        let template_ids = rows.template_ids(&self.template_ids)?;
        let parts = statement::parts_of(rows);
        let mut arguments = PgArguments::default();
        let parameters = statement::parameters_of(parts);
        arguments.reserve(parameters, parameters * ARRAY_BYTES + rows.count() * ROW_BYTES);
        let mut query = sqlx::query_with(AssertSqlSafe(self.statements.text(parts)), arguments)
            .bind(self.lane)
            .bind(self.epoch)
            .bind(self.seq)
            .bind(milliseconds(self.lease))
            .bind(oldest_open_batch)
            .bind(i32::try_from(count).unwrap_or(i32::MAX))
            .bind(self.broker);
        for (index, bind) in BINDS.iter().enumerate() {
            if parts & (1 << index) != 0 {
                query = bind(query, rows, &template_ids);
            }
        }
        let answer = query.fetch_all(session).await?;
        let Some(row) = answer.first() else { return Err(self.lost()) };
        self.seq = row.try_get(0)?;
        Ok(Committed { seq: self.seq, rows: count })
    }
}

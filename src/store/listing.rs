//! Questions whose answers are lists: in a transaction that only reads and gives up in time, whatever is in the database.

use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::{Encode, PgPool, Postgres, QueryBuilder, Type};

use super::connect::{ANSWER_TIMEOUT, Reader, within};
use super::error::Error;

/// Longest statement of a list. Each reads a bounded number of rows, which takes milliseconds; two seconds are a database that
/// is overloaded, or rows of megabytes, and a person who waits.
pub const LIST_TIMEOUT: Duration = Duration::from_secs(2);

/// Sessions keep plans for unknown values; here the values are known, and differ in what they select. Without statistics, a
/// small table becomes a large one: the keys are to be used all the same.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 2000;
                     SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_seqscan = off;
                     SET LOCAL enable_bitmapscan = off";

/// A session that answers one list.
pub(super) struct Listing {
    session: Reader,
}

impl Listing {
    pub async fn begin(pool: &PgPool) -> Result<Listing, Error> {
        let mut session = Reader::take(pool).await?;
        within(ANSWER_TIMEOUT, sqlx::raw_sql(BEGIN).execute(&mut *session)).await?;
        Ok(Listing { session })
    }

    /// The rows that a statement gives.
    pub async fn rows(&mut self, mut sql: Sql) -> Result<Vec<PgRow>, Error> {
        let query = sql.0.build().persistent(false);
        in_time(within(ANSWER_TIMEOUT, query.fetch_all(&mut *self.session)).await)
    }

    /// Ends the transaction, so that the session can be used again.
    pub async fn end(mut self) -> Result<(), Error> {
        within(ANSWER_TIMEOUT, sqlx::raw_sql("COMMIT").execute(&mut *self.session)).await?;
        self.session.give_back();
        Ok(())
    }
}

/// A statement that Postgres gave up is no outage.
fn in_time<T>(answered: Result<T, Error>) -> Result<T, Error> {
    answered.map_err(|error| match error {
        Error::Unavailable { sqlstate: Some(code), .. } if code == "57014" => Error::TooSlow { limit: LIST_TIMEOUT },
        error => error,
    })
}

/// A statement that is put together from parts of this program and parameters: no text of others gets into it.
pub(super) struct Sql(QueryBuilder<Postgres>);

impl Sql {
    pub fn new(part: &'static str) -> Sql {
        Sql(QueryBuilder::new(part))
    }

    pub fn add(&mut self, part: &'static str) -> &mut Sql {
        self.0.push(part);
        self
    }

    pub fn bind<'a, T: Encode<'a, Postgres> + Type<Postgres>>(&mut self, value: T) -> &mut Sql {
        self.0.push_bind(value);
        self
    }
}

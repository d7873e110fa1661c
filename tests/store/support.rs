//! The database as the invariants of the stories ask it: by questions that block.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

pub struct Database(String);

impl Database {
    pub fn at(url: &str) -> Database {
        Database(url.to_owned())
    }

    pub fn number(&self, sql: &str) -> i64 {
        self.ask("", sql).into_iter().next().expect("a number").expect("not NULL").parse().expect("a number")
    }

    /// The number, after statements whose effect does not outlast it.
    pub fn number_after(&self, statements: &str, sql: &str) -> i64 {
        self.ask(statements, sql).into_iter().next().expect("a number").expect("not NULL").parse().expect("a number")
    }

    pub fn texts(&self, sql: &str) -> Vec<String> {
        self.ask("", sql).into_iter().flatten().collect()
    }

    /// On a thread of its own, because the test runs in a runtime.
    fn ask(&self, statements: &str, sql: &str) -> Vec<Option<String>> {
        let ask = async {
            let mut session = PgConnection::connect(&self.0).await?;
            let mut transaction = session.begin().await?;
            sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *transaction).await?;
            let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *transaction).await?;
            transaction.rollback().await?;
            rows.iter().map(|row| row.try_get_unchecked(0)).collect::<Result<Vec<Option<String>>, sqlx::Error>>()
        };
        let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(ask);
        std::thread::scope(|scope| scope.spawn(run).join().unwrap()).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}

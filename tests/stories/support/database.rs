//! A migrated database of its own for a test, and questions to it.

use sqlx::{AssertSqlSafe, PgPool};
use tasker_core::{postgres::testing::TestDatabase, store};
use tokio::runtime::Runtime;

/// A database, with the runtime that the test's own asynchronous work runs in.
pub struct Database {
    runtime: Runtime,
    pool: PgPool,
    database: TestDatabase,
}

impl Database {
    pub fn create() -> Database {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("the machine has room for a thread");
        let database = runtime.block_on(TestDatabase::create(&store::MIGRATOR)).expect("Postgres can be started");
        let _entered = runtime.enter();
        let pool = PgPool::connect_lazy(&database.url).expect("the harness makes valid URLs");
        drop(_entered);
        Database { runtime, pool, database }
    }

    pub fn url(&self) -> &str {
        &self.database.url
    }

    /// Runs the test's own asynchronous work.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// The one number that a query answers.
    pub fn number(&self, sql: &str) -> i64 {
        let query = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.pool);
        self.run(query).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The one column of text that a query answers.
    pub fn texts(&self, sql: &str) -> Vec<String> {
        let query = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&self.pool);
        self.run(query).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The one text that a query answers.
    pub fn text(&self, sql: &str) -> String {
        let mut texts = self.texts(sql);
        assert_eq!(texts.len(), 1, "{sql}: {texts:?}");
        texts.remove(0)
    }

    /// Runs statements.
    pub fn execute(&self, sql: &str) {
        let query = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool);
        self.run(query).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Runs statements whose effect does not outlast the question that follows them.
    pub fn number_after(&self, statements: &str, sql: &str) -> i64 {
        self.run(async {
            let mut transaction = self.pool.begin().await?;
            sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *transaction).await?;
            let number = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *transaction).await?;
            transaction.rollback().await?;
            Ok::<i64, sqlx::Error>(number)
        })
        .unwrap_or_else(|error| panic!("{statements}; {sql}: {error}"))
    }
}

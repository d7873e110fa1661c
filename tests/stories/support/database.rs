//! A migrated database of its own for a test, and questions to it.

use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use tasker_core::{postgres::testing::TestDatabase, store};
use tokio::runtime::Runtime;

/// How long a question may take that is asked while Postgres is perhaps away.
const IMPATIENCE: Duration = Duration::from_millis(500);

/// A database, with the runtime that the test's own asynchronous work runs in.
pub struct Database {
    runtime: Runtime,
    pool: PgPool,
    url: String,
    /// Dropped with the test, unless the database is on a server of the test's own.
    _own: Option<TestDatabase>,
}

impl Database {
    pub fn create() -> Database {
        let runtime = runtime();
        let own = runtime.block_on(TestDatabase::create(&store::MIGRATOR)).expect("Postgres can be started");
        let url = own.url.clone();
        Database::over(runtime, url, Some(own))
    }

    /// A database that is there already, on a server of the test's own.
    pub fn at(url: &str) -> Database {
        Database::over(runtime(), url.to_owned(), None)
    }

    fn over(runtime: Runtime, url: String, own: Option<TestDatabase>) -> Database {
        let entered = runtime.enter();
        let pool = PgPoolOptions::new().connect_lazy(&url).expect("the harness makes valid URLs");
        drop(entered);
        Database { runtime, pool, url, _own: own }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs statements, unless Postgres is away; whether it was there.
    pub fn attempt(&self, sql: &str) -> bool {
        let query = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool);
        self.run(async { tokio::time::timeout(IMPATIENCE, query).await }).is_ok_and(|answer| answer.is_ok())
    }

    /// The one number that a query answers, unless Postgres is away.
    pub fn glance(&self, sql: &str) -> Option<i64> {
        let query = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.pool);
        self.run(async { tokio::time::timeout(IMPATIENCE, query).await }).ok()?.ok()
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

    /// Has a transaction open in a session that calls itself `name`, from before `begun` until `end` returns.
    pub fn hold_transaction(&self, name: &str, begun: impl FnOnce(), end: impl FnOnce()) {
        let mut transaction = self.run(self.pool.begin()).expect("Postgres takes sessions");
        let set = format!("SET application_name = '{name}'");
        self.run(sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut *transaction)).expect("every role may");
        begun();
        end();
        self.run(transaction.rollback()).expect("the session stands");
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

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("the machine has room for a thread")
}

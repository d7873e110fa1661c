//! A database that exists only as long as something is measured in it.

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use super::error::Error;
use super::migrate::migrate;

/// The database, and the session that will drop it.
#[derive(Debug)]
pub struct Scratch {
    session: PgConnection,
    name: String,
    url: String,
}

impl Scratch {
    /// Makes the database `name`, whose URL is `scratch_url`, beside the one of `url`, with everything that a broker needs
    /// in it.
    pub async fn create(url: &str, name: String, scratch_url: String) -> Result<Scratch, Error> {
        let mut session = PgConnectOptions::from_str(url)?.application_name("tasker bench").connect().await?;
        run(&mut session, format!("CREATE DATABASE {name}")).await?;
        let scratch = Scratch { session, url: scratch_url, name };
        if let Err(error) = migrate(&scratch.url).await {
            scratch.drop().await?;
            return Err(error);
        }
        Ok(scratch)
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Drops the database, also when a session of an interrupted measurement is still in it.
    pub async fn drop(mut self) -> Result<(), Error> {
        run(&mut self.session, format!("DROP DATABASE {} WITH (FORCE)", self.name)).await?;
        Ok(self.session.close().await?)
    }
}

async fn run(session: &mut PgConnection, statement: String) -> Result<(), Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(session).await?;
    Ok(())
}

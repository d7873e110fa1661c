//! Starts the server of a data folder or joins one that runs there, and stops what it started.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Instant;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::account::Account;
use super::folder::Folder;
use super::postmaster::{self, Postmaster};
use super::probe::{Answer, probe};
use super::process::{Keeper, LOOK_INTERVAL, Launch, Process, START_TIMEOUT};
use super::{Error, Installation, ROLE};

/// Where the data is, and what runs it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data folder; made when it does not exist.
    pub data: PathBuf,
    /// The folder of the server's binaries; searched for when `None` ([`Installation::find`]).
    pub bin: Option<PathBuf>,
    /// The account to run as when started by root; others can only run it as themselves.
    pub user: Option<String>,
}

impl Options {
    /// This data folder, and everything else found by itself.
    pub fn new(data: impl Into<PathBuf>) -> Options {
        Options { data: data.into(), bin: None, user: None }
    }
}

/// A Postgres that runs and takes sessions. Dropping it stops the server if this start started it.
#[derive(Debug)]
pub struct Server {
    pid: i32,
    port: u16,
    socket_dir: PathBuf,
    /// The process, when it is ours.
    process: Option<Process>,
    stops_on_drop: bool,
}

impl Server {
    /// Starts the server of the data folder, making its cluster first if need be; or joins the one that runs there,
    /// which then is its starter's to stop. Returns when it takes sessions; blocks until then.
    pub fn start(options: &Options) -> Result<Server, Error> {
        Server::start_for(options, &Keeper::Parent)
    }

    pub(super) fn start_for(options: &Options, keeper: &Keeper) -> Result<Server, Error> {
        let folder = Folder::open(&options.data)?;
        let _starting = folder.lock()?;
        let account = Account::choose(options.user.as_deref(), folder.owner()?)?;
        if let Some(running) = running_server(&folder.cluster())? {
            return Ok(running);
        }
        let major = folder.major()?;
        let installation = Installation::find_for(options.bin.as_deref(), major)?;
        folder.admit(&account)?;
        match major {
            None => folder.make_cluster(&installation, &account)?,
            Some(major) if major == installation.version().0 => {}
            Some(data_major) => {
                let (found_major, bin) = (installation.version().0, installation.bin().to_owned());
                return Err(Error::OtherVersion { cluster: folder.cluster(), data_major, found_major, bin });
            }
        }
        folder.write_settings(&account)?;
        let launch = Launch { folder: &folder, installation: &installation, account: &account, keeper };
        let (process, found) = launch.start(&folder.make_socket_dir(&account)?)?;
        let mut server = joined(found).expect("a server that is ready has a socket");
        server.process = Some(process);
        server.stops_on_drop = matches!(keeper, Keeper::Parent);
        Ok(server)
    }

    /// The server that runs on a data folder, if one does. Starts, makes and changes nothing.
    pub fn running(data: &Path) -> Result<Option<Server>, Error> {
        let cluster = data.join("cluster");
        let found = Postmaster::read(&cluster)?;
        Ok(found.filter(|found| found.is_alive(&cluster)).and_then(joined))
    }

    /// The URL of a database of this server, for sqlx and for everything that is built on libpq.
    pub fn url(&self, database: &str) -> String {
        let dir = self.socket_dir.to_string_lossy();
        let (port, database, dir) = (self.port, percent_encode(database), percent_encode(&dir));
        format!("postgres://{ROLE}@localhost:{port}/{database}?host={dir}&sslmode=disable")
    }

    /// Makes the database unless it exists, and returns its URL.
    pub async fn database(&self, name: &str) -> Result<String, Error> {
        let failed = || Error::sql(format!("make the database {name}"));
        let mut session = PgConnection::connect(&self.url("postgres")).await.map_err(failed())?;
        let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(name)
            .fetch_one(&mut session)
            .await
            .map_err(failed())?;
        if !exists {
            let create = format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""));
            match sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut session).await {
                Err(sqlx::Error::Database(error)) if is_made_by_another(error.code().as_deref()) => {}
                Err(error) => return Err(failed()(error)),
                Ok(_) => {}
            }
        }
        session.close().await.map_err(failed())?;
        Ok(self.url(name))
    }

    /// The folder that holds the socket: what libpq takes as the host.
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// The process id of the server.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether this start joined a server that ran already, which it will therefore leave running.
    pub fn is_joined(&self) -> bool {
        self.process.is_none()
    }

    /// Stops the server and waits until it has ended; a joined one is left alone. Sessions are cut, commits are kept.
    pub fn stop(mut self) -> Result<(), Error> {
        self.process.take().map_or(Ok(()), Process::stop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = self.process.take().filter(|_| self.stops_on_drop)
            && let Err(error) = process.stop()
        {
            tracing::warn!(%error, "failed to stop Postgres");
        }
    }
}

/// The server that runs in this cluster, once it answers; `None` when there is none, or it has just ended.
fn running_server(cluster: &Path) -> Result<Option<Server>, Error> {
    let deadline = Instant::now() + START_TIMEOUT;
    while let Some(found) = Postmaster::read(cluster)? {
        if !found.is_alive(cluster) {
            postmaster::disown(cluster, &found)?;
            return Ok(None);
        }
        let unusable = |reason| Error::Unusable { pid: found.pid, cluster: cluster.to_owned(), reason };
        match found.socket().map(|socket| probe(&socket)) {
            Some(Ok(Answer::Ready)) => return Ok(joined(found)),
            Some(Ok(Answer::Refused(reason))) => return Err(unusable(reason)),
            // It is on its way up or down: whoever started it may have been killed a moment ago.
            Some(Ok(Answer::NotNow) | Err(_)) | None if Instant::now() < deadline => sleep(LOOK_INTERVAL),
            Some(Ok(Answer::NotNow) | Err(_)) | None => {
                return Err(unusable(format!("it has not answered for {} s", START_TIMEOUT.as_secs())));
            }
        }
    }
    Ok(None)
}

fn joined(found: Postmaster) -> Option<Server> {
    Some(Server {
        pid: found.pid,
        port: found.port?,
        socket_dir: found.socket_dir?,
        process: None,
        stops_on_drop: false,
    })
}

/// Two starts that make the same database: the loser finds it made.
fn is_made_by_another(code: Option<&str>) -> bool {
    const DUPLICATE_DATABASE: &str = "42P04";
    const UNIQUE_VIOLATION: &str = "23505"; // the same, noticed by the catalogue's index
    matches!(code, Some(DUPLICATE_DATABASE | UNIQUE_VIOLATION))
}

fn percent_encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

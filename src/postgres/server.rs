//! Starts the server of a data folder or joins one that runs there, and stops what it started.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::account::Account;
use super::folder::{Folder, Log};
use super::postmaster::{self, Postmaster};
use super::probe::{Answer, probe};
use super::{Error, Installation, ROLE};

/// Becomes the server and leaves a guard behind.
const GUARD: &str = include_str!("guard.sh");

/// A server that was killed first repeats up to `max_wal_size` of its log: minutes on a slow disk.
const START_TIMEOUT: Duration = Duration::from_secs(300);

/// A fast shutdown writes at most `shared_buffers`; after this it is cut short, and the next start recovers.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// The server's own processes are given five seconds by it; this is a few more.
const ABORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Postgres tells nobody when it is ready or gone, so we look this often; only during a start or a stop.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// What a start says while processes of a killed server still end.
const STILL_ENDING: &str = "pre-existing shared memory block";

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

/// Whose end is the end of the server.
pub(super) enum Keeper {
    /// This process.
    Parent,
    /// The last process that holds a shared lock on this file.
    LastUser(PathBuf),
}

/// A Postgres that runs and takes sessions. Dropping it stops the server if this start started it.
#[derive(Debug)]
pub struct Server {
    pid: i32,
    port: u16,
    socket_dir: PathBuf,
    started: Option<Started>,
}

/// The server process, as its parent sees it.
#[derive(Debug)]
struct Started {
    child: Child,
    stop_on_drop: bool,
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
        let socket_dir = folder.make_socket_dir(&account)?;
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let mut log = folder.open_log()?;
            let child = launch(&folder, &installation, &account, &socket_dir, &log, keeper)?;
            match await_ready(child, &folder.cluster(), deadline, keeper) {
                Ok(server) => return Ok(server),
                Err(what) => {
                    let tail = log.tail();
                    if !tail.contains(STILL_ENDING) || Instant::now() > deadline {
                        return Err(Error::Start { what, log: log.path, tail });
                    }
                    sleep(LOOK_INTERVAL * 10); // they look for their parent at least every few milliseconds
                }
            }
        }
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
                other => drop(other.map_err(failed())?),
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
        self.started.is_none()
    }

    /// Stops the server and waits until it has ended; a joined one is left alone. Sessions are cut, commits are kept.
    pub fn stop(mut self) -> Result<(), Error> {
        self.started.take().map_or(Ok(()), Started::stop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(started) = self.started.take().filter(|started| started.stop_on_drop)
            && let Err(error) = started.stop()
        {
            tracing::warn!(%error, "failed to stop Postgres");
        }
    }
}

impl Started {
    fn stop(mut self) -> Result<(), Error> {
        let failed = |source| Error::Io { action: "stop Postgres".to_owned(), source };
        let pid = Pid::from_raw(self.child.id() as i32);
        for (signal, patience) in [(Signal::SIGINT, STOP_TIMEOUT), (Signal::SIGQUIT, ABORT_TIMEOUT)] {
            if self.child.try_wait().map_err(failed)?.is_none() {
                kill(pid, signal).map_err(|errno| failed(errno.into()))?;
            }
            dismiss_guard(&mut self.child);
            if ended_within(&mut self.child, patience).map_err(failed)? {
                return Ok(());
            }
            tracing::warn!(%pid, %signal, "Postgres does not stop");
        }
        self.child.kill().map_err(failed)?;
        self.child.wait().map_err(failed)?;
        Ok(())
    }
}

/// Tells the guard that it has nothing left to do. It may be gone: then so is its pipe.
fn dismiss_guard(child: &mut Child) {
    if let Some(mut pipe) = child.stdin.take() {
        let _ = pipe.write_all(b"stopped\n");
    }
}

fn ended_within(child: &mut Child, patience: Duration) -> std::io::Result<bool> {
    let deadline = Instant::now() + patience;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            return Ok(false);
        }
        sleep(LOOK_INTERVAL);
    }
    Ok(true)
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
    Some(Server { pid: found.pid, port: found.port?, socket_dir: found.socket_dir?, started: None })
}

fn launch(
    folder: &Folder,
    installation: &Installation,
    account: &Account,
    socket_dir: &Path,
    log: &Log,
    keeper: &Keeper,
) -> Result<Child, Error> {
    let users = match keeper {
        Keeper::Parent => Path::new(""),
        Keeper::LastUser(file) => file,
    };
    let set = |name: &str, path: &Path| {
        let mut setting = std::ffi::OsString::from(format!("{name}="));
        setting.push(path);
        setting
    };
    let output = || log.file.try_clone().map(Stdio::from).map_err(Error::io("open", &log.path));
    let mut command = account.command("/bin/sh");
    command.args(["-c", GUARD, "tasker-postgres-guard"]).arg(users).arg(folder.cluster());
    command.arg(installation.bin().join("postgres")).arg("-D").arg(folder.cluster());
    command.arg("-c").arg(set("config_file", &folder.file("postgres.conf")));
    command.arg("-c").arg(set("hba_file", &folder.file("pg_hba.conf")));
    command.arg("-c").arg(set("ident_file", &folder.file("pg_ident.conf")));
    command.arg("-c").arg(set("unix_socket_directories", socket_dir));
    command.stdin(Stdio::piped()).stdout(output()?).stderr(output()?);
    command.spawn().map_err(Error::io("start", &installation.bin().join("postgres")))
}

/// Waits until the new server takes sessions; what went wrong, if it does not.
fn await_ready(mut child: Child, cluster: &Path, deadline: Instant, keeper: &Keeper) -> Result<Server, String> {
    let pid = child.id() as i32;
    loop {
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => {
                dismiss_guard(&mut child);
                return Err(format!("ended during its start ({status})"));
            }
            Err(error) => return Err(format!("could not be watched: {error}")),
        }
        let found = Postmaster::read(cluster).ok().flatten().filter(|found| found.pid == pid);
        match found.as_ref().and_then(Postmaster::socket).map(|socket| probe(&socket)) {
            Some(Ok(Answer::Ready)) => {
                let mut server = found.and_then(joined).expect("a server that answered has a socket");
                server.started = Some(Started { child, stop_on_drop: matches!(keeper, Keeper::Parent) });
                return Ok(server);
            }
            Some(Ok(Answer::Refused(reason))) => {
                let _ = Started { child, stop_on_drop: true }.stop();
                return Err(format!("started, but {reason}"));
            }
            Some(Ok(Answer::NotNow) | Err(_)) | None => {}
        }
        if Instant::now() > deadline {
            let _ = Started { child, stop_on_drop: true }.stop();
            return Err(format!("was not ready after {} s", START_TIMEOUT.as_secs()));
        }
        sleep(LOOK_INTERVAL);
    }
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

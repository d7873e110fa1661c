//! The private Postgres against real servers: start, joining, every way to stop, and what must be refused.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, getpgid, getpgrp};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Connection, PgConnection, SqlSafeStr};
use tasker_core::postgres::testing::{KEEP_VARIABLE, SERVER_VARIABLE, TestDatabase};
use tasker_core::postgres::{Error, Options, Server};
use tempfile::TempDir;

/// A folder that the account of the server may enter.
fn open_folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn start(dir: &TempDir) -> Server {
    Server::start(&Options::new(dir.path().join("data"))).unwrap()
}

fn refusal(options: &Options) -> String {
    Server::start(options).unwrap_err().to_string()
}

fn cluster(dir: &TempDir) -> PathBuf {
    dir.path().join("data/cluster")
}

/// A handle on a process that becomes readable when the process ends.
struct Watched(OwnedFd);

impl Watched {
    fn new(pid: i32) -> Watched {
        // SAFETY: a system call on numbers; the descriptor that it returns is ours alone.
        unsafe {
            let descriptor = libc::syscall(libc::SYS_pidfd_open, pid, 0) as i32;
            assert!(descriptor >= 0, "process {pid} is not there");
            Watched(OwnedFd::from_raw_fd(descriptor))
        }
    }

    fn ends_within(&self, seconds: u16) -> bool {
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::from(seconds * 1000)).unwrap() == 1
    }
}

async fn query<T>(url: &str, sql: &'static str) -> T
where
    T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    let mut session = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(sql).fetch_one(&mut session).await.unwrap()
}

async fn execute(url: &str, sql: &'static str) {
    let mut session = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut session).await.unwrap();
}

/// This test binary, started again to play `role` in a process of its own; see `plays_a_role_for_another_test`.
struct Actor {
    child: Child,
    _stdin: ChildStdin,
    said: String,
}

impl Actor {
    /// Starts it and waits until it has said its line.
    fn play(role: &str, folder: &Path) -> Actor {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "plays_a_role_for_another_test", "--nocapture", "--test-threads=1"]);
        command.env("TASKER_POSTGRES_ROLE", role).env("TASKER_POSTGRES_FOLDER", folder).env("TMPDIR", folder);
        command.env_remove(SERVER_VARIABLE).env_remove(KEEP_VARIABLE);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The test harness may have put something of its own on the same line.
        let said = lines.map(Result::unwrap).find_map(|line| Some(line.split_once("said: ")?.1.to_owned()));
        let _stdin = child.stdin.take().unwrap();
        Actor { child, _stdin, said: said.expect("the actor ended without its line") }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Does nothing by itself: it is the body of the processes that other tests start, and kill.
#[tokio::test]
async fn plays_a_role_for_another_test() {
    let Ok(role) = std::env::var("TASKER_POSTGRES_ROLE") else { return };
    let folder = PathBuf::from(std::env::var_os("TASKER_POSTGRES_FOLDER").unwrap());
    let until_killed = || std::io::stdin().read_line(&mut String::new());
    match role.as_str() {
        "parent" => {
            let server = Server::start(&Options::new(folder.join("data"))).unwrap();
            println!("said: {}", server.pid());
            until_killed().unwrap();
        }
        "user" => {
            let database = TestDatabase::create(&migrator("shared")).await.unwrap();
            let file: String = query(&database.url, "SELECT pg_read_file('postmaster.pid')").await;
            println!("said: {}", file.lines().next().unwrap());
            until_killed().unwrap();
        }
        other => panic!("no such role: {other}"),
    }
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_stop_and_a_start() {
    let dir = open_folder();
    let server = start(&dir);
    assert!(!server.is_joined());
    let url = server.database("orders").await.unwrap();
    assert_eq!(server.database("orders").await.unwrap(), url);
    execute(&url, "CREATE TABLE kept AS SELECT 42 AS answer").await;
    let first = Watched::new(server.pid());
    server.stop().unwrap();
    assert!(first.ends_within(0));
    let log = fs::read_to_string(dir.path().join("data/postgres.log")).unwrap();
    assert!(log.contains("database system is shut down"), "{log}");

    let server = start(&dir);
    assert_eq!(query::<i32>(&server.url("orders"), "SELECT answer FROM kept").await, 42);
}

#[tokio::test]
async fn a_server_is_durable_private_and_takes_no_tcp() {
    let dir = open_folder();
    let server = start(&dir);
    for (name, value) in [
        ("data_checksums", "on"),
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("server_encoding", "UTF8"),
        ("listen_addresses", ""),
        ("unix_socket_permissions", "0700"),
        ("max_connections", "100"),
        ("shared_buffers", "128MB"),
        ("max_wal_size", "2GB"),
        ("TimeZone", "UTC"),
    ] {
        let mut session = PgConnection::connect(&server.url("postgres")).await.unwrap();
        let found: String =
            sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(&mut session).await.unwrap();
        assert_eq!(found, value, "{name}");
    }
    let socket_dir = fs::metadata(server.socket_dir()).unwrap();
    assert_eq!(socket_dir.mode() & 0o777, 0o700);
    let rules = "SELECT count(*) FROM pg_hba_file_rules WHERE (type, auth_method) IS DISTINCT FROM ('local', 'peer')";
    assert_eq!(query::<i64>(&server.url("postgres"), rules).await, 0);
}

#[test]
fn the_server_never_runs_as_root() {
    let dir = open_folder();
    let server = start(&dir);
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<u32>>()
    };
    let owner = fs::metadata(cluster(&dir)).unwrap().uid();
    assert_ne!(owner, 0);
    assert_eq!(line("Uid:"), [owner; 4]);
    assert!(!line("Gid:").contains(&0));
    assert!(!line("Groups:").contains(&0));
    if !Uid::effective().is_root() {
        assert_eq!(owner, Uid::effective().as_raw());
    }
}

#[test]
fn the_account_that_was_asked_for_runs_the_server() {
    if !Uid::effective().is_root() {
        return; // only root can choose
    }
    let dir = open_folder();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
    let options = |user: &str| Options { user: Some(user.to_owned()), ..Options::new(dir.path().join("data")) };
    let server = Server::start(&options("nobody")).unwrap();
    assert_eq!(fs::metadata(format!("/proc/{}", server.pid())).unwrap().uid(), nobody);
    server.stop().unwrap();
    // Later starts go by the owner of the data.
    let server = start(&dir);
    assert_eq!(fs::metadata(format!("/proc/{}", server.pid())).unwrap().uid(), nobody);
    server.stop().unwrap();
    let text = refusal(&options("daemon"));
    assert!(text.contains("cannot run as daemon: the data folder belongs to nobody"), "{text}");
}

#[test]
fn a_folder_that_the_account_cannot_reach_is_refused_by_name() {
    if !Uid::effective().is_root() {
        return; // nobody else changes accounts
    }
    let closed = open_folder();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let text = refusal(&Options::new(closed.path().join("data")));
    assert!(text.contains(&format!("may not enter {};", closed.path().display())), "{text}");
}

#[tokio::test]
async fn a_live_server_is_joined_and_left_running() {
    let dir = open_folder();
    let first = start(&dir);
    let second = start(&dir);
    assert!(second.is_joined());
    assert_eq!((second.pid(), second.url("postgres")), (first.pid(), first.url("postgres")));
    second.stop().unwrap();
    drop(start(&dir));
    assert_eq!(query::<i32>(&first.url("postgres"), "SELECT 1").await, 1);
}

#[test]
fn concurrent_starts_end_with_one_server() {
    let dir = open_folder();
    let servers: Vec<Server> = thread::scope(|scope| {
        let starts: Vec<_> = (0..4).map(|_| scope.spawn(|| start(&dir))).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert_eq!(servers.iter().filter(|server| !server.is_joined()).count(), 1);
    assert!(servers.iter().all(|server| server.pid() == servers[0].pid()));
}

#[test]
fn the_server_ends_when_its_parent_is_killed() {
    let dir = open_folder();
    let parent = Actor::play("parent", dir.path());
    let server = Watched::new(parent.said.parse().unwrap());
    assert!(!server.ends_within(0));
    parent.kill();
    assert!(server.ends_within(30), "the server outlives its parent");
    let log = fs::read_to_string(dir.path().join("data/postgres.log")).unwrap();
    assert!(log.contains("received fast shutdown request") && log.contains("database system is shut down"), "{log}");
}

#[tokio::test]
async fn a_start_during_the_shutdown_of_a_killed_parents_server_waits_for_its_end() {
    let dir = open_folder();
    let parent = Actor::play("parent", dir.path());
    let before = parent.said.parse::<i32>().unwrap();
    let ended = Watched::new(before);
    // Stopped, it can neither answer nor shut down: the start meets it in this state for certain.
    kill(Pid::from_raw(before), Signal::SIGSTOP).unwrap();
    parent.kill();
    let starting = thread::scope(|scope| {
        let starting = scope.spawn(|| start(&dir));
        kill(Pid::from_raw(before), Signal::SIGCONT).unwrap();
        starting.join().unwrap()
    });
    // Either the start came first and joined what was about to end, or it came after and started anew.
    assert!(ended.ends_within(30));
    let server = if starting.is_joined() { start(&dir) } else { starting };
    assert_ne!(server.pid(), before);
    assert_eq!(query::<i32>(&server.url("postgres"), "SELECT 1").await, 1);
}

#[tokio::test]
async fn what_a_killed_server_left_does_not_stop_the_next() {
    let dir = open_folder();
    let server = start(&dir);
    execute(&server.url("postgres"), "CREATE TABLE kept AS SELECT 7 AS answer").await;
    let killed = Watched::new(server.pid());
    kill(Pid::from_raw(server.pid()), Signal::SIGKILL).unwrap();
    assert!(killed.ends_within(10));
    assert!(cluster(&dir).join("postmaster.pid").exists());
    assert!(server.socket_dir().join(".s.PGSQL.5432").exists());

    let next = start(&dir);
    assert!(!next.is_joined());
    assert_eq!(query::<i32>(&next.url("postgres"), "SELECT answer FROM kept").await, 7);
}

#[test]
fn a_leftover_that_names_a_strangers_process_does_not_stop_the_next() {
    let dir = open_folder();
    start(&dir).stop().unwrap();
    // Of the same account as the server: of any other, Postgres itself would know that it is none of its own.
    let mut stranger = Command::new("/bin/cat");
    stranger.uid(fs::metadata(cluster(&dir)).unwrap().uid()).stdin(Stdio::piped());
    let mut stranger = stranger.spawn().unwrap();
    let leftover =
        format!("{}\n{}\n1700000000\n5432\n/nowhere\n\n  1 1\nready   \n", stranger.id(), cluster(&dir).display());
    fs::write(cluster(&dir).join("postmaster.pid"), leftover).unwrap();

    let server = start(&dir);
    assert!(!server.is_joined());
    assert_ne!(server.pid(), stranger.id() as i32);
    assert!(stranger.try_wait().unwrap().is_none());
    drop(stranger.stdin.take());
    stranger.wait().unwrap();
}

#[test]
fn a_data_folder_of_another_major_version_is_refused() {
    let dir = open_folder();
    start(&dir).stop().unwrap();
    let found = fs::read_to_string(cluster(&dir).join("PG_VERSION")).unwrap();
    fs::write(cluster(&dir).join("PG_VERSION"), "12\n").unwrap();
    let text = refusal(&Options::new(dir.path().join("data")));
    assert!(text.contains("was made by Postgres 12"), "{text}");
    assert!(text.contains(&format!("the server found is Postgres {}", found.trim())), "{text}");
}

#[test]
fn missing_binaries_are_named() {
    let (dir, empty) = (open_folder(), open_folder());
    let options = Options { bin: Some(empty.path().to_owned()), ..Options::new(dir.path().join("data")) };
    let text = refusal(&options);
    assert!(text.contains(empty.path().to_str().unwrap()) && text.contains("postgres is missing there"), "{text}");
}

#[test]
fn a_failed_start_quotes_the_log() {
    let dir = open_folder();
    start(&dir).stop().unwrap();
    fs::write(dir.path().join("data/local.conf"), "no_such_setting = 1\n").unwrap();
    fs::set_permissions(dir.path().join("data/local.conf"), fs::Permissions::from_mode(0o644)).unwrap();
    let error = Server::start(&Options::new(dir.path().join("data"))).unwrap_err();
    assert!(matches!(&error, Error::Start { tail, .. } if tail.contains("no_such_setting")), "{error}");
    assert!(!error.to_string().contains("database system is shut down"), "quotes an earlier start: {error}");
}

#[tokio::test]
async fn a_long_data_path_gets_a_short_private_socket_folder() {
    let dir = open_folder();
    let data = dir.path().join("a folder, with a name of some length".repeat(4));
    let server = Server::start(&Options::new(data)).unwrap();
    assert!(server.socket_dir().starts_with("/tmp"));
    assert_eq!(fs::metadata(server.socket_dir()).unwrap().mode() & 0o777, 0o700);
    assert_eq!(query::<i32>(&server.url("postgres"), "SELECT 1").await, 1);
    let socket_dir = server.socket_dir().to_owned();
    server.stop().unwrap();
    fs::remove_dir(socket_dir).unwrap();
}

#[test]
fn no_descriptor_and_no_terminal_signal_reaches_the_server() {
    let dir = open_folder();
    // As a shell would hand down a lock: open, and not marked to be closed.
    let (read, write) = nix::unistd::pipe().unwrap();
    let server = start(&dir);
    let pipe = fs::read_link(format!("/proc/self/fd/{}", read.as_raw_fd())).unwrap();
    let own_group = getpgrp();
    let server_group = getpgid(Some(Pid::from_raw(server.pid()))).unwrap();
    assert_ne!(server_group, own_group);
    assert_eq!(server_group.as_raw(), server.pid());

    let mut seen = 0;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let is_child = status.contains(&format!("\nPPid:\t{}\n", server.pid()));
        // The guard is nobody's child, but in the group; the server's children leave the group.
        if is_child || getpgid(Some(Pid::from_raw(pid))).is_ok_and(|group| group == server_group) {
            seen += 1;
            let open = fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
            let inherited: Vec<_> =
                open.filter(|open| fs::read_link(open.path()).is_ok_and(|target| target == pipe)).collect();
            assert!(inherited.is_empty(), "process {pid} has {inherited:?}");
        }
    }
    assert!(seen >= 3, "the server, a child and the guard were to be seen, but only {seen} were");
    drop((read, write));
}

/// Migrations that make one table of this name.
fn migrator(table: &str) -> Migrator {
    let sql = sqlx::AssertSqlSafe(format!("CREATE TABLE {table} (id int)")).into_sql_str();
    Migrator::with_migrations(vec![Migration::new(1, "one".into(), MigrationType::Simple, sql, false)])
}

#[tokio::test]
async fn test_databases_are_migrated_and_apart() {
    let migrator = migrator("apart");
    let (one, other) = tokio::try_join!(TestDatabase::create(&migrator), TestDatabase::create(&migrator)).unwrap();
    assert_ne!(one.name, other.name);
    execute(&one.url, "INSERT INTO apart VALUES (1)").await;
    assert_eq!(query::<i64>(&one.url, "SELECT count(*) FROM apart").await, 1);
    assert_eq!(query::<i64>(&other.url, "SELECT count(*) FROM apart").await, 0);
}

#[tokio::test]
async fn a_test_database_goes_with_its_test_even_while_sessions_are_open() {
    let one = TestDatabase::create(&migrator("going")).await.unwrap();
    let other = TestDatabase::create(&migrator("going")).await.unwrap();
    let _open = PgConnection::connect(&one.url).await.unwrap();
    let name = one.name.clone();
    drop(one);
    let mut session = PgConnection::connect(&other.url).await.unwrap();
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(&name)
        .fetch_one(&mut session)
        .await
        .unwrap();
    assert!(!exists);
}

#[tokio::test]
async fn other_migrations_get_another_template() {
    let (cats, dogs) = (migrator("cats"), migrator("dogs"));
    let (cats, dogs) = tokio::try_join!(TestDatabase::create(&cats), TestDatabase::create(&dogs)).unwrap();
    assert_eq!(query::<i64>(&cats.url, "SELECT count(*) FROM cats").await, 0);
    assert_eq!(query::<i64>(&dogs.url, "SELECT count(*) FROM dogs").await, 0);
}

#[test]
fn test_processes_share_a_server_that_ends_after_the_last_of_them() {
    let dir = open_folder();
    let (first, second) = (Actor::play("user", dir.path()), Actor::play("user", dir.path()));
    assert_eq!(first.said, second.said);
    let server = Watched::new(first.said.parse().unwrap());
    first.kill(); // the one that started it
    assert!(!server.ends_within(5), "the server ended before its last user");
    second.kill();
    assert!(server.ends_within(30), "the server outlives its last user");
}

//! A Postgres of the round's own, which can be killed, stopped and started again.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use sha2::{Digest, Sha256};
use tasker_core::postgres::{Installation, Options, Server};
use tasker_core::store;
use tempfile::TempDir;

use super::process::signal_to;
use crate::support::repository;

const DATABASE: &str = "tasker";

/// Dropped from top to bottom: the server before its data.
pub struct Cluster {
    server: Option<Server>,
    options: Options,
    url: String,
    _folder: TempDir,
}

impl Cluster {
    /// A new cluster with a migrated database.
    pub fn start() -> Cluster {
        let folder = passable_folder();
        let options = Options::new(folder.path().join("data"));
        fs::create_dir(&options.data).expect("the folder is new");
        copy(&prepared(), &options.data.join("cluster"));
        let server = Server::start(&options).expect("Postgres can be started");
        let url = server.url(DATABASE);
        Cluster { server: Some(server), options, url, _folder: folder }
    }

    /// Straight to the socket, past every proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same database through a proxy on this port.
    pub fn url_by(&self, port: u16) -> String {
        format!("postgres://{}@127.0.0.1:{port}/{DATABASE}?sslmode=disable", tasker_core::postgres::ROLE)
    }

    /// The socket of the server.
    pub fn socket(&self) -> PathBuf {
        let server = self.server.as_ref().expect("it runs");
        server.socket_dir().join(".s.PGSQL.5432")
    }

    /// The number of the account that the server runs as.
    pub fn owner(&self) -> u32 {
        fs::metadata(self.options.data.join("cluster")).expect("it is there").uid()
    }

    /// What the server has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.options.data.join("postgres.log")).unwrap_or_default()
    }

    /// `kill -9` of the postmaster, or an immediate shutdown: both leave recovery to the next start.
    pub fn end(&mut self, signal: Signal) {
        let Some(server) = self.server.take() else { return };
        signal_to(server.pid(), signal);
        server.stop().expect("a server that was killed ends");
    }

    /// `kill -9` of one of its processes that has a session: the postmaster restarts all of them.
    pub fn kill_backend(&self, pid: i64) {
        signal_to(i32::try_from(pid).expect("a process number"), Signal::SIGKILL);
    }

    pub fn start_again(&mut self) {
        if self.server.is_none() {
            self.server = Some(Server::start(&self.options).expect("Postgres can be started again"));
        }
    }

    /// Stops every process of the server where it stands, or lets them go on.
    pub fn signal_all(&self, signal: Signal) {
        let Some(server) = &self.server else { return };
        signal_to(server.pid(), signal);
        for child in children(server.pid()) {
            signal_to(child, signal);
        }
    }
}

fn children(pid: i32) -> Vec<i32> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// A folder that the account of the server can pass.
fn passable_folder() -> TempDir {
    let folder = TempDir::with_prefix("tasker-chaos").expect("there is a temporary folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    folder
}

/// A cluster with a migrated database that does not run, to be copied: making one takes seconds. There is one for each
/// state of the migrations and each version of Postgres.
fn prepared() -> PathBuf {
    let (major, _) = Installation::find(None).expect("Postgres is installed").version();
    let mut digest = Sha256::new();
    store::MIGRATOR.iter().for_each(|migration| digest.update(&migration.checksum));
    let name: String = digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let place = repository("target/chaos");
    fs::create_dir_all(&place).expect("the folder of what is built is ours");
    let lock = File::create(place.join("preparing")).expect("the folder is ours");
    let _preparing = Flock::lock(lock, FlockArg::LockExclusive).expect("locks work there");
    let prepared = place.join(format!("cluster-{major}-{name}"));
    if !prepared.exists() {
        let folder = passable_folder();
        let options = Options::new(folder.path().join("data"));
        let server = Server::start(&options).expect("Postgres can be started");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let url = server.database(DATABASE).await.expect("a database can be made");
            store::migrate(&url).await.expect("the migrations fit");
        });
        server.stop().expect("it ends in order");
        // It gets its name when it is whole.
        let unfinished = place.join("cluster-unfinished");
        let _ = fs::remove_dir_all(&unfinished);
        copy(&options.data.join("cluster"), &unfinished);
        fs::rename(&unfinished, &prepared).expect("the folder is ours");
    }
    prepared
}

/// Copies a folder with owners and modes.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().expect("every system has cp");
    assert!(status.success(), "{} was not copied", from.display());
}

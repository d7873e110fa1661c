//! The server process and its guard, from launch to end.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::account::Account;
use super::folder::{Folder, Log};
use super::postmaster::Postmaster;
use super::probe::{Answer, probe};
use super::{Error, Installation};

/// Becomes the server and leaves a guard behind.
const GUARD: &str = include_str!("guard.sh");

/// A server that was killed first repeats up to `max_wal_size` of its log: minutes on a slow disk.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(300);

/// A fast shutdown writes at most `shared_buffers`; after this it is cut short, and the next start recovers.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// On an abort the server gives its own processes five seconds; this is a few more.
const ABORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Postgres tells nobody when it is ready or gone, so we look this often; only during a start or a stop.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// What a start says while processes of a killed server still end.
const STILL_ENDING: &str = "pre-existing shared memory block";

/// Whose end is the end of the server.
pub(super) enum Keeper {
    /// This process.
    Parent,
    /// The last process that holds a shared lock on this file.
    LastUser(PathBuf),
}

/// What it takes to launch a server.
pub(super) struct Launch<'a> {
    pub(super) folder: &'a Folder,
    pub(super) installation: &'a Installation,
    pub(super) account: &'a Account,
    pub(super) keeper: &'a Keeper,
}

/// A server process that this process started.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
}

impl Launch<'_> {
    /// Starts the server and waits until it takes sessions.
    pub(super) fn start(&self, socket_dir: &Path) -> Result<(Process, Postmaster), Error> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let mut log = self.folder.open_log()?;
            let mut process = self.spawn(socket_dir, &log)?;
            let what = match process.await_ready(&self.folder.cluster(), deadline) {
                Ok(postmaster) => return Ok((process, postmaster)),
                Err(what) => what,
            };
            process.stop()?;
            let tail = log.tail();
            if !tail.contains(STILL_ENDING) || Instant::now() > deadline {
                return Err(Error::Start { what, log: log.path, tail });
            }
            sleep(LOOK_INTERVAL * 10); // each start costs more than a look
        }
    }

    fn spawn(&self, socket_dir: &Path, log: &Log) -> Result<Process, Error> {
        let users = match self.keeper {
            Keeper::Parent => Path::new(""),
            Keeper::LastUser(file) => file,
        };
        let (folder, server) = (self.folder, self.installation.bin().join("postgres"));
        let output = || log.file.try_clone().map(Stdio::from).map_err(Error::io("open", &log.path));
        let mut command = self.account.command("/bin/sh");
        command.args(["-c", GUARD, "tasker-postgres-guard"]).arg(users).arg(folder.cluster());
        command.arg(&server).arg("-D").arg(folder.cluster());
        for (name, path) in [
            ("config_file", folder.file("postgres.conf").as_path()),
            ("hba_file", &folder.file("pg_hba.conf")),
            ("ident_file", &folder.file("pg_ident.conf")),
            ("unix_socket_directories", socket_dir),
        ] {
            let mut setting = OsString::from(format!("{name}="));
            setting.push(path);
            command.arg("-c").arg(setting);
        }
        command.stdin(Stdio::piped()).stdout(output()?).stderr(output()?);
        let child = command.spawn().map_err(Error::io("start", &server))?;
        Ok(Process { child })
    }
}

impl Process {
    /// Waits until the server takes sessions, or says what went wrong.
    fn await_ready(&mut self, cluster: &Path, deadline: Instant) -> Result<Postmaster, String> {
        let pid = self.child.id() as i32;
        loop {
            match self.child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => return Err(format!("ended during its start ({status})")),
                Err(error) => return Err(format!("could not be watched: {error}")),
            }
            let found = Postmaster::read(cluster).ok().flatten().filter(|found| found.pid == pid);
            if let Some(found) = found
                && let Some(socket) = found.socket()
            {
                match probe(&socket) {
                    Ok(Answer::Ready) => return Ok(found),
                    Ok(Answer::Refused(reason)) => return Err(format!("started, but {reason}")),
                    Ok(Answer::NotNow) | Err(_) => {}
                }
            }
            if Instant::now() > deadline {
                return Err(format!("was not ready after {} s", START_TIMEOUT.as_secs()));
            }
            sleep(LOOK_INTERVAL);
        }
    }

    /// Stops the server, if it has not ended, and waits for its end.
    pub(super) fn stop(mut self) -> Result<(), Error> {
        let failed = |source| Error::Io { action: "stop Postgres".to_owned(), source };
        let pid = Pid::from_raw(self.child.id() as i32);
        for (signal, patience) in [(Signal::SIGINT, STOP_TIMEOUT), (Signal::SIGQUIT, ABORT_TIMEOUT)] {
            if self.child.try_wait().map_err(failed)?.is_none() {
                kill(pid, signal).map_err(|errno| failed(errno.into()))?;
            }
            self.dismiss_guard();
            if self.ends_within(patience).map_err(failed)? {
                return Ok(());
            }
            tracing::warn!(%pid, %signal, "Postgres does not stop");
        }
        self.child.kill().map_err(failed)?;
        self.child.wait().map_err(failed)?;
        Ok(())
    }

    /// Tells the guard that it has nothing left to do. It may be gone: then so is the other end of its pipe.
    fn dismiss_guard(&mut self) {
        if let Some(mut pipe) = self.child.stdin.take() {
            let _ = pipe.write_all(b"stopped\n");
        }
    }

    fn ends_within(&mut self, patience: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + patience;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return Ok(false);
            }
            sleep(LOOK_INTERVAL);
        }
        Ok(true)
    }
}

//! From start to ordered end of a broker process, the same for `tasker up` and `tasker broker`: signals, the word
//! that it is ready, the end.

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Args;
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded, select, unbounded};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::output::print;
use super::reload::Reload;
use super::{Exit, Failure, Format, Global, service};
use crate::config::{Config, DatabaseUrl};
use crate::server::{Broker, Handle};
use crate::{ops, postgres};

/// How a shell reports a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// After the time for draining, the last commit, the sockets and a private Postgres have this long to end. Together with
/// the default of `broker.shutdown_timeout_seconds` it is less than the 30 s that most supervisors give.
const ENDING: Duration = Duration::from_secs(4);

/// How to tell others that the broker is ready.
#[derive(Debug, Args)]
pub(super) struct Announcement {
    /// Write the endpoints to this file when ready, as JSON; it is removed at the end
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

/// A broker with what it stands on. Stopped in the order of the fields.
pub(super) struct Running {
    pub broker: Broker,
    /// How long workers may take to report what they run when the broker stops.
    pub shutdown_timeout: Duration,
    pub postgres: Option<postgres::Server>,
    pub database: DatabaseUrl,
}

/// The HTTP server, when the configuration has one, and the handle by which it will look at the broker. There before the
/// broker, so that a start that takes long can be looked at.
pub(super) struct Front {
    pub handle: Handle,
    pub http: Option<ops::Server>,
}

impl Front {
    pub(super) fn open(config: &Config) -> Result<Front, Failure> {
        let handle = Handle::default();
        let http = ops::Server::start(config, handle.clone())?;
        Ok(Front { handle, http })
    }
}

/// What is told when the broker is ready.
#[derive(Serialize)]
struct Ready {
    work: Vec<String>,
    events: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<String>,
    database: String,
    pid: u32,
}

/// Starts a broker, runs `prepare` on it, says that it is ready, and lets it run until INT or TERM. HUP reloads,
/// or ends it as well when there is nothing to reload: then it says that the terminal is gone.
pub(super) fn serve(
    global: &Global,
    announcement: &Announcement,
    reload: Option<&Reload>,
    front: &Front,
    start: impl FnOnce() -> Result<Running, Failure> + Send + 'static,
    prepare: impl FnOnce(&Broker) -> Result<(), Failure>,
) -> Result<Exit, Failure> {
    let (signals, hangups) = listen(reload.is_none()).map_err(|error| broken("listen for signals", &error))?;
    service::watch(front.handle.clone()).map_err(|error| broken("start a thread", &error))?;
    let (tell, started) = bounded(1);
    // On a thread of its own: a standby can wait for ever, and must still hear the signal.
    thread::spawn(move || {
        // Nobody waits any more when a signal came first.
        let _ = tell.send(start());
    });
    let running = select! {
        recv(started) -> running => {
            running.map_err(|_| Failure::new(Exit::Broken, "the start ended by a panic; its message is above"))??
        }
        recv(signals) -> _ => {
            // Nothing was accepted yet. What was started ends with this process.
            service::stops();
            info!("stopped before the broker was ready");
            return Ok(Exit::Done);
        }
    };
    prepare(&running.broker)?;
    if let Some(reload) = reload {
        let tokens = front.http.as_ref().and_then(ops::Server::tokens);
        reload
            .on(hangups, running.broker.access().cloned(), tokens.cloned())
            .map_err(|error| broken("start a thread", &error))?;
    }
    let _file = announce(global, announcement, &running, front)?;
    let end = select! {
        recv(signals) -> name => {
            let seconds = running.shutdown_timeout.as_secs();
            info!(signal = name.unwrap_or("?"), at_most_seconds = seconds, "draining; a second signal ends at once");
            None
        }
        recv(running.broker.ended()) -> end => end.ok().flatten(),
    };
    service::stops();
    let limit = running.shutdown_timeout;
    thread::spawn(move || match signals.recv_timeout(limit + ENDING) {
        Ok(name) => {
            warn!(signal = name, "ended at once");
            std::process::exit(INTERRUPTED);
        }
        Err(RecvTimeoutError::Timeout) => {
            warn!("did not end in time; what was not acknowledged is not durable");
            std::process::exit(Exit::Broken as i32);
        }
        // The process is about to end.
        Err(RecvTimeoutError::Disconnected) => {}
    });
    let stopped = running.broker.drain(limit);
    if let Some(postgres) = running.postgres {
        postgres.stop().map_err(Failure::from)?;
    }
    if let Some(error) = end {
        return Err(error.into());
    }
    stopped?;
    info!("stopped");
    Ok(Exit::Done)
}

/// Catches the signals that ask for an end, and those that ask to reload, from now on.
pub(super) fn listen(hangup_ends: bool) -> io::Result<(Receiver<&'static str>, Receiver<()>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    drop(entered);
    let (tell, signals) = unbounded();
    // One that was not looked at yet asks for the same as another.
    let (tell_hangup, hangups) = bounded(1);
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            loop {
                let name = tokio::select! {
                    _ = interrupt.recv() => "INT",
                    _ = terminate.recv() => "TERM",
                    _ = hangup.recv() => if hangup_ends {
                        "HUP"
                    } else {
                        let _ = tell_hangup.try_send(());
                        continue;
                    }
                };
                if tell.send(name).is_err() {
                    return;
                }
            }
        });
    })?;
    Ok((signals, hangups))
}

fn announce(
    global: &Global,
    announcement: &Announcement,
    running: &Running,
    front: &Front,
) -> Result<ReadyFile, Failure> {
    let endpoints = running.broker.endpoints();
    let ready = Ready {
        work: endpoints.work.clone(),
        events: endpoints.events.clone(),
        http: front.http.as_ref().map(|http| format!("http://{}", http.address())),
        database: running.database.to_string(),
        pid: std::process::id(),
    };
    let json = serde_json::to_string(&ready).map_err(io::Error::other)? + "\n";
    let file = ReadyFile(announcement.ready_file.clone());
    file.write(&json)?;
    match global.output {
        // One line, so that whoever waits for it knows when it has all of it.
        Format::Json => print(&json)?,
        format => format.print(&ready, || describe(&ready))?,
    }
    Ok(file)
}

fn describe(ready: &Ready) -> String {
    let mut text = String::new();
    let http = ready.http.iter().cloned().collect();
    for (name, values) in [("work", &ready.work), ("events", &ready.events), ("http", &http)] {
        text.extend(values.iter().map(|value| format!("{name:<8}  {value}\n")));
    }
    text + &format!("database  {}\npid       {}\n", ready.database, ready.pid)
}

/// Is there while the broker is ready.
struct ReadyFile(Option<PathBuf>);

impl ReadyFile {
    /// Whoever sees the file sees all of it: it is written under another name first.
    fn write(&self, json: &str) -> Result<(), Failure> {
        let Some(path) = &self.0 else { return Ok(()) };
        let mut draft = path.clone().into_os_string();
        draft.push(format!(".{}", std::process::id()));
        let written = std::fs::write(&draft, json).and_then(|()| std::fs::rename(&draft, path));
        written.map_err(|error| broken(&format!("write {}", path.display()), &error))
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Already gone is as good.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A failure of the operating system.
pub(super) fn broken(what: &str, error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Broken, format!("failed to {what}: {error}"))
}

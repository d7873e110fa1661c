//! A broker for the time of a run: `tasker up` as a child, in a folder that is removed afterwards.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use uuid::Uuid;

use super::super::serve::broken;
use super::super::{Exit, Failure};
use super::interrupt::{self, Interrupt};
use crate::bench::Target;

/// A new cluster takes some seconds, on a busy machine ten times that.
const START_MAX: Duration = Duration::from_secs(60);

/// How often the file is looked for that says that it is ready.
const LOOK: Duration = Duration::from_millis(20);

/// Lines of its log that are told when something fails.
const LAST_WORDS: usize = 10;

/// Stopped and removed when dropped.
pub(super) struct PrivateBroker {
    child: Child,
    folder: Folder,
    ready: Ready,
}

/// What it says when it is ready.
#[derive(Default, Deserialize)]
struct Ready {
    work: Vec<String>,
    events: Vec<String>,
    http: Option<String>,
    database: String,
}

impl PrivateBroker {
    /// Starts it with the configuration that the environment gives, and waits until it is ready.
    pub(super) fn start(interrupt: &Interrupt) -> Result<PrivateBroker, Failure> {
        let folder = Folder::new().map_err(|error| broken("make a folder for the broker", &error))?;
        let program = std::env::current_exe().map_err(|error| broken("find this program", &error))?;
        let log = File::create(folder.log()).map_err(|error| broken("make the broker's log", &error))?;
        let mut command = Command::new(program);
        command.arg("up").args(["--port", "0", "--data"]).arg(folder.path("data"));
        command.arg("--ready-file").arg(folder.path("ready"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().map_err(|error| broken("start the broker", &error))?;
        let mut broker = PrivateBroker { child, folder, ready: Ready::default() };
        broker.ready = broker.await_ready(interrupt)?;
        Ok(broker)
    }

    fn await_ready(&mut self, interrupt: &Interrupt) -> Result<Ready, Failure> {
        let deadline = Instant::now() + START_MAX;
        loop {
            if let Ok(text) = fs::read_to_string(self.folder.path("ready")) {
                return serde_json::from_str(&text).map_err(|error| broken("read the broker's ready file", &error));
            }
            let ended = self.child.try_wait().map_err(|error| broken("look after the broker", &error))?;
            if ended.is_some() || Instant::now() > deadline {
                let message = format!("the broker did not start; it said:\n{}", self.last_words());
                return Err(Failure::new(Exit::Broken, message));
            }
            if interrupt.is_asked() {
                return Err(interrupt::failure());
            }
            std::thread::sleep(LOOK);
        }
    }

    pub(super) fn target(&self, timeout: Duration) -> Target {
        let first = |endpoints: &[String]| endpoints.first().cloned().unwrap_or_default();
        Target {
            work: first(&self.ready.work),
            events: first(&self.ready.events),
            keys: None,
            timeout,
            database_url: Some(self.ready.database.clone()),
        }
    }

    /// Its HTTP server, unless the configuration has none.
    pub(super) fn http(&self) -> Option<&str> {
        self.ready.http.as_deref()
    }

    /// The end of its log.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read_to_string(self.folder.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n")
    }
}

impl Drop for PrivateBroker {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}

/// A folder that goes with whoever made it.
struct Folder(PathBuf);

impl Folder {
    /// Short, because the paths of sockets are; and passable, because under root Postgres runs as another user.
    fn new() -> std::io::Result<Folder> {
        let path = std::env::temp_dir().join(format!("tasker-{}", &Uuid::new_v4().simple().to_string()[..8]));
        fs::create_dir(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o711))?;
        Ok(Folder(path))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn log(&self) -> PathBuf {
        self.path("broker.log")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it is in a folder for temporary things.
        let _ = fs::remove_dir_all(Path::new(&self.0));
    }
}

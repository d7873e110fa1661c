//! A process of a round: stopped, continued, asked to leave and killed; what it says goes into a file.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Nobody tells us that a process has ended, so we look this often.
pub const LOOK: Duration = Duration::from_millis(10);

pub struct Process {
    child: Child,
    log: PathBuf,
    /// Where the log of this process begins in the file, which others have written to before.
    log_start: u64,
    /// Whether it was asked to leave.
    pub leaving_since: Option<Instant>,
}

impl Process {
    /// Starts a program. Its standard error is added to the file.
    pub fn start(mut command: Command, log: &Path) -> Process {
        let file = OpenOptions::new().create(true).append(true).open(log).expect("the folder of the round is ours");
        let log_start = file.metadata().expect("it is open").len();
        command.stdout(Stdio::null()).stderr(Stdio::from(file));
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Process { child, log: log.to_owned(), log_start, leaving_since: None }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process number")
    }

    pub fn signal(&self, signal: Signal) {
        signal_to(self.pid(), signal);
    }

    /// Asks it to leave in order.
    pub fn terminate(&mut self) {
        self.leaving_since = Some(Instant::now());
        self.signal(Signal::SIGTERM);
    }

    /// `kill -9`, also when it is stopped.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Waits for its end.
    pub fn ends_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            let ended = self.ended();
            if ended.is_some() || Instant::now() > deadline {
                return ended;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        use std::io::{Read, Seek, SeekFrom};
        let mut text = Vec::new();
        let mut file = File::open(&self.log).expect("it was made with the process");
        file.seek(SeekFrom::Start(self.log_start)).and_then(|_| file.read_to_end(&mut text)).expect("it can be read");
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A signal to a process that may have ended.
pub fn signal_to(pid: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid), signal);
}

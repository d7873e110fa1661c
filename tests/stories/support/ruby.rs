//! Ruby processes: workers, and scripts that use the client.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{PATIENCE, repository};

/// Where the gem is.
pub fn gem() -> PathBuf {
    repository("bindings/ruby")
}

/// A worker process. It is killed when the test lets go of it; of a test that fails, its log is shown.
pub struct RubyWorker {
    pub name: String,
    child: Child,
    log: Arc<Log>,
}

/// What a process writes, line by line, and whether that has ended.
#[derive(Default)]
pub struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    grown: Condvar,
}

impl Log {
    pub fn of(stream: impl Read + Send + 'static) -> Arc<Log> {
        let log = Arc::new(Log::default());
        let writer = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                writer.lines.lock().expect("no one panics with it").0.push(line);
                writer.grown.notify_all();
            }
            writer.lines.lock().expect("no one panics with it").1 = true;
            writer.grown.notify_all();
        });
        log
    }

    /// Waits for the first line with this text; all lines when there is none.
    pub fn has(&self, text: &str) -> Result<String, Vec<String>> {
        let find = |lines: &[String]| lines.iter().find(|line| line.contains(text)).cloned();
        let missing = |(lines, ended): &mut (Vec<String>, bool)| !*ended && find(lines).is_none();
        let lines = self.lines.lock().expect("no one panics with it");
        let (lines, _) = self.grown.wait_timeout_while(lines, PATIENCE, missing).expect("no one panics with it");
        find(&lines.0).ok_or_else(|| lines.0.clone())
    }

    /// Everything that was written so far.
    pub fn text(&self) -> String {
        self.lines.lock().expect("no one panics with it").0.join("\n")
    }
}

/// What a worker serves.
pub enum Serves<'a> {
    /// Templates that it brings along: files, and folders of them.
    Files(&'a [PathBuf]),
    /// Templates that the broker has: `namespace`, `namespace/name` or `namespace/name@version`.
    Stored(&'a [&'a str]),
}

impl RubyWorker {
    /// Starts a worker with the handlers of these files and folders, and returns at once.
    pub fn start(broker: &str, name: &str, concurrency: u32, handlers: &[PathBuf], serves: &Serves<'_>) -> RubyWorker {
        RubyWorker::start_with(&[], broker, name, concurrency, handlers, serves)
    }

    /// The same with further arguments.
    pub fn start_with(
        arguments: &[&str],
        broker: &str,
        name: &str,
        concurrency: u32,
        handlers: &[PathBuf],
        serves: &Serves<'_>,
    ) -> RubyWorker {
        let mut command = worker_command(&[broker], name, concurrency, handlers, serves);
        command.args(arguments).stderr(Stdio::piped());
        let mut child = command.spawn().expect("ruby is installed");
        let log = Log::of(child.stderr.take().expect("it is piped"));
        RubyWorker { name: name.to_owned(), child, log }
    }

    /// Waits until the worker has written a line with this text.
    pub fn logged(&self, text: &str) {
        self.log.has(text).unwrap_or_else(|lines| panic!("worker {} never said {text:?}: {lines:?}", self.name));
    }

    /// Waits until the broker counts on this worker.
    pub fn registered(&self) {
        self.logged("is registered with");
    }

    /// As the operating system does it to a process that takes too much memory.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks the worker to finish what it runs and leave.
    pub fn terminate(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process number"));
        kill(pid, Signal::SIGTERM).expect("it is our child");
    }

    /// Waits until it has ended.
    pub fn ended(&mut self) -> ExitStatus {
        self.child.wait().expect("it is our child")
    }

    /// Asks the worker to finish what it runs and leave, and waits until it has.
    pub fn stop(mut self) -> ExitStatus {
        self.terminate();
        self.ended()
    }
}

impl Drop for RubyWorker {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of worker {}\n{}", self.name, self.log.text());
        }
    }
}

/// A worker with the handlers of these files and folders, at these brokers.
pub fn worker_command(
    brokers: &[&str],
    name: &str,
    concurrency: u32,
    handlers: &[PathBuf],
    serves: &Serves<'_>,
) -> Command {
    let mut command = Command::new("ruby");
    command.arg(gem().join("exe/tasker-worker")).args(["--name", name]);
    command.args(brokers.iter().flat_map(|broker| ["--broker", broker]));
    command.args(["--concurrency", &concurrency.to_string()]);
    for path in handlers {
        command.arg("--require").arg(path);
    }
    match serves {
        Serves::Files(paths) => command.args(paths.iter().map(|path| format!("--templates={}", path.display()))),
        Serves::Stored(keys) => command.args(["--namespaces", &keys.join(",")]),
    };
    command.stdin(Stdio::null()).stdout(Stdio::null());
    dies_with_us(&mut command);
    command
}

/// A test that is killed takes its processes with it.
pub fn dies_with_us(command: &mut Command) {
    // SAFETY: prctl is a system call and takes no lock.
    unsafe { command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGKILL).map_err(Into::into)) };
}

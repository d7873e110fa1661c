//! Ruby processes: workers, and scripts that use the client.

use std::io::{BufRead, BufReader};
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

#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    grown: Condvar,
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
        let log = Arc::new(Log::default());
        let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let writer = log.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                writer.lines.lock().expect("no one panics with it").0.push(line);
                writer.grown.notify_all();
            }
            writer.lines.lock().expect("no one panics with it").1 = true;
            writer.grown.notify_all();
        });
        RubyWorker { name: name.to_owned(), child, log }
    }

    /// Waits until the worker has written a line with this text.
    pub fn logged(&self, text: &str) {
        let lines = self.log.lines.lock().expect("no one panics with it");
        let missing =
            |(lines, ended): &mut (Vec<String>, bool)| !*ended && !lines.iter().any(|line| line.contains(text));
        let (lines, _) = self.log.grown.wait_timeout_while(lines, PATIENCE, missing).expect("no one panics with it");
        let found = lines.0.iter().any(|line| line.contains(text));
        drop(lines);
        assert!(found, "worker {} never said {text:?}", self.name);
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
            let lines = self.log.lines.lock().expect("no one panics with it");
            eprintln!("--- log of worker {}\n{}", self.name, lines.0.join("\n"));
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

//! What a service manager is told, in order, by an owner and by its standby.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tasker_core::postgres::testing::TestDatabase;
use tasker_core::store::MIGRATOR;
use tempfile::TempDir;

use crate::tasker::command;

/// Longer than any start takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A broker, and the socket on which it is heard.
struct Service {
    child: Child,
    socket: UnixDatagram,
}

impl Service {
    fn start(folder: &Path, name: &str, database: &TestDatabase) -> Service {
        let path = folder.join(name);
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let mut command = command(&["broker"]);
        command.env("DATABASE_URL", &database.url).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
        for setting in ["ENDPOINTS__WORK", "ENDPOINTS__EVENTS"] {
            command.env(format!("TASKER__{setting}"), "tcp://127.0.0.1:0");
        }
        command.env("TASKER__HTTP__LISTEN", "127.0.0.1:0");
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start");
        Service { child, socket }
    }

    /// The next message, other than signs of life, which are counted.
    fn hears(&self, beats: &mut u32) -> Vec<String> {
        loop {
            let mut buffer = [0; 4_096];
            let read = self.socket.recv(&mut buffer).expect("it says something");
            let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
            if text == "WATCHDOG=1\n" {
                *beats += 1;
            } else {
                return text.lines().map(str::to_owned).collect();
            }
        }
    }

    fn beats(&self, count: u32) {
        for _ in 0..count {
            let mut buffer = [0; 64];
            let read = self.socket.recv(&mut buffer).expect("it says something");
            assert_eq!(&buffer[..read], b"WATCHDOG=1\n");
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("signal");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It has ended, or is to.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_service_manager_hears_ready_signs_of_life_and_the_end_in_order() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let database = runtime.block_on(TestDatabase::create(&MIGRATOR)).expect("a database");
    let folder = TempDir::new().expect("temporary folder");
    let mut beats = 0;
    let mut owner = Service::start(folder.path(), "owner", &database);
    let starts = ["STATUS=starting: reads what is unfinished", "WATCHDOG_USEC=600000000"];
    let ready = ["READY=1", "STATUS=ready: takes and hands out work", "WATCHDOG_USEC=200000"];
    // Said at the start, and again when it has the lane, unless that follows at once.
    let said = loop {
        let said = owner.hears(&mut beats);
        if said != starts {
            break said;
        }
    };
    assert_eq!(said, ready);
    assert_eq!(beats, 0, "nothing lives before it is there");
    owner.beats(3);

    owner.signal(Signal::SIGHUP);
    let reloading = owner.hears(&mut beats);
    assert!(reloading[0] == "RELOADING=1" && reloading[1].starts_with("MONOTONIC_USEC="), "{reloading:?}");
    assert_eq!(owner.hears(&mut beats), ["READY=1"]);

    let standby = Service::start(folder.path(), "standby", &database);
    assert_eq!(standby.hears(&mut beats), starts);
    let waits = ["READY=1", "STATUS=standby: another broker has the lane", "WATCHDOG=1"];
    for _ in 0..2 {
        assert_eq!(standby.hears(&mut beats), waits, "it is there, and lives");
    }

    owner.signal(Signal::SIGTERM);
    let stopping = owner.hears(&mut beats);
    assert_eq!(stopping[0], "STOPPING=1");
    assert!(owner.child.wait().expect("its end").success());
    // What it reads now may take longer; it may also be over before anybody has looked.
    let took_over = loop {
        let said = standby.hears(&mut beats);
        if said != waits && said != starts {
            break said;
        }
    };
    assert_eq!(took_over, ready);
    standby.beats(1);
}

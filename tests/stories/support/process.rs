//! A broker in a process of its own, so that it can be killed. The process is this test binary, which runs the one test
//! `restart::broker_process` as the broker.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use tasker_core::config::Config;
use tasker_core::server::{Broker, Options};

use super::Database;
use super::ruby::dies_with_us;

const URL: &str = "TASKER_STORY_DATABASE";
const ENDPOINTS: &str = "TASKER_STORY_ENDPOINTS";

pub struct BrokerProcess {
    child: Child,
    pub work: String,
    pub events: String,
}

impl BrokerProcess {
    /// Starts a broker on free ports, or on those of an earlier one, and waits until it can be reached.
    pub fn start(database: &Database, earlier: Option<&BrokerProcess>) -> BrokerProcess {
        let any = "tcp://127.0.0.1:0";
        let (work, events) = earlier.map_or((any, any), |earlier| (&earlier.work, &earlier.events));
        let mut command = Command::new(std::env::current_exe().expect("it runs"));
        command.args(["restart::broker_process", "--exact", "--nocapture", "--test-threads=1"]);
        command.env(URL, database.url()).env(ENDPOINTS, format!("{work} {events}"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        dies_with_us(&mut command);
        let mut child = command.spawn().expect("it has run before");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let ready = stdout.lines().map_while(Result::ok).find_map(|line| {
            let (_, endpoints) = line.split_once("ready ")?;
            let (work, events) = endpoints.split_once(' ')?;
            Some((work.to_owned(), events.to_owned()))
        });
        let (work, events) = ready.expect("the broker says where it listens");
        BrokerProcess { child, work, events }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Stops it in order: it stops when its input ends.
    pub fn stop(&mut self) {
        drop(self.child.stdin.take());
        let status = self.child.wait().expect("it is our child");
        assert!(status.success(), "the broker ended with {status}");
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the broker's process does; nothing in the process of a test.
pub fn be_a_broker() {
    let (Ok(database_url), Ok(endpoints)) = (std::env::var(URL), std::env::var(ENDPOINTS)) else { return };
    let (work, events) = endpoints.split_once(' ').expect("two endpoints");
    let mut config = Config::default();
    config.endpoints.work = vec![work.to_owned()];
    config.endpoints.events = vec![events.to_owned()];
    let broker = Broker::start(Options { config, database_url }).expect("the broker starts");
    let endpoints = broker.endpoints();
    println!("ready {} {}", endpoints.work[0], endpoints.events[0]);
    std::io::stdout().flush().expect("somebody reads it");
    let _ = std::io::stdin().lines().count();
    broker.stop().expect("it ends in order");
}

//! What a broker says, asked as any client would.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::finding::Findings;
use super::round_trip;
use crate::cli::Global;
use crate::cli::time::format_us;
use crate::client::{self, Client};
use crate::config::Config;
use crate::protocol::{HealthCheck, HealthLevel, HealthReport, ListWorkers, WorkerList, WorkerSummary};

/// Heartbeats after which the broker itself suspects a worker.
const HEARTBEATS_MISSED: u64 = 3;

/// A round trip on one network takes less.
const ROUND_TRIP_WARNING: Duration = Duration::from_secs(1);

/// What a broker answered, for the bundle.
#[derive(Default)]
pub(super) struct Answers {
    pub health: Option<HealthReport>,
    pub workers: Option<WorkerList>,
}

/// Asks the broker.
pub(super) fn check(findings: &mut Findings, config: &Config, global: &Global, endpoint: &str) -> Answers {
    let mut answers = Answers::default();
    let keys = match global.keys() {
        Ok(keys) => keys,
        Err(failure) => {
            let advice = "mend --server-key and --key-file, or the context; see curve.files";
            findings.unknown(
                "broker",
                format!("{endpoint}: our own keys cannot be used: {}", failure.summary()),
                advice,
            );
            return answers;
        }
    };
    let asked = Instant::now();
    let health = Client::connect_with(endpoint, keys.as_ref(), global.timeout).and_then(|mut client| {
        let health = client.request(HealthCheck { correlation_id: Uuid::nil(), level: HealthLevel::Full })?;
        Ok((client, health))
    });
    let (mut client, health) = match health {
        Ok(answer) => answer,
        Err(error) => {
            unreachable(findings, endpoint, &error);
            return answers;
        }
    };
    let took = asked.elapsed();
    let found = format!("{endpoint} answers, connected and asked in {}", format_us(micros(took)));
    match took > ROUND_TRIP_WARNING {
        true => findings.warning("broker", found, "look at the network, the load of the machine, and `tasker top`"),
        false => findings.ok("broker", found),
    }
    report(findings, &health);
    answers.health = Some(health);
    match client.request(ListWorkers { correlation_id: Uuid::nil() }) {
        Ok(list) => {
            workers(findings, &list.workers, config.engine.heartbeat_ms);
            answers.workers = Some(list);
        }
        Err(error) => findings.unknown("workers", error.to_string(), "ask with a key whose role may"),
    }
    answers
}

fn unreachable(findings: &mut Findings, endpoint: &str, error: &client::Error) {
    let found = error.to_string();
    match error {
        client::Error::KeyRefused { .. } => {
            let advice =
                "list what `tasker key public FILE` prints in [[security.peers]] of the broker, and send it HUP";
            findings.problem("curve.peers", found, advice);
        }
        client::Error::HandshakeBrokenOff { has_keys: true, .. } => {
            findings.problem(
                "curve.server_key",
                found,
                "--server-key has to be the public half of security.secret_key_file",
            );
        }
        client::Error::KeyNeeded { .. } | client::Error::HandshakeBrokenOff { has_keys: false, .. } => {
            findings.unknown("broker", found, "give --server-key and --key-file, or a context with them");
        }
        client::Error::NoKeysThere { .. } => {
            findings.problem("curve.server_key", found, "ask without keys, or set security.curve = true at the broker");
        }
        client::Error::Endpoint { .. } => {
            findings.problem("broker", found, "an endpoint is tcp://HOST:PORT or ipc:///PATH");
        }
        client::Error::Refused(_) | client::Error::Reply(_) => {
            findings.problem("broker", format!("{endpoint}: {found}"), "use the same release here and there");
        }
        client::Error::Unreachable { .. } | client::Error::NoAnswer { .. } | client::Error::Socket(_) => {
            let advice = "start it (systemctl status, `tasker broker`), or say where it is: --broker, --context";
            findings.problem("broker", found, advice);
        }
    }
}

fn report(findings: &mut Findings, health: &HealthReport) {
    match health.problems.as_slice() {
        [] => findings
            .ok("broker.health", format!("{}, up for {}", health.status, format_us(health.uptime_seconds * 1_000_000))),
        problems => {
            for problem in problems {
                findings.problem(
                    "broker.health",
                    problem,
                    "`tasker health` tells more; the broker's log has the cause",
                );
            }
        }
    }
    let own = env!("CARGO_PKG_VERSION");
    match health.version == own {
        true => findings.ok("broker.version", format!("{own}, as this program")),
        false => findings.warning(
            "broker.version",
            format!("the broker is {}, this program {own}", health.version),
            "neighbouring releases understand each other; use one of them everywhere in the end",
        ),
    }
}

fn workers(findings: &mut Findings, workers: &[WorkerSummary], heartbeat_ms: u64) {
    let is_silent = |worker: &&WorkerSummary| {
        worker.state == "suspect" || worker.seen_ms_ago > heartbeat_ms.saturating_mul(HEARTBEATS_MISSED)
    };
    let mut silent = workers.iter().filter(is_silent).peekable();
    if silent.peek().is_none() {
        findings.ok("workers", format!("{} are registered, and none is silent", workers.len()));
    }
    for worker in silent {
        let silence = format_us(worker.seen_ms_ago.saturating_mul(1_000));
        let WorkerSummary { name, host, pid, state, .. } = worker;
        findings.problem(
            "workers",
            format!("worker {name} ({state}, process {pid} on {host}) is silent for {silence}"),
            "look whether the process lives and computes, and at the network between it and the broker",
        );
    }
}

/// Lets a task go through.
pub(super) fn round_trip(findings: &mut Findings, global: &Global, endpoint: &str) {
    let check = "worker.round_trip";
    let Ok(keys) = global.keys() else { return };
    if keys.is_some() {
        let advice = "a key has one role; `tasker task submit --wait` to a worker of your own shows the same";
        findings.unknown(check, "with keys nobody is both worker and client", advice);
        return;
    }
    match round_trip::make(endpoint, keys.as_ref(), global.timeout) {
        Ok(took) => findings.ok(check, format!("a task of one step went through in {}", format_us(micros(took)))),
        Err(problem) => {
            findings.problem(check, format!("a task of one step: {problem}"), "the broker's log has the cause")
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

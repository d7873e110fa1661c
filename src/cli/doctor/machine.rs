//! What can be seen on this machine without a database and without a broker.

use std::fs;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;

use super::finding::Findings;
use super::ports;
use crate::cli::Global;
use crate::config::Config;
use crate::security::{PublicKey, Role, SecretKey};
use crate::store::LaneFacts;

/// Descriptors of a broker beside its connections, as in `server::descriptors`.
const DESCRIPTORS_OTHERS: u64 = 200;

/// Shares of a disk that are free, in percent.
const DISK_WARNING: u64 = 10;
const DISK_PROBLEM: u64 = 3;

/// Oldest libzmq whose CURVE has no known hole (CVE-2021-20235 and others).
const ZMQ_MIN: (i32, i32, i32) = (4, 3, 4);

/// The ZeroMQ library.
pub(super) fn zeromq(findings: &mut Findings) {
    let version = zmq::version();
    let text = format!("libzmq {}.{}.{}", version.0, version.1, version.2);
    let has_curve = zmq::has("curve") == Some(true);
    if !has_curve {
        findings.problem(
            "zeromq",
            format!("{text} was built without CURVE: keys cannot be used"),
            "install one with libsodium",
        );
    } else if version < ZMQ_MIN {
        findings.warning("zeromq", format!("{text} has known holes"), "4.3.4 or later is safe");
    } else {
        findings.ok("zeromq", format!("{text} with CURVE"));
    }
}

/// How many files a broker may have open: the one that runs here, else one that would be started from here.
pub(super) fn descriptors(findings: &mut Findings, config: &Config, owner: Option<u32>) {
    let needed = u64::from(config.limits.peers_max) + DESCRIPTORS_OTHERS;
    let of_broker = owner.and_then(|pid| limit_of(pid).map(|limit| (limit, format!("the broker (process {pid})"))));
    let of_shell =
        || Some((getrlimit(Resource::RLIMIT_NOFILE).ok()?.1, "a broker that is started from here".to_owned()));
    let Some((limit, who)) = of_broker.or_else(of_shell) else {
        findings.unknown("descriptors", "the limit on open files cannot be read", "`ulimit -Hn` shows it");
        return;
    };
    let found =
        format!("{who} may have {limit} files open; limits.peers_max = {} takes {needed}", config.limits.peers_max);
    match limit < needed {
        true => findings.warning(
            "descriptors",
            found,
            "raise it (LimitNOFILE= of systemd, ulimit -Hn), or lower limits.peers_max",
        ),
        false => findings.ok("descriptors", found),
    }
}

/// The hard limit of another process.
fn limit_of(pid: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        limit => limit.parse().ok(),
    }
}

/// The process of the broker that owns a lane, when it runs on this machine.
pub(super) fn broker_here(lanes: &[LaneFacts]) -> Option<u32> {
    let host = nix::unistd::gethostname().ok()?.into_string().ok()?;
    let owners = lanes.iter().filter_map(|lane| lane.owner.as_ref());
    let pid = owners.filter(|(of, _)| *of == host).map(|(_, pid)| *pid).next()?;
    u32::try_from(pid).ok().filter(|pid| Path::new(&format!("/proc/{pid}")).exists())
}

/// Whether the configured endpoints are free or held by a broker.
pub(super) fn ports(findings: &mut Findings, config: &Config) {
    if !ports::can_look() {
        findings.unknown("ports", "this system has no /proc/net/tcp", "`lsof -i` shows who listens");
        return;
    }
    let http = Some(&config.http.listen).filter(|listen| !listen.is_empty()).map(|listen| format!("tcp://{listen}"));
    let endpoints = config.endpoints.work.iter().chain(&config.endpoints.events).chain(&http);
    for (endpoint, port) in endpoints.filter_map(|endpoint| Some((endpoint, ports::own_port(endpoint)?))) {
        let advice = "stop it, or choose another port in [endpoints] or [http]";
        match ports::listener(port) {
            None => findings.ok("ports", format!("{endpoint} is free")),
            Some(ports::Listener { process: Some((pid, name)) }) if name.starts_with("tasker") => {
                findings.ok("ports", format!("{endpoint} is held by {name} (process {pid})"));
            }
            Some(ports::Listener { process: Some((pid, name)) }) => {
                findings.problem(
                    "ports",
                    format!("{endpoint} is held by {name} (process {pid}), which is no broker"),
                    advice,
                );
            }
            Some(ports::Listener { process: None }) => {
                let found = format!("{endpoint} is held by a process that we may not see");
                findings.unknown("ports", found, "run this as root, or as the user that it belongs to");
            }
        }
    }
}

/// Keys in files, and whether those who shall talk to each other know each other.
pub(super) fn keys(findings: &mut Findings, config: &Config, global: &Global) {
    let broker = config.security.curve.then(|| Path::new(&config.security.secret_key_file));
    let broker = broker.and_then(|file| key(findings, "security.secret_key_file", file)).map(|key| key.public());
    let worker = Some(config.worker.secret_key_file.as_str()).filter(|file| !file.is_empty());
    let worker =
        worker.and_then(|file| key(findings, "worker.secret_key_file", Path::new(file))).map(|key| key.public());
    let own = global.key_file.as_deref().filter(|file| !file.is_empty());
    let own = own.and_then(|file| key(findings, "--key-file", Path::new(file))).map(|key| key.public());
    if !config.security.curve && own.is_none() && worker.is_none() {
        findings.ok("curve.files", "no keys are used");
        return;
    }
    let Some(broker) = broker else { return };
    let given = [
        ("worker.server_public_key", config.worker.server_public_key.as_str()),
        ("--server-key", global.server_key.as_deref().unwrap_or_default()),
    ];
    for (what, text) in given.into_iter().filter(|(_, text)| !text.is_empty()) {
        match text.parse::<PublicKey>() == Ok(broker) {
            true => findings.ok("curve.server_key", format!("{what} is the key of security.secret_key_file")),
            false => findings.problem(
                "curve.server_key",
                format!("{what} is not the key of security.secret_key_file, which is {broker}"),
                "`tasker key public FILE` prints the right one",
            ),
        }
    }
    listed(findings, config, "worker.secret_key_file", worker, &[Role::Worker]);
    listed(findings, config, "--key-file", own, &Role::ALL);
}

/// Reads a key.
fn key(findings: &mut Findings, what: &str, file: &Path) -> Option<SecretKey> {
    match SecretKey::read(file) {
        Ok(key) => {
            findings.ok("curve.files", format!("{what}: {} is a key that its owner alone reads", file.display()));
            Some(key)
        }
        Err(error) => {
            let advice = "chmod 600, or make one by `tasker key new --secret-file FILE`";
            findings.problem("curve.files", format!("{what}: {} {error}", file.display()), advice);
            None
        }
    }
}

/// Whether the broker lists a key, in one of these roles.
fn listed(findings: &mut Findings, config: &Config, what: &str, key: Option<PublicKey>, roles: &[Role]) {
    let Some(key) = key else { return };
    match config.security.peers.iter().find(|peer| peer.public_key == key) {
        Some(peer) if roles.contains(&peer.role) => {
            findings.ok("curve.peers", format!("{what} is listed as {} ({})", peer.name, peer.role));
        }
        Some(peer) => findings.problem(
            "curve.peers",
            format!("{what} is listed as {}, with the role {}", peer.name, peer.role),
            "give each role a key of its own in [[security.peers]]",
        ),
        None => findings.problem(
            "curve.peers",
            format!("{what} has the public key {key}, which [[security.peers]] does not list"),
            "list it, and send the broker HUP",
        ),
    }
}

/// Room for the data of the private Postgres, when there is one here.
pub(super) fn disk(findings: &mut Findings, data: &Path) {
    if !data.exists() {
        findings.ok("disk", format!("no private Postgres in {}", data.display()));
        return;
    }
    let Ok(status) = statvfs(data) else {
        findings.unknown("disk", format!("{} cannot be looked at", data.display()), "`df` shows how full it is");
        return;
    };
    let blocks = status.blocks().max(1);
    let free = status.blocks_available();
    let percent = free * 100 / blocks;
    let gib = free as f64 * status.fragment_size() as f64 / f64::from(1 << 30);
    let found = format!("{percent} % ({gib:.1} GiB) are free for {}", data.display());
    let advice = "make room: with a full disk Postgres stops, and the broker waits";
    match (percent < DISK_PROBLEM, percent < DISK_WARNING) {
        (true, _) => findings.problem("disk", found, advice),
        (false, true) => findings.warning("disk", found, advice),
        (false, false) => findings.ok("disk", found),
    }
}

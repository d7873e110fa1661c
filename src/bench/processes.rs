//! What processes of this machine have used, as `/proc` tells.

use std::fs;

use nix::unistd::{SysconfVar, sysconf};

/// CPU time and memory of some processes together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// User and system time since their start, in microseconds; of those that have ended, too, when their parent counts.
    pub cpu_us: u64,
    /// Resident memory in bytes. Pages that processes share are counted in each.
    pub resident_bytes: u64,
}

/// Of one process, or nothing when it is not of this machine or has ended.
pub(super) fn of(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = Stat::parse(&stat)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let resident_kib = field(&status, "VmRSS:").unwrap_or(0);
    Some(Usage { cpu_us: fields.ticks * tick_us(), resident_bytes: resident_kib * 1024 })
}

/// Of a process with its children, those that have ended included.
pub(super) fn of_family(parent: u32) -> Option<Usage> {
    let mut usage = of(parent)?;
    let stat = fs::read_to_string(format!("/proc/{parent}/stat")).ok()?;
    usage.cpu_us += Stat::parse(&stat)?.ticks_of_ended_children * tick_us();
    for child in children(parent) {
        let child = of(child).unwrap_or_default();
        usage.cpu_us += child.cpu_us;
        usage.resident_bytes += child.resident_bytes;
    }
    Some(usage)
}

/// CPU time of a process's threads of this name, in microseconds; nothing when it is not of this machine, or the kernel does not
/// say.
pub(super) fn threads_us(pid: u32, name: &str) -> Option<u64> {
    let mut nanoseconds = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let thread = entry.ok()?.path();
        // One that has just ended has used little.
        let Ok(is_called) = fs::read_to_string(thread.join("comm")) else { continue };
        if is_called.trim_end() == name {
            let used = fs::read_to_string(thread.join("schedstat")).ok()?;
            nanoseconds += used.split_whitespace().next()?.parse::<u64>().ok()?;
        }
    }
    Some(nanoseconds / 1_000)
}

/// The first process of a Postgres server, found by one of its sessions; nothing when that is no process of this machine.
pub(super) fn postmaster(session: u32) -> Option<u32> {
    let name = fs::read_to_string(format!("/proc/{session}/comm")).ok()?;
    if name.trim() == "postgres" { parent(session) } else { None }
}

fn parent(pid: u32) -> Option<u32> {
    Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?).map(|stat| stat.parent)
}

fn children(of: u32) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent(*pid) == Some(of)).collect()
}

/// A number of `/proc/PID/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Microseconds a clock tick of `/proc`.
fn tick_us() -> u64 {
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u64::try_from(ticks).ok());
    1_000_000 / ticks.filter(|ticks| *ticks > 0).unwrap_or(100)
}

/// What is of interest of `/proc/PID/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    parent: u32,
    ticks: u64,
    ticks_of_ended_children: u64,
}

impl Stat {
    /// The name of the program may hold blanks and parentheses: fields count from the last one.
    fn parse(text: &str) -> Option<Stat> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Stat {
            parent: fields.get(1)?.parse().ok()?,
            ticks: number(11)? + number(12)?,
            ticks_of_ended_children: number(13)? + number(14)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_moves_no_field() {
        let text = "42 (a (b) c) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 30 4 20 0 1 0 1 1 1";
        assert_eq!(Stat::parse(text), Some(Stat { parent: 7, ticks: 120, ticks_of_ended_children: 34 }));
        assert_eq!(Stat::parse("42 (x"), None);
    }

    #[test]
    fn this_process_has_used_something() {
        let usage = of(std::process::id()).expect("we are here");
        assert!(usage.resident_bytes > 1_000_000, "{usage:?}");
        assert!(parent(std::process::id()).is_some());
        let busy = std::thread::Builder::new().name("busy".to_owned()).spawn(|| {
            while threads_us(std::process::id(), "busy").is_some_and(|us| us == 0) {}
            threads_us(std::process::id(), "busy")
        });
        let used = busy.expect("a thread").join().expect("it ends");
        assert!(used.is_none_or(|us| us > 0), "{used:?}");
        assert_eq!(of(u32::MAX), None);
        assert_eq!(threads_us(u32::MAX, "http"), None);
    }
}

//! Who listens at a port of this machine, as the kernel tells it under `/proc`.

use std::fs;
use std::net::IpAddr;

/// A TCP socket that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    /// The process, if we may see it: number and name.
    pub process: Option<(u32, String)>,
}

/// `TCP_LISTEN` in the tables of the kernel.
const LISTEN: &str = "0A";

/// Whether `/proc` can be asked at all.
pub(super) fn can_look() -> bool {
    fs::exists("/proc/net/tcp").unwrap_or(false)
}

/// Who listens at the port.
pub(super) fn listener(port: u16) -> Option<Listener> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|file| fs::read_to_string(file).unwrap_or_default());
    let inode = tables.iter().find_map(|table| find(table, port))?;
    Some(Listener { process: holder(inode) })
}

/// The number of the socket that listens at the port, from a table of the kernel.
fn find(table: &str, port: u16) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let local = fields.nth(1)?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?;
        let (_, text) = local.rsplit_once(':')?;
        let is_it = state == LISTEN && u16::from_str_radix(text, 16) == Ok(port);
        if is_it { inode.parse().ok() } else { None }
    })
}

/// The process that has the socket open.
fn holder(inode: u64) -> Option<(u32, String)> {
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has_it = |pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().filter_map(Result::ok);
        files.into_iter().any(|file| fs::read_link(file.path()).is_ok_and(|link| link.to_str() == Some(&wanted)))
    };
    let pid = numbers.find(has_it)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some((pid, name.trim().to_owned()))
}

/// The port of a `tcp://` endpoint, when it is one of this machine: a fixed number at an address of our own.
pub(super) fn own_port(endpoint: &str) -> Option<u16> {
    let (host, port) = endpoint.strip_prefix("tcp://")?.rsplit_once(':')?;
    let is_own = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || address.is_unspecified(),
        Err(_) => host == "*" || host == "localhost",
    };
    port.parse().ok().filter(|&port| is_own && port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_with_its_process() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = socket.local_addr().expect("an address").port();
        let found = listener(port).expect("we listen");
        assert_eq!(found.process.map(|(pid, _)| pid), Some(std::process::id()));
        drop(socket);
        assert_eq!(listener(port), None);
    }

    #[test]
    fn ports_of_other_machines_are_not_ours() {
        for (endpoint, port) in [
            ("tcp://127.0.0.1:7570", Some(7570)),
            ("tcp://0.0.0.0:7570", Some(7570)),
            ("tcp://[::]:7570", Some(7570)),
            ("tcp://localhost:1", Some(1)),
            ("tcp://10.1.2.3:7570", None),
            ("tcp://127.0.0.1:0", None),
            ("ipc:///run/tasker", None),
        ] {
            assert_eq!(own_port(endpoint), port, "{endpoint}");
        }
    }
}

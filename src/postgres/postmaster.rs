//! Reads `postmaster.pid`, in which a running server says who and where it is, and tells a live one from leftovers.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::Error;

/// The contents of `postmaster.pid`; a server that is just starting has written only some of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Postmaster {
    pub(super) pid: i32,
    pub(super) port: Option<u16>,
    pub(super) socket_dir: Option<PathBuf>,
    /// Whether the server says that it takes sessions.
    pub(super) is_ready: bool,
}

impl Postmaster {
    /// What the file in this cluster says; `None` without a file, or with one that does not begin with a process id.
    pub(super) fn read(cluster: &Path) -> Result<Option<Postmaster>, Error> {
        let file = cluster.join("postmaster.pid");
        match fs::read_to_string(&file) {
            Ok(text) => Ok(parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &file)(error)),
        }
    }

    /// The socket file, once the server takes sessions there.
    pub(super) fn socket(&self) -> Option<PathBuf> {
        let dir = self.socket_dir.as_ref().filter(|_| self.is_ready)?;
        Some(dir.join(format!(".s.PGSQL.{}", self.port?)))
    }

    /// Whether that process is the server of this cluster, and not one that got its number later.
    pub(super) fn is_alive(&self, cluster: &Path) -> bool {
        if !process_exists(self.pid) {
            return false;
        }
        if !cfg!(target_os = "linux") {
            return true;
        }
        // The server works in its cluster. A process that ended and was not waited for has no folder.
        match fs::read_link(format!("/proc/{}/cwd", self.pid)) {
            Ok(folder) => folder == cluster,
            Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
        }
    }
}

/// Keeps the leftover file of a dead server from stopping a start when its process id now belongs to somebody else.
///
/// Postgres takes the id of its own parent for a leftover. The rest of the file must stay: by the shared memory named
/// there, Postgres recognises processes of the dead server that still write.
pub(super) fn disown(cluster: &Path, postmaster: &Postmaster) -> Result<(), Error> {
    if !process_exists(postmaster.pid) {
        return Ok(()); // Postgres sees that by itself
    }
    let file = cluster.join("postmaster.pid");
    let text = fs::read_to_string(&file).map_err(Error::io("read", &file))?;
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    let mut options = OpenOptions::new();
    options.write(true).truncate(true).custom_flags(libc::O_NOFOLLOW);
    let write = options.open(&file).and_then(|mut open| write!(open, "{}\n{rest}", std::process::id()));
    write.map_err(Error::io("write", &file))
}

fn process_exists(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

fn parse(text: &str) -> Option<Postmaster> {
    let mut lines = text.lines();
    let pid = lines.next()?.trim().parse().ok().filter(|pid| *pid > 0)?;
    let mut lines = lines.skip(2); // the data folder and the time of the start
    let port = lines.next().and_then(|line| line.trim().parse().ok());
    let socket_dir = lines.next().map(str::trim).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let is_ready = lines.nth(2).is_some_and(|status| status.trim() == "ready"); // past TCP address and shared memory
    Some(Postmaster { pid, port, socket_dir, is_ready })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_file_is_read_as_far_as_it_is_written() {
        let full = "4711\n/data/cluster\n1700000000\n5432\n/data/run\n\n  5432001 7\nready   \n";
        let postmaster = parse(full).unwrap();
        assert_eq!((postmaster.pid, postmaster.port), (4711, Some(5432)));
        assert_eq!(postmaster.socket().unwrap(), Path::new("/data/run/.s.PGSQL.5432"));
        assert_eq!(parse(&full.replace("ready   ", "starting")).unwrap().socket(), None);
        assert_eq!(parse("4711\n/data/cluster\n").unwrap().socket(), None);
        assert_eq!(parse(""), None);
        assert_eq!(parse("-1\n"), None);
    }

    #[test]
    fn a_process_that_works_elsewhere_is_not_the_server() {
        let cluster = tempfile::tempdir().unwrap();
        let own = Postmaster { pid: std::process::id() as i32, port: None, socket_dir: None, is_ready: false };
        assert!(!own.is_alive(cluster.path()));
        assert!(own.is_alive(&std::env::current_dir().unwrap()));
    }
}

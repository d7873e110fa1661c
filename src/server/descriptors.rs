//! How many files and sockets the process may have open, and how many connections that allows.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// Descriptors for what is not a peer: libzmq's own, the database, logs, the runtime.
const OTHERS: u64 = 200;

/// Raises the soft limit as far as the system allows. The most connections that may be taken then, at most `wanted`.
pub(super) fn connections_max(wanted: u32) -> u32 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return wanted };
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    let allowed = fitting(wanted, limit);
    if allowed < wanted {
        let message = "fewer connections are taken than configured: raise the limit on open files (ulimit -Hn)";
        warn!(connections = allowed, configured = wanted, open_files = limit, message);
    }
    allowed
}

fn fitting(wanted: u32, limit: u64) -> u32 {
    // A limit that leaves nothing would make the broker useless: then some fail, and those of peers first.
    let room = limit.saturating_sub(OTHERS).max(limit / 2).max(1);
    wanted.min(u32::try_from(room).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_for_other_things_are_left() {
        assert_eq!(fitting(10_000, 20_000), 10_000);
        assert_eq!(fitting(10_000, 1_024), 824);
        assert_eq!(fitting(10_000, 64), 32);
        assert_eq!(fitting(10_000, u64::MAX), 10_000);
    }

    #[test]
    fn the_soft_limit_is_raised() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the system has it");
        assert_eq!(connections_max(10), 10);
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE), Ok((hard, hard)));
    }
}

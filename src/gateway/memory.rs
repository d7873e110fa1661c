//! How much memory the process has.

use nix::unistd::{SysconfVar, sysconf};

/// Resident bytes, from `/proc/self/statm`, which counts pages; `None` where there is no such file.
pub(super) fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(page).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_used_is_counted() {
        let before = resident().expect("Linux tells");
        let block = vec![7_u8; 64 << 20];
        let after = resident().expect("Linux tells");
        assert!(after >= before + (32 << 20), "{before} and {after} with {} bytes more", block.len());
    }
}

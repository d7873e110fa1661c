//! The account of the operating system that Postgres runs as, and commands started as it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::libc;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{Gid, Uid, User};

use super::Error;

/// Who runs Postgres when root starts it and nobody says otherwise.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// What the server inherits of the environment: nothing that could be a secret of the broker or a setting of libpq.
const KEPT_VARIABLES: [&str; 4] = ["PATH", "LD_LIBRARY_PATH", "TZDIR", "TMPDIR"];

/// The account that Postgres runs as.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: Uid,
    gid: Gid,
    /// The account of this process, which must be let in as well.
    pub(super) caller: String,
}

impl Account {
    /// Our own account; or, for root, the one asked for, else the owner of the cluster, else one without privileges.
    pub(super) fn choose(requested: Option<&str>, cluster_owner: Option<u32>) -> Result<Account, Error> {
        Account::choose_for(Uid::effective(), requested, cluster_owner.map(Uid::from_raw))
    }

    fn choose_for(caller: Uid, requested: Option<&str>, owner: Option<Uid>) -> Result<Account, Error> {
        let refuse = |account: &str, reason: String| Error::Account { account: account.to_owned(), reason };
        let me = by_uid(caller)?;
        let user = match (requested, owner) {
            (Some(name), _) => by_name(name)?.ok_or_else(|| refuse(name, "there is no such account".into()))?,
            (None, _) if !caller.is_root() => me.clone(),
            (None, Some(owner)) => by_uid(owner)?,
            (None, None) => {
                let mut accounts = UNPRIVILEGED.iter().filter_map(|name| by_name(name).transpose());
                accounts.next().unwrap_or_else(|| {
                    Err(refuse("root", format!("neither {} nor {} exists", UNPRIVILEGED[0], UNPRIVILEGED[1])))
                })?
            }
        };
        if user.uid.is_root() {
            return Err(refuse("root", "it refuses to; name another account".into()));
        }
        if user.uid != caller && !caller.is_root() {
            return Err(refuse(&user.name, format!("only root could start it so, and this is {}", me.name)));
        }
        if let Some(owner) = owner.filter(|owner| *owner != user.uid) {
            let owner = by_uid(owner).map_or_else(|_| owner.to_string(), |owner| owner.name);
            return Err(refuse(&user.name, format!("the data folder belongs to {owner}")));
        }
        Ok(Account { name: user.name, uid: user.uid, gid: user.gid, caller: me.name })
    }

    /// Whether commands run with fewer rights than this process has.
    pub(super) fn is_dropped(&self) -> bool {
        self.uid != Uid::effective()
    }

    /// A command that runs as this account, in a process group of its own, with next to nothing inherited.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").current_dir("/").process_group(0).stdin(Stdio::null());
        command.envs(KEPT_VARIABLES.iter().filter_map(|key| Some((key, env::var_os(key)?))));
        if self.is_dropped() {
            command.uid(self.uid.as_raw()).gid(self.gid.as_raw()); // also drops the supplementary groups
        }
        let open_max = getrlimit(Resource::RLIMIT_NOFILE).map_or(OPEN_MAX, |(soft, _)| soft.min(OPEN_MAX));
        // SAFETY: the closure runs between fork and exec; it makes system calls only, and allocates nothing.
        unsafe { command.pre_exec(move || close_inherited_on_exec(open_max as i32)) };
        command
    }

    /// The first of these folders, outermost first, that this account cannot enter.
    pub(super) fn first_barred(&self, folder: &Path) -> Result<Option<PathBuf>, Error> {
        let mut path: Vec<&Path> = folder.ancestors().collect();
        path.reverse();
        let script = r#"for dir do cd "$dir" 2>/dev/null || { printf %s "$dir"; exit; }; done"#;
        let mut command = self.command("/bin/sh");
        command.args(["-c", script, "sh"]).args(path);
        let output = command
            .output()
            .map_err(|source| Error::Io { action: format!("run a command as {}", self.name), source })?;
        Ok((!output.stdout.is_empty()).then(|| PathBuf::from(OsString::from_vec(output.stdout))))
    }
}

fn by_name(name: &str) -> Result<Option<User>, Error> {
    User::from_name(name)
        .map_err(|errno| Error::Io { action: format!("look up the account {name}"), source: errno.into() })
}

fn by_uid(uid: Uid) -> Result<User, Error> {
    let found = User::from_uid(uid)
        .map_err(|errno| Error::Io { action: format!("look up the account {uid}"), source: errno.into() })?;
    found.ok_or_else(|| Error::Account {
        account: format!("user id {uid}"),
        reason: "it has no name on this system, which Postgres insists on".into(),
    })
}

/// Descriptors beyond this are not looked at where the kernel cannot close a whole range.
const OPEN_MAX: libc::rlim_t = 65_536;

/// Marks every descriptor but the standard three to be closed by exec: a lock or a socket that lives on in a server
/// would stay locked or open.
fn close_inherited_on_exec(open_max: i32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: a system call on numbers.
        let done = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
        if done == 0 {
            return Ok(());
        }
    }
    for descriptor in 3..open_max {
        // SAFETY: a system call on numbers; those that are not open are refused with EBADF, which is fine.
        unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const ROOT: Uid = Uid::from_raw(0);

    fn refusal(caller: Uid, requested: Option<&str>, owner: Option<Uid>) -> String {
        Account::choose_for(caller, requested, owner).unwrap_err().to_string()
    }

    #[test]
    fn root_is_never_the_account() {
        assert_ne!(Account::choose_for(ROOT, None, None).unwrap().uid, ROOT);
        assert!(refusal(ROOT, Some("root"), None).contains("cannot run as root"));
        assert!(refusal(ROOT, None, Some(ROOT)).contains("cannot run as root"));
    }

    #[test]
    fn root_takes_the_account_asked_for_or_the_owner_of_the_data() {
        let nobody = by_name("nobody").unwrap().unwrap().uid;
        assert_eq!(Account::choose_for(ROOT, Some("nobody"), None).unwrap().uid, nobody);
        assert_eq!(Account::choose_for(ROOT, None, Some(nobody)).unwrap().uid, nobody);
    }

    #[test]
    fn an_account_that_does_not_exist_is_named() {
        assert!(refusal(ROOT, Some("no-such-account"), None).contains("no-such-account: there is no such account"));
    }

    #[test]
    fn others_than_root_run_it_as_themselves_only() {
        let nobody = by_name("nobody").unwrap().unwrap().uid;
        let daemon = by_name("daemon").unwrap().unwrap().uid;
        assert_eq!(Account::choose_for(nobody, None, None).unwrap().uid, nobody);
        assert!(refusal(nobody, Some("daemon"), None).contains("only root could start it so, and this is nobody"));
        assert!(refusal(nobody, None, Some(daemon)).contains("the data folder belongs to daemon"));
    }
}

//! The data folder: its layout, who owns what in it, and how a cluster gets made there.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use sha2::{Digest, Sha256};

use super::account::Account;
use super::{Error, Installation, ROLE};

/// The shortest limit among our systems on the path of a socket: 103 bytes on macOS (Linux has 107).
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// What Postgres adds to the folder of its socket.
const SOCKET_NAME: &str = ".s.PGSQL.5432";

/// A log that has grown beyond this is put aside at the next start; one older log is kept.
const LOG_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// How much of the log an error quotes.
const LOG_TAIL_LINES: usize = 20;
const LOG_TAIL_BYTES_MAX: u64 = 8 * 1024;

/// A data folder that exists.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

/// The log file, and how much was in it before this start.
pub(super) struct Log {
    pub(super) path: PathBuf,
    pub(super) file: File,
    start: u64,
}

impl Folder {
    /// Makes the folder where there is none.
    pub(super) fn open(path: &Path) -> Result<Folder, Error> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).create(path).map_err(Error::io("make the folder", path))?;
        let root = path.canonicalize().map_err(Error::io("find", path))?;
        if root.join("PG_VERSION").exists() {
            let reason = "it is a Postgres cluster itself; Tasker makes its own in a folder of its own".to_owned();
            return Err(Error::UnfitFolder { path: root, reason });
        }
        Ok(Folder { root })
    }

    /// Where Postgres keeps its data.
    pub(super) fn cluster(&self) -> PathBuf {
        self.root.join("cluster")
    }

    /// A file of ours.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Waits until nobody else is starting a server here. The lock is released by dropping it, and by the kernel.
    pub(super) fn lock(&self) -> Result<Flock<File>, Error> {
        let path = self.file("lock");
        let file = own_file().read(true).write(true).open(&path).map_err(Error::io("open", &path))?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| Error::io("lock", &path)(errno.into()))
    }

    /// The major version that made the cluster; `None` when there is no cluster yet.
    pub(super) fn major(&self) -> Result<Option<u32>, Error> {
        let file = self.cluster().join("PG_VERSION");
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.cluster().exists() => return Ok(None),
            Err(error) => return Err(Error::io("read", &file)(error)),
        };
        let major = text.trim().split('.').next().and_then(|major| major.parse().ok());
        let reason = || format!("cluster/PG_VERSION says {text:?}, which is no version");
        major.map(Some).ok_or_else(|| Error::UnfitFolder { path: self.root.clone(), reason: reason() })
    }

    /// The user id that owns the cluster.
    pub(super) fn owner(&self) -> Result<Option<u32>, Error> {
        match fs::symlink_metadata(self.cluster()) {
            Ok(found) => Ok(Some(found.uid())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("look at", &self.cluster())(error)),
        }
    }

    /// Lets the account pass through this folder to what it owns in it; the folders above are not ours to change.
    pub(super) fn admit(&self, account: &Account) -> Result<(), Error> {
        if !account.is_dropped() {
            return Ok(());
        }
        let mode = fs::metadata(&self.root).map_err(Error::io("look at", &self.root))?.permissions().mode();
        if mode & 0o011 != 0o011 {
            let passable = fs::Permissions::from_mode(mode & 0o7777 | 0o011);
            fs::set_permissions(&self.root, passable).map_err(Error::io("change the mode of", &self.root))?;
        }
        match account.first_barred(&self.root)? {
            None => Ok(()),
            Some(barred) => {
                let reason = format!(
                    "Postgres is to run as {}, who may not enter {}; choose a folder elsewhere, such as /var/lib/tasker",
                    account.name,
                    barred.display()
                );
                Err(Error::UnfitFolder { path: self.root.clone(), reason })
            }
        }
    }

    /// Makes a cluster. It gets its name only when it is whole, so a start that is cut off leaves nothing to repair.
    pub(super) fn make_cluster(&self, installation: &Installation, account: &Account) -> Result<(), Error> {
        self.remove_unfinished();
        let unfinished = self.root.join(format!("cluster.unfinished.{}", std::process::id()));
        make_private(&unfinished, account)?;
        let mut initdb = account.command(installation.bin().join("initdb"));
        initdb.arg("-D").arg(&unfinished).args(["-U", ROLE, "--encoding=UTF8", "--locale=C", "--data-checksums"]);
        initdb.args(["--auth=peer", "--no-instructions"]);
        let output = initdb.output().map_err(Error::io("run", &installation.bin().join("initdb")))?;
        if !output.status.success() {
            self.remove_unfinished();
            let text = [output.stdout, output.stderr].concat();
            let output = tail_of(&String::from_utf8_lossy(&text));
            return Err(Error::Initdb { cluster: self.cluster(), output });
        }
        fs::rename(&unfinished, self.cluster()).map_err(Error::io("name", &self.cluster()))?;
        File::open(&self.root).and_then(|dir| dir.sync_all()).map_err(Error::io("sync", &self.root))
    }

    /// Removes what starts before this one did not finish. Failing to is harmless: nothing reads it.
    fn remove_unfinished(&self) {
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            if entry.file_name().as_bytes().starts_with(b"cluster.unfinished.") {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Writes the settings and the access files, for this start.
    pub(super) fn write_settings(&self, account: &Account) -> Result<(), Error> {
        let mut map = format!("# Accounts of this machine that may be {ROLE}.\n");
        let mut names = vec![&account.caller, &account.name];
        names.dedup();
        for name in names {
            map.push_str(&format!("tasker \"{name}\" {ROLE}\n"));
        }
        self.write("postgres.conf", include_str!("settings.conf"))?;
        self.write(
            "pg_hba.conf",
            "# The unix socket only, and only whom pg_ident.conf names.\nlocal all all peer map=tasker\n",
        )?;
        self.write("pg_ident.conf", &map)?;
        if self.file("local.conf").exists() {
            return Ok(());
        }
        self.write(
            "local.conf",
            "# Settings of your own for the Postgres in this folder; they win over postgres.conf.\n",
        )
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let (path, new) = (self.file(name), self.file(&format!("{name}.new")));
        let write = || {
            let _ = fs::remove_file(&new);
            let mut file = own_file().create_new(true).write(true).mode(0o644).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.set_permissions(fs::Permissions::from_mode(0o644))?; // whatever the umask is: Postgres must read it
            fs::rename(&new, &path)
        };
        write().map_err(Error::io("write", &path))
    }

    /// The folder for the socket, made and emptied of what a server that was killed left in it.
    pub(super) fn make_socket_dir(&self, account: &Account) -> Result<PathBuf, Error> {
        let mut dir = self.file("run");
        if !fits_socket(&dir) {
            let digest = Sha256::digest(self.root.as_os_str().as_bytes());
            let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            dir = PathBuf::from(format!("/tmp/tasker-{name}"));
        }
        make_private(&dir, account)?;
        for leftover in [SOCKET_NAME.to_owned(), format!("{SOCKET_NAME}.lock")] {
            let _ = fs::remove_file(dir.join(leftover));
        }
        Ok(dir)
    }

    /// Opens the log at its end.
    pub(super) fn open_log(&self) -> Result<Log, Error> {
        let path = self.file("postgres.log");
        if fs::symlink_metadata(&path).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
            fs::rename(&path, self.file("postgres.log.1")).map_err(Error::io("put aside", &path))?;
        }
        let open = || {
            let file = own_file().append(true).read(true).open(&path)?;
            let start = file.metadata()?.len();
            Ok(Log { path: path.clone(), file, start })
        };
        open().map_err(Error::io("open", &path))
    }
}

impl Log {
    /// The last lines that were written since the log was opened.
    pub(super) fn tail(&mut self) -> String {
        let mut text = Vec::new();
        let end = self.file.metadata().map_or(0, |log| log.len());
        let from = self.start.max(end.saturating_sub(LOG_TAIL_BYTES_MAX));
        let read = self.file.seek(SeekFrom::Start(from)).and_then(|_| self.file.read_to_end(&mut text));
        match read {
            Ok(_) => tail_of(&String::from_utf8_lossy(&text)),
            Err(error) => format!("(failed to read it: {error})"),
        }
    }
}

fn tail_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}

/// How files of ours are opened: never through a link that somebody planted, never readable by others.
fn own_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
}

/// Makes a folder of mode 0700 for the account, or accepts one that is just that.
fn make_private(dir: &Path, account: &Account) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => lchown(dir, Some(account.uid.as_raw()), None).map_err(Error::io("hand over", dir)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(dir).map_err(Error::io("look at", dir))?;
            if found.is_dir() && found.uid() == account.uid.as_raw() && found.mode() & 0o077 == 0 {
                return Ok(());
            }
            let reason = format!("it must be a folder that belongs to {} and is closed to others", account.name);
            Err(Error::UnfitFolder { path: dir.to_owned(), reason })
        }
        Err(error) => Err(Error::io("make the folder", dir)(error)),
    }
}

/// Whether a socket can be in this folder, without quoting in the server's list of socket folders.
fn fits_socket(dir: &Path) -> bool {
    let bytes = dir.as_os_str().as_bytes();
    let plain = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(byte));
    plain && bytes.len() + 1 + SOCKET_NAME.len() <= SOCKET_PATH_BYTES_MAX
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_socket_folder_is_short_and_plain() {
        assert!(fits_socket(Path::new("/var/lib/tasker/run")));
        assert!(!fits_socket(Path::new("/home/me/my, data/run")));
        let longest = format!("/{}", "a".repeat(SOCKET_PATH_BYTES_MAX - 2 - SOCKET_NAME.len()));
        assert!(fits_socket(Path::new(&longest)));
        assert!(!fits_socket(Path::new(&format!("{longest}a"))));
    }

    #[test]
    fn a_cluster_given_as_the_data_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("PG_VERSION"), "15\n").unwrap();
        let text = Folder::open(dir.path()).unwrap_err().to_string();
        assert!(text.contains("it is a Postgres cluster itself"), "{text}");
    }

    #[test]
    fn a_log_tail_holds_the_last_lines_of_this_start_only() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        folder.open_log().unwrap().file.write_all(b"before\n").unwrap();
        let mut log = folder.open_log().unwrap();
        for line in 0..100 {
            writeln!(log.file, "line {line}").unwrap();
        }
        let tail = log.tail();
        assert!(tail.starts_with("line 80\n") && tail.ends_with("\nline 99"), "{tail}");
    }
}

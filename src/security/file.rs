//! Files with a secret key: one line of Z85 that only its owner can read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::key::{KeyError, SecretKey};

/// What a file is looked at for a key at most, in bytes; a key has 40.
const FILE_BYTES_MAX: u64 = 1_024;
/// Only its owner reads and writes it.
const MODE: u32 = 0o600;
/// Permissions of group and others.
const OTHERS: u32 = 0o077;

/// What is wrong with a file for a secret key. Does not repeat what is in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    /// It is ours, and others can read it.
    #[error("can be read by others (its mode is {0:03o}); `chmod 600` makes it private")]
    Open(u32),
    /// There is something else in it.
    #[error("{0}")]
    NoKey(#[from] KeyError),
    /// It is there already.
    #[error("is there already, and may hold a key that is in use")]
    Exists,
    /// It cannot be written.
    #[error("cannot be written: {0}")]
    Write(#[source] io::Error),
}

impl SecretKey {
    /// Reads a file. As with ssh, a file of ours that others can read is refused; one of another owner is his affair.
    pub fn read(path: &Path) -> Result<SecretKey, Error> {
        let file = File::open(path).map_err(Error::Read)?;
        let status = file.metadata().map_err(Error::Read)?;
        if status.is_file() && status.uid() == nix::unistd::geteuid().as_raw() && status.mode() & OTHERS != 0 {
            return Err(Error::Open(status.mode() & 0o777));
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(Error::Read)?;
        Ok(text.trim().parse()?)
    }

    /// Writes a file that only its owner can read. One that is there is only replaced when that is wanted, and then at
    /// once, so that nobody ever finds half a key.
    pub fn write(&self, path: &Path, replace: bool) -> Result<(), Error> {
        let line = self.reveal_text() + "\n";
        if replace {
            let mut draft = path.as_os_str().to_owned();
            draft.push(format!(".{}", std::process::id()));
            create(Path::new(&draft), &line)?;
            return std::fs::rename(&draft, path).map_err(Error::Write);
        }
        create(path, &line)
    }
}

fn create(path: &Path, line: &str) -> Result<(), Error> {
    let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists,
        _ => Error::Write(error),
    })?;
    file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(Error::Write)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::super::KeyPair;
    use super::*;

    #[test]
    fn a_key_comes_back_from_its_file_which_is_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let (one, other) = (KeyPair::generate().secret, KeyPair::generate().secret);
        one.write(&path, false).expect("written");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        assert_eq!(SecretKey::read(&path).expect("read"), one);
        assert!(matches!(other.write(&path, false), Err(Error::Exists)));
        assert_eq!(SecretKey::read(&path).expect("as it was"), one);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("ours");
        other.write(&path, true).expect("replaced");
        assert_eq!(SecretKey::read(&path).expect("private again"), other);
        assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 1, "a draft was left behind");
    }

    #[test]
    fn files_without_a_key_are_refused_without_being_quoted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let refusal = |path: &Path| SecretKey::read(path).expect_err("no key").to_string();
        assert_eq!(refusal(&path), "cannot be read: No such file or directory (os error 2)");
        assert!(refusal(folder.path()).starts_with("can"), "a folder is no file");
        KeyPair::generate().secret.write(&path, false).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("ours");
        assert_eq!(refusal(&path), "can be read by others (its mode is 640); `chmod 600` makes it private");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("ours");
        for (text, problem) in [
            ("", "is not a key: it has 0 characters instead of 40"),
            ("secret\n", "is not a key: it has 6 characters instead of 40"),
            (&"x".repeat(100_000), "is not a key: it has 1024 characters instead of 40"),
        ] {
            fs::write(&path, text).expect("ours");
            assert_eq!(refusal(&path), problem);
        }
    }
}

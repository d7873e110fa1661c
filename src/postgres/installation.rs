//! Finds the Postgres server binaries of this machine, or says what to install.

use std::collections::HashSet;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Error;

/// The oldest major version that the PostgreSQL project still maintains.
const MAJOR_MIN: u32 = 14;

/// Where packages put their servers, outside of `PATH`: the folder, and what follows the version folder in it.
const PACKAGE_FOLDERS: [(&str, &str); 4] = [
    ("/usr/lib/postgresql", "bin"), // Debian, Ubuntu
    ("/usr", "bin"),                // PGDG on Fedora and RHEL: /usr/pgsql-17/bin
    ("/usr/libexec", ""),           // Alpine: /usr/libexec/postgresql17
    ("/opt/homebrew/opt", "bin"),   // Homebrew: /opt/homebrew/opt/postgresql@17/bin
];

/// The binaries of one Postgres server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    bin: PathBuf,
    version: (u32, u32),
}

impl Installation {
    /// The server to use: in `bin` when that is given; else the first of `PATH`, the folder that `pg_config` names, and
    /// the folders of packages, newest version first.
    pub fn find(bin: Option<&Path>) -> Result<Installation, Error> {
        Installation::find_for(bin, None)
    }

    /// The folder of the binaries.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// Major and minor version, as (15, 13).
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// As [`Installation::find`]; when several servers are installed, prefers one that can open a cluster of `major`.
    pub(super) fn find_for(bin: Option<&Path>, major: Option<u32>) -> Result<Installation, Error> {
        if let Some(bin) = bin {
            return Installation::at(bin)?.new_enough();
        }
        Installation::search(candidates(&env::var_os("PATH").unwrap_or_default(), &PACKAGE_FOLDERS), major)
    }

    fn search(places: Vec<PathBuf>, major: Option<u32>) -> Result<Installation, Error> {
        let found: Vec<Installation> = places.iter().filter_map(|place| Installation::at(place).ok()).collect();
        let wanted = found.iter().find(|one| major.is_none_or(|major| one.version.0 == major));
        let usable = found.iter().find(|one| one.version.0 >= MAJOR_MIN);
        match wanted.filter(|one| one.version.0 >= MAJOR_MIN).or(usable).or(found.first()) {
            Some(chosen) => chosen.clone().new_enough(),
            None => Err(Error::NotInstalled { searched: places, install: install_advice() }),
        }
    }

    fn at(bin: &Path) -> Result<Installation, Error> {
        let bin = bin.canonicalize().map_err(Error::io("find", bin))?;
        for name in ["postgres", "initdb"] {
            if !bin.join(name).is_file() {
                return Err(Error::NotABinFolder { bin, missing: name });
            }
        }
        let server = bin.join("postgres");
        let text = output_of(&server, "--version")
            .ok_or_else(|| Error::UnfitFolder { path: bin.clone(), reason: "its postgres does not run".into() })?;
        match parse_version(&text) {
            Some(version) => Ok(Installation { bin, version }),
            None => Err(Error::UnfitFolder { path: bin, reason: format!("its postgres calls itself {text:?}") }),
        }
    }

    fn new_enough(self) -> Result<Installation, Error> {
        match self.version.0 {
            found if found < MAJOR_MIN => {
                Err(Error::TooOld { bin: self.bin, found, needed: MAJOR_MIN, install: install_advice() })
            }
            _ => Ok(self),
        }
    }
}

/// Every place where a server may be, the most wanted first.
fn candidates(path: &OsStr, package_folders: &[(&str, &str)]) -> Vec<PathBuf> {
    let mut places = Vec::new();
    for dir in env::split_paths(path) {
        // A `postgres` in PATH is often a link out of the folder that holds the rest.
        let real = dir.join("postgres").canonicalize();
        places.push(real.ok().and_then(|server| server.parent().map(Path::to_owned)).unwrap_or(dir));
    }
    let pg_config = env::split_paths(path).map(|dir| dir.join("pg_config")).find(|file| file.is_file());
    places.extend(pg_config.and_then(|file| output_of(&file, "--bindir")).map(PathBuf::from));
    for (root, tail) in package_folders {
        match versions_in(Path::new(root)) {
            none if none.is_empty() => places.push(PathBuf::from(root)),
            versions => places.extend(versions.into_iter().map(|dir| dir.join(tail))),
        }
    }
    let mut seen = HashSet::new();
    places.retain(|place| seen.insert(place.clone()));
    places
}

/// The folders named by a Postgres version (`17`, `pgsql-17`, `postgresql17`, `postgresql@17`), newest first.
fn versions_in(root: &Path) -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let digits = name.trim_start_matches("postgresql").trim_start_matches("pgsql-").trim_start_matches('@');
            Some((digits.parse().ok()?, root.join(&name)))
        })
        .collect();
    versions.sort();
    versions.into_iter().rev().map(|(_, dir)| dir).collect()
}

fn output_of(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Reads `postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)`, `... 18beta1`, `... 19devel`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let version = text.split_once("(PostgreSQL) ")?.1;
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    let major = digits(version)?;
    let minor = version.split_once('.').and_then(|(_, rest)| digits(rest)).unwrap_or(0);
    Some((major, minor))
}

/// The command that installs a server on this system.
fn install_advice() -> String {
    advice_for(&fs::read_to_string("/etc/os-release").unwrap_or_default())
}

fn advice_for(os_release: &str) -> String {
    let value = |key: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    let ids = format!("{} {}", value("ID"), value("ID_LIKE"));
    let command = ids.split_whitespace().find_map(|id| match id {
        "debian" | "ubuntu" => Some("apt-get install postgresql"),
        "fedora" | "rhel" | "centos" => Some("dnf install postgresql-server"),
        "suse" | "opensuse" => Some("zypper install postgresql-server"),
        "alpine" => Some("apk add postgresql"),
        "arch" => Some("pacman -S postgresql"),
        _ => None,
    });
    match command {
        Some(command) => format!("install one with `{command}`"),
        None if cfg!(target_os = "macos") => "install one with `brew install postgresql@17`".to_owned(),
        None => "install the PostgreSQL server package of your system (the server, not only the client)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;

    use super::*;

    /// Written by another process: a file that this one had open for writing cannot be run while any thread forks.
    fn script(file: &Path, prints: &str) {
        let write = r#"printf '#!/bin/sh\necho "%s"\n' "$2" >"$1"; chmod 755 "$1""#;
        assert!(Command::new("/bin/sh").args(["-c", write, "sh"]).arg(file).arg(prints).status().unwrap().success());
    }

    fn fake_server(dir: &Path, version: &str) {
        fs::create_dir_all(dir).unwrap();
        for name in ["postgres", "initdb"] {
            script(&dir.join(name), &format!("postgres (PostgreSQL) {version}"));
        }
    }

    #[test]
    fn versions_are_read_from_what_the_server_says_of_itself() {
        for (text, version) in [
            ("postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)", Some((15, 13))),
            ("postgres (PostgreSQL) 18beta1", Some((18, 0))),
            ("postgres (PostgreSQL) 19devel", Some((19, 0))),
            ("mysqld 8.0", None),
        ] {
            assert_eq!(parse_version(text), version, "{text}");
        }
    }

    #[test]
    fn the_newest_packaged_server_is_taken_unless_the_data_is_older() {
        let root = tempfile::tempdir().unwrap();
        for version in ["9", "15", "16"] {
            fake_server(&root.path().join(version).join("bin"), &format!("{version}.1"));
        }
        let places = || candidates(OsStr::new(""), &[(root.path().to_str().unwrap(), "bin")]);
        assert_eq!(Installation::search(places(), None).unwrap().version(), (16, 1));
        assert_eq!(Installation::search(places(), Some(15)).unwrap().version(), (15, 1));
        assert_eq!(Installation::search(places(), Some(12)).unwrap().version(), (16, 1));
    }

    #[test]
    fn a_server_linked_into_the_path_is_found_where_it_is() {
        let root = tempfile::tempdir().unwrap();
        let (real, linked) = (root.path().join("real"), root.path().join("linked"));
        fake_server(&real, "17.2");
        fs::create_dir(&linked).unwrap();
        symlink(real.join("postgres"), linked.join("postgres")).unwrap();
        let found = Installation::search(candidates(linked.as_os_str(), &[]), None).unwrap();
        assert_eq!(found.bin(), real.canonicalize().unwrap());
    }

    #[test]
    fn pg_config_shows_the_way_to_a_server_outside_of_the_path() {
        let root = tempfile::tempdir().unwrap();
        let (real, path) = (root.path().join("real"), root.path().join("path"));
        fake_server(&real, "16.4");
        fs::create_dir(&path).unwrap();
        script(&path.join("pg_config"), real.to_str().unwrap());
        let found = Installation::search(candidates(path.as_os_str(), &[]), None).unwrap();
        assert_eq!(found.version(), (16, 4));
    }

    #[test]
    fn nothing_installed_says_where_it_looked_and_what_to_install() {
        let empty = tempfile::tempdir().unwrap();
        let places = candidates(empty.path().as_os_str(), &[("/nowhere/postgresql", "bin")]);
        let text = Installation::search(places, None).unwrap_err().to_string();
        assert!(text.contains(empty.path().to_str().unwrap()), "{text}");
        assert!(text.contains("/nowhere/postgresql"), "{text}");
        assert!(text.contains("install"), "{text}");
    }

    #[test]
    fn an_old_server_is_refused_with_its_version() {
        let root = tempfile::tempdir().unwrap();
        fake_server(root.path(), "9.6.24");
        let text = Installation::find(Some(root.path())).unwrap_err().to_string();
        assert!(text.contains("Postgres 9 ") && text.contains("version 14 or newer"), "{text}");
    }

    #[test]
    fn advice_names_the_command_of_the_system() {
        for (os_release, command) in [
            ("ID=debian\nVERSION_ID=\"12\"\n", "apt-get install postgresql"),
            ("NAME=\"Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "apt-get install postgresql"),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "dnf install postgresql-server"),
            ("ID=alpine\n", "apk add postgresql"),
        ] {
            assert!(advice_for(os_release).contains(command), "{os_release}");
        }
    }
}

//! A wall clock that a test sets while a program runs. Its monotonic clock goes on as it does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct FakeClock {
    file: PathBuf,
    library: PathBuf,
}

impl FakeClock {
    /// A clock that is right.
    pub fn at(file: &Path) -> FakeClock {
        let clock = FakeClock { file: file.to_owned(), library: library() };
        clock.set(0);
        clock
    }

    /// Seconds by which it is wrong from now on.
    pub fn set(&self, offset: i64) {
        // Whoever reads it meanwhile sees all of it.
        let draft = self.file.with_extension("new");
        fs::write(&draft, format!("{offset:+}\n")).and_then(|()| fs::rename(&draft, &self.file)).expect("it is ours");
    }

    /// The program that this command starts goes by this clock.
    pub fn give_to(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", &self.file);
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
}

/// Debian's package `faketime` puts it into a folder named by the architecture.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("every system has it").filter_map(Result::ok);
    let names = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    names.into_iter().find(|name| name.exists()).expect("libfaketime (package faketime) is installed")
}

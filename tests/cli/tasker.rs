//! Runs the real binary.

use std::process::{Command, Output, Stdio};

/// What a run of `tasker` left behind.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// `tasker` with these arguments, without any setting from the environment of the test.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tasker"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TASKER") || name == "DATABASE_URL" || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    // Nobody's own contexts.
    command.env("TASKER_CONTEXTS", "/no/such/contexts.toml");
    command.env("USER", "anna").args(arguments).stdin(Stdio::null());
    command
}

pub fn tasker(arguments: &[&str]) -> Run {
    run(&mut command(arguments))
}

pub fn run(command: &mut Command) -> Run {
    let Output { status, stdout, stderr } = command.output().expect("run tasker");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Run { code: status.code().expect("an exit code"), stdout: text(stdout), stderr: text(stderr) }
}

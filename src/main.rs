//! The `tasker` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    tasker_core::cli::run()
}

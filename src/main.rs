//! The `tasker` command.

fn main() {}

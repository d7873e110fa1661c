//! `tasker completions`

use clap::builder::PossibleValuesParser;
use clap::{Args, Command};
use clap_complete::{Shell, generate};

use super::context::Contexts;
use super::output::print;
use super::{Cli, Exit, Failure};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The shell
    shell: Shell,
}

impl Arguments {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        generate(self.shell, &mut definition(&Contexts::read()?), "tasker", &mut script);
        print(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Done)
    }
}

/// The definition with the names of the contexts that there are now. Shells that read the script at their start know new
/// ones from their next start on.
fn definition(contexts: &Contexts) -> Command {
    let names: Vec<String> = contexts.names().map(str::to_owned).collect();
    let definition = Cli::definition();
    match names.is_empty() {
        true => definition,
        false => definition.mut_arg("context_name", |name| name.value_parser(PossibleValuesParser::new(names))),
    }
}

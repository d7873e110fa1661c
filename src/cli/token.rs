//! `tasker token new`

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::output::note;
use super::{Exit, Failure, Global};
use crate::security::{Holder, TokenRole, check_token_name};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a token: prints it, once, and adds its digest to the file that the broker reads
    New {
        /// Whose it is: a person or a program; unique in the file
        #[arg(value_parser = parse_name)]
        name: String,
        /// What its holder may do: read looks, operate also acts on tasks and workers, admin does everything
        #[arg(long, value_parser = ["read", "operate", "admin"], default_value = "read")]
        role: String,
        /// The file of http.token_file; without it, the line is printed for you to add
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

impl Command {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        let Command::New { name, role, file } = self;
        let role = TokenRole::from_name(&role).expect("the definition lists the roles");
        let (holder, token) = Holder::generate(&name, role);
        if let Some(file) = &file {
            let failed = |error| Failure::new(Exit::Broken, format!("{}: {error}", file.display()));
            holder.add_to(file).map_err(failed)?;
        }
        let line = holder.line();
        let document = json!({ "name": name, "role": role.as_str(), "token": token, "line": line.trim_end() });
        global.output.print(&document, || match file {
            Some(_) => format!("{token}\n"),
            None => format!("token  {token}\nline   {line}"),
        })?;
        match file {
            Some(file) => note(&format!(
                "its digest is in {}; a running broker reads the file again at HUP. The token itself is nowhere else",
                file.display()
            )),
            None => note("the line belongs into the file of http.token_file; the token itself is nowhere else"),
        }
        Ok(Exit::Done)
    }
}

fn parse_name(name: &str) -> Result<String, String> {
    check_token_name(name).map(|()| name.to_owned())
}

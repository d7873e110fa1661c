//! `tasker key new|public`

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::output::note;
use super::{Exit, Failure, Global, read_key};
use crate::security::{self, KeyPair};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key pair: prints the public key, and writes the secret one to a file
    New {
        /// Where to write the secret key; only its owner will be able to read the file. Printed when absent
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
        /// Replace the file if it is there
        #[arg(long, requires = "secret_file")]
        force: bool,
    },
    /// Print the public key that belongs to a secret one
    Public {
        /// File with the secret key
        file: PathBuf,
    },
}

impl Command {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        match self {
            Command::New { secret_file: Some(file), force } => {
                let pair = KeyPair::generate();
                pair.secret.write(&file, force).map_err(|error| {
                    let failure = Failure::new(Exit::Broken, format!("{}: {error}", file.display()));
                    match error {
                        security::Error::Exists => failure.with_hint("--force replaces it"),
                        _ => failure,
                    }
                })?;
                let document = json!({ "public_key": pair.public, "secret_key_file": file });
                global.output.print(&document, || format!("{}\n", pair.public))?;
                note(&format!("the secret key is in {}", file.display()));
            }
            Command::New { secret_file: None, .. } => {
                let pair = KeyPair::generate();
                let (public, secret) = (pair.public, pair.secret.reveal_text());
                let document = json!({ "public_key": public, "secret_key": secret });
                global.output.print(&document, || format!("public  {public}\nsecret  {secret}\n"))?;
                note("whoever has the secret key is taken for its owner; --secret-file keeps it off the screen");
            }
            Command::Public { file } => {
                let public = read_key(&file)?.public();
                global.output.print(&json!({ "public_key": public }), || format!("{public}\n"))?;
            }
        }
        Ok(Exit::Done)
    }
}

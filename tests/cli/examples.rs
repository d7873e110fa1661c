//! Each `--help` ends with examples, and each of them is a command line that `tasker` takes.

use clap::{ArgMatches, Command};
use tasker_core::cli::Cli;

/// A subcommand by its words, with what it is.
struct Documented {
    words: Vec<String>,
    help: String,
    /// There is something to choose, so that one example does not show it.
    has_options: bool,
}

/// Every subcommand, `tasker` itself among them.
fn all(command: &Command, words: &[String], found: &mut Vec<Documented>) {
    let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let own = |argument: &&clap::Arg| !argument.is_global_set() && !argument.is_positional();
    let has_options = command.get_arguments().any(|argument| own(&argument) && argument.get_id() != "help");
    found.push(Documented { words: words.to_vec(), help, has_options });
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        all(below, &[words, &[below.get_name().to_owned()]].concat(), found);
    }
}

fn lines(help: &str) -> Vec<&str> {
    help.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| line.starts_with("tasker")).collect()
}

/// As a shell would: words are parted by blanks, and single quotes keep them together.
fn split(line: &str) -> Vec<String> {
    let (mut words, mut is_quoted, mut is_open) = (Vec::<String>::new(), false, false);
    for next in line.chars() {
        match next {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => is_open = false,
            next => {
                if !is_open {
                    words.push(String::new());
                    is_open = true;
                }
                words.last_mut().expect("just pushed").push(next);
            }
        }
    }
    words
}

fn reached(matches: &ArgMatches) -> Vec<String> {
    match matches.subcommand() {
        Some((name, below)) => [vec![name.to_owned()], reached(below)].concat(),
        None => Vec::new(),
    }
}

#[test]
fn every_subcommand_has_examples_and_each_of_them_is_understood() {
    let mut commands = Vec::new();
    all(&Cli::definition(), &[], &mut commands);
    assert!(commands.len() > 30, "{}", commands.len());
    let mut problems = Vec::new();
    assert!(commands.iter().any(|command| command.has_options), "options are not seen");
    for Documented { words, help, has_options } in &commands {
        let name = format!("tasker {}", words.join(" "));
        let lines = lines(help);
        let least = if *has_options { 2 } else { 1 };
        if !(least..=4).contains(&lines.len()) {
            let found = lines.len();
            problems.push(format!("{name}: {found} examples instead of {least} to 4; add them to src/cli/examples.rs"));
        }
        for line in &lines {
            match Cli::definition().try_get_matches_from(split(line)) {
                Ok(matches) if !lines[..1].contains(line) || reached(&matches).starts_with(words) => {}
                Ok(_) => problems.push(format!("{name}: the first example is of another subcommand: {line}")),
                Err(error) => problems.push(format!("{name}: {line}: {error}")),
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn examples_are_in_the_help_as_it_is_printed() {
    let help = crate::tasker::tasker(&["task", "submit", "--help"]);
    assert!(help.stdout.contains("\nExamples:\n  # With a context from a file"), "{}", help.stdout);
    let help = crate::tasker::tasker(&["--help"]);
    assert!(help.stdout.contains("Examples:") && help.stdout.contains("Exit codes:"), "{}", help.stdout);
}

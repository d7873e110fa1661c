//! `tasker top`: the broker live in the terminal. Each interval costs it a health check and two short lists, whatever the number of
//! tasks; rates are counted from the events that it publishes anyway.

mod look;
mod model;
mod screen;
mod view;

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;

use self::look::Observer;
use self::model::Model;
use super::output::{Format, print};
use super::time::parse_duration;
use super::{Exit, Failure, Global};

/// The keys, at the end of the help and in the overlay of `?`.
pub(super) const KEYS: &str = "\
Keys:
  q          quit (Ctrl-C as well)
  Tab, 1-4   the table that the next keys are for
  s, r       sort by the next column; reverse the order
  up, down   scroll (k, j as well)
  /          filter rows by a text; Enter keeps it, Esc drops it
  p, space   pause, and go on
  ?          help";

/// Shorter intervals would be a load, and no person sees the difference.
const INTERVAL_MIN: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
#[command(after_long_help = KEYS)]
pub(super) struct Arguments {
    /// How often to look; 200ms at least
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_interval)]
    interval: Duration,
    /// Print one frame and end; rates are those of one interval
    #[arg(long)]
    once: bool,
}

impl Arguments {
    pub(super) fn run(&self, global: &Global) -> Result<Exit, Failure> {
        let mut observer = Observer::connect(global)?;
        // Whoever reads programs' formats reads frames, one after the other where lines are read.
        if global.output.is_for_programs() {
            loop {
                let look = observer.look(self.interval)?;
                global.output.print_for_programs(&look)?;
                if self.once || global.output != Format::Jsonl {
                    return Ok(Exit::Done);
                }
            }
        }
        if self.once {
            let model = Model::new(observer.look(self.interval)?);
            print(&view::plain(&model))?;
            return Ok(Exit::Done);
        }
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(
                Failure::usage("standard input and output have to be a terminal").with_hint("--once prints one frame")
            );
        }
        let model = Model::new(observer.look(Duration::ZERO)?);
        screen::run(model, observer.watch(self.interval)?)
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        interval if interval < INTERVAL_MIN => Err("200ms is the shortest".to_owned()),
        interval => Ok(interval),
    }
}

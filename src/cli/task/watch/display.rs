//! The board for people: a bar with the steps under it on a terminal, a line for each change anywhere else; and for
//! programs that read line by line, the step of each change.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::board::Board;
use crate::cli::output::{Format, note, one_line, print_line};
use crate::cli::task::report::{JsonStep, count, error};
use crate::protocol::StepSummary;

/// Most steps under the bar: with the bar they fit on a terminal of 24 lines. Of larger tasks, those that are
/// neither done nor untouched are shown.
const STEPS_SHOWN_MAX: usize = 20;

/// Longest line of a step, in characters: indicatif counts lines by the terminal's width.
const LINE_CHARS_MAX: usize = 76;

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// Where progress is shown.
pub(super) enum Display {
    Bar(ProgressBar),
    Lines,
    Jsonl,
}

impl Display {
    pub(super) fn new(format: Format, board: &Board) -> io::Result<Display> {
        let mut display = match format {
            Format::Jsonl => Display::Jsonl,
            _ if io::stderr().is_terminal() => Display::bar(board),
            _ => Display::Lines,
        };
        let touched = board.steps.iter().enumerate().filter(|(_, step)| step.state != "pending");
        display.show(&touched.map(|(number, _)| number).collect::<Vec<_>>(), board)?;
        Ok(display)
    }

    fn bar(board: &Board) -> Display {
        let style = ProgressStyle::with_template("{spinner} {prefix} [{bar:30}] {pos}/{len} {elapsed}\n{msg}");
        let style = style.expect("the template is constant").progress_chars("=> ");
        let bar = ProgressBar::new(board.steps.len() as u64).with_style(style);
        bar.set_prefix(format!("{}/{}@{}", board.task.namespace, board.task.name, board.task.version));
        bar.enable_steady_tick(TICK);
        Display::Bar(bar)
    }

    /// Shows the board after the steps with these numbers have changed.
    pub(super) fn show(&mut self, changes: &[usize], board: &Board) -> io::Result<()> {
        match self {
            Display::Bar(bar) => {
                bar.set_position(board.done() as u64);
                bar.set_message(lines(board));
            }
            Display::Lines => {
                for &number in changes {
                    note(&format!("{}/{} {}", board.done(), board.steps.len(), line(&board.steps[number])));
                }
            }
            Display::Jsonl => {
                for &number in changes {
                    print_line(&JsonStep::new(&board.steps[number]))?;
                }
            }
        }
        Ok(())
    }

    /// Takes the bar away and says how it went.
    pub(super) fn finish(self, board: &Board) {
        if let Display::Bar(bar) = self {
            bar.finish_and_clear();
        }
        note(&format!("{}: {}", board.state(), count(&board.task.counts)));
    }
}

fn lines(board: &Board) -> String {
    let all = board.steps.len() <= STEPS_SHOWN_MAX;
    let worth = |step: &&StepSummary| {
        all || !matches!(step.state.as_str(), "pending" | "complete" | "resolved_manually" | "cancelled")
    };
    let lines: Vec<String> = board
        .steps
        .iter()
        .filter(worth)
        .take(STEPS_SHOWN_MAX)
        .map(|step| format!("  {}", one_line(&line(step), LINE_CHARS_MAX)))
        .collect();
    lines.join("\n")
}

/// `✓ reserve complete, attempt 2, worker a`.
fn line(step: &StepSummary) -> String {
    let sign = match step.state.as_str() {
        "complete" | "resolved_manually" => '✓',
        "in_progress" => '▶',
        "waiting_for_retry" => '↻',
        "error" => '✗',
        "cancelled" => '-',
        _ => '·',
    };
    let mut line = format!("{sign} {} {}", step.name, step.state);
    if step.attempts > 1 {
        line.push_str(&format!(", attempt {}", step.attempts));
    }
    if let Some(worker) = &step.worker {
        line.push_str(&format!(", worker {worker}"));
    }
    if matches!(step.state.as_str(), "error" | "waiting_for_retry")
        && let Some(reason) = error(step).or_else(|| step.error_message.clone())
    {
        line.push_str(&format!(": {reason}"));
    }
    line
}

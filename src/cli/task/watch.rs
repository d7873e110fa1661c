//! `tasker task watch`: what happens to a task, while it happens. Events give the news at once; the status is read
//! anew where events were lost, and now and then, because events are never needed.

mod board;
mod display;

use std::time::{Duration, Instant};

use clap::Args;
use uuid::Uuid;

use self::board::Board;
use self::display::Display;
use super::status::show;
use super::{is_ended, outcome};
use crate::cli::output::note;
use crate::cli::{Exit, Failure, Global};
use crate::client::{self, Client, Notice, Subscription};
use crate::protocol::{TaskStatus, TaskStatusReport};

/// How often the status is read without events: as often as a person sees a difference.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// How often it is read with events: only what events do not tell, such as steps that became ready.
const REREAD_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The task
    task: Uuid,
}

impl Arguments {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        follow(global, &mut global.connect()?, self.task)
    }
}

/// Shows the task's progress until it has ended, then prints its status.
pub(super) fn follow(global: &Global, client: &mut Client, task_id: Uuid) -> Result<Exit, Failure> {
    // Subscribed before the first reading, so that little falls between the two.
    let mut subscription = global.subscribe()?;
    let mut board = Board::new(read(client, task_id)?);
    let mut display = Display::new(global.output, &board)?;
    while !is_ended(board.state()) {
        let until = Instant::now() + if subscription.is_some() { REREAD_INTERVAL } else { POLL_INTERVAL };
        if listen(subscription.as_mut(), &mut board, &mut display, until)? == News::Reread {
            match read(client, task_id) {
                Ok(report) => display.show(&board.replace(report), &board)?,
                // A broker that is restarted comes back; what it acknowledged is still there.
                Err(
                    error @ (client::Error::Unreachable { .. }
                    | client::Error::HandshakeBrokenOff { .. }
                    | client::Error::NoAnswer { .. }),
                ) => {
                    note(&format!("{error}; trying once more"));
                    display.show(&board.replace(read(client, task_id)?), &board)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    display.finish(&board);
    let report = read(client, task_id)?;
    show(global, &report)?;
    Ok(outcome(&report.task.state))
}

fn read(client: &mut Client, task_id: Uuid) -> Result<TaskStatusReport, client::Error> {
    client.request(TaskStatus {
        correlation_id: Uuid::nil(),
        task_id,
        include_steps: true,
        include_results: Vec::new(),
    })
}

/// What listening came to.
#[derive(PartialEq, Eq)]
enum News {
    /// Everything known is on the board.
    Told,
    /// Time to read the status.
    Reread,
}

/// Puts one event of the task on the board, or waits until it is time to read the status.
fn listen(
    subscription: Option<&mut Subscription>,
    board: &mut Board,
    display: &mut Display,
    until: Instant,
) -> Result<News, Failure> {
    let Some(subscription) = subscription else {
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        return Ok(News::Reread);
    };
    while let Some(notice) = subscription.next(until)? {
        let Notice::Event(event) = notice else { return Ok(News::Reread) };
        if event.task_id != Some(board.task_id()) {
            continue;
        }
        return Ok(match board.apply(&event) {
            Some(changes) => {
                display.show(&changes, board)?;
                News::Told
            }
            None => News::Reread,
        });
    }
    Ok(News::Reread)
}

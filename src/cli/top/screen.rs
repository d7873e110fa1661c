//! The terminal while `tasker top` has it. It is given back however the program ends: by a key, a signal, an error or a panic.

use std::io;
use std::time::Duration;

use crossbeam_channel::Receiver;
use ratatui::crossterm::event::{self, Event};

use super::look::News;
use super::model::Model;
use super::view;
use crate::cli::serve::{broken, listen};
use crate::cli::{Exit, Failure};

/// How long a key, a look or a signal may wait for the others.
const WAIT: Duration = Duration::from_millis(50);

/// Gives the terminal back. For a panic, ratatui's hook does it before the message is printed.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Shows the model, moved on by news and keys, until a key or a signal asks for the end.
pub(super) fn run(mut model: Model, news: Receiver<News>) -> Result<Exit, Failure> {
    let (signals, _) = listen(true).map_err(|error| broken("listen for signals", &error))?;
    let failed = |error: io::Error| broken("use the terminal", &error);
    // Before the terminal is taken: half of that may have been done when it fails.
    let _restored = Restored;
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let mut is_new = true;
    loop {
        while let Ok(news) = news.try_recv() {
            model.take(news);
            is_new = true;
        }
        if std::mem::take(&mut is_new) {
            terminal.draw(|frame| view::draw(frame, &model)).map_err(failed)?;
        }
        if signals.try_recv().is_ok() {
            return Ok(Exit::Done);
        }
        if event::poll(WAIT).map_err(failed)? {
            is_new = true;
            if let Event::Key(key) = event::read().map_err(failed)?
                && model.press(key)
            {
                return Ok(Exit::Done);
            }
        }
    }
}

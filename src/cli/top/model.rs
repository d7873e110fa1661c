//! What is on the screen and what keys do to it: four tables, each with its sorting, and a filter over all.

use std::cmp::Ordering;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::look::{Look, News};
use crate::cli::time::{format_ms, format_us};

/// The tables, in the order of the screen.
pub(super) const TABLES: [&str; 4] = ["namespaces", "templates", "workers", "failures"];

/// A cell, which is sorted by what it means and not by how it is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Text(String),
    Number(f64, String),
}

impl Cell {
    fn number(number: u64) -> Cell {
        Cell::Number(number as f64, number.to_string())
    }

    fn rate(rate: f64) -> Cell {
        Cell::Number(rate, format!("{rate:.1}"))
    }

    pub(super) fn shown(&self) -> &str {
        match self {
            Cell::Text(text) | Cell::Number(_, text) => text,
        }
    }

    fn compare(&self, other: &Cell) -> Ordering {
        match (self, other) {
            (Cell::Number(one, _), Cell::Number(other, _)) => one.total_cmp(other),
            (one, other) => one.shown().cmp(other.shown()),
        }
    }
}

/// A table: its columns, and by which its rows are sorted.
#[derive(Clone, Debug)]
pub(super) struct Sheet {
    pub columns: &'static [&'static str],
    pub sorted_by: usize,
    pub is_descending: bool,
    /// Rows above the first that is shown.
    pub scrolled: usize,
}

/// All of it.
pub(super) struct Model {
    pub look: Look,
    /// Why the last look brought nothing.
    pub away: Option<String>,
    pub sheets: [Sheet; 4],
    /// The table that keys are for.
    pub chosen: usize,
    pub is_paused: bool,
    pub filter: String,
    pub is_typing: bool,
    pub has_help: bool,
}

impl Model {
    pub(super) fn new(look: Look) -> Model {
        let sheet = |columns, sorted_by, is_descending| Sheet { columns, sorted_by, is_descending, scrolled: 0 };
        Model {
            look,
            away: None,
            sheets: [
                sheet(&["NAMESPACE", "STATE", "READY", "RUNNING", "WAITING", "TASKS", "WORKERS"], 2, true),
                sheet(&["TEMPLATE", "TASKS/S", "STEPS/S", "RUNNING", "TASKS", "STEPS", "FAILED"], 2, true),
                sheet(&["WORKER", "STATE", "BUSY", "SLOTS", "BATCHES", "SEEN", "HOST", "TEMPLATES"], 2, true),
                sheet(&["AT", "TEMPLATE", "STEP", "ATTEMPT", "WORKER", "REASON"], 0, true),
            ],
            chosen: 0,
            is_paused: false,
            filter: String::new(),
            is_typing: false,
            has_help: false,
        }
    }

    pub(super) fn take(&mut self, news: News) {
        match news {
            News::Away(why) => self.away = Some(why),
            News::Look(_) if self.is_paused => self.away = None,
            News::Look(look) => {
                self.look = *look;
                self.away = None;
            }
        }
    }

    /// Rows of a table as they are shown.
    pub(super) fn rows(&self, table: usize) -> Vec<Vec<Cell>> {
        let mut rows = match table {
            0 => self.namespaces(),
            1 => self.templates(),
            2 => self.workers(),
            _ => self.failures(),
        };
        let filter = self.filter.to_lowercase();
        rows.retain(|row| filter.is_empty() || row.iter().any(|cell| cell.shown().to_lowercase().contains(&filter)));
        let Sheet { sorted_by, is_descending, .. } = self.sheets[table];
        rows.sort_by(|one, other| {
            let order = one[sorted_by].compare(&other[sorted_by]);
            let order = if is_descending { order.reverse() } else { order };
            order.then_with(|| one[0].compare(&other[0]))
        });
        rows
    }

    fn namespaces(&self) -> Vec<Vec<Cell>> {
        let row = |namespace: &crate::protocol::NamespaceSummary| {
            vec![
                Cell::Text(namespace.name.clone()),
                Cell::Text(if namespace.paused { "paused" } else { "active" }.to_owned()),
                Cell::number(namespace.steps_ready),
                Cell::number(namespace.steps_in_progress),
                Cell::number(namespace.steps_waiting),
                Cell::number(namespace.tasks),
                Cell::number(namespace.workers.into()),
            ]
        };
        self.look.namespaces.iter().map(row).collect()
    }

    fn templates(&self) -> Vec<Vec<Cell>> {
        let row = |activity: &super::look::Activity| {
            vec![
                Cell::Text(activity.template.clone()),
                Cell::rate(activity.rates.tasks),
                Cell::rate(activity.rates.steps),
                Cell::number(activity.in_progress),
                Cell::number(activity.tasks),
                Cell::number(activity.steps),
                Cell::number(activity.failures),
            ]
        };
        self.look.templates.iter().map(row).collect()
    }

    fn workers(&self) -> Vec<Vec<Cell>> {
        let row = |worker: &crate::protocol::WorkerSummary| {
            let seen = format_us(worker.seen_ms_ago.saturating_mul(1_000));
            vec![
                Cell::Text(worker.name.clone()),
                Cell::Text(worker.state.clone()),
                Cell::number(worker.in_flight.into()),
                Cell::number(worker.concurrency.into()),
                Cell::number(worker.batches.into()),
                Cell::Number(worker.seen_ms_ago as f64, seen),
                Cell::Text(worker.host.clone()),
                Cell::Text(worker.templates.join(" ")),
            ]
        };
        self.look.workers.iter().map(row).collect()
    }

    fn failures(&self) -> Vec<Vec<Cell>> {
        let row = |failure: &super::look::FailedStep| {
            vec![
                Cell::Number(failure.at_ms as f64, format_ms(failure.at_ms)),
                Cell::Text(failure.template.clone()),
                Cell::Text(failure.step.clone()),
                Cell::number(failure.attempt.into()),
                Cell::Text(failure.worker.clone()),
                Cell::Text(failure.reason.clone()),
            ]
        };
        self.look.failures.iter().map(row).collect()
    }

    /// Does what a key asks for; whether it asks for the end.
    pub(super) fn press(&mut self, key: KeyEvent) -> bool {
        if key.kind == KeyEventKind::Release {
            return false;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if is_control => return true,
            _ if self.is_typing => self.write(key.code),
            _ if self.has_help => self.has_help = false,
            KeyCode::Char('q') => return true,
            KeyCode::Char('?' | 'h') => self.has_help = true,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Tab => self.chosen = (self.chosen + 1) % TABLES.len(),
            KeyCode::Char('1') => self.chosen = 0,
            KeyCode::Char('2') => self.chosen = 1,
            KeyCode::Char('3') => self.chosen = 2,
            KeyCode::Char('4') => self.chosen = 3,
            KeyCode::Char('s') => {
                let sheet = &mut self.sheets[self.chosen];
                sheet.sorted_by = (sheet.sorted_by + 1) % sheet.columns.len();
            }
            KeyCode::Char('r') => self.sheets[self.chosen].is_descending = !self.sheets[self.chosen].is_descending,
            KeyCode::Down | KeyCode::Char('j') => {
                let last = self.rows(self.chosen).len().saturating_sub(1);
                let sheet = &mut self.sheets[self.chosen];
                sheet.scrolled = (sheet.scrolled + 1).min(last);
            }
            KeyCode::Up | KeyCode::Char('k') => {
                let sheet = &mut self.sheets[self.chosen];
                sheet.scrolled = sheet.scrolled.saturating_sub(1);
            }
            _ => {}
        }
        false
    }

    fn write(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.is_typing = false;
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(next) => self.filter.push(next),
            _ => {}
        }
        self.sheets.iter_mut().for_each(|sheet| sheet.scrolled = 0);
    }
}

//! The model as a picture of characters.

use ratatui::Frame;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Row, Table};

use super::KEYS;
use super::model::{Cell, Model, TABLES};
use crate::cli::output::{one_line, or_dash};
use crate::cli::time::format_us;

/// Lines above the tables.
const HEADER_LINES: u16 = 4;
/// Lines of a table beside its rows: title and columns.
const TABLE_LINES: u16 = 2;

/// Width of a frame that nobody sees on a terminal.
const PLAIN_WIDTH: u16 = 120;
/// Most rows of a table in such a frame.
const PLAIN_ROWS_MAX: usize = 50;

/// Longest cell, in characters.
const CELL_CHARS_MAX: usize = 60;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let areas = Layout::vertical([
        Constraint::Length(HEADER_LINES),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ]);
    let [head, namespaces, templates, workers, failures, foot] = areas.areas(frame.area());
    draw_parts(frame, model, head, [namespaces, templates, workers, failures]);
    frame.render_widget(footer(model), foot);
    if model.has_help {
        help(frame);
    }
}

/// One frame as text, as large as it has to be.
pub(super) fn plain(model: &Model) -> String {
    let lines = |table: usize| {
        let rows = model.rows(table).len().clamp(1, PLAIN_ROWS_MAX);
        TABLE_LINES + u16::try_from(rows).unwrap_or(u16::MAX)
    };
    let heights = [HEADER_LINES, lines(0), lines(1), lines(2), lines(3)];
    let backend = TestBackend::new(PLAIN_WIDTH, heights.iter().sum());
    let Ok(mut terminal) = Terminal::new(backend);
    let Ok(_) = terminal.draw(|frame| {
        let [head, tables @ ..] = Layout::vertical(heights.map(Constraint::Length)).areas::<5>(frame.area());
        draw_parts(frame, model, head, tables);
    });
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for line in buffer.content().chunks(usize::from(PLAIN_WIDTH)) {
        let line: String = line.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn draw_parts(frame: &mut Frame<'_>, model: &Model, head: Rect, tables: [Rect; 4]) {
    frame.render_widget(header(model), head);
    for (table, area) in tables.into_iter().enumerate() {
        frame.render_widget(sheet(model, table), area);
    }
}

fn header(model: &Model) -> Paragraph<'static> {
    let look = &model.look;
    let health = &look.health;
    let status = match &model.away {
        Some(why) => Span::from(format!("away: {}", one_line(why, CELL_CHARS_MAX * 2))).fg(Color::Red).bold(),
        None if health.status == "ok" => Span::from("ok").fg(Color::Green),
        None => Span::from(format!("{}: {}", health.status, one_line(&health.problems.join("; "), CELL_CHARS_MAX * 2)))
            .fg(Color::Yellow),
    };
    let uptime = format_us(health.uptime_seconds.saturating_mul(1_000_000));
    let rates = match look.rates {
        Some(rates) => format!("{:.1} tasks/s, {:.1} steps/s", rates.tasks, rates.steps),
        None => "rates unknown: no events endpoint (--events)".to_owned(),
    };
    let lost = if look.events_lost { "  (events were lost; more happened)" } else { "" };
    Paragraph::new(vec![
        Line::from(vec![Span::from("broker    "), status]),
        Line::from(format!(
            "          {} epoch {}  version {}  up {uptime}  Postgres {}",
            health.broker_id, health.epoch, health.version, health.postgres
        )),
        Line::from(format!(
            "work      {} tasks  {} steps ready  {} in progress  {} workers with {} slots",
            or_dash(health.tasks),
            or_dash(health.steps_ready),
            or_dash(health.steps_in_progress),
            or_dash(health.workers),
            or_dash(health.slots),
        )),
        Line::from(format!("rates     {rates}{lost}")),
    ])
}

fn sheet(model: &Model, table: usize) -> Table<'static> {
    let sheet = &model.sheets[table];
    let rows = model.rows(table);
    let headings = sheet.columns.iter().enumerate().map(|(column, name)| {
        let arrow = if sheet.is_descending { "▼" } else { "▲" };
        if column == sheet.sorted_by { format!("{name}{arrow}") } else { (*name).to_owned() }
    });
    let headings: Vec<String> = headings.collect();
    let widths = headings.iter().enumerate().map(|(column, heading)| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.shown().chars().count());
        let widest = cells.chain([heading.chars().count()]).max().unwrap_or(0).min(CELL_CHARS_MAX);
        Constraint::Length(u16::try_from(widest).unwrap_or(u16::MAX))
    });
    let widths: Vec<Constraint> = widths.collect();
    let title = format!("{} ({})", TABLES[table], rows.len());
    let title_style = match model.chosen == table {
        true => Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED),
        false => Style::new().add_modifier(Modifier::BOLD),
    };
    let line =
        |row: Vec<Cell>| Row::new(row.iter().map(|cell| one_line(cell.shown(), CELL_CHARS_MAX)).collect::<Vec<_>>());
    Table::new(rows.into_iter().skip(sheet.scrolled).map(line), widths)
        .column_spacing(2)
        .header(Row::new(headings).fg(Color::Cyan))
        .block(Block::new().title(Span::styled(title, title_style)))
}

fn footer(model: &Model) -> Paragraph<'static> {
    let mut words = Vec::new();
    if model.is_paused {
        words.push("PAUSED".to_owned());
    }
    if model.is_typing {
        words.push(format!("filter: {}_", model.filter));
    } else if !model.filter.is_empty() {
        words.push(format!("filter: {}", model.filter));
    }
    words.push("q quit  Tab table  s sort  r reverse  / filter  p pause  ? help".to_owned());
    Paragraph::new(words.join("  ")).style(Style::new().add_modifier(Modifier::DIM))
}

fn help(frame: &mut Frame<'_>) {
    let lines = KEYS.lines().count();
    let widest = KEYS.lines().map(str::len).max().unwrap_or(0);
    let area = frame.area();
    let side = |inner: usize, outer: u16| u16::try_from(inner + 2).unwrap_or(u16::MAX).min(outer);
    let (width, height) = (side(widest, area.width), side(lines, area.height));
    let place = Rect::new((area.width - width) / 2, (area.height - height) / 2, width, height);
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(KEYS).block(Block::bordered()), place);
}

#[cfg(test)]
mod tests;

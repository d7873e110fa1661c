//! Tables that can be walked with the keyboard, and that become lists of cards on a phone.

use maud::{Markup, html};

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its title; also before each value on a phone. A column of buttons has none to be seen.
    pub title: &'static str,
    /// Class of its cells: `num`, `name`, `wide`, or empty.
    pub class: &'static str,
}

/// A column of text.
pub const fn text(title: &'static str) -> Column {
    Column { title, class: "" }
}

/// A column of numbers or times, to the right.
pub const fn number(title: &'static str) -> Column {
    Column { title, class: "num" }
}

/// The column that a row is known by.
pub const fn name(title: &'static str) -> Column {
    Column { title, class: "name" }
}

/// A column that takes the room that is left, and cuts what is longer.
pub const fn wide(title: &'static str) -> Column {
    Column { title, class: "wide" }
}

/// A row.
#[derive(Clone, Debug)]
pub struct Row {
    /// Names it, so that it is found again when the table is renewed.
    pub id: String,
    /// The value that selecting it sends as `select`; a column of boxes is there when a row has one.
    pub choice: Option<String>,
    /// One for each column. The first link in them is what Enter opens.
    pub cells: Vec<Markup>,
}

impl Row {
    /// A row that cannot be selected.
    pub fn new(id: impl Into<String>, cells: Vec<Markup>) -> Row {
        Row { id: id.into(), choice: None, cells }
    }
}

/// A table with this caption, which only those hear who do not see it.
pub fn table(id: &str, caption: &str, columns: &[Column], rows: &[Row]) -> Markup {
    let chosen = rows.iter().any(|row| row.choice.is_some());
    html! {
        div class="table" id=(id) {
            table data-rows {
                caption class="hidden" { (caption) }
                thead {
                    tr {
                        @if chosen { th class="box" { input type="checkbox" data-all aria-label="Select all rows"; } }
                        @for column in columns {
                            th scope="col" class=(column.class) {
                                @if column.title.is_empty() { span class="hidden" { "Acts" } } @else { (column.title) }
                            }
                        }
                    }
                }
                tbody {
                    @for row in rows {
                        tr id=(row.id) {
                            @if chosen {
                                td class="box" {
                                    @if let Some(choice) = &row.choice {
                                        input type="checkbox" name="select" value=(choice) aria-label="Select this row";
                                    }
                                }
                            }
                            @for (cell, column) in row.cells.iter().zip(columns) {
                                td class=(column.class) data-title=(column.title) { div { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

//! The steps of a task as SVG: a link for each box, in reading order, with its state as colour, shape and word.

use std::fmt::Write;

use maud::{Markup, html};

use super::badge::{Look, look};
use super::time::span;
use crate::ops::graph::{
    CELL, CELLS_INSET, Drawing, Graph, Group, Item, Line, Notice, Placed, Standing, Step, View, columns,
};

/// Letters that fit into a step's box, a cell, and a group's box.
const NAME_LETTERS: usize = 18;
const CELL_LETTERS: usize = 15;
const GROUP_LETTERS: usize = 22;
/// Longest name in a title; names can have 255 bytes, and there may be a thousand of them.
const TITLE_LETTERS: usize = 120;

/// What a box leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A step's detail.
    Step(&'a str),
    /// The page with this group open.
    Open(u32),
    /// The page with this group closed.
    Close(u32),
    /// The table of steps, with those of a group.
    Table(&'a Group),
}

/// Draws a graph; `address` says what a box leads to.
pub fn graph(graph: &Graph, view: &View, address: &dyn Fn(Target) -> String) -> Markup {
    let drawing = graph.drawing(view);
    let pen = Pen { graph, view, address, search: view.search.to_lowercase() };
    let (width, height) = (drawing.width, drawing.height);
    html! {
        div class="graph" id="graph-frame" data-graph {
            svg id="graph" role="group" aria-labelledby="graph-title" width=(width) height=(height)
                viewBox={ "0 0 " (width) " " (height) } {
                title id="graph-title" { (summary(graph)) }
                g class="lines" aria-hidden="true" { (pen.lines(&drawing)) }
                @for placed in &drawing.boxes { (pen.placed(placed)) }
            }
        }
        @for notice in &drawing.notices { p class="muted" { (tell(*notice)) } }
    }
}

/// One sentence on a graph, for those who do not see it.
pub fn summary(graph: &Graph) -> String {
    let mut text = format!("{} steps on {} levels", graph.steps().len(), graph.depth());
    for standing in Standing::ALL {
        let count = graph.steps().iter().filter(|step| step.standing == standing).count();
        if count > 0 {
            let _ = write!(text, ", {count} {}", label(standing));
        }
    }
    text
}

fn tell(notice: Notice) -> String {
    match notice {
        Notice::Implied(count) => format!("{count} dependencies that follow from others are not drawn."),
        Notice::Dropped(count) => format!("{count} of the longest dependencies are not drawn: there are too many."),
    }
}

fn label(standing: Standing) -> &'static str {
    look(standing.as_str()).map_or(standing.as_str(), |look| look.label)
}

/// What all drawing needs.
struct Pen<'a> {
    graph: &'a Graph<'a>,
    view: &'a View<'a>,
    address: &'a dyn Fn(Target) -> String,
    search: String,
}

impl Pen<'_> {
    /// A path for all plain lines of a box, and one for each critical line, above them.
    fn lines(&self, drawing: &Drawing) -> Markup {
        let mut plain: Vec<String> = vec![String::new(); drawing.boxes.len()];
        for line in drawing.lines.iter().filter(|line| !line.critical) {
            trace(&mut plain[line.from as usize], line);
        }
        let critical = drawing.lines.iter().filter(|line| line.critical).map(|line| {
            let mut path = String::new();
            trace(&mut path, line);
            path
        });
        html! {
            @for path in plain.iter().filter(|path| !path.is_empty()) { path d=(path) {} }
            @for path in critical { path class="critical" d=(path) {} }
        }
    }

    fn placed(&self, placed: &Placed) -> Markup {
        match &placed.item {
            Item::Step(step) => self.step(placed, *step),
            Item::Group(group) if group.shown == 0 => self.group(placed, group),
            Item::Group(group) => self.open(placed, group),
        }
    }

    fn step(&self, placed: &Placed, number: u32) -> Markup {
        let step = &self.graph.steps()[number as usize];
        let Placed { x, y, width, height, .. } = *placed;
        let class = self.class("node", step, number, placed.critical);
        html! {
            a class=(class) href=((self.address)(Target::Step(step.name))) data-step=(number) {
                title { (said(step)) }
                rect x=(x) y=(y) width=(width) height=(height) rx="7" {}
                use href={ "#i-" (symbol(step.standing)) } x=(x + 10) y=(y + 15) width="16" height="16" {}
                text class="name" x=(x + 35) y=(y + 19) { (cut(step.name, NAME_LETTERS)) }
                text class="sub" x=(x + 35) y=(y + 35) { (below(step)) }
            }
        }
    }

    fn group(&self, placed: &Placed, group: &Group) -> Markup {
        let Placed { x, y, width, height, .. } = *placed;
        let hits = self.hits(group);
        let mut class = format!("node group {}", tone(worst(group)));
        for (set, name) in [(placed.critical, "critical"), (hits > 0, "hit"), (self.holds_chosen(group), "chosen")] {
            if set {
                class.push(' ');
                class.push_str(name);
            }
        }
        html! {
            a class=(class) href=((self.address)(Target::Open(group.first))) {
                title { "Open: " (self.title(group)) ", " (counted(group)) }
                rect class="behind" x=(x + 4) y=(y + 4) width=(width) height=(height) rx="7" {}
                rect x=(x) y=(y) width=(width) height=(height) rx="7" {}
                text class="name" x=(x + 12) y=(y + 20) { (cut(&self.title(group), GROUP_LETTERS)) }
                (bar(group, x + 12, y + 29, width - 24))
                text class="sub" x=(x + 12) y=(y + 51) {
                    (group.steps.len()) " steps"
                    @if hits > 0 { " · " (hits) " found" }
                    @else if let Some((count, standing)) = foremost(group) { " · " (count) " " (label(standing)) }
                }
            }
        }
    }

    fn open(&self, placed: &Placed, group: &Group) -> Markup {
        let Placed { x, y, width, height, .. } = *placed;
        let (beside, above, _) = CELLS_INSET;
        let columns = columns(group.shown);
        let place =
            |cell: usize| (x + beside + (cell % columns) as i32 * CELL.0, y + above + (cell / columns) as i32 * CELL.1);
        let rest = group.steps.len() - group.shown;
        let class = if placed.critical { "open critical" } else { "open" };
        html! {
            g class=(class) {
                rect x=(x) y=(y) width=(width) height=(height) rx="9" {}
                a class="close" href=((self.address)(Target::Close(group.first))) {
                    title { "Close: " (self.title(group)) }
                    text class="name" x=(x + 12) y=(y + 20) { "▾ " (cut(&self.title(group), GROUP_LETTERS)) }
                    text class="sub" x=(x + 12) y=(y + 36) { (group.steps.len()) " steps" }
                }
                @for (cell, number) in group.steps.iter().take(group.shown).enumerate() {
                    (self.cell(*number, place(cell)))
                }
                @if rest > 0 {
                    @let (left, top) = (x + beside, y + above + group.shown.div_ceil(columns) as i32 * CELL.1);
                    a class="more" href=((self.address)(Target::Table(group))) {
                        text class="sub" x=(left + 4) y=(top + 16) { (rest) " more: see the table" }
                    }
                }
            }
        }
    }

    fn cell(&self, number: u32, (x, y): (i32, i32)) -> Markup {
        let step = &self.graph.steps()[number as usize];
        let class = self.class("node cell", step, number, false);
        html! {
            a class=(class) href=((self.address)(Target::Step(step.name))) data-step=(number) {
                title { (said(step)) }
                rect x=(x + 2) y=(y + 2) width=(CELL.0 - 4) height=(CELL.1 - 4) rx="5" {}
                use href={ "#i-" (symbol(step.standing)) } x=(x + 8) y=(y + 7) width="12" height="12" {}
                text class="sub" x=(x + 25) y=(y + 17) { (cut(step.name, CELL_LETTERS)) }
            }
        }
    }

    fn class(&self, kind: &str, step: &Step, number: u32, critical: bool) -> String {
        let mut class = format!("{kind} {}", tone(step.standing));
        let chosen = self.view.chosen == Some(number);
        for (set, name) in [(critical, " critical"), (self.found(step), " hit"), (chosen, " chosen")] {
            if set {
                class.push_str(name);
            }
        }
        class
    }

    fn found(&self, step: &Step) -> bool {
        !self.search.is_empty() && step.name.to_lowercase().contains(&self.search)
    }

    fn hits(&self, group: &Group) -> usize {
        if self.search.is_empty() {
            return 0;
        }
        group.steps.iter().filter(|&&step| self.found(&self.graph.steps()[step as usize])).count()
    }

    fn holds_chosen(&self, group: &Group) -> bool {
        self.view.chosen.is_some_and(|chosen| group.steps.contains(&chosen))
    }

    fn title(&self, group: &Group) -> String {
        let (first, last) = group.levels;
        match group.handlers {
            _ if last > first => format!("Levels {} to {}", first + 1, last + 1),
            1 => self.graph.steps()[group.first as usize].handler.to_owned(),
            handlers => format!("{handlers} handlers"),
        }
    }
}

/// A group's states as a bar: each has its share, and none that is there is too small to be seen.
fn bar(group: &Group, x: i32, y: i32, width: i32) -> Markup {
    const LEAST: i32 = 3;
    let there = group.counts.iter().filter(|count| **count > 0).count() as i32;
    let room = i64::from(width - there * LEAST);
    let total = group.steps.len().max(1) as i64;
    let mut at = x;
    let parts = Standing::ALL.into_iter().zip(group.counts).filter(|(_, count)| *count > 0).map(|(standing, count)| {
        let part = LEAST + (room * i64::from(count) / total) as i32;
        at += part;
        (standing, at - part, part)
    });
    let parts: Vec<_> = parts.collect();
    html! {
        @for (standing, at, part) in parts {
            rect class={ "part " (tone(standing)) } x=(at) y=(y) width=(part) height="7" {}
        }
    }
}

/// The first standing in order of what needs a look, except for a group of which all are the same.
fn worst(group: &Group) -> Standing {
    let there = |(_, count): &(Standing, u32)| *count > 0;
    Standing::ALL.into_iter().zip(group.counts).find(there).map_or(Standing::Pending, |(standing, _)| standing)
}

fn foremost(group: &Group) -> Option<(u32, Standing)> {
    let counts = group.counts.into_iter().zip(Standing::ALL);
    counts.into_iter().find(|(count, _)| *count > 0)
}

fn counted(group: &Group) -> String {
    let mut text = format!("{} steps", group.steps.len());
    for (count, standing) in group.counts.into_iter().zip(Standing::ALL).filter(|(count, _)| *count > 0) {
        let _ = write!(text, ", {count} {}", label(standing));
    }
    text
}

fn tone(standing: Standing) -> &'static str {
    look(standing.as_str()).map_or("idle", |Look { tone, .. }| tone)
}

fn symbol(standing: Standing) -> &'static str {
    look(standing.as_str()).map_or("ring", |Look { symbol, .. }| symbol)
}

fn said(step: &Step) -> String {
    let mut text = format!("{}: {}", cut(step.name, TITLE_LETTERS), below(step));
    let _ = write!(text, ", {}", cut(step.handler, TITLE_LETTERS));
    text
}

/// The line below a step's name.
fn below(step: &Step) -> String {
    let mut text = label(step.standing).to_owned();
    if let Some(run_us) = step.run_us {
        let _ = write!(text, " · {}", span(run_us));
    }
    if step.attempts > 1 {
        let _ = write!(text, " · {} tries", step.attempts);
    }
    text
}

/// Adds a line to a path: straight down inside a layer, a bend between two.
fn trace(path: &mut String, line: &Line) {
    let mut before: Option<(i32, i32)> = None;
    for &(x, y) in &line.points {
        let _ = match before {
            None => write!(path, "M{x} {y}"),
            Some((other, _)) if other == x => write!(path, "V{y}"),
            Some((other, above)) => {
                let middle = (above + y) / 2;
                write!(path, "C{other} {middle} {x} {middle} {x} {y}")
            }
        };
        before = Some((x, y));
    }
}

/// At most so many letters; what is too long loses its middle, because names differ at their ends. Letters of double
/// width count twice.
pub fn cut(name: &str, letters: usize) -> String {
    let width = |letter: char| if (letter as u32) < 0x1100 { 1 } else { 2 };
    if name.chars().map(width).sum::<usize>() <= letters {
        return name.to_owned();
    }
    let (head_room, tail_room) = ((letters - 1) * 3 / 5, letters - 1 - (letters - 1) * 3 / 5);
    let fitting = |all: &mut dyn Iterator<Item = char>, room: usize| {
        let mut used = 0;
        all.take_while(|letter| {
            used += width(*letter);
            used <= room
        })
        .collect::<Vec<char>>()
    };
    let head: String = fitting(&mut name.chars(), head_room).into_iter().collect();
    let tail: String = fitting(&mut name.chars().rev(), tail_room).into_iter().rev().collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Graph, Standing, Step, Target, View, cut, graph};

    fn address(target: Target) -> String {
        match target {
            Target::Step(name) => format!("?step={name}"),
            Target::Open(first) => format!("?open={first}"),
            Target::Close(first) => format!("?close={first}"),
            Target::Table(group) => format!("?of={}", group.first),
        }
    }

    fn fan<'a>(names: &'a [String], standings: &[Standing]) -> Graph<'a> {
        let step = |(at, name): (usize, &'a String)| Step {
            name,
            handler: "Work",
            standing: standings[at % standings.len()],
            run_us: (at % 2 == 0).then_some(1_000_000),
            attempts: 1 + (at % 2) as u32,
            parents: if at == 0 { vec![] } else { vec![0] },
        };
        Graph::new(names.iter().enumerate().map(step).collect()).expect("acyclic")
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|at| format!("step_{at}")).collect()
    }

    #[test]
    fn a_step_is_a_link_with_its_state_in_words_and_shape() {
        let names = names(3);
        let steps = fan(&names, &[Standing::Complete, Standing::Error]);
        let svg = graph(&steps, &View { chosen: Some(2), ..View::default() }, &address).into_string();
        assert!(svg.contains("href=\"?step=step_1\"") && svg.contains("<title>step_1: error · 2 tries, Work</title>"));
        assert!(svg.contains("href=\"#i-cross\"") && svg.contains("class=\"node bad"));
        assert!(svg.contains("class=\"node good critical chosen\""));
        assert!(svg.contains("3 steps on 2 levels, 1 error, 2 complete"));
        assert!(!svg.contains("style="), "the policy forbids styles inline");
    }

    #[test]
    fn names_are_cut_in_the_middle_and_whole_in_the_title() {
        assert_eq!(cut("charge_customer_number_42", 16), "charge_cu…ber_42");
        assert_eq!((cut("short", 16), cut("漢字漢字", 6)), ("short".to_owned(), "漢…字".to_owned()));
        let names = vec!["<charge> & \"customer\" of many letters".to_owned()];
        let svg = graph(&fan(&names, &[Standing::Ready]), &View::default(), &address).into_string();
        assert!(svg.contains("<title>&lt;charge&gt; &amp; &quot;customer&quot; of many letters: ready"), "{svg}");
    }

    #[test]
    fn a_group_tells_its_states_and_opens() {
        let names = names(2_000);
        let steps = fan(&names, &[Standing::Complete, Standing::Complete, Standing::Error, Standing::Pending]);
        let closed = graph(&steps, &View { search: "STEP_19", ..View::default() }, &address).into_string();
        assert!(
            closed.contains("href=\"?open=1\"") && closed.contains("1999 steps, 500 error, 500 pending, 999 complete")
        );
        assert!(closed.contains(" hit\"") && closed.contains("111 found"));
        let open = View { open: BTreeSet::from([1]), ..View::default() };
        let open = graph(&steps, &open, &address).into_string();
        assert!(open.contains("href=\"?close=1\"") && open.contains("1799 more") && open.contains("href=\"?of=1\""));
        assert!(open.contains("step_200<") && !open.contains("step_201<"));
    }

    #[test]
    fn a_picture_has_a_bounded_size() {
        let names: Vec<String> = (0..10_000).map(|at| format!("{at}{}", "ü".repeat(120))).collect();
        let step = |(at, name): (usize, &'static str)| Step {
            name,
            handler: name,
            standing: Standing::Error,
            run_us: Some(u64::MAX),
            attempts: 9,
            parents: (1..=8).filter_map(|back: u32| (at as u32).checked_sub(back * back * 7)).collect(),
        };
        let names: Vec<&'static str> = names.into_iter().map(|name| &*name.leak()).collect();
        let steps = Graph::new(names.into_iter().enumerate().map(step).collect()).expect("acyclic");
        let view = View { open: (0..10_000).collect(), search: "", chosen: None };
        let svg = graph(&steps, &view, &address).into_string();
        assert!(svg.len() < 1_500_000, "{} bytes", svg.len());
    }
}

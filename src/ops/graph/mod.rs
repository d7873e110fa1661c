//! The steps of a task as a picture: layers from top to bottom, lines from parents to children. Pure: no clock, no I/O, and
//! the same steps give the same picture.
//!
//! Work and size are bounded whatever the graph: what is too much to look at is drawn as boxes of many steps
//! (`collapse`), and only boxes are laid out (`order`, `place`).

mod collapse;
mod levels;
mod order;
mod place;
mod standing;

use std::collections::BTreeSet;

use tasker_engine::{Cycle, Dag};

pub use collapse::{CELL, CELLS_INSET, CELLS_MAX, LEVELS_MAX, STEPS_APART_MAX, WIDTH_APART_MAX, columns};
pub use order::{LINES_MAX, TURNS_MAX};
pub use standing::Standing;

use collapse::collapse;
use levels::Levels;

/// A step as it is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its handler.
    pub handler: &'a str,
    /// How it is.
    pub standing: Standing,
    /// How long its handler ran, in microseconds, when it did.
    pub run_us: Option<u64>,
    /// Attempts made.
    pub attempts: u32,
    /// Indices of the steps that it waits for. What names no other step is passed over.
    pub parents: Vec<u32>,
}

/// What somebody wants to see of a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View<'a> {
    /// Groups to show the steps of, by [`Group::first`].
    pub open: BTreeSet<u32>,
    /// Steps with this in their name are marked, whatever the case; empty for none.
    pub search: &'a str,
    /// The step that is looked at.
    pub chosen: Option<u32>,
}

/// Steps with their levels and their critical path.
pub struct Graph<'a> {
    steps: Vec<Step<'a>>,
    dag: Dag,
    levels: Levels,
}

/// Where everything is, in pixels; the origin is the top left corner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawing {
    /// Width of the picture.
    pub width: i32,
    /// Height of the picture.
    pub height: i32,
    /// In order of layers, and from left to right in each.
    pub boxes: Vec<Placed>,
    /// Lines between boxes.
    pub lines: Vec<Line>,
    /// What of the graph is not drawn as it is.
    pub notices: Vec<Notice>,
}

/// A box with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Left edge.
    pub x: i32,
    /// Upper edge.
    pub y: i32,
    /// Width.
    pub width: i32,
    /// Height.
    pub height: i32,
    /// What it stands for.
    pub item: Item,
    /// Whether the critical path leads through it.
    pub critical: bool,
}

/// What a box stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// One step.
    Step(u32),
    /// Several.
    Group(Group),
}

/// Steps that share a box: of one level and handler, or of neighbouring levels when there are too many of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The lowest of its steps, which names it: no other group has it.
    pub first: u32,
    /// First and last level, from 0.
    pub levels: (u32, u32),
    /// Number of different handlers; with one, it is that of `first`.
    pub handlers: u32,
    /// All of its steps, by level, then number.
    pub steps: Vec<u32>,
    /// Steps by [`Standing`], as in [`Standing::ALL`].
    pub counts: [u32; Standing::ALL.len()],
    /// How many of its steps are shown: none while it is closed.
    pub shown: usize,
}

/// A line from one box down to another, through the gaps between layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Index of the box that it leaves.
    pub from: u32,
    /// Index of the box that it ends at. None ends where others leave it: it is what they have in common.
    pub to: Option<u32>,
    /// Corners, from top to bottom: straight down inside a layer, bent between two.
    pub points: Vec<(i32, i32)>,
    /// Whether it is a part of the critical path.
    pub critical: bool,
}

/// What of a graph is not drawn as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// So many dependencies follow from others that are drawn.
    Implied(usize),
    /// So many dependencies are not drawn: there are too many.
    Dropped(usize),
}

impl<'a> Graph<'a> {
    /// Takes the steps; no template has a cycle, and what has one cannot be drawn.
    pub fn new(steps: Vec<Step<'a>>) -> Result<Graph<'a>, Cycle> {
        let len = steps.len() as u32;
        let parents = steps
            .iter()
            .zip(0..)
            .map(|(step, own)| step.parents.iter().copied().filter(|&parent| parent < len && parent != own).collect());
        let dag = Dag::new(parents.collect())?;
        let levels = Levels::of(&dag, &steps);
        Ok(Graph { steps, dag, levels })
    }

    /// The steps.
    pub fn steps(&self) -> &[Step<'a>] {
        &self.steps
    }

    /// Number of levels: steps of the longest chain.
    pub fn depth(&self) -> u32 {
        self.levels.depth
    }

    /// The steps of the critical path from first to last: the chain with the longest run time, and with the most steps
    /// among equals.
    pub fn critical_path(&self) -> &[u32] {
        &self.levels.critical
    }

    /// Finds a place for everything.
    pub fn drawing(&self, view: &View) -> Drawing {
        let boxes = collapse(self, view);
        let lines = order::lines(&self.dag, &self.levels, &boxes);
        place::place(boxes, lines)
    }
}

#[cfg(test)]
mod tests;

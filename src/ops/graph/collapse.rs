//! What is drawn: a box for each step while there are few, else one for all steps of a level with the same handler.

use std::collections::{BTreeMap, HashSet};

use super::{Graph, Group, Item, Standing, View};

/// Up to so many steps have boxes of their own: more than fit on two or three screens.
pub const STEPS_APART_MAX: usize = 150;
/// A level with more steps is collapsed in any case: a row of boxes wider than a few screens cannot be followed.
pub const WIDTH_APART_MAX: usize = 24;
/// In a collapsed graph, neighbouring levels share a box until there are no more layers than this.
pub const LEVELS_MAX: u32 = 60;
/// Boxes of a collapsed graph, about; beyond a layer's share of them, the rarer handlers share a box.
const BOXES_MAX: usize = 240;
/// An open group shows so many steps; the table of steps has the others.
pub const CELLS_MAX: usize = 200;
/// All open groups together show so many, so that a page stays a page.
const ALL_CELLS_MAX: usize = 1_000;

/// Width and height of a step's box: a name of eighteen letters in a wide font, and a line below.
const STEP_SIZE: (i32, i32) = (192, 46);
/// Of a closed group: a handler, a bar, a line below.
const GROUP_SIZE: (i32, i32) = (208, 62);
/// Of a step in an open group, with the gap around it.
pub const CELL: (i32, i32) = (140, 26);
/// Cells side by side, most.
const COLUMNS_MAX: usize = 8;
/// Space around the cells of an open group: beside, above (two lines of text), below.
pub const CELLS_INSET: (i32, i32, i32) = (10, 44, 10);

/// A box before it has a place.
pub(super) struct Boxed {
    pub(super) item: Item,
    /// The layer that it goes to.
    pub(super) layer: u32,
    pub(super) size: (i32, i32),
    pub(super) critical: bool,
}

/// The boxes of a graph.
pub(super) struct Boxes {
    /// By layer, then by their lowest step.
    pub(super) boxes: Vec<Boxed>,
    /// The box of each step.
    pub(super) of_step: Vec<u32>,
    pub(super) layers: u32,
}

/// Puts every step into one box. An edge never leads from one box to another of the same or an upper layer.
pub(super) fn collapse(graph: &Graph, view: &View) -> Boxes {
    let depth = graph.depth();
    let apart = graph.steps.len() <= STEPS_APART_MAX;
    let band = if apart { 1 } else { depth.div_ceil(LEVELS_MAX).max(1) };
    let layers = depth.div_ceil(band);
    let mut by_layer: Vec<Vec<u32>> = vec![Vec::new(); layers as usize];
    for (step, level) in (0..).zip(&graph.levels.level) {
        by_layer[(level / band) as usize].push(step);
    }
    let share = (BOXES_MAX / by_layer.len().max(1)).max(1);
    let critical: HashSet<u32> = graph.levels.critical.iter().copied().collect();
    let mut boxes = Boxes { boxes: Vec::new(), of_step: vec![0; graph.steps.len()], layers };
    let mut cells_left = ALL_CELLS_MAX;
    for (layer, mut steps) in (0..).zip(by_layer) {
        let single = apart && steps.len() <= WIDTH_APART_MAX;
        steps.sort_by_key(|&step| graph.levels.level[step as usize]);
        let mut sets = if single {
            steps.into_iter().map(|step| vec![step]).collect()
        } else if band > 1 {
            // Steps of a band depend on each other: only as one box do they have no cycle.
            vec![steps]
        } else {
            by_handler(graph, &steps, share)
        };
        sets.sort_by_key(|set| set.iter().min().copied());
        for set in sets {
            let number = boxes.boxes.len() as u32;
            for &step in &set {
                boxes.of_step[step as usize] = number;
            }
            let critical = set.iter().any(|step| critical.contains(step));
            let item = item(graph, view, set, &mut cells_left);
            boxes.boxes.push(Boxed { layer, size: size(&item), critical, item });
        }
    }
    boxes
}

/// The steps of a level by handler, in at most `share` sets: the rarest handlers have the last one together.
fn by_handler(graph: &Graph, steps: &[u32], share: usize) -> Vec<Vec<u32>> {
    let mut sets: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for &step in steps {
        sets.entry(graph.steps[step as usize].handler).or_default().push(step);
    }
    let mut sets: Vec<Vec<u32>> = sets.into_values().collect();
    if sets.len() > share {
        sets.sort_by_key(|set| (std::cmp::Reverse(set.len()), set[0]));
        let mut others: Vec<u32> = sets.split_off(share - 1).into_iter().flatten().collect();
        others.sort_unstable();
        sets.push(others);
    }
    sets
}

fn item(graph: &Graph, view: &View, steps: Vec<u32>, cells_left: &mut usize) -> Item {
    if let [step] = steps[..] {
        return Item::Step(step);
    }
    let level = |step: Option<&u32>| step.map_or(0, |&step| graph.levels.level[step as usize]);
    let first = steps.iter().min().copied().unwrap_or(0);
    let mut counts = [0; Standing::ALL.len()];
    let mut handlers = HashSet::new();
    for step in steps.iter().map(|&step| &graph.steps[step as usize]) {
        handlers.insert(step.handler);
        for (count, standing) in counts.iter_mut().zip(Standing::ALL) {
            *count += u32::from(step.standing == standing);
        }
    }
    let shown = if view.open.contains(&first) { steps.len().min(CELLS_MAX).min(*cells_left) } else { 0 };
    *cells_left -= shown;
    let levels = (level(steps.first()), level(steps.last()));
    Item::Group(Group { first, levels, handlers: handlers.len() as u32, steps, counts, shown })
}

fn size(item: &Item) -> (i32, i32) {
    match item {
        Item::Step(_) => STEP_SIZE,
        Item::Group(group) if group.shown == 0 => GROUP_SIZE,
        Item::Group(group) => {
            let columns = columns(group.shown);
            // One row more where the rest is told of.
            let rows = group.shown.div_ceil(columns) + usize::from(group.shown < group.steps.len());
            let (beside, above, below) = CELLS_INSET;
            (columns as i32 * CELL.0 + 2 * beside, above + rows as i32 * CELL.1 + below)
        }
    }
}

/// How many cells stand side by side: about as wide as high, with cells that are five times as wide as high.
pub fn columns(cells: usize) -> usize {
    let mut columns = 2;
    while columns < COLUMNS_MAX && columns * columns * 3 < cells {
        columns += 1;
    }
    columns
}

//! Which lines are drawn, by which turns they pass the layers between their ends, and who stands left of whom.

use std::collections::HashSet;

use tasker_engine::Dag;

use super::Notice;
use super::collapse::Boxes;
use super::levels::Levels;

/// With more dependencies between boxes than this, those that follow from others are left out: what can be seen is that
/// one box is above another, and that is still told by the way between them.
const LINES_APART_MAX: usize = 300;
/// Lines in a picture: more of them are one dark area. The longest are left out.
pub const LINES_MAX: usize = 4_000;
/// Turns of all lines in a picture. Lines that would need more go straight, behind the boxes.
pub const TURNS_MAX: usize = 8_000;
/// Sweeps down and up that look for fewer crossings; after a handful, more find hardly any.
const SWEEPS: usize = 8;

/// What has a place in a layer: box `n` is node `n`, and turns follow.
pub(super) struct Lines {
    /// Nodes of each layer, from left to right.
    pub(super) layers: Vec<Vec<u32>>,
    /// Nodes of the layer above, and of the one below, that a node is connected with.
    pub(super) above: Vec<Vec<u32>>,
    pub(super) below: Vec<Vec<u32>>,
    /// Lines as nodes from top to bottom: trunks end at a turn, from which branches start.
    pub(super) ways: Vec<Way>,
    pub(super) notices: Vec<Notice>,
}

/// A line as nodes.
pub(super) struct Way {
    pub(super) from: u32,
    /// The box that it ends at; a trunk ends at none.
    pub(super) to: Option<u32>,
    pub(super) nodes: Vec<u32>,
    pub(super) critical: bool,
}

/// All lines of a box leave it together: one trunk goes down as far as the deepest child, and branches leave it one
/// layer above each child. So there are at most as many turns as there are boxes times layers, whatever the number of lines.
pub(super) fn lines(dag: &Dag, levels: &Levels, boxes: &Boxes) -> Lines {
    let critical = critical(levels, boxes);
    let (children, notices) = children(dag, boxes, &critical);
    let layer = |node: usize| boxes.boxes[node].layer;
    let count = boxes.boxes.len();
    let mut lines = Lines {
        layers: vec![Vec::new(); boxes.layers as usize],
        above: vec![Vec::new(); count],
        below: vec![Vec::new(); count],
        ways: Vec::new(),
        notices,
    };
    for node in 0..count {
        lines.layers[layer(node) as usize].push(node as u32);
    }
    // The shortest trunks first, and before them those of the critical path, until the turns are spent.
    let deepest = |from: usize| children[from].iter().map(|&to| layer(to as usize)).max().unwrap_or(0);
    let mut order: Vec<usize> = (0..count).filter(|&from| !children[from].is_empty()).collect();
    order.sort_by_key(|&from| (!boxes.boxes[from].critical, deepest(from) - layer(from), from));
    let mut turns_left = TURNS_MAX;
    for from in order {
        let turns = (deepest(from) - layer(from) - 1) as usize;
        let trunk = if turns > turns_left { vec![from as u32] } else { lines.trunk(from as u32, layer(from), turns) };
        turns_left -= trunk.len() - 1;
        for &to in &children[from] {
            // Without a trunk, all start at the box itself.
            let steps_down = (layer(to as usize) - layer(from) - 1) as usize;
            let last = steps_down.min(trunk.len() - 1);
            if last == steps_down {
                lines.connect(trunk[last], to);
            }
            if critical.contains(&(from as u32, to)) {
                let nodes = trunk[..=last].iter().copied().chain([to]).collect();
                lines.ways.push(Way { from: from as u32, to: Some(to), nodes, critical: true });
            } else {
                let nodes = vec![trunk[last], to];
                lines.ways.push(Way { from: from as u32, to: Some(to), nodes, critical: false });
            }
        }
        if trunk.len() > 1 {
            lines.ways.push(Way { from: from as u32, to: None, nodes: trunk, critical: false });
        }
    }
    lines.ways.sort_by_key(|way| (way.from, way.to));
    lines.untangle();
    lines
}

/// Pairs of boxes that the critical path goes between.
fn critical(levels: &Levels, boxes: &Boxes) -> HashSet<(u32, u32)> {
    let of_step = |step: u32| boxes.of_step[step as usize];
    let pairs = levels.critical.windows(2).map(|pair| (of_step(pair[0]), of_step(pair[1])));
    pairs.filter(|(from, to)| from != to).collect()
}

/// The children of each box, each once, in ascending order.
fn children(dag: &Dag, boxes: &Boxes, critical: &HashSet<(u32, u32)>) -> (Vec<Vec<u32>>, Vec<Notice>) {
    let mut children: Vec<Vec<u32>> = vec![Vec::new(); boxes.boxes.len()];
    for step in 0..dag.len() {
        let to = boxes.of_step[step as usize];
        for &parent in dag.parents(step) {
            let from = boxes.of_step[parent as usize];
            if from != to {
                children[from as usize].push(to);
            }
        }
    }
    for list in &mut children {
        list.sort_unstable();
        list.dedup();
    }
    let mut notices = Vec::new();
    if children.iter().map(Vec::len).sum::<usize>() > LINES_APART_MAX {
        let implied = leave_out_implied(&mut children, critical);
        notices.extend((implied > 0).then_some(Notice::Implied(implied)));
    }
    let count: usize = children.iter().map(Vec::len).sum();
    if count > LINES_MAX {
        leave_out_longest(&mut children, boxes, critical);
        notices.push(Notice::Dropped(count - children.iter().map(Vec::len).sum::<usize>()));
    }
    (children, notices)
}

/// Leaves out children that are reached through other children. Boxes are numbered from top to bottom, so that a child has
/// a higher number than its parent, and whatever leads to a child comes before it in the list.
fn leave_out_implied(children: &mut [Vec<u32>], critical: &HashSet<(u32, u32)>) -> usize {
    let words = children.len().div_ceil(64);
    let mut reached = vec![0u64; children.len() * words];
    let mut implied = 0;
    for from in (0..children.len()).rev() {
        let mut own = vec![0u64; words];
        children[from].retain(|&to| {
            let at = to as usize;
            let known = own[at / 64] >> (at % 64) & 1 == 1;
            if !known {
                for (word, further) in own.iter_mut().zip(&reached[at * words..(at + 1) * words]) {
                    *word |= further;
                }
                own[at / 64] |= 1 << (at % 64);
            }
            let kept = !known || critical.contains(&(from as u32, to));
            implied += usize::from(!kept);
            kept
        });
        reached[from * words..(from + 1) * words].copy_from_slice(&own);
    }
    implied
}

fn leave_out_longest(children: &mut [Vec<u32>], boxes: &Boxes, critical: &HashSet<(u32, u32)>) {
    let mut all: Vec<(bool, u32, u32, u32)> = Vec::new();
    for (from, list) in (0u32..).zip(children.iter_mut()) {
        let layer = boxes.boxes[from as usize].layer;
        all.extend(
            list.drain(..)
                .map(|to| (!critical.contains(&(from, to)), boxes.boxes[to as usize].layer - layer, from, to)),
        );
    }
    all.sort_unstable();
    all.truncate(LINES_MAX);
    for (_, _, from, to) in all {
        children[from as usize].push(to);
    }
    children.iter_mut().for_each(|list| list.sort_unstable());
}

impl Lines {
    /// Makes so many turns below a box, each connected with the one above. Returns all, the box first.
    fn trunk(&mut self, from: u32, layer: u32, turns: usize) -> Vec<u32> {
        let mut trunk = vec![from];
        for below in 1..=turns {
            let turn = self.above.len() as u32;
            self.above.push(Vec::new());
            self.below.push(Vec::new());
            self.layers[layer as usize + below].push(turn);
            self.connect(trunk[below - 1], turn);
            trunk.push(turn);
        }
        trunk
    }

    fn connect(&mut self, upper: u32, lower: u32) {
        self.below[upper as usize].push(lower);
        self.above[lower as usize].push(upper);
    }

    /// Orders each layer by where its neighbours in the layer before are on average, downwards and upwards in turns, and
    /// keeps the order with the fewest crossings.
    fn untangle(&mut self) {
        let mut place = vec![0; self.above.len()];
        self.layers.iter().for_each(|layer| note(layer, &mut place));
        let mut best = (self.crossings(&place), self.layers.clone());
        for sweep in 0..SWEEPS {
            if best.0 == 0 {
                break;
            }
            let down = sweep % 2 == 0;
            let neighbours = if down { &self.above } else { &self.below };
            let mut order: Vec<&mut Vec<u32>> = self.layers.iter_mut().collect();
            if !down {
                order.reverse();
            }
            for layer in order.into_iter().skip(1) {
                layer.sort_by_cached_key(|&node| mean(&neighbours[node as usize], &place, place[node as usize]));
                note(layer, &mut place);
            }
            let crossings = self.crossings(&place);
            if crossings < best.0 {
                best = (crossings, self.layers.clone());
            }
        }
        self.layers = best.1;
    }

    /// Pairs of lines that cross, in all gaps between layers.
    fn crossings(&self, place: &[u64]) -> u64 {
        let mut crossings = 0;
        let mut ends = Vec::new();
        for pair in self.layers.windows(2) {
            ends.clear();
            for &node in &pair[0] {
                let from = ends.len();
                ends.extend(self.below[node as usize].iter().map(|&child| place[child as usize] as usize));
                ends[from..].sort_unstable();
            }
            crossings += inversions(&ends, pair[1].len());
        }
        crossings
    }
}

fn note(layer: &[u32], place: &mut [u64]) {
    for (at, &node) in (0..).zip(layer) {
        place[node as usize] = at;
    }
}

/// The mean place in thousandths; without neighbours, a node stays where it is.
fn mean(neighbours: &[u32], place: &[u64], own: u64) -> u64 {
    let sum: u64 = neighbours.iter().map(|&node| place[node as usize] * 1_000).sum();
    if neighbours.is_empty() { own * 1_000 } else { sum / neighbours.len() as u64 }
}

/// Pairs in which the earlier number is the larger one; all numbers are below `len`. A Fenwick tree counts them.
fn inversions(numbers: &[usize], len: usize) -> u64 {
    let mut tree = vec![0u64; len + 1];
    let mut found = 0;
    for (before, &number) in numbers.iter().enumerate() {
        let mut at = number + 1;
        let mut not_larger = 0;
        while at > 0 {
            not_larger += tree[at];
            at &= at - 1;
        }
        found += before as u64 - not_larger;
        at = number + 1;
        while at <= len {
            tree[at] += 1;
            at += at & at.wrapping_neg();
        }
    }
    found
}

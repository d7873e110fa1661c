//! Coordinates: layers below each other, and in each layer places as near to the neighbours as the order allows.

use super::collapse::{Boxed, Boxes};
use super::order::{Lines, Way};
use super::{Drawing, Line, Placed};

/// Between two boxes of a layer, and half of it beside a turn.
const GAP: i32 = 24;
/// A turn's width: lines that pass a layer side by side can be told apart.
const TURN_WIDTH: i32 = 6;
/// Between two layers, least and most: the wider lines swing, the higher the gap.
const LAYER_GAP: (i32, i32) = (36, 120);
/// Around the picture.
const MARGIN: i32 = 16;
/// Passes down and up; afterwards coordinates hardly move.
const PASSES: usize = 6;

/// Gives everything its place.
pub(super) fn place(boxes: Boxes, lines: Lines) -> Drawing {
    let mut columns = Columns::new(&boxes.boxes, &lines);
    for pass in 0..PASSES {
        columns.pass(&lines, pass % 2 == 0);
    }
    // The last word is with the parents: children stand below them.
    columns.pass(&lines, true);
    let (middle, width) = columns.rounded();
    let heights: Vec<i32> = lines.layers.iter().map(|layer| height(&boxes.boxes, layer)).collect();
    let mut top = Vec::with_capacity(heights.len());
    let mut y = MARGIN;
    for (layer, height) in heights.iter().enumerate() {
        top.push(y);
        y += height + layer_gap(&lines, layer, &middle);
    }
    let height = top.last().zip(heights.last()).map_or(0, |(top, height)| top + height) + MARGIN;
    let mut layer_of = vec![0; middle.len()];
    for (number, layer) in lines.layers.iter().enumerate() {
        layer.iter().for_each(|&node| layer_of[node as usize] = number);
    }
    let route = |way: &Way| route(way, &boxes.boxes, &middle, &layer_of, &top, &heights);
    let drawn = lines.ways.iter().map(route).collect();
    let mut number = vec![0; boxes.boxes.len()];
    let mut items: Vec<Option<Boxed>> = boxes.boxes.into_iter().map(Some).collect();
    let mut placed = Vec::with_capacity(items.len());
    for node in lines.layers.iter().flatten().map(|&node| node as usize) {
        if let Some(boxed) = items.get_mut(node).and_then(Option::take) {
            number[node] = placed.len() as u32;
            let (width, height) = boxed.size;
            let (x, y) = (middle[node] - width / 2, top[boxed.layer as usize]);
            placed.push(Placed { x, y, width, height, item: boxed.item, critical: boxed.critical });
        }
    }
    let mut drawing = Drawing { width, height, boxes: placed, lines: drawn, notices: lines.notices };
    for line in &mut drawing.lines {
        line.from = number[line.from as usize];
        line.to = line.to.map(|to| number[to as usize]);
    }
    drawing
}

/// Where the middle of each node is across the picture.
struct Columns<'a> {
    layers: &'a [Vec<u32>],
    widths: Vec<i32>,
    middle: Vec<f64>,
}

impl<'a> Columns<'a> {
    /// All layers packed, around the same middle.
    fn new(boxes: &[Boxed], lines: &'a Lines) -> Columns<'a> {
        let mut widths = vec![TURN_WIDTH; lines.above.len()];
        for (width, boxed) in widths.iter_mut().zip(boxes) {
            *width = boxed.size.0;
        }
        let mut columns = Columns { layers: &lines.layers, middle: vec![0.0; widths.len()], widths };
        for layer in columns.layers {
            let offsets = columns.offsets(layer);
            let half = offsets.last().copied().unwrap_or(0.0) / 2.0;
            for (&node, offset) in layer.iter().zip(offsets) {
                columns.middle[node as usize] = offset - half;
            }
        }
        columns
    }

    /// How far each node of a layer is from the first at least.
    fn offsets(&self, layer: &[u32]) -> Vec<f64> {
        let mut offsets = Vec::with_capacity(layer.len());
        let mut before: Option<(f64, i32)> = None;
        for width in layer.iter().map(|&node| self.widths[node as usize]) {
            let offset = before.map_or(0.0, |(offset, other)| offset + f64::from(self.apart(other, width)));
            offsets.push(offset);
            before = Some((offset, width));
        }
        offsets
    }

    /// Distance of two neighbours' middles, at least. Even, so that halves of widths are whole.
    fn apart(&self, one: i32, other: i32) -> i32 {
        let gap = |width| if width == TURN_WIDTH { GAP / 4 } else { GAP / 2 };
        (one + other) / 2 + gap(one) + gap(other)
    }

    /// Moves each layer to its neighbours in the one before (downwards: above it), as near as its order allows.
    fn pass(&mut self, lines: &Lines, down: bool) {
        let (neighbours, others) = if down { (&lines.above, &lines.below) } else { (&lines.below, &lines.above) };
        let count = self.layers.len();
        for at in 0..count {
            let layer = &self.layers[if down { at } else { count - 1 - at }];
            let wishes = layer.iter().map(|&node| self.wish(node, neighbours, others));
            let offsets = self.offsets(layer);
            let wishes: Vec<(f64, f64)> =
                wishes.zip(&offsets).map(|((wish, weight), offset)| (wish - offset, weight)).collect();
            for ((&node, place), offset) in layer.iter().zip(rising(&wishes)).zip(offsets) {
                self.middle[node as usize] = place + offset;
            }
        }
    }

    /// Where a node would like to be, and how much: a line straight through many layers is worth more than one step of it.
    fn wish(&self, node: u32, neighbours: &[Vec<u32>], others: &[Vec<u32>]) -> (f64, f64) {
        let turn = |node: u32| self.widths[node as usize] == TURN_WIDTH;
        let near = &neighbours[node as usize];
        let (mut sum, mut weights) = (0.0, 0.0);
        for &other in near {
            let alone = near.len() == 1 && others[other as usize].len() == 1;
            let weight = match (turn(node), turn(other)) {
                (true, true) => 8.0,
                _ if alone => 6.0,
                (true, false) | (false, true) => 2.0,
                (false, false) => 1.0,
            };
            sum += self.middle[other as usize] * weight;
            weights += weight;
        }
        if near.is_empty() { (self.middle[node as usize], 0.05) } else { (sum / weights, weights) }
    }

    /// Whole pixels from the left margin, and the picture's width. Distances are whole, so that rounding keeps them.
    fn rounded(&self) -> (Vec<i32>, i32) {
        let all = || self.middle.iter().zip(&self.widths);
        let left = all().map(|(middle, width)| (middle - f64::from(*width) / 2.0).floor() as i32).min().unwrap_or(0);
        let middle: Vec<i32> = self.middle.iter().map(|middle| middle.round() as i32 - left + MARGIN).collect();
        let right = middle.iter().zip(&self.widths).map(|(middle, width)| middle + width / 2).max().unwrap_or(0);
        (middle, right + MARGIN)
    }
}

/// The rising numbers that are nearest to the wishes, by the sum of weighted squares: neighbours that would have to
/// change places share their mean instead (pool adjacent violators).
fn rising(wishes: &[(f64, f64)]) -> Vec<f64> {
    let mut pools: Vec<(f64, f64, usize)> = Vec::with_capacity(wishes.len());
    for &(wish, weight) in wishes {
        let mut pool = (wish, weight, 1);
        while let Some(&(mean, weights, count)) = pools.last() {
            if mean <= pool.0 {
                break;
            }
            let total = weights + pool.1;
            pool = ((mean * weights + pool.0 * pool.1) / total, total, count + pool.2);
            pools.pop();
        }
        pools.push(pool);
    }
    pools.into_iter().flat_map(|(mean, _, count)| std::iter::repeat_n(mean, count)).collect()
}

fn height(boxes: &[Boxed], layer: &[u32]) -> i32 {
    layer.iter().filter_map(|&node| boxes.get(node as usize)).map(|boxed| boxed.size.1).max().unwrap_or(0)
}

fn layer_gap(lines: &Lines, layer: usize, middle: &[i32]) -> i32 {
    let swing = |node: u32, child: u32| (middle[node as usize] - middle[child as usize]).abs();
    let swings = lines.layers[layer]
        .iter()
        .flat_map(|&node| lines.below[node as usize].iter().map(move |&child| swing(node, child)));
    (LAYER_GAP.0 + swings.max().unwrap_or(0) / 12).min(LAYER_GAP.1)
}

/// From the lower edge of its first node to the upper edge of its last.
fn route(way: &Way, boxes: &[Boxed], middle: &[i32], layer_of: &[usize], top: &[i32], heights: &[i32]) -> Line {
    let mut points = Vec::with_capacity(way.nodes.len() * 2 + 1);
    for (at, node) in way.nodes.iter().map(|&node| node as usize).enumerate() {
        let (x, y, bottom) = (middle[node], top[layer_of[node]], top[layer_of[node]] + heights[layer_of[node]]);
        if at > 0 {
            points.push((x, y));
        } else if let Some(boxed) = boxes.get(node) {
            points.push((x, y + boxed.size.1));
        }
        let last = at + 1 == way.nodes.len();
        let trunk_ends = last && way.to.is_none();
        if !last || trunk_ends {
            points.push((x, bottom));
        }
    }
    points.dedup();
    Line { from: way.from, to: way.to, points, critical: way.critical }
}

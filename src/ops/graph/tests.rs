//! What must hold for the picture of any graph.

use std::collections::{BTreeSet, HashSet};

use proptest::prelude::*;
use tasker_engine::StepState;

use super::*;

fn step(name: &str, handler: &'static str, parents: Vec<u32>) -> Step<'static> {
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    let standing = Standing::of(StepState::Complete, false);
    Step { name, handler, standing, run_us: None, attempts: 1, parents }
}

/// Steps with these parents, and handlers in turns.
fn steps(parents: Vec<Vec<u32>>, handlers: usize) -> Vec<Step<'static>> {
    const HANDLERS: [&str; 6] = ["Charge", "Notify", "Pack", "Reserve", "Ship", "Audit"];
    let of = |(at, parents): (usize, Vec<u32>)| step(&format!("step_{at}"), HANDLERS[at % handlers], parents);
    parents.into_iter().enumerate().map(of).collect()
}

fn graph(parents: Vec<Vec<u32>>, handlers: usize) -> Graph<'static> {
    Graph::new(steps(parents, handlers)).expect("acyclic")
}

fn chain(len: u32) -> Vec<Vec<u32>> {
    (0..len).map(|step| step.checked_sub(1).into_iter().collect()).collect()
}

/// One step, many after it, one after all of them.
fn fan(len: u32) -> Vec<Vec<u32>> {
    let middle = (1..len - 1).map(|_| vec![0]);
    std::iter::once(vec![]).chain(middle).chain([(1..len - 1).collect()]).collect()
}

/// Random graphs whose edges go from lower to higher numbers.
fn acyclic(steps: std::ops::Range<usize>, edges: usize) -> impl Strategy<Value = Vec<Vec<u32>>> {
    steps.prop_flat_map(move |len| {
        prop::collection::vec((0..len as u32, 0..len as u32), 0..edges).prop_map(move |edges| {
            let mut parents = vec![Vec::new(); len];
            for (one, other) in edges.into_iter().filter(|(one, other)| one != other) {
                parents[one.max(other) as usize].push(one.min(other));
            }
            parents
        })
    })
}

fn steps_of(item: &Item) -> Vec<u32> {
    match item {
        Item::Step(step) => vec![*step],
        Item::Group(group) => group.steps.clone(),
    }
}

/// Every step has one box, boxes do not touch, and lines go down from box to box; those of the graph, if all are drawn.
fn check(graph: &Graph, drawing: &Drawing) {
    let mut box_of = vec![None; graph.steps().len()];
    for (number, placed) in drawing.boxes.iter().enumerate() {
        for step in steps_of(&placed.item) {
            assert_eq!(box_of[step as usize].replace(number), None, "step {step} has two boxes");
        }
        assert!(placed.x >= 0 && placed.y >= 0, "{placed:?} is outside");
        assert!(placed.x + placed.width <= drawing.width && placed.y + placed.height <= drawing.height);
    }
    assert!(box_of.iter().all(Option::is_some), "every step is somewhere");
    for (at, one) in drawing.boxes.iter().enumerate() {
        for other in &drawing.boxes[at + 1..] {
            let beside = one.x + one.width < other.x || other.x + other.width < one.x;
            let above = one.y + one.height < other.y || other.y + other.height < one.y;
            assert!(beside || above, "{one:?} and {other:?} overlap");
        }
    }
    let trunks: HashSet<(u32, (i32, i32))> = drawing
        .lines
        .iter()
        .filter(|line| line.to.is_none())
        .flat_map(|line| line.points.iter().map(|&point| (line.from, point)))
        .collect();
    let mut drawn = HashSet::new();
    for line in &drawing.lines {
        let from = &drawing.boxes[line.from as usize];
        assert!(line.points.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{line:?} goes up");
        let (start, end) = (line.points[0], line.points[line.points.len() - 1]);
        let at_box = start == (from.x + from.width / 2, from.y + from.height);
        assert!(at_box || trunks.contains(&(line.from, start)), "{line:?} starts nowhere");
        if let Some(to) = line.to {
            let box_below = &drawing.boxes[to as usize];
            assert_eq!(end, (box_below.x + box_below.width / 2, box_below.y), "{line:?} ends nowhere");
            assert!(drawn.insert((line.from, to)), "{line:?} is drawn twice");
        }
    }
    let mut asked = HashSet::new();
    for (step, of) in graph.steps().iter().enumerate() {
        for &parent in &of.parents {
            let pair = (box_of[parent as usize], box_of[step]);
            if pair.0 != pair.1 {
                asked.insert((pair.0.expect("a box") as u32, pair.1.expect("a box") as u32));
            }
        }
    }
    assert!(drawn.is_subset(&asked), "a line that no dependency asks for");
    let missing: usize = drawing
        .notices
        .iter()
        .map(|notice| match notice {
            Notice::Implied(count) | Notice::Dropped(count) => count,
        })
        .sum();
    assert_eq!(asked.len() - drawn.len(), missing, "what is not drawn is told");
}

fn draw(graph: &Graph) -> Drawing {
    let drawing = graph.drawing(&View::default());
    check(graph, &drawing);
    drawing
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn small_graphs_are_drawn_step_by_step(parents in acyclic(1..24, 60)) {
        let graph = graph(parents, 3);
        let drawing = draw(&graph);
        prop_assert_eq!(drawing.boxes.len(), graph.steps().len());
        prop_assert_eq!(&drawing, &graph.drawing(&View::default()));
    }

    #[test]
    fn large_graphs_are_drawn_in_boxes(parents in acyclic(151..600, 1_500), handlers in 1usize..6, open in 0u32..600) {
        let graph = graph(parents, handlers);
        draw(&graph);
        let firsts: Vec<u32> = draw(&graph).boxes.iter().filter_map(|placed| match &placed.item {
            Item::Group(group) => Some(group.first),
            Item::Step(_) => None,
        }).collect();
        let view = View { open: firsts.into_iter().filter(|first| first % 3 == open % 3).collect(), ..View::default() };
        check(&graph, &graph.drawing(&view));
    }
}

#[test]
fn a_graph_without_steps_is_an_empty_picture() {
    let drawing = draw(&graph(vec![], 1));
    assert!(drawing.boxes.is_empty() && drawing.lines.is_empty());
}

#[test]
fn a_chain_is_straight() {
    let drawing = draw(&graph(chain(9), 2));
    assert!(drawing.boxes.iter().all(|placed| placed.x == drawing.boxes[0].x));
}

#[test]
fn a_long_dependency_passes_beside_the_boxes_between() {
    let graph = graph(vec![vec![], vec![0], vec![1], vec![2, 0]], 1);
    let drawing = draw(&graph);
    let trunk = drawing.lines.iter().find(|line| line.to.is_none()).expect("turns for the long one");
    for placed in &drawing.boxes[1..3] {
        let inside = |&(x, y): &(i32, i32)| {
            (placed.x..=placed.x + placed.width).contains(&x) && (placed.y..=placed.y + placed.height).contains(&y)
        };
        assert!(!trunk.points.iter().any(inside), "{trunk:?} hits {placed:?}");
    }
}

#[test]
fn crossings_that_can_be_avoided_are_avoided() {
    // Two chains from two roots, with their middles defined crosswise.
    let drawing = draw(&graph(vec![vec![], vec![], vec![1], vec![0], vec![2], vec![3]], 1));
    let x = |step: u32| drawing.boxes.iter().find(|placed| placed.item == Item::Step(step)).expect("drawn").x;
    assert_eq!((x(0), x(1)), (x(3), x(2)));
    assert_eq!((x(3), x(2)), (x(5), x(4)));
}

#[test]
fn the_critical_path_follows_run_times_and_else_the_longest_chain() {
    let parents = vec![vec![], vec![0], vec![1], vec![0], vec![2, 3]];
    let mut steps = steps(parents, 1);
    assert_eq!(Graph::new(steps.clone()).expect("acyclic").critical_path(), [0, 1, 2, 4]);
    steps[3].run_us = Some(9_000);
    steps[1].run_us = Some(4_000);
    steps[2].run_us = Some(4_999);
    let graph = Graph::new(steps).expect("acyclic");
    assert_eq!(graph.critical_path(), [0, 3, 4]);
    let drawing = draw(&graph);
    let critical: Vec<_> = drawing.lines.iter().filter(|line| line.critical).map(|line| (line.from, line.to)).collect();
    assert_eq!(critical.len(), 2);
    assert_eq!(drawing.boxes.iter().filter(|placed| placed.critical).count(), 3);
}

#[test]
fn a_cycle_is_refused_and_strange_parents_are_passed_over() {
    assert!(Graph::new(steps(vec![vec![1], vec![0]], 1)).is_err());
    let graph = graph(vec![vec![7], vec![0, 1]], 1);
    assert_eq!(graph.depth(), 2);
}

#[test]
fn above_a_number_of_steps_those_of_a_level_and_handler_share_a_box() {
    let wide = draw(&graph(fan(2_000), 3));
    let counts: Vec<usize> = wide.boxes.iter().map(|placed| steps_of(&placed.item).len()).collect();
    assert_eq!(counts, [1, 666, 666, 666, 1]);
    assert_eq!(draw(&graph(fan(STEPS_APART_MAX as u32), 3)).boxes.len(), 5, "a level too wide to be followed");
    assert_eq!(draw(&graph(chain(STEPS_APART_MAX as u32), 3)).boxes.len(), STEPS_APART_MAX);
}

#[test]
fn rare_handlers_share_a_box() {
    let mut steps = steps(fan(2_000), 1);
    for (at, step) in steps.iter_mut().enumerate() {
        step.handler = step.name;
        if at % 2 == 1 {
            step.handler = "Common";
        }
    }
    let graph = Graph::new(steps).expect("acyclic");
    let drawing = draw(&graph);
    assert!(drawing.boxes.len() < 100, "{} boxes", drawing.boxes.len());
    let largest = drawing.boxes.iter().filter_map(|placed| match &placed.item {
        Item::Group(group) => Some((group.steps.len(), group.handlers)),
        Item::Step(_) => None,
    });
    assert_eq!(largest.max(), Some((999, 1)));
}

#[test]
fn an_open_group_shows_its_steps_up_to_a_number() {
    let graph = graph(fan(2_000), 1);
    let view = View { open: BTreeSet::from([1, 5]), ..View::default() };
    let drawing = graph.drawing(&view);
    check(&graph, &drawing);
    let Item::Group(group) = &drawing.boxes[1].item else { panic!("a group") };
    assert_eq!((group.first, group.shown, group.steps.len()), (1, CELLS_MAX, 1_998));
    assert_eq!(group.counts.iter().sum::<u32>(), 1_998);
    assert!(drawing.boxes[1].height > 200);
}

#[test]
fn a_chain_of_thousands_is_cut_into_bands() {
    let drawing = draw(&graph(chain(10_000), 3));
    assert_eq!(drawing.boxes.len(), LEVELS_MAX as usize);
    let Item::Group(group) = &drawing.boxes[1].item else { panic!("a group") };
    assert_eq!((group.levels, group.handlers), ((167, 333), 3));
}

#[test]
fn dependencies_that_follow_from_others_are_left_out_when_there_are_many() {
    let all_above = (0..60u32).map(|step| (0..step).collect()).collect();
    let drawing = draw(&graph(all_above, 1));
    assert_eq!(drawing.notices, [Notice::Implied(60 * 59 / 2 - 59)]);
    assert_eq!(drawing.lines.len(), 59);
}

#[test]
fn a_picture_has_so_many_lines_and_no_more() {
    // Layers of 24 boxes, each of which waits for all of the layer above.
    let parents = (0..144u32).map(|step| {
        if step < 24 {
            vec![]
        } else {
            let layer = step / 24;
            ((layer - 1) * 24..layer * 24).collect()
        }
    });
    let drawing = draw(&graph(parents.collect(), 1));
    assert!(drawing.lines.len() <= LINES_MAX);
    let long = (0..150u32).map(|step| match step {
        0..100 => step.checked_sub(1).into_iter().collect(),
        _ => (0..100).collect(),
    });
    let points: usize = draw(&graph(long.collect(), 1)).lines.iter().map(|line| line.points.len()).sum();
    assert!(points <= 3 * (LINES_MAX + TURNS_MAX), "{points} points");
}

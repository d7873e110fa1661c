//! What a task of a load looks like, and the template that makes such tasks.

use std::fmt::{self, Write as _};
use std::str::FromStr;

/// The namespace of all templates that a bench registers.
const NAMESPACE: &str = "tasker_bench";

/// Most steps of a shape; as many as a template may have.
const STEPS_MAX: u32 = 10_000;

/// Of a random graph, each step has at most so many parents.
const PARENTS_MAX: u64 = 3;

/// A graph of steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One step.
    Single,
    /// Steps one after the other.
    Chain(u32),
    /// One step, two at the same time, and one that joins them.
    Diamond,
    /// One step, so many at the same time, and one that joins them.
    FanOut(u32),
    /// So many steps, each with up to three parents among those before it, by this seed.
    Dag {
        /// Steps.
        steps: u32,
        /// The same seed makes the same graph.
        seed: u64,
    },
    /// A template of one's own.
    Template {
        /// Where it comes from.
        source: String,
        /// Its text.
        yaml: String,
    },
}

/// Why a text names no shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of single, chain:N, diamond, fan-out:N, dag:N and dag:N:SEED, with N from 1 to {STEPS_MAX}")]
pub struct ShapeError(String);

impl FromStr for Shape {
    type Err = ShapeError;

    fn from_str(text: &str) -> Result<Shape, ShapeError> {
        let wrong = || ShapeError(text.to_owned());
        let parts: Vec<&str> = text.split(':').collect();
        let steps = |part: &str| match part.parse() {
            Ok(steps @ 1..=STEPS_MAX) => Ok(steps),
            _ => Err(wrong()),
        };
        match parts[..] {
            ["single"] => Ok(Shape::Single),
            ["diamond"] => Ok(Shape::Diamond),
            ["chain", n] => Ok(Shape::Chain(steps(n)?)),
            // With the first and the last one it has two more.
            ["fan-out", n] => Ok(Shape::FanOut(steps(n)?.min(STEPS_MAX - 2))),
            ["dag", n] => Ok(Shape::Dag { steps: steps(n)?, seed: 1 }),
            ["dag", n, seed] => Ok(Shape::Dag { steps: steps(n)?, seed: seed.parse().map_err(|_| wrong())? }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Single => formatter.write_str("single"),
            Shape::Chain(steps) => write!(formatter, "chain:{steps}"),
            Shape::Diamond => formatter.write_str("diamond"),
            Shape::FanOut(width) => write!(formatter, "fan-out:{width}"),
            Shape::Dag { steps, seed } => write!(formatter, "dag:{steps}:{seed}"),
            Shape::Template { source, .. } => formatter.write_str(source),
        }
    }
}

impl Shape {
    /// Steps of the longest way through the graph, for shapes that have it by their nature.
    pub fn steps_in_a_row(&self) -> Option<u64> {
        match self {
            Shape::Single => Some(1),
            Shape::Chain(steps) => Some((*steps).into()),
            Shape::Diamond | Shape::FanOut(_) => Some(3),
            Shape::Dag { .. } | Shape::Template { .. } => None,
        }
    }

    /// The template's text.
    pub fn yaml(&self) -> String {
        let parents: Vec<Vec<u64>> = match self {
            Shape::Template { yaml, .. } => return yaml.clone(),
            Shape::Single => vec![vec![]],
            Shape::Chain(steps) => {
                (0..u64::from(*steps)).map(|step| step.checked_sub(1).into_iter().collect()).collect()
            }
            Shape::Diamond => fan_out(2),
            Shape::FanOut(width) => fan_out(u64::from(*width)),
            Shape::Dag { steps, seed } => random(u64::from(*steps), *seed),
        };
        let name = self.to_string().replace([':', '-'], "_");
        let mut yaml = format!("namespace_name: {NAMESPACE}\nname: {name}\nversion: 1.0.0\nstep_templates:\n");
        for (step, parents) in parents.iter().enumerate() {
            let _ = writeln!(yaml, "  - name: step_{step}\n    handler_class: TaskerBench::Handler");
            let names: Vec<String> = parents.iter().map(|parent| format!("step_{parent}")).collect();
            if !names.is_empty() {
                let _ = writeln!(yaml, "    depends_on_steps: [{}]", names.join(", "));
            }
        }
        yaml
    }
}

/// The first, those between, and the last.
fn fan_out(width: u64) -> Vec<Vec<u64>> {
    let between = (0..width).map(|_| vec![0]);
    std::iter::once(vec![]).chain(between).chain([(1..=width).collect()]).collect()
}

/// Each step picks its parents among those before it.
fn random(steps: u64, seed: u64) -> Vec<Vec<u64>> {
    let mut state = seed;
    let mut pick = |below: u64| {
        // SplitMix64 (Steele, Lea and Flood, 2014): the same numbers everywhere.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    };
    let mut graph = Vec::new();
    for step in 0..steps {
        let mut parents: Vec<u64> =
            if step == 0 { Vec::new() } else { (0..1 + pick(PARENTS_MAX)).map(|_| pick(step)).collect() };
        parents.sort_unstable();
        parents.dedup();
        graph.push(parents);
    }
    graph
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_way_is_known_where_the_shape_says_it() {
        let way = |text: &str| text.parse::<Shape>().expect("a shape").steps_in_a_row();
        assert_eq!(
            ["single", "chain:4", "diamond", "fan-out:9", "dag:9"].map(way),
            [Some(1), Some(4), Some(3), Some(3), None]
        );
    }

    #[test]
    fn shapes_are_written_as_they_are_read() {
        for text in ["single", "chain:4", "diamond", "fan-out:100", "dag:50:7"] {
            assert_eq!(text.parse::<Shape>().expect("a shape").to_string(), text);
        }
        assert_eq!("dag:5".parse(), Ok(Shape::Dag { steps: 5, seed: 1 }));
        for text in ["", "chain", "chain:0", "chain:10001", "chain:four", "dag:3:x", "dag:3:1:1", "ring:3"] {
            assert!(text.parse::<Shape>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_shape_makes_a_valid_template_with_its_steps() {
        for (shape, steps) in [("single", 1), ("chain:4", 4), ("diamond", 4), ("fan-out:20", 22), ("dag:300:9", 300)] {
            let yaml = shape.parse::<Shape>().expect("a shape").yaml();
            let definition = crate::template::parse(shape, &yaml, None).unwrap_or_else(|errors| panic!("{errors:?}"));
            assert_eq!(definition.step_descriptions.len(), steps, "{shape}");
        }
    }

    #[test]
    fn a_seed_makes_one_graph_and_another_seed_another_one() {
        let yaml = |seed| Shape::Dag { steps: 40, seed }.yaml();
        assert_eq!(yaml(3), yaml(3));
        assert_ne!(yaml(3), yaml(4));
    }
}

//! The simulation catches bugs: each one that is planted makes a seed fail within a bounded number of seeds.

use tasker_engine::{Planted, plant};
use tasker_simulation::{Bug, search};

/// Seeds within which every planted bug must be caught; most need fewer than ten.
const SEEDS_MAX: u64 = 2_000;

fn caught(name: &str, bug: Option<Bug>, planted: Option<Planted>) {
    let found = search(1, SEEDS_MAX, bug, || plant(planted));
    let failure = found.failure.unwrap_or_else(|| panic!("{name} is not caught by {} seeds", found.seeds));
    println!("{name}: caught after {} seeds (seed {}): {}", found.seeds, failure.seed, failure.message);
}

#[test]
fn bugs_of_the_engine_are_caught() {
    for bug in Planted::ALL {
        caught(&format!("{bug:?}"), None, Some(bug));
    }
}

#[test]
fn bugs_of_the_processes_around_it_are_caught() {
    for bug in Bug::ALL {
        caught(&format!("{bug:?}"), Some(bug), None);
    }
}

//! The rounds that every run of the tests makes, and as many more as are asked for.

use std::collections::HashSet;
use std::mem::discriminant;
use std::time::{Duration, Instant};

use crate::checks::CHECKS;
use crate::plan::{KINDS, Plan};
use crate::report::{Report, summary};
use crate::round;
use crate::support::repository;

/// Chosen so that every fault is among them, and none of them takes long.
const SEEDS: [u64; 5] = [25, 794, 3_278, 3_243, 8_149];

#[test]
fn first() {
    println!("{}", round::of_seed(SEEDS[0]));
}

#[test]
fn second() {
    println!("{}", round::of_seed(SEEDS[1]));
}

#[test]
fn third() {
    println!("{}", round::of_seed(SEEDS[2]));
}

#[test]
fn fourth() {
    println!("{}", round::of_seed(SEEDS[3]));
}

#[test]
fn fifth() {
    println!("{}", round::of_seed(SEEDS[4]));
}

#[test]
fn every_fault_is_among_these_rounds() {
    let plans = SEEDS.map(Plan::of);
    let faults: HashSet<_> = plans.iter().flat_map(|plan| &plan.faults).map(|(_, fault)| discriminant(fault)).collect();
    assert_eq!(faults.len(), KINDS.len());
}

/// `TASKER_CHAOS_SEED` is the first seed, `TASKER_CHAOS_ROUNDS` how many follow each other, `TASKER_CHAOS_MINUTES` when no
/// further one begins.
#[test]
fn asked_for() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let first = number("TASKER_CHAOS_SEED").unwrap_or(1);
    let minutes = number("TASKER_CHAOS_MINUTES");
    let rounds = number("TASKER_CHAOS_ROUNDS").unwrap_or(if minutes.is_some() { u64::MAX } else { 1 });
    let end = minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    let mut reports: Vec<Report> = Vec::new();
    for seed in (first..).take(usize::try_from(rounds).unwrap_or(usize::MAX)) {
        if end.is_some_and(|end| end <= Instant::now()) {
            break;
        }
        let report = round::of_seed(seed);
        println!("{report}");
        reports.push(report);
    }
    println!("\n{}", summary(&reports));
}

#[test]
fn each_check_sees_its_corruption() {
    let folder = repository(&format!("target/chaos/calm-{}", std::process::id()));
    let report = round::run(&Plan::calm(), 40, &folder, |fleet| {
        CHECKS.iter().for_each(|check| check.sees_its_corruption(&fleet.database));
    });
    // Nothing went wrong, so nothing ran twice but what failed as it was asked to.
    assert!(report.same_attempt.is_empty(), "{report}");
    assert!(!report.further_attempts.contains_key("worker_lost"), "{report}");
}

//! The simulation without planted bugs: many seeds, or one with its history.

use tasker_simulation::{from_env, run, search};

/// Seeds of an ordinary test run: as many as take about half a minute in the development profile.
const SEEDS: u64 = 3_000;

#[test]
fn whatever_happens_nothing_is_lost_and_everything_ends() {
    let from = from_env("TASKER_SIM_FROM", 1);
    let found = search(from, from_env("TASKER_SIM_SEEDS", SEEDS), None, || ());
    println!("{found:?}");
    if let Some(failure) = found.failure {
        panic!(
            "seed {seed} fails: {message}\nreplay it with its history:\n  \
             TASKER_SIM_SEED={seed} cargo nextest run -p tasker-simulation --no-capture one_seed",
            seed = failure.seed,
            message = failure.message
        );
    }
}

#[test]
fn one_seed() {
    let seed = from_env("TASKER_SIM_SEED", 1);
    let mut history = Vec::new();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed, None, Some(&mut history))));
    if std::env::var_os("TASKER_SIM_SEED").is_some() {
        println!("{}", history.join("\n"));
    }
    match ended {
        Ok(summary) => println!("seed {seed}: {summary:?}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in [1, 2, 3, 17, 1_000_003] {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let summaries = (run(seed, None, Some(&mut first)), run(seed, None, Some(&mut second)));
        assert_eq!(summaries.0, summaries.1);
        assert!(first.len() > 100, "seed {seed} has {} lines of history", first.len());
        let differs = first.iter().zip(&second).find(|(one, other)| one != other);
        assert!(differs.is_none() && first.len() == second.len(), "seed {seed} is not repeatable: {differs:?}");
    }
}

//! A short run of every target, the same each time, and every input that has ever crashed.

use tombolo_proxy_fuzz::{Target, corpus, mutate};

/// What the inputs of the run are made from.
const SEED: u64 = 1;

fn smoke(target: Target, inputs: u64) {
    let seeds = corpus::seeds(target).expect("the seeds");
    for seed in &seeds {
        target.run(seed);
    }
    for iteration in 0..inputs {
        let data = mutate::input(target, &seeds, SEED, iteration);
        let outcome = std::panic::catch_unwind(|| target.run(&data));
        let path = outcome.is_err().then(|| corpus::save_crash(target, &data));
        assert!(path.is_none(), "input {iteration} of seed {SEED}: {path:?}");
    }
    for (name, data) in corpus::regressions(target).expect("the regressions") {
        assert!(std::panic::catch_unwind(|| target.run(&data)).is_ok(), "{name} is back");
    }
}

#[test]
fn requests() {
    smoke(Target::Request, 4000);
}

#[test]
fn replies() {
    smoke(Target::Reply, 4000);
}

#[test]
fn memcache() {
    smoke(Target::Memcache, 4000);
}

#[test]
fn configurations() {
    smoke(Target::Config, 2000);
}

#[test]
fn sessions() {
    smoke(Target::Session, 1500);
}

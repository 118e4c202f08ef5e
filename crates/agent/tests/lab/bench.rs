//! `lab bench`: how long a program takes to run in a VM. Not a test; run it on a release build.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use tombolo_agent::{Program, own_stdio};

use crate::support::{Lab, vm};

pub(crate) fn run() -> ExitCode {
    let lab = Lab::new();
    let exec = || {
        let start = Instant::now();
        let session = lab.agent.exec("a", Program::new(["/bin/true"]), own_stdio()).unwrap();
        assert_eq!(session.wait().unwrap().code(), 0);
        start.elapsed()
    };
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        first.push(exec());
        second.push(exec());
        lab.agent.set_vms(vec![]).unwrap();
        lab.agent.set_vms(vec![vm("a")]).unwrap();
    }
    let spawned = (0..50).map(|_| {
        let start = Instant::now();
        let lab = Lab::new();
        let up = start.elapsed();
        drop(lab);
        (up, start.elapsed() - up)
    });
    let (up, down): (Vec<_>, Vec<_>) = spawned.unzip();
    for (name, times) in [("first exec", first), ("second exec", second), ("lab up", up), ("lab down", down)]
    {
        report(name, times);
    }
    ExitCode::SUCCESS
}

fn report(name: &str, mut times: Vec<Duration>) {
    times.sort();
    println!(
        "{name}: median {:?}, 95th percentile {:?}",
        times[times.len() / 2],
        times[times.len() * 95 / 100]
    );
}

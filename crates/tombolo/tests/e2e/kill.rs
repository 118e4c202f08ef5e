//! kill -9 of any process at any moment leaves nothing behind.

use crate::support::{Dice, Home, Process, Snapshot, Up, eventually, homes, number};
use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Small, but with a server of each kind: a redis-server, a startup script, tombolo-proxy.
const LAB: &str = r#"
projects: [{projectId: project-1}]
networks:
  - name: vpc
    subnetworks: [{name: subnet, region: us-central1, ipCidrRange: 10.0.0.0/24}]
instances:
  - name: vm
    zone: us-central1-a
    networkInterfaces: [{subnetwork: subnet}]
    startupScript: |
      #!/bin/sh
      printf 'p:\n  listen: 0.0.0.0:6379\n  redis: true\n  servers:\n    - 10.8.0.3:6379:1\n' >/etc/p.yaml
      exec tombolo-proxy --conf-file /etc/p.yaml
redis:
  - {name: redis, region: us-central1, authorizedNetwork: vpc, reservedIpRange: 10.8.0.0/29}
"#;

/// Who is killed: in turn, for chance would forget one. `init` and `agent` are two processes each.
const VICTIMS: [&str; 6] = ["agent", "server", "redis-server", "init", "tombolo-proxy", "any"];
const ROUNDS: u64 = 30;
/// The longest a lab lives before; it is up after 50 to 200 ms, so most of the start is hit as well.
const LONGEST_MS: u64 = 300;

#[test]
fn kills_at_random_moments_leave_nothing() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = number("TOMBOLO_KILL_SEED").unwrap_or(now);
    let rounds = number("TOMBOLO_KILL_ROUNDS").unwrap_or(ROUNDS);
    eprintln!("{rounds} rounds; the same again: TOMBOLO_KILL_SEED={seed}");
    let mut dice = Dice(seed);
    let before = Snapshot::take();
    let homes = homes();
    let mut killed = BTreeMap::<&str, u32>::new();
    for i in 0..rounds {
        let home = &homes[i as usize % homes.len()];
        let wanted = VICTIMS[(i as usize / homes.len()) % VICTIMS.len()];
        let role = round(home, &mut dice, wanted);
        *killed.entry(role).or_default() += 1;
        before.assert_unchanged(&format!("round {i}"));
    }
    eprintln!("killed: {killed:?}");
    // The same folders again, with whatever the killed left in them.
    for home in &homes {
        home.up(&home.path.join("lab.yaml"));
        home.sh("vm", "true").exits(0);
        home.down();
    }
}

/// Starts a lab, kills, and waits until all is gone. What was killed.
fn round(home: &Home, dice: &mut Dice, wanted: &str) -> &'static str {
    let file = home.write("lab.yaml", LAB);
    let mut up = home.start_up(&file);
    let started = Instant::now();
    // Every other one from a lab that is whole: only there is something to be repaired.
    if dice.below(2) == 0 {
        up.wait_until_up();
    }
    sleep(Duration::from_millis(dice.below(LONGEST_MS)));
    let server = up.child.id();
    let all = home.learn();
    let mut candidates: Vec<_> = all.iter().filter(|process| process.role(server) == wanted).collect();
    if candidates.is_empty() {
        candidates = all.iter().collect();
    }
    assert!(!candidates.is_empty(), "not even the server runs: {}", up.stderr());
    let victim = candidates[dice.below(candidates.len() as u64) as usize].clone();
    let (role, millis) = (victim.role(server), started.elapsed().as_millis() as u64);
    victim.kill();
    match role {
        "redis-server" => {
            repaired(home, &mut up, &victim);
            home.learn().iter().filter(|process| process.role(server) == "agent").for_each(Process::kill);
            assert_ne!(up.wait(), Some(0), "it says that the lab is gone");
        }
        "agent" => assert_ne!(up.wait(), Some(0), "it says that the lab is gone"),
        _ => {}
    }
    home.learn();
    drop(up);
    let user = if home.is_root() { "root" } else { "an ordinary user" };
    eprintln!("as {user}: killed {role} {} after {millis} ms", victim.pid);
    home.assert_nothing_runs();
    role
}

/// The server starts another one; one that is killed while the lab comes up may also end the start with an error.
fn repaired(home: &Home, up: &mut Up, victim: &Process) {
    eventually("another redis-server runs", || {
        let another = |process: &Process| process.comm == "redis-server" && process.pid != victim.pid;
        up.child.try_wait().unwrap().is_some() || home.learn().iter().any(another)
    });
}

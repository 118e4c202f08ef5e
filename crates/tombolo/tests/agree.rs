//! A short run of `agree`, and the proof that it can fail: every deliberate bug of the kernel's side is noticed.

use std::process::{Command, Output};

/// Runs `tombolo agree`.
fn agree(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tombolo"));
    command.arg("agree").args(arguments).env("NO_COLOR", "1").output().expect("run tombolo agree")
}

#[test]
fn trace_and_packets_agree_on_ten_worlds() {
    let output = agree(&["--worlds", "10", "--seed", "20260101"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("10 worlds") && text.contains("0 disagreements"), "{text}");
    assert!(text.contains("DELIVERED") && text.contains("FIREWALL_RULE"), "{text}");
}

#[test]
fn they_agree_of_lazy_vms() {
    let output = agree(&["--worlds", "6", "--seed", "20260101", "--lazy"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("6 worlds") && text.contains("0 disagreements"), "{text}");
    // Connections that wake VMs notice a gate that is missing, too.
    let output = agree(&["--worlds", "20", "--seed", "1", "--lazy", "--mutant", "default-allow"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Seeds of worlds that show a mutant which few worlds do. Should worlds come out otherwise, the search only takes longer.
const SOON: [(&str, &str); 27] = [
    ("swapped-tie-break", "37"),
    ("off-by-one-port", "8"),
    ("wide-prefix", "7"),
    ("subnet-falls-through", "5"),
    ("strict-forwarder", "3"),
    ("goto-next-stays", "3"),
    ("folders-first", "64"),
    ("no-folders", "3"),
    ("ignored-route-tags", "10"),
    ("missing-tagged-routes", "10"),
    ("unequal-cost", "7"),
    ("dead-hop-wins", "35"),
    ("shared-external", "7"),
    ("swapped-external", "52"),
    ("nat-for-all", "4"),
    ("nat-for-aliases", "4"),
    ("host-has-the-lab", "7"),
    ("host-pings-otherwise", "7"),
    ("endpoint-for-peers", "4"),
    ("swapped-services", "12"),
    ("ipv6-crosses-always", "26"),
    ("ipv6-any-source", "10"),
    ("ipv6-without-tags", "10"),
    ("tags-without-peers", "172"),
    ("any-secure-tag", "25"),
    ("near-ends-by-interface", "12"),
    ("ipv6-without-near-ends", "59"),
];

/// One test for all: each needs a lab, and labs at the same time only slow each other down.
#[test]
fn every_mutant_is_caught() {
    for (mutant, _) in tombolo_agree::MUTANTS {
        let seed = SOON.iter().find(|&&(name, _)| name == mutant).map_or("1", |(_, seed)| seed);
        // The run ends with the first disagreement.
        let output = agree(&["--worlds", "250", "--seed", seed, "--mutant", mutant]);
        let text = String::from_utf8_lossy(&output.stdout);
        let all = format!("{mutant}: {text}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{all}");
        assert!(text.contains("wanted") && text.contains("seen") && text.contains("seed"), "{all}");
    }
}

//! A wrong file never becomes a lab, and its user reads where it is wrong.

use crate::support::as_each_user;
use std::fs;
use std::path::Path;

/// The files and texts that the topology crate is tested with.
#[test]
fn every_bad_file_is_refused_with_its_place() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../topology/tests/bad");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    assert!(files.len() >= 20);
    as_each_user(|home| {
        for file in &files {
            let text = fs::read_to_string(file).unwrap();
            let explained = fs::read_to_string(file.with_extension("stderr")).unwrap();
            let place = explained.lines().next().unwrap();
            home.write("lab.yaml", &text);
            for args in [&["up", "lab.yaml"][..], &["up", "lab.yaml", "--detach"], &["check", "lab.yaml"]] {
                let said = home.run(args).refusal();
                assert!(place.starts_with("lab.yaml:") && said.contains(place), "{args:?}:\n{said}");
            }
            assert!(!home.runtime().exists());
        }
        for args in [&["up", "none.yaml"][..], &["up", "none.yaml", "--detach"]] {
            let said = home.run(args).refusal();
            assert!(said.contains("none.yaml: No such file"), "{said}");
        }
    });
}

/// Google permits a peering with a network that there is not: in a file it is a mistake, and told as one.
#[test]
fn a_peering_with_a_network_that_is_not_there_is_warned_of() {
    as_each_user(|home| {
        let text = crate::support::example("article.yaml");
        let text = text.replace("network: project-i-1/vpc-1\n", "network: project-i-1/vpc-l\n");
        home.write("lab.yaml", &text);
        let line = text.lines().position(|line| line.contains("vpc-l")).unwrap() + 1;
        let warned = |said: &str| {
            let place = format!("warning: lab.yaml:{line}:");
            let told = said.contains(
                "this peering stays INACTIVE: there is no network 'project-i-1/vpc-l' in this file",
            );
            assert!(
                said.starts_with(&place) && told && said.contains("did you mean 'project-i-1/vpc-1'?"),
                "{said}"
            );
            assert_eq!(said.matches("warning").count(), 1, "{said}");
        };
        let checked = home.run(&["check", "lab.yaml"]);
        assert_eq!(checked.code, 1);
        warned(&checked.err);
        let up = home.run(&["up", "lab.yaml", "--detach"]);
        assert_eq!(up.code, 0);
        warned(&up.err);
        home.down();
    });
}

/// What the issue of a user would be about: the kinds, spelled out.
#[test]
fn the_message_names_file_line_and_path() {
    let base = crate::support::example("article.yaml");
    let cases = [
        ("an unknown key", ("    zone: us-central1-a\n", "    zoen: us-central1-a\n"), "instances[0].zoen"),
        ("a bad range", ("10.1.0.0/16", "10.1.0.0/33"), "networks[0].subnetworks[0].ipCidrRange"),
        ("ranges of peers that overlap", ("10.2.", "10.1."), "networks[0].peerings[0]"),
        (
            "a zone outside the subnetwork's region",
            ("zone: us-central1-a", "zone: europe-west1-b"),
            "instances[0]",
        ),
        ("an address outside the subnetwork", ("networkIP: 10.1.0.2", "networkIP: 10.9.0.2"), "instances[0]"),
        ("a subnetwork that is not there", ("subnetwork: subnet-1", "subnetwork: subnet-9"), "instances[0]"),
    ];
    as_each_user(|home| {
        for (what, (from, to), path) in &cases {
            let text = base.replace(from, to);
            assert_ne!(text, base, "{what}");
            home.write("lab.yaml", &text);
            let said = home.run(&["up", "lab.yaml", "--detach"]).refusal();
            let first = said.lines().next().unwrap_or_default();
            let place = first.strip_prefix("lab.yaml:").and_then(|rest| rest.split_once(':'));
            assert!(place.is_some_and(|(line, _)| line.parse::<u32>().is_ok()), "{what}:\n{said}");
            assert!(said.contains(path), "{what}: {path} is not in\n{said}");
        }
    });
}

//! What a user reads when a file is wrong: golden texts in `tests/bad/*.stderr`, one for each `*.yaml`.

use std::{fmt::Write, fs, path::PathBuf};
use tombolo_model::Timestamp;
use tombolo_topology::parse;

/// Everything that is wrong with a file, as it is printed.
fn complaints(name: &str, text: &str) -> String {
    let errors = match parse(name, text) {
        Err(errors) => errors,
        Ok(topology) => topology.world(Timestamp(0)).err().into_iter().collect(),
    };
    errors.iter().fold(String::new(), |mut all, error| {
        writeln!(all, "{error}").unwrap();
        all
    })
}

/// Every bad file gives exactly the text beside it. UPDATE_GOLDEN=1 writes the texts: read them before keeping.
#[test]
fn bad_files_are_explained() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bad"));
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    assert!(files.len() >= 20, "{}", files.len());
    for file in files {
        let have = complaints("lab.yaml", &fs::read_to_string(&file).unwrap());
        let golden = file.with_extension("stderr");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &have).unwrap();
        }
        assert!(!have.is_empty(), "{} is accepted", file.display());
        assert_eq!(have, fs::read_to_string(&golden).unwrap_or_default(), "{}", file.display());
    }
}

#[test]
fn a_diagnostic_has_its_parts() {
    let text = "projects: [{projectId: project-1}]\nnetworks:\n  - {name: n, mtu: big}\n";
    let errors = parse("lab.yaml", text).unwrap_err();
    let [error] = errors.as_slice() else { panic!("{errors:?}") };
    let have = (error.line, error.column, error.width, error.path.as_str());
    assert_eq!(have, (3, 20, 3, "networks[0].mtu"));
}

#[test]
fn limits_hold() {
    for (text, want) in [
        ("#".repeat((4 << 20) + 1), "more than the 4194304 allowed"),
        (format!("projects: {}{}", "[".repeat(100), "]".repeat(100)), "nested more than 32 levels deep"),
        (format!("projects: {}", "[".repeat(100_000)), "recursion limit exceeded"),
        ("a: &a [x, x]\nb: &b [*a, *a]\n".into(), "anchors (&name) are not accepted"),
        ("projects: *a\n".into(), "not YAML"),
        ("projects: !!set {a: b}\n".into(), "tags (!name) are not accepted"),
        ("projects: []\n---\nprojects: []\n".into(), "a second document"),
        ((0..1000).fold("projects: []\n".to_owned(), |t, i| t + &format!("k{i}: 1\n")), "unknown key 'k0'"),
    ] {
        let errors = parse("f", &text).unwrap_err();
        assert!(errors.len() <= 100);
        assert!(errors.iter().any(|e| e.message.contains(want)), "{want}: {}", errors[0].message);
    }
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let text = "projects: [{projectId: \"\\e[2Jproject\"}]\nnetworks: \"\u{9b}2J\"\n";
    for line in complaints("lab.yaml", text).lines() {
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

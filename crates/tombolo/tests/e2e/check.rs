//! `tombolo check`: a file's own expectations.

use crate::support::{as_each_user, example};

#[test]
fn examples_do_as_they_say() {
    let folder = format!("{}/../../examples", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<_> = files.filter(|name| name.ends_with(".yaml")).collect();
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    as_each_user(|home| {
        for name in &files {
            let file = home.example(name);
            let said = home.run(&["check", file.to_str().unwrap()]).exits(0);
            let checks = example(name).matches("\n    expect:").count();
            let last = said.lines().last().unwrap_or_default();
            assert!(
                checks > 0 && last.starts_with(&format!("{checks}/{checks} as expected")),
                "{name}: {said}"
            );
        }
    });
}

#[test]
fn an_expectation_that_fails_is_exit_status_1() {
    as_each_user(|home| {
        let wrong = "port: 6379\n    expect: reachable";
        let text = example("article.yaml").replacen("port: 6379\n    expect: unreachable", wrong, 1);
        let file = home.write("wrong.yaml", &text);
        let file = file.to_str().unwrap();
        let json = home.run(&["check", file, "--format", "json"]).json(1);
        let failed: Vec<_> = json["checks"].as_array().unwrap().iter().filter(|c| c["ok"] == false).collect();
        assert_eq!(failed.len(), 1, "{json:#}");
        assert_eq!(failed[0]["title"], "peering is not transitive");
        assert_eq!(
            (&failed[0]["expected"], &failed[0]["seen"]),
            (&"reachable".into(), &"unreachable".into())
        );

        let why = "PRIVATE_TRAFFIC_TO_INTERNET in vpc-1: no route to ";
        assert!(failed[0]["why"].as_str().is_some_and(|said| said.contains(why)), "{:#}", failed[0]);

        let nothing_up = home.run(&["check", file, "--running"]).refusal();
        assert!(nothing_up.contains("no lab is up"), "{nothing_up}");
        home.up(&home.example("article.yaml"));
        let said = home.run(&["check", file, "--running"]).exits(1);
        assert!(
            said.contains("FAIL peering is not transitive") && said.contains("5/6 as expected"),
            "{said}"
        );
        home.down();
    });
}

/// A wrong answer is the answer: it is not asked for again and again. A reader that goes away changes nothing of it.
#[test]
fn a_wrong_answer_is_told_as_it_was_given_once() {
    as_each_user(|home| {
        let single = crate::support::example("single-vpc.yaml");
        let (lab, _) = single.split_once("checks:").unwrap();
        let check = "checks:\n  - {from: client, command: 'echo try >>/tmp/tries; wc -l </tmp/tries', expect: none}\n";
        let file = home.write("wrong.yaml", &format!("{lab}{check}"));
        let checked = home.run(&["check", file.to_str().unwrap(), "--format", "json"]).json(1);
        assert_eq!(checked["checks"][0]["seen"], "1");

        let mut command = home.command(&["check", file.to_str().unwrap()]);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stdout(writer);
        assert_eq!(command.status().unwrap().code(), Some(1));
    });
}

#[test]
fn a_file_without_checks_is_an_error() {
    as_each_user(|home| {
        let single = example("single-vpc.yaml");
        let (lab, _) = single.split_once("checks:").unwrap();
        for text in [lab.to_owned(), format!("{lab}checks: []\n")] {
            home.write("none.yaml", &text);
            for more in [&[][..], &["--format", "json"], &["--running"]] {
                let said = home.run(&[&["check", "none.yaml"], more].concat()).refusal();
                assert!(said.contains("none.yaml has no `checks`"), "{said}");
            }
        }
    });
}

//! A lab comes up, is looked at, and goes.

use crate::support::{Home, Snapshot, as_each_user};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

const AUTO: &str = r#"
projects: [{projectId: project-1, defaultNetwork: true}]
networks:
  - name: mixed
    autoCreateSubnetworks: true
    subnetworks: [{name: own, region: us-east1, ipCidrRange: 192.168.0.0/24}]
instances:
  - {name: vm-1, zone: europe-west1-b, networkInterfaces: [{subnetwork: mixed}]}
"#;

/// For people: programs are told all of it.
#[test]
fn status_tells_of_an_auto_mode_network_in_a_line() {
    as_each_user(|home| {
        home.up(&home.write("auto.yaml", AUTO));
        let text = home.run(&["status"]).exits(0);
        let lines: Vec<String> =
            text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let all = home.run(&["status", "--format", "json"]).json(0);
        let count =
            |name| all["networks"].as_array().unwrap().iter().filter(|row| row["name"] == name).count();
        let regions = count("default");
        assert!(regions > 40 && count("mixed") == regions + 1, "{all:#}");
        let want = [
            format!("default project-1 {regions} subnetworks auto mode 10.128.0.0/9"),
            "mixed project-1 mixed europe-west1 10.132.0.0/20".into(),
            "mixed project-1 own us-east1 192.168.0.0/24".into(),
            format!("mixed project-1 {} others auto mode 10.128.0.0/9", regions - 1),
        ];
        assert_eq!(lines[1..5], want);
        home.down();
    });
}

#[test]
fn status_lists_what_there_is() {
    as_each_user(|home| {
        home.up(&home.example("article.yaml"));
        let mode = std::fs::metadata(home.runtime().join("default")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "the sockets are nobody else's");

        let status = home.run(&["status", "--format", "json"]).json(0);
        let rows = |what: &str, keys: &[&str]| -> Vec<Vec<String>> {
            let cell = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let row = |row: &Value| keys.iter().map(|key| cell(&row[key])).collect();
            status[what].as_array().unwrap().iter().map(row).collect()
        };
        let networks = rows("networks", &["project", "name", "subnetwork", "region", "ipCidrRange"]);
        let want = [
            ["project-i-1", "vpc-1", "subnet-1", "us-central1", "10.1.0.0/16"],
            ["project-i-2", "vpc-2", "subnet-2", "us-central1", "10.2.0.0/16"],
        ];
        assert_eq!(networks, want);
        let mut instances = rows("instances", &["name", "networkIps", "networks", "startupScript"]);
        instances.sort();
        let want = [
            ["redis-proxy", "[\"10.2.0.3\"]", "[\"vpc-2\"]", "running"],
            ["vm-1", "[\"10.1.0.2\"]", "[\"vpc-1\"]", ""],
            ["vm-2", "[\"10.2.0.2\"]", "[\"vpc-2\"]", ""],
        ];
        assert_eq!(instances, want);
        let peerings = rows("peerings", &["name", "network", "state"]);
        assert_eq!(
            peerings[..2],
            [["vpc-1-to-vpc-2", "vpc-1", "ACTIVE"], ["vpc-2-to-vpc-1", "vpc-2", "ACTIVE"]]
        );
        assert_eq!(peerings[2][1..], ["vpc-2", "ACTIVE"], "the automatic one");
        let redis = rows("redis", &["name", "host", "port", "authorizedNetwork", "state"]);
        assert_eq!(redis, [["redis-1", "10.34.175.91", "6379", "vpc-2", "READY"]]);

        let text = home.run(&["status"]).exits(0);
        for cell in networks.iter().chain(&peerings).chain(&redis).flatten() {
            assert!(text.contains(cell), "{cell} is not in\n{text}");
        }
        assert!(text.lines().all(|line| line == line.trim_end()), "{text}");
        home.down();
    });
}

#[test]
fn a_lab_of_a_name_is_there_once() {
    as_each_user(|home| {
        let file = home.example("single-vpc.yaml");
        let file = file.to_str().unwrap();
        home.run(&["up", file, "--detach"]).exits(0);
        for args in [&["up", file][..], &["up", file, "--detach"]] {
            let said = home.run(args).refusal();
            assert!(said.contains("the lab is up already"), "{said}");
        }
        home.run(&["status"]).exits(0);
        // Another name is another lab, with the same ranges.
        home.run(&["up", file, "--detach", "--lab", "other"]).exits(0);
        for lab in ["default", "other"] {
            home.run(&["exec", "--lab", lab, "client", "--", "ping", "-n", "-c1", "-W5", "10.0.0.3"])
                .exits(0);
        }
        home.learn();
        home.run(&["down", "--lab", "other"]).exits(0);
        home.run(&["status", "--lab", "other"]).refusal();
        home.sh("client", "true").exits(0);
        home.down();
    });
}

/// The folder with the log of a server that failed goes with it.
#[test]
fn a_detached_server_that_fails_says_why() {
    as_each_user(|home| {
        let file = home.example("single-vpc.yaml");
        for descriptors in ["12", "16", "20", "24"] {
            let mut command = home.program("sh");
            command.args(["-c", &format!("ulimit -n {descriptors}; exec ./tombolo up \"$0\" --detach")]);
            command.arg(&file);
            let said = crate::support::run(command, b"").refusal();
            let why = ["Too many open files", "No buffer space available"];
            assert!(why.iter().any(|why| said.contains(why)), "{descriptors}: {said}");
            assert!(said.contains(&format!("the limit is {descriptors}, and `ulimit -n`")), "{said}");
        }
        assert!(!home.runtime().exists());
    });
}

#[test]
fn a_folder_for_labs_that_is_not_to_be_had_is_named() {
    as_each_user(|home| {
        let file = home.example("single-vpc.yaml");
        let file = file.to_str().unwrap();
        for args in [&["up", file][..], &["up", file, "--detach"], &["serve"]] {
            let mut command = home.command(args);
            command.env("TOMBOLO_RUNTIME_DIR", "/proc/none");
            let said = crate::support::run(command, b"").refusal();
            assert!(
                said.contains("/proc/none/default: ") && said.contains("; TOMBOLO_RUNTIME_DIR can"),
                "{said}"
            );
        }
    });
}

#[test]
fn without_a_lab_every_verb_says_so() {
    as_each_user(|home| {
        let verbs: [&[&str]; 5] = [
            &["down"],
            &["status"],
            &["exec", "vm-1", "--", "true"],
            &["shell", "vm-1"],
            &["trace", "a", "b"],
        ];
        for args in verbs {
            let said = home.run(args).refusal();
            assert!(said.contains("no lab is up") && said.contains("run/default"), "{args:?}: {said}");
        }
        assert!(home.run(&["status", "--lab", "../x"]).code == 2);
        assert!(!home.runtime().exists(), "nothing was made by asking");
    });
}

#[test]
fn ctrl_c_ends_it_cleanly() {
    as_each_user(|home| {
        let before = Snapshot::take();
        let file = home.example("article.yaml");
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let mut up = home.start_up(&file);
            up.wait_until_up();
            assert!(up.stdout().contains("10.34.175.91"), "the status is shown: {}", up.stdout());
            home.learn();
            home.sh("vm-1", "true").exits(0);
            // To the whole group, as a terminal does.
            nix::sys::signal::killpg(nix::unistd::Pid::from_raw(up.child.id() as i32), signal).unwrap();
            assert_eq!(up.wait(), Some(0), "{signal}: {}", up.stderr());
            assert_eq!(up.stderr(), "");
            home.assert_nothing_runs();
            assert!(!home.runtime().exists());
        }
        // Before it is up, too.
        let mut up = home.start_up(&file);
        crate::support::eventually("its socket is there", || {
            home.runtime().join("default/server.sock").exists()
        });
        home.learn();
        up.signal(Signal::SIGINT);
        // Before it holds signals back it is ended by this one, and after that it ends by itself.
        assert!(matches!(up.wait(), None | Some(0)), "{}", up.stderr());
        home.assert_nothing_runs();
        before.assert_unchanged("after three labs");
    });
}

#[test]
fn a_killed_server_is_no_hindrance_to_the_next() {
    as_each_user(|home| {
        let file = home.example("single-vpc.yaml");
        let mut up = home.start_up(&file);
        up.wait_until_up();
        home.learn();
        up.signal(Signal::SIGKILL);
        assert_eq!(up.wait(), None);
        home.assert_nothing_runs();
        home.run(&["status"]).refusal();
        home.up(&file);
        home.sh("client", "true").exits(0);
        home.down();
    });
}

#[test]
fn the_sockets_are_where_the_session_has_its_own() {
    as_each_user(|home| {
        let file = home.example("single-vpc.yaml");
        let session = home.path.join("session");
        std::fs::create_dir(&session).unwrap();
        let uid = std::os::unix::fs::MetadataExt::uid(&home.path.metadata().unwrap());
        std::os::unix::fs::chown(&session, Some(uid), Some(uid)).unwrap();
        let run = |home: &Home, args: &[&str]| {
            let mut command = home.command(args);
            command.env_remove("TOMBOLO_RUNTIME_DIR").env("XDG_RUNTIME_DIR", &session);
            crate::support::run(command, b"").exits(0)
        };
        run(home, &["up", file.to_str().unwrap(), "--detach"]);
        home.learn();
        assert!(session.join("tombolo/default/server.sock").exists());
        run(home, &["down"]);
        home.assert_nothing_runs();
        assert_eq!(std::fs::read_dir(&session).unwrap().count(), 0);
    });
}

/// Also where there is no redis-server to miss: the server watches the agent itself.
#[test]
fn a_lab_whose_agent_is_gone_ends() {
    as_each_user(|home| {
        for signal in [Signal::SIGKILL, Signal::SIGTERM] {
            let mut up = home.start_up(&home.example("single-vpc.yaml"));
            up.wait_until_up();
            let server = up.child.id();
            let agents: Vec<_> =
                home.learn().into_iter().filter(|p| p.role(server).contains("agent")).collect();
            assert!(!agents.is_empty());
            for agent in agents {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(agent.pid), signal);
            }
            assert_eq!(up.wait(), Some(2), "{}", up.stderr());
            assert!(up.stderr().contains("the agent is gone"), "{}", up.stderr());
            home.assert_nothing_runs();
        }
    });
}

#[test]
fn of_several_that_come_up_at_once_one_is_the_lab() {
    as_each_user(|home| {
        let file = home.example("single-vpc.yaml");
        let args = ["up", file.to_str().unwrap(), "--detach"];
        let ran: Vec<_> = std::thread::scope(|scope| {
            let commands: Vec<_> = (0..4).map(|_| home.command(&args)).collect();
            let started: Vec<_> = commands
                .into_iter()
                .map(|command| scope.spawn(|| crate::support::run(command, b"")))
                .collect();
            started.into_iter().map(|run| run.join().unwrap()).collect()
        });
        let codes: Vec<i32> = ran.iter().map(|ran| ran.code).collect();
        assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
        assert_eq!(codes.iter().filter(|code| **code == 2).count(), 3, "{codes:?}");
        assert!(ran.iter().filter(|ran| ran.code == 2).all(|ran| ran.err.contains("is up already")));
        home.run(&["status"]).exits(0);
        home.down();
    });
}

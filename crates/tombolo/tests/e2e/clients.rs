//! Google's own client libraries, unmodified, tell the story: the programs in `e2e/clients`. Its `setup.sh` installs
//! them from their registries, once.

use crate::story::watch;
use crate::support::http::Served;
use crate::support::{Home, homes};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A client is installed, in the folder of what was built.
fn installed(client: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_tombolo")).parent().and_then(Path::parent).unwrap();
    let folder = target.join("e2e-clients");
    let mut setup = Command::new(source("setup.sh"));
    let status = setup.arg(&folder).arg(client).stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "{setup:?}: {status}; needed are python3 with venv, node and npm");
    folder
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/clients").join(name)
}

/// A program in the environment that `tombolo env --proxy` gives.
fn transparent(home: &Home, program: PathBuf, args: &[PathBuf]) -> Command {
    let mut command = home.program("sh");
    command.args(["-euc", "eval \"$(\"$0\" env --proxy)\"; exec \"$@\""]).arg(home.path.join("tombolo"));
    command.arg(program).args(args);
    command
}

/// A lab in which a client tells the story, and then the packets are looked at.
fn told(redis: bool, tell: impl FnOnce(&Home, &Served)) {
    let homes = homes();
    let home = &homes[0];
    let served = home.serve(&[]);
    tell(home, &served);
    home.sh("vm-1", "ping -c1 -W5 10.2.0.2").exits(0);
    if redis {
        // Peering is not transitive.
        assert_eq!(home.sh("vm-2", "redis-cli -h 10.34.175.91 PING").exits(0), "PONG\n");
        assert_ne!(home.sh("vm-1", "timeout 1 redis-cli -h 10.34.175.91 PING").code, 0);
    }
    drop(served);
    home.assert_nothing_runs();
}

#[test]
fn python_as_it_comes() {
    let python = installed("python").join("python/bin/python");
    told(true, |home, _| watch(home, transparent(home, python, &[source("python/story.py")])));
}

#[test]
fn python_with_an_endpoint() {
    let python = installed("python").join("python/bin/python");
    told(true, |home, served| {
        let mut command = home.program(python);
        let endpoint = format!("http://{}", served.address);
        command.arg(source("python/story.py")).env("TOMBOLO_ENDPOINT", endpoint);
        watch(home, command);
    });
}

#[test]
fn python_by_discovery() {
    let python = installed("python").join("python/bin/python");
    told(true, |home, _| watch(home, transparent(home, python, &[source("python/discovery.py")])));
}

#[test]
fn node_as_it_comes() {
    let story = installed("node").join("node/story.mjs");
    told(true, |home, _| watch(home, transparent(home, "node".into(), &[story])));
}

/// Its compilation takes minutes.
#[test]
#[ignore = "slow: run by `cargo xtask clients`"]
fn rust_as_it_comes() {
    let program = installed("rust").join("rust/debug/tombolo-e2e-client");
    told(false, |home, served| {
        for project in ["project-i-1", "project-i-2"] {
            served.good("POST", "/cloudresourcemanager/v1/projects", json!({ "projectId": project }));
            let compute =
                format!("/serviceusage/v1/projects/{project}/services/compute.googleapis.com:enable");
            served.good("POST", &compute, json!({}));
        }
        watch(home, transparent(home, program, &[]));
    });
}

/// Beyond loopback, the tunnel wants the token, which `env --proxy` has the shell read; and it is nowhere to be seen.
#[test]
fn a_tunnel_wants_the_token() {
    let homes = homes();
    let home = homes.last().unwrap();
    let mut up = home.start(&["serve", "--state", "state", "--listen", "0.0.0.0:0"]);
    up.wait_until_up();
    home.learn();
    let token = std::fs::read_to_string(home.path.join("state/token")).unwrap();
    let environment = home.run(&["env", "--proxy"]).exits(0);
    assert!(environment.contains("HTTPS_PROXY=\"http://tombolo:$(cat ") && !environment.contains(&token));
    let run = |script: &str| {
        let mut command = home.program("sh");
        command.args(["-euc", &format!("eval \"$(\"$0\" env --proxy)\"; {script}")]);
        command.arg(home.path.join("tombolo"));
        crate::support::run(command, b"")
    };
    let get = "require('https').get('https://compute.googleapis.com/compute/v1/projects/none', \
               (answer) => console.log(answer.resume().statusCode)).on('error', (error) => console.log(error.message))";
    assert_eq!(run(&format!("node -e \"{get}\"")).exits(0), "404\n");
    let without = run(&format!("HTTPS_PROXY=$(echo $HTTPS_PROXY | sed s/tombolo:.*@//); node -e \"{get}\""));
    assert!(without.exits(0).starts_with("the proxy answers 407 "));
    home.down();
}

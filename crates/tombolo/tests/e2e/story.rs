//! The story as `e2e/story.sh` tells it: with our own verbs, and with the real gcloud where there is one.

use crate::support::{Home, homes};
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// gcloud takes a second or two for each of its forty commands.
const STORY: Duration = Duration::from_secs(600);

#[test]
fn our_own_verbs_tell_the_story() {
    told(&["--with", "tombolo"]);
}

#[test]
fn gcloud_tells_the_story() {
    if has_gcloud() {
        told(&[]);
    }
}

/// Whether gcloud is on this machine; says so when it is not.
pub(crate) fn has_gcloud() -> bool {
    let gcloud = Command::new("gcloud").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let has = gcloud.is_ok_and(|status| status.success());
    if !has {
        eprintln!("NOT TESTED: gcloud is not on this machine");
    }
    has
}

fn told(with: &[&str]) {
    let homes = homes();
    let home = homes.last().unwrap();
    let served = home.serve(&[]);
    tell(home, with);
    drop(served);
    home.assert_nothing_runs();
}

fn tell(home: &Home, with: &[&str]) {
    let path = format!("{}/../../e2e/story.sh", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let script = home.write("story.sh", &text);
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    let mut command = home.program("sh");
    command.arg(&script).args(with).env("TOMBOLO", home.path.join("tombolo"));
    watch(home, command);
}

/// Runs what tells the story, to its end, and learns what it starts.
#[track_caller]
pub(crate) fn watch(home: &Home, mut command: Command) {
    let log = home.path.join("story.log");
    let output = File::create(&log).unwrap();
    let mut child = command.stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > STORY {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(50));
        home.learn();
    };
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(status.success() && said.ends_with("the story is told\n"), "{status}:\n{said}");
}

//! `tombolo capture`: packets as lines, as JSON, and as a file that tcpdump reads.

use crate::support::{Home, as_each_user, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command};

/// A capture in the background.
struct Capture {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Capture {
    /// Starts one, and waits until it hears.
    fn start(home: &Home, name: &str, args: &[&str]) -> Capture {
        let [out, err] = ["out", "err"].map(|kind| home.path.join(format!("{name}.{kind}")));
        let mut command = home.command(&["capture"]);
        command.args(args).stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let capture = Capture { child: command.spawn().unwrap(), out, err };
        eventually("it captures", || capture.said().contains("capturing on"));
        capture
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.err).unwrap()
    }

    fn lines(&self) -> usize {
        fs::read_to_string(&self.out).unwrap().lines().count()
    }

    /// Its stdout, once it has ended well.
    fn end(&mut self) -> String {
        assert!(self.child.wait().unwrap().success(), "{}", self.said());
        fs::read_to_string(&self.out).unwrap()
    }

    fn interrupt(&self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT).unwrap();
    }
}

#[test]
fn both_ends_of_a_ping_are_captured() {
    as_each_user(|home| {
        home.up(&home.example("article.yaml"));
        let file = home.path.join("vm-2.pcap");
        let mut near = Capture::start(home, "near", &["vm-1", "--count", "2"]);
        let mut far = Capture::start(home, "far", &["vm-2", "--format", "json"]);
        let mut kept = Capture::start(home, "kept", &["vm-2", "-w", file.to_str().unwrap(), "-c", "2"]);
        home.run(&["exec", "vm-1", "--", "ping", "-n", "-c1", "-W5", "10.2.0.2"]).exits(0);

        let text = near.end();
        let shape: Vec<String> =
            text.lines().map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")).collect();
        let ping = [
            "out 10.1.0.2 → 10.2.0.2 icmp echo request, 56 bytes",
            "in 10.2.0.2 → 10.1.0.2 icmp echo reply, 56 bytes",
        ];
        assert_eq!(shape, ping);
        assert!(near.said().contains("\n2 packets captured, 0 dropped"), "{}", near.said());

        eventually("both are told", || far.lines() == 2);
        far.interrupt();
        let text = far.end();
        let seen: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&seen[0]["direction"], &seen[1]["direction"]), (&"in".into(), &"out".into()));
        assert_eq!((&seen[0]["source"], &seen[0]["protocol"]), (&"10.1.0.2".into(), &"icmp".into()));

        assert_eq!(kept.end(), "");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = fs::read(&file).unwrap();
        // A header, and two records of a frame with Ethernet's, IP's and ICMP's header.
        assert_eq!(
            (bytes.len(), &bytes[..4]),
            (24 + 2 * (16 + 14 + 20 + 8 + 56), &[0x4d, 0x3c, 0xb2, 0xa1][..])
        );
        match Command::new("tcpdump").args(["-n", "-r"]).arg(&file).output() {
            Ok(read) => {
                let text = String::from_utf8_lossy(&read.stdout).into_owned();
                assert!(text.contains("10.1.0.2 > 10.2.0.2: ICMP echo request"), "{text}");
            }
            Err(error) => eprintln!("tcpdump is not here, so it does not read the file: {error}"),
        }
        home.down();
    });
}

#[test]
fn a_capture_ends_with_its_lab_and_refuses_what_is_not_there() {
    as_each_user(|home| {
        home.up(&home.example("article.yaml"));
        let nobody = home.run(&["capture", "vm-9"]).refusal();
        assert!(
            nobody.contains("'vm-9'") && nobody.contains("vm-1") && nobody.contains("redis-1"),
            "{nobody}"
        );
        let nic = home.run(&["capture", "vm-1", "-i", "nic3"]).refusal();
        assert!(nic.contains("vm-1 has no nic3 (it has: nic0)"), "{nic}");
        let mut vm = Capture::start(home, "vm", &["vm-2"]);
        home.run(
            &"compute instances stop vm-2 --zone us-central1-a --project project-i-2"
                .split(' ')
                .collect::<Vec<_>>(),
        )
        .exits(0);
        vm.end();
        assert!(vm.said().contains("\nvm-2 has gone\n0 packets captured"), "{}", vm.said());
        let mut redis = Capture::start(home, "redis", &["redis-1"]);
        home.run(&["down"]).exits(0);
        redis.end();
        assert!(redis.said().contains("\nthe lab has ended\n"), "{}", redis.said());
    });
}

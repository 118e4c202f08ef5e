//! `tombolo exec` is transparent.

use crate::support::{as_each_user, comm, eventually, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::Stdio;

#[test]
fn exec_is_transparent() {
    as_each_user(|home| {
        home.up(&home.example("article.yaml"));
        for code in [0, 1, 42, 255] {
            assert_eq!(home.sh("vm-1", &format!("exit {code}")).code, code);
        }
        assert_eq!(home.sh("vm-1", "kill -9 $$").code, 137);
        let missing = home.run(&["exec", "vm-1", "--", "no-such-program"]);
        assert_eq!(missing.code, 127);
        assert!(missing.err.contains("no-such-program: command not found"), "{}", missing.err);

        let both = home.sh("vm-1", "echo out; echo err >&2");
        assert_eq!((both.out.as_str(), both.err.as_str()), ("out\n", "err\n"));
        let large = vec![b'x'; 3 << 20];
        let counted = run(home.command(&["exec", "vm-1", "--", "wc", "-c"]), &large).exits(0);
        assert_eq!(counted.trim(), "3145728");

        // A file that is the input is read, to where the program has read it, and that is all.
        let path = home.path.join("input");
        std::fs::write(&path, "one\ntwo\nthree\n").unwrap();
        let input = std::fs::File::open(&path).unwrap();
        let with_input = |script: &str| {
            let mut command = home.command(&["exec", "vm-1", "--", "sh", "-c", script]);
            let output = command.stdin(input.try_clone().unwrap()).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert_eq!(with_input("read line; echo $line"), "one\n");
        assert_eq!((with_input("true"), with_input("cat")), (String::new(), "two\nthree\n".into()));
        with_input("echo mine > /proc/self/fd/0");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");

        assert_eq!(home.sh("vm-2", "hostname; cat /proc/1/comm").exits(0), "vm-2\ninit\n");
        assert_eq!(
            home.run(&["exec", "project-i-1/us-central1-a/vm-1", "--", "hostname"]).exits(0),
            "vm-1\n"
        );
        let ping = home.run(&["exec", "vm-1", "--", "ping", "-n", "-c1", "-W5", "10.2.0.2"]).exits(0);
        assert!(ping.contains("1 received"), "{ping}");

        let nobody = home.run(&["exec", "vm-9", "--", "true"]).refusal();
        assert!(nobody.contains("vm-9") && nobody.contains("vm-1"), "names what there is: {nobody}");
        home.down();
    });
}

#[test]
fn programs_end_with_whoever_asked_for_them() {
    as_each_user(|home| {
        home.up(&home.example("single-vpc.yaml"));
        let sleepers = || home.learn().into_iter().filter(|p| p.comm == "sleep").collect::<Vec<_>>();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGKILL] {
            let mut command = home.command(&["exec", "client", "--", "sleep", "1000"]);
            let mut child = command.stdout(Stdio::null()).spawn().unwrap();
            eventually("it runs", || !sleepers().is_empty());
            kill(Pid::from_raw(child.id() as i32), signal).unwrap();
            child.wait().unwrap();
            eventually("it ended", || sleepers().is_empty());
        }
        // And the other way round.
        let mut child = home.command(&["exec", "client", "--", "sleep", "1000"]).spawn().unwrap();
        eventually("it runs", || !sleepers().is_empty());
        let sleeper = sleepers().remove(0);
        assert_eq!(comm(sleeper.pid).as_deref(), Some("sleep"));
        sleeper.kill();
        assert_eq!(child.wait().unwrap().code(), Some(137));
        home.down();
    });
}

//! However the lab ends, nothing stays behind, and the host never notices.

use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tombolo_agent::{Agent, AgentError, Program, SpawnOptions, own_stdio};

use crate::Test;
use crate::support::{Lab, children, eventually, ran};

pub(crate) const TESTS: &[Test] = &[
    ("dropping_the_lease_ends_the_lab", dropping_the_lease_ends_the_lab),
    ("killing_the_stub_ends_the_lab", killing_the_stub_ends_the_lab),
    ("killing_pid_1_ends_the_lab", killing_pid_1_ends_the_lab),
    ("term_ends_the_lab_and_ctrl_c_does_not", term_ends_the_lab_and_ctrl_c_does_not),
    ("killing_init_ends_only_its_vm", killing_init_ends_only_its_vm),
    ("killing_during_the_start", killing_during_the_start),
    ("the_host_is_as_before", the_host_is_as_before),
    ("a_lab_that_cannot_be_made_says_why", a_lab_that_cannot_be_made_says_why),
];

fn busy() -> Lab {
    let lab = Lab::new();
    for vm in ["a", "b"] {
        lab.agent
            .start_detached(vm, "daemon", Program::new(["sh", "-c", "setsid sleep 1000 & sleep 1000"]), None)
            .unwrap();
    }
    eventually("everything runs", || lab.user_ns().processes().len() >= 2 + 2 * 4 - 2);
    lab
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

fn dropping_the_lease_ends_the_lab() {
    let lab = busy();
    let all = lab.user_ns();
    drop(lab);
    assert_eq!(all.processes(), [] as [i32; 0], "gone when drop returns");
}

fn killing_the_stub_ends_the_lab() {
    let lab = busy();
    let all = lab.user_ns();
    send(lab.stub(), Signal::SIGKILL);
    // Only reaps the stub, which is our child: it could be seen as a zombie.
    drop(lab);
    all.assert_empty_soon();
}

fn killing_pid_1_ends_the_lab() {
    let lab = busy();
    let all = lab.user_ns();
    send(lab.pid1(), Signal::SIGKILL);
    eventually("the lease closes", || matches!(lab.agent.ping(), Err(AgentError::Connection(_))));
    drop(lab);
    all.assert_empty_soon();
}

fn term_ends_the_lab_and_ctrl_c_does_not() {
    let lab = busy();
    let all = lab.user_ns();
    for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
        send(lab.stub(), signal);
        send(lab.pid1(), signal);
    }
    assert_eq!(lab.sh("a", "echo alive"), ran(0, "alive\n"));
    send(lab.pid1(), Signal::SIGTERM);
    eventually("the lease closes", || lab.agent.ping().is_err());
    drop(lab);
    all.assert_empty_soon();
}

fn killing_init_ends_only_its_vm() {
    let lab = busy();
    let session = lab.agent.exec("a", Program::new(["sleep", "1000"]), own_stdio()).unwrap();
    let name = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let inits: Vec<i32> = children(lab.pid1()).into_iter().filter(|&pid| name(pid) == "init\n").collect();
    assert_eq!(inits.len(), 2);
    inits.into_iter().for_each(|init| send(init, Signal::SIGKILL));
    assert!(matches!(session.wait(), Err(AgentError::Refused(_))));
    eventually("the VMs are gone, reaped", || lab.user_ns().processes().len() == 3);
    assert_eq!(lab.sh("a", "echo anew; ls /tmp"), ran(0, "anew\n"));
    let ended =
        |vm| matches!(lab.agent.processes(vm).unwrap()[0].state, tombolo_agent::ProcessState::Ended(_));
    assert!(ended("a") && ended("b"));
}

/// Whatever is killed while VMs start: the lab either serves on or is gone without a rest.
fn killing_during_the_start() {
    for round in 0..24 {
        let lab = Lab::new();
        let all = lab.user_ns();
        let (stub, pid1) = (lab.stub(), lab.pid1());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..4 {
                    let _ = lab.agent.exec("a", Program::new(["sleep", "1000"]), own_stdio());
                }
            });
            let chance = SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
            std::thread::sleep(Duration::from_micros(u64::from(chance / 100 % 6000)));
            let victims = match round % 3 {
                0 => vec![stub],
                1 => vec![pid1],
                _ => children(pid1),
            };
            for pid in victims {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        });
        if round % 3 == 2 {
            // A program may still be given to an init that is just dying.
            let program = || Program::new(["true"]);
            let run = || lab.agent.exec("a", program(), own_stdio()).and_then(|session| session.wait());
            eventually("the VM starts anew", || run().is_ok_and(|outcome| outcome.code() == 0));
        }
        drop(lab);
        all.assert_empty_soon();
    }
}

fn the_host_is_as_before() {
    let look = || {
        let links = Command::new("ip").args(["-o", "link"]).output().unwrap().stdout;
        (std::fs::read_to_string("/proc/self/mountinfo").unwrap(), String::from_utf8(links).unwrap())
    };
    let before = look();
    let lab = busy();
    let all = lab.user_ns();
    assert_eq!(look(), before, "while a lab runs");
    send(lab.stub(), Signal::SIGKILL);
    drop(lab);
    all.assert_empty_soon();
    assert_eq!(look(), before, "after it was killed");
}

/// In a user namespace that may have no others below it.
fn a_lab_that_cannot_be_made_says_why() {
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" spawn-and-fail";
    let exe = std::env::current_exe().unwrap();
    let status =
        Command::new("unshare").args(["-Ur", "sh", "-c", script]).arg(&exe).stdout(Stdio::piped()).output();
    let out = String::from_utf8(status.unwrap().stdout).unwrap();
    assert!(out.contains("user namespace") && out.contains("user.max_user_namespaces is 0"), "{out}");
    let missing = Agent::spawn("/no/such/binary".as_ref(), &SpawnOptions::default());
    assert!(matches!(missing, Err(AgentError::Start(_))));
    let silent = Agent::spawn("/bin/false".as_ref(), &SpawnOptions::default());
    assert!(matches!(silent, Err(AgentError::Bootstrap(_))), "{silent:?}");
}

/// The other half of the test above: prints why.
pub(crate) fn spawn_and_fail() {
    let error = Agent::spawn(&std::env::current_exe().unwrap(), &SpawnOptions::default()).unwrap_err();
    println!("{error}");
}

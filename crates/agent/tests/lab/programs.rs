//! Running programs: status, stdio, detached ones, and the programs of clients that go away.

use tombolo_agent::{AgentError, ExecStatus, Outcome, ProcessState, Program, own_stdio};

use crate::Test;
use crate::support::{Lab, eventually, ran, vm};

pub(crate) const TESTS: &[Test] = &[
    ("status_is_the_programs", status_is_the_programs),
    ("stdio_is_the_callers", stdio_is_the_callers),
    ("working_directory_and_environment", working_directory_and_environment),
    ("signals_arrive", signals_arrive),
    ("many_at_once", many_at_once),
    ("a_dropped_session_kills_its_program", a_dropped_session_kills_its_program),
    ("a_detached_session_may_go", a_detached_session_may_go),
    ("detached_programs", detached_programs),
    ("stop_ends_what_ignores_term", stop_ends_what_ignores_term),
    ("refusals_say_why", refusals_say_why),
    ("removed_vms_are_killed", removed_vms_are_killed),
    ("nothing_leaks", nothing_leaks),
];

fn status_is_the_programs() {
    let lab = Lab::new();
    for (script, code) in
        [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -9 $$", 137), ("kill -40 $$", 168)]
    {
        assert_eq!(lab.sh("a", script).code, code, "{script}");
    }
    let failed = |argv: &[&str]| match lab.outcome("a", Program::new(argv.iter().copied()), b"").0 {
        Outcome::Failed { code, message } => (code, message),
        Outcome::Ended(status) => panic!("{argv:?} ran: {status:?}"),
    };
    assert_eq!(failed(&["no-such-program"]), (127, "no-such-program: command not found".into()));
    assert_eq!(failed(&["/no/such"]), (127, "/no/such: no such file in the VM".into()));
    assert_eq!(failed(&["/etc/passwd"]), (126, "/etc/passwd: permission denied".into()));
    assert_eq!(failed(&["/usr"]), (126, "/usr: is a directory".into()));
    assert_eq!(failed(&[]).0, 125);
}

fn stdio_is_the_callers() {
    let lab = Lab::new();
    assert_eq!(lab.run("a", Program::new(["cat"]), b"hello"), ran(0, "hello"));
    let large = vec![b'x'; 1 << 20];
    assert_eq!(lab.run("a", Program::new(["wc", "-c"]), &large).out.trim(), "1048576");
    assert_eq!(lab.sh("a", "tty").out, "not a tty\n");
    assert_eq!(lab.run("a", Program::new(["wc", "-c"]), b"").out.trim(), "0", "the end of input arrives");
}

fn working_directory_and_environment() {
    let lab = Lab::new();
    let pwd = |cwd: &str| {
        let program = Program { cwd: Some(cwd.into()), ..Program::new(["pwd"]) };
        lab.run("a", program, b"").out
    };
    assert_eq!([pwd("/usr/bin"), pwd("/no/such/dir"), pwd("relative")], ["/usr/bin\n", "/root\n", "/root\n"]);
    let program =
        Program { env: vec![("LAB".into(), "mine".into())], ..Program::new(["sh", "-c", "echo $LAB $PATH"]) };
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/tombolo/bin";
    assert_eq!(lab.run("a", program, b"").out, format!("mine {path}\n"));
}

fn signals_arrive() {
    let lab = Lab::new();
    let session = lab.agent.exec("a", Program::new(["sleep", "1000"]), own_stdio()).unwrap();
    assert!(session.pid() > 1);
    session.signal(libc::SIGINT).unwrap();
    assert_eq!(session.wait().unwrap(), Outcome::Ended(ExecStatus::Signaled { signal: libc::SIGINT }));
    let session = lab.agent.exec("a", Program::new(["sleep", "1000"]), own_stdio()).unwrap();
    session.signal(libc::SIGKILL).unwrap();
    assert_eq!(session.wait().unwrap().code(), 137);
}

fn many_at_once() {
    let lab = Lab::new();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let lab = &lab;
            scope.spawn(move || {
                for round in 0..10 {
                    let vm = if (thread + round) % 2 == 0 { "a" } else { "b" };
                    let script = format!("echo {thread}-{round}; exit {round}");
                    assert_eq!(lab.sh(vm, &script), ran(round, &format!("{thread}-{round}\n")));
                }
            });
        }
    });
}

fn a_dropped_session_kills_its_program() {
    let lab = Lab::new();
    // One that dies of the hang-up, one that ignores it, and a child in a process group of its own.
    let script = "trap '' HUP; set -m; sleep 1001 & sleep 1002; sleep 1003";
    let plain = lab.agent.exec("a", Program::new(["sleep", "1000"]), own_stdio()).unwrap();
    let stubborn = lab.agent.exec("a", Program::new(["sh", "-c", script]), own_stdio()).unwrap();
    let sleeping = || {
        lab.sh("a", "cat /proc/[0-9]*/comm 2>/dev/null | grep -c sleep").out.trim().parse::<u32>().unwrap()
    };
    eventually("all of them run", || sleeping() == 3);
    drop(plain);
    eventually("the first is gone", || sleeping() == 2);
    drop(stubborn);
    eventually("its whole session is gone", || sleeping() == 0);
}

fn a_detached_session_may_go() {
    let lab = Lab::new();
    drop(lab.agent.exec_detached("a", Program::new(["sleep", "1000"]), own_stdio()).unwrap());
    std::thread::sleep(std::time::Duration::from_millis(600));
    assert_eq!(lab.sh("a", "cat /proc/[0-9]*/comm 2>/dev/null | grep -c sleep").out, "1\n");
}

fn detached_programs() {
    let lab = Lab::new();
    let program = Program::new(["sh", "-c", "cat; echo err >&2; sleep 0.1; exit 5"]);
    lab.agent.start_detached("a", "startup", program.clone(), Some(b"config\n".to_vec())).unwrap();
    let state = || lab.agent.processes("a").unwrap()[0].state;
    assert!(matches!(state(), ProcessState::Running { pid } if pid > 1));
    let again = lab.agent.start_detached("a", "startup", program.clone(), None);
    assert!(matches!(again, Err(AgentError::Refused(why)) if why.contains("running already")));
    eventually("it ends", || state() == ProcessState::Ended(ExecStatus::Exited { code: 5 }));
    eventually("its log is whole", || lab.agent.read_log("a", "startup").unwrap().text == "config\nerr\n");

    lab.agent.start_detached("a", "startup", Program::new(["sleep", "1000"]), None).unwrap();
    lab.agent.stop_detached("a", "startup").unwrap();
    assert_eq!(state(), ProcessState::Ended(ExecStatus::Signaled { signal: libc::SIGTERM }));
    lab.agent.stop_detached("a", "startup").unwrap();

    let refused = lab.agent.start_detached("a", "other", Program::new(["no-such-program"]), None);
    assert!(matches!(refused, Err(AgentError::Refused(why)) if why.contains("command not found")));
    assert_eq!(lab.agent.processes("a").unwrap().len(), 1);
    assert_eq!(lab.agent.processes("b").unwrap(), []);
}

fn stop_ends_what_ignores_term() {
    let lab = Lab::new();
    let script = Program::new(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1000; done"]);
    lab.agent.start_detached("a", "stubborn", script, None).unwrap();
    eventually("it runs", || lab.agent.read_log("a", "stubborn").unwrap().text == "ready\n");
    // Not to wait for the grace of a database: the VM's end is its end as well.
    lab.agent.set_vms(vec![vm("b")]).unwrap();
    assert!(matches!(lab.agent.processes("a"), Err(AgentError::Refused(_))));
}

fn refusals_say_why() {
    let lab = Lab::new();
    let message = |vm: &str| match lab.outcome(vm, Program::new(["true"]), b"").0 {
        Outcome::Failed { code: 125, message } => message,
        outcome => panic!("{outcome:?}"),
    };
    assert_eq!(message("nobody"), "the lab has no VM nobody");
    let mut unplugged = vm("u");
    unplugged.netns = "nowhere".into();
    let mut broken = vm("x");
    broken.netns = "net-a".into();
    broken.bin = vec!["/no/such/binary".into()];
    lab.agent.set_vms(vec![unplugged, broken, vm("a")]).unwrap();
    assert_eq!(message("u"), "VM u has no network yet");
    assert!(message("x").contains("/no/such/binary"), "{}", message("x"));
    assert!(matches!(lab.agent.set_vms(vec![vm("a"), vm("a")]), Err(AgentError::Refused(_))));
    assert!(!lab.agent.ping().unwrap().is_empty());
}

fn removed_vms_are_killed() {
    let lab = Lab::new();
    let session = lab.agent.exec("a", Program::new(["sleep", "1000"]), own_stdio()).unwrap();
    let before = lab.user_ns().processes().len();
    lab.agent.set_vms(vec![vm("b")]).unwrap();
    assert_eq!(lab.user_ns().processes().len(), before - 2, "init and its program");
    assert!(matches!(session.wait(), Err(AgentError::Refused(_))));
    lab.agent.set_vms(vec![vm("a"), vm("b")]).unwrap();
    assert_eq!(lab.sh("a", "echo again").out, "again\n");
}

fn nothing_leaks() {
    let lab = Lab::new();
    let count = |what: &str| std::fs::read_dir(format!("/proc/{}/{what}", lab.pid1())).unwrap().count();
    let round = || {
        for vm in ["a", "b"] {
            lab.sh(vm, "true");
            lab.run(vm, Program::new(["no-such-program"]), b"");
        }
        lab.agent.start_detached("a", "d", Program::new(["true"]), Some(b"x".to_vec())).unwrap();
        eventually("it ends", || {
            matches!(lab.agent.processes("a").unwrap()[0].state, ProcessState::Ended(_))
        });
        lab.agent.set_vms(vec![]).unwrap();
        lab.agent.set_vms(vec![vm("a"), vm("b")]).unwrap();
    };
    round();
    // One serves the lease, and one waits for its end.
    eventually("threads settle", || count("task") <= 2);
    let before = count("fd");
    (0..20).for_each(|_| round());
    eventually("threads settle", || count("task") <= 2);
    eventually("descriptors settle", || count("fd") <= before);
    assert_eq!(lab.user_ns().processes().len(), 3, "stub, agent and guests, no zombie");
}

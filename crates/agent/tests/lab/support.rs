//! A lab for one test, and ways to look at it.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use tombolo_agent::{Agent, Outcome, Program, SpawnOptions, VmSpec};

/// Generous: only to end a test that would hang.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Lab {
    pub(crate) agent: Agent,
}

/// What a program did.
#[derive(Debug, PartialEq)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
}

impl Lab {
    /// With VMs `a` and `b`, each on a network namespace of its own.
    pub(crate) fn new() -> Self {
        Self::with_options(&SpawnOptions::default())
    }

    pub(crate) fn with_options(options: &SpawnOptions) -> Self {
        let agent = Agent::spawn(&std::env::current_exe().unwrap(), options).unwrap();
        agent.make_netns("net-a").unwrap();
        agent.make_netns("net-b").unwrap();
        agent.set_vms(vec![vm("a"), vm("b")]).unwrap();
        Self { agent }
    }

    /// A shell command's status and its stdout and stderr.
    pub(crate) fn sh(&self, vm: &str, script: &str) -> Ran {
        self.run(vm, Program::new(["sh", "-c", script]), b"")
    }

    pub(crate) fn run(&self, vm: &str, program: Program, stdin: &[u8]) -> Ran {
        let (outcome, out) = self.outcome(vm, program, stdin);
        Ran { code: outcome.code(), out }
    }

    pub(crate) fn outcome(&self, vm: &str, program: Program, stdin: &[u8]) -> (Outcome, String) {
        let (input, mut feed) = std::io::pipe().unwrap();
        let (mut output, sink) = std::io::pipe().unwrap();
        let session = self.agent.exec(vm, program, [input.as_fd(), sink.as_fd(), sink.as_fd()]).unwrap();
        drop((input, sink));
        let mut out = String::new();
        std::thread::scope(|scope| {
            scope.spawn(move || feed.write_all(stdin));
            output.read_to_string(&mut out).unwrap();
        });
        (session.wait().unwrap(), out)
    }

    /// Host pid of the process the server waits for.
    pub(crate) fn stub(&self) -> i32 {
        self.agent.child_id().unwrap() as i32
    }

    /// Host pid of the lab's pid 1.
    pub(crate) fn pid1(&self) -> i32 {
        children(self.stub())[0]
    }

    pub(crate) fn user_ns(&self) -> UserNs {
        // The agent's, and the guests', in which its first child is.
        let guests = children(self.pid1())[0];
        UserNs([self.stub(), guests].map(|pid| fs::read_link(format!("/proc/{pid}/ns/user")).unwrap()))
    }
}

pub(crate) fn vm(key: &str) -> VmSpec {
    VmSpec {
        key: key.into(),
        netns: format!("net-{key}"),
        hostname: format!("vm-{key}"),
        hosts: format!("127.0.0.1 localhost\n10.1.0.2 vm-{key}.internal\n"),
        resolv_conf: "nameserver 169.254.169.254\n".into(),
        bin: vec![std::env::current_exe().unwrap()],
        env: vec![("LAB".into(), "yes".into())],
        ssh: None,
    }
}

pub(crate) fn ran(code: i32, out: &str) -> Ran {
    Ran { code, out: out.into() }
}

/// Identifies all processes of a lab, wherever they hang in the host's process tree.
pub(crate) struct UserNs([std::path::PathBuf; 2]);

impl UserNs {
    pub(crate) fn processes(&self) -> Vec<i32> {
        let pids = fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(|pid| fs::read_link(format!("/proc/{pid}/ns/user")).is_ok_and(|ns| self.0.contains(&ns)))
            .collect()
    }

    pub(crate) fn assert_empty_soon(&self) {
        eventually("the lab's processes are gone", || self.processes().is_empty());
    }
}

pub(crate) fn children(pid: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

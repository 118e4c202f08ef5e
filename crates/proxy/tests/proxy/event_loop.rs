//! Who reads and writes: the answers are the same.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::common::{self, Proxy, Redis, free_port, simple, wait_for};
use nix::libc;
use tombolo_resp::Value;

/// Whether a process has an io_uring.
fn has_ring(pid: &str) -> bool {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a process");
    let links = fds.map_while(Result::ok).filter_map(|fd| std::fs::read_link(fd.path()).ok());
    links.into_iter().any(|link| link.to_string_lossy().contains("[io_uring]"))
}

/// Has a command's process, and those that it starts, get EPERM for io_uring_setup, as in a container
/// that forbids io_uring.
fn forbid_io_uring(command: &mut Command) {
    let filter = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = [
        // The number of the system call; if it is this one, EPERM.
        filter(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        filter(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_io_uring_setup as u32),
        filter(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        filter(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        // SAFETY: two system calls, and memory that is there.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
        };
        if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: it does nothing but these system calls.
    unsafe { command.pre_exec(install) };
}

#[test]
fn epoll_is_used_where_it_is_asked_for() {
    let redis = Redis::start();
    let proxy = Proxy::with_args(&[redis.port], &[], &["--event-loop", "epoll"]);
    assert_eq!(proxy.client().ask("SET k v"), simple("OK"));
    assert!(!has_ring(&proxy.process.pid()));
    assert!(!proxy.log().contains("io_uring"), "{}", proxy.log());
}

#[test]
fn where_io_uring_is_forbidden_it_is_epoll() {
    let redis = Redis::start();
    let (port, stats) = (free_port(), free_port());
    let dir = tempfile::tempdir().expect("a directory");
    let (file, log) = (dir.path().join("nutcracker.yaml"), dir.path().join("log"));
    let text = common::pool_text("p", &format!("127.0.0.1:{port}"), &[redis.port], &[]);
    std::fs::write(&file, text).expect("a file");
    let proxy = |how: &str| {
        let mut command = common::mortal(env!("CARGO_BIN_EXE_tombolo-proxy"));
        command.arg(format!("--stats-port={stats}")).arg("--event-loop").arg(how);
        command.arg("--conf-file").arg(&file).arg("--output").arg(&log).stderr(Stdio::null());
        forbid_io_uring(&mut command);
        command.spawn().expect("tombolo-proxy")
    };
    let process = common::Process(proxy("auto"));
    let mut client = wait_for("the proxy", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(|_| common::Client::connect(port))
    });
    assert_eq!(client.ask("PING"), Value::Simple("PONG".into()));
    assert!(!has_ring(&process.pid()));
    wait_for("the log", || {
        let said = std::fs::read_to_string(&log).expect("a log");
        said.contains("epoll it is: there is no io_uring: Operation not permitted").then_some(())
    });
    drop(process);
    // Who insists is told, by the end of the proxy.
    let mut child = common::Process(proxy("io_uring"));
    let status = wait_for("the end", || child.0.try_wait().expect("a process"));
    assert!(!status.success());
    let said = std::fs::read_to_string(&log).expect("a log");
    assert!(said.contains("io_uring: Operation not permitted"), "{said}");
}

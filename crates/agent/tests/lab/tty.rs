//! Programs on a terminal, through the client that a user's `exec` is.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, tcgetattr};
use tombolo_agent::{
    Agent, Conn, Outcome, Program, Request, Response, SpawnOptions, attach, own_stdio, terminal_size,
};

use crate::Test;
use crate::support::{LIMIT, Lab, eventually};

pub(crate) const TESTS: &[Test] = &[
    ("terminal_is_the_vms_own", terminal_is_the_vms_own),
    ("a_shell_on_a_terminal", a_shell_on_a_terminal),
    ("killing_the_client_kills_its_program", killing_the_client_kills_its_program),
    ("the_client_passes_signals_on", the_client_passes_signals_on),
    ("the_socket_is_private", the_socket_is_private),
];

/// `lab exec SOCKET VM ARG…`
pub(crate) fn exec_main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<String> = args.map(|arg| arg.into_string().unwrap()).collect();
    let agent = Agent::connect(Path::new(&args[0])).unwrap();
    let program = Program::new(args[2..].iter().cloned());
    let outcome = attach(|| match terminal_size(own_stdio()[0]) {
        Some(size) => agent.exec_tty(&args[1], program, size),
        None => agent.exec(&args[1], program, own_stdio()),
    });
    let outcome = outcome.unwrap();
    if let Outcome::Failed { message, .. } = &outcome {
        eprintln!("{message}");
    }
    ExitCode::from(outcome.code() as u8)
}

struct Listening {
    lab: Lab,
    socket: PathBuf,
    _dir: tempfile::TempDir,
}

fn listening() -> Listening {
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    let socket = dir.path().join("run/agent.sock");
    let lab = Lab::with_options(&SpawnOptions { listen: Some(socket.clone()), ..Default::default() });
    Listening { lab, socket, _dir: dir }
}

impl Listening {
    fn client(&self, argv: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("exec").arg(&self.socket).arg("a").args(argv);
        command
    }

    /// The client on a terminal of 40 lines and 100 columns.
    fn on_terminal(&self, argv: &[&str]) -> Terminal {
        let size = libc::winsize { ws_row: 40, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let slave = pty.slave;
        let mut command = self.client(argv);
        let stdio = || Stdio::from(slave.try_clone().unwrap());
        command.stdin(stdio()).stdout(stdio()).stderr(stdio());
        // SAFETY: only system calls between fork and exec.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            })
        };
        let child = command.spawn().unwrap();
        // SAFETY: ownership passes from one type to the other.
        let master = unsafe { File::from_raw_fd(OwnedFd::into_raw_fd(pty.master)) };
        Terminal { child, master, slave, seen: String::new() }
    }
}

struct Terminal {
    child: Child,
    master: File,
    slave: OwnedFd,
    seen: String,
}

impl Terminal {
    /// Reads until the text was printed.
    fn expect(&mut self, text: &str) {
        let start = Instant::now();
        while !self.seen.contains(text) {
            assert!(start.elapsed() < LIMIT, "no {text:?} in {:?}", self.seen);
            let fd = std::os::fd::AsFd::as_fd(&self.master);
            if poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::from(50u16)).unwrap() > 0 {
                let mut buffer = [0; 4096];
                let got = self.master.read(&mut buffer).unwrap();
                self.seen += &String::from_utf8_lossy(&buffer[..got]);
            }
        }
        self.seen = self.seen.split_once(text).unwrap().1.to_owned();
    }

    fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    fn echoes(&self) -> bool {
        tcgetattr(&self.slave).unwrap().local_flags.contains(LocalFlags::ECHO)
    }
}

fn terminal_is_the_vms_own() {
    let lab = listening();
    let mut terminal = lab.on_terminal(&["sh", "-c", "tty; stty size; exit 9"]);
    terminal.expect("/dev/pts/0\r\n");
    terminal.expect("40 100\r\n");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(9));
    assert!(terminal.echoes(), "the terminal is as it was");
    let mut terminal = lab.on_terminal(&["sh", "-c", "seq 100000"]);
    terminal.expect("\n100000\r\n");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(0));
    let mut terminal = lab.on_terminal(&["no-such-program"]);
    terminal.expect("no-such-program: command not found");
    assert_eq!(terminal.child.wait().unwrap().code(), Some(127));
}

fn a_shell_on_a_terminal() {
    let lab = listening();
    let mut terminal = lab.on_terminal(&["sh", "-i"]);
    terminal.type_in("echo first-$((40+2)); cat /proc/self/stat | cut -d' ' -f8\n");
    terminal.expect("first-42");
    assert!(!terminal.echoes(), "raw while the program runs");
    // Ctrl-C reaches the program in the VM, not the client, and there only the foreground job.
    terminal.type_in("sleep 1000\n");
    let sleeping = || lab.lab.sh("a", "cat /proc/[0-9]*/comm 2>/dev/null | grep -c sleep").out == "1\n";
    eventually("it sleeps", sleeping);
    terminal.type_in("\x03");
    terminal.type_in("echo second-$((40+2))\n");
    terminal.expect("second-42");
    let size = libc::winsize { ws_row: 50, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: reads one winsize.
    assert_eq!(unsafe { libc::ioctl(terminal.master.as_raw_fd(), libc::TIOCSWINSZ, &size) }, 0);
    // The client hears of it in its own time.
    terminal.type_in("until [ \"$(stty size)\" = '50 120' ]; do sleep 0.01; done; echo third-$((40+2))\n");
    terminal.expect("third-42");
    terminal.type_in("\x04");
    eventually("the shell ends", || terminal.child.try_wait().unwrap().is_some());
}

fn killing_the_client_kills_its_program() {
    let lab = listening();
    let sleeping = || lab.lab.sh("a", "cat /proc/[0-9]*/comm 2>/dev/null | grep -c sleep").out == "1\n";
    let mut plain = lab.client(&["sleep", "1000"]).spawn().unwrap();
    eventually("it runs", sleeping);
    plain.kill().unwrap();
    plain.wait().unwrap();
    eventually("it is gone", || !sleeping());

    let mut terminal = lab.on_terminal(&["sh", "-c", "trap '' HUP; sleep 1000"]);
    eventually("it runs", sleeping);
    terminal.child.kill().unwrap();
    terminal.child.wait().unwrap();
    eventually("it is gone", || !sleeping());
}

fn the_client_passes_signals_on() {
    let lab = listening();
    let script = "trap 'echo got; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let mut client =
        lab.client(&["sh", "-c", script]).stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut out = client.stdout.take().unwrap();
    let mut ready = [0; 6];
    out.read_exact(&mut ready).unwrap();
    // SAFETY: a signal to our own child.
    assert_eq!(unsafe { libc::kill(client.id() as i32, libc::SIGTERM) }, 0);
    assert_eq!(client.wait().unwrap().code(), Some(3));
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "got\n");
}

fn the_socket_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let lab = listening();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&lab.socket), mode(lab.socket.parent().unwrap())), (0o600, 0o700));
    let second = Agent::connect(&lab.socket).unwrap();
    second.ping().unwrap();
    let taken = SpawnOptions { listen: Some(lab.socket.clone()), ..Default::default() };
    let error = Agent::spawn(&std::env::current_exe().unwrap(), &taken).unwrap_err().to_string();
    assert!(error.contains("another agent listens there"), "{error}");
    let open = SpawnOptions { listen: Some("/tmp/tombolo-agent-test.sock".into()), ..Default::default() };
    let error = Agent::spawn(&std::env::current_exe().unwrap(), &open).unwrap_err().to_string();
    assert!(error.contains("closed to others"), "{error}");

    if nix::unistd::geteuid().is_root() {
        // A peer with another uid is turned away even when file modes would let it in.
        std::fs::set_permissions(lab._dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::set_permissions(lab.socket.parent().unwrap(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&lab.socket, PermissionsExt::from_mode(0o666)).unwrap();
        let refused = std::thread::spawn({
            let socket = lab.socket.clone();
            move || {
                // SAFETY: the raw call changes only this thread's user.
                assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) }, 0);
                // This side does not talk to another user's agent either: by hand, then.
                assert!(Agent::connect(&socket).is_err());
                let conn = Conn::new(std::os::unix::net::UnixStream::connect(&socket).unwrap().into());
                conn.send(&Request::Ping, &[]).is_err() || conn.recv::<Response>().is_err()
            }
        });
        assert!(refused.join().unwrap(), "another user is refused");
    }
    let all = lab.lab.user_ns();
    second.shutdown().unwrap();
    eventually("the lease closes", || lab.lab.agent.ping().is_err());
    drop(lab);
    all.assert_empty_soon();
}

//! A place for one test: binaries of its own, folders of its own, a user, and an eye on everything it starts.

mod dice;
pub(crate) mod http;
mod processes;
pub(crate) mod recorder;
mod snapshot;

pub(crate) use dice::{Dice, number};
pub(crate) use processes::{Process, comm};
pub(crate) use snapshot::Snapshot;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Generous: only to end a test that would hang.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// `nobody`, when the tests run as root.
const ORDINARY: u32 = 65534;

/// Runs a test as each user there is to run it as.
pub(crate) fn as_each_user(test: impl Fn(&Home)) {
    for home in homes() {
        eprintln!("as {}", if home.is_root() { "root" } else { "an ordinary user" });
        test(&home);
        home.assert_nothing_runs();
    }
}

/// A home for each user there is to test as.
pub(crate) fn homes() -> Vec<Home> {
    match nix::unistd::geteuid().is_root() {
        true => vec![Home::new(0), Home::new(ORDINARY)],
        false => vec![Home::new(nix::unistd::geteuid().as_raw())],
    }
}

/// A test's folder, readable to its user, with links to the binaries: so `/proc/PID/exe` tells whose a process is.
pub(crate) struct Home {
    pub(crate) path: PathBuf,
    uid: u32,
    /// User namespaces of what ran here: open, so that the kernel gives their numbers to nobody else.
    namespaces: RefCell<BTreeMap<u64, File>>,
    _binaries: Arc<TempDir>,
}

/// What a program did.
#[derive(Debug, PartialEq)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Its stdout, if its exit status was this one.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> String {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self.out
    }

    /// Its stdout as JSON, if its exit status was this one.
    #[track_caller]
    pub(crate) fn json(self, code: i32) -> serde_json::Value {
        let text = self.exits(code);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
    }

    /// Its stderr, if it said nothing on stdout and its exit status was 2.
    #[track_caller]
    pub(crate) fn refusal(self) -> String {
        assert_eq!((self.code, self.out.as_str()), (2, ""), "stderr:\n{}", self.err);
        self.err
    }
}

impl Home {
    fn new(uid: u32) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let binaries = binaries();
        let path = binaries.path().join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&path).unwrap();
        for name in ["tombolo", "tombolo-proxy"] {
            fs::hard_link(binaries.path().join("bin").join(name), path.join(name)).unwrap();
        }
        chown(&path, Some(uid), Some(uid)).unwrap();
        Self { path, uid, namespaces: RefCell::default(), _binaries: binaries }
    }

    pub(crate) fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// A file of the test's.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        path
    }

    /// A copy of an example: the checkout may be where this user cannot read.
    pub(crate) fn example(&self, name: &str) -> PathBuf {
        self.write(name, &example(name))
    }

    /// Where labs have their sockets.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.path.join("run")
    }

    /// A command of the binary.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.program(self.path.join("tombolo"));
        command.args(args);
        command
    }

    /// A command of any program, as the test's user.
    pub(crate) fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.path).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", &self.path).env("TOMBOLO_RUNTIME_DIR", self.runtime());
        if nix::unistd::geteuid().as_raw() != self.uid {
            command.uid(self.uid).gid(self.uid);
        }
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        run(self.command(args), b"")
    }

    /// A shell script in a VM of the lab.
    pub(crate) fn sh(&self, vm: &str, script: &str) -> Ran {
        self.run(&["exec", vm, "--", "sh", "-c", script])
    }

    /// Brings the lab `default` up in the background.
    #[track_caller]
    pub(crate) fn up(&self, file: &Path) {
        self.run(&["up", file.to_str().unwrap(), "--detach"]).exits(0);
        self.learn();
    }

    /// Ends it; there must be nothing left.
    #[track_caller]
    pub(crate) fn down(&self) {
        self.learn();
        self.run(&["down"]).exits(0);
        self.assert_nothing_runs();
        assert!(!self.runtime().exists(), "{:?}", fs::read_dir(self.runtime()).unwrap().collect::<Vec<_>>());
    }

    /// Starts `up` in the foreground, without waiting for the lab.
    pub(crate) fn start_up(&self, file: &Path) -> Up {
        self.start(&["up", file.to_str().unwrap()])
    }

    /// Starts a server in the foreground, without waiting for its lab.
    pub(crate) fn start(&self, args: &[&str]) -> Up {
        let out = self.path.join("up.out");
        let (stdout, stderr) = (File::create(&out).unwrap(), File::create(self.path.join("up.err")).unwrap());
        let mut command = self.command(args);
        // A group of its own, as a shell would give it.
        let child = command.stdout(stdout).stderr(stderr).process_group(0).spawn().unwrap();
        Up { child, out }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // After a test that failed.
        for process in self.learn() {
            process.kill();
        }
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A server in the foreground, ended when dropped. One that is killed may leave its lab to the next.
pub(crate) struct Up {
    pub(crate) child: Child,
    out: PathBuf,
}

impl Up {
    /// Waits until the lab is up.
    pub(crate) fn wait_until_up(&mut self) {
        eventually("the lab is up", || {
            assert_eq!(self.child.try_wait().unwrap(), None, "{}", self.stderr());
            self.stdout().contains("\nup in ")
        });
    }

    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.out.with_extension("err")).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Its exit status; `None` if a signal ended it.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        wait(&mut self.child).code()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.signal(Signal::SIGTERM);
            let start = Instant::now();
            while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < LIMIT {
                thread::sleep(Duration::from_millis(3));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text of an example.
pub(crate) fn example(name: &str) -> String {
    let path = format!("{}/../../examples/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs a command to its end.
pub(crate) fn run(mut command: Command, stdin: &[u8]) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (mut feed, input) = (child.stdin.take().unwrap(), stdin.to_owned());
    thread::spawn(move || feed.write_all(&input));
    let (out, err) = (collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap()));
    let status = wait(&mut child);
    let text = |output: mpsc::Receiver<String>| {
        output.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("somebody holds the output of {command:?}"))
    };
    let code = status.code().unwrap_or_else(|| panic!("{command:?}: {status}"));
    Ran { code, out: text(out), err: text(err) }
}

fn collect(mut from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        sender.send(String::from_utf8_lossy(&bytes).into_owned())
    });
    receiver
}

fn wait(child: &mut Child) -> std::process::ExitStatus {
    let mut status = None;
    eventually("it ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

/// Waits for something, though not for ever.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        thread::sleep(Duration::from_millis(3));
    }
}

/// The binaries, copied to where every user may run them; one copy for all tests that run at the moment.
fn binaries() -> Arc<TempDir> {
    static CURRENT: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());
    let mut current = CURRENT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(dir) = current.upgrade() {
        return dir;
    }
    let tombolo = Path::new(env!("CARGO_BIN_EXE_tombolo"));
    let proxy = tombolo.with_file_name("tombolo-proxy");
    assert!(
        proxy.exists(),
        "{} is missing: `cargo build -p tombolo-proxy`, or run the tests by `cargo xtask test`",
        proxy.display()
    );
    let dir = tempfile::Builder::new().prefix("tombolo-e2e-").tempdir_in("/tmp").unwrap();
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for from in [tombolo, &proxy] {
        let to = bin.join(from.file_name().unwrap());
        fs::copy(from, &to).unwrap();
        fs::set_permissions(&to, Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let dir = Arc::new(dir);
    *current = Arc::downgrade(&dir);
    dir
}

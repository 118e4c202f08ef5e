//! What is said over a connection to the agent.
//!
//! Requests and responses alternate, except after [`Request::Exec`]: that connection is handed to the VM's
//! init, which sends [`ExecEvent`]s and takes [`ExecControl`]s until the program ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Formatter};
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tombolo_dataplane::{Changes, Desired, Probe, Seen, Tracked};

use crate::hits::Hits;
use crate::kernel::ConvergeReport;

/// A VM as the agent needs to know it. Nothing runs and nothing is mounted for it until a program does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmSpec {
    /// Unique name such as `project/zone/vm-1`.
    pub key: String,
    /// Name of its network namespace in the lab.
    pub netns: String,
    /// What `hostname` prints.
    pub hostname: String,
    /// The whole of /etc/hosts.
    pub hosts: String,
    /// The whole of /etc/resolv.conf.
    pub resolv_conf: String,
    /// Host binaries to show as `/run/tombolo/bin/<file name>`.
    pub bin: Vec<PathBuf>,
    /// Environment of every program, over the defaults (PATH, HOME, USER, …).
    pub env: Vec<(String, String)>,
    /// What its ssh server is told with each connection; without it nothing listens on port 22.
    pub ssh: Option<SshConfig>,
}

/// What the program that serves an ssh connection reads first. Not for the agent to understand, and never printed:
/// there is a private key in it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshConfig(pub String);

impl Debug for SshConfig {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("SshConfig")
    }
}

/// What to run in a VM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Program and arguments; the program is looked up in the VM's PATH.
    pub argv: Vec<String>,
    /// Environment, over the VM's.
    pub env: Vec<(String, String)>,
    /// Working directory, if it exists in the VM; /root otherwise.
    pub cwd: Option<String>,
}

impl Program {
    /// A program with its arguments and nothing else set.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self { argv: argv.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}

/// Size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WinSize {
    /// Lines.
    pub rows: u16,
    /// Characters per line.
    pub cols: u16,
}

/// The first frame the agent sends on its lease.
#[derive(Debug, Serialize, Deserialize)]
pub enum Hello {
    /// The lab exists.
    Ready {
        /// Version of the agent's binary.
        version: String,
    },
    /// It could not be made.
    Failed {
        /// Why, and what the user can do.
        message: String,
    },
}

/// A request to the agent.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Are you there?
    Ping,
    /// Another connection, as the response's descriptor.
    NewConnection,
    /// The full list of VMs; those no longer listed are killed, and so are those whose network namespace,
    /// hostname or binaries changed (they start anew with the next program).
    SetVms {
        /// All of them.
        vms: Vec<VmSpec>,
    },
    /// The same for some VMs: the others stay as they were declared.
    ChangeVms {
        /// Keys of those that are no longer there.
        gone: Vec<String>,
        /// Those that are new or otherwise.
        vms: Vec<VmSpec>,
    },
    /// Runs a program; takes the connection over. Three descriptors (stdin, stdout, stderr) unless `tty`.
    Exec {
        /// Key of the VM.
        vm: String,
        /// What to run.
        program: Program,
        /// A terminal of its own, whose master comes back with [`ExecEvent::Started`].
        tty: Option<WinSize>,
        /// Keep running when the connection closes.
        detach: bool,
    },
    /// Runs a program that only [`Request::StopDetached`] or the VM's end ends; its output is kept in a ring.
    StartDetached {
        /// Key of the VM.
        vm: String,
        /// Name of the program and of its log, unique in the VM.
        log: String,
        /// What to run.
        program: Program,
        /// What it reads from its stdin; empty by default.
        stdin: Option<Vec<u8>>,
    },
    /// What a detached program printed last.
    ReadLog {
        /// Key of the VM.
        vm: String,
        /// Name of the program.
        log: String,
    },
    /// The detached programs of a VM.
    Processes {
        /// Key of the VM.
        vm: String,
    },
    /// Ends a detached program: TERM, then KILL.
    StopDetached {
        /// Key of the VM.
        vm: String,
        /// Name of the program.
        log: String,
    },
    /// Empty network namespaces that will be wanted, so that they are there by then. Routers that there are stay as they are.
    Expect {
        /// Names of routers in the lab.
        routers: Vec<String>,
        /// How many new endpoints there will be.
        endpoints: usize,
    },
    /// An empty network namespace with `lo` up. An existing one of that name stays as it is.
    MakeNetns {
        /// Name in the lab.
        name: String,
    },
    /// Makes the kernel's state the desired one.
    Converge {
        /// What is wanted of every namespace.
        desired: Desired,
    },
    /// Makes the kernel's state the one that was desired last, with changes.
    ConvergeChanges {
        /// The number of what was desired last.
        since: u64,
        /// What is otherwise now.
        changes: Changes,
    },
    /// Sends packets and tells where they arrived.
    Probe {
        /// The packets.
        probes: Vec<Probe>,
        /// Whether to send one after the other, and tell of each which rules counted it.
        counted: bool,
        /// For how long to wait for those that have not arrived: faults may make them late.
        #[serde(default)]
        late: Duration,
    },
    /// How many packets each router's rules have counted.
    Counters,
    /// Which lazy endpoints are not there yet.
    Asleep,
    /// What firewall rules have logged.
    Hits {
        /// The number of the first one that is wanted.
        since: u64,
    },
    /// Opens a TCP connection from within a network namespace; the response's descriptor is it.
    Connect {
        /// Name of the network namespace in the lab.
        netns: String,
        /// Where to.
        to: SocketAddrV4,
        /// How long it may take, in milliseconds.
        limit: u32,
    },
    /// Sockets in a network namespace, listening or bound; the response's descriptors are they, in this order.
    Bind {
        /// Name of the network namespace in the lab.
        netns: String,
        /// Where to listen for TCP connections.
        tcp: Vec<SocketAddrV4>,
        /// Where to take UDP datagrams.
        udp: Vec<SocketAddrV4>,
    },
    /// Hears every frame of an interface, in both directions; the response's descriptor is a packet socket.
    Capture {
        /// Name of the network namespace in the lab.
        netns: String,
        /// Name of the interface there.
        link: String,
    },
    /// Keeps a text for whoever holds the lease next; the agent does not read it.
    SetNote {
        /// The text.
        note: String,
    },
    /// The text that was kept last.
    Note,
    /// Makes this connection the lease of a lab whose server was killed.
    Adopt {
        /// Which file the server's binary is: only the same one is sure to understand all that is said.
        build: String,
    },
    /// The connections that a router knows. What passes of them is counted from the first such request on.
    Connections {
        /// Name of the router's network namespace in the lab.
        netns: String,
    },
    /// Ends the lab.
    Shutdown,
}

/// The answer to a request.
#[derive(Debug, Serialize, Deserialize)]
pub enum Response {
    /// It is so.
    Done,
    /// To [`Request::Ping`].
    Pong {
        /// Version of the agent's binary.
        version: String,
    },
    /// To [`Request::ReadLog`].
    Log(LogText),
    /// To [`Request::Processes`].
    Processes(Vec<ProcessInfo>),
    /// To [`Request::Converge`] and [`Request::ConvergeChanges`].
    Converged {
        /// What it took.
        report: ConvergeReport,
        /// The number of what was desired, for [`Request::ConvergeChanges`].
        number: u64,
    },
    /// To [`Request::ConvergeChanges`]: somebody has desired something else meanwhile, so nothing was done.
    DesiredOtherwise,
    /// To [`Request::Probe`], in the probes' order.
    Seen(Vec<Seen>),
    /// To [`Request::Counters`]: by router and counter.
    Counters(BTreeMap<String, BTreeMap<String, u64>>),
    /// To [`Request::Asleep`]: their namespaces' names.
    Asleep(BTreeSet<String>),
    /// To [`Request::Hits`].
    Hits(Hits),
    /// To [`Request::Connect`]: there is no connection.
    NotConnected {
        /// What the kernel said.
        errno: i32,
    },
    /// To [`Request::Note`].
    Note(Option<String>),
    /// To [`Request::Adopt`]: somebody holds the lease.
    LeaseIsHeld,
    /// To [`Request::Connections`].
    Connections(Vec<Tracked>),
    /// It could not be done.
    Failed {
        /// Why.
        message: String,
    },
}

/// The kept end of a program's output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogText {
    /// Both stdout and stderr, in the order of arrival; invalid UTF-8 replaced.
    pub text: String,
    /// Bytes before `text` that are no longer kept.
    pub dropped: u64,
}

/// A detached program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessInfo {
    /// Its name in the VM.
    pub log: String,
    /// What it was started as.
    pub argv: Vec<String>,
    /// Whether it runs.
    pub state: ProcessState,
}

/// Whether a detached program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcessState {
    /// It does.
    Running {
        /// Its pid in the VM.
        pid: i32,
    },
    /// It ended.
    Ended(ExecStatus),
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecStatus {
    /// By itself, with this status.
    Exited {
        /// 0 to 255.
        code: i32,
    },
    /// By a signal.
    Signaled {
        /// Its number.
        signal: i32,
    },
}

impl ExecStatus {
    /// As a shell reports it: the status, or 128 + the signal.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited { code } => code,
            Self::Signaled { signal } => 128 + signal,
        }
    }
}

/// From the VM to whoever asked for a program.
#[derive(Debug, Serialize, Deserialize)]
pub enum ExecEvent {
    /// It runs. With a tty, the master is attached.
    Started {
        /// Its pid in the VM.
        pid: i32,
    },
    /// It ended.
    Ended(ExecStatus),
    /// It never ran.
    Failed {
        /// As a shell's: 127 not found, 126 not executable, 125 anything else.
        code: i32,
        /// Why.
        message: String,
    },
}

/// From whoever asked for a program to the VM.
#[derive(Debug, Serialize, Deserialize)]
pub enum ExecControl {
    /// Sends the program's process group a signal; KILL goes to its whole session.
    Signal {
        /// Its number.
        signal: i32,
    },
}

/// From the agent to a VM's init.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum InitRequest {
    /// The first message, with the network namespace and the guests' user namespace attached.
    Setup {
        vm: VmSpec,
        /// Folders of the host that the VM does not see.
        hide: Vec<PathBuf>,
    },
    /// Runs a program. Descriptors: the requester's connection, then stdin, stdout, stderr unless `tty`.
    Launch { program: Program, tty: Option<WinSize>, detach: bool },
    /// The hosts file or resolv.conf changed, or the environment.
    Refresh(VmSpec),
}

/// From a VM's init to the agent, once.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum InitHello {
    Ready,
    Failed { message: String },
}

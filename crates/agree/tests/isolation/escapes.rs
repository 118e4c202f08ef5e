//! The table of what programs try, and the netlink requests that some of it takes.

use std::fs;
use std::io::Error;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;

use tombolo_agent::SpawnOptions;

use crate::scene::Scene;

/// Something that a program of root's in mallory's VM tries.
#[derive(Clone, Copy)]
pub(crate) struct Escape {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it tries.
    pub(crate) tries: &'static str,
    /// What `escape` is told.
    argument: (&'static str, Argument),
    /// How the kernel refuses it: one of these, by what the kernel has and who started the lab.
    refused: &'static [&'static str],
    /// Where the same must succeed.
    control: Control,
}

#[derive(Clone, Copy)]
enum Argument {
    /// This.
    Text(&'static str),
    /// The name of an abstract socket of the host's.
    AbstractSocket,
    /// The agent's own socket.
    AgentSocket,
    /// A file of the host's.
    HostFile,
    /// The number of a process of the host's: this one's.
    HostProcess,
}

#[derive(Clone, Copy, PartialEq)]
enum Control {
    /// On the host, as the user that runs the tests.
    Host,
    /// As root of a user namespace of its own.
    OwnNamespaces,
    /// Nowhere that a test may go: the kernel's answer says that it was understood.
    Refusal,
}

const PERMITTED: &[&str] = &["not permitted"];
const DENIED: &[&str] = &["denied"];
/// What belongs to the host, and may not be there at all.
const HOSTS: &[&str] = &["Read-only", "denied", "No such file"];

const fn call(name: &'static str, tries: &'static str, number: &'static str) -> Escape {
    let argument = ("system-call", Argument::Text(number));
    // Or "not implemented", by a kernel that was made without it.
    let refused = &["not permitted", "not implemented"];
    Escape { name, tries, argument, refused, control: Control::Refusal }
}

const fn refused(
    name: &'static str,
    tries: &'static str,
    what: &'static str,
    text: &'static str,
    refused: &'static [&'static str],
) -> Escape {
    Escape { name, tries, argument: (what, Argument::Text(text)), refused, control: Control::Refusal }
}

/// All of them.
pub(crate) const ALL: &[Escape] = &[
    Escape {
        name: "abstract-socket",
        tries: "connects to an abstract unix socket of the host's",
        argument: ("abstract-socket", Argument::AbstractSocket),
        refused: &["refused"],
        control: Control::Host,
    },
    Escape {
        name: "agent-socket",
        tries: "connects to the agent's socket",
        argument: ("path-socket", Argument::AgentSocket),
        refused: &["No such file"],
        control: Control::Host,
    },
    Escape {
        name: "host-file",
        tries: "reads a file of the host's /tmp",
        argument: ("read", Argument::HostFile),
        refused: &["No such file"],
        control: Control::Host,
    },
    Escape {
        name: "signal-the-host",
        tries: "signals a process of the host's",
        argument: ("signal", Argument::HostProcess),
        refused: &["No such process"],
        control: Control::Host,
    },
    Escape {
        name: "mount",
        tries: "mounts something",
        argument: ("mount", Argument::Text("")),
        refused: PERMITTED,
        control: Control::OwnNamespaces,
    },
    Escape {
        name: "device",
        tries: "makes a device that is the machine's memory",
        argument: ("device", Argument::Text("")),
        refused: PERMITTED,
        control: Control::Refusal,
    },
    refused("remount", "makes /usr writable", "remount", "/usr", PERMITTED),
    refused("trace-init", "traces its init, which was the agent's", "trace", "1", PERMITTED),
    refused("read-init", "reads its init's memory", "read", "/proc/1/mem", DENIED),
    refused("enter-inits-network", "enters the network namespace of init", "enter", "/proc/1/ns/net", DENIED),
    refused("enter-inits-user", "enters the user namespace of init", "enter", "/proc/1/ns/user", DENIED),
    refused(
        "enter-its-mounts",
        "enters a mount namespace, be it its own",
        "enter",
        "/proc/self/ns/mnt",
        PERMITTED,
    ),
    refused("core-pattern", "has the host run a program", "write", "/proc/sys/kernel/core_pattern", HOSTS),
    refused("sysrq", "reboots the machine by /proc", "write", "/proc/sysrq-trigger", HOSTS),
    refused("sys", "writes to /sys", "write", "/sys/kernel/mm/ksm/run", HOSTS),
    refused("disk", "opens the machine's memory", "read", "/dev/mem", HOSTS),
    call("reboot", "reboots the machine", "169"),
    call("module", "loads a kernel module", "175"),
    call("kexec", "loads another kernel", "246"),
    call("clock", "sets the machine's clock", "164"),
    call("swap", "takes the machine's swap away", "168"),
    call("accounting", "turns process accounting off", "163"),
    call("pivot", "changes the root", "155"),
    call("hostname", "changes the hostname", "170"),
    refused(
        "routers-links",
        "lists the links of the router's namespace by netlink",
        "links-beside",
        "",
        DENIED,
    ),
    refused(
        "delete-a-routers-link",
        "deletes a neighbour's link in the router's namespace by netlink",
        "delete-beside",
        "v0a010003",
        DENIED,
    ),
];

/// Makes those whose names contain the filter.
pub(crate) fn run(filter: &str, tell: &mut impl FnMut(&str, &str, &[String])) {
    let chosen: Vec<_> = ALL.iter().filter(|escape| escape.name.contains(filter)).collect();
    if chosen.is_empty() {
        return;
    }
    let dir = tempfile::Builder::new().prefix("tombolo-isolation-").tempdir_in("/tmp").unwrap();
    let name = format!("tombolo-isolation-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    let (socket, file) = (dir.path().join("run/agent"), dir.path().join("file"));
    fs::write(&file, "the host's").unwrap();
    let mut scene = Scene::new(&SpawnOptions { listen: Some(socket.clone()), ..SpawnOptions::default() });
    for escape in chosen {
        let argument = match escape.argument.1 {
            Argument::Text(text) => text.to_owned(),
            Argument::AbstractSocket => name.clone(),
            Argument::AgentSocket => socket.to_str().unwrap().to_owned(),
            Argument::HostFile => file.to_str().unwrap().to_owned(),
            Argument::HostProcess => std::process::id().to_string(),
        };
        let argv = ["escape", escape.argument.0, &argument];
        let mut found = Vec::new();
        let program = std::env::current_exe().unwrap();
        let vms = program.file_name().unwrap().to_str().unwrap();
        let inside: Vec<String> = [vms].iter().chain(&argv).map(|arg| (*arg).to_owned()).collect();
        let (code, out) = scene.run(&inside);
        if code != 1 || !escape.refused.iter().any(|answer| out.contains(answer)) {
            found.push(format!("exit status {code}, wanted 1 and one of {:?}: {out}", escape.refused));
        }
        let mut control = Command::new(&program);
        match escape.control {
            Control::OwnNamespaces => control.args([argv[0], argv[1], "own"]),
            Control::Host | Control::Refusal => control.args(argv),
        };
        if escape.control != Control::Refusal {
            let output = control.output().unwrap();
            if !output.status.success() {
                let out = String::from_utf8_lossy(&output.stdout);
                found.push(format!("it does not work where it is allowed either: {out}"));
            }
        }
        let heard = scene.settle();
        found.extend(heard.iter().map(|(who, frame)| format!("{who} heard {frame:02x?}")));
        found.extend(scene.changed().iter().map(|(edit, why)| format!("changed: {edit}, because {why}")));
        tell(escape.name, escape.tries, &found);
    }
}

/// How many links there are in the network namespace of this number.
pub(crate) fn link_names(netns: i32) -> Result<usize, Error> {
    netlink(18, 0x300, Some(netns), None)
}

/// One rtnetlink request about links: its type and flags, the namespace that is meant (`IFLA_TARGET_NETNSID`), the
/// link. How many messages came in answer, or the kernel's error.
pub(crate) fn netlink(kind: u16, flags: u16, netns: Option<i32>, link: Option<&str>) -> Result<usize, Error> {
    let mut body = vec![0; 16];
    let mut attribute = |kind: u16, value: &[u8]| {
        body.extend((4 + value.len() as u16).to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
    };
    if let Some(netns) = netns {
        attribute(46, &netns.to_ne_bytes());
    }
    if let Some(link) = link {
        attribute(3, &[link.as_bytes(), &[0]].concat());
    }
    let mut request = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
    request.extend([kind, flags | 1].map(u16::to_ne_bytes).concat());
    request.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    request.extend(body);
    // SAFETY: the buffers outlive the calls, with their true sizes; the socket is ours.
    unsafe {
        let fd = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE);
        assert!(fd >= 0, "{}", Error::last_os_error());
        let socket = OwnedFd::from_raw_fd(fd);
        let sent = libc::send(socket.as_raw_fd(), request.as_ptr().cast(), request.len(), 0);
        assert_eq!(sent, request.len() as isize, "{}", Error::last_os_error());
        let mut messages = 0;
        loop {
            let mut buffer = [0u8; 65536];
            let got = libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0);
            assert!(got > 0, "{}", Error::last_os_error());
            let mut rest = &buffer[..got as usize];
            while rest.len() >= 16 {
                let length = u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize;
                let kind = u16::from_ne_bytes(rest[4..6].try_into().unwrap());
                // NLMSG_ERROR and NLMSG_DONE begin with an error, which is 0 for success.
                if kind == 2 || kind == 3 {
                    return match i32::from_ne_bytes(rest[16..20].try_into().unwrap()) {
                        0 => Ok(messages),
                        error => Err(Error::from_raw_os_error(-error)),
                    };
                }
                messages += 1;
                rest = &rest[length.next_multiple_of(4).min(rest.len())..];
            }
        }
    }
}

//! Port 22 of VMs, and connections from within the lab. What serves a connection here says what it was told.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::FromRawFd;
use std::process::ExitCode;

use tombolo_agent::{SshConfig, VmSpec};

use crate::Test;
use crate::support::{LIMIT, Lab, vm};

pub(crate) const TESTS: &[Test] = &[
    ("each_connection_is_served_in_its_vm", each_connection_is_served_in_its_vm),
    ("what_is_configured_listens", what_is_configured_listens),
    ("a_connection_outlives_no_vm", a_connection_outlives_no_vm),
    ("a_port_that_is_only_tried_starts_nothing", a_port_that_is_only_tried_starts_nothing),
];

/// The subcommand `vm-sshd` of this binary: tells what it was told, and the VM's name, until the client has enough.
pub(crate) fn serve_main() -> ExitCode {
    // SAFETY: the standard descriptors are this program's own.
    let (mut socket, mut config) = unsafe { (File::from_raw_fd(0), File::from_raw_fd(1)) };
    let mut text = String::new();
    config.rewind().unwrap();
    config.read_to_string(&mut text).unwrap();
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    socket.write_all(format!("{text} {name}").as_bytes()).unwrap();
    let _ = socket.read(&mut [0]);
    ExitCode::SUCCESS
}

fn with_ssh(key: &str, config: &str) -> VmSpec {
    VmSpec { ssh: Some(SshConfig(config.into())), ..vm(key) }
}

/// What port 22 says in a network namespace; `None` when nobody listens.
fn told(lab: &Lab, netns: &str) -> Option<String> {
    let here = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 22);
    let mut stream = match lab.agent.connect_from(netns, here, LIMIT).unwrap() {
        Ok(stream) => stream,
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{error}");
            return None;
        }
    };
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(b"!").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    Some(text)
}

fn each_connection_is_served_in_its_vm() {
    let lab = Lab::new();
    lab.agent.set_vms(vec![with_ssh("a", "one"), vm("b")]).unwrap();
    assert_eq!(told(&lab, "net-a").as_deref(), Some("one vm-a\n"));
    assert_eq!(told(&lab, "net-a").as_deref(), Some("one vm-a\n"));
    assert_eq!(told(&lab, "net-b"), None);
    // Nothing of it is left in the VM.
    assert_eq!(lab.sh("a", "set -- /proc/[0-9]*; echo $#").out, "2\n", "init and sh");
}

fn what_is_configured_listens() {
    let lab = Lab::new();
    lab.agent.set_vms(vec![with_ssh("a", "one"), with_ssh("b", "two")]).unwrap();
    assert_eq!(told(&lab, "net-b").as_deref(), Some("two vm-b\n"));
    lab.agent.set_vms(vec![vm("a"), with_ssh("b", "three")]).unwrap();
    assert_eq!(told(&lab, "net-a"), None);
    assert_eq!(told(&lab, "net-b").as_deref(), Some("three vm-b\n"));
    lab.agent.set_vms(vec![]).unwrap();
    assert_eq!(told(&lab, "net-b"), None);
    lab.agent.set_vms(vec![with_ssh("b", "four")]).unwrap();
    assert_eq!(told(&lab, "net-b").as_deref(), Some("four vm-b\n"));
}

fn a_connection_outlives_no_vm() {
    let lab = Lab::new();
    lab.agent.set_vms(vec![with_ssh("a", "one"), vm("b")]).unwrap();
    let here = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 22);
    let mut stream = lab.agent.connect_from("net-a", here, LIMIT).unwrap().unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.read_exact(&mut [0; 9]).unwrap();
    lab.agent.set_vms(vec![vm("b")]).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

fn a_port_that_is_only_tried_starts_nothing() {
    let lab = Lab::new();
    lab.agent.set_vms(vec![with_ssh("a", "one")]).unwrap();
    let here = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 22);
    let connect = || lab.agent.connect_from("net-a", here, LIMIT).unwrap().unwrap();
    for _ in 0..30 {
        drop(connect());
        assert_eq!(lab.user_ns().processes().len(), 3, "stub, agent and guests");
    }
    // Who waits for the server's first line gets it.
    let mut silent = connect();
    silent.set_read_timeout(Some(LIMIT)).unwrap();
    silent.read_exact(&mut [0; 9]).unwrap();
    assert_eq!(lab.user_ns().processes().len(), 5, "an init and its program, too");
}

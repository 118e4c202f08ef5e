//! Sockets that a server outside has in the lab's network namespaces.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use tombolo_agent::AgentError;

use crate::Test;
use crate::support::{LIMIT, Lab};

pub(crate) const TESTS: &[Test] = &[
    (
        "sockets_listen_in_their_namespace_and_nowhere_else",
        sockets_listen_in_their_namespace_and_nowhere_else,
    ),
    ("what_cannot_be_bound_is_refused_whole", what_cannot_be_bound_is_refused_whole),
];

const HERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80);

fn sockets_listen_in_their_namespace_and_nowhere_else() {
    let lab = Lab::new();
    let (listeners, datagrams) = lab.agent.bind("net-a", &[HERE], &[HERE]).unwrap();
    assert_eq!((listeners.len(), datagrams.len()), (1, 1));
    let mut client = lab.agent.connect_from("net-a", HERE, LIMIT).unwrap().unwrap();
    let (mut served, _) = listeners[0].accept().unwrap();
    served.write_all(b"hello").unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    let mut got = [0; 5];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello");

    datagrams[0].set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!(lab.sh("a", "bash -c 'echo -n hi >/dev/udp/127.0.0.1/80'").code, 0);
    let mut got = [0; 8];
    assert_eq!(datagrams[0].recv(&mut got).unwrap(), 2);

    let refused = lab.agent.connect_from("net-b", HERE, LIMIT).unwrap().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    // The place is free again when nobody holds the socket.
    drop(listeners);
    let refused = lab.agent.connect_from("net-a", HERE, LIMIT).unwrap().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    lab.agent.bind("net-a", &[HERE], &[]).unwrap();
}

fn what_cannot_be_bound_is_refused_whole() {
    let lab = Lab::new();
    let refusal =
        |netns: &str, tcp: &[SocketAddrV4], udp: &[SocketAddrV4]| match lab.agent.bind(netns, tcp, udp) {
            Err(AgentError::Refused(why)) => why,
            other => panic!("{other:?}"),
        };
    assert!(refusal("net-c", &[HERE], &[]).contains("no network namespace net-c"));
    // Not an address of this namespace; and the other socket does not stay behind.
    let elsewhere = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 53);
    assert!(refusal("net-a", &[HERE], &[elsewhere]).contains("listen in net-a"));
    lab.agent.bind("net-a", &[HERE], &[]).unwrap();
}

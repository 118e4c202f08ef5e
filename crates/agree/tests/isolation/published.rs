//! Attempts by way of a published service: `other`, in vpc-4, is behind a rule that takes one port. mallory's network has an
//! endpoint of it, which mallory may use, and so has its peer, whose endpoint is not for mallory.

use std::net::Ipv4Addr;

use tombolo_fabric::METADATA_SERVER;

use crate::frame::{CLOSED_PORT, Frame, ICMP, Ip, PORT, TCP, UDP};
use crate::scene::{CLOSED, ENDPOINT, MALLORY, NAT, OPEN, OTHER, PEER, PEER_ENDPOINT, RULE};
use crate::suite::{Attempt, by, frame};

/// A datagram, whoever it says it is from.
fn datagram(sender: Ipv4Addr, source: Ipv4Addr, destination: Ipv4Addr, ports: (u16, u16)) -> Vec<Frame> {
    frame(sender, Ip::new(source, destination, UDP).udp(ports, b"isolation"))
}

pub(crate) const PUBLISHED: &[Attempt] = &[
    by("mallory", "endpoint-of-a-peer", "the endpoint that a peer has", || {
        datagram(MALLORY, MALLORY, PEER_ENDPOINT, (4100, PORT))
    }),
    by(
        "mallory",
        "endpoint-of-a-peer-in-its-name",
        "the endpoint that a peer has, in the peer's name",
        || datagram(MALLORY, PEER, PEER_ENDPOINT, (4100, PORT)),
    ),
    by("mallory", "endpoint-other-port", "another port of the service", || {
        datagram(MALLORY, MALLORY, ENDPOINT, (4100, CLOSED_PORT))
    }),
    by("mallory", "endpoint-other-protocol", "another protocol of the service", || {
        frame(MALLORY, Ip::new(MALLORY, ENDPOINT, TCP).tcp((4100, PORT), 2))
    }),
    by("mallory", "endpoint-echo", "the service's echo", || {
        frame(MALLORY, Ip::new(MALLORY, ENDPOINT, ICMP).icmp(8, 0, [0, 1, 0, 1], b"isolation"))
    }),
    by("mallory", "endpoint-dhcp-offer", "a DHCP offer by the endpoint", || {
        datagram(MALLORY, MALLORY, ENDPOINT, (67, 68))
    }),
    by("mallory", "endpoint-in-a-neighbours-name", "the service in a neighbour's name", || {
        datagram(MALLORY, CLOSED, ENDPOINT, (4100, PORT))
    }),
    by("mallory", "endpoint-in-the-nats-name", "the service in the name of what its clients become", || {
        datagram(MALLORY, NAT, ENDPOINT, (4100, PORT))
    }),
    by("mallory", "behind-the-endpoint", "the published rule's own address", || {
        datagram(MALLORY, MALLORY, RULE, (4100, PORT))
    }),
    by("mallory", "around-the-endpoint", "the address of the instance behind it", || {
        datagram(MALLORY, MALLORY, OTHER, (4100, PORT))
    }),
    by("mallory", "to-the-nat", "what clients of the service become", || {
        datagram(MALLORY, MALLORY, NAT, (4100, PORT))
    }),
    by("mallory", "as-the-endpoint", "a neighbour, in the endpoint's name", || {
        datagram(MALLORY, ENDPOINT, OPEN, (PORT, PORT))
    }),
    by("mallory", "endpoint-source-route", "the endpoint is told to pass it on", || {
        let options = [&[0x83, 7, 4][..], &OTHER.octets(), &[0]].concat();
        let ip = Ip { options, ..Ip::new(MALLORY, ENDPOINT, UDP) };
        frame(MALLORY, ip.udp((4100, PORT), b"isolation"))
    }),
    by("other", "producer-calls-its-clients", "the clients, by what they become there", || {
        datagram(OTHER, OTHER, NAT, (4100, PORT))
    }),
    by("other", "producer-answers-unasked", "an answer that no client asked for", || {
        datagram(OTHER, RULE, NAT, (PORT, 4100))
    }),
    by("other", "producer-calls-mallory", "a client's own address", || {
        datagram(OTHER, OTHER, MALLORY, (4100, PORT))
    }),
    by("other", "producer-error", "an error about a connection among the clients", || {
        let quoted = Ip::new(OPEN, MALLORY, UDP).udp((PORT, PORT), b"isolation");
        frame(OTHER, Ip::new(OTHER, NAT, ICMP).icmp(3, 3, [0; 4], &quoted))
    }),
    by("other", "producer-to-the-clients-server", "the metadata server of a client's network", || {
        datagram(OTHER, METADATA_SERVER, NAT, (4100, PORT))
    }),
];

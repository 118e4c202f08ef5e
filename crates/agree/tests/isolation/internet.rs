//! Attempts by way of the internet: what its client sends, and what mallory sends there, which has no external address.
//! `open`, `closed` and `peer` have one.

use std::net::Ipv4Addr;

use tombolo_fabric::{IAP_CLIENT, INTERNET_CLIENT};

use crate::frame::{CLOSED_PORT, Frame, ICMP, Ip, PORT, TCP, UDP};
use crate::scene::{
    CLOSED, CLOSED_OUTSIDE, MALLORY, NAT_OUTSIDE, OPEN, OPEN_OUTSIDE, PEER, PEER_OUTSIDE, REDIS,
};
use crate::suite::{Attempt, by, frame};

/// An external address that nobody has.
const NOBODY_OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 99);

/// A datagram that the internet's client sends.
fn client(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<Frame> {
    frame(INTERNET_CLIENT, Ip::new(source, destination, UDP).udp((4100, PORT), b"isolation"))
}

/// A datagram that mallory sends.
fn mallory(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<Frame> {
    frame(MALLORY, Ip::new(source, destination, UDP).udp((4100, PORT), b"isolation"))
}

pub(crate) const INTERNET: &[Attempt] = &[
    by("internet", "internet-to-an-inner-address", "a VM's own address from outside", || {
        client(INTERNET_CLIENT, OPEN)
    }),
    by("internet", "internet-to-redis", "a managed service from outside", || client(INTERNET_CLIENT, REDIS)),
    by("internet", "internet-to-nobody", "an external address that nobody has", || {
        client(INTERNET_CLIENT, NOBODY_OUTSIDE)
    }),
    by("internet", "internet-to-a-nat", "the address of Cloud NAT, beside a connection that it has", || {
        client(INTERNET_CLIENT, NAT_OUTSIDE)
    }),
    by("internet", "internet-spoofs-an-answer", "an answer by Cloud NAT from somebody else", || {
        frame(INTERNET_CLIENT, Ip::new(PEER_OUTSIDE, NAT_OUTSIDE, UDP).udp((PORT, PORT), b"isolation"))
    }),
    by("mallory", "around-by-cloud-nat", "the address of Cloud NAT of a peer's peer", || {
        mallory(MALLORY, NAT_OUTSIDE)
    }),
    by("internet", "internet-to-a-closed-port", "past the firewall of a VM with an external address", || {
        let syn = Ip::new(INTERNET_CLIENT, CLOSED_OUTSIDE, TCP).tcp((4100, CLOSED_PORT), 2);
        frame(INTERNET_CLIENT, syn)
    }),
    by("internet", "internet-spoofs-a-neighbour", "the name of a VM in the receiver's network", || {
        client(MALLORY, OPEN_OUTSIDE)
    }),
    by("internet", "internet-spoofs-the-receiver", "the receiver's own inner name", || {
        client(OPEN, OPEN_OUTSIDE)
    }),
    by("internet", "internet-spoofs-an-external", "the external name of another VM", || {
        client(PEER_OUTSIDE, OPEN_OUTSIDE)
    }),
    by("internet", "internet-spoofs-itself", "the receiver's own external name", || {
        client(OPEN_OUTSIDE, OPEN_OUTSIDE)
    }),
    by("internet", "internet-spoofs-iap", "the name of Identity-Aware Proxy", || {
        client(IAP_CLIENT, OPEN_OUTSIDE)
    }),
    by("internet", "internet-dhcp-offer", "a DHCP offer from outside", || {
        frame(INTERNET_CLIENT, Ip::new(INTERNET_CLIENT, OPEN_OUTSIDE, UDP).udp((67, 68), b"isolation"))
    }),
    by("internet", "internet-error", "an error about a connection inside", || {
        let quoted = Ip::new(OPEN, MALLORY, UDP).udp((PORT, PORT), b"isolation");
        frame(INTERNET_CLIENT, Ip::new(INTERNET_CLIENT, OPEN_OUTSIDE, ICMP).icmp(3, 3, [0; 4], &quoted))
    }),
    by("internet", "internet-source-route", "a VM is told to pass it on inside", || {
        let options = [&[0x83, 7, 4][..], &MALLORY.octets(), &[0]].concat();
        let ip = Ip { options, ..Ip::new(INTERNET_CLIENT, OPEN_OUTSIDE, UDP) };
        frame(INTERNET_CLIENT, ip.udp((4100, PORT), b"isolation"))
    }),
    by("mallory", "out-without-an-address", "the internet without an external address", || {
        mallory(MALLORY, INTERNET_CLIENT)
    }),
    by("mallory", "out-in-a-neighbours-name", "the internet in the name of a neighbour that has one", || {
        mallory(OPEN, INTERNET_CLIENT)
    }),
    by("mallory", "out-in-an-external-name", "the internet in a neighbour's external name", || {
        mallory(OPEN_OUTSIDE, INTERNET_CLIENT)
    }),
    by("mallory", "around-by-the-internet", "a neighbour's external address, without one", || {
        mallory(MALLORY, OPEN_OUTSIDE)
    }),
    by("mallory", "around-by-the-internet-to-a-peer", "a peer's external address, without one", || {
        mallory(MALLORY, PEER_OUTSIDE)
    }),
    by("mallory", "back-to-the-internet", "an answer that nobody asked for", || {
        frame(MALLORY, Ip::new(MALLORY, INTERNET_CLIENT, TCP).tcp((PORT, 4100), 0x12))
    }),
    by("mallory", "inner-to-closed", "a neighbour's own address, in the internet's name", || {
        mallory(INTERNET_CLIENT, CLOSED)
    }),
    by("mallory", "inner-to-a-peer", "a peer, in the internet's name", || mallory(INTERNET_CLIENT, PEER)),
];

//! Attempts by way of the host's network: what must not leave for it, and what must not come from it. `open` has a way there.

use std::net::Ipv4Addr;

use tombolo_dataplane::host::header;
use tombolo_fabric::{IAP_CLIENT, INTERNET_CLIENT, METADATA_SERVER};

use crate::frame::{Frame, ICMP, Ip, PORT, TCP, UDP};
use crate::scene::{BEYOND, CLOSED_OUTSIDE, FAR, MALLORY, OPEN, OPEN_OUTSIDE, PEER_OUTSIDE};
use crate::suite::{Attempt, by, frame};

fn mallory(source: Ipv4Addr) -> Vec<Frame> {
    frame(MALLORY, Ip::new(source, BEYOND, UDP).udp((4200, PORT), b"isolation"))
}

/// A datagram and a ping that open sends.
fn open(destination: [u8; 4]) -> Vec<Frame> {
    let to = |protocol| Ip::new(OPEN, destination.into(), protocol);
    [to(UDP).udp((4200, PORT), b"isolation"), to(ICMP).ping()].map(|packet| frame(OPEN, packet)).concat()
}

/// What comes from there.
fn comes(packet: Vec<u8>) -> Vec<Frame> {
    vec![[&header()[..], &packet].concat()]
}

fn datagram(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<Frame> {
    comes(Ip::new(source, destination, UDP).udp((PORT, 4201), b"isolation"))
}

pub(crate) const HOST: &[Attempt] = &[
    by("mallory", "host-without-an-address", "the host's network without an external address", || {
        mallory(MALLORY)
    }),
    by("mallory", "host-in-a-neighbours-name", "the same in the name of a neighbour that has one", || {
        mallory(OPEN)
    }),
    by("mallory", "host-in-an-external-name", "the same in a neighbour's external name", || {
        mallory(OPEN_OUTSIDE)
    }),
    by("open", "host-itself", "the host's loopback", || [open([127, 0, 0, 1]), open([0, 0, 0, 1])].concat()),
    by("open", "host-link", "the host's link", || open([169, 254, 1, 1])),
    by("open", "host-cloud", "the server that the host's cloud has for its VMs", || {
        [open([100, 100, 100, 200]), open([168, 63, 129, 16]), open([192, 0, 0, 192])].concat()
    }),
    by("open", "host-groups", "groups, and everybody", || {
        [open([224, 0, 0, 251]), open([239, 255, 255, 250]), open([255, 255, 255, 255])].concat()
    }),
    by("open", "host-for-the-lab", "a network of the lab that there is no way to", || open(FAR.octets())),
    by("open", "host-for-external", "an external address that nobody has", || open([198, 18, 0, 99])),
    by("open", "host-for-iap", "the name of Identity-Aware Proxy", || open(IAP_CLIENT.octets())),
    by("open", "host-by-others", "what is neither TCP nor UDP nor ICMP", || {
        let others =
            [2, 4, 41, 47, 50, 89, 132].map(|number| Ip::new(OPEN, BEYOND, number).packet(b"isolation"));
        others.map(|packet| frame(OPEN, packet)).concat()
    }),
    by("open", "host-error", "an error about no connection", || {
        let quoted = Ip::new(BEYOND, OPEN, UDP).udp((PORT, 4202), b"isolation");
        frame(OPEN, Ip::new(OPEN, BEYOND, ICMP).icmp(3, 3, [0; 4], &quoted))
    }),
    by("open", "host-offer", "an offer to whoever asks for an address", || {
        frame(OPEN, Ip::new(OPEN, BEYOND, UDP).udp((67, 68), b"isolation"))
    }),
    by("host", "host-unasked", "a VM, which has not asked", || datagram(BEYOND, OPEN_OUTSIDE)),
    by("host", "host-unasked-by-others", "a VM by a connection", || {
        comes(Ip::new(BEYOND, OPEN_OUTSIDE, TCP).tcp((PORT, 4201), 2))
    }),
    by("host", "host-ping", "whether a VM is there", || comes(Ip::new(BEYOND, OPEN_OUTSIDE, ICMP).ping())),
    by("host", "host-inner", "a VM's own address", || datagram(BEYOND, OPEN)),
    by("host", "host-as-internet", "in the name of the lab's client", || {
        datagram(INTERNET_CLIENT, OPEN_OUTSIDE)
    }),
    by("host", "host-as-vm", "in the name of another VM", || {
        [datagram(PEER_OUTSIDE, OPEN_OUTSIDE), datagram(CLOSED_OUTSIDE, OPEN_OUTSIDE)].concat()
    }),
    by("host", "host-to-the-internet", "the lab's client", || datagram(BEYOND, INTERNET_CLIENT)),
    by("host", "host-back", "back out by the internet's router", || {
        datagram(OPEN_OUTSIDE, Ipv4Addr::new(8, 8, 8, 8))
    }),
    by("host", "host-error-unasked", "an error about a connection inside", || {
        let quoted = Ip::new(OPEN_OUTSIDE, INTERNET_CLIENT, UDP).udp((4100, 4203), b"isolation");
        comes(Ip::new(BEYOND, OPEN_OUTSIDE, ICMP).icmp(3, 3, [0; 4], &quoted))
    }),
    by("host", "host-router", "the routers' server", || datagram(BEYOND, METADATA_SERVER)),
];

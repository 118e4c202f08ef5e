//! The suite: every attempt on the wire, then in the lab.

use std::net::Ipv4Addr;

use tombolo_agent::SpawnOptions;

use crate::frame::{Frame, ICMP, IPV4, Ip, PORT, TCP, UDP, ethernet};
use crate::scene::{MALLORY, OPEN, PEER, Scene, gateway_mac, wire};
use crate::{escapes, host, internet, ipv6s, links, packets, published};
use tombolo_model::instance::mac_of;

/// Something that mallory, which is root in its VM and has raw sockets, or another that is named tries with frames.
#[derive(Clone, Copy)]
pub(crate) struct Attempt {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it tries.
    pub(crate) tries: &'static str,
    /// Who sends.
    pub(crate) from: &'static str,
    /// What others do before, to give it a chance.
    pub(crate) before: fn(&mut Scene),
    /// What is sent.
    pub(crate) frames: fn() -> Vec<Frame>,
}

/// An attempt that nobody does anything for before.
pub(crate) const fn by(
    from: &'static str,
    name: &'static str,
    tries: &'static str,
    frames: fn() -> Vec<Frame>,
) -> Attempt {
    Attempt { name, tries, from, before: nothing, frames }
}

/// A packet as a VM sends it to its gateway.
pub(crate) fn frame(sender: Ipv4Addr, packet: Vec<u8>) -> Vec<Frame> {
    vec![ethernet(gateway_mac(sender), mac_of(sender), IPV4, &packet)]
}

/// Nothing is done before.
pub(crate) fn nothing(_: &mut Scene) {}

/// All attempts with frames.
fn attempts() -> Vec<Attempt> {
    [
        packets::SPOOFED,
        packets::PAST_THE_GATEWAY,
        packets::TRANSIT,
        packets::FRAGMENTS,
        packets::STATE,
        links::ARPS,
        links::IPV6S,
        ipv6s::SPOOFED,
        ipv6s::TRANSIT,
        ipv6s::DISCOVERY,
        ipv6s::HEADERS,
        ipv6s::STATE,
        links::ETHERTYPES,
        internet::INTERNET,
        host::HOST,
        published::PUBLISHED,
    ]
    .concat()
}

/// The names of all attempts.
pub(crate) fn names() -> Vec<&'static str> {
    attempts()
        .iter()
        .map(|attempt| attempt.name)
        .chain(escapes::ALL.iter().map(|escape| escape.name))
        .collect()
}

/// Makes the attempts whose names contain the filter, and tells how many tests failed.
pub(crate) fn run(filter: &str) -> usize {
    let chosen: Vec<Attempt> =
        attempts().into_iter().filter(|attempt| attempt.name.contains(filter)).collect();
    let mut failed = 0;
    let mut tell = |name: &str, tries: &str, found: &[String]| {
        let verdict = if found.is_empty() { "ok" } else { "FAILED" };
        println!("test {name} ({tries}) ... {verdict}");
        found.iter().for_each(|line| println!("    {line}"));
        failed += usize::from(!found.is_empty());
    };
    if !chosen.is_empty() {
        tell("wire", "whatever is sent arrives where nothing is in the way", &on_the_wire(&chosen));
        let mut scene = Scene::new(&SpawnOptions::default());
        tell("allowed", "what the firewall lets through gets through", &allowed(&mut scene));
        for attempt in &chosen {
            tell(attempt.name, attempt.tries, &in_the_lab(&mut scene, attempt));
        }
    }
    escapes::run(filter, &mut tell);
    failed
}

/// The attempts of which not every frame arrived at the other end of a wire.
fn on_the_wire(attempts: &[Attempt]) -> Vec<String> {
    let (_agent, mut a, mut b) = wire(&SpawnOptions::default());
    let mut lost = Vec::new();
    for attempt in attempts {
        let frames = (attempt.frames)();
        b.drain();
        frames.iter().for_each(|frame| a.send(frame));
        let mut arrived = Vec::new();
        // A frame has arrived when the call that sent it returns, but on a busy machine.
        for _ in 0..1000 {
            arrived.extend(b.drain());
            if arrived.len() >= frames.len() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        if arrived.len() != frames.len() {
            lost.push(format!("{}: {} of {} frames arrived", attempt.name, arrived.len(), frames.len()));
        }
    }
    lost
}

/// What of the families' own kind does not arrive although it is allowed: the same tools, honestly used.
fn allowed(scene: &mut Scene) -> Vec<String> {
    let mut lost = Vec::new();
    let to_gateway = |packet| frame(MALLORY, packet);
    let fragmented = Ip::new(MALLORY, OPEN, UDP);
    let honest = [
        ("tcp", "open", to_gateway(Ip::new(MALLORY, OPEN, TCP).tcp((4100, PORT), 2))),
        ("icmp", "open", to_gateway(Ip::new(MALLORY, OPEN, ICMP).ping())),
        ("esp", "peer", to_gateway(Ip::new(MALLORY, PEER, 50).packet(b"isolation"))),
        ("fragments", "open", {
            packets::pieces(&fragmented, &fragmented.udp_body((PORT, PORT), b"isolation!!!"), 100, &[0, 8])
        }),
        ("error", "open", {
            // Mallory and open are the ends of what has been sent to settle.
            let quoted = Ip::new(OPEN, MALLORY, UDP).udp((PORT, PORT), b"isolation");
            to_gateway(Ip::new(MALLORY, OPEN, ICMP).icmp(3, 3, [0; 4], &quoted))
        }),
    ];
    scene.settle();
    for (name, at, frames) in honest.into_iter().chain(ipv6s::honest()) {
        frames.iter().for_each(|frame| scene.ear("mallory").send(frame));
        // A reply comes back for some; who else hears anything is for the attempts.
        if !scene.settle().iter().any(|(who, _)| *who == at) {
            lost.push(format!("{name}: nothing arrived at {at}"));
        }
    }
    lost
}

/// What an attempt came to: nobody hears anything, nothing is otherwise than before, and what is allowed still arrives.
fn in_the_lab(scene: &mut Scene, attempt: &Attempt) -> Vec<String> {
    scene.settle();
    (attempt.before)(scene);
    for frame in (attempt.frames)() {
        scene.ear(attempt.from).send(&frame);
    }
    let heard = scene.settle();
    let heard = heard.iter().map(|(who, frame)| format!("{who} heard {frame:02x?}"));
    let changed = scene.changed().into_iter().map(|(edit, why)| format!("changed: {edit}, because {why}"));
    heard.chain(changed).collect()
}

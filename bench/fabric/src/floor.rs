//! The yardstick: what `up` makes, made by the fastest loop that was found, without anything that knows what it makes.
//!
//! For each VM a namespace, a veth pair, an address, a permanent neighbour and a route at both ends; for each network a
//! router namespace that forwards. No rules, no aliases, no reverse-path filter by link, nothing read back. Namespaces are
//! held as descriptors, requests are sent in batches, the router's end is made up and the VM's end set up after it.
//!
//! What helps, as measured: IPv6 off in the router, a preferred source for its routes (without one the kernel looks at
//! every interface for each route), one queue for each veth, indexes that nobody has to ask for.

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// `linux/rtnetlink.h`, `linux/netlink.h`, `linux/if_link.h`
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const NEW_NEIGHBOUR: u16 = 28;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE: u16 = 0x400;
const NESTED: u16 = 0x8000;

/// Requests that go out together: the answers must have room.
const BATCH: usize = 96;
/// What a router calls itself.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// The namespaces, held.
struct Made {
    routers: Vec<OwnedFd>,
    vms: Vec<(OwnedFd, Ipv4Addr)>,
}

/// A router and a VM with a plain veth pair between them.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let mut made = make(1, 1)?;
    let (vm, _) = made.vms.pop().context("a VM")?;
    Ok((made.routers.pop().context("a router")?, vm))
}

/// Makes so many VMs in so many networks, and tells how long that took. The calling process must have a user namespace and
/// a network namespace of its own.
pub fn run(vms: u32, networks: u32) -> Result<Duration> {
    let started = Instant::now();
    let made = make(vms, networks)?;
    let up = started.elapsed();
    // One in a hundred, after the clock has stopped: what does not work is no yardstick.
    for (vm, address) in made.vms.iter().step_by(100) {
        setns(vm, CloneFlags::CLONE_NEWNET)?;
        answers().with_context(|| format!("{address} gets no answer from its router"))?;
    }
    Ok(up)
}

fn make(vms: u32, networks: u32) -> Result<Made> {
    let mut made = Made { routers: Vec::new(), vms: Vec::new() };
    for network in 0..networks {
        let count = vms / networks + u32::from(network < vms % networks);
        let (router, mut netlink) = namespace()?;
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        if fs::exists("/proc/sys/net/ipv6")? {
            fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")?;
            fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")?;
        }
        netlink.ask(address(1, ROUTER))?;
        netlink.finish()?;
        let mut spaces = Vec::new();
        for n in 0..count {
            let (fd, theirs) = namespace()?;
            netlink.ask(veth(n + 2, fd.as_raw_fd()))?;
            spaces.push((fd, theirs));
        }
        netlink.finish()?;
        for (n, (fd, mut theirs)) in (0u32..).zip(spaces) {
            let own = Ipv4Addr::from(0x0a00_0002 + (network << 16) + n);
            let gateway = Ipv4Addr::from(0x0a00_0001 + (network << 16));
            theirs.ask(link_up(ETH))?;
            theirs.ask(address(ETH, own))?;
            theirs.ask(neighbour(ETH, gateway, mac(n, 1)))?;
            theirs.ask(route(ETH, None, Some(gateway), None))?;
            theirs.finish()?;
            netlink.ask(get_link(n + 2))?;
            netlink.ask(neighbour(n + 2, own, mac(n, 2)))?;
            netlink.ask(route(n + 2, Some(own), None, Some(ROUTER)))?;
            made.vms.push((fd, own));
        }
        netlink.finish()?;
        made.routers.push(router);
    }
    Ok(made)
}

/// The index of a VM's interface.
const ETH: u32 = 2;

/// The MAC address of an end of a link.
fn mac(n: u32, end: u8) -> [u8; 6] {
    let [a, b, c, d] = n.to_be_bytes();
    [0x02 | end << 4, a, b, c, d, end]
}

/// A new namespace, in which the thread is then, and a connection to it; `lo` is up.
fn namespace() -> Result<(OwnedFd, Netlink)> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    let fd = File::open("/proc/thread-self/ns/net")?.into();
    let mut netlink = Netlink::open()?;
    netlink.ask(link_up(1))?;
    netlink.finish()?;
    Ok((fd, netlink))
}

/// Whether the router answers an echo request.
fn answers() -> Result<()> {
    let icmp = socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), SockProtocol::Icmp)?;
    let to = nix::sys::socket::SockaddrIn::from(std::net::SocketAddrV4::new(ROUTER, 0));
    // Type 8, and a checksum over what else is zero.
    let request = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    nix::sys::socket::setsockopt(
        &icmp,
        nix::sys::socket::sockopt::ReceiveTimeout,
        &nix::sys::time::TimeVal::new(2, 0),
    )?;
    nix::sys::socket::sendto(icmp.as_raw_fd(), &request, &to, MsgFlags::empty())?;
    let mut answer = [0; 64];
    loop {
        let length = recv(icmp.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        if answer.get(20) == Some(&0) && length >= 28 {
            return Ok(());
        }
    }
}

/// A connection to the routing part of the kernel.
struct Netlink {
    socket: OwnedFd,
    batch: Vec<u8>,
    /// Where each request of the batch begins.
    starts: Vec<usize>,
}

impl Netlink {
    fn open() -> Result<Netlink> {
        let (family, kind) = (AddressFamily::Netlink, SockType::Raw);
        let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Netlink { socket, batch: Vec::new(), starts: Vec::new() })
    }

    fn ask(&mut self, request: Vec<u8>) -> Result<()> {
        self.starts.push(self.batch.len());
        self.batch.extend(request);
        if self.starts.len() == BATCH { self.finish() } else { Ok(()) }
    }

    /// Sends what has gathered. What fails is told in any case; of success only the last one's is asked for.
    fn finish(&mut self) -> Result<()> {
        let Some(last) = self.starts.last().copied() else { return Ok(()) };
        self.batch[last + 6] |= ACK as u8;
        for (n, start) in self.starts.iter().enumerate() {
            self.batch[start + 8..start + 12].copy_from_slice(&(n as u32 + 1).to_ne_bytes());
        }
        send(self.socket.as_raw_fd(), &self.batch, MsgFlags::empty())?;
        let mut answer = [0; 1 << 14];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
            let answer = answer.get(..length).unwrap_or_default();
            let word =
                |at: usize| answer.get(at..at + 4).and_then(|w| w.try_into().ok()).map(i32::from_ne_bytes);
            if answer.get(4..6) == Some(&2u16.to_ne_bytes()) {
                match word(16) {
                    Some(0) if word(8) == Some(self.starts.len() as i32) => break,
                    Some(0) => {}
                    code => bail!("request {:?}: {code:?}", word(8)),
                }
            }
        }
        self.batch.clear();
        self.starts.clear();
        Ok(())
    }
}

/// A request: its kind, more flags, the struct that it begins with, and attributes.
fn request(kind: u16, flags: u16, head: &[u8], attributes: &[u8]) -> Vec<u8> {
    let length = 16 + head.len() + attributes.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend((length as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((REQUEST | flags).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(head);
    bytes.extend(attributes);
    bytes
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len() + 7);
    bytes.extend((value.len() as u16 + 4).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// `struct ifinfomsg`
fn link(index: u32, up: bool) -> [u8; 16] {
    let mut head = [0; 16];
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    head[8] = u8::from(up);
    head[12] = u8::from(up);
    head
}

fn link_up(index: u32) -> Vec<u8> {
    request(NEW_LINK, 0, &link(index, true), &[])
}

/// Asks for a link, which makes the kernel act on its carrier; without its counters.
fn get_link(index: u32) -> Vec<u8> {
    request(GET_LINK, 0, &link(index, false), &attribute(29, &8u32.to_ne_bytes()))
}

/// A pair: one end up here, the other in another namespace.
fn veth(index: u32, other: i32) -> Vec<u8> {
    let n = index - 2;
    let end = |name: &str, mac: [u8; 6]| {
        let one = 1u32.to_ne_bytes();
        [
            attribute(3, format!("{name}\0").as_bytes()),
            attribute(1, &mac),
            attribute(4, &1460u32.to_ne_bytes()),
            attribute(31, &one),
            attribute(32, &one),
        ]
        .concat()
    };
    let theirs =
        [&link(ETH, false)[..], &end("eth0", mac(n, 2)), &attribute(28, &other.to_ne_bytes())].concat();
    let data = attribute(2 | NESTED, &attribute(1 | NESTED, &theirs));
    let info = attribute(18 | NESTED, &[attribute(1, b"veth"), data].concat());
    request(NEW_LINK, CREATE, &link(index, true), &[end(&format!("v{n}"), mac(n, 1)), info].concat())
}

fn address(index: u32, address: Ipv4Addr) -> Vec<u8> {
    let [a, b, c, d] = index.to_ne_bytes();
    let own = address.octets();
    let head = [libc::AF_INET as u8, 32, 0, 0, a, b, c, d];
    request(NEW_ADDRESS, CREATE, &head, &[attribute(2, &own), attribute(1, &own)].concat())
}

/// A permanent neighbour.
fn neighbour(index: u32, address: Ipv4Addr, mac: [u8; 6]) -> Vec<u8> {
    let mut head = [0; 12];
    head[0] = libc::AF_INET as u8;
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    head[8] = 0x80;
    request(NEW_NEIGHBOUR, CREATE, &head, &[attribute(1, &address.octets()), attribute(2, &mac)].concat())
}

/// A route to one address or everywhere.
fn route(index: u32, to: Option<Ipv4Addr>, gateway: Option<Ipv4Addr>, source: Option<Ipv4Addr>) -> Vec<u8> {
    const MAIN: u8 = 254;
    const STATIC: u8 = 4;
    const LINK: u8 = 253;
    let scope = if gateway.is_some() { 0 } else { LINK };
    let mut head = [libc::AF_INET as u8, 0, 0, 0, MAIN, STATIC, scope, 1, 0, 0, 0, 0];
    let mut attributes = attribute(4, &index.to_ne_bytes());
    if let Some(to) = to {
        head[1] = 32;
        attributes.extend(attribute(1, &to.octets()));
    }
    if let Some(gateway) = gateway {
        head[8] = 4; // onlink
        attributes.extend(attribute(5, &gateway.octets()));
    }
    if let Some(source) = source {
        attributes.extend(attribute(7, &source.octets()));
    }
    request(NEW_ROUTE, CREATE, &head, &attributes)
}

//! Sending probes and listening for them, in any number of namespaces from one thread.

use super::nft::Nft;
use super::{Held, Kernel, netns};
use crate::probe::{Counted, Found, Probe, Seen, icmp, packet, read};
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, Result};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// After how many probes the listeners' queues are emptied: a queue holds some hundred packets.
const CHUNK: usize = 64;
/// How many barriers each sender waits for. Each crosses two links, there and back; no probe crosses more than nine, though
/// two guests on its way forward it (three networks, a peering from each).
const ROUNDS: u32 = 5;
/// How long a barrier may take before the lab counts as broken.
const PATIENCE: Duration = Duration::from_secs(3);
/// Google's link-local server, which every endpoint may talk to.
const SERVER: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// The sockets of one namespace.
struct Ears {
    /// Each receives every packet of one version of IP that comes in.
    packets: Vec<OwnedFd>,
    /// Sends IPv4 packets with headers of our own making.
    raw: OwnedFd,
    /// The same of IPv6, where any probe is of that.
    raw_6: Option<OwnedFd>,
}

impl Kernel {
    /// Sends the probes, and tells of each where it arrived; and which counters of routers' rules it moved, if that is
    /// asked, for which they are sent one at a time. `cookie` is the first of as many numbers as [`cookies`] says,
    /// which should not have been used lately. What faults make late is waited for so long.
    pub fn probe(&self, probes: &[Probe], cookie: u32, counted: bool, late: Duration) -> Result<Vec<Seen>> {
        let endpoints: BTreeMap<&str, &Held> = self
            .namespaces
            .iter()
            .filter(|(_, h)| !h.router)
            .map(|(name, held)| (name.as_str(), held))
            .collect();
        if let Some(probe) = probes.iter().find(|p| !endpoints.contains_key(p.from.as_str())) {
            return Err(Error::other(format!("there is no endpoint {}", probe.from)));
        }
        // On a thread of its own, which can be pinned to a processor and then ends.
        std::thread::scope(|scope| {
            let work = scope.spawn(|| {
                pin()?;
                let ipv6 = probes.iter().any(|probe| probe.destination.is_ipv6());
                let mut run = Run::new(&endpoints, ipv6)?;
                if counted {
                    run.meters = self.meters()?;
                }
                let seen = run.all(probes, cookie, late);
                // Closing a packet socket waits for every processor, some 10 ms each: not before the answer.
                let ears: Vec<Ears> = run.ears.into_values().collect();
                std::thread::spawn(move || drop(ears));
                seen
            });
            work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The counters of every router's rules.
    fn meters(&self) -> Result<Vec<Meter>> {
        let routers = self.namespaces.iter().filter(|(_, held)| held.router);
        let open = |(name, held): (&String, &Held)| {
            let mut nft = netns::with(&*held.fd, Nft::open)??;
            Ok(Meter { router: name.clone(), counts: nft.counters()?, nft })
        };
        routers.map(open).collect()
    }
}

/// The counters of a router's rules.
struct Meter {
    router: String,
    nft: Nft,
    /// What they said last.
    counts: BTreeMap<String, u64>,
}

impl Meter {
    /// What has moved since they were looked at.
    fn moved(&mut self) -> Result<Vec<Counted>> {
        let before = std::mem::replace(&mut self.counts, self.nft.counters()?);
        let moved = self.counts.iter().map(|(counter, packets)| Counted {
            router: self.router.clone(),
            counter: counter.clone(),
            packets: packets.saturating_sub(before.get(counter).copied().unwrap_or_default()),
        });
        Ok(moved.filter(|counted| counted.packets > 0).collect())
    }
}

/// How many probes are sent before it is waited for them.
fn chunk(counted: bool) -> usize {
    if counted { 1 } else { CHUNK }
}

/// How many numbers the probes and their barriers use at most.
pub fn cookies(probes: &[Probe], counted: bool) -> u32 {
    let senders: BTreeSet<&str> = probes.iter().map(|probe| probe.from.as_str()).collect();
    let senders = senders.len().min(chunk(counted));
    let barriers = probes.len().div_ceil(chunk(counted)) * senders * ROUNDS as usize;
    (probes.len() + barriers) as u32
}

/// Pins the calling thread to the processor that it is on: the order of packets is kept per processor.
pub fn pin() -> Result<()> {
    let mut one = CpuSet::new();
    one.set(sched_getcpu()?)?;
    Ok(sched_setaffinity(nix::unistd::Pid::from_raw(0), &one)?)
}

/// A run of probes.
struct Run<'k> {
    ears: BTreeMap<&'k str, Ears>,
    seen: BTreeMap<u32, Seen>,
    /// The barriers that are awaited, and who sent each.
    barriers: BTreeMap<u32, String>,
    next_barrier: u32,
    /// What counts, where that is asked.
    meters: Vec<Meter>,
}

impl<'k> Run<'k> {
    /// Opens the sockets in every endpoint's namespace.
    fn new(endpoints: &BTreeMap<&'k str, &Held>, ipv6: bool) -> Result<Self> {
        let open = |(name, held): (&&'k str, &&Held)| Ok((*name, netns::with(&*held.fd, || listen(ipv6))??));
        let ears = endpoints.iter().map(open).collect::<Result<_>>()?;
        Ok(Self {
            ears,
            seen: BTreeMap::new(),
            barriers: BTreeMap::new(),
            next_barrier: 0,
            meters: Vec::new(),
        })
    }

    /// Sends all probes in chunks, with barriers after each.
    fn all(&mut self, probes: &[Probe], cookie: u32, late: Duration) -> Result<Vec<Seen>> {
        self.next_barrier = cookie.wrapping_add(probes.len() as u32);
        let mut cookies = (0..probes.len() as u32).map(|i| cookie.wrapping_add(i));
        for chunk in probes.chunks(chunk(!self.meters.is_empty())) {
            let mut last = cookie;
            for (probe, cookie) in chunk.iter().zip(&mut cookies) {
                last = cookie;
                self.seen.insert(cookie, Seen::default());
                let ears = &self.ears[probe.from.as_str()];
                packet(probe, cookie).iter().for_each(|bytes| send(ears, probe.destination, bytes));
            }
            let senders: BTreeSet<&str> = chunk.iter().map(|p| p.from.as_str()).collect();
            for _ in 0..ROUNDS {
                self.barrier(senders.iter().copied())?;
            }
            self.stragglers(late)?;
            for meter in &mut self.meters {
                let moved = meter.moved()?;
                self.seen.entry(last).and_modify(|seen| seen.counted.extend(moved));
            }
        }
        Ok((0..probes.len() as u32)
            .map(|i| self.seen.remove(&cookie.wrapping_add(i)).unwrap_or_default())
            .collect())
    }

    /// Sends a barrier from each sender and listens until all are back.
    fn barrier<'s>(&mut self, senders: impl Iterator<Item = &'s str>) -> Result<()> {
        for sender in senders {
            let cookie = self.next_barrier;
            self.next_barrier = cookie.wrapping_add(1);
            self.barriers.insert(cookie, sender.to_owned());
            // The kernel puts the sender's own address where none is given.
            let mut bytes = vec![0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 1, 0, 0, 0, 0, 0, 0];
            bytes.extend(SERVER.octets());
            bytes.extend(icmp(8, cookie));
            send(&self.ears[sender], SERVER.into(), &bytes);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.drain()?;
            if self.barriers.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let silent: Vec<&str> = self.barriers.values().map(String::as_str).collect();
                let silent = silent.join(", ");
                return Err(Error::other(format!(
                    "{silent} cannot reach 169.254.169.254: its interface, address or routes were changed inside"
                )));
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// Listens until all probes have arrived, or for so long.
    fn stragglers(&mut self, late: Duration) -> Result<()> {
        let deadline = Instant::now() + late;
        while self.seen.values().any(|seen| seen.arrived.is_empty()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
            self.drain()?;
        }
        Ok(())
    }

    /// Reads every queue until it is empty.
    fn drain(&mut self) -> Result<()> {
        let mut buffer = [0u8; 2048];
        let queues =
            self.ears.iter().flat_map(|(name, ears)| ears.packets.iter().map(move |queue| (name, queue)));
        for (name, queue) in queues {
            while let Some((length, incoming)) = receive(queue, &mut buffer)? {
                let found = if incoming { read(&buffer[..length]) } else { None };
                match found {
                    Some(Found::Reply(cookie)) if self.barriers.remove(&cookie).is_some() => {}
                    Some(Found::Probe(cookie)) => {
                        self.seen.entry(cookie).and_modify(|seen| seen.arrived.push((*name).to_owned()));
                    }
                    Some(Found::Reply(cookie)) => {
                        self.seen.entry(cookie).and_modify(|seen| seen.replied = true);
                    }
                    None => {}
                }
            }
        }
        Ok(())
    }
}

/// Opens an endpoint's sockets in the calling thread's namespace.
fn listen(ipv6: bool) -> Result<Ears> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let raw = |family| socket::socket(family, SockType::Raw, flags, Some(SockProtocol::Raw));
    let versions = [libc::ETH_P_IP].into_iter().chain(ipv6.then_some(libc::ETH_P_IPV6));
    Ok(Ears {
        packets: versions.map(|version| queue(version, flags)).collect::<Result<_>>()?,
        raw: raw(AddressFamily::Inet)?,
        raw_6: ipv6.then(|| raw(AddressFamily::Inet6)).transpose()?,
    })
}

/// A socket that receives every packet of a version of IP.
fn queue(version: i32, flags: SockFlag) -> Result<OwnedFd> {
    let protocol = i32::from((version as u16).to_be());
    // SAFETY: socket(2) has no memory arguments; a non-negative result is a descriptor of our own.
    let packets = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | flags.bits(), protocol) };
    if packets < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: just opened, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(packets) })
}

/// Sends a packet. One that the kernel refuses to send is one that does not arrive.
fn send(ears: &Ears, destination: IpAddr, bytes: &[u8]) {
    let none = MsgFlags::empty();
    match (destination, &ears.raw_6) {
        (IpAddr::V4(destination), _) => {
            let address = SockaddrIn::from(SocketAddrV4::new(destination, 0));
            let _ = socket::sendto(ears.raw.as_raw_fd(), bytes, &address, none);
        }
        (IpAddr::V6(destination), Some(raw)) => {
            let address = SockaddrIn6::from(SocketAddrV6::new(destination, 0, 0, 0));
            let _ = socket::sendto(raw.as_raw_fd(), bytes, &address, none);
        }
        (IpAddr::V6(_), None) => {}
    }
}

/// The next packet of a queue: its length, and whether it came in rather than went out. `None` when there is none.
fn receive(packets: &OwnedFd, buffer: &mut [u8]) -> Result<Option<(usize, bool)>> {
    // SAFETY: all zeroes is a valid sockaddr_ll.
    let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: buffer and address outlive the call, with their true sizes.
    let length = unsafe {
        libc::recvfrom(
            packets.as_fd().as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            0,
            (&raw mut from).cast(),
            &raw mut size,
        )
    };
    match usize::try_from(length) {
        Ok(length) => Ok(Some((length, from.sll_pkttype == libc::PACKET_HOST))),
        Err(_) => match Error::last_os_error() {
            e if e.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            // A link that goes down while we listen is not our concern.
            e if e.raw_os_error() == Some(libc::ENETDOWN) => Ok(None),
            e => Err(e),
        },
    }
}

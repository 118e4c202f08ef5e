//! The way from the lab's internet into the host's network for datagrams and pings: they leave the internet's router by a
//! link whose other end we hear, and each flow of them has a socket of its own here.
//!
//! ```text
//!   VM ─ its gates, its external address ─▶ internet's router ─ h0 ═ this ═▶ the host's network
//! ```
//!
//! What comes back on a flow's socket goes back as that flow's packet. So nothing comes in that nobody asked for, and only from
//! where it was asked.

use super::flows::{Flows, Full, Limits};
use super::packet::{self, Flow, Kind, LONGEST, Sent};
use super::relay::Outside;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};
use tombolo_dataplane::host::{HEADER, header};

/// As many as there are TCP connections, and silent for as long. A name that was asked for once is not kept when others wait: no
/// resolver waits longer than these five seconds for an answer (resolv.conf(5)).
pub(super) const LIMITS: Limits = Limits {
    most: 1024,
    most_of_one: 256,
    idle: Duration::from_secs(600),
    spare: Duration::from_secs(5),
    look: Duration::from_secs(10),
};

/// That there is something to read, were it an error alone.
const HEARD: Interest = Interest::READABLE.add(Interest::ERROR);

/// Packets that are taken at a time, before somebody else's turn.
const AT_A_TIME: usize = 64;

/// Has a packet socket that was bound to the end of the link hear whole packets, and not those that it sends.
pub(super) fn attend(out: &OwnedFd) -> io::Result<()> {
    // Source: packet(7), linux/if_packet.h. A group has a number in its namespace; where nobody else is, any will do. The kernel
    // puts together fragments for its members.
    const GROUP: libc::c_int = 1;
    const HASH_AND_DEFRAGMENT: libc::c_int = 0x8000 << 16;
    for (name, value) in
        [(libc::PACKET_IGNORE_OUTGOING, 1), (libc::PACKET_FANOUT, GROUP | HASH_AND_DEFRAGMENT)]
    {
        let length = size_of_val(&value) as libc::socklen_t;
        // SAFETY: setsockopt reads `length` bytes of `value`, which outlives the call.
        let set = unsafe {
            libc::setsockopt(out.as_raw_fd(), libc::SOL_PACKET, name, (&raw const value).cast(), length)
        };
        Errno::result(set)?;
    }
    let flags = OFlag::from_bits_retain(fcntl(out, FcntlArg::F_GETFL)?);
    fcntl(out, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Whether this process may send pings: it is root, or `net.ipv4.ping_group_range` has a group of its user.
pub fn sends_pings() -> bool {
    ping_socket().is_ok()
}

/// Serves until the link is gone. When this is aborted, the socket closes, and so do those of all flows.
pub(super) async fn serve(out: OwnedFd, outside: Outside, limits: Limits) -> io::Result<()> {
    let mut host = outside.host.clone();
    let mut relay = Relay::new(out, outside, limits)?;
    let mut look = interval(limits.look);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let out = Arc::clone(&relay.ways);
    loop {
        tokio::select! {
            ready = out.out.ready(HEARD) => {
                let mut ready = ready?;
                for _ in 0..AT_A_TIME {
                    match relay.take() {
                        Ok(()) => {}
                        Err(Errno::EAGAIN) => {
                            ready.clear_ready();
                            break;
                        }
                        Err(Errno::EINTR) => {}
                        // The link is gone.
                        Err(error) => return Err(error.into()),
                    }
                }
                // A socket that is never empty is always ready.
                tokio::task::yield_now().await;
            }
            _ = look.tick() => out.state().flows.expire(Instant::now()),
            changed = host.changed() => {
                // Whoever tells is gone, and so is the lab.
                if changed.is_err() {
                    return Ok(());
                }
                relay.retain();
            }
            Some(_) = relay.readers.join_next() => {}
        }
    }
}

/// Passes packets on.
struct Relay {
    ways: Arc<Ways>,
    outside: Outside,
    /// Those who wait for answers.
    readers: JoinSet<()>,
    frame: Vec<u8>,
    limits: Limits,
    /// Whether somebody was told that there are too many flows, of one address or of all.
    told: [bool; 2],
}

/// What those who wait for answers share.
struct Ways {
    /// The end of the link.
    out: AsyncFd<OwnedFd>,
    state: Mutex<State>,
}

struct State {
    flows: Flows<Open>,
    /// The number of the last packet that was sent into the lab.
    number: u16,
    buffer: Vec<u8>,
}

/// A flow's way out. Dropped, it is closed.
struct Open {
    socket: Arc<AsyncFd<Socket>>,
    reader: AbortHandle,
    /// Of the last packet: a ping's number, and the payload's length.
    last: (u16, usize),
}

impl Drop for Open {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Relay {
    /// The thread's runtime must be entered.
    fn new(out: OwnedFd, outside: Outside, limits: Limits) -> io::Result<Self> {
        let state = State { flows: Flows::new(limits), number: 0, buffer: vec![0; LONGEST] };
        Ok(Self {
            ways: Arc::new(Ways { out: watched(out)?, state: Mutex::new(state) }),
            outside,
            readers: JoinSet::new(),
            frame: vec![0; HEADER + LONGEST],
            limits,
            told: [false; 2],
        })
    }

    /// Takes the next packet; an error where there is none.
    fn take(&mut self) -> Result<(), Errno> {
        let length = socket::recv(self.ways.out.as_raw_fd(), &mut self.frame, MsgFlags::MSG_DONTWAIT)?;
        let frame = std::mem::take(&mut self.frame);
        if let Some(sent) = frame.get(HEADER..length).and_then(packet::read) {
            self.pass(&sent, Instant::now());
        }
        self.frame = frame;
        Ok(())
    }

    /// Passes a packet on, or says that it does not get there.
    fn pass(&mut self, sent: &Sent<'_>, now: Instant) {
        let (flow, last) = (sent.flow, (sent.sequence, sent.payload.len()));
        let known = self.ways.state().flows.moved(&flow, now).map(|open| {
            open.last = last;
            Arc::clone(&open.socket)
        });
        let socket = match known {
            Some(socket) => Ok(socket),
            // As a connection: it is refused.
            None if !self.outside.admits(flow.to) => Err(Errno::ECONNREFUSED),
            None => self.open(flow, last, now),
        };
        let send = |socket: &AsyncFd<Socket>| socket.get_ref().send(sent);
        let passed = socket.and_then(|socket| match send(&socket) {
            // Said of a packet before: this one was not sent for it.
            Err(Errno::ECONNREFUSED) => {
                self.ways.refuse(&flow, last, Errno::ECONNREFUSED);
                send(&socket)
            }
            passed => passed,
        });
        if let Err(error) = passed {
            self.ways.refuse(&flow, last, error);
        }
    }

    /// Opens a flow's way out. What there is no room for is dropped.
    fn open(&mut self, flow: Flow, last: (u16, usize), now: Instant) -> Result<Arc<AsyncFd<Socket>>, Errno> {
        let room = self.ways.state().flows.make_room(*flow.from.ip(), now);
        if let Err(full) = room {
            self.tell(full, &flow);
            return Err(Errno::EAGAIN);
        }
        let socket = Arc::new(watched(Socket::open(&flow)?).map_err(|_| Errno::EMFILE)?);
        let reader = self.readers.spawn(read(Arc::clone(&self.ways), Arc::clone(&socket), flow));
        let open = Open { socket: Arc::clone(&socket), reader, last };
        self.ways.state().flows.add(flow, open, now);
        Ok(socket)
    }

    /// Says, once, that there are too many flows.
    fn tell(&mut self, full: Full, flow: &Flow) {
        let Limits { most, most_of_one, .. } = self.limits;
        let (of_all, whose) = match full {
            Full::One => (false, format!("{most_of_one} by {}", flow.from.ip())),
            Full::All => (true, most.to_string()),
        };
        if !std::mem::replace(&mut self.told[usize::from(of_all)], true) {
            eprintln!(
                "tombolo: there are as many flows of UDP and pings into the host's network as may be, {whose}: more are dropped"
            );
        }
    }

    /// Ends flows to where nobody gets any more.
    fn retain(&mut self) {
        let host = self.outside.host.borrow().clone();
        let has = |flow: &Flow| host.as_ref().is_some_and(|host| host.has((*flow.to.ip()).into()));
        self.ways.state().flows.keep(has);
    }
}

/// Passes on what comes back, for ever.
async fn read(ways: Arc<Ways>, socket: Arc<AsyncFd<Socket>>, flow: Flow) {
    // Nothing takes the runtime away before this.
    while let Ok(mut ready) = socket.ready(HEARD).await {
        for _ in 0..AT_A_TIME {
            if ways.pass_back(socket.get_ref(), &flow) == Err(Errno::EAGAIN) {
                ready.clear_ready();
                break;
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Has the runtime, which must be entered, tell when a socket is ready.
fn watched<S: AsRawFd + AsFd>(socket: S) -> io::Result<AsyncFd<S>> {
    // SAFETY: what is passed here owns its descriptor, which is closed only with it and is always the same.
    Ok(unsafe { AsyncFd::register_with_interest(socket, HEARD) }?)
}

impl Ways {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on the next thing that came back, if there is one: an answer, or that there is none.
    fn pass_back(&self, socket: &Socket, flow: &Flow) -> Result<(), Errno> {
        let state = &mut *self.state();
        let heard = socket.receive(&mut state.buffer);
        if heard == Err(Errno::EAGAIN) {
            return Err(Errno::EAGAIN);
        }
        let Some(open) = state.flows.moved(flow, Instant::now()) else { return Err(Errno::EAGAIN) };
        state.number = state.number.wrapping_add(1);
        let number = state.number;
        let packet = match heard {
            Ok(heard) => {
                heard.and_then(|(sequence, payload)| packet::answer(flow, sequence, payload, number))
            }
            Err(error) => {
                code(error).and_then(|code| packet::unreachable(flow, open.last.0, open.last.1, code, number))
            }
        };
        packet.iter().for_each(|packet| self.send(packet));
        Ok(())
    }

    /// Says of a flow's last packet that it did not get there, if there is a word for it.
    fn refuse(&self, flow: &Flow, (sequence, length): (u16, usize), error: Errno) {
        let number = {
            let mut state = self.state();
            state.number = state.number.wrapping_add(1);
            state.number
        };
        let packet = code(error).and_then(|code| packet::unreachable(flow, sequence, length, code, number));
        packet.iter().for_each(|packet| self.send(packet));
    }

    /// Sends a packet into the lab. One that there is no room for is lost, as on any link.
    fn send(&self, packet: &[u8]) {
        let frame = [&header()[..], packet].concat();
        let _ = socket::send(self.out.as_raw_fd(), &frame, MsgFlags::MSG_DONTWAIT);
    }
}

/// The code of ICMP's for what the host's network says: net, host or port unreachable (RFC 792), or forbidden (RFC 1812).
fn code(error: Errno) -> Option<u8> {
    match error {
        Errno::ENETUNREACH => Some(0),
        Errno::EHOSTUNREACH => Some(1),
        Errno::ECONNREFUSED => Some(3),
        Errno::EACCES | Errno::EPERM => Some(13),
        _ => None,
    }
}

/// A socket in the host's network.
struct Socket {
    fd: OwnedFd,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Udp,
    /// The kernel sees to identifiers.
    Ping,
    /// All of ICMP that comes from there, with the identifier that is this flow's.
    Raw(u16),
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Socket {
    /// One that hears nobody but where the flow goes.
    fn open(flow: &Flow) -> Result<Self, Errno> {
        let opened = match flow.kind {
            Kind::Udp => Self { fd: ip_socket(SockType::Datagram, SockProtocol::Udp)?, what: What::Udp },
            Kind::Ping => ping_socket()?,
        };
        socket::connect(opened.as_raw_fd(), &SockaddrIn::from(flow.to))?;
        Ok(opened)
    }

    fn send(&self, sent: &Sent<'_>) -> Result<(), Errno> {
        let message;
        let bytes = match self.what {
            What::Udp => sent.payload,
            What::Ping | What::Raw(_) => {
                let identifier = if let What::Raw(own) = self.what { own } else { 0 };
                message = packet::echo_request(identifier, sent.sequence, sent.payload);
                &message
            }
        };
        socket::send(self.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT).map(drop)
    }

    /// The next thing that was heard: a sequence number and a payload; nothing where it is not for the flow.
    fn receive<'b>(&self, buffer: &'b mut [u8]) -> Result<Option<(u16, &'b [u8])>, Errno> {
        let length = socket::recv(self.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)?;
        let heard = &buffer[..length];
        Ok(match self.what {
            What::Udp => Some((0, heard)),
            What::Ping => packet::read_echo_reply(heard).map(|(_, sequence, payload)| (sequence, payload)),
            What::Raw(own) => packet::body(heard)
                .and_then(packet::read_echo_reply)
                .filter(|(identifier, ..)| *identifier == own)
                .map(|(_, sequence, payload)| (sequence, payload)),
        })
    }
}

/// A socket for pings: any user's where the system lets it, otherwise root's.
fn ping_socket() -> Result<Socket, Errno> {
    /// The next identifier. Others on this machine ping too, other labs among them: each begins somewhere.
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| {
        let mut first = [0; 2];
        // Without dice, wherever it is.
        let _ = getrandom::fill(&mut first);
        AtomicU16::new(u16::from_ne_bytes(first))
    });
    let users = ip_socket(SockType::Datagram, SockProtocol::Icmp).map(|fd| Socket { fd, what: What::Ping });
    users.or_else(|_| {
        let fd = ip_socket(SockType::Raw, SockProtocol::Icmp)?;
        Ok(Socket { fd, what: What::Raw(NEXT.fetch_add(1, Ordering::Relaxed)) })
    })
}

fn ip_socket(kind: SockType, protocol: SockProtocol) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket::socket(AddressFamily::Inet, kind, flags, protocol)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
    use tokio::net::{UdpSocket, UnixDatagram};
    use tokio::sync::watch;
    use tombolo_fabric::Host;

    const A: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
    const B: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 3);

    /// A relay, the lab's side of its link, and what it is told of the host's network.
    struct Scene {
        link: UnixDatagram,
        host: watch::Sender<Option<Host>>,
    }

    impl Scene {
        fn new(limits: Limits, own_ports: &[u16]) -> Self {
            let (link, out) = std::os::unix::net::UnixDatagram::pair().unwrap();
            link.set_nonblocking(true).unwrap();
            // Nothing is kept, so that loopback is as good as any.
            let host = watch::Sender::new(Some(Host { kept: BTreeSet::new(), pings: true }));
            let outside = Outside { host: host.subscribe(), own_ports: own_ports.into() };
            tokio::spawn(serve(out.into(), outside, limits));
            Self { link: UnixDatagram::from_std(link).unwrap(), host }
        }

        async fn send(&self, flow: Flow, payload: &[u8]) {
            // As an answer the other way round.
            let back = Flow { from: flow.to, to: flow.from, ..flow };
            let packet = packet::answer(&back, 0, payload, 1).unwrap();
            self.link.send(&[&header()[..], &packet].concat()).await.unwrap();
        }

        /// The next packet that comes back.
        async fn next(&self) -> Vec<u8> {
            let mut frame = vec![0; HEADER + LONGEST];
            let length = self.link.recv(&mut frame).await.unwrap();
            assert_eq!(frame[..HEADER], header());
            frame[HEADER..length].to_vec()
        }

        /// The next one, which must be an answer: its flow, and what it carries.
        async fn answer(&self) -> (Flow, Vec<u8>) {
            let packet = self.next().await;
            let Sent { flow, payload, .. } = packet::read(&packet).unwrap_or_else(|| panic!("{packet:?}"));
            (Flow { from: flow.to, to: flow.from, ..flow }, payload.to_vec())
        }

        /// The next one, which must say that a flow's packet did not get there.
        async fn is_unreachable(&self, flow: Flow, code: u8) {
            let packet = self.next().await;
            let kind = if flow.kind == Kind::Udp { 17 } else { 1 };
            assert_eq!((packet[9], &packet[20..22]), (1, &[3, code][..]), "{packet:?}");
            let quoted = &packet[28..];
            assert_eq!((quoted[9], &quoted[12..16]), (kind, &flow.from.ip().octets()[..]));
            assert_eq!(quoted[16..20], flow.to.ip().octets());
            if flow.kind == Kind::Udp {
                let ports = [flow.from.port(), flow.to.port()].map(u16::to_be_bytes);
                assert_eq!(quoted[20..24], ports.concat());
            }
        }
    }

    fn udp(from: (Ipv4Addr, u16), to: SocketAddr) -> Flow {
        let SocketAddr::V4(to) = to else { panic!("{to}") };
        Flow { kind: Kind::Udp, from: SocketAddrV4::new(from.0, from.1), to }
    }

    async fn server() -> (UdpSocket, SocketAddr) {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = server.local_addr().unwrap();
        (server, at)
    }

    /// What a server gets next, and from where.
    async fn heard(server: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut buffer = vec![0; LONGEST];
        let (length, from) = server.recv_from(&mut buffer).await.unwrap();
        (buffer[..length].to_vec(), from)
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .unwrap()
            .block_on(test);
    }

    #[test]
    fn flows_do_not_mix() {
        run(async {
            let scene = Scene::new(LIMITS, &[]);
            let ((one, at_one), (other, at_other)) = (server().await, server().await);
            let flows = [(A, 1, at_one), (A, 2, at_one), (B, 1, at_one), (A, 1, at_other)];
            let mut back = Vec::new();
            for (of, port, to) in flows {
                let flow = udp((of, port), to);
                let payload = format!("{of} {port}").into_bytes();
                scene.send(flow, &payload).await;
                let server = if to == at_one { &one } else { &other };
                let (got, from) = heard(server).await;
                assert_eq!(got, payload);
                back.push((server, from, flow));
            }
            let sockets: BTreeSet<_> = back.iter().map(|(_, from, _)| *from).collect();
            assert_eq!(sockets.len(), flows.len());
            // In another order, twice each.
            for (server, from, flow) in back.iter().rev().chain(&back) {
                server.send_to(flow.from.to_string().as_bytes(), from).await.unwrap();
                assert_eq!(scene.answer().await, (*flow, flow.from.to_string().into_bytes()));
            }
            // A second datagram is of the same flow.
            scene.send(back[1].2, b"again").await;
            assert_eq!(heard(&one).await, (b"again".to_vec(), back[1].1));
            // And nobody else has a word in it: what comes next is from whom it should be.
            other.send_to(b"stranger", back[0].1).await.unwrap();
            one.send_to(b"friend", back[0].1).await.unwrap();
            assert_eq!(scene.answer().await, (back[0].2, b"friend".to_vec()));
        });
    }

    #[test]
    fn datagrams_of_any_length_stay_whole() {
        run(async {
            let scene = Scene::new(LIMITS, &[]);
            let (server, at) = server().await;
            let flow = udp((A, 1), at);
            for length in [0, 1, 1500, 65507] {
                scene.send(flow, &vec![7; length]).await;
                let (got, from) = heard(&server).await;
                assert_eq!(got, vec![7; length]);
                server.send_to(&vec![8; length], from).await.unwrap();
                assert_eq!(scene.answer().await, (flow, vec![8; length]));
            }
        });
    }

    #[test]
    fn who_is_refused_is_told() {
        run(async {
            let (closed, at) = server().await;
            drop(closed);
            let (own, at_own) = server().await;
            let scene = Scene::new(LIMITS, &[at_own.port()]);
            // Every time.
            for _ in 0..3 {
                scene.send(udp((A, 1), at), b"hello").await;
                scene.is_unreachable(udp((A, 1), at), 3).await;
            }
            scene.send(udp((A, 1), at_own), b"hello").await;
            scene.is_unreachable(udp((A, 1), at_own), 3).await;
            assert!(own.try_recv(&mut [0]).is_err());
        });
    }

    #[test]
    fn more_flows_than_there_may_be_are_dropped() {
        run(async {
            let scene = Scene::new(Limits { most_of_one: 2, ..LIMITS }, &[]);
            let (server, at) = server().await;
            for (of, port) in [(A, 1), (A, 2), (A, 3), (B, 1)] {
                scene.send(udp((of, port), at), format!("{of} {port}").as_bytes()).await;
            }
            for payload in ["198.18.0.2 1", "198.18.0.2 2", "198.18.0.3 1"] {
                assert_eq!(heard(&server).await.0, payload.as_bytes());
            }
        });
    }

    #[test]
    fn who_is_silent_for_too_long_is_another_one_afterwards() {
        run(async {
            let limits = Limits { idle: Duration::ZERO, look: Duration::from_millis(1), ..LIMITS };
            let scene = Scene::new(limits, &[]);
            let (server, at) = server().await;
            let mut sockets = BTreeSet::new();
            // Here whoever says nothing for a moment does.
            while sockets.len() < 2 {
                scene.send(udp((A, 1), at), b"hello").await;
                sockets.insert(heard(&server).await.1);
            }
        });
    }

    #[test]
    fn what_becomes_the_labs_own_is_the_hosts_no_more() {
        run(async {
            let scene = Scene::new(LIMITS, &[]);
            let (server, at) = server().await;
            let flow = udp((A, 1), at);
            scene.send(flow, b"before").await;
            let (_, from) = heard(&server).await;
            let kept = BTreeSet::from(["127.0.0.0/8".parse().unwrap()]);
            scene.host.send_replace(Some(Host { kept, pings: true }));
            // It is the turn of whoever was told first.
            tokio::task::yield_now().await;
            server.send_to(b"too late", from).await.unwrap();
            scene.send(flow, b"after").await;
            scene.is_unreachable(flow, 3).await;
            assert!(server.try_recv(&mut [0]).is_err());
        });
    }

    #[test]
    fn pings_come_back_as_they_were() {
        if !sends_pings() {
            eprintln!("SKIPPED: neither root nor in a group of net.ipv4.ping_group_range");
            return;
        }
        run(async {
            let scene = Scene::new(LIMITS, &[]);
            let flows = [(A, 7), (A, 8), (B, 7)];
            let flows = flows.map(|(of, identifier)| Flow {
                kind: Kind::Ping,
                from: SocketAddrV4::new(of, identifier),
                to: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0),
            });
            for (sequence, flow) in flows.iter().chain(&flows).enumerate() {
                let sequence = sequence as u16 + 300;
                let request = packet::echo_request(flow.from.port(), sequence, b"payload");
                let back = Flow { from: flow.to, to: flow.from, ..*flow };
                let packet = packet::packet(&back, 1, &request, 1).unwrap();
                scene.link.send(&[&header()[..], &packet].concat()).await.unwrap();
                let answer = scene.next().await;
                let reply = packet::read_echo_reply(packet::body(&answer).unwrap());
                assert_eq!(reply, Some((flow.from.port(), sequence, &b"payload"[..])));
                assert_eq!(answer[12..16], flow.to.ip().octets());
                assert_eq!(answer[16..20], flow.from.ip().octets());
            }
        });
    }
}

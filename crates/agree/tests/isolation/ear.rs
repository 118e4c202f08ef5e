//! The program that sends and hears frames inside a VM, and how the test speaks to it: a line, and lines in answer.
//!
//! ```text
//! send HEX             a frame on eth0                    ok | errno N
//! drain                what came in since the last time   HEX … .
//! connect ADDRESS      a TCP connection to port 7777      ok | errno N
//! ```
//! It also listens on port 7777 of UDP and TCP: what it hears there is answered by nobody.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Error, PipeReader, PipeWriter, Write, pipe, stdin};
use std::net::{IpAddr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;
use tombolo_agent::{Agent, Program, Session};

use crate::frame::PORT;

/// Generous: only to end a connection that hangs.
const LIMIT: Duration = Duration::from_secs(10);

/// The subcommand `ear`.
pub(crate) fn main() -> ExitCode {
    // The kernel keeps the order of packets on one processor.
    let mut one = CpuSet::new();
    one.set(sched_getcpu().unwrap()).unwrap();
    sched_setaffinity(Pid::from_raw(0), &one).unwrap();
    let socket = open();
    // Of IPv4 too.
    let _udp = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, PORT)).unwrap();
    let _tcp = TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)).unwrap();
    let mut streams = Vec::new();
    println!("ready");
    for line in stdin().lines().map_while(Result::ok) {
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("send", hex) => println!("{}", told(send(&socket, &from_hex(hex)))),
            ("connect", to) => {
                let to = (to.parse::<IpAddr>().unwrap(), PORT).into();
                let stream = TcpStream::connect_timeout(&to, LIMIT);
                println!("{}", told(stream.map(|stream| streams.push(stream))));
            }
            _ => {
                drain(&socket).iter().for_each(|frame| println!("{}", to_hex(frame)));
                println!(".");
            }
        }
    }
    ExitCode::SUCCESS
}

fn told(result: Result<(), Error>) -> String {
    match result {
        Ok(()) => "ok".into(),
        Err(error) => format!("errno {}", error.raw_os_error().unwrap_or(0)),
    }
}

/// A socket for every frame of eth0.
fn open() -> OwnedFd {
    let all = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: socket(2) has no memory arguments; a non-negative result is a descriptor of our own.
    let socket = unsafe {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let fd = libc::socket(libc::AF_PACKET, kind, i32::from(all));
        assert!(fd >= 0, "{}", Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    };
    // SAFETY: all zeroes is a valid sockaddr_ll, which outlives the call.
    unsafe {
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = all;
        address.sll_ifindex = if_nametoindex("eth0").unwrap() as i32;
        let size = size_of_val(&address) as libc::socklen_t;
        assert_eq!(libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size), 0);
    }
    socket
}

fn send(socket: &OwnedFd, frame: &[u8]) -> Result<(), Error> {
    // SAFETY: the frame outlives the call, with its true size.
    let sent = unsafe { libc::send(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
    if sent < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

/// The frames that came in, without those that went out.
fn drain(socket: &OwnedFd) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        // SAFETY: buffer and address outlive the call, with their true sizes; zeroes are a valid sockaddr_ll.
        let (length, kind) = unsafe {
            let mut from: libc::sockaddr_ll = std::mem::zeroed();
            let mut size = size_of_val(&from) as libc::socklen_t;
            let (to, from_at) = (buffer.as_mut_ptr().cast(), (&raw mut from).cast());
            let length = libc::recvfrom(socket.as_raw_fd(), to, buffer.len(), 0, from_at, &raw mut size);
            (length, from.sll_pkttype)
        };
        match usize::try_from(length) {
            Ok(length) if kind != libc::PACKET_OUTGOING => frames.push(buffer[..length].to_vec()),
            Ok(_) => {}
            Err(_) => return frames,
        }
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digits).collect()
}

/// The test's end of it.
#[derive(Debug)]
pub(crate) struct Ear {
    to: PipeWriter,
    from: BufReader<PipeReader>,
    _session: Session,
}

impl Ear {
    /// Starts it in a VM.
    pub(crate) fn start(agent: &Agent, vm: &str) -> Ear {
        let (input, to) = pipe().unwrap();
        let (from, output) = pipe().unwrap();
        let name = std::env::current_exe().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        let stderr = std::io::stderr();
        let stdio = [input.as_fd(), output.as_fd(), stderr.as_fd()];
        let session = agent.exec(vm, Program::new([&*name, "ear"]), stdio).unwrap();
        let mut ear = Ear { to, from: BufReader::new(from), _session: session };
        drop(output);
        assert_eq!(ear.line(), "ready", "{vm}");
        ear
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn ask(&mut self, question: &str) -> String {
        writeln!(self.to, "{question}").unwrap();
        self.line()
    }

    /// Sends a frame.
    pub(crate) fn send(&mut self, frame: &[u8]) {
        assert_eq!(self.ask(&format!("send {}", to_hex(frame))), "ok");
    }

    /// Opens a connection, which lasts as long as this.
    pub(crate) fn connect(&mut self, to: IpAddr) {
        assert_eq!(self.ask(&format!("connect {to}")), "ok", "{to}");
    }

    /// What came in since the last time.
    pub(crate) fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut line = self.ask("drain");
        while line != "." {
            assert!(!line.is_empty(), "the ear ended");
            frames.push(from_hex(&line));
            line = self.line();
        }
        frames
    }
}

//! The load: clients in a closed loop, all of them in this thread.
//!
//! A client sends a batch (its pipeline) in one write, waits for every reply, and sends the next
//! one. Every byte that comes back is compared with what must come.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, SockRef, Socket, Type};

use crate::workload::{Workload, shown};

/// What one read takes at most.
pub const READ: usize = 256 << 10;
/// Clients that share a source address: fewer than the kernel has ports for one.
const PER_ADDRESS: usize = 4_000;
/// Nothing for this long is an error.
const SILENCE: u16 = 20_000;

/// Clients that are connected to a port of loopback.
pub struct Load<'a> {
    workload: &'a Workload,
    epoll: Epoll,
    clients: Vec<Client>,
    buffer: Vec<u8>,
    /// Batches begun, which says at which key the next one starts.
    batches: usize,
    /// Replies since the last [`run`](Load::run) began.
    done: u64,
    /// Microseconds from the start of a batch to the read that brought a reply.
    latency: Histogram<u64>,
    /// Whether clients that have all their replies ask again.
    going_on: bool,
}

struct Client {
    stream: TcpStream,
    /// Where the batch starts in the requests, and how much of it was written.
    turn: usize,
    written: usize,
    /// Bytes of the batch's replies that have come.
    read: usize,
    began: Instant,
    busy: bool,
}

/// What happened in a run.
#[derive(Debug)]
pub struct Outcome {
    /// Replies that came.
    pub requests: u64,
    /// From its start to its end.
    pub elapsed: Duration,
    /// Microseconds.
    pub latency: Histogram<u64>,
}

impl<'a> Load<'a> {
    /// Connects `clients` clients to `port`.
    pub fn connect(port: u16, workload: &'a Workload, clients: usize) -> anyhow::Result<Load<'a>> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll")?;
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        let mut all = Vec::with_capacity(clients);
        for index in 0..clients {
            let stream = connect_from(index / PER_ADDRESS, port)
                .with_context(|| format!("client {} of {clients} can not connect", index + 1))?;
            epoll.add(&stream, EpollEvent::new(flags, index as u64))?;
            let began = Instant::now();
            all.push(Client { stream, turn: 0, written: 0, read: 0, began, busy: false });
        }
        Ok(Load {
            workload,
            epoll,
            clients: all,
            buffer: vec![0; READ],
            batches: 0,
            done: 0,
            latency: Histogram::new_with_bounds(1, 60_000_000, 3)?,
            going_on: true,
        })
    }

    /// Goes on until `requests` replies have come, or `limit` has passed.
    pub fn run(&mut self, requests: u64, limit: Duration) -> anyhow::Result<Outcome> {
        let start = Instant::now();
        self.done = 0;
        self.latency.reset();
        self.going_on = true;
        for index in 0..self.clients.len() {
            if !self.clients[index].busy {
                self.begin(index)?;
            }
        }
        while self.done < requests && start.elapsed() < limit {
            self.turn()?;
        }
        Ok(Outcome { requests: self.done, elapsed: start.elapsed(), latency: self.latency.clone() })
    }

    /// Every client sends one batch and gets its replies; then all are silent.
    pub fn once(&mut self) -> anyhow::Result<()> {
        self.going_on = false;
        (0..self.clients.len()).try_for_each(|index| self.begin(index))?;
        self.finish()
    }

    /// Waits for the replies that are still owed; no client asks again.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        self.going_on = false;
        while self.clients.iter().any(|client| client.busy) {
            self.turn()?;
        }
        Ok(())
    }

    fn turn(&mut self) -> anyhow::Result<()> {
        let mut events = [EpollEvent::empty(); 1024];
        let count = match self.epoll.wait(&mut events, EpollTimeout::from(SILENCE)) {
            Err(Errno::EINTR) => return Ok(()),
            outcome => outcome.context("epoll")?,
        };
        ensure!(count > 0, "no reply in {} s", SILENCE / 1000);
        for event in &events[..count] {
            let index = event.data() as usize;
            if event.events() != EpollFlags::EPOLLOUT {
                self.read(index)?;
            }
            if event.events().contains(EpollFlags::EPOLLOUT) {
                self.write(index)?;
            }
        }
        Ok(())
    }

    /// Starts a batch.
    fn begin(&mut self, index: usize) -> anyhow::Result<()> {
        let client = &mut self.clients[index];
        client.turn = self.batches;
        self.batches += 1;
        (client.written, client.read, client.busy) = (0, 0, true);
        client.began = Instant::now();
        self.write(index)
    }

    /// Writes what the socket takes of the rest of a batch.
    fn write(&mut self, index: usize) -> anyhow::Result<()> {
        let client = &mut self.clients[index];
        let rest = &self.workload.batch(client.turn)[client.written..];
        if !client.busy || rest.is_empty() {
            return Ok(());
        }
        match client.stream.write(rest) {
            Ok(count) => client.written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("a client can not write"),
        }
        Ok(())
    }

    /// Reads until nothing is left, and checks it.
    fn read(&mut self, index: usize) -> anyhow::Result<()> {
        loop {
            let client = &mut self.clients[index];
            let count = match client.stream.read(&mut self.buffer) {
                Ok(0) => bail!("a client was disconnected"),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("a client can not read"),
            };
            let bytes = &self.buffer[..count];
            let length = self.workload.batch_reply_length();
            ensure!(
                client.busy && client.read + count <= length && self.workload.is_right(client.read, bytes),
                "a wrong reply, after {} of {length} bytes: {}",
                client.read,
                shown(bytes)
            );
            let completed = self.workload.completed(client.read, count) as u64;
            client.read += count;
            self.done += completed;
            self.latency.saturating_record_n(client.began.elapsed().as_micros() as u64, completed);
            if client.read == length {
                client.busy = false;
                if self.going_on {
                    self.begin(index)?;
                }
            }
            if count < READ {
                return Ok(());
            }
        }
    }
}

/// A connection to `port` from the loopback address with this number. Closing it resets it, so
/// that thousands of them leave no ports waiting behind.
fn connect_from(number: usize, port: u16) -> anyhow::Result<TcpStream> {
    let source = Ipv4Addr::new(127, 0, 1, u8::try_from(number + 1)?);
    let socket = Socket::new(Domain::IPV4, Type::STREAM.cloexec(), None)?;
    socket.bind(&SocketAddrV4::new(source, 0).into())?;
    socket.connect(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into())?;
    let stream: TcpStream = socket.into();
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What a client says to a server that answers its two requests with `reply`.
    fn against(reply: &'static [u8]) -> anyhow::Result<Outcome> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = [0; 2 * 31];
            stream.read_exact(&mut request).expect("two requests");
            stream.write_all(reply).expect("replies");
            stream.read(&mut request).unwrap_or(0)
        });
        let workload = Workload::new("get/4/1x2".parse()?, READ);
        let mut load = Load::connect(port, &workload, 1)?;
        let outcome = load.run(2, Duration::from_secs(10));
        drop(load);
        server.join().expect("the server");
        outcome
    }

    #[test]
    fn right_replies_are_counted_and_wrong_ones_are_errors() {
        let outcome = against(b"$4\r\nabcd\r\n$4\r\nabcd\r\n").expect("right replies");
        assert_eq!((outcome.requests, outcome.latency.len()), (2, 2));
        for wrong in [
            b"$4\r\nabcd\r\n$4\r\nabcx\r\n".as_slice(),
            b"$4\r\nabcd\r\n$3\r\nabc\r\n",
            b"-ERR\r\n",
            b"$4\r\nabcd\r\n$4\r\nabcd\r\n$4\r\nabcd\r\n",
        ] {
            assert!(against(wrong).is_err(), "{}", shown(wrong));
        }
    }
}

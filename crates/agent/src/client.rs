//! The agent's requests as methods.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use tombolo_dataplane::{Desired, Probe, Seen, Tracked};

use crate::hits::Hits;
use crate::kernel::ConvergeReport;
use crate::message::{ExecEvent, LogText, ProcessInfo, Program, Request, Response, VmSpec, WinSize};
use crate::proto::{Conn, ProtoError};
use crate::session::Session;
use crate::spawn::{Agent, AgentError};

/// A connection on which requests are made ahead: while the agent is at one, the next is thought about.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) conn: Conn,
    /// The requests that the agent has still to answer, in their order.
    owed: Vec<&'static str>,
}

impl Line {
    pub(crate) fn new(conn: Conn) -> Self {
        Self { conn, owed: Vec::new() }
    }

    /// Makes a request whose answer, that it is done, whoever makes the next one waits for.
    fn tell(&mut self, name: &'static str, request: &Request) -> Result<(), AgentError> {
        self.conn.send_in_order(request, &[])?;
        self.owed.push(name);
        Ok(())
    }

    /// Makes a request and waits for its answer. A request made ahead that has failed is this one's error.
    fn call<Q: Serialize, A: DeserializeOwned>(
        &mut self,
        request: &Q,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(A, Vec<OwnedFd>), AgentError> {
        self.conn.send_in_order(request, fds)?;
        let mut before = Ok(());
        for name in std::mem::take(&mut self.owed) {
            before = before.and(done(name, self.conn.recv()?.0));
        }
        let answer = self.conn.recv()?;
        before.map(|()| answer)
    }
}

/// The answer to a request that has no other than that it is done.
fn done(name: &'static str, response: Response) -> Result<(), AgentError> {
    match response {
        Response::Done => Ok(()),
        Response::Failed { message } => Err(AgentError::Refused(message)),
        _ => Err(AgentError::Confused(name)),
    }
}

impl Agent {
    /// The shared connection.
    pub(crate) fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request and its answer on the shared connection, with descriptors both ways.
    pub fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        request: &Q,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(A, Vec<OwnedFd>), AgentError> {
        self.line().call(request, fds)
    }

    /// Checks that the agent answers; its version.
    pub fn ping(&self) -> Result<String, AgentError> {
        match self.request(&Request::Ping)? {
            Response::Pong { version } => Ok(version),
            _ => Err(AgentError::Confused("Ping")),
        }
    }

    /// A connection of one's own, for requests that take long.
    pub fn new_connection(&self) -> Result<Conn, AgentError> {
        match self.call(&Request::NewConnection, &[])? {
            (Response::Done, fds) => fds.into_iter().next().map(Conn::new),
            (Response::Failed { message }, _) => return Err(AgentError::Refused(message)),
            _ => None,
        }
        .ok_or(AgentError::Confused("NewConnection"))
    }

    /// Another connection to the same agent. It does not keep the lab.
    pub fn beside(&self) -> Result<Agent, AgentError> {
        self.new_connection().map(Agent::on)
    }

    /// Has routers of these names be made, and so many endpoints' network namespaces be begun, since they will be wanted, and
    /// does not wait: who asks for something next learns of what has failed. There is nothing in them, and nothing passes.
    pub fn expect(&self, routers: Vec<String>, endpoints: usize) -> Result<(), AgentError> {
        self.line().tell("Expect", &Request::Expect { routers, endpoints })
    }

    /// Declares the full list of VMs; those no longer listed are killed.
    pub fn set_vms(&self, vms: Vec<VmSpec>) -> Result<(), AgentError> {
        self.done("SetVms", &Request::SetVms { vms })
    }

    /// Declares some VMs, new or otherwise, and that others are gone; the rest stays.
    pub fn change_vms(&self, gone: Vec<String>, vms: Vec<VmSpec>) -> Result<(), AgentError> {
        self.done("ChangeVms", &Request::ChangeVms { gone, vms })
    }

    /// An empty network namespace with `lo` up.
    pub fn make_netns(&self, name: &str) -> Result<(), AgentError> {
        self.done("MakeNetns", &Request::MakeNetns { name: name.into() })
    }

    /// Runs a program on these stdin, stdout and stderr. Dropping the session kills it.
    pub fn exec(
        &self,
        vm: &str,
        program: Program,
        stdio: [BorrowedFd<'_>; 3],
    ) -> Result<Session, AgentError> {
        self.launch(vm, program, None, &stdio, false)
    }

    /// Like [`Agent::exec`], but the program outlives the session.
    pub fn exec_detached(
        &self,
        vm: &str,
        program: Program,
        stdio: [BorrowedFd<'_>; 3],
    ) -> Result<Session, AgentError> {
        self.launch(vm, program, None, &stdio, true)
    }

    /// Runs a program on a terminal of its own, whose master the session holds.
    pub fn exec_tty(&self, vm: &str, program: Program, size: WinSize) -> Result<Session, AgentError> {
        self.launch(vm, program, Some(size), &[], false)
    }

    fn launch(
        &self,
        vm: &str,
        program: Program,
        tty: Option<WinSize>,
        stdio: &[BorrowedFd<'_>],
        detach: bool,
    ) -> Result<Session, AgentError> {
        let conn = self.new_connection()?;
        conn.send(&Request::Exec { vm: vm.into(), program, tty, detach }, stdio)?;
        let (first, fds) = conn.recv::<ExecEvent>().map_err(|error| match error {
            ProtoError::Closed => {
                AgentError::Refused(format!("VM {vm} was stopped before the program started"))
            }
            error => error.into(),
        })?;
        Ok(Session::new(conn, first, fds.into_iter().next()))
    }

    /// Starts a program that outlives this connection; its output is read with [`Agent::read_log`].
    pub fn start_detached(
        &self,
        vm: &str,
        log: &str,
        program: Program,
        stdin: Option<Vec<u8>>,
    ) -> Result<(), AgentError> {
        let (vm, log) = (vm.into(), log.into());
        self.done("StartDetached", &Request::StartDetached { vm, log, program, stdin })
    }

    /// Ends a detached program and returns once it has ended. One that has ended already is no error.
    pub fn stop_detached(&self, vm: &str, log: &str) -> Result<(), AgentError> {
        let request = Request::StopDetached { vm: vm.into(), log: log.into() };
        let conn = self.new_connection()?;
        conn.send(&request, &[])?;
        done("StopDetached", conn.recv()?.0)
    }

    /// What a detached program printed last.
    pub fn read_log(&self, vm: &str, log: &str) -> Result<LogText, AgentError> {
        match self.request(&Request::ReadLog { vm: vm.into(), log: log.into() })? {
            Response::Log(text) => Ok(text),
            _ => Err(AgentError::Confused("ReadLog")),
        }
    }

    /// The detached programs of a VM, running and ended.
    pub fn processes(&self, vm: &str) -> Result<Vec<ProcessInfo>, AgentError> {
        match self.request(&Request::Processes { vm: vm.into() })? {
            Response::Processes(list) => Ok(list),
            _ => Err(AgentError::Confused("Processes")),
        }
    }

    /// Makes the kernel's state the desired one, and tells what that took.
    ///
    /// Only what is otherwise than the last time is sent, unless somebody else has desired something meanwhile.
    pub fn converge(&self, desired: Desired) -> Result<ConvergeReport, AgentError> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // Should this fail, everything is told again.
        if let Some((since, before)) = told.take() {
            let changes = desired.since(&before);
            match self.request(&Request::ConvergeChanges { since, changes })? {
                Response::Converged { report, number } => {
                    *told = Some((number, desired));
                    return Ok(report);
                }
                Response::DesiredOtherwise => {}
                _ => return Err(AgentError::Confused("ConvergeChanges")),
            }
        }
        let whole = Request::Converge { desired };
        match (self.request(&whole)?, whole) {
            (Response::Converged { report, number }, Request::Converge { desired }) => {
                *told = Some((number, desired));
                Ok(report)
            }
            _ => Err(AgentError::Confused("Converge")),
        }
    }

    /// Sends packets and tells where they arrived, in their order. For those that have not it waits so long: faults may
    /// make them late.
    pub fn probe(&self, probes: Vec<Probe>, late: Duration) -> Result<Vec<Seen>, AgentError> {
        self.send_probes(probes, false, late)
    }

    /// The same, one packet after the other; it tells of each which rules counted it too.
    pub fn probe_counted(&self, probes: Vec<Probe>) -> Result<Vec<Seen>, AgentError> {
        self.send_probes(probes, true, Duration::ZERO)
    }

    fn send_probes(
        &self,
        probes: Vec<Probe>,
        counted: bool,
        late: Duration,
    ) -> Result<Vec<Seen>, AgentError> {
        match self.request(&Request::Probe { probes, counted, late })? {
            Response::Seen(seen) => Ok(seen),
            _ => Err(AgentError::Confused("Probe")),
        }
    }

    /// How many packets each router's rules have counted, by router and counter.
    pub fn counters(&self) -> Result<BTreeMap<String, BTreeMap<String, u64>>, AgentError> {
        match self.request(&Request::Counters)? {
            Response::Counters(counters) => Ok(counters),
            _ => Err(AgentError::Confused("Counters")),
        }
    }

    /// The lazy endpoints that are not there yet: no packet and no program has been for them. By their namespaces' names.
    pub fn asleep(&self) -> Result<BTreeSet<String>, AgentError> {
        match self.request(&Request::Asleep)? {
            Response::Asleep(names) => Ok(names),
            _ => Err(AgentError::Confused("Asleep")),
        }
    }

    /// What firewall rules have logged, from the hit of this number on.
    pub fn hits(&self, since: u64) -> Result<Hits, AgentError> {
        match self.request(&Request::Hits { since })? {
            Response::Hits(hits) => Ok(hits),
            _ => Err(AgentError::Confused("Hits")),
        }
    }

    /// Opens a TCP connection from within a network namespace: the connection, or what the kernel said.
    pub fn connect_from(
        &self,
        netns: &str,
        to: SocketAddrV4,
        limit: Duration,
    ) -> Result<io::Result<TcpStream>, AgentError> {
        let limit = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        let conn = self.new_connection()?;
        conn.send(&Request::Connect { netns: netns.into(), to, limit }, &[])?;
        match conn.recv()? {
            (Response::Done, fds) => fds.into_iter().next().map(|fd| Ok(fd.into())),
            (Response::NotConnected { errno }, _) => Some(Err(io::Error::from_raw_os_error(errno))),
            (Response::Failed { message }, _) => return Err(AgentError::Refused(message)),
            _ => None,
        }
        .ok_or(AgentError::Confused("Connect"))
    }

    /// Sockets in a network namespace: TCP listeners and bound UDP sockets, in the order of their addresses. Whoever
    /// holds them keeps the namespace alive.
    pub fn bind(
        &self,
        netns: &str,
        tcp: &[SocketAddrV4],
        udp: &[SocketAddrV4],
    ) -> Result<(Vec<TcpListener>, Vec<UdpSocket>), AgentError> {
        let request = Request::Bind { netns: netns.into(), tcp: tcp.into(), udp: udp.into() };
        match self.call(&request, &[])? {
            (Response::Done, mut fds) if fds.len() == tcp.len() + udp.len() => {
                let datagrams = fds.split_off(tcp.len());
                let listeners = fds.into_iter().map(TcpListener::from).collect();
                Ok((listeners, datagrams.into_iter().map(UdpSocket::from).collect()))
            }
            (Response::Failed { message }, _) => Err(AgentError::Refused(message)),
            _ => Err(AgentError::Confused("Bind")),
        }
    }

    /// The connections that a router knows. What passes of them is counted from the first call on.
    pub fn connections(&self, router: &str) -> Result<Vec<Tracked>, AgentError> {
        match self.request(&Request::Connections { netns: router.into() })? {
            Response::Connections(all) => Ok(all),
            _ => Err(AgentError::Confused("Connections")),
        }
    }

    /// A packet socket that hears every frame of an interface, in both directions, with the kernel's times
    /// (`SO_TIMESTAMPNS`).
    pub fn capture(&self, netns: &str, link: &str) -> Result<OwnedFd, AgentError> {
        match self.call(&Request::Capture { netns: netns.into(), link: link.into() }, &[])? {
            (Response::Done, fds) => fds.into_iter().next().ok_or(AgentError::Confused("Capture")),
            (Response::Failed { message }, _) => Err(AgentError::Refused(message)),
            _ => Err(AgentError::Confused("Capture")),
        }
    }

    /// Has the agent keep a text for whoever adopts the lab.
    pub fn set_note(&self, note: String) -> Result<(), AgentError> {
        self.done("SetNote", &Request::SetNote { note })
    }

    /// The text that the agent was given last.
    pub fn note(&self) -> Result<Option<String>, AgentError> {
        match self.request(&Request::Note)? {
            Response::Note(note) => Ok(note),
            _ => Err(AgentError::Confused("Note")),
        }
    }

    /// Ends the lab, also when somebody else holds its lease.
    pub fn shutdown(&self) -> Result<(), AgentError> {
        self.done("Shutdown", &Request::Shutdown)
    }

    fn request(&self, request: &Request) -> Result<Response, AgentError> {
        match self.call(request, &[])?.0 {
            Response::Failed { message } => Err(AgentError::Refused(message)),
            response => Ok(response),
        }
    }

    fn done(&self, name: &'static str, request: &Request) -> Result<(), AgentError> {
        done(name, self.call(request, &[])?.0)
    }
}

/// The standard descriptors of this process, for [`Agent::exec`].
pub fn own_stdio() -> [BorrowedFd<'static>; 3] {
    // SAFETY: the standard descriptors stay open for the life of the process.
    unsafe { [BorrowedFd::borrow_raw(0), BorrowedFd::borrow_raw(1), BorrowedFd::borrow_raw(2)] }
}

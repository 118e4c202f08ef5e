//! Port 22 of every VM: a listening socket in its network namespace, and a program per connection.
//!
//! ```text
//! converge ─→ listen: a socket per VM that has a network, none else      one thread: epoll over all of them
//!                                                                            └ accepts ─→ a thread ─→ `vm-sshd` in the VM
//! ```
//! So a VM in which nobody is logged in has no process for it, and one whose port is only tried gets none: a connection that
//! goes again at once is nobody's. The program comes from the agent's own binary, reads what the VM's spec says at that
//! moment, and ends with the connection.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::memfd::{MFdFlags, memfd_create};
use tombolo_dataplane::linux::netns;

use crate::lab::{Lab, lock};
use crate::message::{ExecEvent, Program};
use crate::proto::Conn;
use crate::vm::Vm;

const PORT: u16 = 22;
/// Connections that a VM serves at a time; more are closed at once. A VM's programs can connect to it, too.
const MOST: usize = 100;
/// For how many milliseconds a client is waited for before there is a program for it. Clients speak at once, as both sides
/// do (RFC 4253, section 4.2); who waits for the server's first line gets it after this.
const SILENCE: u16 = 50;
/// The agent's own binary as an init sees it, whatever else of the host the VM shows.
const PROGRAM: [&str; 2] = ["/proc/self/exe", "vm-sshd"];

/// The sockets of all VMs.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    by_vm: Mutex<BTreeMap<String, Arc<Listener>>>,
    /// What its thread waits with; made with the first VM that listens.
    epoll: OnceLock<Arc<Epoll>>,
    next: AtomicU64,
    /// One [`listen`] at a time: [`Lab::turns`] when it was done last.
    listened: Mutex<Option<(u64, u64)>>,
}

/// The socket of one VM.
#[derive(Debug)]
struct Listener {
    /// How epoll calls it.
    token: u64,
    socket: TcpListener,
    vm: Weak<Vm>,
    /// What the socket is in: a VM whose namespace is another one needs another socket.
    netns: Arc<OwnedFd>,
    serving: Arc<AtomicUsize>,
}

impl Listener {
    /// Whether it is the socket of this VM in this namespace.
    fn is_for(&self, vm: &Arc<Vm>, netns: &Arc<OwnedFd>) -> bool {
        std::ptr::eq(self.vm.as_ptr(), Arc::as_ptr(vm)) && Arc::ptr_eq(&self.netns, netns)
    }
}

/// Makes it so that the VMs that have a network and a configuration for it listen, and no others.
pub(crate) fn listen(lab: &Arc<Lab>) -> Result<()> {
    let listeners = &lab.listeners;
    let mut listened = lock(&listeners.listened);
    // Asked first: what turns meanwhile is for the next time.
    let turns = lab.turns();
    if *listened == Some(turns) {
        return Ok(());
    }
    *listened = None;
    let mut wanted = BTreeMap::new();
    for vm in lab.vms() {
        if let Some(netns) = place_of(lab, &vm) {
            wanted.insert(vm.spec().key.clone(), (vm, netns));
        }
    }
    let is_wanted =
        |key: &str, known: &Listener| wanted.get(key).is_some_and(|(vm, netns)| known.is_for(vm, netns));
    // A socket keeps its namespace alive: what goes, goes first. Closing it takes it out of the epoll, too.
    lock(&listeners.by_vm).retain(|key, known| is_wanted(key, known));
    for (key, (vm, netns)) in wanted {
        if !lock(&listeners.by_vm).contains_key(&key) {
            add(lab, key, &vm, netns)?;
        }
    }
    *listened = Some(turns);
    Ok(())
}

/// The same for VMs that have just come to be there, which are few among many.
pub(crate) fn listen_too<'n>(lab: &Arc<Lab>, names: impl IntoIterator<Item = &'n str>) -> Result<()> {
    let _changing = lock(&lab.listeners.listened);
    for name in names {
        let Ok(vm) = lab.vm(name) else { continue };
        let Some(netns) = place_of(lab, &vm) else { continue };
        let known = lock(&lab.listeners.by_vm).get(name).cloned();
        if known.is_none_or(|known| !known.is_for(&vm, &netns)) {
            lock(&lab.listeners.by_vm).remove(name);
            add(lab, name.to_owned(), &vm, netns)?;
        }
    }
    Ok(())
}

/// The namespace in which a VM is to listen: its own, if it has a configuration for it.
fn place_of(lab: &Lab, vm: &Vm) -> Option<Arc<OwnedFd>> {
    let spec = vm.spec();
    lab.dataplane.netns_of(&spec.netns).filter(|_| spec.ssh.is_some())
}

/// Has a VM listen that does not.
fn add(lab: &Arc<Lab>, key: String, vm: &Arc<Vm>, netns: Arc<OwnedFd>) -> Result<()> {
    let listeners = &lab.listeners;
    let socket = bind(&netns).with_context(|| format!("listen on port {PORT} of {key}"))?;
    let token = listeners.next.fetch_add(1, Ordering::Relaxed);
    let listener =
        Arc::new(Listener { token, socket, vm: Arc::downgrade(vm), netns, serving: Arc::default() });
    lock(&listeners.by_vm).insert(key, Arc::clone(&listener));
    Ok(epoll(lab)?.add(&listener.socket, EpollEvent::new(EpollFlags::EPOLLIN, token))?)
}

fn bind(netns: &OwnedFd) -> Result<TcpListener> {
    let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT);
    let socket = netns::with(netns.as_fd(), || TcpListener::bind(any))??;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Starts the thread, for whoever must not: it would be where that is, and so would all that it starts.
pub(crate) fn prepare(lab: &Arc<Lab>) -> Result<()> {
    let _changing = lock(&lab.listeners.listened);
    epoll(lab).map(drop)
}

/// The epoll, with its thread.
fn epoll(lab: &Arc<Lab>) -> Result<Arc<Epoll>> {
    if let Some(epoll) = lab.listeners.epoll.get() {
        return Ok(Arc::clone(epoll));
    }
    let epoll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
    let (theirs, of) = (Arc::clone(&epoll), Arc::clone(lab));
    thread::Builder::new().name("ssh".into()).spawn(move || wait(&of, &theirs))?;
    // Only one `listen` at a time comes here.
    let _ = lab.listeners.epoll.set(Arc::clone(&epoll));
    Ok(epoll)
}

/// Accepts connections, as long as the agent lives.
fn wait(lab: &Arc<Lab>, epoll: &Epoll) {
    let mut events = [EpollEvent::empty(); 64];
    loop {
        let ready = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => continue,
            Err(_) => return,
        };
        for event in &events[..ready] {
            // One that was closed meanwhile is not found.
            let known = lock(&lab.listeners.by_vm);
            let listener = known.values().find(|known| known.token == event.data()).cloned();
            drop(known);
            if let Some(listener) = listener {
                accept(lab, &listener);
            }
        }
    }
}

fn accept(lab: &Arc<Lab>, listener: &Listener) {
    let socket = match listener.socket.accept() {
        Ok((socket, _)) => socket,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
        Err(_) => {
            // Out of descriptors, most likely: somebody will close one.
            thread::sleep(Duration::from_millis(100));
            return;
        }
    };
    let Some(vm) = listener.vm.upgrade() else { return };
    let serving = Arc::clone(&listener.serving);
    if serving.fetch_add(1, Ordering::Relaxed) >= MOST {
        serving.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let (lab, counted) = (Arc::clone(lab), Arc::clone(&serving));
    let serve = move || {
        if is_gone(&socket) {
            counted.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        // What keeps a VM from starting is seen by everything else that is started in it; here the client sees the
        // connection close.
        let _ = serve(&lab, &vm, socket.into());
        counted.fetch_sub(1, Ordering::Relaxed);
    };
    if thread::Builder::new().name("ssh".into()).stack_size(128 << 10).spawn(serve).is_err() {
        serving.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether the client has closed the connection without a word. Returns as soon as there is one.
fn is_gone(socket: &TcpStream) -> bool {
    let mut events = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let ready = poll(&mut events, PollTimeout::from(SILENCE));
    ready.is_ok_and(|ready| ready > 0) && !matches!(socket.peek(&mut [0]), Ok(1))
}

/// Has a connection served in the VM, and returns when it has ended.
fn serve(lab: &Lab, vm: &Vm, socket: OwnedFd) -> Result<()> {
    let spec = vm.spec();
    let config = spec.ssh.as_ref().context("nobody may log in any more")?;
    let mut file = File::from(memfd_create(c"ssh", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(config.0.as_bytes())?;
    let stdio = [socket, file.into(), File::options().write(true).open("/dev/null")?.into()];
    let (control, theirs) = Conn::pair()?;
    // It belongs to the client, not to whoever waits here.
    vm.launch(lab, Program::new(PROGRAM), None, true, &theirs, &stdio)?;
    drop((theirs, stdio));
    while !matches!(control.recv()?.0, ExecEvent::Ended(_) | ExecEvent::Failed { .. }) {}
    Ok(())
}

//! Pid 1 of the lab: a thread per connection, until the lease closes.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::geteuid;
use tombolo_dataplane::linux::guests::Guests;

use crate::dispatch::dispatch;
use crate::fd;
use crate::lab::Lab;
use crate::lease::{self, Lease};
use crate::message::{ExecEvent, Hello, Request, Response};
use crate::proto::{Conn, ProtoError};
use crate::spawn::is_same_user;

/// How long the agent may be at a request of a holder of the lease who is gone.
const LAST_REQUEST: Duration = Duration::from_secs(30);

/// Serves until the lease closes and nobody has adopted it for `keep`, or somebody asks for the end. The caller must
/// then end the process, which ends everything in the lab.
pub(crate) fn run(lease: &Conn, listen: Option<PathBuf>, keep: Duration, hide: Vec<PathBuf>) -> Result<()> {
    // A few descriptors per VM and network, and then some; for the guests' process too.
    fd::make_room();
    // While there is one thread.
    let guests = Guests::start().context("make the guests' user namespace")?;
    end_on_sigterm()?;
    let (held, adopters) = Lease::held();
    let lab = Arc::new(Lab::new(guests, held, hide));
    if let Some(path) = &listen {
        let listener = bind(path).with_context(|| format!("listen on {}", path.display()))?;
        let lab = Arc::clone(&lab);
        thread::Builder::new().name("listen".into()).spawn(move || accept(&lab, &listener))?;
    }
    lease.send(&Hello::Ready { version: env!("CARGO_PKG_VERSION").into() }, &[])?;
    let mut end = serve_lease(&lab, lease)?;
    while let Next::Closed = end {
        let Some(lease) = lab.lease.next(&adopters, keep) else { break };
        end = serve_lease(&lab, &lease)?;
    }
    if let Some(path) = listen {
        let _ = fs::remove_file(path);
    }
    Ok(())
}

/// Serves the lease until it closes. Should a request on it never end, whoever holds the lease can still end the lab by
/// ending itself.
fn serve_lease(lab: &Arc<Lab>, lease: &Conn) -> Result<Next> {
    let over = Arc::new(AtomicBool::new(false));
    let (watched, noticed) = (lease.try_clone()?, Arc::clone(&over));
    thread::Builder::new().name("lease".into()).stack_size(64 << 10).spawn(move || {
        // Nothing is asked for, so only its end is told of.
        while poll(&mut [PollFd::new(watched.as_fd(), PollFlags::empty())], PollTimeout::NONE).is_err() {}
        drop(watched);
        thread::sleep(LAST_REQUEST);
        if !noticed.load(Ordering::Relaxed) {
            // SAFETY: it takes no pointers. Nothing is to be tidied up that the kernel does not.
            unsafe { libc::_exit(1) }
        }
    })?;
    let end = serve(lab, lease, true);
    over.store(true, Ordering::Relaxed);
    Ok(end)
}

/// Serves a connection until it closes.
pub(crate) fn serve_on_thread(lab: &Arc<Lab>, conn: Conn) -> io::Result<()> {
    let lab = Arc::clone(lab);
    let serve = move || {
        if let Next::Lease = serve(&lab, &conn, false) {
            lab.lease.hand_over(conn);
        }
    };
    thread::Builder::new().name("connection".into()).spawn(serve).map(drop)
}

/// Serves a connection as long as there are requests; what comes then.
fn serve(lab: &Arc<Lab>, conn: &Conn, lease: bool) -> Next {
    loop {
        match serve_one(lab, conn, lease) {
            Next::Request => {}
            next => return next,
        }
    }
}

enum Next {
    Request,
    /// The connection is at its end, or belongs to a VM now.
    Closed,
    /// The connection is to be the lease.
    Lease,
    /// The lab is to end.
    Shutdown,
}

fn serve_one(lab: &Arc<Lab>, conn: &Conn, lease: bool) -> Next {
    let (request, fds) = match conn.recv() {
        Ok(received) => received,
        Err(ProtoError::Decode(error)) => {
            return answer(conn, failed(format!("not understood: {error}")), vec![]);
        }
        Err(_) => return Next::Closed,
    };
    match request {
        Request::Exec { vm, program, tty, detach } => {
            let result = match lease {
                // Its end means the end of the lab, so it cannot be handed to a VM.
                true => Err(anyhow::anyhow!("a program needs a connection of its own")),
                false => lab.vm(&vm).and_then(|vm| vm.launch(lab, program, tty, detach, conn, &fds)),
            };
            if let Err(error) = result {
                let _ = conn.send(&ExecEvent::Failed { code: 125, message: format!("{error:#}") }, &[]);
            }
            if lease { Next::Request } else { Next::Closed }
        }
        Request::Shutdown => {
            let _ = answer(conn, Response::Done, vec![]);
            if !lease {
                std::process::exit(0);
            }
            Next::Shutdown
        }
        Request::Adopt { build } if build != lease::build() => {
            answer(conn, failed("the agent is of another binary".into()), vec![])
        }
        Request::Adopt { .. } if !lab.lease.take() => answer(conn, Response::LeaseIsHeld, vec![]),
        Request::Adopt { .. } => {
            // Should the server be gone again, the lease closes, and is free once more.
            let _ = answer(conn, Response::Done, vec![]);
            Next::Lease
        }
        // A panic costs its request: on the lease's thread it would cost the lab.
        request => match catch_unwind(AssertUnwindSafe(|| dispatch(lab, request, fds))) {
            Ok(Ok(reply)) => answer(conn, reply.response, reply.fds),
            Ok(Err(error)) => answer(conn, failed(format!("{error:#}")), vec![]),
            Err(_) => answer(conn, failed("the agent panicked; its stderr says where".into()), vec![]),
        },
    }
}

fn failed(message: String) -> Response {
    Response::Failed { message }
}

fn answer(conn: &Conn, response: Response, fds: Vec<OwnedFd>) -> Next {
    match conn.send(&response, &fds.iter().map(AsFd::as_fd).collect::<Vec<_>>()) {
        Ok(()) => Next::Request,
        Err(_) => Next::Closed,
    }
}

fn accept(lab: &Arc<Lab>, listener: &UnixListener) {
    loop {
        // Out of descriptors, most likely: somebody will close one.
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        if is_outside(&stream) {
            let _ = serve_on_thread(lab, Conn::new(stream.into()));
        }
    }
}

/// Whether it is this user's process, and none of the lab's: those have a number here.
fn is_outside(stream: &UnixStream) -> bool {
    is_same_user(stream) && getsockopt(stream, sockopt::PeerCredentials).is_ok_and(|peer| peer.pid() == 0)
}

/// A socket that only this user can reach: 0600 in a directory that is 0700.
fn bind(path: &Path) -> Result<UnixListener> {
    let dir = path.parent().context("no directory")?;
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let meta = fs::metadata(dir)?;
    if meta.uid() != geteuid().as_raw() || meta.mode() & 0o077 != 0 {
        bail!("{} must belong to this user and be closed to others (chmod 700)", dir.display());
    }
    if UnixStream::connect(path).is_ok() {
        bail!("another agent listens there");
    }
    // Left behind by one that was killed.
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// The kernel keeps default actions from pid 1, so the signal that asks it to end needs a handler.
fn end_on_sigterm() -> Result<()> {
    extern "C" fn end(_: libc::c_int) {
        // SAFETY: _exit is async-signal-safe.
        unsafe { libc::_exit(0) }
    }
    let action = SigAction::new(SigHandler::Handler(end), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler calls nothing but _exit.
    unsafe { sigaction(Signal::SIGTERM, &action) }.context("handle SIGTERM")?;
    Ok(())
}

//! The server of one connection: the hidden subcommand `vm-sshd`, which the agent starts in the VM.
//!
//! Its stdin is the accepted socket, its stdout a file with the [`Config`]. It ends with the connection. A program that
//! was started without a terminal and does not mind goes on, as with OpenSSH.

mod account;
mod connection;
mod forward;
mod input;
mod program;
mod session;

use crate::Config;
use anyhow::{Context, Result};
use connection::Connection;
use nix::sys::socket::{setsockopt, sockopt};
use russh::server::run_stream;
use russh::{MethodKind, MethodSet};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long somebody may take to log in. Source: sshd_config(5), `LoginGraceTime`.
const LOGIN_GRACE: Duration = Duration::from_secs(120);
/// How long a connection may be silent before TCP asks whether its peer is still there, in seconds.
const KEEPALIVE: u32 = 60;
/// How much a client may send on a channel before it is told that there is room for more.
const WINDOW: u32 = 1 << 20;

/// Runs the subcommand. It is to be called before there is another thread.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever started it reads no more than this; the client sees the connection close.
        Err(error) => {
            eprintln!("vm-sshd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let _ = nix::sys::prctl::set_name(c"vm-sshd");
    let mut file = File::from(take(1).context("stdout")?);
    let socket = TcpStream::from(take(0).context("stdin")?);
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    let config: Config = serde_json::from_str(&text).context("the configuration")?;
    drop((file, text));
    prepare(&socket).context("the connection")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(serve(socket, config));
    // A name that is being looked up for a forwarded connection is nobody's concern any more.
    runtime.shutdown_background();
    served
}

/// Takes a standard descriptor, in whose place /dev/null is left.
fn take(fd: i32) -> Result<OwnedFd> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    // SAFETY: makes a new descriptor, which nobody else has; a bad `fd` is an error.
    let taken = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if taken < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: replaces a standard descriptor, which no object of this process closes.
    unsafe { libc::dup2(null.as_raw_fd(), fd) };
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(taken) })
}

fn prepare(socket: &TcpStream) -> Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    setsockopt(socket, sockopt::KeepAlive, &true)?;
    setsockopt(socket, sockopt::TcpKeepIdle, &KEEPALIVE)?;
    Ok(())
}

/// Serves until the connection ends.
async fn serve(socket: TcpStream, config: Config) -> Result<()> {
    let russh = russh::server::Config {
        server_id: russh::SshId::Standard("SSH-2.0-Tombolo".into()),
        methods: MethodSet::from([MethodKind::PublicKey].as_slice()),
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![config.host_key.private()],
        window_size: WINDOW,
        inactivity_timeout: None,
        ..Default::default()
    };
    let (connection, let_in) = Connection::new(config.keys, &socket)?;
    let socket = tokio::net::TcpStream::from_std(socket)?;
    let grace = tokio::time::sleep(LOGIN_GRACE);
    tokio::pin!(grace);
    let running = tokio::select! {
        running = run_stream(Arc::new(russh), socket, connection) => running?,
        () = &mut grace => return Ok(()),
    };
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return Ok(ended?),
        Ok(()) = let_in => {}
        () = grace => return Ok(()),
    }
    Ok(running.await?)
}

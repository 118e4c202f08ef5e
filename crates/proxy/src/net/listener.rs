//! Listening sockets.

use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, SockRef, Socket, Type};

use super::NetError;
use super::stream::Stream;
use crate::config::{Address, Pool};

/// A pool's listening socket. The file of a unix socket is removed when it is dropped, unless another
/// process has put its own there since.
#[derive(Debug)]
pub(super) struct Listener {
    socket: ListenSocket,
    path: Option<PathBuf>,
    /// What tells that the file is its own.
    file: Option<(u64, u64)>,
    pub(super) keepalive: bool,
}

#[derive(Debug)]
enum ListenSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Binds the socket of `pool`. `mode` is for a unix socket that has no permissions of its own.
    pub(super) fn bind(pool: &Pool, mode: Option<u32>) -> Result<Listener, NetError> {
        let bound = match &pool.listen.address {
            Address::Tcp(host, port) => bind_tcp(host, *port, pool).map(|socket| (socket, None)),
            Address::Unix(path) => bind_unix(path, pool.listen.mode.or(mode), pool.backlog)
                .map(|socket| (socket, Some(path.clone()))),
        };
        let (socket, path) = bound.map_err(|reason| NetError::Listen {
            pool: pool.name.clone(),
            address: pool.listen.to_string(),
            reason,
        })?;
        let file = path.as_deref().and_then(file_of);
        Ok(Listener { socket, path, file, keepalive: pool.tcpkeepalive })
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.socket {
            ListenSocket::Tcp(socket) => socket.register(registry, token, Interest::READABLE),
            ListenSocket::Unix(socket) => socket.register(registry, token, Interest::READABLE),
        }
    }

    /// Changes what can be changed of a socket that is bound.
    pub(super) fn adapt(&self, before: &Pool, after: &Pool) -> io::Result<()> {
        if before.backlog != after.backlog {
            match &self.socket {
                ListenSocket::Tcp(socket) => SockRef::from(socket).listen(after.backlog)?,
                ListenSocket::Unix(socket) => SockRef::from(socket).listen(after.backlog)?,
            }
        }
        if let (Some(path), Some(mode)) = (&self.path, after.listen.mode)
            && before.listen.mode != after.listen.mode
        {
            fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        match before.reuseport == after.reuseport {
            true => Ok(()),
            false => Err(io::Error::other("a change of 'reuseport' needs a restart")),
        }
    }

    pub(super) fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            ListenSocket::Tcp(socket) => socket.accept().map(|(stream, _)| Stream::Tcp(stream)),
            ListenSocket::Unix(socket) => socket.accept().map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && self.file.is_some()
            && file_of(path) == self.file
        {
            let _ = fs::remove_file(path);
        }
    }
}

/// The device and the inode of a file.
fn file_of(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

fn bind_tcp(host: &str, port: u16, pool: &Pool) -> io::Result<ListenSocket> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match bind_address(address, pool) {
            Ok(socket) => return Ok(ListenSocket::Tcp(socket)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind_address(address: SocketAddr, pool: &Pool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), None)?;
    socket.set_reuse_address(true)?;
    if pool.reuseport {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(pool.backlog)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn bind_unix(path: &Path, mode: Option<u32>, backlog: i32) -> io::Result<ListenSocket> {
    // A socket that an earlier process left; twemproxy removes it too.
    if fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    if let Some(mode) = mode {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    socket.listen(backlog)?;
    let fd: std::os::fd::OwnedFd = socket.into();
    Ok(ListenSocket::Unix(UnixListener::from_std(fd.into())))
}

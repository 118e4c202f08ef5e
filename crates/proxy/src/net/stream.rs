//! TCP and unix streams, plain or with TLS, behind one face.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use mio::event::{Event, Source};
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::{SockRef, TcpKeepalive};

use super::tls::Secure;

/// How long a connection is silent before the kernel asks whether the peer is there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// TLS over one of the others. In a box: most streams are plain, and should be small.
    Tls(Box<Secure>),
}

impl Stream {
    pub(super) fn connect_tcp(address: SocketAddr) -> io::Result<Stream> {
        TcpStream::connect(address).map(Stream::Tcp)
    }

    pub(super) fn connect_unix(path: &Path) -> io::Result<Stream> {
        UnixStream::connect(path).map(Stream::Unix)
    }

    /// The address of the peer, as a log shows it; empty when it has gone.
    pub(super) fn peer(&self) -> String {
        match self {
            Stream::Tcp(stream) => stream.peer_addr().map_or_else(|_| String::new(), |peer| peer.to_string()),
            Stream::Unix(_) => "unix".to_string(),
            Stream::Tls(secure) => secure.below.peer(),
        }
    }

    /// Whether there is no TLS on it.
    pub(super) fn is_plain(&self) -> bool {
        !matches!(self, Stream::Tls(_))
    }

    /// Undoes [`register`](Self::register).
    pub(super) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.deregister(registry),
            Stream::Unix(stream) => stream.deregister(registry),
            Stream::Tls(secure) => secure.below.deregister(registry),
        }
    }

    /// Registers for both directions, for good.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match self {
            Stream::Tcp(stream) => stream.register(registry, token, both),
            Stream::Unix(stream) => stream.register(registry, token, both),
            Stream::Tls(secure) => secure.below.register(registry, token),
        }
    }

    /// Small messages leave at once; keepalive as configured. Failing to is no reason to refuse
    /// service.
    pub(super) fn tune(&self, keepalive: bool) {
        if let Stream::Tcp(stream) = self {
            let _ = stream.set_nodelay(true);
            if keepalive {
                let _ =
                    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_AFTER));
            }
        }
    }

    /// Whether a connection that was begun is there: `Ok(false)` when it is still under way.
    pub(super) fn connected(&self) -> io::Result<bool> {
        let (error, peer) = match self {
            Stream::Tcp(stream) => (stream.take_error()?, stream.peer_addr().map(drop)),
            Stream::Unix(stream) => (stream.take_error()?, stream.peer_addr().map(drop)),
            Stream::Tls(secure) => return secure.below.connected(),
        };
        match (error, peer) {
            (Some(error), _) => Err(error),
            (None, Ok(())) => Ok(true),
            (None, Err(error)) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            (None, Err(error)) => Err(error),
        }
    }

    /// One read of a plain stream.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buf),
            Stream::Unix(stream) => stream.read(buf),
            Stream::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// One write to a plain stream.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
            Stream::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// One write of several parts to a plain stream.
    pub(super) fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write_vectored(parts),
            Stream::Unix(stream) => stream.write_vectored(parts),
            Stream::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Tells a peer that speaks TLS that nothing more comes.
    pub(super) fn close_notify(&mut self) {
        if let Stream::Tls(secure) = self {
            secure.close_notify();
        }
    }

    /// Says that nothing more comes. What the peer was sent is not lost to it.
    pub(super) fn finish(&mut self) {
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
            Stream::Tls(secure) => {
                secure.close_notify();
                secure.below.finish();
                Ok(())
            }
        };
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
            Stream::Tls(secure) => secure.below.as_fd(),
        }
    }
}

impl tombolo_ring::Socket for Stream {
    fn finish(&mut self) {
        Stream::finish(self);
    }

    fn discard(&mut self) {
        let _ = self.read(&mut [0; 4096]);
    }
}

/// A stream with what edge-triggered events have said about it.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) stream: Stream,
    /// There may be something to read: no read has come back short since the last event.
    pub(super) readable: bool,
    /// A write may succeed: none has been refused since the last event.
    pub(super) writable: bool,
    /// The peer has ended its side: reads lead to the end without another event.
    pub(super) ending: bool,
    /// It is already in the list of what is to be read.
    pub(super) queued: bool,
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Got {
    Bytes(usize),
    /// The TLS handshake is over: writing is of use from here on. So many bytes came with it.
    Secured(usize),
    Nothing,
    End,
}

impl Socket {
    pub(super) fn new(stream: Stream, writable: bool) -> Socket {
        Socket { stream, readable: false, writable, ending: false, queued: false }
    }

    /// Takes note of an event.
    pub(super) fn note(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable();
        self.ending |= event.is_read_closed();
    }

    /// One read. A read that does not fill the buffer emptied the socket, so there is an event
    /// before there is anything more; the end of the stream is such an event too, unless it was
    /// part of the last one.
    pub(super) fn read(&mut self, buf: &mut [u8]) -> io::Result<Got> {
        if let Stream::Tls(secure) = &mut self.stream {
            let (got, more) = secure.read(buf)?;
            self.readable = more || self.ending;
            return Ok(got);
        }
        loop {
            return match self.stream.read(buf) {
                Ok(0) => Ok(Got::End),
                Ok(count) => {
                    self.readable = count == buf.len() || self.ending;
                    Ok(Got::Bytes(count))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    Ok(Got::Nothing)
                }
                Err(error) => Err(error),
            };
        }
    }

    /// One write of as much as the kernel takes; 0 when it takes nothing now.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Stream::Tls(secure) = &mut self.stream {
            let (count, writable) = secure.write(bytes)?;
            self.writable = writable;
            return Ok(count);
        }
        loop {
            return match self.stream.write(bytes) {
                Ok(count) => {
                    // A short write filled the socket's buffer: the next event says when to go on.
                    self.writable = count == bytes.len();
                    Ok(count)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable = false;
                    Ok(0)
                }
                Err(error) => Err(error),
            };
        }
    }

    /// Writes what TLS itself has to say, after an event that said that writing is possible. What
    /// goes wrong shows in the next read or write.
    pub(super) fn flush(&mut self) {
        if let Stream::Tls(secure) = &mut self.stream {
            self.writable = secure.flush().unwrap_or(true);
        }
    }

    /// Whether its TLS handshake is under way.
    pub(super) fn is_handshaking(&self) -> bool {
        matches!(&self.stream, Stream::Tls(secure) if secure.is_handshaking())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_socket_does_not_pay_for_tls() {
        // A pointer, or what mio has of a socket, and what says which.
        assert!(size_of::<Stream>() <= size_of::<TcpStream>().max(8) + 8);
        assert!(size_of::<Socket>() <= size_of::<Stream>() + 8);
    }
}

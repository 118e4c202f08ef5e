//! Frames over a unix stream socket: what every connection to and from the agent speaks.
//!
//! ```text
//! frame = length (u32, little endian) | MessagePack of that length      (+ descriptors on the first byte)
//! ```
//!
//! A [`Conn`] never reads past the frame it returns, so its socket can be handed to another process
//! between two frames. A closed peer is [`ProtoError::Closed`] only between frames; within one it is an error.
//! Received descriptors are close-on-exec and owned from the moment they arrive.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv, recvmsg, send,
    sendmsg, setsockopt, socketpair, sockopt,
};
use nix::sys::time::TimeVal;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest frame either side accepts.
pub const MAX_FRAME: usize = 64 << 20;
/// The most descriptors that travel with one frame.
pub const MAX_FDS: usize = 64;

const HEADER: usize = 4;

/// Why a frame could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum ProtoError {
    /// The peer closed the connection between two frames.
    #[error("the connection is closed")]
    Closed,
    /// The socket failed, or closed within a frame.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    /// A frame above [`MAX_FRAME`], or with more than [`MAX_FDS`] descriptors.
    #[error("a frame of {bytes} bytes with {fds} descriptors is over the limit")]
    TooLarge {
        /// Length of the message.
        bytes: usize,
        /// Number of descriptors.
        fds: usize,
    },
    /// The frame is whole but is not the message that was expected; the connection remains usable.
    #[error("unexpected message: {0}")]
    Decode(#[from] rmp_serde::decode::Error),
    /// The message has no such form.
    #[error("message: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
}

impl From<Errno> for ProtoError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EPIPE | Errno::ECONNRESET => Self::Closed,
            errno => Self::Io(errno.into()),
        }
    }
}

/// One end of a connection. Blocking; callers that share one serialise their own requests.
#[derive(Debug)]
pub struct Conn {
    socket: OwnedFd,
}

impl Conn {
    /// Speaks frames over a connected stream socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Two connected ends.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Self::new(a), Self::new(b)))
    }

    /// The socket, for handing it to another process.
    pub fn into_fd(self) -> OwnedFd {
        self.socket
    }

    /// Another handle of the same connection.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()? })
    }

    /// Bounds how long a peer can keep a blocking call waiting; zero lifts the bound.
    pub fn set_timeouts(&self, limit: Duration) -> io::Result<()> {
        let limit = time_val(limit);
        setsockopt(&self.socket, sockopt::ReceiveTimeout, &limit)?;
        setsockopt(&self.socket, sockopt::SendTimeout, &limit)?;
        Ok(())
    }

    /// Bounds how long a peer that reads nothing can keep a sender waiting.
    pub(crate) fn set_send_timeout(&self, limit: Duration) -> io::Result<()> {
        Ok(setsockopt(&self.socket, sockopt::SendTimeout, &time_val(limit))?)
    }

    /// Sends one message with descriptors; the caller's descriptors stay open.
    pub fn send<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> Result<(), ProtoError> {
        let mut frame = vec![0; HEADER];
        rmp_serde::encode::write_named(&mut frame, message)?;
        self.send_frame(frame, fds)
    }

    /// The same without the fields' names, for what is large: values in the order of the fields. None of them may be left out
    /// when it says nothing (`skip_serializing_if`): those behind it would be taken for it.
    pub fn send_in_order<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> Result<(), ProtoError> {
        let mut frame = vec![0; HEADER];
        rmp_serde::encode::write(&mut frame, message)?;
        self.send_frame(frame, fds)
    }

    /// Sends a message that stands behind room for the header.
    fn send_frame(&self, mut frame: Vec<u8>, fds: &[BorrowedFd<'_>]) -> Result<(), ProtoError> {
        let bytes = frame.len() - HEADER;
        if bytes > MAX_FRAME || fds.len() > MAX_FDS {
            return Err(ProtoError::TooLarge { bytes, fds: fds.len() });
        }
        frame[..HEADER].copy_from_slice(&(bytes as u32).to_le_bytes());

        let mut sent = self.send_first(&frame, fds)?;
        while sent < frame.len() {
            sent += retry(|| send(self.socket.as_raw_fd(), &frame[sent..], MsgFlags::MSG_NOSIGNAL))?;
        }
        Ok(())
    }

    /// The descriptors ride on the first byte of the frame.
    fn send_first(&self, frame: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize, ProtoError> {
        let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &rights[..0] } else { &rights[..] };
        let parts = [IoSlice::new(frame)];
        let flags = MsgFlags::MSG_NOSIGNAL;
        Ok(retry(|| sendmsg::<()>(self.socket.as_raw_fd(), &parts, control, flags, None))?)
    }

    /// Receives one message with its descriptors.
    pub fn recv<T: DeserializeOwned>(&self) -> Result<(T, Vec<OwnedFd>), ProtoError> {
        let mut header = [0; HEADER];
        let (got, fds) = self.recv_first(&mut header)?;
        if got == 0 {
            return Err(ProtoError::Closed);
        }
        self.recv_exact(&mut header[got..])?;
        let bytes = u32::from_le_bytes(header) as usize;
        if bytes > MAX_FRAME {
            return Err(ProtoError::TooLarge { bytes, fds: fds.len() });
        }
        let mut body = vec![0; bytes];
        self.recv_exact(&mut body)?;
        Ok((rmp_serde::from_slice(&body)?, fds))
    }

    fn recv_first(&self, header: &mut [u8; HEADER]) -> Result<(usize, Vec<OwnedFd>), ProtoError> {
        let mut space = cmsg_space!([RawFd; MAX_FDS]);
        let mut parts = [IoSliceMut::new(header)];
        let fd = self.socket.as_raw_fd();
        let message = loop {
            match recvmsg::<()>(fd, &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
                Err(Errno::EINTR) => {}
                // A peer that went away with our bytes unread.
                Err(Errno::ECONNRESET) => return Ok((0, Vec::new())),
                result => break result?,
            }
        };
        let mut fds = Vec::new();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = control {
                // SAFETY: the kernel just made these descriptors for us; nothing else owns them.
                fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        if message.flags.contains(MsgFlags::MSG_CTRUNC) {
            return Err(io::Error::other("descriptors were lost: is the limit of open files reached?").into());
        }
        Ok((message.bytes, fds))
    }

    fn recv_exact(&self, mut into: &mut [u8]) -> Result<(), ProtoError> {
        while !into.is_empty() {
            match retry(|| recv(self.socket.as_raw_fd(), into, MsgFlags::empty()))? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                got => into = &mut into[got..],
            }
        }
        Ok(())
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn time_val(limit: Duration) -> TimeVal {
    TimeVal::new(limit.as_secs() as libc::time_t, i64::from(limit.subsec_micros()))
}

fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    use std::io::{Read, Write};

    #[test]
    fn messages_keep_their_boundaries_and_their_descriptors() {
        let (a, b) = Conn::pair().unwrap();
        let (read, write) = io::pipe().unwrap();
        a.send(&"first", &[]).unwrap();
        a.send(&"second", &[write.as_fd()]).unwrap();
        a.send(&vec![7; 3], &[]).unwrap();
        drop(write);

        assert_eq!(b.recv::<String>().unwrap().0, "first");
        let (text, fds) = b.recv::<String>().unwrap();
        assert_eq!((text.as_str(), fds.len()), ("second", 1));
        let flags = FdFlag::from_bits_retain(fcntl(&fds[0], FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
        std::fs::File::from(fds.into_iter().next().unwrap()).write_all(b"through").unwrap();
        let mut got = String::new();
        { read }.read_to_string(&mut got).unwrap();
        assert_eq!(got, "through");
        assert_eq!(b.recv::<Vec<u8>>().unwrap().0, [7, 7, 7]);
    }

    #[test]
    fn a_large_frame_passes_and_an_oversized_header_does_not() {
        let (a, b) = Conn::pair().unwrap();
        let text = "x".repeat(3 << 20);
        std::thread::scope(|scope| {
            scope.spawn(|| a.send(&text, &[]).unwrap());
            assert_eq!(b.recv::<String>().unwrap().0.len(), text.len());
        });
        send(a.socket.as_raw_fd(), &u32::MAX.to_le_bytes(), MsgFlags::empty()).unwrap();
        assert!(matches!(b.recv::<String>(), Err(ProtoError::TooLarge { .. })));
    }

    #[test]
    fn the_end_differs_from_an_error() {
        let (a, b) = Conn::pair().unwrap();
        drop(a);
        assert!(matches!(b.recv::<String>(), Err(ProtoError::Closed)));
        assert!(matches!(b.send(&"x", &[]), Err(ProtoError::Closed)));

        let (a, b) = Conn::pair().unwrap();
        send(a.socket.as_raw_fd(), &[9, 0, 0, 0, b'"'], MsgFlags::empty()).unwrap();
        drop(a);
        assert!(matches!(b.recv::<String>(), Err(ProtoError::Io(_))));
    }

    #[test]
    fn a_message_of_the_wrong_type_leaves_the_connection_usable() {
        let (a, b) = Conn::pair().unwrap();
        a.send(&"text", &[]).unwrap();
        a.send(&5, &[]).unwrap();
        assert!(matches!(b.recv::<u32>(), Err(ProtoError::Decode(_))));
        assert_eq!(b.recv::<u32>().unwrap().0, 5);
    }
}

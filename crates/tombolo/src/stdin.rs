//! What a program in a VM gets as its input.
//!
//! A descriptor leads to its file, by `/proc/self/fd/0`, on the host's own mount: who has it can open the file anew, for
//! writing too. So files are handed on byte by byte, in a pipe; a terminal, a pipe or a socket leads nowhere else.

use nix::errno::Errno;
use nix::fcntl::{SpliceFFlags, splice};
use nix::libc::{FIONREAD, c_int};
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Result, Seek, SeekFrom, Write, pipe};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};
use std::thread;

nix::ioctl_read_bad!(unread, FIONREAD, c_int);

/// Bytes handed on at a time.
const CHUNK: usize = 64 << 10;

/// This process's input, for a program elsewhere.
#[derive(Debug)]
pub(crate) enum Input {
    /// As it is.
    Own(std::io::Stdin),
    /// A file's bytes, from this position on.
    Fed(PipeReader, u64),
}

impl Input {
    /// Starts to feed the program, if its input is to come from a file. The thread that does so ends with this process.
    pub(crate) fn new() -> Result<Self> {
        let stdin = std::io::stdin();
        let mut file = file(stdin.as_fd());
        if !file.metadata().is_ok_and(|meta| meta.is_file()) {
            return Ok(Self::Own(stdin));
        }
        let start = file.stream_position().unwrap_or_default();
        let (ours, theirs) = pipe()?;
        thread::Builder::new().name("stdin".into()).spawn(move || feed(&mut file, theirs))?;
        Ok(Self::Fed(ours, start))
    }

    /// Puts the file back to where the program stopped reading: what runs next may share it, in a shell's loop.
    pub(crate) fn give_back(&self) {
        let Self::Fed(pipe, start) = self else { return };
        let mut left = 0;
        // SAFETY: writes one int.
        let known = unsafe { unread(pipe.as_raw_fd(), &mut left) }.is_ok();
        let mut file = file(std::io::stdin().as_fd());
        if let (true, Ok(position)) = (known && left > 0, file.stream_position()) {
            // The program may have put bytes of its own into the pipe.
            let stopped = position.saturating_sub(left.unsigned_abs().into()).max(*start);
            let _ = file.seek(SeekFrom::Start(stopped));
        }
    }
}

impl AsFd for Input {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(stdin) => stdin.as_fd(),
            Self::Fed(pipe, _) => pipe.as_fd(),
        }
    }
}

/// The file behind a descriptor, which stays open.
fn file(fd: BorrowedFd<'_>) -> ManuallyDrop<File> {
    // SAFETY: it is open, and is not closed by this.
    ManuallyDrop::new(unsafe { File::from_raw_fd(fd.as_raw_fd()) })
}

/// Moves a file's bytes to a pipe, until either is at its end: only what is in the pipe has been read of the file.
fn feed(file: &mut File, mut pipe: PipeWriter) {
    loop {
        match splice(&*file, None, &pipe, None, CHUNK, SpliceFFlags::empty()) {
            Ok(0) => return,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => break,
        }
    }
    // Not every file can be moved so; or the pipe has nobody who reads.
    let mut buffer = vec![0; CHUNK];
    while let Ok(count @ 1..) = file.read(&mut buffer) {
        if pipe.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

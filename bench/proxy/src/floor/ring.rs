//! io_uring as [`super::uring`] needs it, and all that is unsafe about starting it.
//!
//! ```text
//!  submitted together ─▶ one io_uring_enter ─▶ completions: token, result, buffer
//!                              │
//!                              └─ what is read from clients is in a buffer of the kernel's choice,
//!                                 out of those that were given to it
//! ```
//!
//! No thread of the kernel polls the ring (SQPOLL): its CPU time would be the proxy's.

use std::alloc::{Layout, alloc_zeroed};
use std::io;
use std::os::fd::RawFd;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::squeue::Entry;
use io_uring::types::{BufRingEntry, Fd, Fixed};
use io_uring::{IoUring, cqueue, opcode};

/// Operations that are submitted together at most.
const SUBMISSIONS: u32 = 4096;
/// Completions that have a place; the kernel keeps more than these, but at a cost.
const COMPLETIONS: u32 = 16384;
/// Buffers for what clients send, a power of two, and the length of one.
const BUFFERS: u16 = 512;
const BUFFER: usize = 8 << 10;
const GROUP: u16 = 0;
/// Where the ring of buffers must begin.
const PAGE: usize = 4096;
/// `IORING_RECVSEND_POLL_FIRST`: there is nothing to read yet, so that trying it is in vain.
const POLL_FIRST: u16 = 1;
/// `IORING_ENTER_GETEVENTS`.
const GET_EVENTS: u32 = 1;
/// One io_uring_enter looks at no more sockets than this (`IO_LOCAL_TW_DEFAULT_MAX`); if it was as
/// many there may be others.
const AT_ONCE: usize = 20;
/// The flags of a send: all of it, and no signal.
const SEND_FLAGS: i32 = nix::libc::MSG_WAITALL | nix::libc::MSG_NOSIGNAL;

/// A ring with a table of sockets and a ring of buffers.
pub(crate) struct Ring {
    ring: IoUring,
    buffers: *mut BufRingEntry,
    bytes: *mut u8,
    tail: u16,
}

/// What became of an operation.
pub(crate) struct Completion {
    /// What was submitted with it.
    pub(crate) token: u64,
    /// What the system call would have returned, or an error's negative number.
    pub(crate) result: i32,
    /// More completions of the same operation will come.
    pub(crate) more: bool,
    /// The buffer that was read to; it must be given back.
    pub(crate) buffer: Option<u16>,
}

impl Ring {
    /// A ring for at most `sockets`; the first is `first`. Its memory is never freed: when the ring
    /// is dropped the kernel may still be using it.
    pub(crate) fn new(sockets: u32, first: RawFd) -> io::Result<Ring> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun();
        builder.setup_submit_all().setup_cqsize(COMPLETIONS);
        let ring = builder.build(SUBMISSIONS)?;
        ring.submitter().register_files_sparse(sockets)?;
        ring.submitter().register_files_update(0, &[first])?;
        let entries = usize::from(BUFFERS) * size_of::<BufRingEntry>();
        let (buffers, bytes) =
            (zeroed(entries)?.cast::<BufRingEntry>(), zeroed(usize::from(BUFFERS) * BUFFER)?);
        // SAFETY: `buffers` is aligned to a page, has room for BUFFERS entries, and is never freed.
        unsafe { ring.submitter().register_buf_ring_with_flags(buffers as u64, BUFFERS, GROUP, 0)? };
        let mut ring = Ring { ring, buffers, bytes, tail: 0 };
        (0..BUFFERS).for_each(|buffer| ring.give_back(buffer));
        Ok(ring)
    }

    /// Submits everything, waits for a completion, and adds all there are to `ready`, but leaves
    /// buffers for those that follow.
    pub(crate) fn turn(&mut self, ready: &mut Vec<Completion>) -> io::Result<()> {
        match self.ring.submit_and_wait(1) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => drop(outcome?),
        }
        while self.collect(ready) >= AT_ONCE && ready.len() < usize::from(BUFFERS) / 2 {
            // SAFETY: nothing is submitted, and there is no argument.
            let outcome = unsafe { self.ring.submitter().enter::<()>(0, 0, GET_EVENTS, None) };
            match outcome {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => drop(outcome?),
            }
        }
        Ok(())
    }

    /// Adds completions to `ready`; returns how many of them read something.
    fn collect(&mut self, ready: &mut Vec<Completion>) -> usize {
        let before = ready.len();
        ready.extend(self.ring.completion().map(|entry| Completion {
            token: entry.user_data(),
            result: entry.result(),
            more: cqueue::more(entry.flags()),
            buffer: cqueue::buffer_select(entry.flags()),
        }));
        ready[before..].iter().filter(|completion| completion.buffer.is_some()).count()
    }

    /// The first `length` bytes of a buffer that a completion named, until it is given back.
    pub(crate) fn buffer(&self, buffer: u16, length: usize) -> &[u8] {
        assert!(buffer < BUFFERS && length <= BUFFER);
        // SAFETY: within `bytes`, zeroed at first; the kernel does not write to what it gave us, and
        // `give_back` needs the ring for itself.
        unsafe { slice::from_raw_parts(self.bytes.add(usize::from(buffer) * BUFFER), length) }
    }

    /// The kernel may use `buffer` again.
    pub(crate) fn give_back(&mut self, buffer: u16) {
        assert!(buffer < BUFFERS);
        // SAFETY: the places are within `bytes` and `buffers`. The kernel reads entries before the
        // tail only, which is an aligned u16 of the first entry that nobody else writes to.
        unsafe {
            let entry = &mut *self.buffers.add(usize::from(self.tail % BUFFERS));
            entry.set_addr(self.bytes.add(usize::from(buffer) * BUFFER) as u64);
            entry.set_len(BUFFER as u32);
            entry.set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(self.buffers).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    /// Accepts connections, until one fails, each into a free place of the table: the result.
    pub(crate) fn accept(&mut self, listener: RawFd, token: u64) -> io::Result<()> {
        let entry = opcode::AcceptMulti::new(Fd(listener)).allocate_file_index(true).build();
        // SAFETY: it refers to no memory.
        unsafe { self.push(&entry.user_data(token)) }
    }

    /// Reads whatever comes, until it fails, each time into a buffer.
    pub(crate) fn receive_all(&mut self, socket: usize, token: u64) -> io::Result<()> {
        let entry = opcode::RecvMulti::new(Fixed(socket as u32), GROUP).build();
        // SAFETY: it refers to no memory but the ring's buffers.
        unsafe { self.push(&entry.user_data(token)) }
    }

    /// Reads once.
    ///
    /// # Safety
    /// Until it completes `bytes` must stay where they are, and nobody else may use them.
    pub(crate) unsafe fn receive(&mut self, socket: usize, bytes: *mut [u8], token: u64) -> io::Result<()> {
        let entry = opcode::Recv::new(Fixed(socket as u32), bytes.cast(), bytes.len() as u32);
        // SAFETY: as the caller promises.
        unsafe { self.push(&entry.ioprio(POLL_FIRST).build().user_data(token)) }
    }

    /// Writes all of `bytes`.
    ///
    /// # Safety
    /// Until it completes `bytes` must stay where they are, and as they are.
    pub(crate) unsafe fn send(&mut self, socket: usize, bytes: *const [u8], token: u64) -> io::Result<()> {
        let entry = opcode::Send::new(Fixed(socket as u32), bytes.cast(), bytes.len() as u32);
        // SAFETY: as the caller promises.
        unsafe { self.push(&entry.flags(SEND_FLAGS).build().user_data(token)) }
    }

    /// Closes a socket; its place is free then.
    pub(crate) fn close(&mut self, socket: usize, token: u64) -> io::Result<()> {
        let entry = opcode::Close::new(Fixed(socket as u32)).build();
        // SAFETY: it refers to no memory.
        unsafe { self.push(&entry.user_data(token)) }
    }

    /// # Safety
    /// Memory that `entry` refers to must be there until it completes.
    unsafe fn push(&mut self, entry: &Entry) -> io::Result<()> {
        if self.ring.submission().is_full() {
            self.ring.submit()?;
        }
        // SAFETY: as the caller promises.
        unsafe { self.ring.submission().push(entry) }.map_err(io::Error::other)
    }
}

/// Memory at the start of a page, for as long as the process lives.
fn zeroed(bytes: usize) -> io::Result<*mut u8> {
    let layout = Layout::from_size_align(bytes, PAGE).map_err(io::Error::other)?;
    // SAFETY: callers ask for more than no bytes.
    let memory = unsafe { alloc_zeroed(layout) };
    if memory.is_null() { Err(io::ErrorKind::OutOfMemory.into()) } else { Ok(memory) }
}

//! Buffers that the kernel reads to, in groups of two sizes.
//!
//! ```text
//!  free ──offer──▶ the kernel's ──received──▶ the caller's ──give──▶ free
//! ```
//!
//! The kernel takes buffers in the order in which it was offered them, so it would use all of them in
//! turn, and read each time to memory that no cache has. So it is offered only as many as it takes at a
//! time, those first that were used last.

use std::alloc::{Layout, alloc_zeroed};
use std::io;
use std::ops::Range;
use std::slice;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// Bytes before each large buffer that are the caller's: see [`Ring::before`](crate::Ring::before).
pub const HEADROOM: usize = 64 << 10;

/// After so many offers it shows whether fewer would do.
const WINDOW: u32 = 1024;

/// Where rings of buffers must begin.
const PAGE: usize = 4096;

/// Which buffers a socket is read to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Many buffers of 8 KiB: for sockets that there are many of.
    Small,
    /// Few of 128 KiB, with [`HEADROOM`]: for those that bring much at a time.
    Large,
}

impl Group {
    pub(crate) const ALL: [Group; 2] = [Group::Small, Group::Large];

    pub(crate) fn number(self) -> u16 {
        self as u16
    }

    /// How many buffers there are: a power of two.
    fn count(self) -> u16 {
        match self {
            Group::Small => 512,
            Group::Large => 16,
        }
    }

    /// How many the kernel has at least, as far as they are there.
    fn fewest(self) -> u16 {
        match self {
            Group::Small => 32,
            Group::Large => 4,
        }
    }

    fn length(self) -> usize {
        match self {
            Group::Small => 8 << 10,
            Group::Large => 128 << 10,
        }
    }

    fn headroom(self) -> usize {
        match self {
            Group::Small => 0,
            Group::Large => HEADROOM,
        }
    }
}

/// Bytes that have come, in a buffer that is the holder's until it gives it back. One that is dropped
/// instead is lost to the ring.
#[derive(Debug)]
#[must_use = "its buffer has to be given back"]
pub struct Received {
    pub(crate) group: Group,
    pub(crate) buffer: u16,
    /// Its first byte, counted from the end of the headroom backwards.
    pub(crate) before: usize,
    pub(crate) length: usize,
}

impl Received {
    /// How many bytes have come.
    #[allow(clippy::len_without_is_empty, reason = "there is always something")]
    pub fn len(&self) -> usize {
        self.length
    }
}

/// Some of the bytes of a [`Received`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub(crate) group: Group,
    buffer: u16,
    /// How often the buffer had been given back: a piece is of no use after that.
    round: u32,
    /// From the buffer's start, headroom included.
    start: u32,
    length: u32,
}

impl Piece {
    /// How many bytes it is of.
    #[allow(clippy::len_without_is_empty, reason = "there is always something")]
    pub fn len(&self) -> usize {
        self.length as usize
    }
}

/// The buffers of a group. Their memory is never freed: when a ring ends the kernel may still be
/// using it.
#[derive(Debug)]
pub(crate) struct Buffers {
    group: Group,
    ring: *mut BufRingEntry,
    memory: *mut u8,
    tail: u16,
    /// By buffer, how often it was given back.
    rounds: Vec<u32>,
    /// Those that nobody has; the last one was used last.
    free: Vec<u16>,
    /// How many the kernel has, and how many it is to have; whether those were too few.
    offered: u16,
    goal: u16,
    too_few: bool,
    /// The fewest that it had left since the last look at that, and offers since then.
    left: u16,
    offers: u32,
}

// SAFETY: the memory is this value's own, and no thread's in particular.
unsafe impl Send for Buffers {}

impl Buffers {
    pub(crate) fn new(group: Group, submitter: &Submitter<'_>) -> io::Result<Buffers> {
        let count = usize::from(group.count());
        let ring = zeroed(count * size_of::<BufRingEntry>())?.cast::<BufRingEntry>();
        let memory = zeroed(count * (group.headroom() + group.length()))?;
        // SAFETY: `ring` begins at a page, has room for the entries, and is never freed.
        unsafe { submitter.register_buf_ring_with_flags(ring as u64, group.count(), group.number(), 0)? };
        let (fewest, rounds, free) = (group.fewest(), vec![0; count], (0..group.count()).rev().collect());
        let (tail, offered, goal, left) = (0, 0, fewest, fewest);
        let (too_few, offers) = (false, 0);
        Ok(Buffers { group, ring, memory, tail, rounds, free, offered, goal, too_few, left, offers })
    }

    /// The place in `memory` where a buffer begins, headroom included.
    fn place(&self, buffer: u16) -> usize {
        assert!(buffer < self.group.count());
        usize::from(buffer) * (self.group.headroom() + self.group.length())
    }

    /// Takes a buffer back, which nobody else has.
    pub(crate) fn give(&mut self, buffer: u16) {
        let round = &mut self.rounds[usize::from(buffer)];
        *round = round.wrapping_add(1);
        self.free.push(buffer);
    }

    /// Lets the kernel use as many buffers as it needs. To be done before it reads.
    pub(crate) fn offer(&mut self) {
        self.left = self.left.min(self.offered);
        self.offers += 1;
        if self.offers == WINDOW {
            self.goal = (self.goal - self.left.min(self.goal) / 2).max(self.group.fewest());
            (self.left, self.offers) = (self.goal, 0);
        }
        if std::mem::take(&mut self.too_few) {
            self.goal = (self.goal * 2).min(self.group.count());
        }
        if self.offered >= self.goal {
            return;
        }
        while self.offered < self.goal
            && let Some(buffer) = self.free.pop()
        {
            let place = self.place(buffer) + self.group.headroom();
            // SAFETY: the places are within `memory` and `ring`, and the kernel reads entries before the
            // tail only.
            unsafe {
                let entry = &mut *self.ring.add(usize::from(self.tail % self.group.count()));
                entry.set_addr(self.memory.add(place) as u64);
                entry.set_len(self.group.length() as u32);
                entry.set_bid(buffer);
            }
            self.tail = self.tail.wrapping_add(1);
            self.offered += 1;
        }
        // SAFETY: the tail is an aligned u16 of the first entry that nobody else writes to.
        unsafe {
            let tail = BufRingEntry::tail(self.ring).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    /// How many the kernel is to have.
    #[cfg(test)]
    pub(crate) fn goal(&self) -> u16 {
        self.goal
    }

    /// The kernel had none left when it was to read.
    pub(crate) fn were_too_few(&mut self) {
        self.too_few = true;
    }

    /// What the kernel has put into a buffer.
    pub(crate) fn received(&mut self, buffer: u16, length: usize) -> Received {
        assert!(buffer < self.group.count() && length <= self.group.length());
        self.offered -= 1;
        Received { group: self.group, buffer, before: 0, length }
    }

    /// Where the bytes are, from the buffer's start.
    fn range(&self, received: &Received) -> Range<usize> {
        let headroom = self.group.headroom();
        assert!(received.before <= headroom && received.length <= self.group.length());
        headroom - received.before..headroom + received.length
    }

    pub(crate) fn bytes(&self, received: &Received) -> &[u8] {
        let range = self.range(received);
        self.part(received.buffer, range.start, range.len())
    }

    pub(crate) fn piece_bytes(&self, piece: &Piece) -> &[u8] {
        assert_eq!(self.rounds[usize::from(piece.buffer)], piece.round, "the buffer was given back");
        self.part(piece.buffer, piece.start as usize, piece.len())
    }

    fn part(&self, buffer: u16, start: usize, length: usize) -> &[u8] {
        assert!(start + length <= self.group.headroom() + self.group.length());
        // SAFETY: within `memory`, zeroed at first. The kernel does not write to a buffer that it has
        // handed out, and `give` and `before` need these for themselves.
        unsafe { slice::from_raw_parts(self.memory.add(self.place(buffer) + start), length) }
    }

    /// Which part of `received` some of its bytes are; `None` if they are none of it.
    pub(crate) fn piece(&self, received: &Received, bytes: &[u8]) -> Option<Piece> {
        let all = self.bytes(received);
        let offset = (bytes.as_ptr() as usize).checked_sub(all.as_ptr() as usize)?;
        let within = offset.checked_add(bytes.len()).is_some_and(|end| end <= all.len());
        let start = (self.range(received).start + offset) as u32;
        let (group, buffer, length) = (self.group, received.buffer, bytes.len() as u32);
        let round = self.rounds[usize::from(buffer)];
        within.then_some(Piece { group, buffer, round, start, length })
    }

    /// Puts `length` bytes of headroom in front of what was received; they are the caller's to fill.
    pub(crate) fn before(&mut self, received: &mut Received, length: usize) -> Option<&mut [u8]> {
        let headroom = self.group.headroom();
        let before = received.before.checked_add(length).filter(|before| *before <= headroom)?;
        received.before = before;
        let start = self.place(received.buffer) + headroom - before;
        // SAFETY: within `memory`, in a part that the kernel knows nothing of; the borrow is of all.
        Some(unsafe { slice::from_raw_parts_mut(self.memory.add(start), length) })
    }
}

/// Memory at the start of a page, for as long as the process lives.
fn zeroed(bytes: usize) -> io::Result<*mut u8> {
    let layout = Layout::from_size_align(bytes, PAGE).map_err(io::Error::other)?;
    // SAFETY: callers ask for more than no bytes.
    let memory = unsafe { alloc_zeroed(layout) };
    if memory.is_null() { Err(io::ErrorKind::OutOfMemory.into()) } else { Ok(memory) }
}

//! Bytes on their way out.

use std::fmt;

/// Memory that an empty queue keeps. Small, because most clients of a big deployment are idle.
const KEEP: usize = 1 << 10;

/// A queue of bytes: appended to at the end, written from the front.
#[derive(Default)]
pub(super) struct ByteQueue {
    bytes: Vec<u8>,
    taken: usize,
}

impl fmt::Debug for ByteQueue {
    /// Not the bytes: there are passwords among them, and what users store.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

impl ByteQueue {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Puts bytes in front of all others.
    pub(super) fn put_back(&mut self, bytes: &[u8]) {
        self.bytes.splice(..self.taken, bytes.iter().copied());
        self.taken = 0;
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets `count` bytes at the front, which were written. `keep` bytes of memory survive
    /// when nothing is left.
    pub(super) fn advance(&mut self, count: usize, keep: usize) {
        self.taken = (self.taken + count).min(self.bytes.len());
        if self.is_empty() {
            self.clear();
            if self.bytes.capacity() > keep.max(KEEP) {
                self.bytes = Vec::new();
            }
        } else if self.taken > self.bytes.len() / 2 {
            // Moves each byte at most once for each time that it doubles: linear in the end.
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order() {
        let mut queue = ByteQueue::default();
        queue.push(b"abcdef");
        queue.advance(2, 0);
        assert_eq!(queue.as_slice(), b"cdef");
        queue.advance(3, 0);
        queue.push(b"gh");
        assert_eq!((queue.as_slice(), queue.len()), (b"fgh".as_slice(), 3));
        queue.put_back(b"de");
        assert_eq!(queue.as_slice(), b"defgh");
        queue.advance(9, 0);
        assert!(queue.is_empty());
        queue.put_back(b"i");
        assert_eq!(queue.as_slice(), b"i");
    }
}

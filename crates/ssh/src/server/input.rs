//! What a client has sent and no program has taken yet.
//!
//! russh tells a client that there is room for more as soon as it has read, whether or not a program has taken it; and
//! to wait in one of its callbacks would also hold up the output, for want of which the program may not read. So input
//! is queued here without a limit, and when much of it waits, the client is told of almost no room, late.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// From how many bytes that wait on, a client is slowed down.
const MUCH: usize = 8 << 20;
/// The room that a slow client is told of: the least with which russh still speaks of it.
const LITTLE: u32 = 2;
/// How long a slow client's packet takes.
const PAUSE: Duration = Duration::from_millis(10);

/// How many bytes of a connection wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    /// Counts bytes until they are dropped.
    pub(super) fn piece(&self, bytes: &[u8]) -> Piece {
        self.0.fetch_add(bytes.len(), Ordering::Relaxed);
        Piece { bytes: bytes.to_vec(), waiting: self.clone() }
    }

    fn is_much(&self) -> bool {
        self.0.load(Ordering::Relaxed) > MUCH
    }

    /// The room to tell the client of, which is `usual` unless it is to be slow.
    pub(super) fn room(&self, usual: u32) -> u32 {
        if self.is_much() { LITTLE } else { usual }
    }

    /// Takes its time, when much waits.
    pub(super) async fn slow_down(&self) {
        if self.is_much() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Some of it.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Vec<u8>,
    waiting: Waiting,
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.waiting.0.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_room_again_when_its_input_is_taken() {
        let waiting = Waiting::default();
        let pieces: Vec<Piece> = (0..9).map(|_| waiting.piece(&[0; 1 << 20])).collect();
        assert_eq!(waiting.room(100), LITTLE);
        drop(pieces);
        assert_eq!(waiting.room(100), 100);
    }
}

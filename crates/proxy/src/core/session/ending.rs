//! The end of a session whose replies can not be told apart.
//!
//! ```text
//!  everything that the client has sent ─▶ RESET ─▶ QUIT ─▶ the server closes
//! ```
//!
//! RESET ends what mutes replies, and what sends without being asked, so QUIT is answered for
//! certain, behind everything before it. The last two messages are about these; the client gets all others.

use super::Verdict;

/// What the server is sent.
pub(in crate::core) const REQUESTS: &[u8] = b"*1\r\n$5\r\nRESET\r\n*1\r\n$4\r\nQUIT\r\n";

const RESET: &[u8] = b"+RESET\r\n";
const OK: &[u8] = b"+OK\r\n";

/// Why such a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::core) enum End {
    /// The client asked for RESET: it goes on as new.
    Reset,
    /// The client asked for QUIT.
    Quit,
    /// The client sends no more, or is not to.
    Leave,
}

/// A session that ends, and what of its answers may be the last.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) why: End,
    /// `+RESET`, then `+OK`, or one of them: RESET is muted right behind CLIENT REPLY SKIP.
    held: (bool, bool),
}

impl Ending {
    pub(super) fn new(why: End) -> Ending {
        Ending { why, held: (false, false) }
    }

    /// A message has come: what was held is not the last.
    pub(super) fn message(&mut self, frame: &[u8]) -> Verdict {
        if frame == OK && self.held == (true, false) {
            self.held.1 = true;
            return Verdict::Swallow;
        }
        let (reset, ok) = std::mem::replace(&mut self.held, (frame == RESET, frame == OK));
        let mut free = Vec::new();
        free.extend_from_slice(if reset { RESET } else { b"" });
        free.extend_from_slice(if ok { OK } else { b"" });
        if self.held == (false, false) {
            free.extend_from_slice(frame);
        }
        Verdict::Replace(free)
    }

    /// The server has closed: what the client gets for what it asked. `None` when the server did
    /// not get that far.
    pub(super) fn answer(&self) -> Option<&'static [u8]> {
        let (reset, ok) = self.held;
        ok.then_some(match self.why {
            End::Reset if reset => RESET,
            End::Quit => OK,
            End::Reset | End::Leave => b"",
        })
    }
}

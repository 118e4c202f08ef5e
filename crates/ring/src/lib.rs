//! Sockets of one thread over io_uring, behind a face that is safe. All that is unsafe is in here.
//!
//! ```text
//!  sends, cancellations, new sockets ─▶ one io_uring_enter a turn ─▶ what was sent, what came
//!                                              │
//!                                              └─ what comes is in a buffer of the kernel's choice
//! ```
//!
//! Why it is sound:
//!
//! - **A send is over before [`Ring::turn`] returns.** It has `MSG_DONTWAIT`, so that the kernel
//!   tries it as it is submitted and never later; whether it does so, and tells of what it did not
//!   take, is tried out when a ring is made, and where not every completion is waited for. The bytes
//!   are borrowed for the call, and so can not change meanwhile.
//! - **What comes is read to buffers that the ring owns** and never frees. A buffer is the kernel's
//!   or, as a [`Received`], the caller's, who gives it back.
//! - **A socket is closed when nothing of it is under way**: [`Ring::remove`] cancels, and the ring
//!   keeps the socket until the kernel has said that it is done.
//!
//! No thread of the kernel polls the ring (SQPOLL): its CPU time would be the caller's. Needs Linux
//! 6.1 (`IORING_SETUP_DEFER_TASKRUN`); where it is older, or io_uring is forbidden, [`Ring::new`]
//! fails.

mod buffers;
mod ring;
mod sockets;

pub use buffers::{Group, HEADROOM, Piece, Received};
pub use ring::{Bytes, Ring, Send};
pub use sockets::{Event, Slot, Socket};

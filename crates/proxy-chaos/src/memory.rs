//! What the proxy's memory must stay below.

use tombolo_proxy::core::limits::MAX_PENDING_BYTES;

use crate::layout::{MAX_BUFFERED_BYTES, POOLS};
use crate::options::Options;

/// The program, its tables, and an allocator that does not give everything back, in bytes.
const PROCESS: usize = 24 << 20;
/// A thread's buffers and its part of the allocator.
const THREAD: usize = 8 << 20;

/// The bound in KiB, unless another was asked for: each client may have so much on its way to a
/// server, and all clients of a pool together so much that they have not taken.
pub fn bound(options: &Options) -> u64 {
    let clients = options.clients as usize * MAX_PENDING_BYTES;
    let threads = usize::from(options.threads.max(1)) * (THREAD + POOLS * MAX_BUFFERED_BYTES);
    options.max_memory.map_or(((PROCESS + threads + clients) >> 10) as u64, |mib| mib << 10)
}

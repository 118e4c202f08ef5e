//! The kernel: observing it and editing it, by netlink and the `nft` program, in namespaces held by descriptor.

pub mod apply;
pub mod netlink;
pub mod netns;
pub mod nft;
pub mod observe;
pub mod probe;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The routing table of a namespace's own addresses.
const RT_TABLE_LOCAL: u8 = 255;

/// The namespaces of a lab, and what is remembered of each. Dropping it lets go of them all.
#[derive(Debug, Default)]
pub struct Kernel {
    /// By name.
    pub namespaces: BTreeMap<String, Held>,
}

/// A namespace that is held by its descriptor.
#[derive(Clone, Debug)]
pub struct Held {
    /// The descriptor; shared with whoever runs something inside.
    pub fd: Arc<OwnedFd>,
    /// Whether it is a router.
    pub router: bool,
    /// The rules last loaded: their fingerprint, and the kernel's generation of rules right after. If the generation
    /// is another one now, somebody else has changed the rules, and they are no longer known.
    pub rules: Option<(String, u32)>,
}

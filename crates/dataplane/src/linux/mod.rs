//! The kernel: observing it and editing it, by netlink, in namespaces held by descriptor.

pub mod apply;
pub mod netlink;
pub mod netns;
pub mod nft;
pub mod observe;
pub mod probe;

use crate::table::Table;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

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
    /// The rules last loaded.
    pub rules: Option<Rules>,
}

/// Rules that were loaded, and by what it is known that they still are.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Their fingerprint.
    pub fingerprint: String,
    /// The rules.
    pub table: Table,
    /// The kernel's generation of rules that they were. If it is another one now, somebody else has changed the rules,
    /// and they are no longer known.
    pub generation: u32,
}

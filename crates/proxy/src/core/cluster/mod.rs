//! Pools over a Redis Cluster: clients see one Redis.
//!
//! ```text
//!  request ─▶ slot ─▶ table ─▶ a shared connection to the slot's node, which keeps the request's bytes
//!                       ▲                                   │
//!      CLUSTER SLOTS ───┤                       -MOVED, -ASK, or never sent: a detour to another node
//!      (refresh)        └───────────────────────────────────┤
//!                                                        the reply ─▶ client
//! ```
//!
//! What is sent again was refused by the node, or never left the proxy: nothing runs twice. Two
//! things keep a client's commands for one slot in its order: detours of one client and slot take
//! turns ([`detour`]), and a client with a request on a detour, or with requests that it sent by
//! another table than the present one (its `epoch`), sends nothing more until all is answered. What
//! can not be kept in order is a slot that leaves a node and is back while requests are under way.
//!
//! Only a node can say that it refused a request, but a script can say the same, whatever it did: see
//! `is_said_by_node` in [`flow`]. Where an answer points is where the password goes next.
//!
//! A request that can not reach its primary is held until the table is told again, and again, for
//! as long as the pool's timeout: a failover is a delay for those that were not sent yet. So is one that
//! needs a connection of its own, while it is the only one there: [`sessions`] puts it back in front of what its client
//! has sent.

pub(super) mod clustered;
mod detour;
mod driver;
mod flow;
mod redirect;
mod refresh;
mod sessions;
mod topology;

use detour::Detours;
use refresh::Refresh;
pub(super) use sessions::Opening;

use super::slab::Id;
use super::{ClientId, Micros};

/// What a cluster pool knows beside the table of its placement.
#[derive(Debug)]
pub(super) struct Cluster {
    refresh: Refresh,
    detours: Detours,
    /// Counts changes that requests under way must not be overtaken because of.
    epoch: u64,
    /// The error of the last node that was asked and did not tell.
    trouble: String,
    /// The last round has failed; what clients are told while there is no table.
    failed: Option<String>,
    /// Clients that wait for the first table.
    waiters: Vec<ClientId>,
    /// How long a request is held.
    patience: Micros,
}

impl Cluster {
    pub(super) fn new(patience: Micros) -> Cluster {
        Cluster {
            refresh: Refresh::default(),
            detours: Detours::default(),
            epoch: 1,
            trouble: String::new(),
            failed: None,
            waiters: Vec::new(),
            patience,
        }
    }

    /// When the clock has to look.
    pub(super) fn deadline(&self) -> Micros {
        let held =
            self.detours.oldest_held().map_or(Micros::MAX, |since| since.saturating_add(self.patience));
        self.refresh.deadline().min(held)
    }
}

/// Stands for the proxy itself where a client would be.
const PROXY: ClientId = Id::NOBODY;
/// The number of the proxy's own `CLUSTER SLOTS`, and of its `ASKING`.
const TOPOLOGY: u64 = 0;
const ASKING: u64 = 1;

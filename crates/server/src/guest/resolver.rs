//! The host's resolver, for names that nothing in the lab has. It is asked as any program asks it, which may take long and
//! takes a thread.

use super::Places;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tombolo_guest::dns::Beyond;

/// Names that are asked for at a time, and so threads.
pub(super) const MOST: usize = 32;
/// Names that one VM may ask for at a time.
const MOST_OF_ONE: usize = 8;
/// How long an answer may take. Whoever asked has asked again by then.
const PATIENCE: Duration = Duration::from_secs(10);
/// Addresses that a name has at most: these fit into any datagram.
const ADDRESSES: usize = 16;

/// Who may ask, as one network's VMs see it.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    all: Arc<Semaphore>,
    places: Places,
}

impl Resolver {
    /// For a network, in the room that all have together.
    pub(super) fn new(all: Arc<Semaphore>) -> Self {
        Self { all, places: Places::new(MOST_OF_ONE) }
    }

    /// What the host's resolver says of a name.
    pub(super) async fn ask(&self, of: Ipv4Addr, name: String) -> Beyond {
        let place = self.places.take(of).zip(Arc::clone(&self.all).try_acquire_owned().ok());
        let Some(place) = place else { return Beyond::Failed };
        let asked = spawn_blocking(move || {
            let found = addresses(&name);
            // Not before: nobody can end it.
            drop(place);
            found
        });
        timeout(PATIENCE, asked).await.ok().and_then(Result::ok).unwrap_or(Beyond::Failed)
    }
}

/// Why there is none it does not tell, so it may as well not exist.
fn addresses(name: &str) -> Beyond {
    let Ok(found) = (name, 0).to_socket_addrs() else { return Beyond::Unknown };
    let only = |address| match address {
        SocketAddr::V4(address) => Some(*address.ip()),
        SocketAddr::V6(_) => None,
    };
    Beyond::Addresses(found.filter_map(only).take(ADDRESSES).collect())
}

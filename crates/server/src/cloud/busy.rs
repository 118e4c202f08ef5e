//! Networks whose peerings are being changed. Google refuses a second such operation on either side until the first is
//! done, instead of queueing it: clients know this answer and try again.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tombolo_api::Failure;
use tombolo_model::NetworkKey;

/// The networks that are claimed.
#[derive(Clone, Debug, Default)]
pub(super) struct Busy(Arc<Mutex<BTreeSet<NetworkKey>>>);

/// Networks that are claimed until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    busy: Busy,
    networks: BTreeSet<NetworkKey>,
}

impl Busy {
    /// Claims networks, all or none; refused, in Google's words, while one of them is claimed. None are always free.
    pub(super) fn claim(&self, networks: BTreeSet<NetworkKey>) -> Result<Claim, Failure> {
        let mut claimed = self.lock();
        if !claimed.is_disjoint(&networks) {
            return Err(Failure::bad_request(
                "There is a peering operation in progress on the local or peer network. Try again later.",
            ));
        }
        claimed.extend(networks.iter().cloned());
        Ok(Claim { busy: self.clone(), networks })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<NetworkKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claimed = self.busy.lock();
        claimed.retain(|network| !self.networks.contains(network));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_claimed_once_at_a_time() {
        let busy = Busy::default();
        let networks = |names: &[&str]| names.iter().map(|name| NetworkKey::new("p", *name)).collect();
        let first = busy.claim(networks(&["a", "b"])).expect("all are free");
        let other = busy.claim(networks(&["c", "d"])).expect("these too");
        let refused = busy.claim(networks(&["b", "e"])).expect_err("b is claimed");
        assert_eq!((refused.code, refused.reason.as_str()), (400, "badRequest"));
        // What was refused claims nothing.
        busy.claim(networks(&["e"])).expect("e is free");
        busy.claim(networks(&[])).expect("nothing is claimed");
        drop(first);
        busy.claim(networks(&["b", "a"])).expect("both are free again");
        drop(other);
    }
}

//! Rendering again: of a Fabric that is mostly as before only what is otherwise. Pure.
//!
//! What comes of it equals [`render_with`](crate::render_with)'s, and shares with what was rendered before whatever is the same, so that it is
//! known to be the same from then on.

use crate::fault::{self, Faults};
use crate::forwarding;
use crate::render::{beyond, lazy_of, peers_are_filtered, routers_of, rules_of, state_of};
use crate::rules::Ruleset;
use crate::state::{Desired, State};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tombolo_fabric::{Fabric, Network};
use tombolo_model::NetworkKey;

/// What was rendered, and of what; at first nothing, of an empty Fabric.
#[derive(Clone, Debug, Default)]
pub struct Rendered {
    fabric: Fabric,
    desired: Desired,
}

impl Rendered {
    /// The kernel state that the Fabric means.
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// The Fabric.
    pub fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// Renders a Fabric, or the same with other faults.
    pub fn then(&self, fabric: Fabric, faults: &Faults) -> Rendered {
        let mut forwarding = forwarding::of_routers(&fabric);
        let (mut alike, mut rules) = (BTreeMap::new(), BTreeMap::new());
        for (key, network) in &fabric.networks {
            let name = key.to_string();
            let forwarding = forwarding.remove(key).unwrap_or_default();
            let theirs = fault::of_router(faults, key, network);
            let host = fabric.host.as_ref();
            let compared = self.fabric.networks.get(key).map(|known| Alike::of(known, network));
            // Of IPv6, rules say what may come by which way.
            let same = |alike: Alike| alike.inside && alike.rules && (alike.ways || !network.has_ipv6());
            let made = match (self.desired.rules.get(&name), compared) {
                (Some(known), Some(alike))
                    if same(alike)
                        && (&known.faults, &known.late) == (&theirs.faults, &theirs.late)
                        && known.peers_filtered == peers_are_filtered(network)
                        && known.forwarding == forwarding
                        && self.fabric.host.is_some() == host.is_some()
                        && known.host == host.and_then(|host| beyond(host, key)) =>
                {
                    Arc::clone(known)
                }
                (Some(known), _) => shared(rules_of(key, network, theirs, forwarding, host), known),
                (None, _) => Arc::new(rules_of(key, network, theirs, forwarding, host)),
            };
            rules.insert(name, made);
            alike.extend(compared.map(|compared| (key, compared)));
        }
        let state = self.state(&fabric, &alike);
        Rendered { desired: Desired { state, rules, lazy: Arc::default() }, fabric }
    }

    /// The same, where VMs that may be lazy are or are not.
    pub fn lazily(mut self, lazy: bool) -> Rendered {
        self.desired.lazy = Arc::new(if lazy { lazy_of(&self.fabric) } else { BTreeSet::new() });
        self
    }

    /// The namespaces of another Fabric, whose networks compare like this with those that were there before.
    fn state(&self, fabric: &Fabric, alike: &BTreeMap<&NetworkKey, Alike>) -> State {
        let before = &self.desired.state;
        let same_networks = self.fabric.networks.keys().eq(fabric.networks.keys());
        // What the lab has of private addresses is in every router that leads to the host's network.
        let same_host = self.fabric.host == fabric.host;
        if !same_networks || !same_host || alike.values().any(|alike| !alike.inside) {
            let mut state = state_of(fabric);
            for (name, made) in &mut state.namespaces {
                share(made, before.namespaces.get(name));
            }
            return state;
        }
        // Endpoints are the same, and so are routers, but for their ways to others.
        let other_ways = |key: &NetworkKey| alike.get(key).is_none_or(|alike| !alike.ways);
        let mut state = before.clone();
        if fabric.networks.keys().any(other_ways) {
            for (name, made) in routers_of(fabric, other_ways) {
                let mut made = Arc::new(made);
                share(&mut made, before.namespaces.get(&name));
                state.namespaces.insert(name, made);
            }
        }
        state
    }
}

/// What of two networks is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Alike {
    /// All that its endpoints' namespaces, other networks' routers and the rest of its own come from.
    inside: bool,
    /// Its peers and its routes.
    ways: bool,
    /// The rules of its firewall.
    rules: bool,
}

impl Alike {
    fn of(one: &Network, other: &Network) -> Alike {
        // Without `..`: of a field that is added somebody must say what it means.
        let Network {
            google_managed,
            mtu,
            nics,
            // No packet asks why nobody is there.
            stopped: _,
            services,
            forwarding,
            ranges,
            peers,
            routes,
            egress,
            ingress,
        } = one;
        Alike {
            inside: (google_managed, mtu) == (&other.google_managed, &other.mtu)
                && (services, forwarding, ranges) == (&other.services, &other.forwarding, &other.ranges)
                && *nics == other.nics,
            ways: (peers, routes) == (&other.peers, &other.routes),
            rules: (egress, ingress) == (&other.egress, &other.ingress),
        }
    }
}

/// Rules, with what they have in common with others shared.
fn shared(mut rules: Ruleset, before: &Arc<Ruleset>) -> Arc<Ruleset> {
    share(&mut rules.egress_of, Some(&before.egress_of));
    share(&mut rules.ingress_of, Some(&before.ingress_of));
    share(&mut rules.ends_of, Some(&before.ends_of));
    share(&mut rules.ipv6, Some(&before.ipv6));
    for (name, chain) in &mut rules.chains {
        share(chain, before.chains.get(name));
    }
    let mut rules = Arc::new(rules);
    share(&mut rules, Some(before));
    rules
}

/// Puts what was before in the place of what is the same.
fn share<T: Eq>(made: &mut Arc<T>, before: Option<&Arc<T>>) {
    if let Some(before) = before.filter(|before| *before == made) {
        *made = Arc::clone(before);
    }
}

//! Rendering again: of a Fabric that is mostly as before only what is otherwise. Pure.
//!
//! What comes of it equals [`render_with`](crate::render_with)'s, and shares with what was rendered before whatever is the same, so that it is
//! known to be the same from then on.

use crate::fault::{self, Faults};
use crate::forwarding;
use crate::render::{rules_of, state_of};
use crate::rules::Ruleset;
use crate::state::{Desired, State};
use std::collections::BTreeMap;
use std::sync::Arc;
use tombolo_fabric::{Fabric, Network};

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
        let state = self.state(&fabric);
        let mut rules = BTreeMap::new();
        let mut forwarding = forwarding::of_routers(&fabric);
        for (key, network) in &fabric.networks {
            let name = key.to_string();
            let forwarding = forwarding.remove(key).unwrap_or_default();
            let theirs = fault::of_router(faults, key, network);
            let before = self.desired.rules.get(&name).zip(self.fabric.networks.get(key));
            let made = match before {
                Some((known, same))
                    if same == network && known.faults == theirs && known.forwarding == forwarding =>
                {
                    Arc::clone(known)
                }
                Some((known, _)) => shared(rules_of(key, network, theirs, forwarding), known),
                None => Arc::new(rules_of(key, network, theirs, forwarding)),
            };
            rules.insert(name, made);
        }
        Rendered { desired: Desired { state, rules }, fabric }
    }

    /// The namespaces of another Fabric.
    fn state(&self, fabric: &Fabric) -> State {
        let before = &self.fabric.networks;
        let same = |(one, other): (&Network, &Network)| wired_alike(one, other);
        if before.keys().eq(fabric.networks.keys()) && before.values().zip(fabric.networks.values()).all(same)
        {
            return self.desired.state.clone();
        }
        let mut state = state_of(fabric);
        for (name, made) in &mut state.namespaces {
            share(made, self.desired.state.namespaces.get(name));
        }
        state
    }
}

/// Whether two networks mean the same namespaces: they differ in the rules of their firewalls at most.
fn wired_alike(one: &Network, other: &Network) -> bool {
    // Without `..`: of a field that is added somebody must say what it means.
    let Network {
        google_managed,
        mtu,
        nics,
        services,
        forwarding,
        ranges,
        peers,
        routes,
        egress: _,
        ingress: _,
    } = one;
    (google_managed, mtu, ranges, peers, routes)
        == (&other.google_managed, &other.mtu, &other.ranges, &other.peers, &other.routes)
        && *forwarding == other.forwarding
        && *nics == other.nics
        && *services == other.services
}

/// Rules, with what they have in common with others shared.
fn shared(mut rules: Ruleset, before: &Arc<Ruleset>) -> Arc<Ruleset> {
    share(&mut rules.egress_of, Some(&before.egress_of));
    share(&mut rules.ingress_of, Some(&before.ingress_of));
    share(&mut rules.ends_of, Some(&before.ends_of));
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

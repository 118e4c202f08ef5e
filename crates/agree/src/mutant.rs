//! Deliberate bugs in the kernel's side, each of a kind that real products have had. A run with one must disagree.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;
use tombolo_dataplane::render::peering_link;
use tombolo_dataplane::rules::Allow;
use tombolo_dataplane::{Desired, Route, RouteVia, render};
use tombolo_fabric::{Fabric, Rules};
use tombolo_model::NetworkKey;

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Routes learnt from a peer are passed on, and packets from one peering leave by another.
    TransitiveLeak,
    /// At equal priority allow wins.
    SwappedTieBreak,
    /// An allow at the sender's gate skips the receiver's.
    OneGate,
    /// Packets may have any source address.
    NoSourceFilter,
    /// Port ranges end one port too late.
    OffByOnePort,
    /// Rules for certain tags act at every interface.
    IgnoredTargets,
}

/// All mutants and their names.
pub const ALL: [(&str, Mutant); 6] = [
    ("transitive-leak", Mutant::TransitiveLeak),
    ("swapped-tie-break", Mutant::SwappedTieBreak),
    ("one-gate", Mutant::OneGate),
    ("no-source-filter", Mutant::NoSourceFilter),
    ("off-by-one-port", Mutant::OffByOnePort),
    ("ignored-targets", Mutant::IgnoredTargets),
];

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ALL.iter().find(|(_, mutant)| mutant == self).map_or("", |(name, _)| name))
    }
}

impl FromStr for Mutant {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let names = || ALL.map(|(name, _)| name).join(", ");
        let found = ALL.iter().find(|(name, _)| *name == text).map(|(_, mutant)| *mutant);
        found.ok_or_else(|| format!("there is no mutant '{text}': expected one of {}", names()))
    }
}

impl Mutant {
    /// What the buggy dataplane makes of a Fabric.
    pub(crate) fn render(self, fabric: &Fabric) -> Desired {
        match self {
            Mutant::TransitiveLeak => leak(fabric),
            Mutant::SwappedTieBreak => edit_rules(fabric, |rules| {
                // The implied rule stays last.
                rules.sort_by_key(|rule| {
                    (rule.implied, rule.priority, Reverse(rule.action), rule.name.clone())
                });
            }),
            Mutant::OffByOnePort => edit_rules(fabric, |rules| {
                let ports = rules.iter_mut().flat_map(|rule| &mut rule.matches).flat_map(|l4| &mut l4.ports);
                ports.for_each(|range| range.last = range.last.saturating_add(1));
            }),
            Mutant::IgnoredTargets => edit_rules(fabric, |rules| {
                rules.iter_mut().for_each(|rule| rule.targets = tombolo_fabric::Targets::All);
            }),
            Mutant::OneGate => {
                let mut desired = render(fabric);
                edit_rulesets(&mut desired, |rules| {
                    rules.chains.values_mut().for_each(|chain| chain.allow = Allow::Deliver);
                });
                desired
            }
            Mutant::NoSourceFilter => {
                let mut desired = render(fabric);
                let links = desired.state.namespaces.values_mut().flat_map(|n| n.links.values_mut());
                links.for_each(|link| link.strict_source = false);
                desired
            }
        }
    }
}

/// Renders a Fabric with other rules in it.
fn edit_rules(fabric: &Fabric, edit: impl Fn(&mut Rules)) -> Desired {
    let mut mutated = fabric.clone();
    for network in mutated.networks.values_mut() {
        edit(&mut network.egress);
        edit(&mut network.ingress);
    }
    render(&mutated)
}

/// Edits the rules of every router.
fn edit_rulesets(desired: &mut Desired, edit: impl Fn(&mut tombolo_dataplane::Ruleset)) {
    for (name, rules) in &mut desired.rules {
        edit(rules);
        if let Some(router) = desired.state.namespaces.get_mut(name) {
            router.rules = Some(rules.fingerprint());
        }
    }
}

/// Every router learns what its peers learnt, two peerings far, and lets it pass.
fn leak(fabric: &Fabric) -> Desired {
    let mut desired = render(fabric);
    edit_rulesets(&mut desired, |rules| rules.transit = true);
    for (key, network) in &fabric.networks {
        let Some(router) = desired.state.namespaces.get_mut(&key.to_string()) else { continue };
        for near in &network.peers {
            let far = fabric.networks[near].peers.iter().filter(|far| *far != key);
            for range in far.flat_map(|far: &NetworkKey| &fabric.networks[far].ranges) {
                let via = router.routes.iter().find_map(|route| match &route.via {
                    RouteVia::Gateway(link, gateway) if *link == peering_link(near) => {
                        Some(RouteVia::Gateway(link.clone(), *gateway))
                    }
                    _ => None,
                });
                let known = router.routes.iter().any(|route| route.destination == *range);
                router.routes.extend(via.filter(|_| !known).map(|via| Route { destination: *range, via }));
            }
        }
    }
    desired
}

//! Lazy endpoints: what is not there before a program is in it or a packet comes for it. Pure.
//!
//! What is wanted is told whole, and names who may be lazy. [`Sleepers`] makes of it what is to be there while some sleep: their
//! namespaces are left out, and so is all that a router has for them; a packet to one of their addresses is held where it
//! arrives ([`Ruleset::held`](crate::Ruleset)), before the router has looked at it. Once the endpoint is there it goes on, as if it had come only
//! then: gates, routes and connection tracking see it once.
//!
//! ```text
//!   asleep ──a packet, a program──▶ in line ──nothing came for a while──▶ awake
//!                                   it is there; packets to it are still held, and let go one after the other
//! ```
//! Nobody is in line any more only when no packet is: otherwise the next one could overtake it.

use crate::changes::Changes;
use crate::rules::{Chain, Ruleset};
use crate::state::{Desired, Namespace, State};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What is wanted, and who of those that may sleep does not.
#[derive(Clone, Debug, Default)]
pub struct Sleepers {
    wanted: Desired,
    /// Who is there.
    woken: BTreeSet<String>,
    /// Those of them for whom nothing is held any more.
    awake: BTreeSet<String>,
    /// What was made of each router last.
    routers: BTreeMap<String, Router>,
    /// What is there.
    present: Desired,
    /// Who was woken or passed since `present` was made, if nothing else has changed: one who wakes among thousands does not
    /// have all of them looked at.
    since: Option<BTreeSet<String>>,
}

/// A router while some of its endpoints sleep.
#[derive(Clone, Debug)]
struct Router {
    wanted: (Arc<Namespace>, Option<Arc<Ruleset>>),
    made: (Arc<Namespace>, Option<Arc<Ruleset>>),
    /// Whose addresses packets are held for.
    held: BTreeMap<IpNet, String>,
}

impl Router {
    /// For whom it holds packets to an address.
    fn held_for(&self, address: IpAddr) -> Option<&String> {
        let alone = self.held.get(&IpNet::from(address));
        let within = || self.held.iter().find(|(range, _)| range.contains(&address));
        alone.or_else(|| within().map(|(_, name)| name))
    }
}

impl Sleepers {
    /// Wants something else.
    pub fn want(&mut self, wanted: Desired) {
        self.wanted = wanted;
        self.since = None;
    }

    /// Wants something else, that differs so from what was wanted.
    pub fn change(&mut self, changes: Changes) {
        self.wanted.change(changes);
        self.since = None;
    }

    /// Wants everybody to be there.
    pub fn want_all(&mut self) {
        self.wanted.lazy = Arc::default();
        self.since = None;
    }

    /// What is wanted, once nobody sleeps.
    pub fn wanted(&self) -> &Desired {
        &self.wanted
    }

    /// Those that sleep.
    pub fn asleep(&self) -> impl Iterator<Item = &String> {
        self.wanted.lazy.difference(&self.woken)
    }

    /// Wakes endpoints; whether any of them slept.
    pub fn wake<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) -> bool {
        let mut any = false;
        for name in names {
            if self.wanted.lazy.contains(name) && self.woken.insert(name.to_owned()) {
                any = true;
                self.has_changed(name);
            }
        }
        any
    }

    /// Holds nothing any more for endpoints that are there.
    pub fn pass<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) {
        for name in names {
            if self.woken.contains(name) && self.awake.insert(name.to_owned()) {
                self.has_changed(name);
            }
        }
    }

    /// Those that are there, and for whom packets are still held.
    pub fn in_line(&self) -> impl Iterator<Item = &String> {
        self.woken.difference(&self.awake)
    }

    /// For whom a router holds packets to an address.
    pub fn held_for(&self, router: &str, address: IpAddr) -> Option<&String> {
        self.routers.get(router)?.held_for(address)
    }

    /// For whom any router does.
    pub fn held_anywhere(&self, address: IpAddr) -> impl Iterator<Item = &String> {
        self.routers.values().filter_map(move |router| router.held_for(address))
    }

    /// What is to be there. Who was there before it could sleep goes on.
    pub fn present(&mut self) -> &Desired {
        let wanted = std::mem::take(&mut self.wanted);
        match self.since.take() {
            _ if wanted.lazy.is_empty() => *self = Self { present: wanted.clone(), ..Self::default() },
            Some(since) => self.present_since(&wanted, &since),
            None => self.present_anew(&wanted),
        }
        self.wanted = wanted;
        self.since = Some(BTreeSet::new());
        &self.present
    }

    /// The same, when only these have woken or passed.
    fn present_since(&mut self, wanted: &Desired, since: &BTreeSet<String>) {
        let mut routers = BTreeSet::new();
        for name in since {
            let Some(namespace) = wanted.state.namespaces.get(name) else { continue };
            routers
                .extend(routers_of(namespace).filter(|router| wanted.state.namespaces.contains_key(*router)));
            self.present.state.namespaces.insert(name.clone(), Arc::clone(namespace));
            let rules = wanted.rules.get(name);
            self.present.rules.extend(rules.map(|rules| (name.clone(), Arc::clone(rules))));
        }
        for name in routers {
            let router = self.router(wanted, &wanted.state.namespaces[name], wanted.rules.get(name));
            self.present.state.namespaces.insert(name.clone(), Arc::clone(&router.made.0));
            self.present.rules.extend(router.made.1.iter().map(|rules| (name.clone(), Arc::clone(rules))));
            self.routers.insert(name.clone(), router);
        }
    }

    fn present_anew(&mut self, desired: &Desired) {
        let goes_on = |name: &&String| self.present.state.namespaces.contains_key(*name);
        let going_on: Vec<String> = desired.lazy.difference(&self.woken).filter(goes_on).cloned().collect();
        self.awake.extend(going_on.iter().cloned());
        self.woken.extend(going_on);
        self.woken.retain(|name| desired.lazy.contains(name));
        self.awake.retain(|name| desired.lazy.contains(name));
        let mut present = Desired::default();
        let mut lazy = desired.lazy.iter().peekable();
        let mut namespaces = Vec::new();
        for (name, namespace) in &desired.state.namespaces {
            while lazy.next_if(|other| *other < name).is_some() {}
            let is_lazy = lazy.next_if(|other| *other == name).is_some();
            if is_lazy && !self.woken.contains(name) {
                continue;
            }
            let rules = desired.rules.get(name);
            if !namespace.router {
                namespaces.push((name.clone(), Arc::clone(namespace)));
                present.rules.extend(rules.map(|rules| (name.clone(), Arc::clone(rules))));
                continue;
            }
            let known = self.routers.remove(name).filter(|known| {
                let same = |(a, b): (&Arc<Ruleset>, &Arc<Ruleset>)| Arc::ptr_eq(a, b);
                Arc::ptr_eq(&known.wanted.0, namespace)
                    && known.wanted.1.is_some() == rules.is_some()
                    && known.wanted.1.as_ref().zip(rules).is_none_or(same)
            });
            let router = known.unwrap_or_else(|| self.router(desired, namespace, rules));
            namespaces.push((name.clone(), Arc::clone(&router.made.0)));
            present.rules.extend(router.made.1.iter().map(|rules| (name.clone(), Arc::clone(rules))));
            self.routers.insert(name.clone(), router);
        }
        present.state = State { namespaces: namespaces.into_iter().collect() };
        self.routers.retain(|name, _| desired.state.namespaces.contains_key(name));
        self.present = present;
    }

    /// What is made of a router.
    fn router(&self, desired: &Desired, wanted: &Arc<Namespace>, rules: Option<&Arc<Ruleset>>) -> Router {
        let (mut absent, mut held) = (BTreeSet::new(), BTreeMap::new());
        for (link, it) in &wanted.links {
            let Some((peer, _)) = &it.peer else { continue };
            if self.awake.contains(peer) || !desired.lazy.contains(peer) {
                continue;
            }
            if !self.woken.contains(peer) {
                absent.insert(link.as_str());
            }
            held.insert(link.as_str(), peer);
        }
        let mut of_links: BTreeMap<IpNet, String> = BTreeMap::new();
        for route in wanted.routes.iter().filter(|route| route.table.is_none()) {
            let owner = route.via.links().find_map(|link| held.get(link));
            of_links.extend(owner.map(|owner| (route.destination, (*owner).clone())));
        }
        for (link, (_, external)) in rules.iter().flat_map(|rules| &rules.external) {
            let owner = held.get(link.as_str());
            of_links.extend(owner.map(|owner| (IpAddr::from(*external).into(), (*owner).clone())));
        }
        let made = match held.is_empty() {
            true => (Arc::clone(wanted), rules.cloned()),
            false => {
                let rules =
                    rules.map(|rules| Arc::new(without(rules, &absent, of_links.keys().copied().collect())));
                (Arc::new(without_links(wanted, &absent)), rules)
            }
        };
        Router { wanted: (Arc::clone(wanted), rules.cloned()), made, held: of_links }
    }

    /// What was made of its routers is no more what is to be made of them.
    fn has_changed(&mut self, name: &str) {
        let namespace = self.wanted.state.namespaces.get(name);
        for router in namespace.into_iter().flat_map(|namespace| routers_of(namespace)) {
            self.routers.remove(router);
        }
        if let Some(since) = &mut self.since {
            since.insert(name.to_owned());
        }
    }
}

/// What is at the far ends of an endpoint's links.
fn routers_of(endpoint: &Namespace) -> impl Iterator<Item = &String> {
    endpoint.links.values().filter_map(|link| link.peer.as_ref().map(|(router, _)| router))
}

/// A router without some of its links.
fn without_links(router: &Namespace, absent: &BTreeSet<&str>) -> Namespace {
    let there = |link: &str| !absent.contains(link);
    Namespace {
        router: router.router,
        links: kept(&router.links, absent),
        ipv6: router.ipv6.iter().filter(|link| there(link)).cloned().collect(),
        addresses: router.addresses.iter().filter(|(link, _)| there(link)).cloned().collect(),
        neighbours: router.neighbours.iter().filter(|it| there(&it.link)).cloned().collect(),
        routes: router.routes.iter().filter(|route| route.via.links().all(there)).cloned().collect(),
        lookups: router.lookups.iter().filter(|lookup| there(&lookup.link)).cloned().collect(),
    }
}

/// Its rules, without those for these links, and with what is held.
fn without(rules: &Ruleset, absent: &BTreeSet<&str>, held: BTreeSet<IpNet>) -> Ruleset {
    let ipv6 = &rules.ipv6;
    let ipv6 = crate::ipv6::Ipv6Rules {
        sources: kept(&ipv6.sources, absent),
        ends_of: kept(&ipv6.ends_of, absent),
        egress_of: kept(&ipv6.egress_of, absent),
        ingress_of: kept(&ipv6.ingress_of, absent),
    };
    let (egress_of, ingress_of) = (kept(&*rules.egress_of, absent), kept(&*rules.ingress_of, absent));
    let maps = [&egress_of, &ingress_of, &ipv6.egress_of, &ipv6.ingress_of];
    // Chains that log are there from the beginning, and so is who listens to them. Those for IPv6 lead to what only those
    // have who have it.
    let logs = rules.chains.iter().filter(|(_, chain)| chain.logs() && !(chain.ipv6 && ipv6.is_empty()));
    let begin = maps.into_iter().flat_map(|map| map.values()).chain(logs.map(|(name, _)| name));
    let chains = needed(&rules.chains, begin);
    Ruleset {
        chains,
        egress_of: Arc::new(egress_of),
        ingress_of: Arc::new(ingress_of),
        ends_of: Arc::new(kept(&*rules.ends_of, absent)),
        external: kept(&rules.external, absent),
        nat: kept(&rules.nat, absent),
        ipv6: Arc::new(ipv6),
        held,
        ..rules.clone()
    }
}

/// These chains and those that they ask: what is for sleepers alone is loaded once one of them wakes.
fn needed<'c>(
    chains: &'c BTreeMap<String, Arc<Chain>>,
    names: impl Iterator<Item = &'c String>,
) -> BTreeMap<String, Arc<Chain>> {
    let mut next: Vec<&String> = names.collect();
    let mut needed = BTreeMap::new();
    while let Some(name) = next.pop() {
        if let Some(chain) = chains.get(name)
            && needed.insert(name.clone(), Arc::clone(chain)).is_none()
        {
            next.extend(chain.asks());
        }
    }
    needed
}

/// What a map has for links that are there.
fn kept<'m, T: Clone + 'm, M: FromIterator<(String, T)>>(
    map: impl IntoIterator<Item = (&'m String, &'m T)>,
    absent: &BTreeSet<&str>,
) -> M {
    map.into_iter()
        .filter(|(link, _)| !absent.contains(link.as_str()))
        .map(|(link, it)| (link.clone(), it.clone()))
        .collect()
}

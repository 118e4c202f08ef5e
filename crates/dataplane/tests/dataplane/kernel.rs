//! A kernel in memory: namespaces, links, routes, and the rules by which Linux lets them come and go.
//!
//! It knows which ends of links really belong together; a plan sees only what the links' aliases say.

use std::collections::BTreeMap;
use std::sync::Arc;
use tombolo_dataplane::{Desired, Link, Namespace, Observed, Op, Route, RouteVia, Ruleset};

/// An end of a link: namespace and interface.
pub(crate) type End = (String, String);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// What an observation shows.
    seen: Observed,
    /// Each end of a link with the other.
    pub(crate) wires: BTreeMap<End, End>,
}

type Done = Result<(), String>;

impl Kernel {
    /// What there is.
    pub(crate) fn observe(&self) -> Observed {
        self.seen.clone()
    }

    fn at(&mut self, namespace: &str) -> Result<&mut Namespace, String> {
        let known = self.seen.state.namespaces.get_mut(namespace).map(Arc::make_mut);
        known.ok_or_else(|| format!("there is no namespace {namespace}"))
    }

    /// Makes an edit, or says why Linux would not.
    pub(crate) fn apply(&mut self, op: &Op) -> Done {
        match op {
            Op::DeleteLink { namespace, link } => {
                self.at(namespace)?;
                // That a link went with its other end is no error; see linux/apply.rs.
                self.unlink(&(namespace.clone(), link.clone()));
                Ok(())
            }
            Op::DeleteRoute { namespace, route } => gone(self.at(namespace)?.routes.remove(route), "route"),
            Op::DeleteNeighbour { namespace, neighbour } => {
                gone(self.at(namespace)?.neighbours.remove(neighbour), "neighbour")
            }
            Op::DeleteAddress { namespace, link, address } => {
                gone(self.at(namespace)?.addresses.remove(&(link.clone(), *address)), "address")
            }
            Op::DeleteNamespace { namespace } => {
                let links: Vec<String> = self.at(namespace)?.links.keys().cloned().collect();
                links.into_iter().for_each(|link| self.unlink(&(namespace.clone(), link)));
                self.seen.state.namespaces.remove(namespace);
                self.seen.rules.remove(namespace);
                Ok(())
            }
            Op::CreateNamespace { namespace, router } => {
                let new = Namespace { router: *router, ..Namespace::default() };
                match self.seen.state.namespaces.insert(namespace.clone(), Arc::new(new)) {
                    None => Ok(()),
                    Some(_) => Err("the namespace exists".into()),
                }
            }
            Op::LoadRules { namespace, rules } => {
                self.at(namespace)?;
                self.seen.rules.insert(namespace.clone(), Arc::clone(rules));
                Ok(())
            }
            Op::CreateLink { a, b } => self.link(a, b),
            Op::SetStrictSource { namespace, link, strict } => {
                let link = self.at(namespace)?.links.get_mut(link).ok_or("there is no such link")?;
                link.strict_source = *strict;
                Ok(())
            }
            Op::SetIpv6 { namespace, link, on } => {
                self.needs(namespace, link)?;
                let space = self.at(namespace)?;
                match on {
                    true => drop(space.ipv6.insert(link.clone())),
                    false => space.lose_ipv6(link),
                }
                Ok(())
            }
            Op::AddAddress { namespace, link, address } => {
                self.needs(namespace, link)?;
                self.needs_ipv6(namespace, link, address.is_ipv6())?;
                self.at(namespace)?.addresses.insert((link.clone(), *address));
                Ok(())
            }
            Op::AddNeighbour { namespace, neighbour } => {
                self.needs(namespace, &neighbour.link)?;
                self.needs_ipv6(namespace, &neighbour.link, neighbour.address.is_ipv6())?;
                let known = &mut self.at(namespace)?.neighbours;
                known.retain(|n| (&n.link, n.address) != (&neighbour.link, neighbour.address));
                known.insert(neighbour.clone());
                Ok(())
            }
            Op::AddRoute { namespace, route } => self.add_route(namespace, route),
            Op::DeleteLookup { namespace, lookup } => {
                gone(self.at(namespace)?.lookups.remove(lookup), "lookup")
            }
            Op::AddLookup { namespace, lookup } => match self.at(namespace)?.lookups.insert(lookup.clone()) {
                true => Ok(()),
                false => Err("the lookup exists".into()),
            },
        }
    }

    /// Fails where there is no such link. `lo` is always there.
    fn needs(&mut self, namespace: &str, link: &str) -> Done {
        let there = link == "lo" || self.at(namespace)?.links.contains_key(link);
        if there { Ok(()) } else { Err(format!("there is no link {link} in {namespace}")) }
    }

    /// Fails where IPv6 is wanted of a link that does not have it.
    fn needs_ipv6(&mut self, namespace: &str, link: &str, ipv6: bool) -> Done {
        let there = !ipv6 || self.at(namespace)?.ipv6.contains(link);
        if there { Ok(()) } else { Err(format!("there is no IPv6 on {link} in {namespace}")) }
    }

    /// One route for each destination of a table: a second replaces the first.
    pub(crate) fn add_route(&mut self, namespace: &str, route: &Route) -> Done {
        let ipv6 = route.destination.addr().is_ipv6();
        route.via.links().try_for_each(|link| {
            self.needs(namespace, link)?;
            self.needs_ipv6(namespace, link, ipv6)
        })?;
        let routes = &mut self.at(namespace)?.routes;
        routes.retain(|r| (r.table, r.destination) != (route.table, route.destination));
        routes.insert(route.clone());
        Ok(())
    }

    /// Makes a pair. A router's new link is strict, an endpoint's is not.
    pub(crate) fn link(&mut self, a: &(String, String, Link), b: &(String, String, Link)) -> Done {
        let ends: [End; 2] = [(a.0.clone(), a.1.clone()), (b.0.clone(), b.1.clone())];
        for (namespace, name) in &ends {
            if name.len() > 15 {
                return Err(format!("{name} is too long a name"));
            }
            if self.at(namespace)?.links.contains_key(name) || name == "lo" {
                return Err(format!("{name} exists in {namespace}"));
            }
        }
        for (namespace, name, link) in [a, b] {
            let space = self.at(namespace)?;
            let strict_source = space.router;
            space.links.insert(name.clone(), Link { strict_source, ..link.clone() });
        }
        self.wires.insert(ends[0].clone(), ends[1].clone());
        self.wires.insert(ends[1].clone(), ends[0].clone());
        Ok(())
    }

    /// Deletes a pair by one of its ends, with everything that hangs on either.
    pub(crate) fn unlink(&mut self, end: &End) {
        let Some(other) = self.wires.remove(end) else { return };
        self.wires.remove(&other);
        for (namespace, link) in [end, &other] {
            let Ok(space) = self.at(namespace) else { continue };
            space.links.remove(link);
            space.ipv6.remove(link);
            space.addresses.retain(|(on, _)| on != link);
            space.neighbours.retain(|n| n.link != *link);
            space.routes.retain(|r| r.via.links().all(|needed| needed != link));
        }
    }

    /// Changes a namespace behind the lab's back.
    pub(crate) fn damage(&mut self, namespace: &str, how: impl FnOnce(&mut Namespace)) {
        self.at(namespace).map(how).unwrap();
    }

    /// Changes rules behind the lab's back: `None` when nobody knows what they are.
    pub(crate) fn damage_rules(&mut self, namespace: &str, rules: Option<Ruleset>) {
        self.seen.rules.remove(namespace);
        self.seen.rules.extend(rules.map(|rules| (namespace.to_owned(), Arc::new(rules))));
    }
}

/// What a namespace loses with IPv6 on a link.
trait LoseIpv6 {
    fn lose_ipv6(&mut self, link: &str);
}

impl LoseIpv6 for Namespace {
    fn lose_ipv6(&mut self, link: &str) {
        self.ipv6.remove(link);
        self.addresses.retain(|(on, address)| on != link || address.is_ipv4());
        self.neighbours.retain(|n| n.link != link || n.address.is_ipv4());
        self.routes.retain(|r| r.destination.addr().is_ipv4() || r.via.links().all(|needed| needed != link));
    }
}

fn gone(was_there: bool, what: &str) -> Done {
    if was_there { Ok(()) } else { Err(format!("there is no such {what}")) }
}

/// The kernel that is desired.
pub(crate) fn goal(desired: &Desired) -> Kernel {
    let mut goal = Kernel { seen: desired.clone(), ..Kernel::default() };
    for (name, namespace) in &desired.state.namespaces {
        for (link, it) in &namespace.links {
            goal.wires.extend(it.peer.clone().map(|peer| ((name.clone(), link.clone()), peer)));
        }
    }
    goal
}

/// A route to nowhere, for damage.
pub(crate) fn blackhole(destination: &str) -> Route {
    Route::new(destination.parse().unwrap(), RouteVia::Blackhole)
}

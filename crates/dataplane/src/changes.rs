//! What leads from one wish to another: most changes are of one namespace among many, or of some of its rules. Pure.

use crate::differ::differ;
use crate::ipv6::Ipv6Rules;
use crate::rules::{Chain, Ruleset};
use crate::state::{Desired, Namespace};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What leads from one wish to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Namespaces that are no longer wanted.
    pub gone: Vec<String>,
    /// Namespaces that are new or otherwise.
    pub namespaces: BTreeMap<String, Arc<Namespace>>,
    /// Namespaces that shall have no rules any more.
    pub without_rules: Vec<String>,
    /// Rules that are new or otherwise, by namespace.
    pub rules: BTreeMap<String, RulesChange>,
    /// Who may be lazy, if that are others.
    #[serde(default)]
    pub lazy: Option<Arc<BTreeSet<String>>>,
}

/// What leads from the rules of a router to others, or to the first ones from none. What grows with a network is only told
/// if it is otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesChange {
    /// The others, without what follows.
    rest: Ruleset,
    egress_of: Option<Arc<BTreeMap<String, String>>>,
    ingress_of: Option<Arc<BTreeMap<String, String>>>,
    ends_of: Option<Arc<BTreeMap<String, BTreeSet<Ipv4Net>>>>,
    ipv6: Option<Arc<Ipv6Rules>>,
    /// Chains that are new or otherwise.
    chains: BTreeMap<String, Arc<Chain>>,
    /// Chains that are no longer there.
    gone: Vec<String>,
}

impl Desired {
    /// What leads here from another wish.
    pub fn since(&self, before: &Desired) -> Changes {
        let mut changes = Changes { lazy: other(&before.lazy, &self.lazy), ..Changes::default() };
        for (name, _, now) in differ(&before.state.namespaces, &self.state.namespaces) {
            match now {
                Some(now) => drop(changes.namespaces.insert(name.clone(), Arc::clone(now))),
                None => changes.gone.push(name.clone()),
            }
        }
        let none = Ruleset::default();
        for (name, then, now) in differ(&before.rules, &self.rules) {
            match now {
                Some(now) => {
                    let change = RulesChange::between(then.map_or(&none, |then| then), now);
                    changes.rules.insert(name.clone(), change);
                }
                None => changes.without_rules.push(name.clone()),
            }
        }
        changes
    }

    /// Makes these changes.
    pub fn change(&mut self, changes: Changes) {
        for name in &changes.gone {
            self.state.namespaces.remove(name);
        }
        for name in &changes.without_rules {
            self.rules.remove(name);
        }
        self.state.namespaces.extend(changes.namespaces);
        self.lazy = changes.lazy.unwrap_or_else(|| Arc::clone(&self.lazy));
        for (name, change) in changes.rules {
            let then = self.rules.get(&name).map(|then| Ruleset::clone(then)).unwrap_or_default();
            self.rules.insert(name, Arc::new(change.make(then)));
        }
    }
}

impl RulesChange {
    fn between(before: &Ruleset, after: &Ruleset) -> RulesChange {
        let mut change = RulesChange {
            egress_of: other(&before.egress_of, &after.egress_of),
            ingress_of: other(&before.ingress_of, &after.ingress_of),
            ends_of: other(&before.ends_of, &after.ends_of),
            ipv6: other(&before.ipv6, &after.ipv6),
            ..RulesChange::default()
        };
        for (name, _, now) in differ(&before.chains, &after.chains) {
            match now {
                Some(now) => drop(change.chains.insert(name.clone(), Arc::clone(now))),
                None => change.gone.push(name.clone()),
            }
        }
        change.rest = after.clone();
        change.rest.egress_of = Arc::default();
        change.rest.ingress_of = Arc::default();
        change.rest.ends_of = Arc::default();
        change.rest.ipv6 = Arc::default();
        change.rest.chains = BTreeMap::new();
        change
    }

    /// The rules that it leads to.
    fn make(self, before: Ruleset) -> Ruleset {
        let mut chains = before.chains;
        self.gone.iter().for_each(|name| drop(chains.remove(name)));
        chains.extend(self.chains);
        Ruleset {
            egress_of: self.egress_of.unwrap_or(before.egress_of),
            ingress_of: self.ingress_of.unwrap_or(before.ingress_of),
            ends_of: self.ends_of.unwrap_or(before.ends_of),
            ipv6: self.ipv6.unwrap_or(before.ipv6),
            chains,
            ..self.rest
        }
    }
}

/// The later one, if it is another one.
fn other<T: Eq>(before: &Arc<T>, after: &Arc<T>) -> Option<Arc<T>> {
    (before != after).then(|| Arc::clone(after))
}

//! The handles by which the kernel knows rules: with them it is told only which rules of a chain are otherwise. Pure.

use super::message::HEAD;
use super::{attribute, messages};
use crate::differ::differ;
use crate::table::{Chain, Table, Verdict};
use std::collections::BTreeMap;

/// The handles of rules, by chain, in the order of the rules. Chains about which nobody has asked are missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handles(pub(super) BTreeMap<String, Vec<u64>>);

/// Rules that are put in the place of others, in a chain whose other rules stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    /// How many rules stay before them.
    pub(super) first: usize,
    /// How many go.
    pub(super) old: usize,
    /// How many come.
    pub(super) new: usize,
}

/// How many new rules the kernel is to tell the handles of in a transaction: its answers must find room.
pub(super) const TOLD: usize = 64;

/// What of a chain is otherwise, if its rules may change one by one: those with sets are not changed at all while packets
/// come to them (see [`Chain::has_sets`]), and of hooks there is one each, with few rules.
pub(super) fn edit(before: &Chain, after: &Chain) -> Option<Edit> {
    let by_state = |chain: &Chain| chain.rules.iter().any(|rule| matches!(rule.verdict, Verdict::ByState(_)));
    let fixed = |chain: &Chain| chain.hook.is_some() || chain.has_sets() || by_state(chain);
    if fixed(before) || fixed(after) {
        return None;
    }
    let (before, after) = (&before.rules, &after.rules);
    let first = before.iter().zip(after).take_while(|(old, new)| old == new).count();
    let (old, new) = (&before[first..], &after[first..]);
    let last = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    Some(Edit { first, old: old.len() - last, new: new.len() - last })
}

impl Handles {
    /// The chains whose rules change one by one between two tables, and whose handles are not known yet.
    pub(super) fn missing(&self, before: &Table, after: &Table) -> Vec<String> {
        let both =
            differ(&before.chains, &after.chains).filter_map(|(name, old, new)| Some((name, old?, new?)));
        let changes = both.filter(|(name, old, new)| !self.0.contains_key(*name) && edit(old, new).is_some());
        changes.map(|(name, ..)| name.clone()).collect()
    }

    /// The handles of a chain's rules, and what of them is otherwise.
    pub(super) fn edit(&self, name: &str, before: &Chain, after: &Chain) -> Option<(&[u64], Edit)> {
        let handles = self.0.get(name).filter(|handles| handles.len() == before.rules.len())?;
        Some((handles, edit(before, after)?))
    }

    /// What they are after a change, of which the kernel has told the new rules' handles.
    pub(super) fn change(&mut self, before: &Table, after: &Table, told: &BTreeMap<String, Vec<u64>>) {
        for (name, old, new) in differ(&before.chains, &after.chains) {
            let both = old.zip(new);
            let changed = both.and_then(|(old, new)| {
                let (handles, edit) = self.edit(name, old, new)?;
                let come: &[u64] = told.get(name).map_or(&[], Vec::as_slice);
                let rest = &handles[edit.first + edit.old..];
                (come.len() == edit.new).then(|| [&handles[..edit.first], come, rest].concat())
            });
            match changed {
                Some(changed) => drop(self.0.insert(name.clone(), changed)),
                None => drop(self.0.remove(name)),
            }
        }
    }
}

/// The chains and the handles of the rules in a datagram, in their order.
pub(super) fn rules(bytes: &[u8], kind: u16) -> Vec<(String, u64)> {
    let rule = |message: &[u8]| {
        let attributes = message.get(HEAD..)?;
        let chain = attribute(attributes, 2)?.strip_suffix(&[0])?; // NFTA_RULE_CHAIN
        let handle = attribute(attributes, 3)?.try_into().ok()?; // NFTA_RULE_HANDLE
        Some((String::from_utf8_lossy(chain).into_owned(), u64::from_be_bytes(handle)))
    };
    messages(bytes)
        .into_iter()
        .filter(|(its, _)| *its == kind)
        .filter_map(|(_, message)| rule(message))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Rule;

    fn chain(protocols: &[u8]) -> Chain {
        let rule = |protocol: &u8| Rule {
            matches: vec![crate::table::Match::Protocol(*protocol)],
            counter: None,
            log: None,
            verdict: Verdict::Drop,
            comment: None,
        };
        Chain { hook: None, rules: protocols.iter().map(rule).collect() }
    }

    #[test]
    fn what_is_otherwise_is_in_the_middle() {
        for (before, after, first, old, new) in [
            (&[1, 2, 3][..], &[1, 9, 3][..], 1, 1, 1),
            (&[1, 2, 3], &[1, 2, 3], 3, 0, 0),
            (&[1, 2, 3], &[1, 3], 1, 1, 0),
            (&[1, 3], &[1, 2, 2, 3], 1, 0, 2),
            (&[1, 1], &[1, 1, 1], 2, 0, 1),
            (&[], &[1], 0, 0, 1),
            (&[1], &[], 0, 1, 0),
            (&[1, 2], &[2, 1], 0, 2, 2),
        ] {
            assert_eq!(
                edit(&chain(before), &chain(after)),
                Some(Edit { first, old, new }),
                "{before:?} {after:?}"
            );
        }
        let hook = Chain { hook: Some(crate::table::Hook::Input), ..chain(&[1]) };
        assert_eq!(edit(&hook, &chain(&[1])), None);
    }
}

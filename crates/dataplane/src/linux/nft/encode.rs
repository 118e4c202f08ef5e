//! A table as transactions of netlink messages. Pure.
//!
//! ```text
//!   nothing known of the kernel's table:   delete it and make it, in one transaction
//!   the kernel's table is known:           what is new and nobody goes to yet ─▶ the rest, in one transaction
//! ```
//! Of a chain whose rules' handles are known, only the rules that are otherwise are told.
//!
//! A packet that is on its way sees the rules that were there when it came, each whole, but of maps and sets what they are when
//! it gets to them. So a chain is there before anything leads to it, and one that has sets stays when nothing leads to
//! it any more, until the next change: a packet may be in it.
//!
//! A transaction is what one datagram can carry. What is larger is made in several, of which only the last has an effect
//! on packets: first chains that nobody goes to yet, then everything that leads to them. Where even that does not
//! fit, or a large table is made from nothing, the table is first made with gates that are closed.

use super::expression::{
    COUNTER, Lookup, MAP_NAME, NAME_BYTES, Numbers, SET_NAME, condition, count, in_set, log, name_bytes,
    verdict, verdict_data,
};
use super::handles::{Handles, TOLD};
use super::message::{APPEND, Attributes, CREATE, ECHO, Message, TooLong};
use crate::differ::differ;
use crate::table::{Chain, Family, Intervals, Match, Rule, TABLE, Table, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The kinds of messages: `enum nf_tables_msg_types`.
pub(super) mod kind {
    pub(super) const NEW_TABLE: u16 = 0;
    pub(super) const DELETE_TABLE: u16 = 2;
    pub(super) const NEW_CHAIN: u16 = 3;
    pub(super) const DELETE_CHAIN: u16 = 5;
    pub(in super::super) const NEW_RULE: u16 = 6;
    pub(super) const DELETE_RULE: u16 = 8;
    pub(super) const NEW_SET: u16 = 9;
    pub(super) const DELETE_SET: u16 = 11;
    pub(super) const NEW_ELEMENTS: u16 = 12;
    pub(super) const DELETE_ELEMENTS: u16 = 14;
    pub(super) const NEW_OBJECT: u16 = 18;
    pub(super) const DELETE_OBJECT: u16 = 20;
}

/// `enum nft_set_flags`
mod flag {
    pub(super) const ANONYMOUS: u32 = 1;
    pub(super) const CONSTANT: u32 = 2;
    pub(super) const INTERVAL: u32 = 4;
    pub(super) const MAP: u32 = 8;
}

/// What keys are called in listings: the numbers that the `nft` program gives types, `enum datatypes` of its source.
mod datatype {
    pub(super) const ADDRESS: u32 = 7;
    pub(super) const ADDRESS6: u32 = 8;
    pub(super) const PORT: u32 = 13;
    pub(super) const STATE: u32 = 26;
    pub(super) const LINK: u32 = 41;
    /// `NFT_DATA_VERDICT`
    pub(super) const VERDICT: u32 = 0xffff_ff00;
}

/// Elements in a message: the list is an attribute, which has room for 64 KiB.
const ELEMENTS: usize = 400;

/// Messages that the kernel carries out all or none.
pub type Transaction = Vec<Message>;

/// Messages that must be in one transaction: a rule, with the sets that are its own.
type Unit = Vec<Message>;

/// How to make packets obey a table.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The transactions.
    pub transactions: Vec<Transaction>,
    /// What the kernel's table is then.
    pub table: Table,
    /// Whether it is made from nothing: then no rule has the handle that it had.
    pub anew: bool,
}

/// How to make packets obey the table `after`. `before` is what the kernel's table is known to be, with the handles of its
/// rules as far as these are known; without it any table there may be is deleted. A transaction has at most `most`
/// bytes; one that cannot be smaller has more.
pub fn encode(before: Option<(&Table, &Handles)>, after: &Table, most: usize) -> Result<Encoded, TooLong> {
    check(after)?;
    let mut then = after.clone();
    let Some((before, handles)) = before else {
        let all: Unit = once_whole(after)?;
        let transactions = if size(&all) <= most { vec![all] } else { from_closed_gates(after, most)? };
        return Ok(Encoded { transactions, table: then, anew: true });
    };
    let change = Change::between(before, after, handles)?;
    if size(&change.rest) > most {
        return Ok(Encoded { transactions: from_closed_gates(after, most)?, table: then, anew: true });
    }
    let left: Vec<_> = fates(before, after).into_iter().filter(|(_, fate)| *fate == Fate::Left).collect();
    let left = || left.iter().filter_map(|(name, _)| before.chains.get_key_value(*name));
    then.counters.extend(counters_of(left().map(|(_, chain)| &**chain)).into_iter().cloned());
    then.chains.extend(left().map(|(name, chain)| (name.clone(), Arc::clone(chain))));
    then.maps.extend(kept_maps(before, after).map(|(name, _)| (name.clone(), Arc::default())));
    Ok(Encoded { transactions: change.pack(most), table: then, anew: false })
}

/// With gates that are closed until everything else is there.
fn from_closed_gates(after: &Table, most: usize) -> Result<Vec<Transaction>, TooLong> {
    let mut closed = Table::default();
    for (name, chain) in after.chains.iter().filter(|(_, chain)| chain.hook.is_some()) {
        closed.chains.insert(name.clone(), Arc::new(Chain { hook: chain.hook, rules: Vec::new() }));
    }
    let mut all = vec![once_whole(&closed)?];
    all.extend(Change::between(&closed, after, &Handles::default())?.pack(most));
    Ok(all)
}

/// The table in the place of whatever table there was.
fn once_whole(table: &Table) -> Result<Unit, TooLong> {
    let the_table = |a: &mut Attributes| a.text(1, TABLE); // NFTA_TABLE_NAME
    let message = |kind, flags| Message::new(kind, flags, "the table", Attributes::of(the_table));
    // It is deleted once it is sure to be there.
    let mut all = vec![
        message(kind::NEW_TABLE, CREATE)?,
        message(kind::DELETE_TABLE, 0)?,
        message(kind::NEW_TABLE, CREATE)?,
    ];
    let change = Change::between(&Table::default(), table, &Handles::default())?;
    all.extend(change.apart.into_iter().flatten());
    all.extend(change.rest);
    Ok(all)
}

fn size(messages: &[Message]) -> usize {
    messages.iter().map(Message::len).sum()
}

/// What no message has room for.
fn check(table: &Table) -> Result<(), TooLong> {
    let links = table.maps.values().flat_map(|map| map.keys());
    match links.into_iter().find(|link| link.len() >= NAME_BYTES) {
        Some(link) => Err(TooLong { what: format!("interface {link}") }),
        None => Ok(()),
    }
}

/// What leads from one table to another.
#[derive(Debug, Default)]
struct Change {
    /// Without an effect on any packet: chains and maps that nothing leads to yet.
    apart: Vec<Unit>,
    /// Everything else.
    rest: Unit,
}

impl Change {
    fn between(before: &Table, after: &Table, handles: &Handles) -> Result<Change, TooLong> {
        let mut encoder = Encoder::default();
        let mut change = Change::default();
        // Counters and chains first: rules and elements name them.
        for name in after.counters.difference(&before.counters) {
            change.apart.push(vec![counter(kind::NEW_OBJECT, CREATE, name)?]);
        }
        let chains: Vec<_> = differ(&before.chains, &after.chains).collect();
        let new = chains
            .iter()
            .filter_map(|(name, then, now)| now.filter(|_| then.is_none()).map(|now| (*name, now)));
        for (name, chain) in new {
            let message = new_chain(name, chain)?;
            match chain.hook {
                None => change.apart.push(vec![message]),
                Some(_) => change.rest.push(message),
            }
        }
        let none = Arc::default();
        for (name, known, elements) in differ(&before.maps, &after.maps) {
            let Some(elements) = elements else { continue };
            if known.is_none() {
                change.apart.push(vec![new_map(name)?]);
            }
            let (mut gone, mut come) = (Vec::new(), Vec::new());
            for (link, then, now) in differ(&**known.unwrap_or(&none), &**elements) {
                gone.extend(then.map(|chain| (link, chain)));
                come.extend(now.map(|chain| (link, chain)));
            }
            let gone = elements_of(kind::DELETE_ELEMENTS, name, &gone)?;
            let come = elements_of(kind::NEW_ELEMENTS, name, &come)?;
            if known.is_none() {
                change.apart.extend(come.into_iter().map(|message| vec![message]));
            } else {
                change.rest.extend(gone.into_iter().chain(come));
            }
        }
        let none = BTreeMap::new();
        for (name, known, elements) in differ(&before.addresses, &after.addresses) {
            let Some(elements) = elements else { continue };
            if known.is_none() {
                change.apart.push(vec![new_address_map(name)?]);
            }
            let (mut gone, mut come) = (Vec::new(), Vec::new());
            for (from, then, now) in differ(known.unwrap_or(&none), elements) {
                gone.extend(then.map(|to| (*from, *to)));
                come.extend(now.map(|to| (*from, *to)));
            }
            change.rest.extend(address_elements(kind::DELETE_ELEMENTS, name, &gone)?);
            change.rest.extend(address_elements(kind::NEW_ELEMENTS, name, &come)?);
        }
        for (name, known, chain) in chains {
            let Some(chain) = chain else { continue };
            match known {
                Some(known) => match handles.edit(name, known, chain) {
                    Some((handles, edit)) => {
                        let (new, gone) =
                            (&chain.rules[edit.first..][..edit.new], &handles[edit.first..][..edit.old]);
                        let next = handles.get(edit.first + edit.old).copied();
                        change.rest.extend(encoder.edit(name, gone, new, next)?);
                    }
                    None => {
                        if !known.rules.is_empty() {
                            change.rest.push(no_rules(name)?);
                        }
                        change.rest.extend(encoder.rules(name, chain)?.into_iter().flatten());
                    }
                },
                None if chain.hook.is_some() => {
                    change.rest.extend(encoder.rules(name, chain)?.into_iter().flatten());
                }
                None => change.apart.extend(encoder.rules(name, chain)?),
            }
        }
        let fates = fates(before, after);
        let gone = |fate: Fate| {
            let names = fates.iter().filter(|(_, its)| *its == fate);
            names.map(|(name, _)| *name).collect::<Vec<_>>()
        };
        let swept = [flushed(&gone(Fate::Swept))?, deleted(&gone(Fate::Swept))?].concat();
        change.apart.extend(Some(swept).filter(|unit| !unit.is_empty()));
        // Rules may look into maps, and maps lead to chains.
        change.rest.extend(flushed(&gone(Fate::Removed))?);
        for (name, elements) in kept_maps(before, after) {
            let all: Vec<_> = elements.iter().collect();
            change.rest.extend(elements_of(kind::DELETE_ELEMENTS, name, &all)?);
        }
        change.rest.extend(removed_maps(before, after)?);
        change.rest.extend(deleted(&gone(Fate::Removed))?);
        let left = gone(Fate::Left).into_iter().filter_map(|name| before.chains.get(name));
        let counted = counters_of(left.map(|chain| &**chain));
        for name in before.counters.difference(&after.counters).filter(|name| !counted.contains(*name)) {
            change.rest.push(counter(kind::DELETE_OBJECT, 0, name)?);
        }
        Ok(change)
    }

    /// As few transactions as there can be; with nothing to do, none.
    fn pack(self, most: usize) -> Vec<Transaction> {
        let mut packed: Vec<Transaction> = Vec::new();
        let mut room = 0;
        let apart = self.apart.len();
        let units = self.apart.into_iter().chain([self.rest]).enumerate();
        for (index, unit) in units.filter(|(_, unit)| !unit.is_empty()) {
            let needed = size(&unit);
            match packed.last_mut() {
                Some(last) if needed <= room && index < apart => last.extend(unit),
                _ => {
                    packed.push(unit);
                    room = most;
                }
            }
            room = room.saturating_sub(needed);
        }
        packed
    }
}

/// The counters that count in these chains.
fn counters_of<'t>(chains: impl Iterator<Item = &'t Chain>) -> BTreeSet<&'t String> {
    chains.flat_map(|chain| &chain.rules).filter_map(|rule| rule.counter.as_ref()).collect()
}

/// What becomes of a chain that is no longer wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It goes with what led to it.
    Removed,
    /// Nothing but what is left leads to it any more, but a packet may be in it.
    Left,
    /// It was left.
    Swept,
}

/// What becomes of the chains of `before` that are no longer wanted.
fn fates<'t>(before: &'t Table, after: &'t Table) -> Vec<(&'t String, Fate)> {
    let gone = differ(&before.chains, &after.chains).filter(|(_, _, now)| now.is_none());
    let unwanted: Vec<_> = gone.filter_map(|(name, then, _)| Some((name, then?))).collect();
    if unwanted.is_empty() {
        return Vec::new();
    }
    let stays =
        |(name, chain): &(&String, &Arc<Chain>)| chain.hook.is_some() || after.chains.contains_key(*name);
    let staying = before.chains.iter().filter(stays).map(|(name, _)| name);
    let used = before.led_to_from(staying.chain(before.maps.values().flat_map(|map| map.values())));
    let in_use = |(name, chain): &&(&String, &Arc<Chain>)| {
        chain.hook.is_none() && chain.has_sets() && used.contains(*name)
    };
    // What is left may lead to others, which must be left with it; not so by chains that stay, whose rules are new.
    let mut left = BTreeSet::new();
    let mut next: Vec<&String> = unwanted.iter().filter(in_use).map(|(name, _)| *name).collect();
    while let Some(name) = next.pop() {
        if !after.chains.contains_key(name) && left.insert(name) {
            next.extend(before.chains.get(name).into_iter().flat_map(|chain| chain.leads_to()));
        }
    }
    let fate = |name: &String| match (used.contains(name), left.contains(name)) {
        (false, _) => Fate::Swept,
        (true, true) => Fate::Left,
        (true, false) => Fate::Removed,
    };
    unwanted.iter().map(|(name, _)| (*name, fate(name))).collect()
}

/// Maps that are no longer wanted, but that chains which are left look into: they stay as long, without elements.
fn kept_maps<'t>(
    before: &'t Table,
    after: &Table,
) -> impl Iterator<Item = (&'t String, &'t BTreeMap<String, String>)> {
    let left = fates(before, after).into_iter().filter(|(_, fate)| *fate == Fate::Left);
    let rules = left.filter_map(|(name, _)| before.chains.get(name)).flat_map(|chain| &chain.rules);
    let looked_into: BTreeSet<&String> = rules
        .filter_map(|rule| match &rule.verdict {
            Verdict::ByLink(_, map) => Some(map),
            _ => None,
        })
        .collect();
    let unwanted: BTreeSet<&String> =
        before.maps.keys().filter(|name| !after.maps.contains_key(*name)).collect();
    let kept = move |name: &String| unwanted.contains(name) && looked_into.contains(name);
    before.maps.iter().filter(move |(name, _)| kept(name)).map(|(name, elements)| (name, &**elements))
}

/// Maps that are no longer there.
fn removed_maps(before: &Table, after: &Table) -> Result<Unit, TooLong> {
    let kept: BTreeSet<&String> = kept_maps(before, after).map(|(name, _)| name).collect();
    let is_gone = |name: &&String| !after.maps.contains_key(*name) && !kept.contains(*name);
    let links = before.maps.keys().filter(is_gone);
    let addresses = before.addresses.keys().filter(|name| !after.addresses.contains_key(*name));
    let maps = links.chain(addresses);
    let mut all = Unit::new();
    for name in maps {
        let attributes = Attributes::of(|a| {
            a.text(1, TABLE); // NFTA_SET_TABLE
            a.text(2, name); // NFTA_SET_NAME
        });
        all.push(Message::new(kind::DELETE_SET, 0, format!("map {name}"), attributes)?);
    }
    Ok(all)
}

/// Chains without their rules.
fn flushed(chains: &[&String]) -> Result<Unit, TooLong> {
    chains.iter().map(|name| no_rules(name)).collect()
}

/// Chains that are no longer there. Nothing leads to them any more but what goes with them.
fn deleted(chains: &[&String]) -> Result<Unit, TooLong> {
    let mut all = Unit::new();
    for name in chains {
        let attributes = Attributes::of(|a| {
            a.text(1, TABLE); // NFTA_CHAIN_TABLE
            a.text(3, name); // NFTA_CHAIN_NAME
        });
        all.push(Message::new(kind::DELETE_CHAIN, 0, format!("chain {name}"), attributes)?);
    }
    Ok(all)
}

/// A counter that comes, with nothing counted, or goes.
fn counter(kind: u16, flags: u16, name: &str) -> Result<Message, TooLong> {
    let attributes = Attributes::of(|a| {
        a.text(1, TABLE); // NFTA_OBJ_TABLE
        a.text(2, name); // NFTA_OBJ_NAME
        a.number(3, COUNTER); // NFTA_OBJ_TYPE
        a.nested(4, |_| {}); // NFTA_OBJ_DATA
    });
    Message::new(kind, flags, format!("counter {name}"), attributes)
}

/// A chain without its rules.
fn new_chain(name: &str, chain: &Chain) -> Result<Message, TooLong> {
    let attributes = Attributes::of(|a| {
        a.text(1, TABLE); // NFTA_CHAIN_TABLE
        a.text(3, name); // NFTA_CHAIN_NAME
        if let Some(hook) = chain.hook {
            a.text(7, if hook.is_nat() { "nat" } else { "filter" }); // NFTA_CHAIN_TYPE
            let policy = if hook.accepts() { libc::NF_ACCEPT } else { libc::NF_DROP };
            a.number(5, policy as u32); // NFTA_CHAIN_POLICY
            a.nested(4, |a| {
                // NFTA_CHAIN_HOOK
                a.number(1, hook.number()); // NFTA_HOOK_HOOKNUM
                a.number(2, hook.priority() as u32); // NFTA_HOOK_PRIORITY
            });
        }
    });
    Message::new(kind::NEW_CHAIN, CREATE, format!("chain {name}"), attributes)
}

/// Deletes a rule by its handle.
fn no_rule(chain: &str, handle: u64) -> Result<Message, TooLong> {
    let attributes = Attributes::of(|a| {
        a.text(1, TABLE); // NFTA_RULE_TABLE
        a.text(2, chain); // NFTA_RULE_CHAIN
        a.bytes(3, &handle.to_be_bytes()); // NFTA_RULE_HANDLE
    });
    Message::new(kind::DELETE_RULE, 0, format!("a rule of chain {chain}"), attributes)
}

/// Deletes the rules of a chain.
fn no_rules(chain: &str) -> Result<Message, TooLong> {
    let attributes = Attributes::of(|a| {
        a.text(1, TABLE); // NFTA_RULE_TABLE
        a.text(2, chain); // NFTA_RULE_CHAIN
    });
    Message::new(kind::DELETE_RULE, 0, format!("the rules of chain {chain}"), attributes)
}

/// A map from interfaces to chains, without its elements.
fn new_map(name: &str) -> Result<Message, TooLong> {
    let what = format!("map {name}");
    let set = Set { name, id: 0, flags: flag::MAP, key: datatype::LINK, key_bytes: NAME_BYTES, size: None };
    set.message(what)
}

/// Elements of a map from interfaces to chains.
fn elements_of(kind: u16, map: &str, all: &[(&String, &String)]) -> Result<Vec<Message>, TooLong> {
    let chunk = |elements: &[(&String, &String)]| {
        let attributes = Attributes::of(|a| {
            a.text(1, TABLE); // NFTA_SET_ELEM_LIST_TABLE
            a.text(2, map); // NFTA_SET_ELEM_LIST_SET
            a.nested(3, |a| {
                // NFTA_SET_ELEM_LIST_ELEMENTS
                for (link, chain) in elements {
                    let to = (kind == kind::NEW_ELEMENTS).then(|| Verdict::Goto((*chain).clone()));
                    element(a, &name_bytes(link), false, to.as_ref());
                }
            });
        });
        let flags = if kind == kind::NEW_ELEMENTS { CREATE } else { 0 };
        Message::new(kind, flags, format!("elements of map {map}"), attributes)
    };
    all.chunks(ELEMENTS).map(chunk).collect()
}

/// A map from addresses to addresses, without its elements.
fn new_address_map(name: &str) -> Result<Message, TooLong> {
    let what = format!("map {name}");
    let set = Set { name, id: 0, flags: flag::MAP, key: datatype::ADDRESS, key_bytes: 4, size: None };
    set.message(what)
}

/// Elements of a map from addresses to addresses.
fn address_elements(kind: u16, map: &str, all: &[(Ipv4Addr, Ipv4Addr)]) -> Result<Vec<Message>, TooLong> {
    let chunk = |elements: &[(Ipv4Addr, Ipv4Addr)]| {
        let attributes = Attributes::of(|a| {
            a.text(1, TABLE); // NFTA_SET_ELEM_LIST_TABLE
            a.text(2, map); // NFTA_SET_ELEM_LIST_SET
            a.nested(3, |list| {
                // NFTA_SET_ELEM_LIST_ELEMENTS
                for (from, to) in elements {
                    list.nested(1, |a| {
                        // NFTA_LIST_ELEM
                        a.nested(1, |a| a.bytes(1, &from.octets())); // NFTA_SET_ELEM_KEY: NFTA_DATA_VALUE
                        a.nested(2, |a| a.bytes(1, &to.octets())); // NFTA_SET_ELEM_DATA: NFTA_DATA_VALUE
                    });
                }
            });
        });
        let flags = if kind == kind::NEW_ELEMENTS { CREATE } else { 0 };
        Message::new(kind, flags, format!("elements of map {map}"), attributes)
    };
    all.chunks(ELEMENTS).map(chunk).collect()
}

/// Appends an element to a list of them.
fn element(list: &mut Attributes, key: &[u8], ends: bool, to: Option<&Verdict>) {
    list.nested(1, |a| {
        // NFTA_LIST_ELEM
        if ends {
            a.number(3, 1); // NFTA_SET_ELEM_FLAGS: NFT_SET_ELEM_INTERVAL_END
        }
        a.nested(1, |a| a.bytes(1, key)); // NFTA_SET_ELEM_KEY: NFTA_DATA_VALUE
        if let Some(verdict) = to {
            a.nested(2, |a| verdict_data(a, verdict)); // NFTA_SET_ELEM_DATA
        }
    });
}

/// A set or a map.
struct Set<'s> {
    name: &'s str,
    id: u32,
    flags: u32,
    key: u32,
    key_bytes: usize,
    size: Option<usize>,
}

impl Set<'_> {
    fn message(&self, what: String) -> Result<Message, TooLong> {
        let attributes = Attributes::of(|a| {
            a.text(1, TABLE); // NFTA_SET_TABLE
            a.text(2, self.name); // NFTA_SET_NAME
            a.number(3, self.flags); // NFTA_SET_FLAGS
            a.number(4, self.key); // NFTA_SET_KEY_TYPE
            a.number(5, self.key_bytes as u32); // NFTA_SET_KEY_LEN
            // From addresses to addresses, from all else to chains.
            let to_addresses = self.flags & flag::MAP != 0 && self.key == datatype::ADDRESS;
            if to_addresses {
                a.number(6, datatype::ADDRESS); // NFTA_SET_DATA_TYPE
                a.number(7, 4); // NFTA_SET_DATA_LEN
            } else if self.flags & flag::MAP != 0 {
                a.number(6, datatype::VERDICT); // NFTA_SET_DATA_TYPE
                a.number(7, 0); // NFTA_SET_DATA_LEN
            }
            a.number(10, self.id); // NFTA_SET_ID
            if let Some(size) = self.size {
                a.nested(9, |a| a.number(1, size as u32)); // NFTA_SET_DESC: NFTA_SET_DESC_SIZE
            }
            // How `nft` is to read the keys: NFTNL_UDATA_SET_KEYBYTEORDER, in libnftnl.
            let big = matches!(self.key, datatype::ADDRESS | datatype::ADDRESS6 | datatype::PORT);
            let order: u32 = if big { 2 } else { 1 };
            let mut user = [&[0, 4][..], &order.to_ne_bytes()].concat();
            if to_addresses {
                user.extend([&[1, 4][..], &2u32.to_ne_bytes()].concat()); // NFTNL_UDATA_SET_DATABYTEORDER
            }
            a.bytes(13, &user); // NFTA_SET_USERDATA
        });
        Message::new(kind::NEW_SET, CREATE, what, attributes)
    }
}

/// Where a rule goes in its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// After all others.
    End,
    /// The same, and the kernel is to tell its handle.
    EndTold,
    /// Before the rule with this handle, and the kernel is to tell its own.
    BeforeTold(u64),
    /// The same without that.
    Before(u64),
}

/// Numbers the sets of rules, and counts those whose handles the kernel is to tell.
#[derive(Debug, Default)]
struct Encoder {
    sets: u32,
    told: usize,
}

impl Encoder {
    /// The rules of a chain.
    fn rules(&mut self, chain: &str, what: &Chain) -> Result<Vec<Unit>, TooLong> {
        what.rules.iter().map(|rule| self.rule(chain, rule, At::End)).collect()
    }

    /// Some rules of a chain in the place of others, before the rule with the handle `next` or at the end.
    fn edit(&mut self, chain: &str, gone: &[u64], new: &[Rule], next: Option<u64>) -> Result<Unit, TooLong> {
        let mut unit = gone.iter().map(|handle| no_rule(chain, *handle)).collect::<Result<Unit, _>>()?;
        self.told += new.len();
        let at = match (next, self.told <= TOLD) {
            (Some(next), true) => At::BeforeTold(next),
            (Some(next), false) => At::Before(next),
            (None, true) => At::EndTold,
            (None, false) => At::End,
        };
        for rule in new {
            unit.extend(self.rule(chain, rule, at)?);
        }
        Ok(unit)
    }

    /// A rule, after the sets that are its own.
    fn rule(&mut self, chain: &str, rule: &Rule, at: At) -> Result<Unit, TooLong> {
        let what = || match &rule.comment {
            Some(name) => format!("rule {name} in chain {chain}"),
            None => format!("a rule in chain {chain}"),
        };
        let mut unit = Unit::new();
        let mut sets = Vec::new();
        for one in &rule.matches {
            let lookup = in_set(one).map(|(numbers, kind)| {
                let set = self.lookup(SET_NAME);
                unit.extend(numbers_set(&set, numbers, kind, &what())?);
                Ok(set)
            });
            sets.push(lookup.transpose()?);
        }
        let mut states = None;
        if let Verdict::ByState(related) = &rule.verdict {
            let map = self.lookup(MAP_NAME);
            unit.extend(state_map(&map, related.as_ref(), &what())?);
            states = Some(map);
        }
        let attributes = Attributes::of(|a| {
            a.text(1, TABLE); // NFTA_RULE_TABLE
            a.text(2, chain); // NFTA_RULE_CHAIN
            if let At::Before(next) | At::BeforeTold(next) = at {
                a.bytes(6, &next.to_be_bytes()); // NFTA_RULE_POSITION
            }
            a.nested(4, |list| {
                // NFTA_RULE_EXPRESSIONS
                // The first address says of which version of IP a packet is.
                let mut known = false;
                for (one, set) in rule.matches.iter().zip(&sets) {
                    condition(list, one, set.as_ref(), known);
                    known |= matches!(one, Match::Address(..));
                }
                rule.counter.iter().for_each(|counter| count(list, counter));
                rule.log.iter().for_each(|prefix| log(list, prefix));
                verdict(list, &rule.verdict, states.as_ref());
            });
            if let Some(comment) = &rule.comment {
                a.bytes(7, &comment_bytes(comment)); // NFTA_RULE_USERDATA
            }
        });
        let long = |text: &Option<String>, most| text.as_ref().is_some_and(|text| text.len() > most);
        if long(&rule.comment, COMMENT) || long(&rule.log, PREFIX) {
            return Err(TooLong { what: what() });
        }
        let flags = match at {
            At::End => APPEND,
            At::EndTold => APPEND | ECHO,
            At::BeforeTold(_) => ECHO,
            At::Before(_) => 0,
        };
        unit.push(Message::new(kind::NEW_RULE, CREATE | flags, what(), attributes)?);
        Ok(unit)
    }

    fn lookup(&mut self, name: &'static str) -> Lookup {
        self.sets += 1;
        Lookup { id: self.sets, name }
    }
}

/// Bytes of what is written before a logged packet: `NF_LOG_PREFIXLEN`, with a NUL.
const PREFIX: usize = 127;

/// Bytes of a comment at most, as for `nft`.
const COMMENT: usize = 128;

/// A comment as `nft` reads it: NFTNL_UDATA_RULE_COMMENT, in libnftnl.
fn comment_bytes(comment: &str) -> Vec<u8> {
    let mut bytes = vec![0, (comment.len() + 1) as u8];
    bytes.extend_from_slice(comment.as_bytes());
    bytes.push(0);
    bytes
}

/// A rule's set of numbers.
fn numbers_set(set: &Lookup, all: &Intervals, kind: Numbers, what: &str) -> Result<Unit, TooLong> {
    let single = all.ranges().iter().all(|(first, last)| first == last);
    // A range is where it begins and, unless it goes on for ever, where the next gap begins. What comes before the
    // first is a gap too.
    let mut keys = Vec::new();
    for (index, (first, last)) in all.ranges().iter().enumerate() {
        if index == 0 && *first > 0 && !single {
            keys.push((0, true, false));
        }
        let open = *last == kind.max() && !single;
        keys.push((*first, false, open));
        if !single && !open {
            keys.push((last + 1, true, false));
        }
    }
    let interval = if single { 0 } else { flag::INTERVAL };
    let head = Set {
        name: set.name,
        id: set.id,
        flags: flag::ANONYMOUS | flag::CONSTANT | interval,
        key: match kind {
            Numbers::Addresses(Family::V4) => datatype::ADDRESS,
            Numbers::Addresses(Family::V6) => datatype::ADDRESS6,
            Numbers::Ports => datatype::PORT,
        },
        key_bytes: kind.length(),
        size: Some(keys.len()),
    };
    let mut unit = vec![head.message(format!("a set of {what}"))?];
    for chunk in keys.chunks(ELEMENTS) {
        let attributes = Attributes::of(|a| {
            own_set(a, set);
            a.nested(3, |list| {
                // NFTA_SET_ELEM_LIST_ELEMENTS
                for (key, ends, open) in chunk {
                    list.nested(1, |a| {
                        // NFTA_LIST_ELEM
                        if *ends {
                            a.number(3, 1); // NFTA_SET_ELEM_FLAGS: NFT_SET_ELEM_INTERVAL_END
                        }
                        a.nested(1, |a| a.bytes(1, &kind.bytes(*key))); // NFTA_SET_ELEM_KEY: NFTA_DATA_VALUE
                        if *open {
                            // For `nft`: NFTNL_UDATA_SET_ELEM_FLAGS with SET_ELEM_F_INTERVAL_OPEN.
                            a.bytes(6, &[&[1, 4][..], &1u32.to_ne_bytes()].concat()); // NFTA_SET_ELEM_USERDATA
                        }
                    });
                }
            });
        });
        unit.push(Message::new(kind::NEW_ELEMENTS, CREATE, format!("a set of {what}"), attributes)?);
    }
    Ok(unit)
}

/// What becomes of packets by the state of their connection.
fn state_map(map: &Lookup, related: Option<&String>, what: &str) -> Result<Unit, TooLong> {
    let related = related.cloned().map_or(Verdict::Accept, Verdict::Goto);
    // Bits of NFT_CT_STATE: `enum ip_conntrack_info`, NF_CT_STATE_INVALID_BIT and NF_CT_STATE_UNTRACKED_BIT.
    let states: [(u32, Verdict); 4] =
        [(2, Verdict::Accept), (4, related), (1, Verdict::Drop), (64, Verdict::Drop)];
    let head = Set {
        name: map.name,
        id: map.id,
        flags: flag::ANONYMOUS | flag::CONSTANT | flag::MAP,
        key: datatype::STATE,
        key_bytes: 4,
        size: Some(states.len()),
    };
    let attributes = Attributes::of(|a| {
        own_set(a, map);
        a.nested(3, |list| {
            // NFTA_SET_ELEM_LIST_ELEMENTS
            states.iter().for_each(|(bit, to)| element(list, &bit.to_ne_bytes(), false, Some(to)));
        });
    });
    let what = format!("a map of {what}");
    Ok(vec![head.message(what.clone())?, Message::new(kind::NEW_ELEMENTS, CREATE, what, attributes)?])
}

/// Which set elements belong to.
fn own_set(a: &mut Attributes, set: &Lookup) {
    a.text(1, TABLE); // NFTA_SET_ELEM_LIST_TABLE
    a.text(2, set.name); // NFTA_SET_ELEM_LIST_SET
    a.number(4, set.id); // NFTA_SET_ELEM_LIST_SET_ID
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Match;

    /// Of many rules one is otherwise: it goes and comes, and nothing else is said.
    #[test]
    fn what_stays_is_not_told() {
        let table = |changed: u8| {
            let protocols = (0..50).map(|n| if n == 20 { changed } else { n });
            let rule = |protocol| Rule {
                matches: vec![Match::Protocol(protocol)],
                counter: None,
                log: None,
                verdict: Verdict::Drop,
                comment: None,
            };
            let chain = Chain { hook: None, rules: protocols.map(rule).collect() };
            Table { chains: BTreeMap::from([("c".to_owned(), Arc::new(chain))]), ..Table::default() }
        };
        let (before, after) = (table(100), table(101));
        let told = |handles: Option<Vec<u64>>| {
            let handles = Handles(handles.map(|all| ("c".to_owned(), all)).into_iter().collect());
            let encoded = encode(Some((&before, &handles)), &after, 1 << 20).expect("to fit");
            encoded.transactions.concat().len()
        };
        assert_eq!(told(Some((7..57).collect())), 2);
        // Not all of them are known, or none: every rule is told.
        assert_eq!((told(Some(vec![7])), told(None)), (51, 51));
    }
}

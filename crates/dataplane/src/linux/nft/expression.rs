//! The expressions of a rule: small programs on registers, as nf_tables runs them for each packet. Pure.
//!
//! Every condition loads into register 1 and compares; where one fails, the rule does not match.

use super::message::Attributes;
use crate::rules::Side;
use crate::table::{BURST, Family, Intervals, LOG_BYTES, LOG_GROUP, Match, Verdict, Way, prefix_of};

/// `NFT_REG_VERDICT`
const TO_VERDICT: u32 = 0;
/// `NFT_REG_1`
const REGISTER: u32 = 1;
/// `NFT_REG_2`
const SECOND: u32 = 2;
/// Bytes of an interface's name, with its NULs: `IFNAMSIZ`.
pub(super) const NAME_BYTES: usize = 16;

/// `enum nft_cmp_ops`
#[derive(Clone, Copy)]
enum Compare {
    Equal = 0,
    NotEqual = 1,
    Less = 2,
    AtMost = 3,
    AtLeast = 5,
}

/// A set that a rule looks numbers up in, and which has no other name than its number in the transaction.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    /// Its number.
    pub(super) id: u32,
    /// Its template for a name.
    pub(super) name: &'static str,
}

/// The name of rules' own sets; the kernel puts a number for `%d`.
pub(super) const SET_NAME: &str = "__set%d";
/// The name of rules' own maps.
pub(super) const MAP_NAME: &str = "__map%d";

/// Appends a condition. `set` is the set of its numbers, where they are more than one range; `known` is whether a
/// condition before it is that of an address, and so says of which version of IP a packet is.
pub(super) fn condition(list: &mut Attributes, one: &Match, set: Option<&Lookup>, known: bool) {
    match one {
        Match::Link(way, link) => {
            load_meta(list, link_key(*way));
            compare(list, Compare::Equal, &name_bytes(link));
        }
        Match::LinkPrefix(way, prefix) => {
            load_meta(list, link_key(*way));
            compare(list, Compare::Equal, prefix.as_bytes());
        }
        Match::LinkGroup(way, group, is) => {
            load_meta(list, if *way == Way::In { 21 } else { 22 }); // NFT_META_IIFGROUP, NFT_META_OIFGROUP
            let compared = if *is { Compare::Equal } else { Compare::NotEqual };
            compare(list, compared, &group.to_ne_bytes());
        }
        Match::NoWayBack => {
            expression(list, "fib", |a| {
                a.number(1, REGISTER); // NFTA_FIB_DREG
                a.number(2, 1); // NFTA_FIB_RESULT: NFT_FIB_RESULT_OIF
                a.number(3, 1 | 1 << 3 | 1 << 5); // NFTA_FIB_FLAGS: NFTA_FIB_F_SADDR, _IIF, _PRESENT
            });
            compare(list, Compare::Equal, &[0; 4]);
        }
        Match::Established => {
            load_state(list);
            mask(list, &2_u32.to_ne_bytes()); // NF_CT_STATE_BIT(IP_CT_ESTABLISHED)
            compare(list, Compare::NotEqual, &[0; 4]);
        }
        Match::Protocol(number) => {
            load_meta(list, 16); // NFT_META_L4PROTO
            compare(list, Compare::Equal, &[*number]);
        }
        Match::Family(family) => is_family(list, *family),
        Match::Address(family, side, addresses) => {
            if !known {
                is_family(list, *family);
            }
            let offset = address_offset(*family, *side);
            match set {
                Some(set) => {
                    load_payload(list, Header::Network, offset, family.bits() / 8);
                    look_up(list, set.name, Some(set.id), None);
                }
                None => addresses.ranges().iter().for_each(|range| address(list, *family, offset, *range)),
            }
        }
        Match::End(family, side, addresses) => {
            expression(list, "ct", |a| {
                // NFTA_CT_KEY: NFT_CT_SRC_IP or NFT_CT_SRC_IP6
                a.number(2, if *family == Family::V4 { 19 } else { 21 });
                a.number(1, REGISTER); // NFTA_CT_DREG
                // NFTA_CT_DIRECTION: IP_CT_DIR_ORIGINAL or IP_CT_DIR_REPLY
                a.bytes(3, &[u8::from(*side == Side::Destination)]);
            });
            match set {
                Some(set) => look_up(list, set.name, Some(set.id), None),
                None => addresses.ranges().iter().for_each(|range| within(list, *family, *range)),
            }
        }
        Match::Chance(chance) => {
            expression(list, "numgen", |a| {
                a.number(1, REGISTER); // NFTA_NG_DREG
                a.number(2, 1_000_000); // NFTA_NG_MODULUS
                a.number(3, 1); // NFTA_NG_TYPE: NFT_NG_RANDOM
                a.number(4, 0); // NFTA_NG_OFFSET
            });
            // Numbers are compared byte by byte.
            expression(list, "byteorder", |a| {
                a.number(1, REGISTER); // NFTA_BYTEORDER_SREG
                a.number(2, REGISTER); // NFTA_BYTEORDER_DREG
                a.number(3, 1); // NFTA_BYTEORDER_OP: NFT_BYTEORDER_HTON
                a.number(4, 4); // NFTA_BYTEORDER_LEN
                a.number(5, 4); // NFTA_BYTEORDER_SIZE
            });
            compare(list, Compare::Less, &chance.to_be_bytes());
        }
        Match::Over(rate) => expression(list, "limit", |a| {
            a.bytes(1, &rate.to_be_bytes()); // NFTA_LIMIT_RATE
            a.bytes(2, &1_u64.to_be_bytes()); // NFTA_LIMIT_UNIT: a second
            a.number(3, BURST); // NFTA_LIMIT_BURST
            a.number(4, 1); // NFTA_LIMIT_TYPE: NFT_LIMIT_PKT_BYTES
            a.number(5, 1); // NFTA_LIMIT_FLAGS: NFT_LIMIT_F_INV
        }),
        Match::Port(ports) => {
            // The destination port of every protocol that has ports.
            load_payload(list, Header::Transport, 2, 2);
            match set {
                Some(set) => look_up(list, set.name, Some(set.id), None),
                None => ports.ranges().iter().for_each(|(first, last)| {
                    let bytes = |number: &u128| (*number as u16).to_be_bytes();
                    between(list, &bytes(first), &bytes(last));
                }),
            }
        }
    }
}

/// Whether a condition's numbers need a set.
pub(super) fn in_set(one: &Match) -> Option<(&Intervals, Numbers)> {
    match one {
        Match::Address(family, _, all) | Match::End(family, _, all) if all.ranges().len() != 1 => {
            Some((all, Numbers::Addresses(*family)))
        }
        Match::Port(all) if all.ranges().len() != 1 => Some((all, Numbers::Ports)),
        _ => None,
    }
}

/// `NFT_OBJECT_COUNTER`
pub(super) const COUNTER: u32 = 1;

/// Appends that a packet is counted, where all conditions before hold.
pub(super) fn count(list: &mut Attributes, counter: &str) {
    expression(list, "objref", |a| {
        a.number(1, COUNTER); // NFTA_OBJREF_IMM_TYPE
        a.text(2, counter); // NFTA_OBJREF_IMM_NAME
    });
}

/// Appends that a packet is logged.
pub(super) fn log(list: &mut Attributes, prefix: &str) {
    expression(list, "log", |a| {
        a.bytes(1, &LOG_GROUP.to_be_bytes()); // NFTA_LOG_GROUP
        a.text(2, prefix); // NFTA_LOG_PREFIX
        a.number(3, LOG_BYTES); // NFTA_LOG_SNAPLEN
    });
}

/// What numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    /// Addresses.
    Addresses(Family),
    /// Ports.
    Ports,
}

impl Numbers {
    /// The largest.
    pub(super) fn max(self) -> u128 {
        match self {
            Numbers::Addresses(family) => family.last(),
            Numbers::Ports => u16::MAX.into(),
        }
    }

    /// One, as a packet has it.
    pub(super) fn bytes(self, number: u128) -> Vec<u8> {
        let bytes = number.to_be_bytes();
        bytes[bytes.len() - self.length()..].to_vec()
    }

    /// Bytes.
    pub(super) fn length(self) -> usize {
        match self {
            Numbers::Addresses(family) => family.bits() as usize / 8,
            Numbers::Ports => 2,
        }
    }
}

/// Appends what becomes of a packet. `states` is the map of what becomes of it by its connection's state.
pub(super) fn verdict(list: &mut Attributes, verdict: &Verdict, states: Option<&Lookup>) {
    match verdict {
        Verdict::ByLink(way, map) => {
            load_meta(list, link_key(*way));
            look_up(list, map, None, Some(TO_VERDICT));
        }
        Verdict::ByState(_) => {
            load_state(list);
            let Some(map) = states else { return };
            look_up(list, map.name, Some(map.id), Some(TO_VERDICT));
        }
        Verdict::Nat(side, map) => {
            load_ipv4(list, *side);
            look_up(list, map, None, Some(REGISTER));
            nat(list, *side, None);
        }
        Verdict::NatTo(address) => {
            load_bytes(list, REGISTER, &address.octets());
            nat(list, Side::Source, None);
        }
        Verdict::DivertTo(to) => {
            load_bytes(list, REGISTER, &to.ip().octets());
            load_bytes(list, SECOND, &to.port().to_be_bytes());
            nat(list, Side::Destination, Some(SECOND));
        }
        // The target of xtables: the kernel may be without nf_tables's own expression, and what is the same of both is the queue.
        Verdict::Queue(number) => expression(list, "target", |a| {
            a.text(1, "NFQUEUE"); // NFTA_TARGET_NAME
            a.number(2, 0); // NFTA_TARGET_REV
            // NFTA_TARGET_INFO: xt_NFQ_info, which is the queue's number, and padding.
            a.bytes(3, &[&number.to_ne_bytes()[..], &[0; 6]].concat());
        }),
        Verdict::Accept
        | Verdict::Drop
        | Verdict::Next
        | Verdict::Goto(_)
        | Verdict::Jump(_)
        | Verdict::Return => {
            expression(list, "immediate", |a| {
                a.number(1, TO_VERDICT); // NFTA_IMMEDIATE_DREG
                a.nested(2, |a| verdict_data(a, verdict)); // NFTA_IMMEDIATE_DATA
            })
        }
    }
}

/// Loads what is always the same.
fn load_bytes(list: &mut Attributes, register: u32, bytes: &[u8]) {
    expression(list, "immediate", |a| {
        a.number(1, register); // NFTA_IMMEDIATE_DREG
        a.nested(2, |a| a.bytes(1, bytes)); // NFTA_IMMEDIATE_DATA, NFTA_DATA_VALUE
    });
}

/// Appends that an address of the packet's connection becomes the one that is loaded, and its port that in `port`.
fn nat(list: &mut Attributes, side: Side, port: Option<u32>) {
    expression(list, "nat", |a| {
        a.number(1, u32::from(side == Side::Destination)); // NFTA_NAT_TYPE: NFT_NAT_SNAT, NFT_NAT_DNAT
        a.number(2, libc::AF_INET as u32); // NFTA_NAT_FAMILY
        a.number(3, REGISTER); // NFTA_NAT_REG_ADDR_MIN
        if let Some(port) = port {
            a.number(5, port); // NFTA_NAT_REG_PROTO_MIN
        }
    });
}

/// A verdict as data: of an immediate expression, or of an element of a map.
pub(super) fn verdict_data(data: &mut Attributes, verdict: &Verdict) {
    const NFT_CONTINUE: i32 = -1;
    const NFT_JUMP: i32 = -3;
    const NFT_GOTO: i32 = -4;
    const NFT_RETURN: i32 = -5;
    let (code, chain) = match verdict {
        Verdict::Accept => (libc::NF_ACCEPT, None),
        Verdict::Next => (NFT_CONTINUE, None),
        Verdict::Goto(chain) => (NFT_GOTO, Some(chain)),
        Verdict::Jump(chain) => (NFT_JUMP, Some(chain)),
        Verdict::Return => (NFT_RETURN, None),
        // The others are no data, and nothing passes by mistake.
        Verdict::Drop
        | Verdict::Queue(_)
        | Verdict::ByLink(..)
        | Verdict::ByState(_)
        | Verdict::Nat(..)
        | Verdict::NatTo(_)
        | Verdict::DivertTo(_) => (libc::NF_DROP, None),
    };
    data.nested(2, |a| {
        // NFTA_DATA_VERDICT
        a.number(1, code as u32); // NFTA_VERDICT_CODE
        if let Some(chain) = chain {
            a.text(2, chain); // NFTA_VERDICT_CHAIN
        }
    });
}

/// That the packet is one of this version of IP.
fn is_family(list: &mut Attributes, family: Family) {
    let number = if family == Family::V4 { libc::AF_INET } else { libc::AF_INET6 };
    load_meta(list, 15); // NFT_META_NFPROTO
    compare(list, Compare::Equal, &[number as u8]);
}

/// Loads an address of an IPv4 packet; others do not match.
fn load_ipv4(list: &mut Attributes, side: Side) {
    is_family(list, Family::V4);
    load_payload(list, Header::Network, address_offset(Family::V4, side), 4);
}

/// Where the header has an address: RFC 791, 3.1, and RFC 8200, 3.
fn address_offset(family: Family, side: Side) -> u32 {
    match (family, side) {
        (Family::V4, Side::Source) => 12,
        (Family::V4, Side::Destination) => 16,
        (Family::V6, Side::Source) => 8,
        (Family::V6, Side::Destination) => 24,
    }
}

/// A name as registers and sets have it.
pub(super) fn name_bytes(link: &str) -> Vec<u8> {
    let mut bytes = link.as_bytes().to_vec();
    bytes.resize(NAME_BYTES.max(bytes.len()), 0);
    bytes
}

/// An address in one range, in the fewest steps.
fn address(list: &mut Attributes, family: Family, offset: u32, (first, last): (u128, u128)) {
    match prefix_of(family, first, last) {
        // Whole bytes: only these are loaded.
        Some(bits) if bits > 0 && bits % 8 == 0 => {
            load_payload(list, Header::Network, offset, bits / 8);
            compare(list, Compare::Equal, &Numbers::Addresses(family).bytes(first)[..bits as usize / 8]);
        }
        _ => {
            load_payload(list, Header::Network, offset, family.bits() / 8);
            within(list, family, (first, last));
        }
    }
}

/// That the address in the register is in one range.
fn within(list: &mut Attributes, family: Family, (first, last): (u128, u128)) {
    let bytes = |number| Numbers::Addresses(family).bytes(number);
    match prefix_of(family, first, last) {
        Some(bits) if bits > 0 && bits < family.bits() => {
            mask(list, &bytes(family.last() & !(family.last() >> bits)));
            compare(list, Compare::Equal, &bytes(first));
        }
        _ => between(list, &bytes(first), &bytes(last)),
    }
}

/// Keeps these bits.
fn mask(list: &mut Attributes, bits: &[u8]) {
    expression(list, "bitwise", |a| {
        a.number(1, REGISTER); // NFTA_BITWISE_SREG
        a.number(2, REGISTER); // NFTA_BITWISE_DREG
        a.number(3, bits.len() as u32); // NFTA_BITWISE_LEN
        a.nested(4, |a| a.bytes(1, bits)); // NFTA_BITWISE_MASK
        a.nested(5, |a| a.bytes(1, &vec![0; bits.len()])); // NFTA_BITWISE_XOR
    });
}

/// Loads the state of the packet's connection, a bit.
fn load_state(list: &mut Attributes) {
    expression(list, "ct", |a| {
        a.number(2, 0); // NFTA_CT_KEY: NFT_CT_STATE
        a.number(1, REGISTER); // NFTA_CT_DREG
    });
}

/// A number between two others, or equal to both.
fn between(list: &mut Attributes, first: &[u8], last: &[u8]) {
    if first == last {
        return compare(list, Compare::Equal, first);
    }
    compare(list, Compare::AtLeast, first);
    compare(list, Compare::AtMost, last);
}

/// `enum nft_payload_bases`
#[derive(Clone, Copy)]
enum Header {
    Network = 1,
    Transport = 2,
}

/// `enum nft_meta_keys`: the interface's name.
fn link_key(way: Way) -> u32 {
    if way == Way::In { 6 } else { 7 }
}

fn load_meta(list: &mut Attributes, key: u32) {
    expression(list, "meta", |a| {
        a.number(2, key); // NFTA_META_KEY
        a.number(1, REGISTER); // NFTA_META_DREG
    });
}

fn load_payload(list: &mut Attributes, base: Header, offset: u32, length: u32) {
    expression(list, "payload", |a| {
        a.number(1, REGISTER); // NFTA_PAYLOAD_DREG
        a.number(2, base as u32); // NFTA_PAYLOAD_BASE
        a.number(3, offset); // NFTA_PAYLOAD_OFFSET
        a.number(4, length); // NFTA_PAYLOAD_LEN
    });
}

fn compare(list: &mut Attributes, how: Compare, with: &[u8]) {
    expression(list, "cmp", |a| {
        a.number(1, REGISTER); // NFTA_CMP_SREG
        a.number(2, how as u32); // NFTA_CMP_OP
        a.nested(3, |a| a.bytes(1, with)); // NFTA_CMP_DATA: NFTA_DATA_VALUE
    });
}

fn look_up(list: &mut Attributes, set: &str, id: Option<u32>, to: Option<u32>) {
    expression(list, "lookup", |a| {
        a.number(2, REGISTER); // NFTA_LOOKUP_SREG
        if let Some(to) = to {
            a.number(3, to); // NFTA_LOOKUP_DREG
        }
        a.text(1, set); // NFTA_LOOKUP_SET
        if let Some(id) = id {
            a.number(4, id); // NFTA_LOOKUP_SET_ID
        }
    });
}

/// Appends an expression to a list of them.
fn expression(list: &mut Attributes, name: &str, data: impl FnOnce(&mut Attributes)) {
    list.nested(1, |a| {
        // NFTA_LIST_ELEM
        a.text(1, name); // NFTA_EXPR_NAME
        a.nested(2, data); // NFTA_EXPR_DATA
    });
}

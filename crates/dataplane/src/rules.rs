//! A router's nftables rules as data, and their text for the `nft` program.
//!
//! The order of things in the forward hook:
//!
//! ```text
//!   from a peering to a peering: drop             peering is not transitive, whatever the routes say
//!   established, related: accept    invalid: drop the gates look at first packets only
//!   from a peering or IAP:   goto gate-in         (the sender's gate was in the sender's router)
//!   from an interface:       its egress chain     an allow goes on to gate-in, never to accept
//!   gate-in: to an interface: its ingress chain; to a peering: accept (the receiver's gate is there)
//!   anything else: drop
//! ```

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use tombolo_model::{L4, PortRange, Protocol};

/// The rules of one router.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// Whether packets may pass from one peering to another. Always false: peering is not transitive.
    pub transit: bool,
    /// The egress chain of each interface of an endpoint.
    pub egress_of: BTreeMap<String, String>,
    /// The ingress chain of each interface of an endpoint.
    pub ingress_of: BTreeMap<String, String>,
    /// Interfaces without an egress gate: Google's own clients.
    pub trusted: BTreeSet<String>,
    /// The chains by name, each ending with a rule for everything.
    pub chains: BTreeMap<String, Chain>,
}

/// The rules that act at the interfaces of one target class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Which address of a packet the rules look at: the receiver's at the egress gate, the sender's at the ingress gate.
    pub far: Side,
    /// Where an allow leads: from the egress gate to the ingress gate, from there to the receiver.
    pub allow: Allow,
    /// In the order in which they win.
    pub rules: Vec<ChainRule>,
}

/// An address of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Side {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// Where an allow leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Allow {
    /// To the receiver's gate.
    ToIngressGate,
    /// To the receiver.
    Deliver,
}

/// One rule of a gate's chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChainRule {
    /// The firewall rule that it comes from.
    pub name: String,
    /// The far end's addresses, any of which matches.
    pub far: BTreeSet<Ipv4Net>,
    /// The protocols and ports, any of which matches.
    pub matches: Vec<L4>,
    /// Through the gate, or dropped.
    pub allow: bool,
}

impl Ruleset {
    /// What identifies these rules: the hash of their text.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.script());
        digest.iter().take(16).map(|b| format!("{b:02x}")).collect()
    }

    /// A script for `nft -f -` that replaces whatever rules there were, in one transaction.
    pub fn script(&self) -> String {
        let mut out = String::from("table inet tombolo\ndelete table inet tombolo\ntable inet tombolo {\n");
        verdict_map(&mut out, "egress", &self.egress_of);
        verdict_map(&mut out, "ingress", &self.ingress_of);
        out.push_str(" chain gate-in {\n  oifname vmap @ingress\n  oifname \"p*\" accept\n  drop\n }\n");
        for (name, chain) in &self.chains {
            let _ = writeln!(out, " chain {name} {{");
            chain.rules.iter().for_each(|rule| chain_rule(&mut out, chain, rule));
            out.push_str(" }\n");
        }
        self.base_chains(&mut out);
        out.push_str("}\n");
        out
    }

    /// The hooks.
    fn base_chains(&self, out: &mut String) {
        out.push_str(" chain forward-hook {\n  type filter hook forward priority filter; policy drop;\n");
        if !self.transit {
            out.push_str("  iifname \"p*\" oifname \"p*\" drop\n");
        }
        out.push_str("  ct state vmap { established : accept, related : accept, invalid : drop }\n");
        out.push_str("  iifname \"p*\" goto gate-in\n");
        for link in &self.trusted {
            let _ = writeln!(out, "  iifname \"{link}\" goto gate-in");
        }
        out.push_str("  iifname vmap @egress\n }\n");
        // The router itself answers nobody but an endpoint that asks Google's link-local server.
        out.push_str(
            " chain input-hook {\n  type filter hook input priority filter; policy drop;\n  \
             ct state vmap { established : accept, related : accept, invalid : drop }\n  \
             iifname != \"p*\" ip daddr 169.254.169.254 accept\n }\n",
        );
    }
}

/// `map egress { type ifname : verdict; elements = { … } }`
fn verdict_map(out: &mut String, name: &str, chains: &BTreeMap<String, String>) {
    let _ = writeln!(out, " map {name} {{\n  type ifname : verdict");
    if !chains.is_empty() {
        let elements: Vec<_> =
            chains.iter().map(|(link, chain)| format!("\"{link}\" : goto {chain}")).collect();
        let _ = writeln!(out, "  elements = {{ {} }}", elements.join(", "));
    }
    out.push_str(" }\n");
}

/// A rule as one nft rule for each protocol that it names.
fn chain_rule(out: &mut String, chain: &Chain, rule: &ChainRule) {
    let Some(far) = far_match(chain.far, &rule.far) else { return };
    let verdict = match (rule.allow, chain.allow) {
        (false, _) => "drop",
        (true, Allow::ToIngressGate) => "goto gate-in",
        (true, Allow::Deliver) => "accept",
    };
    for l4 in &rule.matches {
        let _ = writeln!(out, "  {far}{}{verdict} comment \"{}\"", l4_match(l4), rule.name);
    }
}

/// `ip saddr { 10.0.0.0/8 } `, nothing where every address matches, `None` where no address can.
fn far_match(side: Side, far: &BTreeSet<Ipv4Net>) -> Option<String> {
    if far.is_empty() {
        return None; // no instance has the source tag (yet)
    }
    if far.iter().any(|range| range.prefix_len() == 0) {
        return Some(String::new());
    }
    let side = if side == Side::Source { "saddr" } else { "daddr" };
    // An interval set may not overlap itself.
    let merged = Ipv4Net::aggregate(&far.iter().copied().collect());
    let merged: Vec<_> = merged.iter().map(ToString::to_string).collect();
    Some(format!("ip {side} {{ {} }} ", merged.join(", ")))
}

/// `meta l4proto 6 th dport { 22, 80-90 } `, nothing where every packet matches.
fn l4_match(l4: &L4) -> String {
    let protocol = match l4.protocol {
        Protocol::All => return String::new(),
        Protocol::Number(n) => format!("meta l4proto {n} "),
    };
    if l4.ports.is_empty() {
        return protocol;
    }
    let ports: Vec<_> = merge_ports(&l4.ports).iter().map(ToString::to_string).collect();
    format!("{protocol}th dport {{ {} }} ", ports.join(", "))
}

/// The same ports, sorted, without overlap.
fn merge_ports(ports: &[PortRange]) -> Vec<PortRange> {
    let mut sorted = ports.to_vec();
    sorted.sort();
    let mut merged: Vec<PortRange> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(last) if u32::from(range.first) <= u32::from(last.last) + 1 => {
                last.last = last.last.max(range.last)
            }
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(text: &[&str]) -> Vec<PortRange> {
        text.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn ports_are_merged_because_an_interval_set_may_not_overlap() {
        for (given, want) in [
            (vec!["22"], vec!["22"]),
            (vec!["80-90", "85", "91"], vec!["80-91"]),
            (vec!["443", "80", "80"], vec!["80", "443"]),
            (vec!["0-65535", "1"], vec!["0-65535"]),
        ] {
            assert_eq!(merge_ports(&ports(&given)), ports(&want));
        }
    }

    #[test]
    fn a_rule_becomes_a_line_for_each_protocol() {
        let matches = vec![L4::new(Protocol::TCP, ports(&["22", "80-90"])), L4::all_of(Protocol::ICMP)];
        let far =
            ["10.0.0.0/9", "10.128.0.0/9", "192.168.0.1/32"].iter().map(|r| r.parse().unwrap()).collect();
        let rule = ChainRule { name: "r".into(), far, matches, allow: true };
        let mut out = String::new();
        let ingress = Chain { far: Side::Source, allow: Allow::Deliver, rules: Vec::new() };
        let egress = Chain { far: Side::Destination, allow: Allow::ToIngressGate, rules: Vec::new() };
        chain_rule(&mut out, &ingress, &rule);
        chain_rule(&mut out, &egress, &ChainRule { allow: false, ..rule.clone() });
        let want = "  ip saddr { 10.0.0.0/8, 192.168.0.1/32 } meta l4proto 6 th dport { 22, 80-90 } accept comment \"r\"
  ip saddr { 10.0.0.0/8, 192.168.0.1/32 } meta l4proto 1 accept comment \"r\"
  ip daddr { 10.0.0.0/8, 192.168.0.1/32 } meta l4proto 6 th dport { 22, 80-90 } drop comment \"r\"
  ip daddr { 10.0.0.0/8, 192.168.0.1/32 } meta l4proto 1 drop comment \"r\"
";
        assert_eq!(out, want);
        let nobody = ChainRule { far: BTreeSet::new(), ..rule };
        let mut out = String::new();
        chain_rule(&mut out, &ingress, &nobody);
        assert_eq!(out, "");
    }
}

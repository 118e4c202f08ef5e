//! What becomes of a packet, as tables: changes that make a world, and one line for each flow.
//!
//! ```text
//!   vm-1 -> 10.2.0.2 tcp/80 : DROP FIREWALL_RULE rule-x     from vm-1's nic0
//!   vm-1@10.9.9.9 -> …                                      with another source address
//!   iap:vpc-1 -> …    redis:redis-1 -> …                    from Google's own clients and services
//!   internet -> …                                           from the internet's client
//! ```

use crate::support::*;
use std::net::Ipv4Addr;
use tombolo_fabric::{Cause, Fabric, Flow, Owner, Trace, Verdict, compile, trace};
use tombolo_model::Protocol;

/// The flow of `vm-1 -> 10.2.0.2 tcp/80`.
pub(crate) fn flow(fabric: &Fabric, text: &str) -> Flow {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [from, "->", to, what] = words.as_slice() else { panic!("{text}") };
    let (from, source) = from.split_once('@').map_or((*from, None), |(f, s)| (f, Some(s.parse().unwrap())));
    let owner = match from.split_once(':') {
        Some(("iap", name)) => Owner::Iap(network(name)),
        None if from == "internet" => Owner::Internet,
        Some(("redis", name)) => Owner::Redis(redis(name)),
        _ => {
            // Of whatever zone.
            let nics = fabric.networks.values().flat_map(|network| network.nics.values());
            let is = |owner: &&Owner| matches!(owner, Owner::Instance(key) if key.name == from);
            let mut named = nics.map(|nic| &nic.owner).filter(is);
            named.next().cloned().unwrap_or_else(|| Owner::Instance(vm(from)))
        }
    };
    let (network, nic) = *fabric.nics_of(&owner).first().unwrap_or_else(|| panic!("there is no {from}"));
    let (protocol, port) = what.split_once('/').unwrap_or((what, "0"));
    let Ok(Protocol::Number(protocol)) = protocol.parse() else { panic!("{text}") };
    let host = |r: &str| fabric.nics_of(&Owner::Redis(redis(r)))[0].1.address.into();
    let destination = to.parse().unwrap_or_else(|_| host(to));
    let source = source
        .or(nic.address_like(destination))
        .unwrap_or_else(|| panic!("{text}: {from} has no such address"));
    Flow {
        network: network.clone(),
        nic: nic.address,
        source,
        destination,
        protocol,
        port: port.parse().unwrap(),
    }
}

/// `DELIVERED vm-2`, `FORWARDED router`, `DROP NO_ROUTE`, `DROP FIREWALL_RULE rule-x`; what may happen instead after an `or`.
fn outcome(fabric: &Fabric, flow: &Flow) -> String {
    let ways: Vec<String> = trace(fabric, flow).ways().map(|way| outcome_of(fabric, way)).collect();
    ways.join(" or ")
}

fn outcome_of(fabric: &Fabric, trace: &Trace) -> String {
    let name = |network, nic: &Ipv4Addr| {
        let network: &tombolo_fabric::Network = &fabric.networks[network];
        network.nics[nic].owner.name().to_owned()
    };
    match &trace.verdict {
        Verdict::Delivered { network, nic } => format!("DELIVERED {}", name(network, nic)),
        Verdict::Forwarded { network, nic } => format!("FORWARDED {}", name(network, nic)),
        Verdict::Local => "LOCAL".into(),
        Verdict::MetadataServer => "DELIVERED metadata".into(),
        Verdict::Host => "DELIVERED host".into(),
        Verdict::Dropped(Cause::FirewallRule) => {
            format!("DROP FIREWALL_RULE {}", trace.steps.last().map_or("", |s| &s.what))
        }
        Verdict::Dropped(cause) => format!("DROP {}", cause.as_str()),
    }
}

/// Two networks with two VMs each, unpeered, no rules.
pub(crate) const BASE: &str = "project project-1
    network vpc-1
    subnet subnet-1 vpc-1 10.1.0.0/16
    vm vm-1 subnet-1 tags=web
    vm vm-1b subnet-1
    network vpc-2
    subnet subnet-2 vpc-2 10.2.0.0/16
    vm vm-2 subnet-2 tags=web
    vm vm-2b subnet-2";
const PEERED: &str = "peer p12 vpc-1 vpc-2\npeer p21 vpc-2 vpc-1";
const OPEN: &str = "allow open-1 vpc-1 all priority=65534\nallow open-2 vpc-2 all priority=65534";

/// Checks a table: the world is [`BASE`] and more, the lines flows and what becomes of them.
pub(crate) fn table(more: &[&str], flows: &str) {
    let fabric = compile(&world(&format!("{BASE}\n{}", more.join("\n"))));
    for line in flows.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let (text, want) = line.split_once(" : ").unwrap();
        assert_eq!(outcome(&fabric, &flow(&fabric, text)), want, "{line}");
    }
}

#[test]
fn the_implied_rules() {
    table(
        &[],
        "vm-1 -> 10.1.0.3 tcp/22 : DROP FIREWALL_RULE default-deny-ingress
         vm-1 -> 10.1.0.3 icmp : DROP FIREWALL_RULE default-deny-ingress",
    );
    // One's own rule at 65535 comes before the implied one.
    table(&["allow last vpc-1 all priority=65535"], "vm-1 -> 10.1.0.3 tcp/22 : DELIVERED vm-1b");
}

#[test]
fn priority_and_ties() {
    for (rules, want) in [
        ("allow a vpc-1 tcp priority=10\ndeny d vpc-1 tcp priority=11", "DELIVERED vm-1b"),
        ("allow a vpc-1 tcp priority=11\ndeny d vpc-1 tcp priority=10", "DROP FIREWALL_RULE d"),
        // At equal priority deny wins, whatever the names and the order of creation.
        ("allow a vpc-1 tcp\ndeny d vpc-1 tcp", "DROP FIREWALL_RULE d"),
        ("deny a vpc-1 tcp\nallow d vpc-1 tcp", "DROP FIREWALL_RULE a"),
        ("allow z vpc-1 tcp\ndeny d vpc-1 tcp:22\nallow a vpc-1 tcp:22", "DROP FIREWALL_RULE d"),
        // A more specific rule has no precedence of its own.
        ("allow a vpc-1 tcp:22 sources=10.1.0.2/32\ndeny d vpc-1 all priority=999", "DROP FIREWALL_RULE d"),
        ("allow a vpc-1 tcp priority=0\ndeny d vpc-1 all priority=1", "DELIVERED vm-1b"),
        ("deny d vpc-1 tcp disabled\nallow a vpc-1 tcp", "DELIVERED vm-1b"),
        ("allow a vpc-1 tcp disabled", "DROP FIREWALL_RULE default-deny-ingress"),
    ] {
        table(&[rules], &format!("vm-1 -> 10.1.0.3 tcp/22 : {want}"));
    }
}

#[test]
fn service_accounts_are_targets_and_sources() {
    let vms = "stop vm-1\naccount vm-1 web\nstop vm-1b\naccount vm-1b db\nvm vm-1c subnet-1 account=default
        vm vm-2c subnet-2 account=web";
    // A stopped VM has no interface: these are the same VMs, started.
    let vms = |rules: &str| format!("{vms}\nstart vm-1\nstart vm-1b\n{rules}");
    table(
        &[&vms("allow a vpc-1 tcp:80 accounts=db\nallow b vpc-1 tcp:81 source-accounts=web,nobody")],
        "vm-1 -> 10.1.0.3 tcp/80 : DELIVERED vm-1b
         vm-1 -> 10.1.0.4 tcp/80 : DROP FIREWALL_RULE default-deny-ingress
         vm-1 -> 10.1.0.3 tcp/81 : DELIVERED vm-1b
         vm-1 -> 10.1.0.4 tcp/81 : DELIVERED vm-1c
         vm-1c -> 10.1.0.2 tcp/81 : DROP FIREWALL_RULE default-deny-ingress",
    );
    // Ranges and accounts are alternatives, and the default account has an address of its own.
    table(
        &[&vms(
            "allow a vpc-1 tcp:80 sources=10.1.0.3/32 source-accounts=100000000001-compute@developer.gserviceaccount.com
             deny d vpc-1 tcp:81 egress accounts=web",
        )],
        "vm-1b -> 10.1.0.2 tcp/80 : DELIVERED vm-1
         vm-1c -> 10.1.0.2 tcp/80 : DELIVERED vm-1
         vm-1 -> 10.1.0.4 tcp/80 : DROP FIREWALL_RULE default-deny-ingress
         vm-1 -> 10.1.0.4 tcp/81 : DROP FIREWALL_RULE d",
    );
    // Accounts do not cross a peering as sources, though the peer's VM has the same one.
    table(
        &[PEERED, &vms("allow a vpc-1 tcp source-accounts=web\nallow b vpc-2 tcp accounts=web")],
        "vm-2c -> 10.1.0.3 tcp/80 : DROP FIREWALL_RULE default-deny-ingress
         vm-1 -> 10.2.0.4 tcp/80 : DELIVERED vm-2c",
    );
    // No address is another's, and an alias range is nobody's account.
    table(
        &[&vms(
            "secondary subnet-1 pods=10.8.0.0/24\nalias vm-1 pods=10.8.0.0/28\nallow a vpc-1 tcp source-accounts=web",
        )],
        "vm-1 -> 10.1.0.3 tcp/80 : DELIVERED vm-1b
         vm-1@10.8.0.1 -> 10.1.0.3 tcp/80 : DROP FIREWALL_RULE default-deny-ingress",
    );
}

#[test]
fn every_protocol_that_google_names() {
    for (name, number) in
        [("icmp", 1), ("ipip", 4), ("tcp", 6), ("udp", 17), ("esp", 50), ("ah", 51), ("sctp", 132)]
    {
        for (rule, other) in [(name.to_owned(), 89), (number.to_string(), 89)] {
            table(
                &[&format!("allow a vpc-1 {rule}")],
                &format!(
                    "vm-1 -> 10.1.0.3 {number} : DELIVERED vm-1b
                     vm-1 -> 10.1.0.3 {other} : DROP FIREWALL_RULE default-deny-ingress"
                ),
            );
        }
    }
    table(
        &["allow a vpc-1 sctp:80"],
        "vm-1 -> 10.1.0.3 sctp/80 : DELIVERED vm-1b
         vm-1 -> 10.1.0.3 sctp/81 : DROP FIREWALL_RULE default-deny-ingress
         vm-1 -> 10.1.0.3 tcp/80 : DROP FIREWALL_RULE default-deny-ingress",
    );
}

#[test]
fn what_no_rule_allows() {
    table(
        &[OPEN, PEERED],
        "vm-1 -> 8.8.8.8 tcp/25 : DROP TRAFFIC_TYPE_BLOCKED
         vm-1 -> 8.8.8.8 tcp/26 : DROP NO_EXTERNAL_ADDRESS
         vm-1 -> 8.8.8.8 udp/25 : DROP NO_EXTERNAL_ADDRESS
         vm-1 -> 192.168.9.9 tcp/25 : DROP PRIVATE_TRAFFIC_TO_INTERNET
         vm-1 -> 10.1.0.3 tcp/25 : DELIVERED vm-1b
         vm-1 -> 10.1.0.3 udp/67 : DELIVERED vm-1b
         vm-1 -> 10.1.0.3 udp/68 : DROP TRAFFIC_TYPE_BLOCKED
         vm-1 -> 10.2.0.2 udp/68 : DROP TRAFFIC_TYPE_BLOCKED
         vm-1 -> 10.1.0.3 tcp/68 : DELIVERED vm-1b",
    );
    // Nor does one deny what is always allowed.
    table(
        &["deny d vpc-1 all egress priority=0"],
        "vm-1 -> 169.254.169.254 udp/53 : DELIVERED metadata
         vm-1 -> 169.254.169.254 tcp/80 : DELIVERED metadata
         vm-1 -> 8.8.8.8 tcp/25 : DROP FIREWALL_RULE d",
    );
}

#[test]
fn ports_and_protocols() {
    table(
        &["allow a vpc-1 tcp:80-90:443,udp:53,icmp,89"],
        "vm-1 -> 10.1.0.3 tcp/79 : DROP FIREWALL_RULE default-deny-ingress
         vm-1 -> 10.1.0.3 tcp/80 : DELIVERED vm-1b
         vm-1 -> 10.1.0.3 tcp/90 : DELIVERED vm-1b
         vm-1 -> 10.1.0.3 tcp/91 : DROP FIREWALL_RULE default-deny-ingress
         vm-1 -> 10.1.0.3 tcp/443 : DELIVERED vm-1b
         vm-1 -> 10.1.0.3 udp/53 : DELIVERED vm-1b
         vm-1 -> 10.1.0.3 udp/443 : DROP FIREWALL_RULE default-deny-ingress
         vm-1 -> 10.1.0.3 icmp : DELIVERED vm-1b
         vm-1 -> 10.1.0.3 esp : DROP FIREWALL_RULE default-deny-ingress
         vm-1 -> 10.1.0.3 89 : DELIVERED vm-1b",
    );
    table(
        &["allow a vpc-1 tcp:0:65535"],
        "vm-1 -> 10.1.0.3 tcp/0 : DELIVERED vm-1b
         vm-1 -> 10.1.0.3 tcp/1 : DROP FIREWALL_RULE default-deny-ingress
         vm-1 -> 10.1.0.3 tcp/65534 : DROP FIREWALL_RULE default-deny-ingress
         vm-1 -> 10.1.0.3 tcp/65535 : DELIVERED vm-1b",
    );
}

#[test]
fn ranges_end_where_they_say() {
    table(
        &[
            "allow a vpc-1 tcp sources=10.1.0.4/31",
            "vm e1 subnet-1=10.1.0.5\nvm e2 subnet-1=10.1.0.6\nvm e0 subnet-1=10.1.0.4",
        ],
        "vm-1b -> 10.1.0.2 tcp/1 : DROP FIREWALL_RULE default-deny-ingress
         e0 -> 10.1.0.2 tcp/1 : DELIVERED vm-1
         e1 -> 10.1.0.2 tcp/1 : DELIVERED vm-1
         e2 -> 10.1.0.2 tcp/1 : DROP FIREWALL_RULE default-deny-ingress",
    );
}

#[test]
fn tags() {
    table(
        &["allow a vpc-1 tcp targets=web,db"],
        "vm-1b -> 10.1.0.2 tcp/1 : DELIVERED vm-1
         vm-1 -> 10.1.0.3 tcp/1 : DROP FIREWALL_RULE default-deny-ingress",
    );
    // A source tag is that of an instance of the same network: a peer's instance with the tag is nobody.
    table(
        &[PEERED, "allow a vpc-2 tcp source-tags=web"],
        "vm-2 -> 10.2.0.3 tcp/1 : DELIVERED vm-2b
         vm-2b -> 10.2.0.2 tcp/1 : DROP FIREWALL_RULE default-deny-ingress
         vm-1 -> 10.2.0.3 tcp/1 : DROP FIREWALL_RULE default-deny-ingress",
    );
    // Either a source range or a source tag is enough.
    table(
        &[PEERED, "allow a vpc-2 tcp source-tags=web sources=10.1.0.3/32"],
        "vm-2 -> 10.2.0.3 tcp/1 : DELIVERED vm-2b
         vm-1b -> 10.2.0.3 tcp/1 : DELIVERED vm-2b
         vm-1 -> 10.2.0.3 tcp/1 : DROP FIREWALL_RULE default-deny-ingress",
    );
    table(
        &["allow a vpc-1 tcp source-tags=db"],
        "vm-1 -> 10.1.0.3 tcp/1 : DROP FIREWALL_RULE default-deny-ingress",
    );
}

/// Ranges of the near end narrow a rule: where a packet is for at the ingress gate, where it is from at the egress gate.
#[test]
fn rules_look_at_both_ends() {
    // An interface has its own address, alias ranges, and whatever it forwards.
    let more = "alias vm-1 =10.1.9.0/28\nvm router subnet-1 forward\nroute far vpc-1 192.168.0.0/16 router";
    table(
        &[
            more,
            "allow a vpc-1 tcp:80 destinations=10.1.9.0/28\nallow b vpc-1 tcp:81 destinations=10.1.0.2/32,10.1.0.4/32",
            "allow c vpc-1 tcp:82 destinations=192.168.0.0/17",
        ],
        "vm-1b -> 10.1.9.4 tcp/80 : DELIVERED vm-1
         vm-1b -> 10.1.0.2 tcp/80 : DROP FIREWALL_RULE default-deny-ingress
         vm-1b -> 10.1.0.2 tcp/81 : DELIVERED vm-1
         vm-1 -> 10.1.0.3 tcp/81 : DROP FIREWALL_RULE default-deny-ingress
         vm-1b -> 10.1.9.4 tcp/81 : DROP FIREWALL_RULE default-deny-ingress
         vm-1 -> 192.168.0.1 tcp/82 : FORWARDED router
         vm-1 -> 192.168.128.1 tcp/82 : DROP FIREWALL_RULE default-deny-ingress
         vm-1 -> 10.1.0.4 tcp/82 : DROP FIREWALL_RULE default-deny-ingress",
    );
    table(
        &[OPEN, more, "deny out vpc-1 all egress sources=10.1.9.0/28,172.16.0.0/12 destinations=10.1.0.3/32"],
        "vm-1@10.1.9.3 -> 10.1.0.3 tcp/80 : DROP FIREWALL_RULE out
         vm-1@10.1.9.3 -> 10.1.0.4 tcp/80 : DELIVERED router
         vm-1 -> 10.1.0.3 tcp/80 : DELIVERED vm-1b
         router@172.31.0.1 -> 10.1.0.3 tcp/80 : DROP FIREWALL_RULE out
         router@172.32.0.1 -> 10.1.0.3 tcp/80 : DELIVERED vm-1b",
    );
    // Both ends must match, by whichever of source ranges and tags; and a weaker rule has what is left.
    table(
        &[
            "alias vm-1b =10.1.9.0/28",
            "deny d vpc-1 tcp source-tags=web destinations=10.1.9.0/28 priority=1\nallow a vpc-1 tcp sources=10.1.0.0/16",
        ],
        "vm-1 -> 10.1.9.1 tcp/80 : DROP FIREWALL_RULE d
         vm-1 -> 10.1.0.3 tcp/80 : DELIVERED vm-1b
         vm-1b -> 10.1.0.2 tcp/80 : DELIVERED vm-1",
    );
    // Policies' rules as well.
    table(
        &[
            OPEN,
            "alias vm-1b =10.1.9.0/28\npolicy p\nassociate p at vpc-1\npolicy-first vpc-1",
            "policy-rule p 1 next tcp ranges=0.0.0.0/0 near=10.1.0.0/24",
            "policy-rule p 2 deny tcp ranges=10.1.0.2/32 near=10.1.9.0/28",
            "policy-rule p 3 deny udp egress ranges=0.0.0.0/0 near=10.1.9.0/28",
        ],
        "vm-1 -> 10.1.0.3 tcp/80 : DELIVERED vm-1b
         vm-1 -> 10.1.9.1 tcp/80 : DROP FIREWALL_RULE p/2
         vm-1b -> 10.1.0.2 udp/80 : DELIVERED vm-1
         vm-1b@10.1.9.1 -> 10.1.0.2 udp/80 : DROP FIREWALL_RULE p/3",
    );
}

/// The gates are inside of all that makes others of addresses.
#[test]
fn both_ends_are_as_the_interface_knows_them() {
    // 198.18.0.2 is vm-1's.
    table(
        &[
            "nat vm-1\nallow in vpc-1 tcp:80 destinations=10.1.0.2/32\nallow never vpc-1 tcp:81 destinations=198.18.0.0/16",
            "deny out vpc-1 tcp:82 egress sources=10.1.0.2/32\ndeny no vpc-1 tcp:83 egress sources=198.18.0.0/16",
        ],
        "internet -> 198.18.0.2 tcp/80 : DELIVERED vm-1
         internet -> 198.18.0.2 tcp/81 : DROP FIREWALL_RULE default-deny-ingress
         vm-1 -> 203.0.113.2 tcp/82 : DROP FIREWALL_RULE out
         vm-1 -> 203.0.113.2 tcp/83 : DELIVERED internet",
    );
}

#[test]
fn the_senders_gate_and_the_receivers_gate_are_two() {
    // An egress allow says nothing to the receiver, however strong, and an ingress allow nothing to the sender.
    table(
        &["allow out vpc-1 all egress priority=0"],
        "vm-1 -> 10.1.0.3 tcp/1 : DROP FIREWALL_RULE default-deny-ingress",
    );
    table(
        &[OPEN, "deny out vpc-1 tcp:25 egress targets=web\nallow in vpc-1 all priority=0"],
        "vm-1 -> 10.1.0.3 tcp/25 : DROP FIREWALL_RULE out
         vm-1b -> 10.1.0.2 tcp/25 : DELIVERED vm-1
         vm-1 -> 10.1.0.3 tcp/26 : DELIVERED vm-1b",
    );
    table(
        &[OPEN, PEERED, "deny out vpc-1 all egress destinations=10.2.0.3/32"],
        "vm-1 -> 10.2.0.3 tcp/1 : DROP FIREWALL_RULE out
         vm-1 -> 10.2.0.2 tcp/1 : DELIVERED vm-2
         vm-2 -> 10.1.0.2 tcp/1 : DELIVERED vm-1",
    );
}

/// Neither gate sees what a VM sends to an address of its own; its external address is the internet's.
#[test]
fn what_a_vm_sends_to_itself_never_leaves_it() {
    let closed = "deny out vpc-1 all egress priority=0\ndeny in vpc-1 all priority=0";
    let more = "vm two subnet-1=10.1.0.9,subnet-2=10.2.0.9\nnat vm-1\nalias vm-1 =10.1.7.0/24
        target t vm-1\nforward f vpc-1 subnet-1=10.1.0.7 t tcp:80";
    table(
        &[closed, more],
        "vm-1 -> 10.1.0.2 tcp/22 : LOCAL
         vm-1 -> 10.1.7.3 icmp : LOCAL
         vm-1 -> 10.1.0.7 tcp/22 : LOCAL
         vm-1@10.9.9.9 -> 10.1.0.2 tcp/22 : LOCAL
         vm-1 -> 198.18.0.2 tcp/22 : DROP FIREWALL_RULE out
         vm-1b -> 10.1.0.2 tcp/22 : DROP FIREWALL_RULE out
         two -> 10.2.0.9 tcp/22 : LOCAL",
    );
    table(
        &["nat vm-1\nallow in vpc-1 tcp:22 sources=198.18.0.2/32"],
        "vm-1 -> 198.18.0.2 tcp/22 : DELIVERED vm-1
         vm-1 -> 198.18.0.2 tcp/23 : DROP FIREWALL_RULE default-deny-ingress",
    );
}

#[test]
fn peering_goes_one_hop() {
    let chain = "network vpc-3
        subnet subnet-3 vpc-3 10.3.0.0/16
        vm vm-3 subnet-3
        peer p23 vpc-2 vpc-3\npeer p32 vpc-3 vpc-2
        allow open-3 vpc-3 all";
    table(
        &[OPEN, PEERED, chain],
        "vm-1 -> 10.2.0.2 tcp/80 : DELIVERED vm-2
         vm-2 -> 10.3.0.2 tcp/80 : DELIVERED vm-3
         vm-3 -> 10.2.0.2 tcp/80 : DELIVERED vm-2
         vm-1 -> 10.3.0.2 tcp/80 : DROP PRIVATE_TRAFFIC_TO_INTERNET
         vm-3 -> 10.1.0.2 tcp/80 : DROP PRIVATE_TRAFFIC_TO_INTERNET",
    );
    // The tenant network of a Redis instance is such a third network.
    table(
        &[OPEN, PEERED, "redis redis-1 vpc-2"],
        "vm-2 -> redis-1 tcp/6379 : DELIVERED redis-1
         vm-1 -> redis-1 tcp/6379 : DROP PRIVATE_TRAFFIC_TO_INTERNET",
    );
    for one_sided in ["peer p12 vpc-1 vpc-2", "peer p21 vpc-2 vpc-1"] {
        table(&[OPEN, one_sided], "vm-1 -> 10.2.0.2 tcp/80 : DROP PRIVATE_TRAFFIC_TO_INTERNET");
    }
}

#[test]
fn public_ranges_are_not_imported() {
    let public = "subnet public-2 vpc-2 9.9.9.0/24\nvm vm-p public-2";
    table(
        &[OPEN, PEERED, public],
        "vm-2 -> 9.9.9.2 tcp/80 : DELIVERED vm-p
         vm-1 -> 9.9.9.2 tcp/80 : DROP NO_EXTERNAL_ADDRESS
         vm-p -> 10.1.0.2 tcp/80 : DROP NO_ROUTE",
    );
}

#[test]
fn public_ranges_cross_when_one_side_gives_and_the_other_takes() {
    let public = "subnet public-2 vpc-2 9.9.9.0/24\nvm vm-p public-2";
    let reaches = "vm-1 -> 9.9.9.2 tcp/80 : DELIVERED vm-p\nvm-p -> 10.1.0.2 tcp/80 : DELIVERED vm-1";
    table(&[OPEN, "peer p12 vpc-1 vpc-2 import-public\npeer p21 vpc-2 vpc-1", public], reaches);
    table(&[OPEN, PEERED, public, "exchange p12 vpc-1 import-public"], reaches);
    table(
        &[OPEN, PEERED, public, "exchange p12 vpc-1 import-public\nexchange p21 vpc-2 no-export-public"],
        "vm-1 -> 9.9.9.2 tcp/80 : DROP NO_EXTERNAL_ADDRESS",
    );
}

#[test]
fn static_routes_cross_when_one_side_gives_and_the_other_takes() {
    let router = "vm router subnet-2=10.2.0.9 forward\nroute far vpc-2 192.168.0.0/16 10.2.0.9";
    let both = "exchange p12 vpc-1 import\nexchange p21 vpc-2 export";
    table(
        &[OPEN, PEERED, router, both],
        "vm-1 -> 192.168.3.4 tcp/80 : FORWARDED router
         vm-2 -> 192.168.3.4 tcp/80 : FORWARDED router
         router@192.168.3.4 -> 10.1.0.2 tcp/80 : DELIVERED vm-1
         router@192.169.3.4 -> 10.1.0.2 tcp/80 : DROP NO_ROUTE",
    );
    for half in ["exchange p12 vpc-1 import", "exchange p21 vpc-2 export", "exchange p12 vpc-1 export"] {
        table(&[OPEN, PEERED, router, half], "vm-1 -> 192.168.3.4 tcp/80 : DROP PRIVATE_TRAFFIC_TO_INTERNET");
    }
    // The local route of the same length wins; a longer one too, and a shorter one does not.
    for (local, want) in [
        ("192.168.0.0/16", "FORWARDED vm-1f"),
        ("192.168.3.0/24", "FORWARDED vm-1f"),
        ("192.0.0.0/8", "FORWARDED router"),
    ] {
        let local = format!("vm vm-1f subnet-1=10.1.0.9 forward\nroute near vpc-1 {local} 10.1.0.9");
        table(&[OPEN, PEERED, router, both, &local], &format!("vm-1 -> 192.168.3.4 tcp/80 : {want}"));
    }
    // The receiver's gate is in the router's network, and a next hop that is gone drops.
    let deny = "deny far vpc-2 all sources=10.1.0.0/16 priority=1";
    table(&[OPEN, PEERED, router, both, deny], "vm-1 -> 192.168.3.4 tcp/80 : DROP FIREWALL_RULE far");
    table(
        &[OPEN, PEERED, router, both, "delete vm router"],
        "vm-1 -> 192.168.3.4 tcp/80 : DROP ROUTE_NEXT_HOP_IP_ADDRESS_NOT_RESOLVED",
    );
}

#[test]
fn static_routes_go_one_hop_and_yield_to_subnet_routes() {
    let third = "network vpc-3
        subnet subnet-3 vpc-3 10.3.0.0/16
        vm vm-3 subnet-3
        allow open-3 vpc-3 all
        peer p23 vpc-2 vpc-3 export import\npeer p32 vpc-3 vpc-2 export import
        vm router subnet-3=10.3.0.9 forward\nroute far vpc-3 192.168.0.0/16 10.3.0.9
        exchange p12 vpc-1 export import\nexchange p21 vpc-2 export import";
    table(
        &[OPEN, PEERED, third],
        "vm-2 -> 192.168.3.4 tcp/80 : FORWARDED router
         vm-1 -> 192.168.3.4 tcp/80 : DROP PRIVATE_TRAFFIC_TO_INTERNET",
    );
    // What a peer gives for all of 10.0.0.0/8 ends at that peer when it has no route of its own.
    let wide = "vm hub subnet-2=10.2.0.9 forward\nroute wide vpc-2 10.0.0.0/8 10.2.0.9";
    table(
        &[OPEN, PEERED, third, wide],
        "vm-1 -> 10.9.9.9 tcp/80 : FORWARDED hub
         vm-1 -> 10.2.0.3 tcp/80 : DELIVERED vm-2b
         vm-1 -> 10.3.0.2 tcp/80 : DROP NO_ROUTE",
    );
    // Inside of a subnet route of the importer's it has no effect, and the default route never crosses.
    let inside = "network vpc-3
        subnet subnet-3 vpc-3 10.3.0.0/16
        peer p13 vpc-1 vpc-3\npeer p31 vpc-3 vpc-1
        vm hub subnet-2=10.2.0.9 forward\nroute inside vpc-2 10.3.5.0/24 10.2.0.9
        peer p12 vpc-1 vpc-2 import\npeer p21 vpc-2 vpc-1 export";
    table(
        &[OPEN, inside],
        "vm-1 -> 10.3.5.5 tcp/80 : DROP UNKNOWN_INTERNAL_ADDRESS
         vm-2 -> 10.3.5.5 tcp/80 : FORWARDED hub
         vm-1 -> 8.8.8.8 tcp/80 : DROP NO_EXTERNAL_ADDRESS",
    );
}

/// Found by `agree` (seed 4002): a static route to everywhere takes no multicast along.
#[test]
fn multicast_is_carried_by_no_route() {
    let hub = "vm hub subnet-1=10.1.0.9 forward\nroute all vpc-1 0.0.0.0/0 10.1.0.9";
    let no_default = "route wide vpc-1 224.0.0.0/3 10.1.0.9";
    table(
        &[OPEN, hub, no_default],
        "vm-1 -> 232.226.106.154 tcp/79 : DROP TRAFFIC_TYPE_BLOCKED
         vm-1 -> 224.0.0.1 udp/79 : DROP TRAFFIC_TYPE_BLOCKED
         vm-1 -> 255.255.255.255 udp/67 : DROP TRAFFIC_TYPE_BLOCKED
         vm-1 -> 127.0.0.1 tcp/80 : DROP TRAFFIC_TYPE_BLOCKED
         vm-1 -> 240.0.0.1 tcp/80 : FORWARDED hub",
    );
}

#[test]
fn unrelated_networks_overlap_freely() {
    let twin = "network vpc-3
        subnet subnet-3 vpc-3 10.1.0.0/16
        vm vm-3 subnet-3
        vm vm-3b subnet-3
        allow open-3 vpc-3 all";
    table(
        &[OPEN, PEERED, twin],
        "vm-3 -> 10.1.0.3 tcp/80 : DELIVERED vm-3b
         vm-1 -> 10.1.0.3 tcp/80 : DELIVERED vm-1b
         vm-2 -> 10.1.0.2 tcp/80 : DELIVERED vm-1
         vm-3 -> 10.2.0.2 tcp/80 : DROP PRIVATE_TRAFFIC_TO_INTERNET",
    );
}

#[test]
fn without_a_route() {
    table(
        &[OPEN],
        "vm-1 -> 10.9.0.1 tcp/80 : DROP PRIVATE_TRAFFIC_TO_INTERNET
         vm-1 -> 192.168.0.1 tcp/80 : DROP PRIVATE_TRAFFIC_TO_INTERNET
         vm-1 -> 100.64.0.1 tcp/80 : DROP PRIVATE_TRAFFIC_TO_INTERNET
         vm-1 -> 8.8.8.8 tcp/80 : DROP NO_EXTERNAL_ADDRESS
         vm-1 -> 10.1.0.99 tcp/80 : DROP UNKNOWN_INTERNAL_ADDRESS
         vm-1 -> 10.1.0.1 icmp : DROP UNKNOWN_INTERNAL_ADDRESS",
    );
    // The default route's name has the network's id in it: it is found in the world.
    let mut world = world(&format!("{BASE}\n{OPEN}\n{PEERED}\nredis redis-1 vpc-2"));
    let default = world.routes.iter().find(|(_, r)| r.network == network("vpc-1")).unwrap().0.name.clone();
    world = then(&world, &format!("delete route {default}"), 0);
    let fabric = compile(&world);
    for text in ["vm-1 -> 10.9.0.1 tcp/80", "vm-1 -> 8.8.8.8 tcp/80", "vm-1 -> redis-1 tcp/6379"] {
        assert_eq!(outcome(&fabric, &flow(&fabric, text)), "DROP NO_ROUTE", "{text}");
    }
}

#[test]
fn routes_with_tags_are_for_instances_that_have_one() {
    let routers = "vm nat subnet-1 forward
        route out vpc-1 0.0.0.0/0 nat priority=900 tags=private,other
        route far vpc-1 192.168.0.0/16 nat tags=private
        route near vpc-1 192.168.0.0/16 gateway
        tags vm-1 private";
    table(
        &[OPEN, PEERED, routers],
        "vm-1 -> 8.8.8.8 tcp/80 : FORWARDED nat
         vm-1b -> 8.8.8.8 tcp/80 : DROP NO_EXTERNAL_ADDRESS
         nat -> 8.8.8.8 tcp/80 : DROP NO_EXTERNAL_ADDRESS
         vm-1 -> 192.168.0.9 tcp/80 : FORWARDED nat
         vm-1b -> 192.168.0.9 tcp/80 : DROP PRIVATE_TRAFFIC_TO_INTERNET
         vm-1 -> 10.1.0.3 tcp/80 : DELIVERED vm-1b
         vm-1 -> 10.2.0.2 tcp/80 : DELIVERED vm-2
         iap:vpc-1 -> 192.168.0.9 tcp/80 : DROP PRIVATE_TRAFFIC_TO_INTERNET",
    );
    // A peer gets none of them, whatever both sides say.
    let exchange = "exchange p12 vpc-1 export\nexchange p21 vpc-2 import";
    table(
        &[OPEN, PEERED, routers, exchange],
        "vm-2 -> 192.168.0.9 tcp/80 : DROP PRIVATE_TRAFFIC_TO_INTERNET
         vm-2 -> 8.8.8.8 tcp/80 : DROP NO_EXTERNAL_ADDRESS",
    );
}

#[test]
fn equal_routes_are_alternatives() {
    let routers = "vm r-1 subnet-1 forward
        vm r-2 subnet-1 forward tags=closed
        vm r-3 subnet-1 forward
        deny no vpc-1 tcp:81 targets=closed priority=10
        route a vpc-1 192.168.0.0/16 r-1
        route b vpc-1 192.168.0.0/16 r-2
        route c vpc-1 192.168.0.0/16 r-3 priority=2000
        route d vpc-1 192.168.0.0/16 gateway
        route e vpc-1 192.168.0.0/16 10.1.0.4";
    table(
        &[OPEN, PEERED, routers],
        "vm-1 -> 192.168.0.9 tcp/80 : FORWARDED r-1 or FORWARDED r-2
         vm-1 -> 192.168.0.9 tcp/81 : FORWARDED r-1 or DROP FIREWALL_RULE no",
    );
    // One whose next hop is gone is passed over; when all are, the packet is dropped and no wider route asked.
    for (lines, want) in [
        ("stop r-1", "FORWARDED r-2"),
        ("delete vm r-1\nstop r-2\ndelete route d", "FORWARDED r-3"),
        ("stop r-1\nstop r-2", "DROP PRIVATE_TRAFFIC_TO_INTERNET"),
        ("stop r-1\nstop r-2\nstop r-3\ndelete route d", "DROP INSTANCE_NOT_RUNNING"),
    ] {
        let flow = format!("vm-1 -> 192.168.0.9 tcp/80 : {want}");
        table(&[OPEN, PEERED, routers, "route wide vpc-1 192.0.0.0/8 r-3", lines], &flow);
    }
    // A peer that imports them sees one route: this network spreads what comes by it.
    let exchange = "exchange p12 vpc-1 export\nexchange p21 vpc-2 import";
    table(&[OPEN, PEERED, routers, exchange], "vm-2 -> 192.168.0.9 tcp/80 : FORWARDED r-1 or FORWARDED r-2");
}

#[test]
fn the_internet_knows_external_addresses_alone() {
    // 198.18.0.2 is vm-1's, 198.18.0.3 is vm-2's.
    let external = "nat vm-1\nnat vm-2\nallow web vpc-1 tcp:80 sources=203.0.113.2/32 targets=web
        allow friend vpc-1 tcp:81 sources=198.18.0.3/32\nallow inside vpc-1 tcp:82 sources=10.0.0.0/8
        vm nat subnet-1 forward\nroute far vpc-1 9.0.0.0/8 gateway";
    table(
        &[PEERED, external],
        "internet -> 198.18.0.2 tcp/80 : DELIVERED vm-1
         internet -> 198.18.0.2 tcp/82 : DROP FIREWALL_RULE default-deny-ingress
         internet -> 198.18.0.3 tcp/80 : DROP FIREWALL_RULE default-deny-ingress
         internet -> 198.18.0.4 tcp/80 : DROP UNKNOWN_EXTERNAL_ADDRESS
         internet -> 10.1.0.2 tcp/80 : DROP UNKNOWN_EXTERNAL_ADDRESS
         internet@10.1.0.3 -> 198.18.0.2 tcp/82 : DROP FOREIGN_IP_DISALLOWED
         vm-1 -> 203.0.113.2 tcp/80 : DELIVERED internet
         vm-1 -> 203.0.113.2 tcp/25 : DROP TRAFFIC_TYPE_BLOCKED
         vm-1 -> 203.0.113.2 udp/68 : DROP TRAFFIC_TYPE_BLOCKED
         vm-1 -> 9.9.9.9 tcp/80 : DROP UNKNOWN_EXTERNAL_ADDRESS
         vm-1b -> 203.0.113.2 tcp/80 : DROP NO_EXTERNAL_ADDRESS
         nat@10.1.0.2 -> 203.0.113.2 tcp/80 : DROP NO_EXTERNAL_ADDRESS
         vm-2 -> 198.18.0.2 tcp/81 : DELIVERED vm-1
         vm-2 -> 198.18.0.2 tcp/82 : DROP FIREWALL_RULE default-deny-ingress
         vm-2b -> 198.18.0.2 tcp/81 : DROP NO_EXTERNAL_ADDRESS
         vm-1 -> 198.18.0.2 tcp/81 : DROP FIREWALL_RULE default-deny-ingress
         iap:vpc-1 -> 203.0.113.2 tcp/80 : DROP NO_EXTERNAL_ADDRESS",
    );
    // A stopped VM keeps its address, and nobody is there.
    table(&[external, "stop vm-1"], "internet -> 198.18.0.2 tcp/80 : DROP UNKNOWN_EXTERNAL_ADDRESS");
    // Where no route leads out nothing goes out; what comes in needs none.
    let mut world = world(&format!("{BASE}\n{external}"));
    let default = world.routes.iter().find(|(_, r)| r.network == network("vpc-1")).unwrap().0.name.clone();
    world = then(&world, &format!("delete route {default}"), 0);
    let fabric = compile(&world);
    for (text, want) in
        [("vm-1 -> 203.0.113.2 tcp/80", "DROP NO_ROUTE"), ("internet -> 198.18.0.2 tcp/80", "DELIVERED vm-1")]
    {
        assert_eq!(outcome(&fabric, &flow(&fabric, text)), want, "{text}");
    }
}

/// Nothing leaves an instance that is stopped, and the first step says so.
#[test]
fn a_stopped_sender() {
    let running = world(&format!("{BASE}\nallow a vpc-1 all"));
    let flow = flow(&compile(&running), "vm-1 -> 10.1.0.3 tcp/80");
    let fabric = compile(&then(&running, "stop vm-1", 0));
    let seen = trace(&fabric, &flow);
    assert_eq!(outcome(&fabric, &flow), "DROP INSTANCE_NOT_RUNNING");
    assert_eq!((seen.steps.len(), seen.steps[0].what.as_str()), (1, "vm-1 is stopped"));
    let gone = compile(&then(&running, "delete vm vm-1", 0));
    assert_eq!(outcome(&gone, &flow), "DROP SOURCE_ENDPOINT_NOT_FOUND");
}

#[test]
fn the_internet_may_go_on_into_the_hosts_network() {
    let setup = "nat vm-1\nrouter r-2 vpc-2 n-2=all\nredis redis-1 vpc-2\nsubnet other vpc-2 8.8.0.0/16
        deny no vpc-1 tcp:81 egress\nvm fwd subnet-1 forward\nroute far vpc-1 192.168.7.0/24 fwd";
    let world = world(&format!("{BASE}\n{setup}")).reaching_host(true);
    let fabric = compile(&world);
    for (text, want) in [
        ("vm-1 -> 9.9.9.9 tcp/80", "DELIVERED host"),
        ("vm-2b -> 9.9.9.9 tcp/80", "DELIVERED host"),
        // Private ones too, but for those that the lab has itself: whoever has no way to them has none by the host.
        ("vm-1 -> 192.168.1.1 tcp/80", "DELIVERED host"),
        ("vm-1 -> 10.3.0.1 tcp/80", "DELIVERED host"),
        ("vm-1 -> 10.2.0.2 tcp/80", "DROP PRIVATE_TRAFFIC_TO_INTERNET"),
        ("vm-1 -> redis-1 tcp/6379", "DROP PRIVATE_TRAFFIC_TO_INTERNET"),
        ("vm-1 -> 8.8.8.8 tcp/53", "DROP UNKNOWN_EXTERNAL_ADDRESS"),
        ("vm-1 -> 198.18.0.9 tcp/80", "DROP UNKNOWN_EXTERNAL_ADDRESS"),
        ("vm-1 -> 203.0.113.2 tcp/80", "DELIVERED internet"),
        ("vm-1 -> 203.0.113.3 tcp/80", "DROP UNKNOWN_EXTERNAL_ADDRESS"),
        // The network's own routes win.
        ("vm-1 -> 192.168.7.1 tcp/80", "DROP FIREWALL_RULE default-deny-ingress"),
        // What is before it is as ever.
        ("vm-1b -> 9.9.9.9 tcp/80", "DROP NO_EXTERNAL_ADDRESS"),
        ("vm-1b -> 192.168.1.1 tcp/80", "DROP NO_EXTERNAL_ADDRESS"),
        ("vm-1 -> 9.9.9.9 tcp/81", "DROP FIREWALL_RULE no"),
        ("vm-1 -> 9.9.9.9 tcp/25", "DROP TRAFFIC_TYPE_BLOCKED"),
        ("vm-1 -> 9.9.9.9 udp/53", "DELIVERED host"),
        ("vm-1 -> 9.9.9.9 icmp", "DELIVERED host"),
        ("vm-2b -> 9.9.9.9 udp/53", "DELIVERED host"),
        ("vm-1 -> 9.9.9.9 udp/68", "DROP TRAFFIC_TYPE_BLOCKED"),
        ("internet -> 9.9.9.9 udp/68", "DROP TRAFFIC_TYPE_BLOCKED"),
        ("vm-1 -> 9.9.9.9 sctp/80", "DROP UNKNOWN_EXTERNAL_ADDRESS"),
        ("vm-1 -> 198.18.0.9 udp/53", "DROP UNKNOWN_EXTERNAL_ADDRESS"),
        ("vm-1 -> 8.8.8.8 icmp", "DROP UNKNOWN_EXTERNAL_ADDRESS"),
        ("vm-1b -> 9.9.9.9 icmp", "DROP NO_EXTERNAL_ADDRESS"),
        ("vm-1 -> 224.0.0.251 udp/5353", "DROP TRAFFIC_TYPE_BLOCKED"),
        ("vm-1 -> 169.254.1.1 udp/53", "DROP UNKNOWN_EXTERNAL_ADDRESS"),
        // The host, its link and its cloud are nobody's.
        ("vm-1 -> 127.0.0.1 tcp/80", "DROP TRAFFIC_TYPE_BLOCKED"),
        ("vm-1 -> 0.0.0.1 tcp/80", "DROP TRAFFIC_TYPE_BLOCKED"),
        ("vm-1 -> 224.0.0.1 tcp/80", "DROP TRAFFIC_TYPE_BLOCKED"),
        ("vm-1 -> 169.254.1.1 tcp/80", "DROP UNKNOWN_EXTERNAL_ADDRESS"),
        ("vm-1 -> 168.63.129.16 tcp/80", "DROP UNKNOWN_EXTERNAL_ADDRESS"),
        ("vm-1 -> 100.100.100.200 tcp/80", "DROP PRIVATE_TRAFFIC_TO_INTERNET"),
        ("vm-1 -> 240.0.0.1 tcp/80", "DROP PRIVATE_TRAFFIC_TO_INTERNET"),
    ] {
        assert_eq!(outcome(&fabric, &flow(&fabric, text)), want, "{text}");
    }
    // Where the system lets nobody ping.
    let fabric = compile(&world.without_pings());
    for (text, want) in [
        ("vm-1 -> 9.9.9.9 icmp", "DROP UNKNOWN_EXTERNAL_ADDRESS"),
        ("vm-1 -> 9.9.9.9 udp/53", "DELIVERED host"),
        ("vm-1 -> 203.0.113.2 icmp", "DELIVERED internet"),
    ] {
        assert_eq!(outcome(&fabric, &flow(&fabric, text)), want, "{text}");
    }
}

#[test]
fn cloud_nat_serves_what_has_no_external_address() {
    // 198.18.0.2 is vm-1's, 198.18.0.3 the gateway's.
    let nat = "nat vm-1\nrouter r-1 vpc-1 n-1=all\nallow friend vpc-2 tcp:80 sources=198.18.0.3/32\nnat vm-2
        vm fwd subnet-1 forward\nallow all vpc-1 all sources=0.0.0.0/0\nroute in vpc-1 198.18.0.3/32 fwd
        deny no vpc-1 tcp:81 egress destinations=203.0.113.0/24";
    table(
        &[PEERED, nat],
        "vm-1b -> 203.0.113.2 tcp/80 : DELIVERED internet
         vm-1b -> 203.0.113.2 icmp : DELIVERED internet
         vm-1b -> 203.0.113.2 sctp/80 : DROP NO_EXTERNAL_ADDRESS
         vm-1b -> 203.0.113.2 tcp/25 : DROP TRAFFIC_TYPE_BLOCKED
         vm-1b -> 203.0.113.2 tcp/81 : DROP FIREWALL_RULE no
         vm-1b -> 198.18.0.4 tcp/80 : DELIVERED vm-2
         vm-1b -> 198.18.0.2 tcp/80 : DELIVERED vm-1
         vm-1 -> 198.18.0.4 tcp/80 : DROP FIREWALL_RULE default-deny-ingress
         fwd -> 203.0.113.2 tcp/80 : DELIVERED internet
         fwd@10.1.0.3 -> 203.0.113.2 tcp/80 : DROP NO_EXTERNAL_ADDRESS
         vm-2b -> 203.0.113.2 tcp/80 : DROP NO_EXTERNAL_ADDRESS
         iap:vpc-1 -> 203.0.113.2 tcp/80 : DROP NO_EXTERNAL_ADDRESS
         internet -> 198.18.0.3 tcp/80 : DROP UNKNOWN_EXTERNAL_ADDRESS
         vm-2 -> 198.18.0.3 tcp/80 : DROP UNKNOWN_EXTERNAL_ADDRESS",
    );
    // Alias ranges are served beside an external address, those of secondary ranges only where all ranges are.
    let alias = "secondary subnet-1 pods=10.8.0.0/24\nalias vm-1 pods=10.8.0.9/32,=10.1.0.77/32";
    let flows = |second: &str| {
        format!(
            "vm-1@10.1.0.77 -> 203.0.113.2 tcp/80 : DELIVERED internet
             vm-1@10.8.0.9 -> 203.0.113.2 tcp/80 : {second}"
        )
    };
    table(&[nat, alias], &flows("DELIVERED internet"));
    table(&[nat, alias, "nats r-1 n-1=primary"], &flows("DROP NO_EXTERNAL_ADDRESS"));
    let other = "subnet other vpc-1 10.3.0.0/24\nvm vm-3 other";
    table(
        &[nat, other, "nats r-1 n-1=subnet-1:all"],
        "vm-1b -> 203.0.113.2 tcp/80 : DELIVERED internet
         vm-3 -> 203.0.113.2 tcp/80 : DROP NO_EXTERNAL_ADDRESS",
    );
}

#[test]
fn sources_are_checked_and_forwarders_are_trusted() {
    let router = "vm router subnet-1 forward
        route far vpc-1 192.168.0.0/16 router
        route near vpc-1 172.16.0.0/12 10.1.0.4
        route hole vpc-1 192.168.7.0/24 10.1.0.77";
    table(
        &[OPEN, PEERED, router],
        "vm-1@10.1.0.3 -> 10.1.0.3 tcp/80 : DROP FOREIGN_IP_DISALLOWED
         router@192.168.0.1 -> 10.1.0.3 tcp/80 : DELIVERED vm-1b
         router@192.168.0.1 -> 10.2.0.2 tcp/80 : DROP NO_ROUTE
         router@10.1.0.99 -> 10.2.0.2 tcp/80 : DELIVERED vm-2
         vm-1 -> 192.168.0.1 tcp/80 : FORWARDED router
         vm-1 -> 172.31.255.255 udp/53 : FORWARDED router
         vm-1 -> 192.168.7.1 tcp/80 : DROP ROUTE_NEXT_HOP_IP_ADDRESS_NOT_RESOLVED
         vm-2 -> 192.168.0.1 tcp/80 : DROP PRIVATE_TRAFFIC_TO_INTERNET",
    );
    table(
        &[OPEN, router, "delete vm router"],
        "vm-1 -> 192.168.0.1 tcp/80 : DROP ROUTE_NEXT_HOP_RESOURCE_NOT_FOUND",
    );
    // What is to be forwarded passes the forwarder's own gate too.
    table(&[router], "vm-1 -> 192.168.0.1 tcp/80 : DROP FIREWALL_RULE default-deny-ingress");
    // Of equal destinations the lowest priority value, then the name; the longest prefix before all.
    table(
        &[OPEN, "vm r subnet-1 forward\nroute a vpc-1 10.0.0.0/8 gateway\nroute b vpc-1 10.9.0.0/16 r"],
        "vm-1 -> 10.9.0.1 tcp/80 : FORWARDED r
         vm-1 -> 10.8.0.1 tcp/80 : DROP PRIVATE_TRAFFIC_TO_INTERNET
         vm-1 -> 10.1.0.3 tcp/80 : DELIVERED vm-1b",
    );
}

/// A next hop takes nothing for one reason or another, and the route's step says which.
#[test]
fn next_hops_that_take_nothing_say_why() {
    let named = "vm r subnet-1=10.1.0.9 forward\nroute far vpc-1 192.168.0.0/16 r";
    let numbered = "vm r subnet-1=10.1.0.9 forward\nroute far vpc-1 192.168.0.0/16 10.1.0.9";
    for (route, more, cause, why) in [
        (named, "stop r", "INSTANCE_NOT_RUNNING", "its next hop r is stopped"),
        (numbered, "stop r", "INSTANCE_NOT_RUNNING", "its next hop r is stopped"),
        (named, "delete vm r", "ROUTE_NEXT_HOP_RESOURCE_NOT_FOUND", "its next hop r does not exist"),
        (
            numbered,
            "delete vm r",
            "ROUTE_NEXT_HOP_IP_ADDRESS_NOT_RESOLVED",
            "nothing has its next hop 10.1.0.9",
        ),
        (
            numbered,
            "delete vm r\nalias vm-1b =10.1.0.8/30",
            "ROUTE_NEXT_HOP_INSTANCE_NON_PRIMARY_IP",
            "its next hop 10.1.0.9 is vm-1b's, and no interface's own address",
        ),
        (
            named,
            "delete vm r\nvm r subnet-1",
            "FOREIGN_IP_DISALLOWED",
            "canIpForward of its next hop r is false",
        ),
        (
            numbered,
            "delete vm r\nvm s subnet-1=10.1.0.9",
            "FOREIGN_IP_DISALLOWED",
            "canIpForward of its next hop s is false",
        ),
        (
            named,
            "delete vm r\nvm r subnet-2 forward",
            "ROUTE_NEXT_HOP_INSTANCE_WRONG_NETWORK",
            "its next hop r has no interface in the network",
        ),
    ] {
        let fabric = compile(&world(&[BASE, OPEN, route, more].join("\n")));
        let found = trace(&fabric, &flow(&fabric, "vm-1 -> 192.168.0.1 tcp/80"));
        let last = found.steps.last().unwrap();
        let step = (found.cause().map(Cause::as_str), last.what.as_str(), last.detail.as_str());
        assert_eq!(step, (Some(cause), "192.168.0.0/16 far", why), "{more}");
    }
}

#[test]
fn redis_has_causes_of_its_own() {
    let bridge = "subnet bridge vpc-2 172.17.0.0/24\nvm vm-17 bridge";
    table(
        &["redis redis-1 vpc-2", bridge],
        "vm-2 -> redis-1 tcp/6379 : DELIVERED redis-1
         vm-2 -> redis-1 tcp/6380 : DROP REDIS_INSTANCE_UNSUPPORTED_PORT
         vm-2 -> redis-1 udp/6379 : DROP REDIS_INSTANCE_UNSUPPORTED_PROTOCOL
         vm-2 -> redis-1 icmp : DROP REDIS_INSTANCE_UNSUPPORTED_PROTOCOL
         vm-17 -> redis-1 tcp/6379 : DROP DROPPED_INSIDE_GOOGLE_MANAGED_SERVICE
         redis:redis-1 -> 10.2.0.2 tcp/80 : DROP FIREWALL_RULE memorystore-deny-egress",
    );
    // Rules of the user's network act at the user's VMs.
    table(
        &[OPEN, "redis redis-1 vpc-2 tls\nredis plain vpc-2"],
        "vm-2 -> redis-1 tcp/6378 : DELIVERED redis-1
         vm-2 -> redis-1 tcp/6379 : DROP REDIS_INSTANCE_UNSUPPORTED_PORT
         vm-2 -> plain tcp/6379 : DELIVERED plain
         vm-2 -> plain tcp/6378 : DROP REDIS_INSTANCE_UNSUPPORTED_PORT",
    );
    table(
        &["redis redis-1 vpc-2\ndeny out vpc-2 tcp:6379 egress"],
        "vm-2 -> redis-1 tcp/6379 : DROP FIREWALL_RULE out",
    );
}

#[test]
fn private_services_access() {
    const CONNECTED: &str = "enable servicenetworking.googleapis.com project-1
        reserve global/range range vpc-2 10.64.0.0 24
        connect vpc-2 range
        project project-2
        host project-1
        attach project-2 project-1
        redis project-2/redis-1 project-1/vpc-2 from=any
        redis redis-1 vpc-2 from=any
        vm project-2/vm-s project-1/subnet-2";
    // Every project that uses the network reaches the services of all; a peered network reaches none.
    table(
        &[CONNECTED, PEERED, OPEN],
        "vm-2 -> redis-1 tcp/6379 : DELIVERED redis-1
         vm-2 -> project-2/redis-1 tcp/6379 : DELIVERED redis-1
         project-2/vm-s -> redis-1 tcp/6379 : DELIVERED redis-1
         project-2/vm-s -> project-2/redis-1 tcp/6379 : DELIVERED redis-1
         vm-2 -> redis-1 tcp/22 : DROP REDIS_INSTANCE_UNSUPPORTED_PORT
         vm-1 -> redis-1 tcp/6379 : DROP PRIVATE_TRAFFIC_TO_INTERNET
         redis:redis-1 -> 10.2.0.2 tcp/80 : DROP FIREWALL_RULE memorystore-deny-egress",
    );
    // The addresses that are allocated and nobody's are no route's, and the peering is the user's to delete.
    table(
        &[CONNECTED, "unpeer servicenetworking-googleapis-com vpc-2"],
        "vm-2 -> redis-1 tcp/6379 : DROP PRIVATE_TRAFFIC_TO_INTERNET
         vm-2 -> 10.64.0.250 tcp/6379 : DROP PRIVATE_TRAFFIC_TO_INTERNET",
    );
    // What a router forwards for others reaches them only if the user's side gives the route to the others.
    const ROUTED: &str = "vm router subnet-2 forward\nroute home vpc-2 192.168.0.0/24 router";
    let from = "router@192.168.0.9 -> redis-1 tcp/6379";
    table(&[CONNECTED, ROUTED], &format!("{from} : DROP NO_ROUTE"));
    let gives = "exchange servicenetworking-googleapis-com vpc-2 export";
    table(&[CONNECTED, ROUTED, gives], &format!("{from} : DELIVERED redis-1"));
}

#[test]
fn googles_own_clients_and_servers() {
    table(
        &["deny out vpc-1 all egress priority=0\nallow ssh vpc-1 tcp:22 sources=35.235.240.0/20"],
        "vm-1 -> 169.254.169.254 tcp/80 : DELIVERED metadata
         vm-1@10.9.9.9 -> 169.254.169.254 tcp/80 : DROP FOREIGN_IP_DISALLOWED
         iap:vpc-1 -> 10.1.0.2 tcp/22 : DELIVERED vm-1
         iap:vpc-1 -> 10.1.0.2 tcp/80 : DROP FIREWALL_RULE default-deny-ingress
         iap:vpc-2 -> 10.2.0.2 tcp/22 : DROP FIREWALL_RULE default-deny-ingress",
    );
    // Nothing starts a flow to Google's client, not even by a static route, and it does not cross a peering.
    table(
        &[OPEN, PEERED],
        "vm-1 -> 35.235.240.1 tcp/22 : DROP NO_EXTERNAL_ADDRESS
         iap:vpc-1 -> 10.2.0.2 tcp/22 : DROP NO_ROUTE",
    );
    // Found by agree (seed 188): the way back to it also beats a static default route.
    table(
        &[OPEN, "vm r subnet-1 forward\nroute all vpc-1 0.0.0.0/0 r"],
        "vm-1 -> 35.235.240.1 tcp/22 : DROP NO_EXTERNAL_ADDRESS
         vm-1 -> 35.235.240.2 tcp/22 : FORWARDED r",
    );
    table(
        &[OPEN, "subnet odd vpc-1 35.235.240.0/24"],
        "vm-1 -> 35.235.240.1 tcp/22 : DROP UNKNOWN_INTERNAL_ADDRESS",
    );
}

//! What becomes of IPv6 packets, as tables; see [`crate::tables`].

use crate::support::world;
use crate::tables::{flow, table};
use tombolo_fabric::{compile, fixes, trace};
use tombolo_model::Timestamp;

/// vm-1 and vm-1b are dual-stack, and so is vm-2; vm-2b is not.
const DUAL: &str = "ula vpc-1 fd20:0:1::/48\nula vpc-2 fd20:0:2::/48\ndual subnet-1\ndual subnet-2
    dual-vm vm-1\ndual-vm vm-1b\ndual-vm vm-2";
const PEERED: &str = "peer p12 vpc-1 vpc-2 ipv6\npeer p21 vpc-2 vpc-1 ipv6";
const OPEN: &str =
    "allow six-1 vpc-1 all sources=::/0 priority=65534\nallow six-2 vpc-2 all sources=::/0 priority=65534";

#[test]
fn rules_are_about_one_version_of_ip() {
    // The implied rules are for both; a rule that names no ranges is for IPv4.
    table(
        &[DUAL, "allow a vpc-1 all"],
        "vm-1 -> fd20:0:1::2:0:0 tcp/22 : DROP FIREWALL_RULE default-deny-ingress
         vm-1 -> 10.1.0.3 tcp/22 : DELIVERED vm-1b",
    );
    table(
        &[DUAL, "allow a vpc-1 all sources=::/0"],
        "vm-1 -> fd20:0:1::2:0:0 tcp/22 : DELIVERED vm-1b
         vm-1 -> fd20:0:1::2:0:0 58 : DELIVERED vm-1b
         vm-1 -> fd20:0:1::2:ffff:ffff udp/53 : DELIVERED vm-1b
         vm-1 -> fd20:0:1::3:0:0 tcp/22 : DROP UNKNOWN_INTERNAL_ADDRESS
         vm-1 -> 10.1.0.3 tcp/22 : DROP FIREWALL_RULE default-deny-ingress",
    );
    table(
        &[
            DUAL,
            "allow a vpc-1 58 sources=fd20:0:1::/48\ndeny d vpc-1 all egress destinations=fd20:0:1:0:0:2::/95 priority=9",
        ],
        "vm-1 -> fd20:0:1::2:0:0 58 : DROP FIREWALL_RULE d
         vm-1b -> fd20:0:1::1:0:0 58 : DELIVERED vm-1
         vm-1b -> fd20:0:1::1:0:0 tcp/22 : DROP FIREWALL_RULE default-deny-ingress",
    );
}

/// A rule's near end is of one version too, whatever its source tags stand for.
#[test]
fn near_ends_are_of_one_version_of_ip() {
    table(
        &[DUAL, "allow a vpc-1 all sources=::/0 destinations=fd20:0:1:0:0:2::/96"],
        "vm-1 -> fd20:0:1::2:0:0 tcp/22 : DELIVERED vm-1b
         vm-1b -> fd20:0:1::1:0:0 tcp/22 : DROP FIREWALL_RULE default-deny-ingress",
    );
    let by_tag = |near: &str| format!("allow a vpc-1 tcp source-tags=web destinations={near}");
    table(
        &[DUAL, &by_tag("fd20:0:1::/48")],
        "vm-1 -> fd20:0:1::2:0:0 tcp/22 : DELIVERED vm-1b
         vm-1 -> 10.1.0.3 tcp/22 : DROP FIREWALL_RULE default-deny-ingress",
    );
    table(
        &[DUAL, &by_tag("0.0.0.0/0")],
        "vm-1 -> 10.1.0.3 tcp/22 : DELIVERED vm-1b
         vm-1 -> fd20:0:1::2:0:0 tcp/22 : DROP FIREWALL_RULE default-deny-ingress",
    );
}

#[test]
fn tags_stand_for_ipv6_addresses_too() {
    table(
        &[DUAL, "vm vm-1c subnet-1 tags=db\ndual-vm vm-1c\nallow a vpc-1 tcp:80 source-tags=web targets=db"],
        "vm-1 -> fd20:0:1::3:0:0 tcp/80 : DELIVERED vm-1c
         vm-1@fd20:0:1::1:0:9 -> fd20:0:1::3:0:0 tcp/80 : DELIVERED vm-1c
         vm-1b -> fd20:0:1::3:0:0 tcp/80 : DROP FIREWALL_RULE default-deny-ingress
         vm-1 -> fd20:0:1::2:0:0 tcp/80 : DROP FIREWALL_RULE default-deny-ingress
         vm-1 -> 10.1.0.4 tcp/80 : DELIVERED vm-1c",
    );
}

#[test]
fn policies_are_about_one_version_of_ip() {
    table(
        &[
            DUAL,
            OPEN,
            "policy p\npolicy-rule p 1 deny tcp:23 ranges=::/0\npolicy-rule p 2 next tcp ranges=0.0.0.0/0
            associate p at vpc-1\npolicy-first vpc-1\nallow b vpc-1 tcp",
        ],
        "vm-1 -> fd20:0:1::2:0:0 tcp/23 : DROP FIREWALL_RULE p/1
         vm-1 -> 10.1.0.3 tcp/23 : DELIVERED vm-1b
         vm-1 -> fd20:0:1::2:0:0 tcp/22 : DELIVERED vm-1b",
    );
}

#[test]
fn it_crosses_where_both_sides_say_so() {
    let flows = |want: &str| {
        format!("vm-1 -> fd20:0:2::1:0:0 tcp/22 : {want}\nvm-2 -> fd20:0:1::1:0:0 tcp/22 : {want}")
    };
    let there =
        "vm-1 -> fd20:0:2::1:0:0 tcp/22 : DELIVERED vm-2\nvm-2 -> fd20:0:1::1:0:0 tcp/22 : DELIVERED vm-1";
    table(&[DUAL, OPEN, PEERED], there);
    for one_sided in ["exchange p12 vpc-1", "exchange p21 vpc-2", "unpeer p21 vpc-2"] {
        table(&[DUAL, OPEN, PEERED, one_sided], &flows("DROP NO_ROUTE"));
    }
    // And goes one hop, as IPv4 does.
    table(
        &[
            DUAL,
            OPEN,
            PEERED,
            "network vpc-3\nula vpc-3 fd20:0:3::/48\nsubnet subnet-3 vpc-3 10.3.0.0/16\ndual subnet-3
            vm vm-3 subnet-3\ndual-vm vm-3\nallow six-3 vpc-3 all sources=::/0
            peer p23 vpc-2 vpc-3 ipv6\npeer p32 vpc-3 vpc-2 ipv6",
        ],
        "vm-2 -> fd20:0:3::1:0:0 tcp/22 : DELIVERED vm-3
         vm-1 -> fd20:0:3::1:0:0 tcp/22 : DROP NO_ROUTE
         vm-3 -> fd20:0:1::1:0:0 tcp/22 : DROP NO_ROUTE",
    );
}

/// A guest has the first address of its range alone, and what it sends to another one goes by its router.
#[test]
fn what_a_vm_sends_to_itself_never_leaves_it() {
    table(
        &[DUAL],
        "vm-1 -> fd20:0:1::1:0:0 tcp/22 : LOCAL
         vm-1 -> fd20:0:1::1:0:1 tcp/22 : DROP FIREWALL_RULE default-deny-ingress
         vm-1@10.1.0.2 -> fd20:0:1::1:0:0 tcp/22 : DROP FOREIGN_IP_DISALLOWED",
    );
}

#[test]
fn what_is_never_carried() {
    table(
        &[DUAL, OPEN, "vm fwd subnet-1 forward\ndual-vm fwd"],
        "vm-1 -> fe80::1 58 : DROP TRAFFIC_TYPE_BLOCKED
         vm-1 -> ff02::1 58 : DROP TRAFFIC_TYPE_BLOCKED
         vm-1 -> ::1 tcp/22 : DROP TRAFFIC_TYPE_BLOCKED
         vm-1 -> fd20:0:1::2:0:0 udp/546 : DROP TRAFFIC_TYPE_BLOCKED
         vm-1 -> fd20:0:1::2:0:0 udp/68 : DELIVERED vm-1b
         vm-1 -> fd20:ce::254 tcp/80 : DROP NO_ROUTE
         vm-1 -> 2001:db8::1 tcp/80 : DROP NO_ROUTE
         vm-1@fd20:0:1::2:0:0 -> fd20:0:1::3:0:0 tcp/22 : DROP FOREIGN_IP_DISALLOWED
         vm-1@fe80::2 -> fd20:0:1::2:0:0 tcp/22 : DROP FOREIGN_IP_DISALLOWED
         vm-1@10.1.0.2 -> fd20:0:1::2:0:0 tcp/22 : DROP FOREIGN_IP_DISALLOWED
         fwd@2001:db8::1 -> fd20:0:1::2:0:0 tcp/22 : DELIVERED vm-1b",
    );
}

/// What is missing for IPv6 is found: the rule, and what a peering's sides say.
#[test]
fn fixes_are_for_ipv6() {
    let base = "project project-1\nnetwork vpc-1\nsubnet subnet-1 vpc-1 10.1.0.0/16\nvm vm-1 subnet-1
        network vpc-2\nsubnet subnet-2 vpc-2 10.2.0.0/16\nvm vm-2 subnet-2
        ula vpc-1 fd20:0:1::/48\nula vpc-2 fd20:0:2::/48\ndual subnet-1\ndual subnet-2\ndual-vm vm-1\ndual-vm vm-2
        peer p12 vpc-1 vpc-2 ipv6\npeer p21 vpc-2 vpc-1";
    let world = world(base);
    let fabric = compile(&world);
    let found = trace(&fabric, &flow(&fabric, "vm-1 -> fd20:0:2::1:0:0 tcp/22"));
    let titles: Vec<_> =
        fixes(&world, &found, Timestamp(0)).into_iter().map(|fix| (fix.title, fix.cost)).collect();
    let want = "IPv6 (stackType IPV4_IPV6) in the peering between vpc-1 and vpc-2 + allow tcp/22";
    assert_eq!(titles, [(want.to_owned(), "1 peering, 1 rule".to_owned())]);
}

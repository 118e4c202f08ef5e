//! Forwarding rules and endpoints of Private Service Connect, as tables.

use crate::support::world;
use crate::tables::{BASE, flow, table};
use tombolo_fabric::{compile, fixes, trace};
use tombolo_model::Timestamp;

/// vm-2 behind a rule in vpc-2, which is published, and an endpoint in vpc-1.
const PUBLISHED: &str = "nat-subnet nat-1 vpc-2 10.3.0.0/24
    target t vm-2
    forward rule vpc-2 subnet-2=10.2.0.9 t tcp:80:443
    publish sa rule nat-1
    endpoint e vpc-1 subnet-1=10.1.0.9 sa
    subnet far-1 vpc-1 10.7.0.0/24 europe-west1
    vm far-vm far-1 in=europe-west1
    subnet far-2 vpc-2 10.8.0.0/24 europe-west1
    vm far-vm-2 far-2 in=europe-west1";
const PEERED: &str = "peer p12 vpc-1 vpc-2\npeer p21 vpc-2 vpc-1";
const OPEN: &str = "allow open-1 vpc-1 all priority=65534\nallow open-2 vpc-2 all priority=65534";

#[test]
fn a_rule_takes_what_it_says() {
    table(
        &[PUBLISHED, PEERED, OPEN],
        "vm-2b -> 10.2.0.9 tcp/80 : DELIVERED vm-2
         vm-2b -> 10.2.0.9 tcp/443 : DELIVERED vm-2
         vm-2b -> 10.2.0.9 tcp/81 : DROP FORWARDING_RULE_MISMATCH
         vm-2b -> 10.2.0.9 udp/80 : DROP FORWARDING_RULE_MISMATCH
         vm-2b -> 10.2.0.9 icmp : DROP FORWARDING_RULE_MISMATCH
         vm-1 -> 10.2.0.9 tcp/80 : DELIVERED vm-2
         iap:vpc-2 -> 10.2.0.9 tcp/80 : DELIVERED vm-2
         vm-2b -> 10.2.0.2 tcp/81 : DELIVERED vm-2
         vm-2@10.2.0.9 -> 10.2.0.3 tcp/81 : DELIVERED vm-2b
         vm-2b@10.2.0.9 -> 10.2.0.2 tcp/81 : DROP FOREIGN_IP_DISALLOWED
         vm-2 -> 10.3.0.2 tcp/80 : DROP UNKNOWN_INTERNAL_ADDRESS",
    );
    table(
        &[
            PUBLISHED,
            OPEN,
            "forward all vpc-2 subnet-2=10.2.0.10 t all\nforward u vpc-2 subnet-2=10.2.0.11 t udp",
        ],
        "vm-2b -> 10.2.0.10 icmp : DELIVERED vm-2
         vm-2b -> 10.2.0.10 udp/68 : DROP TRAFFIC_TYPE_BLOCKED
         vm-2b -> 10.2.0.11 udp/53 : DELIVERED vm-2
         vm-2b -> 10.2.0.11 tcp/53 : DROP FORWARDING_RULE_MISMATCH",
    );
    // The receiver's gate is that of the instance, and knows the sender as it is.
    table(
        &[PUBLISHED, "allow a vpc-2 tcp sources=10.2.0.3/32 targets=web"],
        "vm-2b -> 10.2.0.9 tcp/80 : DELIVERED vm-2
         far-vm-2 -> 10.2.0.9 tcp/80 : DROP FORWARDING_RULE_REGION_MISMATCH",
    );
}

/// What comes by an endpoint is for the service's own rule there, and its interface knows it by that address.
#[test]
fn a_gate_sees_the_address_of_the_rule() {
    table(
        &[PUBLISHED, "allow a vpc-2 tcp sources=10.0.0.0/8 destinations=10.2.0.9/32"],
        "vm-2b -> 10.2.0.9 tcp/80 : DELIVERED vm-2
         vm-2b -> 10.2.0.2 tcp/80 : DROP FIREWALL_RULE default-deny-ingress
         vm-1 -> 10.1.0.9 tcp/80 : DELIVERED vm-2",
    );
    table(
        &[PUBLISHED, "allow a vpc-2 tcp sources=10.0.0.0/8 destinations=10.1.0.9/32,10.2.0.2/32"],
        "vm-2b -> 10.2.0.9 tcp/80 : DROP FIREWALL_RULE default-deny-ingress
         vm-2b -> 10.2.0.2 tcp/80 : DELIVERED vm-2
         vm-1 -> 10.1.0.9 tcp/80 : DROP FIREWALL_RULE default-deny-ingress",
    );
    // As a sender it may have that address too.
    table(
        &[PUBLISHED, OPEN, "deny out vpc-2 tcp egress sources=10.2.0.9/32"],
        "vm-2@10.2.0.9 -> 10.2.0.3 tcp/80 : DROP FIREWALL_RULE out
         vm-2 -> 10.2.0.3 tcp/80 : DELIVERED vm-2b",
    );
}

#[test]
fn clients_of_other_regions() {
    table(
        &[PUBLISHED, PEERED, OPEN],
        "far-vm-2 -> 10.2.0.9 tcp/80 : DROP FORWARDING_RULE_REGION_MISMATCH
         far-vm -> 10.2.0.9 tcp/80 : DROP FORWARDING_RULE_REGION_MISMATCH
         far-vm -> 10.1.0.9 tcp/80 : DROP FORWARDING_RULE_REGION_MISMATCH",
    );
    table(
        &[PUBLISHED, PEERED, OPEN, "globally rule"],
        "far-vm-2 -> 10.2.0.9 tcp/80 : DELIVERED vm-2
         far-vm -> 10.2.0.9 tcp/80 : DELIVERED vm-2
         far-vm -> 10.1.0.9 tcp/80 : DROP FORWARDING_RULE_REGION_MISMATCH",
    );
    // An endpoint is for other regions where both it and the service say so.
    table(
        &[PUBLISHED, OPEN, "globally e"],
        "far-vm -> 10.1.0.9 tcp/80 : DROP FORWARDING_RULE_REGION_MISMATCH",
    );
    table(&[PUBLISHED, OPEN, "globally e\nglobally rule"], "far-vm -> 10.1.0.9 tcp/80 : DELIVERED vm-2");
}

#[test]
fn an_endpoint_is_for_its_own_network() {
    let cases = "vm-1 -> 10.1.0.9 tcp/80 : DELIVERED vm-2
         vm-1 -> 10.1.0.9 tcp/81 : DROP FORWARDING_RULE_MISMATCH
         vm-1 -> 10.1.0.9 icmp : DROP FORWARDING_RULE_MISMATCH
         vm-1b -> 10.1.0.9 tcp/443 : DELIVERED vm-2";
    table(&[PUBLISHED, OPEN], cases);
    table(&[PUBLISHED, PEERED, OPEN], cases);
    table(
        &[PUBLISHED, PEERED, OPEN],
        "vm-2 -> 10.1.0.9 tcp/80 : DROP PSC_ENDPOINT_ACCESSED_FROM_PEERED_NETWORK
         vm-2b -> 10.1.0.9 tcp/80 : DROP PSC_ENDPOINT_ACCESSED_FROM_PEERED_NETWORK",
    );
    table(&[PUBLISHED, OPEN], "vm-2b -> 10.1.0.9 tcp/80 : DROP PRIVATE_TRAFFIC_TO_INTERNET");
    // The sender's gate sees the endpoint, the receiver's the NAT subnetwork.
    table(
        &[
            PUBLISHED,
            "deny d vpc-1 tcp:80 egress destinations=10.1.0.9/32\nallow a vpc-2 tcp sources=10.3.0.0/24",
        ],
        "vm-1 -> 10.1.0.9 tcp/80 : DROP FIREWALL_RULE d
         vm-1 -> 10.1.0.9 tcp/443 : DELIVERED vm-2",
    );
    table(
        &[PUBLISHED, "allow a vpc-2 tcp sources=10.1.0.0/16"],
        "vm-1 -> 10.1.0.9 tcp/80 : DROP FIREWALL_RULE default-deny-ingress",
    );
}

#[test]
fn what_leads_nowhere() {
    table(
        &[PUBLISHED, OPEN, "stop vm-2"],
        "vm-2b -> 10.2.0.9 tcp/80 : DROP INSTANCE_NOT_RUNNING
         vm-1 -> 10.1.0.9 tcp/80 : DROP INSTANCE_NOT_RUNNING",
    );
    table(
        &[PUBLISHED, OPEN, "delete vm vm-2"],
        "vm-2b -> 10.2.0.9 tcp/80 : DROP FORWARDING_RULE_NO_INSTANCES
         vm-1 -> 10.1.0.9 tcp/80 : DROP FORWARDING_RULE_NO_INSTANCES",
    );
    for refused in [
        "republish sa rule nat-1 manual reconcile",
        "republish sa rule nat-1 manual reject=project-1 reconcile",
        "delete attachment sa",
    ] {
        table(&[PUBLISHED, OPEN, refused], "vm-1 -> 10.1.0.9 tcp/80 : DROP PSC_CONNECTION_NOT_ACCEPTED");
    }
}

#[test]
fn networks_may_overlap_and_be_the_same() {
    // The other network has the very same addresses.
    let same = "network vpc-9\nsubnet s-9 vpc-9 10.2.0.0/16\nvm vm-9 s-9\nendpoint e-9 vpc-9 s-9=10.2.0.9 sa
        endpoint own vpc-2 subnet-2=10.2.0.20 sa";
    table(
        &[PUBLISHED, OPEN, same],
        "vm-9 -> 10.2.0.9 tcp/80 : DELIVERED vm-2
         vm-2b -> 10.2.0.20 tcp/80 : DELIVERED vm-2",
    );
}

#[test]
fn fixes_for_clients_elsewhere() {
    for (more, from, want) in [
        ("", "vm-2b -> 10.1.0.9 tcp/80", "an endpoint of sa in vpc-2: 1 endpoint"),
        ("", "far-vm -> 10.1.0.9 tcp/80", "global access to e and rule: 2 flags"),
        ("globally e", "far-vm -> 10.1.0.9 tcp/80", "global access to rule: 1 flag"),
        ("", "far-vm-2 -> 10.2.0.9 tcp/80", "global access to rule: 1 flag"),
    ] {
        let world = world(&[BASE, PUBLISHED, PEERED, OPEN, more].join("\n"));
        let fabric = compile(&world);
        let offered = fixes(&world, &trace(&fabric, &flow(&fabric, from)), Timestamp(0));
        let lines: Vec<_> = offered.iter().map(|fix| format!("{}: {}", fix.title, fix.cost)).collect();
        assert_eq!(lines, [want], "{from}");
    }
}

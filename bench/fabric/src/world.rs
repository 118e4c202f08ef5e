//! The World that is measured, as a topology file.

use std::fmt::Write;
use std::net::Ipv4Addr;

/// The project of everything.
pub const PROJECT: &str = "bench-project";

/// How much there is. VMs and rules are spread evenly; networks are peered in pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Instances.
    pub vms: u32,
    /// Networks.
    pub networks: u32,
    /// Firewall rules, beside one for ssh to every tenth VM. Every second one has a target tag, which every tenth VM has.
    pub rules: u32,
}

/// The address that a VM of a network gets: the first is number 0.
pub fn address(network: u32, number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0002 + (network << 16) + number)
}

/// The topology file.
pub fn topology(size: Size) -> String {
    let mut out = format!("projects:\n  - projectId: {PROJECT}\nnetworks:\n");
    let share = |all: u32, network: u32| all / size.networks + u32::from(network < all % size.networks);
    for network in 0..size.networks {
        let _ = writeln!(out, "  - name: vpc-{network}\n    project: {PROJECT}\n    subnetworks:");
        let _ = writeln!(
            out,
            "      - {{name: subnet-{network}, region: us-central1, ipCidrRange: 10.{network}.0.0/16}}"
        );
        if (network ^ 1) < size.networks {
            let _ = writeln!(
                out,
                "    peerings:\n      - {{name: peering, network: {PROJECT}/vpc-{}}}",
                network ^ 1
            );
        }
        out.push_str("    firewalls:\n");
        let _ = writeln!(
            out,
            "      - {{name: vpc-{network}-ssh, sourceRanges: [10.{network}.0.0/16], targetTags: [tag-9], \
             allowed: [{{IPProtocol: tcp, ports: [\"22\"]}}]}}"
        );
        for rule in 0..share(size.rules, network) {
            let tags =
                if rule % 2 == 1 { format!(", targetTags: [tag-{}]", rule % 10) } else { String::new() };
            let _ = writeln!(
                out,
                "      - {{name: vpc-{network}-{rule}, priority: {}, sourceRanges: [172.16.{}.0/24]{tags}, \
                 allowed: [{{IPProtocol: tcp, ports: [\"{}\"]}}]}}",
                1000 + rule,
                rule % 256,
                1000 + rule
            );
        }
    }
    out.push_str("instances:\n");
    for network in 0..size.networks {
        for number in 0..share(size.vms, network) {
            let _ = writeln!(
                out,
                "  - {{name: vm-{network}-{number}, project: {PROJECT}, zone: us-central1-a, tags: [tag-{}], \
                 networkInterfaces: [{{subnetwork: subnet-{network}, networkIP: {}}}]}}",
                number % 10,
                address(network, number)
            );
        }
    }
    out
}

//! Which address a VM gets.

use crate::support::*;
use tombolo_model::*;

const SETUP: &str = "project project-1
    network vpc-1
    subnet wide vpc-1 10.1.0.0/16
    subnet small vpc-1 10.2.0.0/29";

/// The address of a VM's first interface.
fn address(world: &World, name: &str) -> String {
    world.instances[&vm(name)].nics[0].address.to_string()
}

#[test]
fn addresses_are_given_out_in_order_and_again_after_a_deletion() {
    let mut world = world(SETUP);
    for (line, name, want) in [
        ("vm a wide", "a", "10.1.0.2"),
        ("vm b wide", "b", "10.1.0.3"),
        ("vm c wide=10.1.0.4", "c", "10.1.0.4"),
        ("vm d wide", "d", "10.1.0.5"),
        ("vm e wide=10.1.255.253", "e", "10.1.255.253"), // the last that is not reserved
        ("delete vm b", "a", "10.1.0.2"),
        ("vm f wide", "f", "10.1.0.3"),
        ("vm g wide", "g", "10.1.0.6"),
    ] {
        world = then(&world, line, 0);
        assert_eq!(address(&world, name), want, "{line}");
    }
}

#[test]
fn a_small_range_has_four_addresses() {
    let mut world = world(SETUP);
    for (name, want) in [("a", "10.2.0.2"), ("b", "10.2.0.3"), ("c", "10.2.0.4"), ("d", "10.2.0.5")] {
        world = then(&world, &format!("vm {name} small"), 0);
        assert_eq!(address(&world, name), want);
    }
    assert_eq!(refusal(&world, "vm e small"), Refusal::AddressesExhausted { subnetwork: subnet("small") });
    world = then(&then(&world, "delete vm c", 0), "vm e small", 0);
    assert_eq!(address(&world, "e"), "10.2.0.4");
}

#[test]
fn asked_for_addresses_are_unreserved_and_free() {
    let world = world(&format!("{SETUP}\nvm a wide"));
    let (reserved, outside) = (
        "The address must be an unreserved one of '10.2.0.0/29'.",
        "Requested internal IP is outside the subnetwork CIDR range.",
    );
    for (bad, why) in [
        ("10.2.0.0", reserved),
        ("10.2.0.1", reserved),
        ("10.2.0.6", reserved),
        ("10.2.0.7", reserved),
        ("10.2.0.8", outside),
        ("10.1.0.9", outside),
    ] {
        let want =
            format!("Invalid value for field 'resource.networkInterfaces[0].networkIP': '{bad}'. {why}");
        assert_eq!(refusal(&world, &format!("vm b small={bad}")).to_string(), want);
    }
    let taken = Refusal::AddressInUse { address: "10.1.0.2".parse().unwrap() };
    assert_eq!(refusal(&world, "vm b wide=10.1.0.2"), taken);
}

#[test]
fn interfaces_are_in_different_networks_with_different_ranges() {
    let world = world(&format!(
        "{SETUP}
        subnet other vpc-1 10.3.0.0/16
        network vpc-2
        subnet same vpc-2 10.1.0.0/16
        subnet within vpc-2 10.2.0.0/24
        subnet free vpc-2 10.77.0.0/16"
    ));
    let both = then(&world, "vm a wide,free", 0);
    let nics: Vec<_> = both.instances[&vm("a")].nics.iter().map(|n| n.address.to_string()).collect();
    assert_eq!(nics, ["10.1.0.2", "10.77.0.2"]);
    for (line, want) in [
        ("vm a wide,other", "Networks must be distinct for NICs attached to a VM."),
        (
            "vm a wide,same",
            "Its range overlaps the range of another interface's 'projects/project-1/regions/us-central1/subnetworks/wide'.",
        ),
        (
            "vm a small,within",
            "Its range overlaps the range of another interface's 'projects/project-1/regions/us-central1/subnetworks/small'.",
        ),
        ("vm a none", "At least one and at most 10 network interfaces are expected."),
    ] {
        assert!(refusal(&world, line).to_string().ends_with(want), "{line}: {}", refusal(&world, line));
    }
}

#[test]
fn the_mac_is_the_address_in_hex() {
    let mac = instance::mac_of("10.142.0.17".parse().unwrap());
    assert_eq!(mac, [0x42, 0x01, 0x0a, 0x8e, 0x00, 0x11]);
}

//! Reserved addresses, external addresses, secondary and alias ranges, Shared VPC.

use crate::support::{address, refusal, subnet, then, vm, world};
use tombolo_model::{Reserved, World};

const SETUP: &str = "project project-1
    network vpc-1
    subnet s vpc-1 10.1.0.0/24";

fn nic_address(world: &World, name: &str) -> String {
    world.instances[&vm(name)].nics[0].address.to_string()
}

fn external(world: &World, name: &str) -> String {
    let access = world.instances[&vm(name)].nics[0].access.as_ref();
    access.map(|access| access.address.to_string()).unwrap_or_default()
}

fn reserved(world: &World, name: &str) -> String {
    match &world.addresses[&address(name)].reserved {
        Reserved::Internal { address, .. } | Reserved::External(address) => address.to_string(),
        Reserved::Peering { range, .. } => range.to_string(),
    }
}

#[test]
fn an_internal_address_is_for_who_says_it() {
    let mut world = world(&format!("{SETUP}\nreserve a s\nreserve b s=10.1.0.9"));
    assert_eq!((reserved(&world, "a").as_str(), reserved(&world, "b").as_str()), ("10.1.0.2", "10.1.0.9"));
    world = then(&world, "vm one s", 0);
    assert_eq!(nic_address(&world, "one"), "10.1.0.3");
    world = then(&world, "vm two s=10.1.0.9", 0);
    assert_eq!(
        refusal(&world, "delete address b").to_string(),
        "The address resource 'projects/project-1/regions/us-central1/addresses/b' is already being used by \
         'projects/project-1/zones/us-central1-a/instances/two'"
    );
    assert_eq!(
        refusal(&world, "vm three s=10.1.0.9").to_string(),
        "IP '10.1.0.9' is already being used by another resource."
    );
    // One that an instance has can be kept beyond it.
    world = then(&world, "reserve c s=10.1.0.3", 0);
    assert!(refusal(&world, "reserve d s=10.1.0.3").to_string().contains("already being used"));
    world = then(&then(&world, "delete vm one", 0), "vm four s", 0);
    assert_eq!(nic_address(&world, "four"), "10.1.0.4");
    assert!(refusal(&world, "reserve e s=10.9.0.1").to_string().contains("outside the subnetwork"));
    assert!(refusal(&world, "reserve e s=10.1.0.1").to_string().contains("unreserved"));
    world = then(&then(&then(&world, "delete vm two", 0), "delete vm four", 0), "delete address b", 0);
    assert!(refusal(&world, "delete subnet s").to_string().ends_with("addresses/a'"));
}

#[test]
fn external_addresses_are_everybodys_once() {
    let mut world = world(&format!("{SETUP}\nvm one s\nvm two s\nreserve a external"));
    assert_eq!(reserved(&world, "a"), "198.18.0.2");
    world = then(&world, "nat one", 0);
    assert_eq!(external(&world, "one"), "198.18.0.3");
    assert!(
        refusal(&world, "nat one").to_string().ends_with("At most one access config currently supported.")
    );
    world = then(&world, "nat two 198.18.0.2", 0);
    assert!(refusal(&world, "delete address a").to_string().ends_with("instances/two'"));
    world = then(&then(&world, "unnat one", 0), "vm three s", 0);
    assert!(refusal(&world, "nat three 198.18.0.2").to_string().contains("already in use"));
    assert!(
        refusal(&world, "nat three 198.18.0.9").to_string().contains("was not found in region 'us-central1'")
    );
    world = then(&world, "nat three", 0);
    assert_eq!(external(&world, "three"), "198.18.0.3");
    world = then(&world, "reserve b external=198.18.0.3", 0);
    assert!(refusal(&world, "reserve c external=198.18.0.3").to_string().contains("already being used"));
}

#[test]
fn a_range_for_managed_services_is_in_nobodys_way() {
    let mut world = world(&format!(
        "{SETUP}\nnetwork vpc-2\nsubnet p vpc-2 10.0.0.0/16\npeer x vpc-1 vpc-2\npeer y vpc-2 vpc-1"
    ));
    world = then(&world, "reserve global/a range vpc-1 any 16", 0);
    assert_eq!(reserved(&world, "global/a"), "10.2.0.0/16");
    for line in ["reserve global/b range vpc-1 10.0.0.0 16", "reserve global/b range vpc-1 10.2.0.0 20"] {
        assert!(refusal(&world, line).to_string().contains("overlaps the range"), "{line}");
    }
    assert!(refusal(&world, "subnet t vpc-1 10.2.3.0/24").to_string().contains("global/addresses/a"));
    assert!(refusal(&world, "reserve b range vpc-1 any 16").to_string().contains("VPC_PEERING"));
    world = then(&then(&world, "delete address global/a", 0), "subnet t vpc-1 10.2.3.0/24", 0);
    assert!(world.subnetworks.contains_key(&subnet("t")));
}

#[test]
fn secondary_ranges_overlap_nothing() {
    let mut world = world(&format!(
        "{SETUP}\nnetwork vpc-2\nsubnet p vpc-2 10.2.0.0/16\npeer x vpc-1 vpc-2\npeer y vpc-2 vpc-1"
    ));
    world = then(&world, "secondary s pods=10.8.0.0/16,services=10.9.0.0/20", 0);
    assert_eq!(world.subnetworks[&subnet("s")].ranges().count(), 3);
    for (line, why) in [
        ("secondary s a=10.1.0.0/28", "conflicts with existing subnetwork 's'"),
        ("secondary s a=10.7.0.0/16,b=10.7.1.0/24", "conflicts with existing subnetwork 's'"),
        ("secondary s a=10.2.1.0/24", "in the peer network"),
        ("secondary s A=10.7.0.0/24", "rangeName"),
        ("subnet t vpc-1 10.8.3.0/24", "conflicts with existing subnetwork 's'"),
        ("subnet t vpc-2 10.8.3.0/24", "in the peer network"),
        ("secondary p a=10.9.0.0/24", "in the peer network"),
    ] {
        assert!(refusal(&world, line).to_string().contains(why), "{line}: {}", refusal(&world, line));
    }
    world = then(&world, "secondary s services=10.9.0.0/20", 0);
    world = then(&world, "subnet t vpc-1 10.8.3.0/24", 0);
    assert!(world.subnetworks.contains_key(&subnet("t")));
}

#[test]
fn alias_ranges_are_an_interfaces_own() {
    let mut world = world(&format!("{SETUP}\nsecondary s pods=10.8.0.0/16\nvm one s\nvm two s"));
    world = then(&world, "alias one pods=10.8.1.0/24,=10.1.0.77/32,pods=/28", 0);
    let ranges = |world: &World, name: &str| -> Vec<String> {
        world.instances[&vm(name)].nics[0].aliases.iter().map(|alias| alias.range.to_string()).collect()
    };
    assert_eq!(ranges(&world, "one"), ["10.8.1.0/24", "10.1.0.77/32", "10.8.0.0/28"]);
    for (line, why) in [
        ("alias two pods=10.8.1.9/32", "already being used"),
        ("alias two =10.1.0.77/32", "already being used"),
        ("alias two =10.1.0.2/32", "already being used"),
        ("alias two none=/32", "no secondary range of that name"),
        ("alias two =10.8.2.0/24", "inside '10.1.0.0/24'"),
        ("vm three s=10.1.0.77", "already being used"),
        ("secondary s", "already being used by"),
    ] {
        assert!(refusal(&world, line).to_string().contains(why), "{line}: {}", refusal(&world, line));
    }
    // What stays stays where it is.
    world = then(&world, "alias one pods=/28", 0);
    assert_eq!(ranges(&world, "one"), ["10.8.0.0/28"]);
    world = then(&then(&world, "alias one", 0), "secondary s", 0);
    assert_eq!(ranges(&world, "one"), [""; 0]);
}

#[test]
fn a_service_project_uses_its_hosts_subnetworks() {
    let mut world = world(&format!("{SETUP}\nproject project-2"));
    let line = "vm project-2/one project-1/s";
    assert!(refusal(&world, line).to_string().contains("cannot be found"));
    assert!(
        refusal(&world, "attach project-2 project-1").to_string().contains("not a shared VPC host project")
    );
    world = then(&then(&world, "host project-1", 0), "attach project-2 project-1", 0);
    assert!(refusal(&world, "host project-2").to_string().contains("cannot be a host"));
    world = then(&then(&world, line, 0), "reserve project-2/a project-1/s", 0);
    assert_eq!(world.instances[&vm("project-2/one")].nics[0].network.project, "project-1");
    assert!(refusal(&world, "detach project-2 project-1").to_string().ends_with("instances/one'"));
    assert_eq!(
        refusal(&world, "unhost project-1").to_string(),
        "Cannot disable project as a shared VPC host because it has active service projects."
    );
    world = then(&then(&world, "delete vm project-2/one", 0), "delete address project-2/a", 0);
    world = then(&then(&world, "detach project-2 project-1", 0), "unhost project-1", 0);
    assert!(refusal(&world, line).to_string().contains("cannot be found"));
}

//! Routers and their NAT gateways: what their changes lead to, and what is refused.

use crate::support::*;
use tombolo_model::*;

const SETUP: &str = "project project-1
    project project-2
    network vpc-1
    network vpc-2
    network project-2/vpc-9
    subnet s-1 vpc-1 10.1.0.0/24
    subnet s-2 vpc-1 10.2.0.0/24
    subnet s-3 vpc-2 10.3.0.0/24
    reserve a-1 external
    reserve a-2 external
    reserve i-1 s-1
    vm vm-1 s-1
    nat vm-1
    router r-1 vpc-1";

#[test]
fn a_gateway_serves_subnetworks_by_its_addresses() {
    let setup = world(SETUP);
    let serving = |world: &World, at: &str, of: &str| {
        let found = router::serving(world, &subnet(at), &network(of));
        found.map(|(_, nat, ranges)| (nat.spec.name.clone(), ranges))
    };
    let all = then(&setup, "nats r-1 n=primary", 0);
    assert_eq!(serving(&all, "s-1", "vpc-1"), Some(("n".into(), NatRanges::Primary)));
    assert_eq!(serving(&all, "s-3", "vpc-2"), None);
    let some = then(&setup, "nats r-1 n=s-1@a-2+a-1 m=s-2:all", 0);
    assert_eq!(serving(&some, "s-1", "vpc-1"), Some(("n".into(), NatRanges::Primary)));
    assert_eq!(serving(&some, "s-2", "vpc-1"), Some(("m".into(), NatRanges::All)));
    let addresses = |world: &World| {
        let nats = &world.routers[&router("r-1")].nats;
        nats.iter().map(|nat| nat.addresses.clone()).collect::<Vec<_>>()
    };
    let a = |last| std::net::Ipv4Addr::new(198, 18, 0, last);
    assert_eq!(addresses(&some), [vec![a(3), a(2)], vec![a(5)]], "the VM has 198.18.0.4");
    // One of several, always the same.
    let nat = &some.routers[&router("r-1")].nats[0];
    assert_eq!([2, 3, 4].map(|n| nat.address_of([10, 1, 0, n].into())), [Some(a(3)), Some(a(2)), Some(a(3))]);
    // A gateway that stays keeps its address, and a new one gets another.
    let more = then(&some, "nats r-1 o=s-1 m=s-2", 0);
    assert_eq!(addresses(&more), [vec![a(6)], vec![a(5)]]);
    let rows = more.changed(&World::default()).unwrap();
    assert_eq!(World::from_rows(rows).unwrap(), more);
    let gone = then(&more, "delete router r-1", 0);
    assert_eq!(gone.routers.len(), 0);
    then(&gone, "delete subnet s-2", 0);
}

#[test]
fn what_is_refused() {
    let setup = then(&world(SETUP), "nats r-1 n=s-1@a-1", 0);
    for (line, want) in [
        (
            "router r-1 vpc-1",
            "The resource 'projects/project-1/regions/us-central1/routers/r-1' already exists",
        ),
        ("router R vpc-1", "Invalid value for field 'resource.name': 'R'."),
        ("router r-2 nowhere", "The resource 'projects/project-1/global/networks/nowhere' was not found"),
        ("router r-2 project-2/vpc-9", "The network must be in the router's project."),
        (
            "router r-2 vpc-1 n=all",
            "Can not create a Nat with option ALL_SUBNETWORKS_ALL_IP_RANGES since other Nats exist.",
        ),
        ("router r-2 vpc-1 n=s-1", "'PRIMARY_IP_RANGE'. Can not specify PRIMARY_IP_RANGE for the Subnetwork"),
        ("router r-2 vpc-1 n=s-1:all", "The subnetwork is already configured with PRIMARY_IP_RANGE for Nat"),
        ("router r-2 vpc-2 n=s-1", "The subnetwork must be of the router's network and region."),
        ("router r-2 vpc-2 n=s-9", "subnetworks/s-9' was not found"),
        (
            "router r-2 vpc-2 n=s-3@a-1",
            "addresses/a-1' is already being used by 'projects/project-1/regions/us-central1/routers/r-1'",
        ),
        ("router r-2 vpc-2 n=s-3@i-1", "Must be an external address."),
        ("router r-2 vpc-2 n=s-3@a-2+a-2", "An address is specified twice."),
        ("router r-2 vpc-2 n=s-3@a-9", "addresses/a-9' was not found"),
        ("nats r-1 n=s-1 n=s-2", "Another NAT of the router has the same name."),
        ("nats r-9 n=all", "routers/r-9' was not found"),
        (
            "delete address a-1",
            "is already being used by 'projects/project-1/regions/us-central1/routers/r-1'",
        ),
        ("delete subnet s-1", "is already being used by"),
        ("delete network vpc-1", "is already being used by"),
        ("delete router r-9", "routers/r-9' was not found"),
    ] {
        let refusal = setup.apply(&change(line), Timestamp(0)).expect_err(line).to_string();
        assert!(refusal.contains(want), "{line}: {refusal}");
    }
}

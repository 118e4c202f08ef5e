//! Target instances, forwarding rules and service attachments: what their changes lead to, and what is refused.

use crate::support::*;
use std::net::Ipv4Addr;
use tombolo_model::*;

const SETUP: &str = "project project-1
    project project-2
    network vpc-1
    network vpc-2
    network project-2/vpc-9
    subnet s-1 vpc-1 10.1.0.0/24
    subnet s-2 vpc-2 10.2.0.0/24
    subnet s-3 vpc-2 10.4.0.0/24
    subnet project-2/s-9 project-2/vpc-9 10.1.0.0/24
    nat-subnet n-1 vpc-2 10.3.0.0/29
    nat-subnet n-2 vpc-2 10.3.0.8/29
    reserve a-1 s-1=10.1.0.9
    vm vm-1 s-1
    vm vm-2 s-2
    vm vm-3 s-3,s-1
    target t-2 vm-2
    target t-3 vm-3 network=vpc-2
    forward f-2 vpc-2 s-2=10.2.0.9 t-2 tcp:80";

/// The status of an endpoint, and what its clients become.
fn endpoint(world: &World, name: &str) -> (&'static str, Option<Ipv4Addr>) {
    match &world.forwarding_rules[&forwarding_rule(name)].to {
        Forward::Service(endpoint) => (endpoint.status.as_str(), endpoint.nat),
        other => panic!("{name}: {other:?}"),
    }
}

fn nat(last: u8) -> Option<Ipv4Addr> {
    Some([10, 3, 0, last].into())
}

#[test]
fn a_rule_has_an_address_of_its_own() {
    let setup = world(SETUP);
    let free = then(&setup, "forward f-3 vpc-2 s-2 t-3 udp", 0);
    // .2 is the VM's, and .9 the other rule's.
    assert_eq!(free.forwarding_rules[&forwarding_rule("f-3")].address, Ipv4Addr::new(10, 2, 0, 3));
    assert_eq!(then(&free, "vm vm-4 s-2", 0).instances[&vm("vm-4")].nics[0].address.octets()[3], 4);
    for line in ["vm vm-4 s-2=10.2.0.9", "forward f-4 vpc-2 s-2=10.2.0.9 t-2 udp", "alias vm-2 =10.2.0.9/32"]
    {
        let want = Refusal::AddressInUse { address: [10, 2, 0, 9].into() };
        assert_eq!(refusal(&setup, line), want, "{line}");
    }
    // It can be reserved by whom it belongs to, and is in use then.
    let reserved = then(&setup, "reserve a-2 s-2=10.2.0.9", 0);
    let used = address::user(&reserved, &reserved.addresses[&address("a-2")]);
    assert_eq!(used, Some(forwarding_rule("f-2").to_string()));
    refusal(&reserved, "delete address a-2");
    then(&then(&reserved, "delete forward f-2", 0), "delete address a-2", 0);
}

#[test]
fn rules_and_targets_come_and_go() {
    let setup = world(SETUP);
    let other = then(&setup, "retarget f-2 t-3", 0);
    then(&other, "delete target t-2", 0);
    assert!(then(&setup, "globally f-2", 0).forwarding_rules[&forwarding_rule("f-2")].global);
    assert_eq!(then(&then(&setup, "globally f-2", 0), "locally f-2", 0), setup);
    // The instance may go; its target instance leads nowhere then.
    let gone = then(&setup, "delete vm vm-2", 0);
    assert_eq!(target_instance::nic_of(&gone, &gone.target_instances[&target("t-2")]), None);
    let second = &setup.target_instances[&target("t-3")];
    assert_eq!(target_instance::nic_of(&setup, second), Some([10, 4, 0, 2].into()));
    let rows = setup.changed(&World::default()).unwrap();
    assert_eq!(World::from_rows(rows).unwrap(), setup);
    assert_eq!(setup.id_of(&target("t-2").to_string()), Some(setup.target_instances[&target("t-2")].id));
}

#[test]
fn what_is_refused() {
    let setup = then(&world(SETUP), "publish sa f-2 n-1", 0);
    let path = "projects/project-1/regions/us-central1";
    for (line, want) in [
        (
            "target t-2 vm-2",
            "The resource 'projects/project-1/zones/us-central1-a/targetInstances/t-2' already exists",
        ),
        (
            "target t-9 vm-9",
            "The resource 'projects/project-1/zones/us-central1-a/instances/vm-9' was not found",
        ),
        (
            "target t-9 vm-2 network=vpc-1",
            "Invalid value for field 'resource.network': 'projects/project-1/global/networks/vpc-1'. The instance has no network interface in that network.",
        ),
        (
            "delete target t-2",
            &format!(
                "The target_instance resource 'projects/project-1/zones/us-central1-a/targetInstances/t-2' is already being used by '{path}/forwardingRules/f-2'"
            ),
        ),
        (
            "forward f-2 vpc-2 s-2 t-2 tcp",
            &format!("The resource '{path}/forwardingRules/f-2' already exists"),
        ),
        (
            "forward f-9 vpc-2 s-1 t-2 tcp",
            &format!(
                "Invalid value for field 'resource.subnetwork': '{path}/subnetworks/s-1'. The subnetwork must be of the forwarding rule's network and region."
            ),
        ),
        (
            "forward f-9 vpc-1 s-1 t-2 tcp",
            "Invalid value for field 'resource.target': 'projects/project-1/zones/us-central1-a/targetInstances/t-2'. The target instance must be in the network 'projects/project-1/global/networks/vpc-1'.",
        ),
        (
            "forward f-9 vpc-2 n-1 t-2 tcp",
            &format!(
                "Invalid value for field 'resource.subnetwork': '{path}/subnetworks/n-1'. A subnetwork with the purpose PRIVATE_SERVICE_CONNECT can be used by service attachments only."
            ),
        ),
        (
            "forward f-9 vpc-2 s-2 t-2 tcp:1:2:3:4:5:6",
            "Value for field 'resource.ports' is too large: maximum size 5 element(s); actual size 6.",
        ),
        (
            "forward f-9 vpc-2 s-2 t-2 esp",
            "Invalid value for field 'resource.IPProtocol': 'esp'. Internal forwarding rules to target instances must be TCP, UDP or L3_DEFAULT.",
        ),
        (
            "vm vm-9 n-1",
            &format!(
                "Invalid value for field 'resource.networkInterfaces[0].subnetwork': '{path}/subnetworks/n-1'. A subnetwork with the purpose PRIVATE_SERVICE_CONNECT can be used by service attachments only."
            ),
        ),
        (
            "reserve a-9 n-1",
            &format!(
                "Invalid value for field 'resource.subnetwork': '{path}/subnetworks/n-1'. A subnetwork with the purpose PRIVATE_SERVICE_CONNECT can be used by service attachments only."
            ),
        ),
        (
            "endpoint e-9 vpc-1 s-1 nothing",
            &format!("The resource '{path}/serviceAttachments/nothing' was not found"),
        ),
        (
            "delete forward f-2",
            &format!(
                "The forwarding_rule resource '{path}/forwardingRules/f-2' is already being used by '{path}/serviceAttachments/sa'"
            ),
        ),
        (
            "delete subnet n-1",
            &format!(
                "The subnetwork resource '{path}/subnetworks/n-1' is already being used by '{path}/serviceAttachments/sa'"
            ),
        ),
        (
            "delete subnet s-2",
            &format!(
                "The subnetwork resource '{path}/subnetworks/s-2' is already being used by 'projects/project-1/zones/us-central1-a/instances/vm-2'"
            ),
        ),
        (
            "publish sb f-2 n-2",
            &format!(
                "The forwarding_rule resource '{path}/forwardingRules/f-2' is already being used by '{path}/serviceAttachments/sa'"
            ),
        ),
        (
            "republish sa f-2 s-2",
            &format!(
                "Invalid value for field 'resource.natSubnets[0]': '{path}/subnetworks/s-2'. The purpose of the subnetwork must be PRIVATE_SERVICE_CONNECT."
            ),
        ),
        (
            "republish sa f-2 n-1 accept=project-2",
            "Invalid value for field 'resource.connectionPreference': 'ACCEPT_AUTOMATIC'. Consumer lists can be specified with ACCEPT_MANUAL only.",
        ),
        (
            "republish sa f-2 n-1 manual accept=project-2 reject=@vpc-1",
            "Invalid value for field 'resource.consumerAcceptLists': 'project-2'. All consumers must be projects or all networks; 'projects/project-1/global/networks/vpc-1' is another.",
        ),
        (
            "republish sa f-2 n-1 manual accept=project-2:0",
            "Invalid value for field 'resource.consumerAcceptLists.connectionLimit': '0'. The limit of 'project-2' must be at least 1.",
        ),
        (
            "delete network vpc-2",
            "The network resource 'projects/project-1/global/networks/vpc-2' is already being used by 'projects/project-1/zones/us-central1-a/instances/vm-2'",
        ),
    ] {
        assert_eq!(refusal(&setup, line).to_string(), *want, "{line}");
    }
    let whole = then(&setup, "forward f-3 vpc-2 s-2 t-2 all", 0);
    refusal(&whole, "publish sb f-3 n-2");
    let endpoint = then(&setup, "endpoint e-1 vpc-1 s-1 sa", 0);
    refusal(&endpoint, "publish sb e-1 n-2");
    refusal(&endpoint, "retarget e-1 t-2");
    // Two service attachments do not share a NAT subnetwork, and a project with an endpoint in it stays.
    let two = then(&setup, "forward f-3 vpc-2 s-2 t-2 tcp:81", 0);
    refusal(&two, "publish sb f-3 n-1");
    then(&two, "publish sb f-3 n-2", 0);
}

#[test]
fn endpoints_are_taken_as_the_service_says() {
    let setup = world(SETUP);
    let open = then(&setup, "publish sa f-2 n-1", 0);
    let one = then(&open, "endpoint e-1 vpc-1 s-1=10.1.0.9 sa", 0);
    assert_eq!(endpoint(&one, "e-1"), ("ACCEPTED", nat(2)));
    // A /29 has room for four; another NAT subnetwork for more.
    let mut full = one.clone();
    for i in 2..=5 {
        full = then(&full, &format!("endpoint e-{i} vpc-1 s-1 sa"), 0);
    }
    assert_eq!(
        (endpoint(&full, "e-4"), endpoint(&full, "e-5")),
        (("ACCEPTED", nat(5)), ("NEEDS_ATTENTION", None))
    );
    assert_eq!(endpoint(&then(&full, "delete forward e-2", 0), "e-5"), ("ACCEPTED", nat(3)));
    let more = then(&full, "republish sa f-2 n-1,n-2", 0);
    assert_eq!(endpoint(&more, "e-5"), ("ACCEPTED", nat(10)));
    refusal(&more, "republish sa f-2 n-1");

    let asked = then(&setup, "publish sa f-2 n-1 manual", 0);
    let asked = then(&asked, "endpoint e-1 vpc-1 s-1 sa", 0);
    let asked = then(&asked, "endpoint project-2/e-9 project-2/vpc-9 project-2/s-9 sa", 0);
    assert_eq!(endpoint(&asked, "e-1"), ("PENDING", None));
    let number = 100_000_000_000 + asked.projects["project-2"].number;
    for (lists, own, other) in [
        ("accept=project-1", ("ACCEPTED", nat(2)), ("PENDING", None)),
        (&format!("accept={number}"), ("PENDING", None), ("ACCEPTED", nat(2))),
        ("accept=@vpc-1,@project-2/vpc-9", ("ACCEPTED", nat(2)), ("ACCEPTED", nat(3))),
        ("accept=project-1 reject=project-1,project-2", ("REJECTED", None), ("REJECTED", None)),
    ] {
        let settled = then(&asked, &format!("republish sa f-2 n-1 manual {lists}"), 0);
        assert_eq!((endpoint(&settled, "e-1"), endpoint(&settled, "project-2/e-9")), (own, other), "{lists}");
        // What was accepted or rejected stays so, unless the lists are to be gone by.
        let after = then(&settled, "republish sa f-2 n-1 manual", 0);
        let stays = |(status, nat)| if status == "PENDING" { ("PENDING", None) } else { (status, nat) };
        assert_eq!(endpoint(&after, "e-1"), stays(own), "{lists}");
        let by_lists = then(&settled, "republish sa f-2 n-1 manual reconcile", 0);
        assert_eq!(endpoint(&by_lists, "e-1"), ("PENDING", None), "{lists}");
    }
    // A limit counts those that are accepted.
    let limited = then(&asked, "republish sa f-2 n-1 manual accept=project-1:1", 0);
    let second = then(&limited, "endpoint e-2 vpc-1 s-1 sa", 0);
    assert_eq!((endpoint(&second, "e-1").0, endpoint(&second, "e-2").0), ("ACCEPTED", "PENDING"));
    assert_eq!(endpoint(&then(&second, "delete forward e-1", 0), "e-2"), ("ACCEPTED", nat(2)));
    // It ends with the service attachment, for good.
    let closed = then(&second, "delete attachment sa", 0);
    assert_eq!((endpoint(&closed, "e-1"), endpoint(&closed, "e-2")), (("CLOSED", None), ("CLOSED", None)));
    let again = then(&closed, "publish sa f-2 n-1", 0);
    assert_eq!(endpoint(&again, "e-1"), ("CLOSED", None));
    let rows = again.changed(&World::default()).unwrap();
    assert_eq!(World::from_rows(rows).unwrap(), again);
}

use crate::support::{network, world};
use std::collections::BTreeSet;
use tombolo_model::{Change, ManagedZoneKey, ManagedZoneSpec, RecordSet, Refusal, Timestamp, World};

const NOW: Timestamp = Timestamp(1);

fn zone(name: &str) -> ManagedZoneKey {
    ManagedZoneKey::new("project-1", name)
}

fn insert(name: &str, dns_name: &str, networks: &[&str], peering: Option<&str>) -> Change {
    Change::ManagedZoneInsert(ManagedZoneSpec {
        key: zone(name),
        dns_name: dns_name.into(),
        networks: networks.iter().map(|name| network(name)).collect(),
        peering: peering.map(network),
    })
}

fn record(name: &str, r#type: &str, rrdatas: &[&str]) -> RecordSet {
    let rrdatas = rrdatas.iter().map(|text| (*text).to_owned()).collect();
    RecordSet { name: name.into(), r#type: r#type.into(), ttl: 300, rrdatas }
}

fn change(deletions: &[&RecordSet], additions: &[&RecordSet]) -> Change {
    let all = |records: &[&RecordSet]| records.iter().map(|record| (*record).clone()).collect();
    Change::RecordSetsChange { zone: zone("net"), deletions: all(deletions), additions: all(additions) }
}

fn base() -> World {
    let world = world(
        "project project-1\n project project-2\n network vpc-1\n network vpc-2\n enable dns.googleapis.com project-1",
    );
    world.apply(&insert("net", "example.com.", &["vpc-1"], None), NOW).expect("a zone")
}

/// The first words of why a change is refused; nothing when it is not.
fn refused(world: &World, change: &Change) -> String {
    world.apply(change, NOW).err().map(|refusal| refusal.to_string()).unwrap_or_default()
}

#[test]
fn a_zone_is_refused_where_it_cannot_be_looked_up() {
    let world = base();
    for (change, why) in [
        (insert("other", "example.org.", &["vpc-1"], None), ""),
        (insert("other", "deep.example.com.", &["vpc-1"], None), ""),
        (insert("other", "example.com.", &["vpc-2"], Some("vpc-1")), ""),
        (insert("other", ".", &["vpc-1"], None), ""),
        (insert("net", "example.org.", &[], None), "already exists"),
        (insert("other", "example.com.", &["vpc-1"], None), "with the same dnsName"),
        (insert("other", "example.com", &[], None), "ends with a dot"),
        (insert("other", "a..b.", &[], None), "ends with a dot"),
        (insert("other", "Example.org.", &[], None), "small letters"),
        (insert("Other", "example.org.", &[], None), "field 'resource.name'"),
        (insert("other", "example.org.", &["vpc-9"], None), "not found"),
        (insert("other", "example.org.", &[], Some("vpc-9")), "not found"),
    ] {
        let said = refused(&world, &change);
        assert!(said.contains(why) && said.is_empty() == why.is_empty(), "{change}: {said}");
    }
    let key = ManagedZoneKey::new("project-2", "z");
    let spec = ManagedZoneSpec { key, dns_name: "z.".into(), networks: BTreeSet::new(), peering: None };
    assert!(refused(&world, &Change::ManagedZoneInsert(spec)).starts_with("Cloud DNS API has not been used"));
}

#[test]
fn records_are_changed_all_or_none() {
    let world = base();
    let a = record("a.example.com.", "A", &["10.0.0.1"]);
    let other = record("a.example.com.", "A", &["10.0.0.2"]);
    let [ns, soa] = ["NS", "SOA"]
        .map(|r#type| world.managed_zones[&zone("net")].records[&format!("example.com. {}", r#type)].clone());
    let with = world.apply(&change(&[], &[&a]), NOW).expect("a record");
    assert_eq!(with.managed_zones[&zone("net")].next_change(), 2);
    for (change, why) in [
        (change(&[&a], &[&other]), ""),
        (change(&[], &[&record("*.example.com.", "A", &["10.0.0.1"])]), ""),
        (change(&[], &[&record("_a._b.example.com.", "SRV", &["0 0 1 a."])]), ""),
        (change(&[], &[&a]), "already exists"),
        (change(&[&other], &[]), "Precondition not met"),
        (change(&[&record("b.example.com.", "A", &["10.0.0.1"])], &[]), "not found"),
        (change(&[], &[&record("a.example.org.", "A", &["10.0.0.1"])]), "in the zone's"),
        (change(&[], &[&record("badexample.com.", "A", &["10.0.0.1"])]), "in the zone's"),
        (change(&[], &[&record("a.example.com.", "CNAME", &["b."])]), "but not both"),
        (change(&[], &[&record("example.com.", "CNAME", &["b."])]), "at the zone's apex"),
        (change(&[], &[&record("b.example.com.", "NS", &["c."])]), "at the zone's apex"),
        (change(&[], &[&record("b.example.com.", "CNAME", &["c.", "d."])]), "One value is expected"),
        (change(&[], &[&record("b.example.com.", "A", &[])]), "One value is expected"),
        (change(&[], &[&record("b.example.com.", "LOC", &["x"])]), "Must be one of"),
        (change(&[&ns], &[]), "at its apex"),
        (change(&[&soa], &[&RecordSet { ttl: 60, ..soa.clone() }]), ""),
    ] {
        let said = refused(&with, &change);
        assert!(said.contains(why) && said.is_empty() == why.is_empty(), "{change:?}: {said}");
    }
    // A peering zone has none.
    let out = world.apply(&insert("out", "out.", &["vpc-1"], Some("vpc-2")), NOW).expect("a zone");
    let add = Change::RecordSetsChange {
        zone: zone("out"),
        deletions: Vec::new(),
        additions: vec![record("a.out.", "A", &["10.0.0.1"])],
    };
    assert!(refused(&out, &add).contains("has no resource record sets"));
}

#[test]
fn what_a_zone_uses_stays_and_an_emptied_zone_goes() {
    let world = base();
    let delete_network = Change::NetworkDelete(network("vpc-1"));
    let disable =
        Change::ServiceDisable { project: "project-1".into(), service: "dns.googleapis.com".into() };
    for change in [&delete_network, &disable] {
        let refusal = world.apply(change, NOW).expect_err("in use");
        assert!(matches!(refusal, Refusal::InUse { .. }), "{change}: {refusal}");
    }
    let a = record("a.example.com.", "A", &["10.0.0.1"]);
    let with = world.apply(&change(&[], &[&a]), NOW).expect("a record");
    let delete = Change::ManagedZoneDelete(zone("net"));
    assert!(refused(&with, &delete).contains("contains one or more 'resource records'"));
    let without = with.apply(&change(&[&a], &[]), NOW).expect("no record");
    let gone = without.apply(&delete, NOW).expect("empty");
    gone.apply(&delete_network, NOW).expect("nobody uses it");
    gone.apply(&disable, NOW).expect("nobody uses it");
    // And it is kept as it is.
    let rows = with.changed(&World::default()).expect("rows");
    assert_eq!(World::from_rows(rows).expect("a World"), with);
}

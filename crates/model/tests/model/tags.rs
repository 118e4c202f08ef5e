//! Tag keys, tag values and their bindings: what their changes lead to, and what is refused.

use crate::support::*;
use proptest::prelude::*;
use proptest::sample::select;
use tombolo_model::*;

const SETUP: &str = "project project-1
    project project-2
    move project-1 org
    network vpc-1
    network vpc-2
    network project-2/vpc-9
    subnet s-1 vpc-1 10.1.0.0/16
    subnet s-2 vpc-2 10.2.0.0/16
    subnet project-2/s-9 project-2/vpc-9 10.9.0.0/16
    vm a s-1
    vm both s-1,s-2
    vm project-2/c project-2/s-9
    tag-key project-1/role vpc-1
    tag-value project-1/role/web
    tag-value project-1/role/db
    tag-key org/env auto
    tag-value org/env/prod
    tag-key project-1/plain
    tag-value project-1/plain/x
    policy p
    associate p at vpc-1
    policy-rule p 10 allow tcp:80 from=project-1/role/web at=org/env/prod
    bind a project-1/role/web
    bind a org/env/prod";

#[test]
fn a_value_means_interfaces_in_its_keys_networks() {
    let setup = world(SETUP);
    let [web, prod, plain] = ["project-1/role/web", "org/env/prod", "project-1/plain/x"].map(tag_value);
    let is_for = |world: &World, value: &TagValueKey| {
        let networks = ["vpc-1", "vpc-2", "project-2/vpc-9"];
        networks.map(|name| tag_value::is_for(world, value, &network(name)))
    };
    assert_eq!(is_for(&setup, &web), [true, false, false]);
    // A project without a parent is in no organization.
    assert_eq!(is_for(&setup, &prod), [true, true, false]);
    assert_eq!(is_for(&then(&setup, "move project-2 org", 0), &prod), [true; 3]);
    assert_eq!(is_for(&setup, &plain), [false; 3]);
    let names = [&web, &prod].map(|value| tag_value::namespaced_name(&setup, value).unwrap());
    assert_eq!(names, ["project-1/role/web", "433637338589/env/prod"]);
    // What a World has comes back from its rows; what is not bound is in none of them.
    let rows = setup.changed(&World::default()).unwrap();
    let bound = rows.iter().filter(|row| row.value.as_ref().is_some_and(|it| it.get("secureTags").is_some()));
    assert_eq!(bound.count(), 1);
    assert_eq!(World::from_rows(rows).unwrap(), setup);
}

#[test]
fn a_value_whose_network_is_gone_means_nothing_for_good() {
    let setup =
        world("project project-1\nnetwork vpc-1\ntag-key project-1/role vpc-1\ntag-value project-1/role/web");
    let web = tag_value("project-1/role/web");
    assert!(tag_value::is_effective(&setup, &web));
    let gone = then(&setup, "delete network vpc-1", 0);
    assert!(!tag_value::is_effective(&gone, &web));
    let another = then(&gone, "network vpc-1", 0);
    assert!(
        !tag_value::is_effective(&another, &web) && !tag_value::is_for(&another, &web, &network("vpc-1"))
    );
}

#[test]
fn what_is_not_used_can_go() {
    let mut world = world(SETUP);
    for line in [
        "policy-remove p 10",
        "unbind a project-1/role/web",
        "delete tag-value project-1/role/web",
        "delete tag-value project-1/role/db",
        "delete tag-key project-1/role",
    ] {
        world = then(&world, line, 0);
    }
    assert_eq!((world.tag_keys.len(), world.tag_values.len()), (2, 2));
    // Its bindings go with an instance.
    let gone = then(&world, "delete vm a", 0);
    then(&gone, "delete tag-value org/env/prod", 0);
    // The number comes back with the name.
    let again = then(&world, "tag-key project-1/role vpc-2", 0);
    assert!(again.tag_keys.contains_key(&tag_key("project-1/role")));
}

#[test]
fn what_is_refused() {
    let setup = world(SETUP);
    let cannot_be = |what: &str| format!("Invalid value for field 'resource.{what}");
    for (line, want) in [
        (
            "tag-key project-1/role vpc-1",
            "The resource 'projects/project-1/tagKeys/role' already exists".into(),
        ),
        ("tag-key project-9/role", "The resource 'projects/project-9' was not found".into()),
        ("tag-key project-1/it's", cannot_be("shortName': 'it's'. Must be 1 to 256 characters")),
        (
            "tag-key project-1/x vpc-9",
            cannot_be("purposeData.network': 'projects/project-1/global/networks/vpc-9'"),
        ),
        ("tag-key project-1/x project-2/vpc-9", "must be in the project that the tag key is in".into()),
        ("tag-key org/x project-2/vpc-9", "must be in the organization that the tag key is in".into()),
        (
            "tag-key project-1/x auto",
            cannot_be("purposeData.organization': 'auto'. Only a tag key of an org"),
        ),
        ("tag-value project-1/role/web", "already exists".into()),
        ("tag-value project-1/nothing/web", "was not found".into()),
        ("delete tag-key project-1/role", "is already being used by 'tagValues/".into()),
        ("delete tag-value project-1/role/web", "is already being used by 'projects/project-1/zones".into()),
        ("delete tag-key project-1/nothing", "was not found".into()),
        ("bind a project-1/role/web", "already exists".into()),
        ("bind a project-1/role/db", "a value of the same tag key already, 'project-1/role/web'".into()),
        ("bind nobody project-1/role/db", "was not found".into()),
        ("bind a project-1/role/nothing", "was not found".into()),
        (
            "bind project-2/c project-1/role/web",
            "The instance has no interface in 'projects/project-1/".into(),
        ),
        ("bind project-2/c org/env/prod", "project must be in the organization of the tag key".into()),
        ("unbind both project-1/role/web", "was not found".into()),
        (
            "policy-rule p 1 deny tcp from=project-1/role/web egress",
            cannot_be("match.srcSecureTags': ''. Source"),
        ),
        ("policy-rule p 1 deny tcp egress at=project-1/role/web", cannot_be("match.destIpRanges")),
        (
            "policy-rule p 1 deny tcp from=project-1/role/no",
            cannot_be("match.srcSecureTags[0].name': 'tagValues/"),
        ),
        ("policy-rule p 1 deny tcp ranges=10.0.0.0/8 at=project-1/plain/x", "must be GCE_FIREWALL".into()),
        (
            "policy-rule p 1 deny tcp ranges=10.0.0.0/8 at=org/env/prod accounts=web",
            "cannot be specified together with target service accounts".into(),
        ),
    ] {
        let refused = refusal(&setup, line).to_string();
        assert!(refused.contains(&want), "{line}: {refused}");
    }
    // The rule holds it, too, when nobody has it any more.
    let unbound = then(&setup, "unbind a project-1/role/web", 0);
    let refused = refusal(&unbound, "delete tag-value project-1/role/web").to_string();
    assert!(
        refused.contains("is already being used by 'projects/project-1/global/firewallPolicies/p'"),
        "{refused}"
    );
    let empty = world("project project-1\ndelete rule default-allow-internal\ndelete rule default-allow-ssh
        delete rule default-allow-rdp\ndelete rule default-allow-icmp\ndelete network default\ntag-key project-1/x");
    let refused =
        empty.apply(&Change::ProjectDelete("project-1".into()), Timestamp(0)).unwrap_err().to_string();
    assert!(refused.contains("is already being used by 'tagKeys/"), "{refused}");
}

/// Ten values may mean something at an interface; one that means nothing there does not count.
#[test]
fn an_interface_has_ten_values_at_most() {
    let mut world = world(SETUP);
    for i in 0..11 {
        world = then(&world, &format!("tag-key project-1/k{i} vpc-{}", if i < 9 { 1 } else { 2 }), 0);
        world = then(&world, &format!("tag-value project-1/k{i}/x"), 0);
    }
    world = then(&world, "bind both org/env/prod", 0);
    for i in (0..11).filter(|i| *i != 8) {
        world = then(&world, &format!("bind both project-1/k{i}/x"), 0);
    }
    world = then(&world, "bind both project-1/k8/x", 0);
    let refused = refusal(&world, "bind both project-1/role/db").to_string();
    assert!(refused.contains("Quota 'SecureTagsPerNetworkInterface' exceeded. Limit: 10.0"), "{refused}");
}

fn line() -> impl Strategy<Value = String> {
    const KEYS: &[&str] = &["project-1/role", "project-1/plain", "org/env", "org/new"];
    let key = || select(KEYS);
    let value =
        move || (key(), select(&["web", "db", "prod"][..])).prop_map(|(key, name)| format!("{key}/{name}"));
    let vm = || select(&["a", "both", "project-2/c"][..]);
    let at = || select(&["10", "11"][..]);
    prop_oneof![
        1 => (key(), select(&["", "vpc-1", "vpc-2", "auto"][..])).prop_map(|(k, scope)| format!("tag-key {k} {scope}")),
        2 => key().prop_map(|k| format!("delete tag-key {k}")),
        3 => value().prop_map(|v| format!("tag-value {v}")),
        4 => value().prop_map(|v| format!("delete tag-value {v}")),
        5 => (vm(), value()).prop_map(|(vm, v)| format!("bind {vm} {v}")),
        3 => (vm(), value()).prop_map(|(vm, v)| format!("unbind {vm} {v}")),
        2 => (at(), value()).prop_map(|(n, v)| format!("policy-rule p {n} deny tcp from={v}")),
        2 => (at(), value()).prop_map(|(n, v)| format!("policy-replace p {n} deny tcp ranges=10.0.0.0/8 at={v}")),
        2 => at().prop_map(|n| format!("policy-remove p {n}")),
        1 => vm().prop_map(|vm| format!("delete vm {vm}")),
    ]
}

/// Whatever is bound, named or in something is there; an instance has one value of a key.
fn check(world: &World) -> Result<(), TestCaseError> {
    for value in world.tag_values.values() {
        prop_assert!(world.tag_keys.contains_key(&value.parent));
    }
    for (parent, value) in world.instances.values().flat_map(|instance| &instance.secure_tags) {
        prop_assert_eq!(world.tag_values.get(value).map(|value| &value.parent), Some(parent));
    }
    for rule in world.firewall_policies.values().flat_map(|policy| policy.rules.values()) {
        for value in rule.src_secure_tags.iter().chain(&rule.target_secure_tags) {
            let scope = tag_value::find(world, value).map(|(_, parent)| parent.scope.is_some());
            prop_assert_eq!(scope, Some(true));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn nothing_names_what_is_gone(lines in prop::collection::vec(line(), 1..40)) {
        let mut world = world(SETUP);
        for line in lines {
            if let Ok(next) = world.apply(&change(&line), Timestamp(0)) {
                check(&next)?;
                world = next;
            }
        }
    }
}

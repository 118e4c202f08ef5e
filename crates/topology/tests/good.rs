//! What good files come to: defaults, short forms, references, and the order of the changes.

use std::time::Duration;
use tombolo_model::flow_log::FlowLog;
use tombolo_model::{
    Action, Change, Direction, FirewallSpec, InstanceKey, LogMetadata, NatRanges, NatSources, NatSpec,
    NetworkKey, NextHop, RedisKey, RedisTier, SubnetworkKey, Timestamp,
};
use tombolo_topology::{CheckKind, Probe, Target, Topology, export, parse};

const BASE: &str = "\
projects: [{projectId: project-1}]
networks:
  - name: vpc-1
    subnetworks:
      - {name: subnet-1, region: us-central1, ipCidrRange: 10.1.0.0/16}
";

const VM: &str = "\
instances:
  - name: vm-1
    zone: us-central1-a
    networkInterfaces: [{subnetwork: subnet-1}]
";

/// The file, which must also make a World.
fn good(text: &str) -> Topology {
    let topology = parse("lab.yaml", text).unwrap_or_else(|errors| panic!("{}", errors[0]));
    topology.world(Timestamp(0)).unwrap_or_else(|error| panic!("{error}"));
    topology
}

/// The changes after those of the projects, as lines.
fn lines(text: &str) -> Vec<String> {
    let changes = good(text).changes;
    let of_project = |path: &str| path.starts_with("projects");
    changes.iter().filter(|c| !of_project(&c.path)).map(|c| format!("{}: {}", c.path, c.value)).collect()
}

fn firewall(rule: &str) -> FirewallSpec {
    let topology = good(&format!("{BASE}    firewalls:\n      - {rule}\n"));
    match topology.changes.last().map(|c| &c.value) {
        Some(Change::FirewallInsert(spec)) => spec.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_project_loses_its_network_default_unless_it_wants_it() {
    let changes = |text: &str| good(text).changes.iter().map(|c| c.value.to_string()).collect::<Vec<_>>();
    assert_eq!(
        changes("projects: [{projectId: project-1}]"),
        [
            "create project project-1",
            "enable compute.googleapis.com in project-1",
            "delete firewall rule default-allow-internal",
            "delete firewall rule default-allow-ssh",
            "delete firewall rule default-allow-rdp",
            "delete firewall rule default-allow-icmp",
            "delete network default",
        ]
    );
    let kept = "projects: [{projectId: project-1, defaultNetwork: true, services: [redis.googleapis.com]}]";
    assert_eq!(
        changes(kept),
        [
            "create project project-1",
            "enable compute.googleapis.com in project-1",
            "enable redis.googleapis.com in project-1",
        ]
    );
}

#[test]
fn changes_come_in_the_order_in_which_they_can_be_made() {
    let text = format!(
        "{VM}    canIpForward: true
redis: [{{name: redis-1, region: us-central1, authorizedNetwork: vpc-1}}]
{BASE}    peerings: [{{name: to-2, network: vpc-2}}]
    firewalls: [{{name: all, allowed: [{{IPProtocol: all}}]}}]
    routes: [{{name: to-dc, destRange: 192.168.0.0/16, nextHopInstance: vm-1}}]
  - name: vpc-2
"
    );
    assert_eq!(
        lines(&text),
        [
            "networks[0]: create network vpc-1",
            "networks[1]: create network vpc-2",
            "networks[0].subnetworks[0]: create subnetwork subnet-1 10.1.0.0/16",
            "instances[0]: create instance vm-1 in us-central1-a",
            "networks[0].firewalls[0]: create firewall rule all",
            "networks[0].routes[0]: create route to-dc to 192.168.0.0/16",
            "networks[0].peerings[0]: create peering to-2 from vpc-1 to vpc-2",
            "redis[0]: create redis redis-1 for vpc-1",
        ]
    );
}

#[test]
fn places_are_those_of_the_file() {
    let topology = good(&format!("{BASE}{VM}"));
    let place = |path: &str| topology.changes.iter().find(|c| c.path == path).map(|c| (c.line, c.column));
    assert_eq!(place("networks[0]"), Some((3, 5)));
    assert_eq!(place("networks[0].subnetworks[0]"), Some((5, 9)));
    assert_eq!(place("instances[0]"), Some((7, 5)));
}

#[test]
fn firewall_rules_have_googles_defaults() {
    let rule = firewall("{name: r, allowed: [{IPProtocol: tcp, ports: [22, \"80-90\"]}, {IPProtocol: 47}]}");
    assert_eq!((rule.direction, rule.action, rule.priority), (Direction::Ingress, Action::Allow, 1000));
    let matches: Vec<_> = rule.matches.iter().map(ToString::to_string).collect();
    assert_eq!(matches, ["tcp:22,80-90", "47"]);
    assert!(rule.source_ranges.is_empty() && !rule.disabled);

    let rule = firewall(
        "{name: r, denied: [{IPProtocol: all}], direction: EGRESS, priority: 0, \
         destinationRanges: [10.0.0.0/8], targetTags: [web], disabled: true}",
    );
    assert_eq!((rule.direction, rule.action, rule.priority), (Direction::Egress, Action::Deny, 0));
    assert!(rule.disabled && rule.target_tags.contains("web") && rule.destination_ranges.len() == 1);
}

/// What is exported of it reads as the same.
#[test]
fn a_rule_logs_if_it_says_so() {
    for (config, want) in [
        ("{enable: true}", Some(LogMetadata::IncludeAllMetadata)),
        ("{enable: true, metadata: EXCLUDE_ALL_METADATA}", Some(LogMetadata::ExcludeAllMetadata)),
        ("{enable: false}", None),
    ] {
        let rule = format!("{{name: r, allowed: [{{IPProtocol: tcp}}], logConfig: {config}}}");
        assert_eq!(firewall(&rule).logging, want);
        let world = good(&format!("{BASE}    firewalls:\n      - {rule}\n")).world(Timestamp(0)).unwrap();
        let exported = export(&world);
        assert_eq!(exported.lost, [""; 0]);
        let again = good(&exported.text).world(Timestamp(0)).unwrap();
        assert_eq!(again.firewalls.values().next().unwrap().logging, want, "{}", exported.text);
    }
}

#[test]
fn rules_and_instances_have_service_accounts() {
    let rule = firewall(
        "{name: r, allowed: [{IPProtocol: esp}], sourceServiceAccounts: [a@b.c], targetServiceAccounts: [d@e.f, g@h.i]}",
    );
    assert_eq!((rule.source_service_accounts.len(), rule.target_service_accounts.len()), (1, 2));
    let topology = good(&format!("{BASE}{VM}    serviceAccounts: [{{email: default, scopes: [s]}}]\n"));
    let Some(Change::InstanceInsert(spec)) = topology.changes.last().map(|c| &c.value) else { panic!() };
    let account = spec.service_account.as_ref().map(|account| (account.email.as_str(), account.scopes.len()));
    assert_eq!(account, Some(("default", 1)));
}

#[test]
fn instances_take_both_notations_of_tags_and_metadata() {
    for tags in ["[a, b]", "{items: [b, a]}"] {
        for script in ["startupScript: exit", "metadata: {items: [{key: startup-script, value: exit}]}"] {
            let topology = good(&format!("{BASE}{VM}    tags: {tags}\n    {script}\n"));
            let Some(Change::InstanceInsert(spec)) = topology.changes.last().map(|c| &c.value) else {
                panic!()
            };
            assert_eq!(spec.tags.iter().collect::<Vec<_>>(), ["a", "b"]);
            assert_eq!(spec.metadata["startup-script"], "exit");
        }
    }
    let text = format!("{BASE}{VM}    metadata: {{items: [{{key: enable-oslogin, value: TRUE}}]}}\n");
    let topology = good(&text);
    let Some(Change::InstanceInsert(spec)) = topology.changes.last().map(|c| &c.value) else { panic!() };
    assert_eq!(spec.metadata["enable-oslogin"], "TRUE");
}

#[test]
fn a_subnetwork_is_that_of_the_instances_region_or_of_an_auto_mode_network() {
    let other = "      - {name: subnet-1, region: us-east1, ipCidrRange: 10.2.0.0/16}\n";
    let auto = "  - {name: auto, autoCreateSubnetworks: true}\n";
    let url =
        "https://www.googleapis.com/compute/v1/projects/project-1/regions/us-east1/subnetworks/subnet-1";
    for (zone, subnetwork, region, want) in [
        ("us-central1-f", "subnet-1", "us-central1", "subnet-1"),
        ("us-east1-b", "subnet-1", "us-east1", "subnet-1"),
        ("us-east1-b", url, "us-east1", "subnet-1"),
        ("me-west1-a", "auto", "me-west1", "auto"),
    ] {
        let vm = VM.replace("us-central1-a", zone).replace("subnet-1", subnetwork);
        let topology = good(&format!("{BASE}{other}{auto}{vm}"));
        let Some(Change::InstanceInsert(spec)) = topology.changes.last().map(|c| &c.value) else { panic!() };
        assert_eq!(spec.nics[0].subnetwork, SubnetworkKey::new("project-1", region, want));
    }
    let default = "projects: [{projectId: project-1, defaultNetwork: true}]\n".to_owned();
    good(&(default + &VM.replace("subnet-1", "default")));
}

#[test]
fn routes_have_three_kinds_of_next_hops() {
    let instance = InstanceKey::new("project-1", "us-central1-a", "vm-1");
    for (hop, want) in [
        ("nextHopInstance: vm-1", NextHop::Instance(instance.clone())),
        ("nextHopInstance: project-1/us-central1-a/vm-1", NextHop::Instance(instance)),
        ("nextHopIp: 10.1.0.9", NextHop::Address("10.1.0.9".parse().unwrap())),
        ("nextHopGateway: default-internet-gateway", NextHop::InternetGateway),
        ("nextHopGateway: global/gateways/default-internet-gateway", NextHop::InternetGateway),
    ] {
        let route =
            format!("    routes: [{{name: r, destRange: 192.168.0.0/16, {hop}, tags: [red, blue]}}]\n");
        let topology = good(&format!("{BASE}{route}{VM}    canIpForward: true\n"));
        let Some(Change::RouteInsert(spec)) = topology.changes.last().map(|c| &c.value) else { panic!() };
        assert_eq!((spec.priority, &spec.next_hop), (1000, &want));
        assert_eq!(spec.tags, ["blue", "red"].map(String::from).into());
        let exported = tombolo_topology::export(&topology.world(Timestamp(0)).unwrap());
        assert_eq!(exported.lost, Vec::<String>::new(), "{}", exported.text);
    }
}

#[test]
fn interfaces_may_have_external_addresses() {
    for (said, want) in [("{}", "External NAT"), ("{name: outside}", "outside")] {
        let vm = VM.replace("subnet-1}", &format!("subnet-1, accessConfigs: [{said}]}}"));
        let topology = good(&format!("{BASE}{vm}"));
        let Some(Change::AccessConfigAdd { nic, name, address, .. }) =
            topology.changes.last().map(|c| &c.value)
        else {
            panic!("{:?}", topology.changes.last())
        };
        assert_eq!((*nic, name.as_str(), *address), (0, want, None));
        let world = topology.world(Timestamp(0)).unwrap();
        assert_eq!(tombolo_topology::export(&world).lost, Vec::<String>::new());
    }
}

#[test]
fn subnetworks_have_secondary_ranges_and_interfaces_alias_ranges() {
    let text = format!(
        "{}{}",
        BASE.replace(
            "10.1.0.0/16}",
            "10.1.0.0/16, secondaryIpRanges: [{rangeName: pods, ipCidrRange: 10.8.0.0/16}]}"
        ),
        VM.replace(
            "subnet-1}",
            "subnet-1, aliasIpRanges: [{ipCidrRange: /24, subnetworkRangeName: pods}, {ipCidrRange: 10.1.0.9}]}"
        ),
    );
    let world = good(&text).world(Timestamp(0)).unwrap();
    let subnetwork = &world.subnetworks[&SubnetworkKey::new("project-1", "us-central1", "subnet-1")];
    assert_eq!(subnetwork.secondary["pods"].to_string(), "10.8.0.0/16");
    let aliases = |world: &tombolo_model::World| {
        let vm = &world.instances[&InstanceKey::new("project-1", "us-central1-a", "vm-1")];
        vm.nics[0].aliases.iter().map(|it| (it.range.to_string(), it.secondary.clone())).collect::<Vec<_>>()
    };
    let want = [("10.8.0.0/24".to_owned(), Some("pods".to_owned())), ("10.1.0.9/32".to_owned(), None)];
    assert_eq!(aliases(&world), want);
    let exported = export(&world);
    assert_eq!(exported.lost, [""; 0], "{}", exported.text);
    let again = good(&exported.text).world(Timestamp(0)).unwrap();
    assert_eq!(aliases(&again), want);
    assert_eq!(again.subnetworks, world.subnetworks);
}

#[test]
fn redis_has_defaults_and_enables_itself() {
    let redis = "redis: [{name: r, region: us-central1, authorizedNetwork: vpc-1}]\n";
    let topology = good(&format!("{BASE}{redis}"));
    let Some(Change::RedisInsert(spec)) = topology.changes.last().map(|c| &c.value) else { panic!() };
    assert_eq!((spec.tier, spec.memory_size_gb, spec.reserved_ip_range), (RedisTier::Basic, 1, None));
    assert_eq!(spec.authorized_network, NetworkKey::new("project-1", "vpc-1"));
}

#[test]
fn checks_fill_in_what_follows() {
    let redis = "redis: [{name: redis-1, region: us-central1, authorizedNetwork: vpc-1}]\n";
    let key = RedisKey::new("project-1", "us-central1", "redis-1");
    let vm = InstanceKey::new("project-1", "us-central1-a", "vm-1");
    let seven = Target::Address("10.0.0.7".parse().unwrap());
    for (check, to, probe, reachable) in [
        ("to: redis-1, expect: reachable", Target::Redis(key.clone()), Probe::Tcp(6379), true),
        ("to: redis-1, protocol: icmp, expect: unreachable", Target::Redis(key), Probe::Icmp, false),
        ("to: vm-1, port: 22, expect: reachable", Target::Instance(vm.clone()), Probe::Tcp(22), true),
        ("to: 10.0.0.7, port: 53, protocol: udp, expect: unreachable", seven, Probe::Udp(53), false),
    ] {
        let topology = good(&format!("{BASE}{VM}{redis}checks: [{{from: vm-1, {check}}}]\n"));
        let have = &topology.checks[0].value;
        assert_eq!(have.kind, CheckKind::Probe { to, probe, reachable });
        assert_eq!((&have.from, have.timeout), (&vm, Duration::from_secs(5)));
    }
}

#[test]
fn a_command_is_a_text_for_the_shell_or_a_list() {
    for (check, argv, output, seconds) in [
        ("command: echo 1 2, expect: 1 2", ["sh", "-c", "echo 1 2"].as_slice(), Some("1 2"), 5.0),
        ("command: [seq, 3], timeoutSeconds: 0.5", &["seq", "3"], None, 0.5),
        ("command: [\"true\"], expect: \"\"", &["true"], Some(""), 5.0),
        ("command: [printf, \"3\"], expect: 3", &["printf", "3"], Some("3"), 5.0),
    ] {
        let from = "projects/project-1/zones/us-central1-a/instances/vm-1";
        let topology = good(&format!("{BASE}{VM}checks: [{{from: {from}, {check}}}]\n"));
        let have = &topology.checks[0].value;
        let argv = argv.iter().map(ToString::to_string).collect();
        assert_eq!(have.kind, CheckKind::Command { argv, output: output.map(str::to_owned) });
        assert_eq!(have.timeout, Duration::from_secs_f64(seconds));
    }
}

#[test]
fn firewall_policies() {
    let text = format!(
        "{BASE}    networkFirewallPolicyEnforcementOrder: BEFORE_CLASSIC_FIREWALL
firewallPolicies:
  - name: guard
    rules:
      - {{priority: 7, action: goto_next, match: {{srcIpRanges: [10.0.0.0/8], destIpRanges: [10.1.0.0/24], layer4Configs: [{{ipProtocol: tcp, ports: ['80-90']}}]}}}}
      - priority: 9
        action: deny
        direction: EGRESS
        ruleName: out
        match: {{srcIpRanges: [10.1.2.0/24], destIpRanges: [0.0.0.0/0], layer4Configs: [{{ipProtocol: all}}]}}
        enableLogging: true
    associations: [{{name: here, attachmentTarget: vpc-1}}]
"
    );
    assert_eq!(
        lines(&text)[2..],
        [
            "firewallPolicies[0]: create firewall policy guard",
            "firewallPolicies[0].rules[0]: set rule 7 of firewall policy guard",
            "firewallPolicies[0].rules[1]: set rule 9 of firewall policy guard",
            "firewallPolicies[0].associations[0]: associate firewall policy guard with vpc-1",
            "networks[0]: set the firewall policy order of vpc-1",
        ]
    );
    let world = good(&text).world(Timestamp(0)).unwrap();
    let again = export(&world);
    assert_eq!(again.lost, [""; 0]);
    let second = good(&again.text).world(Timestamp(0)).unwrap();
    assert_eq!(
        second.firewall_policies.values().next().map(|policy| &policy.rules),
        world.firewall_policies.values().next().map(|policy| &policy.rules)
    );

    let policy = world.firewall_policies.values().next().unwrap();
    let near =
        policy.rules.values().map(|rule| (rule.direction, rule.near_ranges.first().unwrap().to_string()));
    let want =
        [(Direction::Ingress, "10.1.0.0/24".to_owned()), (Direction::Egress, "10.1.2.0/24".to_owned())];
    assert_eq!(near.collect::<Vec<_>>(), want);

    let wrong = text.replace("srcIpRanges: [10.1.2.0/24]", "srcIpRanges: ['fd20::/20']");
    let error = parse("lab.yaml", &wrong).unwrap().world(Timestamp(0)).unwrap_err().to_string();
    assert!(error.contains("firewallPolicies[0].rules[1].match") && error.contains("srcIpRanges"), "{error}");
}

#[test]
fn secure_tags() {
    let text = "projects: [{projectId: project-1, parent: organization}, {projectId: project-2, parent: organization}]
networks:
  - name: vpc-1
    project: project-1
    subnetworks: [{name: subnet-1, region: us-central1, ipCidrRange: 10.1.0.0/16}]
tagKeys:
  - shortName: role
    parent: project-1
    purpose: GCE_FIREWALL
    purposeData: {network: vpc-1}
    values: [web, db]
  - {shortName: env, parent: organization, purposeData: {organization: auto}, values: [prod, web]}
  - {shortName: role, parent: project-2, values: [other]}
instances:
  - {name: a, project: project-1, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-1}],
     resourceManagerTags: [role/web, 433637338589/env/prod]}
firewallPolicies:
  - name: guard
    project: project-1
    rules:
      - priority: 7
        action: allow
        match: {srcSecureTags: [project-1/role/web, organization/env/prod], layer4Configs: [{ipProtocol: tcp}]}
        targetSecureTags: [role/db]
hierarchicalFirewallPolicies:
  - shortName: base
    rules: [{priority: 1, action: deny, match: {srcIpRanges: [10.0.0.0/8], layer4Configs: [{ipProtocol: all}]}, targetSecureTags: [env/prod]}]
";
    let key = |name: &str| {
        let (parent, name) = name.rsplit_once('/').unwrap();
        tombolo_model::tag_key::key_of(&tombolo_model::World::default(), &parent.parse().unwrap(), name)
    };
    let value = |parent: &str, name: &str| {
        tombolo_model::tag_value::key_of(&tombolo_model::World::default(), &key(parent), name)
    };
    let own = lines(text);
    let role = key("projects/project-1/role");
    let env = key("organizations/433637338589/env");
    let [web, prod] =
        [value("projects/project-1/role", "web"), value("organizations/433637338589/env", "prod")];
    for (at, want) in [
        (2, "tagKeys[0]: create tag key role in projects/project-1".to_owned()),
        (3, format!("tagKeys[0].values[0]: create tag value web of {role}")),
        (4, format!("tagKeys[0].values[1]: create tag value db of {role}")),
        (5, "tagKeys[1]: create tag key env in organizations/433637338589".to_owned()),
        (6, format!("tagKeys[1].values[0]: create tag value prod of {env}")),
        (10, "instances[0]: create instance a in us-central1-a".to_owned()),
        (11, format!("instances[0].resourceManagerTags[0]: bind {web} to a")),
        (12, format!("instances[0].resourceManagerTags[1]: bind {prod} to a")),
    ] {
        assert_eq!(own[at], want);
    }
    let world = good(text).world(Timestamp(0)).unwrap();
    let exported = export(&world);
    assert_eq!(exported.lost, [""; 0], "{}", exported.text);
    let again = good(&exported.text).world(Timestamp(0)).unwrap();
    assert_eq!(
        again.instances.values().next().unwrap().secure_tags,
        [(role, web.clone()), (env, prod)].into()
    );
    let rules = |world: &tombolo_model::World| {
        let policies = world.firewall_policies.values().map(|policy| policy.rules.clone());
        policies
            .chain(world.hierarchical_policies.values().map(|policy| policy.rules.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(rules(&again), rules(&world));
    assert_eq!((&again.tag_values.len(), again.tag_keys.len()), (&5, 3));

    // A key whose network is gone cannot be made anew; nor the rule that does nothing any more.
    let gone = [
        Change::TagUnbind {
            instance: InstanceKey::new("project-1", "us-central1-a", "a"),
            value: web.clone(),
        },
        Change::InstanceDelete(InstanceKey::new("project-1", "us-central1-a", "a")),
        Change::SubnetworkDelete(SubnetworkKey::new("project-1", "us-central1", "subnet-1")),
        Change::NetworkDelete(NetworkKey::new("project-1", "vpc-1")),
    ];
    let world = gone.iter().try_fold(world, |world, change| world.apply(change, Timestamp(0))).unwrap();
    let exported = export(&world);
    assert!(exported.lost.contains(&web.to_string()), "{:?}", exported.lost);
    assert!(
        exported.lost.iter().any(|line| line.ends_with("firewallPolicies/guard: rules")),
        "{:?}",
        exported.lost
    );
    assert_eq!(good(&exported.text).world(Timestamp(0)).unwrap().tag_keys.len(), 2);

    for (from, to, path, part) in [
        (
            "parent: project-2, values",
            "parent: project-3, values",
            "tagKeys[2].parent",
            "there is no project 'project-3'",
        ),
        ("{network: vpc-1}", "{network: vpc-2}", "tagKeys[0].purposeData.network", "vpc-1"),
        ("    purposeData: {network: vpc-1}\n", "", "tagKeys[0]", "missing key 'purposeData'"),
        ("{organization: auto}", "{organization: all}", "tagKeys[1].purposeData.organization", "auto"),
        ("[role/web, 4", "[role/wbe, 4", "instances[0].resourceManagerTags[0]", "did you mean 'role/web'"),
        (
            "[project-1/role/web, o",
            "[web, o",
            "firewallPolicies[0].rules[0].match.srcSecureTags[0]",
            "there is no tag value 'web'",
        ),
        ("[role/db]", "[role/bd]", "firewallPolicies[0].rules[0].targetSecureTags[0]", "role/db"),
        (
            "values: [other]",
            "values: [web]",
            "instances[0].resourceManagerTags[0]",
            "it may be project-1/role/web or",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        let errors = parse("lab.yaml", &text.replacen(from, to, 1)).unwrap_err();
        let error = errors[0].to_string();
        assert!(error.contains(path) && error.contains(part), "{to}: {error}");
    }
    for (from, to, path, part) in [
        (
            "[role/web, 4",
            "[role/web, role/db, 4",
            "instances[0].resourceManagerTags[1]",
            "same tag key already",
        ),
        (
            "{network: vpc-1}",
            "{organization: auto}",
            "tagKeys[0].purposeData.organization",
            "Only a tag key of an",
        ),
        ("[web, db]", "[web, db, web]", "tagKeys[0].values[2]", "already exists"),
        (
            "[role/db]",
            "[role/other]",
            "firewallPolicies[0].rules[0].targetSecureTags[0]",
            "must be GCE_FIREWALL",
        ),
    ] {
        let topology = parse("lab.yaml", &text.replacen(from, to, 1)).unwrap();
        let error = topology.world(Timestamp(0)).unwrap_err().to_string();
        assert!(error.contains(path) && error.contains(part), "{to}: {error}");
    }
}

#[test]
fn hierarchical_policies() {
    let text = "projects:
  - {projectId: project-1, parent: prod/team-a}
  - {projectId: project-2, parent: organization}
  - {projectId: project-3}
folders:
  - {displayName: prod}
  - {displayName: team-a, parent: prod}
  - {displayName: test}
  - {displayName: team-a, parent: test}
networks:
  - {name: vpc-1, project: project-1}
hierarchicalFirewallPolicies:
  - shortName: base
    rules:
      - {priority: 1, action: goto_next, match: {srcIpRanges: [10.0.0.0/8], layer4Configs: [{ipProtocol: tcp, ports: ['22']}]}}
      - priority: 2
        action: deny
        match: {srcIpRanges: [0.0.0.0/0], layer4Configs: [{ipProtocol: tcp}]}
        targetResources: [vpc-1]
    associations: [{name: at-the-top, attachmentTarget: organization}]
  - shortName: team
    parent: prod
    associations: [{name: at-team, attachmentTarget: prod/team-a}]
";
    assert_eq!(
        good(text).changes[4..10].iter().map(|c| format!("{}: {}", c.path, c.value)).collect::<Vec<_>>(),
        [
            "projects[0]: create project project-1",
            "projects[1]: create project project-2",
            "projects[2]: create project project-3",
            "projects[0].parent: move project project-1 to folders/TEAM",
            "projects[1].parent: move project project-2 to organizations/433637338589",
            "projects[0]: enable compute.googleapis.com in project-1",
        ]
        .map(|line| line.replace("folders/TEAM", &team()))
    );
    let world = good(text).world(Timestamp(0)).unwrap();
    let acting: Vec<_> = tombolo_model::hierarchical_policy::all_of_project(&world, "project-1")
        .into_iter()
        .map(|(node, _, policy)| (node.to_string(), policy.short_name.clone(), policy.rules.len()))
        .collect();
    let org = tombolo_model::Node::Organization.to_string();
    assert_eq!(acting, [(org, "base".into(), 2), (team(), "team".into(), 0)]);
    let again = export(&world);
    assert_eq!(again.lost, [""; 0], "{}", again.text);
    let second = good(&again.text).world(Timestamp(0)).unwrap();
    assert_eq!((&second.folders, second.hierarchical_policies.len()), (&world.folders, 2));
    // A folder that has another name than the one that its number is of is the same folder in the file.
    let folder = world.folders.iter().find(|(_, folder)| folder.display_name == "test").unwrap().0.clone();
    let rename = tombolo_model::Change::FolderRename { folder, display_name: "trial".into() };
    assert_eq!(export(&world.apply(&rename, Timestamp(0)).unwrap()).lost, [""; 0]);

    for (from, to, path, part) in [
        (
            "parent: prod/team-a}\n  - {projectId: project-2",
            "parent: team-a}\n  - {projectId: project-2",
            "projects[0].parent",
            "it may be prod/team-a or test/team-a",
        ),
        ("parent: organization", "parent: prd", "projects[1].parent", "prod"),
        ("parent: test}", "parent: tset}", "folders[3].parent", "test"),
        (
            "attachmentTarget: organization",
            "attachmentTarget: x",
            "hierarchicalFirewallPolicies[0].associations[0].attachmentTarget",
            "x",
        ),
        ("[vpc-1]", "[vpc-2]", "hierarchicalFirewallPolicies[0].rules[1].targetResources[0]", "vpc-1"),
    ] {
        let errors = parse("lab.yaml", &text.replace(from, to)).unwrap_err();
        let error = errors[0].to_string();
        assert!(error.contains(path) && error.contains(part), "{to}: {error}");
    }
}

/// The folder `team-a` of `prod`.
fn team() -> String {
    use tombolo_model::{Node, World, folder::key_of};
    let prod = Node::Folder(key_of(&World::default(), &Node::Organization, "prod"));
    key_of(&World::default(), &prod, "team-a").to_string()
}

#[test]
fn gateways_serve_all_that_is_not_said_otherwise() {
    let all = NatSources::AllSubnetworks(NatRanges::All);
    let primary = NatSources::AllSubnetworks(NatRanges::Primary);
    let subnetwork = SubnetworkKey::new("project-1", "us-central1", "subnet-1");
    let listed = |ranges| NatSources::Subnetworks([(subnetwork.clone(), ranges)].into());
    for (said, want) in [
        ("", all),
        (", sourceSubnetworkIpRangesToNat: ALL_SUBNETWORKS_ALL_PRIMARY_IP_RANGES", primary),
        (", subnetworks: [{name: subnet-1}]", listed(NatRanges::All)),
        (
            ", sourceSubnetworkIpRangesToNat: LIST_OF_SUBNETWORKS, \
             subnetworks: [{name: subnet-1, sourceIpRangesToNat: [PRIMARY_IP_RANGE]}]",
            listed(NatRanges::Primary),
        ),
    ] {
        let router = format!(
            "routers: [{{name: r, region: us-central1, network: vpc-1, nats: [{{name: n, minPortsPerVm: 64{said}}}]}}]\n"
        );
        let topology = good(&format!("{BASE}{router}"));
        let Some(Change::RouterInsert(spec)) = topology.changes.last().map(|c| &c.value) else { panic!() };
        let nat = NatSpec { name: "n".into(), addresses: None, sources: want, min_ports_per_vm: Some(64) };
        assert_eq!(spec.nats, [nat]);
        let exported = export(&topology.world(Timestamp(0)).unwrap());
        assert_eq!(exported.lost, [""; 0], "{}", exported.text);
    }
}

#[test]
fn zones_enable_cloud_dns_and_their_records_have_defaults() {
    let zone = "managedZones:\n  - name: corp\n    dnsName: Corp.Example.\n    rrsets: \
                [{name: DB.corp.example., type: TXT, rrdatas: [\"\\\"a b\\\"\"]}]\n";
    let topology = good(&format!("{BASE}{zone}"));
    let world = topology.world(Timestamp(0)).unwrap();
    assert!(world.projects["project-1"].services.contains("dns.googleapis.com"));
    let (_, zone) = world.managed_zones.iter().next().unwrap();
    let record = &zone.records["db.corp.example. TXT"];
    assert_eq!((zone.dns_name.as_str(), record.ttl, record.rrdatas.len()), ("corp.example.", 300, 1));
    let exported = export(&world);
    assert!(!exported.text.contains("services"), "{}", exported.text);
    assert_eq!(exported.lost, [""; 0], "{}", exported.text);
}

#[test]
fn a_subnetwork_logs_flows_if_it_says_so() {
    let plain = FlowLog::default();
    for (config, want) in [
        ("{enable: true}", Some(plain)),
        ("{enable: true, flowSampling: 0.25}", Some(FlowLog { sampling: 0.25, ..plain })),
        (
            "{enable: true, aggregationInterval: INTERVAL_10_MIN, metadata: INCLUDE_ALL_METADATA}",
            Some(FlowLog { interval: 600, metadata: LogMetadata::IncludeAllMetadata, ..plain }),
        ),
        ("{enable: false, flowSampling: 1}", None),
    ] {
        let text = BASE.replace("10.1.0.0/16}", &format!("10.1.0.0/16, logConfig: {config}}}"));
        let log = |text: &str| {
            let world = good(text).world(Timestamp(0)).unwrap();
            let log = world.details.values().next().map(|details| FlowLog::of(details).unwrap());
            (log.flatten(), export(&world))
        };
        let (have, exported) = log(&text);
        assert_eq!((have, &exported.lost[..]), (want, &[][..]), "{config}");
        assert_eq!(log(&exported.text).0, want, "{}", exported.text);
    }
}

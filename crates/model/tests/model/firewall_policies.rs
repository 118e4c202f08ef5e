//! Network firewall policies: what their changes lead to, and what is refused.

use crate::support::*;
use tombolo_model::*;

const SETUP: &str = "project project-1
    project project-2
    network vpc-1
    network vpc-2
    network project-2/vpc-9
    policy p
    policy q
    policy-rule p 10 deny tcp:22 ranges=10.0.0.0/8
    associate p at vpc-1";

#[test]
fn a_policy_acts_where_it_is_associated() {
    let setup = world(SETUP);
    let acting = |world: &World, at: &str| {
        firewall_policy::of_network(world, &network(at), None).map(|(key, _)| key.name.clone())
    };
    assert_eq!((acting(&setup, "vpc-1"), acting(&setup, "vpc-2")), (Some("p".into()), None));
    let moved = then(&setup, "associate q at vpc-1 replace", 0);
    assert_eq!(acting(&moved, "vpc-1"), Some("q".into()));
    let both = then(&setup, "associate p other vpc-2", 0);
    assert_eq!(acting(&both, "vpc-2"), Some("p".into()));
    let gone = then(&then(&setup, "dissociate p at", 0), "delete policy p", 0);
    assert_eq!((acting(&gone, "vpc-1"), gone.firewall_policies.len()), (None, 1));
    assert!(then(&setup, "policy-first vpc-1", 0).networks[&network("vpc-1")].policy_first);
    // What a World has comes back from its rows.
    let rows = both.changed(&World::default()).unwrap();
    assert_eq!(World::from_rows(rows).unwrap(), both);
}

#[test]
fn what_is_refused() {
    let setup = world(SETUP);
    for (line, want) in [
        ("policy p", "The resource 'projects/project-1/global/firewallPolicies/p' already exists"),
        ("policy P", "Invalid value for field 'resource.name': 'P'."),
        (
            "policy-rule r 1 deny tcp ranges=10.0.0.0/8",
            "The resource 'projects/project-1/global/firewallPolicies/r' was",
        ),
        (
            "policy-rule p 10 deny tcp ranges=10.0.0.0/8",
            "Invalid value for field 'resource.priority': '10'. Cannot have",
        ),
        (
            "policy-replace p 11 deny tcp ranges=10.0.0.0/8",
            "Invalid value for field 'resource.priority': '11'. The fir",
        ),
        (
            "policy-remove p 11",
            "Invalid value for field 'resource.priority': '11'. The firewall policy does not",
        ),
        (
            "policy-rule p 2147483644 deny tcp ranges=10.0.0.0/8",
            "Invalid value for field 'resource.priority'",
        ),
        (
            "policy-rule p 1 deny nothing ranges=10.0.0.0/8",
            "Invalid value for field 'resource.match.layer4Configs'",
        ),
        (
            "policy-rule p 1 deny icmp:22 ranges=10.0.0.0/8",
            "Invalid value for field 'resource.match.layer4Configs[0].po",
        ),
        ("policy-rule p 1 deny tcp", "Invalid value for field 'resource.match.srcIpRanges'"),
        (
            "policy-rule p 1 deny tcp egress ranges=10.0.0.1/8",
            "Invalid value for field 'resource.match.destIpRanges'",
        ),
        (
            "policy-rule p 1 deny tcp ranges=10.0.0.0/8 near=10.2.0.1/16",
            "Invalid value for field 'resource.match.destIpRanges': '10.2.0.1/16'. Must be a CIDR range",
        ),
        (
            "policy-rule p 1 deny tcp egress ranges=10.0.0.0/8 near=fd20::/20",
            "Invalid value for field 'resource.match.srcIpRanges': 'fd20::/20'. A rule can have either IPv4 or IPv6",
        ),
        ("policy-rule p 1 deny tcp near=10.0.0.0/8", "Invalid value for field 'resource.match.srcIpRanges'"),
        (
            "policy-rule p 1 next tcp ranges=10.0.0.0/8 logging",
            "Invalid value for field 'resource.enableLogging'",
        ),
        (
            "associate p at vpc-2",
            "The resource 'projects/project-1/global/firewallPolicies/p/associations/at' already",
        ),
        (
            "associate q at vpc-1",
            "The network resource 'projects/project-1/global/networks/vpc-1' is already being used",
        ),
        ("associate q at vpc-3", "The resource 'projects/project-1/global/networks/vpc-3' was not found"),
        ("associate q at project-2/vpc-9", "Invalid value for field 'resource.attachmentTarget'"),
        (
            "dissociate p other",
            "The resource 'projects/project-1/global/firewallPolicies/p/associations/other' was not",
        ),
        (
            "delete policy p",
            "The firewall_policy resource 'projects/project-1/global/firewallPolicies/p' is already",
        ),
        (
            "delete network vpc-1",
            "The network resource 'projects/project-1/global/networks/vpc-1' is already being used",
        ),
    ] {
        let refused = setup.apply(&change(line), Timestamp(1)).err().map(|refusal| refusal.to_string());
        let refused = refused.unwrap_or_else(|| panic!("{line} is not refused"));
        assert!(refused.starts_with(want), "{line}: {refused}");
    }
}

//! Secure tags with packets: rules of firewall policies that name them open and close with their bindings.

use crate::support::{Home, as_each_user};

const LAB: &str = "
projects: [{projectId: project-1, parent: organization}]
networks:
  - name: vpc-1
    subnetworks: [{name: subnet-1, region: us-central1, ipCidrRange: 10.1.0.0/24}]
    peerings: [{name: to-vpc-2, network: vpc-2}]
  - name: vpc-2
    subnetworks: [{name: subnet-2, region: us-central1, ipCidrRange: 10.2.0.0/24}]
    peerings: [{name: to-vpc-1, network: vpc-1}]
instances:
  - {name: client, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-1, networkIP: 10.1.0.2}]}
  - {name: server, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-1, networkIP: 10.1.0.3}]}
  - {name: far, zone: us-central1-a, networkInterfaces: [{subnetwork: subnet-2, networkIP: 10.2.0.2}]}
";

/// Whether a ping from a VM to the server is answered; `trace` must say the same, and tell of the rule and the tags.
#[track_caller]
fn pings(home: &Home, from: &str, rule: &str, tags: &[&str]) -> bool {
    let answered = home.sh(from, "ping -c1 -W1 10.1.0.3").code == 0;
    let trace = home.run(&["trace", from, "server", "--protocol", "icmp"]);
    assert_eq!(trace.code == 0, answered, "{trace:?}");
    let flat = trace.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains(&format!("INGRESS {rule} ")), "{rule}: {flat}");
    for tag in tags {
        assert!(flat.contains(tag), "{tag}: {flat}");
    }
    answered
}

fn run(home: &Home, words: &str) -> String {
    home.run(&words.split_whitespace().collect::<Vec<_>>()).exits(0)
}

fn parent(vm: &str) -> String {
    format!("//compute.googleapis.com/projects/project-1/zones/us-central1-a/instances/{vm}")
}

#[test]
fn rules_follow_the_bindings() {
    as_each_user(|home| {
        home.up(&home.write("lab.yaml", LAB));
        let tags = |words: &str| run(home, &format!("resource-manager tags {words}"));
        let bind = |verb: &str, value: &str, vm: &str| {
            let at = format!("--parent {} --location us-central1-a", parent(vm));
            tags(&format!("bindings {verb} --tag-value {value} {at}"))
        };
        let rules = |words: &str| {
            let of = "--firewall-policy p --global-firewall-policy";
            run(home, &format!("compute network-firewall-policies rules {words} {of} --quiet"))
        };
        let network = "--purpose GCE_FIREWALL --purpose-data network=project-1/vpc-1";
        tags(&format!("keys create role --parent projects/project-1 {network}"));
        for value in ["client", "server"] {
            tags(&format!("values create {value} --parent project-1/role"));
        }
        run(home, "compute network-firewall-policies create p --global");
        let icmp = "--direction INGRESS --action allow --layer4-configs icmp";
        rules(&format!("create 10 {icmp} --src-secure-tags project-1/role/client"));
        let associate = "associations create --firewall-policy p --global-firewall-policy --network vpc-1";
        run(home, &format!("compute network-firewall-policies {associate}"));
        assert!(!pings(home, "client", "default-deny-ingress", &[]), "nobody has the tag");

        bind("create", "project-1/role/client", "client");
        assert!(pings(home, "client", "p/10", &["source tag project-1/role/client"]));
        bind("delete", "project-1/role/client", "client");
        assert!(!pings(home, "client", "default-deny-ingress", &[]));

        // For who has another value, and to who has a third.
        bind("create", "project-1/role/client", "client");
        rules("update 10 --target-secure-tags project-1/role/server");
        assert!(!pings(home, "client", "default-deny-ingress", &[]), "the server has not the target's tag");
        bind("create", "project-1/role/server", "server");
        let both = ["source tag project-1/role/client", "target tag project-1/role/server"];
        assert!(pings(home, "client", "p/10", &both));

        // A peer is a source by a tag that is for its network, or for the whole organization.
        tags(
            "keys create env --parent organizations/433637338589 --purpose GCE_FIREWALL --purpose-data organization=auto",
        );
        tags("values create prod --parent 433637338589/env");
        rules(&format!("create 11 {icmp} --src-secure-tags 433637338589/env/prod"));
        assert!(!pings(home, "far", "default-deny-ingress", &[]));
        bind("create", "433637338589/env/prod", "far");
        assert!(pings(home, "far", "p/11", &["source tag 433637338589/env/prod"]));
        run(home, "compute networks peerings delete to-vpc-2 --network vpc-1 --quiet");
        assert_ne!(home.sh("far", "ping -c1 -W1 10.1.0.3").code, 0);

        // An instance begins with the tags that it is made with.
        let new = "compute instances create new --zone us-central1-a --subnet subnet-1 --no-address";
        run(home, &format!("{new} --resource-manager-tags project-1/role=client"));
        assert!(pings(home, "new", "p/10", &both));
        let listed = tags(&format!("bindings list --parent {}", parent("new")));
        assert!(listed.contains("tagValueNamespacedName: project-1/role/client"), "{listed}");

        // What is above the project knows them too.
        let above = |words: &str| run(home, &format!("compute firewall-policies {words} --quiet"));
        above("create --short-name above --organization 433637338589");
        let sources = "--direction INGRESS --src-secure-tags 433637338589/env/prod --layer4-configs icmp";
        above(&format!(
            "rules create 1 --firewall-policy above --organization 433637338589 --action deny {sources}"
        ));
        above("associations create --firewall-policy above --organization 433637338589");
        assert!(pings(home, "new", "p/10", &both));
        bind("create", "433637338589/env/prod", "new");
        let rule = "organizations/433637338589/above/1";
        assert!(!pings(home, "new", rule, &["source tag 433637338589/env/prod"]));

        // The lab as a file is the same lab.
        let exported = home.run(&["export"]);
        assert!(!exported.err.contains("tag"), "{}", exported.err);
        let file = home.write("again.yaml", &exported.exits(0));
        let refused = home.run(&["resource-manager", "tags", "values", "delete", "project-1/role/client"]);
        assert!(refused.code == 1 && refused.err.contains("is already being used by"), "{refused:?}");
        home.down();
        home.up(&file);
        assert!(pings(home, "client", "p/10", &both));
        home.down();
    });
}

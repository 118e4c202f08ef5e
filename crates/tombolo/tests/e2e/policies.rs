//! Firewall policies, of networks and of what is above them, with packets, `trace` and the log.

use crate::support::{Home, as_each_user};

const LAB: &str = "
projects: [{projectId: project-1}]
networks:
  - name: vpc-1
    subnetworks: [{name: subnet-1, region: us-central1, ipCidrRange: 10.1.0.0/24}]
    firewalls: [{name: ping, allowed: [{IPProtocol: icmp}]}]
instances:
  - name: vm-1
    zone: us-central1-a
    networkInterfaces: [{subnetwork: subnet-1, networkIP: 10.1.0.2}]
  - name: vm-2
    zone: us-central1-a
    networkInterfaces: [{subnetwork: subnet-1, networkIP: 10.1.0.3}]
";

/// Whether a ping from vm-1 to vm-2 is answered; `trace` must say the same, and name the rule.
#[track_caller]
fn pings(home: &Home, rule: &str) -> bool {
    let answered = home.sh("vm-1", "ping -c1 -W1 10.1.0.3").code == 0;
    let trace = home.run(&["trace", "vm-1", "vm-2", "--protocol", "icmp"]);
    assert_eq!(trace.code == 0, answered, "{trace:?}");
    assert!(trace.out.contains(&format!("INGRESS {rule} ")), "{rule}: {}", trace.out);
    answered
}

fn compute(home: &Home, words: &str) -> String {
    let words: Vec<&str> = words.split_whitespace().collect();
    home.run(&[&["compute"], &words[..], &["--project", "project-1", "--quiet"]].concat()).exits(0)
}

#[test]
fn a_policy_decides_in_its_turn() {
    as_each_user(|home| {
        home.up(&home.write("lab.yaml", LAB));
        let policies = |words: &str| compute(home, &format!("network-firewall-policies {words}"));
        let of = "--firewall-policy p --global-firewall-policy";
        assert!(pings(home, "ping"));
        policies("create p --global");
        let icmp = "--direction INGRESS --src-ip-ranges 10.0.0.0/8 --layer4-configs icmp";
        policies(&format!("rules create 10 {of} --action deny {icmp}"));
        policies(&format!("rules create 20 {of} --action deny --enable-logging {icmp}"));
        policies(&format!("associations create {of} --network vpc-1"));
        assert!(pings(home, "ping"), "the network's own rules come first");
        compute(home, "firewall-rules update ping --disabled");
        assert!(!pings(home, "p/10"), "now nothing comes before it");
        compute(home, "firewall-rules update ping --no-disabled");
        compute(
            home,
            "networks update vpc-1 --network-firewall-policy-enforcement-order BEFORE_CLASSIC_FIREWALL",
        );
        assert!(!pings(home, "p/10"));
        policies(&format!("rules update 10 {of} --action goto_next"));
        assert!(pings(home, "ping"), "it is left to the network's own rules, not to the policy's other ones");
        policies(&format!("rules delete 10 {of}"));
        assert!(!pings(home, "p/20"));
        policies(&format!("rules update 20 {of} --layer4-configs all"));
        home.sh("vm-1", "timeout 0.3 bash -c '</dev/tcp/10.1.0.3/80'");
        let log = home.run(&["logs", "firewall", "--format", "json"]).json(0);
        let details = &log[0]["jsonPayload"]["rule_details"];
        assert_eq!(details["reference"], "network:vpc-1/firewallPolicy:p", "{log}");
        assert_eq!(details["priority"], 20);
        let counts =
            home.run(&["logs", "firewall", "--counts", "--rule", "p/20", "--format", "json"]).json(0);
        assert!(counts[0]["hits"].as_u64() >= Some(2), "{counts}");
        let exported = home.run(&["export"]).exits(0);
        assert!(
            exported.contains("firewallPolicies:\n- name: p")
                || exported.contains("firewallPolicies:\n  - name: p"),
            "{exported}"
        );
        policies(&format!("associations delete {of} --name network-vpc-1"));
        policies("delete p --global");
        assert!(pings(home, "ping"));
        home.down();
    });
}

#[test]
fn a_regions_policy_comes_after_the_global_one_and_acts_there_alone() {
    as_each_user(|home| {
        home.up(&home.write("lab.yaml", LAB));
        compute(home, "firewall-rules update ping --disabled");
        let policies = |words: &str| compute(home, &format!("network-firewall-policies {words}"));
        let icmp = "--direction INGRESS --src-ip-ranges 10.0.0.0/8 --layer4-configs icmp";
        assert!(!pings(home, "default-deny-ingress"));
        for (name, region, action) in [("here", "us-central1", "allow"), ("there", "europe-west1", "deny")] {
            policies(&format!("create {name} --region {region}"));
            let of = format!("--firewall-policy {name} --firewall-policy-region {region}");
            policies(&format!("rules create 5 {of} --action {action} {icmp}"));
            policies(&format!("associations create {of} --network vpc-1"));
        }
        assert!(pings(home, "us-central1/here/5"));
        policies("create all --global");
        let of = "--firewall-policy all --global-firewall-policy";
        policies(&format!("rules create 10 {of} --action deny --enable-logging {icmp}"));
        policies(&format!("associations create {of} --network vpc-1"));
        assert!(!pings(home, "all/10"), "the global policy comes first");
        policies(&format!("rules update 10 {of} --action goto_next --no-enable-logging"));
        assert!(pings(home, "us-central1/here/5"), "and leaves it to the region's");
        let exported = home.run(&["export"]).exits(0);
        assert!(exported.contains("region: europe-west1"), "{exported}");
        home.down();
    });
}

const BENEATH: &str = "
folders: [{displayName: prod}, {displayName: team, parent: prod}]
hierarchicalFirewallPolicies:
  - shortName: base
    rules: [{priority: 5, action: deny, match: {srcIpRanges: [10.0.0.0/8], layer4Configs: [{ipProtocol: icmp}]}}]
    associations: [{name: at-the-top, attachmentTarget: organization}]
";

#[test]
fn what_is_above_the_project_decides_first() {
    as_each_user(|home| {
        let lab = LAB.replace("{projectId: project-1}", "{projectId: project-1, parent: prod}");
        home.up(&home.write("lab.yaml", &format!("{lab}{BENEATH}")));
        let run = |words: &str| home.run(&words.split_whitespace().collect::<Vec<_>>()).exits(0);
        let policies = |words: &str| compute(home, &format!("firewall-policies {words}"));
        let org = run("organizations list --format value(name)").trim().to_owned();
        let top = format!("{org}/base");
        assert!(!pings(home, &format!("{top}/5")));
        policies("rules update 5 --firewall-policy base --action goto_next");
        assert!(pings(home, "ping"), "it is left to what is beneath");
        // A folder's policy comes after the organization's, and before that of a folder in it.
        let number = org.trim_start_matches("organizations/");
        let listed =
            |place: &str| run(&format!("resource-manager folders list {place} --format value(name)"));
        let prod =
            listed(&format!("--organization {number}")).trim().trim_start_matches("folders/").to_owned();
        let team = listed(&format!("--folder {prod}")).trim().trim_start_matches("folders/").to_owned();
        let icmp = "--direction INGRESS --src-ip-ranges 10.0.0.0/8 --layer4-configs icmp,tcp:80";
        for (name, folder, action) in [("outer", &prod, "deny"), ("inner", &team, "allow")] {
            policies(&format!("create --short-name {name} --folder {folder}"));
            policies(&format!(
                "rules create 7 --firewall-policy {name} --action {action} --enable-logging {icmp}"
            ));
            policies(&format!("associations create --firewall-policy {name} --folder {folder}"));
        }
        assert!(!pings(home, &format!("folders/{prod}/outer/7")));
        run(&format!("projects move project-1 --folder {team}"));
        assert!(!pings(home, &format!("folders/{prod}/outer/7")), "it is beneath that folder still");
        home.sh("vm-1", "timeout 0.3 bash -c '</dev/tcp/10.1.0.3/80'");
        let log = home.run(&["logs", "firewall", "--format", "json"]).json(0);
        let reference = log[0]["jsonPayload"]["rule_details"]["reference"].as_str().unwrap_or_default();
        let outer = policies("describe outer --format value(name)").trim().to_owned();
        assert_eq!(reference, format!("1/firewallPolicy:{outer}"), "{log}");
        // What would help is a rule before that one, for this network alone.
        let trace = home.run(&["trace", "vm-1", "vm-2", "--protocol", "icmp"]);
        assert!(trace.out.contains("rule in policy outer"), "{}", trace.out);
        policies("rules update 7 --firewall-policy outer --target-resources vpc-2");
        assert!(pings(home, &format!("folders/{team}/inner/7")), "the outer one is for another network now");
        compute(home, "firewall-rules update ping --disabled");
        assert!(pings(home, &format!("folders/{team}/inner/7")), "nothing of the network's own is asked");
        let effective = compute(home, "networks get-effective-firewalls vpc-1 --format json");
        let at = |name: &str| effective.find(&format!("\"shortName\": \"{name}\"")).expect(name);
        assert!(at("base") < at("outer") && at("outer") < at("inner"), "{effective}");
        let exported = home.run(&["export"]).exits(0);
        assert!(
            exported.contains("parent: prod/team") && exported.contains("shortName: inner"),
            "{exported}"
        );
        for (name, association) in [("outer", format!("folder-{prod}")), ("inner", format!("folder-{team}"))]
        {
            policies(&format!("associations delete {association} --firewall-policy {name}"));
            policies(&format!("delete {name}"));
        }
        assert!(!pings(home, "default-deny-ingress"));
        home.down();
    });
}

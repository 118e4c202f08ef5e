//! Folders, and the firewall policies of the organization and its folders: as Terraform and gcloud use them, and what is
//! refused.

use crate::common::{Cloud, check, policy_rule as rule};
use serde_json::{Value, json};

const P: &str = "/compute/v1/projects/project-1";
const V3: &str = "/cloudresourcemanager/v3";
const POLICIES: &str = "/compute/v1/locations/global/firewallPolicies";
const ORG: &str = "organizations/433637338589";

/// A project in a folder of a folder, with two networks and a VM; and the folders.
fn cloud() -> (Cloud, String, String) {
    let mut cloud = Cloud::with_project("project-1");
    for name in ["vpc-1", "vpc-2"] {
        let body = json!({ "name": name, "autoCreateSubnetworks": false });
        cloud.post(&format!("{P}/global/networks"), body);
    }
    let folder = |cloud: &mut Cloud, parent: &str, name: &str| {
        let made = cloud.post(&format!("{V3}/folders"), json!({ "parent": parent, "displayName": name }));
        made["response"]["name"].as_str().unwrap().to_owned()
    };
    let prod = folder(&mut cloud, ORG, "prod");
    let team = folder(&mut cloud, &prod, "Team A");
    cloud.post(&format!("{V3}/projects/project-1:move"), json!({ "destinationParent": team }));
    (cloud, prod, team)
}

/// A policy by its number.
fn policy(cloud: &mut Cloud, parent: &str, short_name: &str) -> String {
    let made = cloud.post(&format!("{POLICIES}?parentId={parent}"), json!({ "shortName": short_name }));
    let (name, link) = (made["targetId"].as_str().unwrap(), made["targetLink"].as_str().unwrap());
    assert!(link.ends_with(&format!("locations/global/firewallPolicies/{name}")), "{made}");
    let operation = made["selfLink"].as_str().unwrap().replace("https://www.googleapis.com", "");
    assert_eq!(cloud.get(&format!("{operation}?parentId={parent}"))["status"], "DONE");
    name.to_owned()
}

#[test]
fn a_policy_is_known_by_its_number_and_acts_at_nodes() {
    let (mut cloud, prod, team) = cloud();
    let name = policy(&mut cloud, ORG, "policy-1");
    let path = format!("{POLICIES}/{name}");
    let network = "https://www.googleapis.com/compute/v1/projects/project-1/global/networks/vpc-1";
    // As Terraform does, with the policy once more.
    let more = json!({ "targetResources": [network], "firewallPolicy": name });
    cloud.post(&format!("{path}/addRule"), rule(7, more));
    let found = cloud.get(&path);
    assert_eq!(
        (&found["name"], &found["id"], &found["shortName"], &found["parent"]),
        (&json!(name), &json!(name), &json!("policy-1"), &json!(ORG))
    );
    let priorities: Vec<&Value> = found["rules"].as_array().unwrap().iter().map(|r| &r["priority"]).collect();
    assert_eq!(priorities, [7, 2147483644u32, 2147483645, 2147483646, 2147483647]);
    assert_eq!(found["rules"][0]["targetResources"], json!([network]));
    // Of two nodes, a policy each; the same one may act at several.
    let at = |node: &str, name: &str| json!({ "attachmentTarget": node, "name": name });
    cloud.post(&format!("{path}/addAssociation"), at(ORG, "at-org"));
    let url = format!("https://cloudresourcemanager.googleapis.com/v3/{team}");
    cloud.post(&format!("{path}/addAssociation"), at(&url, "at-team"));
    let found = cloud.get(&format!("{path}/getAssociation?name=at-team"));
    assert_eq!(
        found,
        json!({ "name": "at-team", "attachmentTarget": team, "firewallPolicyId": name,
            "shortName": "policy-1", "displayName": "policy-1" })
    );
    let other = policy(&mut cloud, &prod, "policy-2");
    let add = format!("{POLICIES}/{other}/addAssociation");
    let refused = cloud.refused("POST", &add, at(&team, "x"));
    let want = format!(
        "The attachment_target resource '{team}' is already being used by 'locations/global/firewallPolicies/{name}'"
    );
    check(&refused, 400, &want);
    cloud.post(&format!("{add}?replaceExistingAssociation=true"), at(&team, "x"));
    let list = |more: &str| format!("{POLICIES}/listAssociations?targetResource={team}{more}");
    let names = |found: &Value| -> Vec<String> {
        let all = found["associations"].as_array().cloned().unwrap_or_default();
        all.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&cloud.get(&list(""))), ["x"]);
    assert_eq!(names(&cloud.get(&list("&includeInheritedPolicies=true"))), ["at-org", "x"]);
    // Lists are of what is kept in a node.
    assert_eq!(cloud.get(&format!("{POLICIES}?parentId={prod}"))["items"][0]["name"], json!(other));
    cloud.post(&format!("{POLICIES}/{other}/move?parentId={ORG}"), json!(null));
    assert_eq!(cloud.get(&format!("{POLICIES}?parentId={ORG}"))["items"].as_array().unwrap().len(), 2);
    // And where they act, the networks' effective rules have them, from the top down.
    let effective = cloud.get(&format!("{P}/global/networks/vpc-1/getEffectiveFirewalls"));
    let policies = effective["firewallPolicys"].as_array().unwrap();
    let told: Vec<_> = policies.iter().map(|one| (&one["type"], &one["shortName"])).collect();
    let hierarchy = json!("HIERARCHY");
    assert_eq!(told, [(&hierarchy, &json!("policy-1")), (&hierarchy, &json!("policy-2"))]);
    // The rules of another one.
    cloud.post(&format!("{POLICIES}/{other}/cloneRules?sourceFirewallPolicy={name}"), json!(null));
    assert_eq!(cloud.get(&format!("{POLICIES}/{other}/getRule?priority=7"))["action"], "deny");
    check(
        &cloud.refused("DELETE", &path, json!(null)),
        400,
        &format!(
            "The firewall_policy resource 'locations/global/firewallPolicies/{name}' is already being used by '{ORG}'"
        ),
    );
    cloud.post(&format!("{path}/removeAssociation?name=at-org"), json!(null));
    cloud.delete(&path);
    let gone = format!("The resource 'locations/global/firewallPolicies/{name}' was not found");
    check(&cloud.refused("GET", &path, json!(null)), 404, &gone);
}

#[test]
fn what_is_refused() {
    let (mut cloud, _, team) = cloud();
    let name = policy(&mut cloud, &team, "p");
    let only = "Must be folders/NUMBER, or the only organization, organizations/433637338589.";
    let bad = |field: &str, value: &str, why: &str| {
        format!("Invalid value for field 'resource.{field}': '{value}'. {why}")
    };
    let said = json!({ "shortName": "q" });
    let refused = cloud.refused("POST", &format!("{POLICIES}?parentId=organizations/1"), said.clone());
    check(&refused, 400, &bad("parentId", "organizations/1", only));
    let refused = cloud.refused("POST", &format!("{POLICIES}?parentId=folders/1"), said.clone());
    check(&refused, 404, "The resource 'folders/1' was not found");
    check(&cloud.refused("POST", POLICIES, said), 400, "Required field 'resource.parentId' not specified");
    let refused = cloud.refused("POST", &format!("{POLICIES}?parentId={ORG}"), json!({}));
    check(&refused, 400, "Required field 'resource.shortName' not specified");
    let refused = cloud.refused("POST", &format!("{POLICIES}?parentId={ORG}"), json!({ "shortName": "p" }));
    check(&refused, 409, &format!("The resource 'locations/global/firewallPolicies/{name}' already exists"));
    let add = format!("{POLICIES}/{name}/addRule");
    let refused = cloud.refused("POST", &add, rule(1, json!({ "targetResources": ["vpc-1"] })));
    check(&refused, 400, &bad("targetResources[0]", "vpc-1", "Must be the URL of a network."));
    let tags = json!({ "securityProfileGroup": "g" });
    check(
        &cloud.refused("POST", &add, rule(1, tags)),
        501,
        "Tombolo does not support the field 'securityProfileGroup' of a firewall policy's rule.",
    );
    let body = json!({ "projectId": "project-2", "parent": { "type": "folder", "id": "1" } });
    let refused = cloud.refused("POST", "/cloudresourcemanager/v1/projects", body);
    check(&refused, 404, "The resource 'folders/1' was not found");
    let body =
        json!({ "projectId": "project-2", "parent": { "type": "organization", "id": "433637338589" } });
    cloud.post("/cloudresourcemanager/v1/projects", body);
    let found = cloud.get("/cloudresourcemanager/v1/projects/project-2");
    assert_eq!(found["parent"], json!({ "type": "organization", "id": "433637338589" }));
    assert_eq!(cloud.get(&format!("{V3}/projects/project-2"))["parent"], ORG);
    let listed = cloud.get(&format!("{V3}/projects?parent={team}"));
    assert_eq!(listed["projects"][0]["projectId"], "project-1");
    let ancestry = cloud.post("/cloudresourcemanager/v1/projects/project-1:getAncestry", json!({}));
    assert_eq!(ancestry["ancestor"].as_array().unwrap().len(), 4, "{ancestry}");
}

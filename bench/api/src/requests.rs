//! What is asked for.

use serde_json::{Value, json};

/// The project with the many resources.
pub const PROJECT: &str = "bench-project";

/// A request: verb, path, body.
pub type Request = (&'static str, String, Value);

/// The path of something in a project.
pub fn compute(project: &str, rest: &str) -> String {
    format!("/compute/v1/projects/{project}/{rest}")
}

/// A project, with Compute enabled.
fn project(id: &str, service: &str) -> [Request; 2] {
    let enable = format!("/serviceusage/v1/projects/{id}/services/{service}:enable");
    [
        ("POST", "/cloudresourcemanager/v1/projects".into(), json!({ "projectId": id })),
        ("POST", enable, json!({})),
    ]
}

/// A network with a subnetwork.
fn network(project: &str, network: &str, subnetwork: &str, range: &str) -> [Request; 2] {
    let network_body = json!({ "name": network, "autoCreateSubnetworks": false });
    let subnetwork_body = json!({
        "name": subnetwork, "ipCidrRange": range,
        "network": format!("projects/{project}/global/networks/{network}"),
    });
    [
        ("POST", compute(project, "global/networks"), network_body),
        ("POST", compute(project, "regions/us-central1/subnetworks"), subnetwork_body),
    ]
}

/// An instance.
pub fn instance(project: &str, name: &str, subnetwork: &str) -> Request {
    let body = json!({
        "name": name,
        "machineType": "zones/us-central1-a/machineTypes/e2-micro",
        "disks": [{ "boot": true, "initializeParams":
            { "sourceImage": "projects/debian-cloud/global/images/family/debian-12" } }],
        "networkInterfaces":
            [{ "subnetwork": format!("projects/{project}/regions/us-central1/subnetworks/{subnetwork}") }],
    });
    ("POST", compute(project, "zones/us-central1-a/instances"), body)
}

/// A firewall rule that allows a port from a range.
pub fn firewall(project: &str, name: &str, network: &str, range: &str, port: u32) -> Request {
    let body = json!({
        "name": name, "network": format!("projects/{project}/global/networks/{network}"),
        "sourceRanges": [range], "allowed": [{ "IPProtocol": "tcp", "ports": [port.to_string()] }],
    });
    ("POST", compute(project, "global/firewalls"), body)
}

/// The project with the many resources, without them.
pub fn base(with_project: bool) -> Vec<Request> {
    let mut all = Vec::new();
    if with_project {
        all.extend(project(PROJECT, "compute.googleapis.com"));
    }
    all.extend(network(PROJECT, "vpc", "subnet", "10.0.0.0/16"));
    all
}

/// The story: two projects, their networks, VMs and peerings, and a Redis instance.
pub fn story() -> Vec<Request> {
    let mut all = Vec::new();
    for n in [1, 2] {
        let id = format!("project-i-{n}");
        all.extend(project(&id, "compute.googleapis.com"));
        for rule in ["internal", "ssh", "rdp", "icmp"] {
            let path = compute(&id, &format!("global/firewalls/default-allow-{rule}"));
            all.push(("DELETE", path, Value::Null));
        }
        all.push(("DELETE", compute(&id, "global/networks/default"), Value::Null));
        all.extend(network(&id, &format!("vpc-{n}"), &format!("subnet-{n}"), &format!("10.{n}.0.0/16")));
        all.push(instance(&id, &format!("vm-{n}"), &format!("subnet-{n}")));
    }
    for (here, there) in [(1, 2), (2, 1)] {
        let path = compute(&format!("project-i-{here}"), &format!("global/networks/vpc-{here}/addPeering"));
        let peering = json!({ "networkPeering": {
            "name": format!("vpc-{here}-to-vpc-{there}"), "exchangeSubnetRoutes": true,
            "network": format!("projects/project-i-{there}/global/networks/vpc-{there}"),
        } });
        all.push(("POST", path, peering));
    }
    all.push(firewall("project-i-1", "allow-ssh", "vpc-1", "0.0.0.0/0", 22));
    all.push(firewall("project-i-2", "allow-ssh", "vpc-2", "0.0.0.0/0", 22));
    let inside = json!({
        "name": "allow-internal", "network": "global/networks/vpc-2",
        "sourceRanges": ["10.0.0.0/8"], "allowed": [{ "IPProtocol": "all" }],
    });
    all.push(("POST", compute("project-i-2", "global/firewalls"), inside));
    let enable = "/serviceusage/v1/projects/project-i-2/services/redis.googleapis.com:enable";
    all.push(("POST", enable.into(), json!({})));
    let redis = json!({
        "tier": "BASIC", "memorySizeGb": 1, "authorizedNetwork": "projects/project-i-2/global/networks/vpc-2",
    });
    let path = "/redis/v1/projects/project-i-2/locations/us-central1/instances?instanceId=redis-1";
    all.push(("POST", path.into(), redis));
    all.push(instance("project-i-2", "redis-proxy", "subnet-2"));
    all
}

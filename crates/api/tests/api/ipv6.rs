//! Dual stack by the API: networks, subnetworks, interfaces, peerings and rules, and what is refused.

use crate::common::Cloud;
use serde_json::{Value, json};

const P: &str = "/compute/v1/projects/project-1";
const R: &str = "/compute/v1/projects/project-1/regions/us-central1";
const VM: &str = "/compute/v1/projects/project-1/zones/us-central1-a/instances";

fn network(cloud: &mut Cloud, name: &str, more: Value) {
    let mut body = json!({ "name": name, "autoCreateSubnetworks": false });
    body.as_object_mut().expect("fields").extend(more.as_object().expect("fields").clone());
    cloud.post(&format!("{P}/global/networks"), body);
}

fn subnet(name: &str, range: &str, more: Value) -> Value {
    let mut body = json!({ "name": name, "network": "global/networks/vpc-1", "ipCidrRange": range });
    body.as_object_mut().expect("fields").extend(more.as_object().expect("fields").clone());
    body
}

/// vpc-1 with a range, dual-stack subnet-1 and vm-1.
fn cloud() -> Cloud {
    let mut cloud = Cloud::with_project("project-1");
    // As Google writes it.
    network(
        &mut cloud,
        "vpc-1",
        json!({ "enableUlaInternalIpv6": true, "internalIpv6Range": "fd20:6bc:27e:0:0:0:0:0/48" }),
    );
    let dual = json!({ "stackType": "IPV4_IPV6", "ipv6AccessType": "INTERNAL" });
    cloud.post(&format!("{R}/subnetworks"), subnet("subnet-1", "10.1.0.0/24", dual));
    let nic = json!({ "subnetwork": "regions/us-central1/subnetworks/subnet-1", "stackType": "IPV4_IPV6" });
    cloud.post(VM, json!({ "name": "vm-1", "networkInterfaces": [nic] }));
    cloud
}

fn message(error: &Value) -> (u64, String) {
    let error = &error["error"];
    (error["code"].as_u64().expect("a code"), error["message"].as_str().expect("a message").to_owned())
}

#[test]
fn dual_stack_is_shown_as_google_does() {
    let mut cloud = cloud();
    let vpc = cloud.get(&format!("{P}/global/networks/vpc-1"));
    assert_eq!(vpc["enableUlaInternalIpv6"], true);
    assert_eq!(vpc["internalIpv6Range"], "fd20:6bc:27e:0:0:0:0:0/48");
    let subnet = cloud.get(&format!("{R}/subnetworks/subnet-1"));
    assert_eq!((&subnet["stackType"], &subnet["ipv6AccessType"]), (&json!("IPV4_IPV6"), &json!("INTERNAL")));
    assert_eq!(subnet["internalIpv6Prefix"], "fd20:6bc:27e:0:0:0:0:0/64");
    assert_eq!(subnet["ipv6CidrRange"], subnet["internalIpv6Prefix"]);
    let nic = &cloud.get(&format!("{VM}/vm-1"))["networkInterfaces"][0];
    assert_eq!((&nic["stackType"], &nic["ipv6AccessType"]), (&json!("IPV4_IPV6"), &json!("INTERNAL")));
    assert_eq!(nic["ipv6Address"], "fd20:6bc:27e:0:0:1:0:0");
    assert_eq!(nic["internalIpv6PrefixLength"], 96);
    // Who reads and writes back changes nothing.
    let before = cloud.state.world.clone();
    let said = json!({ "enableUlaInternalIpv6": true, "internalIpv6Range": vpc["internalIpv6Range"] });
    for said in [said, json!({ "internalIpv6Range": vpc["internalIpv6Range"] })] {
        cloud.patch(&format!("{P}/global/networks/vpc-1"), said);
    }
    cloud.patch(&format!("{R}/subnetworks/subnet-1"), subnet);
    assert_eq!(cloud.state.world.networks, before.networks);
    assert_eq!(cloud.state.world.subnetworks, before.subnetworks);
}

#[test]
fn what_has_ipv4_gets_ipv6_by_patches() {
    let mut cloud = Cloud::with_project("project-1");
    network(&mut cloud, "vpc-1", json!({}));
    cloud.post(
        &format!("{R}/subnetworks"),
        subnet("subnet-1", "10.1.0.0/24", json!({ "stackType": "IPV4_ONLY" })),
    );
    let nic = json!({ "subnetwork": "regions/us-central1/subnetworks/subnet-1" });
    cloud.post(VM, json!({ "name": "vm-1", "networkInterfaces": [nic] }));
    let plain = cloud.get(&format!("{P}/global/networks/vpc-1"));
    assert_eq!((plain.get("enableUlaInternalIpv6"), plain.get("internalIpv6Range")), (None, None));
    cloud.patch(&format!("{P}/global/networks/vpc-1"), json!({ "enableUlaInternalIpv6": true }));
    let range = cloud.get(&format!("{P}/global/networks/vpc-1"))["internalIpv6Range"].clone();
    let range = range.as_str().expect("a range").parse::<ipnet::Ipv6Net>().expect("a range");
    assert!(range.prefix_len() == 48 && tombolo_model::ipv6::ULA.contains(&range));
    let path = format!("{R}/subnetworks/subnet-1");
    let fingerprint = cloud.get(&path)["fingerprint"].clone();
    let dual = json!({ "fingerprint": fingerprint, "stackType": "IPV4_IPV6", "ipv6AccessType": "INTERNAL" });
    cloud.patch(&path, dual);
    let path = format!("{VM}/vm-1/updateNetworkInterface?networkInterface=nic0");
    let nic = cloud.get(&format!("{VM}/vm-1"))["networkInterfaces"][0].clone();
    assert_eq!((&nic["stackType"], nic.get("ipv6Address")), (&json!("IPV4_ONLY"), None));
    cloud.patch(&path, json!({ "fingerprint": nic["fingerprint"], "stackType": "IPV4_IPV6" }));
    let nic = cloud.get(&format!("{VM}/vm-1"))["networkInterfaces"][0].clone();
    assert_eq!(nic["internalIpv6PrefixLength"], 96);
    // There is no way back.
    let back = json!({ "fingerprint": nic["fingerprint"], "stackType": "IPV4_ONLY" });
    let refused = message(&cloud.refused("PATCH", &path, back));
    assert!(refused.0 == 501 && refused.1.contains("taking IPv6 from an interface"), "{refused:?}");
}

#[test]
fn a_peering_exchanges_ipv6_where_both_sides_say_so() {
    let mut cloud = cloud();
    network(&mut cloud, "vpc-2", json!({ "enableUlaInternalIpv6": true }));
    let dual =
        json!({ "network": "global/networks/vpc-2", "stackType": "IPV4_IPV6", "ipv6AccessType": "INTERNAL" });
    cloud.post(&format!("{R}/subnetworks"), subnet("subnet-2", "10.2.0.0/24", dual));
    let peering = |to: &str, stack: &str| {
        let network =
            format!("https://www.googleapis.com/compute/v1/projects/project-1/global/networks/{to}");
        json!({ "networkPeering": { "name": "p", "network": network, "exchangeSubnetRoutes": true, "stackType": stack } })
    };
    cloud.post(&format!("{P}/global/networks/vpc-1/addPeering"), peering("vpc-2", "IPV4_IPV6"));
    cloud.post(&format!("{P}/global/networks/vpc-2/addPeering"), peering("vpc-1", "IPV4_ONLY"));
    let stack = |cloud: &mut Cloud, name: &str| {
        cloud.get(&format!("{P}/global/networks/{name}"))["peerings"][0]["stackType"].clone()
    };
    assert_eq!(
        (stack(&mut cloud, "vpc-1"), stack(&mut cloud, "vpc-2")),
        (json!("IPV4_IPV6"), json!("IPV4_ONLY"))
    );
    let routes = |cloud: &mut Cloud| {
        let query = "listPeeringRoutes?peeringName=p&region=us-central1&direction=OUTGOING";
        let all = cloud.get(&format!("{P}/global/networks/vpc-1/{query}"))["items"].clone();
        let all = all.as_array().cloned().unwrap_or_default();
        all.iter()
            .map(|route| {
                (route["destRange"].as_str().unwrap_or_default().to_owned(), route["imported"] == true)
            })
            .collect::<Vec<_>>()
    };
    let ipv6 = "fd20:6bc:27e:0:0:0:0:0/64".to_owned();
    assert_eq!(routes(&mut cloud), [("10.1.0.0/24".to_owned(), true), (ipv6.clone(), false)]);
    let body = json!({ "networkPeering": { "name": "p", "stackType": "IPV4_IPV6" } });
    cloud.patch(&format!("{P}/global/networks/vpc-2/updatePeering"), body);
    assert_eq!(routes(&mut cloud), [("10.1.0.0/24".to_owned(), true), (ipv6, true)]);
}

#[test]
fn rules_have_ipv6_ranges() {
    let mut cloud = cloud();
    let rule = |name: &str, ranges: &[&str], protocol: &str| {
        json!({
            "name": name, "network": "global/networks/vpc-1", "sourceRanges": ranges,
            "allowed": [{ "IPProtocol": protocol }],
        })
    };
    let path = format!("{P}/global/firewalls");
    cloud.post(&path, rule("six", &["::/0", "fd20:6bc:27e::/48"], "58"));
    let shown = cloud.get(&format!("{path}/six"));
    assert_eq!(shown["sourceRanges"], json!(["::/0", "fd20:6bc:27e::/48"]));
    assert_eq!(shown["allowed"], json!([{ "IPProtocol": "58" }]));
    let mixed = message(&cloud.refused("POST", &path, rule("mixed", &["::/0", "0.0.0.0/0"], "tcp")));
    assert!(mixed.0 == 400 && mixed.1.contains("not a combination of both"), "{mixed:?}");
    // Google knows ICMPv6 by its number alone.
    let named = message(&cloud.refused("POST", &path, rule("named", &["::/0"], "ipv6-icmp")));
    assert!(named.0 == 400 && named.1.contains("'ipv6-icmp'"), "{named:?}");
}

#[test]
fn what_there_is_not_is_refused_by_name() {
    let mut cloud = cloud();
    network(&mut cloud, "vpc-2", json!({}));
    let dual = |stack: &str, access: &str| json!({ "stackType": stack, "ipv6AccessType": access });
    let nic = |more: Value| {
        let mut nic = json!({ "subnetwork": "regions/us-central1/subnetworks/subnet-1" });
        nic.as_object_mut().expect("fields").extend(more.as_object().expect("fields").clone());
        json!({ "name": "vm-2", "networkInterfaces": [nic] })
    };
    let route = |range: &str| json!({ "name": "r", "network": "global/networks/vpc-1", "destRange": range, "nextHopIp": "10.1.0.2" });
    let (subnets, networks) = (format!("{R}/subnetworks"), format!("{P}/global/networks"));
    for (path, body, code, part) in [
        (
            &subnets,
            subnet("s", "10.9.0.0/24", dual("IPV6_ONLY", "INTERNAL")),
            501,
            "the stack type 'IPV6_ONLY'",
        ),
        (
            &subnets,
            subnet("s", "10.9.0.0/24", dual("IPV4_IPV6", "EXTERNAL")),
            501,
            "the IPv6 access type 'EXTERNAL'",
        ),
        (&subnets, subnet("s", "10.9.0.0/24", json!({ "stackType": "IPV4_IPV6" })), 400, "ipv6AccessType"),
        (&subnets, subnet("s", "10.9.0.0/24", dual("IPV4_ONLY", "INTERNAL")), 400, "ipv6AccessType"),
        (
            &subnets,
            subnet("s", "10.9.0.0/24", json!({ "internalIpv6Prefix": "fd20:6bc:27e:9::/64" })),
            501,
            "internalIpv6Prefix",
        ),
        (
            &subnets,
            subnet(
                "s",
                "10.9.0.0/24",
                json!({ "network": "global/networks/vpc-2", "stackType": "IPV4_IPV6", "ipv6AccessType": "INTERNAL" }),
            ),
            400,
            "enableUlaInternalIpv6",
        ),
        (
            &networks,
            json!({ "name": "n", "autoCreateSubnetworks": false, "internalIpv6Range": "fd20:1:1::/48" }),
            400,
            "together with enableUlaInternalIpv6",
        ),
        (
            &networks,
            json!({ "name": "n", "autoCreateSubnetworks": false, "enableUlaInternalIpv6": true, "internalIpv6Range": "10.0.0.0/8" }),
            400,
            "internalIpv6Range",
        ),
        (
            &networks,
            json!({ "name": "n", "autoCreateSubnetworks": false, "enableUlaInternalIpv6": true, "internalIpv6Range": "fd20:6bc:27e::/48" }),
            400,
            "already used by",
        ),
        (&VM.to_owned(), nic(json!({ "stackType": "IPV6_ONLY" })), 501, "the stack type 'IPV6_ONLY'"),
        (&VM.to_owned(), nic(json!({ "ipv6Address": "fd20::1" })), 501, "networkInterfaces[0].ipv6Address"),
        (
            &VM.to_owned(),
            nic(json!({ "ipv6AccessConfigs": [{ "name": "x" }] })),
            501,
            "networkInterfaces[0].ipv6AccessConfigs",
        ),
        (&format!("{P}/global/routes"), route("fd20:9::/32"), 501, "IPv6"),
    ] {
        let refused = message(&cloud.refused("POST", path, body.clone()));
        assert!(refused.0 == code && refused.1.contains(part), "{body}: {refused:?}");
    }
    let off = cloud.refused("PATCH", &format!("{networks}/vpc-1"), json!({ "enableUlaInternalIpv6": false }));
    assert!(message(&off).1.contains("taking the internal IPv6 range"), "{off}");
    let fingerprint = cloud.get(&format!("{subnets}/subnet-1"))["fingerprint"].clone();
    let body = json!({ "fingerprint": fingerprint, "stackType": "IPV4_ONLY" });
    let back = cloud.refused("PATCH", &format!("{subnets}/subnet-1"), body);
    assert!(message(&back).1.contains("taking IPv6 from a subnetwork"), "{back}");
}

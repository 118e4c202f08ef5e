//! Routes by the API: those that nobody made, which follow from subnetworks and peerings.

use crate::common::{Cloud, check};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const P: &str = "/compute/v1/projects/project-1";
const R: &str = "/compute/v1/projects/project-1/regions/us-central1";
const ROUTES: &str = "/compute/v1/projects/project-1/global/routes";
const GOOGLE: &str = "https://www.googleapis.com";

/// vpc-1 and vpc-2 with a dual-stack subnetwork each; subnet-2 has a secondary range.
fn cloud() -> Cloud {
    let mut cloud = Cloud::with_project("project-1");
    for n in [1, 2] {
        let network = json!({ "name": format!("vpc-{n}"), "autoCreateSubnetworks": false, "enableUlaInternalIpv6": true,
            "internalIpv6Range": format!("fd20:{n}::/48") });
        cloud.post(&format!("{P}/global/networks"), network);
        let secondary = json!([{ "rangeName": "pods", "ipCidrRange": format!("10.{n}.8.0/24") }]);
        let subnetwork = json!({ "name": format!("subnet-{n}"), "network": format!("global/networks/vpc-{n}"),
            "ipCidrRange": format!("10.{n}.0.0/24"), "secondaryIpRanges": if n == 2 { secondary } else { json!([]) },
            "stackType": "IPV4_IPV6", "ipv6AccessType": "INTERNAL" });
        cloud.post(&format!("{R}/subnetworks"), subnetwork);
    }
    cloud
}

/// The routes that a list has, those of vpc-1 or vpc-2 only.
fn routes(cloud: &mut Cloud, query: &str) -> Vec<Value> {
    let all = cloud.get(&format!("{ROUTES}?{query}"))["items"].clone();
    let all = all.as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|route| !text(&route["network"]).ends_with("/default")).collect()
}

/// The routes via peerings: whose, where to, and by which.
fn via_peerings(cloud: &mut Cloud) -> Vec<(String, String, String)> {
    let all = routes(cloud, "").into_iter().filter(|route| route["nextHopPeering"].is_string());
    let short = |route: &Value| {
        let network = text(&route["network"]).rsplit('/').next().unwrap_or_default().to_owned();
        (network, text(&route["destRange"]).to_owned(), text(&route["nextHopPeering"]).to_owned())
    };
    all.map(|route| short(&route)).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn peer(cloud: &mut Cloud, from: u8, to: u8, stack: &str) {
    let peering = json!({ "networkPeering": {
        "name": format!("to-{to}"),
        "network": format!("projects/project-1/global/networks/vpc-{to}"),
        "exchangeSubnetRoutes": true,
        "stackType": stack,
    } });
    cloud.post(&format!("{P}/global/networks/vpc-{from}/addPeering"), peering);
}

fn row(network: &str, range: &str, peering: &str) -> (String, String, String) {
    (network.to_owned(), range.to_owned(), peering.to_owned())
}

#[test]
fn a_peering_has_a_route_to_each_range_while_it_is_active() {
    let mut cloud = cloud();
    let made = cloud.state.world.routes.clone();
    peer(&mut cloud, 1, 2, "IPV4_ONLY");
    assert_eq!(via_peerings(&mut cloud), []);
    peer(&mut cloud, 2, 1, "IPV4_ONLY");
    let ipv4 = [
        row("vpc-1", "10.2.0.0/24", "to-2"),
        row("vpc-1", "10.2.8.0/24", "to-2"),
        row("vpc-2", "10.1.0.0/24", "to-1"),
    ];
    assert_eq!(via_peerings(&mut cloud), ipv4);

    // As Google's, by its name too.
    let found = routes(&mut cloud, "filter=nextHopPeering%3Dto-1");
    let [route] = found.as_slice() else { panic!("{found:#?}") };
    let name = text(&route["name"]).to_owned();
    let number = name.strip_prefix("peering-route-").expect("a route via a peering");
    assert!(number.len() == 16 && number.chars().all(|c| c.is_ascii_hexdigit()), "{name}");
    let expected = json!({
        "kind": "compute#route",
        "id": route["id"],
        "creationTimestamp": route["creationTimestamp"],
        "name": name,
        "description": "Auto generated route via peering [to-1].",
        "network": format!("{GOOGLE}{P}/global/networks/vpc-2"),
        "destRange": "10.1.0.0/24",
        "priority": 0,
        "nextHopPeering": "to-1",
        "selfLink": format!("{GOOGLE}{ROUTES}/{name}"),
    });
    assert_eq!(*route, expected);
    assert_eq!(cloud.get(&format!("{ROUTES}/{name}")), expected);
    assert_eq!(routes(&mut cloud, &format!("filter=name%3D{name}")), [expected]);

    // IPv6 where both sides say so.
    for (network, peering, ipv6) in [("vpc-1", "to-2", false), ("vpc-2", "to-1", true)] {
        let update = json!({ "networkPeering": { "name": peering, "stackType": "IPV4_IPV6" } });
        cloud.patch(&format!("{P}/global/networks/{network}/updatePeering"), update);
        assert_eq!(via_peerings(&mut cloud).contains(&row("vpc-1", "fd20:2:0:0:0:0:0:0/64", "to-2")), ipv6);
    }
    assert_eq!(via_peerings(&mut cloud).len(), 5);

    // A new range is one more; each has a name and an id of its own.
    let more = json!({ "name": "more", "network": "global/networks/vpc-2", "ipCidrRange": "10.3.0.0/24" });
    cloud.post(&format!("{R}/subnetworks"), more);
    assert!(via_peerings(&mut cloud).contains(&row("vpc-1", "10.3.0.0/24", "to-2")));
    let all = cloud.get(ROUTES)["items"].clone();
    let all = all.as_array().expect("routes");
    for field in ["id", "name"] {
        assert_eq!(all.iter().map(|route| text(&route[field])).collect::<BTreeSet<_>>().len(), all.len());
    }

    cloud.post(&format!("{P}/global/networks/vpc-2/removePeering"), json!({ "name": "to-1" }));
    assert_eq!(via_peerings(&mut cloud), []);
    assert_eq!(cloud.refused("GET", &format!("{ROUTES}/{name}"), json!(null))["error"]["code"], 404);
    // The same when it is there again, and no resource of its own at any time.
    peer(&mut cloud, 2, 1, "IPV4_ONLY");
    cloud.get(&format!("{ROUTES}/{name}"));
    assert_eq!(cloud.state.world.routes, made);
}

#[test]
fn a_dual_stack_subnetwork_has_a_route_to_its_ipv6_range_too() {
    let mut cloud = cloud();
    let found = routes(&mut cloud, "filter=destRange%3D%22fd20:1:0:0:0:0:0:0/64%22");
    let [route] = found.as_slice() else { panic!("{found:#?}") };
    assert_eq!(route["description"], "Default local route to the subnetwork fd20:1:0:0:0:0:0:0/64.");
    assert_eq!(route["nextHopNetwork"], format!("{GOOGLE}{P}/global/networks/vpc-1"));
    assert_eq!(cloud.get(&format!("{ROUTES}/{}", text(&route["name"]))), *route);
}

#[test]
fn a_peering_with_a_managed_service_has_a_route_to_it() {
    let mut cloud = cloud();
    let redis = json!({ "tier": "BASIC", "memorySizeGb": 1, "authorizedNetwork": "projects/project-1/global/networks/vpc-1" });
    cloud.post("/redis/v1/projects/project-1/locations/us-central1/instances?instanceId=redis-1", redis);
    let found = via_peerings(&mut cloud);
    let [(network, _, peering)] = found.as_slice() else { panic!("{found:?}") };
    assert!(network == "vpc-1" && peering.starts_with("redis-peer-"), "{found:?}");
}

#[test]
fn what_nobody_made_is_not_deleted() {
    let mut cloud = cloud();
    peer(&mut cloud, 1, 2, "IPV4_ONLY");
    peer(&mut cloud, 2, 1, "IPV4_ONLY");
    let all = routes(&mut cloud, "");
    let named = |field: &str| {
        format!(
            "{ROUTES}/{}",
            text(&all.iter().find(|route| route[field].is_string()).expect("a route")["name"])
        )
    };
    for (field, message) in [
        ("nextHopNetwork", "The local route cannot be deleted."),
        ("nextHopPeering", "The auto-generated peering route cannot be deleted."),
    ] {
        let refused = cloud.refused("DELETE", &named(field), json!(null));
        check(&refused, 400, message);
        assert_eq!(refused["error"]["errors"][0]["reason"], "badRequest");
        cloud.get(&named(field));
    }
    cloud.delete(&named("nextHopGateway"));
    let missing = cloud.refused("DELETE", &format!("{ROUTES}/peering-route-0123456789abcdef"), json!(null));
    check(
        &missing,
        404,
        "The resource 'projects/project-1/global/routes/peering-route-0123456789abcdef' was not found",
    );
}

#[test]
fn a_next_hop_that_there_is_not_here_is_named() {
    let mut cloud = cloud();
    let route = |hops: Value| {
        let mut body =
            json!({ "name": "r", "network": "global/networks/vpc-1", "destRange": "192.168.0.0/16" });
        body.as_object_mut().expect("fields").extend(hops.as_object().expect("fields").clone());
        body
    };
    for field in [
        "nextHopVpnTunnel",
        "nextHopNetwork",
        "nextHopPeering",
        "nextHopHub",
        "nextHopInterconnectAttachment",
    ] {
        let message = format!("Tombolo does not support the field '{field}' of 'compute.routes.insert'.");
        check(&cloud.refused("POST", ROUTES, route(json!({ field: "x" }))), 501, &message);
        let two = route(json!({ field: "x", "nextHopGateway": "default-internet-gateway" }));
        check(&cloud.refused("POST", ROUTES, two), 501, &message);
    }
    let message =
        "Exactly one of nextHopGateway, nextHopInstance, nextHopIp and nextHopIlb must be specified.";
    let two = json!({ "nextHopIp": "10.1.0.9", "nextHopGateway": "default-internet-gateway" });
    for hops in [json!({}), two] {
        check(&cloud.refused("POST", ROUTES, route(hops)), 400, message);
    }
}

#[test]
fn a_next_hop_that_takes_no_packets_is_warned_of() {
    let mut cloud = cloud();
    let instances = format!("{P}/zones/us-central1-a/instances");
    let vm = |cloud: &mut Cloud, name: &str, address: &str, forwards: bool| {
        let nic = json!({ "subnetwork": "regions/us-central1/subnetworks/subnet-1", "networkIP": address,
            "aliasIpRanges": [{ "ipCidrRange": "10.1.0.128/28" }] });
        let body = json!({ "name": name, "canIpForward": forwards, "networkInterfaces": [nic] });
        cloud.post(&format!("{P}/zones/us-central1-a/instances"), body);
    };
    let insert = |cloud: &mut Cloud, name: &str, field: &str, hop: &str| {
        let body = json!({ "name": name, "network": "global/networks/vpc-1", "destRange": "192.168.0.0/16", field: hop });
        cloud.post(ROUTES, body)
    };
    let codes = |of: &Value| -> Vec<String> {
        let all = of["warnings"].as_array().cloned().unwrap_or_default();
        all.iter().map(|warning| text(&warning["code"]).to_owned()).collect()
    };
    let shown = |cloud: &mut Cloud, name: &str| {
        let route = cloud.get(&format!("{ROUTES}/{name}"));
        assert_eq!(routes(cloud, &format!("filter=name%3D{name}")), std::slice::from_ref(&route));
        codes(&route)
    };

    // Of an address that nobody has, as of one in an alias range, the insert's operation warns too.
    let done = insert(&mut cloud, "by-address", "nextHopIp", "10.1.0.9");
    let network = format!("{GOOGLE}{P}/global/networks/vpc-1");
    let warning = json!({
        "code": "NEXT_HOP_ADDRESS_NOT_ASSIGNED",
        "message": format!(
            "Next hop ip address '10.1.0.9' is not assigned to the primary IP address of any instance on '{network}'.  \
             Please ensure that the address is assigned to the primary IP address of an instance on the route's network."
        ),
        "data": [{ "key": "ip_address", "value": "10.1.0.9" }, { "key": "route_network", "value": network }],
    });
    assert_eq!((&done["status"], &done["warnings"]), (&json!("DONE"), &json!([warning])));
    assert_eq!(cloud.get(&format!("{ROUTES}/by-address"))["warnings"], json!([warning]));
    let operation = text(&done["selfLink"]).strip_prefix(GOOGLE).expect("a link").to_owned();
    assert_eq!(cloud.get(&operation), done);

    vm(&mut cloud, "deaf", "10.1.0.9", false);
    assert_eq!(shown(&mut cloud, "by-address"), ["NEXT_HOP_CANNOT_IP_FORWARD"]);
    cloud.post(&format!("{instances}/deaf/stop"), json!(null));
    assert_eq!(shown(&mut cloud, "by-address"), ["NEXT_HOP_CANNOT_IP_FORWARD", "NEXT_HOP_NOT_RUNNING"]);
    insert(&mut cloud, "by-alias", "nextHopIp", "10.1.0.128");
    assert_eq!(shown(&mut cloud, "by-alias"), ["NEXT_HOP_ADDRESS_NOT_ASSIGNED"]);
    cloud.delete(&format!("{instances}/deaf"));
    vm(&mut cloud, "router", "10.1.0.9", true);
    assert_eq!(shown(&mut cloud, "by-address"), [""; 0]);

    let done = insert(&mut cloud, "by-instance", "nextHopInstance", "zones/us-central1-a/instances/router");
    assert_eq!(done["warnings"], json!(null));
    assert_eq!(shown(&mut cloud, "by-instance"), [""; 0]);
    cloud.post(&format!("{instances}/router/stop"), json!(null));
    assert_eq!(shown(&mut cloud, "by-instance"), ["NEXT_HOP_NOT_RUNNING"]);
    cloud.post(&format!("{instances}/router/start"), json!(null));
    assert_eq!(shown(&mut cloud, "by-instance"), [""; 0]);
    cloud.delete(&format!("{instances}/router"));
    let gone = cloud.get(&format!("{ROUTES}/by-instance"))["warnings"][0].clone();
    let message = format!("Next hop instance '{GOOGLE}{instances}/router' does not exist.");
    assert_eq!((&gone["code"], &gone["message"]), (&json!("NEXT_HOP_INSTANCE_NOT_FOUND"), &json!(message)));
    // One of its name elsewhere is another.
    let nic = json!({ "subnetwork": "regions/us-central1/subnetworks/subnet-2" });
    cloud.post(&instances, json!({ "name": "router", "canIpForward": true, "networkInterfaces": [nic] }));
    assert_eq!(shown(&mut cloud, "by-instance"), ["NEXT_HOP_INSTANCE_NOT_ON_NETWORK"]);
}

#[test]
fn a_peerings_routes_are_asked_for_of_a_region_that_there_is() {
    let mut cloud = cloud();
    peer(&mut cloud, 1, 2, "IPV4_ONLY");
    let of = |region: &str| {
        format!("{P}/global/networks/vpc-1/listPeeringRoutes?peeringName=to-2&direction=INCOMING{region}")
    };
    cloud.get(&of(""));
    cloud.get(&of("&region=us-central1"));
    let message = "Invalid value for field 'region': 'nowhere-1'. Unknown region.";
    check(&cloud.refused("GET", &of("&region=nowhere-1"), json!(null)), 400, message);
}

#[test]
fn an_update_does_not_move_a_peering_to_another_network() {
    let mut cloud = cloud();
    peer(&mut cloud, 1, 2, "IPV4_ONLY");
    let update = format!("{P}/global/networks/vpc-1/updatePeering");
    let body = |network: &str, export: bool| json!({ "networkPeering": { "name": "to-2", "network": network, "exportCustomRoutes": export } });
    let full = format!("{GOOGLE}{P}/global/networks/vpc-2");
    let here = format!("http://127.0.0.1:8080{P}/global/networks/vpc-2");
    let forms = [&full, &here, "projects/project-1/global/networks/vpc-2", "global/networks/vpc-2"];
    for (form, export) in forms.into_iter().zip([true, false, true, false]) {
        cloud.patch(&update, body(form, export));
        let found = cloud.get(&format!("{P}/global/networks/vpc-1"))["peerings"][0].clone();
        assert_eq!((&found["exportCustomRoutes"], &found["network"]), (&json!(export), &json!(full)));
    }
    for other in
        ["projects/project-1/global/networks/default", "projects/project-2/global/networks/vpc-2", "a/b"]
    {
        let message = format!(
            "Invalid value for field 'resource.networkPeering.network': '{other}'. The peering 'to-2' is with \
             'projects/project-1/global/networks/vpc-2', which cannot be changed."
        );
        check(&cloud.refused("PATCH", &update, body(other, true)), 400, &message);
    }
    assert_eq!(cloud.get(&format!("{P}/global/networks/vpc-1"))["peerings"][0]["exportCustomRoutes"], false);
    let nobody = json!({ "networkPeering": { "name": "to-3", "network": full } });
    let message = "Invalid value for field 'resource.networkPeering.name': 'to-3'. There is no peering with that name on the network.";
    check(&cloud.refused("PATCH", &update, nobody), 400, message);
}

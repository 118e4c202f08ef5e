//! Networks: `compute.networks.*`, and the peerings that are part of them.

use crate::failure::Failure;
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, details, firewall_policy, ipv6, links, list, peering};
use serde_json::{Value, json};
use tombolo_model::{
    Change, Details, Network, NetworkKey, NetworkSpec, Refusal, World, network::DEFAULT_MTU,
};

pub(crate) const HANDLERS: Handlers = &[
    ("compute.networks.delete", delete),
    ("compute.networks.get", get),
    ("compute.networks.getEffectiveFirewalls", effective_firewalls),
    ("compute.networks.insert", insert),
    ("compute.networks.list", list),
    ("compute.networks.patch", patch),
];

/// Fields that are kept as they were said.
const SAID: &[&str] = &["description", ROUTING];
/// How routes are made known: no packet depends on it, as there are no dynamic routes yet.
const ROUTING: &str = "routingConfig";

/// Fields that the World has, or that Google makes up.
const DERIVED: &[&str] = &["autoCreateSubnetworks", ULA, ULA_RANGE, "mtu", "name", ORDER];
/// Whether it has an internal IPv6 range, and which.
const ULA: &str = "enableUlaInternalIpv6";
const ULA_RANGE: &str = "internalIpv6Range";
/// Whether its firewall policy comes before its own rules.
const ORDER: &str = "networkFirewallPolicyEnforcementOrder";
const BEFORE: &str = "BEFORE_CLASSIC_FIREWALL";

/// The network that a call's path names.
pub(crate) fn key(call: &Call<'_>) -> NetworkKey {
    NetworkKey::new(call.project(), call.param("network"))
}

/// The network, if a user may see it.
pub(crate) fn find<'w>(world: &'w World, key: &NetworkKey) -> Result<&'w Network, Failure> {
    let found = world.networks.get(key).filter(|network| !network.google_managed);
    found.map(|network| &**network).ok_or_else(|| tombolo_model::Refusal::not_found(key).into())
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    crate::project::require_compute(call)?;
    find(call.world(), &key).map(|network| Outcome::Reply(wire(call.world(), &key, network)))
}

fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    crate::project::require_compute(call)?;
    let own = call
        .world()
        .networks
        .iter()
        .filter(|(key, network)| key.project == call.project() && !network.google_managed);
    let items = own.map(|(key, network)| wire(call.world(), key, network)).collect();
    list::compute(call, "compute#networkList", &format!("projects/{}/global/networks", call.project()), items)
}

fn insert(call: &Call<'_>) -> Result<Outcome, Failure> {
    let name = call.text("name").ok_or_else(|| Failure::required("name"))?;
    let key = NetworkKey::new(call.project(), name);
    let automatic = call.field("autoCreateSubnetworks").and_then(Value::as_bool);
    if automatic.is_none() {
        return Err(Failure::unsupported("legacy networks: say autoCreateSubnetworks"));
    }
    let mtu = call.field("mtu").and_then(Value::as_u64).filter(|mtu| *mtu > 0);
    let spec = NetworkSpec {
        key: key.clone(),
        auto_create_subnetworks: automatic == Some(true),
        mtu: mtu.map(|mtu| u16::try_from(mtu).unwrap_or(u16::MAX)),
    };
    let mut details = details::read(call, SAID, DERIVED)?;
    if mtu == Some(u64::from(DEFAULT_MTU)) {
        // Of the others the network tells.
        details.insert("mtu".to_owned(), json!(DEFAULT_MTU));
    }
    merge_routing(call, &mut details, &json!({ "routingMode": "REGIONAL" }));
    let mut changes =
        vec![Change::NetworkInsert(spec), Change::Describe { resource: key.to_string(), details }];
    changes.extend(order(call, &key));
    changes.extend(ula(call, &key)?);
    Ok(Commit::compute(call, "insert", key, changes))
}

/// PATCH: what is kept as said. What a network is made with stays.
fn patch(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    let present = wire(call.world(), &key, find(call.world(), &key)?);
    if call.field("mtu").is_some_and(|mtu| *mtu != json!(call.world().networks[&key].mtu)) {
        return Err(Failure::unsupported("a change of the field 'mtu' by a patch"));
    }
    let mut change = details::patch(call, &key, &present, SAID, DERIVED, &["mtu", ORDER, ULA, ULA_RANGE])?;
    let disables = call.field(ULA) == Some(&Value::Bool(false)) || call.clears(ULA);
    if disables && present.get(ULA).is_some() {
        return Err(Failure::unsupported("taking the internal IPv6 range from a network"));
    }
    if let Change::Describe { details, .. } = &mut change {
        merge_routing(call, details, &present[ROUTING]);
    }
    let changes = [change].into_iter().chain(order(call, &key)).chain(ula(call, &key)?).collect();
    Ok(Commit::compute(call, "patch", key, changes))
}

/// The change of the order in which firewall policy and rules come, if the body says it.
fn order(call: &Call<'_>, key: &NetworkKey) -> Option<Change> {
    let first = match call.text(ORDER) {
        None if call.clears(ORDER) => false,
        said => said? == BEFORE,
    };
    Some(Change::NetworkSetPolicyFirst { network: key.clone(), first })
}

/// The change that gives a network its internal IPv6 range, if the body says it is to have one.
fn ula(call: &Call<'_>, key: &NetworkKey) -> Result<Option<Change>, Failure> {
    let said = call.text(ULA_RANGE);
    let enabled = call.field(ULA).and_then(Value::as_bool).unwrap_or(false);
    let wrong = |text: &str, expected: &str| Failure::from(Refusal::invalid(ULA_RANGE, text, expected));
    if let (false, Some(text)) = (enabled, said) {
        let known = call.world().networks.get(key).and_then(|network| network.ipv6).map(ipv6::range);
        // A client that reads and writes back says what there is.
        if known.as_deref() == Some(text) {
            return Ok(None);
        }
        return Err(wrong(text, "It can only be specified together with enableUlaInternalIpv6."));
    }
    let parse = |text: &str| {
        text.parse().map_err(|_| wrong(text, "Must be an IPv6 CIDR range such as 'fd20:6bc:27e::/48'."))
    };
    let range = said.map(parse).transpose()?;
    Ok(enabled.then(|| Change::NetworkEnableIpv6 { network: key.clone(), range }))
}

/// Fields of the routing configuration that are said replace the present ones, or, by a flag, take one back.
fn merge_routing(call: &Call<'_>, details: &mut Details, present: &Value) {
    let Some(Value::Object(said)) = details.get(ROUTING) else { return };
    let mut merged = present.as_object().cloned().unwrap_or_default();
    call.clear(&format!("{ROUTING}."), &mut merged);
    merged.extend(said.clone());
    if merged.shift_remove("deleteBgpAlwaysCompareMed") == Some(Value::Bool(true)) {
        merged.shift_remove("bgpAlwaysCompareMed");
    }
    details.insert(ROUTING.to_owned(), Value::Object(merged));
}

/// The rules that act in a network: its own, and those of its firewall policy.
fn effective_firewalls(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    find(call.world(), &key)?;
    Ok(Outcome::Reply(firewall_policy::effective(call.world(), &key, None)))
}

fn delete(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    Ok(Commit::compute(call, "delete", &key, vec![Change::NetworkDelete(key.clone())]))
}

/// A network on the wire.
pub(crate) fn wire(world: &World, key: &NetworkKey, network: &Network) -> Value {
    let mut wire = json!({
        "kind": "compute#network",
        "id": links::id(network.id),
        "creationTimestamp": network.creation_timestamp.to_string(),
        "name": key.name,
        "selfLink": links::link(key),
        "selfLinkWithId": links::link(format!("projects/{}/global/networks/{}", key.project, links::id(network.id))),
        "autoCreateSubnetworks": network.auto_create_subnetworks,
        "routingConfig": { "routingMode": "REGIONAL" },
    });
    // One that was not said is not told: Terraform's module for networks says 0 for the usual one.
    if network.mtu != DEFAULT_MTU {
        wire["mtu"] = json!(network.mtu);
    }
    let own = world.subnetworks.iter().filter(|(_, subnetwork)| subnetwork.network == *key);
    let subnetworks: Vec<Value> = own.map(|(key, _)| json!(links::link(key))).collect();
    if !subnetworks.is_empty() {
        wire["subnetworks"] = Value::Array(subnetworks);
    }
    let peerings: Vec<Value> =
        network.peerings.iter().map(|peering| peering::wire(world, key, peering)).collect();
    if !peerings.is_empty() {
        wire["peerings"] = Value::Array(peerings);
    }
    if let Some(range) = network.ipv6 {
        (wire[ULA], wire[ULA_RANGE]) = (json!(true), json!(ipv6::range(range)));
    }
    if let Some((policy, _)) = tombolo_model::firewall_policy::of_network(world, key, None) {
        wire["firewallPolicy"] = json!(links::link(policy));
    }
    details::add(world, &key.to_string(), &mut wire);
    // After what was said: earlier versions kept it there.
    wire[ORDER] = json!(if network.policy_first { BEFORE } else { "AFTER_CLASSIC_FIREWALL" });
    wire
}

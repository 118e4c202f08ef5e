//! The network interfaces of instances: what a body says of them, how they are shown, and the methods that change them.

use crate::failure::Failure;
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, address, details, firewall_policy, instance, ipv6, links, network, project};
use serde_json::{Value, json};
use tombolo_model::address::holder_of_external;
use tombolo_model::{
    Alias, AliasSpec, Change, Instance, InstanceKey, Nic, NicSpec, Refusal, StackType, SubnetworkKey, World,
};

pub(crate) const HANDLERS: Handlers = &[
    ("compute.instances.addAccessConfig", add_access),
    ("compute.instances.deleteAccessConfig", delete_access),
    ("compute.instances.getEffectiveFirewalls", effective_firewalls),
    ("compute.instances.updateNetworkInterface", update),
];

/// The fields of an interface that are done. `name`, `kind` and `fingerprint` are Google's own, sent back by clients.
const FIELDS: &[&str] = &[
    "accessConfigs",
    "aliasIpRanges",
    "fingerprint",
    "kind",
    "name",
    "network",
    "networkIP",
    "nicType",
    "queueCount",
    "stackType",
    "subnetwork",
];

/// Those of them that no packet depends on, and where they are among the instance's details.
const KEPT: &[&str] = &["nicType", "queueCount"];
const KEPT_AT: &str = "networkInterfaces";

/// An interface that a body says, without its external address.
pub(crate) fn read(call: &Call<'_>, region: &str, index: usize, nic: &Value) -> Result<NicSpec, Failure> {
    let field = |name: &str| format!("networkInterfaces[{index}].{name}");
    let project = call.project();
    for (name, _) in nic.as_object().into_iter().flatten().filter(|(_, value)| !details::is_empty(value)) {
        if !FIELDS.contains(&name.as_str()) {
            return Err(Failure::unsupported(format_args!("the field '{}'", field(name))));
        }
    }
    let subnetwork = match nic["subnetwork"].as_str().filter(|link| !link.is_empty()) {
        Some(link) => links::subnetwork(project, region, link)
            .ok_or_else(|| Refusal::invalid(&field("subnetwork"), link, "The URL is malformed."))?,
        None => automatic(call, region, index, nic["network"].as_str().unwrap_or("default"))?,
    };
    check_network(call, &field("network"), &nic["network"], &subnetwork)?;
    let address = match nic["networkIP"].as_str().filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(address::resolve(call, &field("networkIP"), text)?),
    };
    let stack_type = ipv6::stack(&nic["stackType"])?;
    Ok(NicSpec { subnetwork, address, stack_type, aliases: aliases(index, nic)? })
}

/// Refuses a network beside a subnetwork that is another one's.
fn check_network(
    call: &Call<'_>,
    field: &str,
    said: &Value,
    subnetwork: &SubnetworkKey,
) -> Result<(), Failure> {
    let Some(link) = said.as_str().filter(|link| !link.is_empty()) else { return Ok(()) };
    let key = links::network(call.project(), link)
        .ok_or_else(|| Refusal::invalid(field, link, "The URL is malformed."))?;
    // A subnetwork that there is not is refused as that.
    match call.world().subnetworks.get(subnetwork).filter(|found| found.network != key) {
        Some(found) => {
            let expected = format!("The subnetwork '{subnetwork}' is in the network '{}'.", found.network);
            Err(Refusal::invalid(field, link, expected).into())
        }
        None => Ok(()),
    }
}

/// The subnetwork that an auto-mode network has in a region.
fn automatic(call: &Call<'_>, region: &str, index: usize, link: &str) -> Result<SubnetworkKey, Failure> {
    let field = format!("networkInterfaces[{index}].network");
    let key = links::network(call.project(), link)
        .ok_or_else(|| Refusal::invalid(&field, link, "The URL is malformed."))?;
    let found = network::find(call.world(), &key).map_err(|_| {
        Failure::from(Refusal::invalid(
            &field,
            link,
            format!("The referenced network resource '{key}' cannot be found."),
        ))
    })?;
    if !found.auto_create_subnetworks {
        let expected = "Subnetwork should be specified for custom subnetmode network";
        return Err(Refusal::invalid(&format!("networkInterfaces[{index}].subnetwork"), "", expected).into());
    }
    Ok(SubnetworkKey::new(&key.project, region, &key.name))
}

/// What is added to interface number `index` of a new instance: an external address.
pub(crate) fn additions(
    call: &Call<'_>,
    key: &InstanceKey,
    index: usize,
    nic: &Value,
) -> Result<Vec<Change>, Failure> {
    let configs = nic["accessConfigs"].as_array().map(Vec::as_slice).unwrap_or_default();
    configs.iter().map(|config| access(call, key, index, config)).collect()
}

/// The change that an access configuration means.
fn access(call: &Call<'_>, key: &InstanceKey, nic: usize, config: &Value) -> Result<Change, Failure> {
    let field = |name: &str| format!("networkInterfaces[{nic}].accessConfigs[0].{name}");
    for (name, value) in
        config.as_object().into_iter().flatten().filter(|(_, value)| !details::is_empty(value))
    {
        let done = match name.as_str() {
            "kind" | "name" | "natIP" => true,
            "type" => value == "ONE_TO_ONE_NAT",
            "networkTier" => value == "PREMIUM",
            _ => false,
        };
        if !done {
            return Err(Failure::unsupported(format_args!("{value} in the field '{}'", field(name))));
        }
    }
    let text = |name: &str| config[name].as_str().filter(|text| !text.is_empty());
    let address = text("natIP").map(|text| address::resolve(call, &field("natIP"), text)).transpose()?;
    let name = text("name").unwrap_or("External NAT").to_owned();
    Ok(Change::AccessConfigAdd { instance: key.clone(), nic, name, address })
}

/// The alias ranges that an interface says: `10.8.1.0/24`, `10.8.1.7` or `/24`.
fn aliases(index: usize, nic: &Value) -> Result<Vec<AliasSpec>, Failure> {
    let said = nic["aliasIpRanges"].as_array().map(Vec::as_slice).unwrap_or_default();
    let alias = |(at, alias): (usize, &Value)| {
        let field = format!("networkInterfaces[{index}].aliasIpRanges[{at}].ipCidrRange");
        let text = alias["ipCidrRange"].as_str().unwrap_or_default();
        let secondary = alias["subnetworkRangeName"].as_str().filter(|name| !name.is_empty());
        AliasSpec::parse(text, secondary).map_err(|expected| Refusal::invalid(&field, text, expected))
    };
    Ok(said.iter().enumerate().map(alias).collect::<Result<_, Refusal>>()?)
}

/// The number of the interface that a call names: 0 for `nic0`.
fn index(call: &Call<'_>) -> Result<usize, Failure> {
    let name = call.query("networkInterface").ok_or_else(|| Failure::required("networkInterface"))?;
    let wrong = || {
        Failure::invalid(format!(
            "Invalid value for field 'networkInterface': '{name}'. There is no such interface."
        ))
    };
    let found = instance::find(call.world(), &instance::key(call))?;
    let index = name.strip_prefix("nic").and_then(|index| index.parse().ok());
    index.filter(|index| *index < found.nics.len()).ok_or_else(wrong)
}

fn add_access(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = instance::key(call);
    let change = access(call, &key, index(call)?, &call.body)?;
    Ok(Commit::compute(call, "addAccessConfig", key, vec![change]))
}

fn delete_access(call: &Call<'_>) -> Result<Outcome, Failure> {
    let (key, nic) = (instance::key(call), index(call)?);
    let name = call.query("accessConfig").ok_or_else(|| Failure::required("accessConfig"))?.to_owned();
    let change = Change::AccessConfigDelete { instance: key.clone(), nic, name };
    Ok(Commit::compute(call, "deleteAccessConfig", key, vec![change]))
}

/// PATCH of an interface: its alias ranges, and IPv6 where it had none. Everything else is as it is, or refused.
fn update(call: &Call<'_>) -> Result<Outcome, Failure> {
    let (key, nic) = (instance::key(call), index(call)?);
    let found = instance::find(call.world(), &key)?;
    let present = wire(call.world(), found, nic, &found.nics[nic]);
    let fingerprint = present["fingerprint"].as_str().unwrap_or_default();
    details::fresh(call, "fingerprint", fingerprint, details::STALE)?;
    for (name, value) in call.body.as_object().into_iter().flatten() {
        if !["aliasIpRanges", "stackType"].contains(&name.as_str()) && *value != present[name.as_str()] {
            return Err(Failure::unsupported(format_args!("a change of the field '{name}' of an interface")));
        }
    }
    let mut changes = Vec::new();
    match call.field("stackType").map(ipv6::stack).transpose()? {
        Some(StackType::Ipv4Ipv6) => changes.push(Change::NicEnableIpv6 { instance: key.clone(), nic }),
        said if found.nics[nic].ipv6.is_some()
            && (said == Some(StackType::Ipv4Only) || call.clears("stackType")) =>
        {
            return Err(Failure::unsupported("taking IPv6 from an interface"));
        }
        _ => {}
    }
    if call.field("aliasIpRanges").is_some() || call.clears("aliasIpRanges") {
        let aliases = aliases(nic, &call.body)?;
        changes.push(Change::AliasesSet { instance: key.clone(), nic, aliases });
    }
    Ok(Commit::compute(call, "updateNetworkInterface", key, changes))
}

/// The rules that act in an interface's network: its own, and those of its firewall policy.
fn effective_firewalls(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let nic = index(call)?;
    let nic = &instance::find(call.world(), &instance::key(call))?.nics[nic];
    let region = Some(nic.subnetwork.region.as_str());
    Ok(Outcome::Reply(firewall_policy::effective(call.world(), &nic.network, region)))
}

/// The interfaces of an instance on the wire.
pub(crate) fn wires(world: &World, key: &InstanceKey, found: &Instance) -> Value {
    let kept = details::get(world, &key.to_string(), KEPT_AT);
    let one = |(index, nic)| {
        let mut wire = wire(world, found, index, nic);
        for (name, value) in kept.and_then(|kept| kept[index].as_object()).into_iter().flatten() {
            wire[name.as_str()] = value.clone();
        }
        wire
    };
    found.nics.iter().enumerate().map(one).collect()
}

/// What is kept of a new instance's interfaces as it was said: an object of each, or nothing.
pub(crate) fn kept(said: &[Value]) -> Option<(String, Value)> {
    let one = |nic: &Value| -> Value {
        let said = KEPT.iter().filter_map(|name| Some(((*name).to_owned(), nic.get(name)?.clone())));
        Value::Object(said.filter(|(_, value)| !details::is_empty(value)).collect())
    };
    let all: Vec<Value> = said.iter().map(one).collect();
    (!all.iter().all(details::is_empty)).then(|| (KEPT_AT.to_owned(), Value::Array(all)))
}

fn wire(world: &World, found: &Instance, index: usize, nic: &Nic) -> Value {
    let mut wire = json!({
        "kind": "compute#networkInterface",
        "network": links::link(&nic.network),
        "subnetwork": links::link(&nic.subnetwork),
        "networkIP": nic.address.to_string(),
        "name": format!("nic{index}"),
        "fingerprint": links::fingerprint(&(nic.address, &nic.subnetwork, &nic.aliases, nic.ipv6)),
        "stackType": StackType::of(nic.ipv6).as_str(),
    });
    if let Some(range) = nic.ipv6 {
        wire["ipv6AccessType"] = json!(ipv6::INTERNAL);
        wire["ipv6Address"] = json!(ipv6::address(range.network()));
        wire["internalIpv6PrefixLength"] = json!(range.prefix_len());
    }
    if let Some(access) = &nic.access {
        let mut config = json!({
            "kind": "compute#accessConfig",
            "type": "ONE_TO_ONE_NAT",
            "name": access.name,
            "networkTier": "PREMIUM",
        });
        // An address that nobody reserved is not there while the instance is stopped.
        if found.running || holder_of_external(world, access.address).is_some() {
            config["natIP"] = json!(access.address.to_string());
        }
        wire["accessConfigs"] = json!([config]);
    }
    if !nic.aliases.is_empty() {
        wire["aliasIpRanges"] = nic.aliases.iter().map(alias_wire).collect();
    }
    wire
}

fn alias_wire(alias: &Alias) -> Value {
    let mut wire = json!({ "ipCidrRange": alias.range.to_string() });
    if let Some(name) = &alias.secondary {
        wire["subnetworkRangeName"] = json!(name);
    }
    wire
}

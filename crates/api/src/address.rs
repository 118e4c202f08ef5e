//! Reserved addresses: `compute.addresses.*` and `compute.globalAddresses.*`.

use crate::failure::Failure;
use crate::outcome::{Commit, Outcome};
use crate::{Call, Handlers, details, links, list, project, zone};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use tombolo_model::{
    Address, AddressKey, AddressSpec, Change, NetworkKey, Refusal, Reserve, Reserved, SubnetworkKey, World,
    address,
};

pub(crate) const HANDLERS: Handlers = &[
    ("compute.addresses.aggregatedList", aggregated),
    ("compute.addresses.delete", delete),
    ("compute.addresses.get", get),
    ("compute.addresses.insert", insert),
    ("compute.addresses.list", list),
    ("compute.addresses.setLabels", set_labels),
    ("compute.globalAddresses.delete", delete),
    ("compute.globalAddresses.get", get),
    ("compute.globalAddresses.insert", insert),
    ("compute.globalAddresses.list", list),
    ("compute.globalAddresses.setLabels", set_labels),
];

const SAID: &[&str] = &["description", "labels"];
const DERIVED: &[&str] = &[
    "address",
    "addressType",
    "ipVersion",
    "labelFingerprint",
    "name",
    "network",
    "networkTier",
    "prefixLength",
    "purpose",
    "region",
    "status",
    "subnetwork",
];

/// The values that are supported of fields whose others are not.
const ONLY: &[(&str, &[&str])] =
    &[("ipVersion", &["IPV4"]), ("networkTier", &["PREMIUM"]), ("purpose", &["GCE_ENDPOINT", "VPC_PEERING"])];

/// The address of a name in the call's scope.
fn named(call: &Call<'_>, name: &str) -> AddressKey {
    match call.param("region") {
        "" => AddressKey::global(call.project(), name),
        region => AddressKey::regional(call.project(), region, name),
    }
}

fn key(call: &Call<'_>) -> AddressKey {
    // Labels are set on a `resource`, everything else is done to an `address`.
    named(call, if call.param("address").is_empty() { call.param("resource") } else { call.param("address") })
}

fn find<'w>(world: &'w World, key: &AddressKey) -> Result<&'w Address, Failure> {
    world.addresses.get(key).map(|found| &**found).ok_or_else(|| Refusal::not_found(key).into())
}

fn get(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let key = key(call);
    find(call.world(), &key).map(|found| Outcome::Reply(wire(call.world(), &key, found)))
}

/// The addresses of the call's project.
fn own<'c>(call: &'c Call<'_>) -> impl Iterator<Item = (&'c AddressKey, Value)> {
    let own = call.world().addresses.iter().filter(|(key, _)| key.project == call.project());
    own.map(|(key, found)| (key, wire(call.world(), key, found)))
}

fn list(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    if !call.param("region").is_empty() {
        zone::require_region(call)?;
    }
    let scope = named(call, "any").scope();
    let items = own(call).filter(|(key, _)| key.scope() == scope).map(|(_, wire)| wire).collect();
    let path = format!("projects/{}/{scope}/addresses", call.project());
    list::compute(call, "compute#addressList", &path, items)
}

fn aggregated(call: &Call<'_>) -> Result<Outcome, Failure> {
    project::require_compute(call)?;
    let items = own(call).map(|(key, wire)| (key.scope(), wire)).collect();
    let scopes = std::iter::once("global".to_owned()).chain(zone::region_scopes());
    list::aggregated(call, "compute#addressAggregatedList", "addresses", scopes, items)
}

fn insert(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = named(call, call.text("name").ok_or_else(|| Failure::required("name"))?);
    for (field, supported) in ONLY {
        if let Some(said) = call.text(field).filter(|said| !supported.contains(said)) {
            return Err(Failure::unsupported(format_args!("addresses whose {field} is '{said}'")));
        }
    }
    let address = call.text("address").map(str::parse::<Ipv4Addr>).transpose();
    let wrong =
        |_| Refusal::invalid("address", call.text("address").unwrap_or_default(), "Must be an IPv4 address.");
    let address = address.map_err(wrong)?;
    let reserve = match (call.text("addressType"), call.text("purpose")) {
        (Some("INTERNAL"), Some("VPC_PEERING")) => {
            let length = call.field("prefixLength").and_then(Value::as_u64);
            let length = length.ok_or_else(|| Failure::required("prefixLength"))?;
            Reserve::Peering {
                network: network(call)?,
                base: address,
                prefix_len: u8::try_from(length).unwrap_or(u8::MAX),
            }
        }
        (Some("INTERNAL"), _) if key.region.is_none() => {
            return Err(Failure::unsupported("global internal addresses without the purpose VPC_PEERING"));
        }
        (Some("INTERNAL"), _) => Reserve::Internal { subnetwork: subnetwork(call)?, address },
        (_, Some(purpose)) => {
            let expected = "Purpose can be set for internal addresses only.";
            return Err(Refusal::invalid("purpose", purpose, expected).into());
        }
        (_, None) => {
            for field in ["network", "subnetwork"] {
                if let Some(link) = call.text(field) {
                    let expected = "This field can only be used with INTERNAL type.";
                    return Err(Refusal::invalid(field, link, expected).into());
                }
            }
            Reserve::External { address }
        }
    };
    let length = call.field("prefixLength").and_then(Value::as_u64).filter(|length| *length > 0);
    if let (Some(length), false) = (length, matches!(reserve, Reserve::Peering { .. })) {
        let expected = "Only ranges with the purpose VPC_PEERING have a prefix length.";
        return Err(Refusal::invalid("prefixLength", length, expected).into());
    }
    let details = details::read(call, SAID, DERIVED)?;
    let changes = vec![
        Change::AddressInsert(AddressSpec { key: key.clone(), reserve }),
        Change::Describe { resource: key.to_string(), details },
    ];
    Ok(Commit::compute(call, "insert", key, changes))
}

fn network(call: &Call<'_>) -> Result<NetworkKey, Failure> {
    let link = call.text("network").ok_or_else(|| Failure::required("network"))?;
    let malformed = || Refusal::invalid("network", link, "The URL is malformed.").into();
    links::network(call.project(), link).ok_or_else(malformed)
}

/// The subnetwork that is said, or the one that the network `default` has in the region.
fn subnetwork(call: &Call<'_>) -> Result<SubnetworkKey, Failure> {
    let region = call.param("region");
    if let Some(link) = call.text("subnetwork") {
        let malformed = || Refusal::invalid("subnetwork", link, "The URL is malformed.").into();
        return links::subnetwork(call.project(), region, link).ok_or_else(malformed);
    }
    let key = SubnetworkKey::new(call.project(), region, "default");
    let default = NetworkKey::new(call.project(), "default");
    let found = call.world().subnetworks.get(&key).is_some_and(|found| found.network == default);
    let expected = "No default subnetwork was found for an address with type INTERNAL.";
    if found { Ok(key) } else { Err(Refusal::invalid("subnetwork", "", expected).into()) }
}

fn delete(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    Ok(Commit::compute(call, "delete", &key, vec![Change::AddressDelete(key.clone())]))
}

fn set_labels(call: &Call<'_>) -> Result<Outcome, Failure> {
    let key = key(call);
    find(call.world(), &key)?;
    let change = details::labels(call, &key)?;
    Ok(Commit::compute(call, "setLabels", key, vec![change]))
}

/// The address that a text says: itself, or the link to an address resource.
pub(crate) fn resolve(call: &Call<'_>, field: &str, text: &str) -> Result<Ipv4Addr, Failure> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let path = links::path_of(text);
    let full = if path.starts_with("projects/") {
        path.to_owned()
    } else {
        format!("projects/{}/{path}", call.project())
    };
    let wrong =
        || Refusal::invalid(field, text, "Must be an IPv4 address or the URL of an address resource.");
    let key: AddressKey = full.parse().map_err(|_| wrong())?;
    match find(call.world(), &key)?.reserved {
        Reserved::Internal { address, .. } | Reserved::External(address) => Ok(address),
        Reserved::Peering { .. } => Err(wrong().into()),
    }
}

fn wire(world: &World, key: &AddressKey, found: &Address) -> Value {
    let user = address::user(world, found);
    let path = key.to_string();
    let mut wire = json!({
        "kind": "compute#address",
        "id": links::id(found.id),
        "creationTimestamp": found.creation_timestamp.to_string(),
        "name": key.name,
        "description": "",
        "status": if user.is_some() { "IN_USE" } else { "RESERVED" },
        "selfLink": links::link(key),
        "labelFingerprint": details::label_fingerprint(world, &path),
    });
    let fields = match &found.reserved {
        Reserved::Internal { subnetwork, address } => json!({
            "address": address.to_string(),
            "addressType": "INTERNAL",
            "purpose": "GCE_ENDPOINT",
            "networkTier": "PREMIUM",
            "subnetwork": links::link(subnetwork),
        }),
        Reserved::External(address) => json!({
            "address": address.to_string(),
            "addressType": "EXTERNAL",
            "ipVersion": "IPV4",
            "networkTier": "PREMIUM",
        }),
        Reserved::Peering { network, range } => json!({
            "address": range.addr().to_string(),
            "prefixLength": range.prefix_len(),
            "addressType": "INTERNAL",
            "purpose": "VPC_PEERING",
            "network": links::link(network),
        }),
    };
    for (name, value) in fields.as_object().into_iter().flatten() {
        wire[name.as_str()] = value.clone();
    }
    if let Some(region) = &key.region {
        wire["region"] = json!(links::link(format!("projects/{}/regions/{region}", key.project)));
    }
    if let Some(user) = user {
        wire["users"] = json!([links::link(user)]);
    }
    details::add(world, &path, &mut wire);
    wire
}

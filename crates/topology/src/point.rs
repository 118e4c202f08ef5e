//! From a [`Refusal`] to the place in the file that is to blame.

use crate::node::{Kind, Node};
use tombolo_model::{Change, Refusal};

/// The path to point at when the change that stands at `resource` was refused: the field in question where the
/// file has it, the resource where not.
pub(crate) fn blame(root: &Node, resource: &str, change: &Change, refusal: &Refusal) -> String {
    let Some(node) = root.find(resource) else { return resource.to_owned() };
    let field = field(node, change, refusal);
    let mut field = field.as_str();
    // A field that the file leaves out (a default) or writes more shortly: the closest one around it.
    while node.find(field).is_none() {
        field = field.rfind(['.', '[']).map_or("", |end| &field[..end]);
    }
    if field.is_empty() { resource.to_owned() } else { format!("{resource}.{field}") }
}

/// The field inside the resource, by the file's names. Empty for the resource as a whole.
fn field(node: &Node, change: &Change, refusal: &Refusal) -> String {
    let of_redis = matches!(change, Change::RedisInsert(_));
    match refusal {
        Refusal::AlreadyExists { .. } if matches!(change, Change::ProjectCreate(_)) => "projectId".into(),
        Refusal::AlreadyExists { .. } if matches!(change, Change::RecordSetsChange { .. }) => "rrsets".into(),
        Refusal::AlreadyExists { .. } => "name".into(),
        Refusal::NotFound { .. } if of_redis => "authorizedNetwork".into(),
        Refusal::PeerOverlap { .. } | Refusal::PeerOfPeerOverlap { .. } | Refusal::SubnetOverlap { .. }
            if of_redis =>
        {
            "reservedIpRange".into()
        }
        Refusal::AddressInUse { address } => interface_with(node, &address.to_string()),
        Refusal::SubnetOverlap { range, .. } => {
            secondary_with(node, "ipCidrRange", &range.to_string()).unwrap_or_else(|| "ipCidrRange".into())
        }
        Refusal::AddressesExhausted { .. } => "networkInterfaces".into(),
        Refusal::Invalid { value, .. } => {
            refusal.field().map(|f| in_file(node, f, value)).unwrap_or_default()
        }
        _ => refusal.field().unwrap_or_default().to_owned(),
    }
}

/// The field of Google's message by its name in the file; in a list, the item that has the value (the World keeps
/// tags and ranges as sets, so its index is not the file's).
fn in_file(node: &Node, field: &str, value: &str) -> String {
    let field = field.strip_prefix("networkPeering.").unwrap_or(field);
    let records = field.strip_prefix("change.additions").map(|rest| format!("rrsets{rest}"));
    let field = records.as_deref().unwrap_or(field);
    // These are kept by name, so that their index is not the file's.
    let field = match field.split_once("].subnetworks[") {
        Some((nat, _)) => format!("{nat}].subnetworks"),
        None => field.to_owned(),
    };
    let field = match field.as_str() {
        "managedZone" => "rrsets",
        "project_id" => "projectId",
        "location" => "region",
        "instance_id" => "name",
        other => other,
    };
    // These are kept by name, so that their index is not the file's either.
    if let Some((_, part)) = field.split_once("].").filter(|_| field.starts_with(SECONDARY)) {
        return secondary_with(node, part, value).unwrap_or_else(|| SECONDARY.to_owned());
    }
    let list = field.rfind('[').filter(|_| field.ends_with(']')).map_or(field, |end| &field[..end]);
    let short = list.strip_suffix(".items").unwrap_or(list);
    for list in [list, short] {
        let items = node.find(list).filter(|n| n.kind() == Kind::List).map(Node::items).unwrap_or_default();
        if let Some(i) = items.iter().position(|item| item.text() == Some(value)) {
            return format!("{list}[{i}]");
        }
    }
    field.to_owned()
}

/// The list of a subnetwork's secondary ranges.
const SECONDARY: &str = "secondaryIpRanges";

/// The field of the secondary range that has the value there.
fn secondary_with(node: &Node, field: &str, value: &str) -> Option<String> {
    let ranges = node.get(SECONDARY).map(Node::items)?;
    let found = ranges.iter().position(|range| range.get(field).and_then(Node::text) == Some(value))?;
    Some(format!("{SECONDARY}[{found}].{field}"))
}

/// The field of the interface that asks for the address, itself or as the first one of an alias range.
fn interface_with(node: &Node, address: &str) -> String {
    let interfaces = node.get("networkInterfaces").map(Node::items).unwrap_or_default();
    let text = |node: &Node, key: &str| node.get(key).and_then(Node::text).map(str::to_owned);
    for (i, nic) in interfaces.iter().enumerate() {
        if text(nic, "networkIP").as_deref() == Some(address) {
            return format!("networkInterfaces[{i}].networkIP");
        }
        let aliases = nic.get("aliasIpRanges").map(Node::items).unwrap_or_default();
        let asks = |alias: &Node| {
            text(alias, "ipCidrRange").is_some_and(|range| range.split('/').next() == Some(address))
        };
        if let Some(j) = aliases.iter().position(asks) {
            return format!("networkInterfaces[{i}].aliasIpRanges[{j}].ipCidrRange");
        }
    }
    String::new()
}

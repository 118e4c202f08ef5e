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
        Refusal::AlreadyExists { .. } => "name".into(),
        Refusal::NotFound { .. } if of_redis => "authorizedNetwork".into(),
        Refusal::PeerOverlap { .. } | Refusal::PeerOfPeerOverlap { .. } | Refusal::SubnetOverlap { .. }
            if of_redis =>
        {
            "reservedIpRange".into()
        }
        Refusal::AddressInUse { address } => interface_with(node, &address.to_string()),
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
    let field = match field {
        "project_id" => "projectId",
        "location" => "region",
        "instance_id" => "name",
        other => other,
    };
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

/// The interface that asks for the address.
fn interface_with(node: &Node, address: &str) -> String {
    let interfaces = node.get("networkInterfaces").map(Node::items).unwrap_or_default();
    let asks = |nic: &Node| nic.get("networkIP").and_then(Node::text) == Some(address);
    let found = interfaces.iter().position(asks);
    found.map(|i| format!("networkInterfaces[{i}].networkIP")).unwrap_or_default()
}

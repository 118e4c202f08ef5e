//! What VMs are told, as tables: a World, who asks, what comes back.

mod dns;
mod metadata;

#[path = "../../../model/tests/model/support.rs"]
mod support;

use std::collections::BTreeMap;
use tombolo_model::{Change, InstanceKey, NetworkKey, Timestamp, World};

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// Two networks that are peers; vm-1 and vm-b in vpc-1, vm-2 in vpc-2, router in both.
fn world() -> World {
    support::world(
        "project project-1
         network vpc-1 mtu=1500
         network vpc-2
         subnet subnet-1 vpc-1 10.1.0.0/16
         subnet subnet-2 vpc-2 10.2.0.0/16
         secondary subnet-1 pods=10.8.0.0/16
         vm vm-1 subnet-1=10.1.0.2 tags=web,db
         vm vm-b subnet-1=10.1.0.3 zone=us-central1-b
         vm vm-2 subnet-2=10.2.0.2
         vm router subnet-2=10.2.0.9,subnet-1=10.1.0.9
         alias vm-1 pods=10.8.1.0/24
         nat vm-1
         peer a-to-b vpc-1 vpc-2
         peer b-to-a vpc-2 vpc-1",
    )
}

fn vpc(number: u8) -> NetworkKey {
    NetworkKey::new("project-1", format!("vpc-{number}"))
}

fn vm(name: &str) -> InstanceKey {
    InstanceKey::new("project-1", "us-central1-a", name)
}

fn with(world: &World, changes: &[Change]) -> World {
    changes.iter().fold(world.clone(), |world, change| world.apply(change, NOW).expect("a good change"))
}

/// The World in which vm-1 has this metadata.
fn with_metadata(world: &World, pairs: &[(&str, &str)]) -> World {
    let metadata: BTreeMap<_, _> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    with(world, &[Change::InstanceSetMetadata { instance: vm("vm-1"), metadata }])
}

/// The World in which this is said of a resource.
fn with_details(world: &World, resource: &str, details: serde_json::Value) -> World {
    let details = details.as_object().expect("an object").clone().into_iter().collect();
    with(world, &[Change::Describe { resource: resource.to_owned(), details }])
}

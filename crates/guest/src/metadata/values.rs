//! What there is to know of an instance and of its project.

use super::account::accounts;
use super::tree::Node;
use crate::{Asker, names};
use serde_json::Value;
use tombolo_fabric::METADATA_SERVER;
use tombolo_model::instance::mac_of;
use tombolo_model::{Nic, World, forwarding_rule};

/// All of it, below `/computeMetadata/v1/`.
pub(super) fn tree(world: &World, asker: &Asker<'_>) -> Node {
    Node::Fields(vec![("instance", instance(world, asker)), ("project", project(world, asker))])
}

/// A project's number, by which links here name it.
fn number(world: &World, project: &str) -> String {
    world.projects.get(project).map(|project| tombolo_api::project_number(project)).unwrap_or_default()
}

fn project(world: &World, asker: &Asker<'_>) -> Node {
    let project = &asker.key.project;
    let attributes = names::project_attributes(world, project);
    let attributes = attributes.map(|(name, value)| (name.to_owned(), Node::text_of(value))).collect();
    Node::Fields(vec![
        ("attributes", Node::Named(attributes)),
        ("numeric-project-id", Node::Number(number(world, project).parse().unwrap_or_default())),
        ("project-id", Node::text_of(project)),
    ])
}

fn instance(world: &World, asker: &Asker<'_>) -> Node {
    let Asker { key, instance } = asker;
    // As the API shows it: what both tell cannot differ.
    let wire = tombolo_api::instance(world, key).unwrap_or_default();
    let text = |name: &str| wire[name].as_str().unwrap_or_default().to_owned();
    let number = number(world, &key.project);
    let machine = text("machineType");
    let machine = machine.rsplit('/').next().unwrap_or_default();
    let hostname = wire["hostname"].as_str().map(str::to_owned);
    let attributes = instance.metadata.iter().map(|(name, value)| (name.clone(), Node::text_of(value)));
    let disks = wire["disks"].as_array().into_iter().flatten().enumerate().map(|(i, wire)| disk(i, wire));
    let nics = instance.nics.iter().enumerate().map(|(index, nic)| interface(world, &wire, index, nic));
    Node::Fields(vec![
        ("attributes", Node::Named(attributes.collect())),
        ("cpu-platform", Node::Text(text("cpuPlatform"))),
        ("description", Node::Text(text("description"))),
        ("disks", Node::Array(disks.collect())),
        ("hostname", Node::Text(hostname.unwrap_or_else(|| names::own(world, key, instance)))),
        ("id", Node::Number(text("id").parse().unwrap_or_default())),
        ("image", Node::Text(tombolo_api::boot_image(world, key).unwrap_or_default())),
        ("machine-type", Node::Text(format!("projects/{number}/machineTypes/{machine}"))),
        ("maintenance-event", Node::text_of("NONE")),
        ("name", Node::text_of(&key.name)),
        ("network-interfaces", Node::Array(nics.collect())),
        ("preempted", Node::text_of("FALSE")),
        ("scheduling", scheduling(&wire["scheduling"])),
        ("service-accounts", service_accounts(&wire)),
        ("tags", Node::List(instance.tags.iter().cloned().collect())),
        ("zone", Node::Text(format!("projects/{number}/zones/{}", key.zone))),
    ])
}

fn disk(index: usize, wire: &Value) -> Node {
    let text = |name: &str| Node::text_of(wire[name].as_str().unwrap_or_default());
    Node::Fields(vec![
        ("device-name", text("deviceName")),
        ("index", Node::Number(index as u64)),
        ("interface", text("interface")),
        ("mode", text("mode")),
        ("type", text("type")),
    ])
}

fn interface(world: &World, wire: &Value, index: usize, nic: &Nic) -> Node {
    let subnetwork = world.subnetworks.get(&nic.subnetwork);
    let gateway = subnetwork.map(|subnetwork| subnetwork.gateway().to_string());
    let mask = subnetwork.map(|subnetwork| subnetwork.range.netmask().to_string());
    let mtu = world.networks.get(&nic.network).map(|network| network.mtu);
    let mac = mac_of(nic.address).map(|byte| format!("{byte:02x}")).join(":");
    let network = format!("projects/{}/networks/{}", number(world, &nic.network.project), nic.network.name);
    let access = wire["networkInterfaces"][index]["accessConfigs"].as_array().into_iter().flatten();
    let access = access.map(|wire| {
        Node::Fields(vec![
            ("external-ip", Node::text_of(wire["natIP"].as_str().unwrap_or_default())),
            ("type", Node::text_of(wire["type"].as_str().unwrap_or_default())),
        ])
    });
    let forwarded = forwarding_rule::leading_to(world, &nic.network, nic.address).map(Node::text_of);
    let aliases = nic.aliases.iter().map(|alias| Node::text_of(alias.range)).collect();
    let ipv6 = nic.ipv6_address().map(|address| vec![address.to_string()]);
    let ipv6 = ipv6.map(|addresses| ("ipv6s", Node::Lines(addresses)));
    let mut fields = vec![
        ("access-configs", Node::Array(access.collect())),
        ("dns-servers", Node::Lines(vec![METADATA_SERVER.to_string()])),
        ("forwarded-ips", Node::Array(Vec::new())),
        ("gateway", Node::Text(gateway.unwrap_or_default())),
        ("ip", Node::text_of(nic.address)),
        ("ip-aliases", Node::Array(aliases)),
        ("mac", Node::Text(mac)),
        ("mtu", Node::Number(mtu.unwrap_or_default().into())),
        ("network", Node::Text(network)),
        ("subnetmask", Node::Text(mask.unwrap_or_default())),
        ("target-instance-ips", Node::Array(forwarded.collect())),
    ];
    // What is not dual-stack has no such path.
    let at = fields.iter().position(|(name, _)| *name == "mac").unwrap_or(fields.len());
    fields.splice(at..at, ipv6);
    Node::Fields(fields)
}

fn scheduling(wire: &Value) -> Node {
    let flag = |name: &str| Node::text_of(if wire[name].as_bool() == Some(true) { "TRUE" } else { "FALSE" });
    Node::Fields(vec![
        ("automatic-restart", flag("automaticRestart")),
        ("on-host-maintenance", Node::text_of(wire["onHostMaintenance"].as_str().unwrap_or_default())),
        ("preemptible", flag("preemptible")),
    ])
}

/// Each account by its address, and the first one as `default` too.
fn service_accounts(wire: &Value) -> Node {
    let mut named = Vec::new();
    for (index, (email, scopes)) in accounts(wire).into_iter().enumerate() {
        let aliases = if index == 0 { vec!["default".to_owned()] } else { Vec::new() };
        let account = Node::Fields(vec![
            ("aliases", Node::Lines(aliases)),
            ("email", Node::text_of(&email)),
            ("identity", Node::Made),
            ("scopes", Node::Lines(scopes)),
            ("token", Node::Made),
        ]);
        if index == 0 {
            named.push(("default".to_owned(), account.clone()));
        }
        named.push((email, account));
    }
    Node::Named(named)
}

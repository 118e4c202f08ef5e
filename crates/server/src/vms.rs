//! What the agent needs to know of each endpoint in which programs run. Pure.

use std::fmt::Write;
use std::path::PathBuf;
use tombolo_agent::VmSpec;
use tombolo_fabric::{METADATA_SERVER, Owner};
use tombolo_model::{Instance, InstanceKey, World};
use tombolo_ssh::Secret;

use crate::ssh;

/// All endpoints of a World that can run programs: instances that run, and Redis instances. Nobody can log in to them
/// without the `secret` that their host keys are made from.
pub fn vms(world: &World, bin: &[PathBuf], secret: Option<&Secret>) -> Vec<VmSpec> {
    let running = world.instances.iter().filter(|(_, instance)| instance.running);
    let instances = running.map(|(key, instance)| instance_vm(world, key, instance, bin, secret));
    let redis = world.redis.iter().map(|(key, _)| {
        let endpoint = Owner::Redis(key.clone()).to_string();
        VmSpec {
            key: endpoint.clone(),
            netns: endpoint,
            hostname: key.name.clone(),
            hosts: "127.0.0.1 localhost\n".into(),
            resolv_conf: String::new(),
            bin: Vec::new(),
            env: Vec::new(),
            ssh: None,
        }
    });
    instances.chain(redis).collect()
}

/// A user's VM, with the names that Google's guest environment gives it.
fn instance_vm(
    world: &World,
    key: &InstanceKey,
    instance: &Instance,
    bin: &[PathBuf],
    secret: Option<&Secret>,
) -> VmSpec {
    let endpoint = Owner::Instance(key.clone()).to_string();
    let project = &key.project;
    let zone = format!("{}.c.{project}.internal", key.zone);
    VmSpec {
        key: endpoint.clone(),
        netns: endpoint,
        hostname: key.name.clone(),
        hosts: hosts(world, key, instance),
        resolv_conf: format!(
            "nameserver {METADATA_SERVER}\nsearch {zone} c.{project}.internal google.internal\n"
        ),
        bin: bin.to_vec(),
        env: Vec::new(),
        ssh: secret.map(|secret| ssh::config(world, key, instance, secret)),
    }
}

/// /etc/hosts: itself, the metadata server, and the other instances of its networks, in the place of the internal
/// DNS, which knows the same names. A peer network's names are not exchanged, as in Google's cloud.
fn hosts(world: &World, key: &InstanceKey, instance: &Instance) -> String {
    let mut hosts = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    let line = |key: &InstanceKey, address| {
        let InstanceKey { project, zone, name } = key;
        format!("{address} {name}.{zone}.c.{project}.internal {name}\n")
    };
    hosts += &line(key, instance.nics[0].address);
    let _ = writeln!(hosts, "{METADATA_SERVER} metadata.google.internal metadata");
    for (other, theirs) in world.instances.iter().filter(|(other, _)| *other != key) {
        let shared =
            theirs.nics.iter().find(|nic| instance.nics.iter().any(|own| own.network == nic.network));
        hosts += &shared.map_or_else(String::new, |nic| line(other, nic.address));
    }
    hosts
}

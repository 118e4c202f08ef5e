//! What the agent needs to know of each endpoint in which programs run. Pure.

use std::path::PathBuf;
use tombolo_agent::VmSpec;
use tombolo_fabric::{INTERNET_CLIENT, METADATA_SERVER, Owner};
use tombolo_guest::metadata::HOST;
use tombolo_guest::names;
use tombolo_model::{Instance, InstanceKey, World};
use tombolo_ssh::Secret;

use crate::ssh;

/// All endpoints of a World that can run programs: instances that run, Redis instances, and the internet's client. Nobody can log in to them
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
    let nics = world.instances.values().filter(|instance| instance.running).flat_map(|i| &i.nics);
    let internet = nics.into_iter().any(|nic| nic.access.is_some()).then(|| client(bin));
    instances.chain(redis).chain(internet).collect()
}

/// The internet's client, which knows nobody's name.
fn client(bin: &[PathBuf]) -> VmSpec {
    let endpoint = Owner::Internet.to_string();
    VmSpec {
        key: endpoint.clone(),
        netns: endpoint.clone(),
        hostname: endpoint.clone(),
        hosts: format!("127.0.0.1 localhost\n{INTERNET_CLIENT} {endpoint}\n"),
        resolv_conf: String::new(),
        bin: bin.to_vec(),
        env: Vec::new(),
        ssh: None,
    }
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
    VmSpec {
        key: endpoint.clone(),
        netns: endpoint,
        hostname: key.name.clone(),
        hosts: hosts(world, key, instance),
        resolv_conf: format!(
            "nameserver {METADATA_SERVER}\nsearch {}\n",
            names::search(world, key, instance)
        ),
        bin: bin.to_vec(),
        env: Vec::new(),
        ssh: secret.map(|secret| ssh::config(world, key, instance, secret)),
    }
}

/// /etc/hosts as Google's guest environment writes it: itself and the metadata server. All other names are DNS's.
fn hosts(world: &World, key: &InstanceKey, instance: &Instance) -> String {
    format!(
        "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{} {} {}\n{METADATA_SERVER} {HOST} metadata\n",
        instance.nics[0].address,
        names::own(world, key, instance),
        key.name,
    )
}

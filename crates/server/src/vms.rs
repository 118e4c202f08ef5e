//! What the agent needs to know of each endpoint in which programs run. Pure.

use imbl::ordmap::DiffItem;
use std::path::PathBuf;
use tombolo_agent::VmSpec;
use tombolo_fabric::{INTERNET_CLIENT, METADATA_SERVER, Owner};
use tombolo_guest::metadata::HOST;
use tombolo_guest::names;
use tombolo_model::{Instance, InstanceKey, RedisKey, World};
use tombolo_ssh::Secret;

use crate::ssh;

/// All endpoints of a World that can run programs: instances that run, Redis instances, and the internet's client. Nobody can log in to them
/// without the `secret` that their host keys are made from.
pub fn vms(world: &World, bin: &[PathBuf], secret: Option<&Secret>) -> Vec<VmSpec> {
    let running = world.instances.iter().filter(|(_, instance)| instance.running);
    let instances = running.map(|(key, instance)| instance_vm(world, key, instance, bin, secret));
    let internet = has_internet(world).then(|| client(bin));
    instances.chain(world.redis.keys().map(redis_vm)).chain(internet).collect()
}

/// Whether the internet has a client: where an instance that runs has an external address.
fn has_internet(world: &World) -> bool {
    let nics = world.instances.values().filter(|instance| instance.running).flat_map(|i| &i.nics);
    nics.into_iter().any(|nic| nic.access.is_some())
}

/// What of the endpoints may be otherwise than when the World was `before`: those that are, and the keys of those that
/// are gone. `None` if it may be all of them.
pub fn changed(
    before: &World,
    world: &World,
    bin: &[PathBuf],
    secret: Option<&Secret>,
) -> Option<(Vec<String>, Vec<VmSpec>)> {
    // What projects say of who may log in, and of names.
    let same_project = |project: &String| {
        let path = format!("projects/{project}");
        before.details.get(&path) == world.details.get(&path)
    };
    if !world.projects.keys().all(same_project) || has_internet(before) != has_internet(world) {
        return None;
    }
    let (mut gone, mut vms) = (Vec::new(), Vec::new());
    let endpoint = |key: &InstanceKey| Owner::Instance(key.clone()).to_string();
    for item in before.instances.diff(&world.instances) {
        match item {
            DiffItem::Add(key, now) if now.running => {
                vms.push(instance_vm(world, key, now, bin, secret));
            }
            DiffItem::Update { old: (_, then), new: (key, now) } if now.running => {
                let vm = instance_vm(world, key, now, bin, secret);
                // Most of what an instance is, the agent need not know. One that was started anew is told in any case.
                let goes_on = then.running && then.starts == now.starts;
                if !goes_on || instance_vm(before, key, then, bin, secret) != vm {
                    vms.push(vm);
                }
            }
            DiffItem::Add(..) => {}
            DiffItem::Update { old: (key, _), .. } | DiffItem::Remove(key, _) => gone.push(endpoint(key)),
        }
    }
    for item in before.redis.diff(&world.redis) {
        match item {
            DiffItem::Add(key, _) => vms.push(redis_vm(key)),
            DiffItem::Update { .. } => {}
            DiffItem::Remove(key, _) => gone.push(Owner::Redis(key.clone()).to_string()),
        }
    }
    Some((gone, vms))
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

/// The endpoint in which a redis-server runs.
fn redis_vm(key: &RedisKey) -> VmSpec {
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

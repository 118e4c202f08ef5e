//! Memorystore for Redis instances.
//!
//! ```text
//!   vpc-2 (authorizedNetwork) ==peering redis-peer-N== tenant network (Google-managed) -- /29 -- redis-server
//! ```
//!
//! The instance lives in a network that belongs to a hidden tenant project, one for each authorized network. The
//! peering between the two is made with the first instance and remade with every further one if a user deleted
//! it. Since peering is not transitive, only the authorized network reaches the instance.
//! An instance with private services access is in the tenant network of a [`crate::connection`] instead, which serves
//! every project that uses the authorized network: so it works with a Shared VPC.
//! Source: Google's documentation of Memorystore for Redis ("Networking"), recorded instances.

use crate::{
    Exchange, NetworkKey, PeeringSpec, RedisKey, Refusal, Seed, SubnetworkKey, SubnetworkSpec, Timestamp,
    World,
};
use crate::{Network, connection, key, network, peering, project, range, region, route, subnetwork};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

/// The port that instances without TLS listen on.
pub const PORT: u16 = 6379;

/// The port that instances with TLS listen on, and on no other.
/// Source: Google's documentation of Memorystore for Redis, "In-transit encryption".
pub const TLS_PORT: u16 = 6378;

/// A Redis instance's tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RedisTier {
    /// One server.
    #[default]
    Basic,
}

/// How an instance's tenant network is peered with its authorized network. It never changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ConnectMode {
    /// `DIRECT_PEERING`: by a peering of Memorystore's own.
    #[default]
    DirectPeering,
    /// `PRIVATE_SERVICE_ACCESS`: by the authorized network's connection to Google's services.
    PrivateServiceAccess {
        /// The allocated range that the instance's /29 is from, by its address's name; any of the connection's when
        /// not said.
        range: Option<String>,
    },
}

/// A Memorystore for Redis instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Redis {
    /// A number that no other resource of the World ever has.
    pub id: u64,
    /// When it was made.
    pub create_time: Timestamp,
    /// The network whose instances reach it.
    pub authorized_network: NetworkKey,
    /// The hidden network that it is in.
    pub tenant_network: NetworkKey,
    /// Its /29 in the tenant network (`reservedIpRange`).
    pub reserved_ip_range: Ipv4Net,
    /// Its address.
    pub host: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// Its tier.
    pub tier: RedisTier,
    /// Memory limit in GiB.
    pub memory_size_gb: u32,
    /// `REDIS_7_0` and so on; what runs is the redis-server of the machine.
    pub redis_version: String,
    /// How it is reached.
    #[serde(default)]
    pub connect_mode: ConnectMode,
    /// Its configuration, as far as it is said (`redisConfigs`).
    #[serde(default)]
    pub configs: BTreeMap<String, String>,
    /// The number that its AUTH string follows from; clients need none when it is zero.
    #[serde(default)]
    pub auth: u64,
    /// Clients speak TLS to it (`transitEncryptionMode: SERVER_AUTHENTICATION`).
    #[serde(default)]
    pub tls: bool,
}

impl Redis {
    /// What clients must say to it, if anything: a UUID.
    pub fn auth_string(&self, seed: &Seed) -> Option<String> {
        (self.auth > 0).then(|| seed.uuid(&format!("redis {} auth {}", self.id, self.auth)))
    }

    /// The most bytes of data: all of its memory, unless it is configured to have less.
    pub fn max_memory(&self) -> u64 {
        const GIB: f64 = (1u64 << 30) as f64;
        let configured = self.configs.get("maxmemory-gb").and_then(|gb| gb.parse().ok());
        (configured.unwrap_or(f64::from(self.memory_size_gb)) * GIB) as u64
    }
}

/// What a user says of a new instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedisSpec {
    /// Which instance.
    pub key: RedisKey,
    /// The network whose instances are to reach it.
    pub authorized_network: NetworkKey,
    /// A certain /29; one that is free is chosen when not said. For direct peering only.
    pub reserved_ip_range: Option<Ipv4Net>,
    /// How it is to be reached.
    #[serde(default)]
    pub connect_mode: ConnectMode,
    /// See [`Redis`].
    pub tier: RedisTier,
    /// See [`Redis`].
    pub memory_size_gb: u32,
    /// See [`Redis`].
    #[serde(default)]
    pub tls: bool,
}

/// Creates an instance and, for direct peering, its tenant network and its peering where these are missing.
pub(crate) fn insert(world: &mut World, spec: &RedisSpec, now: Timestamp) -> Result<(), Refusal> {
    project::require(world, &spec.key.project, project::REDIS)?;
    check(world, spec)?;
    let (tenant, rooms) = match &spec.connect_mode {
        ConnectMode::DirectPeering => {
            let tenant =
                NetworkKey::new(hidden_project(&spec.authorized_network.to_string()), "redis-tenant");
            ensure_tenant(world, &spec.authorized_network, &tenant, now)?;
            (tenant, vec![Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8)])
        }
        ConnectMode::PrivateServiceAccess { range } => {
            connection::rooms(world, &spec.authorized_network, range.as_deref())?
        }
    };
    let range = match spec.reserved_ip_range {
        Some(range) => range,
        None => choose_range(world, spec, &tenant, &rooms)?,
    };
    // Said here, in words that do not name the hidden network, and not by the checks of subnetworks and peerings.
    let twin = subnetwork::ranges_of(world, &tenant).map(|(_, r)| r).find(|r| range::overlap(r, &range));
    let twin = twin.map(|r| format!("overlaps the range '{r}' of another instance"));
    if let Some(conflict) = twin.or_else(|| conflict(world, &spec.authorized_network, range)) {
        return Err(Refusal::invalid("reservedIpRange", range, format!("The range {conflict}.")));
    }
    let key = subnetwork_of(&spec.key, &tenant, &spec.authorized_network);
    subnetwork::insert_checked(world, SubnetworkSpec::new(key, tenant.clone(), range), now)?;
    let redis = Redis {
        id: world.fresh_id(),
        create_time: now,
        authorized_network: spec.authorized_network.clone(),
        tenant_network: tenant,
        reserved_ip_range: range,
        host: range::nth(range, 3),
        port: if spec.tls { TLS_PORT } else { PORT },
        tier: spec.tier,
        memory_size_gb: spec.memory_size_gb,
        redis_version: "REDIS_7_0".into(),
        connect_mode: spec.connect_mode.clone(),
        configs: BTreeMap::new(),
        auth: 0,
        tls: spec.tls,
    };
    world.redis.insert(spec.key.clone(), Arc::new(redis));
    Ok(())
}

/// The longest id of an instance. Source: `instanceId` of `redis.projects.locations.instances.create`.
const LONGEST_ID: usize = 40;

/// Checks what can be checked before anything is made.
fn check(world: &World, spec: &RedisSpec) -> Result<(), Refusal> {
    key::check_name("instance_id", &spec.key.name)?;
    if spec.key.name.len() > LONGEST_ID {
        let expected = format!("Must be between 1 and {LONGEST_ID} characters.");
        return Err(Refusal::invalid("instance_id", &spec.key.name, expected));
    }
    region::check("location", &spec.key.region)?;
    if world.redis.contains_key(&spec.key) {
        return Err(Refusal::already_exists(&spec.key));
    }
    let network = &spec.authorized_network;
    if spec.connect_mode == ConnectMode::DirectPeering {
        if network.project != spec.key.project {
            return Err(Refusal::AuthorizedNetworkElsewhere);
        }
    } else {
        project::check_may_use_network(world, &spec.key.project, network)?;
        if let Some(range) = spec.reserved_ip_range {
            let expected = "Must be the name of an allocated address range of the private connection.";
            return Err(Refusal::invalid("reservedIpRange", range, expected));
        }
    }
    network::get_user(world, &spec.authorized_network)?;
    check_memory(spec.memory_size_gb)?;
    if let Some(range) = spec.reserved_ip_range {
        range::check_subnet_range("reservedIpRange", range)?;
        if range.prefix_len() != 29 || !range::is_private(range.network()) {
            return Err(Refusal::invalid("reservedIpRange", range, "Must be a /29 of a private range."));
        }
    }
    Ok(())
}

/// The project of a hidden network, whose name looks like Google's (`b93fa6acd2c17ef5f-tp`) and follows from what the
/// network serves.
pub(crate) fn hidden_project(serves: &str) -> String {
    let digest = Sha256::digest(serves);
    let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    let first = char::from(b'a' + digest[31] % 6); // a project id begins with a letter
    format!("{first}{}-tp", &hex[..16])
}

/// The subnetwork of an instance in its tenant network, which several projects may use: those that are not the network's
/// own are in the name, after a dot, which no name has.
fn subnetwork_of(key: &RedisKey, tenant: &NetworkKey, authorized: &NetworkKey) -> SubnetworkKey {
    let elsewhere = (key.project != authorized.project).then(|| format!(".{}", key.project));
    let name = format!("redis-{}{}", key.name, elsewhere.unwrap_or_default());
    SubnetworkKey::new(&tenant.project, &key.region, name)
}

/// Makes the tenant network of direct peering and both sides of its peering where they are missing.
fn ensure_tenant(
    world: &mut World,
    authorized: &NetworkKey,
    tenant: &NetworkKey,
    now: Timestamp,
) -> Result<(), Refusal> {
    ensure_network(world, tenant, now);
    let name = free_peering_name(world, authorized);
    if link_tenant(world, authorized, tenant, &name, Exchange::default(), now) {
        check_relinked(world, authorized, tenant, "authorizedNetwork")?;
    }
    Ok(())
}

/// Refuses a peering that was missing and is there again if ranges of the tenant network conflict by now: while a user had
/// deleted it, nothing kept others from them.
pub(crate) fn check_relinked(
    world: &World,
    authorized: &NetworkKey,
    tenant: &NetworkKey,
    field: &str,
) -> Result<(), Refusal> {
    for (_, have) in subnetwork::ranges_of(world, tenant) {
        if let Some(conflict) = conflict(world, authorized, have) {
            let expected = format!("The range '{have}' of its Redis instances conflicts: it {conflict}.");
            return Err(Refusal::invalid(field, authorized, expected));
        }
    }
    Ok(())
}

/// Makes a hidden network where it is missing.
pub(crate) fn ensure_network(world: &mut World, tenant: &NetworkKey, now: Timestamp) {
    if !world.networks.contains_key(tenant) {
        let network = Network {
            id: world.fresh_id(),
            creation_timestamp: now,
            auto_create_subnetworks: false,
            mtu: network::DEFAULT_MTU,
            peerings: Vec::new(),
            google_managed: true,
            policy_first: false,
            ipv6: None,
        };
        world.networks.insert(tenant.clone(), Arc::new(network));
    }
}

/// Makes both sides of a tenant network's peering where they are missing; whether one was. `exchange` is what the
/// tenant network's side gives and takes.
pub(crate) fn link_tenant(
    world: &mut World,
    authorized: &NetworkKey,
    tenant: &NetworkKey,
    name: &str,
    exchange: Exchange,
    now: Timestamp,
) -> bool {
    let mut linked = false;
    for (local, peer, exchange) in [(authorized, tenant, Exchange::default()), (tenant, authorized, exchange)]
    {
        let known = world.networks.get(local).is_some_and(|n| n.peerings.iter().any(|p| p.peer == *peer));
        if !known {
            let spec = PeeringSpec::new(local.clone(), name, peer.clone());
            peering::link(world, &PeeringSpec { exchange, ..spec }, now);
            linked = true;
        }
    }
    linked
}

/// `redis-peer-N`: N is the network's id, or the next number that the user has not taken for a peering of their own.
fn free_peering_name(world: &World, authorized: &NetworkKey) -> String {
    let network = world.networks.get(authorized);
    let taken = |name: &String| network.is_some_and(|n| n.peerings.iter().any(|p| p.name == *name));
    let mut names = (network.map_or(0, |n| n.id)..).map(|n| format!("redis-peer-{n}"));
    names.find(|name| !taken(name)).unwrap_or_default()
}

/// A free /29 of some ranges: where the search starts follows from the instance's name, so that the same lab gets
/// the same address every time. Static routes are spared where there is room.
fn choose_range(
    world: &World,
    spec: &RedisSpec,
    tenant: &NetworkKey,
    rooms: &[Ipv4Net],
) -> Result<Ipv4Net, Refusal> {
    // Ranges for managed services are /8 to /29.
    let size = |room: &Ipv4Net| 1u32 << (29 - room.prefix_len());
    let blocks: u32 = rooms.iter().map(size).sum();
    let digest = Sha256::digest(format!("{} {}", spec.key, spec.authorized_network));
    let start = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) % blocks.max(1);
    let block = |i: u32| {
        let mut left = (start + i) % blocks;
        for room in rooms {
            if left < size(room) {
                return Some(Ipv4Net::new_assert(range::nth(*room, left * 8), 29));
            }
            left -= size(room);
        }
        None
    };
    let mut used: Vec<Ipv4Net> = subnetwork::ranges_of(world, tenant).map(|(_, r)| r).collect();
    used.extend(ranges_near(world, &spec.authorized_network).into_iter().map(|(r, _)| r));
    let statics = world.routes.values().filter(|r| r.network == spec.authorized_network);
    let statics: Vec<Ipv4Net> = statics.map(|r| r.dest_range).filter(|r| r.prefix_len() > 0).collect();
    let free = |range: &Ipv4Net| used.iter().all(|u| !range::overlap(u, range));
    let unrouted = |range: &Ipv4Net| statics.iter().all(|s| !range::overlap(s, range));
    let unbroken = |range: &Ipv4Net| statics.iter().all(|s| !range.contains(s));
    let best = (0..blocks).filter_map(block).find(|r| free(r) && unrouted(r));
    let found = best.or_else(|| (0..blocks).filter_map(block).find(|r| free(r) && unbroken(r)));
    found.ok_or_else(|| match spec.connect_mode {
        ConnectMode::PrivateServiceAccess { .. } => Refusal::AllocatedRangesExhausted,
        ConnectMode::DirectPeering => {
            let expected = "There is no free /29 range in 10.0.0.0/8 for the instance.";
            Refusal::invalid("reservedIpRange", "", expected)
        }
    })
}

/// What a range of the tenant network conflicts with, as the rest of a sentence: a range of the authorized network or
/// of one of its active peers, or a static route that a subnet route to it would take packets from.
fn conflict(world: &World, authorized: &NetworkKey, range: Ipv4Net) -> Option<String> {
    let near = ranges_near(world, authorized).into_iter().find(|(near, _)| range::overlap(near, &range));
    let overlap = near.map(|(near, whose)| format!("overlaps the range '{near}' of {whose}"));
    overlap.or_else(|| {
        let (key, inside) = route::inside(world, authorized, range)?;
        Some(format!("contains the destination range '{inside}' of the route '{key}'"))
    })
}

/// The ranges that the tenant network's must not overlap, and whose they are: those of the authorized network and of
/// its active peers other than the tenant network itself.
fn ranges_near(world: &World, authorized: &NetworkKey) -> Vec<(Ipv4Net, &'static str)> {
    let own = subnetwork::ranges_of(world, authorized).map(|(_, r)| (r, "the authorized network"));
    let users = |peer: &&NetworkKey| world.networks.get(*peer).is_some_and(|n| !n.google_managed);
    let peers = peering::active_peers(world, authorized).filter(users);
    let theirs = peers.flat_map(|peer| subnetwork::ranges_of(world, peer));
    own.chain(theirs.map(|(_, r)| (r, "an active peer of the authorized network"))).collect()
}

fn check_memory(gb: u32) -> Result<(), Refusal> {
    if (1..=300).contains(&gb) {
        return Ok(());
    }
    Err(Refusal::invalid("memorySizeGb", gb, "Must be between 1 and 300."))
}

/// The configuration that Memorystore lets its users change, and the values that each parameter may have.
/// Source: Google's documentation of Memorystore for Redis, "Supported Redis configurations".
fn check_config(name: &str, value: &str, memory: u32) -> Result<(), String> {
    const POLICIES: [&str; 8] = [
        "allkeys-lfu",
        "allkeys-lru",
        "allkeys-random",
        "noeviction",
        "volatile-lfu",
        "volatile-lru",
        "volatile-random",
        "volatile-ttl",
    ];
    let number = || value.parse::<u32>().is_ok();
    let (good, expected) = match name {
        "maxmemory-policy" => (POLICIES.contains(&value), format!("one of {}", POLICIES.join(", "))),
        "notify-keyspace-events" => {
            (value.chars().all(|c| "KEg$lshzxetdmnA".contains(c)), "letters of KEg$lshzxetdmnA".into())
        }
        "activedefrag" => (["yes", "no"].contains(&value), "yes or no".into()),
        "lfu-decay-time" | "lfu-log-factor" | "stream-node-max-bytes" | "stream-node-max-entries" => {
            (number(), "a whole number".into())
        }
        "maxmemory-gb" => {
            // Less would be no bytes at all, which to redis-server is no limit.
            let gb = value.parse::<f64>().ok().filter(|gb| (0.001..=f64::from(memory)).contains(gb));
            (gb.is_some(), format!("between 0.001 and {memory}"))
        }
        _ => return Err(format!("'{name}' is no configuration parameter that can be set.")),
    };
    if good { Ok(()) } else { Err(format!("The value of '{name}' must be {expected}.")) }
}

/// Changes an instance. With its AUTH string, which follows from a number that was not given out before, comes a new
/// one each time that it is switched on.
pub(crate) fn update(
    world: &mut World,
    key: &RedisKey,
    memory_size_gb: Option<u32>,
    configs: Option<&BTreeMap<String, String>>,
    auth: Option<bool>,
) -> Result<(), Refusal> {
    project::require(world, &key.project, project::REDIS)?;
    let mut redis = (**world.redis.get(key).ok_or_else(|| Refusal::not_found(key))?).clone();
    if let Some(gb) = memory_size_gb {
        check_memory(gb)?;
        redis.memory_size_gb = gb;
    }
    if let Some(configs) = configs {
        redis.configs = configs.clone();
    }
    for (name, value) in &redis.configs {
        check_config(name, value, redis.memory_size_gb)
            .map_err(|expected| Refusal::invalid("redisConfigs", value, expected))?;
    }
    match auth {
        Some(true) if redis.auth == 0 => redis.auth = world.fresh_id(),
        Some(false) => redis.auth = 0,
        _ => {}
    }
    world.redis.insert(key.clone(), Arc::new(redis));
    Ok(())
}

/// Deletes an instance; the tenant network of direct peering and its peering go with the last one.
pub(crate) fn delete(world: &mut World, key: &RedisKey) -> Result<(), Refusal> {
    project::require(world, &key.project, project::REDIS)?;
    let redis = world.redis.remove(key).ok_or_else(|| Refusal::not_found(key))?;
    let tenant = &redis.tenant_network;
    world.subnetworks.remove(&subnetwork_of(key, tenant, &redis.authorized_network));
    let direct = redis.connect_mode == ConnectMode::DirectPeering;
    if direct && world.redis.values().all(|r| r.tenant_network != *tenant) {
        world.networks.remove(tenant);
        let authorized = &redis.authorized_network;
        peering::edit(world, authorized, |peerings| peerings.retain(|p| p.peer != *tenant));
    }
    Ok(())
}

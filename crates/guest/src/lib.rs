//! What VMs ask of 169.254.169.254, which every network's router has: the metadata server, DNS and the time.
//!
//! ```text
//!   World, network, address of who asks ─┬─ metadata::answer(request) ─▶ Answer    plain HTTP, port 80
//!                                        ├─ dns::answer(query) ────────▶ bytes     UDP and TCP, port 53
//!                                        └─ ntp::answer(packet) ───────▶ bytes     UDP, port 123
//! ```
//!
//! Everything here is pure: sockets are the server's. Who asks is known by the address that a packet comes from, which
//! a router has checked (an instance with `canIpForward` can send others', but no answer to it comes back to it).

pub mod dns;
pub mod metadata;
pub mod names;
pub mod ntp;

use std::net::Ipv4Addr;
use tombolo_model::{Instance, InstanceKey, NetworkKey, World};

/// An instance that asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'w> {
    /// Which one.
    pub key: &'w InstanceKey,
    /// The instance.
    pub instance: &'w Instance,
}

impl<'w> Asker<'w> {
    /// The instance that has this address in this network, as its own or as an alias.
    pub fn find(world: &'w World, network: &NetworkKey, address: Ipv4Addr) -> Option<Self> {
        let mut instances = world.instances.iter();
        let (key, instance) = instances.find(|(_, instance)| {
            let mut nics = instance.nics.iter().filter(|nic| nic.network == *network);
            nics.any(|nic| nic.address == address || nic.has_alias(address))
        })?;
        Some(Self { key, instance })
    }
}

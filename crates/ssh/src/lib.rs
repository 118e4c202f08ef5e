//! ssh into a VM: whose keys it lets in, its host key, and the server itself.
//!
//! ```text
//!   World ──→ Config (metadata, host key) ──→ agent: listens on tcp/22 in the VM's network namespace
//!                                                └ per connection: `vm-sshd` in the VM, with the socket and the Config
//!                                                    └ shells, commands, forwarded connections
//! ```
//! A VM in which nobody is logged in costs one listening socket. A connection has a process of its own, in the VM's
//! namespaces, which reads the keys anew: metadata that changes is obeyed by the next login, as on Google's images.

mod client;
mod host;
mod identity;
mod keys;
mod server;

use serde::{Deserialize, Serialize};

pub use client::{Client, Said};
pub use host::{HostKey, Secret};
pub use identity::Identity;
pub use keys::{KeyPlace, SSH_KEYS, entry, is_user_name, key_place, key_texts, with_entry};
pub use server::main;

/// What the server of a VM is told with each connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// The VM's private key.
    pub host_key: HostKey,
    /// The values of `ssh-keys` that count for the VM: of the instance, and of its project.
    pub keys: Vec<String>,
}

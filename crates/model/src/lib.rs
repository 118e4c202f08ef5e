//! The **World**: every project, network, subnetwork, instance, firewall, route, peering and Redis instance
//! of a lab, as one immutable value, and every change that can be made to it.
//!
//! ```text
//!   World --apply(&Change, now)--> World'      the change is as Google's API would have accepted it
//!                              \-> Refusal     one variant per Google error, in Google's words
//! ```
//!
//! The crate is pure: no clock (time is an argument), no randomness, no I/O. A [`World`] is a snapshot that is
//! cheap to clone (its maps share structure), so a refused change costs nothing and leaves nothing behind.
//!
//! One file per noun; the same noun keeps the same file name in the other crates.

pub mod address;
pub mod change;
pub mod connection;
pub mod details;
pub mod firewall;
pub mod firewall_policy;
pub mod flow_log;
pub mod folder;
pub mod forwarding_rule;
pub mod hierarchical_policy;
pub mod instance;
pub mod instances;
pub mod ipv6;
pub mod key;
pub mod managed_zone;
pub mod metadata;
pub mod network;
pub mod peering;
pub mod project;
pub mod range;
pub mod rdata;
pub mod redis;
pub mod refusal;
pub mod region;
pub mod route;
pub mod router;
mod rows;
pub mod seed;
pub mod service_attachment;
pub mod subnetwork;
pub mod tag_key;
pub mod tag_value;
pub mod target_instance;
pub mod time;
pub mod world;

pub use address::{Address, AddressSpec, Reserve, Reserved};
pub use change::Change;
pub use connection::{Connection, ConnectionSpec};
pub use details::Details;
pub use firewall::{Action, Direction, Firewall, FirewallSpec, L4, LogMetadata, PortRange, Protocol};
pub use firewall_policy::{FirewallPolicy, PolicyRule};
pub use folder::{Folder, Node};
pub use forwarding_rule::{
    ConnectionStatus, Endpoint, Forward, ForwardSpec, ForwardingRule, ForwardingRuleSpec,
};
pub use hierarchical_policy::HierarchicalPolicy;
pub use instance::{AccessConfig, Alias, AliasSpec, Instance, InstanceSpec, Nic, NicSpec, ServiceAccount};
pub use instances::Instances;
pub use ipv6::StackType;
pub use key::{
    AddressKey, FirewallKey, FirewallPolicyKey, FolderKey, ForwardingRuleKey, HierarchicalPolicyKey,
    InstanceKey, ManagedZoneKey, NetworkKey, PolicyKey, RedisKey, RouteKey, RouterKey, ServiceAttachmentKey,
    SubnetworkKey, TagKeyKey, TagValueKey, TargetInstanceKey,
};
pub use managed_zone::{ManagedZone, ManagedZoneSpec, RecordChange, RecordSet};
pub use network::{Network, NetworkSpec};
pub use peering::{Exchange, Peering, PeeringSpec, PeeringState};
pub use project::Project;
pub use redis::{ConnectMode, Redis, RedisSpec, RedisTier};
pub use refusal::Refusal;
pub use route::{NextHop, Route, RouteSpec};
pub use router::{Nat, NatRanges, NatSources, NatSpec, Router, RouterSpec};
pub use rows::Row;
pub use seed::Seed;
pub use service_attachment::{Acceptance, Consumer, ServiceAttachment, ServiceAttachmentSpec};
pub use subnetwork::{Purpose, Subnetwork, SubnetworkSpec};
pub use tag_key::{TagKey, TagKeySpec, TagParent, TagScope};
pub use tag_value::TagValue;
pub use target_instance::{TargetInstance, TargetInstanceSpec};
pub use time::Timestamp;
pub use world::World;

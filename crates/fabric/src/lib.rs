//! The **Fabric**: the network that a World means, compiled, and the answer to *why can't A reach B?*
//!
//! ```text
//!   World --compile--> Fabric --trace(flow)--> Trace     each gate and route in turn, with Google's causes
//!                        |
//!                        +--> tombolo-dataplane           the kernel's state, from the same value
//! ```
//!
//! Tags have become addresses, peerings routes, implied rules rules. What `trace` says and what the kernel is
//! told are both made from this one value, and the `agree` test compares the two on random worlds.
//! The crate is pure.

pub mod compile;
pub mod fabric;
pub mod firewall;
pub mod fixes;
pub mod flow;
pub mod forwarding;
pub mod host;
pub mod route;
mod tags;
pub mod text;
pub mod trace;

pub use compile::compile;
pub use fabric::{Fabric, Nat, Network, Nic, Owner, internet};
pub use firewall::{Rule, Rules, Targets};
pub use fixes::{Fix, fixes};
pub use flow::Flow;
pub use forwarding::{Forwarding, Published, To};
pub use host::Host;
pub use route::{Gone, Route, Via, candidates, table};
pub use trace::{Cause, DHCP_CLIENT, DHCP_V6_CLIENT, SMTP, State, Step, Trace, Verdict, trace};

/// Google's link-local server of metadata, DNS and NTP: every instance may always talk to it.
/// Source: documentation of VPC firewall rules, "Always allowed traffic".
pub const METADATA_SERVER: std::net::Ipv4Addr = std::net::Ipv4Addr::new(169, 254, 169, 254);

/// Where connections of Identity-Aware Proxy's TCP forwarding come from (`gcloud compute ssh --tunnel-through-iap`).
/// The lab has one such client in every network. Google's range is 35.235.240.0/20; the client is its first host.
pub const IAP_CLIENT: std::net::Ipv4Addr = std::net::Ipv4Addr::new(35, 235, 240, 1);

/// The lab's client in the internet. Its range, 203.0.113.0/24, is nobody's (RFC 5737).
pub const INTERNET_CLIENT: std::net::Ipv4Addr = std::net::Ipv4Addr::new(203, 0, 113, 2);

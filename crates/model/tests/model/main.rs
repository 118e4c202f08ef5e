//! The model as its users meet it: tables of changes with what they lead to, and random sequences of changes.

mod addresses;
mod connections;
mod firewall_policies;
mod forwarding;
mod hierarchical_policies;
mod ipv6;
mod managed_zones;
mod networks;
mod peerings;
mod random;
mod redis;
mod refusals;
mod reserved;
mod routers;
mod story;
mod support;
mod tags;

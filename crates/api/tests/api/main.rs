//! The API as its clients meet it: requests, answers, and operations that have been waited for.
//!
//! One program for all, since each more is linked for longer than these take.

mod common;
mod connections;
mod every_method;
mod firewall_policies;
mod firewalls;
mod hierarchical_policies;
mod instances;
mod ipv6;
mod networks;
mod nulls;
mod private_service_connect;
mod reserved;
mod routers;
mod routes;
mod story;
mod tags;
mod terraform;

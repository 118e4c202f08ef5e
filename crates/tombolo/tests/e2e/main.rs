//! The `tombolo` binary from the outside, with real namespaces: as the user who runs the tests and, when that is
//! root, as an ordinary user too. Where namespaces cannot be had these tests fail.

mod bad_files;
mod capture;
mod check;
mod clients;
mod demo;
mod dual_stack;
mod exec;
mod fault;
mod firewall;
mod gcloud;
mod guest;
mod host;
mod internet;
mod internet_host;
mod internet_host_datagrams;
mod kill;
mod lazy;
mod life;
mod logs;
mod nat;
mod packets;
mod policies;
mod private_service_connect;
mod restart;
mod routes;
mod scope;
mod serve;
mod ssh;
mod story;
mod support;
mod tags;
mod terraform;
mod trace;
mod transfer;

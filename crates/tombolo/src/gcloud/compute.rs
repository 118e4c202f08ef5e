//! `compute`: the nouns of Compute.

use super::session::Session;
use super::{
    Globals, Noun, addresses, firewall_policies, firewall_rules, forwarding_rules, instances,
    network_firewall_policies, networks, operations, places, routers, routes, service_attachments,
    shared_vpc, target_instances,
};
use crate::ssh;
use anyhow::Result;
use std::process::ExitCode;

/// Networks, instances and what belongs to them.
#[derive(Debug, clap::Args)]
pub(crate) struct Compute {
    #[command(subcommand)]
    noun: ComputeNoun,
    #[command(flatten)]
    globals: Globals,
}

#[derive(Debug, clap::Subcommand)]
enum ComputeNoun {
    /// Networks, their subnetworks and peerings
    #[command(subcommand)]
    Networks(networks::Verb),
    /// Firewall rules
    #[command(subcommand)]
    FirewallRules(firewall_rules::Verb),
    /// Hierarchical firewall policies: of the organization and its folders
    #[command(subcommand)]
    FirewallPolicies(firewall_policies::Verb),
    /// Network firewall policies
    #[command(subcommand)]
    NetworkFirewallPolicies(network_firewall_policies::Verb),
    /// Routes
    #[command(subcommand)]
    Routes(routes::Verb),
    /// Cloud Routers, and Cloud NAT
    #[command(subcommand)]
    Routers(routers::Verb),
    /// Reserved addresses
    #[command(subcommand)]
    Addresses(addresses::Verb),
    /// Forwarding rules: addresses that lead to instances or to published services
    #[command(subcommand)]
    ForwardingRules(forwarding_rules::Verb),
    /// Target instances, which forwarding rules lead to
    #[command(subcommand)]
    TargetInstances(target_instances::Verb),
    /// Service attachments: services that are published by Private Service Connect
    #[command(subcommand)]
    ServiceAttachments(service_attachments::Verb),
    /// VM instances
    #[command(subcommand)]
    Instances(instances::Verb),
    /// Host projects, whose networks others use, and their service projects
    #[command(subcommand)]
    SharedVpc(shared_vpc::Verb),
    /// Operations: what was asked of the API, and how it went
    #[command(subcommand)]
    Operations(operations::Verb),
    /// Zones
    #[command(subcommand)]
    Zones(places::Verb),
    /// Regions
    #[command(subcommand)]
    Regions(places::Verb),
    /// Log in to a VM by ssh, through its firewall, and run a command or a shell; the exit status is the command's
    #[command(
        after_help = "Example:\n  tombolo compute ssh vm-1\n  tombolo compute ssh alice@vm-1 --command 'uname -a'\n  tombolo compute ssh vm-2 -- -N -L 6379:10.34.175.91:6379\n\nThe connection comes from Identity-Aware Proxy (35.235.240.1) to port 22 of the VM. The key that is used is made when it is missing, and put into the project's metadata, or the instance's if that blocks the project's keys. Exit status: the command's; 255 when there is no connection or no login."
    )]
    Ssh(ssh::Args),
    /// Connect to a port of a VM through Identity-Aware Proxy, and so through its firewall
    #[command(
        after_help = "Example:\n  tombolo compute start-iap-tunnel vm-1 22 --listen-on-stdin\n  tombolo compute start-iap-tunnel vm-1 8080 --local-host-port localhost:8080"
    )]
    StartIapTunnel(ssh::TunnelArgs),
}

impl Compute {
    /// Does what was asked. `name` is the verb's path, such as `compute.networks.list`.
    pub(crate) fn run(&self, name: &str) -> Result<ExitCode> {
        match &self.noun {
            ComputeNoun::Ssh(args) => ssh::run(args),
            ComputeNoun::StartIapTunnel(args) => ssh::tunnel(args),
            _ => super::run(self, name),
        }
    }
}

impl Noun for Compute {
    fn globals(&self) -> &Globals {
        &self.globals
    }

    fn run(&self, session: &Session<'_>) -> Result<()> {
        match &self.noun {
            ComputeNoun::Networks(verb) => verb.run(session),
            ComputeNoun::FirewallRules(verb) => verb.run(session),
            ComputeNoun::FirewallPolicies(verb) => verb.run(session),
            ComputeNoun::NetworkFirewallPolicies(verb) => verb.run(session),
            ComputeNoun::Routes(verb) => verb.run(session),
            ComputeNoun::Routers(verb) => verb.run(session),
            ComputeNoun::Addresses(verb) => verb.run(session),
            ComputeNoun::ForwardingRules(verb) => verb.run(session),
            ComputeNoun::TargetInstances(verb) => verb.run(session),
            ComputeNoun::ServiceAttachments(verb) => verb.run(session),
            ComputeNoun::Instances(verb) => verb.run(session),
            ComputeNoun::SharedVpc(verb) => verb.run(session),
            ComputeNoun::Operations(verb) => verb.run(session),
            ComputeNoun::Zones(verb) => verb.run(session, places::ZONES),
            ComputeNoun::Regions(verb) => verb.run(session, places::REGIONS),
            // These are no requests; see `Compute::run`.
            ComputeNoun::Ssh(_) | ComputeNoun::StartIapTunnel(_) => Ok(()),
        }
    }
}

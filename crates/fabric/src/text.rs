//! A trace as text for a terminal of 80 columns: no colour is needed to read it.

use crate::fabric::Fabric;
use crate::trace::{Cause, State, Step, Trace, Verdict};
use crate::{Fix, Flow, Nic, Owner};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::net::IpAddr;
use tombolo_model::{NetworkKey, PeeringState, StackType, World, range};

/// What real packets did, to be shown beside the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packets {
    /// How many probes were sent.
    pub sent: u32,
    /// How many of them arrived.
    pub delivered: u32,
}

/// Everything that a printed trace can say.
#[derive(Debug)]
pub struct Report<'a> {
    /// The World that the trace was made in.
    pub world: &'a World,
    /// Its Fabric.
    pub fabric: &'a Fabric,
    /// The trace.
    pub trace: &'a Trace,
    /// Fixes, each checked; empty where the flow is reachable.
    pub fixes: &'a [Fix],
    /// What the packets did, where they were asked.
    pub packets: Option<Packets>,
    /// What somebody has put in their way, each in a line.
    pub faults: &'a [String],
    /// Whether a fault alone keeps the packets from where the configuration lets them.
    pub stopped: bool,
}

/// The whole report, with a newline at the end.
pub fn render(report: &Report) -> String {
    let trace = report.trace;
    let mut out = headline(report);
    for (i, step) in trace.steps.iter().enumerate() {
        let _ = writeln!(out, "{:>2} {}", i + 1, step_line(step));
        if step.cause.is_some() {
            explain(report, &mut out);
        }
    }
    for other in &trace.others {
        out.push_str(" or, as the connection's hash has it\n");
        // Up to the route both ways are the same.
        let differs = other.steps.iter().zip(&trace.steps).position(|(a, b)| a != b).unwrap_or_default();
        for (i, step) in other.steps.iter().enumerate().skip(differs) {
            let _ = writeln!(out, "{:>2} {}", i + 1, step_line(step));
        }
    }
    let packets = report.packets.map(|p| format!("packets: {} sent, {} delivered", p.sent, p.delivered));
    match (trace.ways().find_map(Trace::cause), packets) {
        (Some(cause), packets) => {
            let _ = writeln!(out, " cause  {:<36} {}", cause.as_str(), packets.unwrap_or_default());
        }
        (None, Some(packets)) => {
            let _ = writeln!(out, " {packets}");
            out.push_str(&lost(report));
        }
        (None, None) => {}
    }
    for fault in report.faults {
        let _ = writeln!(out, " fault  {fault}");
    }
    if report.stopped {
        out.push_str(" note   the configuration lets it through: a fault stops it\n");
    }
    render_fixes(report.fixes, &mut out);
    out.lines().map(|line| wrap(line.trim_end())).collect()
}

/// How wide a line may be.
const COLUMNS: usize = 80;

/// A line as lines of at most [`COLUMNS`] characters, as far as its words allow: broken at spaces, the rest indented.
fn wrap(line: &str) -> String {
    let (mut out, mut rest) = (String::new(), line.to_owned());
    while rest.chars().count() > COLUMNS {
        let spaces = || rest.char_indices().enumerate().filter(|(n, (_, c))| *c == ' ' && *n > INDENT);
        let last = spaces().take_while(|(n, _)| *n <= COLUMNS).last();
        let Some((_, (at, _))) = last.or_else(|| spaces().next()) else { break };
        let _ = writeln!(out, "{}", rest[..at].trim_end());
        rest = format!("{:INDENT$}{}", "", rest[at..].trim_start());
    }
    out + &rest + "\n"
}

/// Where the rest of a line that was broken begins: below what a step says, after its number, result and kind.
const INDENT: usize = 17;

/// Why packets may be missing that the network has let through.
fn lost(report: &Report) -> String {
    let forwarder = match &report.trace.verdict {
        Verdict::Forwarded { network, nic } => {
            report.fabric.networks.get(network).and_then(|n| n.nics.get(nic))
        }
        _ => None,
    };
    match (forwarder, report.packets) {
        (Some(nic), Some(Packets { delivered: 0, .. })) => {
            let name = nic.owner.name();
            format!(" note   {name} got them: does it forward (sysctl net.ipv4.ip_forward), and then?\n")
        }
        _ => String::new(),
    }
}

/// `UNREACHABLE  vm-1 (10.1.0.2, vpc-1) -> redis-1 (10.34.175.91, Google-managed) tcp/6379`
fn headline(report: &Report) -> String {
    let (fabric, trace) = (report.fabric, report.trace);
    let flow = &trace.flow;
    let result = match trace.verdict {
        _ if report.stopped => "UNREACHABLE",
        _ if trace.ambiguous() => "AMBIGUOUS",
        Verdict::Delivered { .. } | Verdict::Local | Verdict::MetadataServer | Verdict::Host => "REACHABLE",
        Verdict::Forwarded { .. } => "FORWARDED",
        Verdict::Dropped(_) => "UNREACHABLE",
    };
    let (from, to) = (source_name(fabric, flow), destination_name(fabric, flow));
    let line = format!("{result}  {from} -> {to} {flow}");
    let arrow = result.len() - 1;
    if line.chars().count() <= COLUMNS {
        line + "\n"
    } else {
        format!("{result}  {from}\n{:arrow$}-> {to} {flow}\n", "")
    }
}

/// `vm-1 (10.1.0.2, vpc-1)`
fn source_name(fabric: &Fabric, flow: &Flow) -> String {
    let network = fabric.networks.get(&flow.network);
    let nic = network.and_then(|n| n.nics.get(&flow.nic));
    let stopped = || network.and_then(|n| n.stopped.get(&flow.nic)).map_or("?", String::as_str);
    let name = nic.map_or_else(stopped, |nic| nic.owner.name());
    if nic.is_some_and(|nic| nic.owner == Owner::Internet) {
        return format!("{name} ({})", flow.source);
    }
    format!("{name} ({}, {})", flow.source, flow.network.name)
}

/// `redis-1 (10.34.175.91, Google-managed)`, or the bare address where nothing in sight has it.
fn destination_name(fabric: &Fabric, flow: &Flow) -> String {
    match owner_of(fabric, flow) {
        _ if endpoint_of(fabric, flow).is_some() => {
            let name = endpoint_of(fabric, flow).unwrap_or_default();
            format!("{name} ({}, {})", flow.destination, flow.network.name)
        }
        Some((_, nic)) if nic.owner == Owner::Internet => format!("internet ({})", flow.destination),
        Some((network, nic)) => {
            let managed = fabric.networks[network].google_managed;
            let place = if managed { "Google-managed" } else { &network.name };
            format!("{} ({}, {place})", nic.owner.name(), flow.destination)
        }
        None => flow.destination.to_string(),
    }
}

/// The interface that the sender means: of all that have the address, the one closest by peerings, whatever their
/// state. (Networks may overlap, so an address alone names nothing.)
fn owner_of<'f>(fabric: &'f Fabric, flow: &Flow) -> Option<(&'f NetworkKey, &'f Nic)> {
    let hops = distances(fabric, &flow.network);
    let with_address = fabric.networks.iter().filter_map(|(key, network)| {
        let nic = network.nic_with(flow.destination).filter(|nic| !nic.owner.is_iap())?;
        Some((key, nic))
    });
    let closest = with_address.min_by_key(|(key, _)| hops.get(*key).map_or(usize::MAX, Vec::len));
    closest.or_else(|| fabric.with_external(flow.destination).map(|(key, _, nic)| (key, nic)))
}

/// Every network that a chain of active peerings leads to, with that chain (its first member is `from`).
fn distances(fabric: &Fabric, from: &NetworkKey) -> BTreeMap<NetworkKey, Vec<NetworkKey>> {
    let mut chains = BTreeMap::from([(from.clone(), vec![from.clone()])]);
    let mut queue = VecDeque::from([from.clone()]);
    while let Some(at) = queue.pop_front() {
        let peers = fabric.networks.get(&at).map(|n| n.peers.clone()).unwrap_or_default();
        for peer in peers {
            if !chains.contains_key(&peer) {
                let mut chain = chains[&at].clone();
                chain.push(peer.clone());
                chains.insert(peer.clone(), chain);
                queue.push_back(peer);
            }
        }
    }
    chains
}

/// `ok    EGRESS  default-allow-egress         implied, priority 65535`
fn step_line(step: &Step) -> String {
    let ok = if step.cause.is_some() { "DROP" } else { "ok" };
    format!("{ok:<5} {:<7} {:<28} {}", word(step.state), step.what, step.detail)
}

/// A short word for a state.
fn word(state: State) -> &'static str {
    match state {
        State::StartFromInstance
        | State::StartFromRedisInstance
        | State::StartFromPrivateNetwork
        | State::StartFromInternet => "START",
        State::ApplyEgressFirewallRule => "EGRESS",
        State::ApplyRoute => "ROUTE",
        State::ApplyForwardingRule => "FWDRULE",
        State::ApplyIngressFirewallRule => "INGRESS",
        State::ArriveAtInstance => "ARRIVE",
        State::Nat => "NAT",
        State::Deliver => "DELIVER",
        State::Forward => "FORWARD",
        State::Drop => "DROP",
    }
}

/// Under a missing route: the chain of peerings that people take for a way, or the peering that waits.
fn explain(report: &Report, out: &mut String) {
    let trace = report.trace;
    let routeless = [Cause::NoRoute, Cause::PrivateTrafficToInternet, Cause::NoExternalAddress];
    if !trace.cause().is_some_and(|cause| routeless.contains(&cause)) {
        return;
    }
    let Some((target, nic)) = owner_of(report.fabric, &trace.flow) else { return };
    match distances(report.fabric, &trace.flow.network).remove(target) {
        Some(chain) if chain.len() > 2 => explain_chain(report.fabric, &chain, nic, out),
        _ => explain_peering(report.world, &trace.flow, target, out),
    }
}

/// `vpc-1 ==peer== vpc-2 ==peer== redis-1's tenant network`, and where it ends.
fn explain_chain(fabric: &Fabric, chain: &[NetworkKey], nic: &Nic, out: &mut String) {
    const LINK: &str = " ==peer== ";
    let name = |key: &NetworkKey| match fabric.networks.get(key) {
        Some(network) if network.google_managed => format!("{}'s tenant network", nic.owner.name()),
        _ => key.name.clone(),
    };
    let names: Vec<String> = chain.iter().map(name).collect();
    let caret = names[0].len() + LINK.len() + names[1].len() + 4;
    let below = format!("{:9}{:caret$}^ not passed on: peering is not transitive", "", "");
    let drawn = format!("{:9}{}", "", names.join(LINK));
    if drawn.len().max(below.len()) <= COLUMNS {
        let _ = writeln!(out, "{drawn}\n{below}");
        return;
    }
    // Too long for a drawing: one network a line.
    let _ = writeln!(out, "{:9}{}", "", names[0]);
    for (i, name) in names.iter().enumerate().skip(1) {
        let _ = writeln!(out, "{:9} ==peer== {name}", "");
        if i == 2 {
            let _ = writeln!(out, "{:19}^ not passed on: peering is not transitive", "");
        }
    }
}

/// A peering that only one side has made, or that does not exchange what would lead to the destination.
fn explain_peering(world: &World, flow: &Flow, target: &NetworkKey, out: &mut String) {
    let local = &flow.network;
    for (from, to) in [(local, target), (target, local)] {
        let peering = world.networks.get(from).and_then(|n| n.peerings.iter().find(|p| p.peer == *to));
        let Some(peering) = peering else { continue };
        let state = world.peering_state(from, to);
        let exchange = &peering.exchange;
        let says = match flow.destination {
            _ if state == PeeringState::Inactive => {
                format!("{} has no peering with {}", to.name, from.name)
            }
            IpAddr::V6(_) if exchange.stack_type == StackType::Ipv4Only => {
                "its stackType is IPV4_ONLY, so no IPv6 is exchanged".into()
            }
            IpAddr::V4(address) if !range::is_private(address) => {
                let (field, does) = match from == local {
                    true => ("importSubnetRoutesWithPublicIp", exchange.import_subnet_routes_with_public_ip),
                    false => ("exportSubnetRoutesWithPublicIp", exchange.export_subnet_routes_with_public_ip),
                };
                match does {
                    true => continue,
                    false => format!("its {field} is false, and {address} is a public address"),
                }
            }
            _ => continue,
        };
        let _ = writeln!(out, "{:9}{} is {}: {says}", "", peering.name, state.as_str());
    }
}

/// `fixes (each re-checked)` and a line for each.
fn render_fixes(fixes: &[Fix], out: &mut String) {
    if fixes.is_empty() {
        return;
    }
    out.push_str(" fixes (each re-checked)\n");
    let mut letters = ('A'..='Z').map(String::from);
    for fix in fixes {
        let letter = if fix.possible { letters.next().unwrap_or_default() } else { "-".into() };
        let line = format!("  {letter}  {:<45}  {}", fix.title, fix.cost);
        if line.chars().count() <= COLUMNS {
            let _ = writeln!(out, "{line}");
        } else {
            let _ = writeln!(out, "  {letter}  {}\n{:INDENT$}{}", fix.title, "", fix.cost);
        }
    }
}

/// The name of the forwarding rule of the sender's network that has the destination.
fn endpoint_of(fabric: &Fabric, flow: &Flow) -> Option<String> {
    let network = fabric.networks.get(&flow.network)?;
    network.forwarding_at(flow.destination).map(|rule| rule.name.clone())
}

//! **agree**: does the kernel do what `trace` says?
//!
//! ```text
//!   seed --worlds--> World --compile--> Fabric --trace--> what should become of each flow, and why  \
//!                                         \--render--> kernel --probe--> what did, and what counted /  compare
//! ```
//!
//! The explanation is compared too: every firewall rule has a counter in the kernel, and of each packet the rules that
//! `trace` names must have counted it, and no others.
//!
//! Random worlds, small enough to understand, from generators that look for trouble: equal priorities, addresses at
//! the edges of ranges, one-sided peerings, chains of peerings, overlapping unrelated networks. A [`Mutant`] breaks
//! the kernel's side on purpose, to prove that a disagreement would be noticed.

mod flows;
mod forwarding;
mod mutant;
mod routers;
mod tags;
mod worlds;

pub use flows::flows;
pub use mutant::{ALL as MUTANTS, Mutant};
pub use worlds::world;

use routers::{MOST, Routers, onward};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;
use tombolo_agent::{Agent, AgentError};
use tombolo_dataplane::rules::{Side, counter};
use tombolo_dataplane::{Counted, Desired, Faults, Probe, Rendered, Seen};
use tombolo_fabric::{
    Cause, Fabric, Flow, Nic, Owner, State, Step, To, Trace, Verdict, Via, candidates, compile,
    host::ENDPOINT, internet, trace,
};
use tombolo_model::{Action, Protocol, Timestamp, World, range};

/// After so many worlds the lab begins with new namespaces; until then each world is made from the one before.
const FRESH_EVERY: u64 = 16;

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many worlds.
    pub worlds: u64,
    /// The first world's seed; the others follow it.
    pub seed: u64,
    /// How many random flows in each world, beside those of every address to the internet.
    pub flows: usize,
    /// A bug to put into the kernel's side; the run ends with the world in which it is noticed.
    pub mutant: Option<Mutant>,
    /// VMs are lazy, and some of them are woken by connections before flows are compared.
    pub lazy: bool,
}

/// What a run found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many worlds were made.
    pub worlds: u64,
    /// How many flows were sent.
    pub flows: u64,
    /// How often each verdict was reached.
    pub verdicts: BTreeMap<String, u64>,
    /// Where trace and packets disagree.
    pub disagreements: Vec<Disagreement>,
}

/// A flow of which trace and packets say different things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The seed of its world: `--worlds 1 --seed SEED` shows it again, in a lab of its own.
    pub seed: u64,
    /// What trace says.
    pub trace: Trace,
    /// What the packets did.
    pub seen: Seen,
    /// What they should have done, any of it.
    pub wanted: Vec<Wanted>,
}

/// What the packets should do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The endpoints in which the packet arrives, and no others: the receiver, and routers on the way.
    pub arrived: BTreeSet<String>,
    /// Whether a reply comes back; `None` where that is not for the network to say.
    pub replied: Option<bool>,
    /// The counters of the rules that decide, at each gate that the packet comes to, and no others.
    pub counted: Vec<Counted>,
}

impl Wanted {
    /// Whether the packets did it.
    fn is(&self, seen: &Seen) -> bool {
        seen.arrived.iter().collect::<BTreeSet<_>>() == self.arrived.iter().collect()
            && self.replied.is_none_or(|replied| replied == seen.replied)
            && self.counted == seen.counted
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Flow { network, nic, source, destination, .. } = &self.trace.flow;
        writeln!(
            f,
            "seed {}: {} nic {nic}, {source} -> {destination} {}",
            self.seed, network.name, self.trace.flow
        )?;
        writeln!(f, "  wanted {:?}\n  seen   {:?}", self.wanted, self.seen)?;
        for (i, way) in self.trace.ways().enumerate() {
            if i > 0 {
                writeln!(f, "    or")?;
            }
            for step in &way.steps {
                let cause = step.cause.map_or("ok", |cause| cause.as_str());
                writeln!(
                    f,
                    "    {cause:<24} {:?} {}: {} {}",
                    step.state, step.network.name, step.what, step.detail
                )?;
            }
        }
        Ok(())
    }
}

/// Makes worlds and compares. `progress` is told of every world when it is done.
pub fn agree(agent: &Agent, options: &Options, mut progress: impl FnMut(&Report)) -> Result<Report, String> {
    let mut report = Report::default();
    let mut tracked = Tracked::new();
    let mut routers = Routers::default();
    // As in a server, each is rendered from the one before.
    let mut rendered = Rendered::default();
    for i in 0..options.worlds {
        if i % FRESH_EVERY == 0 {
            Routers::leave(agent).map_err(|e| e.to_string())?;
            converge(agent, &World::default(), (None, options.lazy), &mut rendered)?;
            tracked.clear();
        }
        let seed = options.seed.wrapping_add(i);
        one_world(agent, options, seed, &mut tracked, (&mut routers, &mut rendered), &mut report)
            .map_err(|e| format!("seed {seed}: {e}"))?;
        report.worlds += 1;
        progress(&report);
        if options.mutant.is_some() && !report.disagreements.is_empty() {
            break; // it is caught
        }
    }
    Ok(report)
}

/// The ends of flows without ports, in order, and their protocol. To connection tracking there is only one
/// connection of such a protocol between two ends, in either direction: a second one would be a part of the first,
/// and pass as its reply.
type Tracked = BTreeSet<([IpAddr; 2], u8)>;

/// Whether a flow is a connection of its own.
fn is_new(flow: &Flow, tracked: &mut Tracked) -> bool {
    let mut ends = [flow.source, flow.destination];
    ends.sort();
    [1, 6, 17, 58, 132].contains(&flow.protocol) || tracked.insert((ends, flow.protocol))
}

/// Makes one world and compares all its flows.
fn one_world(
    agent: &Agent,
    options: &Options,
    seed: u64,
    tracked: &mut Tracked,
    (routers, rendered): (&mut Routers, &mut Rendered),
    report: &mut Report,
) -> Result<(), String> {
    let mut rng = fastrand::Rng::with_seed(seed);
    // As labs are started with `--internet host`; no dice, since those of worlds are thrown as ever.
    let world = world(&mut rng).reaching_host(seed % 4 == 3);
    let world = if seed % 8 == 7 { world.without_pings() } else { world };
    let fabric = compile(&world);
    Routers::leave(agent).map_err(|e| e.to_string())?;
    converge(agent, &world, (options.mutant, options.lazy), rendered)?;
    routers.set(agent, &fabric)?;
    let mut flows = flows(&fabric, options.flows, &mut rng);
    let open = without_egress_rules(&fabric);
    flows.retain(|flow| outcomes(&fabric, &open, flow, MOST).is_some() && is_new(flow, tracked));
    if options.lazy {
        let strangers = wake(agent, &fabric, &open, &flows)?;
        report.disagreements.extend(strangers.into_iter().map(|(trace, wanted)| Disagreement {
            seed,
            trace,
            seen: Seen::default(),
            wanted,
        }));
    }
    let probes = flows.iter().map(|flow| Probe::of(&fabric, flow)).collect();
    let seen = agent.probe_counted(probes).map_err(|e: AgentError| e.to_string())?;
    for (flow, mut seen) in flows.into_iter().zip(seen) {
        let trace = trace(&fabric, &flow);
        let wanted = outcomes(&fabric, &open, &flow, MOST).unwrap_or_default();
        seen.arrived.sort();
        seen.arrived.dedup();
        // Nobody made the rules of the internet.
        seen.counted.retain(|counted| counted.router != internet().to_string());
        seen.counted.sort();
        report.flows += 1;
        *report.verdicts.entry(verdict_name(&trace)).or_default() += 1;
        if !wanted.iter().any(|wanted| wanted.is(&seen)) {
            report.disagreements.push(Disagreement { seed, trace, seen, wanted });
        }
    }
    Ok(())
}

/// How many connections wake VMs in each world, and how long each of them may take: it is refused at once.
const CONNECTIONS: usize = 6;
const PATIENCE: Duration = Duration::from_secs(3);

/// Connects where nobody listens: whoever is there refuses. So the first packet to a VM that is not there has to wait for it.
/// Returns those that should have been refused and were not.
fn wake(
    agent: &Agent,
    fabric: &Fabric,
    open: &Fabric,
    flows: &[Flow],
) -> Result<Vec<(Trace, Vec<Wanted>)>, String> {
    let mut strangers = Vec::new();
    let mut known = BTreeSet::new();
    for flow in flows {
        let IpAddr::V4(to) = flow.destination else { continue };
        let from = Probe::of(fabric, flow).from;
        let nic = fabric.networks.get(&flow.network).and_then(|network| network.nics.get(&flow.nic));
        // It leaves by the only way that there is, with the only address.
        let plain = nic.is_some_and(|nic| fabric.nics_of(&nic.owner).len() == 1);
        if flow.protocol != 6 || flow.source != IpAddr::V4(flow.nic) || !plain {
            continue;
        }
        let wanted = outcomes(fabric, open, flow, MOST).unwrap_or_default();
        let answers = matches!(&wanted[..], [one] if one.replied == Some(true));
        if !answers || known.len() == CONNECTIONS || !known.insert(to) {
            continue;
        }
        let to = SocketAddrV4::new(to, flow.port);
        let refused = match agent.connect_from(&from, to, PATIENCE).map_err(|e| e.to_string())? {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        };
        if !refused {
            strangers.push((trace(fabric, flow), wanted));
        }
    }
    Ok(strangers)
}

/// Makes the kernel the world, or what a mutant makes of it; and once more, when there must be nothing to do.
fn converge(
    agent: &Agent,
    world: &World,
    (mutant, lazy): (Option<Mutant>, bool),
    rendered: &mut Rendered,
) -> Result<(), String> {
    let fabric = compile(world);
    let desired = match mutant {
        None => {
            *rendered = rendered.then(fabric, &Faults::new()).lazily(lazy);
            rendered.desired().clone()
        }
        Some(mutant) => {
            let broken = mutant.render(&fabric);
            let whole = Rendered::default().then(fabric, &Faults::new()).lazily(lazy);
            Desired { lazy: Arc::clone(&whole.desired().lazy), ..broken }
        }
    };
    let report = agent.converge(desired.clone()).map_err(|e| e.to_string())?;
    if let Some(failure) = report.failures.first() {
        return Err(format!("{}: {}", failure.edit, failure.error));
    }
    let again = agent.converge(desired).map_err(|e| e.to_string())?;
    match again.edits.first() {
        Some((edit, why)) => Err(format!("the second plan is not empty: {edit}, because {why}")),
        None => Ok(()),
    }
}

/// The networks as they would be if everything might leave.
fn without_egress_rules(fabric: &Fabric) -> Fabric {
    let mut open = fabric.clone();
    for network in open.networks.values_mut() {
        network.egress.retain(|rule| rule.implied);
        network.egress.iter_mut().for_each(|rule| rule.action = Action::Allow);
    }
    open
}

/// Whether the sender's router has a way for the packet, rules aside. Linux looks for it before any rule is asked, so the
/// egress gate counts no packet that has none; Google's order, and that of `trace`, is the other.
fn leaves(open: &Fabric, flow: &Flow) -> bool {
    let Some(network) = open.networks.get(&flow.network) else { return false };
    // Only on its way out is an interface asked for its address there.
    let chosen = candidates(&network.routes, flow.destination, Some(flow.nic));
    let internet = network.nics.values().any(Nic::reaches_internet);
    if internet && chosen.iter().any(|route| route.via == Via::Internet) {
        let public = matches!(flow.destination, IpAddr::V4(address) if !range::is_private(address));
        return public || open.host_has(flow.destination);
    }
    let trace = trace(open, flow);
    let routed = trace.steps.iter().any(|step| step.state == State::ApplyRoute && step.cause.is_none());
    // A subnetwork is no way to an address that nothing in it has.
    let own = chosen.first().is_some_and(|route| route.via == Via::Subnetwork);
    // Of a forwarding rule that leads nowhere the kernel knows nothing; an endpoint leads to another network at least.
    const NOWHERE: [Cause; 4] = [
        Cause::UnknownInternalAddress,
        Cause::ForwardingRuleNoInstances,
        Cause::InstanceNotRunning,
        Cause::PscConnectionNotAccepted,
    ];
    let translated = trace.steps.iter().any(|step| step.state == State::Nat);
    // To what clients of a published service become there is a way for answers.
    let to_nat = open.published().any(|(_, _, to)| to.network == flow.network && to.nat == flow.destination);
    let nowhere = trace.cause().is_some_and(|cause| NOWHERE.contains(&cause));
    let nobody = own && !translated && !to_nat && nowhere;
    // Identity-Aware Proxy's client has an address, though none of the network's routes lead there.
    let known = matches!(flow.destination, IpAddr::V4(address) if network.nics.contains_key(&address));
    known || routed && !nobody
}

/// What may become of a flow's packet, routers' forwarding included; `None` if it is forwarded more than `most` times.
fn outcomes(fabric: &Fabric, open: &Fabric, flow: &Flow, most: usize) -> Option<Vec<Wanted>> {
    let leaves = leaves(open, flow);
    let mut outcomes = Vec::new();
    for way in trace(fabric, flow).ways() {
        let first = wanted(fabric, way, leaves);
        let router = match &way.verdict {
            Verdict::Forwarded { network, nic } => Some(&fabric.networks[network].nics[nic].owner),
            _ => None,
        };
        let Some(onward) = router.and_then(|router| onward(fabric, flow, router)) else {
            outcomes.push(first);
            continue;
        };
        for next in self::outcomes(fabric, open, &onward, most.checked_sub(1)?)? {
            // By which way a reply goes back, if one does, is not for the trace to say.
            let arrived = first.arrived.union(&next.arrived).cloned().collect();
            let counted = summed(first.counted.iter().chain(&next.counted));
            outcomes.push(Wanted { arrived, replied: None, counted });
        }
    }
    Some(outcomes)
}

/// What counters have counted, each once.
fn summed<'c>(all: impl Iterator<Item = &'c Counted>) -> Vec<Counted> {
    let mut sums: Vec<Counted> = Vec::new();
    for one in all {
        match sums.iter_mut().find(|sum| (&sum.router, &sum.counter) == (&one.router, &one.counter)) {
            Some(sum) => sum.packets += one.packets,
            None => sums.push(one.clone()),
        }
    }
    sums.sort();
    sums
}

/// What a trace means for the packets.
fn wanted(fabric: &Fabric, trace: &Trace, leaves: bool) -> Wanted {
    let owner = |network, nic| fabric.networks[network].nics[nic].owner.clone();
    let counted = counted(trace, leaves);
    let at = |owner: &Owner| BTreeSet::from([owner.to_string()]);
    match &trace.verdict {
        Verdict::Dropped(_) => Wanted { arrived: BTreeSet::new(), replied: Some(false), counted },
        Verdict::Local => {
            let sender = owner(&trace.flow.network, &trace.flow.nic);
            Wanted { arrived: at(&sender), replied: None, counted }
        }
        Verdict::MetadataServer => Wanted { arrived: BTreeSet::new(), replied: None, counted },
        // Nobody relays here, so that the internet's router refuses connections, and datagrams end where they would leave.
        Verdict::Host => {
            let connects = Protocol::Number(trace.flow.protocol) == Protocol::TCP;
            let arrived = if connects { BTreeSet::new() } else { [ENDPOINT.to_owned()].into() };
            Wanted { arrived, replied: Some(connects), counted }
        }
        Verdict::Forwarded { network, nic } => {
            Wanted { arrived: at(&owner(network, nic)), replied: None, counted }
        }
        Verdict::Delivered { network, nic } => {
            let receiver = owner(network, nic);
            let replied = answers(fabric, trace, &receiver, *nic).then_some(true);
            Wanted { arrived: at(&receiver), replied, counted }
        }
    }
}

/// The counters that move, if the rules that a trace names are those that decide: each by the one packet.
fn counted(trace: &Trace, leaves: bool) -> Vec<Counted> {
    let of = |step: &Step| {
        let egress = step.state == State::ApplyEgressFirewallRule;
        if egress && !leaves {
            return None;
        }
        let far = if egress { Side::Destination } else { Side::Source };
        let counter = counter(far, step.rule.as_ref()?);
        Some(Counted { router: step.network.to_string(), counter, packets: 1 })
    };
    let mut counted: Vec<Counted> = trace.steps.iter().filter_map(of).collect();
    counted.sort();
    counted
}

/// Whether the receiver's kernel answers by the way that the packet came: TCP by a RST, an echo request by its reply.
fn answers(fabric: &Fabric, trace: &Trace, receiver: &Owner, nic: Ipv4Addr) -> bool {
    let flow = &trace.flow;
    let sender = fabric.networks.get(&flow.network).and_then(|network| network.nics.get(&flow.nic));
    let genuine = sender.is_some_and(|nic| nic.has(flow.source));
    let service = fabric.networks.get(&flow.network).and_then(|network| {
        let IpAddr::V4(destination) = flow.destination else { return None };
        match &network.forwarding.get(&destination)?.to {
            To::Service(service) => Some(service),
            _ => None,
        }
    });
    let outside = service.is_none() && trace.steps.iter().any(|step| step.state == State::Nat);
    let external = sender.and_then(|nic| nic.outside(flow.source)).filter(|_| outside);
    let source = external.or(service.map(|service| service.nat)).map_or(flow.source, IpAddr::V4);
    let same_way = fabric.nic_towards(receiver, source).is_some_and(|(_, back)| back.address == nic);
    // Nor does it believe that somebody else has an address of its own, in whichever network.
    let own = fabric.nics_of(receiver).iter().any(|(_, nic)| nic.has(source));
    // A route with tags may lead the answer elsewhere, and without one to the internet it does not get there.
    let goes_back = match &trace.verdict {
        Verdict::Delivered { network, nic } if *receiver != Owner::Internet => {
            let routes = &fabric.networks[network].routes;
            let back = candidates(routes, source, Some(*nic));
            match outside {
                true => back.iter().any(|route| route.via == Via::Internet),
                false => back == candidates(routes, source, None),
            }
        }
        _ => true,
    };
    // Of its IPv6 range a guest has the first address alone.
    let taken = match (&trace.verdict, flow.destination) {
        (Verdict::Delivered { network, nic }, IpAddr::V6(address)) => {
            fabric.networks[network].nics[nic].ipv6_address() == Some(address)
        }
        _ => true,
    };
    genuine && !own && same_way && goes_back && taken && [1, 6, 58].contains(&flow.protocol)
}

/// `DELIVERED`, `FORWARDED`, the cause, or `SEVERAL` where next hops are equal.
fn verdict_name(trace: &Trace) -> String {
    match trace.verdict {
        _ if !trace.others.is_empty() => "SEVERAL".into(),
        Verdict::Delivered { .. } => "DELIVERED".into(),
        Verdict::Forwarded { .. } => "FORWARDED".into(),
        Verdict::Local => "LOCAL".into(),
        Verdict::MetadataServer => "METADATA_SERVER".into(),
        Verdict::Host => "HOST".into(),
        Verdict::Dropped(cause) => cause.as_str().into(),
    }
}

/// The moment at which all worlds are made.
const NOW: Timestamp = Timestamp(1_600_000_000_000);

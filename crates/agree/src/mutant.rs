//! Deliberate bugs in the kernel's side, each of a kind that real products have had. A run with one must disagree.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::cmp::Reverse;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::Arc;
use tombolo_dataplane::render::peering_link;
use tombolo_dataplane::rules::Allow;
use tombolo_dataplane::{Desired, Route, RouteVia, render};
use tombolo_fabric::host::NEVER;
use tombolo_fabric::route::Kind;
use tombolo_fabric::{Fabric, Nat, Network, Rule, Rules, Targets, To, Via};
use tombolo_model::{Action, L4, NetworkKey, Protocol};

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Routes learnt from a peer are passed on, and packets from one peering leave by another.
    TransitiveLeak,
    /// At equal priority allow wins.
    SwappedTieBreak,
    /// An allow at the sender's gate skips the receiver's.
    OneGate,
    /// Packets of interfaces may have any source address.
    NoSourceFilter,
    /// Packets of peers may have any source address.
    TrustedPeers,
    /// Port ranges end one port too late.
    OffByOnePort,
    /// Rules for certain tags act at every interface.
    IgnoredTargets,
    /// Rules are tried in the order of their names.
    IgnoredPriority,
    /// Addresses are compared without the last bit of the prefix.
    WidePrefix,
    /// A source tag that nobody has stands for everybody.
    EmptyMeansAll,
    /// Port ranges begin one port too late.
    LatePort,
    /// What a rule says of TCP goes for UDP too.
    TcpIsUdp,
    /// Only a rule's first protocol counts.
    FirstProtocolOnly,
    /// An echo request passes the receiver's gate whatever its rules.
    IcmpAlways,
    /// The sender's gate has no rules but the implied one.
    NoEgressGate,
    /// What no rule is about is let in.
    DefaultAllow,
    /// Of routes to the same destination the last one wins.
    SwappedRoutes,
    /// Free addresses of a subnetwork are looked for by wider routes.
    SubnetFallsThrough,
    /// Alias ranges have no route.
    MissingAlias,
    /// An instance that may forward may yet send only in its own name.
    StrictForwarder,
    /// What a firewall policy's rule leaves to what comes after the policy is let through.
    GotoNextAllows,
    /// What a firewall policy's rule leaves to what comes after the policy is asked of the policy's other rules.
    GotoNextStays,
    /// A network's firewall policy is on the other side of its own rules.
    SwappedLevels,
    /// Folders' firewall policies come before the organization's, and those of inner folders before those of outer ones.
    FoldersFirst,
    /// Only the organization's firewall policy acts, and no folder's.
    NoFolders,
    /// Each rule goes by its neighbour's name. As with those that follow, every packet goes where it should: only the
    /// explanation is another.
    SwappedNames,
    /// What a rule denies is counted for the first one that allows.
    DenyForAllow,
    /// Of neighbouring rules that do the same, the last one that matches decides.
    LastOfEquals,
    /// Neighbouring rules that do the same are made one, which goes by the name of the first.
    MergedEquals,
    /// Source tags of firewall policies stand for interfaces of the rule's own network alone.
    TagsWithoutPeers,
    /// Any tag value is as good as the one that a rule is for.
    AnySecureTag,
    /// Routes with tags are for everybody.
    IgnoredRouteTags,
    /// Routes with tags are for nobody.
    MissingTaggedRoutes,
    /// Connections are spread over all next hops of a destination, whatever their priority.
    UnequalCost,
    /// A route whose next hop is gone keeps its packets from the next one.
    DeadHopWins,
    /// An interface without an external address has its neighbour's.
    SharedExternal,
    /// External addresses stand for each other's interfaces.
    SwappedExternal,
    /// An interface that no NAT gateway serves has its neighbour's.
    NatForAll,
    /// A NAT gateway serves whatever address an interface has.
    NatForAliases,
    /// NAT gateways do nothing.
    NoNat,
    /// What nobody asked for comes in by a NAT gateway's address, to one of the interfaces that it serves.
    NatLetsIn,
    /// The host's network has the addresses that the lab has.
    HostHasTheLab,
    /// Pings get into the host's network where they should not, and do not where they should.
    HostPingsOtherwise,
    /// Forwarding rules take whatever comes.
    ForwardsAll,
    /// Forwarding rules are for clients of every region.
    NoRegions,
    /// Endpoints of published services are there for peers of their networks too.
    EndpointForPeers,
    /// Endpoints lead to each other's services.
    SwappedServices,
    /// IPv6 crosses a peering whatever its sides say of it.
    Ipv6CrossesAlways,
    /// IPv6 packets may have any source address: the kernel has no reverse-path filter for it.
    Ipv6AnySource,
    /// What a rule says of all IPv4 addresses goes for IPv6 too.
    Ipv4RulesForIpv6,
    /// Source tags and service accounts stand for IPv4 addresses alone.
    Ipv6WithoutTags,
    /// Of an interface's IPv6 range only the first address is delivered.
    Ipv6OneAddress,
    /// The sender's gate for IPv6 has no rules but the implied one.
    Ipv6NoEgressGate,
    /// What a rule says of the near end is not looked at.
    IgnoredNearEnds,
    /// What a rule says of the near end is asked of an interface's own address, whatever the packet's is.
    NearEndsByInterface,
    /// What a rule says of an IPv4 near end does not keep it from IPv6, where its source tags stand for that.
    Ipv6WithoutNearEnds,
}

/// All mutants and their names.
pub const ALL: [(&str, Mutant); 56] = [
    ("transitive-leak", Mutant::TransitiveLeak),
    ("swapped-tie-break", Mutant::SwappedTieBreak),
    ("one-gate", Mutant::OneGate),
    ("no-source-filter", Mutant::NoSourceFilter),
    ("trusted-peers", Mutant::TrustedPeers),
    ("off-by-one-port", Mutant::OffByOnePort),
    ("ignored-targets", Mutant::IgnoredTargets),
    ("ignored-priority", Mutant::IgnoredPriority),
    ("wide-prefix", Mutant::WidePrefix),
    ("empty-means-all", Mutant::EmptyMeansAll),
    ("late-port", Mutant::LatePort),
    ("tcp-is-udp", Mutant::TcpIsUdp),
    ("first-protocol-only", Mutant::FirstProtocolOnly),
    ("icmp-always", Mutant::IcmpAlways),
    ("no-egress-gate", Mutant::NoEgressGate),
    ("default-allow", Mutant::DefaultAllow),
    ("swapped-routes", Mutant::SwappedRoutes),
    ("subnet-falls-through", Mutant::SubnetFallsThrough),
    ("missing-alias", Mutant::MissingAlias),
    ("strict-forwarder", Mutant::StrictForwarder),
    ("goto-next-allows", Mutant::GotoNextAllows),
    ("goto-next-stays", Mutant::GotoNextStays),
    ("swapped-levels", Mutant::SwappedLevels),
    ("folders-first", Mutant::FoldersFirst),
    ("no-folders", Mutant::NoFolders),
    ("swapped-names", Mutant::SwappedNames),
    ("deny-for-allow", Mutant::DenyForAllow),
    ("last-of-equals", Mutant::LastOfEquals),
    ("merged-equals", Mutant::MergedEquals),
    ("tags-without-peers", Mutant::TagsWithoutPeers),
    ("any-secure-tag", Mutant::AnySecureTag),
    ("ignored-route-tags", Mutant::IgnoredRouteTags),
    ("missing-tagged-routes", Mutant::MissingTaggedRoutes),
    ("unequal-cost", Mutant::UnequalCost),
    ("dead-hop-wins", Mutant::DeadHopWins),
    ("shared-external", Mutant::SharedExternal),
    ("swapped-external", Mutant::SwappedExternal),
    ("nat-for-all", Mutant::NatForAll),
    ("nat-for-aliases", Mutant::NatForAliases),
    ("no-nat", Mutant::NoNat),
    ("nat-lets-in", Mutant::NatLetsIn),
    ("host-has-the-lab", Mutant::HostHasTheLab),
    ("host-pings-otherwise", Mutant::HostPingsOtherwise),
    ("forwards-all", Mutant::ForwardsAll),
    ("no-regions", Mutant::NoRegions),
    ("endpoint-for-peers", Mutant::EndpointForPeers),
    ("swapped-services", Mutant::SwappedServices),
    ("ipv6-crosses-always", Mutant::Ipv6CrossesAlways),
    ("ipv6-any-source", Mutant::Ipv6AnySource),
    ("ipv4-rules-for-ipv6", Mutant::Ipv4RulesForIpv6),
    ("ipv6-without-tags", Mutant::Ipv6WithoutTags),
    ("ipv6-one-address", Mutant::Ipv6OneAddress),
    ("ipv6-no-egress-gate", Mutant::Ipv6NoEgressGate),
    ("ignored-near-ends", Mutant::IgnoredNearEnds),
    ("near-ends-by-interface", Mutant::NearEndsByInterface),
    ("ipv6-without-near-ends", Mutant::Ipv6WithoutNearEnds),
];

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ALL.iter().find(|(_, mutant)| mutant == self).map_or("", |(name, _)| name))
    }
}

impl FromStr for Mutant {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let names = || ALL.map(|(name, _)| name).join(", ");
        let found = ALL.iter().find(|(name, _)| *name == text).map(|(_, mutant)| *mutant);
        found.ok_or_else(|| format!("there is no mutant '{text}': expected one of {}", names()))
    }
}

impl Mutant {
    /// What the buggy dataplane makes of a Fabric.
    pub(crate) fn render(self, fabric: &Fabric) -> Desired {
        match self {
            Mutant::TransitiveLeak => leak(fabric),
            Mutant::SwappedTieBreak => edit_rules(fabric, |rules| {
                // The implied rule stays last.
                rules
                    .sort_by_key(|rule| (rule.level, rule.priority, Reverse(rule.action), rule.name.clone()));
            }),
            Mutant::OffByOnePort => edit_rules(fabric, |rules| {
                let ports = rules.iter_mut().flat_map(|rule| &mut rule.matches).flat_map(|l4| &mut l4.ports);
                ports.for_each(|range| range.last = range.last.saturating_add(1));
            }),
            Mutant::IgnoredPriority => edit_rules(fabric, |rules| {
                rules.sort_by_key(|rule| (rule.level, rule.name.clone()));
            }),
            Mutant::WidePrefix => edit_rules(fabric, |rules| {
                for rule in rules.iter_mut() {
                    let wider = |range: &IpNet| range.supernet().unwrap_or(*range);
                    rule.far = rule.far.iter().map(wider).collect();
                }
            }),
            Mutant::EmptyMeansAll => edit_rules(fabric, |rules| {
                for rule in rules.iter_mut().filter(|rule| rule.far.is_empty()) {
                    rule.far.insert(IpNet::V4(Ipv4Net::default()));
                }
            }),
            Mutant::LatePort => edit_rules(fabric, |rules| {
                let ports = rules.iter_mut().flat_map(|rule| &mut rule.matches).flat_map(|l4| &mut l4.ports);
                ports.for_each(|range| range.first = range.last.min(range.first.saturating_add(1)));
            }),
            Mutant::TcpIsUdp => edit_rules(fabric, |rules| {
                for rule in rules.iter_mut() {
                    let tcp: Vec<L4> =
                        rule.matches.iter().filter(|l4| l4.protocol == Protocol::TCP).cloned().collect();
                    rule.matches.extend(tcp.into_iter().map(|l4| L4 { protocol: Protocol::UDP, ..l4 }));
                }
            }),
            Mutant::FirstProtocolOnly => edit_rules(fabric, |rules| {
                rules.iter_mut().for_each(|rule| rule.matches.truncate(1));
            }),
            Mutant::IcmpAlways => edit_networks(fabric, |network| {
                if let Some(last) = network.ingress.last().cloned() {
                    let matches = vec![L4::all_of(Protocol::ICMP)];
                    network.ingress.insert(0, Rule { action: Action::Allow, matches, ..last });
                }
            }),
            Mutant::NoEgressGate => edit_networks(fabric, |network| {
                network.egress.retain(|rule| rule.implied);
            }),
            Mutant::DefaultAllow => edit_networks(fabric, |network| {
                let implied = network.ingress.iter_mut().filter(|rule| rule.implied);
                implied.for_each(|rule| rule.action = Action::Allow);
            }),
            Mutant::SwappedRoutes => edit_networks(fabric, |network| network.routes.reverse()),
            Mutant::SubnetFallsThrough => edit_networks(fabric, |network| {
                network.routes.retain(|route| route.via != Via::Subnetwork);
            }),
            Mutant::MissingAlias => edit_networks(fabric, |network| {
                network.nics.values_mut().for_each(|nic| nic.aliases.clear());
            }),
            Mutant::StrictForwarder => edit_networks(fabric, |network| {
                // Routes by it are compiled already.
                network.nics.values_mut().for_each(|nic| nic.can_ip_forward = false);
            }),
            Mutant::GotoNextAllows => edit_rules(fabric, |rules| {
                let next = rules.iter_mut().filter(|rule| rule.action == Action::GotoNext);
                next.for_each(|rule| rule.action = Action::Allow);
            }),
            Mutant::GotoNextStays => edit_rules(fabric, |rules| {
                rules.retain(|rule| rule.action != Action::GotoNext);
            }),
            Mutant::SwappedLevels => edit_rules(fabric, |rules| {
                let highest = rules.iter().filter(|rule| !rule.implied).map(|rule| rule.level).max();
                rules.sort_by_key(|rule| (rule.implied, Reverse(rule.level)));
                let turn = |rule: &mut Rule| rule.level = highest.unwrap_or_default() - rule.level;
                rules.iter_mut().filter(|rule| !rule.implied).for_each(turn);
            }),
            Mutant::FoldersFirst => edit_rules(fabric, |rules| {
                let above =
                    |rule: &Rule| ["organizations/", "folders/"].iter().any(|p| rule.name.starts_with(p));
                let lowest = rules.iter().filter(|rule| above(rule)).map(|rule| rule.level).max();
                let turn = |rule: &mut Rule| rule.level = lowest.unwrap_or_default() - rule.level;
                rules.iter_mut().filter(|rule| above(rule)).for_each(turn);
                rules.sort_by_key(|rule| rule.level);
            }),
            Mutant::NoFolders => edit_rules(fabric, |rules| {
                rules.retain(|rule| !rule.name.starts_with("folders/"));
            }),
            Mutant::SwappedNames => edit_rules(fabric, |rules| {
                for pair in rules.chunks_mut(2) {
                    if let [one, other] = pair {
                        let first = one.clone();
                        go_by(one, other);
                        go_by(other, &first);
                    }
                }
            }),
            Mutant::DenyForAllow => edit_rules(fabric, |rules| {
                let allow = rules.iter().find(|rule| rule.action == Action::Allow).cloned();
                let denied = rules.iter_mut().filter(|rule| rule.action == Action::Deny);
                denied.for_each(|rule| allow.iter().for_each(|allow| go_by(rule, allow)));
            }),
            Mutant::LastOfEquals => edit_rules(fabric, |rules| {
                rules.chunk_by_mut(alike).for_each(<[Rule]>::reverse);
            }),
            Mutant::MergedEquals => edit_rules(fabric, |rules| {
                for run in rules.chunk_by_mut(alike) {
                    let first = run[0].clone();
                    run.iter_mut().for_each(|rule| go_by(rule, &first));
                }
            }),
            Mutant::TagsWithoutPeers => edit_networks(fabric, |network| {
                let ranges = &network.ranges;
                for rule in &mut network.ingress {
                    let elsewhere = |far: &IpNet| !ranges.iter().any(|range| range.contains(far));
                    let tagged = rule.tags.sources.values().flatten();
                    let theirs: Vec<IpNet> = tagged.copied().filter(elsewhere).collect();
                    rule.far.retain(|far| !theirs.contains(far));
                }
            }),
            Mutant::AnySecureTag => edit_networks(fabric, |network| {
                let rules = || network.ingress.iter().chain(&network.egress);
                let anybody: std::collections::BTreeSet<_> =
                    rules().flat_map(|rule| rule.tags.targets.values()).flatten().copied().collect();
                for rule in network.ingress.iter_mut().chain(&mut network.egress) {
                    if !rule.tags.targets.is_empty() {
                        rule.targets = Targets::Nics(anybody.clone());
                    }
                }
            }),
            Mutant::IgnoredRouteTags => edit_networks(fabric, |network| {
                network.routes.iter_mut().for_each(|route| route.targets = Targets::All);
            }),
            Mutant::MissingTaggedRoutes => edit_networks(fabric, |network| {
                network.routes.retain(|route| route.targets == Targets::All);
            }),
            Mutant::UnequalCost => edit_networks(fabric, |network| {
                let hops = network.routes.iter_mut().filter(|route| matches!(route.via, Via::Nic(_)));
                hops.for_each(|route| route.priority = 0);
            }),
            Mutant::DeadHopWins => edit_networks(fabric, |network| {
                let dead: Vec<_> = network.routes.iter().filter(|r| r.via.is_gone()).cloned().collect();
                let behind = |route: &tombolo_fabric::Route| {
                    let before = |r: &tombolo_fabric::Route| {
                        r.destination == route.destination
                            && r.priority <= route.priority
                            && r.targets == Targets::All
                    };
                    !route.via.is_gone() && dead.iter().any(before)
                };
                network.routes.retain(|route| !behind(route));
            }),
            Mutant::SharedExternal => edit_networks(fabric, |network| {
                let external = network.nics.values().find_map(|nic| nic.external);
                let users = network.nics.values_mut().filter(|nic| !nic.owner.is_iap());
                users.for_each(|nic| nic.external = nic.external.or(external));
            }),
            Mutant::SwappedExternal => edit_networks(fabric, |network| {
                let mut external: Vec<_> = network.nics.values().filter_map(|nic| nic.external).collect();
                external.reverse();
                let users = network.nics.values_mut().filter(|nic| nic.external.is_some());
                users.zip(external).for_each(|(nic, address)| nic.external = Some(address));
            }),
            Mutant::NatForAll => edit_networks(fabric, |network| {
                let nat = network.nics.values().find_map(|nic| nic.nat.clone());
                let users =
                    network.nics.values_mut().filter(|nic| !nic.owner.is_iap() && !nic.reaches_internet());
                users.for_each(|nic| {
                    let ranges = [nic.address.into()].into();
                    nic.nat = nat.clone().map(|nat| Nat { ranges, ..nat });
                });
            }),
            Mutant::NatForAliases => edit_networks(fabric, |network| {
                for nic in network.nics.values_mut() {
                    let aliases = nic.aliases.clone();
                    nic.nat.iter_mut().for_each(|nat| nat.ranges.extend(&aliases));
                }
            }),
            Mutant::NoNat => edit_networks(fabric, |network| {
                network.nics.values_mut().for_each(|nic| nic.nat = None);
            }),
            Mutant::NatLetsIn => edit_networks(fabric, |network| {
                let served = network.nics.values_mut().filter(|nic| nic.external.is_none());
                let served = served.filter_map(|nic| nic.nat.take().map(|nat| (nic, nat)));
                served.for_each(|(nic, nat)| nic.external = Some(nat.address));
            }),
            Mutant::HostHasTheLab => {
                let mut wrong = fabric.clone();
                wrong.host.iter_mut().for_each(|host| host.kept.retain(|range| NEVER.contains(range)));
                render(&wrong)
            }
            Mutant::HostPingsOtherwise => {
                let mut wrong = fabric.clone();
                wrong.host.iter_mut().for_each(|host| host.pings = !host.pings);
                render(&wrong)
            }
            Mutant::ForwardsAll => edit_networks(fabric, |network| {
                for rule in network.forwarding.values_mut() {
                    if let To::Nic { takes, .. } = &mut rule.to {
                        *takes = L4::all_of(Protocol::All);
                    }
                }
            }),
            Mutant::NoRegions => edit_networks(fabric, |network| {
                network.forwarding.values_mut().for_each(|rule| rule.global = true);
            }),
            Mutant::EndpointForPeers => endpoint_for_peers(fabric),
            Mutant::SwappedServices => swapped_services(fabric),
            Mutant::IgnoredTargets => edit_rules(fabric, |rules| {
                rules.iter_mut().for_each(|rule| rule.targets = Targets::All);
            }),
            Mutant::Ipv6CrossesAlways => cross_always(fabric),
            Mutant::Ipv6AnySource => {
                let mut desired = render(fabric);
                edit_rulesets(&mut desired, |rules| {
                    std::sync::Arc::make_mut(&mut rules.ipv6).sources.clear();
                });
                desired
            }
            Mutant::Ipv4RulesForIpv6 => edit_rules(fabric, |rules| {
                let all = IpNet::V4(Ipv4Net::default());
                let wide = rules.iter_mut().filter(|rule| rule.far.contains(&all));
                wide.for_each(|rule| rule.far.extend([IpNet::V6(Ipv6Net::default())]));
            }),
            Mutant::Ipv6WithoutTags => edit_rules(fabric, |rules| {
                rules.iter_mut().for_each(|rule| rule.far.retain(|far| far.prefix_len() != 96));
            }),
            Mutant::Ipv6OneAddress => edit_networks(fabric, |network| {
                for nic in network.nics.values_mut() {
                    nic.ipv6 = nic.ipv6_address().map(Ipv6Net::from);
                }
            }),
            Mutant::Ipv6NoEgressGate => edit_networks(fabric, |network| {
                for rule in network.egress.iter_mut().filter(|rule| !rule.implied) {
                    rule.far.retain(|far| matches!(far, IpNet::V4(_)));
                }
            }),
            Mutant::IgnoredNearEnds => edit_rules(fabric, |rules| {
                rules.iter_mut().for_each(|rule| rule.near.clear());
            }),
            Mutant::NearEndsByInterface => edit_networks(fabric, |network| {
                let all: Vec<Ipv4Addr> = network.nics.keys().copied().collect();
                for rule in network.ingress.iter_mut().chain(&mut network.egress) {
                    let near = std::mem::take(&mut rule.near);
                    let is_near = |nic: &Ipv4Addr| near.iter().any(|range| range.contains(&IpAddr::V4(*nic)));
                    if near.iter().any(|range| matches!(range, IpNet::V4(_))) {
                        let acts = |nic: &Ipv4Addr| rule.targets.contains(*nic) && is_near(nic);
                        rule.targets = Targets::Nics(all.iter().copied().filter(acts).collect());
                    } else {
                        rule.near = near;
                    }
                }
            }),
            Mutant::Ipv6WithoutNearEnds => edit_rules(fabric, |rules| {
                for rule in rules.iter_mut().filter(|rule| !rule.near.is_empty()) {
                    rule.near.insert(IpNet::V6(Ipv6Net::default()));
                }
            }),
            Mutant::OneGate => {
                let mut desired = render(fabric);
                edit_rulesets(&mut desired, |rules| {
                    rules.chains.values_mut().for_each(|chain| Arc::make_mut(chain).allow = Allow::Deliver);
                });
                desired
            }
            Mutant::TrustedPeers => {
                let mut desired = render(fabric);
                edit_rulesets(&mut desired, |rules| rules.peers_filtered = true);
                let namespaces = desired.state.namespaces.values_mut().map(Arc::make_mut);
                let links = namespaces.flat_map(|namespace| namespace.links.values_mut());
                links.filter(|link| link.group != 0).for_each(|link| link.strict_source = false);
                desired
            }
            Mutant::NoSourceFilter => {
                let mut desired = render(fabric);
                let namespaces = desired.state.namespaces.values_mut().map(Arc::make_mut);
                let links = namespaces.flat_map(|namespace| namespace.links.values_mut());
                links.for_each(|link| link.strict_source = false);
                desired
            }
        }
    }
}

/// Whether two rules of a level do the same with what they match.
fn alike(one: &Rule, other: &Rule) -> bool {
    (one.level, one.action) == (other.level, other.action)
}

/// Has a rule go by another's name.
fn go_by(rule: &mut Rule, other: &Rule) {
    (rule.name, rule.implied) = (other.name.clone(), other.implied);
}

/// Renders a Fabric with other rules in it.
fn edit_rules(fabric: &Fabric, edit: impl Fn(&mut Rules)) -> Desired {
    edit_networks(fabric, |network| {
        edit(&mut network.egress);
        edit(&mut network.ingress);
    })
}

/// Renders a Fabric with other networks in it.
fn edit_networks(fabric: &Fabric, edit: impl Fn(&mut Network)) -> Desired {
    let mut mutated = fabric.clone();
    mutated.networks.values_mut().for_each(edit);
    render(&mutated)
}

/// Edits the rules of every router.
fn edit_rulesets(desired: &mut Desired, edit: impl Fn(&mut tombolo_dataplane::Ruleset)) {
    desired.rules.values_mut().map(Arc::make_mut).for_each(edit);
}

/// Every peer of an endpoint's network has the endpoint too, by a link and with an address of its own.
fn endpoint_for_peers(fabric: &Fabric) -> Desired {
    let mut mutated = fabric.clone();
    let mut nats = Ipv4Net::new_assert([100, 64, 0, 0].into(), 16).hosts();
    for (key, network) in &fabric.networks {
        let endpoints = network.forwarding.iter().filter(|(_, rule)| matches!(rule.to, To::Service(_)));
        for (address, rule) in endpoints {
            let peers = network.peers.iter().filter(|peer| fabric.networks[*peer].peers.contains(key));
            for peer in peers {
                let mut rule = rule.clone();
                if let (To::Service(service), Some(nat)) = (&mut rule.to, nats.next()) {
                    service.nat = nat;
                }
                let Some(peer) = mutated.networks.get_mut(peer) else { continue };
                peer.forwarding.entry(*address).or_insert(rule);
            }
        }
    }
    render(&mutated)
}

/// The services of endpoints, the other way round.
fn swapped_services(fabric: &Fabric) -> Desired {
    let mut services: Vec<_> = fabric.published().map(|(_, _, to)| to.clone()).collect();
    let mut mutated = fabric.clone();
    let rules = mutated.networks.values_mut().flat_map(|network| network.forwarding.values_mut());
    for rule in rules.filter(|rule| matches!(rule.to, To::Service(_))) {
        rule.to = services.pop().map_or_else(|| rule.to.clone(), To::Service);
    }
    render(&mutated)
}

/// Every network with IPv6 has that of its peers.
fn cross_always(fabric: &Fabric) -> Desired {
    let mut mutated = fabric.clone();
    for network in mutated.networks.values_mut() {
        for peer in &network.peers {
            for range in fabric.networks[peer].ranges.iter().filter(|range| matches!(range, IpNet::V6(_))) {
                if network.routes.iter().any(|route| route.destination == *range) {
                    continue;
                }
                network.routes.push(tombolo_fabric::Route {
                    kind: Kind::PeeringSubnet,
                    destination: *range,
                    priority: 0,
                    via: Via::Peer(peer.clone()),
                    name: "mutant".into(),
                    targets: Targets::All,
                });
            }
        }
    }
    render(&mutated)
}

/// Every router learns what its peers learnt, two peerings far, and lets it pass.
fn leak(fabric: &Fabric) -> Desired {
    let mut desired = render(fabric);
    edit_rulesets(&mut desired, |rules| rules.transit = true);
    for (key, network) in &fabric.networks {
        let Some(router) = desired.state.namespaces.get_mut(&key.to_string()) else { continue };
        let router = Arc::make_mut(router);
        for near in &network.peers {
            let far = fabric.networks[near].peers.iter().filter(|far| *far != key);
            for range in far.flat_map(|far: &NetworkKey| &fabric.networks[far].ranges) {
                let via = router.routes.iter().find_map(|route| match &route.via {
                    RouteVia::Gateway(link, gateway)
                        if *link == peering_link(near) && gateway.is_ipv4() == range.addr().is_ipv4() =>
                    {
                        Some(RouteVia::Gateway(link.clone(), *gateway))
                    }
                    _ => None,
                });
                let known = router.routes.iter().any(|route| route.destination == *range);
                router.routes.extend(via.filter(|_| !known).map(|via| Route::new(*range, via)));
            }
        }
    }
    desired
}

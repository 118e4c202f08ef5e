//! Random small worlds, and random flows in them. Addresses and ports are such as lie at edges.

#![allow(dead_code, reason = "the tests of other crates include this file, and not all use all of it")]

use crate::support::change;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::net::{IpAddr, Ipv4Addr};
use tombolo_fabric::{Fabric, Flow, IAP_CLIENT};
use tombolo_model::{Timestamp, World};

const NETWORKS: &[&str] = &["vpc-1", "vpc-2", "vpc-3", "vpc-4"];
const NAMES: &[&str] = &["a", "b", "c", "d", "e"];
const RANGES: &[&str] = &[
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.2.0.0/29",
    "10.3.0.0/24",
    "10.4.0.0/29",
    "9.9.9.0/24",
    "172.17.0.0/24",
];
const FAR_6: &[&str] = &[
    "::/0",
    "fd20:0:1::/48",
    "fd20:0:1::/64",
    "fd20:0:1::/63",
    "fd20:0:1:0:0:1::/96",
    "fd20:0:1:0:0:1::/128",
    "fd20:0:2::/47",
];
const FAR: &[&str] =
    &["0.0.0.0/0", "10.0.0.0/8", "10.1.0.2/32", "10.1.0.0/16", "10.2.0.0/29", "10.2.0.4/30", "10.3.0.0/32"];
const PORTS: &[&str] = &[
    "tcp",
    "udp",
    "all",
    "icmp",
    "tcp:80",
    "tcp:80-81:443",
    "udp:53",
    "tcp:0-79",
    "tcp:6379",
    "89",
    "esp",
    "sctp:80",
    "ah,ipip",
    "4",
    "58",
    "tcp,58",
];

/// Ranges of one version of IP.
fn far_ranges() -> impl Strategy<Value = String> {
    let of = |ranges| prop::collection::vec(select(ranges), 1..3).prop_map(|ranges| ranges.join(","));
    prop_oneof![2 => of(FAR), 1 => of(FAR_6)]
}

/// A line that makes a firewall rule in one of the networks.
fn rule(networks: &'static [&'static str]) -> impl Strategy<Value = String> {
    let tags = || select(&["x", "y", "x,y"][..]);
    let far = far_ranges;
    let accounts =
        || select(&["web", "db", "web,db", "100000000001-compute@developer.gserviceaccount.com"][..]);
    let ingress = prop_oneof![
        accounts().prop_map(|a| format!("source-accounts={a}")),
        (far(), accounts()).prop_map(|(f, a)| format!("sources={f} source-accounts={a}")),
        Just(String::new()),
        far().prop_map(|f| format!("sources={f}")),
        tags().prop_map(|t| format!("source-tags={t}")),
        (far(), tags()).prop_map(|(f, t)| format!("sources={f} source-tags={t}")),
    ];
    let egress =
        prop_oneof![Just("egress".to_owned()), far().prop_map(|f| format!("egress destinations={f}"))];
    // Of the other version of IP it is refused.
    let near = || prop_oneof![3 => Just(None), 1 => far().prop_map(Some)];
    let and = |name: &'static str| {
        move |(side, near): (String, Option<String>)| match near {
            Some(near) => format!("{side} {name}={near}"),
            None => side,
        }
    };
    let ingress = (ingress, near()).prop_map(and("destinations"));
    let egress = (egress, near()).prop_map(and("sources"));
    (
        select(&["allow", "deny"][..]),
        select(&["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"][..]),
        select(networks),
        select(PORTS),
        prop_oneof![2 => ingress, 1 => egress],
        select(&["0", "999", "1000", "1000", "1000", "1001", "65535"][..]),
        select(
            &["", "", "targets=x", "targets=y", "targets=x,y", "accounts=web", "accounts=web,db", "disabled"]
                [..],
        ),
    )
        .prop_map(|(verb, name, network, ports, side, priority, more)| {
            format!("{verb} {name} {network} {ports} {side} priority={priority} {more}")
        })
}

/// A line about firewall policies.
fn policy() -> impl Strategy<Value = String> {
    let name = || select(&["p", "q", "p@us-central1", "q@europe-west1", "^p", "^q"][..]);
    let network = || select(&["p", "q", "p@us-central1", "q@europe-west1"][..]);
    let node = || select(&["org", "prod", "prod/team", "test"][..]);
    let far = far_ranges;
    let near = || prop_oneof![3 => Just(String::new()), 1 => far().prop_map(|near| format!("near={near}"))];
    let rule = (
        name(),
        select(&["0", "1", "2", "3"][..]),
        select(&["allow", "deny", "next", "next"][..]),
        select(PORTS),
        far(),
        select(&["", "", "egress"][..]),
        select(&["", "", "", "accounts=web", "accounts=web,db", "disabled"][..]),
        near(),
    );
    prop_oneof![
        6 => rule.prop_map(|(p, at, action, ports, far, side, more, near)| {
            format!("policy-rule {p} {at} {action} {ports} ranges={far} {side} {more} {near}")
        }),
        5 => (name(), select(&["0", "1", "2", "3"][..]), select(&["allow", "deny", "next"][..]), select(PORTS), secure_tags(), near())
            .prop_map(|(p, at, action, ports, tags, near)| format!("policy-rule {p} {at} {action} {ports} {tags} {near}")),
        1 => (select(&["^p", "^q"][..]), select(&["0", "1"][..]), select(&["allow", "deny", "next"][..]), select(PORTS))
            .prop_map(|(p, at, action, ports)| {
                format!("policy-rule {p} {at} {action} {ports} ranges=10.0.0.0/8 networks=vpc-1,vpc-3")
            }),
        2 => (network(), select(NETWORKS)).prop_map(|(p, n)| format!("associate {p} at-{n} {n} replace")),
        2 => (select(&["^p", "^q"][..]), node())
            .prop_map(|(p, n)| format!("associate {p} at-{} {n} replace", n.replace('/', "-"))),
        1 => node().prop_map(|n| format!("move project-1 {n}")),
        1 => select(NETWORKS).prop_map(|n| format!("policy-first {n}")),
        1 => select(NETWORKS).prop_map(|n| format!("policy-last {n}")),
        1 => (name(), select(&["0", "1", "2", "3"][..])).prop_map(|(p, at)| format!("policy-remove {p} {at}")),
    ]
}

/// A tag value's name.
fn tag_value() -> impl Strategy<Value = &'static str> {
    select(&["project-1/one/x", "project-1/one/y", "org/two/x", "org/all/x", "org/all/y"][..])
}

/// Sources and targets of a policy's rule, by secure tags and otherwise.
fn secure_tags() -> impl Strategy<Value = String> {
    let values = || prop::collection::vec(tag_value(), 1..3).prop_map(|values| values.join(","));
    prop_oneof![
        3 => values().prop_map(|from| format!("from={from}")),
        1 => (values(), far_ranges()).prop_map(|(from, far)| format!("from={from} ranges={far}")),
        1 => (values(), values()).prop_map(|(from, at)| format!("from={from} at={at}")),
        2 => (values(), far_ranges(), select(&["", "egress"][..]))
            .prop_map(|(at, far, side)| format!("ranges={far} at={at} {side}")),
    ]
}

/// Some NAT gateways.
fn gateways() -> impl Strategy<Value = String> {
    select(
        &["n=all", "n=primary", "n=a", "n=a:all", "n=b o=a", "n=c:all@x", "n=all@x+y", "n=d+a:all@y", ""][..],
    )
    .prop_map(str::to_owned)
}

/// A line about forwarding rules.
fn forwarding() -> impl Strategy<Value = String> {
    select(
        &[
            "stop k",
            "start k",
            "delete vm k",
            "delete attachment s",
            "globally w",
            "locally w",
            "globally v",
            "republish s w k manual reject=project-1 reconcile",
            "republish s w k manual accept=@vpc-1 reconcile",
            "delete forward v",
            "delete forward w",
            "endpoint v vpc-1 a=10.1.0.99 s global",
            "endpoint y vpc-2 b=10.2.0.5 s",
            "endpoint q vpc-3 g=10.5.0.8 s",
            "target i a",
            "forward u vpc-1 a=10.1.0.98 i udp global",
            "forward u vpc-1 a=10.1.0.98 i all",
            "retarget u i",
            "forward o vpc-3 g=10.5.0.7 t udp:53",
        ][..],
    )
    .prop_map(str::to_owned)
}

/// A line of the table language of changes.
fn line() -> impl Strategy<Value = String> {
    let (network, name, range) = (|| select(NETWORKS), || select(NAMES), || select(RANGES));
    let hop = select(&["gateway", "a", "b", "f", "10.1.0.2", "10.1.0.3", "10.3.0.2"][..]);
    let dest = select(
        &["0.0.0.0/0", "10.0.0.0/8", "192.168.0.0/16", "10.1.0.0/15", "10.2.0.2/32", "8.8.8.0/24"][..],
    );
    let vm = (
        name(),
        name(),
        select(&["", ",a", ",b", "=10.1.0.2", "=10.1.255.253"][..]),
        select(&["", "", "forward"][..]),
        select(&["", "tags=x", "tags=y", "account=web", "tags=x account=db", "account=default"][..]),
    );
    let exchange = select(
        &[
            "export",
            "import",
            "export import",
            "export import import-public",
            "no-export-public",
            "import-public",
            "ipv6",
            "ipv6 export import",
            "ipv6",
        ][..],
    );
    let of_route = (
        select(&["a", "b", "c", "d", "e", "f", "g"][..]),
        select(&["", "", "priority=0", "priority=2000"][..]),
        select(&["", "", "tags=x", "tags=y", "tags=x,y"][..]),
    );
    prop_oneof![
        3 => (name(), network(), range()).prop_map(|(s, n, r)| format!("subnet {s} {n} {r}")),
        1 => network().prop_map(|n| format!("ula {n}")),
        2 => name().prop_map(|s| format!("dual {s}")),
        3 => name().prop_map(|v| format!("dual-vm {v}")),
        5 => vm.prop_map(|(v, s, more, forward, tags)| format!("vm {v} {s}{more} {forward} {tags}")),
        1 => name().prop_map(|v| format!("delete vm {v}")),
        3 => name().prop_map(|v| format!("nat {v}")),
        1 => name().prop_map(|v| format!("unnat {v}")),
        2 => (name(), select(&["pods=10.8.0.0/24", "pods=10.9.0.0/29", "pods=9.9.9.0/28", ""][..]))
            .prop_map(|(s, ranges)| format!("secondary {s} {ranges}")),
        3 => (name(), select(&["pods=10.8.0.32/28", "pods=/30", "=10.1.0.77/32", "=/32", ""][..]))
            .prop_map(|(v, aliases)| format!("alias {v} {aliases}")),
        3 => (select(&["r", "q"][..]), network(), gateways()).prop_map(|(r, n, nats)| format!("router {r} {n} {nats}")),
        2 => (select(&["r", "q"][..]), gateways()).prop_map(|(r, nats)| format!("nats {r} {nats}")),
        6 => policy(),
        3 => (select(&["a", "b", "c", "d", "e", "f", "k", "z"][..]), tag_value()).prop_map(|(v, t)| format!("bind {v} {t}")),
        1 => (select(&["a", "b", "f"][..]), tag_value()).prop_map(|(v, t)| format!("unbind {v} {t}")),
        9 => rule(&["vpc-1", "vpc-1", "vpc-2", "vpc-3", "vpc-4"]),
        5 => (of_route, select(&["vpc-1", "vpc-1", "vpc-2", "vpc-3", "vpc-4"][..]), dest, hop)
            .prop_map(|((r, priority, tags), n, d, hop)| format!("route {r} {n} {d} {hop} {priority} {tags}")),
        5 => forwarding(),
        4 => (network(), network()).prop_map(|(a, b)| format!("peer {a}-to-{b} {a} {b}")),
        4 => (network(), network(), exchange).prop_map(|(a, b, x)| format!("exchange {a}-to-{b} {a} {x}")),
        1 => (network(), network()).prop_map(|(a, b)| format!("unpeer {a}-to-{b} {a}")),
        1 => network().prop_map(|n| format!("no-default-route {n}")),
        2 => (name(), network(), select(&["", "tls"][..])).prop_map(|(r, n, tls)| format!("redis {r} {n} {tls}")),
        1 => name().prop_map(|r| format!("delete redis {r}")),
    ]
}

/// The World after the lines that are accepted, beginning with four networks that have a subnetwork and a VM each.
fn build(lines: &[String]) -> World {
    let start = "project project-1
        network vpc-1\nsubnet a vpc-1 10.1.0.0/16\nvm a a forward tags=x\nvm f a forward
        network vpc-2\nsubnet b vpc-2 10.2.0.0/29\nvm b b tags=y
        network vpc-3\nsubnet c vpc-3 10.3.0.0/24\nvm c c
        network vpc-4\nsubnet d vpc-4 10.1.0.0/16\nvm d d
        allow open-1 vpc-1 all priority=65534\nallow open-2 vpc-2 all priority=65534
        folder prod\nfolder prod/team\nfolder test\nmove project-1 prod/team
        hierarchical p\nhierarchical q prod\nassociate ^p at-org org\nassociate ^q at-prod-team prod/team
        tag-key project-1/one vpc-1\ntag-value project-1/one/x\ntag-value project-1/one/y
        tag-key org/two vpc-2\ntag-value org/two/x\ntag-key org/all auto\ntag-value org/all/x\ntag-value org/all/y
        bind a project-1/one/x\nbind f project-1/one/y\nbind b org/two/x\nbind c org/all/x\nbind f org/all/x
        policy p\npolicy q\npolicy p@us-central1\npolicy q@europe-west1\nassociate p at-vpc-1 vpc-1
        allow web-3 vpc-3 tcp:80\nallow open-4 vpc-4 udp,icmp
        redis r vpc-3\nsubnet e vpc-3 172.17.0.0/24\nvm e e
        reserve x external\nreserve y external
        subnet g vpc-3 10.5.0.0/24\nnat-subnet k vpc-3 10.6.0.0/29\nvm k g tags=x\ntarget t k
        forward w vpc-3 g=10.5.0.9 t tcp:80:81\npublish s w k\nendpoint v vpc-1 a=10.1.0.99 s
        subnet h vpc-1 10.7.0.0/24 europe-west1\nvm z h in=europe-west1
        secondary a pods=10.8.0.0/24\nalias a pods=10.8.0.16/28
        ula vpc-1 fd20:0:1::/48\nula vpc-2 fd20:0:2::/48\nula vpc-4 fd20:0:4::/48
        dual a\ndual-vm a\ndual-vm f\ndual b\ndual-vm b\ndual d
        allow open-6 vpc-1 all sources=::/0 priority=65534
        peer vpc-1-to-vpc-2 vpc-1 vpc-2 ipv6\npeer vpc-2-to-vpc-1 vpc-2 vpc-1 ipv6";
    let mut world = crate::support::world(start);
    for key in world.firewalls.keys().filter(|k| k.name.starts_with("default-")).cloned().collect::<Vec<_>>()
    {
        world = world.apply(&tombolo_model::Change::FirewallDelete(key), Timestamp(0)).unwrap();
    }
    let default = crate::support::network("default");
    world = world.apply(&tombolo_model::Change::NetworkDelete(default), Timestamp(0)).unwrap();
    for line in lines {
        let change = match line.strip_prefix("no-default-route ") {
            None => change(line),
            Some(name) => {
                let network = crate::support::network(name);
                let is = |r: &tombolo_model::Route| r.network == network && r.dest_range.prefix_len() == 0;
                let Some((key, _)) = world.routes.iter().find(|(_, r)| is(r)) else { continue };
                tombolo_model::Change::RouteDelete(key.clone())
            }
        };
        world = world.apply(&change, Timestamp(0)).unwrap_or(world);
    }
    world
}

/// Small worlds.
pub(crate) fn worlds() -> impl Strategy<Value = World> {
    prop::collection::vec(line(), 0..25).prop_map(|lines| build(&lines))
}

/// Worlds, each of which comes from the one before by a change, which may have been refused.
pub(crate) fn histories() -> impl Strategy<Value = Vec<World>> {
    let worlds = |lines: Vec<String>| (0..=lines.len()).map(|count| build(&lines[..count])).collect();
    prop::collection::vec(line(), 1..25).prop_map(worlds)
}

/// Worlds with many rules in one network, so that rules meet: only then does the order between them matter.
pub(crate) fn worlds_of_rules() -> impl Strategy<Value = World> {
    let start = [
        "vm i a tags=y account=web",
        "dual-vm i",
        "vm g a tags=x,y account=default",
        "dual-vm g",
        "vm h a account=db",
    ]
    .map(String::from);
    let rules = prop::collection::vec(prop_oneof![2 => rule(&["vpc-1"]), 1 => policy()], 4..14);
    rules.prop_map(move |rules| build(&[&start[..], &rules].concat()))
}

/// Worlds with many routes to few destinations in two networks that exchange them.
pub(crate) fn worlds_of_routes() -> impl Strategy<Value = World> {
    let start = [
        "vm g a tags=x",
        "vm h b=10.2.0.3 forward tags=x",
        "vm j b=10.2.0.5 forward",
        "allow web-1 vpc-1 tcp:80 priority=900",
        "allow web-2 vpc-2 tcp:80 priority=900",
        "exchange vpc-1-to-vpc-2 vpc-1 export import",
        "exchange vpc-2-to-vpc-1 vpc-2 export import",
    ]
    .map(String::from);
    let route = (
        select(&["a", "b", "c", "d", "e", "f", "g", "h", "i"][..]),
        select(&["vpc-1 10.0.0.0/8", "vpc-1 192.168.0.0/16", "vpc-1 0.0.0.0/0", "vpc-2 192.168.0.0/16"][..]),
        select(&["gateway", "a", "a", "f", "f", "10.1.0.3", "10.1.0.77", "b", "h", "h", "10.2.0.5"][..]),
        select(&["", "", "priority=0", "priority=2000"][..]),
        select(&["", "", "tags=x", "tags=y"][..]),
    );
    let route = route
        .prop_map(|(name, to, hop, priority, tags)| format!("route {name} {to} {hop} {priority} {tags}"));
    let more = prop_oneof![8 => route, 1 => select(&["stop a", "stop f", "no-default-route vpc-1"][..]).prop_map(String::from)];
    prop::collection::vec(more, 4..12).prop_map(move |lines| build(&[&start[..], &lines].concat()))
}

/// A flow that is yet to be placed in a world.
#[derive(Clone, Debug)]
pub(crate) struct AnyFlow {
    source: Index,
    spoof: Option<Ipv4Addr>,
    spoof_6: Option<IpAddr>,
    destination: Index,
    protocol: u8,
    port: u16,
}

/// Flows.
pub(crate) fn flows() -> impl Strategy<Value = AnyFlow> {
    let spoof = select(
        &["10.1.0.77", "10.2.0.2", "10.3.0.9", "172.17.0.9", "8.8.8.8", "10.8.0.17", "10.8.0.33", "10.5.0.9"]
            [..],
    );
    let spoof_6 = select(&["fd20:0:1:0:0:1::7", "fd20:0:1:0:0:9::", "fd20:0:2:0:0:1::", "fd20:9::1"][..]);
    let port = prop_oneof![
        select(&[0u16, 22, 546, 546, 25, 53, 68, 68, 79, 80, 81, 82, 443, 6378, 6379, 65535][..]),
        any::<u16>()
    ];
    (
        any::<Index>(),
        prop::option::weighted(0.2, spoof),
        prop::option::weighted(0.2, spoof_6),
        any::<Index>(),
        select(&[6u8, 6, 6, 17, 17, 1, 58, 89, 132, 50, 4][..]),
        port,
    )
        .prop_map(|(source, spoof, spoof_6, destination, protocol, port)| AnyFlow {
            source,
            spoof: spoof.map(|s| s.parse().unwrap()),
            spoof_6: spoof_6.map(|s| s.parse().unwrap()),
            destination,
            protocol,
            port,
        })
}

impl AnyFlow {
    /// The flow in a world: from one of its interfaces to one of its addresses or one near to them.
    pub(crate) fn place(&self, fabric: &Fabric) -> Flow {
        let nics = fabric.networks.iter().flat_map(|(key, n)| n.nics.keys().map(move |nic| (key, *nic)));
        // Identity-Aware Proxy's clients are many and alike: one of the four is enough.
        let nics: Vec<_> = nics.filter(|(key, nic)| !is_iap(*nic) || key.name == "vpc-1").collect();
        let (network, nic) = nics[self.source.index(nics.len())];
        let fixed = [
            "10.1.0.0",
            "10.1.0.1",
            "10.1.0.77",
            "10.2.0.6",
            "10.8.0.16",
            "10.8.0.31",
            "10.8.0.33",
            "10.9.0.1",
            "10.2.0.8",
            "10.3.0.200",
            "10.1.0.98",
            "10.1.0.99",
            "10.1.0.99",
            "10.1.0.99",
            "10.2.0.5",
            "10.5.0.7",
            "10.5.0.8",
            "10.5.0.9",
            "10.5.0.9",
            "10.6.0.2",
            "192.168.3.4",
            "192.168.200.1",
            "10.77.0.1",
            "8.8.8.8",
            "203.0.113.2",
            "203.0.113.2",
            "198.18.0.2",
            "198.18.0.3",
            "198.18.0.4",
            "198.18.0.5",
            "232.226.106.154",
            "169.254.169.254",
        ];
        let fixed_6 = [
            "fd20:0:1::",
            "fd20:0:1:0:0:1::5",
            "fd20:0:1:0:0:0:0:1",
            "fd20:0:1:1::1",
            "fd20:0:2:0:0:1:ffff:ffff",
            "fd20:0:4::9",
            "fd20:ce::254",
            "fe80::1",
            "ff02::1",
            "2001:db8::1",
        ];
        let times = |times| nics.iter().cycle().take(nics.len() * times);
        let mut destinations: Vec<IpAddr> = times(5).map(|(_, nic)| IpAddr::V4(*nic)).collect();
        let dual = |(network, nic): &(&_, Ipv4Addr)| fabric.networks[*network].nics[nic].ipv6_address();
        destinations.extend(times(3).filter_map(dual).map(IpAddr::V6));
        destinations.extend(fixed.iter().chain(&fixed_6).map(|a| a.parse::<IpAddr>().unwrap()));
        let destination = destinations[self.destination.index(destinations.len())];
        let own = fabric.networks[network].nics[&nic].address_like(destination);
        let spoof = if destination.is_ipv4() { self.spoof.map(IpAddr::V4) } else { self.spoof_6 };
        // What has no address of that version says it has one.
        let stranger = "fd20:9::2".parse().unwrap();
        Flow {
            network: network.clone(),
            nic,
            source: spoof.or(own).unwrap_or(stranger),
            destination,
            protocol: self.protocol,
            port: if [6, 17].contains(&self.protocol) { self.port } else { 0 },
        }
    }

    /// The same with an address in the other end that nothing has.
    pub(crate) fn nowhere(&self, fabric: &Fabric) -> Flow {
        Flow { nic: Ipv4Addr::new(10, 200, 0, 1), ..self.place(fabric) }
    }
}

/// Whether the address is the Identity-Aware Proxy client's.
pub(crate) fn is_iap(address: Ipv4Addr) -> bool {
    address == IAP_CLIENT
}

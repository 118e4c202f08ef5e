//! What nothing was told of is not read again. So everything that can change must be told of.

use crate::oracle::Space;
use crate::support::world;
use crate::tests::Test;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use tombolo_dataplane::linux::netlink;
use tombolo_dataplane::linux::{Kernel, netns};
use tombolo_dataplane::{Desired, Edit, Lookup, Op, Plan, Route, RouteVia, plan, render};
use tombolo_fabric::compile;

pub(crate) const TESTS: &[Test] = &[
    ("what_others_change_is_observed", what_others_change_is_observed),
    ("a_network_of_many", a_network_of_many),
    ("streams_pass_in_large_batches", streams_pass_in_large_batches),
];

const ROUTER: &str = "projects/project-1/global/networks/vpc-1";

fn desired() -> Desired {
    let world = world(
        "project project-1
        network vpc-1
        subnet s-1 vpc-1 10.1.0.0/16
        ula vpc-1
        dual s-1
        vm vm-1 s-1
        dual-vm vm-1
        vm vm-2 s-1 tags=web
        vm r-1 s-1 forward
        vm r-2 s-1 forward
        route a vpc-1 192.168.0.0/16 r-1
        route b vpc-1 192.168.0.0/16 r-2
        route c vpc-1 192.168.1.0/24 r-2 tags=web
        network vpc-2
        subnet s-2 vpc-2 10.2.0.0/16
        ula vpc-2
        dual s-2
        peer p12 vpc-1 vpc-2 ipv6
        peer p21 vpc-2 vpc-1 ipv6
        allow ssh vpc-1 tcp:22",
    );
    render(&compile(&world))
}

/// Twice at most: with the last address of a link go its routes, which only the next observation shows.
fn converge(kernel: &mut Kernel, desired: &Desired) {
    for _ in 0..2 {
        let edits = plan(desired, &kernel.observe().unwrap());
        assert_eq!(kernel.apply(&edits), []);
    }
    assert!(kernel.observe().unwrap() == *desired);
}

/// Makes a change of which the kernel's owner knows nothing.
type Damage = Box<dyn Fn(&mut Kernel)>;

fn op(op: Op) -> Damage {
    Box::new(move |kernel| {
        let edits = vec![Edit { op: op.clone(), why: "a test" }];
        assert_eq!(kernel.apply(&Plan { edits }), []);
    })
}

fn inside(work: impl Fn(&Space) + Send + Sync + 'static) -> Damage {
    Box::new(move |kernel| work(&Space::of(&kernel.namespaces[ROUTER].fd)))
}

fn sysctl(name: &'static str, value: &'static str) -> Damage {
    Box::new(move |kernel| {
        let write = || std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}"), value);
        netns::with(&*kernel.namespaces[ROUTER].fd, write).unwrap().unwrap();
    })
}

fn streams_pass_in_large_batches() {
    let mut kernel = Kernel::default();
    converge(&mut kernel, &desired());
    for (name, held) in &kernel.namespaces {
        let links = netns::with(&*held.fd, || {
            netlink::Route::open()?.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))
        });
        for message in links.unwrap().unwrap() {
            let RouteNetlinkMessage::NewLink(link) = message else { continue };
            let is_lo = link.attributes.contains(&LinkAttribute::IfName("lo".into()));
            let batch = link.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::GsoIpv4MaxSize(bytes) => Some(*bytes),
                _ => None,
            });
            match batch {
                None => return println!("this kernel is older than Linux 6.3: not tested"),
                Some(bytes) => assert!(is_lo || bytes == 192 << 10, "{name}: {bytes}"),
            }
        }
    }
}

fn what_others_change_is_observed() {
    let desired = desired();
    let router = &desired.state.namespaces[ROUTER];
    let namespace = || ROUTER.to_owned();
    let link = || "v0a010002".to_owned();
    let foreign = Route::new("203.0.113.0/24".parse().unwrap(), RouteVia::Blackhole);
    let route = router.routes.iter().find(|route| route.via.links().next().is_some()).unwrap().clone();
    let is_ipv6 = |route: &&Route| route.destination.addr().is_ipv6() && route.via.links().next().is_some();
    let ipv6 = router.routes.iter().find(is_ipv6).unwrap().clone();
    let foreign_6 = Route::new("2001:db8::/32".parse().unwrap(), RouteVia::Blackhole);
    let mut liar_6 = router.neighbours.iter().find(|n| n.address.is_ipv6()).unwrap().clone();
    liar_6.mac[5] ^= 1;
    let lookup = router.lookups.first().unwrap().clone();
    let another = Lookup { table: 7, ..lookup.clone() };
    let hop = "v0a010004".to_owned();
    let neighbour = router.neighbours.first().unwrap().clone();
    let mut liar = neighbour.clone();
    liar.mac[5] ^= 1;
    let address = "203.0.113.7".parse().unwrap();
    let damages: Vec<(&str, Damage)> = vec![
        ("a link goes", op(Op::DeleteLink { namespace: namespace(), link: link() })),
        ("a route goes", op(Op::DeleteRoute { namespace: namespace(), route })),
        ("a route comes", op(Op::AddRoute { namespace: namespace(), route: foreign })),
        ("one of two next hops goes", op(Op::DeleteLink { namespace: namespace(), link: hop })),
        ("a lookup goes", op(Op::DeleteLookup { namespace: namespace(), lookup })),
        ("a lookup comes", op(Op::AddLookup { namespace: namespace(), lookup: another })),
        ("a neighbour goes", op(Op::DeleteNeighbour { namespace: namespace(), neighbour })),
        ("a neighbour lies", op(Op::AddNeighbour { namespace: namespace(), neighbour: liar })),
        ("an address comes", op(Op::AddAddress { namespace: namespace(), link: link(), address })),
        ("IPv6 goes", op(Op::SetIpv6 { namespace: namespace(), link: link(), on: false })),
        ("IPv6 comes", op(Op::SetIpv6 { namespace: namespace(), link: "v0a010003".into(), on: true })),
        ("an IPv6 route goes", op(Op::DeleteRoute { namespace: namespace(), route: ipv6 })),
        ("an IPv6 route comes", op(Op::AddRoute { namespace: namespace(), route: foreign_6 })),
        ("an IPv6 neighbour lies", op(Op::AddNeighbour { namespace: namespace(), neighbour: liar_6 })),
        ("a link does not filter", sysctl("v0a010002/rp_filter", "0")),
        ("rules come", inside(|space| space.nft("add rule inet tombolo gate-in accept"))),
        ("rules go", inside(|space| space.nft("flush ruleset"))),
        ("another's rules come", inside(|space| space.nft("add table ip other"))),
    ];
    let mut kernel = Kernel::default();
    converge(&mut kernel, &desired);
    for (what, damage) in damages {
        damage(&mut kernel);
        assert!(kernel.observe().unwrap() != desired, "{what}");
        converge(&mut kernel, &desired);
    }
}

/// More than the kernel can be asked about at once: its answers wait until they are read.
fn a_network_of_many() {
    let vms: String = (0..300).map(|n| format!("vm vm-{n} s-1\n")).collect();
    let world = world(&format!("project project-1\nnetwork vpc-1\nsubnet s-1 vpc-1 10.1.0.0/16\n{vms}"));
    let desired = render(&compile(&world));
    let mut kernel = Kernel::default();
    converge(&mut kernel, &desired);
    assert_eq!(kernel.namespaces.len(), desired.state.namespaces.len());
    // Two for each: the namespace, and what is told of it.
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(descriptors < 2 * desired.state.namespaces.len() + 50, "{descriptors} descriptors");
    converge(&mut kernel, &Desired::default());
    assert_eq!(kernel.namespaces.len(), 0);
}

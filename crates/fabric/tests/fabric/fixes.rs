//! Every fix that is offered works.

use crate::support::world;
use crate::tables::flow;
use crate::worlds::{flows, worlds};
use proptest::prelude::*;
use tombolo_fabric::{compile, fixes, trace};
use tombolo_model::{Change, Timestamp, World};

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn every_fix_that_is_offered_works(world in worlds(), flows in prop::collection::vec(flows(), 8)) {
        let fabric = compile(&world);
        for flow in flows {
            let found = trace(&fabric, &flow.place(&fabric));
            let offered = fixes(&world, &found, Timestamp(0));
            prop_assert!(found.cause().is_some() || offered.is_empty());
            for fix in offered {
                if !fix.possible {
                    prop_assert!(fix.changes.is_empty() && fix.opens.is_empty() && !fix.host, "{:?}", fix);
                    continue;
                }
                let does = fix.host || !fix.changes.is_empty();
                prop_assert!(does && !fix.opens.is_empty() && !fix.cost.is_empty(), "{:?}", fix);
                let mut fixed = world.clone();
                if fix.host {
                    fixed = fixed.reaching_host(true);
                }
                for change in &fix.changes {
                    fixed = fixed.apply(change, Timestamp(0)).map_err(|e| TestCaseError::fail(format!("{change}: {e}")))?;
                }
                let fabric = compile(&fixed);
                for flow in &fix.opens {
                    prop_assert!(trace(&fabric, flow).reachable(), "{}: {:?}", fix.title, flow);
                }
                // Either the flow itself, or one to a proxy that goes on to where the flow was to go, or to an endpoint of
                // the same service.
                let goes_on = fix.opens.last().is_some_and(|f| f.destination == found.flow.destination);
                let endpoint = matches!(fix.changes.first(), Some(Change::ForwardingRuleInsert(_)));
                prop_assert!((goes_on || endpoint) && fix.opens[0].source == found.flow.source, "{:?}", fix);
            }
        }
    }
}

/// Whoever means a machine in the real internet needs a way out of the network, and of the lab.
#[test]
fn the_real_internet_is_where_the_hosts_network_is() {
    let base = "project project-1\nnetwork vpc-1\nsubnet subnet-1 vpc-1 10.1.0.0/16\nvm vm-1 subnet-1";
    let address = ("an external address for vm-1 + --internet host", "1 address, a restart");
    let gateway = ("Cloud NAT for vpc-1 in us-central1 + --internet host", "1 router, a restart");
    let alone = ("the host's network as internet: --internet host", "a restart");
    let no_rule = "deny out vpc-1 all egress";
    let rule = "allow tcp/443: egress rule in vpc-1, 8.8.8.8/32, priority 999 + --internet host";
    for (more, to, want) in [
        ("", "8.8.8.8 tcp/443", &[address, gateway][..]),
        ("nat vm-1", "8.8.8.8 tcp/443", &[alone]),
        ("router r vpc-1 n=all", "8.8.8.8 udp/53", &[alone]),
        (&format!("nat vm-1\n{no_rule}"), "8.8.8.8 tcp/443", &[(rule, "1 rule, a restart")]),
        // What leads nowhere from the host either: mail, private addresses, those that only labs have.
        ("nat vm-1", "8.8.8.8 tcp/25", &[]),
        ("", "192.168.7.7 tcp/443", &[]),
        ("nat vm-1", "198.18.7.7 tcp/443", &[]),
    ] {
        let world = world(&format!("{base}\n{more}"));
        let text = format!("vm-1 -> {to}");
        let titles = |world: &World| {
            let fabric = compile(world);
            let found = fixes(world, &trace(&fabric, &flow(&fabric, &text)), Timestamp(0));
            found.into_iter().map(|fix| (fix.title, fix.cost)).collect::<Vec<_>>()
        };
        let want: Vec<_> = want.iter().map(|(title, cost)| ((*title).into(), (*cost).into())).collect();
        assert_eq!(titles(&world), want, "{text}, {more}");
        let there = titles(&world.reaching_host(true));
        assert!(there.iter().all(|(title, _)| !title.contains("--internet")), "{there:?}");
    }
}

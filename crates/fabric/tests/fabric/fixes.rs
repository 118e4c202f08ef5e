//! Every fix that is offered works.

use crate::worlds::{flows, worlds};
use proptest::prelude::*;
use tombolo_fabric::{compile, fixes, trace};
use tombolo_model::{Change, Timestamp};

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
                    prop_assert!(fix.changes.is_empty() && fix.opens.is_empty(), "{:?}", fix);
                    continue;
                }
                prop_assert!(!fix.changes.is_empty() && !fix.opens.is_empty() && !fix.cost.is_empty(), "{:?}", fix);
                let mut fixed = world.clone();
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
                let endpoint = matches!(fix.changes[0], Change::ForwardingRuleInsert(_));
                prop_assert!((goes_on || endpoint) && fix.opens[0].source == found.flow.source, "{:?}", fix);
            }
        }
    }
}

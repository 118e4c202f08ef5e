//! Rendering again leads to the same as rendering, and shares what is the same.

use crate::worlds::histories;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use tombolo_dataplane::{Fault, Faults, Place, Rendered, render_with};
use tombolo_fabric::{Fabric, compile};

/// A fault somewhere, or none.
fn faults(fabric: &Fabric, number: usize) -> Faults {
    let nics = fabric.networks.values().flat_map(|network| network.nics.values());
    let places = nics.map(|nic| Place::nic(&nic.owner, nic.index.into()));
    let fault = Fault { loss: 1000 * number as u32, ..Fault::default() };
    places.take(number % 3).map(|place| (place, fault)).collect()
}

/// What is the same is known to be.
fn shares<T: Eq>(before: &BTreeMap<String, Arc<T>>, after: &BTreeMap<String, Arc<T>>) -> bool {
    after.iter().all(|(name, now)| before.get(name).is_none_or(|then| then != now || Arc::ptr_eq(then, now)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn again_is_the_same(history in histories()) {
        let mut before = Rendered::default();
        for (number, world) in history.iter().enumerate() {
            // A lab is one or the other from its start; here it changes its mind now and then.
            let fabric = compile(&world.clone().reaching_host(number % 5 > 2));
            // The same ones for a while, then others.
            let faults = faults(&fabric, number / 4);
            let wanted = render_with(&fabric, &faults);
            let after = before.then(fabric, &faults);
            prop_assert_eq!(after.desired(), &wanted);
            let (then, now) = (before.desired(), after.desired());
            prop_assert!(shares(&then.state.namespaces, &now.state.namespaces));
            prop_assert!(shares(&then.rules, &now.rules));
            for (name, rules) in &now.rules {
                let Some(known) = then.rules.get(name) else { continue };
                prop_assert!(shares(&known.chains, &rules.chains));
                prop_assert!(known.egress_of != rules.egress_of || Arc::ptr_eq(&known.egress_of, &rules.egress_of));
            }
            before = after;
        }
    }
}

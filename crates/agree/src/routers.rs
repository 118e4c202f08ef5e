//! Instances with several interfaces that forward: their own kernels do, so that a packet goes on where its trace ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::AsFd;
use tombolo_agent::{Agent, AgentError, Outcome, Program, VmSpec};
use tombolo_fabric::{Fabric, Flow, Nic, Owner};

/// How often a packet may be forwarded: a flow that is longer under way is not sent, since nothing waits for it.
pub(crate) const MOST: usize = 2;

/// The guests that forward.
#[derive(Debug, Default)]
pub(crate) struct Routers {
    on: BTreeSet<String>,
}

impl Routers {
    /// No VM has any programs, so that its namespace may go.
    pub(crate) fn leave(agent: &Agent) -> Result<(), AgentError> {
        agent.set_vms(Vec::new())
    }

    /// Has those guests forward that are to, and others no more.
    pub(crate) fn set(&mut self, agent: &Agent, fabric: &Fabric) -> Result<(), String> {
        let mut nics: BTreeMap<&Owner, Vec<&Nic>> = BTreeMap::new();
        for nic in fabric.networks.values().flat_map(|network| network.nics.values()) {
            nics.entry(&nic.owner).or_default().push(nic);
        }
        let wanted: BTreeSet<String> =
            nics.iter().filter(|(_, nics)| forwards(nics)).map(|(owner, _)| owner.to_string()).collect();
        let there: BTreeSet<String> = nics.keys().map(ToString::to_string).collect();
        let touched: Vec<&String> = wanted.union(&self.on).filter(|name| there.contains(*name)).collect();
        let vm =
            |name: &&String| VmSpec { key: (*name).clone(), netns: (*name).clone(), ..VmSpec::default() };
        agent.set_vms(touched.iter().map(vm).collect()).map_err(|e| e.to_string())?;
        for name in touched {
            tell(agent, name, wanted.contains(name))?;
        }
        self.on = wanted;
        Ok(())
    }
}

/// Whether an instance with these interfaces is a router.
fn forwards(nics: &[&Nic]) -> bool {
    nics.len() > 1 && nics.iter().all(|nic| nic.can_ip_forward)
}

/// Has a guest forward, or not.
fn tell(agent: &Agent, name: &str, forward: bool) -> Result<(), String> {
    let line = format!("echo {} >/proc/sys/net/ipv4/ip_forward", u8::from(forward));
    let nothing = File::options().read(true).write(true).open("/dev/null").map_err(|e| e.to_string())?;
    let stdio = [nothing.as_fd(); 3];
    let session = agent.exec(name, Program::new(["/bin/sh", "-c", &line]), stdio);
    match session.and_then(|session| session.wait()).map_err(|e| format!("{name}: {e}"))? {
        Outcome::Ended(status) if status.code() == 0 => Ok(()),
        ended => Err(format!("{name}: {line}: {ended:?}")),
    }
}

/// The flow as which a packet leaves the router that got it; `None` where that keeps it.
pub(crate) fn onward(fabric: &Fabric, flow: &Flow, router: &Owner) -> Option<Flow> {
    let nics: Vec<&Nic> = fabric.nics_of(router).into_iter().map(|(_, nic)| nic).collect();
    // What is for itself stays, and nobody else is believed to be it.
    let own = nics.iter().any(|nic| nic.has(flow.destination) || nic.has(flow.source));
    if !forwards(&nics) || own {
        return None;
    }
    let (network, nic) = fabric.nic_towards(router, flow.destination)?;
    Some(Flow { network: network.clone(), nic: nic.address, ..flow.clone() })
}

//! One round.

use crate::lab::{Served, Up, knows_lazy_vms};
use crate::world::{PROJECT, Size, address, topology};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tombolo_agent::Agent;
use tombolo_bench_api::client::Client;
use tombolo_bench_api::requests::compute;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The World that comes up and goes, and whose peerings change.
    pub many: Size,
    /// The World with one network, whose rules and tags change.
    pub one: Size,
    /// Changes of each kind.
    pub changes: u32,
    /// After so many changes connections are tried.
    pub check_every: u32,
}

/// A figure's name, and the figure.
pub type Figures = BTreeMap<&'static str, f64>;

/// The names of the figures, in the order in which they are shown, and their units.
pub const FIGURES: [(&str, &str); 18] = [
    ("floor", "ms"),
    ("up", "ms"),
    ("up / floor", ""),
    ("down", "ms"),
    ("memory per VM", "KiB"),
    ("lazy up", "ms"),
    ("lazy memory per VM", "KiB"),
    ("first connection p50", "ms"),
    ("first connection max", "ms"),
    ("second connection p50", "ms"),
    ("lazy down", "ms"),
    ("rule p50", "ms"),
    ("rule p99", "ms"),
    ("tag p50", "ms"),
    ("tag p99", "ms"),
    ("peering p50", "ms"),
    ("peering p99", "ms"),
    ("connections that obeyed", ""),
];

/// How long a connection that is let through may take, and how long one that is not is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_millis(100);

/// Measures a binary once. `own` is the benchmark's own binary, which makes the floor in a process of its own.
pub fn once(tombolo: &Path, own: &Path, plan: Plan) -> Result<Figures> {
    let mut figures = Figures::new();
    let floor = floor(own, plan.many)?;
    figures.insert("floor", floor);
    settle(plan);
    let free = available()?;
    let lazy = knows_lazy_vms(tombolo)?;
    let (lab, up) = Up::start(tombolo, &topology(plan.many), if lazy { &["--lazy-vms=never"] } else { &[] })?;
    figures.insert("up", millis(up));
    figures.insert("up / floor", millis(up) / floor);
    figures.insert("memory per VM", (free - available()?).max(0.0) / f64::from(plan.many.vms));
    // Port 22 answers in every VM, and no rule lets anybody in.
    let agent = lab.agent()?;
    if connects(&agent, 0, SocketAddrV4::new(address(0, 1), 22))? {
        bail!("a connection came through that no rule allows");
    }
    figures.insert("down", millis(lab.down()?));
    settle(plan);
    if lazy {
        lazily(tombolo, plan, &mut figures)?;
    }
    let mut obeyed = changes_in_one(tombolo, plan, &mut figures)?;
    obeyed += peerings(tombolo, plan, &mut figures)?;
    figures.insert("connections that obeyed", obeyed.into());
    Ok(figures)
}

/// Measures a lab whose VMs are not there, and the first connections to some of them.
fn lazily(tombolo: &Path, plan: Plan, figures: &mut Figures) -> Result<()> {
    let free = available()?;
    let (lab, up) = Up::start(tombolo, &topology(plan.many), &["--lazy-vms=always"])?;
    figures.insert("lazy up", millis(up));
    figures.insert("lazy memory per VM", (free - available()?).max(0.0) / f64::from(plan.many.vms));
    let agent = lab.agent()?;
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let each = plan.many.vms / plan.many.networks;
    for network in 0..plan.many.networks {
        let from = format!("projects/{PROJECT}/zones/us-central1-a/instances/vm-{network}-0");
        // Whoever connects is there.
        agent.bind(&from, &[], &[])?;
        for number in (9..each).step_by(10).take(10) {
            for times in [&mut first, &mut second] {
                let started = Instant::now();
                if !connects(&agent, network, SocketAddrV4::new(address(network, number), 22))? {
                    bail!("no connection to VM {number} of network {network}");
                }
                times.push(millis(started.elapsed()));
            }
        }
    }
    for times in [&mut first, &mut second] {
        times.sort_by(f64::total_cmp);
    }
    let middle = |times: &[f64]| times.get(times.len() / 2).copied().unwrap_or_default();
    figures.insert("first connection p50", middle(&first));
    figures.insert("first connection max", first.last().copied().unwrap_or_default());
    figures.insert("second connection p50", middle(&second));
    figures.insert("lazy down", millis(lab.down()?));
    Ok(())
}

/// Waits until the kernel has surely cleaned up after so many namespaces, which it does in the background, some 0.4 ms each:
/// that is nobody's cost who comes later.
fn settle(plan: Plan) {
    std::thread::sleep(Duration::from_millis(500) + Duration::from_millis(2) * plan.many.vms);
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Milliseconds of the floor, in a process that leaves nothing behind.
fn floor(own: &Path, size: Size) -> Result<f64> {
    let mut command = Command::new(own);
    let output = command.arg("floor").args([size.vms, size.networks].map(|n| n.to_string())).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("the floor: {}", String::from_utf8_lossy(&output.stderr));
    }
    text.trim().parse().with_context(|| format!("the floor said {text:?}"))
}

/// KiB of memory that the machine has left.
fn available() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let word = line.and_then(|line| line.split_whitespace().next()).context("no MemAvailable")?;
    Ok(word.parse()?)
}

/// Whether a VM's connection to somewhere comes through.
fn connects(agent: &Agent, network: u32, to: SocketAddrV4) -> Result<bool> {
    connects_within(agent, network, to, SILENCE)
}

fn connects_within(agent: &Agent, network: u32, to: SocketAddrV4, limit: Duration) -> Result<bool> {
    let from = format!("projects/{PROJECT}/zones/us-central1-a/instances/vm-{network}-0");
    Ok(agent.connect_from(&from, to, limit)?.is_ok())
}

/// What must be so now that it was answered.
fn expect(agent: &Agent, network: u32, to: Ipv4Addr, open: bool) -> Result<u32> {
    let limit = if open { PATIENCE } else { SILENCE };
    match connects_within(agent, network, SocketAddrV4::new(to, 22), limit)? == open {
        true => Ok(1),
        false => bail!("a connection to {to} did not obey a change that was answered"),
    }
}

/// Makes a request, which must be carried out, and tells how long that took.
fn change(client: &mut Client, verb: &str, path: &str, body: &Value) -> Result<f64> {
    let (answer, took) = client.send(verb, &compute(PROJECT, path), body)?;
    match answer["status"] == "DONE" && answer.get("error").is_none() {
        true => Ok(took),
        false => bail!("{verb} {path}: {answer}"),
    }
}

/// Changes a rule of a network with many VMs, and then a tag that a rule is about.
fn changes_in_one(tombolo: &Path, plan: Plan, figures: &mut Figures) -> Result<u32> {
    let served = Served::start(tombolo, &topology(plan.one))?;
    let (mut client, agent) = (Client::connect(served.address)?, served.agent()?);
    let to = address(0, 1);
    let allowed = |port: u32| json!([{ "IPProtocol": "tcp", "ports": [port.to_string()] }]);
    let rule = |name: &str, port, tags: Value| {
        let network = format!("projects/{PROJECT}/global/networks/vpc-0");
        json!({ "name": name, "network": network, "sourceRanges": ["10.0.0.0/8"],
                "allowed": allowed(port), "targetTags": tags })
    };
    let mut obeyed = 0;
    change(&mut client, "POST", "global/firewalls", &rule("patched", 23, json!([])))?;
    let mut took = Vec::new();
    for n in 1..=plan.changes {
        let port = 22 + (n + 1) % 2;
        let body = json!({ "allowed": allowed(port) });
        took.push(change(&mut client, "PATCH", "global/firewalls/patched", &body)?);
        if n % plan.check_every < 2 {
            obeyed += expect(&agent, 0, to, port == 22)?;
        }
    }
    figures.insert("rule p50", quantile(&mut took, 0.5));
    figures.insert("rule p99", quantile(&mut took, 0.99));
    change(&mut client, "PATCH", "global/firewalls/patched", &json!({ "allowed": allowed(23) }))?;
    change(&mut client, "POST", "global/firewalls", &rule("tagged", 22, json!(["opened"])))?;
    let mut took = Vec::new();
    let instance = "zones/us-central1-a/instances/vm-0-1";
    for n in 1..=plan.changes {
        let known = client.send("GET", &compute(PROJECT, instance), &Value::Null)?.0;
        let items = if n % 2 == 1 { json!(["tag-1", "opened"]) } else { json!(["tag-1"]) };
        let body = json!({ "items": items, "fingerprint": known["tags"]["fingerprint"] });
        took.push(change(&mut client, "POST", &format!("{instance}/setTags"), &body)?);
        if n % plan.check_every < 2 {
            obeyed += expect(&agent, 0, to, n % 2 == 1)?;
        }
    }
    figures.insert("tag p50", quantile(&mut took, 0.5));
    figures.insert("tag p99", quantile(&mut took, 0.99));
    Ok(obeyed)
}

/// Ends a peering and makes it again.
fn peerings(tombolo: &Path, plan: Plan, figures: &mut Figures) -> Result<u32> {
    let served = Served::start(tombolo, &topology(plan.many))?;
    let (mut client, agent) = (Client::connect(served.address)?, served.agent()?);
    let network = |n: u32| format!("projects/{PROJECT}/global/networks/vpc-{n}");
    let rule = json!({ "name": "open", "network": network(1), "sourceRanges": ["10.0.0.0/8"],
                       "allowed": [{ "IPProtocol": "tcp" }] });
    change(&mut client, "POST", "global/firewalls", &rule)?;
    let (mut took, mut obeyed) = (Vec::new(), expect(&agent, 0, address(1, 0), true)?);
    for n in 1..=plan.changes {
        let (verb, body) = match n % 2 {
            1 => ("removePeering", json!({ "name": "peering" })),
            _ => (
                "addPeering",
                json!({ "networkPeering":
                    { "name": "peering", "network": network(1), "exchangeSubnetRoutes": true } }),
            ),
        };
        took.push(change(&mut client, "POST", &format!("global/networks/vpc-0/{verb}"), &body)?);
        if n % plan.check_every < 2 {
            obeyed += expect(&agent, 0, address(1, 0), n % 2 == 0)?;
        }
    }
    figures.insert("peering p50", quantile(&mut took, 0.5));
    figures.insert("peering p99", quantile(&mut took, 0.99));
    Ok(obeyed)
}

/// The value below which a part of them are.
fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 * part) as usize).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or(f64::NAN)
}

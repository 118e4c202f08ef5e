//! One contender, one round.

use crate::client::Client;
use crate::requests::{self, PROJECT, Request, base, compute, firewall, instance, story};
use crate::server::{Contender, Server, expect};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;
use std::time::Instant;
use tombolo_agent::Agent;
use tombolo_dataplane::Probe;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Instances.
    pub vms: u32,
    /// Resources for the rates, the instances among them; the others are firewall rules.
    pub resources: u32,
    /// Requests of each kind of read.
    pub reads: u32,
    /// Firewall rules that are inserted.
    pub inserts: u32,
    /// Patches of a rule.
    pub patches: u32,
    /// After so many patches a packet is sent.
    pub probe_every: u32,
}

/// A figure's name, and the figure.
pub type Figures = BTreeMap<&'static str, f64>;

/// The names of the figures, in the order in which they are shown, and their units.
pub const FIGURES: [(&str, &str); 10] = [
    ("story", "ms"),
    ("patch p50", "ms"),
    ("patch p99", "ms"),
    ("networks.get", "/s"),
    ("instances.list", "/s"),
    ("instances.aggregatedList", "/s"),
    ("firewalls.insert", "/s"),
    ("insert p50", "ms"),
    ("packets that obeyed", ""),
    ("packets sent", ""),
];

/// Measures a contender once, with fresh servers.
pub fn once(contender: &Contender, size: Size) -> Result<Figures> {
    let mut figures = Figures::new();
    if matches!(contender, Contender::Tombolo { .. }) {
        figures.insert("story", the_story(&contender.start()?)?);
    }
    rates(contender, size, &mut figures)?;
    Ok(figures)
}

/// Sends requests that must end well.
fn all(client: &mut Client, requests: Vec<Request>) -> Result<()> {
    requests.into_iter().try_for_each(|(verb, path, body)| {
        let (answer, _) = client.send(verb, &path, &body)?;
        if answer.get("status").is_some_and(|status| status != "DONE")
            || answer.get("done") == Some(&json!(false))
        {
            bail!("{verb} {path}: not done: {answer}");
        }
        Ok(())
    })
}

fn the_story(server: &Server) -> Result<f64> {
    let mut client = Client::connect(server.address)?;
    let started = Instant::now();
    all(&mut client, story())?;
    let took = started.elapsed().as_secs_f64() * 1e3;
    let network = client.send("GET", &compute("project-i-1", "global/networks/vpc-1"), &Value::Null)?.0;
    expect(&network, "/peerings/0/state", &json!("ACTIVE"))?;
    Ok(took)
}

/// With many instances: patches. Then with many firewall rules too: reads and inserts.
fn rates(contender: &Contender, size: Size, figures: &mut Figures) -> Result<()> {
    let is_tombolo = matches!(contender, Contender::Tombolo { .. });
    let server = contender.start()?;
    let mut client = Client::connect(server.address)?;
    // The rival takes any project for one that is there.
    all(&mut client, base(is_tombolo))?;
    for n in 0..size.vms {
        all(&mut client, vec![instance(PROJECT, &format!("vm-{n}"), "subnet")])?;
    }
    if is_tombolo {
        patches(&server, &mut client, size, figures)?;
    }
    for n in size.vms..size.resources {
        all(&mut client, vec![rule(n)])?;
    }
    let instances = compute(PROJECT, "zones/us-central1-a/instances");
    let list = |answer: &Value| answer["items"].as_array().map_or(0, Vec::len) as u32 == size.vms;
    let network = |answer: &Value| answer["name"] == "vpc";
    reads(&mut client, size, &compute(PROJECT, "global/networks/vpc"), network)
        .map(|rate| figures.insert("networks.get", rate))?;
    reads(&mut client, size, &instances, list).map(|rate| figures.insert("instances.list", rate))?;
    if is_tombolo {
        let inside =
            |answer: &Value| list(&json!({ "items": answer["items"]["zones/us-central1-a"]["instances"] }));
        reads(&mut client, size, &compute(PROJECT, "aggregated/instances"), inside)
            .map(|rate| figures.insert("instances.aggregatedList", rate))?;
    }
    let started = Instant::now();
    let mut took = Vec::new();
    for n in 0..size.inserts {
        let (verb, path, body) = rule(size.resources + n);
        let (answer, millis) = client.send(verb, &path, &body)?;
        expect(&answer, "/status", &json!("DONE"))?;
        took.push(millis);
    }
    figures.insert("firewalls.insert", f64::from(size.inserts) / started.elapsed().as_secs_f64());
    figures.insert("insert p50", quantile(&mut took, 0.5));
    Ok(())
}

/// A rule that is like no other.
fn rule(n: u32) -> Request {
    let range = format!("172.16.{}.0/24", n % 256);
    firewall(PROJECT, &format!("rule-{n}"), "vpc", &range, 1000 + n)
}

/// Requests a second.
fn reads(client: &mut Client, size: Size, path: &str, good: impl Fn(&Value) -> bool) -> Result<f64> {
    let mut spent = 0.0;
    for _ in 0..size.reads {
        let (answer, millis) = client.send("GET", path, &Value::Null)?;
        if !good(&answer) {
            bail!("GET {path}: {answer}");
        }
        spent += millis;
    }
    Ok(f64::from(size.reads) * 1e3 / spent)
}

/// A rule lets one port through and then another; whenever a packet is sent, the answer has just come.
fn patches(server: &Server, client: &mut Client, size: Size, figures: &mut Figures) -> Result<()> {
    const PORTS: [u16; 2] = [1000, 2000];
    all(client, vec![requests::firewall(PROJECT, "patched", "vpc", "10.0.0.0/8", PORTS[0].into())])?;
    let agent = server.agent()?;
    let [from, to] = [address(client, 0)?, address(client, 1)?];
    let path = compute(PROJECT, "global/firewalls/patched");
    let (mut took, mut sent, mut obeyed) = (Vec::new(), 0, 0);
    for n in 1..=size.patches {
        let open = PORTS[n as usize % 2];
        let body = json!({ "allowed": [{ "IPProtocol": "tcp", "ports": [open.to_string()] }] });
        let (answer, millis) = client.send("PATCH", &path, &body)?;
        expect(&answer, "/status", &json!("DONE"))?;
        took.push(millis);
        if n % size.probe_every == 0 {
            for port in PORTS {
                sent += 1;
                obeyed += u32::from(arrives(&agent, from, to, port)? == (port == open));
            }
        }
    }
    if obeyed != sent {
        bail!("{} of {sent} packets did not obey a patch that was answered", sent - obeyed);
    }
    figures.insert("packets sent", sent.into());
    figures.insert("packets that obeyed", obeyed.into());
    figures.insert("patch p50", quantile(&mut took, 0.5));
    figures.insert("patch p99", quantile(&mut took, 0.99));
    Ok(())
}

fn address(client: &mut Client, vm: u32) -> Result<Ipv4Addr> {
    let path = compute(PROJECT, &format!("zones/us-central1-a/instances/vm-{vm}"));
    let answer = client.send("GET", &path, &Value::Null)?.0;
    let text = answer.pointer("/networkInterfaces/0/networkIP").and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).with_context(|| format!("no address: {answer}"))
}

/// Sends a SYN from the first VM to the second.
fn arrives(agent: &Agent, source: Ipv4Addr, destination: Ipv4Addr, port: u16) -> Result<bool> {
    let from = format!("projects/{PROJECT}/zones/us-central1-a/instances/vm-0");
    let seen = agent.probe(
        vec![Probe { from, source: source.into(), destination: destination.into(), protocol: 6, port }],
        Duration::ZERO,
    )?;
    Ok(seen.iter().any(|seen| !seen.arrived.is_empty()))
}

/// The value below which a part of them are.
fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 * part) as usize).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or(f64::NAN)
}

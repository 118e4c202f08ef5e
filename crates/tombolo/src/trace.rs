//! `tombolo trace`.

use crate::lab::{LabArgs, Running};
use crate::output::{Format, green, json, print, red, yellow};
use anyhow::{Result, anyhow};
use serde_json::json;
use std::process::ExitCode;
use tombolo_dataplane::Fault;
use tombolo_dataplane::fault::ALL;
use tombolo_fabric::text::{Packets, Report, render};
use tombolo_fabric::{Fix, Flow, Trace, Verdict, fixes};
use tombolo_model::Protocol;
use tombolo_server::{View, now};

/// How many packets are sent beside a trace.
const PACKETS: u32 = 3;

/// Arguments of `trace`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The VM that sends, or `iap`, or `internet`
    from: String,
    /// A VM, a redis instance, `internet` or an address, with a port where it matters: redis-1:6379, [fd20::2]:22
    to: String,
    /// tcp, udp, icmp or a number; tcp where there is a port, else icmp
    #[arg(long)]
    protocol: Option<Protocol>,
    /// The destination port
    #[arg(long)]
    port: Option<u16>,
    /// By IPv6: the destination's IPv6 address is meant by its name
    #[arg(long)]
    ipv6: bool,
    /// Only think: send no packets
    #[arg(long)]
    no_packets: bool,
    /// Text for people or JSON for programs
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    lab: LabArgs,
}

/// Traces a flow and asks the packets.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let running = Running::find(&args.lab)?;
    let view = running.view_with_faults()?;
    let to = if args.ipv6 { view.ipv6_target(&args.to) } else { Ok(args.to.clone()) };
    let flow =
        to.and_then(|to| view.flow(&args.from, &to, args.protocol, args.port)).map_err(|e| anyhow!(e))?;
    let trace = view.trace(&flow);
    let fixes = fixes(&view.world, &trace, now());
    let asked = if args.no_packets { Ok(None) } else { view.packets(&flow, PACKETS).map(Some) };
    let (packets, error) = match asked {
        Ok(packets) => (packets, None),
        Err(error) => (None, Some(error)),
    };
    match args.format {
        Format::Text => print(&text(&view, &trace, &fixes, packets)),
        Format::Json => json(&as_json(&view, &trace, &fixes, packets))?,
    }
    if let Some(error) = error {
        return Err(error.into()); // the analysis stands, but nobody has tried it
    }
    Ok(ExitCode::from(u8::from(stopped(&view, &trace, packets) || !got_there(&trace, packets))))
}

/// Whether a fault alone keeps packets from where the configuration lets them: a cut, or one that none of those that were
/// sent has passed. A forwarder may have lost these too.
fn stopped(view: &View, trace: &Trace, packets: Option<Packets>) -> bool {
    let passes = trace.ways().all(|way| way.cause().is_none());
    let forwarded = matches!(trace.verdict, Verdict::Forwarded { .. });
    let none = packets.is_some_and(|packets| packets.delivered == 0);
    let some = packets.is_some_and(|packets| packets.delivered > 0);
    let stops = |fault: &Fault| !some && (fault.loss == ALL || none && !forwarded);
    passes && view.faults_on(trace).into_iter().any(|(_, fault)| stops(fault))
}

/// Whether the flow gets there. What a forwarder does with it only the packets know; where none were sent, it counts
/// as reachable, as in Google's Connectivity Tests.
fn got_there(trace: &Trace, packets: Option<Packets>) -> bool {
    match (&trace.verdict, packets) {
        (Verdict::Forwarded { .. }, Some(packets)) => packets.delivered > 0,
        _ => trace.ways().all(|way| way.cause().is_none()),
    }
}

/// The trace of a flow with its fixes, as text.
pub(crate) fn explain(view: &View, flow: &Flow, packets: Option<Packets>) -> String {
    let trace = view.trace(flow);
    text(view, &trace, &fixes(&view.world, &trace, now()), packets)
}

/// A trace as text.
fn text(view: &View, trace: &Trace, fixes: &[Fix], packets: Option<Packets>) -> String {
    let faults: Vec<_> = view
        .faults_on(trace)
        .into_iter()
        .map(|(place, fault)| format!("{:<28} {fault}", place.short()))
        .collect();
    let (world, fabric, stopped) = (&view.world, &view.fabric, stopped(view, trace, packets));
    let text = render(&Report { world, fabric, trace, fixes, packets, faults: &faults, stopped });
    text.split_inclusive('\n').map(coloured).collect()
}

/// A line of a trace with its verdict in colour: the first word of the first line, the second of a step's.
fn coloured(line: &str) -> String {
    let verdict = |word, paint: fn(&str) -> String| Some(paint(word) + line.strip_prefix(word)?);
    let first = verdict("UNREACHABLE", red).or_else(|| verdict("REACHABLE", green));
    let first = first.or_else(|| verdict("AMBIGUOUS", yellow));
    let step = || {
        let (number, rest) = line.split_once(" DROP ")?;
        number.trim_start().parse::<u32>().ok().map(|_| format!("{number} {} {rest}", red("DROP")))
    };
    first.or_else(step).unwrap_or_else(|| line.to_owned())
}

/// A trace with the words of Google's Connectivity Tests (networkmanagement v1, `reachabilityDetails`).
fn as_json(view: &View, trace: &Trace, fixes: &[Fix], packets: Option<Packets>) -> serde_json::Value {
    let result = match trace.verdict {
        _ if stopped(view, trace, packets) => "UNREACHABLE",
        _ if trace.ambiguous() => "AMBIGUOUS",
        Verdict::Dropped(_) => "UNREACHABLE",
        _ => "REACHABLE",
    };
    let faults = view.faults_on(trace).into_iter().map(|(place, fault)| (place.clone(), *fault)).collect();
    let fixes: Vec<_> = fixes
        .iter()
        .map(|fix| {
            json!({"title": fix.title, "cost": fix.cost, "possible": fix.possible, "changes": fix.changes,
            "internet": fix.host.then_some("host")})
        })
        .collect();
    json!({
        "result": result,
        "cause": trace.ways().find_map(Trace::cause),
        "source": {"network": trace.flow.network, "ipAddress": trace.flow.source},
        "destination": {"ipAddress": trace.flow.destination, "port": trace.flow.port},
        "protocol": Protocol::Number(trace.flow.protocol).to_string(),
        "steps": trace.steps,
        "others": trace.others.iter().map(|way| json!({"cause": way.cause(), "steps": way.steps})).collect::<Vec<_>>(),
        "packets": packets.map(|p| json!({"sent": p.sent, "delivered": p.delivered})),
        "faults": crate::fault::as_json(&faults),
        "fixes": fixes,
    })
}

//! `tombolo status`.

use crate::lab::{LabArgs, Running};
use crate::output::{Format, bold, columns, json, print, table_in, yellow};
use anyhow::Result;
use std::process::ExitCode;
use tombolo_model::PeeringState;
use tombolo_model::region::AUTO_RANGE;
use tombolo_server::status::{InstanceRow, NetworkRow, Status, status};

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    lab: LabArgs,
    /// Text for people or JSON for programs
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Lists what is in the lab.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let running = Running::find(&args.lab)?;
    let view = running.view_with_faults()?;
    let status = status(&view)?;
    match args.format {
        Format::Text => {
            let faults = crate::fault::text(&view.faults);
            let gap = if faults.is_empty() { "" } else { "\n" };
            print(&format!("{}{gap}{faults}", text(&status)));
        }
        Format::Json => {
            let mut status = serde_json::to_value(&status)?;
            status["faults"] = crate::fault::as_json(&view.faults);
            json(&status)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The status as tables.
pub(crate) fn text(status: &Status) -> String {
    let networks = condensed(&status.networks);
    let networks = rows(["NETWORK", "PROJECT", "SUBNETWORK", "REGION", "RANGE"], &[2, 4], &networks, |n| {
        let ipv6 = Some(&n.internal_ipv6_prefix).filter(|prefix| *prefix != "-");
        let ranges = [&n.ip_cidr_range].into_iter().chain(ipv6).cloned().collect::<Vec<_>>().join(",");
        [n.name.clone(), n.project.clone(), n.subnetwork.clone(), n.region.clone(), ranges]
    });
    let cells = |i: &InstanceRow| {
        let addresses = [i.network_ips.as_slice(), &i.ipv6_addresses].concat();
        let lists = [&addresses, &i.nat_ips, &i.networks, &i.tags];
        lists.map(|list| dash(&list.join(",")))
    };
    // Most labs have no external addresses: then there is no column of them.
    let instances = if status.instances.iter().all(|i| i.nat_ips.is_empty()) {
        let heading = ["INSTANCE", "ZONE", "ADDRESS", "NETWORK", "TAGS", "STARTUP SCRIPT"];
        rows(heading, &[4, 3, 2], &status.instances, |i| {
            let [addresses, _, networks, tags] = cells(i);
            [i.name.clone(), i.zone.clone(), addresses, networks, tags, dash(&i.startup_script)]
        })
    } else {
        let heading = ["INSTANCE", "ZONE", "ADDRESS", "EXTERNAL", "NETWORK", "TAGS", "STARTUP SCRIPT"];
        rows(heading, &[5, 4, 2], &status.instances, |i| {
            let [addresses, external, networks, tags] = cells(i);
            [i.name.clone(), i.zone.clone(), addresses, external, networks, tags, dash(&i.startup_script)]
        })
    };
    let peerings = rows(["PEERING", "NETWORK", "PEER", "STATE"], &[2, 0], &status.peerings, |p| {
        [p.name.clone(), p.network.clone(), peer(&p.peer), p.state.clone()]
    });
    let peerings: String = peerings.split_inclusive('\n').map(waiting).collect();
    let redis =
        rows(["REDIS", "REGION", "HOST", "PORT", "AUTHORIZED NETWORK", "STATE"], &[4], &status.redis, |r| {
            let port = r.port.to_string();
            [
                r.name.clone(),
                r.region.clone(),
                r.host.clone(),
                port,
                r.authorized_network.clone(),
                r.state.clone(),
            ]
        });
    let heading = ["FORWARDING RULE", "REGION", "ADDRESS", "NETWORK", "TARGET", "CONNECTION"];
    let forwarding = rows(heading, &[4, 3], &status.forwarding_rules, |rule| {
        // `targetInstances/t-1`, `serviceAttachments/redis`
        let kind = rule.target.rsplitn(3, '/').take(2).collect::<Vec<_>>();
        [
            rule.name.clone(),
            rule.region.clone(),
            rule.ip_address.clone(),
            rule.network.clone(),
            kind.into_iter().rev().collect::<Vec<_>>().join("/"),
            dash(&rule.psc_connection_status),
        ]
    });
    let stopped: Vec<&str> =
        status.instances.iter().filter(|i| i.status == "TERMINATED").map(|i| i.name.as_str()).collect();
    let stopped = match stopped.as_slice() {
        [] => String::new(),
        names => format!("stopped: {}\n", names.join(", ")),
    };
    let sleeping = status.instances.iter().filter(|i| i.asleep).count();
    let asleep = match sleeping {
        0 => String::new(),
        _ => format!(
            "{sleeping} of {} instances are asleep: a packet or a program wakes them\n",
            status.instances.len()
        ),
    };
    // Most labs' internet is the lab's own.
    let internet = match status.internet {
        "host" if status.pings_host => "The internet is the host's network (--internet host)\n".to_owned(),
        "host" => "The internet is the host's network (--internet host), but for pings\n".to_owned(),
        _ => String::new(),
    };
    [networks, instances, stopped, asleep, peerings, forwarding, redis, internet]
        .into_iter()
        .filter(|t| !t.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The rows of networks, those of subnetworks that came with an auto-mode network and are spare in one for all.
fn condensed(rows: &[NetworkRow]) -> Vec<NetworkRow> {
    let mut out: Vec<NetworkRow> = Vec::new();
    for of_network in rows.chunk_by(|a, b| (&a.project, &a.name) == (&b.project, &b.name)) {
        let (spare, told): (Vec<_>, Vec<_>) = of_network.iter().cloned().partition(|row| row.is_spare);
        let others = if told.is_empty() { "subnetworks" } else { "others" };
        out.extend(told);
        out.extend(spare.first().map(|one| NetworkRow {
            subnetwork: format!("{} {others}", spare.len()),
            region: "auto mode".into(),
            ip_cidr_range: AUTO_RANGE.to_string(),
            ..one.clone()
        }));
    }
    out
}

/// The line of a peering, coloured where it waits for its other side.
fn waiting(line: &str) -> String {
    let state = PeeringState::Inactive.as_str();
    line.strip_suffix('\n')
        .and_then(|line| line.strip_suffix(state))
        .map_or(line.to_owned(), |line| format!("{line}{}\n", yellow(state)))
}

/// A table with a heading, or nothing where there are no rows. Some columns may be cut.
fn rows<T, const N: usize>(
    heading: [&str; N],
    flexible: &[usize],
    items: &[T],
    row: impl Fn(&T) -> [String; N],
) -> String {
    if items.is_empty() {
        return String::new();
    }
    let all: Vec<[String; N]> =
        std::iter::once(heading.map(str::to_owned)).chain(items.iter().map(row)).collect();
    let text = table_in(columns(), &all, flexible);
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    format!("{}\n{rest}", bold(first))
}

/// A peer of the user's own by its name, a managed service's by its project.
fn peer(path: &str) -> String {
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["projects", project, "global", "networks", name] => format!("{project}/{name}"),
        _ => path.to_owned(),
    }
}

/// A dash for nothing.
fn dash(text: &str) -> String {
    if text.is_empty() { "-".into() } else { text.into() }
}

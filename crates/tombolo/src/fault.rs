//! `tombolo fault`: packets that are lost, too many or late, at an interface or between peered networks.

use crate::lab::{LabArgs, Running};
use crate::output::{Format, json, print, table};
use anyhow::{Result, anyhow};
use serde_json::json;
use std::process::ExitCode;
use tombolo_dataplane::fault::{ALL, Fault, Faults, Place};
use tombolo_server::View;
use tombolo_server::control::FaultEdit;

/// Arguments of `fault`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Put a fault in its place, instead of one that is there
    #[command(
        after_help = "Example:\n  tombolo fault add vm-1 --loss 10%\n  tombolo fault add redis-1 --bandwidth 10mbit\n  tombolo fault add --peering vpc-1-to-vpc-2 --cut\n  tombolo fault add vm-1 --latency 20ms --jitter 5ms\n\nIt acts in both directions, on everything but 169.254.169.254: established connections, replies, what the firewall allows or not. What is over a bandwidth is dropped; nothing is queued. Packets that are late wait in a program, which is exact to a millisecond or so and keeps up with some ten thousand packets per second; those for which there is no room are lost."
    )]
    Add(Add),
    /// List the faults
    #[command(after_help = "Example:\n  tombolo fault list\n  tombolo fault list --format json")]
    List(List),
    /// Take a fault away, or all
    #[command(
        after_help = "Example:\n  tombolo fault remove vm-1\n  tombolo fault remove --peering vpc-1-to-vpc-2\n  tombolo fault remove --all\n\nA fault also goes with what it is on, and with the lab."
    )]
    Remove(Remove),
}

/// Where.
#[derive(Debug, clap::Args)]
struct Where {
    /// The VM, or the redis instance
    endpoint: Option<String>,
    /// Its interface: nic0, nic1, …
    #[arg(short, long, default_value = "nic0", value_parser = crate::capture::nic)]
    interface: u8,
    /// Instead, between the two networks of this peering (either side's name)
    #[arg(long, value_name = "NAME", conflicts_with_all = ["endpoint", "interface"])]
    peering: Option<String>,
}

/// Arguments of `add`.
#[derive(Debug, clap::Args)]
struct Add {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    lab: LabArgs,
}

/// What is wrong there.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct What {
    /// No packet passes
    #[arg(long, conflicts_with_all = ["loss", "bandwidth", "latency", "jitter"])]
    cut: bool,
    /// The share of packets that are lost, at random: 10%, 0.5%
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    loss: Option<u32>,
    /// The most that passes in each direction: 500kbit, 10mbit, 1gbit (per second)
    #[arg(long, value_name = "RATE", value_parser = rate)]
    bandwidth: Option<u64>,
    /// How much longer packets take, each way: 500us, 20ms, 1.5s
    #[arg(long, value_name = "TIME", value_parser = time)]
    latency: Option<u32>,
    /// How much more or less than that it may be, at random; packets stay in their order
    #[arg(long, value_name = "TIME", value_parser = time, requires = "latency")]
    jitter: Option<u32>,
}

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
struct List {
    /// Text for people or JSON for programs
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    lab: LabArgs,
}

/// Arguments of `remove`.
#[derive(Debug, clap::Args)]
struct Remove {
    #[command(flatten)]
    place: Where,
    /// All of them
    #[arg(long, conflicts_with_all = ["endpoint", "peering", "interface"])]
    all: bool,
    #[command(flatten)]
    lab: LabArgs,
}

/// A share of packets, in millionths: more than none, less than all.
fn percent(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end().parse::<f64>();
    let millionths = number.map(|percent| (percent * f64::from(ALL) / 100.0).round());
    let good = millionths.ok().filter(|share| (1.0..f64::from(ALL)).contains(share));
    good.map(|share| share as u32).ok_or_else(|| "expected 0.0001% to 99.9999%; `--cut` is 100%".into())
}

/// A number with one of these units, times what that stands for.
fn amount(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    units.iter().find_map(|(unit, times)| {
        let number = text.to_ascii_lowercase().strip_suffix(unit)?.trim_end().parse::<f64>().ok()?;
        Some(number * times)
    })
}

/// A rate, in bytes per second. The units are those of tc(8).
fn rate(text: &str) -> Result<u64, String> {
    let bits = amount(text, &[("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9)]);
    let good = bits.filter(|bits| (8_000.0..=1e12).contains(bits));
    good.map(|bits| (bits / 8.0) as u64).ok_or_else(|| "expected 8kbit to 1000gbit, such as 10mbit".into())
}

/// A time, in microseconds. The units are those of tc(8).
fn time(text: &str) -> Result<u32, String> {
    let micros = amount(text, &[("us", 1.0), ("ms", 1e3), ("s", 1e6)]);
    let good = micros.filter(|micros| (1.0..=1e7).contains(micros));
    good.map(|micros| micros as u32).ok_or_else(|| "expected 1us to 10s, such as 20ms".into())
}

impl Where {
    fn place(&self, view: &View<'_>) -> Result<Place> {
        if let Some(peering) = &self.peering {
            return view.peering(peering).map_err(|error| anyhow!(error));
        }
        let name = self.endpoint.as_deref();
        let name = name.ok_or_else(|| anyhow!("where? Name a VM, a redis instance, or a --peering"))?;
        let owner = view.endpoint(name).map_err(|error| anyhow!(error))?;
        view.nic(&owner, self.interface).map_err(|error| anyhow!(error))?;
        Ok(Place::nic(&owner, self.interface.into()))
    }
}

/// Does something about faults.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.verb {
        Verb::Add(add) => {
            let running = Running::find(&add.lab)?;
            let place = add.place.place(&running.view())?;
            let loss = if add.what.cut { ALL } else { add.what.loss.unwrap_or_default() };
            let [latency, jitter] = [add.what.latency, add.what.jitter].map(Option::unwrap_or_default);
            let fault = Fault { loss, rate: add.what.bandwidth, latency, jitter };
            running.faults(FaultEdit::Set(place.clone(), Some(fault)))?;
            print(&format!("{}: {fault}\n", place.short()));
        }
        Verb::List(list) => {
            let faults = Running::find(&list.lab)?.faults(FaultEdit::Keep)?;
            match list.format {
                Format::Text => print(&text(&faults)),
                Format::Json => json(&as_json(&faults))?,
            }
        }
        Verb::Remove(remove) if remove.all => {
            Running::find(&remove.lab)?.faults(FaultEdit::Clear)?;
        }
        Verb::Remove(remove) => {
            let running = Running::find(&remove.lab)?;
            let place = remove.place.place(&running.view())?;
            if !running.faults(FaultEdit::Keep)?.contains_key(&place) {
                return Err(anyhow!("there is no fault at {}", place.short()));
            }
            running.faults(FaultEdit::Set(place, None))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Faults as a table; nothing where there are none.
pub(crate) fn text(faults: &Faults) -> String {
    if faults.is_empty() {
        return String::new();
    }
    let heading = ["FAULT AT", "WHAT"].map(str::to_owned);
    let rows = faults.iter().map(|(place, fault)| [place.short(), fault.to_string()]);
    table(&[heading].into_iter().chain(rows).collect::<Vec<_>>())
}

/// Faults for programs: loss in percent, bandwidth in bits per second.
pub(crate) fn as_json(faults: &Faults) -> serde_json::Value {
    let one = |(place, fault): (&Place, &Fault)| {
        let place = match place {
            Place::Nic(endpoint, nic) => json!({ "endpoint": endpoint, "interface": format!("nic{nic}") }),
            Place::Peering(first, second) => json!({ "networks": [first.to_string(), second.to_string()] }),
        };
        json!({
            "place": place,
            "lossPercent": f64::from(fault.loss) / f64::from(ALL / 100),
            "bitsPerSecond": fault.rate.map(|rate| rate * 8),
            "latencyMs": f64::from(fault.latency) / 1e3,
            "jitterMs": f64::from(fault.jitter) / 1e3,
        })
    };
    faults.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_rates() {
        for (text, want) in [("10%", Some(100_000)), ("0.5", Some(5_000)), ("99.9999 %", Some(999_999))] {
            assert_eq!(percent(text).ok(), want, "{text}");
        }
        for text in ["", "0", "100%", "-1%", "x", "NaN", "0.00001%"] {
            assert!(percent(text).is_err(), "{text}");
        }
        for (text, want) in [("20ms", 20_000), ("1.5 s", 1_500_000), ("500us", 500), ("10S", 10_000_000)] {
            assert_eq!(time(text), Ok(want), "{text}");
        }
        for text in ["", "20", "ms", "0ms", "-1ms", "11s", "NaNms"] {
            assert!(time(text).is_err(), "{text}");
        }
        for (text, want) in [("10mbit", 1_250_000), ("8kbit", 1000), ("1.5Gbit", 187_500_000)] {
            assert_eq!(rate(text), Ok(want), "{text}");
        }
        for text in ["", "10", "1kbit", "mbit", "-5mbit", "infgbit", "2000gbit", "10mb"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}

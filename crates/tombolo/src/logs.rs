//! `tombolo logs`.

use crate::lab::{ENDED, LabArgs, Running};
use crate::output::{Format, bold, json, print, table};
use anyhow::{Result, bail};
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;
use tombolo_agent::Hits;
use tombolo_dataplane::Volume;
use tombolo_server::firewall_log::{Count, Record, counts};
use tombolo_server::flow_log::Flow;

/// How often `--follow` looks for more.
const PAUSE: Duration = Duration::from_millis(200);

/// Arguments of `logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    of: Of,
}

/// Of what.
#[derive(Debug, clap::Subcommand)]
enum Of {
    /// Print the connections about which firewall rules that log have decided, or how often each rule has
    #[command(
        after_help = "Example:\n  tombolo compute firewall-rules update vpc-1-allow-ssh --enable-logging\n  tombolo logs firewall --rule vpc-1-allow-ssh --follow\n  tombolo logs firewall --counts\n\nAs in Google's cloud, connections of TCP and UDP are logged, at their first packet. The last 10,000 of a lab are kept, until it ends. Every rule counts, whether it logs or not, packets of every protocol that begin a connection or are denied."
    )]
    Firewall(Firewall),
    /// Print what has passed of connections, in subnetworks whose flows are logged
    #[command(
        after_help = "Example:\n  tombolo compute networks subnets update subnet-1 --region us-central1 \\\n    --enable-flow-logs --logging-flow-sampling 1\n  tombolo logs flows --vm vm-1 --follow\n\nAs in Google's VPC Flow Logs, each record is of one direction, and the end that reports it is its source or its destination. An interval has to be over before it is told (5 s or more). The last 10,000 records of a lab are kept, until it ends."
    )]
    Flows(Flows),
}

/// Arguments of `logs firewall`.
#[derive(Debug, clap::Args)]
struct Firewall {
    /// Of this rule only
    #[arg(long)]
    rule: Option<String>,
    /// Of rules that acted at this VM only
    #[arg(long)]
    vm: Option<String>,
    /// Go on with what is logged from now on (Ctrl-C ends it)
    #[arg(long)]
    follow: bool,
    /// How often each rule has decided
    #[arg(long, conflicts_with_all = ["vm", "follow"])]
    counts: bool,
    /// Text for people or JSON for programs: Google's log entries; with --follow one on a line
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    lab: LabArgs,
}

/// Arguments of `logs flows`.
#[derive(Debug, clap::Args)]
struct Flows {
    /// Reported by this VM only
    #[arg(long)]
    vm: Option<String>,
    /// Go on with what is logged from now on (Ctrl-C ends it)
    #[arg(long)]
    follow: bool,
    /// Text for people or JSON for programs: Google's log entries; with --follow one on a line
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    lab: LabArgs,
}

/// Prints what was logged.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.of {
        Of::Firewall(firewall) if firewall.counts => firewall.print_counts(),
        Of::Firewall(firewall) => to_the_end(firewall.follow, &firewall.lab, || firewall.print_hits()),
        Of::Flows(flows) => to_the_end(flows.follow, &flows.lab, || flows.print()),
    }
}

/// What follows a lab ends with it, and that is no error.
fn to_the_end(follow: bool, lab: &LabArgs, print: impl FnOnce() -> Result<ExitCode>) -> Result<ExitCode> {
    let was_up = follow && lab.is_up();
    print().or_else(|error| {
        if !was_up || lab.is_up() {
            return Err(error);
        }
        eprintln!("{ENDED}");
        Ok(ExitCode::SUCCESS)
    })
}

impl Flows {
    fn print(&self) -> Result<ExitCode> {
        let mut next = 0;
        loop {
            // Addresses are told by who has them now.
            let running = Running::find(&self.lab)?;
            let view = running.view();
            let nics = match &self.vm {
                Some(name) => {
                    let key = view.instance(name).map_err(anyhow::Error::msg)?;
                    Some(&view.world.instances[key].nics)
                }
                None => None,
            };
            let logged = running.flows(next)?;
            next = logged.next;
            let is_meant = |flow: &&Flow| {
                nics.is_none_or(|nics| {
                    nics.iter().any(|nic| nic.network == flow.network && nic.address == flow.end())
                })
            };
            let flows: Vec<&Flow> = logged.flows.iter().filter(is_meant).collect();
            print_all(
                self.format,
                self.follow,
                &flows,
                |flow| flow.entry(&view.world),
                |flow| flow_line(flow),
            )?;
            if !self.follow {
                return Ok(ExitCode::SUCCESS);
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// `2026-01-01T10:00:05.000000Z  SRC   vpc-1  10.1.0.2:40000 -> 10.1.0.3:23 tcp, 5 packets, 420 bytes`
fn flow_line(flow: &Flow) -> String {
    let Volume { packets, bytes } = flow.sent;
    format!(
        "{}  {:<4}  {}  {}, {packets} packets, {bytes} bytes\n",
        flow.timestamp(),
        flow.reporter(),
        flow.network.name,
        flow.text()
    )
}

impl Firewall {
    fn print_counts(&self) -> Result<ExitCode> {
        let running = Running::find(&self.lab)?;
        let view = running.view();
        let mut all = counts(&view.world, &view.agent.counters()?);
        if let Some(name) = &self.rule {
            all.retain(|count| count.rule == *name);
            if all.is_empty() {
                bail!("there is no firewall rule '{name}' in the lab that is not disabled");
            }
        }
        match self.format {
            Format::Json => json(&all)?,
            Format::Text => print(&count_table(&all)),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn print_hits(&self) -> Result<ExitCode> {
        let mut running = Running::find(&self.lab)?;
        let endpoint = match &self.vm {
            Some(name) => Some(running.view().instance(name).map_err(anyhow::Error::msg)?.clone()),
            None => None,
        };
        let mut hits = running.view().agent.hits(0)?;
        let known = |rule: &str, hits: &Hits| {
            let world = &running.view().world;
            let logged = hits.hits.iter().filter_map(Record::new).any(|record| record.rule == rule);
            logged || world.firewalls.keys().any(|key| key.name == rule)
        };
        if let Some(rule) = self.rule.as_deref().filter(|rule| !known(rule, &hits)) {
            bail!("there is no firewall rule '{rule}' in the lab");
        }
        let mut overruns = 0;
        loop {
            if hits.overruns > overruns {
                overruns = hits.overruns;
                eprintln!("tombolo: some hits came faster than they could be read, and are not here");
            }
            let records = hits.hits.iter().filter_map(Record::new);
            let records: Vec<Record<'_>> = records
                .filter(|record| self.rule.as_ref().is_none_or(|rule| *rule == record.rule))
                .filter(|record| endpoint.is_none() || record.instance == endpoint)
                .collect();
            let view = running.view();
            print_all(self.format, self.follow, &records, |record| record.entry(&view.world), line)?;
            if !self.follow {
                return Ok(ExitCode::SUCCESS);
            }
            std::thread::sleep(PAUSE);
            let next = hits.next;
            hits = running.view().agent.hits(next)?;
            if !hits.hits.is_empty() {
                // What is told of rules and instances is of now.
                running = Running::find(&self.lab)?;
            }
        }
    }
}

/// Prints what was logged: as entries, of which each is a line where more may follow, or as text.
fn print_all<T>(
    format: Format,
    follow: bool,
    all: &[T],
    entry: impl Fn(&T) -> Value,
    line: impl Fn(&T) -> String,
) -> Result<()> {
    match (format, follow) {
        (Format::Json, false) => return json(&all.iter().map(entry).collect::<Vec<_>>()),
        (Format::Json, true) => print(&all.iter().map(|it| format!("{}\n", entry(it))).collect::<String>()),
        (Format::Text, _) => print(&all.iter().map(line).collect::<String>()),
    }
    Ok(())
}

/// `2026-01-01T10:00:00.000000Z  DENIED   INGRESS  vpc-1/no-telnet  vm-1  10.1.0.2:40000 -> 10.1.0.3:23 tcp`
fn line(record: &Record<'_>) -> String {
    let instance = record.instance.as_ref().map_or("-", |key| &key.name);
    let rule = format!("{}/{}", record.network.name, record.rule);
    let (at, disposition, direction) = (record.timestamp(), record.disposition(), record.direction_name());
    format!("{at}  {disposition:<7}  {direction:<7}  {rule}  {instance}  {}\n", record.connection())
}

fn count_table(counts: &[Count]) -> String {
    let heading = ["NETWORK", "RULE", "DIRECTION", "ACTION", "PRIORITY", "HITS"].map(str::to_owned);
    let row = |count: &Count| {
        let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        [
            count.network.clone(),
            if count.implied { format!("{} (implied)", count.rule) } else { count.rule.clone() },
            word(serde_json::json!(count.direction)),
            word(serde_json::json!(count.action)),
            count.priority.to_string(),
            count.hits.to_string(),
        ]
    };
    let rows: Vec<_> = std::iter::once(heading).chain(counts.iter().map(row)).collect();
    let text = table(&rows);
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    format!("{}\n{rest}", bold(first))
}

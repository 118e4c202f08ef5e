//! `tombolo demo`: the story, walked with real packets.
//!
//! Each step makes its changes, asks the packets, and compares what they did with what is expected. A step that
//! expects a failure passes only if the packets really did not get through.

mod story;

use crate::lab::options;
use crate::output::{Format, bold, json, print};
use crate::steps::{Layout, Step, summary};
use crate::trace::explain;
use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddrV4};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use story::Story;
use tombolo_agent::Program;
use tombolo_fabric::{Flow, Owner};
use tombolo_model::{Change, PeeringState, Protocol};
use tombolo_server::run::{Ran, run as run_in};
use tombolo_server::ssh::Login;
use tombolo_server::view::IAP;
use tombolo_server::{Lab, STARTUP_SCRIPT, now, status};
use tombolo_ssh::Client;

/// How long a connection that should fail may hang before it counts as timed out.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How long something that should work may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many packets are sent where they must not get through.
const PACKETS: u32 = 3;

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The proxy that runs in the VM redis-proxy
    #[arg(long, value_enum, default_value_t)]
    proxy: Proxy,
    /// Text for people or JSON for programs
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// A proxy to walk the story with. Both read the same nutcracker.yaml.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Proxy {
    /// Tombolo's own.
    #[default]
    TomboloProxy,
    /// twemproxy, as Debian packages it.
    Nutcracker,
}

/// What a step saw.
struct Seen {
    expected: String,
    seen: String,
    /// The flow to trace if the two differ.
    flow: Option<Flow>,
}

/// A step: what it does, and how.
type Action = fn(&mut Demo) -> Result<Seen>;

/// The steps, in order.
const STEPS: [(&str, Action); 8] = [
    ("projects; default network deleted", Demo::projects),
    ("vpc-1 with vm-1, vpc-2 with vm-2", Demo::networks),
    ("peering: one side, then both", Demo::peering),
    ("firewall: ssh, and vm-1 to vm-2", Demo::firewall),
    ("Memorystore Redis for vpc-2", Demo::redis),
    ("SET from vm-2, and from vm-1", Demo::two_peerings),
    ("VM redis-proxy in vpc-2", Demo::proxy),
    ("GET from vm-1 through redis-proxy", Demo::through_proxy),
];

/// As wide as the widest expectation.
const WIDEST: &str = "10.34.175.91:6379 READY, ACTIVE";

/// Walks the story.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let started = Instant::now();
    let mut demo =
        Demo { lab: Lab::start(options(None)?)?, story: Story::new(args.proxy == Proxy::Nutcracker) };
    let layout = Layout::of(STEPS.iter().map(|(title, _)| (*title, WIDEST)));
    if args.format == Format::Text {
        print(&format!("{}\n\n", bold("A Redis behind two peerings, and the way to it")));
        layout.heading();
    }
    let mut steps = Vec::new();
    for (i, (title, action)) in STEPS.iter().enumerate() {
        let began = Instant::now();
        // What cannot be done at all is a step that failed, not an end without a word.
        let seen = action(&mut demo).unwrap_or_else(|error| Seen {
            expected: "no error".into(),
            seen: format!("{error:#}"),
            flow: None,
        });
        let ok = seen.expected == seen.seen;
        let millis = began.elapsed().as_millis() as u64;
        let step = Step {
            id: i + 1,
            title: (*title).into(),
            expected: seen.expected,
            seen: seen.seen,
            why: None,
            ok,
            millis,
        };
        if args.format == Format::Text {
            layout.line(&step);
            demo.say_more(step.ok, seen.flow.as_ref())?;
        }
        steps.push(step);
        if !ok {
            break; // the later steps build on this one
        }
    }
    let ok = steps.len() == STEPS.len() && steps.iter().all(|step| step.ok);
    drop(demo); // what is left behind is part of the story: nothing
    let seconds = started.elapsed().as_secs_f64();
    match args.format {
        Format::Text => summary(&steps, STEPS.len(), seconds),
        Format::Json => json(&json!({"ok": ok, "seconds": seconds, "steps": steps}))?,
    }
    Ok(ExitCode::from(u8::from(!ok)))
}

/// The lab in which the story happens.
struct Demo {
    lab: Lab,
    story: Story,
}

impl Demo {
    /// Under a failed step, and under the one that is the point of it all, the trace; under a failed one also what
    /// the proxy's VM printed, once there is one.
    fn say_more(&self, ok: bool, flow: Option<&Flow>) -> Result<()> {
        let indented = |text: &str| text.lines().map(|l| format!("     {l}\n")).collect::<String>();
        let view = self.lab.view();
        if let Some(flow) = flow {
            let packets = view.packets(flow, PACKETS)?;
            print(&format!("\n{}\n", indented(&explain(&view, flow, Some(packets)))));
        }
        let proxy = view.instance("redis-proxy").ok().filter(|_| !ok);
        if let Some(key) = proxy {
            let endpoint = Owner::Instance(key.clone()).to_string();
            let log = self.lab.agent().read_log(&endpoint, STARTUP_SCRIPT)?;
            print(&indented(&format!("redis-proxy's startup script printed:\n{}", log.text)));
        }
        Ok(())
    }

    /// Makes changes and waits until the packets obey.
    fn apply(&mut self, changes: &[Change]) -> Result<()> {
        self.lab.apply(changes, now())?;
        Ok(())
    }

    /// Runs a program in a VM.
    fn run(&self, vm: &str, argv: &[&str], limit: Duration) -> Result<Ran> {
        let view = self.lab.view();
        let key = view.instance(vm).map_err(|e| anyhow!(e))?;
        let endpoint = Owner::Instance(key.clone()).to_string();
        Ok(run_in(self.lab.agent(), &endpoint, Program::new(argv.iter().copied()), limit)?)
    }

    /// What a program in a VM printed, or that it printed nothing in time.
    fn answer(&self, vm: &str, argv: &[&str], limit: Duration) -> Result<String> {
        let ran = self.run(vm, argv, limit)?;
        Ok(match ran.code {
            Some(0) => ran.output.trim().to_owned(),
            Some(code) => format!("exit status {code}: {}", ran.output.trim()),
            None => "timed out".into(),
        })
    }

    /// A flow by names.
    fn flow(&self, from: &str, to: &str, protocol: Protocol) -> Result<Flow> {
        self.lab.view().flow(from, to, Some(protocol), None).map_err(|e| anyhow!(e))
    }

    /// Step 1. Deleting `default` before its rules is refused, in Google's words.
    fn projects(&mut self) -> Result<Seen> {
        self.apply(&self.story.projects())?;
        let refused = self.lab.apply(&self.story.delete_networks(), now());
        let refused = refused.err().map_or_else(String::new, |e| e.to_string());
        self.apply(&self.story.delete_defaults())?;
        let defaults = self.lab.world().networks.len();
        let in_use =
            if refused.contains("is already being used by") { "first in use" } else { "not refused" };
        let seen = format!("{in_use}, then {defaults} left");
        Ok(Seen { expected: "first in use, then 0 left".into(), seen, flow: None })
    }

    /// Step 2. The addresses are read inside the VMs.
    fn networks(&mut self) -> Result<Seen> {
        self.apply(&self.story.networks())?;
        let address = |vm| self.answer(vm, &["hostname", "-I"], PATIENCE);
        let seen = format!("vm-1 {}, vm-2 {}", address("vm-1")?, address("vm-2")?);
        Ok(Seen { expected: "vm-1 10.1.0.2, vm-2 10.2.0.2".into(), seen, flow: None })
    }

    /// Step 3.
    fn peering(&mut self) -> Result<Seen> {
        let [one, other] = self.story.peerings();
        self.apply(&[one])?;
        let (vpc_1, vpc_2) = self.story.vpcs();
        let state = |demo: &Self| demo.lab.world().peering_state(&vpc_1, &vpc_2).as_str();
        let alone = state(self);
        self.apply(&[other])?;
        let expected = format!("{}, then {}", PeeringState::Inactive.as_str(), PeeringState::Active.as_str());
        Ok(Seen { expected, seen: format!("{alone}, then {}", state(self)), flow: None })
    }

    /// Logs in to a VM by ssh, through Identity-Aware Proxy: `open` when its own name can be read there, `closed` when
    /// there is no connection in time.
    fn ssh(&mut self, vm: &str, limit: Duration) -> Result<String> {
        let key = self.lab.view().instance(vm).map_err(|e| anyhow!(e))?.clone();
        let client = Client::random()?;
        let login = Login { instance: key, user: "user".into(), public_key: client.public() };
        let host_key = self.lab.login(&login, now())?;
        let flow = self.flow(IAP, &format!("{vm}:22"), Protocol::TCP)?;
        let from = Owner::Iap(flow.network.clone()).to_string();
        let IpAddr::V4(to) = flow.destination else { bail!("{vm} has no IPv4 address") };
        let to = SocketAddrV4::new(to, flow.port);
        let stream = match self.lab.agent().connect_from(&from, to, limit)? {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::TimedOut => return Ok("closed".into()),
            Err(error) => return Ok(error.to_string()),
        };
        let said = client.run(stream, &host_key, &login.user, "hostname", PATIENCE)?;
        Ok(match said.code {
            Some(0) if said.output.trim() == vm => "open".into(),
            code => format!("{code:?}: {}", said.output.trim()),
        })
    }

    /// Step 4. ssh comes in through Identity-Aware Proxy; the ping is the machine's own program in vm-1.
    fn firewall(&mut self) -> Result<Seen> {
        let before = self.ssh("vm-1", TIMEOUT)?;
        self.apply(&self.story.firewalls())?;
        let after = self.ssh("vm-1", PATIENCE)?;
        let ping = self.run("vm-1", &["ping", "-n", "-c1", "-W2", "10.2.0.2"], PATIENCE)?;
        let ping = if ping.code == Some(0) { "ok" } else { "not answered" };
        let seen = format!("ssh {before}, {after}; ping {ping}");
        let expected = "ssh closed, open; ping ok".to_owned();
        let flow = if seen == expected { None } else { Some(self.flow("vm-1", "vm-2", Protocol::ICMP)?) };
        Ok(Seen { expected, seen, flow })
    }

    /// Step 5.
    fn redis(&mut self) -> Result<Seen> {
        self.apply(&self.story.redis())?;
        let status = status::status(&self.lab.view())?;
        let redis = status.redis.first().context("the instance is not listed")?;
        let peering = status.peerings.iter().find(|p| p.name.starts_with("redis-peer-"));
        let peering = peering.map_or("no peering", |p| &p.state);
        let seen = format!("{}:{} {}, {peering}", redis.host, redis.port, redis.state);
        let expected = format!("{}:6379 READY, ACTIVE", self.story.redis_host());
        let flow = if seen == expected { None } else { Some(self.flow("vm-2", "redis-1", Protocol::TCP)?) };
        Ok(Seen { expected, seen, flow })
    }

    /// Step 6. The point of it all: the same command, the same moment, two outcomes.
    fn two_peerings(&mut self) -> Result<Seen> {
        let host = self.story.redis_host();
        let set = |vm, limit| self.answer(vm, &["redis-cli", "-h", &host, "set", "mykey", "myvalue"], limit);
        let (near, far) = (set("vm-2", PATIENCE)?, set("vm-1", TIMEOUT)?);
        let flow = self.flow("vm-1", "redis-1", Protocol::TCP)?;
        let packets = self.lab.view().packets(&flow, PACKETS)?;
        let seen = format!("{near}; {far}, {}/{} delivered", packets.delivered, packets.sent);
        Ok(Seen { expected: format!("OK; timed out, 0/{PACKETS} delivered"), seen, flow: Some(flow) })
    }

    /// Step 7.
    fn proxy(&mut self) -> Result<Seen> {
        self.apply(&self.story.proxy())?;
        let address = self.answer("redis-proxy", &["hostname", "-I"], PATIENCE)?;
        let deadline = Instant::now() + PATIENCE;
        let ping = loop {
            let said = self.answer("vm-1", &["redis-cli", "-h", &address, "ping"], PATIENCE)?;
            if said == "PONG" || Instant::now() > deadline {
                break said;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let expected = "10.2.0.3 says PONG to vm-1".to_owned();
        let seen = format!("{address} says {ping} to vm-1");
        let flow = if seen == expected {
            None
        } else {
            Some(self.flow("vm-1", "redis-proxy:6379", Protocol::TCP)?)
        };
        Ok(Seen { expected, seen, flow })
    }

    /// Step 8.
    fn through_proxy(&mut self) -> Result<Seen> {
        let expected = "myvalue".to_owned();
        let seen = self.answer("vm-1", &["redis-cli", "-h", "10.2.0.3", "get", "mykey"], PATIENCE)?;
        let flow = if seen == expected {
            None
        } else {
            Some(self.flow("vm-1", "redis-proxy:6379", Protocol::TCP)?)
        };
        Ok(Seen { expected, seen, flow })
    }
}

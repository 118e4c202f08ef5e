//! Getting at a lab: starting one, or finding the one that is up.

use anyhow::{Context, Error, Result, anyhow};
use clap::ValueEnum;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tombolo_agent::Agent;
use tombolo_dataplane::Faults;
use tombolo_model::World;
use tombolo_server::control::{FaultEdit, Request, Response, ask};
use tombolo_server::flow_log::Logged;
use tombolo_server::guest::sends_pings;
use tombolo_server::paths::LabDir;
use tombolo_server::{LazyVms, Options, View, now};
use tombolo_ssh::Secret;
use tombolo_topology::{Diagnostic, Topology};

/// Which lab.
#[derive(Debug, clap::Args)]
pub(crate) struct LabArgs {
    /// The lab's name, for more than one at a time
    #[arg(long, global = true, default_value = "default", value_parser = lab_name)]
    pub(crate) lab: String,
}

impl LabArgs {
    /// Whether its server answers.
    pub(crate) fn is_up(&self) -> bool {
        ask(&LabDir::of(&self.lab), Request::Ping).is_some()
    }

    /// A verb for this lab, as one would type it.
    pub(crate) fn command(&self, verb: &str) -> String {
        match self.lab.as_str() {
            "default" => format!("tombolo {verb}"),
            lab => format!("tombolo {verb} --lab {lab}"),
        }
    }
}

/// What is said when what follows a lab ends with it.
pub(crate) const ENDED: &str = "the lab has ended";

/// Where a lab's internet ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Internet {
    /// In the lab: it has one client, and nothing leaves
    #[default]
    Lab,
    /// In the host's own network, which VMs with a way to the internet reach by TCP, UDP and pings
    Host,
}

/// A lab's name is a file's name.
fn lab_name(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let fits = (1..=32).contains(&text.len()) && text.chars().all(good);
    fits.then(|| text.to_owned()).ok_or("expected 1 to 32 letters, digits, '-' or '_'".into())
}

/// What a lab that is started is like.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct StartArgs {
    /// Where the lab's internet ends
    #[arg(long, value_enum, value_name = "WHERE", default_value_t)]
    internet: Internet,
    /// Which VMs are there only from the first packet to them on, or the first program in them
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    lazy_vms: When,
}

/// When VMs are lazy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum When {
    /// All, of more than 256
    #[default]
    Auto,
    /// All
    Always,
    /// None
    Never,
}

impl StartArgs {
    /// Whether VMs reach the host's network.
    pub(crate) fn reaches_host(self) -> bool {
        self.internet == Internet::Host
    }

    /// Says what this means less than elsewhere.
    pub(crate) fn note_less(self) {
        if self.reaches_host() && !sends_pings() {
            eprintln!(
                "tombolo: pings to the host's network get no answer: this system lets its user send none \
                 (sysctl net.ipv4.ping_group_range says whose groups may)"
            );
        }
    }

    /// Which VMs are lazy.
    pub(crate) fn lazy(self) -> LazyVms {
        match self.lazy_vms {
            When::Auto => LazyVms::Auto,
            When::Always => LazyVms::Always,
            When::Never => LazyVms::Never,
        }
    }

    /// The same for another process of this program.
    pub(crate) fn given(self) -> [String; 2] {
        let (internet, lazy_vms) = (self.internet.to_possible_value(), self.lazy_vms.to_possible_value());
        [("internet", internet), ("lazy-vms", lazy_vms)].map(|(flag, value)| {
            format!("--{flag}={}", value.map_or_else(String::new, |it| it.get_name().to_owned()))
        })
    }
}

/// How to start a lab: this binary is also the agent's, and both binaries are shown in VMs.
pub(crate) fn options(listen: Option<PathBuf>) -> Result<Options> {
    let exe = std::env::current_exe().context("find the tombolo binary")?;
    let proxy = exe.with_file_name("tombolo-proxy");
    let bin = [exe.clone(), proxy].into_iter().filter(|path| path.exists()).collect();
    let (ssh, lazy) = (Some(Secret::random()?), LazyVms::Auto);
    let hide = vec![LabDir::base()];
    Ok(Options { exe, listen, bin, keep: Duration::ZERO, ssh, own_ports: Vec::new(), lazy, hide })
}

/// What a topology file is warned of, as it is said.
pub(crate) fn warnings(topology: &Topology) -> String {
    topology.warnings.iter().map(|warning| format!("warning: {warning}\n\n")).collect()
}

/// Reads a topology file; every error of it goes to stderr, and every warning.
pub(crate) fn parse(file: &Path) -> Result<Topology> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| name.clone())?;
    let parsed = tombolo_topology::parse(&name, &text);
    parsed.inspect(|topology| eprint!("{}", warnings(topology))).map_err(|errors| {
        errors.iter().for_each(|error| eprintln!("{error}\n"));
        let plural = if errors.len() == 1 { "" } else { "s" };
        anyhow!("{name} has {} error{plural}", errors.len())
    })
}

/// Reads a topology file and makes its World; every error of it goes to stderr.
pub(crate) fn read(file: &Path) -> Result<(Topology, World)> {
    let topology = parse(file)?;
    let world = world(file, &topology)?;
    Ok((topology, world))
}

/// The World of a topology file; its error goes to stderr.
pub(crate) fn world(file: &Path, topology: &Topology) -> Result<World> {
    topology.world(now()).map_err(|refused| said(file, &refused))
}

/// Says on stderr where in a file there is what a World refuses; the error to end with.
pub(crate) fn said(file: &Path, refused: &Diagnostic) -> Error {
    eprintln!("{refused}\n");
    anyhow!("{} describes what Google Cloud would refuse", file.display())
}

/// The lab that is up: its World and a connection to its agent.
pub(crate) struct Running {
    dir: LabDir,
    world: World,
    agent: Agent,
}

impl Running {
    /// Finds the lab of that name.
    pub(crate) fn find(args: &LabArgs) -> Result<Self> {
        let dir = LabDir::of(&args.lab);
        match ask(&dir, Request::World) {
            Some(Response::World(world)) => {
                Ok(Self { world: *world, agent: Agent::connect(&dir.agent())?, dir })
            }
            Some(Response::Failed { message }) => Err(anyhow!(message)),
            _ => Err(anyhow!(
                "no lab is up (looked in {}): `tombolo up FILE` brings one up",
                dir.path.display()
            )),
        }
    }

    /// A view of it, without its faults.
    pub(crate) fn view(&self) -> View<'_> {
        View::new(self.world.clone(), &self.agent)
    }

    /// A view of it, with its faults.
    pub(crate) fn view_with_faults(&self) -> Result<View<'_>> {
        Ok(View { faults: self.faults(FaultEdit::Keep)?, ..self.view() })
    }

    /// The flows that were logged, from this number on.
    pub(crate) fn flows(&self, since: u64) -> Result<Logged> {
        match ask(&self.dir, Request::Flows(since)) {
            Some(Response::Flows(logged)) => Ok(logged),
            Some(Response::Failed { message }) => Err(anyhow!(message)),
            _ => Err(anyhow!("the lab's server does not answer")),
        }
    }

    /// Does something about faults; those that there are then.
    pub(crate) fn faults(&self, edit: FaultEdit) -> Result<Faults> {
        match ask(&self.dir, Request::Faults(edit)) {
            Some(Response::Faults(faults)) => Ok(faults.into_iter().collect()),
            Some(Response::Failed { message }) => Err(anyhow!(message)),
            _ => Err(anyhow!("the lab's server does not answer")),
        }
    }
}

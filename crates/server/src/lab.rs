//! The owner of a World and of the agent that makes it real.
//!
//! ```text
//!   apply(changes): World --> World' --compile, render--> agent: observe, plan, apply --> World' is the lab's
//!                                                          \-- failure --> the old World is made real again
//! ```

use crate::control::FaultEdit;
use crate::flow_log::{self, FlowLogs};
use crate::guest::Guests;
use crate::note::{self, Note};
use crate::run::{run_fed, state};
use crate::view::View;
use crate::{REDIS_PROGRAM, STARTUP_SCRIPT, ssh, vms};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tombolo_agent::{Agent, AgentError, ConvergeReport, ProcessState, Program, SpawnOptions};
use tombolo_dataplane::{Faults, Rendered, fault};
use tombolo_fabric::{Fabric, Owner, compile};
use tombolo_memorystore::{Process, Settings, Step, TLS_FILE, Wanted, plan, wanted};
use tombolo_model::{Change, InstanceKey, RedisKey, Refusal, Timestamp, World};
use tombolo_ssh::Secret;

/// How long a redis-server may take to accept connections.
const REDIS_PATIENCE: Duration = Duration::from_secs(10);

/// Starts a redis-server ($1) with TLS: the file ($0) comes first on stdin, up to an empty line, and then its
/// configuration. `read` takes no more than a line, so what follows is left for the server.
const WITH_TLS: &str = r#"umask 077
while IFS= read -r line && [ -n "$line" ]; do printf '%s\n' "$line"; done >"$0"
exec "$1" -"#;

/// How to start a lab.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The `tombolo` binary, which is also the agent's.
    pub exe: PathBuf,
    /// A socket on which the agent also listens, for other processes of the same user.
    pub listen: Option<PathBuf>,
    /// Binaries to show in every VM under /run/tombolo/bin, which is in its PATH.
    pub bin: Vec<PathBuf>,
    /// For how long the lab goes on when this process is killed, for another one to take over. Then `listen` must say
    /// where the agent is found.
    pub keep: Duration,
    /// What the VMs' host keys are made from; without it nobody can log in by ssh. Then the binary must have the
    /// subcommand `vm-sshd`.
    pub ssh: Option<Secret>,
    /// Where this process listens on the host: there nobody in the lab reaches it.
    pub own_ports: Vec<u16>,
    /// Which VMs are lazy.
    pub lazy: LazyVms,
    /// Folders of the host that VMs do not see: where sockets and secrets of labs are.
    pub hide: Vec<PathBuf>,
}

/// Which VMs are lazy: they are there from the first packet to them on, or from the first program in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LazyVms {
    /// Those of Worlds with more than [`LazyVms::FEW`].
    #[default]
    Auto,
    /// All.
    Always,
    /// None.
    Never,
}

impl LazyVms {
    /// So many VMs are made at once in no time.
    pub const FEW: usize = 256;

    fn is_for(self, world: &World) -> bool {
        match self {
            LazyVms::Auto => world.instances.len() > Self::FEW,
            LazyVms::Always => true,
            LazyVms::Never => false,
        }
    }
}

/// Why the lab could not do something.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The change was refused; the World is as before.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The agent failed.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The kernel did not do as told; the World is as before.
    #[error("the kernel refused: {0}")]
    Kernel(String),
    /// The system has no thread or descriptor left.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A server inside the lab did not come up.
    #[error("{0}")]
    Server(String),
}

/// Starts an agent.
fn spawn(options: &Options) -> Result<Agent, AgentError> {
    let (listen, hide) = (options.listen.clone(), options.hide.clone());
    let spawn = SpawnOptions { listen, keep: options.keep, hide, ..SpawnOptions::default() };
    Agent::spawn(&options.exe, &spawn)
}

/// A lab that runs.
#[derive(Debug)]
pub struct Lab {
    world: World,
    agent: Agent,
    options: Options,
    /// How often the instances that run were started, by id: their startup scripts have been started as often.
    booted: BTreeMap<u64, u64>,
    /// The World whose endpoints the agent was told last.
    told: Option<World>,
    /// The settings that the redis-servers have.
    redis: RefCell<BTreeMap<RedisKey, Settings>>,
    /// What somebody has put in the packets' way.
    faults: Faults,
    /// What was rendered last: most of it is the same the next time.
    rendered: Rendered,
    /// What the agent keeps for the server that follows this one.
    noted: RefCell<Option<Note>>,
    resumed: bool,
    /// What has passed of connections.
    flows: FlowLogs,
    /// What answers the VMs on 169.254.169.254.
    guests: Guests,
}

impl Lab {
    /// Starts an agent with an empty World. One that a server has left where this one is to listen is ended.
    pub fn start(options: Options) -> Result<Self, LabError> {
        if let Some(left) = options.listen.as_ref().and_then(|path| Agent::connect(path).ok()) {
            left.end();
        }
        Self::with_agent(spawn(&options)?, options)
    }

    /// Takes over the lab of a server that was killed, if it was a lab of this World or one that came before it, and
    /// whatever else is left where this one is to listen is ended. Otherwise as [`Lab::start`]. The World is yet to be made
    /// real in either case.
    pub fn resume(world: &World, options: Options) -> Result<Self, LabError> {
        let left = options.listen.as_ref().filter(|_| !options.keep.is_zero());
        if let Some(agent) = left.map(|path| Agent::adopt(path)).transpose()?.flatten() {
            let note = agent.note()?.and_then(|note| serde_json::from_str::<Note>(&note).ok());
            if let Some(note) = note.filter(|note| note.world == note::identity(world)) {
                let Note { booted, redis, faults, .. } = note.clone();
                let (redis, noted) = (RefCell::new(redis), RefCell::new(Some(note)));
                let faults = faults.into_iter().collect();
                return Ok(Self {
                    booted,
                    redis,
                    noted,
                    faults,
                    resumed: true,
                    ..Self::with_agent(agent, options)?
                });
            }
            // Dropped, it ends the lab.
        }
        Self::start(options)
    }

    fn with_agent(agent: Agent, options: Options) -> Result<Self, LabError> {
        let guests = Guests::start(&options.own_ports)?;
        Ok(Self {
            world: World::default(),
            agent,
            options,
            booted: BTreeMap::new(),
            told: None,
            redis: RefCell::default(),
            faults: Faults::new(),
            rendered: Rendered::default(),
            noted: RefCell::default(),
            resumed: false,
            flows: FlowLogs::default(),
            guests,
        })
    }

    /// Whether it was taken over from a server that was killed.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// The World as it is.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The agent.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// A view of the lab as it is now.
    pub fn view(&self) -> View<'_> {
        View { faults: self.faults.clone(), ..View::new(self.world.clone(), &self.agent) }
    }

    /// Makes the changes, all or none, and returns when the packets obey.
    pub fn apply(&mut self, changes: &[Change], now: Timestamp) -> Result<ConvergeReport, LabError> {
        let next = changes.iter().try_fold(self.world.clone(), |world, change| world.applied(change, now))?;
        self.become_world(next)
    }

    /// Makes the lab this World and returns when the packets obey. On failure it stays, or becomes again, the old one.
    pub fn become_world(&mut self, next: World) -> Result<ConvergeReport, LabError> {
        let before = std::mem::replace(&mut self.world, next);
        let result = self.converge();
        if result.is_err() {
            self.world = before;
            // What cannot be undone either is for the next convergence: the first error is what matters.
            let _ = self.converge();
        }
        result
    }

    /// The faults that there are.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Does something about faults, and returns when the packets obey.
    pub fn edit_faults(&mut self, edit: FaultEdit) -> Result<(), LabError> {
        let mut faults = self.faults.clone();
        match edit {
            FaultEdit::Keep => return Ok(()),
            FaultEdit::Clear => faults.clear(),
            FaultEdit::Set(place, None) => drop(faults.remove(&place)),
            FaultEdit::Set(place, Some(_)) if !fault::exists(&place, &compile(&self.world)) => {
                return Err(LabError::Server(format!("{} is not there", place.short())));
            }
            FaultEdit::Set(place, Some(fault)) => drop(faults.insert(place, fault)),
        }
        let before = std::mem::replace(&mut self.faults, faults);
        let made = self.converge().map(drop);
        if made.is_err() {
            self.faults = before;
            let _ = self.converge();
        }
        made
    }

    /// Makes everything as the World has it: endpoints, packets, servers. Nothing to do, nothing done.
    pub fn converge(&mut self) -> Result<ConvergeReport, LabError> {
        let fabric = compile(&self.world);
        let lazy = self.options.lazy.is_for(&self.world);
        let is_new = self.expect(&fabric, lazy)?;
        self.rendered = self.rendered.then(fabric, &self.faults).lazily(lazy);
        // Should anything fail, they are all told again.
        let told = self.told.take();
        if !is_new {
            self.tell_endpoints(told)?;
        }
        // A socket keeps its namespace alive: what goes, goes first.
        self.guests.leave(&self.world, self.rendered.fabric());
        let report =
            if is_new { self.begin()? } else { self.agent.converge(self.rendered.desired().clone())? };
        self.told = Some(self.world.clone());
        if let Some(first) = report.failures.first() {
            return Err(LabError::Kernel(format!("{}: {}", first.edit, first.error)));
        }
        self.guests.serve(&self.world, self.rendered.fabric(), &self.agent)?;
        self.converge_redis()?;
        self.boot()?;
        // A fault goes with what it was on.
        self.faults.retain(|place, _| fault::exists(place, self.rendered.fabric()));
        self.note()?;
        Ok(report)
    }

    /// Has the agent keep what a server that follows this one cannot observe.
    fn note(&self) -> Result<(), LabError> {
        let (booted, redis) = (self.booted.clone(), self.redis.borrow().clone());
        let faults = self.faults.iter().map(|(place, fault)| (place.clone(), *fault)).collect();
        let note = Note { world: note::identity(&self.world), booted, redis, faults };
        if self.options.keep.is_zero() || self.noted.borrow().as_ref() == Some(&note) {
            return Ok(());
        }
        // Keys and settings always have a JSON.
        self.agent.set_note(serde_json::to_string(&note).unwrap_or_default())?;
        *self.noted.borrow_mut() = Some(note);
        Ok(())
    }

    /// Has the agent begin with the networks that are new, while they are thought about; whether that is all there is.
    fn expect(&self, fabric: &Fabric, lazy: bool) -> Result<bool, LabError> {
        let known = &self.rendered.fabric().networks;
        let new = || fabric.networks.iter().filter(|(key, _)| !known.contains_key(*key));
        let routers: Vec<String> = new().map(|(key, _)| key.to_string()).collect();
        // What a server before this one has left is there.
        if routers.is_empty() || self.resumed && known.is_empty() {
            return Ok(false);
        }
        let owners = new().flat_map(|(_, network)| network.nics.values()).map(|nic| &nic.owner);
        let sleeps = |owner: &&Owner| lazy && matches!(owner, Owner::Instance(_) | Owner::Iap(_));
        let endpoints: BTreeSet<&Owner> = owners.filter(|owner| !sleeps(owner)).collect();
        self.agent.expect(routers, endpoints.len())?;
        Ok(known.is_empty() && self.told.is_none())
    }

    /// Makes what an empty lab has at first. Endpoints have no part in it, so they are told meanwhile.
    fn begin(&self) -> Result<ConvergeReport, LabError> {
        let (world, bin, secret) = (&self.world, &self.options.bin, self.options.ssh.as_ref());
        let beside = self.agent.beside()?;
        thread::scope(|scope| {
            let told = scope.spawn(|| beside.set_vms(vms::vms(world, bin, secret)));
            let report = self.agent.converge(self.rendered.desired().clone());
            told.join().unwrap_or_else(|panic| resume_unwind(panic))?;
            Ok(report?)
        })
    }

    /// Tells the agent what it does not know yet of the endpoints: they are many.
    fn tell_endpoints(&self, told: Option<World>) -> Result<(), LabError> {
        let (bin, secret) = (&self.options.bin, self.options.ssh.as_ref());
        let anew = self.started_anew();
        if !anew.is_empty() {
            // A VM that is gone for a moment has lost its programs, as after a reset.
            self.agent.change_vms(anew.into_iter().collect(), Vec::new())?;
        }
        match told.and_then(|told| vms::changed(&told, &self.world, bin, secret)) {
            // One that was started anew is otherwise, so it is among them.
            Some((gone, changed)) if gone.is_empty() && changed.is_empty() => {}
            Some((gone, changed)) => self.agent.change_vms(gone, changed)?,
            None => self.agent.set_vms(vms::vms(&self.world, bin, secret))?,
        }
        Ok(())
    }

    /// Lets a key in to an instance, by its or its project's metadata, and returns the instance's host key.
    pub fn login(&mut self, login: &ssh::Login, now: Timestamp) -> Result<String, LabError> {
        if let Some(change) = ssh::let_in(&self.world, login)? {
            self.apply(&[change], now)?;
        }
        self.host_key(&login.instance)
    }

    /// The public host key of an instance, as `known_hosts` has it.
    pub fn host_key(&self, key: &InstanceKey) -> Result<String, LabError> {
        let instance = self.world.instances.get(key).ok_or_else(|| Refusal::not_found(key))?;
        let secret = self.options.ssh.as_ref();
        let secret = secret.ok_or_else(|| LabError::Server("the lab has no ssh servers".into()))?;
        Ok(secret.host_key(instance.id).public())
    }

    /// The VMs that run and are to be started anew.
    fn started_anew(&self) -> BTreeSet<String> {
        let before = |id: &u64, starts: u64| self.booted.get(id).is_some_and(|booted| *booted != starts);
        let running = self.world.instances.iter().filter(|(_, instance)| instance.running);
        let anew = running.filter(|(_, instance)| before(&instance.id, instance.starts));
        anew.map(|(key, _)| Owner::Instance(key.clone()).to_string()).collect()
    }

    /// Logs what has passed in the networks whose flows are logged and whose interval is over.
    pub fn log_flows(&mut self) -> Result<(), LabError> {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        for network in self.flows.due(&self.world, now()) {
            let all = self.agent.connections(&network.to_string())?;
            self.flows.add(&self.world, &network, &all, now());
        }
        Ok(())
    }

    /// The flows that were logged, from this number on.
    pub fn flows(&self, since: u64) -> flow_log::Logged {
        self.flows.since(since)
    }

    /// Starts redis-servers that should run and do not, and tells those that run what has changed.
    pub fn converge_redis(&self) -> Result<(), LabError> {
        let wanted = wanted(&self.world);
        let observed = self.observe_redis(&wanted)?;
        self.redis.borrow_mut().retain(|key, _| matches!(observed.get(key), Some(Process::Running(_))));
        for action in plan(&wanted, &observed) {
            let Wanted { endpoint, address, conf, tls, settings } = action.wanted;
            let secure = tls.is_some();
            match action.step {
                Step::Start => {
                    let (program, input) = match tls {
                        None => (Program::new([REDIS_PROGRAM, "-"]), conf),
                        Some(pem) => {
                            let program = Program::new(["/bin/sh", "-c", WITH_TLS, TLS_FILE, REDIS_PROGRAM]);
                            (program, format!("{}\n\n{conf}", pem.trim_end()))
                        }
                    };
                    self.agent.start_detached(&endpoint, REDIS_PROGRAM, program, Some(input.into_bytes()))?;
                    self.await_redis(&endpoint)?;
                }
                Step::Tell(lines) => self.tell_redis(&endpoint, address, secure, &lines)?,
            }
            self.redis.borrow_mut().insert(action.redis, settings);
        }
        Ok(())
    }

    /// Sends commands to a redis-server, from inside its own endpoint; it must say OK to each.
    fn tell_redis(
        &self,
        endpoint: &str,
        address: SocketAddrV4,
        secure: bool,
        lines: &str,
    ) -> Result<(), LabError> {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let mut words = vec!["redis-cli", "-h", &host, "-p", &port];
        if secure {
            // Nobody else can have that address in there.
            words.extend(["--tls", "--insecure"]);
        }
        let program = Program::new(words);
        let ran = run_fed(&self.agent, endpoint, program, lines, REDIS_PATIENCE)?;
        let said = ran.output.lines().map(str::trim).find(|line| !line.is_empty() && *line != "OK");
        match (said, ran.code) {
            (None, Some(0)) => Ok(()),
            (said, _) => {
                let said = said.unwrap_or("nothing");
                Err(LabError::Server(format!("redis-server did not take its new settings: {said}")))
            }
        }
    }

    /// Which redis-servers run.
    fn observe_redis(
        &self,
        wanted: &BTreeMap<RedisKey, Wanted>,
    ) -> Result<BTreeMap<RedisKey, Process>, LabError> {
        let mut observed = BTreeMap::new();
        for (key, server) in wanted {
            let process = match (
                state(&self.agent, &server.endpoint, REDIS_PROGRAM)?,
                self.redis.borrow().get(key).cloned(),
            ) {
                (None, _) => Process::Absent,
                (Some(ProcessState::Running { .. }), Some(settings)) => Process::Running(settings),
                // One that was started and did not become ready is no server.
                (Some(ProcessState::Running { .. }), None) => {
                    self.agent.stop_detached(&server.endpoint, REDIS_PROGRAM)?;
                    Process::Ended
                }
                (Some(ProcessState::Ended(_)), _) => Process::Ended,
            };
            observed.insert(key.clone(), process);
        }
        Ok(observed)
    }

    /// Waits until a redis-server says that it accepts connections.
    fn await_redis(&self, endpoint: &str) -> Result<(), LabError> {
        let deadline = Instant::now() + REDIS_PATIENCE;
        loop {
            let log = self.agent.read_log(endpoint, REDIS_PROGRAM)?.text;
            if log.contains("Ready to accept connections") {
                return Ok(());
            }
            let server = state(&self.agent, endpoint, REDIS_PROGRAM)?;
            let running = matches!(server, Some(ProcessState::Running { .. }));
            if !running || Instant::now() > deadline {
                let last: Vec<_> = log.lines().rev().take(3).collect();
                let last: Vec<_> = last.into_iter().rev().collect();
                return Err(LabError::Server(format!("redis-server did not start: {}", last.join("; "))));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Starts the startup scripts of instances that are new.
    fn boot(&mut self) -> Result<(), LabError> {
        // The script goes in on stdin, is a file with its own first line, and runs as root, as on Google's images.
        const RUN: &str = "f=$(mktemp) && cat >\"$f\" && chmod 700 \"$f\" && exec \"$f\" </dev/null";
        // An instance that was taken back after a failure leaves its id to another.
        let running = self.world.instances.values().filter(|instance| instance.running);
        let ids: BTreeSet<u64> = running.map(|instance| instance.id).collect();
        self.booted.retain(|id, _| ids.contains(id));
        for (key, instance) in self.world.instances.iter().filter(|(_, instance)| instance.running) {
            if self.booted.insert(instance.id, instance.starts) == Some(instance.starts) {
                continue;
            }
            if let Some(script) = instance.metadata.get("startup-script") {
                let endpoint = Owner::Instance(key.clone()).to_string();
                let program = Program::new(["/bin/sh", "-c", RUN]);
                self.agent.start_detached(
                    &endpoint,
                    STARTUP_SCRIPT,
                    program,
                    Some(script.clone().into_bytes()),
                )?;
            }
        }
        Ok(())
    }
}

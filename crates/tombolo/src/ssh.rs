//! `tombolo compute ssh` and `tombolo compute start-iap-tunnel`: through the firewall, as gcloud goes.
//!
//! ```text
//!   ssh ─stdin, stdout─ start-iap-tunnel ─ a TCP connection of the lab's ─ iap 35.235.240.1 ─ vpc ─ firewall ─ VM, port 22
//! ```

use crate::clients::quoted;
use crate::lab::{LabArgs, Running};
use crate::trace::explain;
use anyhow::{Context, Result, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{User, geteuid};
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;
use tombolo_agent::Agent;
use tombolo_fabric::{Flow, IAP_CLIENT, Owner};
use tombolo_model::{InstanceKey, Protocol};
use tombolo_server::View;
use tombolo_server::control::{Request, Response, ask};
use tombolo_server::paths::LabDir;
use tombolo_server::ssh::Login;
use tombolo_ssh::{Identity, is_user_name};

/// The port of the ssh server.
const SSH: u16 = 22;
/// How long a connection may take to be made. In the lab it takes well below a millisecond, or for ever.
const PATIENCE: Duration = Duration::from_secs(5);
/// ssh's own exit status for a failure of its own.
const FAILED: u8 = 255;

/// Which VM.
#[derive(Debug, clap::Args)]
struct Place {
    /// The VM's zone, where its name does not say which VM it is
    #[arg(long)]
    zone: Option<String>,
    /// The VM's project, where its name does not say which VM it is
    #[arg(long)]
    project: Option<String>,
    #[command(flatten)]
    lab: LabArgs,
}

/// Arguments of `compute ssh`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The VM, and who to log in as; by default, your own name on this machine
    #[arg(value_name = "[USER@]INSTANCE")]
    target: String,
    /// A command to run instead of a shell
    #[arg(long)]
    command: Option<String>,
    /// A flag for ssh; may be said more than once
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    ssh_flag: Vec<String>,
    /// As always here: the VMs of a lab are reached through Identity-Aware Proxy
    #[arg(long)]
    tunnel_through_iap: bool,
    /// Print the ssh command instead of running it
    #[arg(long)]
    dry_run: bool,
    /// What ssh is given behind the host: flags, and a command to run
    #[arg(last = true)]
    ssh_args: Vec<String>,
    #[command(flatten)]
    place: Place,
}

/// Arguments of `compute start-iap-tunnel`.
#[derive(Debug, clap::Args)]
pub(crate) struct TunnelArgs {
    /// The VM
    instance: String,
    /// Its port
    port: u16,
    /// Connect stdin and stdout to the VM: what ssh runs as its ProxyCommand
    #[arg(long, conflicts_with = "local_host_port")]
    listen_on_stdin: bool,
    /// Where to listen for connections to pass on; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:0")]
    local_host_port: String,
    #[command(flatten)]
    place: Place,
}

/// The one VM that is meant.
fn instance(view: &View<'_>, name: &str, place: &Place) -> Result<InstanceKey> {
    let fits = |key: &&InstanceKey| {
        key.name == name
            && place.zone.as_ref().is_none_or(|zone| key.zone == *zone)
            && place.project.as_ref().is_none_or(|project| key.project == *project)
    };
    let found: Vec<_> = view.world.instances.keys().filter(fits).collect();
    if let [one] = found[..] {
        return Ok(one.clone());
    }
    // With its words for one that is not there, or is there twice.
    let key = view.instance(name).map_err(|e| anyhow!(e))?;
    let elsewhere = || anyhow!("there is no instance '{name}' in that place: there is {key}");
    Some(key).filter(|key| fits(key) || key.name != name).cloned().ok_or_else(elsewhere)
}

/// Becomes ssh.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    // Like ssh: everything that is not the command's exit status is 255.
    match become_ssh(args) {
        Ok(code) => Ok(code),
        Err(error) => {
            eprintln!("{}: {error:#}", crate::output::red("error"));
            Ok(ExitCode::from(FAILED))
        }
    }
}

fn become_ssh(args: &Args) -> Result<ExitCode> {
    let running = Running::find(&args.place.lab)?;
    let view = running.view();
    let (user, name) = match args.target.split_once('@') {
        Some((user, name)) => (user.to_owned(), name),
        None => (own_name(), args.target.as_str()),
    };
    if !is_user_name(&user) {
        bail!("'{user}' is not the name of a user; write USER@{name}");
    }
    let key = instance(&view, name, &args.place)?;
    let id = view.world.instances.get(&key).context("the instance is gone")?.id;
    let dir = LabDir::of(&args.place.lab.lab);
    let folder = client_folder(&dir)?;
    let identity = Identity::in_file(&folder.join("tombolo_compute_engine"), &format!("{user}@tombolo"))?;
    let login = Login { instance: key.clone(), user: user.clone(), public_key: identity.public.clone() };
    let host_key = match ask(&dir, Request::Login(login)) {
        Some(Response::Login { host_key }) => host_key,
        Some(Response::Failed { message }) => bail!(message),
        _ => bail!("the lab does not answer"),
    };
    // The name that gcloud gives to a host whose addresses and names come and go.
    let alias = format!("compute.{id}");
    let hosts = folder.join(format!("known_hosts.{id}"));
    write(&hosts, format!("{alias} {host_key}\n").as_bytes()).with_context(|| hosts.display().to_string())?;

    let mut command = Command::new("ssh");
    let option = |name: &str, value: &str| ["-o".to_owned(), format!("{name}={value}")];
    command.args(option("ProxyCommand", &proxy_command(&key, &args.place.lab)?));
    command.args(option("HostKeyAlias", &alias));
    command.args(option("UserKnownHostsFile", &file_of_ssh(&hosts)));
    command.args(option("GlobalKnownHostsFile", "/dev/null"));
    command.args(option("StrictHostKeyChecking", "yes"));
    command.args(option("CheckHostIP", "no"));
    command.args(option("IdentitiesOnly", "yes"));
    command.args(option("PasswordAuthentication", "no"));
    command.arg("-i").arg(&identity.path);
    command.args(&args.ssh_flag).arg(format!("{user}@{alias}")).args(&args.ssh_args);
    if let Some(text) = &args.command {
        command.arg("--").arg(text);
    }
    if args.dry_run {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words.map(|word| quoted(&word.to_string_lossy())).collect();
        println!("{}", words.join(" "));
        return Ok(ExitCode::SUCCESS);
    }
    Err(command.exec()).context("run ssh: is openssh-client installed?")
}

/// This user's name on this machine, which is gcloud's choice too.
fn own_name() -> String {
    User::from_uid(geteuid()).ok().flatten().map(|user| user.name).unwrap_or_default()
}

/// Where the key and the host keys are: with what the lab keeps.
fn client_folder(dir: &LabDir) -> Result<PathBuf> {
    match ask(dir, Request::Api) {
        Some(Response::Api(api)) => Ok(api.state.join("ssh")),
        _ => bail!("the lab does not answer"),
    }
}

/// Writes a file for its owner, whole or not at all: another ssh may be reading it.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    std::fs::rename(&beside, path)
}

/// How ssh's options write a file: percent signs are tokens there, and spaces separate files.
fn file_of_ssh(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('%', "%%"))
}

/// The command by which ssh gets to the VM; a shell reads it, which ssh has exec it.
fn proxy_command(key: &InstanceKey, lab: &LabArgs) -> Result<String> {
    let exe = std::env::current_exe()?.display().to_string();
    let InstanceKey { project, zone, name } = key;
    let port = SSH.to_string();
    let words = [
        &exe,
        "compute",
        "start-iap-tunnel",
        name,
        &port,
        "--listen-on-stdin",
        "--project",
        project,
        "--zone",
        zone,
        "--lab",
        &lab.lab,
    ];
    let words: Vec<_> = words.into_iter().map(quoted).collect();
    Ok(words.join(" ").replace('%', "%%"))
}

/// Passes connections on to a port of a VM.
pub(crate) fn tunnel(args: &TunnelArgs) -> Result<ExitCode> {
    let running = Running::find(&args.place.lab)?;
    let view = running.view();
    let key = instance(&view, &args.instance, &args.place)?;
    let flow = flow(&view, &key, args.port)?;
    if args.listen_on_stdin {
        return Ok(match connect(view.agent, &flow)? {
            Ok(stream) => {
                on_stdio(&stream, view.agent)?;
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{}", no_connection(&view, &key, &flow, &error));
                ExitCode::from(1)
            }
        });
    }
    let listener = TcpListener::bind(&args.local_host_port)
        .with_context(|| format!("listen at {}", args.local_host_port))?;
    crate::output::print(&format!("Listening at {}; Ctrl-C ends it\n", listener.local_addr()?));
    thread::scope(|scope| {
        loop {
            let (client, _) = listener.accept()?;
            let (view, key, flow) = (&view, &key, &flow);
            scope.spawn(move || match connect(view.agent, flow) {
                Ok(Ok(stream)) => drop(both_ways(&client, &stream)),
                Ok(Err(error)) => eprintln!("{}", no_connection(view, key, flow, &error)),
                Err(error) => eprintln!("{}: {error:#}", crate::output::red("error")),
            });
        }
    })
}

/// The flow from the proxy's client to a port of a VM, in the network of its first interface.
fn flow(view: &View<'_>, key: &InstanceKey, port: u16) -> Result<Flow> {
    let instance = view.world.instances.get(key).context("the instance is gone")?;
    let nic = &instance.nics[0];
    let Protocol::Number(protocol) = Protocol::TCP else { bail!("TCP has no number") };
    Ok(Flow {
        network: nic.network.clone(),
        nic: IAP_CLIENT,
        source: IAP_CLIENT.into(),
        destination: nic.address.into(),
        protocol,
        port,
    })
}

fn connect(agent: &Agent, flow: &Flow) -> Result<io::Result<TcpStream>> {
    let IpAddr::V4(to) = flow.destination else { bail!("Identity-Aware Proxy has no IPv6") };
    let to = SocketAddrV4::new(to, flow.port);
    Ok(agent.connect_from(&Owner::Iap(flow.network.clone()).to_string(), to, PATIENCE)?)
}

/// Why there is no connection, as far as the World says.
fn no_connection(view: &View<'_>, key: &InstanceKey, flow: &Flow, error: &io::Error) -> String {
    let what = match error.kind() {
        io::ErrorKind::TimedOut => format!("no answer within {} s", PATIENCE.as_secs()),
        _ => error.to_string(),
    };
    let head = format!("tombolo: cannot connect to port {} of {}: {what}", flow.port, key.name);
    // Where the way is free it is the VM that does not want the connection.
    if view.trace(flow).cause().is_none() {
        return format!("{head}\nThe network lets the connection through; does a program listen there?");
    }
    format!("{head}\n\n{}", explain(view, flow, None).trim_end())
}

/// Connects stdin and stdout to a stream until the far side ends it, or the lab is gone.
fn on_stdio(stream: &TcpStream, agent: &Agent) -> Result<()> {
    let watch = agent.watch()?;
    let (ended, sending) = (stream.try_clone()?, stream.try_clone()?);
    // A lab that is killed says nothing to the connections through it.
    thread::spawn(move || {
        let mut gone = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
        while poll(&mut gone, PollTimeout::NONE).is_err() {}
        let _ = ended.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        copy(io::stdin().lock(), &sending);
        let _ = sending.shutdown(Shutdown::Write);
    });
    copy(stream, io::stdout().lock());
    Ok(())
}

/// Copies between two streams until both sides have ended.
fn both_ways(one: &TcpStream, other: &TcpStream) -> io::Result<()> {
    thread::scope(|scope| {
        scope.spawn(|| {
            copy(one, other);
            let _ = other.shutdown(Shutdown::Write);
        });
        copy(other, one);
        one.shutdown(Shutdown::Write)
    })
}

/// Copies until the end, of whichever side.
fn copy(mut from: impl Read, mut to: impl Write) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(got) => {
                if to.write_all(&buffer[..got]).and_then(|()| to.flush()).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

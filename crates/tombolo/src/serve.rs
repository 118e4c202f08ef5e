//! `tombolo serve`.

use crate::lab::{LabArgs, StartArgs, options};
use crate::output::print;
use anyhow::{Context, Result, anyhow, bail};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tombolo_server::control::{ApiAddress, Control, Ended};
use tombolo_server::guest::sends_pings;
use tombolo_server::http::{AllowedHost, Guard, Limits, Proxy, Server, Token};
use tombolo_server::paths::LabDir;
use tombolo_server::store::Store;
use tombolo_server::{Begin, Cloud, CloudOptions, Options};
use tombolo_ssh::Secret;

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder of what outlives the server [default: $XDG_STATE_HOME/tombolo/LAB, else ~/.local/state/tombolo/LAB]
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one. Beyond loopback, clients need the token in the state folder
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Answer with an operation that is RUNNING, not when it is done
    #[arg(long)]
    async_operations: bool,
    /// A host that programs in `tombolo env --proxy` may reach beside Google's; may be given several times
    #[arg(long, value_name = "HOST[:PORT]")]
    allow_host: Vec<AllowedHost>,
    /// For how many seconds the VMs go on when the server is killed, for one that is started again to take over
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    keep: u32,
    #[command(flatten)]
    start: StartArgs,
    #[command(flatten)]
    lab: LabArgs,
}

/// Serves until a signal, `tombolo down` or the agent's end.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let dir = LabDir::of(&args.lab.lab);
    let control = Control::bind(&dir).context(dir.path.display().to_string())?;
    let served = serve(args, &dir, &control);
    control.close();
    match served? {
        Ended::Asked => Ok(ExitCode::SUCCESS),
        Ended::AgentGone => bail!("the agent is gone, and the lab with it"),
    }
}

fn serve(args: &Args, dir: &LabDir, control: &Control) -> Result<Ended> {
    let started = Instant::now();
    let listener = TcpListener::bind(args.listen).with_context(|| {
        format!("listen at {}; --listen {}:0 takes a free port", args.listen, args.listen.ip())
    })?;
    let state = state_folder(args)?;
    let store = Store::open(&state)?;
    let api = ApiAddress {
        address: listener.local_addr()?,
        // Other processes are in other folders.
        state: state.canonicalize().with_context(|| state.display().to_string())?,
        token: !args.listen.ip().is_loopback(),
    };
    let (asynchronous, allowed) = (args.async_operations, args.allow_host.clone());
    let keep = Duration::from_secs(args.keep.into());
    let start = args.start;
    let serving = Serving { dir, control, listener, api, asynchronous, allowed, keep, start };
    let begin = |lab| Ok(Begin::Kept(store, lab));
    serving.run(begin, |api, cloud| {
        print(&greeting(api, &args.lab.lab));
        if let Some(edits) = cloud.resumed() {
            print(&format!("\nThe lab of the server before goes on; {edits} edits made it what is kept\n"));
        }
        print(&format!("\nup in {:.2} s; Ctrl-C ends it\n", started.elapsed().as_secs_f64()));
        Ok(())
    })
}

/// A lab about to be served.
pub(crate) struct Serving<'a> {
    pub(crate) dir: &'a LabDir,
    pub(crate) control: &'a Control,
    pub(crate) listener: TcpListener,
    pub(crate) api: ApiAddress,
    /// Answer with the operation as it begins, not as it ends.
    pub(crate) asynchronous: bool,
    /// Hosts that tunnels may go to, beside Google's.
    pub(crate) allowed: Vec<AllowedHost>,
    /// For how long the lab goes on when this process is killed.
    pub(crate) keep: Duration,
    /// What it is like.
    pub(crate) start: StartArgs,
}

impl Serving<'_> {
    /// Makes real what such a lab begins with, says so, and serves until a signal, `tombolo down` or the agent's end.
    pub(crate) fn run(
        self,
        begin: impl FnOnce(Options) -> Result<Begin>,
        is_up: impl FnOnce(&ApiAddress, &Cloud) -> Result<()>,
    ) -> Result<Ended> {
        let Serving { dir, control, listener, api, asynchronous, allowed, keep, start } = self;
        let guard = match api.token {
            true => Guard::Token(
                Token::in_file(&api.token_file()).with_context(|| api.token_file().display().to_string())?,
            ),
            false => Guard::Local,
        };
        let secret = api.state.join("ssh/host-secret");
        let secret = Secret::in_file(&secret).with_context(|| secret.display().to_string())?;
        let own_ports = vec![api.address.port()];
        let mut lab =
            Options { ssh: Some(secret), keep, own_ports, lazy: start.lazy(), ..options(Some(dir.agent()))? };
        lab.hide.push(api.state.clone());
        let (reaches_host, pings_host) = (start.reaches_host(), sends_pings());
        let begin = begin(lab)?;
        start.note_less();
        let options = CloudOptions { asynchronous, agent: dir.agent(), reaches_host, pings_host };
        let (cloud, writer) = Cloud::start(begin, options)?;
        let proxy = Proxy::new(&api.state, allowed);
        let server = Server::start_with(listener, cloud.clone(), guard, Limits::default(), Some(proxy))?;
        is_up(&api, &cloud)?;
        let ended = control.serve(cloud.as_ref(), &api);
        server.stop();
        cloud.end();
        writer.join().map_err(|_| anyhow!("the writer failed"))?;
        Ok(ended?)
    }
}

fn state_folder(args: &Args) -> Result<PathBuf> {
    if let Some(folder) = &args.state {
        return Ok(folder.clone());
    }
    let set = |variable| std::env::var_os(variable).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
    let base = base.context("neither XDG_STATE_HOME nor HOME is set: say --state FOLDER")?;
    Ok(base.join("tombolo").join(&args.lab.lab))
}

/// Where it is, and how each tool gets there.
fn greeting(api: &ApiAddress, lab: &str) -> String {
    let lab = if lab == "default" { String::new() } else { format!(" --lab {lab}") };
    let mut text = format!("Google's APIs are answered at {}\n", api.url());
    if api.token {
        text += &format!("Clients need the token in {}\n", api.token_file().display());
    }
    text + &format!(
        "What is made is kept in {}\n\n\
         gcloud:     eval \"$(tombolo env{lab})\"        or: tombolo gcloud{lab} -- compute networks list\n\
         Terraform:  tombolo env{lab} --terraform > provider.tf\n\
         Python:     tombolo env{lab} --python\n\
         Node:       tombolo env{lab} --node\n\
         anything:   eval \"$(tombolo env{lab} --proxy)\"\n",
        api.state.display()
    )
}

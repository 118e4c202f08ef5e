//! `tombolo`: one file per verb. Exit status: 0 yes, 1 no, 2 error; `exec` and `shell` have their program's.

mod agree;
mod check;
mod clients;
mod demo;
mod exec;
mod lab;
mod output;
mod serial;
mod serve;
mod ssh;
mod status;
mod steps;
mod trace;
mod transparent;
mod up;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Google Cloud networking on one machine, with real packets
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Walk the story: a Redis behind two peerings, why it cannot be reached, and the proxy that gets there
    #[command(after_help = "Example:\n  tombolo demo\n  tombolo demo --proxy nutcracker --format json")]
    Demo(demo::Args),
    /// Bring a topology file up and keep it running (Ctrl-C ends it)
    #[command(
        after_help = "Example:\n  tombolo up examples/article.yaml\n  tombolo up examples/article.yaml --detach"
    )]
    Up(up::Args),
    /// Answer Google's APIs: gcloud, Terraform and the client libraries make the lab, and it outlives the server
    #[command(
        after_help = "Example:\n  tombolo serve\n  tombolo serve --state ./lab --listen 127.0.0.1:9000\n\nThen, in another terminal: eval \"$(tombolo env)\", and use gcloud. Ctrl-C ends the lab; the next `serve` brings it up\nagain as it was."
    )]
    Serve(serve::Args),
    /// Print what makes gcloud, Terraform, Python or Node use a lab that `serve` serves
    #[command(
        after_help = "Example:\n  eval \"$(tombolo env)\"\n  tombolo env --terraform > provider.tf\n  eval \"$(tombolo env --proxy)\"        # for any program"
    )]
    Env(clients::EnvArgs),
    /// Run gcloud on a lab that `serve` serves, without touching gcloud's own configuration
    #[command(
        after_help = "Example:\n  tombolo gcloud -- projects create project-1\n  tombolo gcloud -- compute networks list --project project-1"
    )]
    Gcloud(clients::GcloudArgs),
    /// What `gcloud compute` has, without gcloud
    Compute(Compute),
    /// End a lab that is up
    #[command(after_help = "Example:\n  tombolo down")]
    Down(up::DownArgs),
    /// List networks, instances, peerings and redis instances of a lab that is up
    #[command(after_help = "Example:\n  tombolo status\n  tombolo status --format json")]
    Status(status::Args),
    /// Run a program in a VM, with its exit status
    #[command(after_help = "Example:\n  tombolo exec vm-1 -- ping -c1 10.2.0.2")]
    Exec(exec::Args),
    /// Open a shell in a VM
    #[command(after_help = "Example:\n  tombolo shell vm-1")]
    Shell(exec::ShellArgs),
    /// Print what a VM's startup script, or a redis instance's server, printed last
    #[command(after_help = "Example:\n  tombolo serial-output redis-proxy")]
    SerialOutput(serial::Args),
    /// Say what happens to a packet, step by step, and what would get it there
    #[command(
        after_help = "Example:\n  tombolo trace vm-1 redis-1:6379\n  tombolo trace vm-1 10.2.0.2 --protocol icmp\n  tombolo trace iap vm-1:22\n\n`iap` is the client of Identity-Aware Proxy in the destination's network, by which one reaches a VM without an\nexternal address. Exit status: 0 reachable, 1 not, 2 error."
    )]
    Trace(trace::Args),
    /// Run the checks of a topology file, in a lab made for them
    #[command(
        after_help = "Example:\n  tombolo check examples/article.yaml\n  tombolo check examples/article.yaml --running\n\nExit status: 0 all as expected, 1 some not, 2 error."
    )]
    Check(check::Args),
    /// Make random worlds and compare what trace says with what real packets do
    #[command(
        after_help = "Example:\n  tombolo agree --worlds 200 --seed 1\n\nExit status: 0 no disagreement, 1 some, 2 error."
    )]
    Agree(agree::Args),
    /// Print the JSON Schema of topology files, for editors
    #[command(after_help = "Example:\n  tombolo schema > topology.schema.json")]
    Schema,
}

/// Arguments of `compute`.
#[derive(Debug, clap::Args)]
struct Compute {
    #[command(subcommand)]
    verb: ComputeVerb,
}

/// What to do with Compute Engine's resources.
#[derive(Debug, Subcommand)]
enum ComputeVerb {
    /// Log in to a VM by ssh, through its firewall, and run a command or a shell; the exit status is the command's
    #[command(
        after_help = "Example:\n  tombolo compute ssh vm-1\n  tombolo compute ssh alice@vm-1 --command 'uname -a'\n  tombolo compute ssh vm-2 -- -N -L 6379:10.34.175.91:6379\n\nThe connection comes from Identity-Aware Proxy (35.235.240.1) to port 22 of the VM. The key that is used is made when\nit is missing, and put into the project's metadata, or the instance's if that blocks the project's keys. Exit status:\nthe command's; 255 when there is no connection or no login."
    )]
    Ssh(ssh::Args),
    /// Connect to a port of a VM through Identity-Aware Proxy, and so through its firewall
    #[command(
        after_help = "Example:\n  tombolo compute start-iap-tunnel vm-1 22 --listen-on-stdin\n  tombolo compute start-iap-tunnel vm-1 8080 --local-host-port localhost:8080"
    )]
    StartIapTunnel(ssh::TunnelArgs),
}

fn main() -> ExitCode {
    // The agent's own subcommands come first: they must not find a second thread, nor be in the help.
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_deref().and_then(|a| a.to_str()) {
        Some("agent") => return tombolo_agent::main_agent(arguments),
        Some("vm-init") => return tombolo_agent::main_vm_init(arguments),
        Some("vm-sshd") => return tombolo_ssh::main(),
        _ => {}
    }
    let result = match Cli::parse().verb {
        Verb::Demo(args) => demo::run(&args),
        Verb::Up(args) => up::run(&args),
        Verb::Serve(args) => serve::run(&args),
        Verb::Env(args) => clients::env(&args),
        Verb::Gcloud(args) => clients::gcloud(&args),
        Verb::Compute(Compute { verb }) => match verb {
            ComputeVerb::Ssh(args) => ssh::run(&args),
            ComputeVerb::StartIapTunnel(args) => ssh::tunnel(&args),
        },
        Verb::Down(args) => up::down(&args),
        Verb::Status(args) => status::run(&args),
        Verb::Exec(args) => exec::run(args),
        Verb::Shell(args) => exec::shell(args),
        Verb::SerialOutput(args) => serial::run(&args),
        Verb::Trace(args) => trace::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Agree(args) => agree::run(&args),
        Verb::Schema => schema(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("{}: {error:#}", output::red("error"));
        ExitCode::from(2)
    })
}

/// Prints the JSON Schema of topology files.
fn schema() -> anyhow::Result<ExitCode> {
    output::json(&tombolo_topology::json_schema())?;
    Ok(ExitCode::SUCCESS)
}

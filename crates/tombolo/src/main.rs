//! `tombolo`: one file per verb. Exit status: 0 yes, 1 no (or refused by the API), 2 error; `exec`
//! and `shell` have their program's.

mod agree;
mod capture;
mod check;
mod clients;
mod completion;
mod demo;
mod exec;
mod fault;
mod gcloud;
mod lab;
mod logs;
mod output;
mod serial;
mod serve;
mod ssh;
mod status;
mod stdin;
mod steps;
mod trace;
mod transfer;
mod transparent;
mod up;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::process::ExitCode;

/// Thousands of VMs are millions of small allocations: what they cost is measured in bench/README.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Google Cloud networking on one machine, with real packets
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, propagate_version = true)]
#[command(
    after_help = "Example:\n  tombolo demo\n  tombolo up examples/article.yaml --detach\n  tombolo status\n  tombolo exec vm-1 -- ping -c1 10.2.0.2\n  tombolo trace vm-1 redis-1:6379\n  tombolo down"
)]
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
        after_help = "Example:\n  tombolo up examples/article.yaml\n  tombolo up examples/article.yaml --detach\n  tombolo up examples/article.yaml --internet host\n\nThe file becomes requests to Google's APIs, which the lab then answers as one that `serve` serves: to `tombolo compute …`, and to whoever has the token that `tombolo env` names. Nothing of it is kept when it ends.\n\nWith `--internet host`, VMs that have an external address or Cloud NAT reach the host's own network by TCP, UDP and pings, private addresses (RFC 1918) in it too, but never what subnetworks of the lab have, the host's loopback, its link or the lab's server. It is off by default."
    )]
    Up(up::Args),
    /// Answer Google's APIs: gcloud, Terraform and the client libraries make the lab, and it outlives the server
    #[command(
        after_help = "Example:\n  tombolo serve\n  tombolo serve --state ./lab --listen 127.0.0.1:9000\n  tombolo serve --internet host\n\nThen, in another terminal: eval \"$(tombolo env)\", and use gcloud. Ctrl-C ends the lab; the next `serve` brings it up again as it was. What `--internet host` lets through `tombolo up --help` says; the next `serve` has to say it again."
    )]
    Serve(serve::Args),
    /// Print what makes gcloud, Terraform, Python or Node use a lab that is up
    #[command(
        after_help = "Example:\n  eval \"$(tombolo env)\"\n  tombolo env --terraform > provider.tf\n  tombolo env --terraform --beta > provider.tf    # with google-beta\n  eval \"$(tombolo env --proxy)\"        # for any program"
    )]
    Env(clients::EnvArgs),
    /// Run gcloud on a lab that is up, without touching gcloud's own configuration
    #[command(
        after_help = "Example:\n  tombolo gcloud -- projects create project-1\n  tombolo gcloud -- compute networks list --project project-1"
    )]
    Gcloud(clients::GcloudArgs),
    /// Projects of a lab that is up, in gcloud's grammar
    #[command(after_help = "Example:\n  tombolo projects create project-i-1\n  tombolo projects list")]
    Projects(gcloud::Projects),
    /// The organization of a lab that is up, in gcloud's grammar
    #[command(after_help = "Example:\n  tombolo organizations list")]
    Organizations(gcloud::Organizations),
    /// Folders and secure tags of a lab that is up, in gcloud's grammar
    #[command(
        after_help = "Example:\n  tombolo resource-manager folders list --organization 433637338589\n  tombolo resource-manager tags keys list --parent projects/my-project"
    )]
    ResourceManager(gcloud::ResourceManager),
    /// Services of a project, and private connections to Google's, in gcloud's grammar
    #[command(
        after_help = "Example:\n  tombolo services enable compute.googleapis.com redis.googleapis.com\n  tombolo services vpc-peerings list --network vpc-1"
    )]
    Services(gcloud::Services),
    /// Networks, firewalls, routes, addresses, forwarding rules and instances, and ssh to these, in gcloud's grammar
    #[command(
        after_help = "Example:\n  tombolo compute networks list\n  tombolo compute firewall-rules create ssh --network vpc-1 --allow tcp:22\n  tombolo compute ssh vm-1"
    )]
    Compute(gcloud::Compute),
    /// Memorystore for Redis, in gcloud's grammar
    #[command(after_help = "Example:\n  tombolo redis instances list --region us-central1")]
    Redis(gcloud::Redis),
    /// End a lab that is up
    #[command(after_help = "Example:\n  tombolo down")]
    Down(up::DownArgs),
    /// Write a lab that is up as a topology file
    #[command(
        after_help = "Example:\n  tombolo export lab.yaml\n\nWhat a topology file has no words for (descriptions, labels and the like) is told on stderr. Operations, numbers and times are never in it. Exit status: 0 a lab of the file does the same, 1 it lacks more than what is only said of resources, 2 error."
    )]
    Export(transfer::ExportArgs),
    /// Make what a topology file says in a lab that is served and empty; it is there after a restart too
    #[command(after_help = "Example:\n  tombolo import lab.yaml")]
    Import(transfer::ImportArgs),
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
    /// Print what firewall rules and subnetworks' flow logs have logged, or how often each rule has decided
    #[command(
        after_help = "Example:\n  tombolo logs firewall --follow\n  tombolo logs firewall --counts\n  tombolo logs flows --vm vm-1"
    )]
    Logs(logs::Args),
    /// Say what happens to a packet, step by step, and what would get it there
    #[command(
        after_help = "Example:\n  tombolo trace vm-1 redis-1:6379\n  tombolo trace vm-1 10.2.0.2 --protocol icmp\n  tombolo trace iap vm-1:22\n\n`iap` is the client of Identity-Aware Proxy in the destination's network, by which one reaches a VM without an external address. Exit status: 0 reachable, 1 not, 2 error."
    )]
    Trace(trace::Args),
    /// Print or write the packets of an interface of a VM or a redis instance
    #[command(
        after_help = "Example:\n  tombolo capture vm-1 --count 10\n  tombolo capture redis-1 -w redis.pcap\n  tombolo capture vm-1 -i nic1 -w - | tcpdump -n -r - port 6379\n\nIt hears both directions, what comes before the firewall's gates on the way out and behind them on the way in, as tcpdump would in the VM."
    )]
    Capture(capture::Args),
    /// Lose or delay packets at an interface or between peered networks, or bound the bandwidth there
    #[command(
        after_help = "Example:\n  tombolo fault add vm-1 --loss 10% --latency 20ms\n  tombolo fault list\n  tombolo fault remove --all"
    )]
    Fault(fault::Args),
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
    /// Print what makes a shell complete verbs and flags
    #[command(
        after_help = "Example:\n  source <(tombolo completion bash)\n  tombolo completion zsh > \"${fpath[1]}/_tombolo\"\n  tombolo completion fish > ~/.config/fish/completions/tombolo.fish"
    )]
    Completion(completion::Args),
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
    let matches = Cli::command().get_matches();
    let verb = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).verb;
    let name = gcloud::verb_name(&matches);
    let result = match verb {
        Verb::Demo(args) => demo::run(&args),
        Verb::Up(args) => up::run(&args),
        Verb::Serve(args) => serve::run(&args),
        Verb::Env(args) => clients::env(&args),
        Verb::Gcloud(args) => clients::gcloud(&args),
        Verb::Projects(noun) => gcloud::run(&noun, &name),
        Verb::Organizations(noun) => gcloud::run(&noun, &name),
        Verb::ResourceManager(noun) => gcloud::run(&noun, &name),
        Verb::Services(noun) => gcloud::run(&noun, &name),
        Verb::Compute(noun) => noun.run(&name),
        Verb::Redis(noun) => gcloud::run(&noun, &name),
        Verb::Down(args) => up::down(&args),
        Verb::Export(args) => transfer::export(&args),
        Verb::Import(args) => transfer::import(&args),
        Verb::Status(args) => status::run(&args),
        Verb::Exec(args) => exec::run(args),
        Verb::Shell(args) => exec::shell(args),
        Verb::SerialOutput(args) => serial::run(&args),
        Verb::Logs(args) => logs::run(&args),
        Verb::Trace(args) => trace::run(&args),
        Verb::Capture(args) => capture::run(&args),
        Verb::Fault(args) => fault::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Agree(args) => agree::run(&args),
        Verb::Schema => schema(),
        Verb::Completion(args) => completion::run(&args, Cli::command()),
    };
    result.unwrap_or_else(|error| {
        let error = format!("{error:#}");
        let advice = tombolo_agent::open_files(&error).unwrap_or_default();
        eprintln!("{}: {error}{advice}", output::red("error"));
        ExitCode::from(2)
    })
}

/// Prints the JSON Schema of topology files.
fn schema() -> anyhow::Result<ExitCode> {
    output::json(&tombolo_topology::json_schema())?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flags of nouns and of their verbs must not clash; and every verb and group has an example, which fits a terminal.
    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
        let mut without = Vec::new();
        let mut left: Vec<(String, clap::Command)> = vec![(String::new(), Cli::command())];
        while let Some((path, command)) = left.pop() {
            // Of groups within groups, their verbs have one.
            let group = command.has_subcommands() && path.matches(' ').count() > 1;
            if !group && command.get_after_help().is_none() {
                without.push(path.clone());
            }
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for paragraph in help.split("\n\n") {
                // Prose is wrapped where it is shown; an example is to be copied as it stands.
                let folded = paragraph.lines().all(|line| line.chars().count() <= 80);
                let whole = if paragraph.starts_with("Example") { folded } else { !paragraph.contains('\n') };
                assert!(whole, "the help of{path} does not fit 80 columns:\n{paragraph}");
            }
            let below = |command: &clap::Command| (format!("{path} {}", command.get_name()), command.clone());
            left.extend(command.get_subcommands().map(below));
        }
        assert_eq!(without, Vec::<String>::new());
    }
}

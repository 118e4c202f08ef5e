//! `tombolo-bench-proxy`: measures, and prints a table for each point and which targets hold.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tombolo_bench_proxy::contender::{Contender, Kind};
use tombolo_bench_proxy::floor::{self, EventLoop};
use tombolo_bench_proxy::point::Point;
use tombolo_bench_proxy::results::PointResults;
use tombolo_bench_proxy::{report, targets};

/// Measures tombolo-proxy in turn with other proxies, direct Redis and a null multiplexer.
#[derive(Debug, Parser)]
#[command(name = "tombolo-bench-proxy")]
struct Args {
    #[command(subcommand)]
    helper: Option<Helper>,
    /// Points, such as get/64/50x16 (value bytes, clients x pipeline) and idle/10000; or main, or all
    #[arg(long, value_name = "POINTS", value_delimiter = ',', default_value = "main")]
    points: Vec<String>,
    /// How often each contender is measured at each point
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Whom to compare with, instead of everybody who is here; floor-mio, -tokio and -uring are measured
    /// when they are named
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    rivals: Option<Vec<Kind>>,
    /// The release binary of tombolo-proxy, if it is not beside this one
    #[arg(long, value_name = "PATH")]
    proxy: Option<PathBuf>,
    /// Times the usual number of requests
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    scale: f64,
    /// A few seconds that show whether it works, with figures that mean nothing
    #[arg(long, conflicts_with_all = ["points", "rounds", "scale"])]
    quick: bool,
    /// How to print the results
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Helper {
    /// The null multiplexer
    #[command(hide = true)]
    Floor {
        #[arg(long)]
        listen: u16,
        #[arg(long)]
        server: u16,
        /// What tells it of its sockets
        #[arg(long, value_enum)]
        event_loop: EventLoop,
    },
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tombolo-bench-proxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    raise_descriptor_limit();
    if let Some(Helper::Floor { listen, server, event_loop }) = args.helper {
        let listener = listen_on_loopback(listen)?;
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, server));
        return floor::serve(event_loop, listener, server);
    }
    let (points, rounds, scale) = match args.quick {
        true => (Point::quick(), 1, 0.1),
        false => (points(&args.points)?, args.rounds, args.scale),
    };
    let contenders = contenders(args)?;
    let mut all = Vec::new();
    for point in points {
        let results = PointResults::measure(&contenders, point, rounds, scale, |round, kind| {
            eprintln!("{point}, round {round} of {rounds}: {kind}");
        })?;
        if args.format == Format::Text {
            println!("{}", report::table(&results));
        }
        all.push(results);
    }
    let checks = targets::check(&all);
    match args.format {
        Format::Text => print!("{}", report::targets(&checks)),
        Format::Json => println!("{:#}", report::json(&all, &checks)),
    }
    Ok(())
}

fn points(texts: &[String]) -> anyhow::Result<Vec<Point>> {
    let mut points = Vec::new();
    for text in texts {
        match text.as_str() {
            "main" => points.extend(Point::main()),
            "all" => points.extend(Point::all()),
            text => points.push(text.parse()?),
        }
    }
    Ok(points)
}

/// tombolo-proxy first, then its rivals in the order of [`Kind::ALL`].
fn contenders(args: &Args) -> anyhow::Result<Vec<Contender>> {
    let wanted = |kind: Kind| match &args.rivals {
        Some(rivals) => kind == Kind::Tombolo || rivals.contains(&kind),
        None => !kind.is_hidden(),
    };
    let mut contenders = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|&kind| wanted(kind)) {
        match Contender::find(kind, args.proxy.as_deref())? {
            Some(contender) => contenders.push(contender),
            None if args.rivals.is_some() => anyhow::bail!("{kind} is not on PATH"),
            None => eprintln!("{kind} is not on PATH and is left out"),
        }
    }
    Ok(contenders)
}

/// With a queue as long as the kernel allows: thousands of clients connect at once.
fn listen_on_loopback(port: u16) -> anyhow::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM.cloexec(), None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()).context("bind")?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// As many descriptors as the system allows, for this process and those that it starts.
fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

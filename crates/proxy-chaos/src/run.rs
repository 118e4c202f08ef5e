//! A run from beginning to end.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::board::Board;
use crate::cast::Ensemble;
use crate::client::Client;
use crate::cluster::Cluster;
use crate::memory;
use crate::mutant::Sabotage;
use crate::options::Options;
use crate::process::Proxy;
use crate::reload::Reloader;
use crate::report::{Report, Tally};
use crate::schedule::Schedule;
use crate::stage::{Stage, answers};
use crate::torment::Victim;
use crate::verdict::{Finding, Wrong};

/// How often the director looks around.
const GLANCE_MS: u64 = 50;
/// When this process does not get the processor for so long, the servers may not get it either.
const STALL_MS: u64 = 150;

/// Everything that goes wrong on purpose.
struct Faults {
    victims: Vec<Victim>,
    cluster: Option<Cluster>,
    reloader: Option<Reloader>,
}

/// What clients did together, by kind.
type Together = BTreeMap<&'static str, u64>;

/// What came out.
struct Outcome {
    tally: Tally,
    together: Together,
    peak: u64,
    /// Everything answered at the end.
    end: bool,
}

/// Starts everything, lets it happen, and says what was seen. An error means that the test could
/// not be run.
pub fn run(options: &Options) -> Result<Report> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    eprintln!("seed {seed}");
    let replaced = options.mutant.is_some_and(Sabotage::replaces);
    let servers = if replaced || options.cluster { 1 } else { usize::from(options.servers) };
    let board = Arc::new(Board::new(servers, options.requests, options.rate, options.cluster));
    let program = options.proxy.clone().map_or_else(sibling, Ok)?;
    let stage = Stage::build(options, &program, &board)?;
    let Stage { proxy, victims, cluster, reloader, pools, abilities, secure: _kept } = stage;
    let started = Instant::now();
    board.begin();
    let mut ensemble = Ensemble::default();
    let clients = ensemble.gather(options.clients, seed, &pools, &abilities, &board);
    let faults = Faults { victims, cluster, reloader };
    let Outcome { tally, together, peak, end } =
        play(options, seed, &board, clients, faults, &proxy, |tally| {
            let end = answers(&pools);
            if let Err(error) = &end {
                eprintln!("at the end: {error:#}");
            }
            (ensemble.end(&pools, &board, tally), end.is_ok())
        })?;
    let (requests, replies) = board.progress();
    let mut faults = board.faults();
    faults.extend(tally.cuts.iter().map(|(kind, count)| (kind.to_string(), *count)));
    Ok(Report {
        seed,
        stage: options.stage(),
        seconds: started.elapsed().as_secs_f64(),
        clients: options.clients as usize,
        servers,
        abilities: abilities.names(),
        requests,
        replies,
        errors: tally.errors.iter().map(|(text, count)| (text.to_string(), *count)).collect(),
        faults,
        together,
        closed_with_state: tally.closed_with_state,
        wrong: Wrong::ALL.map(|wrong| (wrong, tally.wrong.get(&wrong).copied().unwrap_or(0))).into(),
        findings: tally.findings,
        max_resident_kib: peak,
        resident_limit_kib: memory::bound(options),
        answers_at_the_end: end,
    })
}

/// The proxy that was built together with this program.
fn sibling() -> Result<PathBuf> {
    let this = std::env::current_exe().context("find this program")?;
    let proxy = this.with_file_name("tombolo-proxy");
    anyhow::ensure!(proxy.exists(), "{} is not there; build it, or say --proxy FILE", proxy.display());
    Ok(proxy)
}

/// Clients and faults in threads of their own, and this one watches.
fn play(
    options: &Options,
    seed: u64,
    board: &Board,
    clients: Vec<Client<'_>>,
    faults: Faults,
    proxy: &Option<Proxy>,
    end: impl FnOnce(&mut Tally) -> (Together, bool),
) -> Result<Outcome> {
    let running = &AtomicUsize::new(clients.len());
    let calm = &Barrier::new(clients.len() + 1);
    std::thread::scope(|scope| {
        scope.spawn(|| notice_stalls(board));
        let Faults { victims, cluster, reloader } = faults;
        let cluster = cluster.map(|cluster| {
            scope.spawn(move || {
                let outcome = cluster.suffer(seed, board);
                board.end();
                outcome
            })
        });
        let reloads = reloader.zip(proxy.as_ref());
        let reloads = reloads.map(|(reloader, proxy)| scope.spawn(move || reloader.run(proxy, seed, board)));
        let victims: Vec<_> = victims
            .into_iter()
            .map(|victim| {
                scope.spawn(move || {
                    let schedule = Schedule::new(seed, victim.server, victim.relay.is_some());
                    let outcome = victim.suffer(schedule, board);
                    board.end();
                    outcome
                })
            })
            .collect();
        let clients: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                scope.spawn(move || {
                    client.run();
                    running.fetch_sub(1, SeqCst);
                    calm.wait();
                    client.verify();
                    client.tally
                })
            })
            .collect();
        let (mut tally, mut peak) = direct(options, board, running, proxy);
        board.settle();
        calm.wait();
        for client in clients {
            match client.join() {
                Ok(seen) => tally.add(seen),
                Err(_) => anyhow::bail!("a client panicked"),
            }
        }
        let (together, answers) = if board.is_over() { Default::default() } else { end(&mut tally) };
        peak = peak.max(memory_of(proxy));
        let alive = is_alive(proxy);
        board.end();
        if let Some(reloads) = reloads {
            let findings = reloads.join().map_err(|_| anyhow::anyhow!("the reloads panicked"))??;
            findings.into_iter().for_each(|finding| tally.found(finding));
        }
        for victim in victims.into_iter().chain(cluster) {
            victim.join().map_err(|_| anyhow::anyhow!("a server's thread panicked"))??;
        }
        Ok(Outcome { tally, together, peak, end: alive && answers })
    })
}

fn is_alive(proxy: &Option<Proxy>) -> bool {
    proxy.as_ref().is_none_or(Proxy::is_alive)
}

fn memory_of(proxy: &Option<Proxy>) -> u64 {
    proxy.as_ref().and_then(Proxy::peak).unwrap_or(0)
}

/// Storms and quiet stretches in turn, until every client has done its part; looks after the
/// proxy. Returns the most memory that it had.
fn direct(options: &Options, board: &Board, running: &AtomicUsize, proxy: &Option<Proxy>) -> (Tally, u64) {
    let (mut tally, mut peak) = (Tally::default(), 0);
    let terminal = std::io::stderr().is_terminal() && !options.verbose;
    let (mut storm_until, mut quiet_until) = (0, 0);
    while running.load(SeqCst) > 0 {
        let ((requests, replies), now) = (board.progress(), board.now());
        let storms = !options.mutant.is_some_and(Sabotage::replaces) && !board.is_enough();
        if board.is_storm() && (requests >= storm_until || !storms) {
            board.set_storm(false);
            quiet_until = now + options.quiet;
        } else if storms && !board.is_storm() && now >= quiet_until {
            storm_until = requests + options.storm;
            board.set_storm(true);
        }
        peak = peak.max(memory_of(proxy));
        if terminal {
            let weather = if board.is_storm() { "storm" } else { "quiet" };
            let _ = write!(std::io::stderr(), "\r{requests} requests, {replies} replies checked, {weather} ");
        }
        if !is_alive(proxy) && !board.is_over() {
            let log = proxy.as_ref().map(Proxy::log).unwrap_or_default();
            tally.found(Finding::new(Wrong::UnexpectedClose, format!("the proxy has ended:\n{log}")));
            board.end();
        }
        board.sleep(GLANCE_MS);
        if board.is_over() {
            std::thread::sleep(Duration::from_millis(GLANCE_MS));
        }
    }
    board.set_storm(false);
    if terminal {
        let _ = writeln!(std::io::stderr());
    }
    (tally, peak)
}

/// A machine that stands still is a fault too: of every server.
fn notice_stalls(board: &Board) {
    while !board.is_over() {
        let before = board.now();
        board.sleep(10);
        if board.now() - before > STALL_MS {
            (0..board.servers()).for_each(|server| board.touch(server));
            board.count("machine stood still");
        }
    }
}

//! A run from beginning to end.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::board::Board;
use crate::client::Client;
use crate::options::Options;
use crate::process::Proxy;
use crate::report::{Report, Tally};
use crate::schedule::Schedule;
use crate::script::Script;
use crate::stage::{Pool, Stage, answers};
use crate::torment::Victim;
use crate::verdict::{Finding, Wrong};

/// How often the director looks around.
const GLANCE_MS: u64 = 50;
/// When this process does not get the processor for so long, the servers may not get it either.
const STALL_MS: u64 = 150;

/// Starts everything, lets it happen, and says what was seen. An error means that the test could
/// not be run.
pub fn run(options: &Options) -> Result<Report> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    eprintln!("seed {seed}");
    let servers = if options.mutant.is_some() { 1 } else { usize::from(options.servers) };
    let board = Arc::new(Board::new(servers, options.requests, options.rate));
    let program = options.proxy.clone().map_or_else(sibling, Ok)?;
    let Stage { mut proxy, victims, pools, abilities } = Stage::build(options, &program, &board)?;
    let started = Instant::now();
    let clients: Vec<Client<'_>> = (0..options.clients)
        .map(|id| {
            let (kind, pool) = abilities.part(id);
            let pool = &pools[pool];
            let script = Script::new(kind, id, &pool.tags, abilities.several);
            let rng = fastrand::Rng::with_seed(seed ^ u64::from(id + 1).wrapping_mul(0x2545_f491_4f6c_dd1d));
            Client::new(pool.address, script, kind, rng, &board)
        })
        .collect();
    let (tally, resident, end) = play(options, seed, &board, clients, victims, &mut proxy, &pools)?;
    let (requests, replies) = board.progress();
    let mut faults = board.faults();
    faults.extend(tally.cuts.iter().map(|(kind, count)| (kind.to_string(), *count)));
    Ok(Report {
        seed,
        seconds: started.elapsed().as_secs_f64(),
        clients: options.clients as usize,
        servers,
        abilities: abilities.names(),
        requests,
        replies,
        errors: tally.errors.iter().map(|(text, count)| (text.to_string(), *count)).collect(),
        faults,
        closed_with_state: tally.closed_with_state,
        wrong: Wrong::ALL.map(|wrong| (wrong, tally.wrong.get(&wrong).copied().unwrap_or(0))).into(),
        findings: tally.findings,
        max_resident_kib: resident,
        resident_limit_kib: options.max_memory << 10,
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
    victims: Vec<Victim>,
    proxy: &mut Option<Proxy>,
    pools: &[Pool],
) -> Result<(Tally, u64, bool)> {
    let running = &AtomicUsize::new(clients.len());
    let calm = &Barrier::new(clients.len() + 1);
    std::thread::scope(|scope| {
        scope.spawn(|| notice_stalls(board));
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
        let (mut tally, mut resident) = direct(options, board, running, proxy);
        board.settle();
        calm.wait();
        for client in clients {
            match client.join() {
                Ok(seen) => tally.add(seen),
                Err(_) => anyhow::bail!("a client panicked"),
            }
        }
        let end = if board.is_over() { Ok(()) } else { answers(pools) };
        if let Err(error) = &end {
            eprintln!("at the end: {error:#}");
        }
        resident = resident.max(memory(proxy));
        let alive = is_alive(proxy);
        board.end();
        for victim in victims {
            victim.join().map_err(|_| anyhow::anyhow!("a server's thread panicked"))??;
        }
        Ok((tally, resident, alive && end.is_ok()))
    })
}

fn is_alive(proxy: &mut Option<Proxy>) -> bool {
    proxy.as_mut().is_none_or(|proxy| proxy.process.is_alive())
}

fn memory(proxy: &Option<Proxy>) -> u64 {
    proxy.as_ref().and_then(|proxy| proxy.process.resident()).unwrap_or(0)
}

/// Storms and quiet stretches in turn, until every client has done its part; looks after the
/// proxy. Returns the most memory that it had.
fn direct(
    options: &Options,
    board: &Board,
    running: &AtomicUsize,
    proxy: &mut Option<Proxy>,
) -> (Tally, u64) {
    let (mut tally, mut resident) = (Tally::default(), 0);
    let terminal = std::io::stderr().is_terminal() && !options.verbose;
    let (mut storm_until, mut quiet_until) = (0, 0);
    while running.load(SeqCst) > 0 {
        let ((requests, replies), now) = (board.progress(), board.now());
        let storms = options.mutant.is_none() && !board.is_enough();
        if board.is_storm() && (requests >= storm_until || !storms) {
            board.set_storm(false);
            quiet_until = now + options.quiet;
        } else if storms && !board.is_storm() && now >= quiet_until {
            storm_until = requests + options.storm;
            board.set_storm(true);
        }
        resident = resident.max(memory(proxy));
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
    (tally, resident)
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

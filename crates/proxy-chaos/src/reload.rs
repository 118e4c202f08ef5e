//! Reloads as a fault: the configuration is rewritten and the proxy is told, while clients go on.
//!
//! None of them excuses anything: what clients use stays as it is, but for a timeout. Whether the
//! new setting holds is seen at a pool that is there at times, with another user each time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tombolo_resp::Value;

use crate::board::Board;
use crate::connection::{Connection, Door};
use crate::layout::{Layout, Version, user};
use crate::process::{Proxy, words};
use crate::verdict::{Finding, Wrong};

/// A reload takes no longer than this on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// Rewrites the configuration.
#[derive(Debug)]
pub struct Reloader {
    /// What stays.
    pub layout: Layout,
    /// The proxy's file.
    pub file: PathBuf,
    /// Whether the proxy is told; not when the checks are tested.
    pub tells: bool,
    /// Whether it is looked at what holds afterwards.
    pub checks: bool,
    /// Say what happens.
    pub verbose: bool,
}

impl Reloader {
    /// Reloads while there is a storm. Returns what was wrong.
    pub fn run(&self, proxy: &Proxy, seed: u64, board: &Board) -> Result<Vec<Finding>> {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x5ead_10ad);
        let (mut version, mut findings) = (Version::default(), Vec::new());
        for number in 2.. {
            board.sleep(rng.u64(50..1200));
            while !board.is_storm() && !board.is_over() {
                board.sleep(5);
            }
            if board.is_over() || findings.len() > 5 {
                break;
            }
            let broken = rng.u8(0..4) == 0;
            let wanted = version.next(number, &mut rng);
            let kind = if broken { "reload of a broken file" } else { "reload" };
            if self.verbose {
                eprintln!("{:>8} ms  {kind}: {wanted:?}", board.now());
            }
            board.count(kind);
            let text = if broken { self.layout.broken(wanted, &mut rng) } else { self.layout.text(wanted) };
            let fresh = self.file.with_extension("fresh");
            std::fs::write(&fresh, text)?;
            std::fs::rename(&fresh, &self.file)?;
            let refusals = proxy.refusals();
            if self.tells && !proxy.tell() {
                break;
            }
            let holds = if broken { version } else { wanted };
            let finding = if broken { self.see_refusal(proxy, refusals, board) } else { None };
            findings.extend(finding.or_else(|| self.check(holds, number, board)));
            version = holds;
        }
        Ok(findings)
    }

    /// Whether the proxy reads its configuration again at all. Leaves it as it was.
    pub fn works(&self, proxy: &Proxy, ms: Duration) -> Result<bool> {
        let version = Version { extra: Some(0), ..Version::default() };
        std::fs::write(&self.file, self.layout.text(version))?;
        proxy.tell();
        let end = Instant::now() + ms;
        let mut works = false;
        while !works && Instant::now() < end {
            works = self.look(version, 1).is_ok();
            std::thread::sleep(Duration::from_millis(5));
        }
        std::fs::write(&self.file, self.layout.text(Version::default()))?;
        proxy.tell();
        while works && self.look(Version::default(), 1).is_err() {
            ensure!(Instant::now() < end, "the pool that was taken out is still there");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(works)
    }

    /// Waits until the proxy has said no.
    fn see_refusal(&self, proxy: &Proxy, before: usize, board: &Board) -> Option<Finding> {
        let end = Instant::now() + PATIENCE;
        while self.checks && !board.is_over() {
            if proxy.refusals() > before {
                return None;
            }
            if Instant::now() > end {
                return Some(Finding::new(Wrong::NotReloaded, "nothing is said of a broken file"));
            }
            board.sleep(5);
        }
        None
    }

    /// Waits until `version` holds.
    fn check(&self, version: Version, number: u64, board: &Board) -> Option<Finding> {
        let end = Instant::now() + PATIENCE;
        while self.checks && !board.is_over() {
            let seen = self.look(version, number);
            if seen.is_ok() {
                return None;
            }
            if Instant::now() > end {
                let story = format!("{version:?} should hold, but {}", seen.unwrap_err());
                return Some(Finding::new(Wrong::NotReloaded, story));
            }
            board.sleep(5);
        }
        None
    }

    /// Whether the extra pool is there, with its user and no other.
    fn look(&self, version: Version, number: u64) -> Result<(), String> {
        let connection = Connection::open(&Door { address: self.layout.extra, tls: None });
        let (right, mut connection) = match (version.extra, connection) {
            (None, Err(_)) => return Ok(()),
            (None, Ok(_)) => return Err("the pool is there".to_string()),
            (Some(_), Err(error)) => return Err(format!("the pool is not there: {error}")),
            (Some(right), Ok(connection)) => (right, connection),
        };
        // Nobody was ever told of the wrong one, unless it is the one before.
        let wrong = if right == number { number - 1 } else { number };
        for (number, expected) in [(wrong, false), (right, true)] {
            let (name, password) = user(number);
            connection.send(&words(&["AUTH", &name, &password])).map_err(|error| error.to_string())?;
            let reply = connection.reply().map_err(|error| error.to_string())?;
            if (reply == Value::Simple("OK".into())) != expected {
                return Err(format!("AUTH {name} is answered by {reply:?}"));
            }
        }
        Ok(())
    }
}

//! Carries out the schedule of one server.

use std::sync::Arc;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::board::Board;
use crate::process::Redis;
use crate::relay::Relay;
use crate::schedule::{Fault, Schedule};

/// How long the end of a connection takes to be noticed, in milliseconds.
const CUT_MS: u64 = 50;

/// A server and what can be done to it.
#[derive(Debug)]
pub struct Victim {
    /// Its index.
    pub server: usize,
    /// Its process.
    pub redis: Redis,
    /// The relay in front of it.
    pub relay: Option<Arc<Relay>>,
    /// Say what happens.
    pub verbose: bool,
}

impl Victim {
    /// Does what `schedule` says while there is a storm, and nothing between storms. Returns at
    /// the end of the run; the thread that started a server must live as long as the server.
    pub fn suffer(mut self, schedule: Schedule, board: &Board) -> Result<()> {
        for (pause, fault) in schedule {
            board.sleep(pause);
            while !board.is_storm() && !board.is_over() {
                board.sleep(5);
            }
            if board.is_over() {
                break;
            }
            if self.verbose {
                eprintln!("{:>8} ms  server {}: {fault}", board.now(), self.server);
            }
            board.begin_fault(self.server, fault.kind());
            let outcome = self.inflict(fault, board);
            board.end_fault(self.server);
            outcome?;
        }
        Ok(())
    }

    fn inflict(&mut self, fault: Fault, board: &Board) -> Result<()> {
        match (fault, &self.relay) {
            (Fault::Kill(ms), _) => {
                board.begin_kill(self.server);
                self.redis.process.kill();
                board.end_kill(self.server);
                board.sleep(ms);
                self.redis.restart()?;
            }
            (Fault::Freeze(ms), _) => {
                self.redis.process.signal(Signal::SIGSTOP)?;
                board.sleep(ms);
                self.redis.process.signal(Signal::SIGCONT)?;
            }
            (Fault::Delay(ms), Some(relay)) => {
                relay.delay(true);
                board.sleep(ms);
                relay.delay(false);
            }
            (Fault::Cut { after, requests }, Some(relay)) => {
                relay.cut(after, requests);
                board.sleep(CUT_MS);
                if relay.forget_cut(requests) {
                    board.count("(relay cuts that met no traffic)");
                }
            }
            (Fault::Delay(_) | Fault::Cut { .. }, None) => {}
        }
        Ok(())
    }
}

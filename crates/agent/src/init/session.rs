//! Ending a program with everything it started.

use std::fs;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Asks: what sshd and terminals do when the user goes away.
pub(super) fn hang_up(session: Pid) {
    for pid in members(session) {
        let _ = kill(pid, Signal::SIGHUP);
        // A stopped program would not see it.
        let _ = kill(pid, Signal::SIGCONT);
    }
}

/// Insists. Repeats until nobody is left, for a member may have forked while we looked.
pub(super) fn kill_all(session: Pid) {
    for _ in 0..64 {
        let alive = members(session);
        if alive.is_empty() {
            return;
        }
        for pid in alive {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

/// Sends a signal to the process group that the session's first process leads.
pub(super) fn signal(session: Pid, number: i32) {
    match Signal::try_from(number) {
        Ok(Signal::SIGKILL) => kill_all(session),
        Ok(signal) => match kill(Pid::from_raw(-session.as_raw()), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(_) => drop(kill(session, signal)),
        },
        Err(_) => {}
    }
}

/// Processes of a session that have not ended yet.
fn members(session: Pid) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return vec![session] };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| belongs(&stat, session.as_raw()))
    })
    .map(Pid::from_raw)
    .collect()
}

/// `stat` is "pid (name) state ppid pgrp session …"; the name may contain anything, also parentheses.
fn belongs(stat: &str, session: i32) -> bool {
    let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let state = fields.next();
    !matches!(state, None | Some("Z" | "X"))
        && fields.nth(2).and_then(|field| field.parse().ok()) == Some(session)
}

#[cfg(test)]
mod tests {
    use super::belongs;

    #[test]
    fn the_session_is_found_behind_a_hostile_name() {
        assert!(belongs("12 (a) S 7 (b)) S 1 12 9 34816 12", 9));
        assert!(!belongs("12 (sleep) Z 1 12 9 0 -1", 9));
        assert!(!belongs("12 (sleep) S 1 9 12 0 -1", 9));
    }
}

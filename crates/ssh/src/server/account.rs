//! Whoever logs in has an account in the VM, as Google's guest agent makes it.
//!
//! A VM of an ordinary user's lab has one user id, which is root's there; so every account is one of root's names, in
//! every lab alike.

use std::fs::OpenOptions;
use std::io::{Result, Write};
use std::path::Path;

const PASSWD: &str = "/etc/passwd";
const HOME: &str = "/root";
const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];

/// A user who is logged in.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) shell: &'static str,
}

impl Account {
    /// The account of a user; it is made when it is missing.
    pub(super) fn of(name: &str) -> Self {
        let shell = SHELLS.into_iter().find(|shell| Path::new(shell).exists()).unwrap_or(SHELLS[1]);
        // Without a line in passwd a login still works; only `~NAME` does not.
        let _ = add_line(name, shell);
        Self { name: name.to_owned(), shell }
    }

    /// What its programs have in their environment.
    pub(super) fn env(&self) -> [(&'static str, &str); 4] {
        [("HOME", HOME), ("USER", &self.name), ("LOGNAME", &self.name), ("SHELL", self.shell)]
    }

    pub(super) fn home(&self) -> &'static str {
        HOME
    }
}

fn add_line(name: &str, shell: &str) -> Result<()> {
    let known = std::fs::read_to_string(PASSWD)?;
    if known.lines().any(|line| line.split(':').next() == Some(name)) {
        return Ok(());
    }
    // In one write: of two who log in at once neither destroys the other's line.
    let line = format!("{name}:x:0:0:{name}:{HOME}:{shell}\n");
    OpenOptions::new().append(true).open(PASSWD)?.write_all(line.as_bytes())
}

//! The checks of a topology file, made with packets and programs.

use crate::run::run;
use crate::view::View;
use serde::Serialize;
use std::time::{Duration, Instant};
use tombolo_agent::{AgentError, Program};
use tombolo_fabric::{Owner, Trace};
use tombolo_model::Protocol;
use tombolo_topology::{Check, CheckKind, Probe, Target};

/// How many packets a check sends: one lost to a full queue must not decide.
const PACKETS: u32 = 3;

/// How long to wait before a program that failed is tried again, the first time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// A check and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// What was tried.
    pub title: String,
    /// What was expected.
    pub expected: String,
    /// What happened.
    pub seen: String,
    /// Of packets that were to arrive and did not, where and why they are dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whether the two are the same.
    pub ok: bool,
    /// Milliseconds that it took.
    pub millis: u64,
}

/// What a check tries, in a line.
pub fn title(check: &Check) -> String {
    check.name.clone().unwrap_or_else(|| check.to_string())
}

/// What a check expects.
pub fn expected(check: &Check) -> String {
    match &check.kind {
        CheckKind::Probe { reachable: true, .. } => "reachable".into(),
        CheckKind::Probe { reachable: false, .. } => "unreachable".into(),
        CheckKind::Command { output, .. } => output.clone().unwrap_or_else(|| "exit status 0".into()),
    }
}

/// Makes a check. A program that fails is tried again until the check's time is up: servers that a startup script
/// starts take a moment.
pub fn check(view: &View, check: &Check) -> Result<Checked, AgentError> {
    let started = Instant::now();
    let (title, expected) = (title(check), expected(check));
    let (seen, why, ok) = match &check.kind {
        CheckKind::Probe { to, probe, .. } => {
            let (seen, trace) = probe_check(view, check, to, *probe)?;
            let ok = seen == expected;
            (seen, trace.filter(|_| !ok).as_ref().and_then(why), ok)
        }
        CheckKind::Command { argv, output } => {
            let (seen, ok) = command_check(view, check, argv, output.as_deref())?;
            (seen, None, ok)
        }
    };
    Ok(Checked { title, expected, seen, why, ok, millis: started.elapsed().as_millis() as u64 })
}

/// Where and why a flow is dropped, in a line.
fn why(trace: &Trace) -> Option<String> {
    let (cause, last) = (trace.cause()?, trace.steps.last()?);
    let detail = if last.detail.is_empty() { String::new() } else { format!(", {}", last.detail) };
    Some(format!("{} in {}: {}{detail}", cause.as_str(), last.network.name, last.what))
}

/// Sends packets, and tells `reachable` if all got there, `unreachable` if none did; and what is to become of them.
fn probe_check(
    view: &View,
    check: &Check,
    to: &Target,
    probe: Probe,
) -> Result<(String, Option<Trace>), AgentError> {
    let (protocol, port) = match probe {
        Probe::Icmp => (Protocol::ICMP, None),
        Probe::Tcp(port) => (Protocol::TCP, Some(port)),
        Probe::Udp(port) => (Protocol::UDP, Some(port)),
    };
    let name = match to {
        Target::Instance(key) => key.to_string(),
        Target::Redis(key) => key.to_string(),
        Target::Address(address) => address.to_string(),
    };
    let flow = match view.flow(&check.from.to_string(), &name, Some(protocol), port) {
        Ok(flow) => flow,
        Err(error) => return Ok((error, None)),
    };
    let packets = view.packets(&flow, PACKETS)?;
    let seen = match packets.delivered {
        0 => "unreachable".into(),
        n if n == packets.sent => "reachable".into(),
        n => format!("{n} of {} packets delivered", packets.sent),
    };
    Ok((seen, Some(view.trace(&flow))))
}

/// Runs a program. One that ends with an error is tried again, at growing intervals, until the check's time is up;
/// one that ends well has given its answer, right or wrong.
fn command_check(
    view: &View,
    check: &Check,
    argv: &[String],
    output: Option<&str>,
) -> Result<(String, bool), AgentError> {
    let endpoint = Owner::Instance(check.from.clone()).to_string();
    let deadline = Instant::now() + check.timeout;
    let mut pause = FIRST_PAUSE;
    let mut seen = format!("nothing within {:?}", check.timeout);
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let ran = run(view.agent, &endpoint, Program::new(argv), left)?;
        let printed = ran.output.trim();
        match ran.code {
            // What an earlier try said tells more than that there was no time for this one.
            None => return Ok((seen, false)),
            Some(0) => return Ok((printed.to_owned(), output.is_none_or(|want| want.trim() == printed))),
            Some(code) => seen = format!("exit status {code}: {printed}"),
        }
        if Instant::now() + pause >= deadline {
            return Ok((seen, false));
        }
        std::thread::sleep(pause);
        pause *= 2;
    }
}

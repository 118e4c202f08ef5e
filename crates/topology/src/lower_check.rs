//! From a check as written to a [`Check`]: names found, what was left out filled in.

use crate::check::{Check, CheckKind, Probe, Target};
use crate::lower::Lower;
use crate::value::{ProbeProtocol, unknown};
use crate::{diagnostic::shorten, file};
use std::{net::IpAddr, time::Duration};
use tombolo_model::{RedisKey, redis};

/// How long a check may take unless it says.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// The check, or its errors noted.
pub(crate) fn check(lower: &mut Lower<'_>, check: &file::Check, path: &str) -> Option<Check> {
    let found = lower.names.known_instance(&check.from.0);
    let from = lower.noted(found, &format!("{path}.from"));
    let kind = match &check.command {
        Some(command) => {
            misplaced(lower, check, path)?;
            let output = check.expect.as_ref().map(|e| e.0.trim().to_owned());
            Some(CheckKind::Command { argv: command.0.clone(), output })
        }
        None => probe(lower, check, path),
    };
    Some(Check {
        name: check.name.as_ref().map(|n| n.0.clone()),
        from: from?,
        kind: kind?,
        timeout: check.timeout_seconds.map_or(DEFAULT_TIMEOUT, |s| Duration::from_secs_f64(s.0)),
    })
}

/// Refuses keys of a probe in a check that runs a program.
fn misplaced(lower: &mut Lower<'_>, check: &file::Check, path: &str) -> Option<()> {
    let given = [("protocol", check.protocol.is_some()), ("port", check.port.is_some())];
    let Some((key, _)) = given.into_iter().find(|(_, given)| *given) else { return Some(()) };
    lower.error(&format!("{path}.{key}"), format!("'{key}' cannot be given together with 'command'"));
    None
}

/// The probe of a check that has a `to`.
fn probe(lower: &mut Lower<'_>, check: &file::Check, path: &str) -> Option<CheckKind> {
    let found = target(lower, check.to.as_ref().map_or("", |to| to.0.as_str()));
    let to = lower.noted(found, &format!("{path}.to"));
    let reachable = expectation(check);
    let reachable = reachable.map_err(|(key, message)| lower.error(&format!("{path}{key}"), message)).ok();
    let to = to?;
    let port = match &to {
        Target::Redis(key) => Some(redis_port(lower, key)),
        _ => None,
    };
    let probe = what(check, port);
    let probe = probe.map_err(|(key, message)| lower.error(&format!("{path}{key}"), message)).ok();
    Some(CheckKind::Probe { to, probe: probe?, reachable: reachable? })
}

/// What the text names: an address, an instance or a Redis instance.
fn target(lower: &Lower<'_>, given: &str) -> Result<Target, String> {
    if let Ok(address) = given.parse::<IpAddr>() {
        return Ok(Target::Address(address));
    }
    let names = &lower.names;
    match (names.known_instance(given), names.known_redis(given)) {
        (Ok(instance), Ok(redis)) => {
            Err(format!("the name '{given}' is not unique: it may be {instance} or {redis}"))
        }
        (Ok(instance), Err(_)) => Ok(Target::Instance(instance)),
        (Err(_), Ok(redis)) => Ok(Target::Redis(redis)),
        // A name that several instances share says more than that no Redis instance has it.
        (Err(message), Err(_)) if names.instances.contains_key(given) => Err(message),
        (Err(_), Err(message)) if names.redis.contains_key(given) => Err(message),
        (Err(_), Err(_)) => {
            let known = names.instances.keys().chain(names.redis.keys()).map(String::as_str);
            Err(unknown("instance or redis instance", given, known))
        }
    }
}

/// Which key is wrong (`.port`; empty for the check itself), and why.
type Wrong = (&'static str, String);

/// Whether the probe is to get through.
fn expectation(check: &file::Check) -> Result<bool, Wrong> {
    match check.expect.as_ref().map(|e| e.0.as_str()) {
        Some("reachable") => Ok(true),
        Some("unreachable") => Ok(false),
        Some(other) => {
            Err((".expect", format!("expected reachable or unreachable, found '{}'", shorten(other))))
        }
        None => Err(("", "missing key 'expect': reachable or unreachable".into())),
    }
}

/// Where a Redis instance of the file listens.
fn redis_port(lower: &Lower<'_>, key: &RedisKey) -> u16 {
    let is_it = |redis: &&file::Redis| redis.name.0 == key.name && redis.region.0 == key.region;
    let tls = lower.file.redis.iter().find(is_it).is_some_and(file::Redis::has_tls);
    if tls { redis::TLS_PORT } else { redis::PORT }
}

/// What is sent; `usual` is the port unless another is said.
fn what(check: &file::Check, usual: Option<u16>) -> Result<Probe, Wrong> {
    let port = check.port.map(|p| p.short()).or(usual);
    let missing = |key: &str| Err(("", format!("missing key '{key}'")));
    match (check.protocol.map(|p| p.0), port) {
        (Some(ProbeProtocol::Icmp), _) if check.port.is_some() => {
            Err((".port", "'port' cannot be given with the protocol icmp".into()))
        }
        (Some(ProbeProtocol::Icmp), _) => Ok(Probe::Icmp),
        (Some(ProbeProtocol::Tcp) | None, Some(port)) => Ok(Probe::Tcp(port)),
        (Some(ProbeProtocol::Udp), Some(port)) => Ok(Probe::Udp(port)),
        (Some(_), None) => missing("port"),
        (None, None) => missing("protocol' or 'port"),
    }
}

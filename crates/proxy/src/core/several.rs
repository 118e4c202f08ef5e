//! What to do with a request when a pool has several servers.
//!
//! | request | goes to |
//! |---|---|
//! | keys on one server | that server |
//! | MGET MSET DEL UNLINK EXISTS TOUCH | each key's server; the replies are joined |
//! | DBSIZE KEYS FLUSHALL FLUSHDB RANDOMKEY, SCRIPT and FUNCTION that change or ask all | every server |
//! | SCAN | one server after the other; the cursor says which |
//! | PUBLISH, SUBSCRIBE and kin, PUBSUB | the pool's first server |
//! | INFO | the first server that is up |
//! | CLIENT SETNAME GETNAME SETINFO | nobody: a client's name is kept here |
//! | WATCH, MULTI | the server of the first key; all keys must be there |
//!
//! In a Redis Cluster the servers are the primaries, and keys are together when their slot is the
//! same. What differs there is in [`clustered`](super::cluster::clustered).
//!
//! Messages go over one server and not over the channel's, so that a client has one stream of
//! them, in one order, and a pattern means the same as on one server.

use std::borrow::Cow;

use tombolo_resp::command::Command;
use tombolo_resp::{Request, encode};

use super::cluster::clustered;
use super::effect::Effect;
use super::join::{Gather, scan_place};
use super::route::{self, Decision, refuse};
use super::session::Session;
use crate::placement::Placement;

/// Where the keys of a request are.
enum Place {
    Server(usize),
    Keyless,
    /// They can not go anywhere; the answer.
    Nowhere(Decision),
}

/// Decides about a request that a shared connection may have.
pub(super) fn decide(placement: &Placement, command: &Command, request: &Request<'_>, dice: u64) -> Decision {
    if command.name == "spublish" && placement.slots().is_none() {
        // Where SSUBSCRIBE listens.
        return Decision::Forward(placement.first());
    }
    if let Some(decision) = split(placement, command, request, dice) {
        return decision;
    }
    match place(placement, command, request, dice) {
        Place::Server(server) => Decision::Forward(clustered::reader(placement, command, server, dice)),
        Place::Nowhere(decision) => decision,
        Place::Keyless => keyless(placement, command, request, dice),
    }
}

/// Decides about a request that needs a connection of the client's own.
pub(super) fn decide_apart(
    placement: &Placement,
    command: &Command,
    request: &Request<'_>,
    effect: Effect,
    dice: u64,
) -> Decision {
    if let Some(decision) = clustered::decide_apart(placement, command, effect) {
        return decision;
    }
    match command.name {
        "info" => return Decision::Anyone(effect),
        "client|getname" => return Decision::GetName,
        "client|setname" => return Decision::SetName(request.arg(2).unwrap_or_default().to_vec()),
        "client" if request.arg(1).is_some_and(|sub| sub.eq_ignore_ascii_case(b"setinfo")) => {
            return set_info(request);
        }
        _ => {}
    }
    if let Some(refusal) = unknown_subcommand(command, request) {
        return refusal;
    }
    match (effect, place(placement, command, request, dice)) {
        (Effect::Subscribe(_), Place::Server(server))
            if command.has_keys() && placement.slots().is_some() =>
        {
            Decision::Own(server, effect)
        }
        (Effect::Blocking | Effect::Watch, Place::Server(server)) if command.has_keys() => {
            Decision::Own(server, effect)
        }
        (_, Place::Nowhere(decision)) => decision,
        (Effect::Multi, _) => Decision::Begin,
        (Effect::Exec, _) => error("ERR EXEC without MULTI"),
        (Effect::Discard, _) => error("ERR DISCARD without MULTI"),
        (Effect::Unwatch, _) => Decision::Reply(Cow::Borrowed(b"+OK\r\n")),
        (Effect::Subscribe(_) | Effect::UnsubscribeAll(_), _) => Decision::Own(placement.first(), effect),
        _ => refuse(&format!(
            "tombolo-proxy does not support '{}' with several servers: it is about one connection or one server; ask the server itself",
            command.name
        )),
    }
}

/// HELLO, which the first server answers; the others hear of it on the connections of its protocol.
pub(super) fn hello(placement: &Placement, effect: Effect) -> Decision {
    match effect {
        // The name is kept here.
        Effect::Hello { protocol: protocol @ (None | Some(2 | 3)), user, .. } => {
            Decision::Hello(placement.first(), Effect::Hello { protocol, names: false, user })
        }
        _ => error("NOPROTO unsupported protocol version"),
    }
}

/// Decides about a request after a MULTI that no server has seen yet.
pub(super) fn decide_unbound(
    placement: &Placement,
    command: &Command,
    request: &Request<'_>,
    dice: u64,
) -> Decision {
    match command.name {
        // The server's own words.
        _ if !command.accepts(request.len()) => Decision::Bind(placement.first()),
        "exec" => Decision::End(b"*0\r\n"),
        "discard" => Decision::End(b"+OK\r\n"),
        "multi" => error("ERR MULTI calls can not be nested"),
        "watch" => error("ERR WATCH inside MULTI is not allowed"),
        _ => match place(placement, command, request, dice) {
            Place::Server(server) => Decision::Bind(server),
            // The transaction then says what is wrong.
            Place::Keyless | Place::Nowhere(_) => Decision::Bind(placement.first()),
        },
    }
}

/// Decides about a request of a client with a connection to a server of its own.
pub(super) fn decide_own(
    placement: &Placement,
    session: &Session,
    command: &Command,
    request: &Request<'_>,
    effect: Effect,
) -> Decision {
    if session.is_clean() || session.may_be_ending() {
        // The next request may be one for any server.
        return Decision::Wait;
    }
    if session.is_subscribed() {
        let about_channels = matches!(effect, Effect::Subscribe(_) | Effect::UnsubscribeAll(_));
        // In RESP2 the server refuses everything else. In RESP3 it would do it, be it the one or not.
        let anything = session.is_resp3() && !about_channels && !matches!(command.name, "ping" | "echo");
        let own = Decision::Own(session.server, effect);
        return match (place(placement, command, request, 0), anything) {
            (Place::Server(server), _) if server == session.server => own,
            (Place::Nowhere(decision), true) => decision,
            (Place::Server(_) | Place::Keyless, true) => while_subscribed(command),
            (Place::Nowhere(decision), false) if placement.slots().is_some() => decision,
            (Place::Server(_), false) if placement.slots().is_some() => clustered::other_channels(),
            (_, false) => own,
        };
    }
    let stays = matches!(
        effect,
        Effect::Plain
            | Effect::Blocking
            | Effect::Multi
            | Effect::Exec
            | Effect::Discard
            | Effect::Watch
            | Effect::Unwatch
    );
    let keyless = ["multi", "exec", "discard", "unwatch", "ping", "echo", "time", "publish"];
    match place(placement, command, request, 0) {
        Place::Server(server) if server == session.server && stays => Decision::Own(server, effect),
        Place::Keyless
            if keyless.contains(&command.name)
                && (command.name != "publish" || session.server == placement.first()) =>
        {
            Decision::Own(session.server, effect)
        }
        Place::Nowhere(Decision::Reply(reply)) => Decision::Spoil(reply),
        Place::Server(_) if stays => spoil(&format!(
            "tombolo-proxy: '{}' needs another server than this transaction; a hash tag keeps keys together",
            command.name
        )),
        _ => spoil(&format!(
            "tombolo-proxy: '{}' can not be in a transaction with several servers",
            command.name
        )),
    }
}

fn while_subscribed(command: &Command) -> Decision {
    refuse(&format!(
        "tombolo-proxy: '{}' may need another server than the one that this client is subscribed on; use another connection",
        command.name
    ))
}

/// The answer of Redis to a subcommand that there is not.
fn unknown_subcommand(command: &Command, request: &Request<'_>) -> Option<Decision> {
    let subcommand = request.arg(1).filter(|_| command.is_container())?;
    let (shown, name) = (route::shown(subcommand), command.name.to_uppercase());
    Some(refuse(&format!("unknown subcommand '{shown}'. Try {name} HELP.")))
}

/// What a library calls itself, which nobody asks for later; answered as Redis 7.2 answers it.
fn set_info(request: &Request<'_>) -> Decision {
    let (Some(option), Some(value), 4) = (request.arg(2), request.arg(3), request.len()) else {
        return refuse("wrong number of arguments for 'client|setinfo' command");
    };
    let shown = String::from_utf8_lossy(option);
    if !option.eq_ignore_ascii_case(b"lib-name") && !option.eq_ignore_ascii_case(b"lib-ver") {
        return refuse(&format!("Unrecognized option '{shown}'"));
    }
    match is_name(value) {
        true => Decision::Reply(Cow::Borrowed(b"+OK\r\n")),
        false => refuse(&format!("{shown} cannot contain spaces, newlines or special characters.")),
    }
}

/// Whether Redis takes this for the name of a client: CLIENT LIST separates with spaces.
pub(super) fn is_name(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_graphic)
}

pub(super) fn error(text: &str) -> Decision {
    let mut reply = Vec::new();
    encode::error(&mut reply, text);
    Decision::Reply(Cow::Owned(reply))
}

fn spoil(reason: &str) -> Decision {
    match refuse(reason) {
        Decision::Reply(reply) => Decision::Spoil(reply),
        other => other,
    }
}

/// The server that has every key.
fn place(placement: &Placement, command: &Command, request: &Request<'_>, dice: u64) -> Place {
    let mut keys = 0_usize;
    let mut group = None;
    let mut together = true;
    let found = command.keys(request, |_, key| {
        let place = placement.group(key, dice);
        together &= *group.get_or_insert(place) == place;
        keys += 1;
    });
    if let Err(error) = found {
        return Place::Nowhere(refuse(&error.to_string()));
    }
    match group {
        _ if keys > 1 && placement.is_random() => Place::Nowhere(refuse(&format!(
            "tombolo-proxy: '{}' has several keys, and the distribution of this pool is random",
            command.name
        ))),
        Some(group) if together && sorts_by_others(placement, command, request, group) => {
            Place::Nowhere(refuse(&format!(
                "tombolo-proxy: the keys that BY and GET of '{}' name may be on different servers; a hash tag keeps keys together",
                command.name
            )))
        }
        Some(group) if together => Place::Server(placement.server_of(group)),
        Some(_) if placement.slots().is_some() => Place::Nowhere(clustered::cross_slot()),
        Some(_) => Place::Nowhere(refuse(&format!(
            "tombolo-proxy: the keys of '{}' are on different servers; a hash tag keeps keys together",
            command.name
        ))),
        None => Place::Keyless,
    }
}

/// Whether SORT looks at keys, by a pattern, that need not be where its own is.
fn sorts_by_others(placement: &Placement, command: &Command, request: &Request<'_>, group: usize) -> bool {
    // A cluster's nodes refuse such patterns themselves.
    if placement.slots().is_some() || !matches!(command.name, "sort" | "sort_ro") {
        return false;
    }
    let mut at = 2;
    while let Some(option) = request.arg(at) {
        let is = |keyword: &str| option.eq_ignore_ascii_case(keyword.as_bytes());
        let pattern = request.arg(at + 1).filter(|_| is("by") || is("get"));
        // Without a `*` there is nothing to look at.
        if pattern.is_some_and(|pattern| {
            pattern.contains(&b'*') && placement.group_of_pattern(pattern) != Some(group)
        }) {
            return true;
        }
        at += if is("limit") {
            3
        } else if pattern.is_some() || is("store") {
            2
        } else {
            1
        };
    }
    false
}

/// A command whose keys can be anywhere; `None` for others.
fn split(placement: &Placement, command: &Command, request: &Request<'_>, dice: u64) -> Option<Decision> {
    let (step, reads) = match command.name {
        "mget" => (1, true),
        "mset" => (2, false),
        "del" | "unlink" | "exists" | "touch" => (1, false),
        _ => return None,
    };
    if !(request.len() - 1).is_multiple_of(step) {
        return Some(refuse("wrong number of arguments for 'mset' command"));
    }
    let mut part_of: Vec<Option<u32>> = vec![None; placement.groups()];
    let mut parts: Vec<(usize, usize, Vec<u8>)> = Vec::new();
    let mut order = Vec::with_capacity(request.len());
    for at in (1..request.len()).step_by(step) {
        let group = placement.group(request.arg(at)?, dice);
        let part = *part_of.get_mut(group)?.get_or_insert_with(|| {
            let server = placement.server_of(group);
            let body = Vec::with_capacity(request.wire().len() / 2);
            parts.push((clustered::reader(placement, command, server, dice), 0, body));
            (parts.len() - 1) as u32
        });
        order.push(part);
        let (_, count, body) = &mut parts[part as usize];
        *count += step;
        (at..at + step).filter_map(|at| request.arg(at)).for_each(|arg| encode::bulk(body, arg));
    }
    if let [(server, ..)] = parts[..] {
        return Some(Decision::Forward(server));
    }
    let gather = match command.name {
        "mset" => Gather::First,
        _ if reads => Gather::Interleave(order),
        _ => Gather::Sum,
    };
    let wire = |(server, count, body): (usize, usize, Vec<u8>)| {
        let mut wire = Vec::with_capacity(body.len() + 32);
        encode::array(&mut wire, count + 1);
        encode::bulk(&mut wire, request.name());
        wire.extend_from_slice(&body);
        (server, wire)
    };
    Some(Decision::Split(parts.into_iter().map(wire).collect(), gather))
}

fn keyless(placement: &Placement, command: &Command, request: &Request<'_>, dice: u64) -> Decision {
    if let Some(decision) = clustered::keyless(placement, command, request) {
        return decision;
    }
    if let Some(refusal) = unknown_subcommand(command, request) {
        return refusal;
    }
    let gather = match command.name {
        "dbsize" => Gather::Sum,
        "keys" => Gather::Concat,
        "randomkey" => Gather::Pick(dice),
        "script|exists" => Gather::All,
        "flushall" | "flushdb" | "script|load" | "script|flush" => Gather::First,
        "function|load" | "function|delete" | "function|flush" | "function|restore" => Gather::First,
        "scan" => return scan(placement, request),
        "time" | "lolwut" | "publish" | "spublish" | "function|list" | "function|dump" => {
            return Decision::Forward(placement.first());
        }
        name if name.starts_with("command") || name.starts_with("pubsub") || name.ends_with("|help") => {
            return Decision::Forward(placement.first());
        }
        name => {
            return refuse(&format!(
                "tombolo-proxy does not support '{name}' with several servers: it has no key that says which one; ask the server itself"
            ));
        }
    };
    let servers = placement.everywhere().into_iter();
    Decision::Split(servers.map(|server| (server, request.wire().to_vec())).collect(), gather)
}

fn scan(placement: &Placement, request: &Request<'_>) -> Decision {
    let cursor = request.arg(1).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    let Some(cursor) = cursor else { return refuse("invalid cursor") };
    let places = placement.scan_places();
    let (place, cursor) = scan_place(cursor, places);
    let (server, place, next) = placement.scan(place);
    let mut wire = Vec::with_capacity(request.wire().len() + 20);
    encode::array(&mut wire, request.len());
    encode::bulk(&mut wire, request.name());
    encode::bulk(&mut wire, cursor.to_string().as_bytes());
    request.args().skip(2).for_each(|arg| encode::bulk(&mut wire, arg));
    Decision::Split(vec![(server, wire)], Gather::Scan { place, places, next })
}

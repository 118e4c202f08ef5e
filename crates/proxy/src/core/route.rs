//! What to do with a request: answer it, refuse it, or which server gets it. Pure: a request and
//! a placement in, a decision out.
//!
//! The rule that everything else follows from: a connection to a server is shared, so a command
//! that uses or changes a connection's state, or that waits, never reaches one.

use std::borrow::Cow;

use tombolo_resp::Request;
use tombolo_resp::command::{self, Command, Flags};

use super::limits::{SHOWN_ARGS, SHOWN_BYTES};
use crate::placement::Placement;

/// Commands without keys that every server answers alike.
const ANY_SERVER: &[&str] = &[
    "command",
    "command|count",
    "command|docs",
    "command|getkeys",
    "command|info",
    "command|list",
    "lolwut",
    "time",
];

/// What to do with a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Send it to this server of the pool.
    Forward(usize),
    /// Answer these bytes.
    Reply(Cow<'static, [u8]>),
    /// AUTH: the client's own business with the proxy.
    Auth,
    /// Answer `+OK`, then close.
    Quit,
    /// Close without an answer.
    Drop,
}

/// Decides about `request`; `dice` is for the random distribution.
pub(super) fn decide(placement: &Placement, request: &Request<'_>, dice: u64) -> Decision {
    let name = request.name();
    let Some(command) = command::lookup(name, request.arg(1)) else {
        return unknown(placement, request);
    };
    if !command.accepts(request.len()) && (placement.servers() > 1 || is_local(command)) {
        return refuse(&format!("wrong number of arguments for '{}' command", command.name));
    }
    match command.name {
        "ping" => return ping(request),
        "echo" => return bulk(request.arg(1)),
        "quit" => return Decision::Quit,
        "auth" => return Decision::Auth,
        _ => {}
    }
    if let Some(reason) = unsupported(command, request) {
        return refuse(&format!("tombolo-proxy does not support '{}' yet: {reason}", command.name));
    }
    if placement.servers() == 1 { Decision::Forward(0) } else { by_keys(placement, command, request, dice) }
}

fn is_local(command: &Command) -> bool {
    matches!(command.name, "ping" | "echo" | "auth")
}

fn ping(request: &Request<'_>) -> Decision {
    match request.len() {
        1 => Decision::Reply(Cow::Borrowed(b"+PONG\r\n")),
        2 => bulk(request.arg(1)),
        _ => refuse("wrong number of arguments for 'ping' command"),
    }
}

fn bulk(bytes: Option<&[u8]>) -> Decision {
    let mut reply = Vec::new();
    tombolo_resp::encode::bulk(&mut reply, bytes.unwrap_or_default());
    Decision::Reply(Cow::Owned(reply))
}

fn refuse(reason: &str) -> Decision {
    let mut reply = Vec::new();
    tombolo_resp::encode::error(&mut reply, &format!("ERR {reason}"));
    Decision::Reply(Cow::Owned(reply))
}

/// Why a request must not reach a shared connection.
fn unsupported(command: &Command, request: &Request<'_>) -> Option<&'static str> {
    if command.flags.contains(Flags::STATEFUL) {
        return Some("it depends on the connection, and connections to servers are shared");
    }
    // PUBLISH and SPUBLISH are no different from any other request; their kin keep a state.
    if command.flags.contains(Flags::PUBSUB) && !command.name.ends_with("publish") {
        return Some("a subscription needs a connection of its own");
    }
    if command.may_block(request) {
        return Some("it may wait, and connections to servers are shared");
    }
    None
}

/// One server answers about what we do not know; several can not be chosen between.
fn unknown(placement: &Placement, request: &Request<'_>) -> Decision {
    let name = request.name();
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    // Redis takes these for a browser that was lured into speaking HTTP to it, and closes the
    // connection: ours, with the requests of others, if they were sent on.
    if is("post") || is("host:") {
        return Decision::Drop;
    }
    if command::LATER_BLOCKING.iter().any(|later| is(later)) {
        return refuse(&format!("tombolo-proxy does not support '{}' yet: it may wait", shown(name)));
    }
    if placement.servers() == 1 {
        return Decision::Forward(0);
    }
    let args: String =
        request.args().skip(1).take(SHOWN_ARGS).map(|arg| format!("'{}' ", shown(arg))).collect();
    refuse(&format!("unknown command '{}', with args beginning with: {args}", shown(name)))
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)]).into_owned()
}

/// With several servers: the one that has every key.
fn by_keys(placement: &Placement, command: &Command, request: &Request<'_>, dice: u64) -> Decision {
    let mut keys = 0_usize;
    let mut server = None;
    let mut together = true;
    let found = command.keys(request, |_, key| {
        let place = placement.server(key, dice);
        together &= *server.get_or_insert(place) == place;
        keys += 1;
    });
    if let Err(error) = found {
        return refuse(&error.to_string());
    }
    match server {
        _ if keys > 1 && placement.is_random() => refuse(&format!(
            "tombolo-proxy: '{}' has several keys, and the distribution of this pool is random",
            command.name
        )),
        Some(server) if together => Decision::Forward(server),
        Some(_) => refuse(&format!(
            "tombolo-proxy: the keys of '{}' are on different servers; a hash tag keeps keys together",
            command.name
        )),
        None if ANY_SERVER.contains(&command.name) => Decision::Forward(0),
        None => refuse(&format!(
            "tombolo-proxy does not support '{}' with several servers yet: it has no key",
            command.name
        )),
    }
}

#[cfg(test)]
mod tests {
    use tombolo_resp::RequestParser;

    use super::*;
    use crate::placement::{Distribution, Hash};

    fn decide_line(servers: usize, distribution: Distribution, line: &str) -> Decision {
        let list = [("a", 1), ("b", 1), ("c", 1)];
        let placement = Placement::new(distribution, Hash::Fnv1a64, Some((b'{', b'}')), &list[..servers]);
        let bytes = format!("{line}\r\n").into_bytes();
        let mut parser = RequestParser::default();
        parser.advance(&bytes).expect(line);
        decide(&placement, &parser.request(&bytes), 0)
    }

    /// `>` for forwarded, or the start of the answer.
    fn outcome(servers: usize, line: &str) -> String {
        match decide_line(servers, Distribution::Ketama, line) {
            Decision::Forward(_) => ">".to_string(),
            Decision::Reply(bytes) => String::from_utf8_lossy(&bytes).trim_end().to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn one_server_gets_everything_that_needs_no_connection_of_its_own() {
        for line in [
            "GET k",
            "MGET a b",
            "EVAL s 0",
            "SCAN 0",
            "FLUSHALL",
            "INFO",
            "GET",
            "NONSENSE a",
            "PUBLISH c m",
            "OBJECT ENCODING k",
            "SCRIPT LOAD s",
            "XREAD STREAMS k 0",
            "XREADGROUP GROUP BLOCK c STREAMS k >",
            "CONFIG GET save",
            "SPUBLISH c m",
            "KEYS *",
        ] {
            assert_eq!(outcome(1, line), ">", "{line}");
        }
    }

    #[test]
    fn what_needs_a_connection_of_its_own_is_refused() {
        for line in [
            "MULTI",
            "EXEC",
            "DISCARD",
            "WATCH k",
            "UNWATCH",
            "SUBSCRIBE c",
            "PSUBSCRIBE c",
            "SSUBSCRIBE c",
            "UNSUBSCRIBE",
            "BLPOP k 0",
            "BLMOVE a b LEFT RIGHT 0",
            "BZPOPMIN k 0",
            "BLMPOP 0 1 k LEFT",
            "MONITOR",
            "SELECT 1",
            "CLIENT SETNAME x",
            "CLIENT REPLY OFF",
            "HELLO 3",
            "RESET",
            "SYNC",
            "PSYNC ? -1",
            "REPLCONF a b",
            "WAIT 1 0",
            "READONLY",
            "ASKING",
            "SCRIPT DEBUG YES",
            "XREAD BLOCK 0 STREAMS k 0",
            "xreadgroup group STREAMS c block 0 streams k >",
            "WAITAOF 0 0 0",
            "client",
            "SELECT",
            "HELLO",
        ] {
            for servers in [1, 3] {
                let outcome = outcome(servers, line);
                let refused = outcome.starts_with("-ERR tombolo-proxy does not support '")
                    || (servers == 3 && outcome.starts_with("-ERR wrong number of arguments"));
                assert!(refused, "{line}: {outcome}");
            }
        }
    }

    #[test]
    fn the_proxy_answers_for_itself() {
        for (line, expected) in [
            ("PING", "+PONG"),
            ("ping hello", "$5\r\nhello"),
            ("PING a b", "-ERR wrong number of arguments for 'ping' command"),
            ("ECHO a", "$1\r\na"),
            ("ECHO", "-ERR wrong number of arguments for 'echo' command"),
            ("QUIT", "Quit"),
            ("AUTH x", "Auth"),
            ("POST / HTTP/1.1", "Drop"),
            ("Host: a", "Drop"),
        ] {
            assert_eq!(outcome(1, line), expected, "{line}");
        }
    }

    #[test]
    fn several_servers_need_keys_that_are_together() {
        for (line, expected) in [
            ("GET k", ">"),
            ("MGET {t}a {t}b", ">"),
            ("EVAL s 1 k", ">"),
            ("COMMAND", ">"),
            (
                "MGET key:1 key:22 key:333 key:4444",
                "-ERR tombolo-proxy: the keys of 'mget' are on different servers; a hash tag keeps keys together",
            ),
            (
                "DBSIZE",
                "-ERR tombolo-proxy does not support 'dbsize' with several servers yet: it has no key",
            ),
            (
                "EVAL s 0",
                "-ERR tombolo-proxy does not support 'eval' with several servers yet: it has no key",
            ),
            ("EVAL s 9 k", "-ERR invalid number of keys"),
            ("GET", "-ERR wrong number of arguments for 'get' command"),
            ("NONSENSE a b", "-ERR unknown command 'NONSENSE', with args beginning with: 'a' 'b'"),
        ] {
            assert_eq!(outcome(3, line), expected, "{line}");
        }
        let random = |line| decide_line(3, Distribution::Random, line);
        assert_eq!(random("GET k"), Decision::Forward(0));
        assert!(matches!(random("MGET a a"), Decision::Reply(_)));
    }
}

//! What to do with a request: answer it, refuse it, or which server gets it. Pure: a request and
//! a placement in, a decision out.
//!
//! The rule that everything else follows from: a command that uses or changes a connection's
//! state, or that waits, never reaches a connection that clients share.

use std::borrow::Cow;

use tombolo_resp::Request;
use tombolo_resp::command::{self, Command};

use super::effect::Effect;
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
    /// Send it to this server on a connection of the client's own.
    Own(usize, Effect),
    /// Answer these bytes.
    Reply(Cow<'static, [u8]>),
    /// AUTH; the server to ask about users.
    Auth(usize),
    /// HELLO, which may be an AUTH too.
    Hello(usize, Effect),
    /// RESET: forget everything about the client.
    Reset,
    /// Answer `+OK`, then close.
    Quit,
    /// Close without an answer.
    Drop,
}

/// Decides about `request` of a client on shared connections; `database` is the pool's, and
/// `dice` is for the random distribution.
pub(super) fn decide(placement: &Placement, database: u32, request: &Request<'_>, dice: u64) -> Decision {
    let Some(command) = command::lookup(request.name(), request.arg(1)) else {
        return unknown(placement, request);
    };
    if !command.accepts(request.len()) && (placement.servers() > 1 || is_local(command)) {
        return refuse(&format!("wrong number of arguments for '{}' command", command.name));
    }
    match command.name {
        "ping" => return ping(request),
        "echo" => return bulk(request.arg(1)),
        _ => {}
    }
    let Some(effect) = Effect::apart(command, request) else {
        return if placement.servers() == 1 {
            Decision::Forward(0)
        } else {
            by_keys(placement, command, request, dice)
        };
    };
    if let Some(decision) = special(0, command, request, effect) {
        return decision;
    }
    if effect == Effect::Select(database) {
        return Decision::Reply(Cow::Borrowed(b"+OK\r\n"));
    }
    if placement.servers() == 1 {
        return Decision::Own(0, effect);
    }
    match by_keys(placement, command, request, dice) {
        Decision::Forward(server) if effect == Effect::Blocking => Decision::Own(server, effect),
        Decision::Reply(reply) if effect == Effect::Blocking => Decision::Reply(reply),
        _ => refuse(&format!(
            "tombolo-proxy does not support '{}' with several servers yet: it depends on the connection",
            command.name
        )),
    }
}

/// Decides about `request` of a client that has a connection to `server` to itself.
pub(super) fn decide_own(server: usize, request: &Request<'_>) -> Decision {
    let name = request.name();
    match command::lookup(name, request.arg(1)) {
        Some(command) => {
            let effect = Effect::of(command, request);
            special(server, command, request, effect).unwrap_or(Decision::Own(server, effect))
        }
        None if is_browser(name) => Decision::Drop,
        None => Decision::Own(server, unknown_effect(name)),
    }
}

/// What is the same whether the client has a connection to itself or not.
fn special(server: usize, command: &Command, request: &Request<'_>, effect: Effect) -> Option<Decision> {
    Some(match command.name {
        "quit" => Decision::Quit,
        "reset" if request.len() == 1 => Decision::Reset,
        "auth" if request.len() > 1 => Decision::Auth(server),
        "hello" => Decision::Hello(server, effect),
        "sync" | "psync" => refuse(&format!(
            "tombolo-proxy does not support '{}': a replica must connect to its server itself",
            command.name
        )),
        _ => return None,
    })
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

/// Redis takes these for a browser that was lured into speaking HTTP to it, and closes the
/// connection: ours, with the requests of others, if they were sent on.
fn is_browser(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

fn unknown_effect(name: &[u8]) -> Effect {
    let waits = command::LATER_BLOCKING.iter().any(|later| name.eq_ignore_ascii_case(later.as_bytes()));
    if waits { Effect::Wait } else { Effect::Plain }
}

/// One server answers about what we do not know, on a connection where it can harm nobody;
/// several can not be chosen between.
fn unknown(placement: &Placement, request: &Request<'_>) -> Decision {
    let name = request.name();
    if is_browser(name) {
        return Decision::Drop;
    }
    if placement.servers() == 1 {
        return Decision::Own(0, unknown_effect(name));
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
        decide(&placement, 0, &parser.request(&bytes), 0)
    }

    /// `>` for forwarded, or the start of the answer.
    fn outcome(servers: usize, line: &str) -> String {
        match decide_line(servers, Distribution::Ketama, line) {
            Decision::Forward(_) => ">".to_string(),
            Decision::Own(_, effect) => format!("own {effect:?}"),
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
            "PUBLISH c m",
            "OBJECT ENCODING k",
            "SCRIPT LOAD s",
            "XREAD STREAMS k 0",
            "XREADGROUP GROUP BLOCK c STREAMS k >",
            "SPUBLISH c m",
            "KEYS *",
        ] {
            assert_eq!(outcome(1, line), ">", "{line}");
        }
    }

    #[test]
    fn what_needs_a_connection_of_its_own_gets_one() {
        for (line, expected) in [
            ("MULTI", "own Multi"),
            ("EXEC", "own Exec"),
            ("SELECT 1", "own Select(1)"),
            ("SELECT 0", "+OK"),
            ("SUBSCRIBE a b", "own Subscribe(2)"),
            ("BLPOP k 0", "own Blocking"),
            ("NONSENSE a", "own Plain"),
            ("WAITAOF 0 0 0", "own Wait"),
            ("SCRIPT KILL", "own Plain"),
            ("CONFIG GET save", "own Plain"),
            ("CLIENT SETNAME x", "own Name(true)"),
            ("RESET", "Reset"),
            ("HELLO", "Hello(0, Hello { protocol: None, names: false, user: false })"),
        ] {
            assert_eq!(outcome(1, line), expected, "{line}");
        }
        for line in ["SYNC", "PSYNC ? -1"] {
            assert!(outcome(1, line).contains("a replica must connect to its server itself"), "{line}");
        }
    }

    #[test]
    fn several_servers_refuse_what_depends_on_one_connection() {
        for line in ["MULTI", "SUBSCRIBE c", "MONITOR", "SELECT 1", "CLIENT ID", "WAIT 1 0", "WATCH k"] {
            let outcome = outcome(3, line);
            assert!(outcome.contains("with several servers yet"), "{line}: {outcome}");
        }
        assert_eq!(outcome(3, "BLPOP k 0"), "own Blocking");
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
            ("AUTH x", "Auth(0)"),
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

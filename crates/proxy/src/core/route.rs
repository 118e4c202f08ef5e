//! What to do with a request: answer it, refuse it, or which server gets it. Pure: a request and
//! a placement in, a decision out.
//!
//! The rule that everything else follows from: a command that uses or changes a connection's
//! state, or that waits, never reaches a connection that clients share.

use std::borrow::Cow;

use tombolo_resp::Request;
use tombolo_resp::command::{self, Command};

use super::effect::Effect;
use super::join::Gather;
use super::limits::{SHOWN_ARGS, SHOWN_BYTES};
use super::session::Session;
use super::several;
use crate::placement::Placement;

/// What to do with a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Send it to this server of the pool.
    Forward(usize),
    /// Send it to this server on a connection of the client's own.
    Own(usize, Effect),
    /// Send each part to its server, and join the replies.
    Split(Vec<(usize, Vec<u8>)>, Gather),
    /// MULTI, for a server that the first key will name.
    Begin,
    /// The end of such a transaction that no server has seen; the answer.
    End(&'static [u8]),
    /// Start such a transaction on this server, then look at the request again.
    Bind(usize),
    /// Answer these bytes, and see to it that the transaction fails.
    Spoil(Cow<'static, [u8]>),
    /// Look at the request again once everything before it is answered.
    Wait,
    /// Answer these bytes.
    Reply(Cow<'static, [u8]>),
    /// AUTH; the server to ask about users.
    Auth(usize),
    /// HELLO, which may be an AUTH too.
    Hello(usize, Effect),
    /// Send it to any server that is up, on a connection of the client's own.
    Anyone(Effect),
    /// The client has this name from here on; none when it is empty.
    SetName(Vec<u8>),
    /// Answer the client's name.
    GetName,
    /// RESET: forget everything about the client.
    Reset,
    /// Answer `+OK`, then close.
    Quit,
    /// Close without an answer.
    Drop,
}

impl Decision {
    /// Whether a server gets something.
    pub(super) fn is_sent(&self) -> bool {
        use Decision::{Bind, Forward, Hello, Own, Split};
        matches!(self, Forward(_) | Own(..) | Split(..) | Bind(_) | Hello(..))
    }
}

/// Decides about `request` of a client on shared connections; `database` is the pool's, and
/// `dice` is for the random distribution.
pub(super) fn decide(placement: &Placement, database: u32, request: &Request<'_>, dice: u64) -> Decision {
    let Some(command) = command::lookup(request.name(), request.arg(1)) else {
        return unknown(placement, request);
    };
    if !command.accepts(request.len()) && (!placement.is_single() || is_local(command)) {
        return refuse(&format!("wrong number of arguments for '{}' command", command.name));
    }
    match command.name {
        "ping" => return ping(request),
        "echo" => return bulk(request.arg(1)),
        _ => {}
    }
    let Some(effect) = Effect::apart(command, request) else {
        return match placement.is_single() {
            true => Decision::Forward(0),
            false => several::decide(placement, command, request, dice),
        };
    };
    if let Some(decision) = special(placement, placement.first(), command, request, effect) {
        return decision;
    }
    if effect == Effect::Select(database) {
        return Decision::Reply(Cow::Borrowed(b"+OK\r\n"));
    }
    match placement.is_single() {
        true => Decision::Own(0, effect),
        false => several::decide_apart(placement, command, request, effect, dice),
    }
}

/// Decides about `request` of a client whose transaction no server has seen yet.
pub(super) fn decide_unbound(placement: &Placement, request: &Request<'_>, dice: u64) -> Decision {
    match command::lookup(request.name(), request.arg(1)) {
        Some(command) => {
            special(placement, placement.first(), command, request, Effect::of(command, request))
                .unwrap_or_else(|| several::decide_unbound(placement, command, request, dice))
        }
        None if is_browser(request.name()) => Decision::Drop,
        None => Decision::Bind(placement.first()),
    }
}

/// Decides about `request` of a client that has a connection to itself.
pub(super) fn decide_own(placement: &Placement, session: &Session, request: &Request<'_>) -> Decision {
    let (name, server) = (request.name(), session.server);
    let Some(command) = command::lookup(name, request.arg(1)) else {
        return if is_browser(name) { Decision::Drop } else { Decision::Own(server, unknown_effect(name)) };
    };
    let effect = Effect::of(command, request);
    if let Some(decision) = special(placement, server, command, request, effect) {
        return decision;
    }
    match placement.is_single() {
        true => Decision::Own(server, effect),
        false => several::decide_own(placement, session, command, request, effect),
    }
}

/// What is the same whether the client has a connection to itself or not.
fn special(
    placement: &Placement,
    server: usize,
    command: &Command,
    request: &Request<'_>,
    effect: Effect,
) -> Option<Decision> {
    Some(match command.name {
        "quit" => Decision::Quit,
        "reset" if request.len() == 1 => Decision::Reset,
        "auth" if request.len() > 1 => Decision::Auth(server),
        "hello" if !placement.is_single() => several::hello(placement, effect),
        "hello" => Decision::Hello(server, effect),
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

pub(super) fn refuse(reason: &str) -> Decision {
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
    if placement.is_single() {
        return Decision::Own(0, unknown_effect(name));
    }
    let args: String =
        request.args().skip(1).take(SHOWN_ARGS).map(|arg| format!("'{}' ", shown(arg))).collect();
    refuse(&format!("unknown command '{}', with args beginning with: {args}", shown(name)))
}

pub(super) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)]).into_owned()
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
            // How many arguments each server gets.
            Decision::Split(parts, gather) => {
                let arguments =
                    |(_, wire): &(usize, Vec<u8>)| wire.iter().filter(|&&byte| byte == b'$').count() - 1;
                format!("Split {:?} {gather:?}", parts.iter().map(arguments).collect::<Vec<_>>())
            }
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
            ("INFO", "own Plain"),
            ("CLIENT SETNAME x", "own Name(true)"),
            ("RESET", "Reset"),
            ("SYNC", "own Replicate"),
            ("PSYNC ? -1", "own Replicate"),
            ("HELLO", "Hello(0, Hello { protocol: None, names: false, user: false })"),
        ] {
            assert_eq!(outcome(1, line), expected, "{line}");
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
            ("AUTH x", "Auth(0)"),
            ("POST / HTTP/1.1", "Drop"),
            ("Host: a", "Drop"),
        ] {
            assert_eq!(outcome(1, line), expected, "{line}");
        }
    }

    #[test]
    fn several_servers() {
        for (line, expected) in [
            ("GET k", ">"),
            ("MGET {t}a {t}b", ">"),
            ("EVAL s 1 k", ">"),
            ("COMMAND", ">"),
            ("PUBLISH c m", ">"),
            ("TIME", ">"),
            ("MGET key:1 key:22 key:333", "Split [2, 1] Interleave([0, 0, 1])"),
            ("MSET key:1 a key:333 b", "Split [2, 2] First"),
            ("DEL key:1 key:22 key:333", "Split [2, 1] Sum"),
            ("DBSIZE", "Split [0, 0, 0] Sum"),
            ("FLUSHALL ASYNC", "Split [1, 1, 1] First"),
            ("SCAN 7 COUNT 5", "Split [3] Scan { place: 1, places: 3, next: Some(2) }"),
            ("MSET key:1 a key:22", "-ERR wrong number of arguments for 'mset' command"),
            (
                "MSETNX key:1 a key:333 b",
                "-ERR tombolo-proxy: the keys of 'msetnx' are on different servers; a hash tag keeps keys together",
            ),
            (
                "EVAL s 0",
                "-ERR tombolo-proxy does not support 'eval' with several servers: it has no key that says which one; ask the server itself",
            ),
            ("EVAL s 9 k", "-ERR invalid number of keys"),
            ("GET", "-ERR wrong number of arguments for 'get' command"),
            ("NONSENSE a b", "-ERR unknown command 'NONSENSE', with args beginning with: 'a' 'b'"),
            ("SCRIPT nope", "-ERR unknown subcommand 'nope'. Try SCRIPT HELP."),
            ("CLIENT nope x", "-ERR unknown subcommand 'nope'. Try CLIENT HELP."),
            ("OBJECT HELP", ">"),
            ("BLPOP k 0", "own Blocking"),
            ("WATCH {t}a {t}b", "own Watch"),
            ("SUBSCRIBE a b", "own Subscribe(2)"),
            ("MULTI", "Begin"),
            ("EXEC", "-ERR EXEC without MULTI"),
            ("HELLO 3", "Hello(0, Hello { protocol: Some(3), names: false, user: false })"),
            ("HELLO 4", "-NOPROTO unsupported protocol version"),
            ("HELLO 2 SETNAME x", "Hello(0, Hello { protocol: Some(2), names: false, user: false })"),
            ("CLIENT SETNAME x", "SetName([120])"),
            ("CLIENT SETNAME", "-ERR wrong number of arguments for 'client|setname' command"),
            ("CLIENT GETNAME", "GetName"),
            ("CLIENT SETINFO lib-name x", "+OK"),
            (
                "CLIENT SETINFO lib-ver x\u{1}",
                "-ERR lib-ver cannot contain spaces, newlines or special characters.",
            ),
            ("CLIENT SETINFO x y", "-ERR Unrecognized option 'x'"),
            ("CLIENT SETINFO x", "-ERR wrong number of arguments for 'client|setinfo' command"),
            ("INFO server", "Anyone(Plain)"),
            ("SELECT 0", "+OK"),
        ] {
            assert_eq!(outcome(3, line), expected, "{line}");
        }
        for line in ["MONITOR", "SYNC", "SELECT 1", "CLIENT ID", "WAIT 1 0", "CONFIG GET save", "SCRIPT KILL"]
        {
            let outcome = outcome(3, line);
            assert!(outcome.contains("with several servers: it is about one"), "{line}: {outcome}");
        }
        let random = |line| decide_line(3, Distribution::Random, line);
        assert_eq!(random("GET k"), Decision::Forward(0));
        assert_eq!(random("MGET a b"), Decision::Forward(0));
        assert!(matches!(random("SUNION a a"), Decision::Reply(_)));
    }
}

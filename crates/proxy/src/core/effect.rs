//! What a request does to the connection that it is sent on, and so whether it needs one of its
//! own.
//!
//! Commands that administer a server, or that it runs while a script keeps it busy, also get a
//! connection of their own: `SCRIPT KILL` must not wait behind the script, and a connection that
//! `SHUTDOWN` or `CLIENT KILL` ends must not be the one that others wait on.

use tombolo_resp::Request;
use tombolo_resp::command::{Command, Flags};

/// What a request changes when the server accepts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    Plain,
    /// Nothing, but the answer may take as long as it likes.
    Long,
    /// As `Long`, and it may never come.
    Blocking,
    /// As `Blocking`: it asks about the writes that its connection has seen.
    Wait,
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    Select(u32),
    /// CLIENT SETNAME: whether there is a name afterwards.
    Name(bool),
    /// HELLO: the protocol asked for, whether it sets a name, whether it gives a user.
    Hello {
        protocol: Option<u8>,
        names: bool,
        user: bool,
    },
    /// AUTH with a user.
    Auth,
    /// State that is not followed any further: the connection stays the client's.
    Pin,
    /// SUBSCRIBE and kin, and UNSUBSCRIBE and kin with arguments: so many confirmations.
    Subscribe(usize),
    /// UNSUBSCRIBE and kin of everything: a confirmation for each subscription, at least one.
    UnsubscribeAll(Topic),
    /// MONITOR.
    Monitor,
    /// CLIENT REPLY OFF or SKIP, and what may or may not be answered: from here on replies can not be told from
    /// one another.
    Mute,
    /// SYNC or PSYNC: from here on the connection carries a replication stream, which is not RESP.
    Replicate,
    /// SHUTDOWN: the answer is the end of the connection.
    Shutdown,
    /// The proxy's own request; the client does not get the reply.
    Own,
    /// The proxy's own MULTI, for one that the client was answered before.
    Begin,
}

/// What is subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    Channel,
    Pattern,
    Shard,
}

/// Properties any of which asks for a closer look.
const SUSPECT: Flags =
    Flags::STATEFUL.with(Flags::BLOCKING).with(Flags::PUBSUB).with(Flags::ADMIN).with(Flags::ALLOW_BUSY);

/// Subcommands of CLIENT that leave no trace on the connection. SETINFO does, but nobody acts on
/// it, and every connection of some libraries starts with it.
const CLIENT_PLAIN: &[&str] = &[
    "client|getname",
    "client|getredir",
    "client|help",
    "client|kill",
    "client|list",
    "client|pause",
    "client|trackinginfo",
    "client|unblock",
    "client|unpause",
];

/// Commands that take as long as they are told to, or as the data is large.
const LONG: &[&str] = &["debug", "failover", "pfselftest", "save"];

impl Effect {
    /// Whether losing the connection after this loses something that the client relies on.
    pub(super) fn lasts(self) -> bool {
        !matches!(
            self,
            Effect::Plain
                | Effect::Long
                | Effect::Blocking
                | Effect::Wait
                | Effect::Exec
                | Effect::Discard
                | Effect::Unwatch
                | Effect::Shutdown
                | Effect::Own
                // Which protocol a client speaks is for the proxy to remember.
                | Effect::Hello { names: false, user: false, .. }
        )
    }

    /// Whether it asks for RESP3, or for RESP2, and for nothing else.
    pub(super) fn protocol(self) -> Option<bool> {
        match self {
            Effect::Hello { protocol: Some(protocol @ (2 | 3)), names: false, user: false } => {
                Some(protocol == 3)
            }
            _ => None,
        }
    }

    /// Whether the answer may take as long as it likes.
    pub(super) fn is_patient(self) -> bool {
        self == Effect::Long || self.may_be_for_ever()
    }

    /// Whether the answer may never come.
    pub(super) fn may_be_for_ever(self) -> bool {
        matches!(self, Effect::Blocking | Effect::Wait | Effect::Shutdown)
    }

    /// Whether messages that nobody asks for may follow.
    pub(super) fn is_endless(self) -> bool {
        matches!(self, Effect::Monitor | Effect::Subscribe(_))
    }

    /// The effect of a request on its connection.
    pub(super) fn of(command: &Command, request: &Request<'_>) -> Effect {
        let first = request.arg(1).unwrap_or_default();
        match command.name {
            "multi" => Effect::Multi,
            "exec" => Effect::Exec,
            "discard" => Effect::Discard,
            "watch" => Effect::Watch,
            "unwatch" => Effect::Unwatch,
            "select" if request.len() != 2 => Effect::Plain,
            "select" => number(first).map_or(Effect::Plain, Effect::Select),
            "client|setname" => Effect::Name(request.arg(2).is_some_and(|name| !name.is_empty())),
            "client|reply" if request.arg(2).is_some_and(|mode| mode.eq_ignore_ascii_case(b"on")) => {
                Effect::Plain
            }
            "client|reply" if request.len() == 3 => Effect::Mute,
            "client|reply" => Effect::Plain,
            "client" if first.eq_ignore_ascii_case(b"setinfo") || request.len() == 1 => Effect::Plain,
            "hello" => hello(request),
            "auth" => Effect::Auth,
            "monitor" => Effect::Monitor,
            "sync" | "psync" => Effect::Replicate,
            "subscribe" | "psubscribe" | "ssubscribe" => Effect::Subscribe(request.len() - 1),
            "unsubscribe" => unsubscribe(request, Topic::Channel),
            "punsubscribe" => unsubscribe(request, Topic::Pattern),
            "sunsubscribe" => unsubscribe(request, Topic::Shard),
            "replconf" if is_acknowledgement(request) => Effect::Mute,
            "shutdown" => Effect::Shutdown,
            "wait" => Effect::Wait,
            name if CLIENT_PLAIN.contains(&name) => Effect::Plain,
            name if LONG.contains(&name) => Effect::Long,
            _ if command.may_block(request) => Effect::Blocking,
            _ if command.flags.contains(Flags::STATEFUL) => Effect::Pin,
            _ => Effect::Plain,
        }
    }

    /// Whether the command may need a connection of its own.
    pub(super) fn is_suspect(command: &Command) -> bool {
        command.flags.intersects(SUSPECT)
    }

    /// The effect of a request that needs a connection of its own; `None` when a shared one does.
    pub(super) fn apart(command: &Command, request: &Request<'_>) -> Option<Effect> {
        if !Effect::is_suspect(command) {
            return None;
        }
        let effect = Effect::of(command, request);
        // XREAD without BLOCK does not block, and PUBLISH and PUBSUB subscribe to nothing.
        let needs = effect != Effect::Plain
            || command.flags.intersects(Flags::STATEFUL.with(Flags::ADMIN).with(Flags::ALLOW_BUSY));
        needs.then_some(effect)
    }
}

fn unsubscribe(request: &Request<'_>, topic: Topic) -> Effect {
    match request.len() {
        1 => Effect::UnsubscribeAll(topic),
        len => Effect::Subscribe(len - 1),
    }
}

fn hello(request: &Request<'_>) -> Effect {
    let protocol = request.arg(1).and_then(number).and_then(|number| u8::try_from(number).ok());
    Effect::Hello { protocol, names: hello_name(request).is_some(), user: hello_auth(request).is_some() }
}

/// The name that HELLO gives; the last one counts.
pub(super) fn hello_name<'a>(request: &Request<'a>) -> Option<&'a [u8]> {
    let mut name = None;
    let mut at = 2;
    while let Some(option) = request.arg(at) {
        if option.eq_ignore_ascii_case(b"setname") {
            name = request.arg(at + 1);
        }
        at += if option.eq_ignore_ascii_case(b"auth") { 3 } else { 2 };
    }
    name
}

/// The user and the password that HELLO gives.
pub(super) fn hello_auth<'a>(request: &Request<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let mut at = 2;
    while let Some(option) = request.arg(at) {
        if option.eq_ignore_ascii_case(b"auth") {
            return Some((request.arg(at + 1)?, request.arg(at + 2)?));
        }
        at += 2;
    }
    None
}

/// REPLCONF ACK and GETACK have no reply, unless something is wrong with them, or with what stands before.
fn is_acknowledgement(request: &Request<'_>) -> bool {
    request.args().skip(1).any(|arg| arg.eq_ignore_ascii_case(b"ack") || arg.eq_ignore_ascii_case(b"getack"))
}

/// A number as Redis takes one: without a sign or zeros in front.
fn number(text: &[u8]) -> Option<u32> {
    let number: u32 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use tombolo_resp::RequestParser;
    use tombolo_resp::command::lookup;

    use super::*;

    fn apart(line: &str) -> Option<Effect> {
        let bytes = format!("{line}\r\n").into_bytes();
        let mut parser = RequestParser::default();
        parser.advance(&bytes).expect(line);
        let request = parser.request(&bytes);
        let command = lookup(request.name(), request.arg(1)).expect(line);
        Effect::apart(command, &request)
    }

    #[test]
    fn what_needs_a_connection_of_its_own_and_why() {
        let hello = |protocol, names, user| Effect::Hello { protocol, names, user };
        for (line, effect) in [
            ("MULTI", Effect::Multi),
            ("WATCH k", Effect::Watch),
            ("SELECT 1", Effect::Select(1)),
            ("SELECT x", Effect::Plain),
            ("SELECT 00", Effect::Plain),
            ("SELECT +0", Effect::Plain),
            ("SELECT 0 x", Effect::Plain),
            ("CLIENT SETNAME a", Effect::Name(true)),
            ("CLIENT SETNAME \"\"", Effect::Name(false)),
            ("CLIENT REPLY ON", Effect::Plain),
            ("CLIENT REPLY SKIP", Effect::Mute),
            ("CLIENT LIST", Effect::Plain),
            ("CLIENT SETINFO LIB-NAME x", Effect::Plain),
            ("CLIENT ID", Effect::Pin),
            ("CLIENT TRACKING ON", Effect::Pin),
            ("CLIENT NO-TOUCH ON", Effect::Pin),
            ("HELLO", hello(None, false, false)),
            ("HELLO 3", hello(Some(3), false, false)),
            ("HELLO 3 AUTH u p SETNAME n", hello(Some(3), true, true)),
            ("SUBSCRIBE a b", Effect::Subscribe(2)),
            ("PUNSUBSCRIBE", Effect::UnsubscribeAll(Topic::Pattern)),
            ("SUNSUBSCRIBE a", Effect::Subscribe(1)),
            ("BLPOP k 0", Effect::Blocking),
            ("XREAD BLOCK 0 STREAMS k 0", Effect::Blocking),
            ("WAIT 1 0", Effect::Wait),
            ("MONITOR", Effect::Monitor),
            ("REPLCONF ACK 1", Effect::Mute),
            ("REPLCONF GETACK", Effect::Mute),
            ("REPLCONF listening-port 1 ack 0", Effect::Mute),
            ("PSYNC ? -1", Effect::Replicate),
            ("SYNC", Effect::Replicate),
            ("REPLCONF capa eof", Effect::Pin),
            ("INFO", Effect::Plain),
            ("SCRIPT KILL", Effect::Plain),
            ("FUNCTION KILL", Effect::Plain),
            ("SCRIPT DEBUG YES", Effect::Pin),
            ("SHUTDOWN", Effect::Shutdown),
            ("REPLICAOF NO ONE", Effect::Plain),
            ("DEBUG SLEEP 1", Effect::Long),
        ] {
            assert_eq!(apart(line), Some(effect), "{line}");
        }
    }

    #[test]
    fn everything_else_is_shared() {
        for line in [
            "GET k",
            "SET k v",
            "PUBLISH c m",
            "SPUBLISH c m",
            "PUBSUB CHANNELS",
            "XREAD STREAMS k 0",
            "XREADGROUP GROUP BLOCK c STREAMS k >",
            "EVAL s 0",
            "SCRIPT LOAD s",
            "SCAN 0",
        ] {
            assert_eq!(apart(line), None, "{line}");
        }
    }
}

//! What a pool over a Redis Cluster does with a request otherwise than a pool of several servers.
//!
//! | request | |
//! |---|---|
//! | keys in several slots, in a command that is not split | refused as a node refuses it: `-CROSSSLOT` |
//! | a command that only reads | a replica, if the pool says so |
//! | INFO, LASTSAVE, scripts without keys, CLUSTER commands that only ask | the first primary |
//! | CLUSTER COUNTKEYSINSLOT and GETKEYSINSLOT | the slot's node |
//! | SSUBSCRIBE, SPUBLISH | the node of the channel's slot |
//! | SELECT of another database than 0 | refused as a node refuses it |
//! | READONLY, READWRITE | answered; where reads go is the pool's to say |

use std::borrow::Cow;

use tombolo_resp::Request;
use tombolo_resp::command::{Command, Flags};

use crate::core::effect::Effect;
use crate::core::route::{Decision, refuse};
use crate::core::several::error;
use crate::placement::Placement;

/// Commands that one node answers about itself, or about the cluster.
const ONE_NODE: &[&str] = &[
    "cluster|help",
    "cluster|info",
    "cluster|keyslot",
    "cluster|links",
    "cluster|myid",
    "cluster|nodes",
    "cluster|shards",
    "cluster|slots",
    "eval",
    "eval_ro",
    "evalsha",
    "evalsha_ro",
    "fcall",
    "fcall_ro",
    "lastsave",
];

/// The server for a command whose keys `primary` has.
pub(in crate::core) fn reader(placement: &Placement, command: &Command, primary: usize, dice: u64) -> usize {
    // A replica does not know the scripts that its primary was given.
    let reads = command.flags.contains(Flags::READONLY) && !command.name.starts_with("eval");
    if reads { placement.reader(primary, dice) } else { primary }
}

/// Decides about a request that would need a connection of the client's own.
pub(in crate::core) fn decide_apart(
    placement: &Placement,
    command: &Command,
    effect: Effect,
) -> Option<Decision> {
    placement.slots()?;
    match (command.name, effect) {
        ("readonly" | "readwrite", _) => Some(Decision::Reply(Cow::Borrowed(b"+OK\r\n"))),
        ("info", _) => Some(Decision::Own(placement.first(), effect)),
        (_, Effect::Select(_)) => Some(error("ERR SELECT is not allowed in cluster mode")),
        _ => None,
    }
}

/// Decides about a request without keys.
pub(in crate::core) fn keyless(
    placement: &Placement,
    command: &Command,
    request: &Request<'_>,
) -> Option<Decision> {
    placement.slots()?;
    if matches!(command.name, "cluster|countkeysinslot" | "cluster|getkeysinslot") {
        let slot = request.arg(2).and_then(|text| std::str::from_utf8(text).ok()?.parse::<usize>().ok());
        return Some(match slot.filter(|slot| *slot < placement.groups()) {
            Some(slot) => Decision::Forward(placement.server_of(slot)),
            None => refuse("Invalid or out of range slot"),
        });
    }
    ONE_NODE.contains(&command.name).then(|| Decision::Forward(placement.first()))
}

/// What a node says to keys in several slots.
pub(in crate::core) fn cross_slot() -> Decision {
    error("CROSSSLOT Keys in request don't hash to the same slot")
}

/// The answer to a subscription that another node would have to serve.
pub(in crate::core) fn other_channels() -> Decision {
    refuse(
        "tombolo-proxy: this shard channel is on another node than what the client is subscribed to; a hash tag keeps channels together",
    )
}

#[cfg(test)]
mod tests {
    use tombolo_resp::RequestParser;

    use super::*;
    use crate::core::route;
    use crate::placement::slots::{ReadFrom, SlotRange};

    /// Servers 1, 2 and 3 have slots; 4 is a replica of 1, which has the slot of `foo`.
    fn placement(reads: ReadFrom) -> Placement {
        let mut placement = Placement::cluster(reads);
        let range = |first, last, servers: &[usize]| SlotRange { first, last, servers: servers.to_vec() };
        let table = placement.slots_mut().expect("a cluster");
        table.replace(&[range(10_000, 16_383, &[1, 4]), range(0, 5_100, &[2]), range(5_101, 9_999, &[3])]);
        placement
    }

    fn outcome(reads: ReadFrom, line: &str) -> String {
        let bytes = format!("{line}\r\n").into_bytes();
        let mut parser = RequestParser::default();
        parser.advance(&bytes).expect(line);
        match route::decide(&placement(reads), 0, &parser.request(&bytes), 0) {
            Decision::Reply(bytes) => String::from_utf8_lossy(&bytes).trim_end().to_string(),
            Decision::Split(parts, gather) => {
                format!("{:?} {gather:?}", parts.iter().map(|(server, _)| *server).collect::<Vec<_>>())
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn where_requests_go_in_a_cluster() {
        for (line, expected) in [
            ("GET foo", "Forward(1)"),
            ("SET bar 1", "Forward(2)"),
            ("SUNION {foo}a {foo}b", "Forward(1)"),
            ("SUNION foo bar", "-CROSSSLOT Keys in request don't hash to the same slot"),
            ("WATCH foo bar", "-CROSSSLOT Keys in request don't hash to the same slot"),
            ("MGET foo bar {foo}x", "[1, 2] Interleave([0, 1, 0])"),
            // Slots 15495 and 12182: one node, but it refuses both in one command.
            ("DEL a foo", "[1, 1] Sum"),
            ("DBSIZE", "[2, 3, 1] Sum"),
            ("SCAN 0", "[2] Scan { place: 0, places: 16384, next: Some(5101) }"),
            ("SCAN 5101", "[3] Scan { place: 5101, places: 16384, next: Some(10000) }"),
            ("SCAN 26384", "[1] Scan { place: 10000, places: 16384, next: None }"),
            ("PUBLISH c m", "Forward(2)"),
            ("SUBSCRIBE foo", "Own(2, Subscribe(1))"),
            ("SSUBSCRIBE foo", "Own(1, Subscribe(1))"),
            ("SPUBLISH foo m", "Forward(1)"),
            ("BLPOP foo 0", "Own(1, Blocking)"),
            ("EVAL s 1 foo", "Forward(1)"),
            ("EVAL s 0", "Forward(2)"),
            ("INFO", "Own(2, Plain)"),
            ("CLUSTER SLOTS", "Forward(2)"),
            ("CLUSTER COUNTKEYSINSLOT 12182", "Forward(1)"),
            ("CLUSTER GETKEYSINSLOT 99999 1", "-ERR Invalid or out of range slot"),
            ("SELECT 0", "+OK"),
            ("SELECT 1", "-ERR SELECT is not allowed in cluster mode"),
            ("READONLY", "+OK"),
            ("READWRITE", "+OK"),
            ("MULTI", "Begin"),
            ("HELLO 3", "Hello(2, Hello { protocol: Some(3), names: false, user: false })"),
            ("HELLO 4", "-NOPROTO unsupported protocol version"),
        ] {
            assert_eq!(outcome(ReadFrom::Primary, line), expected, "{line}");
        }
        for line in
            ["CLUSTER RESET", "CONFIG GET save", "ASKING", "SWAPDB 0 1", "WAIT 1 0", "CLUSTER FAILOVER"]
        {
            let outcome = outcome(ReadFrom::Primary, line);
            assert!(outcome.contains("does not support"), "{line}: {outcome}");
        }
    }

    #[test]
    fn what_only_reads_may_go_to_a_replica() {
        for (line, expected) in [
            ("GET foo", "Forward(4)"),
            ("GET bar", "Forward(2)"),
            ("MGET foo bar", "[4, 2] Interleave([0, 1])"),
            ("SET foo 1", "Forward(1)"),
            ("DEL foo", "Forward(1)"),
            ("EVAL_RO s 1 foo", "Forward(1)"),
            ("FCALL_RO f 1 foo", "Forward(4)"),
            ("DBSIZE", "[2, 3, 1] Sum"),
        ] {
            assert_eq!(outcome(ReadFrom::Replica, line), expected, "{line}");
        }
    }
}

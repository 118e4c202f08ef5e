//! Runs: requests in a row that need nothing but to be sent on. Handling one costs about what
//! handling a single request does.

use tombolo_resp::command::{self, Command};
use tombolo_resp::{Head, usual};

use super::effect::Effect;

/// A run of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// How many they are.
    pub(super) count: u32,
    /// Their bytes.
    pub(super) length: usize,
}

/// The requests that `bytes` start with and that a shared connection to the one server there is
/// can have as they are: nearly every request, and the short way for it. At most `requests`, and
/// no further one after `most` bytes. None that is longer than `longest`.
#[inline]
pub(super) fn plain_run(bytes: &[u8], (requests, most): (usize, usize), longest: usize) -> Run {
    let mut run = Run { count: 0, length: 0 };
    // Of the last request, if all that start so are plain: those of a client are often alike.
    let mut head: Option<Head> = None;
    while (run.count as usize) < requests
        && run.length < most
        && let rest = &bytes[run.length..]
        && let Some(length) = head.and_then(|head| head.follow(rest)).or_else(|| plain(rest, &mut head))
        && length <= longest
    {
        run.count += 1;
        run.length += length;
    }
    run
}

/// The length of the request that `bytes` start with, if it is plain.
#[inline]
fn plain(bytes: &[u8], head: &mut Option<Head>) -> Option<usize> {
    let request = usual(bytes)?;
    let command = command::lookup(request.name, request.first).filter(|command| is_plain(command))?;
    *head = if command.has_subcommands() { None } else { Head::of(bytes, &request) };
    Some(request.length)
}

#[inline]
fn is_plain(command: &Command) -> bool {
    // What the proxy answers itself.
    !Effect::is_suspect(command) && !matches!(command.name, "ping" | "echo" | "acl|whoami")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same without what is known of the request before.
    fn one_by_one(bytes: &[u8]) -> (u32, usize) {
        let mut run = (0, 0);
        while let Some(length) = plain(&bytes[run.1..], &mut None) {
            run = (run.0 + 1, run.1 + length);
        }
        run
    }

    const LINES: [&str; 14] = [
        "GET a",
        "GET bcd",
        "get a",
        "GET a b",
        "SET a b",
        "DBSIZE",
        "MULTI",
        "HGETALL k",
        "OBJECT ENCODING k",
        "OBJECT HELP",
        "OBJECT nonsense",
        "CLIENT ID",
        "SCRIPT LOAD x",
        "SCRIPT DEBUG x",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn requests_that_start_alike_are_not_taken_for_one_another(
            lines in prop::collection::vec(prop_oneof![0..3_usize, 0..LINES.len()], 1..8),
            cut in prop_oneof![Just(0_usize), 1..9_usize],
            change in prop::option::of((any::<prop::sample::Index>(), prop::sample::select(b"*$\r\n19Gg".to_vec()))),
        ) {
            let mut bytes = Vec::new();
            for line in lines {
                let words: Vec<&[u8]> = LINES[line].split(' ').map(str::as_bytes).collect();
                tombolo_resp::encode::request(&mut bytes, &words);
            }
            bytes.truncate(bytes.len() - cut);
            if let Some((at, byte)) = change {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let run = plain_run(&bytes, (usize::MAX, usize::MAX), usize::MAX);
            prop_assert_eq!((run.count, run.length), one_by_one(&bytes), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_run_ends_where_another_way_is_needed() {
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for line in ["GET a", "set b c", "DBSIZE", "OBJECT ENCODING k", "PING", "GET d"] {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            tombolo_resp::encode::request(&mut bytes, &words);
            ends.push(bytes.len());
        }
        let run = |bytes: &[u8], room| {
            let Run { count, length } = plain_run(bytes, room, usize::MAX);
            (count, length)
        };
        assert_eq!(run(&bytes, (9, 9999)), (4, ends[4]));
        assert_eq!(run(&bytes, (3, 9999)), (3, ends[3]));
        assert_eq!(run(&bytes, (9, 1)), (1, ends[1]));
        assert_eq!(run(&bytes, (9, ends[2])), (2, ends[2]));
        assert_eq!(run(&bytes[..ends[2] - 1], (9, 9999)), (1, ends[1]));
        assert_eq!(run(&bytes[ends[4]..], (9, 9999)), (0, 0));
        assert_eq!(plain_run(&bytes, (9, 9999), ends[1]).count, 1);
        assert_eq!(plain_run(&bytes, (9, 9999), ends[1] - 1).count, 0);
        for other in ["MULTI", "BLPOP k 0", "CONFIG GET save", "NONSENSE", "ECHO a", "SELECT 0"] {
            let mut bytes = Vec::new();
            let words: Vec<&[u8]> = other.split(' ').map(str::as_bytes).collect();
            tombolo_resp::encode::request(&mut bytes, &words);
            assert_eq!(run(&bytes, (9, 9999)), (0, 0), "{other}");
        }
    }
}

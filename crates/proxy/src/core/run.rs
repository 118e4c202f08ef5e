//! Runs: requests in a row that need nothing but to be sent on. Handling one costs about what
//! handling a single request does.

use tombolo_resp::command::{self, Command};
use tombolo_resp::usual;

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
    while (run.count as usize) < requests
        && run.length < most
        && let Some(request) = usual(&bytes[run.length..])
        && request.length <= longest
        && command::lookup(request.name, request.first).is_some_and(is_plain)
    {
        run.count += 1;
        run.length += request.length;
    }
    run
}

#[inline]
fn is_plain(command: &Command) -> bool {
    !Effect::is_suspect(command) && !matches!(command.name, "ping" | "echo")
}

#[cfg(test)]
mod tests {
    use super::*;

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

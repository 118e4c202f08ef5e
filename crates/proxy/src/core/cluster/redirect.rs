//! Errors by which a node says that it did not execute a request, and who would.
//!
//! Source: the Redis Cluster specification, "Redirection and resharding".

/// What an answer of a node means for the request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// It is the reply.
    Reply,
    /// `-MOVED slot host:port`: the slot belongs to another node.
    Moved(u16, Node<'a>),
    /// `-ASK slot host:port`: the slot is on its way to another node, and the keys are there already,
    /// or new. Only this request is to go there, behind an `ASKING`.
    Ask(u16, Node<'a>),
    /// `-TRYAGAIN`: some keys are on their way and some are not. `-CLUSTERDOWN`: slots are without a
    /// primary. Either will pass.
    Later,
    /// `-LOADING`, `-MASTERDOWN`: this node has no data to answer from.
    Unready,
}

/// Where a redirection points. An empty host is that of the node which said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
}

/// Looks at an answer.
pub(super) fn read(answer: &[u8]) -> Answer<'_> {
    let Some(text) = answer.strip_prefix(b"-").and_then(|text| text.strip_suffix(b"\r\n")) else {
        return Answer::Reply;
    };
    let Ok(text) = std::str::from_utf8(text) else { return Answer::Reply };
    let mut words = text.split(' ');
    let code = words.next().unwrap_or_default();
    match code {
        "TRYAGAIN" | "CLUSTERDOWN" => Answer::Later,
        "LOADING" | "MASTERDOWN" => Answer::Unready,
        "MOVED" | "ASK" => match (slot(words.next()), words.next().and_then(node), words.next()) {
            (Some(slot), Some(node), None) if code == "MOVED" => Answer::Moved(slot, node),
            (Some(slot), Some(node), None) => Answer::Ask(slot, node),
            _ => Answer::Reply,
        },
        _ => Answer::Reply,
    }
}

fn slot(text: Option<&str>) -> Option<u16> {
    text?.parse().ok().filter(|slot| usize::from(*slot) < crate::placement::slots::SLOTS)
}

/// `host:port`; an IPv6 address has no brackets, and the last colon is the one that counts.
fn node(text: &str) -> Option<Node<'_>> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    // A node that does not know its name says "?".
    let host = if host == "?" { "" } else { host };
    Some(Node { host, port: port.parse().ok().filter(|port| *port > 0)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_no_replies() {
        let node = |host, port| Node { host, port };
        for (text, expected) in [
            ("-MOVED 3999 127.0.0.1:6381", Answer::Moved(3999, node("127.0.0.1", 6381))),
            ("-MOVED 0 ::1:6381", Answer::Moved(0, node("::1", 6381))),
            ("-MOVED 0 [::1]:6381", Answer::Moved(0, node("::1", 6381))),
            ("-MOVED 16383 :6381", Answer::Moved(16383, node("", 6381))),
            ("-MOVED 7 ?:6381", Answer::Moved(7, node("", 6381))),
            ("-ASK 3999 redis-3.example:6381", Answer::Ask(3999, node("redis-3.example", 6381))),
            ("-TRYAGAIN Multiple keys request during rehashing of slot", Answer::Later),
            ("-CLUSTERDOWN The cluster is down", Answer::Later),
            ("-MASTERDOWN Link with MASTER is down", Answer::Unready),
            ("-LOADING Redis is loading the dataset in memory", Answer::Unready),
            ("-MOVED 16384 a:1", Answer::Reply),
            ("-MOVED 1 a", Answer::Reply),
            ("-MOVED 1 a:0", Answer::Reply),
            ("-MOVED 1 a:65536", Answer::Reply),
            ("-MOVED 1", Answer::Reply),
            ("-MOVED 1 a:1 more", Answer::Reply),
            ("-MOVEDTO 1 a:1", Answer::Reply),
            ("-ERR MOVED 1 a:1", Answer::Reply),
            ("+MOVED 1 a:1", Answer::Reply),
            ("-", Answer::Reply),
        ] {
            assert_eq!(read(format!("{text}\r\n").as_bytes()), expected, "{text}");
        }
        assert_eq!(read(b"-MOVED 1 \xff:1\r\n"), Answer::Reply);
        assert_eq!(read(b""), Answer::Reply);
    }
}

//! What to do with a memcached request. Pure: a request and a placement in, a decision out.
//!
//! | request | goes to |
//! |---|---|
//! | one key | its server |
//! | get gets gat gats | each key's server; the values are joined in the order of the request |
//! | flush_all verbosity | every server |
//! | version | one server, the same as with twemproxy |
//! | mn quit, and what is about one server | answered here |

use std::borrow::Cow;

use tombolo_memcache::{Answer, MAX_LINE_BYTES, Request, Verb};

use super::join::{Gather, Keys};
use crate::placement::Placement;

/// What twemproxy takes for the key of a command that has none.
const PLACEHOLDER: &[u8] = b"placeholder";

/// What to do with a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Send it to this server of the pool; the client gets the reply, or what is made of it.
    Forward(usize, Option<Gather>),
    /// Send each part to its server, and join the replies.
    Split(Vec<(usize, Vec<u8>)>, Gather),
    /// Answer these bytes.
    Answer(Cow<'static, [u8]>),
    /// Close once everything before is answered.
    Quit,
}

/// Decides about `request`; `dice` is for the random distribution.
pub(super) fn decide(placement: &Placement, request: &Request<'_>, dice: u64) -> Decision {
    let verb = request.verb();
    let gather = match request.answer() {
        Answer::Full => None,
        Answer::Remarkable => Some(Gather::Remarkable(verb)),
        Answer::Nothing => Some(Gather::Nothing),
    };
    match verb {
        Verb::Quit => Decision::Quit,
        Verb::MetaNoop => Decision::Answer(Cow::Borrowed(b"MN\r\n")),
        Verb::Server => refuse(request),
        Verb::FlushAll | Verb::Verbosity if placement.servers() > 1 => {
            let parts = (0..placement.servers()).map(|server| (server, request.wire().to_vec())).collect();
            Decision::Split(parts, gather.unwrap_or(Gather::Same))
        }
        _ if verb.is_retrieval() => retrieve(placement, request, dice),
        _ => {
            let key = request.key().unwrap_or(Cow::Borrowed(PLACEHOLDER));
            Decision::Forward(placement.server(&key, dice), gather)
        }
    }
}

/// Whether a line that is no command comes from a browser that was lured into speaking HTTP to a
/// memcached, whose next lines may be commands. The first is memcached's test, the second Redis's.
pub(super) fn is_browser(line: &[u8]) -> bool {
    let mut words = line.trim_ascii().split(|byte| *byte == b' ');
    let first = words.next().unwrap_or_default();
    words.next_back().unwrap_or(first).starts_with(b"HTTP/")
        || [b"post".as_slice(), b"host:"].iter().any(|name| first.eq_ignore_ascii_case(name))
}

fn refuse(request: &Request<'_>) -> Decision {
    let name = String::from_utf8_lossy(request.word(0));
    let text = format!(
        "CLIENT_ERROR tombolo-proxy does not support '{name}': it is about one server; ask the server itself\r\n"
    );
    Decision::Answer(Cow::Owned(text.into_bytes()))
}

/// Each key to its server. Servers take a line of any length for `get` and `gets` only: others
/// are sent in pieces.
fn retrieve(placement: &Placement, request: &Request<'_>, dice: u64) -> Decision {
    let unbounded = matches!(request.verb(), Verb::Get | Verb::Gets);
    let fits = |length: usize| unbounded || length <= MAX_LINE_BYTES;
    let mut servers = request.keys().map(|key| placement.server(key, dice));
    let first = servers.next().unwrap_or_default();
    if fits(request.wire().len()) && servers.all(|server| server == first) {
        return Decision::Forward(first, None);
    }
    let head = match unbounded {
        true => request.word(0).to_vec(),
        false => [request.word(0), request.word(1)].join(&b' '),
    };
    // The part that the next key of a server belongs to.
    let mut part_of: Vec<Option<usize>> = vec![None; placement.servers()];
    let mut parts: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut keys = Keys::default();
    for key in request.keys() {
        let server = placement.server(key, dice);
        let open = part_of[server].filter(|&part| fits(parts[part].1.len() + key.len() + 3));
        let part = open.unwrap_or_else(|| {
            parts.push((server, head.clone()));
            parts.len() - 1
        });
        part_of[server] = Some(part);
        parts[part].1.push(b' ');
        parts[part].1.extend_from_slice(key);
        keys.push(part as u32, key);
    }
    parts.iter_mut().for_each(|(_, wire)| wire.extend_from_slice(b"\r\n"));
    Decision::Split(parts, Gather::Values(keys))
}

#[cfg(test)]
mod tests {
    use tombolo_memcache::{RequestParser, Step};

    use super::*;
    use crate::placement::{Distribution, Hash};

    fn decide_line(servers: usize, line: &str) -> Decision {
        let list = [("a", 1), ("b", 1), ("c", 1)];
        let placement =
            Placement::new(Distribution::Ketama, Hash::Fnv1a64, Some((b'{', b'}')), &list[..servers]);
        let bytes = format!("{line}\r\n").into_bytes();
        let mut parser = RequestParser::default();
        assert!(matches!(parser.advance(&bytes), Ok(Step::Complete(_))), "{line}");
        decide(&placement, &parser.request(&bytes), 0)
    }

    #[test]
    fn one_server_gets_nearly_everything_as_it_is() {
        for line in
            ["get a b c", "gat 0 a b", "incr a 1", "flush_all", "version", "verbosity 1", "mg a v", "me a"]
        {
            assert_eq!(decide_line(1, line), Decision::Forward(0, None), "{line}");
        }
        assert_eq!(decide_line(1, "delete a noreply"), Decision::Forward(0, Some(Gather::Nothing)));
        assert_eq!(
            decide_line(1, "md a q"),
            Decision::Forward(0, Some(Gather::Remarkable(Verb::MetaDelete)))
        );
        assert_eq!([decide_line(1, "quit"), decide_line(3, "quit")], [Decision::Quit, Decision::Quit]);
        assert_eq!(decide_line(1, "mn"), Decision::Answer(Cow::Borrowed(b"MN\r\n")));
        let Decision::Answer(text) = decide_line(1, "stats items") else { panic!("an answer") };
        assert!(text.starts_with(b"CLIENT_ERROR tombolo-proxy does not support 'stats': "));
    }

    #[test]
    fn browsers_are_known_by_what_they_say() {
        for line in
            ["POST / HTTP/1.1\r\n", "GET /a b HTTP/1.0\n", "HTTP/1.1\r\n", "Host: a\r\n", "post / \r\n"]
        {
            assert!(is_browser(line.as_bytes()), "{line}");
        }
        for line in ["GET x\r\n", "nonsense HTTP/1.1 x\r\n", "nonsense http/1.1\r\n", "\r\n", " \r\n"] {
            assert!(!is_browser(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn keys_go_to_their_servers() {
        let Decision::Split(parts, Gather::Values(_)) = decide_line(3, "gats 7 key:1 key:22 key:333") else {
            panic!("parts")
        };
        let mut words: Vec<&str> = Vec::new();
        for (_, wire) in &parts {
            let text = std::str::from_utf8(wire).expect("text").strip_suffix("\r\n").expect("a line");
            words.extend(text.strip_prefix("gats 7 ").expect("the command").split(' '));
        }
        words.sort_unstable();
        assert_eq!((parts.len(), words), (2, vec!["key:1", "key:22", "key:333"]));
        assert!(matches!(decide_line(3, "get {t}a {t}b"), Decision::Forward(_, None)));
        assert!(
            matches!(decide_line(3, "flush_all"), Decision::Split(parts, Gather::Same) if parts.len() == 3)
        );
        assert!(matches!(decide_line(3, "flush_all noreply"), Decision::Split(_, Gather::Nothing)));
        // The same key is on the same server however it is written.
        for (text, base64) in [("foo", "Zm9v"), ("foobar", "Zm9vYmFy"), ("fo", "Zm8=")] {
            let plain = decide_line(3, &format!("get {text}"));
            assert_eq!(decide_line(3, &format!("mg {base64} b v")), plain, "{text}");
        }
    }

    #[test]
    fn lines_that_a_server_would_not_take_are_sent_in_pieces() {
        let keys: Vec<String> = (0..900).map(|index| format!("key:{index}")).collect();
        assert_eq!(decide_line(1, &format!("get {}", keys.join(" "))), Decision::Forward(0, None));
        for servers in [1, 3] {
            let Decision::Split(parts, _) = decide_line(servers, &format!("gat 1 {}", keys.join(" "))) else {
                panic!("parts")
            };
            assert!(parts.len() > servers && parts.iter().all(|(_, wire)| wire.len() <= MAX_LINE_BYTES));
            let count: usize =
                parts.iter().map(|(_, wire)| wire.iter().filter(|byte| **byte == b':').count()).sum();
            assert_eq!(count, 900);
        }
    }
}

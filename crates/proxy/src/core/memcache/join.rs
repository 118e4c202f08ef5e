//! What a memcached client gets of its servers' replies, where that is not the one reply as it is.

use tombolo_memcache::{Request, Verb, reply};

/// How replies become one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::core) enum Gather {
    /// Nothing is answered, whatever happened: `noreply`.
    Nothing,
    /// The one reply to this command, unless it says that all is well: the quiet flag.
    Remarkable(Verb),
    /// All say the same.
    Same,
    /// Values, in the order in which their keys were asked for.
    Values(Keys),
}

/// Keys in the order of a request, and which part each one is in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::core) struct Keys {
    text: Vec<u8>,
    /// The part, and where the key ends in `text`.
    keys: Vec<(u32, usize)>,
}

impl Keys {
    pub(super) fn push(&mut self, part: u32, key: &[u8]) {
        self.text.extend_from_slice(key);
        self.keys.push((part, self.text.len()));
    }

    fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let mut start = 0;
        self.keys.iter().map(move |&(part, end)| (part, &self.text[std::mem::replace(&mut start, end)..end]))
    }
}

impl Gather {
    /// The reply of all. An error of one server is the whole reply: the first one.
    pub(in crate::core) fn reply(&self, parts: &[Vec<u8>]) -> Vec<u8> {
        let error = || parts.iter().find(|part| reply::is_error(part)).cloned();
        let first = || parts.first().cloned().unwrap_or_default();
        match self {
            Gather::Nothing => Vec::new(),
            Gather::Remarkable(verb) => {
                Some(first()).filter(|reply| Request::is_remarkable(*verb, reply)).unwrap_or_default()
            }
            Gather::Same => error().unwrap_or_else(first),
            Gather::Values(keys) => error().or_else(|| values(keys, parts)).unwrap_or_else(|| {
                b"SERVER_ERROR tombolo-proxy: the servers' replies do not fit together\r\n".to_vec()
            }),
        }
    }
}

/// A server answers in the order in which it was asked, and leaves out what it does not have.
fn values(keys: &Keys, parts: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut found: Vec<_> =
        parts.iter().map(|part| Some(reply::values(part)?.into_iter().peekable())).collect::<Option<_>>()?;
    let mut out = Vec::with_capacity(parts.iter().map(Vec::len).sum());
    for (part, key) in keys.iter() {
        if let Some((_, value)) = found.get_mut(part as usize)?.next_if(|(name, _)| *name == key) {
            out.extend_from_slice(value);
        }
    }
    out.extend_from_slice(b"END\r\n");
    found.iter_mut().all(|rest| rest.next().is_none()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(gather: &Gather, parts: &[&str]) -> String {
        let parts: Vec<Vec<u8>> = parts.iter().map(|part| part.as_bytes().to_vec()).collect();
        String::from_utf8(gather.reply(&parts)).expect("text")
    }

    #[test]
    fn values_are_in_the_order_of_the_request() {
        let mut keys = Keys::default();
        [(0, "a"), (1, "b"), (0, "miss"), (0, "c"), (1, "b")]
            .iter()
            .for_each(|(part, key)| keys.push(*part, key.as_bytes()));
        let gather = Gather::Values(keys);
        let value = |key: &str| format!("VALUE {key} 0 1\r\n{key}\r\n");
        let one = format!("{}{}END\r\n", value("a"), value("c"));
        let two = format!("{0}{0}END\r\n", value("b"));
        let all = format!("{}{}{}{}END\r\n", value("a"), value("b"), value("c"), value("b"));
        assert_eq!(joined(&gather, &[&one, &two]), all);
        assert_eq!(joined(&gather, &["END\r\n", "END\r\n"]), "END\r\n");
        assert_eq!(joined(&gather, &[&one, "SERVER_ERROR x\r\n"]), "SERVER_ERROR x\r\n");
        for strange in ["STORED\r\n", "VALUE other 0 1\r\nx\r\nEND\r\n"] {
            assert!(joined(&gather, &[&one, strange]).contains("do not fit together"), "{strange}");
        }
    }

    #[test]
    fn what_is_not_wanted_is_not_answered() {
        for (gather, reply, expected) in [
            (Gather::Nothing, "SERVER_ERROR x\r\n", ""),
            (Gather::Remarkable(Verb::MetaGet), "EN\r\n", ""),
            (Gather::Remarkable(Verb::MetaGet), "HD\r\n", "HD\r\n"),
            (Gather::Remarkable(Verb::MetaSet), "HD O1\r\n", ""),
            (Gather::Remarkable(Verb::MetaSet), "NS\r\n", "NS\r\n"),
            (Gather::Remarkable(Verb::MetaDelete), "NF\r\n", "NF\r\n"),
            (Gather::Remarkable(Verb::MetaArithmetic), "VA 1\r\n1\r\n", ""),
            (Gather::Remarkable(Verb::MetaGet), "SERVER_ERROR x\r\n", "SERVER_ERROR x\r\n"),
        ] {
            assert_eq!(joined(&gather, &[reply]), expected, "{gather:?} {reply}");
        }
        assert_eq!(joined(&Gather::Same, &["OK\r\n", "OK\r\n"]), "OK\r\n");
        assert_eq!(joined(&Gather::Same, &["OK\r\n", "ERROR\r\n"]), "ERROR\r\n");
    }
}

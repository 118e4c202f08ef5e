//! A request without its transport.

use percent_encoding::percent_decode_str;
use serde_json::Value;
use std::borrow::Cow;

/// An HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// GET.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

impl Verb {
    /// The verb of an HTTP method's name, in capitals.
    pub fn parse(name: &str) -> Option<Verb> {
        Some(match name {
            "GET" => Verb::Get,
            "POST" => Verb::Post,
            "PUT" => Verb::Put,
            "PATCH" => Verb::Patch,
            "DELETE" => Verb::Delete,
            _ => return None,
        })
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The host that the client meant, such as `redis.googleapis.com`; any other says nothing about the API.
    pub host: String,
    /// The HTTP method.
    pub verb: Verb,
    /// The path, still percent-encoded, without the query.
    pub path: String,
    /// The query's parameters, decoded, in their order.
    pub query: Vec<(String, String)>,
    /// The body; `Value::Null` for none.
    pub body: Value,
}

impl Request {
    /// A request from the target of an HTTP request line (path and query).
    pub fn new(host: &str, verb: Verb, target: &str, body: Value) -> Request {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let query = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode_query(name), decode_query(value))
        });
        Request { host: host.to_owned(), verb, path: path.to_owned(), query: query.collect(), body }
    }
}

/// Decodes a segment of a path.
pub(crate) fn decode(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// Decodes a name or a value of a query, in which `+` is a space.
fn decode_query(text: &str) -> String {
    decode(&text.replace('+', " ")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_path_and_a_query() {
        let request =
            Request::new("h", Verb::Get, "/a/b%2Fc?filter=name+eq+%22x%22&$alt=json&y", Value::Null);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(request.path, "/a/b%2Fc");
        assert_eq!(request.query, [pair("filter", "name eq \"x\""), pair("$alt", "json"), pair("y", "")]);
        assert_eq!(Verb::parse("PATCH"), Some(Verb::Patch));
        assert_eq!(Verb::parse("get"), None);
    }
}

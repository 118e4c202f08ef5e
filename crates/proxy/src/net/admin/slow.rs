//! `/slowlog`: slow requests as JSON, for the pools that have a slow log.

use serde_json::{Value, json};

use crate::core::{SlowRequest, Snapshot};

/// What Redis's `SLOWLOG GET` tells of each request (the time in seconds since 1970, the duration in
/// microseconds), and the server; the latest first.
pub(super) fn render(snapshot: &Snapshot) -> String {
    let pools = snapshot.pools.iter().filter_map(|pool| Some((pool, pool.slow.as_ref()?)));
    let pools = pools.map(|(pool, slow)| {
        let requests: Vec<Value> = slow.iter().map(request).collect();
        json!({"pool": pool.name, "slowlog": requests})
    });
    json!({"pools": pools.collect::<Vec<_>>()}).to_string() + "\n"
}

fn request(slow: &SlowRequest) -> Value {
    let arguments = slow.arguments.iter().map(|argument| String::from_utf8_lossy(argument));
    json!({
        "id": slow.id,
        "timestamp": slow.time / 1_000_000,
        "duration": slow.duration,
        "client": slow.client,
        "server": slow.server,
        "arguments": arguments.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::PoolSnapshot;

    #[test]
    fn requests_are_shown_with_what_is_no_text() {
        let request = SlowRequest {
            id: 7,
            time: 1_700_000_000_999_999,
            duration: 12_345,
            client: "127.0.0.1:5".to_string(),
            server: "a:1".to_string(),
            arguments: vec![b"SET".to_vec(), b"\"\n\xff".to_vec()],
        };
        let pool =
            |name: &str, slow| PoolSnapshot { name: name.to_string(), slow, ..PoolSnapshot::default() };
        let pools = vec![pool("p", Some(vec![request])), pool("q", Some(Vec::new())), pool("r", None)];
        let text = render(&Snapshot { pools, ..Snapshot::default() });
        let found: Value = serde_json::from_str(&text).expect("JSON");
        let expected = json!({"pools": [
            {"pool": "p", "slowlog": [{
                "id": 7, "timestamp": 1_700_000_000, "duration": 12_345, "client": "127.0.0.1:5",
                "server": "a:1", "arguments": ["SET", "\"\n\u{fffd}"],
            }]},
            {"pool": "q", "slowlog": []},
        ]});
        assert_eq!(found, expected);
    }
}

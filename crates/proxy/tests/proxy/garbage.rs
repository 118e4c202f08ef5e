//! Whatever clients and servers send, the core neither panics nor answers more than it was asked.

use proptest::prelude::*;
use tombolo_proxy::config::Config;
use tombolo_proxy::core::Core;

const CONFIG: &str =
    "p:\n  listen: 127.0.0.1:1\n  redis: true\n  servers: [\"127.0.0.1:2:1\", \"127.0.0.1:3:1\"]\n";

/// Bytes that come near to being RESP more often than random ones.
fn nearly_resp() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
        "*1\r\n$4\r\nPING\r\n",
        "GET k\r\n",
        "*",
        "$",
        "-1",
        "3",
        "\r\n",
        "\r",
        "QUIT\r\n",
        "+OK\r\n",
        "$1\r\nv\r\n",
        "*2\r\n",
        "%1\r\n",
        "|1\r\n",
        "-ERR x\r\n",
        "\"",
        "MGET a b\r\n",
        ">1\r\n",
        "$-1\r\n",
        "XREAD STREAMS\r\n",
        "EVAL s 99999999999 k\r\n",
        "AUTH\r\n",
        "*1048576\r\n",
        "OBJECT\r\n",
        "SORT k STORE\r\n",
        "MULTI\r\n",
        "EXEC\r\n",
        "SUBSCRIBE a b\r\n",
        "UNSUBSCRIBE\r\n",
        "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
        "*3\r\n$7\r\nmessage\r\n",
        "SELECT 1\r\n",
        "SELECT 0\r\n",
        "CLIENT REPLY OFF\r\n",
        "HELLO 3 AUTH u p\r\n",
        "AUTH u p\r\n",
        "RESET\r\n",
        "WAIT 0 0\r\n",
        "+QUEUED\r\n",
    ]);
    let word = prop_oneof![
        9 => words.prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn no_bytes_upset_the_core(
        turns in prop::collection::vec((nearly_resp(), nearly_resp(), 0_usize..2), 1..8),
        servers in 1_usize..=2,
    ) {
        let mut config = Config::parse("garbage", CONFIG).expect("a configuration");
        config.pools[0].servers.truncate(servers);
        let mut core = Core::new(&config.pools, 1);
        let client = core.client_connected(0);
        for (now, (from_client, from_server, server)) in (0..).zip(turns) {
            core.client_data(client, &from_client, now);
            // The shared connection, and those of the client's own.
            let ids: Vec<_> = core.connections().map(|(id, ..)| id).collect();
            for id in ids.into_iter().filter(|id| id.0 >= servers || id.0 == server % servers) {
                core.server_connected(id, now);
                // Nothing was asked of a server before something was written to it.
                if !core.server_output(id).is_empty() {
                    let count = core.server_output(id).len();
                    core.server_wrote(id, count);
                    let _ = core.server_data(id, &from_server, now);
                }
            }
            let count = core.client_output(client).len();
            core.client_wrote(client, count, now);
            while core.poll_action().is_some() {}
        }
        core.client_eof(client);
        core.tick(u64::MAX - 1);
    }
}

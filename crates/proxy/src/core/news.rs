//! What becomes of servers without anything happening to a socket, for the log: time is the core's
//! business.

use super::{ConnectionId, Core};

/// Something that has become of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerNews {
    /// It took too long on this connection, which clients share.
    Silent(ConnectionId),
    /// The server with this index in the pool with that index is left out of the distribution.
    LeftOut(usize, usize),
    /// It is in the distribution again.
    Back(usize, usize),
}

impl Core {
    /// What has become of servers since it was last asked, one after the other.
    pub fn next_server_news(&mut self) -> Option<ServerNews> {
        self.server_news.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::core::{Action, ServerError};

    #[test]
    fn a_silent_server_is_told_of_and_so_is_its_way_out_and_back() {
        let text = "p:\n  listen: h:1\n  redis: true\n  timeout: 1\n  auto_eject_hosts: true\n  \
                    server_failure_limit: 2\n  server_retry_timeout: 1000\n  servers: [\"s:1:1\"]\n";
        let mut core = Core::new(&Config::parse("c.yml", text).expect("a configuration").pools, 1);
        let client = core.client_connected(0);
        let mut told = Vec::new();
        for at in [0, 2000] {
            core.client_data(client, b"GET k\r\n", at);
            let actions: Vec<Action> = std::iter::from_fn(|| core.poll_action()).collect();
            let connect = actions.iter().find_map(|action| match action {
                Action::Connect(id) => Some(*id),
                _ => None,
            });
            core.server_connected(connect.expect("a connection"), at);
            assert_eq!(core.next_server_news(), None);
            core.tick(at + 1000);
            told.extend(std::iter::from_fn(|| core.next_server_news()));
        }
        let silent = ServerNews::Silent(ConnectionId(0));
        assert_eq!(told, [silent, silent, ServerNews::LeftOut(0, 0)]);
        core.tick(3000 + 999_999);
        assert_eq!(core.next_server_news(), None);
        core.tick(3000 + 1_000_000);
        assert_eq!(core.next_server_news(), Some(ServerNews::Back(0, 0)));
        // What the system says of a socket, who has the socket knows already.
        core.server_failed(ConnectionId(0), &ServerError::Closed, 3_000_000);
        assert_eq!(core.next_server_news(), None);
    }
}

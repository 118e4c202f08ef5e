//! Passwords: the pool's, which the proxy checks itself as twemproxy does, and those of users,
//! which only the server knows.

use tombolo_resp::{Request, encode};

use super::effect::{Effect, hello_auth};
use super::{ClientId, Core, Micros};

/// What AUTH and HELLO come to.
enum Outcome {
    /// The proxy answers.
    Answer(&'static [u8]),
    /// The server is asked, on a connection of the client's own.
    Server(Effect),
}

impl Core {
    /// AUTH. `false` when it has to wait until everything before is answered.
    pub(super) fn authenticate(
        &mut self,
        id: ClientId,
        server: usize,
        request: &Request<'_>,
        now: Micros,
    ) -> bool {
        let (user, given) = match (request.arg(1), request.arg(2)) {
            (Some(given), None) => (None, given),
            (Some(user), Some(given)) if request.len() == 3 => (Some(user), given),
            _ => {
                self.answer_error(id, "syntax error");
                return true;
            }
        };
        let Some(client) = self.clients.get_mut(id) else { return true };
        let outcome = match (user, self.pools[client.pool].config.redis_auth.as_ref()) {
            (None, None) => Outcome::Answer(b"-ERR Client sent AUTH, but no password is set\r\n"),
            (None | Some(b"default"), Some(password)) => {
                client.authenticated = password.matches(given);
                match client.authenticated {
                    true => Outcome::Answer(b"+OK\r\n"),
                    false => Outcome::Answer(b"-ERR invalid password\r\n"),
                }
            }
            _ => Outcome::Server(Effect::Auth),
        };
        self.settle(id, server, outcome, request, now)
    }

    /// HELLO, which may bring a user and a password.
    pub(super) fn hello(
        &mut self,
        id: ClientId,
        server: usize,
        effect: Effect,
        request: &Request<'_>,
        now: Micros,
    ) -> bool {
        if self.is_authenticating(id) {
            return false;
        }
        let Some(client) = self.clients.get_mut(id) else { return true };
        let outcome = match (hello_auth(request), self.pools[client.pool].config.redis_auth.as_ref()) {
            (Some((b"default", given)), Some(password)) => {
                if password.matches(given) {
                    client.authenticated = true;
                    // The connection has this user already.
                    Outcome::Server(without_user(effect))
                } else {
                    Outcome::Answer(b"-WRONGPASS invalid username-password pair or user is disabled.\r\n")
                }
            }
            (None, _) if !client.authenticated => Outcome::Answer(
                b"-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time\r\n",
            ),
            _ => Outcome::Server(effect),
        };
        self.settle(id, server, outcome, request, now)
    }

    fn settle(
        &mut self,
        id: ClientId,
        server: usize,
        outcome: Outcome,
        request: &Request<'_>,
        now: Micros,
    ) -> bool {
        match outcome {
            Outcome::Answer(reply) => {
                self.answer(id, reply);
                true
            }
            Outcome::Server(Effect::Auth | Effect::Hello { user: true, .. })
                if self.has_several_servers(id) =>
            {
                self.answer_error(id, "tombolo-proxy does not support users with several servers");
                true
            }
            Outcome::Server(effect) => self.own(id, server, effect, request.wire(), now),
        }
    }

    fn has_several_servers(&self, id: ClientId) -> bool {
        self.clients.get(id).is_some_and(|client| !self.pools[client.pool].placement.is_single())
    }

    pub(super) fn answer_error(&mut self, id: ClientId, reason: &str) {
        let mut reply = Vec::new();
        encode::error(&mut reply, &format!("ERR {reason}"));
        self.answer(id, &reply);
    }
}

fn without_user(effect: Effect) -> Effect {
    match effect {
        Effect::Hello { protocol, names, .. } => Effect::Hello { protocol, names, user: false },
        other => other,
    }
}

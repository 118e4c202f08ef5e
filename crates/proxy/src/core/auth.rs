//! Passwords: the pool's and those of its users, which the proxy checks itself, and those of other
//! users, which only the server knows.

use std::sync::Arc;

use tombolo_resp::{Request, encode};

use super::effect::{Effect, hello_auth, hello_name};
use super::several::is_name;
use super::{ClientId, Core, Micros};
use crate::config::{ClientAuth, Pool, Server};

/// What AUTH and HELLO come to.
enum Outcome {
    /// The proxy answers.
    Answer(&'static [u8]),
    /// The server is asked, on a connection of the client's own.
    Server(Effect),
    /// As `Server`, but for what of it was for the proxy: the password, and, with several servers, the
    /// name.
    ServerTheRest(Effect),
    /// The client is the pool's again, whose connection is another user's: it has to become what shared connections
    /// are.
    AsPool(Effect),
}

const BAD_NAME: &[u8] = b"-ERR Client names cannot contain spaces, newlines or special characters.\r\n";
const WRONG: &[u8] = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n";
const NO_PASSWORD: &[u8] = b"-ERR Client sent AUTH, but no password is set\r\n";
const NOT_ASKED: &[u8] = b"-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?\r\n";

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
        let Some(client) = self.clients.get(id) else { return true };
        let config = self.rules(client.pool);
        let of_pool = matches!(user, None | Some(b"default")) && config.redis_auth.is_some();
        if (of_pool || config.users.is_some())
            && let Some(done) = self.out_of_place(id, now)
        {
            return done;
        }
        let Some(client) = self.clients.get_mut(id) else { return true };
        if let Some(users) = &config.users {
            let outcome = match users.authenticate(user.unwrap_or(b"default"), given) {
                _ if user.is_none() && users.default_user().needs_no_password() => NOT_ASKED,
                Some(user) => {
                    client.become_user(user);
                    b"+OK\r\n"
                }
                None => WRONG,
            };
            return self.settle(id, server, Outcome::Answer(outcome), request, now);
        }
        let outcome = match (user, config.redis_auth.as_ref()) {
            (None, None) if config.client_auth == ClientAuth::Passthrough => Outcome::Server(Effect::Auth),
            (None, None) => Outcome::Answer(NO_PASSWORD),
            (None | Some(b"default"), Some(password)) => {
                client.authenticated = password.matches(given);
                match client.authenticated {
                    true if client.has_server_user() => Outcome::AsPool(Effect::Auth),
                    true => Outcome::Answer(b"+OK\r\n"),
                    false => Outcome::Answer(b"-ERR invalid password\r\n"),
                }
            }
            _ => Outcome::Server(Effect::Auth),
        };
        self.settle(id, server, outcome, request, now)
    }

    /// What AUTH that the proxy answers comes to where a server would not run it now; otherwise `None`.
    fn out_of_place(&mut self, id: ClientId, now: Micros) -> Option<bool> {
        let client = self.clients.get(id)?;
        if client.unbound {
            // A server has to know that the transaction failed.
            return Some(self.bind(id, self.pools[client.pool].placement.first(), now));
        }
        let session = client.session.as_ref()?;
        if session.may_be_ending() || session.is_authenticating() {
            return Some(false);
        }
        if session.is_in_transaction() && !session.is_opaque() {
            self.spoil(id, b"-ERR tombolo-proxy: no AUTH in a transaction\r\n");
            return Some(true);
        }
        if session.is_subscribed() && !session.is_resp3() {
            self.answer_error(id, "Can't execute 'auth': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context");
            return Some(true);
        }
        None
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
        let several = self.has_several_servers(id);
        let Some(client) = self.clients.get(id) else { return true };
        let config = self.rules(client.pool);
        let server = match several && self.pools[client.pool].cluster.is_none() {
            true => self.first_up(client.pool),
            false => server,
        };
        let Some(client) = self.clients.get_mut(id) else { return true };
        let outcome = match (hello_auth(request), config.redis_auth.as_ref()) {
            _ if several && hello_name(request).is_some_and(|name| !is_name(name)) => {
                Outcome::Answer(BAD_NAME)
            }
            (Some((user, given)), _) if config.users.is_some() => {
                match config.users.as_ref().and_then(|users| users.authenticate(user, given)) {
                    Some(user) => {
                        client.become_user(user);
                        Outcome::ServerTheRest(without_user(effect))
                    }
                    None => Outcome::Answer(WRONG),
                }
            }
            (Some((b"default", given)), Some(password)) => {
                if password.matches(given) {
                    client.authenticated = true;
                    match client.has_server_user() {
                        true => Outcome::AsPool(effect),
                        false => Outcome::ServerTheRest(without_user(effect)),
                    }
                } else {
                    Outcome::Answer(WRONG)
                }
            }
            (None, _) if !client.authenticated => Outcome::Answer(
                b"-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time\r\n",
            ),
            (None, _) if several => Outcome::ServerTheRest(effect),
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
            Outcome::AsPool(effect) => {
                let Some(client) = self.clients.get(id) else { return true };
                let config = Arc::clone(&self.pools[client.pool].config);
                let Some((user, password)) = config.toward_servers() else {
                    return self.own(id, server, effect, request.wire(), now);
                };
                let auth = [b"AUTH", user.unwrap_or("default").as_bytes(), password.reveal().as_bytes()];
                let mut words = if effect == Effect::Auth { Vec::new() } else { hello_words(request, false) };
                words.extend(auth);
                let mut wire = Vec::new();
                encode::request(&mut wire, &words);
                self.own(id, server, effect, &wire, now)
            }
            Outcome::ServerTheRest(effect) => {
                let several = self.has_several_servers(id);
                if let (true, Some(name), Some(client)) =
                    (several, hello_name(request), self.clients.get_mut(id))
                {
                    client.name = Some(name.into()).filter(|_| !name.is_empty());
                }
                let mut wire = Vec::new();
                encode::request(&mut wire, &hello_words(request, several));
                self.own(id, server, effect, &wire, now)
            }
        }
    }

    /// What is different for a client that is a user of the pool's: what it may not do is refused,
    /// and it is told who it is. `None` when there is no difference; otherwise as `request`.
    pub(super) fn for_user(&mut self, id: ClientId, request: &Request<'_>, now: Micros) -> Option<bool> {
        let client = self.clients.get(id)?;
        let user = client.user.as_ref()?;
        let name = request.name();
        let asks = name.eq_ignore_ascii_case(b"acl")
            && request.len() == 2
            && request.arg(1).is_some_and(|sub| sub.eq_ignore_ascii_case(b"whoami"));
        let reply = match user.check(request) {
            Err(denied) => denied.reply(request),
            Ok(()) if !asks => return None,
            Ok(()) => {
                let in_session = client.session.as_ref().is_some_and(|session| session.is_in_transaction());
                let mut reply = Vec::new();
                match in_session || client.unbound {
                    true => encode::error(&mut reply, "ERR tombolo-proxy: no ACL WHOAMI in a transaction"),
                    false => {
                        encode::bulk(&mut reply, user.name().as_bytes());
                        self.answer(id, &reply);
                        return Some(true);
                    }
                }
                reply
            }
        };
        if client.unbound {
            // A server has to know that the transaction failed.
            return Some(self.bind(id, self.pools[client.pool].placement.first(), now));
        }
        match client.session {
            Some(_) => self.spoil(id, &reply),
            None => self.answer(id, &reply),
        }
        Some(true)
    }

    /// CLIENT SETNAME, where no server is to know of it.
    pub(super) fn set_name(&mut self, id: ClientId, name: &[u8]) {
        if !is_name(name) {
            return self.answer(id, BAD_NAME);
        }
        if let Some(client) = self.clients.get_mut(id) {
            client.name = Some(name.into()).filter(|_| !name.is_empty());
        }
        self.answer(id, b"+OK\r\n");
    }

    /// CLIENT GETNAME of such a name.
    pub(super) fn tell_name(&mut self, id: ClientId) {
        let mut reply = Vec::new();
        let Some(client) = self.clients.get(id) else { return };
        match client.name.as_deref() {
            Some(name) => encode::bulk(&mut reply, name),
            None if client.resp3 => reply.extend_from_slice(b"_\r\n"),
            None => reply.extend_from_slice(b"$-1\r\n"),
        }
        self.answer(id, &reply);
    }

    /// Whether this answer to AUTH says that the server has no password, where it was given the one that
    /// twemproxy would give: who tells clients to say one need not tell the servers too.
    pub(super) fn needs_no_password(&mut self, index: usize, reply: &[u8]) -> bool {
        let connection = &self.connections[index];
        let place = (connection.pool, connection.server);
        let state = &mut self.pools[place.0];
        let of_twemproxy = state.config.redis_auth.is_some() && state.config.server_credential.is_none();
        // Before Redis 6, and since.
        let open = of_twemproxy && (reply == NO_PASSWORD || reply == NOT_ASKED);
        if open && !std::mem::replace(&mut state.servers[place.1].open, true) {
            self.open_news.push(place);
        }
        open
    }

    /// A server that was given the pool's password and has none, with its pool, each once.
    pub fn next_open_server(&mut self) -> Option<(&Pool, &Server)> {
        let (pool, server) = self.open_news.pop()?;
        let state = &self.pools[pool];
        Some((&state.config, &state.servers[server].server))
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

/// HELLO without its AUTH, and its name if that is `named` here: they were not for the server.
fn hello_words<'a>(request: &Request<'a>, named: bool) -> Vec<&'a [u8]> {
    let mut words: Vec<&[u8]> = request.args().collect();
    let mut at = 2;
    while at < words.len() {
        if words[at].eq_ignore_ascii_case(b"auth") {
            words.drain(at..(at + 3).min(words.len()));
        } else if named && words[at].eq_ignore_ascii_case(b"setname") && at + 1 < words.len() {
            words.drain(at..at + 2);
        } else {
            at += 2;
        }
    }
    words
}

/// HELLO's answer with another client's id.
pub(super) fn with_id(greeting: &[u8], id: u64) -> Vec<u8> {
    let key = b"$2\r\nid\r\n:";
    let start = greeting.windows(key.len()).position(|part| part == key).map(|at| at + key.len());
    let Some((before, rest)) = start.and_then(|start| greeting.split_at_checked(start)) else {
        return greeting.to_vec();
    };
    let digits = rest.iter().take_while(|byte| **byte != b'\r').count();
    [before, id.to_string().as_bytes(), &rest[digits..]].concat()
}

fn without_user(effect: Effect) -> Effect {
    match effect {
        Effect::Hello { protocol, names, .. } => Effect::Hello { protocol, names, user: false },
        other => other,
    }
}

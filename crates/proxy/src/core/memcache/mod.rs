//! Memcached pools: the same machinery as for Redis (slots, joins, shared connections, time limits,
//! ejection, backpressure), with another idea of where a request ends and a reply does.
//!
//! ```text
//!  client_data ─▶ consume ─▶ RequestParser ─▶ route::decide ─▶ connection.out
//!  server_data ─▶ frames  ─▶ ReplyScanner  ─▶ in_flight.pop ─▶ client.complete
//! ```
//!
//! Every request that is sent on has one reply, so what is in flight is known exactly: `noreply`
//! and the quiet flag are taken out of requests by the parser, and the slot of such a request is
//! filled with nothing (see [`join`]). No command has a connection's state, so nobody gets a
//! connection of their own.

pub(super) mod join;
mod route;

use tombolo_memcache::{Request, RequestError, RequestParser, Step};

use self::route::Decision;
use super::join::{Gather, Join};
use super::server::Replies;
use super::{ClientId, Core, Micros, Outlet, ServerError};

/// What memcached writes to a client that is one too many.
pub(super) const TOO_MANY_CLIENTS: &[u8] = b"ERROR Too many open connections\r\n";

/// The line for a request whose server has failed, as twemproxy writes it.
pub(super) fn failure(error: &ServerError) -> Vec<u8> {
    // An error of the system's has no line breaks, but a client must not depend on that.
    let text = error.told().replace(['\r', '\n'], " ");
    format!("SERVER_ERROR {text}\r\n").into_bytes()
}

impl Core {
    /// Parses and handles the requests in `bytes`; returns how many bytes they are.
    pub(super) fn consume_memcache(&mut self, id: ClientId, bytes: &[u8], now: Micros) -> usize {
        let Some(client) = self.clients.get_mut(id) else { return bytes.len() };
        let Some(mut parser) = client.memcache.take() else { return bytes.len() };
        let used = self.memcache_requests(&mut parser, id, bytes, now);
        if let Some(client) = self.clients.get_mut(id) {
            client.memcache = Some(parser);
        }
        used
    }

    fn memcache_requests(
        &mut self,
        parser: &mut RequestParser,
        id: ClientId,
        bytes: &[u8],
        now: Micros,
    ) -> usize {
        let mut used = 0;
        while let Some(client) = self.clients.get_mut(id) {
            if client.closing {
                return bytes.len();
            }
            if client.must_pause(&self.pools[client.pool].bounds) {
                client.paused = true;
                return used;
            }
            let rest = &bytes[used..];
            match parser.advance(rest) {
                Ok(Step::Incomplete) => return used,
                Ok(Step::Discard(length)) => used += length,
                Ok(Step::Invalid { length, error, silent }) => {
                    used += length;
                    if error == RequestError::Unknown && route::is_browser(&rest[..length]) {
                        self.client_gone(id);
                    } else if !silent {
                        self.answer(id, format!("{error}\r\n").as_bytes());
                    }
                }
                Ok(Step::Complete(length)) => {
                    used += length;
                    self.memcache_request(id, &parser.request(rest), now);
                }
                Err(error) => {
                    self.count_client_error(id);
                    self.answer(id, format!("{error}\r\n").as_bytes());
                    self.finish(id);
                }
            }
        }
        bytes.len()
    }

    fn memcache_request(&mut self, id: ClientId, request: &Request<'_>, now: Micros) {
        let dice = self.roll();
        let Some(client) = self.clients.get_mut(id) else { return };
        let (pool, lane) = (client.pool, client.lane);
        match route::decide(&self.pools[pool].placement, request, dice) {
            Decision::Answer(reply) => self.answer(id, &reply),
            Decision::Quit => self.finish(id),
            Decision::Split(parts, gather) if self.pools[pool].eject.all_out => {
                self.refuse(id, parts.len(), &gather.reply(&[failure(&ServerError::Refused)]));
            }
            Decision::Forward(_, gather) if self.pools[pool].eject.all_out => {
                let reply = failure(&ServerError::Refused);
                let reply = gather.map_or(reply.clone(), |gather| gather.reply(&[reply]));
                self.refuse(id, 1, &reply);
            }
            Decision::Split(parts, gather) => self.split(id, parts, Gather::Memcache(gather), now),
            Decision::Forward(server, gather) => {
                let wire = request.wire();
                let connection = self.pools[pool].servers[server].lanes[lane];
                let seq = match gather {
                    None => client.order.wait(connection, 1, wire.len()),
                    Some(gather) => {
                        client.order.wait_for_parts(Join::new(Gather::Memcache(gather), 1, wire.len()))
                    }
                };
                self.enqueue(connection, id, seq, 0, 1, wire, now);
            }
        }
    }

    /// Hands out the complete replies in `bytes`; returns how many bytes they are.
    pub(super) fn frames_memcache(
        &mut self,
        index: usize,
        bytes: &[u8],
        now: Micros,
        outlet: Outlet<'_>,
    ) -> Result<usize, ServerError> {
        let mut used = 0;
        while used < bytes.len() {
            let rest = &bytes[used..];
            let Some(scanner) = &mut self.connections[index].memcache else { break };
            let Some(length) = scanner.advance(rest).map_err(|_| ServerError::Protocol)? else { break };
            if self.connections[index].in_flight.is_empty() {
                return Err(ServerError::Protocol);
            }
            let replies = Replies { count: 1, length, cut: false };
            self.replies(index, &replies, &rest[..length], now, outlet);
            used += length;
        }
        Ok(used)
    }
}

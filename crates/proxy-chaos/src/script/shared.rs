//! The requests of clients that share something: see [`crate::shared`].

use std::sync::Arc;

use tombolo_resp::Value;

use super::{Pipeline, Script};
use crate::board::Board;
use crate::expect::Expect;
use crate::keys::Watch;
use crate::shared::{CHANNELS, Ledger, Pair, Shared};

/// Slots of tokens that are elements of a list.
const ELEMENT: usize = 1000;

impl Script {
    /// The second half of a transaction: the number is known, and nobody else may have changed it.
    pub(super) fn raise(&mut self, pipeline: &mut Pipeline, rng: &mut fastrand::Rng) {
        let (Some(watch), Shared::Counter(ledger)) = (self.keys.watch, self.keys.shared.clone()) else {
            return;
        };
        let Some(number) = watch.number.filter(|_| rng.u8(0..16) != 0) else {
            return self.unwatch(pipeline);
        };
        let to = number + 1;
        // Of an earlier life nothing is known any more, and nothing has to be.
        let _ = ledger.with(watch.life, |raises| raises.begin(to));
        let servers = 1 << ledger.tag.server;
        let queued = Expect::Exactly(Value::Simple("QUEUED".into()));
        pipeline.push_since(watch.at, &["MULTI"], servers, Expect::Begun);
        pipeline.push_since(watch.at, &["INCR", &ledger.name(watch.life)], servers, queued);
        pipeline.push_since(watch.at, &["EXEC"], servers, Expect::Raised(watch.life, to));
    }

    /// Gives up what is watched.
    pub(super) fn unwatch(&self, pipeline: &mut Pipeline) {
        if let (Some(watch), Shared::Counter(ledger)) = (self.keys.watch, &self.keys.shared) {
            pipeline.push_since(watch.at, &["UNWATCH"], 1 << ledger.tag.server, Expect::Unwatched);
        }
    }

    /// The first half: the client has to wait for the number.
    pub(super) fn watch(&mut self, pipeline: &mut Pipeline, board: &Board) {
        let Shared::Counter(ledger) = self.keys.shared.clone() else { return };
        let (life, servers) = (board.kills_done(ledger.tag.server), 1 << ledger.tag.server);
        let floor = ledger.with(life, |raises| raises.floor()).unwrap_or(0);
        let name = ledger.name(life);
        let watch = Watch { at: pipeline.now, life, number: None };
        pipeline.push(&["WATCH", &name], servers, Expect::Watched(watch));
        pipeline.push(&["GET", &name], servers, Expect::Seen(life, floor));
    }

    /// A message, or an element for the partner.
    pub(super) fn send(&mut self, pipeline: &mut Pipeline, rng: &mut fastrand::Rng, board: &Board) {
        let Shared::Partner(pair) = self.keys.shared.clone() else { return };
        if rng.bool() {
            return self.publish(pipeline, rng.usize(..CHANNELS), &pair);
        }
        let token = self.keys.token(ELEMENT);
        pair.elements().sent(token.serial);
        let expect = Expect::Queued(token.serial, board.kills_done(pair.tag.server));
        pipeline.push(&["RPUSH", &pair.list(), &token.text()], 1 << pair.tag.server, expect);
    }

    fn publish(&mut self, pipeline: &mut Pipeline, channel: usize, pair: &Pair) {
        let token = self.keys.token(channel);
        pair.messages().sent(token.serial);
        let words = ["PUBLISH", &pair.channel(channel), &token.text()];
        pipeline.push(&words, pair.messages_at, Expect::Published(token.serial));
    }

    /// One more message, for the end.
    pub fn farewell(&mut self, board: &Board, pair: &Arc<Pair>) -> Pipeline {
        let mut pipeline = Pipeline { now: board.now(), ..Pipeline::default() };
        self.publish(&mut pipeline, 0, pair);
        pipeline
    }

    /// Waits for an element of the partner's, and goes on when there is none.
    pub(super) fn take(&mut self, pipeline: &mut Pipeline) {
        let Shared::Partner(pair) = &self.keys.shared else { return };
        pipeline.push(&["BLPOP", &pair.list(), "0.01"], 1 << pair.tag.server, Expect::Taken);
    }

    /// Everything that is left, for the end.
    pub(super) fn drain(&mut self, pipeline: &mut Pipeline) {
        let Shared::Partner(pair) = &self.keys.shared else { return };
        pipeline.push(&["LPOP", &pair.list(), "1000000000"], 1 << pair.tag.server, Expect::Drained);
    }

    /// The counter that it raises with others.
    pub fn ledger(&self) -> Option<&Arc<Ledger>> {
        match &self.keys.shared {
            Shared::Counter(ledger) => Some(ledger),
            _ => None,
        }
    }
}

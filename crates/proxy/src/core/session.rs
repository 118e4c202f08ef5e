//! A client on a connection of its own: what the connection remembers of it, and which replies
//! are still to come.
//!
//! ```text
//!  shared ──every earlier reply is out──▶ session ──no reply missing, no state left──▶ shared
//! ```
//!
//! Both changes happen when nothing is under way, so replies come from one place at a time and
//! can not overtake one another. Inside a session a server's messages are passed on in the order
//! in which they come; the session only has to tell replies from pushed messages, to know when
//! the last reply is there.

mod ending;
mod pending;

use std::collections::VecDeque;

use ending::Ending;
pub(super) use ending::{End, REQUESTS as END_REQUESTS};
use pending::Pending;
use tombolo_resp::peek;

use super::Micros;
use super::cluster::Opening;
use super::effect::{Effect, Topic};
use super::slow::Timed;

/// Room for this many unanswered requests stays allocated.
const KEEP_PENDING: usize = 16;

/// What the connection remembers.
#[derive(Debug, Default)]
struct State {
    transaction: bool,
    watching: bool,
    named: bool,
    resp3: bool,
    /// As `resp3`, but as the client knows it: its HELLO may not be answered yet.
    agreed: bool,
    /// A user has given the password.
    user: bool,
    /// State that is not followed in detail.
    pinned: bool,
    /// Replies can not be told from other messages any more.
    opaque: bool,
    /// While opaque: the server may send without being asked, and for ever.
    streams: bool,
    /// While opaque: a request was sent of which the answer may take as long as it likes.
    patient: bool,
    channels: u64,
    patterns: u64,
    shards: u64,
}

/// What to do with a message of the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Pass it on.
    Pass,
    /// Pass it on: the client gave a user's password, and it was right.
    PassAuthenticated,
    /// Pass it on, HELLO's answer, with another id: that of the connection is the client's only for now.
    PassGreeting,
    /// Pass this on instead.
    Replace(Vec<u8>),
    /// The client does not get it.
    Swallow,
    /// A reply that nobody asked for.
    Unasked,
}

#[derive(Debug)]
pub(super) struct Session {
    /// Index of the connection.
    pub(super) connection: usize,
    /// Index of the server in its pool.
    pub(super) server: usize,
    state: State,
    /// The database of the pool, and the one that the connection is in.
    home: u32,
    database: u32,
    pending: VecDeque<Pending>,
    bytes: usize,
    /// Set once an opaque session ends; nothing is sent behind that.
    ending: Option<Ending>,
    /// When the reply at the front times out.
    pub(super) deadline: Micros,
    /// The server is not read from, because the client does not read.
    pub(super) throttled: bool,
    /// What it began with, to begin anew on another node of a cluster.
    pub(super) opening: Option<Box<Opening>>,
    /// Its only request, if any server may answer it: one that can not be reached has not seen it.
    pub(super) for_anyone: Option<Vec<u8>>,
    /// What was answered last, if a slow log may show it.
    pub(super) answered: Option<Box<Timed>>,
}

impl Session {
    /// On a connection that speaks RESP3, with a client that does; or RESP2.
    pub(super) fn new(connection: usize, server: usize, home: u32, (resp3, agreed): (bool, bool)) -> Session {
        Session {
            connection,
            server,
            state: State { resp3, agreed, ..State::default() },
            home,
            database: home,
            pending: VecDeque::new(),
            bytes: 0,
            ending: None,
            deadline: Micros::MAX,
            throttled: false,
            opening: None,
            for_anyone: None,
            answered: None,
        }
    }

    /// How many answers are missing, and the bytes of the requests.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.pending.len() + usize::from(self.ending.is_some()), self.bytes)
    }

    /// Whether the connection may be that of a user of the server's.
    pub(super) fn has_user(&self) -> bool {
        self.state.user || self.state.opaque
    }

    /// Whether a password is being checked; what comes behind must wait for the outcome.
    pub(super) fn is_authenticating(&self) -> bool {
        self.awaits(|effect| matches!(effect, Effect::Auth | Effect::Hello { user: true, .. }))
    }

    /// Whether a request must not be sent before what is missing has come: behind a password, a protocol, a
    /// transaction that is promised, or where replies stop to be told apart.
    pub(super) fn holds_back(&self, effect: Effect) -> bool {
        let opens =
            |effect: &Effect| matches!(effect, Effect::Monitor | Effect::Begin | Effect::Hello { .. });
        let mutes = matches!(effect, Effect::Mute | Effect::Replicate);
        (mutes && !self.pending.is_empty()) || self.is_authenticating() || self.awaits(opens)
    }

    /// Whether a transaction is open, or will be.
    pub(super) fn is_in_transaction(&self) -> bool {
        self.state.transaction || self.awaits(|effect| matches!(effect, Effect::Multi | Effect::Begin))
    }

    fn awaits(&self, what: impl Fn(&Effect) -> bool) -> bool {
        self.pending.iter().any(|pending| matches!(pending, Pending::Reply(effect, ..) if what(effect)))
    }

    /// Whether the connection speaks RESP3.
    pub(super) fn is_resp3(&self) -> bool {
        self.state.resp3
    }

    /// Whether the client does, which it is known by wherever it goes.
    pub(super) fn has_agreed_resp3(&self) -> bool {
        self.state.agreed
    }

    /// Whether the connection remembers anything of its client.
    pub(super) fn is_clean(&self) -> bool {
        let state = &self.state;
        let flags = state.transaction || state.watching || state.named || state.pinned;
        !flags && !state.opaque && !self.is_subscribed() && self.database == self.home
    }

    /// Whether the client can go back to the shared connections.
    pub(super) fn is_over(&self) -> bool {
        self.pending.is_empty() && self.is_clean()
    }

    /// Whether the client waits for something that may never come. A reply that will come goes
    /// before messages that may.
    pub(super) fn waits_for_ever(&self) -> bool {
        let state = &self.state;
        match self.pending.front() {
            _ if state.opaque => state.patient || (state.streams && self.ending.is_none()),
            Some(Pending::Reply(effect, ..)) => effect.may_be_for_ever(),
            Some(_) => false,
            None => self.is_subscribed(),
        }
    }

    /// Whether a command that blocks is all that is not answered.
    pub(super) fn waits_only_for_ever(&self) -> bool {
        self.waiting().0 == 1 && self.waits_for_ever()
    }

    /// Whether replies can not be told from other messages any more.
    pub(super) fn is_opaque(&self) -> bool {
        self.state.opaque
    }

    /// Whether a reply of the proxy's own has to come from the server: where nobody knows what is still to come, and
    /// whether replies are turned off. Not where the server sends without being asked: it may run nothing there.
    pub(super) fn speaks_through_server(&self) -> bool {
        self.state.opaque && !self.state.streams && self.ending.is_none()
    }

    /// More than its first request is under way: it can not begin anew elsewhere as if that were all.
    pub(super) fn goes_on(&mut self) {
        (self.opening, self.for_anyone) = (None, None);
    }

    /// Begins the end of an opaque session; `false` when it is none, has begun to end, or would
    /// wait for ever for its end without having been asked to.
    pub(super) fn end(&mut self, why: End) -> bool {
        let begins =
            self.state.opaque && self.ending.is_none() && (why != End::Leave || !self.waits_for_ever());
        if begins {
            self.ending = Some(Ending::new(why));
        }
        begins
    }

    /// The server has closed the connection: why the session has ended, and what the client gets
    /// for that. `None` when it should not have.
    pub(super) fn ended(&self) -> Option<(End, &'static [u8])> {
        self.ending.as_ref().and_then(|ending| Some((ending.why, ending.answer()?)))
    }

    /// Whether the loss of the connection would lose something.
    pub(super) fn relies_on_connection(&self) -> bool {
        !self.is_clean()
            || self
                .pending
                .iter()
                .any(|pending| matches!(pending, Pending::Reply(effect, ..) if effect.lasts()))
    }

    /// Whether the end of the connection is what the client has asked for.
    pub(super) fn ends_with_connection(&self) -> bool {
        matches!(self.pending.front(), Some(Pending::Reply(Effect::Shutdown, ..)))
    }

    /// Whether an answer is missing that may leave no state behind.
    pub(super) fn may_be_ending(&self) -> bool {
        use Effect::{Discard, Exec, Subscribe, UnsubscribeAll, Unwatch};
        self.awaits(|effect| matches!(effect, Exec | Discard | Unwatch | Subscribe(_) | UnsubscribeAll(_)))
    }

    pub(super) fn is_subscribed(&self) -> bool {
        self.state.channels + self.state.patterns + self.state.shards > 0
    }

    /// A request was put on the connection; `timed` is for the slow log.
    pub(super) fn sent(&mut self, effect: Effect, bytes: usize, timed: Option<Box<Timed>>) {
        match effect {
            Effect::Mute => self.go_opaque(),
            Effect::Replicate => self.go_streaming(),
            effect if self.state.opaque => {
                self.state.patient |= effect.is_patient();
                self.state.streams |= effect.is_endless();
            }
            _ => {
                self.pending.push_back(Pending::Reply(effect, bytes, timed));
                self.bytes += bytes;
            }
        }
    }

    /// A request that the server will refuse was put on the connection, for this answer. While
    /// opaque the server's own words have to do.
    pub(super) fn sent_to_fail(&mut self, answer: Vec<u8>) {
        self.goes_on();
        if self.state.opaque {
            return;
        }
        self.bytes += answer.len();
        self.pending.push_back(Pending::Replaced(answer));
    }

    /// Keeps a reply of the proxy's own until those before it have come; `false` when there are
    /// none, so that it can go out at once.
    pub(super) fn hold(&mut self, reply: &[u8]) -> bool {
        if !self.pending.is_empty() {
            self.goes_on();
            self.pending.push_back(Pending::Local(reply.to_vec()));
            self.bytes += reply.len();
        }
        !self.pending.is_empty()
    }

    /// The next reply of the proxy's own whose turn has come.
    pub(super) fn next_local(&mut self) -> Option<Vec<u8>> {
        let Some(Pending::Local(_)) = self.pending.front() else { return None };
        match self.pop() {
            Some(Pending::Local(reply)) => Some(reply),
            _ => None,
        }
    }

    /// For a connection that is lost: what a slow log may show.
    pub(super) fn take_timed(&mut self) -> Vec<Timed> {
        self.pending.iter_mut().filter_map(Pending::take_timed).collect()
    }

    /// For a connection that is lost: what each answer still missing becomes, in order. `None` is
    /// the error.
    pub(super) fn into_answers(self) -> impl Iterator<Item = Option<Vec<u8>>> {
        self.pending.into_iter().filter_map(|pending| match pending {
            Pending::Reply(Effect::Own, ..) => None,
            // That of `Begin` is for the request that made it known, which waits.
            Pending::Reply(..) => Some(None),
            Pending::Replaced(reply) | Pending::Local(reply) => Some(Some(reply)),
        })
    }

    /// The front has changed, or the connection is ready: its time starts now.
    pub(super) fn start_clock(&mut self, now: Micros, timeout: Micros) {
        self.deadline = match self.pending.front() {
            Some(Pending::Reply(effect, ..)) if !effect.is_patient() => now.saturating_add(timeout),
            None if self.ending.is_some() && !self.state.patient => now.saturating_add(timeout),
            _ => Micros::MAX,
        };
    }

    fn pop(&mut self) -> Option<Pending> {
        let pending = self.pending.pop_front()?;
        self.bytes -= pending.bytes();
        if self.pending.is_empty() && self.pending.capacity() > KEEP_PENDING {
            self.pending = VecDeque::new();
        }
        Some(pending)
    }

    fn go_opaque(&mut self) {
        self.state.opaque = true;
        self.pending.retain(|pending| matches!(pending, Pending::Local(_)));
        self.bytes = self.pending.iter().map(Pending::bytes).sum();
    }

    fn go_streaming(&mut self) {
        self.go_opaque();
        self.state.streams = true;
    }

    /// A message of the server has come.
    pub(super) fn message(&mut self, frame: &[u8]) -> Verdict {
        if self.state.opaque {
            return self.ending.as_mut().map_or(Verdict::Pass, |ending| ending.message(frame));
        }
        let pushed = frame.starts_with(b">");
        // In RESP3 an array is a reply, whatever it has in it.
        let may_be_pushed = frame.starts_with(b"*") && !self.state.resp3;
        if pushed || (may_be_pushed && (self.is_subscribed() || self.expects_confirmation())) {
            let word = peek::first_bulk(frame).unwrap_or_default();
            if let Some((topic, added)) = confirmation(word) {
                self.confirmed(topic, added, frame);
                return Verdict::Pass;
            }
            if pushed || matches!(word, b"message" | b"pmessage" | b"smessage") {
                return Verdict::Pass;
            }
        }
        match self.pop() {
            Some(Pending::Reply(effect, _, timed)) => {
                self.answered = timed;
                self.replied(effect, frame)
            }
            Some(Pending::Replaced(answer)) => Verdict::Replace(answer),
            _ => Verdict::Unasked,
        }
    }

    fn expects_confirmation(&self) -> bool {
        let front = self.pending.front();
        matches!(front, Some(Pending::Reply(Effect::Subscribe(_) | Effect::UnsubscribeAll(_), ..)))
    }

    /// A subscription was made or ended. The message ends with how many are left: channels and
    /// patterns together, or shards.
    fn confirmed(&mut self, topic: Topic, subscribed: bool, frame: &[u8]) {
        let total = u64::try_from(peek::last_integer(frame).unwrap_or_default()).unwrap_or_default();
        let state = &mut self.state;
        let before = match topic {
            Topic::Channel => state.channels,
            Topic::Pattern => state.patterns,
            Topic::Shard => state.shards,
        };
        match topic {
            Topic::Channel => state.channels = total.saturating_sub(state.patterns),
            Topic::Pattern => state.patterns = total.saturating_sub(state.channels),
            Topic::Shard => state.shards = total,
        }
        let Some(Pending::Reply(effect, ..)) = self.pending.front_mut() else { return };
        match effect {
            Effect::UnsubscribeAll(all) if *all == topic && !subscribed => {
                *effect = Effect::Subscribe(before.saturating_sub(1) as usize);
            }
            Effect::Subscribe(missing) => *missing = missing.saturating_sub(1),
            _ => return,
        }
        if *effect == Effect::Subscribe(0) {
            self.pop();
        }
    }

    /// The reply to a request has come: what it did is true from here on.
    fn replied(&mut self, effect: Effect, frame: &[u8]) -> Verdict {
        let state = &mut self.state;
        if frame.starts_with(b"+QUEUED\r") {
            // It runs at EXEC, whose reply does not tell. What is not certain is kept.
            match effect {
                Effect::Subscribe(_) | Effect::UnsubscribeAll(_) | Effect::Monitor => self.go_streaming(),
                // How pushed messages look is not known any more.
                Effect::Hello { protocol: Some(_), .. } => self.go_opaque(),
                effect if effect.lasts() => state.pinned |= !matches!(effect, Effect::Watch | Effect::Multi),
                // The answer will tell the connection's id.
                Effect::Hello { .. } => state.pinned = true,
                _ => {}
            }
            return Verdict::Pass;
        }
        if effect == Effect::Exec && state.transaction {
            // Whatever the answer is, errors included.
            (state.transaction, state.watching) = (false, false);
        }
        if effect == Effect::Begin {
            // Without the transaction that it was promised, the client can not go on.
            (state.transaction, state.pinned) = (true, frame != b"+OK\r\n");
            return if state.pinned { Verdict::Unasked } else { Verdict::Swallow };
        }
        if frame.starts_with(b"-") {
            return if effect == Effect::Own { Verdict::Swallow } else { Verdict::Pass };
        }
        match effect {
            Effect::Multi => state.transaction = true,
            Effect::Discard => (state.transaction, state.watching) = (false, false),
            Effect::Watch => state.watching = true,
            Effect::Unwatch => state.watching = false,
            Effect::Select(database) => self.database = database,
            Effect::Name(named) => state.named = named,
            Effect::Hello { protocol, names, user } => {
                state.resp3 = protocol.map_or(state.resp3, |protocol| protocol > 2);
                state.agreed = state.resp3;
                state.named |= names;
                state.pinned |= user;
                state.user |= user;
                if user {
                    return Verdict::PassAuthenticated;
                }
                if !state.pinned && !state.named {
                    return Verdict::PassGreeting;
                }
            }
            Effect::Auth => {
                (state.pinned, state.user) = (true, true);
                return Verdict::PassAuthenticated;
            }
            Effect::Pin => state.pinned = true,
            Effect::Monitor => self.go_streaming(),
            Effect::Own => return Verdict::Swallow,
            _ => {}
        }
        Verdict::Pass
    }
}

/// What a message confirms, and whether it is a subscription.
fn confirmation(word: &[u8]) -> Option<(Topic, bool)> {
    Some(match word {
        b"subscribe" => (Topic::Channel, true),
        b"psubscribe" => (Topic::Pattern, true),
        b"ssubscribe" => (Topic::Shard, true),
        b"unsubscribe" => (Topic::Channel, false),
        b"punsubscribe" => (Topic::Pattern, false),
        b"sunsubscribe" => (Topic::Shard, false),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;

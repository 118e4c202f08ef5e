//! Which client does what, in which pool, and with whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::board::Board;
use crate::client::Client;
use crate::process::ask;
use crate::report::Tally;
use crate::script::{Abilities, Kind, Script};
use crate::shared::{Ledger, Pair, Shared};
use crate::stage::Pool;
use crate::verdict::{Finding, Wrong};

/// After so many clients the parts are the same again.
const ROUND: u32 = 16;
/// Counters of a pool that several clients raise.
const COUNTERS: u32 = 2;

/// What a client is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// What.
    pub kind: Kind,
    /// In which pool.
    pub pool: usize,
}

impl Part {
    /// Of a client; `most` is how many there are. Who can not do its part, or has no partner, reads
    /// and writes.
    pub fn of(client: u32, most: u32, able: &Abilities) -> Part {
        let (round, place) = (client / ROUND, client % ROUND);
        let whole = (round + 1) * ROUND <= most;
        let two = |even: bool| usize::from(!even);
        let (kind, pool, able) = match place {
            3 | 11 => (Kind::Watching, 1, able.transactions),
            4 | 12 => (Kind::Watching, 0, able.transactions),
            2 if whole => (Kind::Publishing, two(round % 2 == 0), able.messages),
            10 if whole => (Kind::Listening, two(round % 2 == 0), able.messages),
            6 | 14 => (Kind::Transactions, two(place == 6), able.transactions),
            7 | 15 => (Kind::Blocking, two(place == 7), able.blocking),
            _ => (Kind::Plain, client as usize % 2, [true; 2]),
        };
        if able[pool] { Part { kind, pool } } else { Part { kind: Kind::Plain, pool } }
    }
}

/// What clients know together.
#[derive(Debug, Default)]
pub struct Ensemble {
    ledgers: BTreeMap<(usize, u32), Arc<Ledger>>,
    pairs: BTreeMap<u32, Arc<Pair>>,
}

impl Ensemble {
    /// All clients, with their parts.
    pub fn gather<'a>(
        &mut self,
        clients: u32,
        seed: u64,
        pools: &[Pool; 2],
        able: &Abilities,
        board: &'a Board,
    ) -> Vec<Client<'a>> {
        let client = |id: u32| {
            let part = Part::of(id, clients, able);
            let pool = &pools[part.pool];
            let shared = self.share(id, part, pools);
            let script = Script::new(part.kind, id, &pool.tags, (able.several, pool.spread), shared);
            let rng = fastrand::Rng::with_seed(seed ^ u64::from(id + 1).wrapping_mul(0x2545_f491_4f6c_dd1d));
            Client::new(pool.door.clone(), script, part.kind, rng, board)
        };
        (0..clients).map(client).collect()
    }

    fn share(&mut self, id: u32, part: Part, pools: &[Pool; 2]) -> Shared {
        let pool = &pools[part.pool];
        let (round, tag) = (id / ROUND, |index: u32| pool.tags[index as usize % pool.tags.len()].clone());
        match part.kind {
            Kind::Watching => {
                let number = round % COUNTERS;
                let ledger = self.ledgers.entry((part.pool, number));
                Shared::Counter(Arc::clone(
                    ledger.or_insert_with(|| Arc::new(Ledger::new(tag(number), part.pool))),
                ))
            }
            Kind::Publishing | Kind::Listening => {
                let (publisher, listener) = (round * ROUND + 2, round * ROUND + 10);
                let pair = self.pairs.entry(round).or_insert_with(|| {
                    let messages_at = 1 << pool.messages_at;
                    Arc::new(Pair::new(publisher, listener, tag(round), messages_at, pool.spread))
                });
                Shared::Partner(Arc::clone(pair))
            }
            _ => Shared::Nothing,
        }
    }

    /// The last checks, when every client is done; what was done together.
    pub fn end(&self, pools: &[Pool; 2], board: &Board, tally: &mut Tally) -> BTreeMap<&'static str, u64> {
        let (mut raised, mut popped) = (0, 0);
        for ((pool, _), ledger) in &self.ledgers {
            let life = board.kills_done(ledger.tag.server);
            let number = ask(&pools[*pool].door, &["GET", &ledger.name(life)]).ok().and_then(|reply| {
                let text = reply.text();
                if text.is_empty() { Some(0) } else { text.parse().ok() }
            });
            let checked = ledger.with(life, |raises| number.map(|number| raises.end(number)));
            raised += ledger.sum();
            let unread = || Err(Finding::new(Wrong::Lost, "a counter can not be read at the end"));
            if let Some(Err(finding)) = checked.map(|checked| checked.unwrap_or_else(unread)) {
                tally.found(finding);
            }
        }
        for pair in self.pairs.values() {
            popped += pair.elements().count() as u64;
            pair.end(board).into_iter().for_each(|finding| tally.found(finding));
        }
        [
            ("transactions that raised a shared counter", raised),
            ("elements popped by another client than pushed them", popped),
            ("messages to subscribers", tally.messages),
        ]
        .into()
    }
}

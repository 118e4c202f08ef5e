//! How many flows there are into the host's network, and for how long each. Pure: it is told the time.

use super::packet::Flow;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// How many, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Flows at a time.
    pub(super) most: usize,
    /// Those that one external address may have of these.
    pub(super) most_of_one: usize,
    /// How long a flow may be silent.
    pub(super) idle: Duration,
    /// How long a flow must have been silent to make room for another one.
    pub(super) spare: Duration,
    /// How often it is looked for those that have been silent for too long.
    pub(super) look: Duration,
}

/// Why there is no room for a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// Its external address has as many as it may have.
    One,
    /// There are as many as there may be.
    All,
}

/// The flows that there are, each with what it is known by.
#[derive(Debug)]
pub(super) struct Flows<T> {
    limits: Limits,
    known: BTreeMap<Flow, Known<T>>,
    of: BTreeMap<Ipv4Addr, usize>,
}

#[derive(Debug)]
struct Known<T> {
    what: T,
    /// When a packet passed, in whichever direction.
    moved: Instant,
}

impl<T> Flows<T> {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, known: BTreeMap::new(), of: BTreeMap::new() }
    }

    /// A flow of which a packet passes.
    pub(super) fn moved(&mut self, flow: &Flow, now: Instant) -> Option<&mut T> {
        let known = self.known.get_mut(flow)?;
        known.moved = now;
        Some(&mut known.what)
    }

    /// Makes room for one more flow of an address. Who has been silent for longest makes it.
    pub(super) fn make_room(&mut self, of: Ipv4Addr, now: Instant) -> Result<(), Full> {
        if self.of.get(&of).is_some_and(|count| *count >= self.limits.most_of_one) {
            self.end_silent(now, |flow| *flow.from.ip() == of).ok_or(Full::One)?;
        }
        if self.known.len() >= self.limits.most {
            self.end_silent(now, |_| true).ok_or(Full::All)?;
        }
        Ok(())
    }

    fn end_silent(&mut self, now: Instant, among: impl Fn(&Flow) -> bool) -> Option<()> {
        let those = self.known.iter().filter(|(flow, _)| among(flow));
        let (flow, known) = those.min_by_key(|(_, known)| known.moved)?;
        let silent = now.saturating_duration_since(known.moved) >= self.limits.spare;
        let flow = *flow;
        silent.then(|| self.end(&flow))
    }

    /// Adds a flow, for which there must be room.
    pub(super) fn add(&mut self, flow: Flow, what: T, now: Instant) {
        if self.known.insert(flow, Known { what, moved: now }).is_none() {
            *self.of.entry(*flow.from.ip()).or_default() += 1;
        }
    }

    /// Ends those that have been silent for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        let idle = self.limits.idle;
        self.end_those(|_, known| now.saturating_duration_since(known.moved) >= idle);
    }

    /// Ends all but some.
    pub(super) fn keep(&mut self, some: impl Fn(&Flow) -> bool) {
        self.end_those(|flow, _| !some(flow));
    }

    fn end_those(&mut self, those: impl Fn(&Flow, &Known<T>) -> bool) {
        let all = self.known.iter().filter(|(flow, known)| those(flow, known));
        let gone: Vec<Flow> = all.map(|(flow, _)| *flow).collect();
        gone.iter().for_each(|flow| self.end(flow));
    }

    fn end(&mut self, flow: &Flow) {
        if self.known.remove(flow).is_none() {
            return;
        }
        let left = self.of.get(flow.from.ip()).map_or(0, |count| count - 1);
        if left == 0 {
            self.of.remove(flow.from.ip());
        } else {
            self.of.insert(*flow.from.ip(), left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::Kind;
    use super::*;
    use std::net::SocketAddrV4;

    const A: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
    const B: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 3);
    const C: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 4);

    fn flow(of: Ipv4Addr, port: u16) -> Flow {
        let to = SocketAddrV4::new([9, 9, 9, 9].into(), 53);
        Flow { kind: Kind::Udp, from: SocketAddrV4::new(of, port), to }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Two flows of an address, three in all.
    fn flows() -> (Flows<u16>, Instant) {
        let limits =
            Limits { most: 3, most_of_one: 2, idle: seconds(600), spare: seconds(5), look: seconds(1) };
        (Flows::new(limits), Instant::now())
    }

    fn add(flows: &mut Flows<u16>, of: Ipv4Addr, port: u16, now: Instant) -> Result<(), Full> {
        flows.make_room(of, now)?;
        flows.add(flow(of, port), port, now);
        Ok(())
    }

    #[test]
    fn there_are_so_many_and_no_more() {
        let (mut flows, now) = flows();
        assert_eq!([1, 2, 3].map(|port| add(&mut flows, A, port, now)), [Ok(()), Ok(()), Err(Full::One)]);
        assert_eq!([1, 2].map(|port| add(&mut flows, B, port, now)), [Ok(()), Err(Full::All)]);
        // Those that there are go on.
        assert_eq!(flows.moved(&flow(A, 1), now).copied(), Some(1));
        assert_eq!(flows.moved(&flow(A, 3), now), None);
    }

    #[test]
    fn who_is_silent_makes_room() {
        let (mut flows, start) = flows();
        for port in [1, 2] {
            add(&mut flows, A, port, start).unwrap();
        }
        flows.moved(&flow(A, 1), start + seconds(4));
        assert_eq!(add(&mut flows, A, 3, start + seconds(4)), Err(Full::One));
        assert_eq!(add(&mut flows, A, 3, start + seconds(5)), Ok(()));
        assert_eq!(flows.moved(&flow(A, 2), start + seconds(5)), None);
        // An address makes room among its own, and where all are as many as may be, whoever it is does.
        add(&mut flows, B, 1, start + seconds(6)).unwrap();
        assert_eq!(add(&mut flows, C, 1, start + seconds(8)), Err(Full::All));
        assert_eq!(add(&mut flows, C, 1, start + seconds(9)), Ok(()));
        assert_eq!(flows.moved(&flow(A, 1), start + seconds(9)), None);
        assert_eq!((flows.of.get(&A), flows.of.get(&C), flows.known.len()), (Some(&1), Some(&1), 3));
    }

    #[test]
    fn flows_end() {
        let (mut flows, start) = flows();
        add(&mut flows, A, 1, start).unwrap();
        add(&mut flows, A, 2, start).unwrap();
        add(&mut flows, B, 1, start).unwrap();
        flows.moved(&flow(A, 2), start + seconds(1));
        flows.expire(start + seconds(600));
        assert_eq!(flows.known.keys().copied().collect::<Vec<_>>(), [flow(A, 2)]);
        flows.keep(|flow| *flow.from.ip() != A);
        assert!(flows.known.is_empty() && flows.of.is_empty());
    }
}

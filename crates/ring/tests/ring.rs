//! A ring and real sockets. Where io_uring is not to be had, this says so and tests nothing.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tombolo_ring::{Bytes, Event, Group, HEADROOM, Ring, Send, Slot, Socket};

/// More than any step needs; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(30);

struct End(UnixStream);

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Socket for End {
    fn finish(&mut self) {
        self.0.shutdown(Shutdown::Write).expect("a socket");
    }

    fn discard(&mut self) {
        self.0.set_nonblocking(true).expect("a socket");
        let _ = self.0.read(&mut [0; 4096]);
    }
}

fn ring() -> Option<Ring<End>> {
    Ring::new().inspect_err(|error| eprintln!("no io_uring here, not tested: {error}")).ok()
}

/// A socket of the ring's, and its peer.
fn pair(ring: &mut Ring<End>, group: Group, tag: usize) -> (Slot, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("sockets");
    theirs.set_read_timeout(Some(PATIENCE)).expect("a socket");
    (ring.add(End(ours), group, tag).expect("a place"), theirs)
}

type Sent = (Slot, usize, i32);

/// Turns that send nothing, until there is an event.
fn wait(ring: &mut Ring<End>) -> Vec<Event> {
    let (mut sent, mut events) = (Vec::<Sent>::new(), Vec::new());
    while events.is_empty() {
        ring.turn(std::iter::empty(), Some(PATIENCE), &mut sent, &mut events).expect("a turn");
    }
    events
}

fn send(ring: &mut Ring<End>, slot: Slot, bytes: Bytes<'_>, events: &mut Vec<Event>) -> i32 {
    let mut sent = Vec::new();
    let sends = [Send { slot, bytes, settled: false }];
    ring.turn(sends.into_iter(), Some(PATIENCE), &mut sent, events).expect("a turn");
    let [(of, _, result)] = sent[..] else { panic!("one send, {sent:?}") };
    assert_eq!(of, slot);
    result
}

#[test]
fn what_was_received_is_sent_on_from_where_it_is() {
    let Some(mut ring) = ring() else { return };
    let (from, mut giver) = pair(&mut ring, Group::Large, 7);
    let (to, mut taker) = pair(&mut ring, Group::Small, 8);
    giver.write_all(b"hello").expect("a write");
    let events = wait(&mut ring);
    let [Event::Received { slot, tag: 7, received }] = <[Event; 1]>::try_from(events).expect("one") else {
        panic!("something else")
    };
    assert_eq!((slot, ring.bytes(&received), received.len()), (from, b"hello".as_slice(), 5));
    let piece = ring.piece(&received, &ring.bytes(&received)[1..3]).expect("a part of it");
    assert_eq!(ring.piece_bytes(&piece), b"el");
    assert_eq!(ring.piece(&received, b"el"), None);
    assert_eq!(send(&mut ring, to, Bytes::Received(piece), &mut Vec::new()), 2);
    let mut bytes = [0; 2];
    taker.read_exact(&mut bytes).expect("a read");
    assert_eq!(&bytes, b"el");
    ring.give_back(received);
    drop(giver);
    assert!(matches!(wait(&mut ring)[..], [Event::Ended { tag: 7, error: 0, .. }]));
}

#[test]
#[should_panic = "the buffer was given back"]
fn a_piece_of_what_was_given_back_is_of_no_use() {
    let Some(mut ring) = ring() else { panic!("the buffer was given back") };
    let (_, mut giver) = pair(&mut ring, Group::Small, 0);
    giver.write_all(b"hello").expect("a write");
    let Some(Event::Received { received, .. }) = wait(&mut ring).pop() else { panic!("something else") };
    let piece = ring.piece(&received, ring.bytes(&received)).expect("all of it");
    ring.give_back(received);
    ring.piece_bytes(&piece);
}

#[test]
fn there_is_room_before_large_buffers() {
    let Some(mut ring) = ring() else { return };
    let (_, mut giver) = pair(&mut ring, Group::Large, 0);
    giver.write_all(b"world").expect("a write");
    let Some(Event::Received { mut received, .. }) = wait(&mut ring).pop() else { panic!("something else") };
    assert!(ring.before(&mut received, HEADROOM + 1).is_none());
    ring.before(&mut received, 6).expect("room").copy_from_slice(b"hello ");
    assert_eq!(ring.bytes(&received), b"hello world");
    ring.before(&mut received, 1).expect("room")[0] = b'-';
    assert_eq!(ring.bytes(&received), b"-hello world");
    let piece = ring.piece(&received, &ring.bytes(&received)[1..6]).expect("a part");
    assert_eq!(ring.piece_bytes(&piece), b"hello");
    assert!(ring.before(&mut received, HEADROOM).is_none());
    ring.give_back(received);
}

#[test]
fn a_full_socket_tells_when_it_takes_more() {
    let Some(mut ring) = ring() else { return };
    let (slot, mut taker) = pair(&mut ring, Group::Small, 3);
    let much = vec![1; 4 << 20];
    let mut events = Vec::new();
    let count = send(&mut ring, slot, Bytes::Own(&much), &mut events);
    assert!(count > 0 && (count as usize) < much.len(), "{count}");
    assert_eq!(send(&mut ring, slot, Bytes::Own(&much), &mut events), -nix::libc::EAGAIN);
    assert!(events.is_empty());
    ring.tell_writable(slot).expect("a request");
    ring.tell_writable(slot).expect("a request");
    let mut all = vec![0; count as usize];
    taker.read_exact(&mut all).expect("a read");
    assert!(matches!(wait(&mut ring)[..], [Event::Writable { tag: 3, .. }]));
}

#[test]
fn only_what_is_settled_waits_for_something_to_happen() {
    let Some(mut ring) = ring() else { return };
    let (slot, mut peer) = pair(&mut ring, Group::Small, 3);
    let mut turn = |settled, bytes: &[u8]| {
        let (mut sent, mut events) = (Vec::new(), Vec::new());
        let send = Send { slot, bytes: Bytes::Own(bytes), settled };
        ring.turn([send].into_iter(), Some(PATIENCE), &mut sent, &mut events).expect("a turn");
        let received: Vec<u8> = events
            .into_iter()
            .flat_map(|event| {
                let Event::Received { received, .. } = event else { panic!("something else") };
                let bytes = ring.bytes(&received).to_vec();
                ring.give_back(received);
                bytes
            })
            .collect();
        (sent[0].2, received)
    };
    assert_eq!(turn(false, b"one"), (3, Vec::new()));
    let echo = std::thread::spawn(move || {
        let mut bytes = [0; 6];
        peer.read_exact(&mut bytes).expect("a read");
        peer.write_all(&bytes).expect("a write");
        peer
    });
    // The echo comes when the second is there: the turn waits for it.
    assert_eq!(turn(true, b"two"), (3, b"onetwo".to_vec()));
    let peer = echo.join().expect("a thread");
    // Not all is taken, which has to be heard.
    let (count, received) = turn(true, &vec![1; 4 << 20]);
    assert!(count > 0 && count < 4 << 20 && received.is_empty(), "{count}");
    drop(peer);
}

#[test]
fn a_paused_socket_keeps_what_comes_and_says_when_its_peer_goes() {
    let Some(mut ring) = ring() else { return };
    let (slot, mut giver) = pair(&mut ring, Group::Small, 5);
    ring.pause(slot).expect("a request");
    let (mut sent, mut events) = (Vec::<Sent>::new(), Vec::new());
    // The turn in which reading ends.
    ring.turn(std::iter::empty(), Some(Duration::ZERO), &mut sent, &mut events).expect("a turn");
    giver.write_all(b"later").expect("a write");
    giver.shutdown(Shutdown::Write).expect("a socket");
    assert!(matches!(wait(&mut ring)[..], [Event::Hung { tag: 5, over: false, .. }]));
    ring.resume(slot).expect("a request");
    let mut events = wait(&mut ring);
    if events.len() == 1 {
        events.extend(wait(&mut ring));
    }
    let [Event::Received { received, .. }, Event::Ended { error: 0, .. }] =
        <[Event; 2]>::try_from(events).expect("two")
    else {
        panic!("something else")
    };
    assert_eq!(ring.bytes(&received), b"later");
    ring.give_back(received);
    ring.pause(slot).expect("nothing to do");
    ring.resume(slot).expect("nothing to do");
}

/// Polls of io_uring are over at once then, whatever they wait for: a loop that goes by them would never rest.
#[test]
fn a_peer_that_has_ended_its_side_is_told_of_once() {
    let Some(mut ring) = ring() else { return };
    let (slot, giver) = pair(&mut ring, Group::Small, 5);
    ring.pause(slot).expect("a request");
    let (mut sent, mut events) = (Vec::<Sent>::new(), Vec::new());
    ring.turn(std::iter::empty(), Some(Duration::ZERO), &mut sent, &mut events).expect("a turn");
    giver.shutdown(Shutdown::Write).expect("a socket");
    assert!(matches!(wait(&mut ring)[..], [Event::Hung { tag: 5, over: false, .. }]));
    for _ in 0..3 {
        ring.turn(std::iter::empty(), Some(Duration::from_millis(1)), &mut sent, &mut events)
            .expect("a turn");
    }
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn a_full_socket_whose_peer_has_ended_its_side_takes_more_when_it_does() {
    let Some(mut ring) = ring() else { return };
    let (slot, mut taker) = pair(&mut ring, Group::Small, 9);
    taker.shutdown(Shutdown::Write).expect("a socket");
    assert!(matches!(wait(&mut ring)[..], [Event::Ended { tag: 9, error: 0, .. }]));
    let bytes = vec![0; 4 << 20];
    let mut events = Vec::new();
    let taken = send(&mut ring, slot, Bytes::Own(&bytes), &mut events);
    assert!(taken > 0 && (taken as usize) < bytes.len() && events.is_empty());
    ring.tell_writable(slot).expect("a request");
    let mut sent = Vec::<Sent>::new();
    ring.turn(std::iter::empty(), Some(Duration::ZERO), &mut sent, &mut events).expect("a turn");
    assert!(events.is_empty(), "it takes nothing: {events:?}");
    taker.read_exact(&mut vec![0; taken as usize]).expect("a read");
    assert!(matches!(wait(&mut ring)[..], [Event::Writable { tag: 9, .. }]));
    assert!(send(&mut ring, slot, Bytes::Own(&bytes), &mut events) > 0);
    // One that waits is over when it is removed.
    ring.tell_writable(slot).expect("a request");
    ring.turn(std::iter::empty(), Some(Duration::ZERO), &mut sent, &mut events).expect("a turn");
    ring.remove(slot, Vec::new()).expect("a request");
    while !ring.is_empty() {
        ring.turn(std::iter::empty(), Some(PATIENCE), &mut sent, &mut events).expect("a turn");
    }
}

#[test]
fn the_last_bytes_of_a_removed_socket_arrive() {
    let Some(mut ring) = ring() else { return };
    let (slot, mut taker) = pair(&mut ring, Group::Small, 5);
    let last: Vec<u8> = (0..4 << 20).map(|i| (i % 251) as u8).collect();
    ring.remove(slot, last.clone()).expect("a request");
    assert!(ring.get(slot).is_none() && !ring.is_empty());
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        taker.read_to_end(&mut all).expect("a read");
        all
    });
    let (mut sent, mut events) = (Vec::<Sent>::new(), Vec::new());
    while !ring.is_empty() {
        ring.turn(std::iter::empty(), Some(PATIENCE), &mut sent, &mut events).expect("a turn");
    }
    assert!(sent.is_empty() && events.is_empty());
    assert!(reader.join().expect("a thread") == last);
}

#[test]
fn watched_descriptors_tell_once() {
    let Some(mut ring) = ring() else { return };
    let (ours, mut theirs) = UnixStream::pair().expect("sockets");
    ring.watch(&ours).expect("a request");
    theirs.write_all(b"x").expect("a write");
    assert!(matches!(wait(&mut ring)[..], [Event::Watched]));
    let (mut sent, mut events) = (Vec::<Sent>::new(), Vec::new());
    ring.turn(std::iter::empty(), Some(Duration::ZERO), &mut sent, &mut events).expect("a turn");
    assert!(events.is_empty());
    ring.watch(&ours).expect("a request");
    assert!(matches!(wait(&mut ring)[..], [Event::Watched]));
}

/// What a socket of the ring's echoes.
#[derive(Default)]
struct Echo {
    waiting: Vec<u8>,
    full: bool,
    ended: bool,
}

/// Many sockets echo what they get, more than there are buffers, while they are paused, resumed and
/// full at random; every byte comes back.
#[test]
fn nothing_is_lost_or_reordered() {
    let Some(mut ring) = ring() else { return };
    let mut dice = fastrand::Rng::with_seed(11);
    let mut peers = Vec::new();
    let mut echoes: Vec<(Slot, Echo)> = Vec::new();
    for tag in 0..40 {
        let group = if tag % 5 == 0 { Group::Large } else { Group::Small };
        let (slot, theirs) = pair(&mut ring, group, tag);
        echoes.push((slot, Echo::default()));
        let mut bytes = vec![0; dice.usize(1..2 << 20)];
        dice.fill(&mut bytes);
        let (mut writer, mut reader, wanted) = (theirs.try_clone().expect("a clone"), theirs, bytes.clone());
        let write = std::thread::spawn(move || {
            writer.write_all(&bytes).expect("a write");
            writer.shutdown(Shutdown::Write).expect("a socket");
        });
        let read = std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).expect("a read");
            assert!(all == wanted, "socket {tag}");
        });
        peers.extend([write, read]);
    }
    let (mut sent, mut events, mut kept) = (Vec::<Sent>::new(), Vec::new(), Vec::new());
    while !ring.is_empty() {
        let sends: Vec<(Slot, Vec<u8>)> = echoes
            .iter()
            .filter(|(_, echo)| !echo.waiting.is_empty() && !echo.full)
            .map(|(slot, echo)| (*slot, echo.waiting.clone()))
            .collect();
        let borrowed = sends.iter().map(|(slot, bytes)| Send {
            slot: *slot,
            bytes: Bytes::Own(bytes),
            settled: bytes.len() % 2 == 0,
        });
        ring.turn(borrowed, Some(Duration::from_millis(5)), &mut sent, &mut events).expect("a turn");
        for (slot, tag, result) in sent.drain(..) {
            let (of, echo) = &mut echoes[tag];
            assert_eq!(*of, slot);
            let asked = echo.waiting.len();
            echo.waiting.drain(..result.max(0) as usize);
            if !echo.waiting.is_empty() || (result as usize) < asked {
                echo.full = true;
                ring.tell_writable(slot).expect("a request");
            }
        }
        for event in events.drain(..) {
            match event {
                Event::Received { tag, received, .. } => {
                    echoes[tag].1.waiting.extend_from_slice(ring.bytes(&received));
                    // Some are held for long: there are fewer buffers than sockets could fill.
                    kept.push(received);
                }
                Event::Ended { tag, error, .. } => {
                    assert_eq!(error, 0);
                    echoes[tag].1.ended = true;
                }
                Event::Writable { tag, .. } => echoes[tag].1.full = false,
                Event::Hung { .. } | Event::Watched => {}
            }
        }
        while kept.len() > 300 || (!kept.is_empty() && dice.u8(..4) == 0) {
            ring.give_back(kept.swap_remove(dice.usize(..kept.len())));
        }
        for (slot, echo) in &mut echoes {
            match dice.u8(..8) {
                0 => ring.pause(*slot).expect("a request"),
                1..4 => ring.resume(*slot).expect("a request"),
                _ => {}
            }
            if echo.ended && echo.waiting.is_empty() {
                echo.ended = false;
                ring.remove(*slot, Vec::new()).expect("a request");
            }
        }
    }
    peers.into_iter().for_each(|peer| peer.join().expect("a peer"));
}

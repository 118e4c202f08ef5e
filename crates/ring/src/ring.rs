//! The ring itself.

use std::fmt;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode};
use nix::libc::{
    EAGAIN, EBUSY, ECANCELED, EINTR, ENOBUFS, ETIME, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_WAITALL, POLLERR,
    POLLHUP, POLLIN, POLLOUT, POLLRDHUP,
};

use crate::buffers::{Buffers, Group, Piece, Received};
use crate::sockets::{Event, Place, Reading, Slot, Socket};

/// Operations that are submitted together at most.
const SUBMISSIONS: u32 = 4096;
/// Completions that have a place; the kernel keeps more than these, but at a cost.
const COMPLETIONS: u32 = 16384;
/// `IORING_ENTER_GETEVENTS`.
const GET_EVENTS: u32 = 1;
/// One io_uring_enter looks at no more sockets than this (`IO_LOCAL_TW_DEFAULT_MAX`); if it was as
/// many there may be others.
const AT_ONCE: usize = 20;
/// Events of a turn at most, about: buffers are left for those that follow.
const MOST: usize = 256;

/// Bytes for a socket.
#[derive(Debug, Clone, Copy)]
pub struct Send<'a> {
    /// Which.
    pub slot: Slot,
    /// What.
    pub bytes: Bytes<'a>,
    /// Nothing follows when all is sent: to hear of it may wait until something happens.
    pub settled: bool,
}

/// Where what is to be sent is.
#[derive(Debug, Clone, Copy)]
pub enum Bytes<'a> {
    /// The caller's.
    Own(&'a [u8]),
    /// Some of what was received.
    Received(Piece),
}

/// An io_uring, its sockets and its buffers.
pub struct Ring<T> {
    ring: IoUring,
    buffers: [Buffers; 2],
    places: Vec<Option<Place<T>>>,
    free: Vec<u32>,
    /// The completions of a turn, kept for their memory.
    entries: Vec<cqueue::Entry>,
    /// A send that took all its bytes need not complete: see [`Ring::probe`].
    silent: bool,
    /// An error has left something in the queue that must never be submitted.
    broken: bool,
}

/// How long a socket is left alone that takes nothing, where there is no waiting for it. It is the kernel's to
/// read until it is submitted.
static PAUSE: Timespec = Timespec::new().nsec(20_000_000);

/// Bytes that a send takes at most: below what the kernel itself cuts off.
const MOST_SENT: usize = 1 << 30;
/// A send that takes what the socket does now.
const SEND_NOW: i32 = MSG_DONTWAIT | MSG_NOSIGNAL | MSG_WAITALL;

/// How many completions of a turn were of which kind.
#[derive(Default)]
struct Came {
    sent: usize,
    received: usize,
}

/// What an operation is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Receive = 1,
    Send,
    SendLast,
    Tell,
    Listen,
    Cancel,
    Watch,
}

fn token(kind: Kind, slot: Slot) -> u64 {
    (kind as u64) << 56 | u64::from(slot.0)
}

/// For a send the number in its turn stands where the slot is for others.
fn untoken(token: u64) -> (Option<Kind>, Slot) {
    let kinds =
        [Kind::Receive, Kind::Send, Kind::SendLast, Kind::Tell, Kind::Listen, Kind::Cancel, Kind::Watch];
    let kind = (token >> 56).checked_sub(1).and_then(|kind| kinds.get(kind as usize)).copied();
    (kind, Slot(token as u32))
}

impl<T: Socket> Ring<T> {
    /// A ring without sockets, for the thread that makes it.
    pub fn new() -> io::Result<Ring<T>> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun();
        builder.setup_submit_all().setup_cqsize(COMPLETIONS);
        let ring = builder.build(SUBMISSIONS)?;
        let [small, large] = Group::ALL.map(|group| Buffers::new(group, &ring.submitter()));
        let buffers = [small?, large?];
        let (places, free, entries) = (Vec::new(), Vec::new(), Vec::new());
        let mut ring = Ring { ring, buffers, places, free, entries, silent: false, broken: false };
        ring.silent = ring.probe()?;
        Ok(ring)
    }

    /// Whether a send that does not wait completes but when it has not taken everything, then says how
    /// much, and is over when it is submitted in either case. So it should be since Linux 6.1; bytes would
    /// be lost where it is not.
    fn probe(&mut self) -> io::Result<bool> {
        let (ours, theirs) = UnixStream::pair()?;
        theirs.set_nonblocking(true)?;
        let much = vec![0; 1 << 20];
        let mut outcomes = Vec::new();
        for length in [1, much.len(), much.len()] {
            let entry = opcode::Send::new(Fd(ours.as_raw_fd()), much.as_ptr(), length as u32);
            let entry = entry.flags(SEND_NOW).build().flags(Flags::SKIP_SUCCESS);
            self.push(entry, Kind::Cancel, Slot(0))?;
            self.enter(0, None)?;
            outcomes.push(self.ring.completion().map(|entry| entry.result()).collect::<Vec<_>>());
        }
        drop(ours);
        let mut came = 0;
        while let Ok(count @ 1..) = (&theirs).read(&mut [0; 1 << 16]) {
            came += count;
        }
        let [all, some, none] = &outcomes[..] else { return Ok(false) };
        let partial = matches!(some[..], [count] if count > 0 && count as usize + 1 == came);
        let silent = all.is_empty() && partial && none[..] == [-EAGAIN];
        if !silent {
            // One may be under way against all expectation.
            std::mem::forget(much);
        }
        Ok(silent)
    }

    /// Has turns tell when another descriptor is readable: once, with [`Event::Watched`]. It is the
    /// caller's to keep open.
    pub fn watch(&mut self, fd: &impl AsRawFd) -> io::Result<()> {
        let entry = opcode::PollAdd::new(Fd(fd.as_raw_fd()), POLLIN as u32).build();
        self.push(entry, Kind::Watch, Slot(0))
    }

    /// Whether there is no socket, and none that was removed is still being closed.
    pub fn is_empty(&self) -> bool {
        self.places.len() == self.free.len()
    }

    /// Takes a socket over, and reads from it. Events name it by `tag`.
    pub fn add(&mut self, socket: T, group: Group, tag: usize) -> io::Result<Slot> {
        let place = Place {
            socket,
            tag,
            group,
            reading: Reading::Off,
            telling: false,
            listening: false,
            half_over: false,
            last: Vec::new(),
            sending_last: false,
            removed: false,
        };
        let slot = Slot(self.free.pop().unwrap_or(self.places.len() as u32));
        match self.places.get_mut(slot.0 as usize) {
            Some(empty) => *empty = Some(place),
            None => self.places.push(Some(place)),
        }
        self.receive(slot)?;
        Ok(slot)
    }

    /// A socket that is there.
    pub fn get(&mut self, slot: Slot) -> Option<&mut T> {
        self.place(slot).filter(|place| !place.removed).map(|place| &mut place.socket)
    }

    fn place(&mut self, slot: Slot) -> Option<&mut Place<T>> {
        self.places.get_mut(slot.0 as usize)?.as_mut()
    }

    fn fd(&mut self, slot: Slot) -> Fd {
        Fd(self.place(slot).map_or(-1, |place| place.socket.as_fd().as_raw_fd()))
    }

    /// Reads from a socket no more. What has come already is told of.
    pub fn pause(&mut self, slot: Slot) -> io::Result<()> {
        let Some(place) = self.place(slot) else { return Ok(()) };
        match place.reading {
            Reading::On => place.reading = Reading::Stopping,
            Reading::Restarting => {
                place.reading = Reading::Stopping;
                return Ok(());
            }
            _ => return Ok(()),
        }
        self.cancel(Kind::Receive, slot)
    }

    /// Reads from a socket again.
    pub fn resume(&mut self, slot: Slot) -> io::Result<()> {
        let Some(place) = self.place(slot) else { return Ok(()) };
        match place.reading {
            Reading::Off => self.receive(slot),
            Reading::Stopping => {
                place.reading = Reading::Restarting;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Tells once when a socket can be written to, or may be.
    pub fn tell_writable(&mut self, slot: Slot) -> io::Result<()> {
        let Some(place) = self.place(slot) else { return Ok(()) };
        if std::mem::replace(&mut place.telling, true) {
            return Ok(());
        }
        let entry = opcode::PollAdd::new(self.fd(slot), POLLOUT as u32).build();
        self.push(entry, Kind::Tell, slot)
    }

    /// Ends a connection, after `last` was sent. Nothing is told of it any more.
    pub fn remove(&mut self, slot: Slot, last: Vec<u8>) -> io::Result<()> {
        let Some(place) = self.place(slot) else { return Ok(()) };
        if std::mem::replace(&mut place.removed, true) {
            return Ok(());
        }
        place.last = last;
        let (telling, listening) = (place.telling, place.listening);
        if place.last.is_empty() {
            place.socket.finish();
        } else {
            place.sending_last = true;
        }
        self.pause(slot)?;
        if telling {
            self.cancel(Kind::Tell, slot)?;
        }
        if listening {
            self.cancel(Kind::Listen, slot)?;
        }
        if !self.place(slot).is_some_and(|place| place.sending_last) {
            self.close_if_over(slot);
            return Ok(());
        }
        let fd = self.fd(slot);
        let last = self.place(slot).map_or(&[][..], |place| &place.last);
        // Nobody waits for this one: the kernel does, until all is taken. The bytes are of a `Vec` that is
        // left alone until then, wherever `places` move, and forgotten with the ring.
        let entry = opcode::Send::new(fd, last.as_ptr(), last.len() as u32);
        self.push(entry.flags(MSG_WAITALL | MSG_NOSIGNAL).build(), Kind::SendLast, slot)
    }

    fn close_if_over(&mut self, slot: Slot) {
        let Some(place) = self.place(slot) else { return };
        if place.removed && place.is_over() {
            place.socket.discard();
            self.places[slot.0 as usize] = None;
            self.free.push(slot.0);
        }
    }

    fn receive(&mut self, slot: Slot) -> io::Result<()> {
        let fd = self.fd(slot);
        let Some(place) = self.place(slot) else { return Ok(()) };
        place.reading = Reading::On;
        let entry = opcode::RecvMulti::new(fd, place.group.number()).build();
        self.push(entry, Kind::Receive, slot)
    }

    fn cancel(&mut self, kind: Kind, slot: Slot) -> io::Result<()> {
        self.push(opcode::AsyncCancel::new(token(kind, slot)).build(), Kind::Cancel, slot)
    }

    /// Listens for the end of a socket that is not read from. Once its peer has ended its side there is no waiting for the
    /// other one: io_uring's polls tell of that side always (`IO_POLL_UNMASK`), at once and for ever. Whoever sends
    /// will hear of it.
    fn listen(&mut self, slot: Slot) -> io::Result<()> {
        let Some(place) = self.place(slot) else { return Ok(()) };
        if place.removed || place.half_over || std::mem::replace(&mut place.listening, true) {
            return Ok(());
        }
        let mask = (POLLRDHUP | POLLHUP | POLLERR) as u32;
        let entry = opcode::PollAdd::new(self.fd(slot), mask).build();
        self.push(entry, Kind::Listen, slot)
    }

    /// The bytes that were received.
    pub fn bytes(&self, received: &Received) -> &[u8] {
        self.buffers[received.group as usize].bytes(received)
    }

    /// The bytes of a piece. Panics if its buffer was given back: they would be others.
    pub fn piece_bytes(&self, piece: &Piece) -> &[u8] {
        self.buffers[piece.group as usize].piece_bytes(piece)
    }

    /// Which piece of what was received `bytes` are; `None` if they are elsewhere.
    pub fn piece(&self, received: &Received, bytes: &[u8]) -> Option<Piece> {
        self.buffers[received.group as usize].piece(received, bytes)
    }

    /// Makes room for `length` bytes in front of what was received; `None` if there is not so much.
    pub fn before(&mut self, received: &mut Received, length: usize) -> Option<&mut [u8]> {
        self.buffers[received.group as usize].before(received, length)
    }

    /// Lets the kernel use a buffer again.
    #[allow(clippy::needless_pass_by_value, reason = "it is gone then")]
    pub fn give_back(&mut self, received: Received) {
        self.buffers[received.group as usize].give(received.buffer);
    }

    /// Sends all of `sends`, of which no two may be to the same socket, as far as the sockets take it
    /// now, and adds to `sent` what became of each, by number of bytes or negative error; adds to
    /// `events` what has happened. It waits for that, for `timeout` at most, unless it sends what is not
    /// settled: who sends has to hear first what became of it.
    pub fn turn<'a>(
        &mut self,
        sends: impl Iterator<Item = Send<'a>>,
        timeout: Option<Duration>,
        sent: &mut Vec<(Slot, usize, i32)>,
        events: &mut Vec<Event>,
    ) -> io::Result<()> {
        let first = events.len();
        let (mut waits, start) = (true, sent.len());
        for Send { slot, bytes, settled } in sends {
            let bytes = match bytes {
                Bytes::Own(bytes) => bytes,
                Bytes::Received(ref piece) => self.piece_bytes(piece),
            };
            let (address, length) = (bytes.as_ptr(), bytes.len().min(MOST_SENT));
            let entry = opcode::Send::new(self.fd(slot), address, length as u32).flags(SEND_NOW).build();
            let entry = if self.silent { entry.flags(Flags::SKIP_SUCCESS) } else { entry };
            // The borrow is longer than this call. A send is over when it is submitted, as `probe` has seen,
            // or else this call takes every completion before it returns.
            self.push(entry, Kind::Send, Slot((sent.len() - start) as u32))?;
            let tag = self.place(slot).map_or(usize::MAX, |place| place.tag);
            sent.push((slot, tag, length as i32));
            waits &= settled;
        }
        let outcomes = &mut sent[start..];
        // Without `silent` it is for sends to complete that it waits: for one, since to wait for all of them
        // would have the kernel look at as many sockets too, and there would not be buffers for what they bring.
        let told = !self.silent && !outcomes.is_empty();
        let waits = waits && timeout != Some(Duration::ZERO);
        self.enter(usize::from(waits || told), if told { None } else { timeout })?;
        let mut came = Came::default();
        self.collect(outcomes, &mut came, events)?;
        while told && came.sent < outcomes.len() {
            self.enter(1, None)?;
            self.collect(outcomes, &mut came, events)?;
        }
        while came.received >= AT_ONCE && events.len() - first < MOST {
            came = Came::default();
            self.buffers.iter_mut().for_each(Buffers::offer);
            // Nothing is submitted: who found no buffer would find none again.
            match self.enter_once(0) {
                Err(error) if error.raw_os_error() != Some(EINTR) => return Err(error),
                _ => self.collect(outcomes, &mut came, events)?,
            }
        }
        Ok(())
    }

    /// Submits `count` operations, and has what came looked at.
    fn enter_once(&self, count: u32) -> io::Result<usize> {
        // SAFETY: there is no argument.
        unsafe { self.ring.submitter().enter::<()>(count, 0, GET_EVENTS, None) }
    }

    /// Submits everything, has what came looked at, and waits for `want` completions or until the time is
    /// over.
    fn enter(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("io_uring has failed before"));
        }
        let time = timeout.map(Timespec::from);
        let mut want = want;
        loop {
            self.buffers.iter_mut().for_each(Buffers::offer);
            let count = self.ring.submission().len() as u32;
            let submitter = self.ring.submitter();
            let outcome = match &time {
                _ if want == 0 => self.enter_once(count),
                Some(time) => submitter.submit_with_args(want, &SubmitArgs::new().timespec(time)),
                None => submitter.submit_and_wait(want),
            };
            match outcome.map_err(|error| (error.raw_os_error(), error)) {
                Ok(_) | Err((Some(EINTR | ETIME), _)) => {}
                // The kernel is short of something: of what is over, or of memory.
                Err((Some(EBUSY | EAGAIN), _)) if !self.ring.completion().is_empty() => return Ok(()),
                Err((Some(EBUSY | EAGAIN), _)) => std::thread::yield_now(),
                Err((_, error)) => {
                    // Nobody will wait for what is left in the queue.
                    self.broken = true;
                    return Err(error);
                }
            }
            if self.ring.submission().is_empty() {
                return Ok(());
            }
            want = 0;
        }
    }

    /// Takes completions: those of sends say what became of them.
    fn collect(
        &mut self,
        outcomes: &mut [(Slot, usize, i32)],
        came: &mut Came,
        events: &mut Vec<Event>,
    ) -> io::Result<()> {
        let mut entries = std::mem::take(&mut self.entries);
        entries.extend(self.ring.completion());
        for entry in entries.drain(..) {
            let (kind, slot) = untoken(entry.user_data());
            let (result, flags) = (entry.result(), entry.flags());
            match kind {
                Some(Kind::Send) => {
                    came.sent += 1;
                    if let Some(outcome) = outcomes.get_mut(slot.0 as usize) {
                        outcome.2 = result;
                    }
                }
                Some(Kind::Receive) => {
                    came.received += 1;
                    self.received(slot, result, flags, events)?;
                }
                Some(kind) => self.other(kind, slot, result, events)?,
                None => {}
            }
        }
        self.entries = entries;
        Ok(())
    }

    fn received(&mut self, slot: Slot, result: i32, flags: u32, events: &mut Vec<Event>) -> io::Result<()> {
        let Some(place) = self.place(slot) else { return Ok(()) };
        let (tag, removed, group) = (place.tag, place.removed, place.group);
        if let Some(buffer) = cqueue::buffer_select(flags) {
            let received = self.buffers[group as usize].received(buffer, result.max(0) as usize);
            match removed || result <= 0 {
                true => self.give_back(received),
                false => events.push(Event::Received { slot, tag, received }),
            }
        }
        if cqueue::more(flags) {
            return Ok(());
        }
        if result == -ENOBUFS {
            self.buffers[group as usize].were_too_few();
        }
        // Reading is over, which need not mean that the socket is.
        let goes_on = result > 0 || [-ENOBUFS, -ECANCELED, -EINTR, -EAGAIN].contains(&result);
        let Some(place) = self.place(slot) else { return Ok(()) };
        match place.reading {
            _ if removed => {
                place.reading = Reading::Off;
                self.close_if_over(slot);
            }
            _ if !goes_on => {
                place.reading = Reading::Ended;
                events.push(Event::Ended { slot, tag, error: -result });
            }
            Reading::Stopping => {
                place.reading = Reading::Off;
                self.listen(slot)?;
            }
            _ => self.receive(slot)?,
        }
        Ok(())
    }

    fn other(&mut self, kind: Kind, slot: Slot, result: i32, events: &mut Vec<Event>) -> io::Result<()> {
        if kind == Kind::Watch {
            events.push(Event::Watched);
            return Ok(());
        }
        let Some(place) = self.place(slot) else { return Ok(()) };
        let tag = place.tag;
        match kind {
            // Its peer has ended its side, and so polls are over at once although it takes nothing.
            Kind::Tell
                if !place.removed && result > 0 && result & i32::from(POLLOUT | POLLERR | POLLHUP) == 0 =>
            {
                place.half_over = true;
                return self.push(opcode::Timeout::new(&PAUSE).build(), Kind::Tell, slot);
            }
            Kind::Tell => {
                place.telling = false;
                if !place.removed {
                    events.push(Event::Writable { slot, tag });
                }
            }
            Kind::Listen => {
                place.listening = false;
                let half = result >= 0 && result & i32::from(POLLRDHUP) != 0;
                let over = result < 0 || result & i32::from(POLLHUP | POLLERR) != 0;
                place.half_over |= half;
                if !place.removed && place.reading == Reading::Off {
                    events.push(Event::Hung { slot, tag, over });
                    if !over {
                        self.listen(slot)?;
                    }
                }
            }
            Kind::SendLast => {
                place.sending_last = false;
                place.last = Vec::new();
                place.socket.finish();
            }
            Kind::Receive | Kind::Send | Kind::Cancel | Kind::Watch => {}
        }
        self.close_if_over(slot);
        Ok(())
    }

    /// Whatever memory `entry` refers to must be there until it completes.
    fn push(&mut self, entry: Entry, kind: Kind, slot: Slot) -> io::Result<()> {
        if self.ring.submission().is_full() {
            self.enter(0, None)?;
        }
        // SAFETY: `entry` refers to no memory but buffers that are never freed, bytes that `turn`'s
        // caller has lent for longer than until it completes, or the last bytes of a place.
        let pushed = unsafe { self.ring.submission().push(&entry.user_data(token(kind, slot))) };
        pushed.map_err(|_| io::Error::other("io_uring takes no more"))
    }
}

impl<T> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "io_uring with {} sockets", self.places.len() - self.free.len())
    }
}

impl<T> Drop for Ring<T> {
    /// The kernel may still be sending what removed sockets were to send.
    fn drop(&mut self) {
        for place in self.places.iter_mut().flatten().filter(|place| place.sending_last) {
            std::mem::forget(std::mem::take(&mut place.last));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    impl Socket for UnixStream {
        fn finish(&mut self) {}
        fn discard(&mut self) {}
    }

    /// What becomes of sends of so many bytes to a peer that takes nothing, and is gone for the last.
    fn outcomes(ring: &mut Ring<UnixStream>, lengths: [usize; 4]) -> Vec<i32> {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        let mut theirs = Some(theirs);
        let slot = ring.add(ours, Group::Small, 7).expect("a place");
        let (mut sent, mut events) = (Vec::new(), Vec::new());
        for (number, length) in lengths.into_iter().enumerate() {
            theirs = theirs.filter(|_| number < 3);
            let bytes = vec![0; length];
            let sends = [Send { slot, bytes: Bytes::Own(&bytes), settled: false }];
            ring.turn(sends.into_iter(), None, &mut sent, &mut events).expect("a turn");
        }
        assert!(sent.iter().all(|sent| (sent.0, sent.1) == (slot, 7)));
        sent.into_iter().map(|sent| sent.2).collect()
    }

    #[test]
    fn sends_are_told_of_alike_whether_or_not_the_kernel_does() {
        let Ok(mut ring) = Ring::new() else { return eprintln!("no io_uring here, not tested") };
        let lengths = [5, 4 << 20, 1 << 20, 1];
        let silent = outcomes(&mut ring, lengths);
        ring.silent = false;
        let told = outcomes(&mut ring, lengths);
        assert_eq!(silent, told);
        let [all, some, none, broken] = told[..] else { panic!("four, {told:?}") };
        assert_eq!([all, none, broken], [5, -EAGAIN, -nix::libc::EPIPE]);
        assert!(some > 0 && some < 4 << 20, "{some}");
    }

    /// What sockets that something comes from at once have brought, in one turn or more.
    fn bring(ring: &mut Ring<UnixStream>, peers: &mut [UnixStream]) -> usize {
        peers.iter_mut().for_each(|peer| peer.write_all(b"x").expect("a write"));
        let (mut sent, mut events, mut count) = (Vec::new(), Vec::new(), 0);
        while count < peers.len() {
            ring.turn(std::iter::empty(), Some(Duration::from_secs(30)), &mut sent, &mut events)
                .expect("a turn");
            for event in events.drain(..) {
                let Event::Received { received, .. } = event else { panic!("{event:?}") };
                count += 1;
                ring.give_back(received);
            }
        }
        count
    }

    #[test]
    fn the_kernel_has_as_many_buffers_as_it_needs() {
        let Ok(mut ring) = Ring::new() else { return eprintln!("no io_uring here, not tested") };
        let fewest = ring.buffers[0].goal();
        let mut peers = Vec::new();
        for tag in 0..usize::from(fewest) * 4 {
            let (ours, theirs) = UnixStream::pair().expect("sockets");
            ring.add(ours, Group::Small, tag).expect("a place");
            peers.push(theirs);
        }
        for _ in 0..10 {
            bring(&mut ring, &mut peers);
        }
        let many = ring.buffers[0].goal();
        assert!(many > fewest, "{many}");
        for _ in 0..20_000 {
            bring(&mut ring, &mut peers[..1]);
        }
        assert_eq!(ring.buffers[0].goal(), fewest);
    }
}

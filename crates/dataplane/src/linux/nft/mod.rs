//! nf_tables, spoken directly: a table in transactions, each of which the kernel makes whole or not at all.
//!
//! The `nft` program is not needed. The tests have it load the same tables from their text, and compare what it then
//! lists with what it lists of ours.

mod encode;
mod expression;
mod handles;
pub(super) mod message;

pub use encode::{Encoded, Transaction, encode};
pub use handles::Handles;
pub use message::{Message, TooLong};

use crate::table::{TABLE, Table};
use encode::kind::NEW_RULE;
use expression::COUNTER;
use message::{Attributes, HEAD, INET, SUBSYSTEM};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::sys::socket::{MsgFlags, getsockopt, setsockopt, sockopt};
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::os::fd::{AsFd, AsRawFd};

/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`, `linux/netfilter/nfnetlink.h`
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
/// `NLMSG_ERROR`, which is also how success is told.
const ANSWER: u16 = 2;
/// `NLM_F_ROOT | NLM_F_MATCH`: all there are.
pub(super) const DUMP: u16 = 0x300;
/// How often a transaction is tried when somebody else changes rules at the same time.
const TRIES: u32 = 20;

/// A connection to nf_tables, in the network namespace in which it was opened.
#[derive(Debug)]
pub struct Nft {
    socket: Socket,
    /// Bytes that a datagram may have.
    most: usize,
    /// The handles of rules that were asked for, and the generation of rules for which they are right.
    handles: (u32, Handles),
}

/// What transactions have led to.
type Made = (u32, BTreeMap<String, Vec<u64>>);

/// What a namespace's table is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The table: what was asked for, and chains that nothing leads to any more, which go with the next change.
    pub table: Table,
    /// The generation of rules that it is.
    pub generation: u32,
}

/// Why a transaction was not made.
#[derive(Debug)]
enum Refused {
    /// Somebody else has changed rules meanwhile.
    Stale,
    /// The kernel says no.
    Error(Error),
}

impl Nft {
    /// Opens a connection in the calling thread's namespace.
    pub fn open() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // As much as the host lets everybody have.
        setsockopt(&socket.as_fd(), sockopt::SndBuf, &(8 << 20))?;
        let most = getsockopt(&socket.as_fd(), sockopt::SndBuf)?;
        // The kernel keeps 32 bytes of it for itself; the ends of a transaction need some.
        Ok(Self { socket, most: most.saturating_sub(256), handles: (0, Handles::default()) })
    }

    /// Makes packets obey the table `after`. `before` is what the namespace's table is known to be, with the generation that
    /// it was then: if the generation is another one now, any table is replaced.
    pub fn load(&mut self, before: Option<(&Table, u32)>, after: &Table) -> Result<Loaded> {
        self.load_in_parts(before, after, self.most)
    }

    /// The same, with at most `most` bytes in a transaction.
    pub fn load_in_parts(
        &mut self,
        before: Option<(&Table, u32)>,
        after: &Table,
        most: usize,
    ) -> Result<Loaded> {
        for _ in 0..TRIES {
            let generation = self.generation()?;
            let known = before.filter(|(_, then)| *then == generation).map(|(table, _)| table);
            self.know(known, after, generation)?;
            let before = known.map(|known| (known, &self.handles.1));
            let encoded = encode(before, after, most.min(self.most)).map_err(Error::other)?;
            match self.transact(&encoded.transactions, generation) {
                Ok((generation, told)) => {
                    let table = encoded.table;
                    self.handles.0 = generation;
                    match known.filter(|_| !encoded.anew) {
                        Some(known) => self.handles.1.change(known, &table, &told),
                        None => self.handles.1 = Handles::default(),
                    }
                    return Ok(Loaded { table, generation });
                }
                Err(Refused::Error(error)) => return Err(error),
                Err(Refused::Stale) => {}
            }
        }
        Err(Error::other("nf_tables: somebody else keeps changing the rules"))
    }

    /// Asks for the handles of rules that a change is easier with.
    fn know(&mut self, before: Option<&Table>, after: &Table, generation: u32) -> Result<()> {
        if self.handles.0 != generation {
            self.handles = (generation, Handles::default());
        }
        let Some(before) = before else { return Ok(()) };
        for chain in self.handles.1.missing(before, after) {
            let handles = self.rules_of(&chain)?;
            self.handles.1.0.insert(chain, handles);
        }
        Ok(())
    }

    /// The handles of a chain's rules, in their order.
    fn rules_of(&mut self, chain: &str) -> Result<Vec<u64>> {
        const GET_RULE: u16 = 7; // NFT_MSG_GETRULE, linux/netfilter/nf_tables.h
        let wanted = Attributes::of(|a| {
            a.text(1, TABLE); // NFTA_RULE_TABLE
            a.text(2, chain); // NFTA_RULE_CHAIN
        });
        let mut found = Vec::new();
        self.dump(GET_RULE, wanted, |bytes| {
            let rules = handles::rules(bytes, SUBSYSTEM << 8 | NEW_RULE);
            found.extend(rules.into_iter().filter(|(of, _)| of == chain).map(|(_, handle)| handle));
        })?;
        Ok(found)
    }

    /// Makes the transactions, the first of them on this generation; which generation it is then, and the handles of rules
    /// that were to be told.
    fn transact(
        &mut self,
        transactions: &[Transaction],
        mut generation: u32,
    ) -> std::result::Result<Made, Refused> {
        let mut told: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for transaction in transactions {
            self.send(transaction, generation).map_err(Refused::Error)?;
            for (chain, handle) in self.receive(transaction)? {
                told.entry(chain).or_default().push(handle);
            }
            // Each transaction counts one, and there is no generation 0: `nf_tables_commit` in the kernel.
            generation = generation.wrapping_add(1).max(1);
        }
        Ok((generation, told))
    }

    /// Sends a transaction that is void unless the generation is this one.
    fn send(&self, transaction: &Transaction, generation: u32) -> Result<()> {
        let unchanged = Attributes::of(|a| a.number(1, generation)); // NFNL_BATCH_GENID
        let begin = message::bytes(BEGIN, 0, 0, SUBSYSTEM, &unchanged.into_bytes());
        let end = message::bytes(END, 0, 0, SUBSYSTEM, &[]);
        let mut bytes = Vec::with_capacity(transaction.iter().map(Message::len).sum());
        for (index, message) in transaction.iter().enumerate() {
            // The last one's success is that of all before it.
            message.append_to(&mut bytes, index as u32 + 1, index + 1 == transaction.len());
        }
        let parts = [IoSlice::new(&begin), IoSlice::new(&bytes), IoSlice::new(&end)];
        nix::sys::socket::sendmsg::<()>(self.socket.as_raw_fd(), &parts, &[], MsgFlags::empty(), None)?;
        Ok(())
    }

    /// What became of a transaction, and the rules that were told. The kernel has answered before `send` returned.
    fn receive(&self, transaction: &Transaction) -> std::result::Result<Vec<(String, u64)>, Refused> {
        let mut told = Vec::new();
        let mut done = false;
        let mut first: Option<(u32, Error)> = None;
        let mut bytes = Vec::with_capacity(1 << 16);
        loop {
            bytes.clear();
            match self.socket.recv(&mut bytes, libc::MSG_DONTWAIT) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // Some answers are lost, and what they were.
                Err(error) => return Err(Refused::Error(error)),
            }
            told.extend(handles::rules(&bytes, SUBSYSTEM << 8 | NEW_RULE));
            for (sequence, code) in answers(&bytes) {
                match code {
                    0 => done |= sequence as usize == transaction.len(),
                    code if code == -libc::ERESTART => return self.forget_rest(Refused::Stale),
                    code => {
                        first.get_or_insert((sequence, Error::from_raw_os_error(-code)));
                    }
                }
            }
        }
        if let Some((sequence, error)) = first {
            let which = (sequence as usize).checked_sub(1).and_then(|index| transaction.get(index));
            let which = which.map_or("the transaction", Message::what);
            return Err(Refused::Error(Error::new(error.kind(), format!("nf_tables: {which}: {error}"))));
        }
        if done { Ok(told) } else { Err(Refused::Error(Error::other("nf_tables did not answer"))) }
    }

    /// Reads what is left of the answers to a transaction.
    fn forget_rest<T>(&self, refused: Refused) -> std::result::Result<T, Refused> {
        let mut bytes = Vec::with_capacity(1 << 16);
        while self.socket.recv(&mut bytes, libc::MSG_DONTWAIT).is_ok() {
            bytes.clear();
        }
        Err(refused)
    }

    /// The generation of the namespace's rules: another one after every change by anybody.
    pub fn generation(&mut self) -> Result<u32> {
        const GET_GENERATION: u16 = 16; // NFT_MSG_GETGEN, linux/netfilter/nf_tables.h
        const NEW_GENERATION: u16 = 15;
        const ID: u16 = 1; // NFTA_GEN_ID
        self.socket.send(&message::bytes(SUBSYSTEM << 8 | GET_GENERATION, 0, 0, 0, &[]), 0)?;
        let (answer, _) = self.socket.recv_from_full()?;
        let is_it = answer.get(4..6) == Some(&(SUBSYSTEM << 8 | NEW_GENERATION).to_ne_bytes());
        let attributes = answer.get(HEAD..).filter(|_| is_it).unwrap_or_default();
        let found = attribute(attributes, ID).and_then(|value| value.try_into().ok());
        found.map(u32::from_be_bytes).ok_or_else(|| Error::other("nf_tables told no generation"))
    }

    /// How many packets each of the table's counters has counted.
    pub fn counters(&mut self) -> Result<BTreeMap<String, u64>> {
        const GET_OBJECT: u16 = 19; // NFT_MSG_GETOBJ, linux/netfilter/nf_tables.h
        let wanted = Attributes::of(|a| {
            a.text(1, TABLE); // NFTA_OBJ_TABLE
            a.number(3, COUNTER); // NFTA_OBJ_TYPE
        });
        let mut counters = BTreeMap::new();
        self.dump(GET_OBJECT, wanted, |bytes| {
            let objects = messages(bytes).into_iter();
            counters.extend(objects.filter_map(|(_, message)| message.get(HEAD..).and_then(counted)));
        })?;
        Ok(counters)
    }

    /// Asks for everything of a kind; `each` gets every datagram of the answer.
    fn dump(&mut self, kind: u16, wanted: Attributes, each: impl FnMut(&[u8])) -> Result<()> {
        let request = message::bytes(SUBSYSTEM << 8 | kind, DUMP, INET, 0, &wanted.into_bytes());
        dump(&self.socket, &request, each)
    }
}

/// A counter's name and its packets.
fn counted(object: &[u8]) -> Option<(String, u64)> {
    let name = attribute(object, 2)?; // NFTA_OBJ_NAME
    let name = String::from_utf8_lossy(name.strip_suffix(&[0])?).into_owned();
    let packets = attribute(attribute(object, 4)?, 2)?; // NFTA_OBJ_DATA, NFTA_COUNTER_PACKETS
    Some((name, u64::from_be_bytes(packets.try_into().ok()?)))
}

/// The messages in a datagram, each with its kind.
pub(super) fn messages(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let Some(length) = bytes.get(..4).and_then(|length| length.try_into().ok()) {
        let length = u32::from_ne_bytes(length) as usize;
        let (Some(message), true) = (bytes.get(..length), length >= 16) else { break };
        found.push((u16::from_ne_bytes([message[4], message[5]]), message));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// The answers in a datagram: to which message, and a negative error or 0.
pub(super) fn answers(bytes: &[u8]) -> Vec<(u32, i32)> {
    let word = |bytes: &[u8], at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let answers = messages(bytes).into_iter().filter(|(kind, _)| *kind == ANSWER);
    // The header, the error, the header of what is answered.
    answers
        .filter_map(|(_, message)| word(message, 8).zip(word(message, 16).map(|code| code as i32)))
        .collect()
}

/// Sends a request for everything of a kind, with [`DUMP`]; `each` gets every datagram of the answer.
pub(super) fn dump(socket: &Socket, request: &[u8], mut each: impl FnMut(&[u8])) -> Result<()> {
    const DONE: u16 = 3; // NLMSG_DONE
    socket.send(request, 0)?;
    let mut bytes = Vec::with_capacity(1 << 16);
    loop {
        bytes.clear();
        socket.recv(&mut bytes, 0)?;
        if let Some((_, code)) = answers(&bytes).first() {
            return Err(Error::from_raw_os_error(-code));
        }
        each(&bytes);
        let all = messages(&bytes);
        if all.is_empty() || all.iter().any(|(kind, _)| *kind == DONE) {
            return Ok(());
        }
    }
}

/// Sends a request that wants an answer; `what` is what is asked.
pub(super) fn ask(socket: &Socket, request: &[u8], what: &str) -> Result<()> {
    socket.send(request, 0)?;
    let mut bytes = Vec::with_capacity(1 << 12);
    socket.recv(&mut bytes, 0)?;
    match answers(&bytes).first() {
        Some((_, 0)) => Ok(()),
        Some((_, code)) => {
            let error = Error::from_raw_os_error(-code);
            Err(Error::new(error.kind(), format!("{what}: {error}")))
        }
        None => Err(Error::other(format!("{what}: no answer"))),
    }
}

/// The value of the first attribute of a kind.
pub(super) fn attribute(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let value = bytes.get(4..length)?;
        if u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & 0x3fff == kind {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

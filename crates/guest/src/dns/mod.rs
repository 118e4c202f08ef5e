//! DNS: a message in, a message out.
//!
//! A name is looked for in the private zones that the network sees, and then among its internal names. Of all others
//! the host's resolver is asked, by whoever calls, where the lab's internet goes on into the host's network.
//!
//! Source: Google's documentation of Cloud DNS ("Name resolution order"); RFC 1035; RFC 6891 (EDNS), RFC 2308 (negative answers), RFC 8020 (NXDOMAIN says the same of all below).

mod internal;
mod private;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::net::Ipv4Addr;
use tombolo_model::{NetworkKey, World};

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram: an answer that is too long says so, and the client asks again over TCP.
    Udp,
    /// On a connection.
    Tcp,
}

/// The largest datagram that is sent, whatever a client would take: smaller than any network's MTU.
const LARGEST_DATAGRAM: u16 = 1232;
/// The largest datagram without EDNS. Source: RFC 1035, section 4.2.1.
const DATAGRAM: u16 = 512;
/// The bytes of a header.
const HEADER: usize = 12;

/// How many aliases may lead from one to the next.
const ALIASES: usize = 16;
/// How many peering zones may lead from one to the next. Source: "Transitive DNS peering".
const PEERINGS: usize = 2;

/// What is known of a name.
#[derive(Clone, Debug, PartialEq)]
enum Found {
    /// These records.
    Records(Vec<Record>),
    /// It stands for another name, which is to be looked for as this network would.
    Alias(Record, Name, NetworkKey),
    /// The name exists and has no records of that type; the zone's SOA.
    NoData(Record),
    /// The name does not exist; the zone's SOA.
    NoName(Record),
    /// It is of no zone that the network sees. Who is beyond the lab may know it.
    NoZone,
    /// Names or networks lead on and on.
    Failed,
}

/// What is known of a name beyond the lab.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Beyond {
    /// Nothing, or nobody was asked.
    #[default]
    Unknown,
    /// It has these addresses.
    Addresses(Vec<Ipv4Addr>),
    /// Nobody could be asked, or there was no answer.
    Failed,
}

/// Seconds for which addresses from beyond the lab may be kept: how long they stay is not told.
const BEYOND_TTL: u32 = 30;

/// The name that the host's resolver is to be asked for before [`answer_with`], if it may know it.
pub fn beyond(world: &World, network: &NetworkKey, message: &[u8]) -> Option<String> {
    if !world.reaches_host {
        return None;
    }
    let request = Message::from_vec(message).ok()?;
    let [query] = &request.queries[..] else { return None };
    let asks =
        (request.metadata.message_type, request.metadata.op_code) == (MessageType::Query, OpCode::Query);
    let (_, found, name) = find(world, network, query);
    let text = name.to_lowercase().to_ascii();
    let text = text.trim_end_matches('.');
    // Names of addresses are not asked for, and what are no more than addresses have none.
    let name = !text.is_empty() && !text.ends_with(".arpa") && text.parse::<Ipv4Addr>().is_err();
    (asks && name && found == Found::NoZone).then(|| text.to_owned())
}

/// The answer to a message that somebody in `network` sent; none to what is no query. Nothing is known beyond the lab.
pub fn answer(world: &World, network: &NetworkKey, message: &[u8], transport: Transport) -> Option<Vec<u8>> {
    answer_with(world, network, message, transport, &Beyond::Unknown)
}

/// The same, knowing this of the name that is asked for, if it is of no zone.
pub fn answer_with(
    world: &World,
    network: &NetworkKey,
    message: &[u8],
    transport: Transport,
    beyond: &Beyond,
) -> Option<Vec<u8>> {
    let request = match Message::from_vec(message) {
        Ok(request) if request.metadata.message_type == MessageType::Query => request,
        // Answering an answer could go on for ever.
        Ok(_) => return None,
        Err(_) => {
            let is_query = message.len() >= HEADER && message[2] & 0x80 == 0;
            let id = u16::from_be_bytes([*message.first()?, *message.get(1)?]);
            return is_query
                .then(|| Message::error_msg(id, OpCode::Query, ResponseCode::FormErr))?
                .to_vec()
                .ok();
        }
    };
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata = Metadata::response_from_request(&request.metadata);
    response.metadata.recursion_available = true;
    response.add_queries(request.queries.iter().cloned());
    let code = match &request.queries[..] {
        _ if request.metadata.op_code != OpCode::Query => ResponseCode::NotImp,
        _ if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) => ResponseCode::BADVERS,
        [query] if ![DNSClass::IN, DNSClass::ANY].contains(&query.query_class()) => ResponseCode::Refused,
        [query] => fill(&mut response, find(world, network, query), query, beyond),
        _ => ResponseCode::FormErr,
    };
    response.metadata.response_code = code;
    let mut limit = DATAGRAM;
    if let Some(theirs) = &request.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(LARGEST_DATAGRAM);
        response.set_edns(edns);
        limit = theirs.max_payload().clamp(DATAGRAM, LARGEST_DATAGRAM);
    }
    let bytes = response.to_vec().ok()?;
    match transport {
        Transport::Udp if bytes.len() > limit.into() => response.truncate().to_vec().ok(),
        _ => Some(bytes),
    }
}

fn fill(
    response: &mut Message,
    (aliases, found, name): (Vec<Record>, Found, Name),
    query: &Query,
    beyond: &Beyond,
) -> ResponseCode {
    response.metadata.authoritative = !aliases.is_empty() || found != Found::NoZone;
    let mut add = |mut record: Record| {
        // In the asker's own letters: some look whether they come back.
        if record.name == *query.name() {
            record.name = query.name().clone();
        }
        response.add_answer(record);
    };
    aliases.into_iter().for_each(&mut add);
    match found {
        Found::Records(records) => {
            records.into_iter().for_each(&mut add);
            ResponseCode::NoError
        }
        Found::NoData(soa) => {
            response.add_authority(soa);
            ResponseCode::NoError
        }
        Found::NoName(soa) => {
            response.add_authority(soa);
            ResponseCode::NXDomain
        }
        Found::NoZone => match beyond {
            Beyond::Unknown => ResponseCode::NXDomain,
            Beyond::Failed => ResponseCode::ServFail,
            Beyond::Addresses(all) => {
                let record =
                    |address: &Ipv4Addr| Record::from_rdata(name.clone(), BEYOND_TTL, RData::A(A(*address)));
                // It exists, whatever else is asked of it.
                let asked = answers(query.query_type(), RecordType::A);
                all.iter().filter(|_| asked).map(record).for_each(&mut add);
                ResponseCode::NoError
            }
        },
        Found::Alias(..) | Found::Failed => ResponseCode::ServFail,
    }
}

/// What a network sees under a name: the aliases on the way, what is at their end, and which name that is.
fn find(world: &World, network: &NetworkKey, query: &Query) -> (Vec<Record>, Found, Name) {
    let (mut network, mut name) = (network.clone(), query.name().clone());
    let mut aliases = Vec::new();
    while aliases.len() <= ALIASES {
        match look(world, &network, &name, query.query_type(), PEERINGS) {
            Found::Alias(record, target, seen_by) => {
                aliases.push(record);
                (network, name) = (seen_by, target);
            }
            found => return (aliases, found, name),
        }
    }
    (Vec::new(), Found::Failed, name)
}

fn look(world: &World, network: &NetworkKey, name: &Name, asked: RecordType, peerings: usize) -> Found {
    match private::zone_of(world, network, &name.to_lowercase().to_ascii()) {
        None => internal::find(world, network, name, asked),
        Some(zone) => match &zone.peering {
            None => private::find(zone, network, name, asked),
            Some(target) if peerings > 0 => look(world, target, name, asked, peerings - 1),
            Some(_) => Found::Failed,
        },
    }
}

/// Whether records of a type answer a query. Source: RFC 8482 for ANY.
fn answers(asked: RecordType, has: RecordType) -> bool {
    asked == has || asked == RecordType::ANY
}

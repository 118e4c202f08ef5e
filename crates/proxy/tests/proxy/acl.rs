//! The proxy's decisions about users beside those of a real redis-server (`ACL DRYRUN`), over many
//! rules and every command.

use crate::common::{Client, Redis, request, simple};
use tombolo_proxy::acl::{Denied, Users};
use tombolo_resp::command::access;
use tombolo_resp::{RequestParser, Value};

const RULES: &[&str] = &[
    "on nopass",
    "on nopass +@all ~* &*",
    "on nopass +@all",
    "on nopass +@all ~a* &a*",
    "on nopass +@all %R~a* %W~b* &b",
    "on nopass +@all %R~* %W~b &*",
    "on nopass +@all -@dangerous ~a* resetchannels",
    "on nopass +@all -@write ~*",
    "on nopass +@read +@connection ~a* ~b",
    "on nopass +@write -@hash ~*",
    "on nopass +@string +@keyspace -del %W~a*",
    "on nopass +@pubsub &a* &b",
    "on nopass +get +set +config|get -config|set +client|id ~a*",
    "on nopass +client -client|kill +acl +script|load -acl|whoami",
    "on nopass +@all nocommands +@sortedset +@geo +sort ~a* allchannels",
    "on nopass +@all -@all +@list +@stream ~[ab]",
    "on nopass +@fast -get +@bitmap ~?",
    "on nopass allcommands allkeys allchannels -@admin -@scripting",
    "on nopass +@transaction +multi -watch ~b",
    "on nopass +@all ~* &* -debug -keys",
    "on nopass +@all %R~a %W~a",
];

/// Requests with keys, channels and options; every command is asked without any as well.
const REQUESTS: &[&str] = &[
    "GET a",
    "GET b",
    "GET c",
    "SET a 1",
    "SET b 1",
    "SET a 1 GET",
    "SET b 1 GET",
    "SET c 1 EX 10",
    "MGET a b",
    "MGET a a1",
    "MSET a 1 b 2",
    "DEL a",
    "DEL a c",
    "EXISTS a",
    "EXISTS c",
    "TYPE b",
    "EXPIRE a 1",
    "RENAME a b",
    "RENAME b a",
    "COPY a b",
    "COPY b a",
    "APPEND b x",
    "INCR a",
    "GETDEL b",
    "STRLEN a",
    "BITOP AND b a a1",
    "BITOP AND a b",
    "BITCOUNT a",
    "SETBIT b 1 1",
    "BITFIELD a GET u8 0",
    "BITFIELD a OVERFLOW SAT GET u8 0 get u8 1",
    "BITFIELD a GET u8 0 SET u8 0 1",
    "BITFIELD a INCRBY u8 0 1",
    "BITFIELD a SET u8 0",
    "BITFIELD a GET u8",
    "BITFIELD a GET set incrby",
    "BITFIELD a OVERFLOW",
    "BITFIELD a x",
    "LPUSH a x",
    "LPUSH b x",
    "LPOP a",
    "LMOVE a b LEFT LEFT",
    "LMOVE b a LEFT LEFT",
    "BLPOP a b 0",
    "BLMPOP 0 2 a b LEFT",
    "SADD b x",
    "SMOVE a b m",
    "SUNIONSTORE b a a1",
    "SUNIONSTORE a b",
    "ZADD a 1 x",
    "ZUNIONSTORE b 2 a a1",
    "ZUNIONSTORE a 1 b",
    "ZRANGESTORE b a 0 1",
    "ZMPOP 1 a MIN",
    "GEOADD a 1 2 m",
    "GEORADIUS a 1 2 3 m",
    "GEORADIUS a 1 2 3 m STORE b",
    "GEORADIUS a 1 2 3 m STORE c",
    "GEOSEARCHSTORE b a FROMMEMBER m BYRADIUS 1 m",
    "HSET a f v",
    "HGETALL a",
    "HDEL b f",
    "PFADD b x",
    "PFMERGE a b",
    "PFMERGE b a",
    "PFCOUNT a b",
    "XADD a * f v",
    "XREAD STREAMS a b 0 0",
    "XREAD STREAMS a 0",
    "XGROUP CREATE a g $",
    "XREADGROUP GROUP g c STREAMS a >",
    "SORT a",
    "SORT a STORE b",
    "SORT b STORE a",
    "SORT_RO a",
    "OBJECT ENCODING a",
    "MEMORY USAGE c",
    "DUMP a",
    "RESTORE b 0 x",
    "MIGRATE h 1 a 0 10",
    "MIGRATE h 1  0 10",
    "MIGRATE h 1  0 10 KEYS a c",
    "WATCH a",
    "WATCH b c",
    "UNWATCH",
    "TOUCH a b",
    "RPOPLPUSH a b",
    "SCAN 0",
    "KEYS *",
    "PUBLISH a m",
    "PUBLISH b m",
    "PUBLISH c m",
    "SPUBLISH a m",
    "SUBSCRIBE a a1",
    "SUBSCRIBE a c",
    "SSUBSCRIBE b",
    "PSUBSCRIBE a*",
    "PSUBSCRIBE a",
    "PSUBSCRIBE b",
    "UNSUBSCRIBE c",
    "SUNSUBSCRIBE c",
    "CONFIG GET x",
    "CONFIG SET x y",
    "CLIENT ID",
    "CLIENT KILL x",
    "ACL WHOAMI",
    "ACL LIST",
    "SCRIPT LOAD x",
    "SCRIPT FLUSH",
    "FLUSHALL",
    "DEBUG OBJECT a",
    "MULTI",
    "EXEC",
    "AUTH x",
    "HELLO 3",
    "PING",
    "ECHO c",
    "SELECT 1",
    "INFO",
];

fn ours(users: &Users, words: &[&str]) -> Result<(), Denied> {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    let bytes = request(&words);
    let mut parser = RequestParser::default();
    parser.advance(&bytes).expect("a request");
    let user = users.authenticate(b"u", b"").expect("on and nopass");
    user.check(&parser.request(&bytes))
}

/// What the server would do: allow it, deny something, or find that the request is none.
fn theirs(client: &mut Client, words: &[&str]) -> Option<Result<(), Denied>> {
    let mut dry: Vec<&[u8]> = vec![b"ACL", b"DRYRUN", b"u"];
    dry.extend(words.iter().map(|word| word.as_bytes()));
    match client.ask_bytes(&dry) {
        Value::Simple(_) => Some(Ok(())),
        Value::Error(_) => None,
        other => Some(Err(match other.text() {
            text if text.contains("to run the") => Denied::Command,
            text if text.contains("' channel") => Denied::Channel,
            _ => Denied::Key,
        })),
    }
}

#[test]
fn decisions_are_redis_own() {
    let redis = Redis::start();
    let mut client = redis.client();
    let names = access::all().iter().map(|access| access.name.split('|').collect::<Vec<_>>());
    // As many arguments as any command needs at least; `a` is a key, a channel and a number of none.
    let bare = names.map(|mut words| {
        let command =
            tombolo_resp::command::lookup(words[0].as_bytes(), words.get(1).map(|sub| sub.as_bytes()));
        let least = command.expect("it is in the table").arity.unsigned_abs() as usize;
        words.resize(words.len().max(least), "a");
        words
    });
    let lines = REQUESTS.iter().map(|line| line.split(' ').collect::<Vec<_>>());
    let mut requests: Vec<Vec<&str>> = bare.collect();
    let bare = requests.len();
    requests.extend(lines);
    let (mut compared, mut scripts, mut stricter) = (0, 0, 0);
    for rules in RULES {
        client.ask("ACL DELUSER u");
        assert_eq!(client.ask(&format!("ACL SETUSER u {rules}")), simple("OK"), "{rules}");
        let line = format!("user u {rules}");
        let users = Users::parse([line.as_str()], None).expect(rules);
        for (index, words) in requests.iter().enumerate() {
            let Some(theirs) = theirs(&mut client, words) else { continue };
            let ours = ours(&users, words);
            compared += 1;
            match (ours, theirs) {
                (Err(Denied::Script), _) => scripts += 1,
                (ours, theirs) if ours == theirs => {}
                // Requests without sense, whose keys Redis does not find and lets pass; a newer one might.
                (Err(Denied::Key), Ok(())) if index < bare => stricter += 1,
                (ours, theirs) => panic!("{rules}: {words:?}: ours {ours:?}, Redis's {theirs:?}"),
            }
        }
    }
    assert!(compared > 5000, "{compared}");
    assert!(scripts > 0);
    assert!(stricter < 120, "{stricter}");
}

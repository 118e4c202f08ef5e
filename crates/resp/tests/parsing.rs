//! The parsers: tables of examples, every way of cutting them, and what was written read back.

use proptest::prelude::*;
use tombolo_resp::{
    FrameScanner, Head, MAX_INLINE_BYTES, ReplyError, Request, RequestError, RequestParser, Step, Value,
    encode, usual,
};

/// A parse's outcome, to be compared: the arguments and the wire form, nothing, or an error.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Parsed {
    Request { args: Vec<Vec<u8>>, wire: Vec<u8>, length: usize },
    Empty(usize),
    Incomplete,
    Error(RequestError),
}

fn parse_in_pieces(pieces: &[&[u8]]) -> Parsed {
    let mut parser = RequestParser::default();
    let mut buf = Vec::new();
    for piece in pieces {
        buf.extend_from_slice(piece);
        match parser.advance(&buf) {
            Ok(Step::Incomplete) => {}
            Ok(Step::Empty(length)) => return Parsed::Empty(length),
            Ok(Step::Complete(length)) => {
                let request: Request<'_> = parser.request(&buf);
                let args = request.args().map(<[u8]>::to_vec).collect();
                return Parsed::Request { args, wire: request.wire().to_vec(), length };
            }
            Err(error) => return Parsed::Error(error),
        }
    }
    Parsed::Incomplete
}

fn args(args: &[&str]) -> Parsed {
    let mut wire = Vec::new();
    let bytes: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
    encode::request(&mut wire, &bytes);
    Parsed::Request { args: bytes.iter().map(|arg| arg.to_vec()).collect(), length: 0, wire }
}

/// Lengths are checked apart, where they matter.
fn without_length(parsed: Parsed) -> Parsed {
    match parsed {
        Parsed::Request { args, wire, .. } => Parsed::Request { args, wire, length: 0 },
        other => other,
    }
}

fn requests() -> Vec<(&'static [u8], Parsed)> {
    use RequestError::*;
    vec![
        (b"*1\r\n$4\r\nPING\r\n", args(&["PING"])),
        (b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", args(&["GET", ""])),
        (b"*2\r\n$4\r\nECHO\r\n$4\r\na\r\nb\r\n", args(&["ECHO", "a\r\nb"])),
        (b"*0\r\n", Parsed::Empty(4)),
        (b"*-1\r\n", Parsed::Empty(5)),
        (b"\r\n", Parsed::Empty(2)),
        (b"\n", Parsed::Empty(1)),
        (b"   \r\n", Parsed::Empty(5)),
        (b"PING\r\n", args(&["PING"])),
        (b"PING\n", args(&["PING"])),
        (b"  SET  k \"a b\\x41\\n\"\r\n", args(&["SET", "k", "a bA\n"])),
        (b"SET k 'it\\'s \\n'\r\n", args(&["SET", "k", "it's \\n"])),
        (b"SET k \"\"\r\n", args(&["SET", "k", ""])),
        (b"\x0bSET k\x0bk\x0c \x0b\x0c v\r\n", args(&["SET", "k\x0bk\x0c", "v"])),
        (b"SET k \"a\"\x0bv\r\n", args(&["SET", "k", "a", "v"])),
        (b"SET k \0v w\r\n", args(&["SET", "k"])),
        (b"\0PING\r\n", Parsed::Empty(7)),
        (b"SET k \"a\0\"\r\n", Parsed::Error(UnbalancedQuotes)),
        (b"SET k \"a\r\n", Parsed::Error(UnbalancedQuotes)),
        (b"SET k \"a\"b\r\n", Parsed::Error(UnbalancedQuotes)),
        (b"*abc\r\n", Parsed::Error(MultibulkLength)),
        (b"*01\r\n", Parsed::Error(MultibulkLength)),
        (b"*2147483647\r\n", Parsed::Incomplete),
        (b"*2147483648\r\n", Parsed::Error(MultibulkLength)),
        (b"*99999999999999999999999999999999999", Parsed::Error(MultibulkLength)),
        (b"*1\r\nPING\r\n", Parsed::Error(ExpectedBulk(b'P'))),
        (b"*1\r\n$-1\r\n", Parsed::Error(BulkLength)),
        (b"*1\r\n$abc\r\n", Parsed::Error(BulkLength)),
        (b"*1\r\n$536870913\r\n", Parsed::Error(BulkLength)),
        (b"*1\r\n$3\r\nPINGxx", Parsed::Error(Terminator)),
        (b"*2\r\n$3\r\nGET\r\n", Parsed::Incomplete),
        (b"*1\r\n$536870912\r\nx", Parsed::Incomplete),
        (b"", Parsed::Incomplete),
    ]
}

#[test]
fn requests_parse_the_same_however_they_are_cut() {
    for (bytes, expected) in requests() {
        let name = String::from_utf8_lossy(bytes);
        assert_eq!(without_length(parse_in_pieces(&[bytes])), expected, "{name:?}");
        for cut in 0..=bytes.len() {
            let parsed = parse_in_pieces(&[&bytes[..cut], &bytes[cut..]]);
            assert_eq!(without_length(parsed), expected, "{name:?} cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(without_length(parse_in_pieces(&single)), expected, "{name:?} byte by byte");
    }
}

#[test]
fn errors_are_worded_as_redis_words_them() {
    assert_eq!(RequestError::ExpectedBulk(b'x').to_string(), "Protocol error: expected '$', got 'x'");
    assert_eq!(RequestError::MultibulkLength.to_string(), "Protocol error: invalid multibulk length");
    assert_eq!(RequestError::BulkLength.to_string(), "Protocol error: invalid bulk length");
    assert_eq!(RequestError::UnbalancedQuotes.to_string(), "Protocol error: unbalanced quotes in request");
    assert_eq!(RequestError::InlineTooBig.to_string(), "Protocol error: too big inline request");
}

#[test]
fn an_inline_command_is_bounded() {
    let long = vec![b'a'; MAX_INLINE_BYTES + 1];
    assert_eq!(parse_in_pieces(&[&long]), Parsed::Error(RequestError::InlineTooBig));
}

#[test]
fn the_largest_sum_of_arguments_is_bounded() {
    // Three arguments of 400 MB would pass Redis' buffer limit: refused when the third is
    // announced. The first two are only claimed to be there.
    let mut parser = RequestParser::default();
    let header = b"*3\r\n$536870912\r\n";
    assert_eq!(parser.advance(header), Ok(Step::Incomplete));
    assert_eq!(parser.advance(header), Ok(Step::Incomplete));
}

/// What a scanner finds, and the value behind it.
type Scanned = Result<Option<Value>, ReplyError>;

/// Complete replies of every type, and the value that each decodes to, or an error.
fn replies() -> Vec<(&'static [u8], Scanned)> {
    let bulk = |text: &str| Value::Bulk(text.as_bytes().to_vec());
    vec![
        (b"+OK\r\n", Ok(Some(Value::Simple("OK".into())))),
        (b"-ERR no\r\n", Ok(Some(Value::Error("ERR no".into())))),
        (b":-12\r\n", Ok(Some(Value::Integer(-12)))),
        (b"$-1\r\n", Ok(Some(Value::Null))),
        (b"$0\r\n\r\n", Ok(Some(bulk("")))),
        (b"$4\r\na\r\nb\r\n", Ok(Some(bulk("a\r\nb")))),
        (b"*-1\r\n", Ok(Some(Value::Null))),
        (b"*0\r\n", Ok(Some(Value::Array(vec![])))),
        (
            b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
            Ok(Some(Value::Array(vec![bulk("a"), Value::Array(vec![Value::Integer(1)])]))),
        ),
        (b"_\r\n", Ok(Some(Value::Null))),
        (b"#t\r\n", Ok(Some(Value::Text("t".into())))),
        (b",1.5\r\n", Ok(Some(Value::Text("1.5".into())))),
        (
            b"(3492890328409238509324850943850943825024385\r\n",
            Ok(Some(Value::Text("3492890328409238509324850943850943825024385".into()))),
        ),
        (b"!5\r\nERR x\r\n", Ok(Some(Value::Error("ERR x".into())))),
        (b"=5\r\ntxt:a\r\n", Ok(Some(bulk("txt:a")))),
        (b"%1\r\n+a\r\n:1\r\n", Ok(Some(Value::Map(vec![(Value::Simple("a".into()), Value::Integer(1))])))),
        (b"~1\r\n:1\r\n", Ok(Some(Value::Array(vec![Value::Integer(1)])))),
        (
            b">2\r\n+message\r\n:1\r\n",
            Ok(Some(Value::Array(vec![Value::Simple("message".into()), Value::Integer(1)]))),
        ),
        (b"|1\r\n+ttl\r\n:3\r\n$1\r\na\r\n", Ok(Some(bulk("a")))),
        (b"*1\r\n$5\r\nab", Ok(None)),
        (b"%1\r\n+a\r\n", Ok(None)),
        (b"|1\r\n+a\r\n:1\r\n", Ok(None)),
        (b"hello\r\n", Err(ReplyError::Type(b'h'))),
        (b"$?\r\n", Err(ReplyError::Length)),
        (b"*-2\r\n", Err(ReplyError::Length)),
        (b"*1x\r\n", Err(ReplyError::Length)),
        (b"$536870913\r\n", Err(ReplyError::Length)),
        (b"%9223372036854775807\r\n%9223372036854775807\r\n", Err(ReplyError::Length)),
        (b"+OK\n", Err(ReplyError::Terminator)),
        (b"\r\n", Err(ReplyError::Terminator)),
        (b"$1\r\nabc", Err(ReplyError::Terminator)),
    ]
}

fn scan_in_pieces(pieces: &[&[u8]]) -> Result<Option<usize>, ReplyError> {
    let mut scanner = FrameScanner::default();
    let mut buf = Vec::new();
    for piece in pieces {
        buf.extend_from_slice(piece);
        if let Some(length) = scanner.advance(&buf)? {
            return Ok(Some(length));
        }
    }
    Ok(None)
}

#[test]
fn replies_end_in_the_same_place_however_they_are_cut() {
    for (bytes, expected) in replies() {
        let name = String::from_utf8_lossy(bytes);
        let length =
            expected.as_ref().map(|value| value.as_ref().map(|_| bytes.len())).map_err(|error| *error);
        for cut in 0..=bytes.len() {
            assert_eq!(scan_in_pieces(&[&bytes[..cut], &bytes[cut..]]), length, "{name:?} cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(scan_in_pieces(&single), length, "{name:?} byte by byte");
        if let Ok(value) = expected {
            assert_eq!(Value::decode(bytes).map(|(value, _)| value), value, "{name:?}");
        }
    }
}

#[test]
fn deep_nesting_costs_nothing_and_values_refuse_it() {
    let mut bytes = b"*1\r\n".repeat(100_000);
    bytes.extend_from_slice(b":1\r\n");
    assert_eq!(scan_in_pieces(&[&bytes]), Ok(Some(bytes.len())));
    assert_eq!(Value::decode(&bytes), None);
}

proptest! {
    #[test]
    fn a_written_request_is_read_back(
        args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..8),
        cuts in prop::collection::vec(0.0_f64..1.0, 0..4),
    ) {
        let mut wire = Vec::new();
        let borrowed: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        encode::request(&mut wire, &borrowed);
        let mut at: Vec<usize> = cuts.iter().map(|cut| (cut * wire.len() as f64) as usize).collect();
        at.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in at {
            pieces.push(&wire[from..cut]);
            from = cut;
        }
        pieces.push(&wire[from..]);
        let expected = Parsed::Request { args: args.clone(), length: wire.len(), wire: wire.clone() };
        prop_assert_eq!(parse_in_pieces(&pieces), expected);
    }

    #[test]
    fn what_is_usual_is_what_the_parser_finds(
        args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 1..5),
        change in 0.0_f64..1.0,
        byte in any::<u8>(),
        changed in any::<bool>(),
    ) {
        let mut wire = Vec::new();
        let borrowed: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        encode::request(&mut wire, &borrowed);
        if changed {
            let at = (change * wire.len() as f64) as usize;
            wire[at] = byte;
        }
        wire.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
        let mut parser = RequestParser::default();
        let step = parser.advance(&wire);
        if let Some(found) = usual(&wire) {
            let request = parser.request(&wire);
            prop_assert_eq!(step, Ok(Step::Complete(found.length)));
            prop_assert_eq!((request.len(), request.name()), (found.args, found.name));
            prop_assert_eq!(request.arg(1), found.first);
            // Another that starts so, unless it was changed, or cut.
            let head = Head::of(&wire, &found);
            for cut in 0..wire.len() {
                let found_again = usual(&wire[..cut]).map(|request| request.length);
                let followed = head.and_then(|head| head.follow(&wire[..cut]));
                prop_assert!(followed.is_none() || followed == found_again, "{}", wire[..cut].escape_ascii());
            }
            prop_assert!(head.is_none_or(|head| head.follow(&wire) == Some(found.length)));
        } else {
            prop_assert!(changed, "not found: {}", wire.escape_ascii());
        }
    }

    #[test]
    fn no_bytes_upset_the_parsers(bytes in prop::collection::vec(any::<u8>(), 0..200), lead in "[*$+:%|~>-]") {
        let mut input = lead.into_bytes();
        input.extend_from_slice(&bytes);
        let single: Vec<&[u8]> = input.chunks(1).collect();
        prop_assert_eq!(parse_in_pieces(&[&input]), parse_in_pieces(&single));
        prop_assert_eq!(scan_in_pieces(&[&input]), scan_in_pieces(&single));
        let _ = Value::decode(&input);
    }
}

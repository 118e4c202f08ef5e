//! The parsers: tables of examples, every way of cutting them, and whatever bytes there are.

use proptest::prelude::*;
use tombolo_memcache::{
    Answer, MAX_LINE_BYTES, MAX_RETRIEVAL_BYTES, MAX_VALUE_BYTES, ReplyError, ReplyScanner, RequestParser,
    Step, Verb, reply,
};

/// What a stream of bytes turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    Request {
        verb: Verb,
        wire: Vec<u8>,
        keys: Vec<Vec<u8>>,
        answer: Answer,
    },
    Invalid(String),
    /// Invalid, and no answer is due.
    Silent(String),
    /// The end of the connection.
    Fatal(String),
}

/// Everything in a stream that comes in these pieces, and how many bytes are left over.
fn parse_in_pieces(pieces: &[&[u8]]) -> (Vec<Event>, usize) {
    let mut parser = RequestParser::default();
    let (mut buf, mut events) = (Vec::new(), Vec::new());
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            let used = match parser.advance(&buf) {
                Ok(Step::Incomplete) => break,
                Ok(Step::Discard(length)) => length,
                Ok(Step::Invalid { length, error, silent }) => {
                    let event = if silent { Event::Silent } else { Event::Invalid };
                    events.push(event(error.to_string()));
                    length
                }
                Ok(Step::Complete(length)) => {
                    let request = parser.request(&buf);
                    events.push(Event::Request {
                        verb: request.verb(),
                        wire: request.wire().to_vec(),
                        keys: request.keys().map(<[u8]>::to_vec).collect(),
                        answer: request.answer(),
                    });
                    length
                }
                Err(error) => {
                    events.push(Event::Fatal(error.to_string()));
                    return (events, 0);
                }
            };
            assert!(used > 0 && used <= buf.len());
            buf.drain(..used);
        }
    }
    (events, buf.len())
}

fn is(verb: Verb, keys: &[&str], wire: &str) -> Event {
    let keys = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
    Event::Request { verb, keys, wire: wire.as_bytes().to_vec(), answer: Answer::Full }
}

fn with(answer: Answer, event: Event) -> Event {
    match event {
        Event::Request { verb, wire, keys, .. } => Event::Request { verb, wire, keys, answer },
        other => other,
    }
}

fn bad(text: &str) -> Event {
    Event::Invalid(text.to_string())
}

const FORMAT: &str = "CLIENT_ERROR bad command line format";

fn streams() -> Vec<(String, Vec<Event>)> {
    use Verb::*;
    let noreply = |event| with(Answer::Nothing, event);
    let quiet = |event| with(Answer::Remarkable, event);
    let silent = |text: &str| Event::Silent(text.to_string());
    let (long, longest) = ("k".repeat(251), "k".repeat(250));
    let table = vec![
        ("get a\r\n", vec![is(Get, &["a"], "get a\r\n")]),
        (
            "  gets  a b  \r\nget c\n",
            vec![is(Gets, &["a", "b"], "gets  a b  \r\n"), is(Get, &["c"], "get c\r\n")],
        ),
        ("gat -1 a b\r\n", vec![is(Gat, &["a", "b"], "gat -1 a b\r\n")]),
        ("gats x a\r\n", vec![bad("CLIENT_ERROR invalid exptime argument")]),
        ("gat 0\r\nget\r\nget \r\n\r\nGET a\r\nnonsense a\r\n", vec![bad("ERROR"); 6]),
        ("get a\0b\r\nget a\rb\r\n", vec![bad(FORMAT), bad(FORMAT)]),
        ("get \x01\t\x7f\r\n", vec![is(Get, &["\x01\t\x7f"], "get \x01\t\x7f\r\n")]),
        ("set a 1 2 3\r\nx\r\n\r\n", vec![is(Set, &["a"], "set a 1 2 3\r\nx\r\n\r\n")]),
        ("set a 0 0 0 noreply\r\n\r\n", vec![noreply(is(Set, &["a"], "set a 0 0 0\r\n\r\n"))]),
        ("add a 0 -1 1 other\n1\r\n", vec![is(Add, &["a"], "add a 0 -1 1\r\n1\r\n")]),
        ("cas a 0 0 1 7 noreply\r\n1\r\n", vec![noreply(is(Cas, &["a"], "cas a 0 0 1 7\r\n1\r\n"))]),
        // What is wrong with the line does not make a command of the data.
        ("cas a 0 0 7\r\nget b\r\n\r\nversion\r\n", vec![bad("ERROR"), is(Version, &[], "version\r\n")]),
        (
            "set a 18446744073709551615 0 1\r\n1\r\n",
            vec![is(Set, &["a"], "set a 18446744073709551615 0 1\r\n1\r\n")],
        ),
        ("set a 18446744073709551616 0 3\r\nmn\n\r\nmn\r\n", vec![bad(FORMAT), is(MetaNoop, &[], "mn\r\n")]),
        ("set a\0b 0 0 2\r\nmn\r\nmn x\r\n", vec![bad(FORMAT), is(MetaNoop, &[], "mn\r\n")]),
        ("set a 0 0 x\r\nmn\r\n", vec![bad(FORMAT), is(MetaNoop, &[], "mn\r\n")]),
        ("set a 0 0 -1\r\nmn\r\n", vec![bad(FORMAT), is(MetaNoop, &[], "mn\r\n")]),
        ("set a 0 0 +1\r\nmn\r\n", vec![bad(FORMAT), is(MetaNoop, &[], "mn\r\n")]),
        ("set a 0 0 9999999999\r\nmn\r\n", vec![bad(FORMAT), is(MetaNoop, &[], "mn\r\n")]),
        ("set a 0 x 1 noreply\r\n1\r\nmn\r\n", vec![silent(FORMAT), is(MetaNoop, &[], "mn\r\n")]),
        (
            "set a 0 0 1\r\n12\r\nmn\r\n",
            vec![bad("CLIENT_ERROR bad data chunk"), is(MetaNoop, &[], "mn\r\n")],
        ),
        ("set a 0 0 1 noreply\r\n12\r\n", vec![silent("CLIENT_ERROR bad data chunk")]),
        ("set a 0 0\r\nset a\r\nset\r\n", vec![bad("ERROR"); 3]),
        (
            "delete a\r\ndelete b 0\r\n",
            vec![is(Delete, &["a"], "delete a\r\n"), is(Delete, &["b"], "delete b\r\n")],
        ),
        ("delete a noreply\r\n", vec![noreply(is(Delete, &["a"], "delete a\r\n"))]),
        ("delete a 0 noreply\r\n", vec![noreply(is(Delete, &["a"], "delete a\r\n"))]),
        ("delete noreply\r\n", vec![is(Delete, &["noreply"], "delete noreply\r\n")]),
        ("delete a 5\r\n", vec![bad("CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]")]),
        ("incr a 5 x\r\n", vec![is(Increment, &["a"], "incr a 5\r\n")]),
        ("decr a 5 noreply\r\n", vec![noreply(is(Decrement, &["a"], "decr a 5\r\n"))]),
        ("incr a -1\r\nincr a\r\n", vec![bad("CLIENT_ERROR invalid numeric delta argument"), bad("ERROR")]),
        ("touch a -5\r\n", vec![is(Touch, &["a"], "touch a -5\r\n")]),
        ("touch a x noreply\r\n", vec![silent("CLIENT_ERROR invalid exptime argument")]),
        ("flush_all\r\n", vec![is(FlushAll, &[], "flush_all\r\n")]),
        ("flush_all 3 noreply\r\n", vec![noreply(is(FlushAll, &[], "flush_all 3\r\n"))]),
        ("flush_all noreply\r\n", vec![noreply(is(FlushAll, &[], "flush_all\r\n"))]),
        ("flush_all x\r\n", vec![bad("CLIENT_ERROR invalid exptime argument")]),
        ("verbosity 1\r\nverbosity\r\n", vec![is(Verbosity, &[], "verbosity 1\r\n"), bad("ERROR")]),
        ("version x\r\nquit now\r\n", vec![is(Version, &[], "version\r\n"), is(Quit, &[], "quit\r\n")]),
        ("stats slabs\r\n", vec![is(Server, &[], "stats slabs\r\n")]),
        ("mg a v O12 q\r\n", vec![quiet(is(MetaGet, &["a"], "mg a v O12\r\n"))]),
        ("mg Zm9v b v\r\n", vec![is(MetaGet, &["Zm9v"], "mg Zm9v b v\r\n")]),
        ("mg ??? b\r\n", vec![bad("CLIENT_ERROR error decoding key")]),
        ("mg a v v\r\n", vec![bad("CLIENT_ERROR duplicate flag")]),
        ("mg a 7\r\nmg a O\0\r\n", vec![bad("CLIENT_ERROR invalid flag"); 2]),
        ("mg a Tx\r\nmg a O\r\n", vec![bad("CLIENT_ERROR bad token in command line format"); 2]),
        ("ms a 2 T0 q\r\n12\r\n", vec![quiet(is(MetaSet, &["a"], "ms a 2 T0\r\n12\r\n"))]),
        ("ms a 2 Tx\r\nmn\r\n", vec![bad("CLIENT_ERROR bad token in command line format")]),
        ("ms a S2\r\n", vec![bad(FORMAT)]),
        (
            "ms a 2 a b c d e f g h i j k l m n o p r\r\nmn\r\n",
            vec![bad("CLIENT_ERROR options flags are too long")],
        ),
        ("ms ! 2 b\r\nmn\r\n", vec![bad("CLIENT_ERROR error decoding key")]),
        (
            "md a q\r\nma a D2\r\n",
            vec![quiet(is(MetaDelete, &["a"], "md a\r\n")), is(MetaArithmetic, &["a"], "ma a D2\r\n")],
        ),
        ("me a\r\nmg\r\n", vec![is(MetaDebug, &["a"], "me a\r\n"), bad("ERROR")]),
    ];
    let mut streams: Vec<_> = table.into_iter().map(|(text, events)| (text.to_string(), events)).collect();
    streams.push((format!("get a {long}\r\n"), vec![bad(FORMAT)]));
    streams.push((format!("set {long} 0 0 4\r\nmn\r\n\r\n"), vec![bad(FORMAT)]));
    streams.push((format!("get {longest}\r\n"), vec![is(Get, &[&longest], &format!("get {longest}\r\n"))]));
    streams
}

#[test]
fn requests_are_the_same_however_they_are_cut() {
    for (text, expected) in streams() {
        let bytes = text.as_bytes();
        assert_eq!(parse_in_pieces(&[bytes]), (expected.clone(), 0), "{text:?}");
        for cut in 0..=bytes.len() {
            let parsed = parse_in_pieces(&[&bytes[..cut], &bytes[cut..]]);
            assert_eq!(parsed, (expected.clone(), 0), "{text:?} cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(parse_in_pieces(&single), (expected, 0), "{text:?} byte by byte");
    }
}

#[test]
fn a_request_is_waited_for() {
    for text in ["get a", "get a\r", "set a 0 0 1\r\n", "set a 0 0 1\r\n1", "set a 0 0 1\r\n1\r", "mg"] {
        assert_eq!(parse_in_pieces(&[text.as_bytes()]), (vec![], text.len()), "{text:?}");
    }
}

#[test]
fn lengths_are_bounded() {
    let line =
        |verb: &str, length: usize| format!("{verb} {}", "a ".repeat(length)).into_bytes()[..length].to_vec();
    let too_long = (vec![Event::Fatal("CLIENT_ERROR line too long".to_string())], 0);
    for verb in ["set", "getx", "mg", "        "] {
        assert_eq!(parse_in_pieces(&[&line(verb, MAX_LINE_BYTES)]).0, vec![], "{verb}");
        assert_eq!(parse_in_pieces(&[&line(verb, MAX_LINE_BYTES + 1)]), too_long, "{verb}");
        let ended = [&line(verb, MAX_LINE_BYTES + 1)[..], b"\r\n"].concat();
        assert_eq!(parse_in_pieces(&[&ended]), too_long, "{verb}");
    }
    for verb in ["get", " gets", "gat 0", "gats 0"] {
        assert_eq!(parse_in_pieces(&[&line(verb, MAX_RETRIEVAL_BYTES)]).0, vec![], "{verb}");
        assert_eq!(parse_in_pieces(&[&line(verb, MAX_RETRIEVAL_BYTES + 1)]), too_long, "{verb}");
    }
    // What is too large is skipped without being kept.
    let mut parser = RequestParser::default();
    let head = format!("set a 0 0 {}\r\n", MAX_VALUE_BYTES + 1);
    assert!(matches!(parser.advance(head.as_bytes()), Ok(Step::Invalid { silent: false, .. })));
    let block = vec![b'x'; 1 << 20];
    for _ in 0..MAX_VALUE_BYTES / block.len() {
        assert_eq!(parser.advance(&block), Ok(Step::Discard(block.len())));
    }
    assert_eq!(parser.advance(b"x\r\nmn\r\n"), Ok(Step::Discard(1)));
    assert_eq!(parser.advance(b"\r\nmn\r\n"), Ok(Step::Discard(2)));
    assert_eq!(parser.advance(b"mn\r\n"), Ok(Step::Complete(4)));
}

#[test]
fn a_key_is_the_same_however_it_is_written() {
    let key = |text: &str| {
        let mut parser = RequestParser::default();
        assert_eq!(parser.advance(text.as_bytes()), Ok(Step::Complete(text.len())));
        parser.request(text.as_bytes()).key().map(|key| key.into_owned())
    };
    assert_eq!(
        [key("get foo\r\n"), key("mg Zm9v b v\r\n"), key("mg foo v\r\n")],
        [const { b"foo" }; 3].map(|k| Some(k.to_vec()))
    );
    assert_eq!(key("version\r\n"), None);
}

fn scan_in_pieces(pieces: &[&[u8]]) -> Result<Option<usize>, ReplyError> {
    let mut scanner = ReplyScanner::default();
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
    for (text, expected) in [
        ("STORED\r\n", Ok(Some(8))),
        ("12\r\n", Ok(Some(4))),
        ("END\r\nEND\r\n", Ok(Some(5))),
        ("VALUE a 0 5\r\nEND\r\n\r\nEND\r\n", Ok(Some(25))),
        ("VALUE a 0 0\r\n\r\nVALUE b 7 1 99\r\nx\r\nEND\r\nmore", Ok(Some(39))),
        ("VALUE a 0 1\r\nx\r\nSERVER_ERROR no\r\n", Ok(Some(33))),
        ("VA 3 f0\r\nx\r\n\r\nHD\r\n", Ok(Some(14))),
        ("VA 0\r\n\r\n", Ok(Some(8))),
        ("HD\r\n", Ok(Some(4))),
        ("VALUE a 0 5\r\nabc", Ok(None)),
        ("VALUE a 0 1\r\nx\r\n", Ok(None)),
        ("STORED", Ok(None)),
        ("", Ok(None)),
        ("VALUE a 0\r\n", Err(ReplyError::Length)),
        ("VALUE a 0 x\r\n", Err(ReplyError::Length)),
        ("VA -1\r\n", Err(ReplyError::Length)),
        ("VALUE a 0 1073741825\r\n", Err(ReplyError::Length)),
        ("VALUE a 0 1\r\nxyz", Err(ReplyError::Terminator)),
        ("STORED\n", Err(ReplyError::Terminator)),
    ] {
        let bytes = text.as_bytes();
        for cut in 0..=bytes.len() {
            assert_eq!(scan_in_pieces(&[&bytes[..cut], &bytes[cut..]]), expected, "{text:?} cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(scan_in_pieces(&single), expected, "{text:?} byte by byte");
    }
    assert_eq!(scan_in_pieces(&[&vec![b'x'; 9000]]), Err(ReplyError::Terminator));
}

#[test]
fn values_are_found_and_errors_told() {
    let found = reply::values(b"VALUE a 0 5\r\nEND\r\n\r\nVALUE b 0 1 9\r\nx\r\nEND\r\n");
    let expected: [(&[u8], &[u8]); 2] =
        [(b"a", b"VALUE a 0 5\r\nEND\r\n\r\n"), (b"b", b"VALUE b 0 1 9\r\nx\r\n")];
    assert_eq!(found.as_deref(), Some(expected.as_slice()));
    assert_eq!(reply::values(b"END\r\n"), Some(vec![]));
    for other in ["ERROR\r\n", "VALUE a 0 5\r\nx\r\nEND\r\n", "VALUE a 0 1\r\nx\r\n", "", "VA 1\r\nx\r\n"] {
        assert_eq!(reply::values(other.as_bytes()), None, "{other:?}");
    }
    for (text, error) in [
        ("ERROR\r\n", true),
        ("ERROR: shutdown not enabled\r\n", true),
        ("CLIENT_ERROR x\r\n", true),
        ("SERVER_ERROR x\r\n", true),
        ("END\r\n", false),
        ("VALUE ERROR 0 0\r\n\r\nEND\r\n", false),
    ] {
        assert_eq!(reply::is_error(text.as_bytes()), error, "{text:?}");
    }
}

/// Bytes that come near to being requests more often than random ones.
fn nearly_requests() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "get",
        "set",
        "cas",
        "gat",
        "delete",
        "incr",
        "ms",
        "mg",
        "mn",
        "flush_all",
        "a",
        "0",
        "1",
        "3",
        "-1",
        "noreply",
        "q",
        "b",
        "Zm9v",
        "T1",
        " ",
        " ",
        " ",
        " ",
        "\r\n",
        "\r\n",
        "\r\n",
        "\n",
        "\r",
        "\0",
        "x\r\n",
    ]);
    let word = prop_oneof![
        9 => words.prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..5),
    ];
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn no_bytes_upset_the_parsers(bytes in nearly_requests(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(bytes.len() + 1);
        let whole = parse_in_pieces(&[&bytes]);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&parse_in_pieces(&[&bytes[..cut], &bytes[cut..]]), &whole);
        prop_assert_eq!(&parse_in_pieces(&single), &whole);
        prop_assert_eq!(scan_in_pieces(&single), scan_in_pieces(&[&bytes]));
        let _ = reply::values(&bytes);
    }

    /// What is sent on is read as the very same request, and nothing else.
    #[test]
    fn what_is_sent_on_is_one_request(bytes in nearly_requests()) {
        for event in parse_in_pieces(&[&bytes]).0 {
            let Event::Request { verb, wire, keys, .. } = event else { continue };
            let (again, left) = parse_in_pieces(&[&wire]);
            let expected = vec![Event::Request { verb, wire: wire.clone(), keys, answer: Answer::Full }];
            prop_assert_eq!((again, left), (expected, 0));
            prop_assert!(wire.ends_with(b"\r\n"));
        }
    }

    #[test]
    fn values_are_read_back(items in prop::collection::vec(("[!-~]{1,20}", prop::collection::vec(any::<u8>(), 0..40)), 0..6)) {
        let mut text = Vec::new();
        for (key, value) in &items {
            text.extend_from_slice(format!("VALUE {key} 0 {}\r\n", value.len()).as_bytes());
            text.extend_from_slice(value);
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"END\r\n");
        prop_assert_eq!(scan_in_pieces(&text.chunks(1).collect::<Vec<_>>()), Ok(Some(text.len())));
        let values = reply::values(&text).expect("values");
        prop_assert_eq!(values.iter().map(|(key, _)| key.to_vec()).collect::<Vec<_>>(), items.iter().map(|(key, _)| key.as_bytes().to_vec()).collect::<Vec<_>>());
    }
}

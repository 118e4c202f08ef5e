//! memcached's text protocol: any bytes, cut anywhere.

use tombolo_memcache::{Answer, ReplyScanner, RequestParser, Step, reply};

/// The first byte says how the rest is cut: into requests, and into replies.
pub(crate) fn run(data: &[u8]) {
    let Some((&cut, data)) = data.split_first() else { return };
    let size = 1 + usize::from(cut) % 32;
    let whole = data.len().max(1);
    assert_eq!(requests(data, whole), requests(data, size), "what is parsed depends on how it was cut");
    assert_eq!(replies(data, whole), replies(data, size), "where replies end depends on how they were cut");
}

/// What was found in `data`, given in pieces of `size`.
fn requests(data: &[u8], size: usize) -> Vec<String> {
    let (mut found, mut used, mut given) = (Vec::new(), 0, 0);
    let mut parser = RequestParser::default();
    // How what is invalid is cut into steps does depend on the pieces; how much of it there is does not.
    let mut discarded = 0;
    loop {
        let bytes = &data[used..given];
        let length = match parser.advance(bytes) {
            Ok(Step::Incomplete) if given == data.len() => break,
            Ok(Step::Incomplete) => {
                given = (given + size).min(data.len());
                continue;
            }
            Ok(Step::Discard(length)) => {
                discarded += length;
                length
            }
            Ok(Step::Invalid { length, error, silent }) => {
                found.push(format!("{error} {silent}"));
                discarded += length;
                length
            }
            Ok(Step::Complete(length)) => {
                let request = parser.request(bytes);
                let keys: Vec<&[u8]> = request.keys().collect();
                let _ = request.key();
                found.push(format!("{:?} {keys:?} {:?}", request.verb(), request.answer()));
                check_wire(request.wire(), &keys);
                length
            }
            Err(error) => {
                found.push(error.to_string());
                break;
            }
        };
        assert!(length <= bytes.len(), "{length} of {} bytes are used", bytes.len());
        used += length;
    }
    found.push(format!("{} bytes, {discarded} of them invalid", used));
    found
}

/// What is sent on is one whole request for the same keys, and has a reply.
fn check_wire(wire: &[u8], keys: &[&[u8]]) {
    let text = || String::from_utf8_lossy(wire).into_owned();
    let mut parser = RequestParser::default();
    assert_eq!(parser.advance(wire), Ok(Step::Complete(wire.len())), "{:?} is sent on", text());
    let request = parser.request(wire);
    assert_eq!(request.keys().collect::<Vec<_>>(), keys, "{:?} is sent on", text());
    assert_eq!(request.answer(), Answer::Full, "{:?} has no reply", text());
}

fn replies(data: &[u8], size: usize) -> (Vec<usize>, bool) {
    let (mut ends, mut used, mut given) = (Vec::new(), 0, 0);
    let mut scanner = ReplyScanner::default();
    loop {
        let bytes = &data[used..given];
        match scanner.advance(bytes) {
            Ok(None) if given == data.len() => return (ends, true),
            Ok(None) => given = (given + size).min(data.len()),
            Ok(Some(length)) => {
                assert!(length > 0 && length <= bytes.len());
                let _ = (reply::values(&bytes[..length]), reply::is_error(&bytes[..length]));
                used += length;
                ends.push(used);
            }
            Err(_) => return (ends, false),
        }
    }
}

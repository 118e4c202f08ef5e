//! The reply scanner: any bytes, cut anywhere.

use tombolo_resp::{FrameScanner, ReplyError, Value, peek};

/// The first byte says how the rest is cut.
pub(crate) fn run(data: &[u8]) {
    let Some((&cut, data)) = data.split_first() else { return };
    let whole = scan(data, data.len().max(1));
    let pieces = scan(data, 1 + usize::from(cut) % 32);
    assert_eq!(whole, pieces, "where replies end depends on how they were cut");
}

/// The ends of the replies in `data`, given in pieces of `size`, and the error that ended it.
fn scan(data: &[u8], size: usize) -> (Vec<usize>, Option<ReplyError>) {
    let (mut ends, mut used, mut given) = (Vec::new(), 0, 0);
    let mut scanner = FrameScanner::default();
    loop {
        let bytes = &data[used..given];
        match scanner.advance(bytes) {
            Ok(None) if given == data.len() => return (ends, None),
            Ok(None) => given = (given + size).min(data.len()),
            Ok(Some(length)) => {
                assert!(length > 0 && length <= bytes.len());
                let frame = &bytes[..length];
                // The decoder reads a tree where the scanner counts.
                if let Some((_, decoded)) = Value::decode(frame) {
                    assert_eq!(decoded, length, "{:?}", String::from_utf8_lossy(frame));
                }
                let _ = (peek::first_bulk(frame), peek::last_integer(frame));
                used += length;
                ends.push(used);
            }
            Err(error) => return (ends, Some(error)),
        }
    }
}

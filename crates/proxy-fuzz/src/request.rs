//! The request parser: any bytes, cut anywhere.

use tombolo_resp::{RequestError, RequestParser, Step, command};

use crate::oracle;

/// The first byte says how the rest is cut.
pub(crate) fn run(data: &[u8]) {
    let Some((&cut, data)) = data.split_first() else { return };
    let whole = parse(data, data.len().max(1));
    let pieces = parse(data, 1 + usize::from(cut) % 32);
    assert_eq!(whole, pieces, "what is parsed depends on how it was cut");
}

/// Every request of `data`, given in pieces of `size`, and how it ended.
fn parse(data: &[u8], size: usize) -> (Vec<Vec<Vec<u8>>>, usize, Option<RequestError>) {
    let (mut requests, mut used, mut given) = (Vec::new(), 0, 0);
    let mut parser = RequestParser::default();
    loop {
        match parser.advance(&data[used..given]) {
            Ok(Step::Incomplete) if given == data.len() => return (requests, used, None),
            Ok(Step::Incomplete) => given = (given + size).min(data.len()),
            Ok(Step::Empty(length)) => {
                check_inline(&data[used..used + length], &[]);
                used += length;
            }
            Ok(Step::Complete(length)) => {
                let bytes = &data[used..given];
                let request = parser.request(bytes);
                let args: Vec<Vec<u8>> = request.args().map(<[u8]>::to_vec).collect();
                assert!(length > 0 && length <= bytes.len() && !args.is_empty());
                // What is sent on must be what was read, for a reader that is not ours.
                let (sent, sent_length) = oracle::multibulk(request.wire()).expect("a whole request");
                assert_eq!((&sent, sent_length), (&args, request.wire().len()));
                check_inline(&bytes[..length], &args);
                if let Some(command) = command::lookup(request.name(), request.arg(1)) {
                    let _ = command.keys(&request, |index, key| assert_eq!(args[index], key));
                    let _ = (command.may_block(&request), command.accepts(request.len()));
                }
                requests.push(args);
                used += length;
            }
            Err(error) => {
                if error == RequestError::UnbalancedQuotes {
                    let line = data[used..].split(|&byte| byte == b'\n').next().unwrap_or_default();
                    let line = line.strip_suffix(b"\r").unwrap_or(line);
                    assert_eq!(oracle::split_args(line), None, "Redis accepts these quotes");
                }
                return (requests, used, Some(error));
            }
        }
    }
}

fn check_inline(bytes: &[u8], args: &[Vec<u8>]) {
    if bytes.first() != Some(&b'*') {
        let line = bytes.strip_suffix(b"\n").expect("a line");
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert_eq!(oracle::split_args(line).as_deref(), Some(args), "Redis reads this line otherwise");
    }
}

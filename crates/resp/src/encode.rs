//! Writing RESP. Every function appends to a buffer, so that several messages make one write.

/// `*count`, the head of an array.
pub fn array(out: &mut Vec<u8>, count: usize) {
    header(out, b'*', count);
}

/// `$len`, the bytes, CRLF.
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    header(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// A request: an array of bulk strings.
pub fn request(out: &mut Vec<u8>, args: &[&[u8]]) {
    array(out, args.len());
    for arg in args {
        bulk(out, arg);
    }
}

/// `+text`. Line breaks in `text`, which would end the reply early, become spaces.
pub fn simple(out: &mut Vec<u8>, text: &str) {
    line(out, b'+', text);
}

/// `-text`; `text` starts with the error's code, such as `ERR`. Line breaks become spaces.
pub fn error(out: &mut Vec<u8>, text: &str) {
    line(out, b'-', text);
}

/// `:number`.
pub fn integer(out: &mut Vec<u8>, number: i64) {
    line(out, b':', &number.to_string());
}

fn line(out: &mut Vec<u8>, kind: u8, text: &str) {
    out.push(kind);
    out.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

fn header(out: &mut Vec<u8>, kind: u8, mut number: usize) {
    // As many digits as a usize has at most, written from the end.
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.push(kind);
    out.extend_from_slice(&digits[start..]);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_resp() {
        let mut out = Vec::new();
        request(&mut out, &[b"GET", b"k"]);
        simple(&mut out, "OK");
        error(&mut out, "ERR two\r\nlines");
        integer(&mut out, -7);
        array(&mut out, 0);
        array(&mut out, usize::MAX);
        let rest = out.split_off(out.len() - 27);
        assert_eq!(rest, format!("*0\r\n*{}\r\n", usize::MAX).as_bytes());
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n+OK\r\n-ERR two  lines\r\n:-7\r\n");
    }
}

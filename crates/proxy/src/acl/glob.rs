//! Redis's patterns: `*`, `?`, `[a-z]`, `[^a]`, and `\` before what is meant as it is.

/// Whether all of `text` matches `pattern`. Time is at most the product of the lengths. As in Redis, no
/// star matches the text without a byte: only the pattern without one does.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and how much it has to take.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, t));
            p += 1;
        } else if t == text.len() {
            return p == pattern.len();
        } else if let Some(next) = one(&pattern[p..], text[t]) {
            (p, t) = (p + next, t + 1);
        } else if let Some((after, taken)) = star {
            star = Some((after, taken + 1));
            (p, t) = (after, taken + 1);
        } else {
            return false;
        }
    }
}

/// How long the part of the pattern is that `byte` matches; `None` when it does not.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', set @ ..] => class(set, byte).map(|length| length + 1),
        [first, ..] => (*first == byte).then_some(1),
    }
}

/// A set of bytes up to its `]`, or to the end where there is none, as in Redis.
fn class(set: &[u8], byte: u8) -> Option<usize> {
    let negated = set.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &set[at.min(set.len())..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                at += 2;
            }
            [from, b'-', to, ..] => {
                found |= (*from.min(to)..=*from.max(to)).contains(&byte);
                at += 3;
            }
            [only, ..] => {
                found |= *only == byte;
                at += 1;
            }
        }
    }
    (found != negated).then_some(at.min(set.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, yes, no) in [
            ("", &[""][..], &["a"][..]),
            ("*", &["a", "abc"], &[""]),
            ("**", &["a"], &[""]),
            ("app:*", &["app:", "app:1"], &["app", "ap", "xapp:1"]),
            ("*:x", &[":x", "a:x", "a:x:x"], &["a:y", "x"]),
            ("a*b*c", &["abc", "axxbyyc", "abcbc"], &["ab", "acb"]),
            ("a?c", &["abc", "a?c"], &["ac", "abbc"]),
            ("a[bx-z]c", &["abc", "ayc"], &["aac", "ac"]),
            ("a[z-x]c", &["ayc"], &["aac"]),
            ("a[^b]c", &["aac"], &["abc"]),
            ("a\\*c", &["a*c"], &["abc"]),
            ("a[\\]]c", &["a]c"], &["a\\c"]),
            ("a[bc", &["ab", "ac"], &["ad"]),
            ("**a**", &["a", "bab"], &["b"]),
        ] {
            yes.iter()
                .for_each(|text| assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}"));
            no.iter()
                .for_each(|text| assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}"));
        }
        // Not a time that explodes.
        assert!(!matches("a*".repeat(50).as_bytes(), "a".repeat(49).as_bytes()));
    }
}

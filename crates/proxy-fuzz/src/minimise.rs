//! A crash in as few bytes as are found in a short time.

/// Attempts, at most: each costs a process.
const ATTEMPTS: usize = 600;

/// Takes parts of `data` away for as long as `fails` says that the rest still does.
pub(crate) fn minimise(mut data: Vec<u8>, mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut attempts = 0;
    let mut size = data.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < data.len() && attempts < ATTEMPTS {
            let mut less = data.clone();
            less.drain(at..(at + size).min(data.len()));
            attempts += 1;
            if fails(&less) {
                data = less;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_needed_goes() {
        let small =
            minimise(b"aaaaaaaXbbbbbYccccc".to_vec(), |data| data.contains(&b'X') && data.contains(&b'Y'));
        assert_eq!(small, b"XY");
    }

    #[test]
    fn attempts_are_bounded() {
        let mut attempts = 0;
        minimise(vec![0; 1 << 16], |_| {
            attempts += 1;
            false
        });
        assert_eq!(attempts, ATTEMPTS);
    }
}

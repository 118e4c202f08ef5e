//! Where two maps differ. Pure.

use std::cmp::Ordering;
use std::iter::Peekable;

/// The keys whose values differ, in order, each with the value on either side. It takes one step for each key, and a
/// comparison: of what is shared (`Arc`) that is one of pointers. Both maps are in the order of their keys.
pub fn differ<'m, K: Ord + 'm, V: PartialEq + 'm>(
    before: impl IntoIterator<Item = (&'m K, &'m V)>,
    after: impl IntoIterator<Item = (&'m K, &'m V)>,
) -> impl Iterator<Item = (&'m K, Option<&'m V>, Option<&'m V>)> {
    let (mut old, mut new) = (before.into_iter().peekable(), after.into_iter().peekable());
    std::iter::from_fn(move || step(&mut old, &mut new)).filter(|(_, old, new)| old != new)
}

/// The next key of both.
fn step<'m, K: Ord + 'm, V: 'm>(
    old: &mut Peekable<impl Iterator<Item = (&'m K, &'m V)>>,
    new: &mut Peekable<impl Iterator<Item = (&'m K, &'m V)>>,
) -> Option<(&'m K, Option<&'m V>, Option<&'m V>)> {
    let first = match (old.peek(), new.peek()) {
        (None, None) => return None,
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (Some((old, _)), Some((new, _))) => old.cmp(new),
    };
    let before = if first.is_le() { old.next() } else { None };
    let after = if first.is_ge() { new.next() } else { None };
    let key = before.or(after).map(|(key, _)| key)?;
    Some((key, before.map(|(_, value)| value), after.map(|(_, value)| value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn keys_with_other_values_are_found() {
        let map = |pairs: &[(u8, u8)]| pairs.iter().copied().collect::<BTreeMap<_, _>>();
        for (before, after, want) in [
            (&[][..], &[][..], &[][..]),
            (&[(1, 1)], &[(1, 1)], &[]),
            (
                &[(1, 1), (3, 3)],
                &[(1, 2), (2, 2)],
                &[(1, Some(1), Some(2)), (2, None, Some(2)), (3, Some(3), None)],
            ),
            (&[], &[(1, 1), (2, 2)], &[(1, None, Some(1)), (2, None, Some(2))]),
            (&[(1, 1), (2, 2), (3, 3)], &[(2, 2)], &[(1, Some(1), None), (3, Some(3), None)]),
        ] {
            let (before, after) = (map(before), map(after));
            let found: Vec<_> =
                differ(&before, &after).map(|(key, old, new)| (*key, old.copied(), new.copied())).collect();
            assert_eq!(found, want);
        }
    }
}

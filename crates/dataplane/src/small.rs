//! Maps and sets that are mostly small: a leaf of the standard library's trees has room for eleven, and of the namespaces of a
//! lab nearly all are endpoints, which have one link, one address, one neighbour and one route.

use crate::differ::differ;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Borrow;
use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::marker::PhantomData;
use std::slice;

/// As many stand one after the other, in order; more are in a tree.
const FEW: usize = 8;

/// A map in the order of its keys, as `BTreeMap` is.
#[derive(Clone)]
pub struct Map<K, V>(Pairs<K, V>);

#[derive(Clone)]
enum Pairs<K, V> {
    Few(Vec<(K, V)>),
    Many(BTreeMap<K, V>),
}

/// A set in order, as `BTreeSet` is.
#[derive(Clone, PartialEq, Eq)]
pub struct Set<T: Ord>(Map<T, ()>);

/// Puts it in its place, with no more room than is needed: there are many such vectors.
fn put<T>(few: &mut Vec<T>, at: usize, item: T) {
    if few.len() == few.capacity() {
        few.reserve_exact(few.len().max(1));
    }
    few.insert(at, item);
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self(Pairs::Few(Vec::new()))
    }
}

impl<K: Ord, V> Map<K, V> {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Pairs::Few(few) => few.len(),
            Pairs::Many(many) => many.len(),
        }
    }

    /// What a key has.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        match &self.0 {
            Pairs::Few(few) => few.iter().find(|(known, _)| known.borrow() == key).map(|(_, value)| value),
            Pairs::Many(many) => many.get(key),
        }
    }

    /// The same, to be changed.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        match &mut self.0 {
            Pairs::Few(few) => {
                few.iter_mut().find(|(known, _)| (*known).borrow() == key).map(|(_, value)| value)
            }
            Pairs::Many(many) => many.get_mut(key),
        }
    }

    /// Whether a key is there.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// Gives a key a value; what it had before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match &mut self.0 {
            Pairs::Few(few) => match few.binary_search_by(|(known, _)| known.cmp(&key)) {
                Ok(at) => return Some(std::mem::replace(&mut few[at].1, value)),
                Err(at) if few.len() < FEW => put(few, at, (key, value)),
                Err(_) => {
                    let mut many: BTreeMap<K, V> = std::mem::take(few).into_iter().collect();
                    many.insert(key, value);
                    self.0 = Pairs::Many(many);
                }
            },
            Pairs::Many(many) => return many.insert(key, value),
        }
        None
    }

    /// Takes a key out, with what it had.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        match &mut self.0 {
            Pairs::Few(few) => {
                let at = few.iter().position(|(known, _)| known.borrow() == key)?;
                Some(few.remove(at).1)
            }
            Pairs::Many(many) => many.remove(key),
        }
    }

    /// All keys with their values.
    pub fn iter(&self) -> PairIter<'_, K, V> {
        match &self.0 {
            Pairs::Few(few) => PairIter::Few(few.iter()),
            Pairs::Many(many) => PairIter::Many(many.iter()),
        }
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// All values, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        let (few, many) = match &mut self.0 {
            Pairs::Few(few) => (Some(few), None),
            Pairs::Many(many) => (None, Some(many)),
        };
        let few = few.into_iter().flatten().map(|(_, value)| value);
        few.chain(many.into_iter().flat_map(BTreeMap::values_mut))
    }
}

/// The pairs of a map.
#[derive(Debug, Clone)]
pub enum PairIter<'m, K, V> {
    /// Of few.
    Few(slice::Iter<'m, (K, V)>),
    /// Of many.
    Many(btree_map::Iter<'m, K, V>),
}

impl<'m, K, V> Iterator for PairIter<'m, K, V> {
    type Item = (&'m K, &'m V);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            PairIter::Few(few) => few.next().map(|(key, value)| (key, value)),
            PairIter::Many(many) => many.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            PairIter::Few(few) => few.size_hint(),
            PairIter::Many(many) => many.size_hint(),
        }
    }
}

impl<'m, K: Ord, V> IntoIterator for &'m Map<K, V> {
    type Item = (&'m K, &'m V);
    type IntoIter = PairIter<'m, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K: Ord, V> Extend<(K, V)> for Map<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, pairs: I) {
        for (key, value) in pairs {
            self.insert(key, value);
        }
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Map<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let pairs: Vec<(K, V)> = pairs.into_iter().collect();
        if pairs.len() > FEW {
            return Self(Pairs::Many(pairs.into_iter().collect()));
        }
        let mut map = Self(Pairs::Few(Vec::with_capacity(pairs.len())));
        map.extend(pairs);
        map
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for Map<K, V> {
    fn from(pairs: [(K, V); N]) -> Self {
        pairs.into_iter().collect()
    }
}

impl<K: Ord, V: PartialEq> PartialEq for Map<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other)
    }
}

impl<K: Ord, V: Eq> Eq for Map<K, V> {}

impl<K: Ord + fmt::Debug, V: fmt::Debug> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<K: Ord + Serialize, V: Serialize> Serialize for Map<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de, K: Ord + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Map<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<K, V>(PhantomData<(K, V)>);

        impl<'de, K: Ord + Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for Entries<K, V> {
            type Value = Map<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::with_capacity(entries.size_hint().unwrap_or(0).min(FEW));
                while let Some(pair) = entries.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs.into_iter().collect())
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

impl<T: Ord> Default for Set<T> {
    fn default() -> Self {
        Self(Map::default())
    }
}

impl<T: Ord> Set<T> {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is there.
    pub fn contains<Q: Ord + ?Sized>(&self, item: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.0.contains_key(item)
    }

    /// Puts it in; whether it was not there.
    pub fn insert(&mut self, item: T) -> bool {
        self.0.insert(item, ()).is_none()
    }

    /// Takes it out; whether it was there.
    pub fn remove<Q: Ord + ?Sized>(&mut self, item: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.0.remove(item).is_some()
    }

    /// Takes out all that are not so.
    pub fn retain(&mut self, mut so: impl FnMut(&T) -> bool) {
        match &mut self.0.0 {
            Pairs::Few(few) => few.retain(|(item, ())| so(item)),
            Pairs::Many(many) => many.retain(|item, ()| so(item)),
        }
    }

    /// The first one.
    pub fn first(&self) -> Option<&T> {
        self.iter().next()
    }

    /// All, in their order.
    pub fn iter(&self) -> ItemIter<'_, T> {
        self.0.iter().map(|(item, ())| item)
    }

    /// Those that another one has not.
    pub fn difference<'s>(&'s self, other: &'s Self) -> impl Iterator<Item = &'s T> {
        differ(&self.0, &other.0).filter(|(_, own, _)| own.is_some()).map(|(item, ..)| item)
    }
}

/// The items of a set.
pub type ItemIter<'s, T> = std::iter::Map<PairIter<'s, T, ()>, fn((&'s T, &'s ())) -> &'s T>;

impl<'s, T: Ord> IntoIterator for &'s Set<T> {
    type Item = &'s T;
    type IntoIter = ItemIter<'s, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Ord> Extend<T> for Set<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        for item in items {
            self.insert(item);
        }
    }
}

impl<T: Ord> FromIterator<T> for Set<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self(items.into_iter().map(|item| (item, ())).collect())
    }
}

impl<T: Ord, const N: usize> From<[T; N]> for Set<T> {
    fn from(items: [T; N]) -> Self {
        items.into_iter().collect()
    }
}

impl<T: Ord + fmt::Debug> fmt::Debug for Set<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self).finish()
    }
}

impl<T: Ord + Serialize> Serialize for Set<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

impl<'de, T: Ord + Deserialize<'de>> Deserialize<'de> for Set<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(|items| items.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Beside the standard library's, through every size up to a few more than are few.
    #[test]
    fn they_are_as_the_standard_library_s() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let (mut map, mut set) = (Map::default(), Set::default());
            let (mut tree, mut trees) = (BTreeMap::new(), BTreeSet::new());
            for step in 0..60 {
                let key = rng.u8(..16);
                if rng.u8(..3) > 0 {
                    assert_eq!(map.insert(key, step), tree.insert(key, step));
                    assert_eq!(set.insert(key), trees.insert(key));
                } else {
                    assert_eq!(map.remove(&key), tree.remove(&key));
                    assert_eq!(set.remove(&key), trees.remove(&key));
                }
                let key = rng.u8(..16);
                assert_eq!(
                    (map.get(&key), map.contains_key(&key)),
                    (tree.get(&key), tree.contains_key(&key))
                );
                assert_eq!(set.contains(&key), trees.contains(&key));
                assert!(map.iter().eq(&tree) && map.keys().eq(tree.keys()) && map.values().eq(tree.values()));
                assert!(set.iter().eq(&trees) && set.first() == trees.first());
                assert_eq!((map.len(), set.is_empty()), (tree.len(), trees.is_empty()));
            }
            map.get_mut(&3).into_iter().chain(tree.get_mut(&3)).for_each(|value| *value = 100);
            map.values_mut().chain(tree.values_mut()).for_each(|value| *value += 1);
            assert!(map.iter().eq(&tree));
            set.retain(|key| key % 3 > 0);
            trees.retain(|key| key % 3 > 0);
            let others: BTreeSet<u8> = (0..12).filter(|_| rng.bool()).collect();
            for size in [3, 12] {
                let other: Set<u8> = others.iter().copied().take(size).collect();
                let others: BTreeSet<u8> = others.iter().copied().take(size).collect();
                assert!(set.difference(&other).eq(trees.difference(&others)));
            }
        }
    }

    #[test]
    fn those_with_the_same_content_are_the_same() {
        let mut shrunk: Set<u8> = (0..20).collect();
        shrunk.retain(|item| *item < 3);
        assert_eq!(shrunk, Set::from([0, 1, 2]));
        assert_ne!(shrunk, Set::from([0, 1]));
        let mut map: Map<u8, u8> = (0..20).map(|key| (key, 1)).collect();
        (3..20).for_each(|key| assert_eq!(map.remove(&key), Some(1)));
        assert_eq!(map, Map::from([(2, 1), (0, 1), (1, 1)]));
        assert_ne!(map, Map::from([(2, 1), (0, 1), (1, 2)]));
    }
}

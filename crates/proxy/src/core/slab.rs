//! Things with ids that are never mistaken for one another: a slot is reused, an id is not.

/// The id of something in a [`Slab`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    index: u32,
    generation: u32,
}

impl Id {
    /// Of nothing that is in a slab, ever.
    pub(super) const NOBODY: Id = Id { index: u32::MAX, generation: u32::MAX };

    /// A number that no other has had for long, of those in slab `slab`: above those that a server gives its
    /// clients, and below 2^53, so that every language reads it as it is.
    pub(super) fn number(self, slab: u8) -> u64 {
        1 << 52 | u64::from(slab) << 44 | u64::from(self.generation & 0xfff) << 32 | u64::from(self.index)
    }

    /// The slot: small, and unique among what is in the slab at one time.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, value: T) -> Id {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        slot.1 = Some(value);
        Id { index, generation: slot.0 }
    }

    pub(super) fn get(&self, id: Id) -> Option<&T> {
        let (generation, value) = self.slots.get(id.index())?;
        value.as_ref().filter(|_| *generation == id.generation)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        let (generation, value) = self.slots.get_mut(id.index())?;
        value.as_mut().filter(|_| *generation == id.generation)
    }

    /// Everything that is there with its id, in no order that means something.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Id, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, (generation, value))| {
            Some((Id { index: index as u32, generation: *generation }, value.as_ref()?))
        })
    }

    pub(super) fn remove(&mut self, id: Id) -> Option<T> {
        let (generation, value) = self.slots.get_mut(id.index())?;
        if *generation != id.generation {
            return None;
        }
        let value = value.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(id.index);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_not_reused_with_its_slot() {
        let mut slab = Slab::default();
        let old = slab.insert('a');
        assert_eq!(slab.remove(old), Some('a'));
        let new = slab.insert('b');
        assert_eq!(old.index(), new.index());
        assert_eq!(slab.get(old), None);
        assert_eq!(slab.remove(old), None);
        assert_eq!(slab.get(new), Some(&'b'));
        assert_eq!(slab.get_mut(new), Some(&mut 'b'));
        let other = slab.insert('c');
        assert_eq!(slab.entries().collect::<Vec<_>>(), [(new, &'b'), (other, &'c')]);
        slab.remove(new);
        assert_eq!(slab.entries().collect::<Vec<_>>(), [(other, &'c')]);
    }
}

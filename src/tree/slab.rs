//! The slots a tree's znodes live in: chunks, so that growing never moves what is there, and a copy of the whole shares with
//! the original each chunk that neither has changed since.
//!
//! A slot threads its znode into its parent's list of children. What children do to a znode that itself stays as it is
//! (pzxid, cversion, their list) is a record of its own: most znodes are leaves and have none. Slot numbers are a tree's
//! own: two trees may number differently.

use std::array;

use triomphe::Arc;

use super::znode::Znode;
use crate::base::Zxid;

/// No slot.
pub(super) const NIL: u32 = u32::MAX;
/// The root's slot.
pub(super) const ROOT: u32 = 0;

/// Slots that are allocated together, and copied together when one of them changes while they are shared: each is a reference to
/// be counted somewhere in memory, so that there must not be too many.
const CHUNK: u32 = 256;

type Chunk = [Slot; CHUNK as usize];

/// Families that are allocated together.
const FAMILIES: u32 = 4096;

/// One place in the tree.
#[derive(Clone)]
pub(super) struct Slot {
    /// `None` while the slot is free; `next` then threads the list of free ones.
    pub node: Option<Znode>,
    pub next: u32,
    pub prev: u32,
    pub parent: u32,
    /// Where its [`Family`] is, if it has one.
    family: u32,
}

const _: () = assert!(size_of::<Slot>() == 24);

/// What a znode's children have made of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Family {
    pub pzxid: Zxid,
    /// As stored: child creations ever (parity ZN-07).
    pub cversion: i32,
    pub num_children: u32,
    /// Of a record that is free: the next free one.
    pub first_child: u32,
}

impl Family {
    /// Of a znode made by `czxid` that never had a child.
    fn none(czxid: Zxid) -> Family {
        Family { pzxid: czxid, cversion: 0, num_children: 0, first_child: NIL }
    }
}

impl Slot {
    /// A znode that is in no list yet.
    pub fn new(node: Znode, parent: u32) -> Slot {
        Slot { node: Some(node), next: NIL, prev: NIL, parent, family: NIL }
    }

    fn vacant(next: u32) -> Slot {
        Slot { node: None, next, prev: NIL, parent: NIL, family: NIL }
    }

    /// The znode of a slot in use.
    pub fn znode(&self) -> &Znode {
        self.node.as_ref().expect("a slot in use")
    }
}

#[derive(Clone)]
pub(super) struct Slab {
    chunks: Vec<Arc<Chunk>>,
    /// Slots ever used; the ones beyond are untouched.
    end: u32,
    free: u32,
    live: u32,
    families: Vec<Vec<Family>>,
    free_family: u32,
}

impl Slab {
    pub fn new() -> Slab {
        Slab { chunks: Vec::new(), end: 0, free: NIL, live: 0, families: Vec::new(), free_family: NIL }
    }

    /// One past the highest slot ever used.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// Memory taken, in bytes; also by what is shared with a copy.
    pub fn memory(&self) -> usize {
        self.chunks.len() * CHUNK as usize * size_of::<Slot>()
            + self.families.len() * FAMILIES as usize * size_of::<Family>()
    }

    /// Slots in use.
    pub fn live(&self) -> usize {
        self.live as usize
    }

    pub fn at(&self, slot: u32) -> &Slot {
        &self.chunks[(slot / CHUNK) as usize][(slot % CHUNK) as usize]
    }

    pub fn at_mut(&mut self, slot: u32) -> &mut Slot {
        let chunk = &mut self.chunks[(slot / CHUNK) as usize];
        if !chunk.is_unique() {
            unshare(chunk);
        }
        &mut Arc::get_mut(chunk).expect("made so if it was not")[(slot % CHUNK) as usize]
    }

    /// What the children of the znode in that slot have made of it.
    pub fn family(&self, slot: &Slot) -> Family {
        match slot.family {
            NIL => Family::none(slot.znode().czxid()),
            place => self.families[(place / FAMILIES) as usize][(place % FAMILIES) as usize],
        }
    }

    /// As [`Slab::family`], to be changed: from now on the znode has a record.
    pub fn family_mut(&mut self, slot: u32) -> &mut Family {
        let mut place = self.at(slot).family;
        if place == NIL {
            place = self.new_family(Family::none(self.at(slot).znode().czxid()));
            self.at_mut(slot).family = place;
        }
        self.family_at(place)
    }

    fn family_at(&mut self, place: u32) -> &mut Family {
        &mut self.families[(place / FAMILIES) as usize][(place % FAMILIES) as usize]
    }

    fn new_family(&mut self, family: Family) -> u32 {
        let place = self.free_family;
        if place != NIL {
            self.free_family = std::mem::replace(self.family_at(place), family).first_child;
            return place;
        }
        if self.families.last().is_none_or(|chunk| chunk.len() == FAMILIES as usize) {
            self.families.push(Vec::with_capacity(FAMILIES as usize));
        }
        let chunk = self.families.len() - 1;
        self.families[chunk].push(family);
        (chunk * FAMILIES as usize + self.families[chunk].len() - 1) as u32
    }

    /// Sets what a snapshot or an edit tells of a znode; one that never had a child needs no record for it. Returns what was
    /// there if that was something else.
    pub fn set_stat(&mut self, slot: u32, pzxid: Zxid, cversion: i32) -> Option<(Zxid, i32)> {
        let was = self.family(self.at(slot));
        if (was.pzxid, was.cversion) == (pzxid, cversion) {
            return None;
        }
        let family = self.family_mut(slot);
        (family.pzxid, family.cversion) = (pzxid, cversion);
        Some((was.pzxid, was.cversion))
    }

    /// Makes a znode the first child of its parent.
    pub fn thread(&mut self, slot: u32, parent: u32) {
        let family = self.family_mut(parent);
        family.num_children += 1;
        let first = std::mem::replace(&mut family.first_child, slot);
        if first != NIL {
            self.at_mut(first).prev = slot;
        }
        let place = self.at_mut(slot);
        (place.parent, place.next, place.prev) = (parent, first, NIL);
    }

    /// Takes a slot, the most recently freed one first. It stays empty until its `node` is set.
    pub fn take(&mut self) -> u32 {
        self.live += 1;
        if self.free != NIL {
            let slot = self.free;
            self.free = self.at(slot).next;
            self.at_mut(slot).next = NIL;
            return slot;
        }
        let slot = self.end;
        assert!(slot < NIL, "more znodes than slot numbers");
        if slot / CHUNK == self.chunks.len() as u32 {
            self.chunks.push(vacant_chunk());
        }
        self.end += 1;
        slot
    }

    /// Gives a slot back, its record along with it, and hands out what it held.
    pub fn give_back(&mut self, slot: u32) -> Slot {
        let free = std::mem::replace(&mut self.free, slot);
        self.live -= 1;
        let mut was = std::mem::replace(self.at_mut(slot), Slot::vacant(free));
        let place = std::mem::replace(&mut was.family, NIL);
        if place != NIL {
            self.family_at(place).first_child = std::mem::replace(&mut self.free_family, place);
        }
        was
    }
}

// Neither is inlined, lest its whole chunk have room on the stack of each function that touches a slot.

#[cold]
#[inline(never)]
fn unshare(chunk: &mut Arc<Chunk>) {
    Arc::make_mut(chunk);
}

#[cold]
#[inline(never)]
fn vacant_chunk() -> Arc<Chunk> {
    Arc::new(array::from_fn(|_| Slot::vacant(NIL)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Meta;

    #[test]
    fn the_last_slot_given_back_is_taken_first() {
        let mut slab = Slab::new();
        let slots: Vec<u32> = (0..CHUNK + 2).map(|_| slab.take()).collect();
        assert_eq!(slots, (0..CHUNK + 2).collect::<Vec<_>>());
        slab.give_back(5);
        slab.give_back(CHUNK + 1);
        assert_eq!((slab.live(), slab.end()), (CHUNK as usize, CHUNK + 2));
        assert_eq!([slab.take(), slab.take(), slab.take()], [CHUNK + 1, 5, CHUNK + 2]);
    }

    #[test]
    fn a_copy_shares_the_chunks_that_neither_has_changed() {
        let mut slab = Slab::new();
        (0..3 * CHUNK).for_each(|_| _ = slab.take());
        let mut copy = slab.clone();
        slab.at_mut(0).parent = 7;
        copy.at_mut(CHUNK).parent = 8;
        let [parents, copied] = [&slab, &copy].map(|slab| [0, CHUNK, 2 * CHUNK].map(|slot| slab.at(slot).parent));
        assert_eq!((parents, copied), ([7, NIL, NIL], [NIL, 8, NIL]));
        let shared: Vec<bool> = slab.chunks.iter().zip(&copy.chunks).map(|(a, b)| Arc::ptr_eq(a, b)).collect();
        assert_eq!(shared, [false, false, true]);
    }

    #[test]
    fn only_a_znode_with_children_has_a_record_and_it_is_used_again() {
        let mut slab = Slab::new();
        let put = |slab: &mut Slab, zxid| {
            let slot = slab.take();
            let meta = Meta { czxid: Zxid(zxid), ..Meta::default() };
            *slab.at_mut(slot) = Slot::new(Znode::new(&meta, "/a", None), NIL);
            slot
        };
        let [parent, child, other] = [1, 2, 3].map(|zxid| put(&mut slab, zxid));
        slab.set_stat(child, Zxid(2), 0);
        assert_eq!((slab.families.len(), slab.family(slab.at(child))), (0, Family::none(Zxid(2))));
        slab.thread(child, parent);
        slab.set_stat(parent, Zxid(2), 1);
        let family = Family { pzxid: Zxid(2), cversion: 1, num_children: 1, first_child: child };
        assert_eq!((slab.families[0].len(), slab.family(slab.at(parent))), (1, family));
        slab.give_back(child);
        slab.give_back(parent);
        slab.set_stat(other, Zxid(9), 4);
        assert_eq!((slab.families[0].len(), slab.family(slab.at(other)).pzxid), (1, Zxid(9)));
    }
}

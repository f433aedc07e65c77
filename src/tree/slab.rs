//! The slots a tree's znodes live in: chunks, so that growing never moves what is there.
//!
//! A slot holds what moves when the znode itself does not (pzxid, cversion, children) and threads the znode
//! into its parent's list of children. Slot numbers are a tree's own: two trees may number differently.

use super::znode::Znode;
use crate::base::Zxid;

/// No slot.
pub(super) const NIL: u32 = u32::MAX;
/// The root's slot.
pub(super) const ROOT: u32 = 0;

const CHUNK: u32 = 4096;

/// One place in the tree.
#[derive(Clone)]
pub(super) struct Slot {
    /// `None` while the slot is free; `next` then threads the list of free ones.
    pub node: Option<Znode>,
    pub pzxid: Zxid,
    /// As stored: child creations ever (parity ZN-07).
    pub cversion: i32,
    pub num_children: u32,
    pub first_child: u32,
    pub next: u32,
    pub prev: u32,
    pub parent: u32,
}

const _: () = assert!(size_of::<Slot>() == 40);

impl Slot {
    fn vacant() -> Slot {
        Slot {
            node: None,
            pzxid: Zxid::ZERO,
            cversion: 0,
            num_children: 0,
            first_child: NIL,
            next: NIL,
            prev: NIL,
            parent: NIL,
        }
    }

    /// The znode of a slot in use.
    pub fn znode(&self) -> &Znode {
        self.node.as_ref().expect("a slot in use")
    }
}

#[derive(Clone)]
pub(super) struct Slab {
    chunks: Vec<Box<[Slot]>>,
    /// Slots ever used; the ones beyond are untouched.
    end: u32,
    free: u32,
    live: u32,
}

impl Slab {
    pub fn new() -> Slab {
        Slab { chunks: Vec::new(), end: 0, free: NIL, live: 0 }
    }

    /// One past the highest slot ever used.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// Memory taken, in bytes.
    pub fn memory(&self) -> usize {
        self.chunks.len() * CHUNK as usize * size_of::<Slot>()
    }

    /// Slots in use.
    pub fn live(&self) -> usize {
        self.live as usize
    }

    pub fn at(&self, slot: u32) -> &Slot {
        &self.chunks[(slot / CHUNK) as usize][(slot % CHUNK) as usize]
    }

    pub fn at_mut(&mut self, slot: u32) -> &mut Slot {
        &mut self.chunks[(slot / CHUNK) as usize][(slot % CHUNK) as usize]
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
            self.chunks.push((0..CHUNK).map(|_| Slot::vacant()).collect());
        }
        self.end += 1;
        slot
    }

    /// Gives a slot back and hands out what it held.
    pub fn give_back(&mut self, slot: u32) -> Slot {
        let free = std::mem::replace(&mut self.free, slot);
        self.live -= 1;
        std::mem::replace(self.at_mut(slot), Slot { next: free, ..Slot::vacant() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}

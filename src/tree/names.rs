//! From a path to its slot: hash tables of slot numbers, the paths themselves being the payloads'.
//!
//! There are many small tables instead of one: a table that is full rehashes by visiting every path it
//! holds, and one table of a million paths would stop its core for a tenth of a second.

use std::hash::Hasher;
use std::hint::black_box;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::slab::Slab;

const PARTS: usize = 256;
// Fixed, because a run of the simulator must replay from its seed alone; nothing ever iterates over these.
const SEED: u64 = 0x7a6e_6f64_6573;

/// A path's hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PathHash(u64);

impl PathHash {
    pub fn of(path: &[u8]) -> PathHash {
        let mut hasher = FoldHasher::with_seed(SEED, SharedSeed::global_fixed());
        hasher.write(path);
        PathHash(hasher.finish())
    }

    /// From bits the table itself does not use first (it takes the lowest and the top seven).
    fn part(self) -> usize {
        (self.0 >> 40) as usize % PARTS
    }
}

/// The hash of a slot's path, for a table that changes its size.
fn rehash(slab: &Slab) -> impl Fn(&u32) -> u64 {
    |slot| PathHash::of(slab.at(*slot).znode().path_bytes()).0
}

#[derive(Clone)]
pub(super) struct Names {
    parts: Box<[HashTable<u32>]>,
}

impl Names {
    pub fn new() -> Names {
        Names { parts: (0..PARTS).map(|_| HashTable::new()).collect() }
    }

    /// The names of the slots from 1 on, whose paths have these hashes; in tables of the right size from the start, one
    /// after the other, so that nothing is hashed twice and what is written to stays in the cache. With room for so many more.
    ///
    /// Errors: the slot of a path that is there twice.
    pub fn of_all(slab: &Slab, hashes: &[PathHash], more: usize) -> Result<Names, u32> {
        let mut ends = [0usize; PARTS];
        hashes.iter().for_each(|hash| ends[hash.part()] += 1);
        let mut sum = 0;
        for end in &mut ends {
            sum += std::mem::replace(end, sum);
        }
        // Sorted by part; each entry of `ends` moves from its part's first place to one past its last.
        let mut sorted = vec![(PathHash(0), 0u32); hashes.len()];
        for (slot, hash) in (1..).zip(hashes) {
            let end = &mut ends[hash.part()];
            sorted[*end] = (*hash, slot);
            *end += 1;
        }
        let hash_of = |slot: u32| hashes[slot as usize - 1];
        let path_of = |slot: u32| slab.at(slot).znode().path_bytes();
        let mut parts = Vec::with_capacity(PARTS);
        let mut start = 0;
        for end in ends {
            let mut part = HashTable::with_capacity(end - start + more.div_ceil(PARTS));
            for &(hash, slot) in &sorted[start..end] {
                let same = |other: &u32| hash_of(*other) == hash && path_of(*other) == path_of(slot);
                match part.entry(hash.0, same, |other| hash_of(*other).0) {
                    Entry::Occupied(_) => return Err(slot),
                    Entry::Vacant(place) => place.insert(slot),
                };
            }
            parts.push(part);
            start = end;
        }
        Ok(Names { parts: parts.into() })
    }

    /// Memory taken, in bytes.
    pub fn memory(&self) -> usize {
        self.parts.iter().map(|part| size_of_val(part) + part.allocation_size()).sum()
    }

    pub fn find(&self, slab: &Slab, hash: PathHash, path: &[u8]) -> Option<u32> {
        self.parts[hash.part()].find(hash.0, |slot| slab.at(*slot).znode().path_bytes() == path).copied()
    }

    /// Fetches from memory what [`Names::find`] will read, and where [`Names::insert`] will write. One kind of it after the other:
    /// each is a wait of its own, and the processor waits for several at a time if little stands between.
    pub fn foresee(&self, slab: &Slab, sought: &[(PathHash, &[u8])]) {
        for (hash, _) in sought {
            black_box(self.parts[hash.part()].find(hash.0, |_| false));
        }
        for (hash, _) in sought {
            // A new slot goes near the place that the lowest bits say, next to others. (A store that waits for memory makes those
            // behind it wait as well.)
            let part = &self.parts[hash.part()];
            let mask = part.num_buckets().wrapping_sub(1);
            black_box((0..8).find_map(|step| part.get_bucket((hash.0 as usize).wrapping_add(step) & mask)).copied());
        }
        for (hash, path) in sought {
            black_box(self.find(slab, *hash, path));
        }
    }

    /// `slot` holds a path that is in no table yet.
    pub fn insert(&mut self, slab: &Slab, hash: PathHash, slot: u32) {
        self.parts[hash.part()].insert_unique(hash.0, slot, rehash(slab));
    }

    /// Makes room for so many more, so that no table grows on the way there.
    pub fn reserve(&mut self, slab: &Slab, more: usize) {
        for part in &mut self.parts {
            part.reserve(more.div_ceil(PARTS), rehash(slab));
        }
    }

    /// Gives back the room in tables that turned out to be more than twice as large as they need to be.
    pub fn trim(&mut self, slab: &Slab) {
        for part in self.parts.iter_mut().filter(|part| part.capacity() > 2 * part.len()) {
            part.shrink_to(part.len(), rehash(slab));
        }
    }

    pub fn remove(&mut self, hash: PathHash, slot: u32) {
        let entry = self.parts[hash.part()].find_entry(hash.0, |other| *other == slot);
        entry.expect("a slot in use is named").remove();
    }
}

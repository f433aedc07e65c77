//! A replay that looks ahead: what the next records need comes from memory together, not one after the other.
//!
//! A long journal is replayed from a buffer that no cache holds into tables that no cache holds. A record alone waits for memory
//! three or four times, a tenth of a microsecond each; a hundred records that are looked at in one go wait little longer than one.

use std::hint::black_box;
use std::iter::Peekable;

use crate::codec::txn;
use crate::tree::Tree;

/// How far: small enough that all of it is still in the nearest cache but one when its turn comes.
const WINDOW_BYTES: usize = 32 << 10;
const CACHE_LINE_BYTES: usize = 64;

/// One segment's records, some of which have been looked at before their turn.
pub(super) struct Ahead<'a, I: Iterator<Item = &'a [u8]>> {
    bytes: &'a [u8],
    records: Peekable<I>,
    /// Where in `bytes` begins what nobody has looked at.
    end: usize,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Ahead<'a, I> {
    /// `records`: those in `bytes`, in their order.
    pub fn new(bytes: &'a [u8], records: I) -> Self {
        Ahead { bytes, records: records.peekable(), end: 0 }
    }

    /// `record`, one of those in `bytes`, is replayed into `tree` next.
    pub fn at(&mut self, record: &[u8], tree: &Tree) {
        let start = self.bytes.as_ptr().addr();
        let offset = |record: &[u8]| record.as_ptr().addr() - start;
        let here = offset(record);
        if here < self.end {
            return;
        }
        self.end = here + WINDOW_BYTES;
        let window = &self.bytes[here..self.end.min(self.bytes.len())];
        window.iter().step_by(CACHE_LINE_BYTES).for_each(|byte| _ = black_box(*byte));
        let inside = std::iter::from_fn(|| self.records.next_if(|record| offset(record) < self.end));
        tree.foresee(inside.filter(|record| offset(record) >= here).filter_map(txn::first_path));
    }
}

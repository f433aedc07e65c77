//! The tree digest that leader and followers compare (spec: disk formats 5): a sum of one CRC per znode.

use crc32fast::Hasher;

use super::znode::{Meta, Znode};
use crate::base::Zxid;

/// Parts that are allocated together, so that growing never moves what is there.
const CHUNK: u32 = 4096;

/// The sum, and what the znode in each slot adds to it: to take that out again it need not be made once more.
#[derive(Default)]
pub(super) struct Digests {
    sum: i64,
    /// In chunks; 0 for a free slot.
    parts: Vec<Box<[u32]>>,
}

impl Digests {
    pub fn sum(&self) -> i64 {
        self.sum
    }

    /// The slot's znode adds `part` from now on.
    pub fn put(&mut self, slot: u32, part: u32) {
        let (chunk, at) = ((slot / CHUNK) as usize, (slot % CHUNK) as usize);
        while self.parts.len() <= chunk {
            self.parts.push(vec![0; CHUNK as usize].into());
        }
        let was = std::mem::replace(&mut self.parts[chunk][at], part);
        self.sum = self.sum.wrapping_add(i64::from(part) - i64::from(was));
    }

    /// Memory taken, in bytes.
    pub fn memory(&self) -> usize {
        self.parts.iter().map(|chunk| size_of_val(&**chunk)).sum()
    }
}

/// What a znode adds to the tree's digest. Those below /zookeeper do not count; the root is hashed under its other name, "".
pub(super) fn of(node: &Znode, pzxid: Zxid, cversion: i32) -> u32 {
    if node.path_bytes().starts_with(b"/zookeeper/") {
        return 0;
    }
    let content = if node.path_bytes() == b"/" { &node.content()[1..] } else { node.content() };
    let mut tail = [0u8; 60];
    let Meta { czxid, mzxid, ctime, mtime, owner, version, aversion, .. } = node.meta();
    let longs = [czxid.0, mzxid.0, pzxid.0, ctime.0, mtime.0].map(i64::to_be_bytes);
    tail[..40].copy_from_slice(longs.as_flattened());
    let ints = [version, cversion, aversion].map(i32::to_be_bytes);
    tail[40..52].copy_from_slice(ints.as_flattened());
    tail[52..].copy_from_slice(&owner.to_be_bytes());
    let mut hasher = Hasher::new();
    hasher.update(content);
    hasher.update(&tail);
    hasher.finalize()
}

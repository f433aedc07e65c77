//! The tree digest that leader and followers compare (spec: disk formats 5): a sum of one CRC per znode.

use crc32fast::Hasher;

use super::znode::{Meta, Znode};
use crate::base::Zxid;

/// The CRC over a znode's path and data, ready for the part that moves without a new version.
#[derive(Clone)]
pub(super) struct Stem(Option<Hasher>);

impl Stem {
    /// Znodes below /zookeeper do not count; the root is hashed under its other name, "".
    pub fn of(node: &Znode) -> Stem {
        if node.path_bytes().starts_with(b"/zookeeper/") {
            return Stem(None);
        }
        let content = if node.path_bytes() == b"/" { &node.content()[1..] } else { node.content() };
        let mut hasher = Hasher::new();
        hasher.update(content);
        Stem(Some(hasher))
    }

    /// What the znode adds to the tree's digest.
    pub fn with(&self, node: &Znode, pzxid: Zxid, cversion: i32) -> i64 {
        let Some(mut hasher) = self.0.clone() else { return 0 };
        let mut tail = [0u8; 60];
        let Meta { czxid, mzxid, ctime, mtime, owner, version, aversion, .. } = node.meta();
        let longs = [czxid.0, mzxid.0, pzxid.0, ctime.0, mtime.0].map(i64::to_be_bytes);
        tail[..40].copy_from_slice(longs.as_flattened());
        let ints = [version, cversion, aversion].map(i32::to_be_bytes);
        tail[40..52].copy_from_slice(ints.as_flattened());
        tail[52..].copy_from_slice(&owner.to_be_bytes());
        hasher.update(&tail);
        i64::from(hasher.finalize())
    }
}

/// What a znode adds to the tree's digest.
pub(super) fn of(node: &Znode, pzxid: Zxid, cversion: i32) -> i64 {
    Stem::of(node).with(node, pzxid, cversion)
}

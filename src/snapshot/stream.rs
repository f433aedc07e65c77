//! The state as Apache's servers hand it to each other: what a leader sends behind SNAP (spec: quorum 6), and the
//! middle of their snapshot files (spec: disk formats 3.2-3.4). The writing end.
//!
//! ```text
//!   sessions | ACL lists | znodes, a parent before its children | "/" | on a link: "BenWasHere"
//! ```
//!
//! Of what a znode stores, Apache writes just that: cversion as stored, the owner as it is. Only the open ACL list
//! has another number.

use bytes::Bytes;

use super::format::CHUNK_BYTES;
use crate::base::{AclList, SessionId, Zxid};
use crate::codec::Writer;
use crate::tree::{AclId, SnapshotNode, Tree, Znode};

/// `OPEN_UNSAFE_ACL_ID`: every permission for the world; never in the table.
pub(super) const OPEN_ACL_ID: i64 = -1;
/// Instead of a path: there are no more.
pub(super) const END_PATH: &str = "/";
/// Behind the state, so that a learner knows that it has all of it (ZK: LearnerHandler.run).
pub(super) const SIGNATURE: &str = "BenWasHere";

/// The session table, with timeouts in milliseconds.
pub fn put_sessions(out: &mut Vec<u8>, sessions: impl Iterator<Item = (SessionId, i32)>) {
    let count_at = out.len();
    let w = &mut Writer(out);
    w.i32(0);
    let mut count = 0_i32;
    for (id, timeout_ms) in sessions {
        w.i64(id.0);
        w.i32(timeout_ms);
        count += 1;
    }
    out[count_at..][..4].copy_from_slice(&count.to_be_bytes());
}

/// The ACL table.
pub fn put_acls<'a>(out: &mut Vec<u8>, acls: impl Iterator<Item = (AclId, &'a AclList)>) {
    let count_at = out.len();
    let w = &mut Writer(out);
    w.i32(0);
    let mut count = 0_i32;
    for (id, list) in acls {
        w.i64(i64::from(id.0));
        w.i32(list.len() as i32);
        for acl in list.iter() {
            w.i32(acl.perms);
            w.text(&acl.id.scheme);
            w.text(&acl.id.id);
        }
        count += 1;
    }
    out[count_at..][..4].copy_from_slice(&count.to_be_bytes());
}

/// One znode; its parent comes earlier.
pub fn put_node(out: &mut Vec<u8>, node: SnapshotNode<'_>) {
    let (meta, path) = (node.znode.meta(), node.znode.path());
    let w = &mut Writer(out);
    w.text(if path == "/" { "" } else { path });
    w.buffer(node.znode.data());
    w.i64(if meta.acl == AclId::OPEN { OPEN_ACL_ID } else { i64::from(meta.acl.0) });
    w.i64(meta.czxid.0);
    w.i64(meta.mzxid.0);
    w.i64(meta.ctime.0);
    w.i64(meta.mtime.0);
    w.i32(meta.version);
    w.i32(node.cversion);
    w.i32(meta.aversion);
    w.i64(meta.owner);
    w.i64(node.pzxid.0);
}

/// Ends the znodes.
pub fn put_end(out: &mut Vec<u8>) {
    Writer(out).text(END_PATH);
}

/// What a session takes, and a znode beside its path and data.
const SESSION_BYTES: u64 = 12;
const ZNODE_BYTES: u64 = 76;

/// How long the stream of this tree is, but for its ACL lists.
pub fn bytes(tree: &Tree, session_count: usize) -> u64 {
    tree.approximate_data_size() + ZNODE_BYTES * tree.znode_count() as u64 + SESSION_BYTES * session_count as u64
}

/// A SNAP stream becoming bytes.
///
/// Begin; add every znode of one walk of the tree (`Tree::snapshot_begin`, `snapshot_next`); then
/// [`StreamWriter::finish`] and take the chunks, as slowly as the learner does.
///
/// A walk goes by slots, and a child may sit in a lower one than its parent: the znodes are sorted into levels, so
/// nothing can be sent before the walk is over. Until then only handles are kept (24 bytes a znode), no bytes are
/// copied: the walk, which holds up other snapshots, is short, and a slow learner does not prolong it.
#[derive(Debug)]
pub struct StreamWriter {
    head: Vec<u8>,
    /// By how deep they are: all parents are a level higher. The root's is the first.
    levels: Vec<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    znode: Znode,
    pzxid: Zxid,
    cversion: i32,
}

impl StreamWriter {
    /// Starts with what is small: sessions (with their timeouts in milliseconds) and ACL lists, both as they are when
    /// the walk begins.
    pub fn begin<'a>(
        sessions: impl Iterator<Item = (SessionId, i32)>,
        acls: impl Iterator<Item = (AclId, &'a AclList)>,
    ) -> StreamWriter {
        let mut head = Vec::new();
        put_sessions(&mut head, sessions);
        put_acls(&mut head, acls);
        StreamWriter { head, levels: Vec::new() }
    }

    /// Adds a znode. Any order will do.
    pub fn node(&mut self, node: SnapshotNode<'_>) {
        let path = node.znode.path();
        let level = if path == "/" { 0 } else { path.bytes().filter(|byte| *byte == b'/').count() };
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, Vec::new);
        }
        let SnapshotNode { znode, pzxid, cversion } = node;
        self.levels[level].push(Kept { znode: znode.clone(), pzxid, cversion });
    }

    /// The walk is over.
    pub fn finish(self) -> StreamChunks {
        let nodes = self.levels.into_iter().flatten();
        StreamChunks { out: self.head, nodes, is_ended: false }
    }
}

/// The bytes of a SNAP stream, in pieces of about 256 KiB (one large znode may take one well beyond).
#[derive(Debug)]
pub struct StreamChunks {
    out: Vec<u8>,
    nodes: std::iter::Flatten<std::vec::IntoIter<Vec<Kept>>>,
    is_ended: bool,
}

impl Iterator for StreamChunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        while !self.is_ended && self.out.len() < CHUNK_BYTES {
            match self.nodes.next() {
                Some(Kept { znode, pzxid, cversion }) => {
                    put_node(&mut self.out, SnapshotNode { znode: &znode, pzxid, cversion });
                }
                None => {
                    put_end(&mut self.out);
                    Writer(&mut self.out).text(SIGNATURE);
                    self.is_ended = true;
                }
            }
        }
        let next = if self.is_ended { Vec::new() } else { Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8) };
        let chunk = std::mem::replace(&mut self.out, next);
        (!chunk.is_empty()).then(|| chunk.into())
    }
}

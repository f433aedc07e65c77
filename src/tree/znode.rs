//! One version of one znode: immutable, shared between the trees of all cores, one allocation.

use crate::base::{SessionId, WallMs, Zxid};
use triomphe::ThinArc;

/// An interned ACL list. 0 is `world:anyone` with every permission and is never in the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct AclId(pub u32);

impl AclId {
    pub const OPEN: AclId = AclId(0);
}

/// What never changes without a new version. Children, pzxid and cversion are the index's: they move when
/// the znode itself does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meta {
    pub czxid: Zxid,
    pub mzxid: Zxid,
    pub ctime: WallMs,
    pub mtime: WallMs,
    /// As stored: session id, 0, or the encodings of container and TTL (parity ZN-12, ZN-13).
    pub owner: i64,
    pub version: i32,
    pub aversion: i32,
    pub acl: AclId,
    path_bytes: u32,
}

/// A handle on the payload: cheap to clone (one atomic increment), free to borrow.
#[derive(Clone)]
pub struct Znode(ThinArc<Meta, u8>);

/// What the stored owner means (spec: disk formats 7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZnodeKind {
    Persistent,
    Ephemeral(SessionId),
    Container,
    /// Milliseconds.
    Ttl(i64),
}

impl std::fmt::Debug for Znode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Znode").field(&self.0.header.header).finish()
    }
}

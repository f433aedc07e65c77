//! Access control words: who (`Id`), may do what (`Perms`).

use std::sync::Arc;

/// An identity: a scheme and a name within it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Id {
    pub scheme: Box<str>,
    pub id: Box<str>,
}

/// The identities a connection holds, shared by all its requests.
pub type AuthIds = std::sync::Arc<[Id]>;

impl Id {
    pub fn new(scheme: &str, id: &str) -> Id {
        Id { scheme: scheme.into(), id: id.into() }
    }
}

/// One entry of an access control list. Unknown permission bits are kept as given (parity A-01).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Acl {
    pub perms: i32,
    pub id: Id,
}

/// A whole list, shared by every znode that carries it.
pub type AclList = Arc<[Acl]>;

/// Permission bits (ZK: ZooDefs.Perms).
pub struct Perms;

impl Perms {
    pub const READ: i32 = 1;
    pub const WRITE: i32 = 2;
    pub const CREATE: i32 = 4;
    pub const DELETE: i32 = 8;
    pub const ADMIN: i32 = 16;
    pub const ALL: i32 = 31;
}

/// `world:anyone` with every permission: what a list of "no restrictions" means.
pub fn open_acl() -> AclList {
    Arc::new([Acl { perms: Perms::ALL, id: Id::new("world", "anyone") }])
}

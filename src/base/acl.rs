//! Access control words: who (`Id`), may do what (`Perms`).

use std::borrow::Cow;
use std::sync::Arc;

/// An identity: a scheme and a name within it. The words that most of them are made of take no memory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Id {
    pub scheme: Cow<'static, str>,
    pub id: Cow<'static, str>,
}

/// The identities a connection holds, shared by all its requests.
pub type AuthIds = std::sync::Arc<[Id]>;

impl Id {
    pub fn new(scheme: &str, id: &str) -> Id {
        Id { scheme: word(scheme), id: word(id) }
    }
}

fn word(text: &str) -> Cow<'static, str> {
    match text {
        "world" => Cow::Borrowed("world"),
        "anyone" => Cow::Borrowed("anyone"),
        "digest" => Cow::Borrowed("digest"),
        "auth" => Cow::Borrowed("auth"),
        "ip" => Cow::Borrowed("ip"),
        other => Cow::Owned(other.to_owned()),
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
pub static OPEN_ACL: [Acl; 1] =
    [Acl { perms: Perms::ALL, id: Id { scheme: Cow::Borrowed("world"), id: Cow::Borrowed("anyone") } }];

/// [`OPEN_ACL`], to be shared.
pub fn open_acl() -> AclList {
    Arc::new(OPEN_ACL.clone())
}

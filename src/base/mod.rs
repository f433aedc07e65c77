//! The words every layer speaks: ids, time, error codes, paths, ACLs, limits. Leans on nothing of ours.
//!
//! Does not know: bytes on a wire, trees, sessions' fate.

mod acl;
mod dice;
mod error;
mod ids;
pub mod limits;
pub mod path;
mod stat;
mod time;

pub use acl::{Acl, AclList, AuthIds, Id, OPEN_ACL, Perms, open_acl};
pub use dice::Dice;
pub use error::ErrorCode;
pub use ids::{ConnId, LinkId, Origin, PeerAddress, ServerId, SessionId, ShardId, Xid, Zxid};
pub use stat::Stat;
pub use time::{Instant, Now, WallMs};

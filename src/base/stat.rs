//! A znode's bookkeeping as clients see it.

use super::{SessionId, WallMs, Zxid};

/// ZooKeeper's `Stat` record (parity J-22). `cversion` and `ephemeral_owner` are the *reported* values:
/// 2 x stored - children (ZN-08), and 0 for container and TTL nodes (ZN-11).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stat {
    pub czxid: Zxid,
    pub mzxid: Zxid,
    pub ctime: WallMs,
    pub mtime: WallMs,
    pub version: i32,
    pub cversion: i32,
    pub aversion: i32,
    pub ephemeral_owner: SessionId,
    /// Bytes of data; 0 for null.
    pub data_length: i32,
    pub num_children: i32,
    pub pzxid: Zxid,
}

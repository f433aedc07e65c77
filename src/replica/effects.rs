//! What the replica asks of its driver. The caller owns the buffer and drains it after each piece of news.

use super::{PeerEffect, StretchEffect};
use crate::base::{ShardId, Zxid};
use crate::journal::DiskEffect;
use crate::mail::ToShard;

/// Why the server must stop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Halt(pub String);

/// What is to be read from disk again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reload {
    /// Everything there is.
    All,
    /// The state at exactly this zxid.
    Through(Zxid),
    /// The last state at or below it.
    Below(Zxid),
}

#[derive(Default, Debug)]
pub struct Effects {
    /// In order; a message to all shards appears once for each.
    pub mail: Vec<(ShardId, ToShard)>,
    pub disk: Vec<DiskEffect>,
    /// Connections to other members, and the epoch files.
    pub peer: Vec<PeerEffect>,
    /// Stretches of the journal to be read for learners, away from this core. Answered by `Replica::on_stretch`.
    pub stretches: Vec<StretchEffect>,
    /// Call `Replica::on_reload` with the disk, after everything else here is carried out.
    pub reload: Option<Reload>,
    /// The server cannot go on (its disk failed): stop listening, tell the operator, exit non-zero.
    pub halt: Option<Halt>,
}

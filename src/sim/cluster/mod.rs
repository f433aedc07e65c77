//! The ensemble in an invented world: several members, the network between them, clients who move, from one seed.
//!
//! A [`Cluster`] is three to seven members, each one machine of the replication core with its shards, disk, clocks
//! and lives. What it shares with the lone server's [`World`](super::World) are the witnesses: model, judge and line
//! see no difference between a journal and an agreement.
//!
//! ```text
//!   faults   cuts, kills, partitions, hurt disks       rest    healing, and what must come of it
//!     |                                                  |
//!   world --- driver: effects of a member's replica --- peers: dials, bytes, ends of wires --- network
//!     |          |                                         |
//!   clients,   shards: output of every connection,       desk: every packet between leader and learner,
//!   workload   judged (line)                             judged as it leaves
//!                \                                       /
//!                 history: every proposal, the committed path, whose disk holds what (model, judge)
//! ```
//!
//! First anything may break, as long as a majority of voters keeps its disks: nothing promised may be lost and
//! nobody may see what is not so. Then a majority heals, and it must soon serve and agree.
//!
//! Does not know: the protocol's machines. Packets are read by a decoder of its own.

mod boot;
mod checks;
mod clients;
mod desk;
mod driver;
mod epochs;
mod expiry;
mod faults;
mod history;
mod machine;
mod member;
mod network;
mod packets;
mod peers;
mod plan;
mod rest;
mod shards;
mod stretches;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod toy;
mod world;

pub use world::Cluster;

use super::night::{self, Violation, live_through};
use crate::replica::Replica;

/// What may be broken on purpose, in the driver, to see whether the checks notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// A batch is reported landed while it is only queued.
    AckBeforeDisk,
    /// An epoch file is reported written while it is only queued: NEWLEADER is acknowledged too early.
    EpochBeforeDisk,
    /// While a member takes a history over, what it logs and the snapshot of it are reported landed at once: the epoch
    /// is on the disk before the history it vouches for.
    EpochBeforeHistory,
    /// The snapshot that replaces a history is reported published, but the old one stays in force.
    KeepsTruncated,
    /// A learner's shards get committed batches in another order.
    CommitsOutOfOrder,
    /// What learners hear of sessions never reaches a leader that is not the first.
    ForgetsTouches,
    /// A log is cut off where it is damaged, as if nothing had been written behind, and votes with what is left.
    HidesDamage,
}

pub type Options = night::Options<Sabotage>;

/// What a run amounted to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    pub steps: u64,
    pub replies: u64,
    pub events: u64,
    pub transactions: u64,
    /// Established ones.
    pub epochs: u64,
    pub crashes: u64,
    pub lost_disks: u64,
    pub damaged_disks: u64,
    pub partitions: u64,
    /// Observers that came to a follower.
    pub mastered: u64,
    pub snapshots: u64,
    pub expired: u64,
    /// Sessions that went to another member.
    pub moves: u64,
    /// From the healing to a write of every client.
    pub elections_ms: u64,
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Summary) {
        self.steps += other.steps;
        self.replies += other.replies;
        self.events += other.events;
        self.transactions += other.transactions;
        self.epochs += other.epochs;
        self.crashes += other.crashes;
        self.lost_disks += other.lost_disks;
        self.damaged_disks += other.damaged_disks;
        self.partitions += other.partitions;
        self.mastered += other.mastered;
        self.snapshots += other.snapshots;
        self.expired += other.expired;
        self.moves += other.moves;
        self.elections_ms += other.elections_ms;
    }
}

/// Lives through the night of `seed`. A violation is lived through again with a trace, which it returns.
pub fn run(seed: u64, sabotage: Option<Sabotage>) -> Result<Summary, Box<Violation>> {
    live_through(Options { seed, sabotage, trace: false }, |options| Cluster::<Replica>::new(options).run())
}

//! Machine two: prep, propose, persist, ack, commit, in that order. Lives on: the replication core.
//!
//! Does not know: sockets, files, the time of day (it is told), or how shards are scheduled.

mod effects;

pub use effects::{Effects, Halt};

use crate::base::{Now, Zxid};
use crate::journal::{BatchId, SegmentId};
use crate::mail::ToReplica;

/// The ordering core of one server.
pub struct Replica {}

impl Replica {
    /// News from a shard. Batches are formed in [`Replica::on_turn_end`].
    pub fn on_mail(&mut self, _mail: ToReplica, _now: Now, _out: &mut Effects) {
        todo!()
    }

    /// The driver has delivered all the news it had: whatever queued may become the next write.
    pub fn on_turn_end(&mut self, _now: Now, _out: &mut Effects) {
        todo!()
    }

    /// The batch is written and synced.
    pub fn on_batch_landed(&mut self, _batch: BatchId, _now: Now, _out: &mut Effects) {
        todo!()
    }

    /// A journal write or sync failed. It is final: nothing is acknowledged any more (disk full included).
    pub fn on_disk_failed(&mut self, _what: &str, _out: &mut Effects) {
        todo!()
    }

    pub fn on_segment_ready(&mut self, _segment: SegmentId, _out: &mut Effects) {
        todo!()
    }

    /// The open snapshot can take its next chunk: answered with `SnapshotChunk` or `SnapshotClose`.
    pub fn on_snapshot_ready(&mut self, _out: &mut Effects) {
        todo!()
    }

    pub fn on_snapshot_written(&mut self, _zxid: Zxid, _out: &mut Effects) {
        todo!()
    }

    /// The snapshot could not be written (the message says why); the server goes on without it.
    pub fn on_snapshot_failed(&mut self, _zxid: Zxid, _what: &str, _out: &mut Effects) {
        todo!()
    }

    /// Time passes; called every [`Replica::TICK_MS`] or so.
    pub fn on_tick(&mut self, _now: Now, _out: &mut Effects) {
        todo!()
    }

    /// How often the driver should call [`Replica::on_tick`], in milliseconds.
    pub const TICK_MS: u64 = 50;
}

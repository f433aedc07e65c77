//! Machine two: prep, propose, persist, ack, commit, in that order. Lives on: the replication core.
//!
//! The tree here runs ahead: a transaction is applied the moment it is proposed, so the next request is judged
//! against it without an overlay of pending changes. What shards and clients see is the committed stream alone:
//! every proposal waits in `waiting` until the journal hands out the [`Durable`](crate::journal::Durable) that covers
//! it, or, in an ensemble, until a quorum of members has it. Should the disk fail, the tree that ran ahead dies with
//! the server and is rebuilt from what is durable.
//!
//! ```text
//!   Submit -> prep::judge -> Txn -> tree.apply -> journal.append -> waiting
//!                                                 journal batch -> disk -> Durable -> waiting -> shards
//! ```
//!
//! A member of an ensemble ([`ensemble`](self)) does the same as leader; as follower or observer its transactions come
//! from the leader instead of from `prep`.
//!
//! Does not know: sockets, files, the time of day (it is told), or how shards are scheduled.

mod ahead;
mod boot;
mod dialling;
mod effects;
mod ensemble;
mod ensemble_settings;
mod epochs;
mod following;
#[cfg(test)]
mod following_tests;
mod forwarding;
mod hearing;
mod history;
mod leading;
mod local_sessions;
mod mastering;
#[cfg(test)]
mod mastering_tests;
mod member_report;
#[cfg(test)]
mod member_rig;
mod membership;
mod multi;
#[cfg(test)]
mod observing_tests;
mod peer_io;
mod propose;
mod read_only;
mod reaper;
mod rebase;
mod sessions;
mod settings;
mod sight;
mod snapshots;
mod stretch;
#[cfg(test)]
mod stretch_tests;
mod survey;
mod syncing;
#[cfg(test)]
mod tests;
mod waiting;

pub use boot::{BootError, BootMedia, Booted, NoMedia, boot};
pub use effects::{Effects, Halt, Reload};
pub use ensemble_settings::EnsembleSettings;
pub use epochs::{EpochError, Epochs, JudgedEpochs, judge_epochs};
pub use history::{State, reload};
pub use peer_io::{EpochFile, PeerEffect, PeerNews, PeerPort};
pub use settings::{ReaperSettings, Settings, SnapshotSettings};
pub use stretch::{Stretch, StretchEffect, StretchNews, StretchOrder};
pub use survey::StartTimes;

use std::sync::Arc;

use bytes::Bytes;

use crate::base::{Now, Origin, ShardId, Zxid};
use crate::codec::Chunks;
use crate::codec::txn::TxnDigest;
use crate::journal::{BatchId, Journal, SegmentId};
use crate::mail::metrics::Counter;
use crate::mail::{Answer, AnswerKind, Changes, Entry, ToReplica, ToShard};
use crate::session::{LocalSessions, SessionIds, SessionTable};
use crate::tree::Tree;
use waiting::Waiting;

/// The ordering core of one server.
pub struct Replica {
    settings: Settings,
    /// Holds every proposal, durable or not.
    tree: Tree,
    /// Those that every member knows.
    sessions: SessionTable,
    local: LocalSessions,
    session_ids: SessionIds,
    journal: Journal,
    /// Where records are made; not used on a standalone server.
    records: Chunks,
    last_proposed: Zxid,
    last_committed: Zxid,
    waiting: Waiting,
    /// Ordered in this turn and not sent to followers yet; empty on a standalone server.
    proposals: Vec<(Zxid, Bytes)>,
    /// The zxid the shards were told last.
    last_released: Zxid,
    hearing: hearing::Hearing,
    snapshots: snapshots::Snapshots,
    /// Another history on its way to disk.
    rebase: Option<rebase::Rebase>,
    /// What a start could not read, until there is something to take its place.
    remains: Option<rebase::Remains>,
    reaper: reaper::Reaper,
    watch: survey::Watch,
    /// `None` on a standalone server.
    ensemble: Option<Box<ensemble::Ensemble>>,
    /// The first batch of this start is on disk.
    settled: bool,
    /// The disk failed: nothing is proposed or acknowledged any more.
    failed: bool,
}

impl Replica {
    /// How often the driver should call [`Replica::on_tick`], in milliseconds.
    pub const TICK_MS: u64 = 50;

    /// The tree with every proposal in it: what shards replicate at the start, when all of it is committed.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    pub fn last_committed(&self) -> Zxid {
        self.last_committed
    }

    /// May clients be let in? Not before the first batch of this start has landed: what recovery read may come from a
    /// page cache that was never synced, and a server whose disk cannot be written must not answer at all.
    pub fn may_serve(&self) -> bool {
        (self.settled || self.ensemble.is_some()) && !self.failed
    }

    /// News from a shard. Batches are formed in [`Replica::on_turn_end`].
    pub fn on_mail(&mut self, mail: ToReplica, now: Now, out: &mut Effects) {
        // A sign of life counts from when it came, not from the tick before it: after a stall those are far apart.
        self.hearing.advance(now.mono);
        match mail {
            ToReplica::Submit(submit) => self.on_submit(submit, now, out),
            ToReplica::Connect(connect) => self.on_connect(&connect, now, out),
            ToReplica::Gone { origin, session } => self.on_gone(session, origin),
            ToReplica::Heard { shard, sessions, through } => self.on_heard(shard, &sessions, through),
            ToReplica::Survey { origin, kind } => self.on_survey(origin, kind, now, out),
            ToReplica::Surveyed { ticket, shard, report } => self.on_surveyed(ticket, shard, *report, now, out),
        }
    }

    /// The driver has delivered all the news it had: whatever queued becomes the next write.
    pub fn on_turn_end(&mut self, now: Now, out: &mut Effects) {
        self.send_proposals(now, out); // Before our own disk: the followers' write while ours does.
        self.start_due_snapshot(now, out);
        self.open_waiting_snapshot(now, out);
        self.stop_if_rebase_failed(out);
        self.write_next(now, out);
        self.release(out);
    }

    /// The batch is written and synced: everything in it is committed, and the next one leaves.
    pub fn on_batch_landed(&mut self, batch: BatchId, now: Now, out: &mut Effects) {
        let durable = self.journal.landed(batch);
        // A marker behind a history that memory has just left for another may still have been on its way.
        assert!(durable.through() <= self.last_proposed || self.is_astray(), "only proposals are ever written");
        self.settled = true;
        self.watch.on_landed(now, self.settings.slow_sync_ms);
        if self.ensemble.is_some() {
            self.on_own_ack(now, out);
            self.on_learner_durable(now, out);
            self.look_when_at_rest(now, out);
        } else {
            self.last_committed = self.last_committed.max(durable.through());
        }
        self.close_durable_snapshot(out);
        if let Some(epoch) = self.settle_rebase(out) {
            self.on_rebased(epoch, now, out);
        }
        self.write_next(now, out);
        self.release(out);
    }

    /// A journal write or sync failed. It is final: a failed sync says nothing about what is on disk, so
    /// nothing more is acknowledged and the server stops (disk full included).
    pub fn on_disk_failed(&mut self, what: &str, out: &mut Effects) {
        self.failed = true;
        self.watch.metrics.count(Counter::UnrecoverableErrorCount);
        out.halt.get_or_insert(Halt(format!(
            "the journal cannot be written: {what}. Nothing after {} was acknowledged and nothing before it is lost; \
             make the disk writable (free space, repair, remount) and start again",
            self.last_committed
        )));
    }

    pub fn on_segment_ready(&mut self, segment: SegmentId, now: Now, out: &mut Effects) {
        self.journal.segment_ready(segment);
        self.write_next(now, out);
    }

    /// Time passes; called every [`Replica::TICK_MS`] or so.
    pub fn on_tick(&mut self, now: Now, out: &mut Effects) {
        self.tick_ensemble(now, out);
        self.expire_sessions(now, out);
        self.reap(now);
        self.purge_when_due(now, out);
        if !self.failed {
            self.journal.seal_when_idle(now.mono, &mut out.disk);
        }
        self.on_turn_end(now, out);
    }

    fn write_next(&mut self, now: Now, out: &mut Effects) {
        if !self.failed {
            let before = out.disk.len();
            self.journal.next_batch(&mut out.disk);
            self.watch.on_disk_effects(&out.disk[before..], now);
        }
    }

    /// Queues an answer behind everything proposed so far, so that answers keep the order of their questions.
    fn answer(&mut self, to: Origin, kind: AnswerKind) {
        let entry = self.answer_entry(to, kind);
        self.waiting.push(entry);
    }

    fn answer_entry(&self, to: Origin, kind: AnswerKind) -> Entry {
        Entry {
            // The beginning of an epoch, which the shards know of, may be above a learner's last proposal.
            zxid: self.last_proposed.max(self.last_released),
            changes: Changes::new(),
            answer: Some(Answer { to, kind }),
        }
    }

    /// Sends every shard what has become durable.
    fn release(&mut self, out: &mut Effects) {
        if self.failed {
            return;
        }
        if let Some(entries) = self.waiting.take(self.last_committed) {
            self.tell_shards(entries, out);
        }
    }

    fn tell_shards(&mut self, entries: Arc<[Entry]>, out: &mut Effects) {
        self.last_released = entries.last().map_or(self.last_released, |entry| entry.zxid);
        for shard in 0..self.settings.shard_count {
            out.mail.push((ShardId(shard), ToShard::Batch(Arc::clone(&entries))));
        }
    }

    fn digest(&self) -> Option<TxnDigest> {
        self.settings.digest.then(|| TxnDigest { version: crate::codec::txn::DIGEST_VERSION, tree: self.tree.digest() })
    }
}

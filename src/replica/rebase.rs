//! Another history takes the place of this member's: after TRUNC, SNAP, or damage (ZK: Learner.syncWithLeader).
//!
//! ```text
//!   rebase(state)   memory is the new state at z; the journal begins anew behind it, but writes nothing yet
//!     snapshot of the state, with the new journal's first segment as its floor, to disk piece by piece
//!     its rename: from here on a boot finds the new history, before it found the old one. Nothing in between
//!     the first batch of the new journal (a marker, or what was appended meanwhile) lands
//!   is_rebasing() = false: acknowledge. The files of the old history are deleted, in any order
//! ```
//!
//! While [`Replica::is_rebasing`] the caller must acknowledge nothing: no ACK to a leader, no vote with the new
//! state, no client served. If it gives up meanwhile, [`Replica::abort_rebase`] says whether the disk still holds
//! the old history; memory is then of no use until the caller has read it back ([`reload`](super::reload) through
//! [`Replica::last_durable`], [`Replica::adopt`]).

use super::history::State;
use super::{Effects, Replica};
use crate::base::{Now, Zxid};
use crate::journal::{DiskEffect, SegmentId};
use crate::session::SessionTable;

/// A history on its way to disk.
pub(super) struct Rebase {
    zxid: Zxid,
    /// Current with the snapshot's name.
    epoch: i64,
    stage: Stage,
    /// Of the history before.
    snapshots: Vec<Zxid>,
    segments: Vec<SegmentId>,
}

#[derive(PartialEq, Eq)]
enum Stage {
    /// The snapshot is being written.
    Writing,
    /// It has its name; the new journal's first batch has not landed yet.
    Published,
    Failed(String),
}

/// Files of a history that could not be read. Never deleted: set aside once there is another.
pub(super) struct Remains {
    pub segments: Vec<SegmentId>,
    pub snapshots: Vec<Zxid>,
}

impl Rebase {
    /// A snapshot of the history before that got its name when this was under way already.
    pub(super) fn supersedes(&mut self, zxid: Zxid) {
        self.snapshots.push(zxid);
    }
}

impl Replica {
    /// Nothing appended is still on its way to disk: what [`Replica::rebase`] and
    /// [`reload`](super::reload) ask for.
    pub fn is_drained(&self) -> bool {
        self.journal.is_idle()
    }

    /// Everything up to here is durable. After an empty or damaged start, [`Zxid::ZERO`].
    pub fn last_durable(&self) -> Zxid {
        self.journal.last_durable()
    }

    /// Makes `state` this server's history, in memory at once, on disk in good time. What waited for a commit is
    /// forgotten; shards have to be given the new tree by the caller.
    ///
    /// # Panics
    /// Unless [`Replica::is_drained`], or while another rebase is under way.
    pub fn rebase(&mut self, state: State, now: Now, out: &mut Effects) {
        if self.failed {
            return;
        }
        assert!(self.rebase.is_none(), "a history is replaced while another is on its way");
        self.take_over(state, out);
        self.publish_rebase(now, out);
    }

    /// Memory is a history that the disk does not have: brings it there. What waits for a commit goes on waiting.
    pub(super) fn publish_rebase(&mut self, now: Now, out: &mut Effects) {
        self.give_up_snapshot(out);
        let zxid = self.last_proposed;
        self.journal.restart(zxid);
        let snapshots = self.snapshots.forget_kept();
        let epoch = self.vouched_epoch();
        self.rebase = Some(Rebase { zxid, epoch, stage: Stage::Writing, snapshots, segments: Vec::new() });
        self.start_snapshot(now, out);
        self.write_next(now, out);
    }

    /// Whether a history is on its way to disk: nothing may be acknowledged, nothing voted for.
    pub fn is_rebasing(&self) -> bool {
        self.rebase.is_some()
    }

    /// What [`Replica::rebase`] began is on disk for good, and so is everything this server has as far as it says
    /// [`Replica::last_durable`]. False also for a damaged server that has not been given a history yet.
    pub fn rebase_is_durable(&self) -> bool {
        self.rebase.is_none() && self.remains.is_none()
    }

    /// Gives the rebase up. True: the disk holds the history before, and will; memory has to be made equal to it
    /// ([`Replica::adopt`]) before anything else is done. False: too late, the new history is getting its name (or
    /// has it), and the caller has to wait until [`Replica::is_rebasing`] ends.
    pub fn abort_rebase(&mut self, out: &mut Effects) -> bool {
        let is_open = matches!(&self.rebase, Some(rebase) if rebase.stage == Stage::Writing);
        if !is_open || self.snapshots.is_closing() {
            return false;
        }
        let rebase = self.rebase.take().expect("looked at above");
        self.give_up_snapshot(out);
        self.journal.go_back();
        self.snapshots.keep(rebase.snapshots);
        true
    }

    /// Takes over in memory what the disk holds: `state` is what [`reload`](super::reload) gave, or
    /// [`State::empty`] on a damaged disk.
    ///
    /// # Panics
    /// If it is not the state at [`Replica::last_durable`], the journal is not idle, or a rebase is under way.
    pub fn adopt(&mut self, state: State, out: &mut Effects) {
        assert!(self.rebase.is_none() && self.journal.is_idle(), "a state is adopted while records are on their way");
        assert_eq!(state.zxid, self.journal.last_durable(), "the disk is at another zxid");
        self.take_over(state, out);
    }

    /// Memory becomes `state`, whatever the disk holds.
    pub(super) fn take_over(&mut self, state: State, out: &mut Effects) {
        self.give_up_snapshot(out);
        // Every session gets its whole timeout from now (parity SE-15).
        self.sessions = SessionTable::new(self.settings.tick_ms);
        for (session, timeout_ms) in &state.sessions {
            self.sessions.open(*session, *timeout_ms, self.hearing.now());
        }
        // Ids issued in a history that is gone may still be in clients' hands.
        self.session_ids.note_all(&state.highest_ids);
        self.last_proposed = state.zxid;
        self.last_committed = state.zxid;
        self.waiting.clear();
        self.watch.forget_digests();
        self.tree = state.tree;
    }

    /// The snapshot of `zxid` has its name; whether it was the one that starts a history.
    pub(super) fn rebase_published(&mut self, zxid: Zxid) {
        let Some(rebase) = &mut self.rebase else { return };
        assert_eq!(rebase.zxid, zxid, "the only snapshot under way while a history is replaced");
        rebase.stage = Stage::Published;
        rebase.segments = self.journal.publish();
        rebase.snapshots.retain(|old| *old != zxid); // Replaced under its name.
    }

    /// Whether the snapshot that failed was the one that starts a history. There is no way on then: it may have
    /// got its name and not be durable, and only a boot finds out.
    pub(super) fn rebase_failed(&mut self, what: &str) {
        if let Some(rebase) = &mut self.rebase {
            rebase.stage = Stage::Failed(what.to_owned());
        }
    }

    pub(super) fn stop_if_rebase_failed(&mut self, out: &mut Effects) {
        if let Some(Rebase { stage: Stage::Failed(what), .. }) = &self.rebase
            && !self.failed
        {
            let what = format!("the snapshot that starts a new history: {what}");
            self.on_disk_failed(&what, out);
        }
    }

    /// A batch has landed. Behind a published snapshot it is the one that settles which history counts.
    ///
    /// Returns the epoch that is current with it, if that was it: the history may be acknowledged.
    pub(super) fn settle_rebase(&mut self, out: &mut Effects) -> Option<i64> {
        let rebase = self.rebase.take_if(|rebase| rebase.stage == Stage::Published)?;
        tracing::info!(zxid = %rebase.zxid, "this server's history was replaced");
        out.disk.extend(rebase.snapshots.into_iter().map(DiskEffect::DeleteSnapshot));
        for segment in rebase.segments {
            out.disk.extend(self.journal.recycle(segment).map(DiskEffect::DeleteSegment));
        }
        if let Some(remains) = self.remains.take() {
            let snapshots = remains.snapshots.into_iter().filter(|old| *old != rebase.zxid);
            out.disk.extend(snapshots.map(DiskEffect::SetAsideSnapshot));
            out.disk.extend(remains.segments.into_iter().map(DiskEffect::SetAsideSegment));
        }
        Some(rebase.epoch)
    }
}

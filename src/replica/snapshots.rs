//! When a snapshot is due, and taking it in slices while the pipeline runs (parity RT-20..26, exact by design).
//!
//! The tree keeps what the open snapshot has not visited as it was, so the file shows one zxid although writes
//! go on. It gets its final name only when that zxid is durable, so no snapshot ever holds more than the journal.

use super::{Effects, Replica, SnapshotSettings};
use crate::base::{Dice, Instant, Now, Zxid};
use crate::journal::DiskEffect;
use crate::mail::metrics::Counter;
use crate::snapshot::{SnapshotHead, SnapshotWriter};

/// Znodes per slice: some 100 us of work, so that a write never waits long behind one.
const NODES_PER_SLICE: usize = 512;

pub(super) struct Snapshots {
    settings: SnapshotSettings,
    records_since: u64,
    bytes_before: u64,
    /// Drawn anew after each snapshot, so that the servers of an ensemble do not all snapshot at once.
    records_due: u64,
    bytes_due: Option<u64>,
    dice: Dice,
    open: Option<Open>,
    /// One that was given up while the disk was busy with it: its answer comes before that of any other.
    given_up: Option<Zxid>,
    /// Newest last.
    kept: Vec<Zxid>,
    next_purge: Option<Instant>,
}

struct Open {
    zxid: Zxid,
    /// `None` once everything is handed over: the name waits for the zxid to be durable.
    writer: Option<SnapshotWriter>,
    /// The last chunk is written.
    complete: bool,
    /// The disk was told; it is not while an answer about another is to come.
    opened: bool,
    /// The disk was asked for something and has not answered yet.
    awaited: bool,
    /// It was asked for the name.
    closing: bool,
}

impl Snapshots {
    /// `kept`: those on disk, in any order. A purge is due at once, then every interval.
    pub(super) fn new(settings: SnapshotSettings, mut kept: Vec<Zxid>, seed: u64, now: Instant) -> Snapshots {
        kept.sort();
        let next_purge = settings.purge_interval_ms.map(|_| now);
        let mut snapshots = Snapshots {
            settings,
            records_since: 0,
            bytes_before: 0,
            records_due: 0,
            bytes_due: None,
            dice: Dice(seed),
            open: None,
            given_up: None,
            kept,
            next_purge,
        };
        snapshots.draw();
        snapshots
    }

    pub(super) fn on_record(&mut self) {
        self.records_since += 1;
    }

    /// The kept snapshots are another history's from now on; the caller deletes them in time.
    pub(super) fn forget_kept(&mut self) -> Vec<Zxid> {
        self.records_since = 0;
        std::mem::take(&mut self.kept)
    }

    /// Takes back what [`Snapshots::forget_kept`] gave.
    pub(super) fn keep(&mut self, mut snapshots: Vec<Zxid>) {
        snapshots.append(&mut self.kept);
        snapshots.sort();
        self.kept = snapshots;
    }

    /// Whether the open one is getting its name.
    pub(super) fn is_closing(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.closing)
    }

    /// Half the configured distance, plus anything up to the other half.
    fn draw(&mut self) {
        let half = self.settings.snap_count.max(2) / 2;
        self.records_due = half + self.dice.below(half);
        self.bytes_due = self.settings.snap_bytes.map(|bytes| bytes / 2 + self.dice.below(bytes / 2));
    }
}

impl Replica {
    pub(super) fn start_due_snapshot(&mut self, now: Now, out: &mut Effects) {
        let written = self.journal.stats().bytes;
        let due = self.snapshots.records_since > self.snapshots.records_due
            || self.snapshots.bytes_due.is_some_and(|bytes| written - self.snapshots.bytes_before > bytes);
        // One that comes due while the last is still being written follows it: what a start has to replay stays short.
        if !due || self.snapshots.open.is_some() || self.failed || self.is_rebasing() || self.is_unadopted() {
            return;
        }
        self.snapshots.records_since = 0;
        self.snapshots.bytes_before = written;
        self.snapshots.draw();
        self.start_snapshot(now, out);
    }

    /// Begins a snapshot of everything proposed so far.
    pub(super) fn start_snapshot(&mut self, now: Now, out: &mut Effects) {
        let zxid = self.last_proposed;
        self.tree.snapshot_begin();
        let head = SnapshotHead {
            zxid,
            wall: now.wall,
            digest: self.tree.digest(),
            max_session: self.session_ids.last(),
            floor: self.journal.floor(),
            journal: self.journal.identity(),
            epoch: self.vouched_epoch(),
        };
        let writer = SnapshotWriter::begin(&head, self.sessions.iter(), self.tree.acls());
        self.snapshots.open =
            Some(Open { zxid, writer: Some(writer), complete: false, opened: false, awaited: false, closing: false });
        self.open_waiting_snapshot(now, out);
    }

    /// Tells the disk of a snapshot that was begun, once nothing it says can be about the one before.
    pub(super) fn open_waiting_snapshot(&mut self, now: Now, out: &mut Effects) {
        if self.snapshots.given_up.is_none()
            && let Some(open) = &mut self.snapshots.open
            && !open.opened
        {
            (open.opened, open.awaited) = (true, true);
            let effect = [DiskEffect::SnapshotOpen { zxid: open.zxid }];
            self.watch.on_disk_effects(&effect, now);
            out.disk.extend(effect);
        }
    }

    /// Forgets the open snapshot, if there is one: what it shows will not be this server's state.
    pub(super) fn give_up_snapshot(&mut self, out: &mut Effects) {
        self.tree.snapshot_cancel();
        let Some(open) = self.snapshots.open.take() else { return };
        if open.awaited {
            self.snapshots.given_up = Some(open.zxid);
        }
        // One that is getting its name gets it; its answer says so.
        if open.opened && !open.closing {
            out.disk.push(DiskEffect::SnapshotAbort { zxid: open.zxid });
        }
    }

    /// The open snapshot can take its next chunk: answered with `SnapshotChunk`, or `SnapshotClose` at the end.
    pub fn on_snapshot_ready(&mut self, out: &mut Effects) {
        if self.snapshots.given_up.take().is_some() {
            return;
        }
        let Some(open) = &mut self.snapshots.open else { return };
        open.awaited = false;
        let Some(writer) = &mut open.writer else {
            open.complete = true;
            return self.close_durable_snapshot(out);
        };
        let mut more = true;
        while more && !writer.is_chunk_full() {
            more = self.tree.snapshot_next(NODES_PER_SLICE, &mut |node| writer.node(node));
        }
        let bytes = match open.writer.take_if(|_| !more) {
            Some(writer) => writer.finish(),
            None => open.writer.as_mut().map(SnapshotWriter::take).unwrap_or_default(),
        };
        open.awaited = true;
        out.disk.push(DiskEffect::SnapshotChunk { bytes });
    }

    /// Gives the finished snapshot its name once nothing in it can be lost any more.
    ///
    /// Like the journal, it may hold what is not committed yet; one that starts a history is all the journal there is.
    pub(super) fn close_durable_snapshot(&mut self, out: &mut Effects) {
        if let Some(open) = &mut self.snapshots.open
            && open.complete
            && !open.closing
            && open.zxid <= self.journal.last_durable()
        {
            (open.closing, open.awaited) = (true, true);
            out.disk.push(DiskEffect::SnapshotClose { zxid: open.zxid });
        }
    }

    pub fn on_snapshot_written(&mut self, zxid: Zxid, now: Now) {
        self.watch.on_snapshot_done(now);
        if self.snapshots.given_up.take().is_some() {
            // Of a history that is being replaced, or has just been read back; it has its name all the same.
            match &mut self.rebase {
                Some(rebase) => rebase.supersedes(zxid),
                None => self.snapshots.keep(vec![zxid]),
            }
            return;
        }
        tracing::info!(%zxid, "snapshot written");
        self.snapshots.open = None;
        self.rebase_published(zxid);
        self.snapshots.kept.retain(|kept| *kept != zxid);
        self.snapshots.kept.push(zxid);
    }

    /// The snapshot could not be written; the server goes on without it, its journal holds everything.
    pub fn on_snapshot_failed(&mut self, zxid: Zxid, what: &str) {
        if self.snapshots.given_up.take().is_some() {
            return;
        }
        self.watch.metrics.count(Counter::SnapshotErrorCount);
        self.rebase_failed(what);
        tracing::error!(
            %zxid, what,
            "a snapshot could not be written; nothing is lost, the next one is tried later: free or repair the disk"
        );
        if self.snapshots.open.take().is_some_and(|open| open.writer.is_some()) {
            self.tree.snapshot_cancel();
        }
    }

    /// Deletes what the newest `retain_count` snapshots do not need, snapshots before journal segments.
    pub(super) fn purge_when_due(&mut self, now: Now, out: &mut Effects) {
        if self.is_rebasing() {
            return; // What is kept now is all of one history, and what is not is deleted by it.
        }
        if self.ensemble.as_ref().is_some_and(|ensemble| !ensemble.stretches.is_empty()) {
            return; // The journal is being read for a learner.
        }
        let Some(due) = self.snapshots.next_purge.filter(|due| *due <= now.mono) else { return };
        let interval_ms = self.snapshots.settings.purge_interval_ms.unwrap_or(u64::MAX);
        self.snapshots.next_purge = Some(due.plus_ms(interval_ms).max(now.mono));
        let retain = self.snapshots.settings.retain_count.max(1);
        let superfluous = self.snapshots.kept.len().saturating_sub(retain);
        out.disk.extend(self.snapshots.kept.drain(..superfluous).map(DiskEffect::DeleteSnapshot));
        if let Some(oldest) = self.snapshots.kept.first() {
            self.journal.retire_before(*oldest, &mut out.disk);
        }
    }
}

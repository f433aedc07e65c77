//! The writing end: what queues while a write is under way is the next batch. Lives on: the replication core.
//!
//! Group commit without a timer: load itself sets the batch size, and an idle server pays for one write. One
//! batch is in flight at a time, which is what lets recovery say that only the last one can be torn.
//!
//! ```text
//!   append -> open batch -> next_batch -> in flight -> landed -> Durable
//!                               |
//!                    current segment | ready segment (prepared while the current one fills up)
//! ```

use super::batch::{Pending, Place};
use super::restart::Before;
use super::{Batch, BatchId, DiskEffect, Durable, JournalPosition, SegmentId, SegmentSpan};
use crate::base::{Instant, Zxid, limits};
use std::collections::VecDeque;

const BLOCK: u64 = limits::BLOCK_BYTES as u64;

/// How long nothing must have been written before the journal is sealed with a marker.
const SEAL_AFTER_MS: u64 = 50;

/// The journal of one replica. Lives on: the replication core.
#[derive(Debug)]
pub struct Journal {
    pub(super) journal: u64,
    /// For segments to come; the current one has its own.
    segment_bytes: u64,
    batch_bytes_max: usize,
    pub(super) last_batch: BatchId,
    pub(super) last_crc: u32,
    pub(super) last_appended: Zxid,
    pub(super) last_durable: Zxid,
    /// Full batches, oldest first, and behind them the one being filled.
    pub(super) queue: VecDeque<Pending>,
    pub(super) in_flight: Option<(BatchId, Zxid)>,
    /// The last batch is a marker, or there is none to mark.
    pub(super) is_sealed: bool,
    pub(super) seal_wanted: bool,
    /// Since when nothing was appended, and the zxid by which that is seen.
    idle: Option<(Instant, Zxid)>,
    /// Oldest first; the last is the current one.
    pub(super) segments: VecDeque<SegmentSpan>,
    pub(super) current: Option<Current>,
    pub(super) preparing: Option<SegmentId>,
    pub(super) ready: Option<SegmentId>,
    pub(super) next_segment: SegmentId,
    pub(super) recyclable: Option<SegmentId>,
    superfluous: Vec<SegmentId>,
    pub(super) floor: SegmentId,
    /// The history before, from a restart until its snapshot is published. Nothing is written meanwhile.
    pub(super) before: Option<Box<Before>>,
    spare: Vec<u8>,
    last_batch_bytes: usize,
    pub(super) stats: JournalStats,
}

#[derive(Debug)]
pub(super) struct Current {
    id: SegmentId,
    offset: u64,
    bytes: u64,
}

/// Counters since start, and the state of the queue. For metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct JournalStats {
    /// Batches with records that landed.
    pub batches: u64,
    pub records: u64,
    /// Bytes written, headers, padding and markers included.
    pub bytes: u64,
    pub markers: u64,
    /// Batches by their record count: [1, 2-3, 4-7, 8-15, ...].
    pub batches_by_records: [u64; 20],
    pub queued_records: u64,
    pub in_flight: bool,
    pub segments: usize,
}

impl Journal {
    /// What a segment must hold at least, so that the largest legal record always fits.
    pub const SEGMENT_BYTES_MIN: u64 = 2 * limits::BATCH_BYTES_MAX as u64;

    /// A journal that goes on at `position`. `segment_bytes` is the size of segments to come; it is rounded up
    /// to whole blocks and to [`Journal::SEGMENT_BYTES_MIN`].
    ///
    /// The first batch is a marker even if nothing is appended: once it has landed, what recovery found (and may
    /// have read from a page cache that was never synced) is durable, and a torn tail is overwritten. No client
    /// should be served before.
    pub fn new(position: JournalPosition, segment_bytes: u64) -> Journal {
        Journal::with_small_segments(position, segment_bytes.max(Journal::SEGMENT_BYTES_MIN))
    }

    /// As [`Journal::new`], for tests and simulations whose records are small: only needs four blocks.
    pub fn with_small_segments(position: JournalPosition, segment_bytes: u64) -> Journal {
        let segment_bytes = segment_bytes.max(4 * BLOCK).next_multiple_of(BLOCK);
        let current = position.segments.last().map(|segment| Current {
            id: segment.id,
            offset: position.offset,
            bytes: position.segment_bytes / BLOCK * BLOCK,
        });
        Journal {
            journal: position.journal,
            segment_bytes,
            batch_bytes_max: limits::BATCH_BYTES_MAX.min((segment_bytes - BLOCK) as usize),
            last_batch: position.last_batch,
            last_crc: position.last_crc,
            last_appended: position.last_zxid,
            last_durable: position.last_zxid,
            queue: VecDeque::new(),
            in_flight: None,
            is_sealed: false,
            seal_wanted: true,
            idle: None,
            segments: position.segments.into(),
            current,
            preparing: None,
            ready: None,
            next_segment: position.next_segment,
            recyclable: None,
            superfluous: position.superfluous,
            floor: position.floor,
            before: None,
            spare: Vec::new(),
            last_batch_bytes: 0,
            stats: JournalStats::default(),
        }
    }

    /// Queues one record: `encode` puts its payload behind what is already in the buffer.
    pub fn append(&mut self, zxid: Zxid, encode: impl FnOnce(&mut Vec<u8>)) {
        assert!(zxid > self.last_appended, "{zxid} appended after {}", self.last_appended);
        if self.queue.is_empty() {
            let mut buffer = std::mem::take(&mut self.spare);
            // Under steady load batches are alike: take their memory at once instead of doubling up to it.
            buffer.reserve(self.last_batch_bytes);
            self.queue.push_back(Pending::new(buffer, self.last_appended));
        }
        self.last_appended = zxid;
        self.stats.queued_records += 1;
        let open = self.queue.back_mut().expect("pushed above");
        if let Some(next) = open.push(zxid, self.batch_bytes_max, encode) {
            self.queue.push_back(next);
        }
    }

    /// The next write, as full as one write may be, if none is in flight and something waits; and the next
    /// segment, in good time.
    pub fn next_batch(&mut self, effects: &mut Vec<DiskEffect>) {
        effects.extend(self.superfluous.drain(..).map(DiskEffect::DeleteSegment));
        let mut waits_for_segment = false;
        if self.in_flight.is_none() && self.before.is_none() && (!self.queue.is_empty() || self.seal_wanted) {
            waits_for_segment = !self.write_next(effects);
        }
        let half_full = self.current.as_ref().is_none_or(|current| current.offset >= current.bytes / 2);
        if (half_full || waits_for_segment) && self.ready.is_none() && self.preparing.is_none() {
            let segment = self.next_segment;
            self.next_segment = SegmentId(segment.0 + 1);
            self.preparing = Some(segment);
            let recycle = self.recyclable.take();
            effects.push(DiskEffect::PrepareSegment { segment, bytes: self.segment_bytes, recycle });
        }
    }

    /// False if there is no room yet.
    fn write_next(&mut self, effects: &mut Vec<DiskEffect>) -> bool {
        let is_marker = self.queue.is_empty();
        let length = self.queue.front().map_or(BLOCK, |pending| pending.disk_bytes() as u64);
        // The last block is kept for a marker, so that one can always be written to the segment recovery ends in.
        let reserve = if is_marker { 0 } else { BLOCK };
        let fits = |current: &Current| current.offset + length + reserve <= current.bytes;
        if !self.current.as_ref().is_some_and(fits) {
            let Some(id) = self.ready.take() else { return false };
            self.current = Some(Current { id, offset: 0, bytes: self.segment_bytes });
            self.segments.push_back(SegmentSpan { id, last_zxid: self.last_durable });
        }
        let pending = self
            .queue
            .pop_front()
            .unwrap_or_else(|| Pending::new(Vec::with_capacity(limits::BLOCK_BYTES), self.last_appended));
        let current = self.current.as_mut().expect("found or made above");
        let id = BatchId(self.last_batch.0 + 1);
        let sealed = pending.seal(&Place {
            journal: self.journal,
            segment: current.id,
            segment_bytes: current.bytes,
            batch: id,
            previous_crc: self.last_crc,
        });
        let (segment, offset) = (current.id, current.offset);
        current.offset += sealed.bytes.len() as u64;
        assert!(current.offset <= current.bytes, "{id:?} does not fit its segment");
        self.last_batch = id;
        self.last_crc = sealed.header_crc;
        self.last_batch_bytes = sealed.bytes.len();
        self.in_flight = Some((id, sealed.through));
        self.is_sealed = is_marker;
        self.seal_wanted = false;
        self.segments.back_mut().expect("there is a current one").last_zxid = sealed.through;
        self.note(&sealed.bytes, sealed.record_count);
        effects.push(DiskEffect::WriteBatch(Batch {
            id,
            segment,
            offset,
            bytes: sealed.bytes,
            through: sealed.through,
            record_count: sealed.record_count,
        }));
        true
    }

    fn note(&mut self, bytes: &[u8], record_count: u32) {
        self.stats.bytes += bytes.len() as u64;
        match record_count {
            0 => self.stats.markers += 1,
            count => {
                self.stats.batches += 1;
                self.stats.records += u64::from(count);
                self.stats.queued_records -= u64::from(count);
                let top = self.stats.batches_by_records.len() - 1;
                self.stats.batches_by_records[(count.ilog2() as usize).min(top)] += 1;
            }
        }
    }

    /// The batch is written and synced: the only place a [`Durable`] is made.
    pub fn landed(&mut self, batch: BatchId) -> Durable {
        let (id, through) = self.in_flight.take().expect("a batch landed that was not in flight");
        assert_eq!(id, batch, "another batch landed than the one in flight");
        self.last_durable = through;
        Durable { through }
    }

    /// The segment asked for with `PrepareSegment` is there.
    pub fn segment_ready(&mut self, segment: SegmentId) {
        assert_eq!(self.preparing.take(), Some(segment), "a segment is ready that was not asked for");
        self.ready = Some(segment);
    }

    /// Call on every tick: when nothing was appended for a while, writes an empty marker behind the last batch,
    /// so that damage to an acknowledged batch can be told from a torn one (see `recover.rs`).
    pub fn seal_when_idle(&mut self, now: Instant, effects: &mut Vec<DiskEffect>) {
        match self.idle {
            Some((since, zxid)) if zxid == self.last_appended => {
                let is_quiet = self.in_flight.is_none() && self.queue.is_empty();
                if is_quiet && !self.is_sealed && now.millis_since(since) >= SEAL_AFTER_MS {
                    self.seal_wanted = true;
                    self.next_batch(effects);
                }
            }
            _ => self.idle = Some((now, self.last_appended)),
        }
    }

    /// Gives up the segments that no kept snapshot needs: those that end at or before `zxid`, the oldest kept
    /// snapshot's. The one that continues it stays, as does the current one. One is kept back to become the
    /// next segment, the others are deleted, oldest first.
    pub fn retire_before(&mut self, zxid: Zxid, effects: &mut Vec<DiskEffect>) {
        while self.segments.len() > 1 && self.segments[0].last_zxid <= zxid {
            let retired = self.segments.pop_front().expect("there are two").id;
            effects.extend(self.recyclable.replace(retired).map(DiskEffect::DeleteSegment));
        }
    }

    /// Takes back the buffer of a batch that has landed, to fill it again.
    pub fn give_back(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() > self.spare.capacity() {
            self.spare = buffer;
        }
    }

    /// Everything up to here is on disk.
    pub fn last_durable(&self) -> Zxid {
        self.last_durable
    }

    /// Everything up to here was appended.
    pub fn last_appended(&self) -> Zxid {
        self.last_appended
    }

    /// The files that hold the journal, oldest first.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentSpan> {
        self.segments.iter()
    }

    /// The files from the one that `zxid` stands in, if it does in any, to the current one.
    pub fn segments_from(&self, zxid: Zxid) -> Vec<SegmentId> {
        self.segments.iter().skip_while(|segment| segment.last_zxid < zxid).map(|segment| segment.id).collect()
    }

    pub fn stats(&self) -> JournalStats {
        JournalStats { in_flight: self.in_flight.is_some(), segments: self.segments.len(), ..self.stats }
    }
}

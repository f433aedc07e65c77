//! An invented disk: what is written, what is synced, and what a power cut makes of the difference.
//!
//! One batch write at a time is under way, as the machine promises. Until it lands, any subset of its 512-byte
//! sectors may survive a cut; afterwards all of it does. File creations, renames and deletions are on the disk
//! when their operation ends; a cut before that leaves either state.

use std::collections::{BTreeMap, VecDeque};

use super::rng::Rng;
use crate::base::Zxid;
use crate::journal::{Batch, SegmentId};
use crate::snapshot::{SnapshotHead, read_head};

pub const SECTOR_BYTES: usize = 512;

/// A snapshot file that is being written.
#[derive(Debug, Clone)]
struct Draft {
    zxid: Zxid,
    bytes: Vec<u8>,
    closing: bool,
}

/// A segment on its way.
#[derive(Debug, Clone)]
pub struct Preparing {
    pub segment: SegmentId,
    pub bytes: u64,
    pub recycle: Option<SegmentId>,
}

#[derive(Default, Clone)]
pub struct Disk {
    segments: BTreeMap<u64, Vec<u8>>,
    snapshots: BTreeMap<i64, Vec<u8>>,
    /// One at most, unless sabotage lets the machine run ahead of the disk.
    in_flight: VecDeque<Batch>,
    /// Reported synced by a disk that lies.
    cached: Vec<Batch>,
    preparing: Vec<Preparing>,
    draft: Option<Draft>,
    /// Deleted, but their directory was not synced since: they may come back.
    unlinked: Vec<Unlinked>,
    /// The last zxid whose batch landed: nothing up to it may ever be lost.
    pub durable: i64,
    /// Where the last landed batch is: damage to the very last one cannot be told from a torn write.
    last_batch: Option<(u64, u64)>,
}

#[derive(Clone)]
enum Unlinked {
    Segment(u64, Vec<u8>),
    Snapshot(i64, Vec<u8>),
}

/// A byte that was made to lie, and what to do to make it honest again.
#[derive(Clone, Copy, Debug)]
pub enum Flip {
    Segment { segment: u64, offset: usize, mask: u8 },
    Snapshot { zxid: i64, offset: usize, mask: u8 },
}

impl Disk {
    pub fn segment_ids(&self) -> Vec<SegmentId> {
        self.segments.keys().map(|id| SegmentId(*id)).collect()
    }

    /// Newest first.
    pub fn snapshot_zxids(&self) -> Vec<Zxid> {
        self.snapshots.keys().rev().map(|zxid| Zxid(*zxid)).collect()
    }

    pub fn segment(&self, id: SegmentId) -> Option<&Vec<u8>> {
        self.segments.get(&id.0)
    }

    /// The fronts of all snapshots that have one.
    pub fn heads(&self) -> impl Iterator<Item = SnapshotHead> + '_ {
        self.snapshots.values().filter_map(|bytes| read_head(&bytes[..]).ok())
    }

    pub fn snapshot(&self, zxid: Zxid) -> Option<&Vec<u8>> {
        self.snapshots.get(&zxid.0)
    }

    /// A write leaves the machine. Errors when the machine breaks its promises.
    pub fn write(&mut self, batch: Batch, may_queue: bool) -> Result<(), String> {
        if !self.in_flight.is_empty() && !may_queue {
            return Err("a batch was written while another is under way".into());
        }
        let Some(file) = self.segments.get(&batch.segment.0) else {
            return Err(format!("a batch for {:?}, which is not there", batch.segment));
        };
        let end = batch.offset as usize + batch.bytes.len();
        let aligned = (batch.offset as usize).is_multiple_of(crate::base::limits::BLOCK_BYTES)
            && batch.bytes.len().is_multiple_of(crate::base::limits::BLOCK_BYTES);
        if end > file.len() || !aligned || batch.bytes.is_empty() {
            return Err(format!("a batch of {} bytes at {} of {}", batch.bytes.len(), batch.offset, file.len()));
        }
        self.in_flight.push_back(batch);
        Ok(())
    }

    /// The write under way is on the disk. Says through which zxid.
    pub fn land(&mut self) -> Option<Zxid> {
        let batch = self.in_flight.pop_front()?;
        self.keep(&batch, |_| true);
        self.durable = self.durable.max(batch.through.0);
        self.last_batch = Some((batch.segment.0, batch.offset));
        Some(batch.through)
    }

    /// As [`Disk::land`] as far as anybody can tell before the power is cut; for a disk that lies.
    pub fn land_in_cache(&mut self) {
        let Some(batch) = self.in_flight.pop_front() else { return };
        self.durable = self.durable.max(batch.through.0);
        self.last_batch = Some((batch.segment.0, batch.offset));
        self.cached.push(batch);
    }

    /// The sectors of a write that reach the platter.
    fn keep(&mut self, batch: &Batch, survives: impl Fn(usize) -> bool) {
        let Some(file) = self.segments.get_mut(&batch.segment.0) else { return };
        for (sector, bytes) in
            batch.bytes.chunks_exact(SECTOR_BYTES).enumerate().filter(|(sector, _)| survives(*sector))
        {
            let to = batch.offset as usize + sector * SECTOR_BYTES;
            file[to..to + SECTOR_BYTES].copy_from_slice(bytes);
        }
    }

    /// The zxid of the snapshot being written.
    pub fn draft_zxid(&self) -> Option<Zxid> {
        self.draft.as_ref().map(|draft| draft.zxid)
    }

    /// The floor that the snapshot being written names (see `snapshot`); 0 if none.
    pub fn draft_floor(&self) -> u64 {
        let head = self.draft.as_ref().and_then(|draft| read_head(&draft.bytes[..]).ok());
        head.map_or(0, |head| head.floor.0)
    }

    /// A file of that name may be left over from a cut in the middle of its preparation; it is made anew.
    pub fn prepare(&mut self, preparing: Preparing) -> Result<(), String> {
        if self.last_batch.is_some_and(|(segment, _)| segment >= preparing.segment.0) {
            return Err(format!("{:?} is prepared although it has been written", preparing.segment));
        }
        self.segments.remove(&preparing.segment.0);
        self.preparing.push(preparing);
        Ok(())
    }

    pub fn prepared(&mut self, segment: SegmentId) {
        if let Some(at) = self.preparing.iter().position(|preparing| preparing.segment == segment) {
            let preparing = self.preparing.remove(at);
            self.make(&preparing);
        }
    }

    /// A recycled file keeps what was in it: recovery must not be fooled by batches of another time.
    fn make(&mut self, preparing: &Preparing) {
        let old = preparing.recycle.and_then(|id| self.segments.remove(&id.0));
        let mut file = old.unwrap_or_default();
        file.resize(preparing.bytes as usize, 0);
        self.segments.insert(preparing.segment.0, file);
    }

    pub fn delete_segment(&mut self, id: SegmentId) {
        if let Some(file) = self.segments.remove(&id.0) {
            self.unlinked.push(Unlinked::Segment(id.0, file));
        }
    }

    pub fn delete_snapshot(&mut self, zxid: Zxid) {
        if let Some(file) = self.snapshots.remove(&zxid.0) {
            self.unlinked.push(Unlinked::Snapshot(zxid.0, file));
        }
    }

    pub fn snapshot_open(&mut self, zxid: Zxid) -> Result<(), String> {
        match self.draft.replace(Draft { zxid, bytes: Vec::new(), closing: false }) {
            None => Ok(()),
            Some(open) => Err(format!("a snapshot was opened while that of {} is open", open.zxid)),
        }
    }

    pub fn snapshot_chunk(&mut self, bytes: &[u8]) -> Result<(), String> {
        let draft = self.draft.as_mut().filter(|draft| !draft.closing).ok_or("a chunk without an open snapshot")?;
        draft.bytes.extend_from_slice(bytes);
        Ok(())
    }

    pub fn snapshot_close(&mut self, zxid: Zxid) -> Result<(), String> {
        let draft = self.draft.as_mut().filter(|draft| draft.zxid == zxid).ok_or("closing no open snapshot")?;
        draft.closing = true;
        Ok(())
    }

    pub fn snapshot_abort(&mut self) {
        self.draft = None;
    }

    /// The snapshot is synced and has its name.
    pub fn snapshot_done(&mut self) -> Option<Zxid> {
        let draft = self.draft.take()?;
        self.snapshots.insert(draft.zxid.0, draft.bytes);
        // The directory was synced for it: earlier deletions are final.
        self.unlinked.clear();
        Some(draft.zxid)
    }

    /// The power is cut. Says what became of what was under way.
    pub fn cut(&mut self, dice: &mut Rng) -> String {
        let mut story = Vec::new();
        // The lie: what had been synced stays only up to where the cache was written back. (That a hole in the
        // middle is noticed is another promise, and `flip` asks for it.)
        let cached: Vec<Batch> = self.cached.drain(..).collect();
        let written_back = dice.index(cached.len() + 1);
        for batch in &cached[..written_back] {
            self.keep(batch, |_| true);
        }
        while let Some(batch) = self.in_flight.pop_front() {
            let kept = tear(batch.bytes.len() / SECTOR_BYTES, dice);
            self.keep(&batch, |sector| kept[sector]);
            let count = kept.iter().filter(|kept| **kept).count();
            story.push(format!("batch {} keeps {count} of {} sectors", batch.id.0, kept.len()));
        }
        for preparing in std::mem::take(&mut self.preparing) {
            match dice.below(3) {
                0 => self.make(&preparing),
                1 if preparing.recycle.is_none() => {
                    // Created, but not all of it is there yet.
                    let bytes = dice.below(preparing.bytes / 4096) * 4096;
                    self.make(&Preparing { bytes, ..preparing.clone() });
                }
                _ => {}
            }
            story.push(format!("{:?} was being prepared", preparing.segment));
        }
        if let Some(draft) = self.draft.take() {
            let named = draft.closing && dice.chance(500);
            story.push(format!("snapshot of {} {}", draft.zxid, if named { "has its name" } else { "is lost" }));
            if named {
                self.snapshots.insert(draft.zxid.0, draft.bytes);
            }
        }
        for file in std::mem::take(&mut self.unlinked) {
            match file {
                _ if dice.chance(500) => {}
                Unlinked::Segment(id, bytes) => {
                    story.push(format!("segment {id} is back"));
                    self.segments.entry(id).or_insert(bytes);
                }
                Unlinked::Snapshot(zxid, bytes) => {
                    story.push(format!("snapshot {zxid:#x} is back"));
                    self.snapshots.entry(zxid).or_insert(bytes);
                }
            }
        }
        story.join(", ")
    }

    /// Makes one stored byte lie. Spares the last batch: a lie there looks like the torn write it may be.
    pub fn flip(&mut self, dice: &mut Rng) -> Option<Flip> {
        let mask = 1 << dice.below(8);
        let snapshots: Vec<i64> = self.snapshots.keys().copied().collect();
        if dice.chance(400) && !snapshots.is_empty() {
            let zxid = *dice.pick(&snapshots);
            let length = self.snapshots.get(&zxid).map_or(0, Vec::len);
            let flip = Flip::Snapshot { zxid, offset: dice.index(length), mask };
            self.toggle(flip);
            return Some(flip);
        }
        let (last_segment, last_offset) = self.last_batch?;
        let candidates: Vec<u64> = self.segments.range(..=last_segment).map(|(id, _)| *id).collect();
        let segment = *dice.pick(&candidates);
        let length = self.segments.get(&segment).map_or(0, Vec::len);
        let end = if segment == last_segment { last_offset as usize } else { length };
        if end == 0 {
            return None;
        }
        let flip = Flip::Segment { segment, offset: dice.index(end), mask };
        self.toggle(flip);
        Some(flip)
    }

    /// Makes everything from a lie on look as if it had never been written.
    pub fn forget_from(&mut self, flip: Flip) {
        match flip {
            Flip::Segment { segment, offset, .. } => {
                let offset = offset / SECTOR_BYTES * SECTOR_BYTES;
                self.segments.split_off(&(segment + 1));
                self.segments.get_mut(&segment).into_iter().for_each(|file| file[offset..].fill(0));
            }
            Flip::Snapshot { zxid, .. } => {
                self.snapshots.remove(&zxid);
            }
        }
    }

    pub fn toggle(&mut self, flip: Flip) {
        match flip {
            Flip::Segment { segment, offset, mask } => {
                if let Some(byte) = self.segments.get_mut(&segment).and_then(|file| file.get_mut(offset)) {
                    *byte ^= mask;
                }
            }
            Flip::Snapshot { zxid, offset, mask } => {
                if let Some(byte) = self.snapshots.get_mut(&zxid).and_then(|file| file.get_mut(offset)) {
                    *byte ^= mask;
                }
            }
        }
    }
}

/// Which sectors of a write survive: all, none, a front, or any.
fn tear(sectors: usize, dice: &mut Rng) -> Vec<bool> {
    let front = dice.index(sectors + 1);
    match dice.below(5) {
        0 => vec![true; sectors],
        1 => vec![false; sectors],
        2 => (0..sectors).map(|sector| sector < front).collect(),
        _ => (0..sectors).map(|_| dice.chance(500)).collect(),
    }
}

/// The record bodies of a journal batch (`journal/batch.rs` draws the layout), read without the journal's code.
pub fn records(batch: &[u8]) -> Result<Vec<&[u8]>, String> {
    const HEADER_BYTES: usize = 80;
    let word = |at: usize| batch.get(at..at + 4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    let (count, payload) = word(12).zip(word(64)).ok_or("a batch shorter than its header")?;
    let mut bodies = Vec::new();
    let mut at = HEADER_BYTES;
    for _ in 0..count {
        let length = word(at).ok_or("a record outside its batch")? as usize;
        bodies.push(batch.get(at + 8..at + 8 + length).ok_or("a record outside its batch")?);
        at += 8 + length;
    }
    if at == HEADER_BYTES + payload as usize { Ok(bodies) } else { Err("a batch longer than its records".into()) }
}

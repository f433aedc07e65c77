//! Finding the journal again: which batches count, where the next one goes, and when to refuse.
//!
//! Batches are numbered without gaps and chained by checksum, and only one write is ever under way. So the batch
//! after number n stands right behind it, or at the front of a later segment, or was never acknowledged. What
//! fails its checksum at the very end is a torn write and is cut; if any good batch with a higher number exists
//! behind it, it had been acknowledged, and the journal is damaged: nothing is guessed, the server does not start.
//! (An idle journal ends in an empty marker, so the last acknowledged record is soon not the last batch.)

use super::batch::{FORMAT, Header};
use super::{BatchId, SegmentId};
use crate::base::{Zxid, limits};

/// The journal lies. Where, how, and what an operator can do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    pub segment: SegmentId,
    /// Bytes from the segment's start.
    pub offset: u64,
    pub what: String,
    pub advice: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at offset {}: {}; {}", self.segment.file_name(), self.offset, self.what, self.advice)
    }
}

impl std::error::Error for Damage {}

/// One segment file that holds part of the journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentSpan {
    pub id: SegmentId,
    /// The last zxid durable when its last batch was.
    pub last_zxid: Zxid,
}

/// Where a journal stands: all that the writer must know to go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JournalPosition {
    /// Which journal this is; drawn once when a data directory is first used.
    pub journal: u64,
    pub last_batch: BatchId,
    /// Header checksum of the last batch.
    pub last_crc: u32,
    /// The last zxid in the journal, or the snapshot's if it is newer or the journal empty.
    pub last_zxid: Zxid,
    /// Oldest first; the last is the one being written. Empty for a fresh journal.
    pub segments: Vec<SegmentSpan>,
    /// Where the next batch goes in the last segment.
    pub offset: u64,
    /// The length of the last segment's file.
    pub segment_bytes: u64,
    /// The number of the next segment to prepare.
    pub next_segment: SegmentId,
    /// Files that the snapshot has made superfluous and that nothing continues: to be deleted.
    pub superfluous: Vec<SegmentId>,
    /// Where a batch that was never acknowledged was cut off, for the log.
    pub torn: Option<(SegmentId, u64)>,
    /// Records behind the snapshot.
    pub replayed: u64,
    /// Segments numbered below are of another history: not read, to be deleted.
    pub floor: SegmentId,
}

impl JournalPosition {
    /// A journal without a file. `journal` tells it from others: the wall clock will do.
    pub fn fresh(journal: u64, last_zxid: Zxid) -> JournalPosition {
        JournalPosition {
            journal,
            last_batch: BatchId(0),
            last_crc: 0,
            last_zxid,
            segments: Vec::new(),
            offset: 0,
            segment_bytes: 0,
            next_segment: SegmentId(1),
            superfluous: Vec::new(),
            torn: None,
            replayed: 0,
            floor: SegmentId(0),
        }
    }
}

/// The scan. Feed it every segment file in the order of their numbers, then ask where the journal stands.
pub struct Recovery {
    snapshot: Zxid,
    /// The journal that goes on from the snapshot, if the snapshot says which.
    expected: Option<u64>,
    /// Of the last batch that counts.
    last: Option<Header>,
    is_first: bool,
    position: JournalPosition,
}

impl Recovery {
    /// A scan that continues the state at `snapshot`. `fresh_journal` is the identity to take if there is no
    /// journal yet.
    pub fn new(snapshot: Zxid, fresh_journal: u64) -> Recovery {
        let position = JournalPosition::fresh(fresh_journal, snapshot);
        Recovery { snapshot, expected: None, last: None, is_first: true, position }
    }

    /// A scan of the history that `snapshot` says it belongs to: older segments than its floor are not looked at,
    /// and a journal it does not name is refused.
    pub fn of_history(snapshot: Zxid, floor: SegmentId, journal: u64, fresh_journal: u64) -> Recovery {
        let expected = (journal != 0).then_some(journal);
        let mut recovery = Recovery::new(snapshot, expected.unwrap_or(fresh_journal));
        recovery.expected = expected;
        recovery.position.floor = floor;
        recovery.position.next_segment = floor.max(recovery.position.next_segment);
        recovery
    }

    /// A segment in front of those that are read: the snapshot has all of it, and it holds nothing newer than `through`.
    pub fn covered(&mut self, id: SegmentId, through: Zxid) {
        match id < self.position.floor {
            true => self.position.superfluous.push(id),
            false => self.position.segments.push(SegmentSpan { id, last_zxid: through }),
        }
    }

    /// Reads one whole segment file; calls `replay` with every record newer than the snapshot, in order.
    ///
    /// Errors: [`Damage`]; also what `replay` itself finds wrong with a record.
    pub fn segment(
        &mut self,
        id: SegmentId,
        bytes: &[u8],
        mut replay: impl FnMut(Zxid, &[u8]) -> Result<(), String>,
    ) -> Result<(), Damage> {
        if id < self.position.floor {
            // Whatever it holds, this history does not.
            self.position.superfluous.push(id);
            return Ok(());
        }
        if std::mem::take(&mut self.is_first) {
            // Should there be nothing but prepared files, the first batch goes to the lowest of them.
            self.position.next_segment = id;
        }
        let mut offset = 0;
        while let Some(header) = self.batch_at(id, bytes, offset)? {
            self.records(id, offset, &header, &bytes[offset..], &mut replay)?;
            offset += header.disk_bytes();
            self.count(id, &header, offset, bytes.len());
        }
        self.check_rest(id, bytes, offset)
    }

    /// Where the journal stands, after the last segment.
    ///
    /// Errors: [`Damage`] if the journal ends before the snapshot does.
    pub fn finish(mut self) -> Result<JournalPosition, Damage> {
        let Some(last) = self.last else { return Ok(self.position) };
        let last_zxid = Zxid(last.last_zxid.get());
        if last_zxid < self.snapshot {
            // A snapshot is only taken of what the journal holds, so its end is gone. Nothing is lost that the
            // snapshot does not have, but appending here would leave a hole for every older snapshot.
            return Err(Damage {
                segment: last.segment(),
                offset: self.position.offset,
                what: format!("the journal ends at zxid {last_zxid}, before the snapshot of {}", self.snapshot),
                advice: "the snapshot holds all of it: to go on from the snapshot, move every journal file away".into(),
            });
        }
        self.position.last_zxid = last_zxid;
        Ok(self.position)
    }

    /// The batch at `offset` if it is the one that comes next; `None` if the journal does not go on here.
    fn batch_at(&mut self, id: SegmentId, bytes: &[u8], offset: usize) -> Result<Option<Header>, Damage> {
        let Some(rest) = bytes.get(offset..) else { return Ok(None) };
        let Some(header) = Header::read(rest).filter(|header| header.segment() == id) else { return Ok(None) };
        let damage = |what: String| Damage {
            segment: id,
            offset: offset as u64,
            what,
            advice: "restore this server's data from a backup or another member".into(),
        };
        if header.format.get() != FORMAT {
            return Err(Damage {
                advice: "it was written by another version of ringkeeper: start that one".into(),
                ..damage(format!("journal format {}", header.format.get()))
            });
        }
        let journal = header.journal.get();
        let is_strange = self.expected.is_some_and(|expected| expected != journal);
        if is_strange || self.last.is_some() && journal != self.position.journal {
            return Err(Damage {
                advice: "move the files that do not belong here out of the directory".into(),
                ..damage("this file belongs to another data directory's journal".into())
            });
        }
        if (bytes.len() as u64) < header.segment_bytes.get() {
            return Err(damage(format!("the file has {} of its {} bytes", bytes.len(), header.segment_bytes)));
        }
        if header.check_payload(rest).is_err() {
            if self.last.is_none_or(|last| header.batch().0 == last.batch().0.saturating_add(1)) {
                self.position.torn = Some((id, offset as u64));
            }
            return Ok(None);
        }
        let Some(last) = self.last else { return Ok(Some(header)) };
        let (previous, number) = (last.batch().0, header.batch().0);
        if number > previous.saturating_add(1) && offset == 0 && self.may_restart_at(&header) {
            self.forget_older();
            return Ok(Some(header));
        }
        if number != previous.saturating_add(1) {
            return Err(damage(format!("batch {number} stands where batch {} belongs", previous.saturating_add(1))));
        }
        if header.previous_crc.get() != last.header_crc.get() {
            return Err(damage(format!("batch {number} does not continue the one before it")));
        }
        Ok(Some(header))
    }

    /// Whether all that was read so far is older than the snapshot and this batch goes on from the snapshot:
    /// so it is when only some of the superfluous files were gone by the time the server stopped.
    fn may_restart_at(&self, header: &Header) -> bool {
        let first = header.first_zxid.get();
        self.last.is_some_and(|last| last.last_zxid.get() <= self.snapshot.0)
            && (first <= self.snapshot.0 || header.record_count.get() > 0 && self.snapshot.is_right_before(Zxid(first)))
    }

    fn forget_older(&mut self) {
        self.last = None;
        self.position.superfluous.extend(self.position.segments.drain(..).map(|segment| segment.id));
    }

    fn records(
        &mut self,
        id: SegmentId,
        offset: usize,
        header: &Header,
        batch: &[u8],
        replay: &mut impl FnMut(Zxid, &[u8]) -> Result<(), String>,
    ) -> Result<(), Damage> {
        let damage =
            |what: String, advice: &str| Damage { segment: id, offset: offset as u64, what, advice: advice.into() };
        // The first batch there is says where its journal starts: the snapshot must reach that far. In front of
        // a marker anything may have been; records of a new epoch start at its first counter.
        let first = Zxid(header.first_zxid.get());
        let starts_after = header.starts_after();
        let new_epoch = header.record_count.get() > 0 && first.epoch() > self.snapshot.epoch() && first.counter() <= 1;
        if self.last.is_none() && starts_after > self.snapshot && !new_epoch {
            return Err(damage(
                format!("the journal starts after zxid {starts_after}, the snapshot ends at {}", self.snapshot),
                "put the missing journal files or the newer snapshot back",
            ));
        }
        let mut previous = self.last.map_or(starts_after, |last| Zxid(last.last_zxid.get()));
        for body in header.bodies(batch) {
            let Some(zxid) = record_zxid(body) else {
                return Err(damage("a record is too short to be a transaction".into(), REPORT));
            };
            if !previous.is_logged_before(zxid) {
                return Err(damage(format!("zxid {zxid} follows {previous}"), REPORT));
            }
            previous = zxid;
            if zxid > self.snapshot {
                self.position.replayed += 1;
                replay(zxid, body).map_err(|what| damage(format!("transaction {zxid}: {what}"), REPORT))?;
            }
        }
        if previous.0 != header.last_zxid.get() {
            return Err(damage(format!("the batch says it ends at zxid {:#x}", header.last_zxid.get()), REPORT));
        }
        Ok(())
    }

    fn count(&mut self, id: SegmentId, header: &Header, end: usize, segment_bytes: usize) {
        let position = &mut self.position;
        let last_zxid = Zxid(header.last_zxid.get());
        match position.segments.last_mut() {
            Some(segment) if segment.id == id => segment.last_zxid = last_zxid,
            _ => position.segments.push(SegmentSpan { id, last_zxid }),
        }
        position.journal = header.journal.get();
        position.last_batch = header.batch();
        position.last_crc = header.header_crc.get();
        position.offset = end as u64;
        position.segment_bytes = segment_bytes as u64;
        position.next_segment = SegmentId(id.0.saturating_add(1));
        // What was torn at the end of the segment before was written again here.
        position.torn = None;
        self.last = Some(*header);
    }

    /// Nothing from `offset` on counts. If a later batch is whole, something before it has gone bad.
    fn check_rest(&self, id: SegmentId, bytes: &[u8], offset: usize) -> Result<(), Damage> {
        let last_batch = self.last.map_or(BatchId(0), |last| last.batch());
        for later in (offset..bytes.len()).step_by(limits::BLOCK_BYTES) {
            let Some(header) = Header::read(&bytes[later..]).filter(|header| header.segment() == id) else {
                continue;
            };
            let ours = self.last.is_none() || header.journal.get() == self.position.journal;
            if ours && header.batch() > last_batch && header.check_payload(&bytes[later..]).is_ok() {
                return Err(Damage {
                    segment: id,
                    offset: offset as u64,
                    what: format!(
                        "no valid batch {} here, though batch {} at offset {later} is whole",
                        last_batch.0.saturating_add(1),
                        header.batch().0
                    ),
                    advice: "acknowledged transactions are damaged: restore this server's data from a backup or \
                             another member"
                        .into(),
                });
            }
        }
        Ok(())
    }
}

/// Which journal a segment file says it belongs to, if its front says that it is this segment at all.
pub fn identity_in(id: SegmentId, front: &[u8]) -> Option<u64> {
    Header::read(front).filter(|header| header.segment() == id).map(|header| header.journal.get())
}

/// The bodies of the records that a segment file seems to hold, before anything of them is checked: for estimates.
pub fn glance(id: SegmentId, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut offset = 0;
    let batches = std::iter::from_fn(move || {
        let rest = bytes.get(offset..)?;
        let header = Header::read(rest).filter(|header| header.segment() == id)?;
        offset += header.disk_bytes();
        Some(header.bodies(rest))
    });
    batches.flatten()
}

const REPORT: &str = "its checksum is right, so it was written like this: please report it";

/// Session and cxid come first.
pub fn record_zxid(body: &[u8]) -> Option<Zxid> {
    body.get(12..)?.first_chunk().map(|bytes| Zxid(i64::from_be_bytes(*bytes)))
}

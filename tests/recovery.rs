//! The journal after a bad night: cut, flipped, shuffled and shortened, it gives back every record that landed,
//! or says where it is damaged. Never silently less.

use ringkeeper::base::{Instant, SessionId, WallMs, Xid, Zxid, limits};
use ringkeeper::codec::txn::{self, Txn, TxnHeader};
use ringkeeper::journal::{Batch, Damage, DiskEffect, Journal, JournalPosition, Recovery, SegmentId};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Where the journal stands, and the records behind the snapshot.
type Recovered = (JournalPosition, Vec<(Zxid, Vec<u8>)>);

const BLOCK: usize = limits::BLOCK_BYTES;

/// A directory of segment files, in memory.
#[derive(Clone, Default)]
struct Disk {
    segments: BTreeMap<SegmentId, Vec<u8>>,
}

impl Disk {
    fn write(&mut self, batch: &Batch) {
        let file = self.segments.get_mut(&batch.segment).expect("a prepared segment");
        file[batch.offset as usize..][..batch.bytes.len()].copy_from_slice(&batch.bytes);
    }

    /// Carries out everything but writes, which are handed back.
    fn carry_out(&mut self, journal: &mut Journal, effects: &mut Vec<DiskEffect>) -> Option<Batch> {
        let mut write = None;
        for effect in effects.drain(..) {
            match effect {
                DiskEffect::WriteBatch(batch) => {
                    assert!(write.replace(batch).is_none(), "two writes at once");
                }
                DiskEffect::PrepareSegment { segment, bytes, recycle } => {
                    let mut file = recycle.and_then(|old| self.segments.remove(&old)).unwrap_or_default();
                    file.resize(bytes as usize, 0);
                    self.segments.insert(segment, file);
                    journal.segment_ready(segment);
                }
                DiskEffect::DeleteSegment(segment) => {
                    assert!(self.segments.remove(&segment).is_some());
                }
                other => panic!("not the journal's: {other:?}"),
            }
        }
        write
    }

    fn recover(&self, snapshot: Zxid) -> Result<Recovered, Damage> {
        let mut recovery = Recovery::new(snapshot, 42);
        let mut records = Vec::new();
        for (id, bytes) in &self.segments {
            recovery.segment(*id, bytes, |zxid, body| {
                records.push((zxid, body.to_vec()));
                Ok(())
            })?;
        }
        Ok((recovery.finish()?, records))
    }
}

fn record(zxid: Zxid, data_bytes: usize) -> Vec<u8> {
    let header = TxnHeader { session: SessionId(5), cxid: Xid(1), zxid, time: WallMs(9) };
    let data = vec![zxid.0 as u8; data_bytes];
    let txn = Txn::SetData { path: Cow::Borrowed("/a"), data: Some(Cow::Owned(data)), version: 1 };
    let mut bytes = Vec::new();
    txn::encode(&mut bytes, &header, &txn, None);
    bytes
}

/// A journal, its disk, and what it was told.
struct Bench {
    disk: Disk,
    journal: Journal,
    records: Vec<(Zxid, Vec<u8>)>,
}

impl Bench {
    fn new() -> Bench {
        let position = JournalPosition::fresh(42, Zxid::ZERO);
        Bench::on(Disk::default(), position, Vec::new())
    }

    fn on(disk: Disk, position: JournalPosition, records: Vec<(Zxid, Vec<u8>)>) -> Bench {
        Bench { disk, journal: Journal::with_small_segments(position, 4 * BLOCK as u64), records }
    }

    fn append(&mut self, data_bytes: usize) {
        let zxid = self.journal.last_appended().next();
        let bytes = record(zxid, data_bytes);
        self.journal.append(zxid, |out| out.extend_from_slice(&bytes));
        self.records.push((zxid, bytes));
    }

    /// The next write, not yet on disk.
    fn next_write(&mut self) -> Option<Batch> {
        let mut effects = Vec::new();
        // Twice: the first round may only prepare a segment.
        for _ in 0..2 {
            self.journal.next_batch(&mut effects);
            if let Some(batch) = self.disk.carry_out(&mut self.journal, &mut effects) {
                return Some(batch);
            }
        }
        None
    }

    /// Lets everything queued land.
    fn settle(&mut self) {
        while let Some(batch) = self.next_write() {
            self.disk.write(&batch);
            let durable = self.journal.landed(batch.id);
            assert_eq!(durable.through(), batch.through);
        }
        assert_eq!(self.journal.last_durable(), self.journal.last_appended());
    }

    fn seal(&mut self) {
        let mut effects = Vec::new();
        self.journal.seal_when_idle(Instant(0), &mut effects);
        self.journal.seal_when_idle(Instant(0).plus_ms(50), &mut effects);
        let batch = self.disk.carry_out(&mut self.journal, &mut effects).or_else(|| self.next_write());
        let batch = batch.expect("an idle journal seals itself");
        assert_eq!(batch.record_count, 0);
        self.disk.write(&batch);
        self.journal.landed(batch.id);
        self.journal.seal_when_idle(Instant(0).plus_ms(100), &mut effects);
        assert!(effects.is_empty(), "one marker is enough");
    }
}

/// A journal of several segments whose batches have one to three records.
fn well_used() -> Bench {
    let mut bench = Bench::new();
    bench.settle();
    for round in 0..9 {
        for part in 0..=round % 3 {
            bench.append(100 + 1500 * part);
        }
        bench.settle();
    }
    bench
}

#[test]
fn what_landed_is_found_again() {
    let bench = well_used();
    assert!(bench.disk.segments.len() >= 3, "the test should cross segments");
    let (position, records) = bench.disk.recover(Zxid::ZERO).unwrap();
    assert_eq!(records, bench.records);
    assert_eq!(position.last_zxid, bench.journal.last_durable());
    // Behind a snapshot only the rest is replayed.
    let (position, tail) = bench.disk.recover(Zxid(5)).unwrap();
    assert_eq!(tail, bench.records[5..]);
    assert_eq!(position.replayed as usize, tail.len());
}

#[test]
fn a_write_cut_at_any_byte_costs_only_itself() {
    for blocks in 1..=3 {
        let mut bench = well_used();
        let landed = bench.records.clone();
        bench.append(BLOCK * blocks - 2000);
        let batch = bench.next_write().expect("something was appended");
        assert_eq!(batch.bytes.len(), blocks * BLOCK);
        for cut in 0..=batch.bytes.len() {
            let mut disk = bench.disk.clone();
            let mut torn = batch.clone();
            let file = &disk.segments[&batch.segment];
            torn.bytes[cut..].copy_from_slice(&file[batch.offset as usize + cut..][..batch.bytes.len() - cut]);
            disk.write(&torn);
            let (position, records) = disk.recover(Zxid::ZERO).unwrap();
            let complete = torn.bytes == batch.bytes;
            assert_eq!(records, if complete { &bench.records[..] } else { &landed[..] }, "cut at {cut}");
            assert!(complete || position.torn.is_some() || cut < 80, "cut at {cut} goes unmentioned");
        }
    }
}

#[test]
fn a_torn_write_never_haunts_the_batches_after_it() {
    // Any subset of its blocks may have landed; then the server goes on, with batches of other lengths.
    for landed_blocks in 0..8u32 {
        for next_blocks in 1..=3 {
            let mut bench = well_used();
            let acknowledged = bench.records.clone();
            bench.append(BLOCK * 3 - 2000);
            let batch = bench.next_write().expect("something was appended");
            let file = bench.disk.segments.get_mut(&batch.segment).unwrap();
            for block in (0..3).filter(|block| landed_blocks & 1 << block != 0) {
                let range = block * BLOCK..(block + 1) * BLOCK;
                file[batch.offset as usize..][range.clone()].copy_from_slice(&batch.bytes[range]);
            }
            let (position, records) = bench.disk.recover(Zxid::ZERO).unwrap();
            assert!(records == acknowledged || landed_blocks == 7 && records == bench.records);
            let mut again = Bench::on(bench.disk, position, records);
            for _ in 0..5 {
                again.append(BLOCK * next_blocks - 2000);
                again.settle();
                let (_, records) = again.disk.recover(Zxid::ZERO).unwrap();
                assert_eq!(records, again.records, "blocks {landed_blocks:03b}, then {next_blocks}");
            }
        }
    }
}

#[test]
fn a_flipped_byte_anywhere_loses_no_acknowledged_record_silently() {
    let mut bench = well_used();
    bench.seal();
    let (mut refused, mut harmless) = (0, 0);
    for (id, file) in &bench.disk.segments {
        for offset in 0..file.len() {
            let mut disk = bench.disk.clone();
            disk.segments.get_mut(id).unwrap()[offset] ^= 0x10;
            match disk.recover(Zxid::ZERO) {
                Ok((_, records)) => {
                    assert_eq!(records, bench.records, "{id:?} offset {offset}");
                    harmless += 1;
                }
                Err(damage) => {
                    assert!(!damage.to_string().is_empty());
                    refused += 1;
                }
            }
        }
    }
    let payload: usize = bench.records.iter().map(|(_, body)| body.len()).sum();
    assert!(refused > payload, "only {refused} of {payload} payload bytes are watched over");
    assert!(harmless > 0, "padding is not watched over");
}

#[test]
fn an_unsealed_journal_loses_at_most_its_last_batch_to_a_flipped_byte() {
    let mut bench = well_used();
    bench.append(10);
    bench.settle();
    let before = bench.records.len() - 1;
    for (id, file) in &bench.disk.segments {
        for offset in (0..file.len()).step_by(7) {
            let mut disk = bench.disk.clone();
            disk.segments.get_mut(id).unwrap()[offset] ^= 0x01;
            if let Ok((_, records)) = disk.recover(Zxid::ZERO) {
                assert!(records == bench.records || records == bench.records[..before], "{id:?} offset {offset}");
            }
        }
    }
}

#[test]
fn lost_files_blocks_and_lengths_are_damage() {
    let mut bench = well_used();
    bench.seal();
    let ids: Vec<SegmentId> = bench.disk.segments.keys().copied().collect();
    let (used, _) = bench.disk.recover(Zxid::ZERO).unwrap();
    for id in ids.iter().copied().filter(|id| used.segments.iter().any(|span| span.id == *id)) {
        let is_last = used.segments.last().unwrap().id == id;
        let mut lost = bench.disk.clone();
        lost.segments.remove(&id);
        // The file being written holds only what nothing else can vouch for.
        assert!(is_last || lost.recover(Zxid::ZERO).is_err(), "{id:?} is gone unnoticed");
        let mut short = bench.disk.clone();
        short.segments.get_mut(&id).unwrap().pop();
        assert!(short.recover(Zxid::ZERO).is_err(), "{id:?} is shorter unnoticed");
        let mut wiped = bench.disk.clone();
        wiped.segments.get_mut(&id).unwrap()[..BLOCK].fill(0);
        let silent = wiped.recover(Zxid::ZERO).is_ok_and(|(_, records)| records != bench.records);
        assert!(!silent || is_last, "the first block of {id:?} is gone unnoticed");
    }
}

#[test]
fn a_journal_that_ends_before_its_snapshot_or_starts_after_it_is_damage() {
    let bench = well_used();
    let end = bench.journal.last_durable();
    assert!(bench.disk.recover(end).is_ok());
    assert!(bench.disk.recover(end.next()).unwrap_err().what.contains("before the snapshot"));
    let mut late = bench.disk.clone();
    let (first, last_zxid) = {
        let span = bench.journal.segments().next().unwrap();
        (span.id, span.last_zxid)
    };
    late.segments.remove(&first);
    assert!(late.recover(last_zxid).is_ok());
    assert!(late.recover(Zxid(last_zxid.0 - 1)).unwrap_err().what.contains("starts after"));
}

#[test]
fn segments_are_retired_recycled_and_the_stale_batches_in_them_ignored() {
    let mut bench = well_used();
    let mut oldest_kept = Zxid::ZERO;
    for round in 0..40 {
        bench.append(200 + 900 * (round % 4));
        bench.settle();
        if round % 3 == 0 {
            let snapshot = Zxid(bench.journal.last_durable().0 - 2);
            let mut effects = Vec::new();
            bench.journal.retire_before(snapshot, &mut effects);
            assert!(bench.disk.carry_out(&mut bench.journal, &mut effects).is_none());
            oldest_kept = snapshot;
        }
        let (position, records) = bench.disk.recover(oldest_kept).unwrap();
        assert_eq!(records, bench.records[oldest_kept.0 as usize..]);
        assert_eq!(position.last_zxid, bench.journal.last_durable());
    }
    assert!(bench.disk.segments.len() <= 6, "{} files", bench.disk.segments.len());
    // Deletions that were half done when the power went leave a gap that the snapshot covers.
    let ids: Vec<SegmentId> = bench.journal.segments().map(|span| span.id).collect();
    let mut gap = well_used().disk;
    gap.segments.retain(|id, _| id.0 == 1);
    gap.segments.extend(bench.disk.segments.iter().filter(|(id, _)| ids.contains(id)).map(|(id, b)| (*id, b.clone())));
    let (position, records) = gap.recover(oldest_kept).unwrap();
    assert_eq!(position.superfluous, [SegmentId(1)]);
    assert_eq!(records, bench.records[oldest_kept.0 as usize..]);
}

#[test]
fn the_file_of_another_journal_is_refused() {
    let ours = well_used();
    let mut other = Bench::on(Disk::default(), JournalPosition::fresh(43, Zxid::ZERO), Vec::new());
    other.settle();
    let mut mixed = ours.disk.clone();
    let stranger = other.disk.segments.into_values().next().unwrap();
    let last = ours.journal.segments().last().unwrap().id;
    mixed.segments.insert(SegmentId(last.0 + 1), stranger.clone());
    // Under a later number it is only a file of another segment: not ours to read, nothing is lost.
    assert_eq!(mixed.recover(Zxid::ZERO).unwrap().1, ours.records);
    mixed.segments.insert(SegmentId(1), stranger);
    assert!(mixed.recover(Zxid::ZERO).is_err());
}

#[test]
fn batches_gather_what_queues_behind_a_write() {
    let mut bench = Bench::new();
    bench.settle();
    bench.append(10);
    let first = bench.next_write().expect("one waits");
    for _ in 0..5 {
        bench.append(10);
    }
    assert!(bench.next_write().is_none(), "one write at a time");
    bench.disk.write(&first);
    bench.journal.landed(first.id);
    let second = bench.next_write().expect("five wait");
    assert_eq!((first.record_count, second.record_count), (1, 5));
    let stats = bench.journal.stats();
    assert_eq!((stats.batches, stats.records, stats.queued_records), (2, 6, 0));
    assert_eq!((stats.batches_by_records[0], stats.batches_by_records[2]), (1, 1));
}

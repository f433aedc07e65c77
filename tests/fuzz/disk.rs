//! Our own files, damaged: a journal gives back exactly what stands in front of the damage or refuses, a snapshot
//! gives back all or refuses.
//!
//! An input is a list of edits of a good journal or snapshot: small, and it says what was damaged. With the
//! last kind of edit the checksums are made right again, as no disk but an enemy does: then only panics count.

use super::Target;
use super::dice::Dice;
use super::txns::{self, RULES};
use ringkeeper::base::{SessionId, WallMs, Zxid, limits};
use ringkeeper::journal::{BatchId, DiskEffect, Journal, JournalPosition, Recovery, SegmentId};
use ringkeeper::mail::Changes;
use ringkeeper::snapshot::{self, SnapshotHead, SnapshotWriter};
use ringkeeper::tree::Tree;
use std::collections::BTreeMap;
use std::sync::OnceLock;

pub const JOURNALS: Target = Target { name: "journals", make: make_edits, run: run_journal };
pub const SNAPSHOTS: Target = Target { name: "snapshots", make: make_edits, run: run_snapshot };

const BLOCK: usize = limits::BLOCK_BYTES;
const EDIT_BYTES: usize = 16;
const KINDS: u8 = 8;

/// Input: one byte of choice, then edits of `EDIT_BYTES`: kind, file, place 4, length 2, bytes 8.
fn make_edits(dice: &mut Dice) -> Vec<u8> {
    let mut input = vec![dice.next() as u8];
    for _ in 0..dice.below(5) {
        let kind = if dice.one_in(2) { dice.below(3) } else { dice.below(usize::from(KINDS)) } as u8;
        // Mostly near the front of a block, where the headers are.
        let place = match dice.below(3) {
            0 => dice.next() as u32,
            1 => (dice.below(16) * BLOCK + dice.below(40) * 4) as u32,
            _ => (dice.below(40) * 4) as u32,
        };
        input.extend([kind, dice.next() as u8]);
        input.extend(place.to_be_bytes());
        input.extend((dice.below(300) as u16).to_be_bytes());
        input.extend(dice.number().to_le_bytes());
    }
    input
}

/// Edits `files`; whether checksums were forged.
fn edit(files: &mut [Vec<u8>], edits: &[u8], reseal: fn(&mut [u8])) -> bool {
    let mut forged = false;
    for edit in edits.chunks_exact(EDIT_BYTES) {
        let number = usize::from(edit[1]) % files.len();
        let file = &mut files[number];
        if file.is_empty() {
            continue;
        }
        let place = u32::from_be_bytes(edit[2..6].try_into().expect("four bytes")) as usize % file.len();
        let length = usize::from(u16::from_be_bytes([edit[6], edit[7]]));
        let end = (place + length).min(file.len());
        let bytes = &edit[8..];
        match edit[0] % KINDS {
            0 => file[place] ^= 1 << (bytes[0] % 8),
            1 => {
                let count = [4, 8][length % 2].min(file.len() - place);
                file[place..place + count].copy_from_slice(&bytes[..count]);
            }
            2 => file[place..end].fill(0),
            3 => file.truncate(place),
            4 => {
                // A block that was written to another place.
                let (from, to) = (place / BLOCK * BLOCK, length * BLOCK % file.len() / BLOCK * BLOCK);
                let block = file[from..(from + BLOCK).min(file.len())].to_vec();
                let room = block.len().min(file.len() - to);
                file[to..to + room].copy_from_slice(&block[..room]);
            }
            5 => file.clear(),
            6 => {
                let other = length % files.len();
                files.swap(number, other);
            }
            _ => {
                let count = 8.min(file.len() - place);
                file[place..place + count].copy_from_slice(&bytes[..count]);
                reseal(file);
                forged = true;
            }
        }
    }
    forged
}

/// A batch as it landed.
struct Landed {
    segment: usize,
    offset: usize,
    bytes: Vec<u8>,
    through: Zxid,
}

struct GoodJournal {
    files: Vec<Vec<u8>>,
    landed: Vec<Landed>,
    records: Vec<(Zxid, Vec<u8>)>,
}

/// Forty batches, markers among them, over several segments.
fn good_journal() -> &'static GoodJournal {
    static GOOD: OnceLock<GoodJournal> = OnceLock::new();
    GOOD.get_or_init(|| {
        const SEGMENT_BYTES: u64 = 16 * BLOCK as u64;
        let mut journal = Journal::with_small_segments(JournalPosition::fresh(77, Zxid::ZERO), SEGMENT_BYTES);
        let (mut files, mut landed, mut records) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut dice = Dice::new(1, 1, 1);
        let mut now = ringkeeper::base::Instant(0);
        for round in 0..40 {
            let mut effects = Vec::new();
            if round % 7 == 3 {
                for _ in 0..2 {
                    journal.seal_when_idle(now, &mut effects);
                    now = now.plus_ms(100);
                }
            } else {
                for _ in 0..1 + dice.below(5) {
                    let zxid = Zxid(records.len() as i64 + 1);
                    let mut record = txns::payload(&mut dice, zxid.0);
                    record.resize(record.len() + dice.below(2000), 0);
                    journal.append(zxid, |out| out.extend_from_slice(&record));
                    records.push((zxid, record));
                }
            }
            journal.next_batch(&mut effects);
            while let Some(effect) = effects.pop() {
                match effect {
                    DiskEffect::PrepareSegment { segment, bytes, .. } => {
                        files.insert(segment.0, vec![0; bytes as usize]);
                        journal.segment_ready(segment);
                    }
                    DiskEffect::WriteBatch(batch) => {
                        let (segment, offset) = (batch.segment.0 as usize - 1, batch.offset as usize);
                        let file = files.get_mut(&batch.segment.0).expect("a prepared segment");
                        file[offset..offset + batch.bytes.len()].copy_from_slice(&batch.bytes);
                        landed.push(Landed { segment, offset, bytes: batch.bytes, through: batch.through });
                        assert_eq!(batch.id, BatchId(landed.len() as u64));
                        journal.landed(batch.id);
                    }
                    other => panic!("nothing else was asked for: {other:?}"),
                }
                journal.next_batch(&mut effects);
            }
        }
        assert!(files.len() > 2 && landed.len() >= 40 && journal.stats().markers > 3);
        GoodJournal { files: files.into_values().collect(), landed, records }
    })
}

fn run_journal(input: &[u8]) {
    let Some((choice, edits)) = input.split_first() else { return };
    let good = good_journal();
    let mut files = good.files.clone();
    let forged = edit(&mut files, edits, reseal_journal);
    let snapshot = Zxid([0, 0, 0, 1, 20, 60][usize::from(*choice) % 6]);
    let mut replayed = Vec::new();
    let mut recovery = Recovery::new(snapshot, 99);
    let scanned = (1..).zip(&files).try_for_each(|(number, bytes)| {
        recovery.segment(SegmentId(number), bytes, |zxid, record| {
            replayed.push((zxid, record.to_vec()));
            Ok(())
        })
    });
    let found = scanned.and_then(|()| recovery.finish());
    if forged {
        return;
    }
    let is_intact =
        |batch: &Landed| files[batch.segment].get(batch.offset..).is_some_and(|rest| rest.starts_with(&batch.bytes));
    let intact: Vec<bool> = good.landed.iter().map(is_intact).collect();
    let count = intact.len();
    match found {
        Ok(position) => {
            let end = position.last_batch.0 as usize;
            let lost = (end..count).find(|index| intact[*index]);
            assert_eq!(lost, None, "batch {end} counts as the last, though a later one is whole");
            let last_zxid = end.checked_sub(1).map_or(Zxid::ZERO, |index| good.landed[index].through);
            let expected = good.records.iter().filter(|(zxid, _)| *zxid > snapshot && *zxid <= last_zxid);
            assert!(replayed.iter().eq(expected), "other records came back than were written");
            if end > 0 {
                assert_eq!(position.last_zxid, last_zxid);
            }
        }
        Err(damage) => {
            assert!(intact.contains(&false) || files != good.files, "a good journal is refused: {damage}");
            assert!(replayed.iter().all(|record| good.records.contains(record)), "a record was made up");
            // Only a torn end: that is what a crash leaves, and no reason to refuse. (Whole blocks of another
            // place are not: the write went astray.)
            let is_torn = |edit: &[u8]| edit[0] % KINDS <= 2;
            let (last, rest) = intact.split_last().expect("there are batches");
            let is_torn_end = !last
                && edits.chunks_exact(EDIT_BYTES).all(is_torn)
                && rest.iter().all(|whole| *whole)
                && same_outside(&files, good);
            assert!(!is_torn_end, "a torn last batch is refused: {damage}");
        }
    }
}

/// Whether nothing but the last batch differs.
fn same_outside(files: &[Vec<u8>], good: &GoodJournal) -> bool {
    let last = good.landed.last().expect("there are batches");
    let (start, end) = (last.offset, last.offset + last.bytes.len());
    files.iter().zip(&good.files).enumerate().all(|(number, (now, before))| {
        now.len() == before.len()
            && (0..now.len()).all(|at| now[at] == before[at] || number == last.segment && (start..end).contains(&at))
    })
}

/// Gives every header in front of a block, and every record behind it, checksums that fit.
fn reseal_journal(file: &mut [u8]) {
    const HEADER: usize = 80;
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
    for start in (0..file.len()).step_by(BLOCK) {
        let rest = &mut file[start..];
        if !rest.starts_with(b"rkjournl") || rest.len() < HEADER {
            continue;
        }
        let end = (HEADER + word(rest, 64)).min(rest.len());
        let (mut at, mut headers_crc) = (HEADER, 0);
        while at + 8 <= end {
            let body_end = (at + 8).saturating_add(word(rest, at));
            if body_end > end {
                break;
            }
            let crc = crc32c::crc32c(&rest[at + 8..body_end]);
            rest[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
            headers_crc = crc32c::crc32c_append(headers_crc, &rest[at..at + 8]);
            at = body_end;
        }
        rest[68..72].copy_from_slice(&headers_crc.to_le_bytes());
        let crc = crc32c::crc32c(&rest[..76]);
        rest[76..80].copy_from_slice(&crc.to_le_bytes());
    }
}

/// A snapshot of a few hundred znodes, over several chunks of znodes.
fn good_snapshot() -> &'static (Vec<u8>, i64) {
    static GOOD: OnceLock<(Vec<u8>, i64)> = OnceLock::new();
    GOOD.get_or_init(|| {
        let mut tree = Tree::new(RULES);
        let mut dice = Dice::new(2, 2, 2);
        for zxid in 1..400 {
            let payload = txns::payload(&mut dice, zxid);
            let entry = ringkeeper::codec::txn::decode(&payload).expect("as encoded");
            let _ = tree.apply(&entry.header, &entry.txn, &mut Changes::new());
        }
        let head = SnapshotHead {
            zxid: Zxid(400),
            wall: WallMs(1),
            digest: tree.digest(),
            max_session: SessionId(9),
            floor: SegmentId(2),
            journal: 77,
            epoch: 0,
        };
        let sessions = [(SessionId(7), 4000), (SessionId(8), i32::MAX)];
        let mut writer = SnapshotWriter::begin(&head, sessions.into_iter(), tree.acls());
        tree.snapshot_begin();
        while tree.snapshot_next(100, &mut |node| writer.node(node)) {}
        (writer.finish(), tree.digest())
    })
}

fn run_snapshot(input: &[u8]) {
    let (good, digest) = good_snapshot();
    let mut files = [good.clone()];
    let forged = edit(&mut files, input.get(1..).unwrap_or_default(), reseal_snapshot);
    match snapshot::load(&files[0][..], RULES, 0) {
        Ok(loaded) if !forged => {
            assert!(files[0] == *good, "a damaged snapshot was loaded");
            assert_eq!((loaded.zxid, loaded.sessions.len()), (Zxid(400), 2));
            assert_eq!((loaded.digest, loaded.tree.digest_from_scratch()), (*digest, *digest));
        }
        Ok(loaded) => assert_eq!(loaded.tree.digest(), loaded.tree.digest_from_scratch()),
        Err(error) => assert!(files[0] != *good, "a good snapshot is refused: {error}"),
    }
}

fn reseal_snapshot(file: &mut [u8]) {
    const HEADER: usize = 88;
    const CHUNK: usize = 24;
    if file.len() < HEADER {
        return;
    }
    let file_crc = crc32c::crc32c(&file[..HEADER - 4]);
    file[HEADER - 4..HEADER].copy_from_slice(&file_crc.to_le_bytes());
    let mut at = HEADER;
    while at + CHUNK <= file.len() {
        let length = u32::from_le_bytes(file[at + 12..at + 16].try_into().expect("four bytes")) as usize;
        let end = (at + CHUNK).saturating_add(length).min(file.len());
        let crc = crc32c::crc32c(&file[at + CHUNK..end]);
        file[at + 16..at + 20].copy_from_slice(&crc.to_le_bytes());
        let crc = crc32c::crc32c_append(file_crc, &file[at..at + 20]);
        file[at + 20..at + 24].copy_from_slice(&crc.to_le_bytes());
        at = end;
    }
}

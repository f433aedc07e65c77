//! Which learners get a stretch of the journal, and that it is exactly what they lack.

use std::io::{self, Read};

use super::stretch::{Stretch, StretchNews, StretchOrder};
use super::{BootMedia, NoMedia};
use crate::base::{LinkId, Zxid};
use crate::codec::peer::PacketKind;
use crate::codec::peer_stream::cut;
use crate::journal::SegmentId;
use crate::journal::written::Written;

/// A disk with nothing but a journal on it, written by the real writer.
pub(super) struct Disk(pub Written);

impl BootMedia for Disk {
    fn snapshots(&self) -> io::Result<Vec<Zxid>> {
        NoMedia.snapshots()
    }
    fn read_snapshot(&self, zxid: Zxid) -> io::Result<Box<dyn Read>> {
        NoMedia.read_snapshot(zxid)
    }
    fn segments(&self) -> io::Result<Vec<SegmentId>> {
        Ok(self.0.files.keys().copied().collect())
    }
    fn read_segment(&self, segment: SegmentId, bytes: &mut Vec<u8>) -> io::Result<()> {
        bytes.clone_from(self.0.files.get(&segment).ok_or(io::ErrorKind::NotFound)?);
        Ok(())
    }
}

/// Of a record.
const RECORD_BYTES: usize = 700;

impl Disk {
    /// `zxids`, four to a batch, behind a history that ends at `start`.
    pub fn with(start: Zxid, zxids: impl IntoIterator<Item = i64>) -> Disk {
        let mut written = Written::behind(start, 16 << 10);
        written.flush();
        for (count, zxid) in zxids.into_iter().enumerate() {
            written.append(zxid, RECORD_BYTES);
            if count % 4 == 3 {
                written.flush();
            }
        }
        written.flush();
        Disk(written)
    }

    fn order(&self, after: i64, through: i64, bytes_max: u64) -> StretchOrder {
        StretchOrder {
            link: LinkId(3),
            journal: self.0.journal.identity(),
            segments: self.0.journal.segments_from(Zxid(after)),
            after: Zxid(after),
            through: Zxid(through),
            bytes_max,
        }
    }

    /// The zxids a learner at `after` is sent, or why not.
    fn stretch(&self, after: i64, through: i64, bytes_max: u64) -> Result<Vec<i64>, String> {
        let mut stretch = Stretch::new(self.order(after, through, bytes_max));
        match step(&mut stretch, self) {
            StretchNews::Proven { .. } => Ok(read(&mut stretch, self)),
            StretchNews::Refused { why, .. } => Err(why),
            other => panic!("{other:?}"),
        }
    }
}

fn step(stretch: &mut Stretch, disk: &Disk) -> StretchNews {
    loop {
        assert!(stretch.is_busy());
        if let Some(news) = stretch.step(disk) {
            return news;
        }
    }
}

fn read(stretch: &mut Stretch, disk: &Disk) -> Vec<i64> {
    let mut found = Vec::new();
    loop {
        assert!(!stretch.is_busy() && stretch.step(disk).is_none(), "nothing is read ahead");
        stretch.read_on();
        let StretchNews::Chunk { bytes, is_last, link } = step(stretch, disk) else { panic!("a chunk was due") };
        assert_eq!(link, LinkId(3));
        let mut rest = &bytes[..];
        while let Some((packet, length)) = cut(rest, 1 << 20).unwrap() {
            rest = &rest[length..];
            match packet.kind {
                PacketKind::Proposal => {
                    assert_eq!(packet.data.unwrap().len(), RECORD_BYTES);
                    found.push(packet.zxid.0);
                }
                kind => assert_eq!((kind, packet.zxid.0), (PacketKind::Commit, *found.last().unwrap())),
            }
        }
        assert!(rest.is_empty());
        assert_eq!(is_last, stretch.is_over());
        if is_last {
            return found;
        }
    }
}

const ONE: i64 = 1 << 32;
const TWO: i64 = 2 << 32;
const FOUR: i64 = 4 << 32;

/// Epochs 1, 2 and 4; nobody wrote anything in 3.
fn epochs() -> Disk {
    Disk::with(Zxid::ZERO, (1..=9).map(|n| ONE + n).chain((1..=20).map(|n| TWO + n)).chain([FOUR + 1, FOUR + 2]))
}

const ENOUGH: u64 = 1 << 40;

#[test]
fn a_learner_in_the_history_gets_all_that_follows_across_epochs() {
    let disk = epochs();
    let all: Vec<i64> = (3..=9).map(|n| ONE + n).chain((1..=20).map(|n| TWO + n)).chain([FOUR + 1]).collect();
    assert_eq!(disk.stretch(ONE + 2, FOUR + 1, ENOUGH), Ok(all));
    assert_eq!(disk.stretch(ONE + 9, TWO + 2, ENOUGH), Ok(vec![TWO + 1, TWO + 2]));
    assert_eq!(disk.stretch(TWO + 20, FOUR + 1, ENOUGH), Ok(vec![FOUR + 1]));
    assert_eq!(disk.stretch(TWO + 5, TWO + 5, 0), Ok(vec![]));
}

#[test]
fn a_transaction_of_another_history_is_not_in_this_one() {
    let disk = epochs();
    for after in [ONE + 10, TWO + 21, 3 * ONE + 1, FOUR + 3, 5] {
        assert!(disk.stretch(after, FOUR + 2, ENOUGH).is_err(), "{after:#x}");
    }
}

/// As the reference: its log must reach back before the learner's zxid, which belongs to no transaction.
#[test]
fn an_epoch_that_was_begun_and_not_written_in_counts_as_all_before_it() {
    let disk = epochs();
    let second: Vec<i64> = (1..=20).map(|n| TWO + n).collect();
    assert_eq!(disk.stretch(TWO, TWO + 20, ENOUGH), Ok(second));
    assert_eq!(disk.stretch(3 * ONE, FOUR + 2, ENOUGH), Ok(vec![FOUR + 1, FOUR + 2]));
    assert!(disk.stretch(ONE, TWO + 20, ENOUGH).is_err(), "nothing is known of what was before epoch 1");
    assert!(disk.stretch(0, TWO + 20, ENOUGH).is_err());
}

#[test]
fn a_history_that_begins_with_a_snapshot_leads_on_from_it() {
    let disk = Disk::with(Zxid(ONE + 4), (5..=9).map(|n| ONE + n));
    assert_eq!(disk.stretch(ONE + 4, ONE + 6, ENOUGH), Ok(vec![ONE + 5, ONE + 6]));
    assert_eq!(disk.stretch(ONE + 4, ONE + 4, ENOUGH), Ok(vec![]));
    assert!(disk.stretch(ONE + 3, ONE + 6, ENOUGH).is_err());
}

#[test]
fn a_stretch_that_is_worth_more_than_a_snapshot_is_refused() {
    let disk = epochs();
    let bytes = 4 * RECORD_BYTES as u64;
    assert_eq!(disk.stretch(TWO + 1, TWO + 5, bytes).unwrap().len(), 4);
    assert!(disk.stretch(TWO + 1, TWO + 5, bytes - 1).unwrap_err().contains("more than"));
}

#[test]
fn a_journal_that_does_not_lead_to_what_is_in_memory_is_refused() {
    let disk = epochs();
    assert!(disk.stretch(TWO + 1, FOUR + 3, ENOUGH).is_err(), "it ends before");
    assert!(disk.stretch(TWO + 1, 3 * ONE + 1, ENOUGH).is_err(), "it goes past");
    let mut holey = epochs();
    let segments: Vec<SegmentId> = holey.0.files.keys().copied().collect();
    holey.0.files.remove(&segments[1]);
    assert!(holey.stretch(ONE + 1, FOUR + 1, ENOUGH).is_err());
}

#[test]
fn a_long_stretch_comes_in_chunks_and_ends_if_its_files_do() {
    let mut disk = Disk::with(Zxid::ZERO, (1..=2000).map(|n| ONE + n));
    assert_eq!(disk.stretch(ONE + 1, ONE + 2000, ENOUGH).unwrap().len(), 1999);
    let mut stretch = Stretch::new(disk.order(ONE + 1, ONE + 2000, ENOUGH));
    assert!(matches!(step(&mut stretch, &disk), StretchNews::Proven { .. }));
    stretch.read_on();
    assert!(matches!(step(&mut stretch, &disk), StretchNews::Chunk { is_last: false, .. }));
    disk.0.files.clear();
    stretch.read_on();
    let mut news = step(&mut stretch, &disk);
    while let StretchNews::Chunk { is_last, .. } = news {
        assert!(!is_last);
        stretch.read_on();
        news = step(&mut stretch, &disk);
    }
    assert!(matches!(news, StretchNews::Broken { .. }) && stretch.is_over());
}

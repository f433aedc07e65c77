//! Another history in the same journal: it begins in a fresh segment, under an identity of its own.
//!
//! ```text
//!   restart(after) -> floor      nothing is written; what is appended queues
//!     publish()                  the snapshot with that floor has its name: writing begins, behind a first marker
//!                                once that marker has landed, the files of the history before may go
//!     go_back()                  or it was given up before that: the history before goes on
//! ```
//!
//! Until the snapshot has its name not a byte of the new history is in the journal, so whoever reads the disk
//! finds all of the old one. Afterwards the floor hides the old one, whichever of its files are still there. The
//! marker behind it makes that hold even if the snapshot is damaged later: a batch of the new identity behind
//! files of the old one is a damaged journal, not a short history.

use super::writer::{Current, Journal};
use super::{BatchId, SegmentId, SegmentSpan};
use crate::base::Zxid;
use std::collections::VecDeque;

/// What it takes to go back to a history, and which files it has.
#[derive(Debug)]
pub(super) struct Before {
    journal: u64,
    last_batch: BatchId,
    last_crc: u32,
    last_zxid: Zxid,
    is_sealed: bool,
    segments: VecDeque<SegmentSpan>,
    current: Option<Current>,
    floor: SegmentId,
    /// It was not on disk either: the one before it.
    before: Option<Box<Before>>,
}

impl Journal {
    /// Nothing is queued or being written: all that was appended is durable, and so is the first marker, unless
    /// there is nothing it would stand behind.
    pub fn is_idle(&self) -> bool {
        let has_nothing = self.current.is_none() && self.next_floor() > self.published_floor();
        self.queue.is_empty() && self.in_flight.is_none() && (!self.seal_wanted || self.is_held() || has_nothing)
    }

    /// A segment that is prepared, or on its way, has never been written: a new history may begin in it.
    fn next_floor(&self) -> SegmentId {
        self.ready.or(self.preparing).unwrap_or(self.next_segment)
    }

    /// Begins another history, whose state at `after` is in a snapshot to be published with the floor returned
    /// here and the new [`Journal::identity`]. What is appended from now on waits for [`Journal::publish`].
    ///
    /// # Panics
    /// Unless the journal is idle ([`Journal::is_idle`]).
    pub fn restart(&mut self, after: Zxid) -> SegmentId {
        assert!(self.is_idle(), "a history is replaced while records of it are on their way");
        let floor = self.next_floor();
        // Or the snapshots of two histories would pass for one's.
        assert!(floor > self.published_floor(), "{floor:?} is where the history on disk begins");
        let before = Before {
            journal: self.journal,
            last_batch: self.last_batch,
            last_crc: self.last_crc,
            last_zxid: self.last_appended,
            is_sealed: self.is_sealed,
            segments: std::mem::take(&mut self.segments),
            current: self.current.take(),
            floor: self.floor,
            before: self.before.take(),
        };
        self.journal = identity_after(self.journal, floor);
        self.last_crc = 0;
        self.last_appended = after;
        self.last_durable = after;
        self.floor = floor;
        self.is_sealed = false;
        self.seal_wanted = true;
        self.before = Some(Box::new(before));
        floor
    }

    /// Whether a restart waits for [`Journal::publish`]: nothing appended since is on disk, or will be.
    pub fn is_held(&self) -> bool {
        self.before.is_some()
    }

    fn published_floor(&self) -> SegmentId {
        let mut floor = self.floor;
        let mut before = self.before.as_deref();
        while let Some(history) = before {
            floor = history.floor;
            before = history.before.as_deref();
        }
        floor
    }

    /// The snapshot that starts the history has its name, durably: what waits may be written. Returns the files
    /// of the history before, oldest first. They may be removed once a batch has landed, not earlier; one may be
    /// given back with [`Journal::recycle`].
    pub fn publish(&mut self) -> Vec<SegmentId> {
        let mut superseded = Vec::new();
        let mut before = self.before.take();
        while let Some(history) = before {
            superseded.extend(history.segments.iter().map(|segment| segment.id));
            before = history.before;
        }
        superseded.sort();
        superseded
    }

    /// A file nobody needs: the next segment may be made of it, unless one waits for that already; then it is
    /// handed back.
    pub fn recycle(&mut self, segment: SegmentId) -> Option<SegmentId> {
        match self.recyclable {
            None => {
                self.recyclable = Some(segment);
                None
            }
            Some(_) => Some(segment),
        }
    }

    /// Gives a restart up whose snapshot has not got its name and never will: the history before goes on, and
    /// what was appended since is forgotten.
    ///
    /// # Panics
    /// If none is under way ([`Journal::is_held`]).
    pub fn go_back(&mut self) {
        let before = *self.before.take().expect("a restart is under way");
        self.queue.clear();
        self.stats.queued_records = 0;
        self.journal = before.journal;
        self.last_batch = before.last_batch;
        self.last_crc = before.last_crc;
        self.last_appended = before.last_zxid;
        self.last_durable = before.last_zxid;
        self.is_sealed = before.is_sealed;
        self.seal_wanted = false; // If a marker is missing, an idle time will bring it.
        self.segments = before.segments;
        self.current = before.current;
        self.floor = before.floor;
        self.before = before.before;
    }

    /// The lowest segment of this history: what its snapshots carry as their floor.
    pub fn floor(&self) -> SegmentId {
        self.floor
    }

    /// Which journal this is: what this history's snapshots name.
    pub fn identity(&self) -> u64 {
        self.journal
    }
}

/// Never the one before, and never 0, which would stand for any. Two histories that begin in the same segment of
/// the same journal never both get there: the first was given up before a byte of it was written.
fn identity_after(journal: u64, floor: SegmentId) -> u64 {
    let mut mixed = journal ^ floor.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    (0..3).map(|more| mixed.wrapping_add(more)).find(|id| ![journal, 0].contains(id)).expect("one of three is neither")
}

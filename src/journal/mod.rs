//! The journal: what is durable, in which order, and how it is found again. All layout and policy; no file handles.
//!
//! [`Journal`] packs records into batches and says when they are durable; [`Recovery`] finds them again. A batch
//! carries everything that tells it from a torn, stale or misplaced one (`batch.rs`), so a prepared segment needs
//! no header of its own. [`Walk`] reads records again while the journal is in use.
//!
//! A member of an ensemble may have to take over another history. It starts in fresh segments
//! ([`Journal::restart`]), and a snapshot that names the first of them as its floor decides which history counts.
//!
//! Does not know: what a transaction means, or how bytes reach a disk. The driver carries out [`DiskEffect`]s.

mod batch;
mod recover;
mod restart;
mod walk;
mod writer;
#[cfg(test)]
pub mod written;

use crate::base::Zxid;

pub use recover::{Damage, JournalPosition, Recovery, SegmentSpan, glance, identity_in, record_zxid};
pub use walk::{ReadSegment, Walk, Walked};
pub use writer::{Journal, JournalStats};

/// One aligned write, the unit of group commit.
#[derive(Clone, Debug)]
pub struct Batch {
    pub id: BatchId,
    pub segment: SegmentId,
    /// Bytes from the segment's start; a multiple of `limits::BLOCK_BYTES`.
    pub offset: u64,
    /// A multiple of `limits::BLOCK_BYTES` long.
    pub bytes: Vec<u8>,
    /// The last zxid in it.
    pub through: Zxid,
    pub record_count: u32,
}

/// Batches are numbered from 1 over the life of a data directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct BatchId(pub u64);

/// A segment file; numbers only grow. File name: `journal.<16 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SegmentId(pub u64);

impl SegmentId {
    /// `journal.<16 hex digits>`.
    pub fn file_name(self) -> String {
        format!("journal.{:016x}", self.0)
    }

    /// The number in a file's name; `None` for other files.
    pub fn from_file_name(name: &str) -> Option<SegmentId> {
        let digits = name.strip_prefix("journal.").filter(|digits| digits.len() == 16)?;
        u64::from_str_radix(digits, 16).ok().map(SegmentId)
    }
}

/// Proof that every record up to `through` is on disk. Only `Journal::landed` makes one.
#[derive(Debug)]
pub struct Durable {
    through: Zxid,
}

impl Durable {
    pub fn through(&self) -> Zxid {
        self.through
    }
}

/// What the replica wants of its disk. Writes to segments are answered by `Replica::on_batch_landed` or
/// `on_disk_failed`, preparations by `on_segment_ready`, snapshots by `on_snapshot_written`.
#[derive(Clone, Debug)]
pub enum DiskEffect {
    /// Write and sync (as one or two operations); at most one is under way at a time.
    WriteBatch(Batch),
    /// Make this segment exist, `bytes` long, all blocks already written once (so that a later write need
    /// not allocate), its directory entry durable. `recycle` may be renamed and reused instead of a new file.
    PrepareSegment {
        segment: SegmentId,
        bytes: u64,
        recycle: Option<SegmentId>,
    },
    DeleteSegment(SegmentId),
    /// Start a snapshot file under a temporary name.
    SnapshotOpen {
        zxid: Zxid,
    },
    /// Append to it. The next chunk is asked for with `Replica::snapshot_chunk` when this one is written.
    SnapshotChunk {
        bytes: Vec<u8>,
    },
    /// Sync, rename to `snapshot.<16 hex digits of zxid>`, sync the directory; then `on_snapshot_written`.
    SnapshotClose {
        zxid: Zxid,
    },
    /// Give the open one up.
    SnapshotAbort {
        zxid: Zxid,
    },
    DeleteSnapshot(Zxid),
    /// Rename to `<name>.damaged`, replacing what has that name: the operator may want to look at it. Like a
    /// deletion not answered, and not fatal if it fails.
    SetAsideSegment(SegmentId),
    SetAsideSnapshot(Zxid),
}

//! A journal in memory, written by the real writer in small segments: what tests of its readers read.

use std::collections::BTreeMap;

use super::{DiskEffect, Journal, JournalPosition, SegmentId};
use crate::base::Zxid;

pub struct Written {
    pub journal: Journal,
    pub files: BTreeMap<SegmentId, Vec<u8>>,
}

/// Where a record carries its zxid.
const ZXID_AT: usize = 12;

impl Written {
    /// An empty one behind a history that ends at `start`.
    pub fn behind(start: Zxid, segment_bytes: u64) -> Written {
        Written::with_identity(7, start, segment_bytes)
    }

    /// As [`Written::behind`], the journal of that identity.
    pub fn with_identity(identity: u64, start: Zxid, segment_bytes: u64) -> Written {
        let journal = Journal::with_small_segments(JournalPosition::fresh(identity, start), segment_bytes);
        Written { journal, files: BTreeMap::new() }
    }

    /// A record of so many bytes.
    pub fn append(&mut self, zxid: i64, bytes: usize) {
        self.journal.append(Zxid(zxid), |out| {
            let start = out.len();
            out.resize(start + bytes, zxid as u8);
            out[start + ZXID_AT..][..8].copy_from_slice(&zxid.to_be_bytes());
        });
    }

    /// What was appended is on the disk.
    pub fn flush(&mut self) {
        loop {
            let mut effects = Vec::new();
            self.journal.next_batch(&mut effects);
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    DiskEffect::PrepareSegment { segment, bytes, .. } => {
                        self.files.insert(segment, vec![0; bytes as usize]);
                        self.journal.segment_ready(segment);
                    }
                    DiskEffect::WriteBatch(batch) => {
                        let file = self.files.get_mut(&batch.segment).expect("prepared");
                        file[batch.offset as usize..][..batch.bytes.len()].copy_from_slice(&batch.bytes);
                        self.journal.landed(batch.id);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

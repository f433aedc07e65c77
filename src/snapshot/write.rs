//! The writing end. Lives on: the replication core, between other work: a call costs what it is given.

use super::format::{
    AclEntry, AclHeader, CHUNK_BYTES, ChunkHeader, FORMAT, FileHeader, KIND_ACLS, KIND_NODES, KIND_SESSIONS,
    KIND_TRAILER, MAGIC, NO_DATA, NodeHeader, SessionRecord, Trailer,
};
use crate::base::{AclList, SessionId, WallMs, Zxid};
use crate::journal::SegmentId;
use crate::tree::{AclId, SnapshotNode};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{I32, I64, U32, U64};

/// What is known of the state as a whole at the moment a snapshot begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotHead {
    pub zxid: Zxid,
    pub wall: WallMs,
    /// The tree's digest.
    pub digest: i64,
    /// The highest session id that the server which writes this has given, so that it gives none twice;
    /// `SessionId::NONE` for none that is known.
    pub max_session: SessionId,
    /// Journal segments numbered below do not belong to the history that this state is part of, and neither do
    /// snapshots with a lower floor. 0 until a history is replaced for the first time.
    pub floor: SegmentId,
    /// Which journal goes on from here ([`JournalPosition::journal`](crate::journal::JournalPosition::journal));
    /// 0 for any.
    pub journal: u64,
    /// The state belongs to a history that holds all of this epoch's initial one, so that with the snapshot's name
    /// the epoch is current, too. 0 for none that is known: a lone server's, or one that was imported.
    pub epoch: i64,
}

/// A snapshot becoming bytes.
///
/// Begin; add every znode; whenever [`SnapshotWriter::is_chunk_full`], [`SnapshotWriter::take`] what there is and
/// write it; [`SnapshotWriter::finish`] gives the last bytes. The file is their concatenation.
#[derive(Debug)]
pub struct SnapshotWriter {
    file_crc: u32,
    /// Closed chunks, then the open one's header (still blank) and payload.
    out: Vec<u8>,
    /// Where in `out` the open chunk starts.
    chunk_start: usize,
    chunk_number: u32,
    item_count: u32,
    taken_bytes: u64,
    totals: Trailer,
}

const CHUNK_HEADER_BYTES: usize = size_of::<ChunkHeader>();

impl SnapshotWriter {
    /// Starts a snapshot with what is small: sessions (with their timeouts in milliseconds) and ACL lists.
    pub fn begin<'a>(
        head: &SnapshotHead,
        sessions: impl Iterator<Item = (SessionId, i32)>,
        acls: impl Iterator<Item = (AclId, &'a AclList)>,
    ) -> SnapshotWriter {
        let mut writer = SnapshotWriter {
            file_crc: 0,
            out: vec![0; size_of::<FileHeader>()],
            chunk_start: size_of::<FileHeader>(),
            chunk_number: 0,
            item_count: 0,
            taken_bytes: 0,
            totals: Trailer { node_count: U64::ZERO, data_bytes: U64::ZERO, file_bytes: U64::ZERO },
        };
        let acls: Vec<(AclId, &AclList)> = acls.collect();
        let sessions: Vec<(SessionId, i32)> = sessions.collect();
        let mut header = FileHeader {
            magic: MAGIC,
            format: U32::new(FORMAT),
            reserved: U32::ZERO,
            zxid: I64::new(head.zxid.0),
            wall_ms: I64::new(head.wall.0),
            digest: I64::new(head.digest),
            max_session: I64::new(head.max_session.0),
            session_count: U64::new(sessions.len() as u64),
            acl_count: U64::new(acls.len() as u64),
            floor: U64::new(head.floor.0),
            journal: U64::new(head.journal),
            epoch: U32::new(u32::try_from(head.epoch).expect("an epoch has 31 bits")),
            crc: U32::ZERO,
        };
        writer.file_crc = header.compute_crc();
        header.crc = U32::new(writer.file_crc);
        writer.out.copy_from_slice(header.as_bytes());
        writer.open_chunk();
        for (id, list) in acls {
            writer.acl(id, list);
        }
        writer.close_chunk(KIND_ACLS);
        for (id, timeout_ms) in sessions {
            let record = SessionRecord { id: I64::new(id.0), timeout_ms: I32::new(timeout_ms) };
            writer.out.extend_from_slice(record.as_bytes());
            writer.count(KIND_SESSIONS);
        }
        writer.close_chunk(KIND_SESSIONS);
        writer
    }

    fn acl(&mut self, id: AclId, list: &AclList) {
        let head = AclHeader { id: U32::new(id.0), entry_count: U32::new(list.len() as u32) };
        self.out.extend_from_slice(head.as_bytes());
        for acl in list.iter() {
            let entry = AclEntry {
                perms: I32::new(acl.perms),
                scheme_bytes: U32::new(acl.id.scheme.len() as u32),
                id_bytes: U32::new(acl.id.id.len() as u32),
            };
            self.out.extend_from_slice(entry.as_bytes());
            self.out.extend_from_slice(acl.id.scheme.as_bytes());
            self.out.extend_from_slice(acl.id.id.as_bytes());
        }
        self.count(KIND_ACLS);
    }

    /// Adds a znode. Any order will do.
    pub fn node(&mut self, node: SnapshotNode<'_>) {
        let meta = node.znode.meta();
        let (path, data) = (node.znode.path(), node.znode.data());
        let header = NodeHeader {
            czxid: I64::new(meta.czxid.0),
            mzxid: I64::new(meta.mzxid.0),
            pzxid: I64::new(node.pzxid.0),
            ctime: I64::new(meta.ctime.0),
            mtime: I64::new(meta.mtime.0),
            owner: I64::new(meta.owner),
            version: I32::new(meta.version),
            cversion: I32::new(node.cversion),
            aversion: I32::new(meta.aversion),
            acl: U32::new(meta.acl.0),
            path_bytes: U32::new(path.len() as u32),
            data_bytes: U32::new(data.map_or(NO_DATA, |data| data.len() as u32)),
        };
        self.out.extend_from_slice(header.as_bytes());
        self.out.extend_from_slice(path.as_bytes());
        self.out.extend_from_slice(data.unwrap_or_default());
        self.totals.node_count += 1;
        self.totals.data_bytes += data.map_or(0, <[u8]>::len) as u64;
        self.count(KIND_NODES);
    }

    fn count(&mut self, kind: u32) {
        self.item_count += 1;
        if self.out.len() - self.chunk_start >= CHUNK_HEADER_BYTES + CHUNK_BYTES {
            self.close_chunk(kind);
        }
    }

    fn open_chunk(&mut self) {
        self.chunk_start = self.out.len();
        self.item_count = 0;
        self.out.extend_from_slice(&[0; CHUNK_HEADER_BYTES]);
    }

    /// Seals the open chunk if anything is in it, and opens the next.
    fn close_chunk(&mut self, kind: u32) {
        if self.item_count == 0 {
            return;
        }
        let payload = &self.out[self.chunk_start + CHUNK_HEADER_BYTES..];
        let mut header = ChunkHeader {
            kind: U32::new(kind),
            number: U32::new(self.chunk_number),
            item_count: U32::new(self.item_count),
            payload_bytes: U32::new(payload.len() as u32),
            payload_crc: U32::new(crc32c::crc32c(payload)),
            crc: U32::ZERO,
        };
        header.crc = U32::new(header.compute_crc(self.file_crc));
        self.out[self.chunk_start..][..CHUNK_HEADER_BYTES].copy_from_slice(header.as_bytes());
        self.chunk_number += 1;
        self.open_chunk();
    }

    /// Whether there is enough for a write worth its while.
    pub fn is_chunk_full(&self) -> bool {
        self.chunk_start >= CHUNK_BYTES
    }

    /// Everything finished so far, to be appended to the file. May be empty.
    pub fn take(&mut self) -> Vec<u8> {
        let open = self.out.split_off(self.chunk_start);
        let closed = std::mem::replace(&mut self.out, open);
        self.out.reserve(CHUNK_BYTES + CHUNK_BYTES / 8);
        self.taken_bytes += closed.len() as u64;
        self.chunk_start = 0;
        closed
    }

    /// The last bytes of the file.
    pub fn finish(mut self) -> Vec<u8> {
        self.close_chunk(KIND_NODES);
        self.totals.file_bytes = U64::new(self.taken_bytes + self.chunk_start as u64);
        let totals = self.totals;
        self.out.extend_from_slice(totals.as_bytes());
        self.item_count = 1;
        self.close_chunk(KIND_TRAILER);
        self.out.truncate(self.chunk_start);
        self.out
    }

    /// Znodes added so far.
    pub fn node_count(&self) -> u64 {
        self.totals.node_count.get()
    }
}

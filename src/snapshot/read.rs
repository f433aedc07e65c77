//! The reading end: a stream of chunks becomes a tree.

use super::format::{
    AclEntry, AclHeader, CHUNK_BYTES, ChunkHeader, FORMAT, FORMAT_1_HEADER_BYTES, FileHeader, KIND_ACLS, KIND_NODES,
    KIND_SESSIONS, KIND_TRAILER, MAGIC, NO_DATA, NodeHeader, SessionRecord, Trailer,
};
use super::write::SnapshotHead;
use crate::base::{Acl, Id, SessionId, WallMs, Zxid};
use crate::journal::SegmentId;
use crate::tree::{AclId, Meta, OwnerRules, Tree, TreeLoader, Znode};
use std::io::Read;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// What a snapshot held.
pub struct Loaded {
    pub tree: Tree,
    /// With their timeouts in milliseconds, in the order they were written.
    pub sessions: Vec<(SessionId, i32)>,
    pub zxid: Zxid,
    /// As [`SnapshotHead::max_session`].
    pub max_session: SessionId,
    /// The tree's digest when the snapshot was begun; a tree that is the same has the same.
    pub digest: i64,
    /// When it was begun.
    pub wall: WallMs,
    /// As [`SnapshotHead::floor`].
    pub floor: SegmentId,
    /// As [`SnapshotHead::journal`].
    pub journal: u64,
}

/// Why a snapshot is not one.
#[derive(Debug)]
pub enum SnapshotError {
    Io(std::io::Error),
    /// `offset` in bytes from the start of the file: where the bad part begins.
    Bad {
        offset: u64,
        what: String,
    },
}

impl std::fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SnapshotError::Io(error) => write!(f, "cannot be read: {error}"),
            SnapshotError::Bad { offset, what } => write!(f, "at offset {offset}: {what}"),
        }
    }
}

impl std::error::Error for SnapshotError {}

impl From<std::io::Error> for SnapshotError {
    fn from(error: std::io::Error) -> SnapshotError {
        SnapshotError::Io(error)
    }
}

/// Reads a whole snapshot. Wants large reads, not a buffer: chunks are read in one piece. `more` znodes are expected to
/// follow from the journal.
///
/// Errors: [`SnapshotError`]; nothing of a bad snapshot is ever used.
pub fn load(source: impl Read, rules: OwnerRules, more: usize) -> Result<Loaded, SnapshotError> {
    let mut input = Input { source, offset: 0, chunk: Vec::new(), file_crc: 0, chunk_number: 0 };
    let header = input.file_header()?;
    let mut loader = Tree::loader(rules);
    let (mut sessions, mut acl_count, mut nodes) = (Vec::new(), 0u64, Totals::default());
    loop {
        let start = input.offset;
        let kind = input.next_chunk()?;
        let bad = |what: &str| SnapshotError::Bad { offset: start, what: what.into() };
        let items = Items { rest: &input.chunk };
        match kind {
            KIND_ACLS => acl_count += read_acls(items, &mut loader).map_err(bad)?,
            KIND_SESSIONS => read_sessions(items, &mut sessions).map_err(bad)?,
            KIND_NODES => read_nodes(items, &mut loader, &mut nodes).map_err(bad)?,
            KIND_TRAILER => {
                let trailer =
                    Trailer::read_from_bytes(&input.chunk).map_err(|_| bad("the trailer has a wrong length"))?;
                let is_whole = trailer.node_count.get() == nodes.count
                    && trailer.data_bytes.get() == nodes.data_bytes
                    && trailer.file_bytes.get() == start
                    && header.acl_count.get() == acl_count
                    && header.session_count.get() == sessions.len() as u64;
                if !is_whole {
                    return Err(bad("the snapshot does not hold as much as it should"));
                }
                break;
            }
            other => return Err(bad(&format!("a chunk of unknown kind {other}"))),
        }
    }
    input.expect_end()?;
    let offset = input.offset;
    let tree = loader.finish(more).map_err(|what| SnapshotError::Bad { offset, what })?;
    let head = header.head();
    let SnapshotHead { zxid, wall, digest, max_session, floor, journal, .. } = head;
    Ok(Loaded { tree, sessions, zxid, max_session, digest, wall, floor, journal })
}

impl FileHeader {
    fn head(&self) -> SnapshotHead {
        SnapshotHead {
            zxid: Zxid(self.zxid.get()),
            wall: WallMs(self.wall_ms.get()),
            digest: self.digest.get(),
            max_session: SessionId(self.max_session.get()),
            floor: SegmentId(self.floor.get()),
            journal: self.journal.get(),
            epoch: i64::from(self.epoch.get()),
        }
    }
}

/// Reads what stands at the front of a snapshot: enough to know which history it belongs to, without its state.
///
/// Errors: [`SnapshotError`]. That the rest is whole is not said.
pub fn read_head(source: impl Read) -> Result<SnapshotHead, SnapshotError> {
    let mut input = Input { source, offset: 0, chunk: Vec::new(), file_crc: 0, chunk_number: 0 };
    Ok(input.file_header()?.head())
}

struct Input<R> {
    source: R,
    offset: u64,
    /// The payload of the chunk read last; kept for its memory.
    chunk: Vec<u8>,
    file_crc: u32,
    chunk_number: u32,
}

impl<R: Read> Input<R> {
    fn bad<T>(&self, what: impl Into<String>) -> Result<T, SnapshotError> {
        Err(SnapshotError::Bad { offset: self.offset, what: what.into() })
    }

    fn fill(&mut self, buffer: &mut [u8], what: &str) -> Result<(), SnapshotError> {
        match self.source.read_exact(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                self.bad(format!("the file ends {what}"))
            }
            result => Ok(result?),
        }
    }

    fn file_header(&mut self) -> Result<FileHeader, SnapshotError> {
        let mut front = [0; FORMAT_1_HEADER_BYTES];
        self.fill(&mut front, "in its header")?;
        let (mut header, mut is_whole) = FileHeader::from_format_1(&front);
        if header.magic != MAGIC {
            return self.bad("this is not a snapshot of ringkeeper's");
        }
        let mut length = front.len();
        match header.format.get() {
            1 => {}
            FORMAT => {
                let all = header.as_mut_bytes();
                all[..front.len()].copy_from_slice(&front);
                self.fill(&mut all[front.len()..], "in its header")?;
                length = all.len();
                is_whole = header.crc.get() == header.compute_crc();
            }
            other => return self.bad(format!("snapshot format {other}: it was written by another version")),
        }
        if !is_whole {
            return self.bad("the file header fails its checksum");
        }
        self.file_crc = header.crc.get();
        self.offset += length as u64;
        Ok(header)
    }

    /// Reads the next chunk's payload; tells its kind.
    fn next_chunk(&mut self) -> Result<u32, SnapshotError> {
        let mut header = ChunkHeader::new_zeroed();
        self.fill(header.as_mut_bytes(), "before its trailer")?;
        if header.crc.get() != header.compute_crc(self.file_crc) {
            return self.bad("a chunk header fails its checksum");
        }
        if header.number.get() != self.chunk_number {
            return self.bad(format!("chunk {} stands where {} belongs", header.number, self.chunk_number));
        }
        // Memory is taken for what is there, not for what a header claims: even a right checksum may be a forger's.
        let length = header.payload_bytes.get() as usize;
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.clear();
        chunk.reserve(length.min(2 * CHUNK_BYTES));
        (&mut self.source).take(length as u64).read_to_end(&mut chunk)?;
        if chunk.len() < length {
            return self.bad("the file ends inside a chunk");
        }
        if crc32c::crc32c(&chunk) != header.payload_crc.get() {
            return self.bad("a chunk fails its checksum");
        }
        self.chunk = chunk;
        self.chunk_number += 1;
        self.offset += (size_of::<ChunkHeader>() + self.chunk.len()) as u64;
        Ok(header.kind.get())
    }

    fn expect_end(&mut self) -> Result<(), SnapshotError> {
        match self.source.read(&mut [0])? {
            0 => Ok(()),
            _ => self.bad("there is something behind the trailer"),
        }
    }
}

#[derive(Default)]
struct Totals {
    count: u64,
    data_bytes: u64,
}

struct Items<'a> {
    rest: &'a [u8],
}

const SHORT: &str = "an item ends outside its chunk";

impl<'a> Items<'a> {
    fn item<T: FromBytes>(&mut self) -> Result<T, &'static str> {
        let (item, rest) = T::read_from_prefix(self.rest).map_err(|_| SHORT)?;
        self.rest = rest;
        Ok(item)
    }

    fn bytes(&mut self, count: u32) -> Result<&'a [u8], &'static str> {
        let (bytes, rest) = self.rest.split_at_checked(count as usize).ok_or(SHORT)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn text(&mut self, count: u32) -> Result<&'a str, &'static str> {
        std::str::from_utf8(self.bytes(count)?).map_err(|_| "a name is not UTF-8")
    }
}

fn read_acls(mut items: Items<'_>, loader: &mut TreeLoader) -> Result<u64, &'static str> {
    let mut count = 0;
    while !items.rest.is_empty() {
        let head: AclHeader = items.item()?;
        let mut list = Vec::new();
        for _ in 0..head.entry_count.get() {
            let entry: AclEntry = items.item()?;
            let scheme = items.text(entry.scheme_bytes.get())?;
            let id = items.text(entry.id_bytes.get())?;
            list.push(Acl { perms: entry.perms.get(), id: Id::new(scheme, id) });
        }
        loader.acl(AclId(head.id.get()), list.into());
        count += 1;
    }
    Ok(count)
}

fn read_sessions(mut items: Items<'_>, sessions: &mut Vec<(SessionId, i32)>) -> Result<(), &'static str> {
    while !items.rest.is_empty() {
        let record: SessionRecord = items.item()?;
        sessions.push((SessionId(record.id.get()), record.timeout_ms.get()));
    }
    Ok(())
}

fn read_nodes(mut items: Items<'_>, loader: &mut TreeLoader, totals: &mut Totals) -> Result<(), &'static str> {
    while !items.rest.is_empty() {
        let header: NodeHeader = items.item()?;
        let content = items.rest;
        let path = items.text(header.path_bytes.get())?;
        let no_data = header.data_bytes.get() == NO_DATA;
        let data_bytes = if no_data { 0 } else { items.bytes(header.data_bytes.get())?.len() };
        let content = &content[..path.len() + data_bytes];
        let meta = Meta {
            czxid: Zxid(header.czxid.get()),
            mzxid: Zxid(header.mzxid.get()),
            ctime: WallMs(header.ctime.get()),
            mtime: WallMs(header.mtime.get()),
            owner: header.owner.get(),
            version: header.version.get(),
            aversion: header.aversion.get(),
            acl: AclId(header.acl.get()),
        };
        let node = Znode::of_content(&meta, path, no_data, content);
        loader.node(node, Zxid(header.pzxid.get()), header.cversion.get());
        totals.count += 1;
        totals.data_bytes += data_bytes as u64;
    }
    Ok(())
}

//! The layout of a snapshot, little-endian throughout.

use zerocopy::little_endian::{I32, I64, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(super) const MAGIC: [u8; 8] = *b"rksnapsh";
/// Changed when the layout is; a reader refuses what it does not know. Format 1 had no `floor` and no `journal`.
pub(super) const FORMAT: u32 = 2;

/// A chunk is closed when its payload has reached this; one large znode may take it well beyond.
pub(super) const CHUNK_BYTES: usize = 256 << 10;

/// In front of the file.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct FileHeader {
    pub magic: [u8; 8],
    pub format: U32,
    pub reserved: U32,
    pub zxid: I64,
    /// When it was begun.
    pub wall_ms: I64,
    pub digest: I64,
    /// The highest session id of this server, closed sessions included; 0 for none.
    pub max_session: I64,
    pub session_count: U64,
    pub acl_count: U64,
    /// Journal segments numbered below are of another history.
    pub floor: U64,
    /// Which journal goes on from here; 0 for any.
    pub journal: U64,
    /// That of the leader whose history this is; 0 for none that is known.
    pub epoch: U32,
    /// Of everything before.
    pub crc: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct ChunkHeader {
    pub kind: U32,
    /// From 0, without gaps.
    pub number: U32,
    pub item_count: U32,
    pub payload_bytes: U32,
    pub payload_crc: U32,
    /// Of everything before, continued from the file header's: a chunk of another snapshot does not pass.
    pub crc: U32,
}

pub(super) const KIND_ACLS: u32 = 1;
pub(super) const KIND_SESSIONS: u32 = 2;
pub(super) const KIND_NODES: u32 = 3;
pub(super) const KIND_TRAILER: u32 = 4;

/// Followed by `entry_count` of [`AclEntry`].
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct AclHeader {
    pub id: U32,
    pub entry_count: U32,
}

/// Followed by scheme and id, UTF-8.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct AclEntry {
    pub perms: I32,
    pub scheme_bytes: U32,
    pub id_bytes: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct SessionRecord {
    pub id: I64,
    pub timeout_ms: I32,
}

/// Followed by path and data.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct NodeHeader {
    pub czxid: I64,
    pub mzxid: I64,
    pub pzxid: I64,
    pub ctime: I64,
    pub mtime: I64,
    pub owner: I64,
    pub version: I32,
    /// As stored.
    pub cversion: I32,
    pub aversion: I32,
    pub acl: U32,
    pub path_bytes: U32,
    /// [`NO_DATA`] if there is none at all.
    pub data_bytes: U32,
}

pub(super) const NO_DATA: u32 = u32::MAX;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Trailer {
    pub node_count: U64,
    pub data_bytes: U64,
    /// Bytes of the file before the trailer's chunk.
    pub file_bytes: U64,
}

// Snapshots on disk depend on these.
const _: () = assert!(size_of::<FileHeader>() == 88);
const _: () = assert!(FORMAT_1_HEADER_BYTES + 2 * size_of::<U64>() == size_of::<FileHeader>());
const _: () = assert!(size_of::<ChunkHeader>() == 24);
const _: () = assert!(size_of::<NodeHeader>() == 72);

/// The header of format 1: as it is now, without `floor` and `journal`.
pub(super) const FORMAT_1_HEADER_BYTES: usize = 72;

/// What stands in both formats before, and after, what format 2 has added.
const COMMON_BYTES: usize = FORMAT_1_HEADER_BYTES - TAIL_BYTES;
const TAIL_BYTES: usize = 8;

impl FileHeader {
    pub fn compute_crc(&self) -> u32 {
        crc32c::crc32c(&self.as_bytes()[..size_of::<FileHeader>() - 4])
    }

    /// A header of format 1, and whether its checksum vouches for it.
    pub fn from_format_1(bytes: &[u8; FORMAT_1_HEADER_BYTES]) -> (FileHeader, bool) {
        let mut header = FileHeader::new_zeroed();
        let all = header.as_mut_bytes();
        all[..COMMON_BYTES].copy_from_slice(&bytes[..COMMON_BYTES]);
        let end = all.len();
        all[end - TAIL_BYTES..].copy_from_slice(&bytes[COMMON_BYTES..]);
        let is_whole = crc32c::crc32c(&bytes[..FORMAT_1_HEADER_BYTES - 4]) == header.crc.get();
        (header, is_whole)
    }
}

impl ChunkHeader {
    pub fn compute_crc(&self, file_crc: u32) -> u32 {
        crc32c::crc32c_append(file_crc, &self.as_bytes()[..size_of::<ChunkHeader>() - 4])
    }
}

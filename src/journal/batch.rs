//! A batch as bytes: what one write of the journal looks like, and how it is told from anything else.
//!
//! ```text
//!   | header 80 | record | record | ... | zeros to the next block |
//!   record = length u32, crc32c u32 of the body, body (codec::txn::encode)
//! ```
//!
//! Numbers are little-endian. A record's checksum covers its body, the batch's `payload_crc` the record headers,
//! the header's own checksum everything before it: every byte that matters is summed once. `previous_crc` is the
//! header checksum of the batch before, so the headers are a chain: a batch that is lost, doubled or put in the
//! place of another is seen. Whoever reads must compare `journal`, `segment` and `batch` with what belongs there:
//! a recycled file is full of perfectly good batches of another time.

use super::{BatchId, SegmentId};
use crate::base::{Zxid, limits};
use zerocopy::little_endian::{I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(super) const MAGIC: [u8; 8] = *b"rkjournl";
/// Changed when the layout is; a reader refuses what it does not know.
pub(super) const FORMAT: u32 = 1;
pub(super) const HEADER_BYTES: usize = size_of::<Header>();
pub(super) const RECORD_HEADER_BYTES: usize = size_of::<RecordHeader>();

/// In front of every batch.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Header {
    pub magic: [u8; 8],
    pub format: U32,
    /// 0 in the marker that seals an idle journal.
    pub record_count: U32,
    /// Which journal this belongs to, so that files of two data directories never mix.
    pub journal: U64,
    pub segment: U64,
    /// How long the segment's file was made, so that a shortened one is not taken for a short history.
    pub segment_bytes: U64,
    pub batch: U64,
    /// Of a marker: as `last_zxid`.
    pub first_zxid: I64,
    /// Of a marker: the last one before it.
    pub last_zxid: I64,
    /// Record headers and bodies, without the zeros behind them.
    pub payload_bytes: U32,
    pub payload_crc: U32,
    pub previous_crc: U32,
    pub header_crc: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct RecordHeader {
    length: U32,
    crc: U32,
}

// Journals on disk depend on these.
const _: () = assert!(HEADER_BYTES == 80);
const _: () = assert!(RECORD_HEADER_BYTES == 8);
const _: () = assert!(
    (HEADER_BYTES + RECORD_HEADER_BYTES + limits::RECORD_BYTES_MAX).next_multiple_of(limits::BLOCK_BYTES)
        <= limits::BATCH_BYTES_MAX
);

/// A batch being filled. Records are encoded straight into the buffer that is going to be written.
#[derive(Debug)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    first_zxid: Zxid,
    last_zxid: Zxid,
    record_count: u32,
    payload_crc: u32,
}

/// Where a batch goes: which journal, which file, which link of the chain.
pub(super) struct Place {
    pub journal: u64,
    pub segment: SegmentId,
    pub segment_bytes: u64,
    pub batch: BatchId,
    pub previous_crc: u32,
}

/// A batch ready to be written, and what the next one must know of it.
pub(super) struct Sealed {
    pub bytes: Vec<u8>,
    pub header_crc: u32,
    pub through: Zxid,
    pub record_count: u32,
}

impl Pending {
    /// An empty batch; as it stands, the marker behind `last_zxid`.
    pub fn new(mut buffer: Vec<u8>, last_zxid: Zxid) -> Pending {
        buffer.clear();
        buffer.resize(HEADER_BYTES, 0);
        Pending { bytes: buffer, first_zxid: last_zxid, last_zxid, record_count: 0, payload_crc: 0 }
    }

    /// How long it will be on disk.
    pub fn disk_bytes(&self) -> usize {
        self.bytes.len().next_multiple_of(limits::BLOCK_BYTES)
    }

    /// Adds a record. If that makes the batch longer than `bytes_max` on disk and it is not the only one, the
    /// record is taken out again and handed back as the first of the next batch.
    #[must_use]
    pub fn push(&mut self, zxid: Zxid, bytes_max: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Option<Pending> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
        encode(&mut self.bytes);
        let body = &self.bytes[start + RECORD_HEADER_BYTES..];
        assert!(body.len() <= limits::RECORD_BYTES_MAX, "a record of {} bytes was let through", body.len());
        let head = RecordHeader { length: U32::new(body.len() as u32), crc: U32::new(crc32c::crc32c(body)) };
        self.bytes[start..start + RECORD_HEADER_BYTES].copy_from_slice(head.as_bytes());
        if self.disk_bytes() > bytes_max && self.record_count > 0 {
            let mut next = Pending::new(Vec::with_capacity(self.bytes.len()), self.last_zxid);
            next.bytes.extend_from_slice(&self.bytes[start..]);
            next.count(zxid, &head);
            self.bytes.truncate(start);
            return Some(next);
        }
        self.count(zxid, &head);
        None
    }

    fn count(&mut self, zxid: Zxid, head: &RecordHeader) {
        if self.record_count == 0 {
            self.first_zxid = zxid;
        }
        self.last_zxid = zxid;
        self.record_count += 1;
        self.payload_crc = crc32c::crc32c_append(self.payload_crc, head.as_bytes());
    }

    /// Gives it its place in the chain and fills it up to whole blocks.
    pub fn seal(mut self, place: &Place) -> Sealed {
        let mut header = Header {
            magic: MAGIC,
            format: U32::new(FORMAT),
            record_count: U32::new(self.record_count),
            journal: U64::new(place.journal),
            segment: U64::new(place.segment.0),
            segment_bytes: U64::new(place.segment_bytes),
            batch: U64::new(place.batch.0),
            first_zxid: I64::new(self.first_zxid.0),
            last_zxid: I64::new(self.last_zxid.0),
            payload_bytes: U32::new((self.bytes.len() - HEADER_BYTES) as u32),
            payload_crc: U32::new(self.payload_crc),
            previous_crc: U32::new(place.previous_crc),
            header_crc: U32::new(0),
        };
        let header_crc = header.compute_crc();
        header.header_crc = U32::new(header_crc);
        self.bytes[..HEADER_BYTES].copy_from_slice(header.as_bytes());
        let length = self.disk_bytes();
        self.bytes.resize(length, 0);
        Sealed { bytes: self.bytes, header_crc, through: self.last_zxid, record_count: self.record_count }
    }
}

impl Header {
    /// What the journal holds from here on is newer than this. In front of a marker anything may have been.
    pub fn starts_after(&self) -> Zxid {
        let first = self.first_zxid.get();
        Zxid(if self.record_count.get() == 0 { first } else { first.saturating_sub(1) })
    }

    fn compute_crc(&self) -> u32 {
        crc32c::crc32c(&self.as_bytes()[..HEADER_BYTES - 4])
    }

    /// The header at the front of `bytes`, if there is one that its checksum vouches for.
    pub fn read(bytes: &[u8]) -> Option<Header> {
        let (header, _) = Header::read_from_prefix(bytes).ok()?;
        (header.magic == MAGIC && header.compute_crc() == header.header_crc.get()).then_some(header)
    }

    pub fn segment(&self) -> SegmentId {
        SegmentId(self.segment.get())
    }

    pub fn batch(&self) -> BatchId {
        BatchId(self.batch.get())
    }

    /// How long the batch is on disk.
    pub fn disk_bytes(&self) -> usize {
        (HEADER_BYTES + self.payload_bytes.get() as usize).next_multiple_of(limits::BLOCK_BYTES)
    }

    /// Checks every byte of the payload; `bytes` starts with this header. The error says what is wrong.
    pub fn check_payload(&self, bytes: &[u8]) -> Result<(), &'static str> {
        let mut crc = 0;
        let mut count = 0u32;
        for record in self.records(bytes)? {
            let (head, body) = record?;
            if crc32c::crc32c(body) != head.crc.get() {
                return Err("a record fails its checksum");
            }
            crc = crc32c::crc32c_append(crc, head.as_bytes());
            count += 1;
        }
        if crc != self.payload_crc.get() || count != self.record_count.get() {
            return Err("the record headers fail their checksum");
        }
        Ok(())
    }

    /// The record bodies of a payload that [`Header::check_payload`] has passed.
    pub fn bodies<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.records(bytes).into_iter().flatten().filter_map(Result::ok).map(|(_, body)| body)
    }

    fn records<'a>(&self, bytes: &'a [u8]) -> Result<Records<'a>, &'static str> {
        let end = HEADER_BYTES + self.payload_bytes.get() as usize;
        bytes.get(HEADER_BYTES..end).map(|rest| Records { rest }).ok_or("the file ends inside the batch")
    }
}

struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(RecordHeader, &'a [u8]), &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let parts = RecordHeader::read_from_prefix(self.rest)
            .ok()
            .and_then(|(head, rest)| Some((head, rest.split_at_checked(head.length.get() as usize)?)));
        let Some((head, (body, rest))) = parts else {
            self.rest = &[];
            return Some(Err("a record ends outside the batch"));
        };
        self.rest = rest;
        Some(Ok((head, body)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place =
        Place { journal: 7, segment: SegmentId(3), segment_bytes: 16384, batch: BatchId(9), previous_crc: 0x0102_0304 };

    /// What is on disks already must stay readable: a change here is a change of `FORMAT`.
    #[test]
    fn golden_bytes() {
        let mut pending = Pending::new(Vec::new(), Zxid(0x10));
        assert!(pending.push(Zxid(0x11), 8192, |out| out.extend_from_slice(b"one")).is_none());
        assert!(pending.push(Zxid(0x12), 8192, |out| out.extend_from_slice(b"three")).is_none());
        let sealed = pending.seal(&PLACE);
        assert_eq!(sealed.bytes.len(), 4096);
        let hex: String = sealed.bytes[..104].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
        assert!(sealed.bytes[104..].iter().all(|byte| *byte == 0));
        let header = Header::read(&sealed.bytes).unwrap();
        assert_eq!(header.check_payload(&sealed.bytes), Ok(()));
        assert_eq!(header.bodies(&sealed.bytes).collect::<Vec<_>>(), [&b"one"[..], b"three"]);
    }

    const GOLDEN: &str = "726b6a6f75726e6c0100000002000000070000000000000003000000000000000040000000000000\
        09000000000000001100000000000000120000000000000018000000a377504704030201e9110b81\
        03000000e9b2942a6f6e6505000000bc51441c7468726565";

    #[test]
    fn every_flipped_bit_of_header_and_payload_is_seen() {
        let mut pending = Pending::new(Vec::new(), Zxid(0x10));
        assert!(pending.push(Zxid(0x11), 8192, |out| out.extend_from_slice(b"one")).is_none());
        let good = pending.seal(&PLACE).bytes;
        for bit in 0..(HEADER_BYTES + RECORD_HEADER_BYTES + 3) * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let passes = Header::read(&bad).is_some_and(|header| header.check_payload(&bad).is_ok());
            assert!(!passes, "bit {bit}");
        }
    }

    #[test]
    fn a_record_that_makes_the_batch_too_long_starts_the_next() {
        let mut pending = Pending::new(Vec::new(), Zxid(0));
        assert!(pending.push(Zxid(1), 4096, |out| out.resize(out.len() + 3000, 1)).is_none());
        let next = pending.push(Zxid(2), 4096, |out| out.resize(out.len() + 3000, 2)).expect("no room");
        let (first, second) = (pending.seal(&PLACE), next.seal(&PLACE));
        assert_eq!((first.record_count, first.through), (1, Zxid(1)));
        assert_eq!((second.record_count, second.through), (1, Zxid(2)));
        let header = Header::read(&second.bytes).unwrap();
        assert_eq!((header.first_zxid.get(), header.check_payload(&second.bytes)), (2, Ok(())));
    }
}

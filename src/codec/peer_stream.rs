//! Packets out of the bytes of a link between members. What they carry shares the memory of the bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};

use super::Malformed;
use super::jute::decode_utf8;
use super::partial::{Lack, Partial};
use super::peer::{Packet, PacketKind};
use crate::base::{AuthIds, Id, Zxid};

/// What has come on a link and is not a packet yet.
#[derive(Debug, Default)]
pub struct PacketStream {
    bytes: BytesMut,
    identities: Identities,
}

impl PacketStream {
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes of no whole packet.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What is not a packet but something else.
    pub fn take_rest(&mut self) -> Bytes {
        self.bytes.split().freeze()
    }

    /// The next packet; `None` while it is not complete.
    ///
    /// `field_bytes_max` (jute.maxbuffer and its extra size) bounds the data, and the client's identities together.
    /// Types nobody knows are no error: see [`PacketKind::Unknown`].
    pub fn next(&mut self, field_bytes_max: usize) -> Result<Option<Packet>, Malformed> {
        let parts = match Parts::find(&self.bytes, field_bytes_max) {
            Ok(parts) => parts,
            Err(Lack::Bytes(_)) => return Ok(None),
            Err(Lack::Malformed(fault)) => return Err(fault),
        };
        let auth = parts.auth.map(|range| self.identities.of(&self.bytes[range]));
        let data = match parts.data {
            Some(range) => Some(self.bytes.split_to(parts.length).freeze().slice(range)),
            None => {
                self.bytes.advance(parts.length);
                None
            }
        };
        Ok(Some(Packet { kind: parts.kind, zxid: parts.zxid, data, auth }))
    }
}

/// Where a packet's parts lie.
struct Parts {
    kind: PacketKind,
    zxid: Zxid,
    data: Option<Range<usize>>,
    /// The vector of identities, its count included.
    auth: Option<Range<usize>>,
    length: usize,
}

impl Parts {
    /// Copies nothing, because it is tried again with every few bytes of a large packet.
    fn find(bytes: &[u8], field_bytes_max: usize) -> Result<Parts, Lack> {
        let mut partial = Partial::new(bytes, field_bytes_max);
        let kind = PacketKind::from_code(partial.i32()?);
        let zxid = Zxid(partial.i64()?);
        let data_length = partial.buffer()?.map(<[u8]>::len);
        let start = partial.taken();
        let data = data_length.map(|length| start - length..start);
        // As in every vector: -1 is null, other negative counts are empty (parity J-08).
        let count = partial.i32()?;
        for _ in 0..count.max(0) {
            partial.text()?;
            partial.text()?;
            if partial.taken() - start > field_bytes_max {
                return Err(Malformed("client identities longer than jute.maxbuffer allows").into());
            }
        }
        let length = partial.taken();
        Ok(Parts { kind, zxid, data, auth: (count != -1).then_some(start..length), length })
    }
}

/// The identities of clients as they came last. There are few, and every request has some.
#[derive(Debug, Default)]
struct Identities(BTreeMap<Box<[u8]>, AuthIds>);

/// How many are kept, and how many bytes of each.
const KEPT_MAX: usize = 256;
const KEPT_BYTES_MAX: usize = 256;

impl Identities {
    /// `vector` is whole.
    fn of(&mut self, vector: &[u8]) -> AuthIds {
        if let Some(known) = self.0.get(vector) {
            return known.clone();
        }
        let ids = decode_ids(vector);
        if vector.len() <= KEPT_BYTES_MAX {
            if self.0.len() >= KEPT_MAX {
                self.0.clear();
            }
            self.0.insert(vector.into(), ids.clone());
        }
        ids
    }
}

/// Of a vector that was found whole.
fn decode_ids(vector: &[u8]) -> AuthIds {
    let mut partial = Partial::new(vector, vector.len());
    let mut ids = Vec::new();
    for _ in 0..partial.i32().map_or(0, |count| count.max(0)) {
        let (Ok(scheme), Ok(id)) = (partial.text(), partial.text()) else { break };
        ids.push(Id::new(&decode_utf8(scheme), &decode_utf8(id)));
    }
    ids.into()
}

/// The packet at the front of `bytes` by itself, and how many bytes it takes; see [`PacketStream::next`].
pub fn cut(bytes: &[u8], field_bytes_max: usize) -> Result<Option<(Packet, usize)>, Malformed> {
    let mut stream = PacketStream::default();
    stream.push(bytes);
    let packet = stream.next(field_bytes_max)?;
    Ok(packet.map(|packet| (packet, bytes.len() - stream.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1 << 16;

    fn request(id: &str, data: &'static [u8]) -> Packet {
        let auth: AuthIds = [Id::new("ip", id)].into();
        Packet { auth: Some(auth), ..Packet::with(PacketKind::Request, Zxid::NONE, Bytes::from_static(data)) }
    }

    #[test]
    fn packets_come_out_as_they_went_in_however_they_are_cut() {
        let packets = [
            request("::1", b"one"),
            Packet::bare(PacketKind::Ack, Zxid(7)),
            request("::1", b""),
            request("10.0.0.1", b"three"),
            Packet::with(PacketKind::Proposal, Zxid(8), Bytes::from(vec![3; 5000])),
        ];
        let mut bytes = Vec::new();
        packets.iter().for_each(|packet| packet.encode(&mut bytes));
        for step in [1, 3, 64, bytes.len()] {
            let mut stream = PacketStream::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(step) {
                stream.push(piece);
                while let Some(packet) = stream.next(MAX).unwrap() {
                    found.push(packet);
                }
            }
            assert_eq!(found, packets, "{step} bytes at a time");
            assert!(stream.is_empty());
        }
    }

    #[test]
    fn what_follows_the_packets_can_be_taken_as_it_is() {
        let mut stream = PacketStream::default();
        stream.push(&Packet::bare(PacketKind::Snap, Zxid(7)).to_bytes());
        stream.push(b"raw bytes");
        assert_eq!(stream.next(MAX).unwrap().unwrap().kind, PacketKind::Snap);
        assert_eq!(stream.take_rest(), "raw bytes");
        assert!(stream.is_empty());
    }

    #[test]
    fn the_same_identities_are_in_memory_once_and_strangers_do_not_fill_it() {
        let mut identities = Identities::default();
        let vector = |id: usize| request(&id.to_string(), b"").to_bytes().slice(16..);
        let [one, again] = [1, 1].map(|id| identities.of(&vector(id)));
        assert!(std::sync::Arc::ptr_eq(&one, &again));
        for id in 0..3 * KEPT_MAX {
            assert_eq!(*identities.of(&vector(id)), [Id::new("ip", &id.to_string())]);
            assert!(identities.0.len() <= KEPT_MAX);
        }
        let long = request(&"x".repeat(KEPT_BYTES_MAX), b"").to_bytes().slice(16..);
        let before = identities.0.len();
        assert_eq!(identities.of(&long).len(), 1);
        assert_eq!(identities.0.len(), before);
    }
}

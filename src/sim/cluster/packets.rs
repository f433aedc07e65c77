//! A witness's own reading of what passes between a leader and a learner (spec: quorum 6): bare jute records in a
//! stream, and behind SNAP the snapshot, which is passed over.

use crate::codec::{Malformed, Reader};

pub const REQUEST: i32 = 1;
pub const PROPOSAL: i32 = 2;
pub const ACK: i32 = 3;
pub const COMMIT: i32 = 4;
pub const PING: i32 = 5;
pub const REVALIDATE: i32 = 6;
pub const SYNC: i32 = 7;
pub const INFORM: i32 = 8;
pub const NEW_LEADER: i32 = 10;
pub const FOLLOWER_INFO: i32 = 11;
pub const UP_TO_DATE: i32 = 12;
pub const DIFF: i32 = 13;
pub const TRUNC: i32 = 14;
pub const SNAP: i32 = 15;
pub const OBSERVER_INFO: i32 = 16;
pub const LEADER_INFO: i32 = 17;
pub const ACK_EPOCH: i32 = 18;

/// Ends the snapshot in the stream: a string with its length in front.
const SNAPSHOT_END: &[u8] = b"\0\0\0\x0aBenWasHere";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub kind: i32,
    pub zxid: i64,
    pub data: Option<Vec<u8>>,
}

impl Packet {
    pub fn body(&self) -> &[u8] {
        self.data.as_deref().unwrap_or_default()
    }

    /// The sessions that a learner's PING or REVALIDATE names as heard, with their timeouts in milliseconds.
    pub fn touches(&self) -> Vec<(i64, i32)> {
        let touch = |bytes: &[u8]| {
            let (id, timeout) = (bytes.first_chunk()?, bytes.last_chunk()?);
            Some((i64::from_be_bytes(*id), i32::from_be_bytes(*timeout)))
        };
        self.body().chunks_exact(12).filter_map(touch).collect()
    }
}

/// Cuts a stream into packets.
#[derive(Default)]
pub struct Cutter {
    buffer: Vec<u8>,
    in_snapshot: bool,
}

impl Cutter {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole packet.
    pub fn next(&mut self) -> Option<Packet> {
        if self.in_snapshot {
            let found = self.buffer.windows(SNAPSHOT_END.len()).position(|window| window == SNAPSHOT_END);
            // What may be the front of the mark stays.
            let gone = match found {
                Some(at) => at + SNAPSHOT_END.len(),
                None => self.buffer.len().saturating_sub(SNAPSHOT_END.len() - 1),
            };
            self.buffer.drain(..gone);
            found?;
            self.in_snapshot = false;
        }
        let mut reader = Reader::new(&self.buffer);
        // A record that breaks off and one that makes no sense look the same; the machines are judged by what they
        // make of it, and a leader that sends nonsense gets nowhere in the calm.
        let packet = read(&mut reader).ok()?;
        let taken = self.buffer.len() - reader.rest().len();
        self.buffer.drain(..taken);
        self.in_snapshot = packet.kind == SNAP;
        Some(packet)
    }
}

/// The same packets, but no PING names a session. Only for bytes that hold whole packets.
pub fn without_touches(bytes: &[u8]) -> Vec<u8> {
    let mut told = Vec::new();
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let before = reader.rest();
        let Ok(packet) = read(&mut reader) else { return bytes.to_vec() };
        let raw = &before[..before.len() - reader.rest().len()];
        if packet.kind == PING && packet.data.is_some() {
            told.extend_from_slice(&raw[..12]);
            told.extend_from_slice(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        } else {
            told.extend_from_slice(raw);
        }
    }
    told
}

fn read(r: &mut Reader<'_>) -> Result<Packet, Malformed> {
    let (kind, zxid) = (r.i32()?, r.i64()?);
    let data = r.buffer()?.map(<[u8]>::to_vec);
    for _ in 0..r.count()?.unwrap_or(0) {
        r.string()?;
        r.string()?;
    }
    Ok(Packet { kind, zxid, data })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::codec::Writer;

    pub fn packet(kind: i32, zxid: i64, data: Option<&[u8]>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut w = Writer(&mut bytes);
        w.i32(kind);
        w.i64(zxid);
        w.buffer(data);
        w.i32(-1);
        bytes
    }

    #[test]
    fn a_stream_is_cut_wherever_it_is_torn() {
        let mut stream = packet(PROPOSAL, 7, Some(b"txn"));
        stream.extend(packet(SNAP, 8, None));
        stream.extend(b"nodes and BenWasHer and\0\0\0\x0aBenWasHere");
        stream.extend(packet(NEW_LEADER, 1 << 32, None));
        for step in [1, 3, 7, stream.len()] {
            let mut cutter = Cutter::default();
            let mut kinds = Vec::new();
            for piece in stream.chunks(step) {
                cutter.push(piece);
                while let Some(packet) = cutter.next() {
                    kinds.push(packet.kind);
                }
            }
            assert_eq!(kinds, [PROPOSAL, SNAP, NEW_LEADER]);
            assert!(cutter.buffer.is_empty());
        }
    }
}

//! What a leader and its learners say to each other on the quorum port (spec: quorum 6): bare jute records, one
//! behind the other, without frames.

use bytes::Bytes;

use super::{Malformed, Reader, Writer};
use crate::base::{AuthIds, ServerId, SessionId, Xid, Zxid};

/// The protocol every server since 3.4 speaks (ZK: `Learner`'s 0x10000).
pub const PROTOCOL_VERSION: i32 = 0x1_0000;

/// What a packet is (ZK: `Leader`'s constants).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PacketKind {
    Request,
    Proposal,
    Ack,
    Commit,
    Ping,
    Revalidate,
    Sync,
    Inform,
    CommitAndActivate,
    NewLeader,
    FollowerInfo,
    UpToDate,
    Diff,
    Trunc,
    Snap,
    ObserverInfo,
    LeaderInfo,
    AckEpoch,
    InformAndActivate,
    /// Of a version to come: both sides log it and go on.
    Unknown(i32),
}

/// In the order of their numbers, the first is 1.
const KINDS: [PacketKind; 19] = [
    PacketKind::Request,
    PacketKind::Proposal,
    PacketKind::Ack,
    PacketKind::Commit,
    PacketKind::Ping,
    PacketKind::Revalidate,
    PacketKind::Sync,
    PacketKind::Inform,
    PacketKind::CommitAndActivate,
    PacketKind::NewLeader,
    PacketKind::FollowerInfo,
    PacketKind::UpToDate,
    PacketKind::Diff,
    PacketKind::Trunc,
    PacketKind::Snap,
    PacketKind::ObserverInfo,
    PacketKind::LeaderInfo,
    PacketKind::AckEpoch,
    PacketKind::InformAndActivate,
];

impl PacketKind {
    pub fn from_code(code: i32) -> PacketKind {
        let known = usize::try_from(code).ok().and_then(|code| KINDS.get(code.checked_sub(1)?));
        known.copied().unwrap_or(PacketKind::Unknown(code))
    }

    /// The number on the wire.
    pub fn code(self) -> i32 {
        match self {
            PacketKind::Unknown(code) => code,
            known => KINDS.iter().position(|kind| *kind == known).map_or(0, |at| at as i32 + 1),
        }
    }
}

/// ZK: `QuorumPacket`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    pub kind: PacketKind,
    pub zxid: Zxid,
    pub data: Option<Bytes>,
    /// Who the client of a REQUEST is; null in everything else.
    pub auth: Option<AuthIds>,
}

impl Packet {
    pub fn bare(kind: PacketKind, zxid: Zxid) -> Packet {
        Packet { kind, zxid, data: None, auth: None }
    }

    pub fn with(kind: PacketKind, zxid: Zxid, data: Bytes) -> Packet {
        Packet { kind, zxid, data: Some(data), auth: None }
    }

    /// Appends the record to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let ids = self.auth.iter().flat_map(|auth| auth.iter());
        let ids_bytes = ids.map(|id| 8 + id.scheme.len() + id.id.len()).sum::<usize>();
        out.reserve(20 + self.data.as_ref().map_or(0, Bytes::len) + ids_bytes);
        let w = &mut Writer(out);
        w.i32(self.kind.code());
        w.i64(self.zxid.0);
        w.buffer(self.data.as_deref());
        let Some(auth) = &self.auth else { return w.i32(-1) };
        w.i32(auth.len() as i32);
        for id in auth.iter() {
            // Plain UTF-8, which Apache's decoder takes too: its own surrogate form does not survive reading.
            w.buffer(Some(id.scheme.as_bytes()));
            w.buffer(Some(id.id.as_bytes()));
        }
    }

    /// As [`Packet::encode`], by itself.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::new();
        self.encode(&mut out);
        out.into()
    }

    /// The data of a packet that makes no sense without.
    pub fn require_data(&self) -> Result<&Bytes, Malformed> {
        self.data.as_ref().ok_or(Malformed("packet without data"))
    }
}

/// The data of FOLLOWERINFO and OBSERVERINFO: who wants to learn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LearnerInfo {
    pub server: ServerId,
    /// 1 when it does not say: before [`PROTOCOL_VERSION`] there was no LEADERINFO.
    pub protocol_version: i32,
    /// Of the configuration it has committed; 0 when it does not say.
    pub config_version: i64,
}

impl LearnerInfo {
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(20);
        let w = &mut Writer(&mut out);
        w.i64(self.server.0);
        w.i32(self.protocol_version);
        w.i64(self.config_version);
        out.into()
    }

    /// `None`: an anonymous learner. The forms of 8, 12 and 20 bytes are told apart by how much there is.
    pub fn decode(data: Option<&[u8]>) -> Result<Option<LearnerInfo>, Malformed> {
        let Some(data) = data else { return Ok(None) };
        let r = &mut Reader::new(data);
        let server = ServerId(r.i64()?);
        let protocol_version = if r.rest().len() >= 4 { r.i32()? } else { 1 };
        let config_version = if r.rest().len() >= 8 { r.i64()? } else { 0 };
        Ok(Some(LearnerInfo { server, protocol_version, config_version }))
    }
}

/// The data of a REQUEST: what a client of a learner asks of the leader. Who it is stands in [`Packet::auth`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forwarded {
    pub session: SessionId,
    pub cxid: Xid,
    /// `OpCode`, not judged.
    pub op: i32,
    /// The client's record; for createSession the timeout (i32, ms), for closeSession nothing.
    pub body: Bytes,
}

impl Forwarded {
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(16 + self.body.len());
        let w = &mut Writer(&mut out);
        w.i64(self.session.0);
        w.i32(self.cxid.0);
        w.i32(self.op);
        out.extend_from_slice(&self.body);
        out.into()
    }

    /// The body shares the packet's memory.
    pub fn decode(data: &Bytes) -> Result<Forwarded, Malformed> {
        let r = &mut Reader::new(data);
        let (session, cxid, op) = (SessionId(r.i64()?), Xid(r.i32()?), r.i32()?);
        Ok(Forwarded { session, cxid, op, body: data.slice(16..) })
    }
}

/// The data of REVALIDATE to the leader: may the client that came here go on with this session?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Revalidate {
    pub session: SessionId,
    pub timeout_ms: i32,
}

impl Revalidate {
    pub fn encode(&self) -> Bytes {
        encode_touches(&[(self.session, self.timeout_ms)])
    }

    pub fn decode(data: &[u8]) -> Result<Revalidate, Malformed> {
        let r = &mut Reader::new(data);
        Ok(Revalidate { session: SessionId(r.i64()?), timeout_ms: r.i32()? })
    }
}

/// The data of REVALIDATE from the leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Revalidated {
    pub session: SessionId,
    pub valid: bool,
}

impl Revalidated {
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(9);
        let w = &mut Writer(&mut out);
        w.i64(self.session.0);
        w.bool(self.valid);
        out.into()
    }

    pub fn decode(data: &[u8]) -> Result<Revalidated, Malformed> {
        let r = &mut Reader::new(data);
        Ok(Revalidated { session: SessionId(r.i64()?), valid: r.bool()? })
    }
}

/// The data of a learner's PING: sessions heard from since the last one, with their timeouts in milliseconds.
pub fn encode_touches(touches: &[(SessionId, i32)]) -> Bytes {
    let mut out = Vec::with_capacity(TOUCH_BYTES * touches.len());
    let w = &mut Writer(&mut out);
    for (session, timeout_ms) in touches {
        w.i64(session.0);
        w.i32(*timeout_ms);
    }
    out.into()
}

const TOUCH_BYTES: usize = 12;

/// Errors when the last one is cut off, as the reference does.
pub fn decode_touches(data: &[u8]) -> Result<Vec<(SessionId, i32)>, Malformed> {
    let r = &mut Reader::new(data);
    let mut touches = Vec::with_capacity(data.len() / TOUCH_BYTES);
    while !r.is_empty() {
        touches.push((SessionId(r.i64()?), r.i32()?));
    }
    Ok(touches)
}

/// The data of LEADERINFO: the leader's protocol version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaderInfo {
    pub protocol_version: i32,
}

impl LeaderInfo {
    pub fn encode(&self) -> Bytes {
        Bytes::copy_from_slice(&self.protocol_version.to_be_bytes())
    }

    pub fn decode(data: &[u8]) -> Result<LeaderInfo, Malformed> {
        Ok(LeaderInfo { protocol_version: Reader::new(data).i32()? })
    }
}

/// The data of ACKEPOCH.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AckEpoch {
    /// The learner's currentEpoch, or [`AckEpoch::PROMISED_BEFORE`].
    pub current_epoch: i32,
}

impl AckEpoch {
    /// "I promised this epoch already": such an answer is not counted.
    pub const PROMISED_BEFORE: i32 = -1;

    pub fn encode(&self) -> Bytes {
        Bytes::copy_from_slice(&self.current_epoch.to_be_bytes())
    }

    pub fn decode(data: &[u8]) -> Result<AckEpoch, Malformed> {
        Ok(AckEpoch { current_epoch: Reader::new(data).i32()? })
    }
}

/// The data of COMMITANDACTIVATE (no payload) and INFORMANDACTIVATE: who should lead under the new configuration,
/// then what an INFORM would carry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Activate {
    pub designated: ServerId,
    pub payload: Bytes,
}

impl Activate {
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(8 + self.payload.len());
        Writer(&mut out).i64(self.designated.0);
        out.extend_from_slice(&self.payload);
        out.into()
    }

    pub fn decode(data: &Bytes) -> Result<Activate, Malformed> {
        Ok(Activate { designated: ServerId(Reader::new(data).i64()?), payload: data.slice(8..) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Id;
    use crate::codec::hex;
    use crate::codec::peer_stream::cut;

    const MAX: usize = 1 << 16;

    fn golden(packet: &Packet, text: &str) {
        let bytes = hex(text);
        assert_eq!(packet.to_bytes(), bytes, "{packet:?}");
        assert_eq!(cut(&bytes, MAX), Ok(Some((packet.clone(), bytes.len()))));
        for end in 0..bytes.len() {
            assert_eq!(cut(&bytes[..end], MAX), Ok(None), "cut at {end}");
        }
        let mut longer = bytes.clone();
        longer.extend_from_slice(&bytes);
        assert_eq!(cut(&longer, MAX).unwrap().unwrap().1, bytes.len());
    }

    /// Those that carry nothing but their zxid: type, zxid, null, null.
    #[test]
    fn bare_packets_are_apaches_to_the_byte() {
        let epoch = Zxid(5 << 32);
        for (kind, zxid, text) in [
            (PacketKind::Ack, Zxid(0x5_0000_0007), "00000003 0000000500000007 ffffffff ffffffff"),
            (PacketKind::Commit, Zxid(0x5_0000_0007), "00000004 0000000500000007 ffffffff ffffffff"),
            (PacketKind::Ping, Zxid(0x5_0000_0007), "00000005 0000000500000007 ffffffff ffffffff"),
            (PacketKind::Sync, Zxid::ZERO, "00000007 0000000000000000 ffffffff ffffffff"),
            (PacketKind::NewLeader, epoch, "0000000a 0000000500000000 ffffffff ffffffff"),
            (PacketKind::UpToDate, Zxid::NONE, "0000000c ffffffffffffffff ffffffff ffffffff"),
            (PacketKind::Diff, Zxid(0x4_0000_0009), "0000000d 0000000400000009 ffffffff ffffffff"),
            (PacketKind::Trunc, Zxid(0x4_0000_0009), "0000000e 0000000400000009 ffffffff ffffffff"),
            (PacketKind::Snap, Zxid(0x4_0000_0009), "0000000f 0000000400000009 ffffffff ffffffff"),
            (PacketKind::Unknown(99), Zxid::ZERO, "00000063 0000000000000000 ffffffff ffffffff"),
            (PacketKind::Unknown(0), Zxid::ZERO, "00000000 0000000000000000 ffffffff ffffffff"),
            (PacketKind::Unknown(-5), Zxid::ZERO, "fffffffb 0000000000000000 ffffffff ffffffff"),
        ] {
            golden(&Packet::bare(kind, zxid), text);
        }
    }

    #[test]
    fn packets_with_data_are_apaches_to_the_byte() {
        let (epoch, session) = (Zxid(5 << 32), SessionId(0x1000_abcd_1234_0000));
        let learner =
            LearnerInfo { server: ServerId(3), protocol_version: PROTOCOL_VERSION, config_version: 0x1_0000_0002 };
        let payload = Bytes::from_static(b"\x01\x02");
        let activate = Activate { designated: ServerId(2), payload: payload.clone() };
        let touches = [(session, 30000), (SessionId(-2), 4000)];
        for (kind, zxid, data, text) in [
            (PacketKind::Proposal, Zxid(9), payload.clone(), "00000002 0000000000000009 00000002 0102 ffffffff"),
            (PacketKind::Inform, Zxid(9), payload, "00000008 0000000000000009 00000002 0102 ffffffff"),
            (
                PacketKind::Ping,
                Zxid(9),
                encode_touches(&touches),
                "00000005 0000000000000009 00000018 1000abcd12340000 00007530 fffffffffffffffe 00000fa0 ffffffff",
            ),
            (PacketKind::Ping, Zxid(9), encode_touches(&[]), "00000005 0000000000000009 00000000 ffffffff"),
            (
                PacketKind::Revalidate,
                Zxid::NONE,
                Revalidate { session, timeout_ms: 30000 }.encode(),
                "00000006 ffffffffffffffff 0000000c 1000abcd12340000 00007530 ffffffff",
            ),
            (
                PacketKind::Revalidate,
                Zxid::NONE,
                Revalidated { session, valid: true }.encode(),
                "00000006 ffffffffffffffff 00000009 1000abcd12340000 01 ffffffff",
            ),
            (
                PacketKind::CommitAndActivate,
                Zxid(9),
                Activate { designated: ServerId(2), payload: Bytes::new() }.encode(),
                "00000009 0000000000000009 00000008 0000000000000002 ffffffff",
            ),
            (
                PacketKind::NewLeader,
                epoch,
                Bytes::from_static(b"version=0"),
                "0000000a 0000000500000000 00000009 76657273696f6e3d30 ffffffff",
            ),
            (
                PacketKind::FollowerInfo,
                epoch,
                learner.encode(),
                "0000000b 0000000500000000 00000014 0000000000000003 00010000 0000000100000002 ffffffff",
            ),
            (
                PacketKind::ObserverInfo,
                epoch,
                learner.encode(),
                "00000010 0000000500000000 00000014 0000000000000003 00010000 0000000100000002 ffffffff",
            ),
            (
                PacketKind::LeaderInfo,
                epoch,
                LeaderInfo { protocol_version: PROTOCOL_VERSION }.encode(),
                "00000011 0000000500000000 00000004 00010000 ffffffff",
            ),
            (
                PacketKind::AckEpoch,
                Zxid(9),
                AckEpoch { current_epoch: AckEpoch::PROMISED_BEFORE }.encode(),
                "00000012 0000000000000009 00000004 ffffffff ffffffff",
            ),
            (
                PacketKind::InformAndActivate,
                Zxid(9),
                activate.encode(),
                "00000013 0000000000000009 0000000a 0000000000000002 0102 ffffffff",
            ),
        ] {
            golden(&Packet::with(kind, zxid, data), text);
        }
    }

    #[test]
    fn a_forwarded_request_is_apaches_to_the_byte() {
        let session = SessionId(0x1000_abcd_1234_0000);
        let forwarded =
            Forwarded { session, cxid: Xid(0), op: -10, body: Bytes::copy_from_slice(&30000_i32.to_be_bytes()) };
        let mut packet = Packet::with(PacketKind::Request, Zxid::NONE, forwarded.encode());
        packet.auth = Some([Id::new("ip", "::1"), Id::new("x", "")].into());
        golden(
            &packet,
            "00000001 ffffffffffffffff 00000014 1000abcd12340000 00000000 fffffff6 00007530
             00000002 00000002 6970 00000003 3a3a31 00000001 78 00000000",
        );
        assert_eq!(Forwarded::decode(packet.data.as_ref().unwrap()), Ok(forwarded));
        packet.auth = Some([].into());
        packet.data = Some(Forwarded { session, cxid: Xid(7), op: -11, body: Bytes::new() }.encode());
        golden(&packet, "00000001 ffffffffffffffff 00000010 1000abcd12340000 00000007 fffffff5 00000000");
    }

    #[test]
    fn every_kind_has_its_number() {
        for code in -3..30 {
            assert_eq!(PacketKind::from_code(code).code(), code);
            assert_eq!(matches!(PacketKind::from_code(code), PacketKind::Unknown(_)), !(1..=19).contains(&code));
        }
        assert_eq!((PacketKind::Request.code(), PacketKind::InformAndActivate.code()), (1, 19));
        assert_eq!((PacketKind::NewLeader.code(), PacketKind::Snap.code()), (10, 15));
    }

    #[test]
    fn data_comes_back_and_short_data_does_not() {
        let session = SessionId(-4);
        let info = LearnerInfo { server: ServerId(1), protocol_version: PROTOCOL_VERSION, config_version: 8 };
        let bytes = info.encode();
        assert_eq!(LearnerInfo::decode(None), Ok(None));
        assert_eq!(LearnerInfo::decode(Some(&bytes)), Ok(Some(info)));
        let old = LearnerInfo { config_version: 0, ..info };
        assert_eq!(LearnerInfo::decode(Some(&bytes[..12])), Ok(Some(old)));
        assert_eq!(LearnerInfo::decode(Some(&bytes[..19])), Ok(Some(old)));
        assert_eq!(LearnerInfo::decode(Some(&bytes[..8])), Ok(Some(LearnerInfo { protocol_version: 1, ..old })));
        assert!(LearnerInfo::decode(Some(&bytes[..7])).is_err());
        let touches = vec![(session, 5), (SessionId(6), -1)];
        let bytes = encode_touches(&touches);
        assert_eq!(decode_touches(&bytes), Ok(touches));
        assert!(decode_touches(&bytes[..23]).is_err());
        let ask = Revalidate { session, timeout_ms: 9 };
        assert_eq!(Revalidate::decode(&ask.encode()), Ok(ask));
        let answer = Revalidated { session, valid: false };
        assert_eq!(Revalidated::decode(&answer.encode()), Ok(answer));
        assert!(Revalidated::decode(&answer.encode()[..8]).is_err());
        let activate = Activate { designated: ServerId(-1), payload: Bytes::from_static(b"x") };
        assert_eq!(Activate::decode(&activate.encode()), Ok(activate));
        assert!(Activate::decode(&Bytes::from_static(b"1234567")).is_err());
        assert!(Forwarded::decode(&Bytes::from_static(b"123456789012345")).is_err());
        assert_eq!(AckEpoch::decode(&AckEpoch { current_epoch: 7 }.encode()), Ok(AckEpoch { current_epoch: 7 }));
        assert!(LeaderInfo::decode(b"123").is_err() && AckEpoch::decode(b"").is_err());
        assert!(Packet::bare(PacketKind::Request, Zxid::NONE).require_data().is_err());
    }

    #[test]
    fn hostile_lengths_are_refused_as_soon_as_they_are_seen() {
        let head = "00000002 0000000000000009";
        let verdict = |rest: &str| cut(&hex(&format!("{head} {rest}")), 8);
        assert_eq!(verdict("00000008"), Ok(None));
        assert!(verdict("00000009").is_err());
        assert!(verdict("7fffffff").is_err());
        assert!(verdict("fffffffe").is_err());
        assert!(verdict("80000000").is_err());
        // Identities: null ones, long ones, too many.
        assert_eq!(verdict("ffffffff 7fffffff"), Ok(None));
        assert!(verdict("ffffffff 00000001 ffffffff").is_err());
        assert!(verdict("ffffffff 00000001 00000000 ffffffff").is_err());
        assert!(verdict("ffffffff 00000001 00000009").is_err());
        assert!(verdict("ffffffff 7fffffff 00000000 00000000 00000000 00000000").is_err());
        assert!(verdict("ffffffff fffffffe").is_ok_and(|cut| cut.unwrap().0.auth == Some([].into())));
    }
}

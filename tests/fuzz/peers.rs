//! What other members send: packets, preambles, notifications, and a whole state behind SNAP.

use super::Target;
use super::dice::{Dice, join, split};
use super::txns::{self, RULES};
use super::wire;
use bytes::Bytes;
use ringkeeper::base::{PeerAddress, ServerId, SessionId, WallMs, Xid, Zxid};
use ringkeeper::codec::peer::*;
use ringkeeper::codec::peer_stream;
use ringkeeper::codec::vote::{self, Notification, PeerState, Preamble, PreambleVersion};
use ringkeeper::codec::{Writer, frame};
use ringkeeper::mail::Changes;
use ringkeeper::snapshot::{StreamReader, StreamWriter};
use ringkeeper::tree::{OwnerRules, Tree};
use std::sync::OnceLock;

pub const PACKETS: Target = Target { name: "packets", make: make_packets, run: run_packets };
pub const VOTES: Target = Target { name: "votes", make: make_votes, run: run_votes };
pub const STREAMS: Target = Target { name: "streams", make: make_stream, run: run_stream };

/// Small, so that lengths beyond it come up.
const FIELD_BYTES_MAX: usize = 300;

fn packet(dice: &mut Dice) -> Packet {
    let session = SessionId(dice.number());
    let kind = PacketKind::from_code(if dice.one_in(9) { dice.number() as i32 } else { 1 + dice.below(19) as i32 });
    let data = match kind {
        PacketKind::Request => {
            let op = dice.pick(&wire::OPERATIONS);
            let body: Bytes = wire::record(op, dice).into();
            let body = if body.len() + 16 > FIELD_BYTES_MAX { Bytes::new() } else { body };
            Some(Forwarded { session, cxid: Xid(dice.number() as i32), op: op.code(), body }.encode())
        }
        PacketKind::FollowerInfo | PacketKind::ObserverInfo => {
            let server = ServerId(dice.number());
            let info = LearnerInfo { server, protocol_version: PROTOCOL_VERSION, config_version: dice.number() };
            let length = dice.pick(&[20, 20, 12, 8]);
            Some(info.encode().slice(..length))
        }
        PacketKind::Ping => Some(encode_touches(&vec![(session, dice.number() as i32); dice.below(5)])),
        PacketKind::Revalidate => Some(Revalidated { session, valid: dice.one_in(2) }.encode()),
        PacketKind::InformAndActivate | PacketKind::CommitAndActivate => {
            Some(Activate { designated: ServerId(dice.number()), payload: dice.bytes(30).into() }.encode())
        }
        _ if dice.one_in(3) => None,
        _ => Some(dice.bytes(60).into()),
    };
    let mut packet = Packet::bare(kind, Zxid(dice.number()));
    packet.data = data;
    if dice.one_in(3) {
        packet.auth = Some(wire::acl(dice).into_iter().map(|acl| acl.id).collect());
    }
    packet
}

/// Input: sizes of the pieces in which they come, then the packets, damaged half of the time.
fn make_packets(dice: &mut Dice) -> Vec<u8> {
    let packets: Vec<Packet> = (0..1 + dice.below(4)).map(|_| packet(dice)).collect();
    let mut bytes = Vec::new();
    packets.iter().for_each(|packet| packet.encode(&mut bytes));
    let (found, used, _) = cut_all(&bytes);
    assert!((found, used) == (packets, bytes.len()), "{bytes:02x?}");
    if dice.one_in(2) {
        dice.mutate(&mut bytes, 4);
    }
    join(&[dice.bytes(20), bytes])
}

fn cut_all(bytes: &[u8]) -> (Vec<Packet>, usize, bool) {
    let (mut found, mut at) = (Vec::new(), 0);
    loop {
        match peer_stream::cut(&bytes[at..], FIELD_BYTES_MAX) {
            Ok(Some((packet, used))) => {
                found.push(packet);
                at += used;
            }
            Ok(None) => return (found, at, true),
            Err(_) => return (found, at, false),
        }
    }
}

fn run_packets(input: &[u8]) {
    let parts = split(input);
    let [pieces, bytes] = parts[..] else { return };
    let (expected, end, is_good) = cut_all(bytes);
    // In pieces: the same packets, no fault before its time.
    let (mut found, mut at, mut seen, mut sizes) =
        (Vec::new(), 0, 0, pieces.iter().map(|size| 1 + *size as usize % 13));
    let is_good_in_pieces = loop {
        match peer_stream::cut(&bytes[at..seen], FIELD_BYTES_MAX) {
            Ok(Some((packet, used))) => {
                found.push(packet);
                at += used;
            }
            Ok(None) if seen == bytes.len() => break true,
            Ok(None) => seen = (seen + sizes.next().unwrap_or(bytes.len())).min(bytes.len()),
            Err(_) => break false,
        }
    };
    assert_eq!((&found, at, is_good_in_pieces), (&expected, end, is_good));
    for packet in &found {
        let again = packet.to_bytes();
        assert_eq!(peer_stream::cut(&again, usize::MAX), Ok(Some((packet.clone(), again.len()))));
        judge_data(packet);
    }
    if !is_good {
        // No later byte makes it good again.
        let longer = [&bytes[end..], &[0; 64]].concat();
        assert!(peer_stream::cut(&longer, FIELD_BYTES_MAX).is_err());
    }
}

/// Whatever a packet's data is taken for comes out the same again.
fn judge_data(packet: &Packet) {
    let Some(data) = &packet.data else { return };
    assert!(data.len() <= FIELD_BYTES_MAX);
    if let Ok(forwarded) = Forwarded::decode(data) {
        assert_eq!(forwarded.encode(), data);
    }
    if let Ok(activate) = Activate::decode(data) {
        assert_eq!(activate.encode(), data);
    }
    match decode_touches(data) {
        Ok(touches) => assert_eq!(encode_touches(&touches), data),
        Err(_) => assert_ne!(data.len() % 12, 0),
    }
    match LearnerInfo::decode(Some(data)) {
        Ok(info) => {
            let info = info.expect("only no data at all is nobody");
            let known = [20, 12, 8].into_iter().find(|length| *length <= data.len()).unwrap_or(0);
            assert_eq!(info.encode()[..known], data[..known]);
        }
        Err(_) => assert!(data.len() < 8),
    }
    if let Ok(ask) = Revalidate::decode(data) {
        assert_eq!(ask.encode(), data[..12]);
    }
    if let Ok(answer) = Revalidated::decode(data) {
        assert_eq!((answer.encode()[..8].to_vec(), answer.valid), (data[..8].to_vec(), data[8] != 0));
    }
    if let (Ok(info), Ok(ack)) = (LeaderInfo::decode(data), AckEpoch::decode(data)) {
        assert_eq!((info.encode(), ack.encode()), (data.slice(..4), data.slice(..4)));
    }
}

fn make_votes(dice: &mut Dice) -> Vec<u8> {
    const HOSTS: [&str; 6] = ["127.0.0.1", "::1", "zk-1.example", "0.0.0.0", "::", "h"];
    let addresses: Vec<PeerAddress> = (0..1 + dice.below(3))
        .map(|_| PeerAddress { host: dice.pick(&HOSTS).into(), port: dice.number() as u16 })
        .collect();
    let version = dice.pick(&[PreambleVersion::V1, PreambleVersion::V2, PreambleVersion::Legacy]);
    let server = ServerId(if version == PreambleVersion::Legacy { dice.below(9) as i64 } else { dice.number() });
    let mut bytes = Preamble { version, server, addresses }.encode().to_vec();
    for _ in 0..dice.below(3) {
        let states = [PeerState::Looking, PeerState::Following, PeerState::Leading, PeerState::Observing];
        let notification = Notification {
            state: dice.pick(&states),
            leader: ServerId(dice.number()),
            zxid: Zxid(dice.number()),
            election_epoch: dice.number(),
            peer_epoch: dice.number(),
            version: 2,
            config: dice.one_in(2).then(|| "server.1=h:1:2:participant\nversion=0".into()),
        };
        let whole = notification.encode();
        assert_eq!(Notification::decode(&whole[4..]).as_ref(), Ok(&notification));
        // The old forms are fronts of the new one.
        let length = dice.pick(&[whole.len() - 4, whole.len() - 4, 28, 40]);
        Writer(&mut bytes).buffer(Some(&whole[4..4 + length]));
    }
    if dice.one_in(2) {
        dice.mutate(&mut bytes, 4);
    }
    bytes
}

fn run_votes(input: &[u8]) {
    let Ok(Some((preamble, mut at))) = Preamble::cut(input) else {
        // Not yet means that more would help or be refused; a refusal stays one.
        if Preamble::cut(input).is_err() {
            assert!(Preamble::cut(&[input, b"more"].concat()).is_err());
        }
        return;
    };
    for end in 0..at {
        assert_eq!(Preamble::cut(&input[..end]), Ok(None));
    }
    if !preamble.addresses.is_empty() || preamble.version == PreambleVersion::Legacy {
        // Version 1 was heard with several addresses, as Apache hears it; it is spoken with one.
        let version = if preamble.addresses.len() > 1 { PreambleVersion::V2 } else { preamble.version };
        let said = Preamble { version, ..preamble };
        let bytes = said.encode();
        assert_eq!(Preamble::cut(&bytes), Ok(Some((said, bytes.len()))));
    }
    while let Ok(Some((payload, used))) = vote::cut(&input[at..]) {
        assert!((1..=vote::NOTIFICATION_BYTES_MAX).contains(&payload.len()) && used == payload.len() + 4);
        at += used;
        let Ok(notification) = Notification::decode(payload) else { continue };
        assert!(payload.len() == 28 || payload.len() >= 40);
        assert!(notification.config.is_none() || notification.version > 1);
        let whole = notification.encode();
        assert_eq!(frame::cut(&whole, usize::MAX), Ok(Some((&whole[4..], whole.len()))));
        let again = Notification { version: Notification::VERSION, ..notification };
        assert_eq!(Notification::decode(&whole[4..]), Ok(again));
    }
}

/// A state of some thirty znodes, and its digest.
fn good_stream() -> &'static (Vec<u8>, i64) {
    static GOOD: OnceLock<(Vec<u8>, i64)> = OnceLock::new();
    GOOD.get_or_init(|| {
        let mut tree = Tree::new(RULES);
        let mut dice = Dice::new(3, 3, 3);
        for zxid in 1..300 {
            let payload = txns::payload(&mut dice, zxid);
            let entry = ringkeeper::codec::txn::decode(&payload).expect("as encoded");
            let _ = tree.apply(&entry.header, &entry.txn, &mut Changes::new());
        }
        let sessions = [(SessionId(7), 4000), (SessionId(8), i32::MAX)];
        let mut writer = StreamWriter::begin(sessions.into_iter(), tree.acls());
        tree.snapshot_begin();
        while tree.snapshot_next(10, &mut |node| writer.node(node)) {}
        (writer.finish().flatten().collect(), tree.digest())
    })
}

/// Input: sizes of the pieces, then the stream.
fn make_stream(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = good_stream().0.clone();
    if !dice.one_in(4) {
        dice.mutate(&mut bytes, 3);
    }
    join(&[dice.bytes(30), bytes])
}

fn run_stream(input: &[u8]) {
    let parts = split(input);
    let [pieces, bytes] = parts[..] else { return };
    let (good, digest) = good_stream();
    // At once, and in pieces: the same end or the same fault.
    let mut whole = StreamReader::new(RULES, 4096);
    let end = whole.push(bytes);
    let mut reader = StreamReader::new(RULES, 4096);
    let mut sizes = pieces.iter().map(|size| *size as usize).chain(std::iter::repeat(1000));
    let mut at = 0;
    let end_in_pieces = loop {
        let piece = &bytes[at..(at + sizes.next().unwrap_or(1)).min(bytes.len())];
        match reader.push(piece) {
            Ok(Some(used)) => break Ok(Some(at + used)),
            Ok(None) if at + piece.len() == bytes.len() => break Ok(None),
            Ok(None) => at += piece.len(),
            Err(error) => break Err(error),
        }
    };
    assert_eq!(
        end.as_ref().map_err(ToString::to_string),
        end_in_pieces.as_ref().map_err(ToString::to_string),
        "pieces make a difference"
    );
    assert_eq!(whole.znode_count(), reader.znode_count());
    let is_good = bytes.starts_with(good);
    match (end, reader.into_loaded(Zxid(5), WallMs(1))) {
        (Ok(Some(end)), Ok(loaded)) => {
            assert!(end <= bytes.len() && loaded.tree.digest_from_scratch() == loaded.digest);
            if is_good {
                assert_eq!((end, loaded.digest, loaded.sessions.len()), (good.len(), *digest, 2));
            }
            assert!(whole.into_loaded(Zxid(5), WallMs(1)).is_ok_and(|other| other.digest == loaded.digest));
            send_on(loaded.tree);
        }
        (_, Ok(_)) => panic!("half a state was taken for one"),
        (_, Err(error)) => assert!(!is_good, "a good state is refused: {error}"),
    }
}

/// What was heard can be told to others, who then have the same.
fn send_on(mut tree: Tree) {
    let mut writer = StreamWriter::begin([].into_iter(), tree.acls());
    tree.snapshot_begin();
    while tree.snapshot_next(10, &mut |node| writer.node(node)) {}
    let rules: OwnerRules = tree.rules();
    let mut reader = StreamReader::new(rules, 1 << 20);
    let chunks: Vec<Bytes> = writer.finish().collect();
    for (number, chunk) in chunks.iter().enumerate() {
        let is_last = number + 1 == chunks.len();
        assert_eq!(reader.push(chunk).expect("as written"), is_last.then_some(chunk.len()));
    }
    let loaded = reader.into_loaded(Zxid(5), WallMs(1)).expect("as written");
    assert_eq!((loaded.digest, loaded.tree.znode_count()), (tree.digest(), tree.znode_count()));
}

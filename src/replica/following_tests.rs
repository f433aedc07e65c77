//! A follower whose history is cut, or may have to be: what of it reaches the disk, and when.

use super::member_rig::{Rig, kinds, opening, origin, record};
use super::tests::member;
use super::*;
use crate::base::SessionId;
use crate::codec::peer::{Forwarded, Packet, PacketKind};
use crate::mail::Connect;

const ONE: i64 = 1 << 32;

#[test]
fn a_marker_may_land_after_its_history_was_cut() {
    let mut rig = Rig::new(member());
    let link = rig.follow(2, 1, 3);
    rig.lost(link);
    rig.elect(2);
    let (link, _) = rig.greet(2);
    // Nothing to write for a while: the journal's end is marked, and the mark takes its time.
    rig.landing = Some(Vec::new());
    rig.wait(100);
    rig.wait(100);
    assert_eq!(rig.landing.as_ref().map(Vec::len), Some(1));
    rig.say(link, &Packet::bare(PacketKind::Trunc, Zxid(ONE + 2)));
    rig.say(link, &Packet::with(PacketKind::NewLeader, Zxid(2 * ONE), Bytes::from_static(b"version=0")));
    assert_eq!(rig.sent(link), [], "the disk still has what was cut");
    rig.land();
    assert_eq!(kinds(&rig.sent(link)), [(PacketKind::Ack, 2 * ONE)]);
    assert_eq!((rig.replica.last_durable(), rig.current_epoch()), (Zxid(ONE + 2), 2));
    // And so says the disk.
    let state = reload(&rig.disk, &rig.replica.settings, Zxid(ONE + 2)).unwrap();
    assert_eq!(state.sessions.len(), 2);
    rig.say(link, &Packet::bare(PacketKind::UpToDate, Zxid::NONE));
    rig.sent(link);
    let next = Zxid(2 * ONE + 1);
    rig.say(link, &Packet::with(PacketKind::Proposal, next, record(next)));
    assert_eq!(kinds(&rig.sent(link)), [(PacketKind::Ack, next.0)]);
}

/// Snapshots take the place of older ones, and a boot without this epoch needs one from before it.
#[test]
fn what_may_have_to_be_cut_is_in_no_snapshot() {
    let mut rig = Rig::new(member());
    rig.elect(2);
    let (link, _) = rig.greet(1);
    rig.say(link, &Packet::bare(PacketKind::Diff, Zxid::ZERO));
    for counter in 1..=1_100 {
        rig.commit(link, ONE + counter);
    }
    assert_eq!((rig.logged, rig.current_epoch()), (1_100, 0));
    assert!(rig.disk.snapshots.keys().all(|zxid| *zxid == Zxid::ZERO), "{:?}", rig.disk.snapshots.keys());
    rig.say(link, &Packet::with(PacketKind::NewLeader, Zxid(ONE), Bytes::from_static(b"version=0")));
    assert_eq!(rig.current_epoch(), 1);
    rig.wait(10);
    assert_eq!(rig.disk.snapshots.keys().last(), Some(&Zxid(ONE + 1_100)));
}

/// The disk of an earlier life is lost and the clock has gone back, but the others know what that life gave out.
#[test]
fn no_session_id_is_given_again_that_a_leader_tells_of() {
    let mut rig = Rig::new(member());
    let link = rig.follow(2, 1, 1);
    let given = SessionId(0x01ff_0000_0000_0007);
    let zxid = Zxid(ONE + 2);
    rig.say(link, &Packet::with(PacketKind::Proposal, zxid, opening(zxid, given)));
    rig.sent(link);
    let connect = Connect { origin: origin(1), session: SessionId::NONE, timeout_ms: 900, last_zxid_seen: Zxid::ZERO };
    rig.turn(|replica, now, out| replica.on_mail(ToReplica::Connect(connect), now, out));
    let asked = rig.sent(link);
    let requests: Vec<_> = asked.iter().filter(|packet| packet.kind == PacketKind::Request).collect();
    assert_eq!(requests.len(), 1);
    let body = requests[0].data.as_ref().unwrap();
    assert_eq!(Forwarded::decode(body).unwrap().session, SessionId(given.0 + 1));
}

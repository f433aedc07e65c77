//! A follower whose history is cut, or may have to be: what of it reaches the disk, and when.

use super::member_rig::{Rig, kinds, record};
use super::tests::member;
use super::*;
use crate::codec::peer::{Packet, PacketKind};

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

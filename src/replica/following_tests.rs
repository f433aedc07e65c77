//! A follower whose disk is slower than its leader.

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

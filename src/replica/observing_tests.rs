//! What is special about a member without a vote: when it looks for a leader, and that it may do without a journal.

use super::member_rig::{Rig, kinds, promise, record};
use super::tests::member;
use super::*;
use crate::base::ServerId;
use crate::codec::peer::{Packet, PacketKind};
use crate::zab::View;

const VIEW: &str = "server.1=a:1:2:participant;0.0.0.0:3\nserver.2=b:1:2:participant\nserver.3=c:1:2:participant\n\
                    server.9=d:1:2:observer\nversion=0";
const ONE: i64 = 1 << 32;

fn observer() -> EnsembleSettings {
    EnsembleSettings { me: ServerId(9), view: View::parse(VIEW).unwrap().into(), observer: true, ..member() }
}

fn looks(rig: &Rig) -> bool {
    matches!(rig.replica.ensemble.as_ref().unwrap().role, super::ensemble::Role::Looking)
}

#[test]
fn an_observer_waits_before_it_looks_for_a_leader_again_and_before_it_dials() {
    let settings =
        EnsembleSettings { observer_election_delay_ms: 400, observer_reconnect_delay_ms: 2_000, ..observer() };
    let (mut looked_after, mut dialled_after) = (Vec::new(), Vec::new());
    for me in [9, 11, 13, 15] {
        let view = VIEW.replace("server.9", &format!("server.{me}"));
        let view = View::parse(&view).unwrap().into();
        let mut rig = Rig::new(EnsembleSettings { me: ServerId(me), view, ..settings.clone() });
        rig.elect(1);
        while rig.dials.is_empty() {
            rig.wait(10);
        }
        dialled_after.push(rig.ms);
        let (link, _) = rig.greet(1);
        rig.say(link, &Packet::bare(PacketKind::Diff, Zxid::ZERO));
        rig.finish(link, 1);
        rig.lost(link);
        let lost_at = rig.ms;
        while !looks(&rig) {
            rig.wait(10);
        }
        looked_after.push(rig.ms - lost_at);
    }
    let differ = |waits: &[u64]| waits.iter().any(|ms| ms.abs_diff(waits[0]) > 20);
    assert!(looked_after.iter().all(|ms| *ms <= 410) && differ(&looked_after), "{looked_after:?}");
    assert!(dialled_after.iter().all(|ms| *ms <= 2_010) && differ(&dialled_after), "{dialled_after:?}");
}

#[test]
fn a_voter_does_not_wait() {
    let settings =
        EnsembleSettings { observer_election_delay_ms: 60_000, observer_reconnect_delay_ms: 60_000, ..member() };
    let mut rig = Rig::new(settings);
    let link = rig.follow(2, 1, 3);
    rig.lost(link);
    assert!(looks(&rig));
}

#[test]
fn a_leader_that_does_not_listen_yet_is_dialled_a_few_times() {
    let mut rig = Rig::new(EnsembleSettings { leader_connect_delay_ms: 200, ..member() });
    rig.elect(2);
    for attempt in 1..=5 {
        assert_eq!(rig.dials.len(), attempt);
        rig.lost(rig.dials[attempt - 1].0);
        assert_eq!(looks(&rig), attempt == 5);
        rig.wait(150);
        assert!(attempt == 5 || rig.dials.len() == attempt);
        rig.wait(50);
    }
}

#[test]
fn an_observer_that_does_not_log_goes_on_from_memory() {
    let mut rig = Rig::new(EnsembleSettings { observers_sync: false, ..observer() });
    let link = rig.follow(1, 1, 5);
    assert_eq!((rig.logged, rig.replica.last_committed()), (0, Zxid(ONE + 5)));
    assert_eq!(rig.current_epoch(), 0, "the disk has no history that the epoch could vouch for");
    rig.lost(link);
    // The next leader hears how far it is, not how far its disk is.
    rig.elect(2);
    let (link, said) = rig.greet(2);
    assert_eq!(said, promise(ONE + 5, 0));
    rig.say(link, &Packet::bare(PacketKind::Diff, Zxid(ONE + 6)));
    rig.say(link, &Packet::with(PacketKind::Proposal, Zxid(ONE + 6), record(Zxid(ONE + 6))));
    rig.say(link, &Packet::bare(PacketKind::Commit, Zxid(ONE + 6)));
    rig.finish(link, 2);
    rig.commit(link, 2 * ONE + 1);
    assert_eq!((rig.logged, rig.replica.last_committed()), (0, Zxid(2 * ONE + 1)));
    assert_eq!(rig.replica.sessions.iter().count(), 7);
}

#[test]
fn what_an_observer_that_does_not_log_is_sent_as_a_whole_is_on_disk() {
    let mut rig = Rig::new(EnsembleSettings { observers_sync: false, ..observer() });
    let mut leader = Rig::new(EnsembleSettings { view: View::parse(VIEW).unwrap().into(), ..member() });
    let from = leader.follow(2, 1, 4);
    leader.sent(from);
    rig.elect(1);
    let (link, _) = rig.greet(1);
    // The state of another member at its fourth transaction.
    let mut tree = leader.replica.tree.replicate();
    tree.snapshot_begin();
    let mut writer = crate::snapshot::StreamWriter::begin(leader.replica.sessions.iter(), leader.replica.tree.acls());
    while tree.snapshot_next(4096, &mut |node| writer.node(node)) {}
    rig.say(link, &Packet::bare(PacketKind::Snap, Zxid(ONE + 4)));
    for bytes in writer.finish() {
        rig.hear(link, &bytes);
    }
    rig.finish(link, 1);
    assert_eq!(rig.disk.snapshots.keys().last(), Some(&Zxid(ONE + 4)));
    assert_eq!(rig.current_epoch(), 1, "now it can");
    rig.commit(link, ONE + 5);
    assert_eq!((rig.logged, rig.replica.last_durable()), (0, Zxid(ONE + 4)));
    // A leader that wants to cut what only memory has: there is no such point on the disk, and it comes as a whole again.
    rig.lost(link);
    rig.elect(1);
    let (link, said) = rig.greet(2);
    assert_eq!(said, promise(ONE + 5, 1));
    rig.say(link, &Packet::bare(PacketKind::Trunc, Zxid(ONE + 2)));
    rig.elect(1);
    let (_, said) = rig.greet(2);
    assert_eq!(kinds(&[said]), [(PacketKind::AckEpoch, -1)]);
}

#[test]
fn an_observer_that_logs_has_on_disk_what_it_has_in_memory() {
    let mut rig = Rig::new(observer());
    let link = rig.follow(1, 1, 5);
    assert_eq!((rig.logged, rig.replica.last_durable(), rig.current_epoch()), (5, Zxid(ONE + 5), 1));
    rig.lost(link);
    rig.elect(2);
    assert_eq!(rig.greet(2).1, promise(ONE + 5, 1));
}

#[test]
fn an_observer_takes_every_transaction_once_and_leaves_when_one_is_missing() {
    let mut rig = Rig::new(observer());
    let link = rig.follow(1, 1, 5);
    rig.commit(link, ONE + 5); // A master may say twice what it synchronized with.
    assert_eq!((rig.logged, rig.replica.last_committed()), (5, Zxid(ONE + 5)));
    rig.commit(link, ONE + 7);
    assert_eq!(rig.closed, [link]);
    assert_eq!(rig.replica.last_committed(), Zxid(ONE + 5));
}

//! The leader and its links, asked about what only several of them together show.

use std::collections::BTreeSet;

use super::view::tests::view_of;
use super::{Elected, Leader, LeaderEffect, LearnerLimits, MasterEffect, SyncKind, Timing};
use crate::base::{Instant, LinkId, ServerId, Zxid};
use crate::codec::peer::{AckEpoch, LearnerInfo, PROTOCOL_VERSION, Packet, PacketKind};
use crate::codec::peer_stream::cut;

pub const TIMING: Timing = Timing { tick_ms: 100, init_ms: 1000, sync_ms: 500, ping_ms: 50 };

pub fn limits(timing: Timing) -> LearnerLimits {
    LearnerLimits {
        timing,
        field_bytes_max: 1 << 20,
        snap_syncs_max: 10,
        diff_syncs_max: 100,
        backlog_bytes_max: 1 << 20,
    }
}

/// A server with no history, elected by itself and `by`.
pub fn elected(me: i64, by: &[i64]) -> Elected {
    let by: BTreeSet<ServerId> = by.iter().copied().chain([me]).map(ServerId).collect();
    Elected {
        me: ServerId(me),
        by,
        epoch_wait_ms_max: None,
        accepted: 0,
        current: 0,
        last: Zxid::ZERO,
        has_oracle: false,
    }
}

fn at(ms: u64) -> Instant {
    Instant(ms * 1000)
}

fn say(leader: &mut Leader, link: u64, packet: &Packet, now: Instant) -> Vec<LeaderEffect> {
    let mut out = Vec::new();
    leader.on_bytes(LinkId(link), &packet.to_bytes(), now, &mut out);
    out
}

/// `server` comes on the link of its own number, up to the point at which it must be synchronized.
fn join(leader: &mut Leader, server: i64, kind: PacketKind) {
    let info = LearnerInfo { server: ServerId(server), protocol_version: PROTOCOL_VERSION, config_version: 0 };
    leader.on_link(LinkId(server as u64), at(0));
    say(leader, server as u64, &Packet::with(kind, Zxid::ZERO, info.encode()), at(0));
    let promise = AckEpoch { current_epoch: 0 }.encode();
    let effects = say(leader, server as u64, &Packet::with(PacketKind::AckEpoch, Zxid::ZERO, promise), at(0));
    let asked = |effect: &LeaderEffect| matches!(effect, LeaderEffect::Learner(MasterEffect::Sync { .. }));
    assert!(effects.iter().any(asked), "{effects:?}");
}

/// Alone among voters and established, with limits of two.
fn lone_leader(observers: &[i64]) -> Leader {
    let limits = LearnerLimits { snap_syncs_max: 2, diff_syncs_max: 2, ..limits(TIMING) };
    let mut out = Vec::new();
    let mut leader = Leader::new(elected(1, &[]), view_of(&[1], observers).into(), limits, at(0), &mut out);
    leader.on_promised(at(0), &mut out);
    leader.on_adopted(at(0), &mut out);
    assert!(leader.is_established());
    leader
}

fn begin(leader: &mut Leader, link: u64, kind: SyncKind) -> Option<usize> {
    let mut out: Vec<LeaderEffect> = Vec::new();
    let begun = leader.learners_mut().begin_sync(LinkId(link), kind, &mut out);
    assert_eq!(begun.is_none(), matches!(out[..], [LeaderEffect::Learner(MasterEffect::Close { .. })]), "{out:?}");
    if begun.is_some() {
        leader.follow(LinkId(link), Zxid::ZERO, Zxid::ZERO, "version=0", &mut out);
    }
    begun
}

#[test]
fn observers_beyond_the_limit_are_turned_away_until_one_is_done() {
    let mut leader = lone_leader(&[2, 3, 4, 5, 6]);
    for server in 2..=5 {
        join(&mut leader, server, PacketKind::ObserverInfo);
    }
    assert_eq!(begin(&mut leader, 2, SyncKind::Snap), Some(1));
    assert_eq!(begin(&mut leader, 3, SyncKind::Snap), Some(2));
    assert_eq!(begin(&mut leader, 4, SyncKind::Diff), Some(1), "each kind has its own limit");
    assert_eq!(begin(&mut leader, 5, SyncKind::Snap), None);
    assert!(!leader.learners().has(LinkId(5)));
    // Done is who has acknowledged NEWLEADER.
    say(&mut leader, 2, &Packet::bare(PacketKind::Ack, Zxid(1 << 32)), at(0));
    join(&mut leader, 6, PacketKind::ObserverInfo);
    assert_eq!(begin(&mut leader, 6, SyncKind::Snap), Some(2));
    // And who is gone.
    leader.learners_mut().on_gone(LinkId(3));
    join(&mut leader, 5, PacketKind::ObserverInfo);
    assert_eq!(begin(&mut leader, 5, SyncKind::Snap), Some(2));
}

/// The first of five voters, of whom all follow, up to where they are synchronized; there may be an observer 6.
fn one_of_five() -> Leader {
    let mut out = Vec::new();
    let view = view_of(&[1, 2, 3, 4, 5], &[6]);
    let limits = LearnerLimits { snap_syncs_max: 2, ..limits(TIMING) };
    let mut leader = Leader::new(elected(1, &[2, 3]), view.into(), limits, at(0), &mut out);
    for server in 2..=5 {
        let info = LearnerInfo { server: ServerId(server), protocol_version: PROTOCOL_VERSION, config_version: 0 };
        leader.on_link(LinkId(server as u64), at(0));
        let packet = Packet::with(PacketKind::FollowerInfo, Zxid::ZERO, info.encode());
        say(&mut leader, server as u64, &packet, at(0));
    }
    leader.on_promised(at(0), &mut out);
    for server in 2..=5 {
        let promise = AckEpoch { current_epoch: 0 }.encode();
        say(&mut leader, server, &Packet::with(PacketKind::AckEpoch, Zxid::ZERO, promise), at(0));
    }
    leader.on_adopted(at(0), &mut out);
    leader
}

#[test]
fn voters_are_never_turned_away_but_counted() {
    let mut leader = one_of_five();
    for server in 2..=5 {
        assert_eq!(begin(&mut leader, server, SyncKind::Snap), Some(server as usize - 1));
    }
    join(&mut leader, 6, PacketKind::ObserverInfo);
    assert_eq!(begin(&mut leader, 6, SyncKind::Snap), None);
}

#[test]
fn a_learner_that_gets_a_snapshot_after_all_is_counted_once() {
    let mut leader = lone_leader(&[2, 3]);
    join(&mut leader, 2, PacketKind::ObserverInfo);
    assert_eq!(begin(&mut leader, 2, SyncKind::Diff), Some(1));
    assert_eq!(begin(&mut leader, 2, SyncKind::Snap), Some(1));
    join(&mut leader, 3, PacketKind::ObserverInfo);
    assert_eq!(begin(&mut leader, 3, SyncKind::Diff), Some(1));
}

fn waiting_leader(epoch_wait_ms_max: Option<u64>) -> Leader {
    let elected = Elected { epoch_wait_ms_max, ..elected(1, &[2, 3]) };
    Leader::new(elected, view_of(&[1, 2, 3, 4, 5], &[]).into(), limits(TIMING), at(0), &mut Vec::new())
}

fn gives_up(leader: &mut Leader, voter: i64, ms: u64) -> bool {
    let mut out = Vec::new();
    leader.on_voter_looks(ServerId(voter), at(ms), &mut out);
    match &out[..] {
        [] => false,
        [LeaderEffect::Disloyal, LeaderEffect::Abdicate { .. }] => true,
        other => panic!("{other:?}"),
    }
}

/// ZK: LeaderMetricsTest, ZOOKEEPER-3109.
#[test]
fn a_leader_nobody_comes_to_gives_up_when_its_voter_looks_again() {
    let mut leader = waiting_leader(Some(300));
    assert!(!gives_up(&mut leader, 2, 300), "it has not waited for longer than it must");
    assert!(!gives_up(&mut leader, 4, 400), "that one never voted for it");
    assert!(gives_up(&mut leader, 2, 301));
    assert!(!gives_up(&mut leader, 2, 302), "once");
    assert!(gives_up(&mut waiting_leader(Some(0)), 3, 1));
    assert!(!gives_up(&mut waiting_leader(None), 3, 900), "off");
}

#[test]
fn a_leader_whose_epoch_is_decided_does_not_care_who_looks() {
    let mut leader = waiting_leader(Some(0));
    for server in [2, 3] {
        let info = LearnerInfo { server: ServerId(server), protocol_version: PROTOCOL_VERSION, config_version: 0 };
        leader.on_link(LinkId(server as u64), at(0));
        let packet = Packet::with(PacketKind::FollowerInfo, Zxid::ZERO, info.encode());
        say(&mut leader, server as u64, &packet, at(0));
    }
    assert!(!gives_up(&mut leader, 2, 500));
}

/// One of two voters, which has an oracle.
fn lone_voter() -> Leader {
    let elected = Elected { has_oracle: true, ..elected(1, &[]) };
    Leader::new(elected, view_of(&[1, 2], &[3]).into(), limits(TIMING), at(0), &mut Vec::new())
}

fn asks(out: &[LeaderEffect]) -> bool {
    out.iter().any(|effect| matches!(effect, LeaderEffect::AskOracle))
}

/// Lets time pass until the oracle is asked, and answers.
fn oracle(leader: &mut Leader, ms: u64, yes: bool) -> Vec<LeaderEffect> {
    let mut out = Vec::new();
    leader.on_tick(at(ms), &mut out);
    assert!(asks(&out), "{out:?}");
    leader.on_tick(at(ms + TIMING.ping_ms), &mut out);
    assert_eq!(
        out.iter().filter(|effect| matches!(effect, LeaderEffect::AskOracle)).count(),
        1,
        "one question at a time"
    );
    out.clear();
    leader.on_oracle(yes, at(ms + TIMING.ping_ms), &mut out);
    out
}

/// Leads alone, by the oracle's grace.
fn established_alone() -> Leader {
    let mut leader = lone_voter();
    assert!(matches!(oracle(&mut leader, 0, true)[..], [LeaderEffect::Promise { epoch: 1 }]));
    leader.on_promised(at(100), &mut Vec::new());
    assert!(matches!(oracle(&mut leader, 100, true)[..], [LeaderEffect::Adopt { epoch: 1 }]));
    leader.on_adopted(at(200), &mut Vec::new());
    assert!(matches!(oracle(&mut leader, 200, true)[..], [LeaderEffect::Established { epoch: 1 }]));
    leader
}

#[test]
fn one_of_two_voters_leads_alone_as_long_as_the_oracle_says_so() {
    let mut leader = established_alone();
    // What was durable when the oracle was asked is committed by its yes, and nothing more.
    let mut out = Vec::new();
    let record = |text: &'static str| bytes::Bytes::from_static(text.as_bytes());
    leader.propose(Zxid(1 << 32 | 1), record("one"), &mut out);
    assert!(!asks(&out), "it is not even ours yet");
    leader.on_own_durable(Zxid(1 << 32 | 1), &mut out);
    assert!(asks(&out));
    leader.propose(Zxid(1 << 32 | 2), record("two"), &mut out);
    leader.on_own_durable(Zxid(1 << 32 | 2), &mut out);
    out.clear();
    leader.on_oracle(true, at(300), &mut out);
    let committed = |out: &[LeaderEffect]| -> Vec<i64> {
        let zxids = out.iter().filter_map(|effect| match effect {
            LeaderEffect::Commit { zxid, .. } => Some(zxid.0 & 0xff),
            _ => None,
        });
        zxids.collect()
    };
    assert_eq!(committed(&out), [1]);
    assert_eq!(committed(&oracle(&mut leader, 400, true)), [2]);
    // An observer changes nothing.
    join(&mut leader, 3, PacketKind::ObserverInfo);
    begin(&mut leader, 3, SyncKind::Diff);
    // It has to be asked even if nothing is written.
    let said = oracle(&mut leader, 1_400, false);
    assert!(matches!(said[..], [LeaderEffect::Abdicate { .. }]), "{said:?}");
    out.clear();
    leader.on_oracle(true, at(1_500), &mut out);
    leader.on_tick(at(2_000), &mut out);
    assert!(out.is_empty(), "it is over: {out:?}");
}

#[test]
fn a_no_before_the_epoch_is_established_only_keeps_it_waiting() {
    let mut leader = lone_voter();
    assert!(oracle(&mut leader, 0, false).is_empty());
    assert!(matches!(oracle(&mut leader, 200, true)[..], [LeaderEffect::Promise { .. }]));
}

#[test]
fn with_the_other_voter_back_the_two_decide_again() {
    let mut leader = established_alone();
    join(&mut leader, 2, PacketKind::FollowerInfo);
    let mut out: Vec<LeaderEffect> = Vec::new();
    leader.follow(LinkId(2), Zxid::ZERO, Zxid::ZERO, "version=0", &mut out);
    let zxid = Zxid(1 << 32 | 1);
    leader.propose(zxid, bytes::Bytes::from_static(b"one"), &mut out);
    leader.on_own_durable(zxid, &mut out);
    leader.on_tick(at(450), &mut out);
    assert!(!asks(&out), "it is on its way in");
    leader.on_oracle(true, at(450), &mut out);
    assert_eq!(leader.outstanding_count(), 1, "nobody asked for this answer");
    say(&mut leader, 2, &Packet::bare(PacketKind::Ack, Zxid(1 << 32)), at(450));
    let effects = say(&mut leader, 2, &Packet::bare(PacketKind::Ack, zxid), at(450));
    leader.commit(&mut out);
    assert_eq!(leader.outstanding_count(), 0, "{effects:?}");
    // And is gone again.
    leader.learners_mut().on_gone(LinkId(2));
    out.clear();
    leader.on_tick(at(700), &mut out);
    assert!(asks(&out));
}

#[test]
fn an_oracle_counts_for_two_voters_only_and_none_for_nobody() {
    for (voters, has_oracle) in [(&[1, 2, 3][..], true), (&[1, 2][..], false)] {
        let elected = Elected { has_oracle, ..elected(1, &[]) };
        let mut out = Vec::new();
        let mut leader = Leader::new(elected, view_of(voters, &[]).into(), limits(TIMING), at(0), &mut out);
        for ms in (0..900).step_by(50) {
            leader.on_tick(at(ms), &mut out);
        }
        leader.on_oracle(true, at(950), &mut out);
        assert!(out.is_empty(), "{out:?}");
    }
}

/// Learners that are sent each kind of packet, in order.
fn sent(out: &[LeaderEffect], kind: PacketKind) -> Vec<u64> {
    let sent = out.iter().filter_map(|effect| match effect {
        LeaderEffect::Learner(MasterEffect::Send { link, bytes }) => {
            Some((link.0, cut(bytes, 1 << 20).unwrap()?.0.kind))
        }
        _ => None,
    });
    sent.filter(|(_, it)| *it == kind).map(|(link, _)| link).collect()
}

/// Five voters, all of which follow the first.
fn five() -> Leader {
    let mut leader = one_of_five();
    for server in 2..=5 {
        begin(&mut leader, server, SyncKind::Diff);
        say(&mut leader, server, &Packet::bare(PacketKind::Ack, Zxid(1 << 32)), at(0));
    }
    assert!(leader.is_established());
    leader
}

fn hear(leader: &mut Leader, link: u64, packet: &Packet) -> Vec<LeaderEffect> {
    let mut out = say(leader, link, packet, at(0));
    leader.commit(&mut out);
    out
}

fn answer_ping(leader: &mut Leader, link: u64) -> Vec<LeaderEffect> {
    hear(leader, link, &Packet::bare(PacketKind::Ping, Zxid(1 << 32)))
}

fn confirmed(out: &[LeaderEffect]) -> usize {
    out.iter().filter(|effect| matches!(effect, LeaderEffect::Confirmed)).count()
}

#[test]
fn a_sync_is_answered_when_a_quorum_still_follows() {
    let mut leader = five();
    let mut out = Vec::new();
    leader.sync(LinkId(2), &mut out);
    assert_eq!((sent(&out, PacketKind::Ping), sent(&out, PacketKind::Sync)), (vec![2, 3, 4, 5], vec![]));
    // The one that asked follows, and this server makes two.
    assert_eq!(sent(&answer_ping(&mut leader, 2), PacketKind::Sync), [0; 0]);
    assert_eq!(sent(&answer_ping(&mut leader, 5), PacketKind::Sync), [2]);
    assert_eq!(leader.pending_sync_count(), 0);
    // Answers to a ping before it say nothing.
    out.clear();
    leader.sync(LinkId(3), &mut out);
    assert_eq!(sent(&out, PacketKind::Ping), [2, 3, 4, 5]);
    assert_eq!(sent(&answer_ping(&mut leader, 4), PacketKind::Sync), [0; 0], "its first");
    assert_eq!(sent(&answer_ping(&mut leader, 4), PacketKind::Sync), [3]);
}

#[test]
fn what_is_asked_while_a_ping_is_under_way_waits_for_the_next() {
    let mut leader = five();
    let mut out = Vec::new();
    leader.sync_own(&mut out);
    assert_eq!((sent(&out, PacketKind::Ping).len(), confirmed(&out)), (4, 0));
    out.clear();
    leader.sync_own(&mut out);
    leader.sync(LinkId(2), &mut out);
    assert!(out.is_empty());
    answer_ping(&mut leader, 2);
    let out = answer_ping(&mut leader, 3);
    assert_eq!((confirmed(&out), sent(&out, PacketKind::Ping)), (1, vec![2, 3, 4, 5]));
    let out = answer_ping(&mut leader, 3);
    assert_eq!((confirmed(&out), sent(&out, PacketKind::Sync)), (0, vec![2]));
    let out = answer_ping(&mut leader, 2);
    assert_eq!((confirmed(&out), sent(&out, PacketKind::Ping)), (1, vec![]));
}

#[test]
fn commits_behind_a_sync_wait_for_its_answer() {
    let mut leader = five();
    let (one, two) = (Zxid((1 << 32) + 1), Zxid((1 << 32) + 2));
    let mut out = Vec::new();
    leader.propose(one, "one".into(), &mut out);
    leader.sync(LinkId(2), &mut out);
    leader.propose(two, "two".into(), &mut out);
    leader.on_own_durable(two, &mut out);
    for link in [3, 4] {
        out = hear(&mut leader, link, &Packet::bare(PacketKind::Ack, two));
    }
    assert_eq!((leader.last_committed(), sent(&out, PacketKind::Sync)), (one, vec![]));
    let out = answer_ping(&mut leader, 4);
    assert_eq!((leader.last_committed(), sent(&out, PacketKind::Sync)), (two, vec![2]));
    // Unless whoever asked is gone.
    leader.sync(LinkId(2), &mut Vec::new());
    leader.learners_mut().on_gone(LinkId(2));
    let mut out = Vec::new();
    leader.commit(&mut out);
    assert_eq!((leader.pending_sync_count(), out.is_empty()), (0, true));
}

#[test]
fn whoever_leads_alone_syncs_alone() {
    let mut out = Vec::new();
    lone_leader(&[]).sync_own(&mut out);
    assert_eq!(confirmed(&out), 1);
    // By its oracle, if it has one: what was asked before that was.
    let mut leader = established_alone();
    out.clear();
    leader.sync_own(&mut out);
    assert_eq!((confirmed(&out), asks(&out)), (0, true));
    leader.sync_own(&mut out);
    out.clear();
    leader.on_oracle(true, at(300), &mut out);
    assert_eq!(confirmed(&out), 1);
    assert_eq!(confirmed(&oracle(&mut leader, 300, true)), 1);
}

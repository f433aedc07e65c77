//! A follower between a leader and observers: what it passes on, in which order, and what it does not.

use super::member_rig::{Rig, hello, kinds, origin, promise, record};
use super::tests::member;
use super::*;
use crate::base::{LinkId, ServerId, SessionId, Xid};
use crate::codec::opcode::OpCode;
use crate::codec::peer::{Forwarded, Packet, PacketKind, Revalidate, Revalidated, decode_touches, encode_touches};
use crate::mail::{AnswerKind, Connect};
use crate::zab::View;
use bytes::Bytes;

const VIEW: &str = "server.1=a:1:2:participant;0.0.0.0:3\nserver.2=b:1:2:participant\nserver.3=c:1:2:participant\n\
                    server.8=d:1:2:observer\nserver.9=e:1:2:observer\nserver.10=f:1:2:observer\nversion=0";
const ONE: i64 = 1 << 32;
const PORT: u16 = 7;

fn follower() -> EnsembleSettings {
    let view = View::parse(VIEW).unwrap().into();
    EnsembleSettings { view, observer_master_port: Some(PORT), ..member() }
}

/// A follower in epoch 1 with five transactions, and its link to the leader.
fn following() -> (Rig, LinkId) {
    let mut rig = Rig::new(follower());
    let leader = rig.follow(2, 1, 5);
    (rig, leader)
}

/// An observer that says its last transaction is `last`; returns its link and what it is sent for that.
fn joins(rig: &mut Rig, server: i64, last: i64) -> (LinkId, Vec<Packet>) {
    let link = rig.accepted(PeerPort::Observers);
    rig.say(link, &hello(PacketKind::ObserverInfo, server, 1));
    assert_eq!(kinds(&rig.sent(link)), [(PacketKind::LeaderInfo, ONE)]);
    rig.say(link, &promise(last, 1));
    let sent = rig.sent(link);
    (link, sent)
}

/// An observer that is up to date and has nothing unread.
fn observes(rig: &mut Rig, server: i64) -> LinkId {
    let (link, _) = joins(rig, server, rig.replica.last_committed().0);
    rig.say(link, &Packet::bare(PacketKind::Ack, Zxid(ONE)));
    assert_eq!(kinds(&rig.sent(link)), [(PacketKind::UpToDate, -1)]);
    rig.say(link, &Packet::bare(PacketKind::Ack, Zxid(ONE)));
    link
}

fn request(session: i64, cxid: i32, op: OpCode) -> Packet {
    let request =
        Forwarded { session: SessionId(session), cxid: Xid(cxid), op: op.code(), body: Bytes::from_static(b"x") };
    let mut packet = Packet::with(PacketKind::Request, Zxid::NONE, request.encode());
    packet.auth = Some([crate::base::Id::new("ip", "::1")].into());
    packet
}

#[test]
fn an_observer_is_brought_up_to_date_and_informed_of_what_follows() {
    let (mut rig, leader) = following();
    let (link, sent) = joins(&mut rig, 8, ONE + 3);
    let due = [
        (PacketKind::Diff, ONE + 5),
        (PacketKind::Proposal, ONE + 4),
        (PacketKind::Commit, ONE + 4),
        (PacketKind::Proposal, ONE + 5),
        (PacketKind::Commit, ONE + 5),
        (PacketKind::NewLeader, ONE),
    ];
    assert_eq!(kinds(&sent), due);
    // A proposal is nothing an observer hears of; its commit is.
    rig.say(leader, &Packet::with(PacketKind::Proposal, Zxid(ONE + 6), record(Zxid(ONE + 6))));
    assert_eq!(rig.sent(link), []);
    rig.say(leader, &Packet::bare(PacketKind::Commit, Zxid(ONE + 6)));
    let informed = rig.sent(link);
    assert_eq!(informed, [Packet::with(PacketKind::Inform, Zxid(ONE + 6), record(Zxid(ONE + 6)))]);
    rig.say(link, &Packet::bare(PacketKind::Ack, Zxid(ONE)));
    assert_eq!(kinds(&rig.sent(link)), [(PacketKind::UpToDate, -1)]);
    rig.commit(leader, ONE + 7);
    assert_eq!(kinds(&rig.sent(link)), [(PacketKind::Inform, ONE + 7)]);
    rig.wait(50);
    assert_eq!(kinds(&rig.sent(link)), [(PacketKind::Ping, ONE + 7)], "it is spoken to");
}

/// As the reference's: it cannot cut what other followers have committed.
#[test]
fn an_observer_that_is_ahead_is_waited_for() {
    let (mut rig, leader) = following();
    let (link, sent) = joins(&mut rig, 8, ONE + 7);
    assert_eq!(sent, []);
    rig.commit(leader, ONE + 6);
    assert_eq!(rig.sent(link), []);
    rig.commit(leader, ONE + 7);
    assert_eq!(kinds(&rig.sent(link)), [(PacketKind::Diff, ONE + 7), (PacketKind::NewLeader, ONE)]);
    rig.commit(leader, ONE + 8);
    assert_eq!(kinds(&rig.sent(link)), [(PacketKind::Inform, ONE + 8)]);
}

#[test]
fn a_snapshot_shows_nothing_that_is_not_committed() {
    let (mut rig, leader) = following();
    rig.say(leader, &Packet::with(PacketKind::Proposal, Zxid(ONE + 6), record(Zxid(ONE + 6))));
    let link = rig.accepted(PeerPort::Observers);
    rig.say(link, &hello(PacketKind::ObserverInfo, 8, 1));
    rig.say(link, &promise(-1, -1));
    assert_eq!(kinds(&rig.sent(link)), [(PacketKind::LeaderInfo, ONE)]);
    rig.say(leader, &Packet::bare(PacketKind::Commit, Zxid(ONE + 6)));
    let snapshot = Packet::bare(PacketKind::Snap, Zxid(ONE + 6)).to_bytes();
    assert!(rig.sent_raw(link).starts_with(&snapshot));
}

#[test]
fn only_observers_are_served_and_only_while_it_follows() {
    let mut rig = Rig::new(follower());
    let early = rig.accepted(PeerPort::Observers);
    assert_eq!(rig.closed, [early]);
    let leader = rig.follow(2, 1, 1);
    let link = rig.accepted(PeerPort::Observers);
    rig.say(link, &hello(PacketKind::FollowerInfo, 3, 0));
    assert_eq!(rig.closed.last(), Some(&link));
    let observer = observes(&mut rig, 8);
    rig.say(observer, &Packet::bare(PacketKind::Ack, Zxid(ONE + 1)));
    assert_eq!(rig.closed.last(), Some(&observer), "observers acknowledge nothing");
    let observer = observes(&mut rig, 8);
    rig.lost(leader);
    assert_eq!(rig.closed.last(), Some(&observer));
    let late = rig.accepted(PeerPort::Observers);
    assert_eq!(rig.closed.last(), Some(&late));
    // Without the port nobody is.
    let mut rig = Rig::new(EnsembleSettings { observer_master_port: None, ..follower() });
    rig.follow(2, 1, 1);
    let link = rig.accepted(PeerPort::Observers);
    assert_eq!(rig.closed, [link]);
}

#[test]
fn requests_go_to_the_leader_as_they_came_and_syncs_come_back_in_order() {
    let (mut rig, leader) = following();
    let (one, other) = (observes(&mut rig, 8), observes(&mut rig, 9));
    let asked = [request(77, 1, OpCode::Create), request(77, 2, OpCode::Sync), request(78, 1, OpCode::Sync)];
    rig.say(one, &asked[0]);
    rig.say(one, &asked[1]);
    rig.say(other, &asked[2]);
    assert_eq!(rig.sent(leader), asked);
    rig.commit(leader, ONE + 6);
    rig.say(leader, &Packet::bare(PacketKind::Sync, Zxid::ZERO));
    assert_eq!(kinds(&rig.sent(one)), [(PacketKind::Inform, ONE + 6), (PacketKind::Sync, 0)]);
    assert_eq!(kinds(&rig.sent(other)), [(PacketKind::Inform, ONE + 6)]);
    // One whose observer is gone still takes its turn.
    rig.say(one, &request(77, 3, OpCode::Sync));
    rig.lost(one);
    rig.say(other, &request(78, 2, OpCode::Sync));
    for _ in 0..2 {
        rig.say(leader, &Packet::bare(PacketKind::Sync, Zxid::ZERO));
    }
    assert_eq!(kinds(&rig.sent(other)), [(PacketKind::Sync, 0)]);
    rig.say(leader, &Packet::bare(PacketKind::Sync, Zxid::ZERO));
    assert_eq!(kinds(&rig.sent(other)), [(PacketKind::Sync, 0)]);
}

/// An own client's sync and an observer's, each answered to whoever asked.
#[test]
fn own_clients_and_observers_wait_in_one_line() {
    let (mut rig, leader) = following();
    let observer = observes(&mut rig, 8);
    let session = SessionId(ONE + 1);
    let connect = Connect { origin: origin(1), session, timeout_ms: 900, last_zxid_seen: Zxid::ZERO };
    rig.turn(|replica, now, out| replica.on_mail(ToReplica::Connect(connect), now, out));
    let renewal =
        |timeout_ms| Packet::with(PacketKind::Revalidate, Zxid::NONE, Revalidate { session, timeout_ms }.encode());
    assert_eq!(rig.sent(leader), [renewal(900)]);
    // The same session, taken up at the observer before the leader has answered.
    rig.say(observer, &renewal(700));
    assert_eq!(rig.sent(leader), [renewal(700)]);
    let valid = Packet::with(PacketKind::Revalidate, Zxid::NONE, Revalidated { session, valid: true }.encode());
    rig.say(leader, &valid);
    assert!(granted(&mut rig) && rig.sent(observer).is_empty());
    rig.say(leader, &valid);
    assert_eq!(rig.sent(observer), std::slice::from_ref(&valid));
    assert!(hung_up(&mut rig), "it is at the observer now");
    let refused = Packet::with(PacketKind::Revalidate, Zxid::NONE, Revalidated { session, valid: false }.encode());
    rig.say(observer, &renewal(700));
    rig.say(leader, &refused);
    assert_eq!(rig.sent(observer), [refused]);
}

/// To the leader an observer and its master are one, so the master has to know where a client is.
#[test]
fn what_a_client_asked_where_it_was_does_not_come_behind_what_it_asks_where_it_is() {
    let (mut rig, leader) = following();
    let observer = observes(&mut rig, 8);
    let session = SessionId(ONE + 1);
    let renewal = Packet::with(PacketKind::Revalidate, Zxid::NONE, Revalidate { session, timeout_ms: 700 }.encode());
    let valid = Packet::with(PacketKind::Revalidate, Zxid::NONE, Revalidated { session, valid: true }.encode());
    let asked = request(session.0, 7, OpCode::Create);
    let refused = request(session.0, 7, OpCode::Error);
    let passes_on = |rig: &mut Rig| {
        rig.sent(leader);
        rig.say(observer, &asked);
        let sent = rig.sent(leader);
        assert!(sent == std::slice::from_ref(&asked) || sent == std::slice::from_ref(&refused), "{sent:?}");
        sent[0] == asked
    };
    rig.say(observer, &renewal);
    rig.say(leader, &valid);
    assert!(passes_on(&mut rig));
    // It comes here: from then on, not only once it is let in.
    let connect = Connect { origin: origin(1), session, timeout_ms: 900, last_zxid_seen: Zxid::ZERO };
    rig.turn(|replica, now, out| replica.on_mail(ToReplica::Connect(connect), now, out));
    assert!(!passes_on(&mut rig));
    rig.say(leader, &valid);
    assert!(!passes_on(&mut rig));
    rig.turn(|replica, now, out| replica.on_mail(ToReplica::Gone { origin: origin(1), session }, now, out));
    assert!(!passes_on(&mut rig));
    // And back.
    rig.say(observer, &renewal);
    rig.say(leader, &valid);
    assert!(passes_on(&mut rig));
}

fn answers(rig: &mut Rig) -> Vec<AnswerKind> {
    let entries = rig.mail.drain(..).flat_map(|mail| match mail {
        ToShard::Batch(entries) => {
            entries.iter().filter_map(|entry| Some(entry.answer.as_ref()?.kind.clone())).collect()
        }
        _ => Vec::new(),
    });
    entries.collect()
}

fn granted(rig: &mut Rig) -> bool {
    matches!(answers(rig)[..], [AnswerKind::Granted { .. }])
}

fn hung_up(rig: &mut Rig) -> bool {
    matches!(answers(rig)[..], [AnswerKind::Hangup])
}

#[test]
fn sessions_of_observers_are_heard_with_the_own_ones() {
    let (mut rig, leader) = following();
    let (one, other) = (observes(&mut rig, 8), observes(&mut rig, 9));
    rig.say(
        one,
        &Packet::with(PacketKind::Ping, Zxid(ONE + 5), encode_touches(&[(SessionId(5), 100), (SessionId(6), 200)])),
    );
    rig.say(other, &Packet::with(PacketKind::Ping, Zxid(ONE + 5), encode_touches(&[(SessionId(7), 300)])));
    let ping = Packet::bare(PacketKind::Ping, Zxid(ONE + 5));
    rig.say(leader, &ping);
    let pong = rig.sent(leader).remove(0);
    let heard = decode_touches(pong.data.as_deref().unwrap()).unwrap();
    assert_eq!(heard, [(SessionId(5), 100), (SessionId(6), 200), (SessionId(7), 300)]);
    // A renewal that the leader confirms is a sign of life, too.
    let renewal = Revalidate { session: SessionId(5), timeout_ms: 400 }.encode();
    rig.say(one, &Packet::with(PacketKind::Revalidate, Zxid::NONE, renewal));
    let confirmed = Revalidated { session: SessionId(5), valid: true }.encode();
    rig.say(leader, &Packet::with(PacketKind::Revalidate, Zxid::NONE, confirmed));
    rig.sent(leader);
    rig.say(leader, &ping);
    let pong = rig.sent(leader).remove(0);
    assert_eq!(decode_touches(pong.data.as_deref().unwrap()).unwrap(), [(SessionId(5), 400)]);
}

#[test]
fn a_silent_observer_is_dropped_and_one_that_cannot_keep_up_begins_anew() {
    let settings = EnsembleSettings { observer_master_bytes_max: 1_000, ..follower() };
    let mut rig = Rig::new(settings);
    let leader = rig.follow(2, 1, 5);
    let silent = observes(&mut rig, 8);
    // It takes nothing of its snapshot, and behind that only so much may wait.
    rig.drains = false;
    let link = rig.accepted(PeerPort::Observers);
    rig.say(link, &hello(PacketKind::ObserverInfo, 9, 1));
    rig.say(link, &promise(-1, -1));
    let mut counter = 5;
    while !rig.closed.contains(&link) {
        counter += 1;
        assert!(counter < 30, "it is never dropped");
        rig.commit(leader, ONE + counter);
    }
    assert!(counter > 7, "after {counter}");
    for _ in 0..20 {
        rig.wait(50);
        rig.say(leader, &Packet::bare(PacketKind::Ping, Zxid(ONE + counter)));
    }
    assert_eq!(rig.closed, [link, silent]);
}

#[test]
fn an_observer_takes_one_voter_after_the_other_but_never_the_leader() {
    let settings =
        EnsembleSettings { me: ServerId(9), observer: true, observer_reconnect_delay_ms: 1_000, ..follower() };
    let mut rig = Rig::new(settings.clone());
    let mut masters = Vec::new();
    for round in 0..3 {
        for attempt in 0..2 {
            let before = rig.dials.len();
            rig.elect(1);
            // It waits only when it has tried all.
            assert!(round > 0 && attempt == 0 || rig.dials.len() > before, "{round} {attempt}");
            while rig.dials.len() == before {
                rig.wait(20);
            }
            let (link, to) = rig.dials.last().unwrap().clone();
            assert_eq!(to[0].port, PORT);
            masters.push(to[0].host.clone());
            rig.connected();
            rig.lost(link);
        }
    }
    assert_eq!(masters[..2], masters[2..4]);
    masters.sort();
    assert_eq!(masters, ["b", "b", "b", "c", "c", "c"]);
    // Without the port, and a voter with it, go to the leader.
    for settings in
        [EnsembleSettings { observer_master_port: None, observer_reconnect_delay_ms: 0, ..settings }, follower()]
    {
        let mut rig = Rig::new(settings);
        rig.elect(2);
        let (_, to) = rig.dials.last().unwrap();
        assert_eq!((to[0].host.as_str(), to[0].port), ("b", 1));
    }
}

#[test]
fn an_observer_of_ours_is_fed_by_a_follower_of_ours() {
    let (mut follower, leader) = following();
    let mut observer = Rig::new(EnsembleSettings { me: ServerId(9), observer: true, ..self::follower() });
    observer.elect(2);
    let there = observer.connected();
    let here = follower.accepted(PeerPort::Observers);
    let relay = |follower: &mut Rig, observer: &mut Rig| {
        loop {
            // A snapshot is no packets.
            let (up, down) = (observer.sent_raw(there), follower.sent_raw(here));
            if up.is_empty() && down.is_empty() {
                return;
            }
            follower.hear(here, &up);
            observer.hear(there, &down);
        }
    };
    relay(&mut follower, &mut observer);
    assert_eq!(observer.replica.service(), crate::mail::Service::Everybody);
    assert_eq!(observer.replica.tree.digest(), follower.replica.tree.digest());
    for counter in 6..=9 {
        follower.commit(leader, ONE + counter);
    }
    relay(&mut follower, &mut observer);
    assert_eq!(observer.replica.last_committed(), Zxid(ONE + 9));
    assert_eq!(observer.replica.last_durable(), Zxid(ONE + 9));
}

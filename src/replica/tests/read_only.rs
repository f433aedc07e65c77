//! Members that find no leader and serve what they have.

use super::members::*;
use super::*;
use crate::codec::opcode::OpCode;
use crate::mail::{Service, SurveyKind};

fn read_only(settings: &mut EnsembleSettings) {
    settings.read_only_mode = true;
    settings.local_sessions = true;
}

/// Both members, parted, in read-only mode.
fn parted(change: impl Fn(&mut EnsembleSettings)) -> Members {
    let mut members = Members::serving(|settings| {
        read_only(settings);
        change(settings);
    });
    members.part();
    members.run(6000);
    members
}

#[test]
fn a_member_that_finds_no_leader_serves_read_only_after_its_grace() {
    let mut members = Members::serving(read_only);
    members.served(FOLLOWER);
    members.part();
    let began = members.now_ms;
    while members.services()[FOLLOWER] != Service::ReadOnly {
        members.run(Replica::TICK_MS);
        assert!(members.now_ms < began + 4000, "it takes too long");
    }
    assert!(members.now_ms >= began + 2000, "2 s, or a tick where that is longer");
    members.run(5000); // The leader waits for its followers first.
    assert_eq!(members.services(), [Service::ReadOnly; 2]);
    assert_eq!(members.served(FOLLOWER), [Service::Nobody, Service::ReadOnly]);
}

#[test]
fn a_long_tick_makes_the_grace_longer() {
    let mut members = Members::new(|settings| {
        read_only(settings);
        settings.tick_ms = 3000;
    });
    members.part();
    members.run(2900);
    assert_eq!(members.services(), [Service::Nobody; 2]);
    members.run(500);
    assert_eq!(members.services(), [Service::ReadOnly; 2]);
}

#[test]
fn without_the_setting_nobody_is_served_without_a_leader() {
    let mut members = Members::serving(|settings| settings.local_sessions = true);
    members.part();
    members.run(10_000);
    assert_eq!(members.services(), [Service::Nobody; 2]);
}

#[test]
fn a_member_whose_data_may_not_vote_is_not_shown_to_anybody_either() {
    let mut members = Members::serving(read_only);
    members.replicas[FOLLOWER].ensemble.as_mut().unwrap().is_dataless = true;
    members.part();
    members.run(10_000);
    assert_eq!(members.services(), [Service::Nobody, Service::ReadOnly]);
}

#[test]
fn sessions_of_the_read_only_mode_are_local_and_touch_nothing() {
    let mut members = parted(|_| {});
    let replica = &members.replicas[FOLLOWER];
    let before = (replica.last_proposed(), replica.last_committed(), replica.tree().digest());
    let client = members.client(FOLLOWER, 1, 300);
    members.run(1000);
    // A shard in this mode submits nothing but the end of a session; what one sent before it knew is not looked at.
    members.submit(FOLLOWER, client, 1, OpCode::CloseSession, Bytes::new());
    assert_eq!(members.texts(FOLLOWER, client.0), ["1 ok"]);
    let silent = members.client(FOLLOWER, 2, 300);
    members.alive[FOLLOWER].clear();
    members.run(600);
    assert_eq!(members.texts(FOLLOWER, silent.0), ["hangup"], "expired here");
    let again = members.connect(FOLLOWER, 3, silent.1, 300);
    assert_eq!(members.texts(FOLLOWER, again), ["refused"]);
    let replica = &members.replicas[FOLLOWER];
    let after = (replica.last_proposed(), replica.last_committed(), replica.tree().digest());
    assert_eq!(after, before);
    assert_eq!(replica.session_ids.last(), silent.1, "and are never given again");
    assert_eq!((replica.live_sessions(), replica.journal.is_idle()), (Vec::new(), true));
}

#[test]
fn a_write_that_a_shard_sent_before_it_knew_of_the_mode_is_not_ordered() {
    let mut members = Members::serving(read_only);
    let writer = members.client(FOLLOWER, 1, 10_000);
    members.part();
    members.run(4000);
    members.submit(FOLLOWER, writer, 1, OpCode::Create, create("/late", 0));
    assert_eq!(members.texts(FOLLOWER, writer.0), ["hangup"]);
    let reader = members.client(FOLLOWER, 2, 10_000);
    let before = members.replicas[FOLLOWER].last_proposed();
    members.submit(FOLLOWER, reader, 1, OpCode::Create, create("/never", 1));
    members.run(100);
    assert_eq!(members.texts(FOLLOWER, reader.0), ["hangup"]);
    assert_eq!(members.replicas[FOLLOWER].last_proposed(), before);
}

#[test]
fn a_session_of_the_ensemble_is_not_renewed_and_an_unknown_one_is_over() {
    let mut members = Members::serving(|settings| {
        read_only(settings);
        settings.local_sessions_upgrading = true;
    });
    let global = members.client(FOLLOWER, 1, 60_000);
    members.submit(FOLLOWER, global, 1, OpCode::Create, create("/e", 1));
    members.run(200);
    let local = members.client(FOLLOWER, 2, 60_000);
    members.part();
    members.run(4000);
    let again = members.connect(FOLLOWER, 3, global.1, 60_000);
    assert_eq!(members.texts(FOLLOWER, again), ["hangup"], "it may be alive, which only a leader can say");
    let again = members.connect(FOLLOWER, 4, local.1, 60_000);
    assert_eq!(members.texts(FOLLOWER, again), ["refused"]);
    let reader = members.client(FOLLOWER, 5, 60_000);
    let moved = members.connect(FOLLOWER, 6, reader.1, 60_000);
    assert_eq!(members.texts(FOLLOWER, moved), ["granted"], "one of its own is");
    assert_eq!(members.texts(FOLLOWER, reader.0), ["hangup"]);
}

#[test]
fn without_local_sessions_no_session_is_opened() {
    let mut members = parted(|settings| settings.local_sessions = false);
    assert_eq!(members.services(), [Service::ReadOnly; 2]);
    for session in [SessionId::NONE, SessionId(1 << 56 | 5)] {
        let origin = members.connect(FOLLOWER, 1, session, 1000);
        assert_eq!(members.texts(FOLLOWER, origin), ["hangup"]);
    }
}

#[test]
fn a_client_that_has_seen_more_is_not_let_in() {
    let mut members = parted(|_| {});
    let origin = Origin { shard: SHARD, conn: ConnId { slot: 1, generation: 1 } };
    let last_zxid_seen = members.replicas[FOLLOWER].last_committed().next();
    let connect = Connect { origin, session: SessionId::NONE, timeout_ms: 1000, last_zxid_seen };
    let mut out = Effects::default();
    let now = members.now();
    members.replicas[FOLLOWER].on_connect(&connect, now, &mut out);
    let [(_, ToShard::Batch(entries))] = &out.mail[..] else { panic!("{:?}", out.mail) };
    assert!(matches!(entries[0].answer, Some(Answer { kind: AnswerKind::Behind, .. })));
}

#[test]
fn clients_of_the_read_only_mode_are_hung_up_on_when_a_leader_is_found() {
    let mut members = parted(|_| {});
    let client = members.client(FOLLOWER, 1, 60_000);
    members.served(FOLLOWER);
    members.join();
    members.run(10_000);
    assert_eq!(members.services(), [Service::Everybody; 2]);
    // The shard closes every connection at the first of them, and before it hears of the second.
    assert_eq!(members.served(FOLLOWER), [Service::Nobody, Service::Everybody]);
    let again = members.connect(FOLLOWER, 2, client.1, 60_000);
    members.settle();
    assert_eq!(members.texts(FOLLOWER, again), ["refused"], "its session was the read-only server's");
}

/// The leader logs what its follower never hears of; alone, it shows what is committed and not its own tail.
#[test]
fn what_was_never_committed_is_not_shown() {
    let mut members = Members::serving(read_only);
    let client = members.client(LEADER, 1, 60_000);
    members.submit(LEADER, client, 1, OpCode::Create, create("/kept", 0));
    members.run(100);
    let committed = members.replicas[LEADER].last_committed();
    members.hold(LEADER);
    members.submit(LEADER, client, 2, OpCode::Create, create("/lost", 0));
    members.settle();
    members.part();
    members.run(6000);
    assert_eq!(members.services()[LEADER], Service::ReadOnly);
    let leader = &members.replicas[LEADER];
    assert!(leader.tree().get("/lost").is_some() && leader.last_proposed() > committed, "it votes with it");
    assert_eq!((leader.last_committed(), leader.last_released), (committed, committed));
    assert_eq!(members.survey(LEADER, SurveyKind::Totals).last_zxid, committed);
    // Answers of the mode do not wait behind it either.
    let reader = members.client(LEADER, 2, 1000);
    members.submit(LEADER, reader, 1, OpCode::CloseSession, Bytes::new());
    assert_eq!(members.texts(LEADER, reader.0), ["1 ok"]);
}

#[test]
fn words_call_it_read_only() {
    let mut members = parted(|_| {});
    members.client(FOLLOWER, 1, 60_000);
    let report = members.survey(FOLLOWER, SurveyKind::Dump);
    assert_eq!((report.server_state, report.service), ("read-only", Service::ReadOnly));
    assert_eq!((report.session_count, report.local_session_count), (0, 1));
}

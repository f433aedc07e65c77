//! Sessions of one member alone, on the leader and on a learner, and their way to becoming everybody's.

use super::members::*;
use super::*;
use crate::base::{ErrorCode, SessionId};
use crate::codec::opcode::OpCode;
use crate::codec::txn::Txn;
use crate::mail::SurveyKind;

const CREATE_SESSION: i32 = -10;
const CREATE: i32 = 1;

fn locals(settings: &mut EnsembleSettings) {
    settings.local_sessions = true;
    settings.local_sessions_upgrading = true;
}

fn locals_that_stay(settings: &mut EnsembleSettings) {
    settings.local_sessions = true;
}

/// Everything the ensemble says of sessions, both members agreeing: those everybody knows.
fn global(members: &Members) -> Vec<SessionId> {
    let of = |at: usize| members.replicas[at].live_sessions().into_iter().map(|(session, _)| session).collect();
    let [follower, leader]: [Vec<SessionId>; 2] = [of(FOLLOWER), of(LEADER)];
    assert_eq!(follower, leader);
    leader
}

fn ephemerals(members: &Members, at: usize, session: SessionId) -> Vec<String> {
    members.replicas[at].tree().ephemerals_of(session).map(str::to_owned).collect()
}

#[test]
fn a_local_session_begins_works_and_ends_without_a_trace_in_the_log() {
    for at in [FOLLOWER, LEADER] {
        let mut members = Members::serving(locals);
        let before = members.replicas[LEADER].last_proposed();
        let client = members.client(at, 1, 1000);
        assert_eq!(members.replicas[LEADER].last_proposed(), before, "no zxid is taken");
        assert_eq!(client.1.server(), at as u8 + 1);
        members.submit(at, client, 1, OpCode::Create, create("/a", 0));
        members.submit(at, client, 2, OpCode::CreateContainer, create("/c", 4));
        members.submit(at, client, 3, OpCode::Sync, encoded(|w| w.string("/a")));
        members.settle();
        let told = members.texts(at, client.0);
        assert_eq!((&told[..2], told.len()), (&["1 ok".to_owned(), "2 ok".to_owned()][..], 3));
        members.run(2000);
        members.submit(at, client, 4, OpCode::CloseSession, Bytes::new());
        members.settle();
        assert_eq!(members.texts(at, client.0), ["4 ok"]);
        assert_eq!(global(&members), []);
        // Writes carry the session, but nothing opens or closes it.
        assert_eq!(members.logged(), [(CREATE, client.1), (19, client.1)]);
        members.submit(at, client, 5, OpCode::Create, create("/b", 0));
        assert_eq!(members.texts(at, client.0), ["hangup"], "and it is over");
        let told = |packet: crate::codec::peer::Packet| {
            packet.kind == crate::codec::peer::PacketKind::Ping && packet.data.is_some_and(|data| !data.is_empty())
        };
        assert!(!members.packets().into_iter().any(told), "the leader hears of it in no ping");
    }
}

#[test]
fn without_the_setting_and_on_a_lone_server_every_session_is_global() {
    let mut members = Members::serving(|_| {});
    let (_, session) = members.client(FOLLOWER, 1, 1000);
    assert_eq!(global(&members), [session]);
    let mut lone = replica();
    connect(&mut lone, 0, SessionId::NONE, 200, at(100));
    only_session(&lone);
}

#[test]
fn silence_ends_a_local_session_and_hangs_up_on_its_connection() {
    for at in [FOLLOWER, LEADER] {
        let mut members = Members::serving(locals);
        let client = members.client(at, 1, 300);
        members.run(1000);
        assert_eq!(members.texts(at, client.0), [] as [&str; 0]);
        members.alive[at].clear();
        members.run(200);
        assert!(members.replicas[at].local.is_local(client.1), "not before its time");
        members.run(400);
        assert_eq!(members.texts(at, client.0), ["hangup"]);
        assert!(members.replicas[at].local.is_empty());
        let again = members.connect(at, 2, client.1, 300);
        members.settle();
        assert_eq!(members.texts(at, again), ["refused"]);
    }
}

#[test]
fn a_local_session_is_renewed_where_it_lives_and_nowhere_else() {
    for at in [FOLLOWER, LEADER] {
        let mut members = Members::serving(locals);
        let client = members.client(at, 1, 1000);
        let elsewhere = members.connect(1 - at, 1, client.1, 1000);
        members.settle();
        assert_eq!(members.texts(1 - at, elsewhere), ["refused"], "its end there is no end here");
        let again = members.connect(at, 2, client.1, 2000);
        members.settle();
        assert_eq!(members.texts(at, again), ["granted"]);
        assert_eq!(members.texts(at, client.0), ["hangup"], "the client is on the new connection now");
        members.submit(at, client, 1, OpCode::Create, create("/old", 0));
        assert_eq!(members.texts(at, client.0), ["hangup"]);
        members.submit(at, (again, client.1), 1, OpCode::Create, create("/new", 0));
        members.settle();
        assert_eq!(members.texts(at, again), ["1 ok"]);
        // A connection that goes takes nothing with it.
        members.gone(at, (again, client.1));
        let third = members.connect(at, 3, client.1, 2000);
        members.settle();
        assert_eq!(members.texts(at, third), ["granted"]);
    }
}

#[test]
fn an_ephemeral_makes_its_session_everybodys_right_before_it() {
    let bodies = [
        (OpCode::Create, create("/e", 1), CREATE),
        (OpCode::Create, create("/e", 3), CREATE),
        (OpCode::Create2, create("/e", 1), 15),
        (OpCode::Multi, creates(&[("/p", 0), ("/e", 1)]), 14),
    ];
    for (op, body, logged) in bodies {
        for at in [FOLLOWER, LEADER] {
            let mut members = Members::serving(locals);
            let client = members.client(at, 1, 1000);
            members.submit(at, client, 1, OpCode::Create, create("/before", 0));
            members.submit(at, client, 2, op, body.clone());
            members.submit(at, client, 3, OpCode::Create, create("/after", 0));
            members.submit(at, client, 4, OpCode::Create, create("/e2", 1));
            members.settle();
            let told = members.texts(at, client.0);
            assert_eq!(told.len(), 4, "{told:?}");
            assert!(told.iter().enumerate().all(|(at, text)| text.starts_with(&format!("{} ", at + 1))), "{told:?}");
            assert_eq!((&*told[0], &*told[2], &*told[3]), ("1 ok", "3 ok", "4 ok"));
            let session = client.1;
            let expected = [CREATE, CREATE_SESSION, logged, CREATE, CREATE].map(|kind| (kind, session));
            assert_eq!(members.logged(), expected, "one createSession, right before what needs it");
            members.run(100); // The follower hears of the last commit with what comes next.
            assert_eq!(global(&members), [session]);
            assert_eq!(ephemerals(&members, at, session).len(), 2);
            assert!(members.replicas[at].local.is_empty(), "at one place only");
        }
    }
}

#[test]
fn an_upgraded_session_lives_as_long_as_its_client_moves_and_ends_with_its_ephemerals() {
    for at in [FOLLOWER, LEADER] {
        let mut members = Members::serving(locals);
        let client = members.client(at, 1, 300);
        members.submit(at, client, 1, OpCode::Create, create("/e", 1));
        members.run(2000);
        assert_eq!(global(&members), [client.1], "its signs of life reach the leader");
        let moved = members.connect(1 - at, 1, client.1, 300);
        members.settle();
        assert_eq!(members.texts(1 - at, moved), ["granted"]);
        members.alive[at].clear();
        members.alive[1 - at].insert(client.1);
        members.run(2000);
        assert_eq!(ephemerals(&members, at, client.1), ["/e"]);
        members.submit(1 - at, (moved, client.1), 2, OpCode::CloseSession, Bytes::new());
        members.run(100);
        assert_eq!(members.texts(1 - at, moved), ["2 ok"]);
        assert_eq!((global(&members), ephemerals(&members, FOLLOWER, client.1).len()), (Vec::new(), 0));
        // And by silence alike.
        let client = members.client(at, 2, 300);
        members.submit(at, client, 1, OpCode::Create, create("/e", 1));
        members.run(200);
        assert_eq!(ephemerals(&members, 1 - at, client.1), ["/e"]);
        members.alive[at].clear();
        members.run(1000);
        assert_eq!((global(&members), ephemerals(&members, 1 - at, client.1).len()), (Vec::new(), 0));
    }
}

/// The timeout everybody knows is the one it was opened with; its connection's decides when it expires.
#[test]
fn an_upgrade_keeps_both_timeouts() {
    for at in [FOLLOWER, LEADER] {
        let mut members = Members::serving(locals);
        let first = members.client(at, 1, 400);
        let again = members.connect(at, 2, first.1, 1500);
        members.submit(at, (again, first.1), 1, OpCode::Create, create("/e", 1));
        members.run(300);
        assert_eq!(members.replicas[LEADER].sessions.timeout_ms(first.1), Some(400));
        assert_eq!(members.replicas[at].sessions.live_timeout_ms(first.1), Some(1500));
        members.alive[at].clear();
        members.run(1000);
        assert_eq!(global(&members), [first.1]);
    }
}

#[test]
fn where_upgrading_is_off_an_ephemeral_is_refused_in_its_place_in_line() {
    for at in [FOLLOWER, LEADER] {
        let mut members = Members::serving(locals_that_stay);
        let client = members.client(at, 1, 1000);
        members.submit(at, client, 1, OpCode::Create, create("/a", 0));
        members.submit(at, client, 2, OpCode::Create, create("/e", 1));
        members.submit(at, client, 3, OpCode::Create2, create("/e", 3));
        members.submit(at, client, 4, OpCode::Multi, creates(&[("/p", 0), ("/e", 1), ("/q", 0)]));
        members.submit(at, client, 5, OpCode::Multi, creates(&[("/a", 0), ("/e", 1)]));
        members.submit(at, client, 6, OpCode::Create, create("/b", 0));
        members.settle();
        let expected = [
            "1 ok".to_owned(),
            "2 EphemeralOnLocalSession".to_owned(),
            "3 EphemeralOnLocalSession".to_owned(),
            failed_multi(4, 1, ErrorCode::EphemeralOnLocalSession, 3),
            failed_multi(5, 0, ErrorCode::NodeExists, 2),
            "6 ok".to_owned(),
        ];
        assert_eq!(members.texts(at, client.0), expected);
        assert_eq!(global(&members), []);
        assert!(members.replicas[at].local.is_local(client.1), "it lives on as it was");
    }
}

/// An old member without local sessions at another member's side is told nothing new: as ever, an unknown session's
/// write ends its connection.
#[test]
fn a_leader_without_local_sessions_refuses_those_of_a_learner() {
    let mut members = Members::serving(|settings| settings.local_sessions = settings.me == ServerId(1));
    let client = members.client(FOLLOWER, 1, 1000);
    members.submit(FOLLOWER, client, 1, OpCode::Create, create("/a", 0));
    members.settle();
    assert_eq!(members.texts(FOLLOWER, client.0), ["hangup"]);
}

#[test]
fn a_leader_lets_no_learner_write_under_a_session_of_its_own_making() {
    let mut members = Members::serving(locals);
    let mine = members.client(LEADER, 1, 1000);
    let leader = &mut members.replicas[LEADER];
    assert!(!leader.may_be_local_elsewhere(mine.1) && leader.may_be_local_elsewhere(SessionId(1 << 56 | 9)));
    assert_eq!(leader.may_own_ephemerals(mine.1), Err(ErrorCode::EphemeralOnLocalSession));
    assert_eq!(leader.may_own_ephemerals(SessionId(1 << 56 | 9)), Err(ErrorCode::SessionExpired));
}

/// The close comes while the upgrade is on its way: there is a global trace of the session, so its end is everybody's
/// too, and no ephemeral stays behind (ZOOKEEPER-2926, 3471).
#[test]
fn a_session_closed_in_the_middle_of_its_upgrade_leaves_nothing_behind() {
    for at in [FOLLOWER, LEADER] {
        let mut members = Members::serving(locals);
        let client = members.client(at, 1, 1000);
        members.hold(LEADER);
        members.submit(at, client, 1, OpCode::Create, create("/e", 1));
        members.submit(at, client, 2, OpCode::CloseSession, Bytes::new());
        members.settle();
        members.let_speak(LEADER);
        members.run(100);
        assert_eq!(members.texts(at, client.0), ["1 ok", "2 ok"]);
        assert_eq!(members.logged(), [CREATE_SESSION, CREATE, -11].map(|kind| (kind, client.1)));
        assert_eq!((global(&members), ephemerals(&members, LEADER, client.1).len()), (Vec::new(), 0));
        assert!(members.replicas[at].local.is_empty());
    }
}

/// The answer to a close may not overtake those to what was asked before it.
#[test]
fn a_local_close_is_answered_behind_what_the_leader_has_not_answered_yet() {
    let mut members = Members::serving(locals);
    let client = members.client(FOLLOWER, 1, 1000);
    members.hold(LEADER);
    members.submit(FOLLOWER, client, 1, OpCode::Create, create("/a", 0));
    members.submit(FOLLOWER, client, 2, OpCode::Sync, encoded(|w| w.string("/a")));
    members.submit(FOLLOWER, client, 3, OpCode::CloseSession, Bytes::new());
    members.settle();
    assert!(!members.replicas[FOLLOWER].local.is_local(client.1), "it is over at once");
    assert_eq!(members.texts(FOLLOWER, client.0), [] as [&str; 0]);
    members.let_speak(LEADER);
    let told = members.texts(FOLLOWER, client.0);
    assert_eq!((told.len(), &*told[0], &*told[2]), (3, "1 ok", "3 ok"), "{told:?}");
    assert_eq!(members.logged(), [(CREATE, client.1)]);
    // A proposal that is here and not committed counts as well.
    let client = members.client(FOLLOWER, 2, 1000);
    members.submit(FOLLOWER, client, 1, OpCode::Create, create("/b", 0));
    members.submit(FOLLOWER, client, 2, OpCode::CloseSession, Bytes::new());
    members.settle();
    assert_eq!(members.texts(FOLLOWER, client.0), ["1 ok", "2 ok"]);
}

/// The leader may not have come to its createSession: asked about it now, it would call the session expired.
#[test]
fn a_client_that_reconnects_in_the_middle_of_its_upgrade_waits_for_it() {
    let mut members = Members::serving(locals);
    let client = members.client(FOLLOWER, 1, 1000);
    members.hold(LEADER);
    members.submit(FOLLOWER, client, 1, OpCode::Create, create("/e", 1));
    members.settle();
    members.gone(FOLLOWER, client);
    let again = members.connect(FOLLOWER, 2, client.1, 1000);
    members.settle();
    assert_eq!(members.texts(FOLLOWER, again), [] as [&str; 0]);
    let asked = members.packets().iter().any(|it| it.kind == crate::codec::peer::PacketKind::Revalidate);
    assert!(!asked, "the leader is not asked yet");
    members.let_speak(LEADER);
    assert_eq!(members.texts(FOLLOWER, again), ["granted"]);
    members.submit(FOLLOWER, (again, client.1), 2, OpCode::Create, create("/e2", 1));
    members.settle();
    assert_eq!(members.texts(FOLLOWER, again), ["2 ok"]);
    assert_eq!(ephemerals(&members, FOLLOWER, client.1), ["/e", "/e2"]);
}

/// A client whose own xid is 0 must not get the answer to the createSession, nor lose its own.
#[test]
fn an_upgrade_is_told_from_a_request_with_xid_0() {
    let mut members = Members::serving(locals);
    let client = members.client(FOLLOWER, 1, 1000);
    members.submit(FOLLOWER, client, 0, OpCode::Create, create("/a", 0));
    members.submit(FOLLOWER, client, 0, OpCode::Create, create("/e", 1));
    members.submit(FOLLOWER, client, 0, OpCode::Create, create("/b", 0));
    members.settle();
    assert_eq!(members.texts(FOLLOWER, client.0), ["0 ok", "0 ok", "0 ok"]);
    assert_eq!(
        members.forwarded(),
        [OpCode::Create, OpCode::CreateSession, OpCode::Create, OpCode::Create].map(|op| (op, client.1))
    );
}

#[test]
fn local_sessions_end_with_the_role_and_upgraded_ones_do_not() {
    let mut members = Members::serving(locals);
    let local = members.client(FOLLOWER, 1, 10_000);
    let upgraded = members.client(FOLLOWER, 2, 10_000);
    members.submit(FOLLOWER, upgraded, 1, OpCode::Create, create("/e", 1));
    members.run(100);
    members.part();
    assert!(members.replicas[FOLLOWER].local.is_empty());
    members.join();
    members.run(5000);
    assert_eq!(members.services(), [crate::mail::Service::Everybody; 2]);
    let [one, other] = [(3, local.1), (4, upgraded.1)].map(|(slot, session)| {
        let again = members.connect(FOLLOWER, slot, session, 10_000);
        members.settle();
        members.texts(FOLLOWER, again)
    });
    assert_eq!((one, other), (vec!["refused".to_owned()], vec!["granted".to_owned()]));
}

#[test]
fn words_tell_local_and_global_sessions_apart() {
    for at in [FOLLOWER, LEADER] {
        let mut members = Members::serving(locals);
        let local = members.client(at, 1, 1000);
        let upgraded = members.client(at, 2, 1000);
        members.submit(at, upgraded, 1, OpCode::Create, create("/e", 1));
        members.run(100);
        let report = members.survey(at, SurveyKind::Dump);
        assert_eq!((report.session_count, report.local_session_count), (1, 1));
        let listed: Vec<SessionId> = report.local_session_buckets.unwrap().into_iter().flat_map(|it| it.1).collect();
        assert_eq!(listed, [local.1]);
        let listed: Vec<SessionId> = report.session_buckets.into_iter().flat_map(|it| it.1).collect();
        assert_eq!(listed, [upgraded.1]);
    }
    let mut members = Members::serving(|_| {});
    assert!(members.survey(LEADER, SurveyKind::Dump).local_session_buckets.is_none());
}

/// What the log says of a session this member takes for local counts, wherever it came from.
#[test]
fn a_create_session_in_the_log_ends_the_local_life_of_its_session() {
    let mut members = Members::serving(locals);
    let client = members.client(FOLLOWER, 1, 1000);
    let now = members.now();
    let leader = &mut members.replicas[LEADER];
    leader.sessions.open(client.1, 1000, leader.hearing.now());
    let (zxid, changes) =
        leader.propose_own(client.1, Default::default(), &Txn::CreateSession { timeout_ms: 1000 }, now);
    leader.wait(zxid, changes, None);
    members.run(100);
    assert!(members.replicas[FOLLOWER].local.is_empty());
    members.submit(FOLLOWER, client, 1, OpCode::Create, create("/e", 1));
    members.settle();
    assert_eq!(members.texts(FOLLOWER, client.0), ["1 ok"]);
}

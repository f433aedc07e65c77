//! A shard that serves without a leader: who is let in, what is answered, and how it ends (parity section 5.6).

use super::rig::*;
use crate::base::SessionId;
use crate::codec::opcode::OpCode;
use crate::mail::{AnswerKind, Service, ToReplica};

const NOT_READ_ONLY: i32 = -119;

fn reader() -> Rig {
    let mut rig = Rig::with(|settings| settings.serves_from_start = false);
    rig.commit(&create("/a", b"here"));
    rig.serve(Service::ReadOnly);
    rig
}

fn let_in(rig: &mut Rig, read_only: Option<bool>) -> crate::base::ConnId {
    let conn = rig.accept();
    rig.mail();
    rig.send(conn, &handshake_of(SessionId::NONE, &[0; 16], 10_000, read_only));
    conn
}

/// A connection with a session, whose client puts up with this.
fn connect(rig: &mut Rig) -> crate::base::ConnId {
    let conn = let_in(rig, Some(true));
    assert!(matches!(rig.mail()[..], [ToReplica::Connect(_)]));
    rig.grant(conn);
    let response = rig.output(conn);
    assert_eq!((response.len(), response.last()), (41, Some(&1)), "it is told whom it talks to");
    conn
}

#[test]
fn only_clients_that_put_up_with_it_are_let_in() {
    let mut rig = reader();
    for read_only in [Some(false), None] {
        let conn = let_in(&mut rig, read_only);
        assert!(rig.is_closed(conn) && rig.mail().is_empty(), "{read_only:?}");
        assert!(rig.output(conn).is_empty(), "without a word");
    }
    connect(&mut rig);
    rig.serve(Service::Nobody);
    let conn = let_in(&mut rig, Some(true));
    assert!(rig.is_closed(conn));
    rig.serve(Service::Everybody);
    let conn = let_in(&mut rig, Some(true));
    rig.grant(conn);
    assert_eq!(rig.output(conn).last(), Some(&0), "as good as any other server");
}

#[test]
fn reads_watches_and_pings_are_served_and_writes_and_sync_are_refused_in_their_turn() {
    let mut rig = reader();
    let conn = connect(&mut rig);
    let line = [
        get_data(1, "/a", true),
        delete_request(2, "/a"),
        exists(3, "/none", true),
        request(4, OpCode::Sync, |w| w.string("/a")),
        children(5, "/", false),
        ping(),
        // Whatever its record looks like.
        request(6, OpCode::Create, |w| w.i32(-7)),
        request(7, OpCode::Multi, |_| {}),
        request(8, OpCode::Reconfig, |_| {}),
        request(9, OpCode::SetData, |_| {}),
        request(10, OpCode::SetAcl, |_| {}),
        request(11, OpCode::CreateTtl, |_| {}),
        request(12, OpCode::CreateContainer, |_| {}),
        request(13, OpCode::Create2, |_| {}),
        request(14, OpCode::WhoAmI, |_| {}),
        request(15, OpCode::AddWatch, |w| {
            w.string("/a");
            w.i32(1);
        }),
    ]
    .concat();
    rig.send(conn, &line);
    assert!(rig.mail().is_empty(), "the replica hears of none");
    let refused = |xid| (xid, NOT_READ_ONLY);
    let mut expected = vec![(1, 0), refused(2), (3, -101), refused(4), (5, 0), (-2, 0)];
    expected.extend((6..=13).map(refused));
    expected.extend([(14, 0), (15, 0)]);
    let output = rig.output(conn);
    assert_eq!(heads(&output), expected);
    assert!(frames(&output).iter().all(|frame| frame.zxid == rig.zxid.0));
    // Operations that are the server's own are none of a client's here either.
    rig.send(conn, &request(16, OpCode::DeleteContainer, |w| w.string("/a")));
    assert!(rig.is_closed(conn));
}

#[test]
fn the_end_of_a_session_goes_to_the_replica() {
    let mut rig = reader();
    let conn = connect(&mut rig);
    rig.send(conn, &[request(1, OpCode::CloseSession, |_| {}), delete_request(2, "/a")].concat());
    assert!(matches!(&rig.mail()[..], [ToReplica::Submit(submit)] if submit.op == OpCode::CloseSession));
    assert!(rig.output(conn).is_empty(), "what is refused waits for its turn");
    rig.answer(conn, ok(1));
    assert_eq!(heads(&rig.output(conn)), [(1, 0)]);
    assert!(rig.is_closed(conn));
}

#[test]
fn a_session_that_is_not_known_is_told_so_by_a_read_only_server() {
    let mut rig = reader();
    let conn = let_in(&mut rig, Some(true));
    rig.answer(conn, AnswerKind::Refused);
    let response = rig.output(conn);
    let expected = [&[0, 0, 0, 37][..], &[0; 16], &[0, 0, 0, 16], &[0; 16], &[1]].concat();
    assert_eq!(response, expected);
}

#[test]
fn its_clients_are_hung_up_on_when_it_ends_whatever_comes_next() {
    for next in [Service::Nobody, Service::Everybody] {
        let mut rig = reader();
        let (live, connecting) = (connect(&mut rig), let_in(&mut rig, Some(true)));
        let word = rig.accept();
        rig.send(word, b"srvr");
        rig.serve(next);
        assert!(rig.is_closed(live) && rig.is_closed(connecting) && !rig.is_closed(word));
        // The replica may have answered before it knew.
        rig.grant(connecting);
        assert!(rig.output(connecting).is_empty());
    }
}

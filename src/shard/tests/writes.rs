//! Requests that go to the replica, and the line that forms behind them.

use super::rig::*;
use crate::base::ErrorCode;
use crate::base::{SessionId, Xid};
use crate::codec::opcode::OpCode;
use crate::mail::{AnswerKind, Body, ToReplica};

#[test]
fn a_write_is_submitted_with_its_record_alone() {
    let mut rig = Rig::new();
    let conn = rig.connect();
    rig.send(conn, &delete_request(5, "/a"));
    let mail = rig.mail();
    let [ToReplica::Submit(submit)] = &mail[..] else { panic!("{mail:?}") };
    assert_eq!((submit.xid, submit.op, submit.origin.conn), (Xid(5), OpCode::Delete, conn));
    assert_eq!(&submit.body[..], [0, 0, 0, 2, b'/', b'a', 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(submit.ids.len(), 1);
}

#[test]
fn requests_are_answered_in_the_order_they_came() {
    let mut rig = Rig::new();
    let conn = rig.connect();
    rig.commit(&create("/a", b"0"));
    let line = [
        get_data(1, "/a", false),
        delete_request(2, "/none"),
        get_data(3, "/a", false),
        ping(),
        delete_request(4, "/a"),
        get_data(5, "/a", false),
        request(6, OpCode::GetData, |w| w.i32(9)),
        request(7, OpCode::Sync, |w| w.string("/a")),
        exists(8, "/a", false),
    ]
    .concat();
    rig.send(conn, &line);
    let xids: Vec<i32> = rig
        .mail()
        .iter()
        .map(|mail| match mail {
            ToReplica::Submit(submit) => submit.xid.0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(xids, [2, 4, 7], "writes do not wait for each other");
    assert_eq!(heads(&rig.output(conn)), [(1, 0)]);
    // Both answers in one batch: the read between them must still see the znode.
    let refused = rig.entry(
        SessionId(9),
        &crate::codec::txn::Txn::Error { code: -101 },
        Some((conn, failed(2, ErrorCode::NoNode))),
    );
    let deleted = rig.entry(SessionId(9), &delete("/a"), Some((conn, ok(4))));
    rig.deliver(vec![refused, deleted]);
    let output = rig.output(conn);
    assert_eq!(heads(&output), [(2, -101), (3, 0), (-2, 0), (4, 0), (5, -101), (6, -5)]);
    assert_eq!(frames(&output).iter().map(|frame| frame.zxid).collect::<Vec<_>>(), [2, 2, 2, 3, 3, 3]);
    let echo =
        AnswerKind::Reply { xid: Xid(7), error: None, body: Body::Encoded(bytes::Bytes::from_static(b"\0\0\0\x02/a")) };
    rig.answer(conn, echo);
    let output = rig.output(conn);
    assert_eq!(heads(&output), [(7, 0), (8, -101)]);
    assert_eq!(frames(&output)[0].body, b"\0\0\0\x02/a");
    assert_eq!(rig.shard.outstanding, 0);
}

#[test]
fn an_event_comes_before_the_reply_to_the_write_that_caused_it() {
    let mut rig = Rig::new();
    let conn = rig.connect();
    rig.commit(&create("/a", b"0"));
    rig.send(conn, &get_data(1, "/a", true));
    rig.output(conn);
    rig.send(conn, &delete_request(2, "/a"));
    let entry = rig.entry(SessionId(9), &delete("/a"), Some((conn, ok(2))));
    rig.deliver(vec![entry]);
    let output = rig.output(conn);
    assert_eq!(heads(&output), [(-1, 0), (2, 0)]);
    assert_eq!(frames(&output)[0].event(), (2, "/a".to_owned()));
    assert_eq!(frames(&output)[0].zxid, 2);
}

#[test]
fn create_replies_have_their_shapes() {
    let mut rig = Rig::new();
    let conn = rig.connect();
    let body = |w: &mut crate::codec::Writer<'_>| {
        w.string("/a");
        w.buffer(None);
        w.acl(&crate::base::open_acl());
        w.i32(0);
    };
    rig.send(conn, &[request(1, OpCode::Create, body), request(2, OpCode::Create2, body)].concat());
    let entry = rig.entry(SessionId(9), &create("/a", b""), None);
    let crate::tree::Change::Insert { node, .. } = entry.changes[0].clone() else { panic!() };
    rig.deliver(vec![entry]);
    let stat = rig.shard.tree.get("/a").unwrap().stat();
    rig.answer(conn, AnswerKind::Reply { xid: Xid(1), error: None, body: Body::Path(node.clone()) });
    rig.answer(conn, AnswerKind::Reply { xid: Xid(2), error: None, body: Body::PathStat(node, stat) });
    let output = rig.output(conn);
    let replies = frames(&output);
    assert_eq!(replies[0].body, b"\0\0\0\x02/a");
    assert_eq!(replies[1].body.len(), 6 + 68);
}

#[test]
fn closing_a_session_is_answered_and_then_the_connection_ends() {
    let mut rig = Rig::new();
    let conn = rig.connect();
    rig.send(conn, &[request(1, OpCode::CloseSession, |_| {}), ping()].concat());
    rig.answer(conn, ok(1));
    assert_eq!(heads(&rig.output(conn)), [(1, 0)], "nothing after the last answer");
    assert!(rig.is_closed(conn));
    assert_eq!(rig.shard.outstanding, 0);
    rig.shard.on_flushed(conn, rig.now, &mut rig.out);
    assert_eq!(rig.shard.conns.live(), 0);
}

#[test]
fn answers_to_those_who_left_are_dropped() {
    let mut rig = Rig::new();
    let conn = rig.connect();
    rig.send(conn, &delete_request(1, "/a"));
    rig.shard.on_hangup(conn, &mut rig.out);
    assert!(matches!(rig.mail()[..], [ToReplica::Submit(_), ToReplica::Gone { .. }]));
    let next = rig.connect();
    assert_eq!(next.slot, conn.slot);
    rig.answer(conn, ok(1));
    rig.answer(conn, AnswerKind::Hangup);
    assert!(rig.output(next).is_empty() && rig.out.close.is_empty());
    assert!(rig.output(conn).is_empty());
    rig.answer(next, AnswerKind::Hangup);
    assert!(rig.is_closed(next) && rig.output(next).is_empty());
    assert!(matches!(rig.mail()[..], [ToReplica::Gone { .. }]));
}

#[test]
fn every_request_but_authentication_is_a_sign_of_life() {
    let mut rig = Rig::new();
    let conn = rig.connect();
    let session = rig.shard.conns.get(conn).unwrap().session;
    rig.send(conn, &auth("ip", ""));
    rig.tick();
    let heard = |rig: &mut Rig| match rig.mail().pop() {
        Some(ToReplica::Heard { sessions, through, .. }) => (sessions, through),
        other => panic!("{other:?}"),
    };
    assert_eq!(heard(&mut rig), (vec![], rig.now.mono));
    rig.send(conn, &ping());
    rig.pass_ms(10);
    rig.send(conn, &ping());
    let last = rig.now.mono;
    rig.pass_ms(10);
    rig.tick();
    assert_eq!(heard(&mut rig), (vec![(session, last)], rig.now.mono));
    rig.tick();
    assert_eq!(heard(&mut rig).0, []);
}

//! Watches from the wire to the wire.

use super::rig::*;
use crate::base::{Acl, Id, Perms, SessionId};
use crate::codec::opcode::OpCode;

fn events(rig: &mut Rig, conn: crate::base::ConnId) -> Vec<(i32, String)> {
    let output = rig.output(conn);
    frames(&output).iter().filter(|frame| frame.xid == -1).map(Frame::event).collect()
}

fn add_watch(xid: i32, path: &str, mode: i32) -> Vec<u8> {
    request(xid, OpCode::AddWatch, |w| {
        w.string(path);
        w.i32(mode);
    })
}

#[test]
fn an_event_is_byte_for_byte_zookeepers() {
    let mut rig = Rig::new();
    let conn = rig.connect();
    rig.send(conn, &exists(1, "/a", true));
    rig.output(conn);
    rig.commit(&create("/a", b""));
    let expected = [
        &[0, 0, 0, 30, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0][..],
        &[0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 2, b'/', b'a'],
    ]
    .concat();
    assert_eq!(rig.output(conn), expected);
    rig.commit(&set_data("/a", b"1", 1));
    assert!(rig.output(conn).is_empty(), "a standard watch fires once");
}

#[test]
fn each_mode_hears_what_is_its_own() {
    let mut rig = Rig::new();
    let (child, persistent, recursive) = (rig.connect(), rig.connect(), rig.connect());
    rig.commit(&create("/p", b""));
    rig.send(child, &children(1, "/p", true));
    rig.send(persistent, &add_watch(1, "/p", 0));
    rig.send(recursive, &add_watch(1, "/", 1));
    for conn in [child, persistent, recursive] {
        rig.output(conn);
    }
    rig.commit(&create("/p/c", b""));
    rig.commit(&set_data("/p", b"", 1));
    rig.commit(&delete("/p/c"));
    rig.commit(&delete("/p"));
    let own = |list: &[(i32, &str)]| list.iter().map(|(kind, path)| (*kind, path.to_string())).collect::<Vec<_>>();
    assert_eq!(events(&mut rig, child), own(&[(4, "/p")]));
    assert_eq!(events(&mut rig, persistent), own(&[(4, "/p"), (3, "/p"), (4, "/p"), (2, "/p")]));
    assert_eq!(events(&mut rig, recursive), own(&[(1, "/p/c"), (3, "/p"), (2, "/p/c"), (2, "/p")]));
}

#[test]
fn who_may_not_read_hears_nothing_and_still_spends_the_watch() {
    let mut rig = Rig::new();
    let (stranger, friend) = (rig.connect(), rig.connect());
    rig.send(friend, &auth("digest", "user:pass"));
    for conn in [stranger, friend] {
        rig.send(conn, &exists(1, "/s", true));
        rig.output(conn);
    }
    let secret = [Acl { perms: Perms::READ, id: Id::new("digest", "user:smGaoVKd/cQkjm7b88GyorAUz20=") }];
    rig.commit(&create_with("/s", b"", &secret, false));
    assert_eq!(events(&mut rig, stranger), []);
    assert_eq!(events(&mut rig, friend), [(1, "/s".to_owned())]);
    assert!(rig.shard.watches.is_empty());
    rig.send(friend, &exists(2, "/s", true));
    rig.send(stranger, &add_watch(2, "/s", 0));
    rig.output(friend);
    rig.output(stranger);
    rig.commit(&delete("/s"));
    assert_eq!(events(&mut rig, stranger), [], "a deletion is judged by the ACL the znode had");
    assert_eq!(events(&mut rig, friend), [(2, "/s".to_owned())]);
}

#[test]
fn a_reconnecting_client_catches_up_before_its_reply() {
    let mut rig = Rig::new();
    for path in ["/old", "/new", "/parent"] {
        rig.commit(&create(path, b""));
    }
    let seen = rig.zxid.0;
    rig.commit(&set_data("/new", b"1", 1));
    rig.commit(&create("/parent/c", b""));
    let conn = rig.connect();
    let lists: [&[&str]; 5] = [
        &["/old", "/new", "/gone", "bad//path"],
        &["/absent", "/old"],
        &["/old", "/parent", "/gone"],
        &["/x"],
        &["/y", ""],
    ];
    let bytes = request(-8, OpCode::SetWatches2, |w| {
        w.i64(seen);
        for list in lists {
            w.i32(list.len() as i32);
            list.iter().for_each(|path| w.string(path));
        }
    });
    rig.send(conn, &bytes);
    let output = rig.output(conn);
    let all = frames(&output);
    assert_eq!(all.last().map(|frame| (frame.xid, frame.error)), Some((-8, 0)));
    let events: Vec<(i32, String)> = all[..all.len() - 1].iter().map(Frame::event).collect();
    let own: Vec<(i32, String)> = [(3, "/new"), (2, "/gone"), (1, "/old"), (4, "/parent"), (2, "/gone")]
        .map(|(kind, path)| (kind, path.to_owned()))
        .to_vec();
    assert_eq!(events, own);
    assert!(all[..all.len() - 1].iter().all(|frame| frame.zxid == -1));
    // /old data, /absent, /old child, /x in both tables, /y.
    assert_eq!(rig.shard.watches.watch_count(), 6);
}

#[test]
fn watches_can_be_looked_for_and_removed() {
    let mut rig = Rig::new();
    let conn = rig.connect();
    let ask = |rig: &mut Rig, op: OpCode, path: &str, kind: i32| {
        rig.send(
            conn,
            &request(1, op, |w| {
                w.string(path);
                w.i32(kind);
            }),
        );
        frames(&rig.output(conn))[0].error
    };
    rig.send(conn, &[add_watch(1, "/a", 0), exists(2, "/a", true)].concat());
    rig.output(conn);
    assert_eq!(ask(&mut rig, OpCode::CheckWatches, "/a", 4), 0);
    assert_eq!(ask(&mut rig, OpCode::CheckWatches, "/a", 1), -121);
    assert_eq!(ask(&mut rig, OpCode::CheckWatches, "/a", 6), -5);
    assert_eq!(ask(&mut rig, OpCode::RemoveWatches, "/a", 2), 0);
    assert_eq!(ask(&mut rig, OpCode::RemoveWatches, "/a", 2), -121);
    assert_eq!(ask(&mut rig, OpCode::RemoveWatches, "/a", 3), 0);
    assert_eq!(ask(&mut rig, OpCode::AddWatch, "/a", 2), -5);
    assert_eq!(ask(&mut rig, OpCode::AddWatch, "a", 0), -8);
    assert!(rig.shard.watches.is_empty());
}

#[test]
fn watches_end_with_their_connection() {
    let mut rig = Rig::new();
    let conn = rig.connect();
    rig.send(conn, &[add_watch(1, "/", 1), exists(2, "/a", true)].concat());
    rig.output(conn);
    rig.shard.on_hangup(conn, &mut rig.out);
    assert!(rig.shard.watches.is_empty());
    let next = rig.connect();
    rig.commit(&create("/a", b""));
    assert!(rig.output(next).is_empty());
}

#[test]
fn a_closed_session_is_told_once_per_ephemeral() {
    let mut rig = Rig::new();
    let watcher = rig.connect();
    let owner = SessionId(0x55);
    for path in ["/e1", "/e2"] {
        let entry = rig.entry(owner, &create_with(path, b"", &crate::base::open_acl(), true), None);
        rig.deliver(vec![entry]);
    }
    rig.send(watcher, &[exists(1, "/e1", true), exists(2, "/e2", true), children(3, "/", true)].concat());
    rig.output(watcher);
    let close = crate::codec::txn::Txn::CloseSession { ephemerals: Some(vec!["/e1".into(), "/e2".into()]) };
    let entry = rig.entry(owner, &close, None);
    rig.deliver(vec![entry]);
    assert_eq!(events(&mut rig, watcher), [(2, "/e1".to_owned()), (4, "/".to_owned()), (2, "/e2".to_owned())]);
}

#[test]
fn a_thousand_watchers_are_told_with_one_encoding() {
    let mut rig = Rig::new();
    rig.commit(&create("/hot", b""));
    let conns: Vec<_> = (0..1000).map(|_| rig.connect()).collect();
    for conn in &conns {
        rig.send(*conn, &get_data(1, "/hot", true));
        rig.output(*conn);
    }
    rig.out.dirty.clear();
    rig.commit(&set_data("/hot", b"1", 1));
    assert_eq!(rig.out.dirty.len(), 1000);
    for conn in conns {
        assert_eq!(events(&mut rig, conn), [(3, "/hot".to_owned())]);
    }
}

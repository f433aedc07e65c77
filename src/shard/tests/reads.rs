//! Handshakes, and requests answered by the shard alone.

use super::rig::*;
use crate::base::{Acl, ErrorCode, Id, Perms, SessionId};
use crate::codec::Reader;
use crate::codec::opcode::OpCode;
use crate::mail::{AnswerKind, ToReplica};
use crate::tree::auth::AuthRules;

#[test]
fn a_new_session_is_granted_byte_for_byte() {
    let mut rig = Rig::new();
    let conn = rig.accept();
    rig.send(conn, &handshake(SessionId::NONE, &[0; 16], 1));
    let mail = rig.mail();
    let [ToReplica::Connect(connect)] = &mail[..] else { panic!("{mail:?}") };
    assert_eq!((connect.session, connect.timeout_ms), (SessionId::NONE, 4000));
    assert!(!rig.shard.wants_input(conn));
    let session = SessionId(0x0100_0000_0000_0000);
    rig.answer(conn, AnswerKind::Granted { session, timeout_ms: 4000 });
    let expected = [
        &[0, 0, 0, 37, 0, 0, 0, 0, 0, 0, 0x0f, 0xa0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16][..],
        &[0xf2, 0x2a, 0xcd, 0x4a, 0x97, 0xe6, 0x9d, 0x6d, 0x20, 0xa4, 0x9b, 0xb6, 0x38, 0xea, 0xdb, 0x38, 0],
    ]
    .concat();
    assert_eq!(rig.output(conn), expected);
    assert_eq!((rig.out.dirty.clone(), rig.out.resume.clone()), (vec![conn], vec![conn]));
    assert!(rig.shard.wants_input(conn));
}

#[test]
fn an_old_client_gets_no_read_only_byte() {
    let mut rig = Rig::new();
    let conn = rig.accept();
    let mut bytes = handshake(SessionId::NONE, &[0; 16], 10_000);
    bytes.pop();
    bytes[3] -= 1;
    rig.send(conn, &bytes);
    rig.grant(conn);
    assert_eq!(rig.output(conn).len(), 40);
}

#[test]
fn a_wrong_password_looks_like_an_expired_session() {
    let mut rig = Rig::new();
    let zeros = [&[0, 0, 0, 37][..], &[0; 19], &[16], &[0; 17]].concat();
    let wrong = rig.accept();
    rig.send(wrong, &handshake(SessionId(5), &[1; 16], 10_000));
    assert!(rig.mail().is_empty(), "the replica never hears of a false claim");
    assert_eq!(rig.output(wrong), zeros);
    assert!(rig.is_closed(wrong));
    let unknown = rig.accept();
    rig.send(unknown, &renewal(SessionId(5)));
    assert!(matches!(rig.mail()[..], [ToReplica::Connect(_)]));
    rig.answer(unknown, AnswerKind::Refused);
    assert_eq!(rig.output(unknown), zeros);
    let ahead = rig.accept();
    rig.send(ahead, &renewal(SessionId(6)));
    rig.answer(ahead, AnswerKind::Behind);
    assert!(rig.output(ahead).is_empty() && rig.is_closed(ahead));
}

#[test]
fn requests_pipelined_behind_the_handshake_wait_for_it() {
    let mut rig = Rig::new();
    let conn = rig.accept();
    let bytes = [handshake(SessionId::NONE, &[0; 16], 10_000), auth("digest", "user:pass"), ping()].concat();
    for byte in &bytes {
        rig.send(conn, &[*byte]);
    }
    assert!(rig.output(conn).is_empty());
    rig.grant(conn);
    let output = rig.output(conn);
    assert_eq!(heads(&output[41..]), [(-4, 0), (-2, 0)]);
}

#[test]
fn a_read_is_answered_byte_for_byte() {
    let mut rig = Rig::new();
    let conn = rig.connect();
    rig.commit(&create("/a", b"xy"));
    rig.send(conn, &get_data(7, "/a", false));
    let time = 1_700_000_000_000i64.to_be_bytes();
    let zxid = 1i64.to_be_bytes();
    let expected = [
        &[0, 0, 0, 90, 0, 0, 0, 7][..],
        &zxid,
        &[0; 4], // header
        &[0, 0, 0, 2, b'x', b'y'],
        &zxid,
        &zxid,
        &time,
        &time, // data, czxid, mzxid, ctime, mtime
        &[0; 12],
        &[0; 8],
        &[0, 0, 0, 2],
        &[0; 4],
        &zxid, // versions, owner, lengths, pzxid
    ]
    .concat();
    assert_eq!(rig.output(conn), expected);
}

#[test]
fn reads_fail_as_zookeeper_says() {
    let mut rig = Rig::new();
    let conn = rig.connect();
    let secret = [Acl { perms: Perms::READ, id: Id::new("digest", "user:smGaoVKd/cQkjm7b88GyorAUz20=") }];
    rig.commit(&create_with("/s", b"", &secret, false));
    let cases = [
        (get_data(1, "/none", true), -101),
        (get_data(2, "/s", true), -102),
        (exists(3, "/s", true), -102),
        (exists(4, "/none", true), -101),
        (exists(5, "/no\0ne", true), -8),
        (children(6, "nonsense", false), -101),
        (children(7, "", false), 0),
        (request(8, OpCode::GetAcl, |w| w.string("/s")), -102),
        (request(9, OpCode::GetData, |w| w.i32(-1)), -5),
        (request(10, OpCode::GetData, |w| w.i32(50)), -5),
        (request(11, OpCode::Create, |w| w.string("/x")), -5),
        (request(12, OpCode::GetAllChildrenNumber, |w| w.string("/s")), -102),
    ];
    for (bytes, error) in cases {
        rig.send(conn, &bytes);
        let output = rig.output(conn);
        assert_eq!(frames(&output)[0].error, error, "{bytes:?}");
    }
    assert_eq!(rig.shard.watches.watch_count(), 1, "only exists waits for what is not there");
    assert!(rig.mail().is_empty(), "what cannot be decoded consumes nothing");
    rig.send(conn, &request(13, OpCode::Multi, |w| w.i32(9)));
    assert_eq!(rig.mail().len(), 1, "but a multi, which is numbered before it is read");
    rig.answer(conn, failed(13, ErrorCode::MarshallingError));
    rig.output(conn);
    rig.send(conn, &auth("digest", "user:pass"));
    rig.output(conn);
    rig.send(conn, &get_data(14, "/s", false));
    assert_eq!(heads(&rig.output(conn)), [(14, 0)]);
    assert!(rig.out.close.is_empty());
}

#[test]
fn small_reads_have_their_bodies() {
    let mut rig = Rig::new();
    let conn = rig.connect();
    let session = rig.shard.conns.get(conn).unwrap().session;
    for path in ["/a", "/ab"] {
        let entry = rig.entry(session, &create_with(path, b"", &crate::base::open_acl(), true), None);
        rig.deliver(vec![entry]);
    }
    let body = |rig: &mut Rig, bytes: Vec<u8>| {
        rig.send(conn, &bytes);
        frames(&rig.output(conn)).remove(0).body
    };
    let strings = |body: Vec<u8>| -> Vec<String> {
        Reader::new(&body).strings().unwrap().iter().map(|text| text.to_string()).collect()
    };
    for (prefix, found) in [(" / ", vec!["/a", "/ab"]), ("/a", vec!["/a", "/ab"]), ("/ab", vec!["/ab"]), ("x", vec![])]
    {
        let got = body(&mut rig, request(1, OpCode::GetEphemerals, |w| w.string(prefix)));
        assert_eq!(strings(got), found, "{prefix}");
    }
    assert_eq!(body(&mut rig, request(2, OpCode::GetAllChildrenNumber, |w| w.string("/"))), 5i32.to_be_bytes());
    let mut names = strings(body(&mut rig, children(3, "/", false)));
    names.sort();
    assert_eq!(names, ["a", "ab", "zookeeper"]);
    let who = body(&mut rig, request(4, OpCode::WhoAmI, |_| {}));
    let mut reader = Reader::new(&who);
    assert_eq!(reader.i32(), Ok(1));
    assert_eq!((reader.string().unwrap(), reader.string().unwrap()), ("ip".into(), "127.0.0.1".into()));
    let none: Vec<u8> = 0xffff_ffffu32.to_be_bytes().to_vec();
    assert_eq!(body(&mut rig, request(5, OpCode::Sasl, |w| w.buffer(Some(b"x")))), none);
}

#[test]
fn hashes_in_an_acl_are_for_admins() {
    let mut rig = Rig::with(|settings| {
        let super_digest = Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=".to_owned());
        settings.auth = AuthRules { super_digest, ..AuthRules::default() };
    });
    let conn = rig.connect();
    let list = [
        Acl { perms: Perms::READ, id: Id::new("world", "anyone") },
        Acl { perms: Perms::ADMIN, id: Id::new("digest", "u:hash") },
    ];
    rig.commit(&create_with("/a", b"", &list, false));
    let ids = |rig: &mut Rig| -> Vec<String> {
        rig.send(conn, &request(1, OpCode::GetAcl, |w| w.string("/a")));
        let output = rig.output(conn);
        let acl = Reader::new(&frames(&output)[0].body).acl().unwrap().unwrap();
        acl.into_iter().map(|acl| acl.unwrap().id.id.to_string()).collect()
    };
    assert_eq!(ids(&mut rig), ["anyone", "u:x"]);
    rig.send(conn, &auth("digest", "super:test"));
    rig.output(conn);
    assert_eq!(ids(&mut rig), ["anyone", "u:hash"]);
    rig.send(conn, &request(4, OpCode::WhoAmI, |_| {}));
    let output = rig.output(conn);
    let body = &frames(&output)[0].body;
    let mut reader = Reader::new(body);
    assert_eq!(reader.i32(), Ok(3));
    let pairs: Vec<String> =
        (0..3).map(|_| format!("{}={}", reader.string().unwrap(), reader.string().unwrap())).collect();
    assert_eq!(pairs, ["ip=127.0.0.1", "super=", "digest=super"]);
}

#[test]
fn a_multi_read_answers_each_part() {
    let mut rig = Rig::new();
    let conn = rig.connect();
    rig.commit(&create("/a", b"1"));
    rig.send(
        conn,
        &request(1, OpCode::MultiRead, |w| {
            for (op, path) in [(4, "/a"), (8, "/"), (4, "/none")] {
                crate::codec::reply::multi_header(w, op, -1);
                w.string(path);
                w.bool(true);
            }
            crate::codec::reply::multi_end(w);
        }),
    );
    let output = rig.output(conn);
    let frame = &frames(&output)[0];
    assert_eq!(frame.error, 0);
    let mut reader = Reader::new(&frame.body);
    let next = |reader: &mut Reader<'_>| (reader.i32().unwrap(), reader.bool().unwrap(), reader.i32().unwrap());
    assert_eq!(next(&mut reader), (4, false, 0));
    assert_eq!(reader.buffer().unwrap(), Some(&b"1"[..]));
    reader.stat().unwrap();
    assert_eq!(next(&mut reader), (8, false, 0));
    assert_eq!(reader.strings().unwrap().len(), 2);
    assert_eq!(next(&mut reader), (-1, false, -101));
    assert_eq!(reader.i32(), Ok(-101));
    assert_eq!(next(&mut reader), (-1, true, -1));
    assert!(reader.is_empty());
    assert!(rig.shard.watches.is_empty(), "parts of a multiRead set no watch");
}

#[test]
fn operations_nobody_offers_end_the_connection_with_an_answer() {
    for op in [0, 10, 13, -1, -10, 20, 23, 99, 108, i32::MAX] {
        let mut rig = Rig::new();
        let conn = rig.connect();
        rig.send(conn, &raw_request(3, op, |w| w.string("/a")));
        let output = rig.output(conn);
        let [frame] = &frames(&output)[..] else { panic!() };
        assert_eq!((frame.xid, frame.zxid, frame.error), (3, -1, ErrorCode::Unimplemented.code()), "{op}");
        assert!(rig.is_closed(conn), "{op}");
    }
}

#[test]
fn authentication_fails_loudly_and_is_enforced_when_told() {
    for scheme in ["world", "super", "sasl", "x509", "nonsense"] {
        let mut rig = Rig::new();
        let conn = rig.connect();
        rig.send(conn, &auth(scheme, "a:b"));
        assert_eq!(heads(&rig.output(conn)), [(-4, -115)], "{scheme}");
        assert!(rig.is_closed(conn), "{scheme}");
    }
    let enforce = |settings: &mut crate::shard::Settings| settings.enforced_schemes = vec!["digest".into()];
    let mut rig = Rig::with(enforce);
    let conn = rig.connect();
    rig.send(conn, &ping());
    let output = rig.output(conn);
    assert_eq!((frames(&output)[0].error, frames(&output)[0].zxid), (-124, 0));
    assert!(rig.is_closed(conn));
    let conn = rig.connect();
    rig.send(conn, &[auth("digest", "a:b"), ping()].concat());
    assert_eq!(heads(&rig.output(conn)), [(-4, 0), (-2, 0)]);
}

#[test]
fn frames_that_are_none_end_the_connection_without_a_word() {
    for bytes in [&[0xff, 0xff, 0xff, 0xff][..], &[0, 0x10, 0, 0], &[0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7], &[0, 0, 0, 0]] {
        let mut rig = Rig::new();
        let conn = rig.connect();
        rig.send(conn, bytes);
        assert!(rig.is_closed(conn) && rig.output(conn).is_empty(), "{bytes:?}");
        let fresh = rig.accept();
        rig.send(fresh, bytes);
        assert!(rig.is_closed(fresh) && rig.output(fresh).is_empty(), "{bytes:?}");
    }
}

//! What happens at each bound.

use super::rig::*;
use crate::base::{SessionId, limits};
use crate::codec::opcode::OpCode;
use crate::mail::ToReplica;
use crate::mail::metrics::Counter;
use crate::shard::ConnectionThrottle;

#[test]
fn a_client_that_does_not_read_its_replies_is_not_read_either() {
    let mut rig = Rig::new();
    let conn = rig.connect();
    rig.commit(&create("/big", &vec![b'x'; 400_000]));
    let reads: Vec<u8> = (1..=10).flat_map(|xid| get_data(xid, "/big", false)).collect();
    rig.send(conn, &reads);
    assert!(!rig.shard.wants_input(conn));
    let first = rig.output(conn);
    assert_eq!(frames(&first).len(), 3, "reading stops at the first reply beyond the mark");
    rig.out.resume.clear();
    let mut seen = 3;
    while seen < 10 {
        rig.shard.on_flushed(conn, rig.now, &mut rig.out);
        let more = frames(&rig.output(conn)).len();
        assert!(more > 0);
        seen += more;
    }
    rig.shard.on_flushed(conn, rig.now, &mut rig.out);
    assert!(rig.shard.wants_input(conn) && rig.out.resume.contains(&conn));
}

#[test]
fn events_nobody_reads_end_the_connection() {
    let mut rig = Rig::new();
    let conn = rig.connect();
    rig.send(
        conn,
        &request(1, OpCode::AddWatch, |w| {
            w.string("/");
            w.i32(1);
        }),
    );
    let path = format!("/{}", "p".repeat(1 << 19));
    for _ in 0..limits::CONN_OUTPUT_MAX_BYTES / (1 << 20) {
        rig.commit(&create(&path, b""));
        rig.commit(&delete(&path));
    }
    assert!(rig.out.close.iter().any(|close| close.conn == conn && close.abort));
    assert!(rig.output(conn).is_empty());
}

#[test]
fn too_many_writes_under_way_pause_those_who_have_some() {
    let mut rig = Rig::with(|settings| settings.outstanding_max = 3);
    let (busy, other) = (rig.connect(), rig.connect());
    let writes: Vec<u8> = (1..=10).flat_map(|xid| delete_request(xid, "/a")).collect();
    rig.send(busy, &writes);
    assert_eq!(rig.mail().len(), 10, "what was read at once is taken at once");
    assert!(!rig.shard.wants_input(busy));
    assert!(rig.shard.wants_input(other), "who has nothing outstanding may always be read");
    rig.send(other, &delete_request(1, "/a"));
    assert_eq!(rig.mail().len(), 1);
    assert!(!rig.shard.wants_input(other));
    for xid in 1..=7 {
        assert!(!rig.shard.wants_input(busy));
        rig.answer(busy, ok(xid));
    }
    assert!(!rig.shard.wants_input(busy));
    rig.answer(busy, ok(8));
    assert!(rig.shard.wants_input(busy), "two of its own and one of the other's are as many as there may be");
    rig.answer(other, ok(1));
    assert!(rig.shard.wants_input(other));
}

#[test]
fn a_line_behind_a_write_is_bounded() {
    let mut rig = Rig::new();
    let conn = rig.connect();
    rig.shard.outstanding_share = usize::MAX;
    let reads: Vec<u8> = (2..6000).flat_map(|xid| get_data(xid, "/", false)).collect();
    rig.send(conn, &[delete_request(1, "/a"), reads].concat());
    assert_eq!(rig.shard.conns.get(conn).unwrap().waiting.len(), limits::CONN_PENDING_MAX);
    assert!(!rig.shard.wants_input(conn));
    rig.answer(conn, ok(1));
    let output = rig.output(conn);
    let xids: Vec<i32> = frames(&output).iter().map(|frame| frame.xid).collect();
    assert_eq!(xids, (1..6000).collect::<Vec<_>>());
    assert!(rig.shard.wants_input(conn));
}

#[test]
fn a_paused_connection_counts_as_heard() {
    let mut rig = Rig::with(|settings| settings.outstanding_max = 1);
    let conn = rig.connect();
    let session = rig.shard.conns.get(conn).unwrap().session;
    let writes: Vec<u8> = (1..=5).flat_map(|xid| delete_request(xid, "/a")).collect();
    rig.send(conn, &writes);
    rig.tick();
    rig.mail();
    for _ in 0..2000 {
        rig.pass_ms(50);
        rig.tick();
        let mail = rig.mail();
        assert!(matches!(&mail[..], [ToReplica::Heard { sessions, .. }] if sessions[..] == [(session, rig.now.mono)]));
    }
    assert!(rig.out.close.is_empty());
}

#[test]
fn silence_ends_connections() {
    let mut rig = Rig::new();
    let (silent, talking, nobody) = (rig.connect(), rig.connect(), rig.accept());
    for _ in 0..600 {
        rig.pass_ms(50);
        rig.send(talking, &ping());
        rig.output(talking);
        rig.tick();
    }
    assert!(rig.is_closed(silent) && rig.is_closed(nobody) && !rig.is_closed(talking));
    assert_eq!(rig.shard.metrics.counter(Counter::SessionlessConnectionsExpired), 1);
}

#[test]
fn large_requests_are_gated_by_their_length_word() {
    let mut rig = Rig::with(|settings| {
        settings.large_request_bytes = Some(1000);
        settings.large_requests_bytes_max = 2500;
    });
    let big = |xid| {
        request(xid, OpCode::SetData, |w| {
            w.string("/a");
            w.buffer(Some(&[0; 1500]));
            w.i32(-1);
        })
    };
    let (first, second) = (rig.connect(), rig.connect());
    rig.send(first, &big(1));
    assert_eq!(rig.mail().len(), 1);
    rig.send(second, &big(1)[..4]);
    assert!(rig.is_closed(second));
    rig.answer(first, ok(1));
    let third = rig.connect();
    rig.mail();
    rig.send(third, &big(1));
    assert_eq!(rig.mail().len(), 1);
    assert_eq!(rig.shard.metrics.counter(Counter::LargeRequestsRejected), 1);
}

#[test]
fn a_throttled_request_waits_and_may_come_too_late() {
    let mut rig = Rig::with(|settings| {
        settings.request_throttle_max = 1;
        settings.throttled_op_wait_ms = 100;
    });
    let (first, second, third) = (rig.connect(), rig.connect(), rig.connect());
    rig.send(first, &delete_request(1, "/a"));
    rig.send(second, &[get_data(1, "/", false), ping()].concat());
    assert!(rig.output(second).is_empty() && !rig.shard.wants_input(second));
    rig.pass_ms(101);
    rig.send(third, &get_data(1, "/", false));
    rig.answer(first, ok(1));
    assert_eq!(heads(&rig.output(second)), [(1, -127), (-2, 0)]);
    assert_eq!(heads(&rig.output(third)), [(1, 0)]);
    assert!(rig.shard.wants_input(second));
}

#[test]
fn the_connection_throttle_refuses_handshakes() {
    let mut rig = Rig::with(|settings| {
        settings.connection_throttle = ConnectionThrottle { tokens: 1, fill_time_ms: 1000, ..Default::default() };
    });
    rig.connect();
    let conn = rig.accept();
    rig.send(conn, &handshake(SessionId::NONE, &[0; 16], 10_000));
    assert!(rig.is_closed(conn) && rig.mail().is_empty());
    assert_eq!(rig.shard.metrics.counter(Counter::ConnectionRejected), 1);
}

#[test]
fn a_full_line_waits_for_its_client_but_never_reads_the_future() {
    let mut rig = Rig::new();
    let conn = rig.connect();
    rig.commit(&create("/big", &vec![b'x'; 1_000_000]));
    let reads: Vec<u8> = (2..=50).flat_map(|xid| get_data(xid, "/big", false)).collect();
    rig.send(
        conn,
        &[delete_request(1, "/none"), reads, delete_request(51, "/big"), get_data(52, "/big", false)].concat(),
    );
    rig.answer(conn, ok(1));
    let served = frames(&rig.output(conn)).len();
    assert!((20..45).contains(&served), "{served}");
    rig.send(conn, &ping());
    let entry = rig.entry(SessionId(9), &delete("/big"), Some((conn, ok(51))));
    rig.deliver(vec![entry]);
    let output = rig.output(conn);
    let rest = frames(&output);
    assert_eq!(rest.len() + served, 53);
    let xids: Vec<i32> = rest.iter().map(|frame| frame.xid).collect();
    assert_eq!(xids, (served as i32 + 1..=52).chain([-2]).collect::<Vec<_>>());
    assert!(rest[..rest.len() - 3].iter().all(|frame| frame.body.len() > 1_000_000), "all see the znode");
    assert_eq!(rest[rest.len() - 2].error, -101, "but the read behind the deletion");
}

//! What reading a request and writing a reply cost, without anything around them.
//!
//! `cargo bench --bench codec`

use criterion::{Criterion, criterion_group, criterion_main};
use ringkeeper::base::{Stat, Xid, Zxid, open_acl};
use ringkeeper::codec::opcode::OpCode;
use ringkeeper::codec::reply::{self, EventKind, framed};
use ringkeeper::codec::request::{Request, RequestHeader};
use ringkeeper::codec::{Reader, Writer, frame};
use std::hint::black_box;
use std::time::Duration;

const DATA: [u8; 100] = [7; 100];
const PATH: &str = "/services/orders/instance-0000000042";

fn request(op: OpCode, record: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    framed(&mut bytes, |w| {
        w.i32(1);
        w.i32(op.code());
        record(w);
    });
    bytes
}

fn decode(bytes: &[u8]) -> Request<'_> {
    let (payload, _) = frame::cut(bytes, 1 << 20).unwrap().unwrap();
    let mut reader = Reader::new(payload);
    let header = RequestHeader::decode(&mut reader).unwrap();
    Request::decode(OpCode::from_i32(header.op).unwrap(), reader).unwrap()
}

fn requests(c: &mut Criterion) {
    let get = request(OpCode::GetData, |w| {
        w.string(PATH);
        w.bool(false);
    });
    let set = request(OpCode::SetData, |w| {
        w.string(PATH);
        w.buffer(Some(&DATA));
        w.i32(-1);
    });
    let create = request(OpCode::Create, |w| {
        w.string(PATH);
        w.buffer(Some(&DATA));
        w.acl(&open_acl());
        w.i32(0);
    });
    let multi = request(OpCode::Multi, |w| {
        for _ in 0..10 {
            reply::multi_header(w, OpCode::Check.code(), -1);
            w.string(PATH);
            w.i32(3);
        }
        reply::multi_end(w);
    });
    for (name, bytes) in [("getData", get), ("setData 100 B", set), ("create 100 B", create), ("multi of 10", multi)] {
        c.bench_function(&format!("request decode/{name}"), |b| {
            b.iter(|| black_box(decode(black_box(&bytes))));
        });
    }
}

fn replies(c: &mut Criterion) {
    let mut out = Vec::with_capacity(64 << 10);
    let names: Vec<String> = (0..1000).map(|number| format!("instance-{number:010}")).collect();
    let mut measure = |name: &str, encode: &dyn Fn(&mut Vec<u8>)| {
        c.bench_function(&format!("reply encode/{name}"), |b| {
            b.iter(|| {
                out.clear();
                encode(&mut out);
                black_box(&out);
            });
        });
    };
    let stat = Stat::default();
    measure("data 100 B and stat", &|out| {
        reply::reply(out, Xid(1), Zxid(2), None, |w| {
            w.buffer(Some(&DATA));
            w.stat(&stat);
        });
    });
    measure("1000 children", &|out| {
        reply::reply(out, Xid(1), Zxid(2), None, |w| {
            w.i32(names.len() as i32);
            names.iter().for_each(|name| w.string(name));
        });
    });
    measure("event", &|out| reply::event(out, Zxid(2), EventKind::NodeDataChanged, PATH));
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = requests, replies
}
criterion_main!(benches);

//! What the tree costs by itself, and what a whole shard makes of a pipelined read.
//!
//! `cargo bench --bench tree`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringkeeper::base::{Instant, Now, SessionId, ShardId, WallMs, Xid, Zxid, open_acl};
use ringkeeper::codec::opcode::OpCode;
use ringkeeper::codec::reply::framed;
use ringkeeper::codec::txn::{CreateKind, Txn, TxnHeader};
use ringkeeper::mail::{Answer, AnswerKind, Changes, Entry, ToReplica, ToShard};
use ringkeeper::shard::{Effects, Settings, Shard};
use ringkeeper::tree::{OwnerRules, Tree};
use std::borrow::Cow;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

const ZNODES: usize = 100_000;

struct World {
    tree: Tree,
    zxid: i64,
}

impl World {
    fn new() -> World {
        let mut world = World { tree: Tree::new(OwnerRules::default()), zxid: 0 };
        world.apply(&create("/n".into()));
        world.apply(&create("/list".into()));
        for number in 0..ZNODES {
            world.apply(&create(format!("/n/{number:08}")));
        }
        for number in 0..1000 {
            world.apply(&create(format!("/list/instance-{number:010}")));
        }
        world
    }

    fn apply(&mut self, txn: &Txn<'_>) -> Changes {
        self.zxid += 1;
        let header = TxnHeader { session: SessionId(1), cxid: Xid(1), zxid: Zxid(self.zxid), time: WallMs(1) };
        let mut changes = Changes::new();
        self.tree.apply(&header, txn, &mut changes).unwrap();
        changes
    }
}

fn create(path: String) -> Txn<'static> {
    Txn::Create {
        kind: CreateKind::Plain { two: false, ephemeral: false },
        path: Cow::Owned(path),
        data: Some(Cow::Borrowed(&[7; 100])),
        acl: Cow::Owned(open_acl().to_vec()),
        parent_cversion: -1,
    }
}

fn tree(c: &mut Criterion) {
    let mut world = World::new();
    let paths: Vec<String> = (0..ZNODES).map(|number| format!("/n/{number:08}")).collect();
    let mut next = 0;
    let mut step = || {
        next = (next + 7919) % ZNODES;
        next
    };
    c.bench_function("tree/get of 100k", |b| {
        b.iter(|| black_box(world.tree.get(&paths[step()]).unwrap().stat()));
    });
    c.bench_function("tree/setData 100 B", |b| {
        b.iter(|| {
            let (path, data) = (Cow::Borrowed(&paths[step()][..]), Some(Cow::Borrowed(&[8; 100][..])));
            black_box(world.apply(&Txn::SetData { path, data, version: 1 }))
        });
    });
    let (new, gone) = (create("/n/new".into()), Txn::Delete { path: "/n/new".into(), container: false });
    c.bench_function("tree/create and delete", |b| {
        b.iter(|| black_box((world.apply(&new), world.apply(&gone))));
    });
    c.bench_function("tree/list 1000 children", |b| {
        b.iter(|| {
            let node = world.tree.get("/list").unwrap();
            black_box(world.tree.children(&node).map(str::len).sum::<usize>())
        });
    });
}

/// A shard with one granted connection; what the driver would do is nothing but take the output.
fn shard(c: &mut Criterion) {
    const PIPELINED: usize = 128;
    let world = World::new();
    let now = Now { mono: Instant(1_000_000), wall: WallMs(1) };
    let settings = Settings::defaults(ShardId(0), 1, 2000);
    let mut shard = Shard::new(settings, world.tree.replicate(), Zxid(world.zxid), now.mono);
    let mut out = Effects::default();
    let conn = shard.on_accept("127.0.0.1:4000".parse().unwrap(), now, &mut out);
    let mut hello = Vec::new();
    framed(&mut hello, |w| {
        [0, 0, 0, 30_000, 0, 0].into_iter().for_each(|word| w.i32(word));
        w.buffer(Some(&[0; 16]));
    });
    shard.on_bytes(conn, &hello, now, &mut out);
    let Some(ToReplica::Connect(asked)) = out.mail.pop() else { panic!("a handshake goes to the replica") };
    let kind = AnswerKind::Granted { session: SessionId(5), timeout_ms: 30_000 };
    let answer = Some(Answer { to: asked.origin, kind });
    let granted: Arc<[Entry]> = Arc::new([Entry { zxid: Zxid(world.zxid), changes: Changes::new(), answer }]);
    shard.on_mail(ToShard::Batch(granted), now, &mut out);
    let mut requests = Vec::new();
    for number in 0..PIPELINED {
        framed(&mut requests, |w| {
            w.i32(number as i32);
            w.i32(OpCode::GetData.code());
            w.string(&format!("/n/{:08}", number * 613));
            w.bool(false);
        });
    }
    shard.output(conn).clear();
    let mut group = c.benchmark_group("shard");
    group.throughput(Throughput::Elements(PIPELINED as u64));
    group.bench_function("128 pipelined getData", |b| {
        b.iter(|| {
            shard.on_bytes(conn, black_box(&requests), now, &mut out);
            let output = shard.output(conn);
            assert!(output.len() > PIPELINED * 100, "every request is answered with its data");
            output.clear();
            out.dirty.clear();
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = tree, shard
}
criterion_main!(benches);

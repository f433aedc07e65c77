//! The read path takes nothing from the allocator: a shard is driven with the bytes of requests, and every allocation of the
//! thread is counted.

#[path = "support/wire.rs"]
mod wire;

use std::alloc::{GlobalAlloc, Layout, System};
use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;

use ringkeeper::base::{ConnId, Instant, Now, Origin, SessionId, ShardId, WallMs, Xid, Zxid, open_acl};
use ringkeeper::codec::opcode::OpCode;
use ringkeeper::codec::txn::{CreateKind, Txn, TxnHeader};
use ringkeeper::mail::{Answer, AnswerKind, Changes, Entry, ToShard};
use ringkeeper::shard::{Effects, Settings, Shard};
use ringkeeper::tree::{OwnerRules, Tree};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn note() {
    // A thread that ends may allocate when its counter is gone.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: everything is passed on to the system's allocator as it came; the counter does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note();
        unsafe { System.realloc(ptr, layout, new_size) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ZNODES: usize = 500;
const SHARD: ShardId = ShardId(0);

struct Rig {
    shard: Shard,
    out: Effects,
    now: Now,
    conn: ConnId,
}

impl Rig {
    /// A shard with some znodes, and a client on it.
    fn new() -> Rig {
        let now = Now { mono: Instant(1_000_000_000), wall: WallMs(1_700_000_000_000) };
        let mut tree = Tree::new(OwnerRules { extended_types: true, ..OwnerRules::default() });
        let mut zxid = Zxid::ZERO;
        for number in 0..ZNODES {
            zxid = zxid.next();
            let header = TxnHeader { session: SessionId(1), cxid: Xid(0), zxid, time: now.wall };
            let txn = Txn::Create {
                kind: CreateKind::Plain { two: false, ephemeral: false },
                path: path(number).into(),
                data: Some(Cow::Owned(vec![7; 100])),
                acl: Cow::Owned(open_acl().to_vec()),
                parent_cversion: -1,
            };
            tree.apply(&header, &txn, &mut Changes::new()).unwrap();
        }
        let mut shard = Shard::new(Settings::defaults(SHARD, 1, 2000), tree.replicate(), zxid, now.mono);
        let mut out = Effects::default();
        let conn = shard.on_accept("127.0.0.1:4000".parse().unwrap(), now, &mut out);
        let mut rig = Rig { shard, out, now, conn };
        rig.hear(&wire::handshake());
        let kind = AnswerKind::Granted { session: SessionId(0x0100_0000_0000_0001), timeout_ms: 10_000 };
        let answer = Some(Answer { to: Origin { shard: SHARD, conn }, kind });
        let entry = Entry { zxid, changes: Changes::new(), answer };
        rig.shard.on_mail(ToShard::Batch(Arc::from([entry])), now, &mut rig.out);
        assert_eq!(rig.take_reply(), 41);
        rig
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.shard.on_bytes(self.conn, bytes, self.now, &mut self.out);
        self.out.mail.clear();
        self.out.dirty.clear();
    }

    /// What the driver does when it has sent everything: the buffer stays.
    fn take_reply(&mut self) -> usize {
        let output = self.shard.output(self.conn);
        let length = output.len();
        output.clear();
        self.shard.on_flushed(self.conn, self.now, &mut self.out);
        length
    }
}

fn path(number: usize) -> String {
    format!("/znode-{number:04}")
}

/// A request without a watch for each of the znodes.
fn requests(op: OpCode, path: impl Fn(usize) -> String) -> Vec<Vec<u8>> {
    (0..ZNODES).map(|number| wire::read(number as i32, op, &path(number))).collect()
}

#[test]
fn reads_allocate_nothing() {
    let reads = [
        ("getData", requests(OpCode::GetData, path)),
        ("exists", requests(OpCode::Exists, path)),
        ("exists of what is not there", requests(OpCode::Exists, |number| format!("/other-{number}"))),
        ("getChildren2 of a leaf", requests(OpCode::GetChildren2, path)),
        (
            "ping",
            (0..ZNODES)
                .map(|_| {
                    wire::frame(|w| {
                        w.i32(-2);
                        w.i32(OpCode::Ping.code());
                    })
                })
                .collect(),
        ),
    ];
    let mut rig = Rig::new();
    for (what, requests) in &reads {
        let round = |rig: &mut Rig| {
            let before = ALLOCATIONS.get();
            let mut replied = 0;
            for request in requests {
                rig.hear(request);
                replied += rig.take_reply();
            }
            // Sixteen at once, as a busy client's arrive.
            for together in requests.chunks(16) {
                together.iter().for_each(|request| rig.hear(request));
                replied += rig.take_reply();
            }
            assert!(replied >= 2 * ZNODES * 20, "{what}: {replied} bytes of replies");
            ALLOCATIONS.get() - before
        };
        // Buffers grow to their size, metrics learn their names and fill their samples.
        for _ in 0..6 {
            round(&mut rig);
        }
        assert_eq!(round(&mut rig), 0, "allocations of 1000 x {what}");
    }
}

/// The counter counts.
#[test]
fn a_vector_is_an_allocation() {
    let before = ALLOCATIONS.get();
    assert_eq!(std::hint::black_box(vec![1_u8]).len(), 1);
    assert_eq!(ALLOCATIONS.get() - before, 1);
}

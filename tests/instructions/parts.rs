//! The parts of a read and of a write that can be had by themselves.

use std::borrow::Cow;
use std::hint::black_box;

use ringkeeper::base::{Id, SessionId, WallMs, Xid, Zxid, limits, open_acl};
use ringkeeper::codec::opcode::OpCode;
use ringkeeper::codec::reply;
use ringkeeper::codec::request::{Request, RequestHeader};
use ringkeeper::codec::txn::{self, CreateKind, Txn, TxnDigest, TxnHeader};
use ringkeeper::codec::{Reader, frame};
use ringkeeper::journal::{BatchId, DiskEffect, Journal, JournalPosition};
use ringkeeper::mail::Changes;
use ringkeeper::prep::{Judge, Rules};
use ringkeeper::tree::auth::AuthRules;
use ringkeeper::tree::{OwnerRules, Tree};

use super::meter;
use super::rig::{DATA, ZNODES, path, set_data};
use super::wire;

const COUNT: usize = 1024;

fn decode(bytes: &[u8]) -> Request<'_> {
    let (payload, _) = frame::cut(bytes, 1 << 20).unwrap().unwrap();
    let mut reader = Reader::new(payload);
    let header = RequestHeader::decode(&mut reader).unwrap();
    Request::decode(OpCode::from_i32(header.op).unwrap(), reader).unwrap()
}

/// The header of the transaction of that number, from 1.
fn header(number: usize) -> TxnHeader {
    TxnHeader { session: SessionId(1), cxid: Xid(1), zxid: Zxid(number as i64), time: WallMs(1_700_000_000_000) }
}

/// The replica's tree, as after so many creates.
fn planted() -> Tree {
    let mut tree = Tree::new(OwnerRules::default());
    let parents = ["/services", "/services/orders"].map(str::to_owned);
    for (number, path) in parents.into_iter().chain((0..ZNODES).map(path)).enumerate() {
        let txn = Txn::Create {
            kind: CreateKind::Plain { two: false, ephemeral: false },
            path: Cow::Owned(path),
            data: Some(Cow::Borrowed(&DATA)),
            acl: Cow::Owned(open_acl().to_vec()),
            parent_cversion: -1,
        };
        tree.apply(&header(number + 1), &txn, &mut Changes::new()).unwrap();
    }
    tree
}

pub fn count() {
    let tree = planted();
    let paths: Vec<String> = (0..COUNT).map(|number| path(number * 7)).collect();
    parts_of_a_read(&tree, &paths);
    parts_of_a_write(tree, &paths);
}

fn parts_of_a_read(tree: &Tree, paths: &[String]) {
    let requests: Vec<_> = paths.iter().map(|path| wire::read(1, OpCode::GetData, path)).collect();
    meter::count("part: getData cut and decoded", COUNT, || {
        for request in &requests {
            black_box(decode(black_box(request)));
        }
    });
    meter::count("part: znode looked up", COUNT, || {
        for path in paths {
            black_box(tree.get(black_box(path)).unwrap().data());
        }
    });
    let stats: Vec<_> = paths.iter().map(|path| tree.get(path).unwrap().stat()).collect();
    let mut out = Vec::with_capacity(1 << 20);
    meter::count("part: data and stat encoded", COUNT, || {
        for stat in &stats {
            reply::reply(&mut out, Xid(1), Zxid(2), None, |w| {
                w.buffer(Some(&DATA));
                w.stat(stat);
            });
        }
    });
    assert!(out.len() > COUNT * DATA.len());
}

fn parts_of_a_write(mut tree: Tree, paths: &[String]) {
    let requests: Vec<_> = paths.iter().map(|path| set_data(1, path, &DATA)).collect();
    let rules = Rules { auth: AuthRules::default(), extended_types: true, enforce_quota: false };
    let ids = [Id::new("world", "anyone")];
    let judge = Judge { tree: &tree, rules: &rules, ids: &ids, ephemerals: Ok(()) };
    let decoded: Vec<_> = requests.iter().map(|request| decode(request)).collect();
    meter::count("part: setData judged", COUNT, || {
        for request in &decoded {
            assert!(judge.judge(black_box(request)).unwrap().is_ok());
        }
    });
    let txns: Vec<Txn<'_>> = paths
        .iter()
        .map(|path| Txn::SetData { path: Cow::Borrowed(path), data: Some(Cow::Borrowed(&DATA)), version: 1 })
        .collect();
    meter::count("part: setData applied to the tree, digest", COUNT, || {
        for (number, txn) in txns.iter().enumerate() {
            let mut changes = Changes::new();
            tree.apply(&header(2 * ZNODES + number), txn, &mut changes).unwrap();
            black_box(changes);
        }
    });
    let digest = TxnDigest { version: txn::DIGEST_VERSION, tree: tree.digest() };
    let mut journal = Journal::new(JournalPosition::fresh(1, Zxid::ZERO), limits::SEGMENT_BYTES);
    land(&mut journal);
    let log = |journal: &mut Journal, first: usize| {
        for (number, txn) in txns.iter().enumerate() {
            let header = header(first + number + 1);
            journal.append(header.zxid, |record| txn::encode(record, &header, txn, Some(digest)));
        }
    };
    // A journal whose buffers have their size.
    log(&mut journal, 0);
    land(&mut journal);
    let mut effects = Vec::new();
    meter::count("part: record encoded, in a sealed batch of 1024", COUNT, || {
        log(&mut journal, COUNT);
        journal.next_batch(&mut effects);
    });
    assert!(batch_of(&mut journal, effects).is_some());
}

/// The disk writes what there is.
fn land(journal: &mut Journal) {
    loop {
        let mut effects = Vec::new();
        journal.next_batch(&mut effects);
        let prepares = effects.iter().any(|effect| matches!(effect, DiskEffect::PrepareSegment { .. }));
        match batch_of(journal, effects) {
            Some(batch) => drop(journal.landed(batch)),
            None if prepares => {}
            None => return,
        }
    }
}

fn batch_of(journal: &mut Journal, effects: Vec<DiskEffect>) -> Option<BatchId> {
    let mut written = None;
    for effect in effects {
        match effect {
            DiskEffect::PrepareSegment { segment, .. } => journal.segment_ready(segment),
            DiskEffect::WriteBatch(batch) => {
                written = Some(batch.id);
                journal.give_back(batch.bytes);
            }
            other => panic!("nothing else was asked for: {other:?}"),
        }
    }
    written
}

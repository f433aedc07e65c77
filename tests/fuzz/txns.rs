//! Transactions: whatever decodes encodes to the same again, and whatever applies leaves a tree that is true to itself.

use super::Target;
use super::dice::{Dice, join, split};
use super::wire;
use ringkeeper::base::{SessionId, WallMs, Xid, Zxid};
use ringkeeper::codec::txn::{self, CreateKind, Entry, Txn, TxnDigest, TxnHeader};
use ringkeeper::mail::Changes;
use ringkeeper::snapshot::{self, SnapshotHead, SnapshotWriter};
use ringkeeper::tree::{OwnerRules, Tree};
use std::borrow::Cow;

pub const TRANSACTIONS: Target = Target { name: "transactions", make, run };

const RESERVED: [&str; 2] = ["/zookeeper/quota", "/zookeeper/config"];

pub const RULES: OwnerRules = OwnerRules { extended_types: true, emulate_353: false };

/// A transaction that a log could hold, though it may not fit the tree.
pub fn transaction(dice: &mut Dice, may_nest: bool) -> Txn<'static> {
    let path = || -> Cow<'static, str> { Cow::Borrowed("") };
    let version = |dice: &mut Dice| if dice.one_in(4) { dice.number() as i32 } else { dice.below(3) as i32 };
    let mut txn = match dice.below(if may_nest { 14 } else { 9 }) {
        0..=3 => Txn::Create {
            kind: match dice.below(6) {
                0 => CreateKind::Container,
                1 => CreateKind::Ttl { ttl_ms: if dice.one_in(2) { dice.number() } else { 1000 } },
                _ => CreateKind::Plain { two: dice.one_in(2), ephemeral: dice.one_in(3) },
            },
            path: path(),
            data: if dice.one_in(5) { None } else { Some(Cow::Owned(data(dice))) },
            acl: Cow::Owned(wire::acl(dice)),
            parent_cversion: version(dice),
        },
        4 => Txn::Delete { path: path(), container: dice.one_in(5) },
        5 => Txn::SetData { path: path(), data: Some(Cow::Owned(data(dice))), version: version(dice) },
        6 => Txn::SetAcl { path: path(), acl: Cow::Owned(wire::acl(dice)), version: version(dice) },
        7 if !may_nest => Txn::Check { path: path(), version: version(dice) },
        7 => Txn::Reconfig { path: path(), data: Some(Cow::Owned(data(dice))), version: version(dice) },
        8 => Txn::Error { code: dice.number() as i32 },
        9 | 10 => Txn::Multi((0..dice.below(5)).map(|_| transaction(dice, false)).collect()),
        11 => Txn::CreateSession { timeout_ms: dice.number() as i32 },
        12 => Txn::CloseSession { ephemerals: None },
        _ => Txn::CloseSession { ephemerals: Some((0..dice.below(4)).map(|_| Cow::Borrowed(dice.path())).collect()) },
    };
    if let Txn::Create { path, .. }
    | Txn::Delete { path, .. }
    | Txn::SetData { path, .. }
    | Txn::SetAcl { path, .. }
    | Txn::Check { path, .. }
    | Txn::Reconfig { path, .. } = &mut txn
    {
        *path = Cow::Borrowed(dice.path());
    }
    txn
}

/// Sometimes a quota.
fn data(dice: &mut Dice) -> Vec<u8> {
    match dice.below(6) {
        0 => b"count=1,bytes=5".to_vec(),
        1 => b"count=-1,bytes=9223372036854775807;byteHardLimit=3;countHardLimit=-9".to_vec(),
        _ => dice.bytes(40),
    }
}

/// A log record's payload, with its zxid.
pub fn payload(dice: &mut Dice, zxid: i64) -> Vec<u8> {
    let session = SessionId(if dice.one_in(8) { dice.number() } else { 7 + dice.below(2) as i64 });
    let header = TxnHeader {
        session,
        cxid: Xid(3),
        zxid: Zxid(zxid),
        time: WallMs(if dice.one_in(9) { dice.number() } else { 1 }),
    };
    let digest = dice.one_in(3).then_some(TxnDigest { version: 2, tree: 5 });
    let mut bytes = Vec::new();
    txn::encode(&mut bytes, &header, &transaction(dice, true), digest);
    bytes
}

fn make(dice: &mut Dice) -> Vec<u8> {
    let mut payloads: Vec<Vec<u8>> = (1..2 + dice.below(12) as i64).map(|zxid| payload(dice, zxid)).collect();
    for payload in &mut payloads {
        match txn::decode(payload) {
            Ok(_) => {}
            Err(what) => panic!("{what}: {payload:02x?}"),
        }
        if dice.one_in(3) {
            dice.mutate(payload, 3);
        }
    }
    join(&payloads)
}

fn run(input: &[u8]) {
    let mut tree = Tree::new(RULES);
    let mut applied = 0;
    for payload in split(input) {
        let Ok(entry) = txn::decode(payload) else { continue };
        // Java's encoder has other bytes for characters beyond the basic plane (J-12): those do not come back.
        if !payload.iter().any(|byte| *byte >= 0xf0) && is_its_own_image(&entry.txn, true) {
            let mut again = Vec::new();
            txn::encode(&mut again, &entry.header, &entry.txn, entry.digest);
            let expected = Ok(Entry { txn: entry.txn.clone().into_owned(), ..entry.clone() });
            assert_eq!(txn::decode(&again), expected);
        }
        let mut changes = Changes::new();
        applied += usize::from(tree.apply(&entry.header, &entry.txn, &mut changes).is_ok());
    }
    assert_eq!(tree.digest(), tree.digest_from_scratch());
    if applied > 0 {
        comes_back(&mut tree);
    }
}

/// Some forms are read and never written: those of old logs.
fn is_its_own_image(txn: &Txn<'_>, is_top: bool) -> bool {
    match txn {
        Txn::CloseSession { ephemerals: None } => false,
        // Two empty paths are, to the byte, what a writer without lists leaves: a digest of version 2.
        Txn::CloseSession { ephemerals: Some(paths) } => is_top && paths.iter().all(|path| !path.is_empty()),
        Txn::Multi(ops) => ops.iter().all(|op| is_its_own_image(op, false)),
        _ => true,
    }
}

/// Through a snapshot and back.
fn comes_back(tree: &mut Tree) {
    let head = SnapshotHead {
        zxid: Zxid(1),
        wall: WallMs(1),
        digest: tree.digest(),
        max_session: SessionId::NONE,
        floor: Default::default(),
        journal: 0,
        epoch: 0,
    };
    let mut writer = SnapshotWriter::begin(&head, std::iter::empty(), tree.acls());
    tree.snapshot_begin();
    while tree.snapshot_next(100, &mut |node| writer.node(node)) {}
    let file = writer.finish();
    match snapshot::load(&file[..], RULES, 0) {
        Ok(loaded) => {
            assert_eq!(loaded.tree.digest(), tree.digest());
            // Reserved znodes that no judgement would have let go are planted again.
            let missing = RESERVED.iter().filter(|path| tree.get(path).is_none()).count();
            assert!((0..=missing).contains(&(loaded.tree.znode_count() - tree.znode_count())));
        }
        Err(error) => panic!("what was written is not read: {error}"),
    }
}

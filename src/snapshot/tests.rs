//! A snapshot comes back as it was, or not at all.

use super::*;
use crate::base::{Acl, Id, SessionId, WallMs, Xid};
use crate::codec::txn::{CreateKind, Txn, TxnHeader};
use crate::journal::SegmentId;
use crate::tree::{OwnerRules, Tree};
use std::borrow::Cow;

fn grow(tree: &mut Tree, count: i64, data: impl Fn(i64) -> Option<Vec<u8>>) {
    for number in 1..=count {
        let header = TxnHeader { session: SessionId(7), cxid: Xid(1), zxid: Zxid(number), time: WallMs(number) };
        let secret = [Acl { perms: 3, id: Id::new("digest", "u:\u{1f600}") }];
        let open = crate::base::open_acl();
        let txn = Txn::Create {
            kind: CreateKind::Plain { two: false, ephemeral: number % 5 == 0 },
            path: Cow::Owned(format!("/n{number}")),
            data: data(number).map(Cow::Owned),
            acl: Cow::Borrowed(if number % 3 == 0 { &secret[..] } else { &open[..] }),
            parent_cversion: number as i32,
        };
        tree.apply(&header, &txn, &mut Default::default()).expect("a create that fits");
    }
}

const SESSIONS: [(SessionId, i32); 2] = [(SessionId(7), 30_000), (SessionId(-3), 4_000)];

fn write(tree: &mut Tree) -> Vec<u8> {
    let head = SnapshotHead {
        zxid: Zxid(40),
        wall: WallMs(1),
        digest: tree.digest(),
        max_session: SessionId(99),
        floor: SegmentId(5),
        journal: 0xfeed,
        epoch: 3,
    };
    let mut writer = SnapshotWriter::begin(&head, SESSIONS.into_iter(), tree.acls());
    let mut file = Vec::new();
    tree.snapshot_begin();
    while tree.snapshot_next(3, &mut |node| writer.node(node)) {
        if writer.is_chunk_full() {
            file.extend(writer.take());
        }
    }
    file.extend(writer.finish());
    file
}

fn rules() -> OwnerRules {
    OwnerRules::default()
}

#[test]
fn what_was_written_is_loaded() {
    let mut tree = Tree::new(rules());
    grow(&mut tree, 40, |number| match number % 4 {
        0 => None,
        1 => Some(vec![]),
        2 => Some(vec![number as u8; 300_000]),
        _ => Some(vec![1, 2, 3]),
    });
    let file = write(&mut tree);
    let loaded = load(&file[..], rules(), 0).unwrap();
    assert_eq!((loaded.zxid, loaded.max_session, loaded.wall), (Zxid(40), SessionId(99), WallMs(1)));
    assert_eq!((loaded.floor, loaded.journal), (SegmentId(5), 0xfeed));
    let head = read_head(&file[..88]).unwrap();
    assert_eq!((head.zxid, head.floor, head.journal), (Zxid(40), SegmentId(5), 0xfeed));
    assert_eq!(loaded.sessions, SESSIONS);
    assert_eq!(loaded.digest, tree.digest());
    assert_eq!(loaded.tree.digest(), tree.digest());
    assert_eq!(loaded.tree.znode_count(), tree.znode_count());
    assert_eq!(loaded.tree.acls().count(), tree.acls().count());
    for number in 1..=40 {
        let path = format!("/n{number}");
        let (before, after) = (tree.get(&path).unwrap(), loaded.tree.get(&path).unwrap());
        assert_eq!((before.data(), before.stat(), before.acl()), (after.data(), after.stat(), after.acl()));
    }
    assert_eq!(loaded.tree.get("/").unwrap().stat(), tree.get("/").unwrap().stat());
}

#[test]
fn every_cut_and_every_flipped_byte_is_refused() {
    let mut tree = Tree::new(rules());
    grow(&mut tree, 6, |number| Some(vec![number as u8; 20]));
    let file = write(&mut tree);
    assert!(load(&file[..], rules(), 0).is_ok());
    for end in 0..file.len() {
        assert!(load(&file[..end], rules(), 0).is_err(), "cut at {end}");
        let mut bad = file.clone();
        bad[end] ^= 4;
        match load(&bad[..], rules(), 0) {
            Err(SnapshotError::Bad { offset, .. }) => assert!(offset <= end as u64),
            _ => panic!("the flipped byte {end} went unseen"),
        }
    }
    let longer = [&file[..], b"x"].concat();
    assert!(load(&longer[..], rules(), 0).is_err());
}

#[test]
fn chunks_of_two_snapshots_do_not_mix() {
    let mut tree = Tree::new(rules());
    grow(&mut tree, 6, |number| Some(vec![number as u8; 20]));
    let one = write(&mut tree);
    let header = TxnHeader { session: SessionId(7), cxid: Xid(1), zxid: Zxid(41), time: WallMs(50) };
    let txn = Txn::SetData { path: Cow::Borrowed("/n1"), data: Some(Cow::Borrowed(&[9; 20])), version: 1 };
    tree.apply(&header, &txn, &mut Default::default()).unwrap();
    let two = write(&mut tree);
    assert_eq!(one.len(), two.len());
    let mixed = [&one[..88], &two[88..]].concat();
    assert!(load(&mixed[..], rules(), 0).is_err());
}

#[test]
fn names_of_files_go_both_ways() {
    assert_eq!(file_name(Zxid(0x1_0000_0002)), "snapshot.0000000100000002");
    assert_eq!(zxid_of_file_name("snapshot.0000000100000002"), Some(Zxid(0x1_0000_0002)));
    assert_eq!(zxid_of_file_name("snapshot.100000002"), None);
    assert_eq!(zxid_of_file_name(".tmp-snapshot.0000000100000002"), None);
}

/// Snapshots of the first format are on disks already. One is made from one of today's: the header without what
/// was added, its checksum anew, and every chunk header's with it.
#[test]
fn the_first_format_is_still_read() {
    let mut tree = Tree::new(rules());
    grow(&mut tree, 6, |number| Some(vec![number as u8; 20]));
    let file = write(&mut tree);
    let put = |bytes: &mut [u8], at: usize, word: u32| bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    let mut old = [&file[..64], &file[80..]].concat();
    put(&mut old, 8, 1);
    let file_crc = crc32c::crc32c(&old[..68]);
    put(&mut old, 68, file_crc);
    let mut at = 72;
    while at < old.len() {
        let payload = u32::from_le_bytes(old[at + 12..at + 16].try_into().unwrap()) as usize;
        if old[at] == 4 {
            let end = u64::from_le_bytes(old[at + 24 + 16..at + 24 + 24].try_into().unwrap()) - 16;
            old[at + 24 + 16..at + 24 + 24].copy_from_slice(&end.to_le_bytes());
            let crc = crc32c::crc32c(&old[at + 24..]);
            put(&mut old, at + 16, crc);
        }
        let crc = crc32c::crc32c_append(file_crc, &old[at..at + 20]);
        put(&mut old, at + 20, crc);
        at += 24 + payload;
    }
    let loaded = load(&old[..], rules(), 0).unwrap();
    assert_eq!((loaded.zxid, loaded.floor, loaded.journal), (Zxid(40), SegmentId(0), 0));
    assert_eq!(loaded.tree.digest(), tree.digest());
    old[68] ^= 1;
    assert!(load(&old[..], rules(), 0).is_err());
}

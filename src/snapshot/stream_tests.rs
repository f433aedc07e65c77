//! A state goes over as Apache writes it, in whatever pieces, or it is refused.

use super::*;
use crate::base::{Acl, Id, SessionId, WallMs, Xid};
use crate::codec::hex;
use crate::codec::txn::{CreateKind, Txn, TxnHeader};
use crate::tree::{AclId, CONTAINER_OWNER, Meta, OwnerRules, SnapshotNode, Tree, Znode};

const MAX: usize = 1 << 20;
const SESSIONS: [(SessionId, i32); 2] = [(SessionId(7), 30_000), (SessionId(-3), 4_000)];

fn rules() -> OwnerRules {
    OwnerRules::default()
}

/// All of a tree, as chunks.
fn chunks(tree: &mut Tree) -> StreamChunks {
    let mut writer = StreamWriter::begin(SESSIONS.into_iter(), tree.acls());
    tree.snapshot_begin();
    while tree.snapshot_next(3, &mut |node| writer.node(node)) {}
    writer.finish()
}

fn stream(tree: &mut Tree) -> Vec<u8> {
    chunks(tree).flatten().collect()
}

fn run(tree: &mut Tree, zxid: i64, txn: &Txn<'_>) {
    let header = TxnHeader { session: SessionId(7), cxid: Xid(1), zxid: Zxid(zxid), time: WallMs(zxid) };
    tree.apply(&header, txn, &mut Default::default()).expect("a transaction that fits");
}

fn create<'a>(path: &'a str, data: Option<&'a [u8]>, ephemeral: bool, acl: &'a [Acl]) -> Txn<'a> {
    let kind = CreateKind::Plain { two: false, ephemeral };
    Txn::Create { kind, path: path.into(), data: data.map(Into::into), acl: acl.into(), parent_cversion: -1 }
}

/// Among it: null and empty data, an ephemeral, ACL lists, names beyond the first plane, and children in lower
/// slots than their parents.
fn grown() -> Tree {
    let mut tree = Tree::new(rules());
    let open = crate::base::open_acl();
    let secret = [Acl { perms: 3, id: Id::new("digest", "u:\u{1f600}") }, Acl { perms: 1, id: Id::new("ip", "") }];
    for (zxid, name) in (1..).zip(["/gone1", "/gone2", "/gone3"]) {
        run(&mut tree, zxid, &create(name, None, false, &open));
    }
    run(&mut tree, 4, &create("/parent", Some(b""), false, &secret));
    for (zxid, name) in (5..).zip(["/gone1", "/gone2", "/gone3"]) {
        run(&mut tree, zxid, &Txn::Delete { path: name.into(), container: false });
    }
    run(&mut tree, 8, &create("/parent/child", Some(b"data"), false, &open));
    run(&mut tree, 9, &create("/parent/child/e", None, true, &secret));
    run(&mut tree, 10, &create("/\u{e9}\u{1f600}", Some(&[0; 100]), false, &open));
    run(&mut tree, 11, &Txn::SetData { path: "/parent".into(), data: Some(b"x"[..].into()), version: 5 });
    tree
}

fn load_in(bytes: &[u8], piece: usize) -> Result<Loaded, SnapshotError> {
    let mut reader = StreamReader::new(rules(), MAX);
    let mut taken = 0;
    for piece in bytes.chunks(piece) {
        match reader.push(piece)? {
            Some(used) => {
                taken += used;
                break;
            }
            None => taken += piece.len(),
        }
    }
    assert!(!reader.is_finished() || taken == bytes.len());
    reader.into_loaded(Zxid(11), WallMs(1))
}

fn assert_same(loaded: &Loaded, tree: &Tree) {
    assert_eq!((loaded.zxid, loaded.wall), (Zxid(11), WallMs(1)));
    assert_eq!(loaded.sessions, SESSIONS);
    assert_eq!((loaded.digest, loaded.tree.digest()), (tree.digest(), tree.digest()));
    assert_eq!(loaded.tree.znode_count(), tree.znode_count());
    for path in ["/", "/parent", "/parent/child", "/parent/child/e", "/\u{e9}\u{1f600}", "/zookeeper/config"] {
        let (one, other) = (loaded.tree.get(path).unwrap(), tree.get(path).unwrap());
        assert_eq!((one.stat(), one.data(), one.acl()), (other.stat(), other.data(), other.acl()), "{path}");
    }
}

/// The checksum of header and content is that of the file Apache 3.8.0 accepted (spec: disk formats 9).
#[test]
fn a_fresh_tree_is_apaches_to_the_byte() {
    let tree = Tree::new(rules());
    let mut writer = StreamWriter::begin([].into_iter(), tree.acls());
    for path in ["/zookeeper/config", "/zookeeper/quota", "/zookeeper", "/"] {
        let node = tree.get(path).unwrap();
        let (znode, pzxid, cversion) = (node.znode(), node.pzxid(), node.stored_cversion());
        writer.node(SnapshotNode { znode, pzxid, cversion });
    }
    let bytes: Vec<u8> = writer.finish().flatten().collect();
    let (content, signature) = bytes.split_at(395);
    assert_eq!(signature, hex("0000000a 42656e57617348657265"));
    let file = [&hex("5a4b534e 00000002 ffffffffffffffff"), content].concat();
    assert_eq!(adler2::adler32_slice(&file), 0xb8a2_3b49);
}

#[test]
fn every_field_has_its_place() {
    let list: crate::base::AclList = [Acl { perms: 9, id: Id::new("ip", "::1") }].into();
    let mut writer = StreamWriter::begin([(SessionId(0xab), 30_000)].into_iter(), [(AclId(2), &list)].into_iter());
    let meta = Meta {
        czxid: Zxid(1),
        mzxid: Zxid(2),
        ctime: WallMs(3),
        mtime: WallMs(4),
        owner: CONTAINER_OWNER,
        version: 5,
        aversion: 6,
        acl: AclId(2),
    };
    let child = Znode::new(&meta, "/c", None);
    let root = Znode::new(&Meta::default(), "/", Some(b"d"));
    writer.node(SnapshotNode { znode: &child, pzxid: Zxid(7), cversion: 8 });
    writer.node(SnapshotNode { znode: &root, pzxid: Zxid(9), cversion: 10 });
    let bytes: Vec<u8> = writer.finish().flatten().collect();
    let expected = hex("00000001 00000000000000ab 00007530
        00000001 0000000000000002 00000001 00000009 00000002 6970 00000003 3a3a31
        00000000 00000001 64 ffffffffffffffff
            0000000000000000 0000000000000000 0000000000000000 0000000000000000 00000000 0000000a 00000000
            0000000000000000 0000000000000009
        00000002 2f63 ffffffff 0000000000000002
            0000000000000001 0000000000000002 0000000000000003 0000000000000004 00000005 00000008 00000006
            8000000000000000 0000000000000007
        00000001 2f 0000000a 42656e57617348657265");
    assert_eq!(bytes, expected);
    let loaded = load_in(&bytes, bytes.len()).unwrap();
    let child = loaded.tree.get("/c").unwrap();
    assert_eq!((child.znode().meta(), child.pzxid(), child.stored_cversion()), (meta, Zxid(7), 8));
    assert_eq!((child.data(), child.acl()), (None, &list[..]));
    assert_eq!(loaded.sessions, [(SessionId(0xab), 30_000)]);
}

#[test]
fn a_state_comes_back_from_pieces_of_any_size() {
    let mut tree = grown();
    let bytes = stream(&mut tree);
    for piece in (1..40).chain([bytes.len()]) {
        assert_same(&load_in(&bytes, piece).unwrap(), &tree);
    }
    for at in 0..=bytes.len() {
        let mut reader = StreamReader::new(rules(), MAX);
        let first = reader.push(&bytes[..at]).unwrap();
        assert_eq!(first, (at == bytes.len()).then_some(at));
        // What follows the state belongs to others.
        let rest = [&bytes[at..], b"packets"].concat();
        assert_eq!(reader.push(&rest).unwrap(), Some(bytes.len() - at), "split at {at}");
        assert_same(&reader.into_loaded(Zxid(11), WallMs(1)).unwrap(), &tree);
    }
    for at in 0..bytes.len() {
        assert!(load_in(&bytes[..at], MAX).is_err(), "{at} bytes are not all");
    }
}

#[test]
fn parents_go_before_their_children() {
    let bytes = stream(&mut grown());
    let place = |path: &str| {
        let text = [&(path.len() as u32).to_be_bytes()[..], path.as_bytes()].concat();
        bytes.windows(text.len()).position(|window| window == text).unwrap_or_else(|| panic!("{path}"))
    };
    let paths = ["/parent", "/parent/child", "/parent/child/e"].map(place);
    assert!(paths.is_sorted(), "{paths:?}");
    assert!(place("/zookeeper") < place("/zookeeper/quota"));
}

#[test]
fn chunks_are_of_a_size_and_the_walk_is_exact() {
    let mut tree = Tree::new(rules());
    let open = crate::base::open_acl();
    for zxid in 1..=20 {
        run(&mut tree, zxid, &create(&format!("/n{zxid}"), Some(&[7; 100_000]), false, &open));
    }
    let digest = tree.digest();
    let mut chunks = chunks(&mut tree);
    let first = chunks.next().unwrap();
    // The stream is what the walk saw, whatever comes while it is sent.
    run(&mut tree, 21, &Txn::Delete { path: "/n20".into(), container: false });
    run(&mut tree, 22, &Txn::SetData { path: "/n19".into(), data: None, version: 1 });
    let rest: Vec<_> = chunks.collect();
    assert!(rest.iter().chain([&first]).all(|chunk| chunk.len() < 400_000) && rest.len() >= 6);
    let bytes: Vec<u8> = [first].into_iter().chain(rest).flatten().collect();
    let loaded = load_in(&bytes, 65_536).unwrap();
    assert_eq!((loaded.digest, loaded.tree.digest_from_scratch()), (digest, digest));
}

/// Would take hours if what came so far were looked at again with every byte.
#[test]
fn a_large_znode_may_come_byte_by_byte() {
    let mut tree = Tree::new(rules());
    let open = crate::base::open_acl();
    run(&mut tree, 1, &create("/large", Some(&vec![1; MAX]), false, &open));
    let bytes = stream(&mut tree);
    let loaded = load_in(&bytes, 1).unwrap();
    assert_eq!(loaded.tree.get("/large").unwrap().data().map(<[u8]>::len), Some(MAX));
}

#[test]
fn lists_that_mean_open_to_all_lose_their_number_and_missing_ones_are_borne() {
    let open = crate::base::open_acl();
    let empty: crate::base::AclList = [].into();
    let mut writer = StreamWriter::begin([].into_iter(), [(AclId(5), &open), (AclId(6), &empty)].into_iter());
    for (path, acl) in [("/", 5), ("/a", 9)] {
        let znode = Znode::new(&Meta { acl: AclId(acl), ..Meta::default() }, path, None);
        writer.node(SnapshotNode { znode: &znode, pzxid: Zxid::ZERO, cversion: 0 });
    }
    let bytes: Vec<u8> = writer.finish().flatten().collect();
    let loaded = load_in(&bytes, 3).unwrap();
    assert_eq!(loaded.tree.get("/").unwrap().acl_id(), AclId::OPEN);
    assert_eq!(loaded.tree.get("/a").unwrap().acl()[0].perms, 0);
    assert_eq!(loaded.sessions, []);
}

#[test]
fn hostile_bytes_are_refused_as_soon_as_they_are_seen() {
    let verdict = |text: &str| StreamReader::new(rules(), 8).push(&hex(text)).map_err(|error| error.to_string());
    for bad in [
        "ffffffff",
        "80000000",
        "00000000 ffffffff",
        // An ACL id nobody gives.
        "00000000 00000001 0000000000000000 00000000",
        "00000000 00000001 0000000100000000 00000000",
        "00000000 00000001 0000000000000001 00000001 00000000 00000009",
        "00000000 00000001 0000000000000001 00000001 00000000 ffffffff",
        // Paths and data.
        "00000000 00000000 ffffffff",
        "00000000 00000000 fffffffe",
        "00000000 00000000 00000009",
        "00000000 00000000 7fffffff",
        "00000000 00000000 00000000 00000009",
        "00000000 00000000 00000000 80000000",
        // What stands behind the last znode.
        "00000000 00000000 00000001 2f ffffffff",
        "00000000 00000000 00000001 2f 00000008 42656e5761734865",
        "00000000 00000000 00000001 2f 0000000a",
    ] {
        assert!(verdict(bad).is_err(), "{bad}");
    }
    assert_eq!(verdict("7fffffff 00000000000000ab 00007530"), Ok(None), "a count is a claim");
    assert_eq!(verdict("00000000 7fffffff 0000000000000001 7fffffff"), Ok(None));
    assert_eq!(verdict("00000000 00000000 00000000 00000008"), Ok(None));
    // No root.
    let mut reader = StreamReader::new(rules(), 16);
    let bytes = hex("00000000 00000000 00000001 2f 0000000a 42656e57617348657265");
    assert_eq!(reader.push(&bytes).unwrap(), Some(bytes.len()));
    assert!(reader.into_loaded(Zxid(1), WallMs(1)).is_err());
    // The file's form ends with the path.
    assert_eq!(StreamReader::within_file(rules(), 8).push(&bytes).unwrap(), Some(13));
}

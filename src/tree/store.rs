//! The tree itself and everything that only reads it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use smallvec::SmallVec;

use super::acl_table::AclTable;
use super::digest::Digests;
use super::edit::Undo;
use super::names::{Names, PathHash};
use super::slab::{Family, NIL, ROOT, Slab, Slot};
use super::walk::Walk;
use super::znode::{AclId, Meta, OwnerRules, Znode, ZnodeKind, text};
use crate::base::{Acl, AclList, Id, Perms, SessionId, Stat, WallMs, Zxid, path};

/// One core's index over the shared znodes. ZK: DataTree.
pub struct Tree {
    pub(super) rules: OwnerRules,
    pub(super) slab: Slab,
    pub(super) names: Names,
    /// The slot found last. A write is judged, applied and answered with one path, so the next question is often the
    /// same; comparing paths is cheaper than hashing one. Never trusted without that comparison.
    found: Cell<u32>,
    pub(super) acls: AclTable,
    pub(super) ephemerals: BTreeMap<SessionId, BTreeSet<u32>>,
    pub(super) ephemeral_count: usize,
    /// Containers and TTL nodes: what the reaper looks at.
    pub(super) mortals: BTreeSet<u32>,
    /// Paths with a limits node; only the replica's tree keeps them.
    pub(super) quotas: BTreeSet<Box<str>>,
    /// Bytes of all paths and data.
    pub(super) bytes: u64,
    pub(super) digests: Digests,
    /// A shard's copy: it keeps no digest, no quota paths, no count of an ACL list's users.
    pub(super) follows: bool,
    pub(super) undo: Undo,
    pub(super) walk: Option<Walk>,
}

impl Tree {
    /// The tree of a server that never saw a transaction (parity ZN-31, ZN-32).
    pub fn new(rules: OwnerRules) -> Tree {
        let mut tree = Tree::empty(rules);
        tree.plant(&Znode::new(&Meta::default(), "/", Some(b"")));
        tree.plant(&Znode::new(&Meta::default(), path::ZOOKEEPER, Some(b"")));
        tree.plant(&Znode::new(&Meta::default(), path::QUOTA, Some(b"")));
        tree.plant_config();
        tree
    }

    /// Without even a root.
    pub(super) fn empty(rules: OwnerRules) -> Tree {
        Tree {
            rules,
            slab: Slab::new(),
            names: Names::new(),
            found: Cell::new(ROOT),
            acls: AclTable::new(),
            ephemerals: BTreeMap::new(),
            ephemeral_count: 0,
            mortals: BTreeSet::new(),
            quotas: BTreeSet::new(),
            bytes: 0,
            digests: Digests::default(),
            follows: false,
            undo: Undo::default(),
            walk: None,
        }
    }

    /// Puts in a znode that no transaction made; its parent is there, its stat untouched.
    pub(super) fn plant(&mut self, node: &Znode) {
        let hash = PathHash::of(node.path_bytes());
        let parent = path::parent(node.path()).map_or(NIL, |p| self.slot_of(p).expect("planted from the root on"));
        self.link(hash, node.clone(), Zxid::ZERO, 0, parent);
    }

    pub(super) fn plant_config(&mut self) {
        let readable = [Acl { perms: Perms::READ, id: Id::new("world", "anyone") }];
        let acl = self.use_acl(&readable, &mut Default::default());
        self.plant(&Znode::new(&Meta { aversion: -1, acl, ..Meta::default() }, path::CONFIG, Some(b"")));
    }

    /// A shard's copy: the same payloads under an index of its own. The names are copied; the slots are shared as long as neither
    /// tree changes them. Takes some 10 ns a znode.
    ///
    /// # Panics
    /// While a savepoint is open: what may yet be undone must not be copied.
    pub fn replicate(&self) -> Tree {
        assert!(!self.undo.is_open(), "copying a tree inside a savepoint");
        Tree {
            rules: self.rules,
            slab: self.slab.clone(),
            names: self.names.clone(),
            found: Cell::new(ROOT),
            acls: self.acls.clone(),
            ephemerals: self.ephemerals.clone(),
            ephemeral_count: self.ephemeral_count,
            mortals: self.mortals.clone(),
            quotas: BTreeSet::new(),
            bytes: self.bytes,
            digests: Digests::default(),
            follows: true,
            undo: Undo::default(),
            walk: None,
        }
    }

    /// Changes nothing and answers nothing: the paths that will be looked up soon, so that what the looks need is in the
    /// processor's caches by then.
    pub fn foresee<'a>(&self, paths: impl Iterator<Item = &'a [u8]>) {
        let sought: SmallVec<[_; 256]> = paths.map(|path| (PathHash::of(path), path)).collect();
        self.names.foresee(&self.slab, &sought);
    }

    pub(super) fn find(&self, path: &[u8], hash: PathHash) -> Option<u32> {
        if path == b"/" { Some(ROOT) } else { self.look_up(path, || hash) }
    }

    fn look_up(&self, path: &[u8], hash: impl FnOnce() -> PathHash) -> Option<u32> {
        let last = self.found.get();
        if self.slab.at(last).node.as_ref().is_some_and(|node| node.path_bytes() == path) {
            return Some(last);
        }
        let slot = self.names.find(&self.slab, hash(), path)?;
        self.found.set(slot);
        Some(slot)
    }

    /// The slot of a path; "" is the root too.
    pub(super) fn slot_of(&self, path: &str) -> Option<u32> {
        self.slot_of_bytes(path.as_bytes())
    }

    /// As [`Tree::slot_of`]; the path of a znode is not looked at as text for it.
    pub(super) fn slot_of_bytes(&self, path: &[u8]) -> Option<u32> {
        if path.is_empty() || path == b"/" {
            return Some(ROOT);
        }
        self.look_up(path, || PathHash::of(path))
    }

    fn node_at(&self, slot: u32) -> Node<'_> {
        let slot = self.slab.at(slot);
        Node { tree: self, znode: slot.znode(), family: self.slab.family(slot) }
    }

    /// The znode at `path`, borrowed. "" is an alias of "/".
    pub fn get(&self, path: &str) -> Option<Node<'_>> {
        self.slot_of(path).map(|slot| self.node_at(slot))
    }

    /// The znode now at the path of this version of it, borrowed.
    pub fn current(&self, version: &Znode) -> Option<Node<'_>> {
        self.slot_of_bytes(version.path_bytes()).map(|slot| self.node_at(slot))
    }

    /// The names (not the paths) of a znode's children, the newest first.
    pub fn children<'a>(&'a self, node: &Node<'a>) -> impl Iterator<Item = &'a str> + use<'a> {
        let prefix = name_start(node.znode);
        self.slots_from(node.family.first_child).map(move |slot| text(&slot.znode().path_bytes()[prefix..]))
    }

    /// A list of siblings.
    fn slots_from(&self, first: u32) -> impl Iterator<Item = &Slot> {
        let mut next = first;
        std::iter::from_fn(move || {
            let slot = (next != NIL).then(|| self.slab.at(next))?;
            next = slot.next;
            Some(slot)
        })
    }

    /// Every slot below `top`, parents first; `top` itself is not among them.
    pub(super) fn below(&self, top: u32) -> impl Iterator<Item = u32> {
        let mut at = top;
        std::iter::from_fn(move || {
            let child = self.slab.family(self.slab.at(at)).first_child;
            if child != NIL {
                at = child;
                return Some(at);
            }
            while at != top {
                let slot = self.slab.at(at);
                if slot.next != NIL {
                    at = slot.next;
                    return Some(at);
                }
                at = slot.parent;
            }
            None
        })
    }

    /// All znodes below this one. Takes time in proportion to the answer, except for the root.
    pub fn descendant_count(&self, node: &Node<'_>) -> usize {
        let slot = self.slot_of(node.path()).expect("a node of this tree");
        if slot == ROOT { self.slab.live() - 1 } else { self.below(slot).count() }
    }

    /// Paths of a session's ephemerals, sorted.
    pub fn ephemerals_of(&self, session: SessionId) -> impl Iterator<Item = &str> {
        let slots = self.ephemerals.get(&session);
        let mut paths: Vec<&str> = slots.into_iter().flatten().map(|slot| self.slab.at(*slot).znode().path()).collect();
        paths.sort_unstable();
        paths.into_iter()
    }

    /// Sessions that own a znode, sorted.
    pub fn sessions_with_ephemerals(&self) -> impl Iterator<Item = SessionId> {
        self.ephemerals.keys().copied()
    }

    /// As ZooKeeper counts: the root is there twice (parity ZN-29).
    pub fn znode_count(&self) -> usize {
        self.slab.live() + 1
    }

    /// Bytes of paths and data, as ZooKeeper's gauge has them; 44 on a fresh tree.
    pub fn approximate_data_size(&self) -> u64 {
        self.bytes
    }

    pub fn ephemeral_count(&self) -> usize {
        self.ephemeral_count
    }

    /// The tree digest (spec: disk formats 5). Only the replica's tree has one; a shard's copy says 0.
    pub fn digest(&self) -> i64 {
        self.digests.sum()
    }

    /// Memory of this tree's index in bytes, also of what a copy shares with it; payloads are not counted.
    pub fn index_memory(&self) -> usize {
        self.slab.memory() + self.names.memory() + self.digests.memory()
    }

    pub fn rules(&self) -> OwnerRules {
        self.rules
    }

    /// The ACL lists in use but for the open one.
    pub fn acls(&self) -> impl Iterator<Item = (AclId, &AclList)> {
        self.acls.iter()
    }

    /// The list an id stands for. An unknown id stands for a list that allows nothing.
    pub fn acl_list(&self, id: AclId) -> &AclList {
        self.acls.list(id)
    }

    /// Containers and TTL nodes whose time has come, sorted (parity ZN-45, ZN-46). `never_used_ms` is how
    /// old a container without a first child may grow; `None` is for ever. Judged again before deletion.
    pub fn reapable(&self, wall: WallMs, never_used_ms: Option<i64>) -> Vec<Box<str>> {
        let due = |slot: &Slot| {
            let node = slot.znode();
            let family = self.slab.family(slot);
            let age_ms = wall.0.saturating_sub(node.mtime().0);
            family.num_children == 0
                && match node.kind(self.rules) {
                    ZnodeKind::Container if family.cversion > 0 => true,
                    ZnodeKind::Container => never_used_ms.is_some_and(|limit_ms| age_ms > limit_ms),
                    ZnodeKind::Ttl(ttl_ms) => ttl_ms != 0 && age_ms > ttl_ms,
                    ZnodeKind::Persistent | ZnodeKind::Ephemeral(_) => false,
                }
        };
        let slots = self.mortals.iter().map(|slot| self.slab.at(*slot));
        let mut paths: Vec<Box<str>> = slots.filter(|slot| due(slot)).map(|slot| slot.znode().path().into()).collect();
        paths.sort_unstable();
        paths
    }
}

/// Where the names of a znode's children start in their paths.
fn name_start(parent: &Znode) -> usize {
    match parent.path_bytes().len() {
        1 => 1,
        length => length + 1,
    }
}

/// A znode in its place, borrowed from a tree.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    tree: &'a Tree,
    znode: &'a Znode,
    family: Family,
}

impl<'a> Node<'a> {
    pub fn path(&self) -> &'a str {
        self.znode.path()
    }

    pub fn data(&self) -> Option<&'a [u8]> {
        self.znode.data()
    }

    pub fn znode(&self) -> &'a Znode {
        self.znode
    }

    pub fn acl_id(&self) -> AclId {
        self.znode.acl_id()
    }

    pub fn acl(&self) -> &'a [Acl] {
        self.tree.acls.list(self.acl_id())
    }

    pub fn kind(&self) -> ZnodeKind {
        self.znode.kind(self.tree.rules)
    }

    pub fn pzxid(&self) -> Zxid {
        self.family.pzxid
    }

    /// Child creations ever; the next sequential child gets this number (parity ZN-24).
    pub fn stored_cversion(&self) -> i32 {
        self.family.cversion
    }

    pub fn num_children(&self) -> usize {
        self.family.num_children as usize
    }

    /// As clients see it (parity ZN-08, ZN-11).
    pub fn stat(&self) -> Stat {
        let family = self.family;
        let Meta { czxid, mzxid, ctime, mtime, version, aversion, .. } = self.znode.meta();
        Stat {
            czxid,
            mzxid,
            ctime,
            mtime,
            version,
            cversion: family.cversion.wrapping_mul(2).wrapping_sub(family.num_children as i32),
            aversion,
            ephemeral_owner: match self.kind() {
                ZnodeKind::Ephemeral(session) => session,
                _ => SessionId::NONE,
            },
            data_length: self.znode.data_len() as i32,
            num_children: family.num_children as i32,
            pzxid: family.pzxid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Xid;
    use crate::codec::txn::{CreateKind, Txn, TxnHeader};

    #[test]
    fn a_fresh_tree_is_what_zookeeper_has() {
        let tree = Tree::new(OwnerRules::default());
        assert_eq!((tree.znode_count(), tree.approximate_data_size(), tree.ephemeral_count()), (5, 44, 0));
        let root = tree.get("").unwrap();
        assert_eq!((root.path(), root.stat().cversion, root.data()), ("/", -1, Some(&b""[..])));
        assert_eq!(tree.get("/zookeeper").unwrap().stat().cversion, -2);
        assert_eq!(tree.descendant_count(&root), 3);
        let config = tree.get("/zookeeper/config").unwrap();
        assert_eq!((config.stat().aversion, config.acl()[0].perms), (-1, Perms::READ));
        assert!(tree.get("/nope").is_none() && tree.get("zookeeper").is_none() && tree.get("//").is_none());
    }

    #[test]
    fn a_further_tree_costs_at_most_forty_bytes_a_znode() {
        fn sendable<T: Send>(_: &T) {}
        // Just past the point where the tables have doubled: the worst there is.
        for count in [60_000, 120_000] {
            let mut loader = Tree::loader(OwnerRules::default());
            loader.node(Znode::new(&Meta::default(), "/", None), Zxid::ZERO, 0);
            for n in 0..count {
                loader.node(Znode::new(&Meta::default(), &format!("/{n:09}"), None), Zxid::ZERO, 0);
            }
            let tree = loader.finish(0).unwrap();
            let copy = tree.replicate();
            sendable(&copy);
            assert_eq!(copy.get("/").unwrap().num_children(), count);
            let each = copy.index_memory() as f64 / count as f64;
            assert!(each <= 40.0, "{each} bytes at {count}");
        }
    }

    #[test]
    fn what_is_foreseen_may_be_anything() {
        let mut tree = Tree::new(OwnerRules::default());
        tree.foresee([&b""[..], b"/", b"/a", &[0xff; 3000]].into_iter());
        let header = TxnHeader { session: SessionId(1), cxid: Xid(0), zxid: Zxid(1), time: WallMs(1) };
        let kind = CreateKind::Plain { two: false, ephemeral: false };
        let txn = Txn::Create { kind, path: "/a".into(), data: None, acl: vec![].into(), parent_cversion: 1 };
        tree.apply(&header, &txn, &mut Default::default()).unwrap();
        let digest = tree.digest();
        tree.foresee([&b"/a"[..], b"/b", b"/a"].into_iter());
        assert_eq!(tree.digest(), digest);
    }

    #[test]
    fn the_reaper_is_shown_containers_and_ttl_nodes_whose_time_has_come() {
        let mut tree = Tree::new(OwnerRules { extended_types: true, emulate_353: false });
        let mut run = |zxid, txn: Txn<'_>| {
            let time = WallMs(1000);
            let header = TxnHeader { session: SessionId(1), cxid: Xid(0), zxid: Zxid(zxid), time };
            tree.apply(&header, &txn, &mut Default::default()).unwrap();
        };
        let create = |path: &'static str, kind, parent_cversion| Txn::Create {
            kind,
            path: path.into(),
            data: None,
            acl: vec![].into(),
            parent_cversion,
        };
        let plain = CreateKind::Plain { two: false, ephemeral: false };
        run(1, create("/used", CreateKind::Container, 1));
        run(2, create("/used/x", plain, 1));
        run(3, create("/never", CreateKind::Container, 2));
        run(4, create("/ttl", CreateKind::Ttl { ttl_ms: 50 }, 3));
        run(5, create("/long", CreateKind::Ttl { ttl_ms: 500 }, 4));
        run(6, create("/full", CreateKind::Ttl { ttl_ms: 50 }, 5));
        run(7, create("/full/x", plain, 1));
        assert_eq!(tree.reapable(WallMs(1050), None), []);
        assert_eq!(tree.reapable(WallMs(1051), None), ["/ttl".into()]);
        assert_eq!(tree.reapable(WallMs(1051), Some(50)), ["/never".into(), "/ttl".into()]);
        assert_eq!(tree.get("/ttl").unwrap().stat().ephemeral_owner, SessionId::NONE);
        let header = TxnHeader { session: SessionId(1), cxid: Xid(0), zxid: Zxid(8), time: WallMs(1000) };
        let gone = Txn::Delete { path: "/used/x".into(), container: false };
        tree.apply(&header, &gone, &mut Default::default()).unwrap();
        assert_eq!(tree.reapable(WallMs(0), None), ["/used".into()]);
    }
}

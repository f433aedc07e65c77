//! A transaction becomes changes: the replica's way of moving its tree on.
//!
//! Every rule must also hold when a transaction is replayed over a tree that already shows it or a later
//! one (a fuzzy snapshot, spec: disk formats 4): what is there already is left or raised, never lowered,
//! and what is missing is reported but harms nothing.

use smallvec::SmallVec;

use super::change::Change;
use super::names::PathHash;
use super::slab::{NIL, ROOT};
use super::store::Tree;
use super::znode::{CONTAINER_OWNER, Meta, Znode, ttl_owner};
use super::{AclId, quota};
use crate::base::{Acl, ErrorCode, Zxid, path};
use crate::codec::txn::{CreateKind, Txn, TxnHeader};

type Changes = SmallVec<[Change; 2]>;

impl Tree {
    /// Plans and applies one transaction, pushing what happened for the shards to follow.
    ///
    /// The transaction was judged before it was logged, so live it cannot fail. Errors (`NoNode`,
    /// `NodeExists`) are for replay, which ignores them: a fuzzy snapshot may be ahead of its log. A multi
    /// goes on after such an error and reports the first; a multi with a failed slot applies nothing.
    pub fn apply(&mut self, header: &TxnHeader, txn: &Txn<'_>, changes: &mut Changes) -> Result<(), ErrorCode> {
        assert!(!self.follows, "a shard's copy follows changes");
        match txn {
            Txn::Create { kind, path, data, acl, parent_cversion } => {
                self.create(header, *kind, path, data.as_deref(), acl, *parent_cversion, changes)
            }
            Txn::Delete { path, .. } => self.delete(header.zxid, path, changes),
            Txn::SetData { path, data, version } | Txn::Reconfig { path, data, version } => {
                self.set_data(header, path, data.as_deref(), *version, changes)
            }
            Txn::SetAcl { path, acl, version } => self.set_acl(path, acl, *version, changes),
            Txn::Multi(_) if txn.is_failed_multi() => Ok(()),
            Txn::Multi(ops) => {
                let mut outcome = Ok(());
                for op in ops {
                    outcome = outcome.and(self.apply(header, op, changes));
                }
                outcome
            }
            Txn::CreateSession { timeout_ms } => {
                changes.push(Change::SessionOpened { session: header.session, timeout_ms: *timeout_ms });
                Ok(())
            }
            Txn::CloseSession { ephemerals } => {
                // ZK: DataTree.killSession - first the listed ones, then whatever is left.
                for path in ephemerals.iter().flatten() {
                    // Missing is fine (parity SE-32).
                    let _ = self.delete(header.zxid, path, changes);
                }
                let left: Vec<Box<str>> = self.ephemerals_of(header.session).map(Box::from).collect();
                for path in left {
                    let _ = self.delete(header.zxid, &path, changes);
                }
                changes.push(Change::SessionClosed { session: header.session });
                Ok(())
            }
            Txn::Check { .. } | Txn::Error { .. } => Ok(()),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one transaction")]
    fn create(
        &mut self,
        header: &TxnHeader,
        kind: CreateKind,
        path: &str,
        data: Option<&[u8]>,
        acl: &[Acl],
        parent_cversion: i32,
        changes: &mut Changes,
    ) -> Result<(), ErrorCode> {
        let path = if path.is_empty() { "/" } else { path };
        if path == "/" {
            return Err(ErrorCode::NodeExists);
        }
        let parent = path::parent(path).and_then(|parent| self.slot_of(parent)).ok_or(ErrorCode::NoNode)?;
        let (pzxid, cversion) = self.raised(parent, parent_cversion, header.zxid);
        let hash = PathHash::of(path.as_bytes());
        if let Some(slot) = self.find(path.as_bytes(), hash) {
            self.set_stat(parent, pzxid, cversion);
            // Its list may be missing from the snapshot's table, or its id may have been another list's.
            let aversion = self.slab.at(slot).znode().aversion();
            self.put_acl(slot, acl, aversion, changes);
            return Err(ErrorCode::NodeExists);
        }
        let owner = match kind {
            CreateKind::Plain { ephemeral: false, .. } => 0,
            CreateKind::Plain { ephemeral: true, .. } => header.session.0,
            CreateKind::Container => CONTAINER_OWNER,
            CreateKind::Ttl { ttl_ms } => ttl_owner(ttl_ms),
        };
        let acl = self.use_acl(acl, changes);
        let meta = Meta {
            czxid: header.zxid,
            mzxid: header.zxid,
            ctime: header.time,
            mtime: header.time,
            owner,
            version: 0,
            aversion: 0,
            acl,
        };
        let node = Znode::new(&meta, path, data);
        self.set_stat(parent, pzxid, cversion);
        self.link(hash, node.clone(), header.zxid, 0, parent);
        changes.push(Change::Insert { node, parent_cversion: cversion, parent_pzxid: pzxid });
        if path.starts_with(quota::PREFIX) {
            self.quota_node_created(path, changes);
        }
        self.count_usage(path, 1, data.map_or(0, |data| data.len() as i64), changes);
        Ok(())
    }

    /// A parent's pzxid and cversion after a child's creation: raised together or not at all (ZOOKEEPER-3249).
    fn raised(&self, parent: u32, parent_cversion: i32, zxid: Zxid) -> (Zxid, i32) {
        let family = self.slab.family(self.slab.at(parent));
        let cversion = if parent_cversion == -1 { family.cversion.wrapping_add(1) } else { parent_cversion };
        // Wrapping, because the count goes on through i32::MAX (parity ZN-26).
        if cversion.wrapping_sub(family.cversion) > 0 {
            (family.pzxid.max(zxid), cversion)
        } else {
            (family.pzxid, family.cversion)
        }
    }

    fn delete(&mut self, zxid: Zxid, path: &str, changes: &mut Changes) -> Result<(), ErrorCode> {
        let Some(slot) = self.slot_of(path) else {
            // ZOOKEEPER-3125: the parent must learn of the deletion even if it does not show.
            let parent = path::parent(path).and_then(|parent| self.slot_of(parent)).ok_or(ErrorCode::NoNode)?;
            self.raise_pzxid(parent, zxid);
            return Err(ErrorCode::NoNode);
        };
        if slot == ROOT {
            return Err(ErrorCode::BadArguments);
        }
        // Live, a deleted znode has no children. In a fuzzy snapshot it may be a later one of that name, with
        // children; the log goes on to create all of them again.
        while let Some(leaf) = self.first_leaf_below(slot) {
            self.remove_leaf(leaf, zxid, changes);
        }
        self.remove_leaf(slot, zxid, changes);
        Ok(())
    }

    fn first_leaf_below(&self, slot: u32) -> Option<u32> {
        let first = |slot| Some(self.slab.family(self.slab.at(slot)).first_child).filter(|child| *child != NIL);
        std::iter::successors(first(slot), |child| first(*child)).last()
    }

    fn remove_leaf(&mut self, slot: u32, zxid: Zxid, changes: &mut Changes) {
        let parent = self.slab.at(slot).parent;
        self.raise_pzxid(parent, zxid);
        let node = self.unlink(slot);
        let parent_pzxid = self.slab.family(self.slab.at(parent)).pzxid;
        changes.push(Change::Remove { node: node.clone(), parent_pzxid });
        self.drop_acl(node.acl_id(), changes);
        if self.quotas.is_empty() {
            return;
        }
        let path = node.path();
        if let Some(limited) = quota::limited_path(path) {
            self.remove_quota(limited);
        }
        self.count_usage(path, -1, -(node.data_len() as i64), changes);
    }

    fn raise_pzxid(&mut self, slot: u32, zxid: Zxid) {
        let family = self.slab.family(self.slab.at(slot));
        self.set_stat(slot, family.pzxid.max(zxid), family.cversion);
    }

    fn set_data(
        &mut self,
        header: &TxnHeader,
        path: &str,
        data: Option<&[u8]>,
        version: i32,
        changes: &mut Changes,
    ) -> Result<(), ErrorCode> {
        let slot = self.slot_of(path).ok_or(ErrorCode::NoNode)?;
        let old = self.slab.at(slot).znode();
        let grown = data.map_or(0, |data| data.len() as i64) - old.data_len() as i64;
        let meta = Meta { version, mzxid: header.zxid, mtime: header.time, ..old.meta() };
        let node = old.with_data(&meta, data);
        self.replace(slot, node.clone());
        changes.push(Change::SetData { node });
        self.count_usage(path, 0, grown, changes);
        Ok(())
    }

    fn set_acl(&mut self, path: &str, acl: &[Acl], version: i32, changes: &mut Changes) -> Result<(), ErrorCode> {
        let slot = self.slot_of(path).ok_or(ErrorCode::NoNode)?;
        self.put_acl(slot, acl, version, changes);
        Ok(())
    }

    /// Gives a znode another list; the old one is let go only after the new one is taken.
    fn put_acl(&mut self, slot: u32, acl: &[Acl], aversion: i32, changes: &mut Changes) {
        let id = self.use_acl(acl, changes);
        let old = self.slab.at(slot).znode();
        let old_id: AclId = old.acl_id();
        let node = old.with_meta(&Meta { aversion, acl: id, ..old.meta() });
        self.replace(slot, node.clone());
        changes.push(Change::SetAcl { node });
        self.drop_acl(old_id, changes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Id, SessionId, Stat, WallMs, Xid};
    use crate::tree::{OwnerRules, ZnodeKind};

    const OWNER: SessionId = SessionId(0x1000_abcd_1234_0000);

    fn at(zxid: i64) -> TxnHeader {
        TxnHeader { session: OWNER, cxid: Xid(0), zxid: Zxid(zxid), time: WallMs(1000 + zxid) }
    }

    fn list(perms: i32) -> Vec<Acl> {
        vec![Acl { perms, id: Id::new("world", "anyone") }]
    }

    fn create(path: &str, parent_cversion: i32) -> Txn<'_> {
        let kind = CreateKind::Plain { two: false, ephemeral: false };
        Txn::Create { kind, path: path.into(), data: Some(b"hi"[..].into()), acl: list(31).into(), parent_cversion }
    }

    fn ephemeral(path: &str, parent_cversion: i32) -> Txn<'_> {
        let kind = CreateKind::Plain { two: false, ephemeral: true };
        Txn::Create { kind, path: path.into(), data: None, acl: list(31).into(), parent_cversion }
    }

    fn delete(path: &str) -> Txn<'_> {
        Txn::Delete { path: path.into(), container: false }
    }

    /// Applies at a zxid; what came of it, and the changes.
    fn run(tree: &mut Tree, zxid: i64, txn: &Txn<'_>) -> (Result<(), ErrorCode>, Changes) {
        let mut changes = Changes::new();
        let outcome = tree.apply(&at(zxid), txn, &mut changes);
        assert_eq!(tree.digest(), tree.digest_from_scratch());
        (outcome, changes)
    }

    fn tree_with(txns: &[Txn<'_>]) -> Tree {
        let mut tree = Tree::new(OwnerRules::default());
        for (at, txn) in txns.iter().enumerate() {
            assert_eq!(run(&mut tree, at as i64 + 1, txn).0, Ok(()));
        }
        tree
    }

    /// pzxid and stored cversion.
    fn moved(tree: &Tree, path: &str) -> (i64, i32) {
        let node = tree.get(path).unwrap();
        (node.pzxid().0, node.stored_cversion())
    }

    #[test]
    fn the_digest_of_the_log_that_zookeeper_accepted() {
        let mut tree = Tree::new(OwnerRules::default());
        assert_eq!(tree.digest(), 1_371_985_504);
        let header =
            |n: i64| TxnHeader { zxid: Zxid(0x1_0000_0000 + n), time: WallMs(1_700_000_000_000 + n - 1), ..at(0) };
        let mut apply = |n, txn: Txn<'_>| {
            tree.apply(&header(n), &txn, &mut Changes::new()).unwrap();
            tree.digest()
        };
        assert_eq!(apply(1, Txn::CreateSession { timeout_ms: 30000 }), 1_371_985_504);
        assert_eq!(apply(2, create("/a", 1)), 5_988_490_080);
        assert_eq!(apply(3, Txn::Error { code: -110 }), 5_988_490_080);
        assert_eq!(apply(4, Txn::CloseSession { ephemerals: Some(vec![]) }), 5_988_490_080);
        assert_eq!(tree.znode_count(), 6);
    }

    #[test]
    fn create_sets_the_childs_and_the_parents_stat() {
        let tree = tree_with(&[create("/a", 1), create("/a/b", 1)]);
        let expected = Stat {
            czxid: Zxid(1),
            mzxid: Zxid(1),
            ctime: WallMs(1001),
            mtime: WallMs(1001),
            cversion: 1,
            data_length: 2,
            num_children: 1,
            pzxid: Zxid(2),
            ..Stat::default()
        };
        assert_eq!(tree.get("/a").unwrap().stat(), expected);
        assert_eq!(moved(&tree, "/"), (1, 1));
    }

    #[test]
    fn a_parent_is_raised_by_a_create_and_never_lowered() {
        let mut tree = tree_with(&[create("/a", 5)]);
        // Created, and gone again, in what the snapshot already showed: cversion 4 is old news.
        assert_eq!(run(&mut tree, 9, &create("/b", 4)).0, Ok(()));
        assert_eq!(moved(&tree, "/"), (1, 5));
        let _ = run(&mut tree, 10, &delete("/b"));
        // A larger cversion with a zxid below the pzxid the snapshot has.
        assert_eq!(run(&mut tree, 3, &create("/c", 6)).0, Ok(()));
        assert_eq!(moved(&tree, "/"), (10, 6));
        // Very old logs say -1: one more.
        assert_eq!(run(&mut tree, 11, &create("/d", -1)).0, Ok(()));
        assert_eq!(moved(&tree, "/"), (11, 7));
    }

    #[test]
    fn the_count_of_creations_goes_on_through_the_largest_number() {
        let mut tree = tree_with(&[create("/a", i32::MAX - 1), create("/b", i32::MAX)]);
        let _ = run(&mut tree, 3, &create("/c", i32::MIN));
        assert_eq!(moved(&tree, "/"), (3, i32::MIN));
        let _ = run(&mut tree, 4, &create("/d", i32::MIN + 1));
        assert_eq!(moved(&tree, "/"), (4, i32::MIN + 1));
        // 2 x MIN + 2, less five children, in wrapping arithmetic.
        assert_eq!(tree.get("/").unwrap().stat().cversion, 2 - 5);
    }

    #[test]
    fn a_create_that_is_there_already_gives_its_acl_and_raises_the_parent() {
        let mut tree = tree_with(&[create("/a", 1)]);
        let again = Txn::Create {
            kind: CreateKind::Container,
            path: "/a".into(),
            data: None,
            acl: list(1).into(),
            parent_cversion: 3,
        };
        let (outcome, changes) = run(&mut tree, 7, &again);
        assert_eq!(outcome, Err(ErrorCode::NodeExists));
        let node = tree.get("/a").unwrap();
        assert_eq!((node.acl(), node.data(), node.kind()), (&list(1)[..], Some(&b"hi"[..]), ZnodeKind::Persistent));
        assert_eq!((node.stat().aversion, node.stat().czxid), (0, Zxid(1)));
        assert_eq!(moved(&tree, "/"), (7, 3));
        assert!(matches!(changes[..], [Change::SetAcl { .. }]));
        // Once more changes nothing, the count of the list's users included.
        let _ = run(&mut tree, 7, &again);
        let id = tree.get("/a").unwrap().acl_id();
        // The other user is /zookeeper/config.
        assert_eq!(tree.acls.entry(id).unwrap().users, 2);
        assert_eq!(run(&mut tree, 8, &create("/", 1)).0, Err(ErrorCode::NodeExists));
    }

    #[test]
    fn what_has_no_parent_is_not_created() {
        let mut tree = tree_with(&[]);
        let (outcome, changes) = run(&mut tree, 1, &create("/no/where", 1));
        assert_eq!((outcome, changes.len(), tree.znode_count()), (Err(ErrorCode::NoNode), 0, 5));
    }

    #[test]
    fn delete_raises_the_parents_pzxid_even_if_the_child_is_not_there() {
        let mut tree = tree_with(&[create("/a", 1), create("/a/b", 1)]);
        assert_eq!(run(&mut tree, 9, &delete("/a/b")).0, Ok(()));
        assert_eq!(moved(&tree, "/a"), (9, 1));
        assert_eq!(run(&mut tree, 8, &delete("/a/b")).0, Err(ErrorCode::NoNode));
        assert_eq!(moved(&tree, "/a"), (9, 1));
        assert_eq!(run(&mut tree, 11, &delete("/a/b")).0, Err(ErrorCode::NoNode));
        assert_eq!(moved(&tree, "/a"), (11, 1));
        assert_eq!(run(&mut tree, 12, &delete("/x/y")).0, Err(ErrorCode::NoNode));
        assert_eq!(moved(&tree, "/"), (1, 1));
        // An earlier deletion of a name made anew does not lower the pzxid.
        let _ = run(&mut tree, 13, &create("/a/b", 2));
        let _ = run(&mut tree, 4, &delete("/a/b"));
        assert_eq!(moved(&tree, "/a"), (13, 2));
    }

    #[test]
    fn deleting_a_later_tenant_of_a_name_takes_its_children_along() {
        // Log: create /a (1), delete /a (2), create /a (3), create /a/b (4), create /a/b/c (5). The snapshot
        // is named 1 and shows all of it; replay starts at 2.
        let log = [delete("/a"), create("/a", 2), create("/a/b", 1), create("/a/b/c", 1)];
        let mut straight = tree_with(&[create("/a", 1)]);
        for (n, txn) in log.iter().enumerate() {
            assert_eq!(run(&mut straight, n as i64 + 2, txn).0, Ok(()));
        }
        let digest = straight.digest();
        for (n, txn) in log.iter().enumerate() {
            run(&mut straight, n as i64 + 2, txn).0.unwrap();
        }
        assert_eq!((straight.digest(), straight.znode_count()), (digest, 8));
    }

    #[test]
    fn set_data_and_set_acl_take_the_transactions_word_and_miss_nothing_that_is_gone() {
        let mut tree = tree_with(&[create("/a", 1)]);
        let data = |version| Txn::SetData { path: "/a".into(), data: None, version };
        run(&mut tree, 9, &data(5)).0.unwrap();
        run(&mut tree, 7, &data(3)).0.unwrap();
        let stat = tree.get("/a").unwrap().stat();
        assert_eq!((stat.version, stat.mzxid, stat.mtime, stat.pzxid), (3, Zxid(7), WallMs(1007), Zxid(1)));
        assert_eq!(tree.get("/a").unwrap().data(), None);
        let acl = Txn::SetAcl { path: "/a".into(), acl: list(3).into(), version: 4 };
        let (outcome, changes) = run(&mut tree, 10, &acl);
        assert!(outcome.is_ok() && matches!(changes[..], [Change::DefineAcl { .. }, Change::SetAcl { .. }]));
        let later = tree.get("/a").unwrap().stat();
        assert_eq!(later, Stat { aversion: 4, ..stat });
        let open = Txn::SetAcl { path: "/a".into(), acl: list(31).into(), version: 5 };
        assert!(matches!(run(&mut tree, 11, &open).1[..], [Change::SetAcl { .. }, Change::ForgetAcl { .. }]));
        run(&mut tree, 12, &delete("/a")).0.unwrap();
        for txn in [data(6), acl] {
            let (outcome, changes) = run(&mut tree, 12, &txn);
            assert_eq!((outcome, changes.len()), (Err(ErrorCode::NoNode), 0));
        }
    }

    #[test]
    fn close_session_deletes_the_listed_and_the_left() {
        let mut tree = tree_with(&[ephemeral("/a", 1), ephemeral("/b", 2), ephemeral("/c", 3), create("/d", 4)]);
        assert_eq!(tree.ephemerals_of(OWNER).collect::<Vec<_>>(), ["/a", "/b", "/c"]);
        let close = Txn::CloseSession { ephemerals: Some(vec!["/c".into(), "/gone".into()]) };
        let (outcome, changes) = run(&mut tree, 9, &close);
        assert_eq!(outcome, Ok(()));
        let removed: Vec<&str> = changes
            .iter()
            .filter_map(|c| if let Change::Remove { node, .. } = c { Some(node.path()) } else { None })
            .collect();
        assert_eq!(removed, ["/c", "/a", "/b"]);
        assert!(matches!(changes.last(), Some(Change::SessionClosed { session: OWNER })));
        assert_eq!((tree.ephemeral_count(), moved(&tree, "/")), (0, (9, 4)));
        // An old log names nobody.
        run(&mut tree, 10, &ephemeral("/e", 5)).0.unwrap();
        run(&mut tree, 11, &Txn::CloseSession { ephemerals: None }).0.unwrap();
        assert!(tree.get("/e").is_none() && tree.get("/d").is_some());
        let opened = run(&mut tree, 12, &Txn::CreateSession { timeout_ms: 5 }).1;
        assert!(matches!(opened[..], [Change::SessionOpened { session: OWNER, timeout_ms: 5 }]));
    }

    #[test]
    fn a_multi_applies_whole_or_not_at_all() {
        let mut tree = tree_with(&[]);
        let digest = tree.digest();
        let failed = Txn::Multi(vec![create("/a", 1), Txn::Error { code: -101 }]);
        let (outcome, changes) = run(&mut tree, 1, &failed);
        assert_eq!((outcome, changes.len(), tree.digest()), (Ok(()), 0, digest));
        let check = Txn::Check { path: "/a".into(), version: 0 };
        let whole = Txn::Multi(vec![create("/a", 1), create("/a/b", 1), check, delete("/a/b")]);
        assert_eq!(run(&mut tree, 2, &whole).1.len(), 3);
        // Replayed over itself it goes on after what it meets.
        assert_eq!(run(&mut tree, 2, &whole).0, Err(ErrorCode::NodeExists));
        assert_eq!((tree.znode_count(), moved(&tree, "/"), moved(&tree, "/a")), (6, (2, 1), (2, 1)));
    }

    #[test]
    fn reconfig_writes_the_configuration_node_outside_the_digest() {
        let mut tree = tree_with(&[]);
        let reconfig = Txn::Reconfig { path: path::CONFIG.into(), data: Some(b"server.1=x"[..].into()), version: -1 };
        assert_eq!(run(&mut tree, 5, &reconfig).0, Ok(()));
        let node = tree.get(path::CONFIG).unwrap();
        assert_eq!((node.data(), node.stat().version, node.stat().mzxid), (Some(&b"server.1=x"[..]), -1, Zxid(5)));
        assert_eq!(tree.digest(), 1_371_985_504);
    }
}

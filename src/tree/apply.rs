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
        debug_assert!(!self.follows, "a shard's copy follows changes");
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
        let slot = self.slab.at(parent);
        let cversion = if parent_cversion == -1 { slot.cversion.wrapping_add(1) } else { parent_cversion };
        // Wrapping, because the count goes on through i32::MAX (parity ZN-26).
        if cversion.wrapping_sub(slot.cversion) > 0 {
            (slot.pzxid.max(zxid), cversion)
        } else {
            (slot.pzxid, slot.cversion)
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
        while self.slab.at(slot).first_child != NIL {
            let mut leaf = self.slab.at(slot).first_child;
            while self.slab.at(leaf).first_child != NIL {
                leaf = self.slab.at(leaf).first_child;
            }
            self.remove_leaf(leaf, zxid, changes);
        }
        self.remove_leaf(slot, zxid, changes);
        Ok(())
    }

    fn remove_leaf(&mut self, slot: u32, zxid: Zxid, changes: &mut Changes) {
        let parent = self.slab.at(slot).parent;
        self.raise_pzxid(parent, zxid);
        let node = self.unlink(slot);
        changes.push(Change::Remove { node: node.clone(), parent_pzxid: self.slab.at(parent).pzxid });
        self.drop_acl(node.acl_id(), changes);
        if node.path().starts_with(quota::PREFIX)
            && let Some(path) = quota::limited_path(node.path())
        {
            self.remove_quota(path);
        }
        self.count_usage(node.path(), -1, -(node.data_len() as i64), changes);
    }

    fn raise_pzxid(&mut self, slot: u32, zxid: Zxid) {
        let place = self.slab.at(slot);
        let (pzxid, cversion) = (place.pzxid.max(zxid), place.cversion);
        self.set_stat(slot, pzxid, cversion);
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

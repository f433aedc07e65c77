//! The few ways a tree's index changes. Each keeps the side indexes true, leaves its inverse in an open
//! savepoint, and saves what an open snapshot has not visited yet. Nothing else writes to the index.

use smallvec::SmallVec;

use super::acl_table::Entry;
use super::change::Change;
use super::digest;
use super::names::PathHash;
use super::slab::{Family, NIL, ROOT, Slot};
use super::store::Tree;
use super::znode::{AclId, Znode, ZnodeKind};
use crate::base::{Acl, Zxid};

/// How to take one edit back.
enum Step {
    Linked { slot: u32 },
    Unlinked { slot: u32, was: Slot, pzxid: Zxid, cversion: i32 },
    Replaced { slot: u32, was: Znode },
    Stat { slot: u32, pzxid: Zxid, cversion: i32 },
    Acl { id: AclId, was: Option<Entry> },
    QuotaAdded { path: Box<str> },
    QuotaRemoved { path: Box<str> },
}

/// One savepoint's worth of steps.
#[derive(Default)]
pub(super) struct Undo {
    steps: Vec<Step>,
    /// The next ACL id, which is restored as it was.
    next_acl: Option<u32>,
}

impl Undo {
    pub fn is_open(&self) -> bool {
        self.next_acl.is_some()
    }

    fn note(&mut self, step: impl FnOnce() -> Step) {
        if self.next_acl.is_some() {
            self.steps.push(step());
        }
    }
}

impl Tree {
    /// From here on everything can be undone. One level: a savepoint inside a savepoint is a mistake.
    ///
    /// # Panics
    /// If one is open already.
    pub fn savepoint(&mut self) {
        assert!(!self.undo.is_open(), "a savepoint inside a savepoint");
        self.undo.next_acl = Some(self.acls.next());
    }

    /// Keeps what happened since the savepoint.
    ///
    /// # Panics
    /// Without a savepoint.
    pub fn release(&mut self) {
        assert!(self.undo.next_acl.take().is_some(), "release without a savepoint");
        self.undo.steps.clear();
    }

    /// Takes back everything since the savepoint, in reverse. The tree is what it was, to the order of
    /// children and the number of the next ACL list.
    ///
    /// # Panics
    /// Without a savepoint.
    pub fn rollback(&mut self) {
        let next_acl = self.undo.next_acl.take().expect("rollback without a savepoint");
        let mut steps = std::mem::take(&mut self.undo.steps);
        for step in steps.drain(..).rev() {
            match step {
                Step::Linked { slot } => {
                    self.unlink(slot);
                }
                Step::Unlinked { slot, was, pzxid, cversion } => self.relink(slot, was, pzxid, cversion),
                Step::Replaced { slot, was } => self.replace(slot, was),
                Step::Stat { slot, pzxid, cversion } => self.set_stat(slot, pzxid, cversion),
                Step::Acl { id, was } => self.acls.set(id, was),
                Step::QuotaAdded { path } => {
                    self.quotas.remove(&path);
                }
                Step::QuotaRemoved { path } => {
                    self.quotas.insert(path);
                }
            }
        }
        self.undo.steps = steps;
        self.acls.set_next(next_acl);
    }

    /// Must come before any change of a slot's znode, pzxid or cversion.
    fn keep(&mut self, slot: u32) {
        if let Some(walk) = &mut self.walk {
            walk.keep(slot, &self.slab);
        }
    }

    /// A new znode, its parent's first child.
    pub(super) fn link(&mut self, hash: PathHash, node: Znode, pzxid: Zxid, cversion: i32, parent: u32) -> u32 {
        let slot = self.slab.take();
        self.keep(slot);
        self.count_in(slot, &node, pzxid, cversion);
        *self.slab.at_mut(slot) = Slot::new(node, parent);
        self.slab.set_stat(slot, pzxid, cversion);
        if parent != NIL {
            self.slab.thread(slot, parent);
        }
        if slot != ROOT {
            self.names.insert(&self.slab, hash, slot);
        }
        self.undo.note(|| Step::Linked { slot });
        slot
    }

    /// Takes out a znode without children.
    pub(super) fn unlink(&mut self, slot: u32) -> Znode {
        self.keep(slot);
        let place = self.slab.at(slot);
        let Family { pzxid, cversion, num_children, .. } = self.slab.family(place);
        assert!(slot != ROOT && num_children == 0, "only leaves are taken out");
        let node = place.znode().clone();
        let (parent, prev, next) = (place.parent, place.prev, place.next);
        self.count_out(slot, &node);
        self.names.remove(PathHash::of(node.path_bytes()), slot);
        match prev {
            NIL => self.slab.family_mut(parent).first_child = next,
            prev => self.slab.at_mut(prev).next = next,
        }
        if next != NIL {
            self.slab.at_mut(next).prev = prev;
        }
        self.slab.family_mut(parent).num_children -= 1;
        let was = self.slab.give_back(slot);
        self.undo.note(|| Step::Unlinked { slot, was, pzxid, cversion });
        node
    }

    /// Undoes an unlink: in reverse order its neighbours are the ones it left.
    fn relink(&mut self, slot: u32, was: Slot, pzxid: Zxid, cversion: i32) {
        let taken = self.slab.take();
        assert!(taken == slot, "slots come back in reverse order");
        self.keep(slot);
        let node = was.znode().clone();
        self.count_in(slot, &node, pzxid, cversion);
        let (parent, prev, next) = (was.parent, was.prev, was.next);
        *self.slab.at_mut(slot) = was;
        self.slab.set_stat(slot, pzxid, cversion);
        match prev {
            NIL => self.slab.family_mut(parent).first_child = slot,
            prev => self.slab.at_mut(prev).next = slot,
        }
        if next != NIL {
            self.slab.at_mut(next).prev = slot;
        }
        self.slab.family_mut(parent).num_children += 1;
        self.names.insert(&self.slab, PathHash::of(node.path_bytes()), slot);
    }

    /// A new version of a znode in its place. The owner never changes.
    pub(super) fn replace(&mut self, slot: u32, node: Znode) {
        self.keep(slot);
        let Family { pzxid, cversion, .. } = self.slab.family(self.slab.at(slot));
        let place = self.slab.at_mut(slot);
        let was = place.node.replace(node).expect("a slot in use");
        debug_assert_eq!(place.znode().czxid(), was.czxid(), "the stat of a leaf hangs on its czxid");
        let node = place.znode();
        self.bytes = self.bytes + node.data_len() as u64 - was.data_len() as u64;
        if !self.follows {
            self.digests.put(slot, digest::of(node, pzxid, cversion));
        }
        self.undo.note(|| Step::Replaced { slot, was });
    }

    pub(super) fn set_stat(&mut self, slot: u32, pzxid: Zxid, cversion: i32) {
        self.keep(slot);
        let Some((pzxid_was, cversion_was)) = self.slab.set_stat(slot, pzxid, cversion) else { return };
        if !self.follows {
            self.digests.put(slot, digest::of(self.slab.at(slot).znode(), pzxid, cversion));
        }
        self.undo.note(|| Step::Stat { slot, pzxid: pzxid_was, cversion: cversion_was });
    }

    pub(super) fn count_in(&mut self, slot: u32, node: &Znode, pzxid: Zxid, cversion: i32) {
        self.bytes += node.content().len() as u64;
        if !self.follows {
            self.digests.put(slot, digest::of(node, pzxid, cversion));
        }
        match node.kind(self.rules) {
            ZnodeKind::Persistent => {}
            ZnodeKind::Ephemeral(session) => {
                self.ephemerals.entry(session).or_default().insert(slot);
                self.ephemeral_count += 1;
            }
            ZnodeKind::Container | ZnodeKind::Ttl(_) => {
                self.mortals.insert(slot);
            }
        }
    }

    fn count_out(&mut self, slot: u32, node: &Znode) {
        self.bytes -= node.content().len() as u64;
        if !self.follows {
            self.digests.put(slot, 0);
        }
        match node.kind(self.rules) {
            ZnodeKind::Persistent => {}
            ZnodeKind::Ephemeral(session) => {
                if let Some(slots) = self.ephemerals.get_mut(&session) {
                    slots.remove(&slot);
                    if slots.is_empty() {
                        self.ephemerals.remove(&session);
                    }
                }
                self.ephemeral_count -= 1;
            }
            ZnodeKind::Container | ZnodeKind::Ttl(_) => {
                self.mortals.remove(&slot);
            }
        }
    }

    /// One more user of a list; a list nobody used yet is defined first.
    pub(super) fn use_acl(&mut self, list: &[Acl], changes: &mut SmallVec<[Change; 2]>) -> AclId {
        match self.acls.id_of(list) {
            Some(AclId::OPEN) => AclId::OPEN,
            Some(id) => {
                self.note_acl(id);
                self.acls.count(id, 1);
                id
            }
            None => {
                let id = self.acls.fresh_id();
                self.note_acl(id);
                let list: crate::base::AclList = list.into();
                self.acls.set(id, Some(Entry { list: list.clone(), users: 1 }));
                self.acls.set_next(id.0.wrapping_add(1));
                changes.push(Change::DefineAcl { id, list });
                id
            }
        }
    }

    /// One user fewer; a list nobody uses any more is forgotten. An unknown id is nobody's business.
    pub(super) fn drop_acl(&mut self, id: AclId, changes: &mut SmallVec<[Change; 2]>) {
        if id == AclId::OPEN {
            return;
        }
        self.note_acl(id);
        if self.acls.count(id, -1) == Some(0) {
            self.acls.set(id, None);
            changes.push(Change::ForgetAcl { id });
        }
    }

    fn note_acl(&mut self, id: AclId) {
        let entry = self.acls.entry(id);
        self.undo.note(|| Step::Acl { id, was: entry.cloned() });
    }

    pub(super) fn add_quota(&mut self, path: &str) {
        if !self.follows && self.quotas.insert(path.into()) {
            self.undo.note(|| Step::QuotaAdded { path: path.into() });
        }
    }

    pub(super) fn remove_quota(&mut self, path: &str) {
        if self.quotas.remove(path) {
            self.undo.note(|| Step::QuotaRemoved { path: path.into() });
        }
    }
}

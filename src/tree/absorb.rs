//! The shards' way of moving their trees on: what the replica's tree planned, followed step by step.

use super::acl_table::Entry;
use super::change::Change;
use super::names::PathHash;
use super::slab::NIL;
use super::store::Tree;
use super::znode::Znode;
use crate::base::{Zxid, path};

impl Tree {
    /// Takes one step after the replica's tree.
    ///
    /// # Panics
    /// On a step that does not follow from the ones before: this copy would lie from then on.
    pub fn absorb(&mut self, change: &Change) {
        match change {
            Change::Insert { node, parent_cversion, parent_pzxid } => {
                let parent = path::parent(node.path()).and_then(|parent| self.slot_of(parent));
                let parent = parent.expect("a parent is inserted before its child");
                self.set_stat(parent, *parent_pzxid, *parent_cversion);
                self.link(PathHash::of(node.path_bytes()), node.clone(), node.czxid(), 0, parent);
            }
            Change::Remove { node, parent_pzxid } => {
                let slot = self.followed(node);
                let parent = self.slab.at(slot).parent;
                assert!(parent != NIL, "the root is never removed");
                self.unlink(slot);
                self.raise_to(parent, *parent_pzxid);
            }
            Change::SetData { node } | Change::SetAcl { node } | Change::Usage { node } => {
                let slot = self.followed(node);
                self.replace(slot, node.clone());
            }
            Change::DefineAcl { id, list } => self.acls.set(*id, Some(Entry { list: list.clone(), users: 0 })),
            Change::ForgetAcl { id } => self.acls.set(*id, None),
            Change::SessionOpened { .. } | Change::SessionClosed { .. } => {}
        }
    }

    fn followed(&self, node: &Znode) -> u32 {
        self.slot_of_bytes(node.path_bytes()).expect("a znode is inserted before it changes")
    }

    fn raise_to(&mut self, slot: u32, pzxid: Zxid) {
        let cversion = self.slab.family(self.slab.at(slot)).cversion;
        self.set_stat(slot, pzxid, cversion);
    }
}

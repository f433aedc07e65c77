//! From a snapshot's znodes, in any order, back to a tree.

use super::acl_table::Entry;
use super::names::{Names, PathHash};
use super::slab::{NIL, ROOT, Slot};
use super::store::Tree;
use super::znode::{AclId, OwnerRules, Znode, looks_like_ttl};
use super::{digest, quota};
use crate::base::{AclList, Zxid, path};

/// Collects znodes; they are put in their places by [`TreeLoader::finish`].
pub struct TreeLoader {
    tree: Tree,
    /// Of the paths of slots 1, 2, ...; the tables are made of them at the end, when it is known how large.
    hashes: Vec<PathHash>,
    root: Option<(Znode, Zxid, i32)>,
    fault: Option<String>,
}

impl Tree {
    /// An empty loader. A fresh one for every attempt: nothing of a bad snapshot can leak into the next.
    pub fn loader(rules: OwnerRules) -> TreeLoader {
        let mut tree = Tree::empty(rules);
        // The root's place is kept for it, whenever it comes.
        let root = tree.slab.take();
        assert!(root == ROOT, "the first slot is the root's");
        TreeLoader { tree, hashes: Vec::new(), root: None, fault: None }
    }
}

impl TreeLoader {
    /// One list of the ACL table. The open list needs none.
    pub fn acl(&mut self, id: AclId, list: AclList) {
        if id != AclId::OPEN {
            self.tree.acls.skip(id);
            self.tree.acls.set(id, Some(Entry { list, users: 0 }));
        }
    }

    /// One znode; `cversion` as stored. Faults (a path twice) are told by [`TreeLoader::finish`].
    pub fn node(&mut self, node: Znode, pzxid: Zxid, cversion: i32) {
        let bytes = node.path_bytes();
        if bytes == b"/" {
            if self.root.replace((node, pzxid, cversion)).is_some() {
                self.fault.get_or_insert_with(|| "the root is there twice".into());
            }
            return;
        }
        self.hashes.push(PathHash::of(bytes));
        let slot = self.tree.slab.take();
        // Now, while its bytes are in the cache: the digest is made of all of them.
        self.tree.count_in(slot, &node, pzxid, cversion);
        *self.tree.slab.at_mut(slot) = Slot::new(node, NIL);
        self.tree.slab.set_stat(slot, pzxid, cversion);
    }

    /// Names every znode, links children to parents and counts what is not stored and not counted yet: children,
    /// ACL users, quota usage. `more` is as of [`Tree::expect`].
    ///
    /// Errors say what is wrong with the snapshot: no root, a path twice, a znode without a parent, or a TTL
    /// node while extended types are off (it would be taken for an ephemeral and reaped, UB-17).
    pub fn finish(self, more: usize) -> Result<Tree, String> {
        let TreeLoader { mut tree, hashes, root, fault } = self;
        if let Some(fault) = fault {
            return Err(fault);
        }
        let more = more.min(EXPECTED_MAX * hashes.len());
        tree.names = Names::of_all(&tree.slab, &hashes, more)
            .map_err(|slot| format!("{} is there twice", tree.slab.at(slot).znode().path()))?;
        drop(hashes);
        let (node, pzxid, cversion) = root.ok_or("there is no root")?;
        tree.count_in(ROOT, &node, pzxid, cversion);
        *tree.slab.at_mut(ROOT) = Slot::new(node, NIL);
        tree.slab.set_stat(ROOT, pzxid, cversion);

        // Neighbours in a snapshot are often siblings.
        let mut last_parent = ROOT;
        for slot in 0..tree.slab.end() {
            let node = tree.slab.at(slot).znode();
            if looks_like_ttl(node.owner()) && !tree.rules.extended_types {
                return Err(format!("{} is a TTL node, but zookeeper.extendedTypesEnabled is off", node.path()));
            }
            if node.acl_id() != AclId::OPEN && tree.acls.count(node.acl_id(), 1).is_none() {
                tree.acls.skip(node.acl_id());
            }
            if slot == ROOT {
                continue;
            }
            let parent_path = path::parent(node.path()).ok_or_else(|| format!("{:?} is no path", node.path()))?;
            if tree.slab.at(last_parent).znode().path_bytes() != parent_path.as_bytes() {
                let found = tree.slot_of(parent_path);
                last_parent = found.ok_or_else(|| format!("{} has no parent", node.path()))?;
            }
            tree.slab.thread(slot, last_parent);
        }
        tree.acls.sweep();
        tree.complete();
        Ok(tree)
    }
}

/// How many times the znodes that are there may be expected besides.
const EXPECTED_MAX: usize = 4;

impl Tree {
    /// What every tree has, though old snapshots may lack it, and quotas rediscovered (parity Q-15).
    fn complete(&mut self) {
        if self.slot_of(path::ZOOKEEPER).is_some() {
            if self.slot_of(path::QUOTA).is_none() {
                self.plant(&Znode::new(&Default::default(), path::QUOTA, Some(b"")));
            }
            if self.slot_of(path::CONFIG).is_none() {
                self.plant_config();
            }
        }
        let Some(top) = self.slot_of(path::QUOTA) else { return };
        let paths = self.below(top).filter_map(|slot| quota::limited_path(self.slab.at(slot).znode().path()));
        let limited: Vec<Box<str>> = paths.map(Box::from).collect();
        for path in limited {
            self.recount(&path, &mut Default::default());
            self.add_quota(&path);
        }
    }

    /// So many more znodes are about to be replayed: makes room for them at once, because a name table that grows looks at every
    /// znode it names. Not for more than [`EXPECTED_MAX`] times as many as there are; smaller tables grow cheaply.
    pub fn expect(&mut self, more: usize) {
        self.names.reserve(&self.slab, more.min(EXPECTED_MAX * self.slab.live()));
    }

    /// What was expected has come, or not: gives back what is far too much.
    pub fn expect_no_more(&mut self) {
        self.names.trim(&self.slab);
    }

    /// The digest counted from nothing, to check the one that `apply` maintains.
    pub fn digest_from_scratch(&self) -> i64 {
        let live = (0..self.slab.end()).map(|slot| self.slab.at(slot));
        live.filter(|slot| slot.node.is_some())
            .map(|slot| (slot.znode(), self.slab.family(slot)))
            .map(|(node, family)| i64::from(digest::of(node, family.pzxid, family.cversion)))
            .fold(0, i64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Acl, Id};
    use crate::tree::{CONTAINER_OWNER, Meta, ttl_owner};

    fn node(path: &str, owner: i64, acl: u32) -> Znode {
        Znode::new(&Meta { owner, acl: AclId(acl), ..Meta::default() }, path, Some(b"x"))
    }

    fn load(rules: OwnerRules, nodes: &[Znode]) -> Result<Tree, String> {
        let mut loader = Tree::loader(rules);
        loader.acl(AclId(3), [Acl { perms: 1, id: Id::new("ip", "::1") }].into());
        loader.acl(AclId(4), [Acl { perms: 2, id: Id::new("ip", "::1") }].into());
        for node in nodes {
            loader.node(node.clone(), Zxid(5), 2);
        }
        loader.finish(0)
    }

    #[test]
    fn znodes_may_come_in_any_order() {
        let nodes =
            ["/zookeeper/config", "/a/b/c", "/a", "/zookeeper", "", "/a/b", "/zookeeper/quota"].map(|p| node(p, 0, 0));
        let tree = load(OwnerRules::default(), &nodes).unwrap();
        assert_eq!((tree.znode_count(), tree.get("/a/b").unwrap().num_children()), (8, 1));
        assert_eq!(tree.digest(), tree.digest_from_scratch());
        assert_eq!(tree.acls().count(), 0, "lists nobody uses are dropped");
    }

    #[test]
    fn a_list_that_is_missing_allows_nothing_and_its_id_is_never_given_away() {
        let nodes = [node("/", 0, 0), node("/a", 0, 3), node("/b", 0, 9), node("/c", CONTAINER_OWNER, 0)];
        let mut tree = load(OwnerRules::default(), &nodes).unwrap();
        assert_eq!(tree.get("/a").unwrap().acl()[0].perms, 1);
        assert_eq!(tree.get("/b").unwrap().acl().iter().map(|acl| acl.perms).sum::<i32>(), 0);
        assert!(!tree.get("/b").unwrap().acl().is_empty());
        let fresh = tree.use_acl(&[Acl { perms: 8, id: Id::new("ip", "::1") }], &mut Default::default());
        assert_eq!(fresh, AclId(10));
        assert_eq!(tree.acls().map(|(id, _)| id.0).collect::<Vec<_>>(), [3, 10]);
    }

    #[test]
    fn what_every_tree_has_is_supplied() {
        let tree = load(OwnerRules::default(), &[node("/", 0, 0), node("/zookeeper", 0, 0)]).unwrap();
        assert!(tree.get(path::QUOTA).is_some() && tree.get(path::CONFIG).is_some());
    }

    #[test]
    fn a_snapshot_that_makes_no_tree_is_refused() {
        let off = OwnerRules::default();
        let on = OwnerRules { extended_types: true, ..off };
        let fault = |rules, nodes: &[Znode]| load(rules, nodes).err();
        assert_eq!(fault(off, &[node("/a", 0, 0)]).unwrap(), "there is no root");
        assert_eq!(fault(off, &[node("/", 0, 0), node("", 0, 0)]).unwrap(), "the root is there twice");
        let twice = [node("/", 0, 0), node("/a", 0, 0), node("/a", 0, 0)];
        assert_eq!(fault(off, &twice).unwrap(), "/a is there twice");
        assert_eq!(fault(off, &[node("/", 0, 0), node("/a/b", 0, 0)]).unwrap(), "/a/b has no parent");
        assert_eq!(fault(off, &[node("/", 0, 0), node("a", 0, 0)]).unwrap(), "\"a\" is no path");
        let ttl = [node("/", 0, 0), node("/t", ttl_owner(9), 0)];
        assert!(fault(off, &ttl).unwrap().contains("extendedTypesEnabled") && fault(on, &ttl).is_none());
    }
}

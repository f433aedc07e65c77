//! An exact snapshot, taken in slices while the tree moves on: whatever is about to change and was not
//! visited yet is put aside first.

use hashbrown::HashMap;

use super::slab::Slab;
use super::store::Tree;
use super::znode::Znode;
use crate::base::Zxid;

/// A znode as a snapshot keeps it.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotNode<'a> {
    pub znode: &'a Znode,
    pub pzxid: Zxid,
    /// As stored.
    pub cversion: i32,
}

/// What a slot held when the walk began, `None` if it was free.
type Kept = Option<(Znode, Zxid, i32)>;

pub(super) struct Walk {
    next: u32,
    /// Slots from here on are younger than the walk.
    end: u32,
    kept: HashMap<u32, Kept, foldhash::fast::FixedState>,
}

impl Walk {
    /// The slot is about to change.
    pub fn keep(&mut self, slot: u32, slab: &Slab) {
        if slot < self.next || slot >= self.end {
            return;
        }
        self.kept.entry(slot).or_insert_with(|| {
            let slot = slab.at(slot);
            slot.node.as_ref().map(|node| {
                let family = slab.family(slot);
                (node.clone(), family.pzxid, family.cversion)
            })
        });
    }
}

impl Tree {
    /// Begins a snapshot of the tree as it is now. Capture [`Tree::acls`] at the same moment.
    ///
    /// # Panics
    /// If one is open already, or inside a savepoint.
    pub fn snapshot_begin(&mut self) {
        assert!(self.walk.is_none(), "a snapshot is being taken already");
        assert!(!self.undo.is_open(), "a snapshot inside a savepoint");
        self.walk = Some(Walk { next: 0, end: self.slab.end(), kept: HashMap::default() });
    }

    /// Hands the next znodes to `sink`, in no order to rely on, looking at `max_nodes` places at most (a
    /// free place counts too, so that a call's length is bounded). Whether there are more; the snapshot is
    /// closed when there are not.
    ///
    /// # Panics
    /// If none is open.
    pub fn snapshot_next(&mut self, max_nodes: usize, sink: &mut dyn FnMut(SnapshotNode<'_>)) -> bool {
        let walk = self.walk.as_mut().expect("no snapshot is being taken");
        let stop = walk.end.min(walk.next.saturating_add(u32::try_from(max_nodes).unwrap_or(u32::MAX)));
        for slot in walk.next..stop {
            match walk.kept.remove(&slot) {
                Some(None) => {}
                Some(Some((znode, pzxid, cversion))) => sink(SnapshotNode { znode: &znode, pzxid, cversion }),
                None => {
                    let slot = self.slab.at(slot);
                    if let Some(znode) = &slot.node {
                        let family = self.slab.family(slot);
                        sink(SnapshotNode { znode, pzxid: family.pzxid, cversion: family.cversion });
                    }
                }
            }
        }
        walk.next = stop;
        let more = stop < walk.end;
        if !more {
            self.walk = None;
        }
        more
    }

    /// Gives the snapshot up, if one is open.
    pub fn snapshot_cancel(&mut self) {
        self.walk = None;
    }
}

#[cfg(test)]
mod tests {
    use crate::base::{SessionId, WallMs, Xid, Zxid};
    use crate::codec::txn::{CreateKind, Txn, TxnHeader};
    use crate::tree::{OwnerRules, Tree};

    fn run(tree: &mut Tree, zxid: i64, txn: &Txn<'_>) {
        let header = TxnHeader { session: SessionId(1), cxid: Xid(0), zxid: Zxid(zxid), time: WallMs(zxid) };
        tree.apply(&header, txn, &mut Default::default()).unwrap();
    }

    fn create(path: &str) -> Txn<'_> {
        let kind = CreateKind::Plain { two: false, ephemeral: false };
        Txn::Create { kind, path: path.into(), data: Some(b"1"[..].into()), acl: vec![].into(), parent_cversion: -1 }
    }

    #[test]
    fn places_freed_reused_and_new_show_what_they_held_when_the_snapshot_began() {
        let mut tree = Tree::new(OwnerRules::default());
        for (zxid, path) in [(1, "/a"), (2, "/b"), (3, "/gone")] {
            run(&mut tree, zxid, &create(path));
        }
        run(&mut tree, 4, &Txn::Delete { path: "/gone".into(), container: false });
        tree.snapshot_begin();
        let mut seen = Vec::new();
        assert!(tree.snapshot_next(1, &mut |node| seen.push((
            node.znode.path().to_string(),
            node.pzxid,
            node.cversion
        ))));
        // /b is deleted and its place reused; the free place is filled; /new lies beyond; the root moves on.
        run(&mut tree, 5, &Txn::Delete { path: "/b".into(), container: false });
        run(&mut tree, 6, &create("/reuser"));
        run(&mut tree, 7, &create("/filler"));
        run(&mut tree, 8, &create("/new"));
        run(&mut tree, 9, &Txn::SetData { path: "/a".into(), data: None, version: 1 });
        let mut data = Vec::new();
        while tree.snapshot_next(2, &mut |node| {
            seen.push((node.znode.path().to_string(), node.pzxid, node.cversion));
            data.extend_from_slice(node.znode.data().expect("nothing is null yet"));
        }) {}
        seen.sort();
        let expected = [
            ("/", 4, 3),
            ("/a", 1, 0),
            ("/b", 2, 0),
            ("/zookeeper", 0, 0),
            ("/zookeeper/config", 0, 0),
            ("/zookeeper/quota", 0, 0),
        ];
        assert_eq!(seen, expected.map(|(path, pzxid, cversion)| (path.to_string(), Zxid(pzxid), cversion)));
        assert_eq!(data, b"11");
        // It closed itself; another may begin, and be given up.
        tree.snapshot_begin();
        tree.snapshot_cancel();
        tree.snapshot_begin();
    }
}

//! Which containers and TTL nodes to delete, and how fast (parity ZN-42..47). ZK: ContainerManager.

use std::collections::VecDeque;

use super::ReaperSettings;
use crate::base::{Instant, Now, WallMs};
use crate::tree::{Node, Tree, ZnodeKind};

/// Scans once per interval, then hands its finds out at the allowed pace.
pub(super) struct Reaper {
    settings: ReaperSettings,
    next_scan: Instant,
    found: VecDeque<Box<str>>,
    /// Deletions allowed so far in the running minute are spread evenly: one every this many microseconds.
    gap_micros: u64,
    next_delete: Instant,
}

impl Reaper {
    /// The first scan comes one whole interval after `now`.
    pub(super) fn new(settings: ReaperSettings, now: Instant) -> Reaper {
        let gap_micros = 60_000_000 / settings.max_per_minute.max(1);
        let next_scan = now.plus_ms(settings.check_interval_ms);
        Reaper { settings, next_scan, found: VecDeque::new(), gap_micros, next_delete: now }
    }

    /// What may be deleted now. A find may wait for its turn while a client writes to it, or deletes and makes
    /// it anew, or the wall clock is set back: only what is still due is handed out, at no cost to the pace.
    pub(super) fn due(&mut self, tree: &Tree, now: Now) -> Vec<Box<str>> {
        let never_used_ms = self.settings.max_never_used_ms.map(|ms| ms as i64);
        if now.mono >= self.next_scan {
            self.next_scan = now.mono.plus_ms(self.settings.check_interval_ms);
            self.found = tree.reapable(now.wall, never_used_ms).into();
            self.next_delete = now.mono;
        }
        let mut due = Vec::new();
        while now.mono >= self.next_delete
            && let Some(path) = self.found.pop_front()
        {
            if !tree.get(&path).is_some_and(|node| is_due(&node, now.wall, never_used_ms)) {
                continue;
            }
            due.push(path);
            self.next_delete = Instant(self.next_delete.0 + self.gap_micros);
        }
        due
    }
}

/// Whether this one znode would be among [`Tree::reapable`] now (parity ZN-45, ZN-46).
fn is_due(node: &Node<'_>, wall: WallMs, never_used_ms: Option<i64>) -> bool {
    let age_ms = wall.0.saturating_sub(node.znode().mtime().0);
    node.num_children() == 0
        && match node.kind() {
            ZnodeKind::Container if node.stored_cversion() > 0 => true,
            ZnodeKind::Container => never_used_ms.is_some_and(|limit_ms| age_ms > limit_ms),
            ZnodeKind::Ttl(ttl_ms) => ttl_ms != 0 && age_ms > ttl_ms,
            ZnodeKind::Persistent | ZnodeKind::Ephemeral(_) => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{SessionId, Xid, Zxid};
    use crate::codec::txn::{CreateKind, Txn, TxnHeader};
    use crate::tree::OwnerRules;

    fn at(ms: u64, wall: i64) -> Now {
        Now { mono: Instant(ms * 1000), wall: WallMs(wall) }
    }

    /// A tree with `/0`, `/1`, `/2`, each to live for 100 ms, and one that has changed them at `time`.
    fn apply(tree: &mut Tree, zxid: i64, time: i64, txn: Txn<'_>) {
        let header = TxnHeader { session: SessionId(1), cxid: Xid(0), zxid: Zxid(zxid), time: WallMs(time) };
        tree.apply(&header, &txn, &mut Default::default()).unwrap();
    }

    fn tree() -> Tree {
        let mut tree = Tree::new(OwnerRules { extended_types: true, ..OwnerRules::default() });
        for n in 0..3 {
            let kind = CreateKind::Ttl { ttl_ms: 100 };
            let path = format!("/{n}").into();
            apply(
                &mut tree,
                n + 1,
                1000,
                Txn::Create { kind, path, data: None, acl: Vec::new().into(), parent_cversion: -1 },
            );
        }
        tree
    }

    /// Simulated nights 540 and 568: a find that waits for its turn, written to meanwhile, was deleted.
    #[test]
    fn a_find_that_is_not_due_any_more_when_its_turn_comes_stays() {
        let settings = ReaperSettings { check_interval_ms: 1000, max_per_minute: 600, max_never_used_ms: None };
        let mut tree = tree();
        let mut reaper = Reaper::new(settings, Instant(0));
        assert!(reaper.due(&tree, at(999, 2000)).is_empty());
        assert_eq!(reaper.due(&tree, at(1000, 2000)), ["/0".into()]);
        apply(&mut tree, 4, 2050, Txn::SetData { path: "/1".into(), data: None, version: 1 });
        assert_eq!(reaper.due(&tree, at(1100, 2100)), ["/2".into()], "and the one behind it need not wait");
        let mut reaper = Reaper::new(
            ReaperSettings { check_interval_ms: 1000, max_per_minute: 600, max_never_used_ms: None },
            Instant(0),
        );
        assert_eq!(reaper.due(&tree, at(1000, 2000)).len(), 1);
        assert!(reaper.due(&tree, at(1100, 1050)).is_empty(), "the clock was set back");
    }
}

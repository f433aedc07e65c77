//! Watches as connections see them: catching up after a reconnect, looking and removing, and being told.

use std::borrow::Cow;

use super::{Effects, Shard, mark_dirty};
use crate::base::{ConnId, ErrorCode, Now, Perms, Zxid, limits, path};
use crate::codec::reply::{self, EventKind};
use crate::codec::request::SetWatches;
use crate::mail::metrics::{Basic, Counter};
use crate::tree::{AclId, acl};
use crate::watch::{Mode, WatchTable, Watcher, WatcherKind};

pub(super) fn check(table: &WatchTable, watcher: Watcher, path: &str, kind: i32) -> Result<(), ErrorCode> {
    let kind = WatcherKind::from_i32(kind).ok_or(ErrorCode::MarshallingError)?;
    if table.is_armed(watcher, path, kind) { Ok(()) } else { Err(ErrorCode::NoWatcher) }
}

pub(super) fn remove(table: &mut WatchTable, watcher: Watcher, path: &str, kind: i32) -> Result<(), ErrorCode> {
    let kind = WatcherKind::from_i32(kind).ok_or(ErrorCode::MarshallingError)?;
    if table.disarm(watcher, path, kind) { Ok(()) } else { Err(ErrorCode::NoWatcher) }
}

/// The paths of a list that can exist at all.
fn valid<'a>(list: &'a [Cow<'_, str>]) -> impl Iterator<Item = &'a str> {
    list.iter().map(|path| &**path).filter(|path| path::is_valid(path))
}

impl Shard {
    /// What a reconnecting client missed is told now, the rest is set again (parity WA-50..WA-56). Events come
    /// before the reply. Paths that can never exist are passed over (UB-08), and news of znodes the client may
    /// not read is kept from it (UB-07).
    pub(super) fn set_watches(&mut self, conn: ConnId, lists: &SetWatches<'_>) {
        let since = lists.relative_zxid;
        let Shard { conns, tree, watches, settings, stats, metrics, .. } = self;
        let Some(c) = conns.get_mut(conn) else { return };
        let slot = conn.slot;
        let mut tell = |kind: EventKind, path: &str| {
            let may_read = tree.get(path).is_none_or(|node| {
                node.acl_id() == AclId::OPEN || acl::permits(node.acl(), &c.ids, Perms::READ, &settings.auth)
            });
            if may_read {
                let start = c.output.len();
                reply::event(&mut c.output, Zxid::NONE, kind, path);
                let bytes = c.output.len() - start - 4; // the length itself is not counted
                stats.response_sizes.add(bytes);
                metrics.count_by(Counter::WatchBytes, bytes as u64);
                c.stats.sent += 1;
                stats.sent += 1;
            }
        };
        for path in valid(&lists.data) {
            match tree.get(path) {
                None => tell(EventKind::NodeDeleted, path),
                Some(node) if node.znode().mzxid() > since => tell(EventKind::NodeDataChanged, path),
                Some(_) => watches.arm(slot, path, Mode::Data),
            }
        }
        for path in valid(&lists.exist) {
            match tree.get(path) {
                Some(_) => tell(EventKind::NodeCreated, path),
                None => watches.arm(slot, path, Mode::Data),
            }
        }
        for path in valid(&lists.child) {
            match tree.get(path) {
                None => tell(EventKind::NodeDeleted, path),
                Some(node) if node.pzxid() > since => tell(EventKind::NodeChildrenChanged, path),
                Some(_) => watches.arm(slot, path, Mode::Child),
            }
        }
        valid(&lists.persistent).for_each(|path| watches.arm(slot, path, Mode::Persistent));
        valid(&lists.persistent_recursive).for_each(|path| watches.arm(slot, path, Mode::Recursive));
    }

    /// Tells everybody who waits for this change of `path`. The event is encoded once; each watcher costs a
    /// copy of its bytes. The READ filter judges by the znode's ACL, so a deletion is told before it is
    /// absorbed (parity WA-34).
    pub(super) fn fire(&mut self, kind: EventKind, path: &str, zxid: Zxid, now: Now, out: &mut Effects) {
        let mut hit = std::mem::take(&mut self.hit);
        hit.clear();
        let (data_matches, child_matches) = self.watches.fire(kind, path, &mut hit);
        let counted = match kind {
            EventKind::NodeCreated => Basic::NodeCreatedWatchCount,
            EventKind::NodeDeleted => Basic::NodeDeletedWatchCount,
            EventKind::NodeDataChanged => Basic::NodeChangedWatchCount,
            EventKind::NodeChildrenChanged => Basic::NodeChildrenWatchCount,
        };
        for matches in [data_matches, child_matches] {
            if matches > 0 {
                self.metrics.add(counted, matches as u64);
            }
        }
        if !hit.is_empty() {
            self.tell(&hit, kind, path, zxid, now, out);
        }
        self.hit = hit;
    }

    fn tell(&mut self, hit: &[Watcher], kind: EventKind, path: &str, zxid: Zxid, now: Now, out: &mut Effects) {
        self.event.clear();
        reply::event(&mut self.event, zxid, kind, path);
        let list = self.tree.get(path).filter(|node| node.acl_id() != AclId::OPEN).map(|node| node.acl());
        let mut full = Vec::new();
        for watcher in hit {
            let Some(c) = self.conns.in_slot(*watcher) else { continue };
            if list.is_some_and(|list| !acl::permits(list, &c.ids, Perms::READ, &self.settings.auth)) {
                continue;
            }
            c.output.extend_from_slice(&self.event);
            c.stats.sent += 1;
            self.stats.sent += 1;
            let bytes = self.event.len() - 4; // the length itself is not counted
            self.stats.response_sizes.add(bytes);
            self.metrics.count_by(Counter::WatchBytes, bytes as u64);
            mark_dirty(c, out);
            if c.output.len() > limits::CONN_OUTPUT_MAX_BYTES {
                full.push(c.id);
            }
        }
        for conn in full {
            self.fault(conn, "client does not read its events", true, now, out);
        }
    }
}

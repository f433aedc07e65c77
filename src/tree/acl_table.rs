//! Interned ACL lists: most znodes share a handful (parity ZN-69, disk formats 3.4).
//!
//! Ids are this server's own. The replica's tree counts who uses a list; a shard's copy is told when a list
//! comes and goes.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::znode::AclId;
use crate::base::{Acl, AclList, Id, open_acl};

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub list: AclList,
    pub users: u64,
}

#[derive(Clone)]
pub(super) struct AclTable {
    entries: BTreeMap<AclId, Entry>,
    ids: HashMap<AclList, AclId, foldhash::fast::FixedState>,
    next: u32,
    open: AclList,
    /// What a znode has whose list is not in the table (a fuzzy snapshot, disk formats 4): nothing allowed.
    sealed: AclList,
}

impl AclTable {
    pub fn new() -> AclTable {
        AclTable {
            entries: BTreeMap::new(),
            ids: HashMap::default(),
            next: 1,
            open: open_acl(),
            sealed: [Acl { perms: 0, id: Id::new("world", "anyone") }].into(),
        }
    }

    pub fn list(&self, id: AclId) -> &AclList {
        if id == AclId::OPEN {
            return &self.open;
        }
        self.entries.get(&id).map_or(&self.sealed, |entry| &entry.list)
    }

    pub fn iter(&self) -> impl Iterator<Item = (AclId, &AclList)> {
        self.entries.iter().map(|(id, entry)| (*id, &entry.list))
    }

    pub fn entry(&self, id: AclId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// The id of a list that is in the table, or is open to everybody. An empty list means open.
    pub fn id_of(&self, list: &[Acl]) -> Option<AclId> {
        if list.is_empty() || *list == *self.open { Some(AclId::OPEN) } else { self.ids.get(list).copied() }
    }

    /// An id nobody has.
    pub fn fresh_id(&self) -> AclId {
        let mut id = self.next;
        while id == AclId::OPEN.0 || self.entries.contains_key(&AclId(id)) {
            id = id.wrapping_add(1);
        }
        AclId(id)
    }

    /// Sets the counter that [`AclTable::fresh_id`] starts from; hands out the one before.
    pub fn set_next(&mut self, next: u32) -> u32 {
        std::mem::replace(&mut self.next, next)
    }

    pub fn next(&self) -> u32 {
        self.next
    }

    /// Ids that znodes wear without a list are never given to another list.
    pub fn skip(&mut self, id: AclId) {
        self.next = self.next.max(id.0.wrapping_add(1));
    }

    /// Puts a list (or a count) in place, or takes it out.
    pub fn set(&mut self, id: AclId, entry: Option<Entry>) {
        match entry {
            Some(entry) => {
                self.ids.insert(entry.list.clone(), id);
                self.entries.insert(id, entry);
            }
            None => {
                if let Some(entry) = self.entries.remove(&id) {
                    // Two ids may carry the same list (an imported table); the other one keeps the name.
                    if self.ids.get(&entry.list) == Some(&id) {
                        self.ids.remove(&entry.list);
                    }
                }
            }
        }
    }

    /// One user more or fewer of a list in the table; the count that results, `None` for an unknown id.
    pub fn count(&mut self, id: AclId, by: i64) -> Option<u64> {
        let entry = self.entries.get_mut(&id)?;
        entry.users = entry.users.saturating_add_signed(by);
        Some(entry.users)
    }

    /// Drops the lists nobody uses.
    pub fn sweep(&mut self) {
        let idle: Vec<AclId> = self.entries.iter().filter(|(_, e)| e.users == 0).map(|(id, _)| *id).collect();
        for id in idle {
            self.set(id, None);
        }
    }
}

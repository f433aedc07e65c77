//! Who must hear what: one connection's watches as a flat set, scanned end to end for every change
//! (invariants 9, 10; parity WA-10..WA-61).

use std::collections::BTreeSet;

use super::client::{Event, NODE_CHILDREN_CHANGED, NODE_CREATED, NODE_DATA_CHANGED, NODE_DELETED};
use super::judge::{permits, valid};
use super::model::{Model, Trigger};
use crate::base::{Acl, Id, Perms};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Table {
    Data,
    Child,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mode {
    Standard,
    Persistent,
    Recursive,
}

/// The watches of one connection.
#[derive(Clone, Debug, Default)]
pub struct Watches {
    set: BTreeSet<(String, Table, Mode)>,
}

impl Watches {
    /// "" is the root, as for every read.
    pub fn arm(&mut self, path: &str, table: Table, mode: Mode) {
        self.set.insert((key(path).to_string(), table, mode));
    }

    /// addWatch and the persistent lists of setWatches2.
    pub fn add(&mut self, path: &str, recursive: bool) {
        if recursive {
            self.arm(path, Table::Data, Mode::Recursive);
        } else {
            self.arm(path, Table::Data, Mode::Persistent);
            self.arm(path, Table::Child, Mode::Persistent);
        }
    }

    fn has(&self, path: &str, table: Table, mode: Mode) -> bool {
        self.set.contains(&(path.to_string(), table, mode))
    }

    /// The watches checkWatches and removeWatches mean by `kind` (parity WA-60, WA-61).
    fn of_kind(&self, path: &str, kind: i32) -> Vec<(String, Table, Mode)> {
        let means = |table: Table, mode: Mode| match kind {
            1 => (table, mode) == (Table::Child, Mode::Standard),
            2 => (table, mode) == (Table::Data, Mode::Standard),
            3 => true,
            4 => mode == Mode::Persistent,
            5 => (table, mode) == (Table::Data, Mode::Recursive),
            _ => false,
        };
        self.set.iter().filter(|(at, table, mode)| at == key(path) && means(*table, *mode)).cloned().collect()
    }

    pub fn any_of_kind(&self, path: &str, kind: i32) -> bool {
        !self.of_kind(path, kind).is_empty()
    }

    pub fn remove(&mut self, path: &str, kind: i32) -> bool {
        let gone = self.of_kind(path, kind);
        gone.iter().for_each(|watch| {
            self.set.remove(watch);
        });
        !gone.is_empty()
    }

    /// What the connection hears of one change; one-shot watches are used up even if READ is lacking (WA-35).
    pub fn fire(&mut self, trigger: &Trigger, ids: &[Id]) -> Vec<Event> {
        let mut heard = Vec::new();
        let mut tell = |matched: bool, acl: &[Acl], kind: i32, path: &str| {
            if matched && permits(acl, ids, Perms::READ) {
                heard.push(Event { kind, path: path.to_string() });
            }
        };
        match trigger {
            Trigger::Created(path, acl) => tell(self.take(path, Table::Data), acl, NODE_CREATED, path),
            Trigger::DataChanged(path, acl) => tell(self.take(path, Table::Data), acl, NODE_DATA_CHANGED, path),
            Trigger::ChildrenChanged(path, acl) => {
                tell(self.take(path, Table::Child), acl, NODE_CHILDREN_CHANGED, path)
            }
            Trigger::Deleted(path, acl) => {
                // Both tables are used up, but one connection hears of it once (WA-22).
                let (data, child) = (self.take(path, Table::Data), self.take(path, Table::Child));
                tell(data || child, acl, NODE_DELETED, path);
            }
        }
        heard
    }

    fn take(&mut self, path: &str, table: Table) -> bool {
        let standard = self.set.remove(&(path.to_string(), table, Mode::Standard));
        let persistent = self.has(path, table, Mode::Persistent);
        let recursive = table == Table::Data
            && self.set.iter().any(|(at, _, mode)| {
                *mode == Mode::Recursive
                    && (at == path
                        || at == "/"
                        || path.strip_prefix(at.as_str()).is_some_and(|rest| rest.starts_with('/')))
            });
        standard || persistent || recursive
    }

    /// setWatches at `zxid`: what is armed, and what is told at once, in order (parity WA-50..57). Nobody learns
    /// of a znode that he may not read (against WA-36), and what cannot be a path is passed over.
    pub fn set(&mut self, lists: &[Vec<String>; 5], relative: i64, model: &Model, zxid: i64, ids: &[Id]) -> Vec<Event> {
        let mut now = Vec::new();
        let mut tell = |kind: i32, path: &str| {
            if model.node_at(path, zxid).is_none_or(|node| permits(&node.acl, ids, Perms::READ)) {
                now.push(Event { kind, path: path.to_string() });
            }
        };
        for path in lists[0].iter().filter(|path| valid(path)) {
            match model.node_at(path, zxid) {
                None => tell(NODE_DELETED, path),
                Some(node) if node.mzxid > relative => tell(NODE_DATA_CHANGED, path),
                Some(_) => self.arm(path, Table::Data, Mode::Standard),
            }
        }
        for path in lists[1].iter().filter(|path| valid(path)) {
            match model.node_at(path, zxid) {
                Some(_) => tell(NODE_CREATED, path),
                None => self.arm(path, Table::Data, Mode::Standard),
            }
        }
        for path in lists[2].iter().filter(|path| valid(path)) {
            match model.node_at(path, zxid) {
                None => tell(NODE_DELETED, path),
                Some(node) if node.pzxid > relative => tell(NODE_CHILDREN_CHANGED, path),
                Some(_) => self.arm(path, Table::Child, Mode::Standard),
            }
        }
        lists[3].iter().filter(|path| valid(path)).for_each(|path| self.add(path, false));
        lists[4].iter().filter(|path| valid(path)).for_each(|path| self.add(path, true));
        now
    }
}

fn key(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

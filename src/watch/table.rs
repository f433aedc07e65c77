//! The watch table: a graph between paths and watchers, with one edge for each pair.
//!
//! ```text
//!   path "/a" --- edges [0, 2] ---+        edge 0: ("/a", watcher 7), modes: data, recursive
//!   path "/b" --- edges [1]    --+|        edge 1: ("/b", watcher 7), modes: child
//!   watcher 7 --- edges [0, 1] --++        edge 2: ("/a", watcher 9), modes: data
//! ```
//!
//! An edge knows its place in both lists, so taking one out costs the same however many watch a path and
//! however many paths one watches: a popular path can be left, and a busy client closed, in constant time
//! per watch. ZooKeeper's two tables (data, child) are bits of the edge (ZK: WatchManager, DataTree).

use hashbrown::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

use crate::base::path;
use crate::codec::reply::EventKind;

/// Whoever waits: the shard's slot of a connection.
pub type Watcher = u32;

/// How a watch is set (parity WA-11, WA-13).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// getData and exists: once, data table.
    Data,
    /// getChildren: once, child table.
    Child,
    /// addWatch 0: both tables, stays.
    Persistent,
    /// addWatch 1: data table, the whole subtree, stays.
    Recursive,
}

/// What checkWatches and removeWatches name (parity WA-04).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatcherKind {
    Children,
    Data,
    Any,
    Persistent,
    Recursive,
}

impl WatcherKind {
    /// The kind of that number on the wire; `None` is answered with -5.
    pub fn from_i32(kind: i32) -> Option<WatcherKind> {
        Some(match kind {
            1 => WatcherKind::Children,
            2 => WatcherKind::Data,
            3 => WatcherKind::Any,
            4 => WatcherKind::Persistent,
            5 => WatcherKind::Recursive,
            _ => return None,
        })
    }
}

const DATA: u8 = 1;
const DATA_PERSISTENT: u8 = 2;
const DATA_RECURSIVE: u8 = 4;
const CHILD: u8 = 8;
const CHILD_PERSISTENT: u8 = 16;
const DATA_TABLE: u8 = DATA | DATA_PERSISTENT | DATA_RECURSIVE;
const CHILD_TABLE: u8 = CHILD | CHILD_PERSISTENT;

#[derive(Clone, Copy, Debug)]
struct Edge {
    path: u32,
    watcher: Watcher,
    at_path: u32,
    at_watcher: u32,
    modes: u8,
}

#[derive(Debug, Default)]
struct PathEntry {
    path: Box<str>,
    edges: Vec<u32>,
}

#[derive(Debug, Default)]
struct WatcherEntry {
    edges: Vec<u32>,
    /// The trigger that last hit this watcher: one event per trigger, however many ancestors match (WA-29).
    hit_by: u64,
}

// Never iterated, so the order inside cannot be observed; the hasher is fixed so that runs repeat.
type Index<K> = HashMap<K, u32, BuildHasherDefault<DefaultHasher>>;

/// Lives on: every shard core.
#[derive(Debug, Default)]
pub struct WatchTable {
    path_index: Index<Box<str>>,
    paths: Vec<PathEntry>,
    free_paths: Vec<u32>,
    edge_index: Index<(u32, Watcher)>,
    edges: Vec<Edge>,
    free_edges: Vec<u32>,
    watchers: Vec<WatcherEntry>,
    recursive_count: usize,
    data_count: usize,
    child_count: usize,
    trigger: u64,
}

impl WatchTable {
    pub fn new() -> WatchTable {
        WatchTable::default()
    }

    /// Sets a watch. Setting the same one again changes nothing (parity WA-14).
    pub fn arm(&mut self, watcher: Watcher, path: &str, mode: Mode) {
        let modes = match mode {
            Mode::Data => DATA,
            Mode::Child => CHILD,
            Mode::Persistent => DATA_PERSISTENT | CHILD_PERSISTENT,
            Mode::Recursive => DATA_RECURSIVE,
        };
        let path = self.path_entry(path);
        let edge = self.edge_between(path, watcher);
        self.set_modes(edge, self.edges[edge as usize].modes | modes);
    }

    /// What a committed change of `path` sets off in the data table, and for a deletion in the child table
    /// too: the watchers to tell, each once, appended to `hit`. Their standard watches are used up
    /// (parity WA-20..WA-35). Returns the matches per table (parity ME-64).
    ///
    /// `NodeChildrenChanged` is judged on the child table of `path`, which is then the parent.
    pub fn fire(&mut self, kind: EventKind, path: &str, hit: &mut Vec<Watcher>) -> (usize, usize) {
        let start = hit.len();
        self.trigger += 1;
        if kind == EventKind::NodeChildrenChanged {
            self.take(path, CHILD_TABLE, hit);
            return (0, hit.len() - start);
        }
        self.take(path, DATA_TABLE, hit);
        let mut up = if self.recursive_count > 0 { path::parent(path) } else { None };
        while let Some(ancestor) = up {
            self.take_recursive(ancestor, hit);
            up = path::parent(ancestor);
        }
        let data_matches = hit.len() - start;
        if kind != EventKind::NodeDeleted {
            return (data_matches, 0);
        }
        // The two triggers of a deletion tell each connection once between them.
        let child_matches = self.count_matches(path, CHILD_TABLE);
        self.take(path, CHILD_TABLE, hit);
        (data_matches, child_matches)
    }

    /// Whether a watch of that kind is set (parity WA-60).
    pub fn is_armed(&self, watcher: Watcher, path: &str, kind: WatcherKind) -> bool {
        let wanted = match kind {
            WatcherKind::Children => CHILD,
            WatcherKind::Data => DATA,
            WatcherKind::Persistent => DATA_PERSISTENT,
            WatcherKind::Recursive => DATA_RECURSIVE,
            WatcherKind::Any => DATA_TABLE | CHILD_TABLE,
        };
        self.find(watcher, path).is_some_and(|edge| self.edges[edge as usize].modes & wanted != 0)
    }

    /// Takes watches of that kind away; false when there were none (parity WA-61).
    pub fn disarm(&mut self, watcher: Watcher, path: &str, kind: WatcherKind) -> bool {
        let Some(edge) = self.find(watcher, path) else { return false };
        let doomed = match kind {
            WatcherKind::Children => CHILD,
            WatcherKind::Data => DATA,
            WatcherKind::Persistent => DATA_PERSISTENT | CHILD_PERSISTENT,
            WatcherKind::Recursive => DATA_RECURSIVE,
            WatcherKind::Any => DATA_TABLE | CHILD_TABLE,
        };
        let modes = self.edges[edge as usize].modes;
        self.set_modes(edge, modes & !doomed);
        modes & doomed != 0
    }

    /// The connection is gone, and with it all it waited for (parity WA-15).
    pub fn forget(&mut self, watcher: Watcher) {
        let Some(entry) = self.watchers.get_mut(watcher as usize) else { return };
        for edge in std::mem::take(&mut entry.edges) {
            let Edge { path, at_path, modes, .. } = self.edges[edge as usize];
            self.recount(modes, 0);
            self.leave_path(path, watcher, at_path);
            self.free_edges.push(edge);
        }
    }

    /// Watches in both tables (gauge watch_count, parity WA-66).
    pub fn watch_count(&self) -> usize {
        self.data_count + self.child_count
    }

    /// (connection, path) pairs of the data table (`wchs`).
    pub fn data_watch_count(&self) -> usize {
        self.data_count
    }

    pub fn is_empty(&self) -> bool {
        self.watch_count() == 0
    }

    /// Paths with a watch in the data table, in no particular (but repeatable) order.
    pub fn data_paths(&self) -> impl Iterator<Item = &str> {
        self.paths
            .iter()
            .filter(|entry| entry.edges.iter().any(|e| self.edges[*e as usize].modes & DATA_TABLE != 0))
            .map(|entry| &*entry.path)
    }

    /// Paths `watcher` has a watch on in the data table.
    pub fn data_paths_of(&self, watcher: Watcher) -> impl Iterator<Item = &str> {
        let edges = self.watchers.get(watcher as usize).map_or(&[][..], |entry| &entry.edges);
        edges
            .iter()
            .map(|edge| &self.edges[*edge as usize])
            .filter(|edge| edge.modes & DATA_TABLE != 0)
            .map(|edge| &*self.paths[edge.path as usize].path)
    }

    fn find(&self, watcher: Watcher, path: &str) -> Option<u32> {
        let path = self.path_index.get(path)?;
        self.edge_index.get(&(*path, watcher)).copied()
    }

    fn path_entry(&mut self, path: &str) -> u32 {
        if let Some(at) = self.path_index.get(path) {
            return *at;
        }
        let entry = PathEntry { path: path.into(), edges: Vec::new() };
        let at = match self.free_paths.pop() {
            Some(at) => {
                self.paths[at as usize] = entry;
                at
            }
            None => {
                self.paths.push(entry);
                (self.paths.len() - 1) as u32
            }
        };
        self.path_index.insert(path.into(), at);
        at
    }

    fn edge_between(&mut self, path: u32, watcher: Watcher) -> u32 {
        if let Some(edge) = self.edge_index.get(&(path, watcher)) {
            return *edge;
        }
        if self.watchers.len() <= watcher as usize {
            self.watchers.resize_with(watcher as usize + 1, WatcherEntry::default);
        }
        let at_path = self.paths[path as usize].edges.len() as u32;
        let at_watcher = self.watchers[watcher as usize].edges.len() as u32;
        let edge = Edge { path, watcher, at_path, at_watcher, modes: 0 };
        let at = match self.free_edges.pop() {
            Some(at) => {
                self.edges[at as usize] = edge;
                at
            }
            None => {
                self.edges.push(edge);
                (self.edges.len() - 1) as u32
            }
        };
        self.paths[path as usize].edges.push(at);
        self.watchers[watcher as usize].edges.push(at);
        self.edge_index.insert((path, watcher), at);
        at
    }

    /// Everybody with one of `table`'s modes on this exact path; standard watches are used up.
    fn take(&mut self, path: &str, table: u8, hit: &mut Vec<Watcher>) {
        const ONCE: u8 = DATA | CHILD;
        let Some(path) = self.path_index.get(path).copied() else { return };
        // From the back, because an edge that goes is replaced by the last one.
        for i in (0..self.paths[path as usize].edges.len()).rev() {
            let at = self.paths[path as usize].edges[i];
            let Edge { watcher, modes, .. } = self.edges[at as usize];
            if modes & table == 0 {
                continue;
            }
            let entry = &mut self.watchers[watcher as usize];
            if entry.hit_by != self.trigger {
                entry.hit_by = self.trigger;
                hit.push(watcher);
            }
            self.set_modes(at, modes & !(table & ONCE));
        }
    }

    fn take_recursive(&mut self, path: &str, hit: &mut Vec<Watcher>) {
        let Some(path) = self.path_index.get(path).copied() else { return };
        for edge in &self.paths[path as usize].edges {
            let Edge { watcher, modes, .. } = self.edges[*edge as usize];
            let entry = &mut self.watchers[watcher as usize];
            if modes & DATA_RECURSIVE != 0 && entry.hit_by != self.trigger {
                entry.hit_by = self.trigger;
                hit.push(watcher);
            }
        }
    }

    fn count_matches(&self, path: &str, table: u8) -> usize {
        let Some(path) = self.path_index.get(path).copied() else { return 0 };
        self.paths[path as usize].edges.iter().filter(|edge| self.edges[**edge as usize].modes & table != 0).count()
    }

    fn set_modes(&mut self, edge: u32, modes: u8) {
        let before = std::mem::replace(&mut self.edges[edge as usize].modes, modes);
        self.recount(before, modes);
        if modes == 0 {
            self.remove_edge(edge);
        }
    }

    fn recount(&mut self, before: u8, after: u8) {
        let moved = |count: &mut usize, table: u8| match (before & table != 0, after & table != 0) {
            (false, true) => *count += 1,
            (true, false) => *count -= 1,
            _ => {}
        };
        moved(&mut self.recursive_count, DATA_RECURSIVE);
        moved(&mut self.data_count, DATA_TABLE);
        moved(&mut self.child_count, CHILD_TABLE);
    }

    fn remove_edge(&mut self, edge: u32) {
        let Edge { path, watcher, at_path, at_watcher, .. } = self.edges[edge as usize];
        let of_watcher = &mut self.watchers[watcher as usize].edges;
        of_watcher.swap_remove(at_watcher as usize);
        if let Some(moved) = of_watcher.get(at_watcher as usize) {
            self.edges[*moved as usize].at_watcher = at_watcher;
        }
        if of_watcher.is_empty() {
            *of_watcher = Vec::new();
        }
        self.leave_path(path, watcher, at_path);
        self.free_edges.push(edge);
    }

    fn leave_path(&mut self, path: u32, watcher: Watcher, at_path: u32) {
        self.edge_index.remove(&(path, watcher));
        let entry = &mut self.paths[path as usize];
        entry.edges.swap_remove(at_path as usize);
        if let Some(moved) = entry.edges.get(at_path as usize) {
            self.edges[*moved as usize].at_path = at_path;
        }
        if entry.edges.is_empty() {
            let gone = std::mem::take(&mut self.paths[path as usize]);
            self.path_index.remove(&gone.path);
            self.free_paths.push(path);
        }
    }
}

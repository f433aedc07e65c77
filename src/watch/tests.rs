//! The table against a list scanned end to end, which is the rules of parity section 4 written down.

use super::*;
use crate::base::{Dice, path};
use crate::codec::reply::EventKind;

/// One line per watch: who, where, how. ZK: the sum of WatchManager's two instances.
#[derive(Default)]
struct StupidList(Vec<(Watcher, String, Mode)>);

impl StupidList {
    fn arm(&mut self, watcher: Watcher, path: &str, mode: Mode) {
        let line = (watcher, path.to_owned(), mode);
        if !self.0.contains(&line) {
            self.0.push(line);
        }
    }

    fn fire(&mut self, kind: EventKind, path: &str) -> Vec<Watcher> {
        let is_under = |top: &str| top == "/" || path == top || path.starts_with(&format!("{top}/"));
        let matches = |(_, at, mode): &(Watcher, String, Mode)| match (kind, mode) {
            (EventKind::NodeChildrenChanged, Mode::Child | Mode::Persistent) => at == path,
            (EventKind::NodeChildrenChanged, _) => false,
            (EventKind::NodeDeleted, Mode::Child) => at == path,
            (_, Mode::Child) => false,
            (_, Mode::Data | Mode::Persistent) => at == path,
            (_, Mode::Recursive) => is_under(at),
        };
        let mut hit: Vec<Watcher> = self.0.iter().filter(|line| matches(line)).map(|line| line.0).collect();
        hit.sort_unstable();
        hit.dedup();
        self.0.retain(|line| !(matches(line) && matches!(line.2, Mode::Data | Mode::Child)));
        hit
    }

    fn has(&self, watcher: Watcher, path: &str, kind: WatcherKind) -> bool {
        self.0.iter().any(|(who, at, mode)| *who == watcher && at == path && is_kind(*mode, kind))
    }

    fn disarm(&mut self, watcher: Watcher, path: &str, kind: WatcherKind) -> bool {
        let before = self.0.len();
        self.0.retain(|(who, at, mode)| !(*who == watcher && at == path && is_kind(*mode, kind)));
        self.0.len() < before
    }

    fn counts(&self) -> (usize, usize) {
        let mut pairs = [Vec::new(), Vec::new()];
        for (who, at, mode) in &self.0 {
            if *mode != Mode::Child {
                pairs[0].push((who, at));
            }
            if matches!(mode, Mode::Child | Mode::Persistent) {
                pairs[1].push((who, at));
            }
        }
        let [data, child] = pairs.map(|mut table| {
            table.sort_unstable();
            table.dedup();
            table.len()
        });
        (data, data + child)
    }
}

fn is_kind(mode: Mode, kind: WatcherKind) -> bool {
    matches!(
        (mode, kind),
        (_, WatcherKind::Any)
            | (Mode::Child, WatcherKind::Children)
            | (Mode::Data, WatcherKind::Data)
            | (Mode::Persistent, WatcherKind::Persistent)
            | (Mode::Recursive, WatcherKind::Recursive)
    )
}

#[test]
fn agrees_with_a_list_scanned_end_to_end() {
    const PATHS: [&str; 9] = ["/", "/a", "/a/b", "/a/b/c", "/a/bc", "/d", "/d/e", "/ab", "/a/b/c/d"];
    const MODES: [Mode; 4] = [Mode::Data, Mode::Child, Mode::Persistent, Mode::Recursive];
    const KINDS: [WatcherKind; 5] =
        [WatcherKind::Children, WatcherKind::Data, WatcherKind::Any, WatcherKind::Persistent, WatcherKind::Recursive];
    const EVENTS: [EventKind; 4] =
        [EventKind::NodeCreated, EventKind::NodeDeleted, EventKind::NodeDataChanged, EventKind::NodeChildrenChanged];
    for seed in 1..40u64 {
        let mut dice = Dice(seed);
        let (mut table, mut list) = (WatchTable::new(), StupidList::default());
        for step in 0..600 {
            let path = PATHS[dice.below(PATHS.len() as u64) as usize];
            let watcher = dice.below(6) as Watcher;
            match dice.below(10) {
                0..=4 => {
                    let mode = MODES[dice.below(4) as usize];
                    table.arm(watcher, path, mode);
                    list.arm(watcher, path, mode);
                }
                5..=7 => {
                    let kind = EVENTS[dice.below(4) as usize];
                    let mut hit = Vec::new();
                    table.fire(kind, path, &mut hit);
                    hit.sort_unstable();
                    assert_eq!(hit, list.fire(kind, path), "seed {seed} step {step}: {kind:?} {path}");
                }
                8 => {
                    let kind = KINDS[dice.below(5) as usize];
                    assert_eq!(table.is_armed(watcher, path, kind), list.has(watcher, path, kind));
                    assert_eq!(table.disarm(watcher, path, kind), list.disarm(watcher, path, kind));
                }
                _ => {
                    table.forget(watcher);
                    list.0.retain(|line| line.0 != watcher);
                }
            }
            let mut paths: Vec<&str> = table.data_paths().collect();
            paths.sort_unstable();
            let mut expected: Vec<&str> =
                list.0.iter().filter(|line| line.2 != Mode::Child).map(|line| &*line.1).collect();
            expected.sort_unstable();
            expected.dedup();
            assert_eq!(paths, expected, "seed {seed} step {step}");
            assert_eq!((table.data_watch_count(), table.watch_count()), list.counts(), "seed {seed} step {step}");
        }
        for watcher in 0..6 {
            table.forget(watcher);
        }
        assert!(table.is_empty());
        assert_eq!(table.data_paths().count(), 0);
    }
}

#[test]
fn matches_are_counted_per_table() {
    let mut table = WatchTable::new();
    table.arm(1, "/a", Mode::Data);
    table.arm(1, "/a", Mode::Child);
    table.arm(2, "/a", Mode::Child);
    table.arm(3, "/", Mode::Recursive);
    let mut hit = Vec::new();
    assert_eq!(table.fire(EventKind::NodeDeleted, "/a", &mut hit), (2, 2));
    hit.sort_unstable();
    assert_eq!(hit, [1, 2, 3]);
    assert_eq!(table.watch_count(), 1);
}

#[test]
fn the_parent_of_a_top_level_node_is_the_root() {
    let mut table = WatchTable::new();
    table.arm(1, "/", Mode::Child);
    let mut hit = Vec::new();
    table.fire(EventKind::NodeChildrenChanged, path::parent("/x").unwrap(), &mut hit);
    assert_eq!(hit, [1]);
}

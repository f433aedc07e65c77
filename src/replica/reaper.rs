//! Which containers and TTL nodes to delete, and how fast (parity ZN-42..47). ZK: ContainerManager.

use std::collections::VecDeque;

use super::ReaperSettings;
use crate::base::{Instant, Now};
use crate::tree::Tree;

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

    /// What may be deleted now. The caller judges each again: a find may have got a child since.
    pub(super) fn due(&mut self, tree: &Tree, now: Now) -> Vec<Box<str>> {
        if now.mono >= self.next_scan {
            self.next_scan = now.mono.plus_ms(self.settings.check_interval_ms);
            let never_used_ms = self.settings.max_never_used_ms.map(|ms| ms as i64);
            self.found = tree.reapable(now.wall, never_used_ms).into();
            self.next_delete = now.mono;
        }
        let mut due = Vec::new();
        while now.mono >= self.next_delete
            && let Some(path) = self.found.pop_front()
        {
            due.push(path);
            self.next_delete = Instant(self.next_delete.0 + self.gap_micros);
        }
        due
    }
}

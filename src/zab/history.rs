//! The last committed transactions, and how a learner that knows some history is brought to ours.
//!
//! ZK: ZKDatabase.committedLog and LearnerHandler.syncFollower. The records are kept as they travel and as they are
//! logged: one encoding for disk, followers and this cache.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::base::Zxid;

/// A contiguous stretch of committed transactions, the last one the newest there is.
#[derive(Debug)]
pub struct History {
    records: VecDeque<(Zxid, Bytes)>,
    /// The last committed transaction, also when none is kept.
    last: Zxid,
    count_max: usize,
    bytes: usize,
}

/// Bytes of records kept at most, whatever their count: a thousand large writes must not cost a gigabyte.
const BYTES_MAX: usize = 64 << 20;

/// How a learner gets from its last transaction to ours (spec: quorum 8.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// It keeps what it has; `zxid` goes into the packet, records above `after` follow.
    Diff {
        zxid: Zxid,
        after: Zxid,
    },
    /// It cuts what lies above `to`, then as for `Diff` with what is above `to`.
    Trunc {
        to: Zxid,
    },
    /// Older than what is kept: perhaps the journal on disk reaches back to it.
    Older,
    Snap,
}

impl History {
    /// An empty history of a state at `last`. `count_max`: `commitLogCount`, at least 500.
    pub fn new(last: Zxid, count_max: usize) -> History {
        History { records: VecDeque::new(), last, count_max: count_max.max(500), bytes: 0 }
    }

    pub fn last(&self) -> Zxid {
        self.last
    }

    /// The oldest kept transaction.
    pub fn oldest(&self) -> Option<Zxid> {
        self.records.front().map(|(zxid, _)| *zxid)
    }

    /// One more was committed. One that does not continue the last one within its epoch starts the cache anew:
    /// a DIFF is only ever made of what is known to be contiguous (ZOOKEEPER-4925).
    pub fn push(&mut self, zxid: Zxid, record: Bytes) {
        if !self.last.is_proposed_before(zxid) {
            self.restart(Zxid(zxid.0 - 1));
        }
        self.bytes += record.len();
        self.records.push_back((zxid, record));
        self.last = zxid;
        while self.records.len() > self.count_max || (self.bytes > BYTES_MAX && self.records.len() > 1) {
            let (_, dropped) = self.records.pop_front().expect("there is more than one");
            self.bytes -= dropped.len();
        }
    }

    /// The state is another one now (TRUNC, SNAP): nothing of it is cached.
    pub fn restart(&mut self, last: Zxid) {
        self.records.clear();
        self.bytes = 0;
        self.last = last;
    }

    /// The state is at `last`: what is kept must lead there.
    pub fn restart_if_not_at(&mut self, last: Zxid) {
        if self.last != last {
            self.restart(last);
        }
    }

    /// The kept records above `after`, oldest first.
    pub fn above(&self, after: Zxid) -> impl Iterator<Item = &(Zxid, Bytes)> {
        let from = self.records.partition_point(|(zxid, _)| *zxid <= after);
        self.records.range(from..)
    }

    /// What to do for a learner whose last logged transaction is `peer`. First match wins, as in the reference.
    pub fn plan(&self, peer: Zxid, force_snap: bool) -> Plan {
        // A zxid with counter 0 belongs to no transaction: an epoch was begun, and nothing written in it.
        let bare_epoch = peer.counter() == 0;
        if force_snap || peer.0 < 0 {
            return Plan::Snap; // A learner without data says -1.
        }
        if peer == self.last {
            return Plan::Diff { zxid: peer, after: peer };
        }
        let Some(oldest) = self.oldest() else {
            return match peer > self.last && !bare_epoch {
                true => self.trunc_to(peer, self.last),
                false if peer < self.last => Plan::Older,
                false => Plan::Snap,
            };
        };
        if peer > self.last {
            return if bare_epoch { Plan::Snap } else { self.trunc_to(peer, self.last) };
        }
        if peer < oldest {
            return Plan::Older;
        }
        let at = self.records.partition_point(|(zxid, _)| *zxid < peer);
        let found = self.records[at].0;
        if found == peer {
            return Plan::Diff { zxid: self.last, after: peer };
        }
        match at.checked_sub(1).map(|before| self.records[before].0) {
            // It began this epoch and wrote nothing in it: it has what was there before.
            Some(before) if bare_epoch => Plan::Diff { zxid: self.last, after: before },
            Some(before) if found.epoch() == peer.epoch() => self.trunc_to(peer, before),
            _ => Plan::Snap,
        }
    }

    /// TRUNC never crosses an epoch: a learner of the reference ends itself on such a one.
    fn trunc_to(&self, peer: Zxid, to: Zxid) -> Plan {
        if peer.epoch() == to.epoch() { Plan::Trunc { to } } else { Plan::Snap }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_epochs() -> History {
        let mut history = History::new(Zxid::ZERO, 500);
        for epoch in 1..=2 {
            for counter in 1..=4 {
                history.push(Zxid(epoch << 32 | counter), Bytes::from_static(b"txn"));
            }
        }
        history
    }

    /// The answers of a server of the reference with the same history (spec: quorum 8.1, observed).
    #[test]
    fn plans_are_the_references() {
        let history = two_epochs();
        let diff = |after| Plan::Diff { zxid: Zxid(0x2_0000_0004), after: Zxid(after) };
        let cases = [
            (0x2_0000_0004, diff(0x2_0000_0004)),
            (0x2_0000_0002, diff(0x2_0000_0002)),
            (0x2_0000_0000, diff(0x1_0000_0004)),
            (0x1_0000_0004, diff(0x1_0000_0004)),
            (0x1_0000_0002, diff(0x1_0000_0002)),
            (0x1_0000_0009, Plan::Snap),
            (0x2_0000_0099, Plan::Trunc { to: Zxid(0x2_0000_0004) }),
            (0x5_0000_0000, Plan::Snap),
            // Below the cache; the reference looks at its log on disk and comes to SNAP for these.
            (0x1_0000_0000, Plan::Older),
            (0, Plan::Older),
            (-1, Plan::Snap),
        ];
        for (peer, plan) in cases {
            assert_eq!(history.plan(Zxid(peer), false), plan, "{peer:#x}");
        }
        assert_eq!(history.plan(Zxid(0x2_0000_0004), true), Plan::Snap);
    }

    #[test]
    fn a_gap_empties_the_cache() {
        let mut history = two_epochs();
        history.push(Zxid(0x2_0000_0006), Bytes::new());
        assert_eq!(history.oldest(), Some(Zxid(0x2_0000_0006)));
        assert_eq!(history.plan(Zxid(0x2_0000_0004), false), Plan::Older);
        assert_eq!(history.above(Zxid(0x2_0000_0005)).count(), 1);
    }

    #[test]
    fn an_empty_cache_knows_only_its_end() {
        let history = History::new(Zxid(0x1_0000_0007), 500);
        assert!(matches!(history.plan(Zxid(0x1_0000_0007), false), Plan::Diff { .. }));
        assert_eq!(history.plan(Zxid(0x1_0000_0009), false), Plan::Trunc { to: Zxid(0x1_0000_0007) });
        assert_eq!(history.plan(Zxid(0x1_0000_0003), false), Plan::Older);
        assert_eq!(history.plan(Zxid(0x2_0000_0001), false), Plan::Snap);
    }

    #[test]
    fn it_keeps_as_many_as_it_may() {
        let mut history = History::new(Zxid::ZERO, 500);
        for counter in 1..=600 {
            history.push(Zxid(counter), Bytes::from_static(b"txn"));
        }
        assert_eq!((history.oldest(), history.last()), (Some(Zxid(101)), Zxid(600)));
        assert_eq!(history.above(Zxid(598)).map(|(zxid, _)| zxid.0).collect::<Vec<_>>(), [599, 600]);
    }
}

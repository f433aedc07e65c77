//! Sessions that one server alone knows (`localSessionsEnabled`), and how they become everybody's.
//!
//! ```text
//!               open            upgrade               its createSession is in the log
//!   (nowhere) --------> local ----------> upgrading ----------------------------------> global: none of ours any more
//!                        | close, silence
//!                        v
//!                    (nowhere), without a trace in any log
//! ```
//!
//! A session is at one of these places and never at two, so there is never a question which end of it counts: a local
//! one is closed here, one on its way is everybody's already and is closed by a transaction, in line behind the one
//! that makes it (ZOOKEEPER-2926, 3471; spec: quorum 11, 25 P-1).
//!
//! ZK: UpgradeableSessionTracker, LocalSessionTracker.

use std::collections::{BTreeMap, BTreeSet};

use super::table::{Owner, SessionTable};
use crate::base::{Instant, Origin, SessionId};

/// A session on its way into the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Upgrading {
    /// The connection its client is on, if it is on one.
    pub owner: Option<Origin>,
    /// What that connection negotiated, in milliseconds.
    pub live_timeout_ms: i32,
}

/// Lives on: the replication core of a member of an ensemble. Empty for ever where local sessions are off.
#[derive(Debug)]
pub struct LocalSessions {
    table: SessionTable,
    upgrading: BTreeMap<SessionId, Upgrading>,
}

impl LocalSessions {
    pub fn new(tick_ms: u64) -> LocalSessions {
        LocalSessions { table: SessionTable::new(tick_ms), upgrading: BTreeMap::new() }
    }

    /// A new session of that connection, with a full timeout from `now` (heard time).
    pub fn open(&mut self, id: SessionId, timeout_ms: i32, owner: Origin, now: Instant) {
        self.table.open(id, timeout_ms, now);
        self.table.set_owner(id, Some(Owner::Conn(owner)));
    }

    /// Known here and nowhere else.
    pub fn is_local(&self, id: SessionId) -> bool {
        self.table.contains(id)
    }

    /// Asked to be everybody's, and not in the log yet.
    pub fn is_upgrading(&self, id: SessionId) -> bool {
        self.upgrading.contains_key(&id)
    }

    /// Where the client of such a session is, local or upgrading.
    pub fn owner(&self, id: SessionId) -> Option<Origin> {
        match self.upgrading.get(&id) {
            Some(upgrading) => upgrading.owner,
            None => self.table.owner(id).and_then(Owner::conn),
        }
    }

    /// A local session was heard at `heard` (heard time); `false` if there is no such.
    pub fn hear(&mut self, id: SessionId, heard: Instant) -> bool {
        self.table.hear(id, heard)
    }

    /// The client of a local session is on that connection now; who had it before is handed out.
    pub fn renew(&mut self, id: SessionId, timeout_ms: i32, owner: Origin, now: Instant) -> Option<Origin> {
        let before = self.owner(id);
        if self.table.touch(id, now, timeout_ms) {
            self.table.set_owner(id, Some(Owner::Conn(owner)));
        }
        before.filter(|before| *before != owner)
    }

    /// That connection is gone; a session of it waits for the next one.
    pub fn release(&mut self, id: SessionId, owner: Origin) {
        if self.owner(id) != Some(owner) {
            return;
        }
        match self.upgrading.get_mut(&id) {
            Some(upgrading) => upgrading.owner = None,
            None => self.table.set_owner(id, None),
        }
    }

    /// The end of a local session.
    pub fn close(&mut self, id: SessionId) {
        self.table.close(id);
    }

    /// A local session is to be everybody's: from here on it is closed and judged as such. Returns the timeout it was
    /// opened with, in milliseconds, which is the one every member will know; `None` if it is not local (any more).
    pub fn upgrade(&mut self, id: SessionId) -> Option<i32> {
        let timeout_ms = self.table.timeout_ms(id)?;
        let live_timeout_ms = self.table.live_timeout_ms(id)?;
        let owner = self.table.close(id).and_then(Owner::conn);
        self.upgrading.insert(id, Upgrading { owner, live_timeout_ms });
        Some(timeout_ms)
    }

    /// The session is in the log, by whatever way it came there: no trace of it is left here. Hands out what is to be
    /// carried over.
    pub fn upgraded(&mut self, id: SessionId) -> Option<Upgrading> {
        self.upgrade(id);
        self.upgrading.remove(&id)
    }

    /// Takes the local sessions whose silence is over `heard_through` (heard time), in order of their deadlines, with
    /// the connections that are to be hung up on.
    pub fn expired(&mut self, heard_through: Instant) -> Vec<(SessionId, Option<Origin>)> {
        let ids = self.table.expired(heard_through);
        ids.into_iter().map(|id| (id, self.table.close(id).and_then(Owner::conn))).collect()
    }

    /// The server's role is over, and these with it (ZK: every role has a tracker of its own).
    pub fn clear(&mut self) {
        self.upgrading.clear();
        self.table.clear();
    }

    /// Local ones.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty() && self.upgrading.is_empty()
    }

    /// Deadlines (milliseconds of heard time) and who expires at each, in order: the `dump` word.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, &BTreeSet<SessionId>)> {
        self.table.buckets()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ConnId, ShardId};

    const A: SessionId = SessionId(10);
    const B: SessionId = SessionId(20);

    fn ms(ms: u64) -> Instant {
        Instant(ms * 1000)
    }

    fn conn(slot: u32) -> Origin {
        Origin { shard: ShardId(0), conn: ConnId { slot, generation: 1 } }
    }

    fn opened() -> LocalSessions {
        let mut local = LocalSessions::new(100);
        local.open(A, 250, conn(1), ms(0));
        local
    }

    /// Every place against everything that can happen, and where the session is then.
    #[test]
    fn a_session_is_always_at_one_place() {
        type Event = fn(&mut LocalSessions);
        let events: [(&str, Event); 5] = [
            ("open", |local| local.open(A, 250, conn(1), ms(0))),
            ("close", |local| local.close(A)),
            ("silence", |local| _ = local.expired(ms(1000))),
            ("upgrade", |local| _ = local.upgrade(A)),
            ("in the log", |local| _ = local.upgraded(A)),
        ];
        let place = |local: &LocalSessions| match (local.is_local(A), local.is_upgrading(A)) {
            (false, false) => "nowhere",
            (true, false) => "local",
            (false, true) => "upgrading",
            (true, true) => "at two places",
        };
        let places: [(&str, &[Event]); 3] =
            [("nowhere", &[]), ("local", &[events[0].1]), ("upgrading", &[events[0].1, events[3].1])];
        let mut grid = format!("{:12}", "");
        events.iter().for_each(|(name, _)| grid += &format!("{name:12}"));
        for (name, way) in places {
            grid += &format!("\n{name:12}");
            for (event, happens) in events {
                if event == "open" && name != "nowhere" {
                    grid += &format!("{:12}", "-"); // Ids are given once.
                    continue;
                }
                let mut local = LocalSessions::new(100);
                way.iter().for_each(|step| step(&mut local));
                assert_eq!(place(&local), name);
                happens(&mut local);
                grid += &format!("{:12}", place(&local));
            }
        }
        let printed: Vec<&str> = grid.lines().map(str::trim_end).collect();
        assert_eq!(
            printed,
            [
                "            open        close       silence     upgrade     in the log",
                "nowhere     local       nowhere     nowhere     nowhere     nowhere",
                "local       -           nowhere     nowhere     upgrading   nowhere",
                "upgrading   -           upgrading   upgrading   upgrading   nowhere",
            ]
        );
    }

    #[test]
    fn silence_ends_a_local_session_and_says_whom_to_hang_up_on() {
        let mut local = opened();
        local.open(B, 250, conn(2), ms(0));
        assert!(local.hear(B, ms(90)));
        local.release(B, conn(9));
        local.release(B, conn(2));
        assert_eq!(local.buckets().map(|(at, ids)| (at, ids.len())).collect::<Vec<_>>(), [(300, 1), (400, 1)]);
        assert_eq!(local.expired(ms(300)), [(A, Some(conn(1)))]);
        assert_eq!(local.expired(ms(400)), [(B, None)]);
        assert!(local.is_empty() && !local.hear(A, ms(500)));
    }

    #[test]
    fn a_renewal_is_to_another_connection_and_hands_out_the_one_before() {
        let mut local = opened();
        assert_eq!(local.renew(A, 500, conn(2), ms(10)), Some(conn(1)));
        assert_eq!(local.renew(A, 500, conn(2), ms(10)), None);
        assert_eq!(local.owner(A), Some(conn(2)));
        local.release(A, conn(1));
        assert_eq!(local.owner(A), Some(conn(2)), "the end of the old one is no news");
        local.release(A, conn(2));
        assert_eq!(local.renew(A, 500, conn(3), ms(10)), None);
    }

    /// The stored timeout goes into the log, the one of its connection decides when it expires.
    #[test]
    fn an_upgrade_carries_the_connection_and_both_timeouts_over() {
        let mut local = opened();
        local.renew(A, 900, conn(2), ms(10));
        assert_eq!(local.upgrade(A), Some(250));
        assert_eq!(local.upgrade(A), None, "once");
        assert_eq!(local.owner(A), Some(conn(2)), "requests behind the one that asked for it are as good");
        assert_eq!((local.len(), local.is_empty()), (0, false));
        assert_eq!(local.upgraded(A), Some(Upgrading { owner: Some(conn(2)), live_timeout_ms: 900 }));
        assert_eq!(local.upgraded(A), None);
        local.open(B, 250, conn(3), ms(0));
        local.upgrade(B);
        local.release(B, conn(3));
        assert_eq!(local.upgraded(B), Some(Upgrading { owner: None, live_timeout_ms: 250 }));
    }
}

//! Who lives, and until when: sessions in buckets one tick wide (parity SE-10..SE-17).

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{Instant, LinkId, Origin, SessionId};

/// Where a session's client is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// On a connection of this server.
    Conn(Origin),
    /// On another member's, which follows this leader over that link.
    Learner(LinkId),
}

impl Owner {
    /// The connection, if it is one of ours.
    pub fn conn(self) -> Option<Origin> {
        match self {
            Owner::Conn(origin) => Some(origin),
            Owner::Learner(_) => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Session {
    /// The one in the createSession transaction: what snapshots keep (parity SE-17).
    timeout_ms: i32,
    /// The one its latest connection negotiated: what deadlines are made of.
    live_timeout_ms: i32,
    /// The one another member has named since; 0 if none has.
    told_timeout_ms: i32,
    /// Milliseconds of heard time; `None` once it is closing.
    deadline: Option<u64>,
    heard: Instant,
    owner: Option<Owner>,
}

/// Every session of the server. ZK: SessionTrackerImpl with its ExpiryQueue.
#[derive(Debug)]
pub struct SessionTable {
    tick_ms: u64,
    sessions: BTreeMap<SessionId, Session>,
    buckets: BTreeMap<u64, BTreeSet<SessionId>>,
}

impl SessionTable {
    /// # Panics
    /// If `tick_ms` is 0.
    pub fn new(tick_ms: u64) -> SessionTable {
        assert!(tick_ms > 0, "a tick takes time");
        SessionTable { tick_ms, sessions: BTreeMap::new(), buckets: BTreeMap::new() }
    }

    /// The end of the bucket in which a session heard at `heard` expires, in milliseconds of heard time.
    fn deadline(&self, heard: Instant, timeout_ms: i32) -> u64 {
        let timeout_ms = u64::try_from(timeout_ms).unwrap_or(0);
        (heard.millis().saturating_add(timeout_ms) / self.tick_ms).saturating_add(1).saturating_mul(self.tick_ms)
    }

    /// A session with a full timeout from `now` (heard time). One that is there already, closing or not, is
    /// as new, and keeps its owner.
    pub fn open(&mut self, id: SessionId, timeout_ms: i32, now: Instant) {
        let owner = self.close(id);
        let deadline = self.deadline(now, timeout_ms);
        self.buckets.entry(deadline).or_default().insert(id);
        self.sessions.insert(
            id,
            Session {
                timeout_ms,
                live_timeout_ms: timeout_ms,
                told_timeout_ms: 0,
                deadline: Some(deadline),
                heard: now,
                owner,
            },
        );
    }

    /// Forgets a session; hands out who owned it.
    pub fn close(&mut self, id: SessionId) -> Option<Owner> {
        let session = self.sessions.remove(&id)?;
        self.leave_bucket(id, session.deadline);
        session.owner
    }

    fn leave_bucket(&mut self, id: SessionId, deadline: Option<u64>) {
        let Some(deadline) = deadline else { return };
        if let Some(bucket) = self.buckets.get_mut(&deadline) {
            bucket.remove(&id);
            if bucket.is_empty() {
                self.buckets.remove(&deadline);
            }
        }
    }

    /// The stored timeout, in milliseconds.
    pub fn timeout_ms(&self, id: SessionId) -> Option<i32> {
        self.sessions.get(&id).map(|session| session.timeout_ms)
    }

    /// What its latest connection negotiated, in milliseconds.
    pub fn live_timeout_ms(&self, id: SessionId) -> Option<i32> {
        self.sessions.get(&id).map(|session| session.live_timeout_ms)
    }

    pub fn contains(&self, id: SessionId) -> bool {
        self.sessions.contains_key(&id)
    }

    /// Whether its closeSession is under way: it can be neither used nor renewed (parity SE-13).
    pub fn is_closing(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|session| session.deadline.is_none())
    }

    /// From now on it is neither touched nor expired (again).
    pub fn mark_closing(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            let deadline = session.deadline.take();
            self.leave_bucket(id, deadline);
        }
    }

    /// The session was heard at `heard` (heard time) over the connection it was last renewed on. That never shortens what
    /// it has: news of a shard that stood still may be older than another member's word. `false` if there is no such
    /// session or it is closing.
    pub fn hear(&mut self, id: SessionId, heard: Instant) -> bool {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.deadline.is_some()) else {
            return false;
        };
        session.heard = session.heard.max(heard);
        let timeout_ms = session.live_timeout_ms;
        self.extend(id, self.deadline(heard, timeout_ms));
        true
    }

    /// The session was heard at `heard` (heard time) over a connection with that timeout. `false` if there
    /// is no such session or it is closing. News older than what is known changes nothing.
    pub fn touch(&mut self, id: SessionId, heard: Instant, timeout_ms: i32) -> bool {
        let deadline = self.deadline(heard, timeout_ms);
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        let Some(old) = session.deadline else { return false };
        (session.live_timeout_ms, session.told_timeout_ms) = (timeout_ms, 0);
        if heard < session.heard {
            return true;
        }
        session.heard = heard;
        if old != deadline {
            session.deadline = Some(deadline);
            self.leave_bucket(id, Some(old));
            self.buckets.entry(deadline).or_default().insert(id);
        }
        true
    }

    /// Another member had word of the session over a connection with that timeout (`None`: not said). The word may be
    /// of a connection that the client has left since, so it never shortens what the session has: unlike the
    /// reference's, which a stale ping may expire early.
    pub fn vouch(&mut self, id: SessionId, heard: Instant, timeout_ms: Option<i32>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.told_timeout_ms = timeout_ms.unwrap_or(session.told_timeout_ms);
        let timeout_ms = timeout_ms.unwrap_or(session.live_timeout_ms.max(session.told_timeout_ms));
        self.extend(id, self.deadline(heard, timeout_ms));
    }

    /// Unless it has as long anyway, or is closing.
    fn extend(&mut self, id: SessionId, deadline: u64) {
        let Some(session) = self.sessions.get(&id) else { return };
        let Some(old) = session.deadline.filter(|old| *old < deadline) else { return };
        self.leave_bucket(id, Some(old));
        self.buckets.entry(deadline).or_default().insert(id);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.deadline = Some(deadline);
        }
    }

    /// Where the session's client is; `None` to set it free.
    pub fn set_owner(&mut self, id: SessionId, owner: Option<Owner>) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.owner = owner;
        }
    }

    pub fn owner(&self, id: SessionId) -> Option<Owner> {
        self.sessions.get(&id)?.owner
    }

    /// No session's client is here any more: all connections, of clients and of learners, have ended. What one of them
    /// still says comes too late.
    pub fn disown(&mut self) {
        for session in self.sessions.values_mut() {
            session.owner = None;
        }
    }

    /// Every session gets its whole timeout from `now` (heard time), and no less than it has: what a new leader does, which
    /// may have heard of some before it could begin.
    pub fn restart(&mut self, now: Instant) {
        let before: Vec<(SessionId, Session)> = self.sessions.iter().map(|(id, session)| (*id, *session)).collect();
        for (id, Session { timeout_ms, told_timeout_ms, deadline, .. }) in before {
            self.open(id, timeout_ms, now);
            self.extend(id, deadline.unwrap_or(0));
            if let Some(session) = self.sessions.get_mut(&id) {
                session.told_timeout_ms = told_timeout_ms;
            }
        }
    }

    /// Forgets every session.
    pub fn clear(&mut self) {
        self.sessions.clear();
        self.buckets.clear();
    }

    /// Takes the sessions whose bucket ended by `heard_through` (heard time), in order of their deadlines,
    /// and marks them closing. They stay in the table until [`SessionTable::close`].
    pub fn expired(&mut self, heard_through: Instant) -> Vec<SessionId> {
        let mut expired = Vec::new();
        while let Some(bucket) = self.buckets.first_entry()
            && *bucket.key() <= heard_through.millis()
        {
            expired.extend(bucket.remove());
        }
        for id in &expired {
            if let Some(session) = self.sessions.get_mut(id) {
                session.deadline = None;
            }
        }
        expired
    }

    /// Deadlines (milliseconds of heard time) and who expires at each, in order: the `dump` word.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, &BTreeSet<SessionId>)> {
        self.buckets.iter().map(|(deadline, ids)| (*deadline, ids))
    }

    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Sessions by id with their stored timeouts in milliseconds, closing ones included: what a snapshot keeps.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, i32)> {
        self.sessions.iter().map(|(id, session)| (*id, session.timeout_ms))
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

    /// A client moved from a member with a short timeout to one with a long one; the first one's ping comes late.
    #[test]
    fn word_from_other_members_never_shortens_a_session() {
        let mut table = SessionTable::new(100);
        table.open(A, 200, ms(0));
        assert!(table.touch(A, ms(10), 1000));
        table.vouch(A, ms(20), Some(200));
        table.vouch(A, ms(20), None);
        assert_eq!(table.live_timeout_ms(A), Some(1000));
        assert!(table.expired(ms(1000)).is_empty(), "its own connection gave it until 1100");
        table.vouch(A, ms(500), Some(2000));
        // Of a shard that stood still since before that.
        assert!(table.hear(A, ms(400)));
        assert!(table.expired(ms(2500)).is_empty());
        assert_eq!(table.expired(ms(2600)), [A]);
        table.vouch(A, ms(2600), None);
        assert!(table.is_closing(A));
        // Word without a timeout counts with the one that was named last, until a new connection has one of its own.
        table.open(B, 200, ms(0));
        table.vouch(B, ms(0), Some(500));
        table.vouch(B, ms(400), None);
        assert!(table.expired(ms(900)).is_empty());
        assert!(table.touch(B, ms(900), 200));
        table.vouch(B, ms(1000), None);
        assert_eq!(table.expired(ms(1300)), [B]);
    }

    /// A learner told of a client with a longer timeout than its transaction's before a quorum had the leader's history.
    #[test]
    fn a_leader_that_begins_takes_nothing_from_a_session() {
        let mut table = SessionTable::new(100);
        table.open(A, 200, ms(0));
        table.open(B, 200, ms(0));
        table.vouch(A, ms(50), Some(700));
        assert_eq!(table.expired(ms(300)), [B]);
        table.restart(ms(100));
        assert!(table.expired(ms(300)).is_empty() && !table.is_closing(B));
        assert_eq!(table.expired(ms(400)), [B]);
        table.vouch(A, ms(200), None);
        assert!(table.expired(ms(900)).is_empty(), "700 ms are known of still");
        assert_eq!(table.expired(ms(1000)), [A]);
    }

    #[test]
    fn deadlines_are_the_end_of_the_bucket_after_the_timeout() {
        let table = SessionTable::new(2000);
        for (now, timeout, deadline) in [(0, 4000, 6000), (1999, 4000, 6000), (2000, 4000, 8000), (100, 1, 2000)] {
            assert_eq!(table.deadline(ms(now), timeout), deadline, "{now} {timeout}");
        }
    }

    #[test]
    fn silence_expires_a_session_once_and_closing_is_for_good() {
        let mut table = SessionTable::new(100);
        table.open(A, 250, ms(0));
        table.open(B, 250, ms(0));
        assert!(table.touch(B, ms(90), 250));
        assert_eq!(table.buckets().map(|(at, ids)| (at, ids.len())).collect::<Vec<_>>(), [(300, 1), (400, 1)]);
        assert_eq!(table.expired(ms(299)), []);
        assert_eq!(table.expired(ms(300)), [A]);
        assert_eq!(table.expired(ms(300)), []);
        assert!(table.is_closing(A) && table.contains(A) && !table.is_closing(B));
        assert!(!table.touch(A, ms(310), 250));
        table.mark_closing(B);
        assert_eq!(table.expired(ms(10_000)), []);
        assert_eq!(table.iter().collect::<Vec<_>>(), [(A, 250), (B, 250)]);
        table.close(A);
        assert!(!table.contains(A) && !table.is_closing(A) && !table.touch(A, ms(0), 1));
    }

    #[test]
    fn a_touch_uses_the_connections_timeout_and_late_news_changes_nothing() {
        let mut table = SessionTable::new(100);
        table.open(A, 1000, ms(0));
        assert!(table.touch(A, ms(50), 200));
        assert_eq!(table.timeout_ms(A), Some(1000));
        assert!(table.touch(A, ms(10), 5000));
        assert_eq!(table.expired(ms(300)), [A]);
    }

    #[test]
    fn an_owner_stays_through_renewal_and_goes_with_the_session() {
        let origin = Owner::Conn(Origin { shard: ShardId(1), conn: ConnId { slot: 2, generation: 3 } });
        let mut table = SessionTable::new(100);
        table.open(A, 100, ms(0));
        assert_eq!(table.owner(A), None);
        table.set_owner(A, Some(origin));
        table.open(A, 100, ms(5));
        assert_eq!(table.owner(A), Some(origin));
        assert_eq!(table.buckets().count(), 1);
        assert_eq!(table.close(A), Some(origin));
        assert_eq!(table.owner(A), None);
        assert!(table.is_empty() && table.buckets().next().is_none());
    }
}

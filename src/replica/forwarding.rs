//! Requests of this server's clients that are on their way to the leader and back.
//!
//! A write comes back as a transaction with the same session and cxid; a `sync` as the oldest unanswered SYNC; a
//! session's renewal by its id. A transaction that matches nothing is somebody else's: never an error
//! (ZOOKEEPER-2684).
//!
//! Some clients count their xids anew on each connection, so a session that comes back may use a cxid twice. What its
//! old connection asked therefore stays in line: every forwarded request becomes exactly one transaction, in order,
//! and those of another member's connection come before the leader confirms the session's move to this one.

use std::collections::{BTreeMap, VecDeque};

use crate::base::{ErrorCode, Origin, SessionId, Xid};
use crate::codec::opcode::OpCode;
use crate::mail::{Body, Connect};

/// One forwarded write.
#[derive(Debug)]
pub(super) struct Pending {
    /// Who waits for it; `None` if this server asked for its own sake.
    pub asker: Option<Origin>,
    pub xid: Xid,
    pub op: OpCode,
    /// Of a new session: what was negotiated.
    pub timeout_ms: i32,
    /// Known here already: what the client is told when the leader refuses it, which knows less of the reason.
    pub refusal: Option<ErrorCode>,
}

/// A session's renewal that the leader is asked about.
#[derive(Debug)]
pub(super) struct Renewal {
    pub origin: Origin,
    pub timeout_ms: i32,
}

/// Lives on: the replication core of a learner.
#[derive(Default)]
pub(super) struct Forwarding {
    writes: BTreeMap<SessionId, VecDeque<Pending>>,
    syncs: VecDeque<(SessionId, Origin, Xid, Body)>,
    renewals: BTreeMap<SessionId, VecDeque<Renewal>>,
    /// Handshakes for sessions that are on their way into the log.
    held: BTreeMap<SessionId, Vec<Connect>>,
}

impl Forwarding {
    /// Whoever waits has been hung up on.
    pub(super) fn clear(&mut self) {
        *self = Forwarding::default();
    }

    pub(super) fn write(&mut self, session: SessionId, pending: Pending) {
        self.writes.entry(session).or_default().push_back(pending);
    }

    /// Whose transaction this is, if it is one of ours.
    pub(super) fn take_write(&mut self, session: SessionId, cxid: Xid) -> Option<Pending> {
        let waiting = self.writes.get_mut(&session)?;
        if waiting.front()?.xid != cxid {
            return None;
        }
        let pending = waiting.pop_front();
        if waiting.is_empty() {
            self.writes.remove(&session);
        }
        pending
    }

    /// The session is closed: nothing of it comes any more.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.writes.remove(&session);
    }

    /// What is answered with `body` once the leader has answered a sync.
    pub(super) fn sync(&mut self, session: SessionId, origin: Origin, xid: Xid, body: Body) {
        self.syncs.push_back((session, origin, xid, body));
    }

    pub(super) fn take_sync(&mut self) -> Option<(Origin, Xid, Body)> {
        let (_, origin, xid, body) = self.syncs.pop_front()?;
        Some((origin, xid, body))
    }

    /// Whether anything this session asked of the leader is not back.
    pub(super) fn is_waiting(&self, session: SessionId) -> bool {
        self.writes.contains_key(&session) || self.syncs.iter().any(|(asker, ..)| *asker == session)
    }

    /// A handshake that has to wait until its session is in the log.
    pub(super) fn hold(&mut self, connect: Connect) {
        self.held.entry(connect.session).or_default().push(connect);
    }

    pub(super) fn take_held(&mut self, session: SessionId) -> Vec<Connect> {
        self.held.remove(&session).unwrap_or_default()
    }

    pub(super) fn renewal(&mut self, session: SessionId, renewal: Renewal) {
        self.renewals.entry(session).or_default().push_back(renewal);
    }

    /// The session's client has come back by another connection than this one, whatever the leader says to that: what
    /// the one it left still has to say comes too late, behind what it may have asked through another member since.
    pub(super) fn is_left(&self, session: SessionId, origin: Origin) -> bool {
        let asked = self.renewals.get(&session).and_then(VecDeque::back).map(|renewal| renewal.origin);
        let held = self.held.get(&session).and_then(|held| held.last()).map(|connect| connect.origin);
        held.or(asked).is_some_and(|latest| latest != origin)
    }

    pub(super) fn take_renewal(&mut self, session: SessionId) -> Option<Renewal> {
        let waiting = self.renewals.get_mut(&session)?;
        let renewal = waiting.pop_front();
        if waiting.is_empty() {
            self.renewals.remove(&session);
        }
        renewal
    }

    /// Forwarded and unanswered, for the operator.
    pub(super) fn outstanding_count(&self) -> usize {
        self.writes.values().map(VecDeque::len).sum::<usize>() + self.syncs.len()
    }
}

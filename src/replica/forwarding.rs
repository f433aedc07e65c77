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

use bytes::Bytes;

use super::{Effects, Replica};
use crate::base::{AuthIds, ErrorCode, LinkId, Now, Origin, SessionId, Xid};
use crate::codec::opcode::OpCode;
use crate::codec::peer::Forwarded;
use crate::mail::{AnswerKind, Body, Connect, Submit};
use crate::session::Owner;

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

/// Who waits for an answer of the leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asker {
    Client(Origin),
    /// An observer that learns from this server, for a client of its own.
    Observer(LinkId),
}

/// A session's renewal that the leader is asked about.
#[derive(Debug)]
pub(super) struct Renewal {
    pub asker: Asker,
    pub timeout_ms: i32,
}

/// A forwarded `sync`.
#[derive(Debug)]
pub(super) enum PendingSync {
    /// What is answered with `body` once the leader has answered it.
    Client {
        session: SessionId,
        origin: Origin,
        xid: Xid,
        body: Body,
    },
    Observer(LinkId),
}

/// Lives on: the replication core of a learner.
#[derive(Default)]
pub(super) struct Forwarding {
    writes: BTreeMap<SessionId, VecDeque<Pending>>,
    syncs: VecDeque<PendingSync>,
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

    /// A `sync` whose answer is to come.
    pub(super) fn sync(&mut self, pending: PendingSync) {
        self.syncs.push_back(pending);
    }

    pub(super) fn take_sync(&mut self) -> Option<PendingSync> {
        self.syncs.pop_front()
    }

    /// Whether anything this session asked of the leader is not back.
    pub(super) fn is_waiting(&self, session: SessionId) -> bool {
        let is_its =
            |sync: &PendingSync| matches!(sync, PendingSync::Client { session: asker, .. } if *asker == session);
        self.writes.contains_key(&session) || self.syncs.iter().any(is_its)
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
    pub(super) fn is_left(&self, session: SessionId, by: Asker) -> bool {
        let asked = self.renewals.get(&session).and_then(VecDeque::back).map(|renewal| renewal.asker);
        let held = self.held.get(&session).and_then(|held| held.last()).map(|connect| Asker::Client(connect.origin));
        held.or(asked).is_some_and(|latest| latest != by)
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

impl Replica {
    /// A client's request that only the leader can order. `refusal`: what the client is told if the leader refuses it.
    pub(super) fn forward(&mut self, submit: Submit, refusal: Option<ErrorCode>, now: Now, out: &mut Effects) {
        let Submit { origin, session, xid, op, body, ids } = submit;
        let Some(ensemble) = &mut self.ensemble else { return };
        if op == OpCode::Sync {
            let body = super::propose::sync_echo(&body);
            ensemble.forwarding.sync(PendingSync::Client { session, origin, xid, body });
        } else {
            ensemble.forwarding.write(session, Pending { asker: Some(origin), xid, op, timeout_ms: 0, refusal });
        }
        let body = if op == OpCode::CloseSession { Bytes::new() } else { body };
        let request = Forwarded { session, cxid: xid, op: op.code(), body };
        self.with_learner(now, out, |learner, effects| learner.forward(&request, ids, effects));
    }

    /// A handshake: a new session is the leader's to open, an old one its to confirm.
    pub(super) fn connect_through_leader(&mut self, connect: &Connect, now: Now, out: &mut Effects) {
        let (origin, timeout_ms) = (connect.origin, connect.timeout_ms);
        if connect.session != SessionId::NONE {
            let session = connect.session;
            let Some(ensemble) = &mut self.ensemble else { return };
            ensemble.forwarding.renewal(session, Renewal { asker: Asker::Client(origin), timeout_ms });
            return self.with_learner(now, out, |learner, effects| learner.revalidate(session, timeout_ms, effects));
        }
        let session = self.session_ids.next();
        self.forward_create_session(session, timeout_ms, Some(origin), now, out);
    }

    /// Asks the leader to make a session of ours everybody's. `asker`: who is told when it is.
    pub(super) fn forward_create_session(
        &mut self,
        session: SessionId,
        timeout_ms: i32,
        asker: Option<Origin>,
        now: Now,
        out: &mut Effects,
    ) {
        let Some(ensemble) = &mut self.ensemble else { return };
        let op = OpCode::CreateSession;
        ensemble.forwarding.write(session, Pending { asker, xid: Xid(0), op, timeout_ms, refusal: None });
        let body = Bytes::copy_from_slice(&timeout_ms.to_be_bytes());
        let request = Forwarded { session, cxid: Xid(0), op: op.code(), body };
        self.with_learner(now, out, |learner, effects| learner.forward(&request, AuthIds::default(), effects));
    }

    pub(super) fn on_revalidated(&mut self, session: SessionId, valid: bool, now: Now, out: &mut Effects) {
        let Some(ensemble) = &mut self.ensemble else { return };
        let Some(Renewal { asker, timeout_ms }) = ensemble.forwarding.take_renewal(session) else { return };
        let origin = match asker {
            Asker::Client(origin) => origin,
            Asker::Observer(link) => return self.observer_renewed(link, session, timeout_ms, valid, now, out),
        };
        if !valid || !self.sessions.contains(session) {
            return self.answer_now(origin, AnswerKind::Refused, out);
        }
        self.hand_over(session, Owner::Conn(origin));
        self.sessions.touch(session, self.hearing.now(), timeout_ms);
        self.answer_now(origin, AnswerKind::Granted { session, timeout_ms }, out);
    }

    pub(super) fn on_synced(&mut self, now: Now, out: &mut Effects) {
        let Some(ensemble) = &mut self.ensemble else { return };
        match ensemble.forwarding.take_sync() {
            Some(PendingSync::Client { origin, xid, body, .. }) => {
                self.answer_now(origin, AnswerKind::Reply { xid, error: None, body }, out);
            }
            Some(PendingSync::Observer(link)) => self.observer_synced(link, now, out),
            None => {}
        }
    }
}

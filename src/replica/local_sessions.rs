//! Sessions of this member alone: opened, renewed, closed and expired here, without a transaction, until one of them
//! asks for an ephemeral (`localSessionsEnabled`, `localSessionsUpgradingEnabled`; parity section 5.5).
//!
//! An ephemeral belongs to a session that every member knows, so the session becomes one first: its createSession goes
//! into the log right before the request that needs it. On the leader that is one step. A learner forwards both, in
//! that order, and until the createSession is back the session is neither local nor known: what its client sends is
//! forwarded too, and a client that reconnects meanwhile waits.
//!
//! Local sessions end with the server's role, as in the reference: another member would not know them, and this one
//! may be read-only next.
//!
//! Source: ZK: QuorumZooKeeperServer.checkUpgradeSession, LearnerSessionTracker, LeaderSessionTracker.

use super::forwarding::PendingSync;
use super::{Effects, Replica};
use crate::base::{AuthIds, ErrorCode, Now, Origin, SessionId, Xid};
use crate::codec::opcode::OpCode;
use crate::codec::peer::Forwarded;
use crate::codec::request::{CreateRequest, MultiOp, Request};
use crate::codec::txn::Txn;
use crate::codec::{Reader, Writer};
use crate::mail::metrics::Counter;
use crate::mail::{AnswerKind, Body, Connect, Service, Submit};
use crate::session::Owner;

impl Replica {
    /// Whether new sessions are local ones. A standalone server has none: it is everybody there is.
    pub(super) fn has_local_sessions(&self) -> bool {
        self.ensemble.as_ref().is_some_and(|ensemble| ensemble.settings.local_sessions)
    }

    /// A handshake that is this server's own affair; `false` if it is not.
    pub(super) fn connect_locally(&mut self, connect: &Connect, out: &mut Effects) -> bool {
        let Connect { origin, session, timeout_ms, .. } = *connect;
        if session == SessionId::NONE && self.has_local_sessions() {
            let session = self.session_ids.next();
            self.local.open(session, timeout_ms, origin, self.hearing.now());
            self.answer_now(origin, AnswerKind::Granted { session, timeout_ms }, out);
            return true;
        }
        if self.local.is_local(session) {
            if let Some(before) = self.local.renew(session, timeout_ms, origin, self.hearing.now()) {
                self.hang_up(before, out);
            }
            self.answer_now(origin, AnswerKind::Granted { session, timeout_ms }, out);
            return true;
        }
        if self.local.is_upgrading(session)
            && let Some(ensemble) = &mut self.ensemble
        {
            // The leader may not have come to its createSession, and would take it for one that never was.
            ensemble.forwarding.hold(connect.clone());
            return true;
        }
        false
    }

    /// The connection of ours that a session's client is on.
    pub(super) fn client_of(&self, session: SessionId) -> Option<Origin> {
        self.sessions.owner(session).and_then(Owner::conn).or_else(|| self.local.owner(session))
    }

    /// Makes a local session everybody's if this request of its client asks for an ephemeral. Returns what the client
    /// is to be told instead where that is not allowed; the request goes its way all the same, for its place in line.
    pub(super) fn upgrade_for(&mut self, submit: &Submit, now: Now, out: &mut Effects) -> Option<ErrorCode> {
        if !self.local.is_local(submit.session) || !asks_for_ephemeral(submit) {
            return None;
        }
        if !self.ensemble.as_ref().is_some_and(|ensemble| ensemble.settings.local_sessions_upgrading) {
            return Some(ErrorCode::EphemeralOnLocalSession);
        }
        self.upgrade(submit.session, now, out);
        None
    }

    fn upgrade(&mut self, session: SessionId, now: Now, out: &mut Effects) {
        let Some(timeout_ms) = self.local.upgrade(session) else { return };
        tracing::info!(%session, "a local session becomes global");
        if self.orders() {
            self.sessions.open(session, timeout_ms, self.hearing.now());
            self.finish_upgrade(session);
            let (zxid, changes) = self.propose_own(session, Xid(0), &Txn::CreateSession { timeout_ms }, now);
            return self.wait(zxid, changes, None);
        }
        self.forward_create_session(session, timeout_ms, None, now, out);
    }

    /// The session is in the log and in the table of those that everybody knows. Whether it was one of ours.
    pub(super) fn finish_upgrade(&mut self, session: SessionId) -> bool {
        let Some(upgraded) = self.local.upgraded(session) else { return false };
        self.sessions.touch(session, self.hearing.now(), upgraded.live_timeout_ms);
        self.sessions.set_owner(session, upgraded.owner.map(Owner::Conn));
        true
    }

    /// Whether an ephemeral may belong to that session; if not, what its client is told.
    pub(super) fn may_own_ephemerals(&self, session: SessionId) -> Result<(), ErrorCode> {
        if !self.has_local_sessions() || self.sessions.contains(session) {
            Ok(())
        } else if self.local.is_local(session) {
            Err(ErrorCode::EphemeralOnLocalSession)
        } else {
            // Local at a learner, which has not upgraded it (ZK: LeaderSessionTracker.checkGlobalSession).
            Err(ErrorCode::SessionExpired)
        }
    }

    /// Whether a learner's client may write under a session that is not known here: it may be local there. Not one of
    /// this server's own making: those it would know (ZK: LeaderSessionTracker.checkSession).
    pub(super) fn may_be_local_elsewhere(&self, session: SessionId) -> bool {
        self.has_local_sessions() && session.server() != self.settings.server_id && !self.sessions.contains(session)
    }

    /// The client of a local session ends it: no transaction, but its answer comes in line.
    pub(super) fn close_local(&mut self, submit: &Submit, now: Now, out: &mut Effects) {
        let Submit { origin, session, xid, .. } = *submit;
        self.local.close(session);
        let kind = AnswerKind::Reply { xid, error: None, body: Body::None };
        if self.service() == Service::ReadOnly {
            return self.answer_now(origin, kind, out); // Nothing is on its way, and nothing will be committed.
        }
        match &mut self.ensemble {
            Some(ensemble) if ensemble.forwarding.is_waiting(session) => {
                // The leader answers a sync behind all that was asked before it.
                ensemble.forwarding.sync(PendingSync::Client { session, origin, xid, body: Body::None });
                let mut body = Vec::new();
                Writer(&mut body).string("/");
                let request = Forwarded { session, cxid: xid, op: OpCode::Sync.code(), body: body.into() };
                self.with_learner(now, out, |learner, effects| learner.forward(&request, AuthIds::default(), effects));
            }
            _ => self.answer(origin, kind),
        }
    }

    /// Ends the local sessions whose silence every shard has confirmed.
    pub(super) fn expire_local_sessions(&mut self, out: &mut Effects) {
        for (session, owner) in self.local.expired(self.hearing.confirmed()) {
            self.watch.metrics.count(Counter::StaleSessionsExpired);
            tracing::info!(%session, "local session expired: nothing was heard of its client for its timeout");
            if let Some(origin) = owner {
                self.hang_up(origin, out);
            }
        }
    }
}

/// create, create2, or a multi with one of them, that makes an ephemeral. The reference looks at no other operation
/// (parity SE-43, SE-45).
fn asks_for_ephemeral(submit: &Submit) -> bool {
    match Request::decode(submit.op, Reader::new(&submit.body)) {
        Ok(Request::Create(create)) => makes_ephemeral(&create),
        Ok(Request::Multi(ops)) => {
            ops.iter().any(|op| matches!(op, MultiOp::Create(create) if makes_ephemeral(create)))
        }
        _ => false,
    }
}

fn makes_ephemeral(create: &CreateRequest<'_>) -> bool {
    matches!(create.op, OpCode::Create | OpCode::Create2) && create.is_ephemeral()
}

//! Sessions begin, move between connections, fall silent and end (parity section 5).

use std::borrow::Cow;

use super::{Effects, Replica};
use crate::base::{Instant, Now, Origin, SessionId, ShardId, Xid};
use crate::codec::txn::Txn;
use crate::mail::metrics::Counter;
use crate::mail::{Answer, AnswerKind, Body, Connect, Service};
use crate::session::Owner;

impl Replica {
    /// A handshake. The shard has checked the password of a session that claims to exist.
    pub(super) fn on_connect(&mut self, connect: &Connect, now: Now, out: &mut Effects) {
        let origin = connect.origin;
        if self.failed {
            return;
        }
        if self.service() == Service::Nobody {
            return self.hang_up(origin, out);
        }
        self.watch.on_request();
        if connect.last_zxid_seen > self.last_committed {
            // Not "proposed": what only runs ahead in memory must not be promised to anybody.
            return self.answer_now(origin, AnswerKind::Behind, out);
        }
        if self.service() == Service::ReadOnly {
            return self.connect_read_only(connect, out);
        }
        if self.connect_locally(connect, out) {
            return;
        }
        if !self.orders() {
            return self.connect_through_leader(connect, now, out);
        }
        if connect.session == SessionId::NONE {
            return self.open_session(connect, now);
        }
        if !self.sessions.touch(connect.session, self.hearing.now(), connect.timeout_ms) {
            return self.answer(origin, AnswerKind::Refused);
        }
        self.hand_over(connect.session, Owner::Conn(origin));
        self.answer(origin, AnswerKind::Granted { session: connect.session, timeout_ms: connect.timeout_ms });
    }

    /// The session's client is there now; a connection of ours that had it before is hung up on (parity SE-23).
    pub(super) fn hand_over(&mut self, session: SessionId, owner: Owner) {
        if let Some(Owner::Conn(before)) = self.sessions.owner(session)
            && owner != Owner::Conn(before)
        {
            self.answer(before, AnswerKind::Hangup);
        }
        self.sessions.set_owner(session, Some(owner));
    }

    fn open_session(&mut self, connect: &Connect, now: Now) {
        let session = self.session_ids.next();
        self.sessions.open(session, connect.timeout_ms, self.hearing.now());
        self.sessions.set_owner(session, Some(Owner::Conn(connect.origin)));
        let txn = Txn::CreateSession { timeout_ms: connect.timeout_ms };
        let (zxid, changes) = self.propose_own(session, Xid::default(), &txn, now);
        let kind = AnswerKind::Granted { session, timeout_ms: connect.timeout_ms };
        self.wait(zxid, changes, Some(Answer { to: connect.origin, kind }));
    }

    /// Ends a connection of ours without a word. In its turn where there are turns; without a leader, at once.
    pub(super) fn hang_up(&mut self, origin: Origin, out: &mut Effects) {
        if self.orders() {
            self.answer(origin, AnswerKind::Hangup);
        } else {
            self.answer_now(origin, AnswerKind::Hangup, out);
        }
    }

    /// The client ended its session: its request is answered once the end is durable, then it is hung up on.
    pub(super) fn close_session(&mut self, session: SessionId, xid: Xid, now: Now) {
        self.end_session(session, xid, AnswerKind::Reply { xid, error: None, body: Body::None }, now);
    }

    /// Ends a session for good, with all its ephemerals, at one zxid. Its connection, if it has one, is told.
    pub(super) fn end_session(&mut self, session: SessionId, cxid: Xid, told: AnswerKind, now: Now) {
        let ephemerals = self
            .settings
            .close_session_lists_ephemerals
            .then(|| self.tree.ephemerals_of(session).map(|path| Cow::Owned(path.to_owned())).collect());
        let owner = self.sessions.close(session).and_then(Owner::conn);
        let (zxid, changes) = self.propose_own(session, cxid, &Txn::CloseSession { ephemerals }, now);
        self.wait(zxid, changes, owner.map(|to| Answer { to, kind: told }));
    }

    pub(super) fn on_heard(&mut self, shard: ShardId, sessions: &[(SessionId, Instant)], through: Instant) {
        for (session, heard) in sessions {
            let heard = self.hearing.at(*heard);
            if !self.local.hear(*session, heard) {
                self.sessions.hear(*session, heard);
            }
        }
        self.hearing.shard_heard(shard, through);
        if !self.orders() {
            self.note_heard(sessions);
        }
    }

    /// The connection is gone; its session waits, ownerless, for the next one or its expiry.
    pub(super) fn on_gone(&mut self, session: SessionId, origin: Origin) {
        self.local.release(session, origin);
        // In an ensemble it stays the last one's until it is renewed: a request may still be on its way here from the
        // member where the client was before, and comes too late.
        if self.is_observer_master() || (self.ensemble.is_some() && self.orders()) {
            return;
        }
        if self.sessions.owner(session) == Some(Owner::Conn(origin)) {
            self.sessions.set_owner(session, None);
        }
    }

    /// Ends the sessions whose silence every shard has confirmed.
    pub(super) fn expire_sessions(&mut self, now: Now, out: &mut Effects) {
        self.hearing.advance(now.mono);
        if self.failed {
            return;
        }
        self.expire_local_sessions(out);
        if !self.orders() {
            return;
        }
        for session in self.sessions.expired(self.hearing.confirmed()) {
            self.watch.metrics.count(Counter::StaleSessionsExpired);
            tracing::info!(%session, "session expired: nothing was heard of its client for its timeout");
            self.end_session(session, Xid::default(), AnswerKind::Hangup, now);
        }
    }
}

//! The replica as leader: it orders everybody's requests.
//!
//! Source: ZK: Leader, LearnerHandler, LeaderZooKeeperServer.

use bytes::Bytes;

use super::ensemble::Role;
use super::{Effects, EpochFile, PeerEffect, Replica};
use crate::base::{AuthIds, ErrorCode, LinkId, Now, Origin, ServerId, SessionId, Xid, Zxid};
use crate::codec::opcode::OpCode;
use crate::codec::peer::{Forwarded, Revalidated};
use crate::codec::{Reader, txn};
use crate::mail::metrics::Counter;
use crate::mail::{AnswerKind, Service, Sizes, Submit};
use crate::session::Owner;
use crate::zab::{Elected, Leader, LeaderEffect};

/// A new epoch is begun long before the counter of this one runs out (ZOOKEEPER-1277).
const COUNTER_MAX: u32 = 0xf000_0000;

impl Replica {
    pub(super) fn lead(&mut self, now: Now, out: &mut Effects) {
        let last = self.last_proposed;
        let Some(ensemble) = &mut self.ensemble else { return };
        let settings = &ensemble.settings;
        let mut effects = Vec::new();
        let elected = Elected {
            me: settings.me,
            by: ensemble.election.electors(),
            epoch_wait_ms_max: settings.epoch_wait_ms_max,
            accepted: ensemble.accepted_epoch,
            current: ensemble.current_epoch,
            last,
            has_oracle: settings.election.has_oracle,
        };
        let leader = Leader::new(elected, settings.view.clone(), settings.learner_limits(), now.mono, &mut effects);
        ensemble.role = Role::Leading(Box::new(leader));
        self.watch.proposal_sizes = Sizes::default();
        self.on_leader_effects(&mut effects, now, out);
    }

    /// Lets the leader hear something and carries out what it says.
    pub(super) fn with_leader(
        &mut self,
        now: Now,
        out: &mut Effects,
        hear: impl FnOnce(&mut Leader, &mut Vec<LeaderEffect>),
    ) {
        let Some(ensemble) = &mut self.ensemble else { return };
        if let Role::Leading(leader) = &mut ensemble.role {
            let mut effects = std::mem::take(&mut ensemble.leader_says);
            hear(leader, &mut effects);
            self.on_leader_effects(&mut effects, now, out);
            if let Some(ensemble) = &mut self.ensemble {
                ensemble.leader_says = effects;
            }
        }
    }

    pub(super) fn on_voter_looks(&mut self, voter: ServerId, now: Now, out: &mut Effects) {
        tracing::debug!(server = %voter, "a voter looks for a leader while this server leads");
        self.with_leader(now, out, |leader, effects| leader.on_voter_looks(voter, now.mono, effects));
    }

    /// What was ordered in this turn goes to the followers.
    pub(super) fn send_proposals(&mut self, now: Now, out: &mut Effects) {
        if self.proposals.is_empty() {
            return;
        }
        let mut proposals = std::mem::take(&mut self.proposals);
        self.watch.metrics.count_by(Counter::ProposalCount, proposals.len() as u64);
        proposals.iter().for_each(|(_, record)| self.watch.proposal_sizes.add(record.len()));
        self.with_leader(now, out, |leader, effects| {
            for (zxid, record) in proposals.drain(..) {
                leader.propose(zxid, record, effects);
            }
        });
        if self.proposals.is_empty() {
            proposals.clear();
            self.proposals = proposals; // For its capacity.
        }
    }

    /// What is durable here is acknowledged by this server.
    pub(super) fn on_own_ack(&mut self, now: Now, out: &mut Effects) {
        let through = self.journal.last_durable();
        self.with_leader(now, out, |leader, effects| leader.on_own_durable(through, effects));
    }

    /// Empties `effects`.
    pub(super) fn on_leader_effects(&mut self, effects: &mut Vec<LeaderEffect>, now: Now, out: &mut Effects) {
        for effect in effects.drain(..) {
            match effect {
                LeaderEffect::Learner(effect) => self.on_master_effect(effect, now, out),
                LeaderEffect::Promise { epoch } => self.write_epoch(EpochFile::Accepted, epoch, out),
                LeaderEffect::Adopt { epoch } => self.write_epoch(EpochFile::Current, epoch, out),
                LeaderEffect::Established { epoch } => self.on_established(epoch, now, out),
                LeaderEffect::Commit { zxid, record } => {
                    self.last_committed = zxid;
                    self.watch.metrics.count(Counter::CommitCount);
                    if let Some(ensemble) = &mut self.ensemble {
                        ensemble.history.push(zxid, record);
                    }
                }
                LeaderEffect::Confirmed => self.waiting.confirm(),
                LeaderEffect::AskOracle => out.peer.push(PeerEffect::AskOracle),
                LeaderEffect::Disloyal => self.watch.metrics.count(Counter::QuitLeadingDueToDisloyalVoter),
                LeaderEffect::Abdicate { why } => return self.leave_role(&why, now, out),
            }
        }
        self.release(out);
    }

    /// A quorum has our history: the epoch is ours, and everything logged so far is committed.
    fn on_established(&mut self, epoch: i64, now: Now, out: &mut Effects) {
        tracing::info!(epoch, "leading: a quorum has this server's history");
        let Some(ensemble) = &mut self.ensemble else { return };
        ensemble.election.on_established(epoch);
        let serves = ensemble.settings.leader_serves || ensemble.settings.view.voters().count() == 1;
        self.note_available(now);
        // Parity SE-15.
        self.sessions.restart(self.hearing.now());
        self.last_proposed = Zxid::begin_of(epoch);
        self.release_epoch(epoch, out);
        // An ephemeral without a session would stay for ever. ZK drops it silently on the leader; a transaction
        // keeps the replicas alike (spec: quorum 11).
        let orphans: Vec<SessionId> =
            self.tree.sessions_with_ephemerals().filter(|owner| !self.sessions.contains(*owner)).collect();
        for session in orphans {
            tracing::warn!(%session, "ephemerals of a session that does not exist: closing it");
            self.end_session(session, Xid::default(), AnswerKind::Hangup, now);
        }
        self.serve_clients(if serves { Service::Everybody } else { Service::Nobody }, out);
    }

    /// A request of a learner's client, in the order the learner sent it.
    pub(super) fn on_forwarded(&mut self, link: LinkId, request: Forwarded, ids: AuthIds, now: Now, out: &mut Effects) {
        let Forwarded { session, cxid, op, body } = request;
        let Some(op) = OpCode::from_i32(op) else {
            tracing::warn!(%session, op, "a learner forwarded an unknown operation: refused");
            let submit = submit(session, cxid, OpCode::Error, body, ids);
            return self.refuse(&submit, ErrorCode::Unimplemented, now);
        };
        let lives = self.sessions.contains(session) && !self.sessions.is_closing(session);
        if op == OpCode::Error {
            // A follower says so of a client of one of its observers, and may not know that the session has ended since.
            let code = if lives { ErrorCode::SessionMoved } else { ErrorCode::SessionExpired };
            return self.refuse(&submit(session, cxid, op, body, ids), code, now);
        }
        // The reference waits for the learner's next ping to know that the session lives, and may be too late.
        self.sessions.vouch(session, self.hearing.now(), None);
        if op == OpCode::Sync {
            self.send_proposals(now, out); // It waits for those before it.
            return self.with_leader(now, out, |leader, effects| leader.sync(link, effects));
        }
        if op == OpCode::CreateSession {
            let timeout_ms = Reader::new(&body).i32().unwrap_or(self.settings.tick_ms as i32 * 2);
            self.sessions.open(session, timeout_ms, self.hearing.now());
            self.sessions.set_owner(session, Some(Owner::Learner(link)));
            let (zxid, changes) = self.propose_own(session, cxid, &txn::Txn::CreateSession { timeout_ms }, now);
            return self.wait(zxid, changes, None);
        }
        let submit = submit(session, cxid, op, body, ids);
        if op == OpCode::CloseSession && lives {
            // Expiry at the learner's side and clients share it: whose it is does not matter. A connection here that
            // has it by now did not ask for that.
            return self.end_session(session, cxid, AnswerKind::Hangup, now);
        }
        match self.sessions.owner(session) {
            None if op != OpCode::CloseSession && self.may_be_local_elsewhere(session) => self.order(&submit, now, out),
            _ if !lives => {
                self.refuse(&submit, ErrorCode::SessionExpired, now);
            }
            None => {
                self.sessions.set_owner(session, Some(Owner::Learner(link)));
                self.order(&submit, now, out);
            }
            Some(owner) if owner == Owner::Learner(link) => self.order(&submit, now, out),
            Some(_) => self.refuse(&submit, ErrorCode::SessionMoved, now),
        }
    }

    /// A client of this server, which orders, wants to see what is committed by now. What it has asked before is in front
    /// of the answer; that nobody else leads meanwhile, a quorum has to say.
    pub(super) fn sync(&mut self, submit: &Submit, now: Now, out: &mut Effects) {
        let kind = AnswerKind::Reply { xid: submit.xid, error: None, body: super::propose::sync_echo(&submit.body) };
        let entry = self.answer_entry(submit.origin, kind);
        if self.ensemble.is_none() {
            return self.waiting.push(entry);
        }
        self.waiting.push_unconfirmed(entry);
        self.with_leader(now, out, |leader, effects| leader.sync_own(effects));
    }

    /// A learner's client says it has this session.
    pub(super) fn on_revalidate(
        &mut self,
        link: LinkId,
        session: SessionId,
        timeout_ms: i32,
        now: Now,
        out: &mut Effects,
    ) {
        self.watch.metrics.count(Counter::RevalidateCount);
        let valid = self.sessions.touch(session, self.hearing.now(), timeout_ms);
        if valid {
            self.hand_over(session, Owner::Learner(link));
        }
        // What the session asked through another member comes to this one before its move is confirmed.
        self.send_proposals(now, out);
        self.with_leader(now, out, |leader, effects| {
            leader.learners_mut().revalidated(link, &Revalidated { session, valid }, effects);
        });
    }

    pub(super) fn hand_over_before_rollover(&mut self, now: Now, out: &mut Effects) {
        if self.last_proposed.counter() > COUNTER_MAX {
            self.leave_role("the epoch's transaction counter is nearly used up: a new epoch begins", now, out);
        }
    }

    pub(super) fn on_promise_durable(&mut self, now: Now, out: &mut Effects) {
        self.with_leader(now, out, |leader, effects| leader.on_promised(now.mono, effects));
        self.with_learner(now, out, |learner, effects| learner.on_promised(now.mono, effects));
    }

    pub(super) fn on_epoch_durable(&mut self, now: Now, out: &mut Effects) {
        self.with_leader(now, out, |leader, effects| leader.on_adopted(now.mono, effects));
        self.with_learner(now, out, |learner, effects| learner.on_adopted(now.mono, effects));
    }
}

/// A request nobody on this server waits for.
fn submit(session: SessionId, xid: Xid, op: OpCode, body: Bytes, ids: AuthIds) -> Submit {
    Submit { origin: Origin::ELSEWHERE, session, xid, op, body, ids }
}

//! The replica as observer master: a follower that other members' observers learn from.
//!
//! What an observer's clients ask goes on to the leader as if this server's own clients had asked it, in the order in which
//! it came, and comes back to the observer as an INFORM like everybody's. Signs of life go with this server's own pings.
//!
//! Source: ZK: ObserverMaster, FollowerZooKeeperServer.processObserverRequest (spec: quorum 13).

use bytes::Bytes;

use super::ensemble::Role;
use super::forwarding::{Asker, PendingSync, Renewal};
use super::{Effects, PeerEffect, Replica};
use crate::base::{AuthIds, LinkId, Now, SessionId, Zxid};
use crate::codec::opcode::OpCode;
use crate::codec::peer::{Forwarded, Revalidated};
use crate::session::Owner;
use crate::zab::{MasterEffect, ObserverMaster};

impl Replica {
    /// This server is up to date: observers may learn from it, if that is wanted.
    pub(super) fn serve_observers(&mut self, now: Now) {
        let committed = self.last_committed;
        let Some(ensemble) = &mut self.ensemble else { return };
        let settings = &ensemble.settings;
        if let Role::Following(following) = &mut ensemble.role
            && settings.observer_master_port.is_some()
            && !settings.observer
        {
            let (view, limits) = (settings.view.clone(), settings.observer_limits());
            let master = ObserverMaster::new(view, limits, following.epoch(), committed, now.mono);
            following.master = Some(Box::new(master));
        }
    }

    pub(super) fn is_observer_master(&mut self) -> bool {
        self.following().is_some_and(|following| following.master.is_some())
    }

    /// Lets the observer master hear something and carries out what it says.
    pub(super) fn with_master(
        &mut self,
        now: Now,
        out: &mut Effects,
        hear: impl FnOnce(&mut ObserverMaster, &mut Vec<MasterEffect>),
    ) {
        if let Some(master) = self.following().and_then(|following| following.master.as_mut()) {
            let mut effects = Vec::new();
            hear(master, &mut effects);
            self.on_master_effects(effects, now, out);
        }
    }

    /// Somebody connected to the port for observers.
    pub(super) fn on_observer(&mut self, link: LinkId, now: Now, out: &mut Effects) {
        let Some(master) = self.following().and_then(|following| following.master.as_mut()) else {
            return out.peer.push(PeerEffect::Close { link });
        };
        master.on_link(link, now.mono);
        self.use_for_learner(link);
    }

    pub(super) fn tick_observers(&mut self, now: Now, out: &mut Effects) {
        self.with_master(now, out, |master, effects| master.on_tick(now.mono, effects));
    }

    /// The leader committed one more.
    pub(super) fn inform_observers(&mut self, zxid: Zxid, record: &Bytes, now: Now, out: &mut Effects) {
        self.with_master(now, out, |master, effects| master.on_commit(zxid, record, effects));
    }

    /// An observer's client wants something that only the leader can order.
    pub(super) fn relay_request(
        &mut self,
        link: LinkId,
        request: &Forwarded,
        ids: AuthIds,
        now: Now,
        out: &mut Effects,
    ) {
        let moved = self.sessions.owner(request.session).is_some_and(|owner| owner != Owner::Learner(link));
        let Some(ensemble) = &mut self.ensemble else { return };
        if OpCode::from_i32(request.op) == Some(OpCode::Sync) {
            ensemble.forwarding.sync(PendingSync::Observer(link));
        } else if moved || ensemble.forwarding.is_left(request.session, Asker::Observer(link)) {
            // To the leader, whoever is behind this server is this server: it would order this behind what the client has
            // asked since. What is no operation it refuses, and the observer hears of that in its turn.
            let refused = Forwarded { op: OpCode::Error.code(), ..request.clone() };
            return self.with_learner(now, out, |learner, effects| learner.forward(&refused, ids, effects));
        }
        self.with_learner(now, out, |learner, effects| learner.forward(request, ids, effects));
    }

    pub(super) fn observer_synced(&mut self, link: LinkId, now: Now, out: &mut Effects) {
        self.with_master(now, out, |master, effects| master.synced(link, effects));
    }

    /// An observer's client says it has this session.
    pub(super) fn relay_renewal(
        &mut self,
        link: LinkId,
        session: SessionId,
        timeout_ms: i32,
        now: Now,
        out: &mut Effects,
    ) {
        let Some(ensemble) = &mut self.ensemble else { return };
        ensemble.forwarding.renewal(session, Renewal { asker: Asker::Observer(link), timeout_ms });
        self.with_learner(now, out, |learner, effects| learner.revalidate(session, timeout_ms, effects));
    }

    /// What the leader says to that.
    pub(super) fn observer_renewed(
        &mut self,
        link: LinkId,
        session: SessionId,
        timeout_ms: i32,
        valid: bool,
        now: Now,
        out: &mut Effects,
    ) {
        if valid {
            // A connection of ours that had it before is hung up on: to the leader both are this server.
            self.hand_over(session, Owner::Learner(link));
            self.relay_heard(vec![(session, timeout_ms)]);
        }
        self.with_learners(now, out, |learners, _, effects| {
            learners.revalidated(link, &Revalidated { session, valid }, effects);
        });
    }

    /// Sessions of an observer's clients gave a sign of life.
    pub(super) fn relay_heard(&mut self, sessions: Vec<(SessionId, i32)>) {
        if let Some(following) = self.following() {
            following.heard.extend(sessions);
        }
    }
}

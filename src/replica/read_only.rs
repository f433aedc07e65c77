//! Read-only mode (`readonlymode.enabled`): a member that looks for a leader in vain serves what it has to clients
//! that asked to be served even so.
//!
//! What is shown. The reference serves its tree fast-forwarded through all that is in the log, committed or not. Here
//! shards go on from where they are: what this process knows to be committed, which a deposed leader's or a follower's
//! unconfirmed tail is not. Only what was read from disk, at a start or after a broken synchronization, is shown to its
//! end as the reference does, because nobody can say of a log alone how far it was committed. In either case a client
//! that has seen more is refused, and one that sees this state is told that it is a read-only server's.
//!
//! What is touched: nothing. Its sessions are local ones and end with the mode; no transaction is made, no counter of
//! one moves, and the answers go to the shards beside whatever waits for a commit (spec: quorum 25 T-6, invariant 22).
//!
//! A member that is set to have no vote (damaged, or of an empty disk it does not trust) shows nothing either.
//!
//! Source: ZK: ReadOnlyZooKeeperServer, QuorumPeer.run.

use super::ensemble::Role;
use super::{Effects, Replica};
use crate::base::{Now, SessionId};
use crate::mail::{AnswerKind, Connect, Service};

/// A leader may be found meanwhile: before that, clients look elsewhere.
const GRACE_MS_MIN: u64 = 2000;

impl Replica {
    /// The search for a leader takes long: clients that put up with it are let in.
    pub(super) fn serve_read_only_when_due(&mut self, now: Now, out: &mut Effects) {
        let Some(ensemble) = &self.ensemble else { return };
        let settings = &ensemble.settings;
        if settings.read_only_mode
            && matches!(ensemble.role, Role::Looking)
            && ensemble.service == Service::Nobody
            && !ensemble.is_dataless
            && !self.failed
            && now.mono.millis_since(ensemble.elects_since) >= GRACE_MS_MIN.max(settings.tick_ms)
        {
            tracing::warn!(zxid = %self.last_released, "no leader is found: serving read-only clients");
            self.serve_clients(Service::ReadOnly, out);
        }
    }

    /// A handshake of a client that puts up with a read-only server.
    pub(super) fn connect_read_only(&mut self, connect: &Connect, out: &mut Effects) {
        let Connect { origin, session, .. } = *connect;
        if !self.has_local_sessions() {
            // Any other session takes a transaction. (The reference answers a new one with a bare reply header: UB-15.)
            return self.hang_up(origin, out);
        }
        if session != SessionId::NONE && self.sessions.contains(session) {
            tracing::info!(%session, "a session of the ensemble is not renewed by a read-only server");
            return self.hang_up(origin, out);
        }
        if !self.connect_locally(connect, out) {
            self.answer_now(origin, AnswerKind::Refused, out);
        }
    }
}

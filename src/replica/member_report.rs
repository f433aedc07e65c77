//! What a member shows an operator of itself, its leader and its learners.

use super::ensemble::{Ensemble, Role};
use crate::base::Instant;
use crate::codec::vote::PeerState;
use crate::mail::{LeadingReport, LearnerState, MemberReport, Service, Sizes};
use crate::zab::{Leader, LearnerReport};

impl Ensemble {
    /// `sessions` and `proposal_sizes` are not known here.
    pub(super) fn report(&self, now: Instant) -> MemberReport {
        let is_serving = self.service == Service::Everybody;
        let (peer_state, epoch) = match (&self.role, self.election.state()) {
            (Role::Leading(leader), _) if leader.is_established() => ("leading - broadcast", leader.epoch()),
            (Role::Leading(leader), _) => ("leading - discovery", leader.epoch()),
            (Role::Following(following), PeerState::Observing) => {
                (if is_serving { "observing - broadcast" } else { "observing - synchronization" }, following.epoch())
            }
            (Role::Following(following), _) => {
                (if is_serving { "following - broadcast" } else { "following - synchronization" }, following.epoch())
            }
            _ => ("looking", self.current_epoch),
        };
        let (leading, pending_proposals) = match &self.role {
            Role::Leading(leader) => (Some(leading(leader, now)), leader.outstanding_count() as u64),
            _ => (None, self.forwarding.outstanding_count() as u64),
        };
        let (leader, observers) = match &self.role {
            Role::Following(following) => (Some(following.leader()), following.observer_count()),
            _ => (None, None),
        };
        MemberReport {
            peer_state,
            epoch,
            quorum_size: self.settings.view.voters().count() as u64,
            election_ms: self.election_ms,
            leader,
            observers,
            observes: self.settings.observer,
            sessions: Vec::new(),
            pending_proposals,
            leading,
        }
    }

    /// As the reference's words and `mntr` name it.
    pub(super) fn state_name(&self) -> &'static str {
        match (&self.role, self.election.state()) {
            (Role::Leading(_), _) => "leader",
            (Role::Following(_), PeerState::Observing) => "observer",
            (Role::Following(_), _) => "follower",
            _ if self.service == Service::ReadOnly => "read-only",
            _ => "leaderelection",
        }
    }
}

fn leading(leader: &Leader, now: Instant) -> LeadingReport {
    let learner = |it: LearnerReport| LearnerState {
        server: it.server,
        votes: it.votes,
        observes: it.observes,
        synced: it.synced,
        acked: it.acked,
    };
    LeadingReport {
        learners: leader.learners().reports().map(learner).collect(),
        pending_syncs: leader.pending_sync_count() as u64,
        uptime_ms: leader.established_ms(now),
        proposal_sizes: Sizes::default(),
    }
}

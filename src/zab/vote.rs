//! Votes: which is better, and which two are the same.
//!
//! "Better" decides who is elected: the longest history of the latest epoch, ids break ties. "The same" decides who
//! agrees, and has two meanings. During an election a vote is all its numbers. Outside, between servers that follow
//! or lead, zxid and round may differ for one and the same leader (each took them from the election it saw), so only
//! leader and epoch count, and between servers of before and after 3.4.6 not even the epoch.
//! ZK: Vote.equals, FastLeaderElection.totalOrderPredicate.

use super::view::View;
use crate::base::{ServerId, Zxid};
use crate::codec::vote::{Notification, PeerState};

/// Whom a server wants as leader, or has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vote {
    pub leader: ServerId,
    /// The last zxid in that server's log when it was proposed.
    pub zxid: Zxid,
    /// The round of the election it belongs to.
    pub election_epoch: i64,
    /// That server's `currentEpoch`; after synchronization the epoch it leads.
    pub peer_epoch: i64,
}

impl Vote {
    /// The proposal of who has no vote: any other beats it.
    pub(super) fn nobody(election_epoch: i64) -> Vote {
        Vote { leader: ServerId(i64::MIN), zxid: Zxid(i64::MIN), election_epoch, peer_epoch: i64::MIN }
    }

    pub(super) fn of(notification: &Notification) -> Vote {
        Vote {
            leader: notification.leader,
            zxid: notification.zxid,
            election_epoch: notification.election_epoch,
            peer_epoch: notification.peer_epoch,
        }
    }

    /// Whether this is for a better leader than `other`. Rounds do not matter; a server of weight 0 is never better.
    pub fn beats(&self, other: &Vote, view: &View) -> bool {
        view.weight(self.leader) != 0 && self.rank() > other.rank()
    }

    fn rank(&self) -> (i64, Zxid, ServerId) {
        (self.peer_epoch, self.zxid, self.leader)
    }
}

/// The last one heard of one server: its vote and in which role it said so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ballot {
    pub vote: Vote,
    pub state: PeerState,
    /// Of the notification's form; 0 where it does not matter.
    pub version: i32,
}

impl Ballot {
    pub(super) fn agrees_with(&self, other: &Ballot) -> bool {
        if self.state == PeerState::Looking || other.state == PeerState::Looking {
            self.vote == other.vote
        } else if (self.version > 0) != (other.version > 0) {
            self.vote.leader == other.vote.leader
        } else {
            self.vote.leader == other.vote.leader && self.vote.peer_epoch == other.vote.peer_epoch
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::view_of;
    use super::*;

    fn vote(peer_epoch: i64, zxid: i64, leader: i64) -> Vote {
        Vote { leader: ServerId(leader), zxid: Zxid(zxid), election_epoch: 1, peer_epoch }
    }

    #[test]
    fn epoch_counts_before_zxid_and_zxid_before_id() {
        let view = view_of(&[1, 2, 3], &[]);
        let ascending = [vote(-1, 9, 3), vote(0, -1, 3), vote(0, 5, 1), vote(0, 5, 2), vote(0, 6, 1), vote(1, 0, 1)];
        for (at, low) in ascending.iter().enumerate() {
            for high in &ascending[at + 1..] {
                assert!(high.beats(low, &view) && !low.beats(high, &view), "{high:?} over {low:?}");
            }
            assert!(!low.beats(low, &view));
            assert!(low.beats(&Vote::nobody(1), &view));
        }
        let later = Vote { election_epoch: 9, ..vote(0, 5, 1) };
        assert!(!later.beats(&vote(0, 5, 1), &view), "the round is no merit");
    }

    #[test]
    fn weight_zero_beats_nobody() {
        let mut view = view_of(&[1, 2, 3], &[]);
        view.groups = [1, 2, 3].map(|id| (ServerId(id), 1)).into();
        view.weights.insert(ServerId(3), 0);
        assert!(!vote(9, 9, 3).beats(&vote(0, 0, 1), &view));
        assert!(vote(0, 0, 1).beats(&Vote::nobody(1), &view));
    }

    /// ZOOKEEPER-1732, 1805, 1818.
    #[test]
    fn outside_an_election_only_leader_and_epoch_must_agree() {
        let ballot = |state, version, vote| Ballot { vote, state, version };
        let (looking, following, leading) = (PeerState::Looking, PeerState::Following, PeerState::Leading);
        let mine = vote(4, 7, 3);
        let later_round = Vote { election_epoch: 2, zxid: Zxid(6), ..mine };
        assert!(ballot(following, 2, mine).agrees_with(&ballot(leading, 2, later_round)));
        assert!(!ballot(following, 2, mine).agrees_with(&ballot(looking, 2, later_round)));
        assert!(ballot(following, 2, mine).agrees_with(&ballot(looking, 0, mine)));

        let other_epoch = vote(5, 7, 3);
        assert!(!ballot(following, 2, mine).agrees_with(&ballot(leading, 2, other_epoch)));
        assert!(!ballot(following, 0, mine).agrees_with(&ballot(leading, 0, other_epoch)));
        assert!(ballot(following, 0, mine).agrees_with(&ballot(leading, 2, other_epoch)));
        assert!(!ballot(following, 0, mine).agrees_with(&ballot(leading, 2, vote(4, 7, 2))));
    }
}

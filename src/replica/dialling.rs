//! The way to whoever a learner learns from: whom it dials, how often, and how long it waits before.
//!
//! A follower dials the leader. So does an observer, unless the voters serve observers on a port of their own: then it
//! takes one of them after the other, so that the leader has fewer mouths to feed. A leader that was only just elected may
//! not listen yet, so it is dialled a few times; after that the server looks for a leader anew.
//!
//! Source: ZK: Learner.connectToLeader, QuorumPeer.findLearnerMaster, Observer.

use super::ensemble::Role;
use super::following::Following;
use super::{Effects, EnsembleSettings, PeerEffect, Replica};
use crate::base::{Dice, Instant, Now, PeerAddress, ServerId, Zxid};
use crate::zab::{Learner, Summary};

/// Attempts before the server looks for a leader anew.
const TRIES_MAX: u32 = 5;

/// Attempts to connect to one server.
#[derive(Debug)]
pub(super) struct Dialling {
    to: Vec<PeerAddress>,
    tries: u32,
    /// When the next attempt is due; `None` while one is under way.
    next: Option<Instant>,
    /// Ends the last attempt.
    deadline: Instant,
}

impl Dialling {
    /// The first attempt at `first`; all of them within `budget_ms` from then on (`connectToLearnerMasterLimit`).
    pub fn new(to: Vec<PeerAddress>, first: Instant, budget_ms: u64) -> Dialling {
        Dialling { to, tries: 0, next: Some(first), deadline: first.plus_ms(budget_ms) }
    }

    /// Whom to dial now, and for how many milliseconds at most.
    pub fn take_due(&mut self, now: Instant) -> Option<(Vec<PeerAddress>, u64)> {
        self.next.take_if(|at| *at <= now)?;
        self.tries += 1;
        // An attempt that comes late by our own fault still gets a moment.
        Some((self.to.clone(), self.deadline.max(now).millis_since(now).max(1)))
    }

    /// An attempt failed. Returns whether there will be another, `delay_ms` later (`leaderConnectDelayDuringRetryMs`).
    pub fn on_failed(&mut self, now: Instant, delay_ms: u64) -> bool {
        let next = now.plus_ms(delay_ms);
        if self.tries >= TRIES_MAX || next >= self.deadline {
            return false;
        }
        self.next = Some(next);
        true
    }
}

/// Whom an observer learns from, one voter after the other.
#[derive(Debug)]
pub(super) struct Masters {
    /// In an order of its own, so that not all observers begin with the same.
    voters: Vec<ServerId>,
    next: usize,
}

impl Masters {
    pub fn new(settings: &EnsembleSettings, dice: &mut Dice) -> Masters {
        let mut voters: Vec<ServerId> = settings.view.voters().collect();
        dice.shuffle(&mut voters);
        Masters { voters, next: 0 }
    }

    /// The next one that is not the leader, who serves no observers there, and whether all have been tried before;
    /// `None` if there is nobody but the leader.
    fn pick(&mut self, leader: ServerId) -> Option<(ServerId, bool)> {
        let mut is_round = false;
        for _ in 0..=self.voters.len() {
            if self.next >= self.voters.len() {
                (self.next, is_round) = (0, true);
            }
            self.next += 1;
            match self.voters.get(self.next - 1) {
                Some(voter) if *voter == leader => {}
                voter => return voter.map(|voter| (*voter, is_round)),
            }
        }
        None
    }
}

impl Replica {
    /// The election is over, and somebody else leads.
    pub(super) fn follow(&mut self, leader: ServerId, now: Now, out: &mut Effects) {
        let last = self.last_proposed;
        let Some(ensemble) = &mut self.ensemble else { return };
        let settings = &ensemble.settings;
        let summary = Summary {
            accepted: ensemble.accepted_epoch,
            current: ensemble.current_epoch,
            last: if ensemble.is_dataless { Zxid::NONE } else { last },
            config_version: settings.view.version,
        };
        let observes = settings.observer;
        let port = settings.observer_master_port.filter(|_| observes);
        let picked = port.and_then(|port| Some((port, ensemble.masters.pick(leader)?)));
        let (master, port, waits) = match picked {
            Some((port, (voter, is_round))) => (voter, Some(port), is_round),
            None => (leader, None, observes),
        };
        let mut to = settings.view.members.get(&master).map(|member| member.quorum_addresses()).unwrap_or_default();
        to.iter_mut().for_each(|at| at.port = port.unwrap_or(at.port));
        // An observer may have been told to let the others go first.
        let delay_ms = if waits { settings.observer_reconnect_delay_ms } else { 0 };
        let first = now.mono.plus_ms(ensemble.dice.below(delay_ms));
        let dialling = Dialling::new(to, first, settings.dial_ms());
        let limits = (settings.init_ms(), settings.sync_ms());
        let learner = Learner::new(settings.me, master, observes, summary, limits, settings.field_bytes_max, now.mono);
        ensemble.role = Role::Following(Box::new(Following::new(learner, dialling, now.mono)));
        self.dial_when_due(now, out);
    }

    pub(super) fn dial_when_due(&mut self, now: Now, out: &mut Effects) {
        let Some(ensemble) = &mut self.ensemble else { return };
        let Role::Following(following) = &mut ensemble.role else { return };
        if let Some((to, timeout_ms)) = following.dialling.take_due(now.mono) {
            let link = ensemble.link_ids.next();
            following.link = link;
            self.use_for_leader(link);
            out.peer.push(PeerEffect::Dial { link, to, timeout_ms });
        }
    }

    /// The leader's process ended, or never listened: noticed at once, not by silence.
    pub(super) fn on_leader_closed(&mut self, now: Now, out: &mut Effects) {
        let delay_ms = self.ensemble.as_ref().map_or(0, |ensemble| ensemble.settings.leader_connect_delay_ms);
        let Some(following) = self.following() else { return };
        if !following.learner.is_dialling() {
            self.leave_role("the connection to the leader is gone", now, out);
        } else if !following.dialling.on_failed(now.mono, delay_ms) {
            self.leave_role("the leader cannot be connected to", now, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant(ms * 1000)
    }

    fn leader() -> Vec<PeerAddress> {
        vec![PeerAddress { host: "a".into(), port: 1 }]
    }

    #[test]
    fn a_leader_is_dialled_five_times_with_pauses() {
        let mut dialling = Dialling::new(leader(), at(0), 10_000);
        for attempt in 0..5 {
            let (to, timeout_ms) = dialling.take_due(at(attempt * 100)).unwrap();
            assert_eq!((to, timeout_ms), (leader(), 10_000 - attempt * 100));
            assert!(dialling.take_due(at(attempt * 100)).is_none(), "one at a time");
            assert_eq!(dialling.on_failed(at(attempt * 100), 100), attempt < 4);
            assert!(dialling.take_due(at(attempt * 100 + 99)).is_none());
        }
    }

    #[test]
    fn the_budget_ends_them_too() {
        let mut dialling = Dialling::new(leader(), at(500), 1_000);
        assert!(dialling.take_due(at(499)).is_none());
        assert_eq!(dialling.take_due(at(500)).unwrap().1, 1_000);
        assert!(dialling.on_failed(at(1_200), 100));
        assert_eq!(dialling.take_due(at(1_300)).unwrap().1, 200);
        assert!(!dialling.on_failed(at(1_400), 100), "nothing is left for another");
    }
}

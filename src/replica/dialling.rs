//! A learner's way to its leader: how often it is dialled, and how long the learner waits before.
//!
//! A leader that was only just elected may not listen yet, so it is dialled a few times; after that the server looks for a
//! leader anew.
//!
//! Source: ZK: Learner.connectToLeader, Observer.

use crate::base::{Instant, PeerAddress};

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

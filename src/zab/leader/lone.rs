//! Leading alone: of two voters one is gone, and an oracle outside the ensemble says which of them may go on without the
//! other (`oraclePath`).
//!
//! Whoever sets it up promises that never more than one of the two is told yes; nothing here could notice otherwise. So
//! every decision that a quorum should take is put to the oracle anew, and its answer is good for what was ready when it was
//! asked. As soon as the other voter is back, the two of them decide again.
//!
//! Source: ZK: QuorumOracleMaj, Leader.lead (spec: quorum 15).

use super::{Leader, LeaderEffect, Stage};
use crate::base::{Instant, Zxid};
use crate::zab::learners::LinkStage;

/// What is known of the oracle.
#[derive(Debug)]
pub(super) struct Oracle {
    /// There is one, and two voters.
    exists: bool,
    /// It was asked and has not answered.
    asked: Option<Asked>,
    /// It has just said yes to that.
    granted: Option<Asked>,
}

/// What is decided by one answer.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// Our history so far.
    through: Zxid,
    /// Whoever asked for a sync so far: the rounds of pings they wait for.
    rounds: u64,
}

impl Oracle {
    pub fn new(exists: bool) -> Oracle {
        Oracle { exists, asked: None, granted: None }
    }

    /// Up to where history is decided by us alone, while its answer is carried out.
    pub fn grants_through(&self) -> Option<Zxid> {
        self.granted.map(|granted| granted.through)
    }

    /// Whether it has just said that this server led when a round of pings was due.
    pub fn grants(&self, round: u64) -> bool {
        self.granted.is_some_and(|granted| round <= granted.rounds)
    }
}

impl Leader {
    /// Whether the other voter gets nothing from us, so that the oracle counts.
    pub(super) fn is_alone(&self) -> bool {
        self.oracle.exists && !self.learners.iter().any(|(_, link)| link.votes && link.stage >= LinkStage::Syncing)
    }

    /// Something waits for a quorum that cannot come.
    pub(super) fn ask_oracle(&mut self, out: &mut Vec<LeaderEffect>) {
        if self.is_alone() && self.oracle.asked.is_none() && self.stage != Stage::Over {
            self.oracle.asked = Some(Asked { through: self.own_durable, rounds: self.learners.next_round() });
            out.push(LeaderEffect::AskOracle);
        }
    }

    /// As [`Leader::ask_oracle`], if anything waits at all.
    pub(super) fn ask_if_waiting(&mut self, out: &mut Vec<LeaderEffect>) {
        if self.stage < Stage::Established || !self.outstanding.is_empty() || self.syncs.are_waiting() {
            self.ask_oracle(out);
        }
    }

    /// The oracle's answer.
    pub fn on_oracle(&mut self, yes: bool, now: Instant, out: &mut Vec<LeaderEffect>) {
        let Some(asked) = self.oracle.asked.take() else { return };
        if !self.is_alone() || self.stage == Stage::Over {
            return; // The other voter came meanwhile.
        }
        if yes {
            self.oracle.granted = Some(asked);
            self.gather(now, out);
            self.count_promises(now, out);
            self.on_new_leader_ack(now, out);
            self.commit(out);
            self.oracle.granted = None;
        } else if self.stage == Stage::Established {
            self.abdicate("the other voter is gone, and the oracle does not let this one lead alone".into(), out);
        }
    }

    /// Fewer than a quorum are heard. Whether that is for the oracle, or the other voter, to mend.
    pub(super) fn may_go_on(&mut self, out: &mut Vec<LeaderEffect>) -> bool {
        self.ask_oracle(out);
        self.oracle.exists
    }
}

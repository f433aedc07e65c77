//! `sync`: whoever asks sees everything that was committed anywhere before it asked.
//!
//! What this server has proposed has to be committed first. And it must still lead: others may have replaced it without
//! its knowing, and have committed what it knows nothing of. So after each sync a quorum has to say that it still follows.
//! A learner that asks for a sync says so with that; all others are asked by a ping, which they answer each for itself and
//! in order. One ping is under way at a time; what is asked meanwhile waits for the next.
//!
//! The reference's leader answers without asking anybody (ZK: Leader.processSync).

use std::collections::VecDeque;

use super::{Leader, LeaderEffect};
use crate::base::{LinkId, ServerId, Zxid};
use crate::codec::peer::{Packet, PacketKind};
use crate::zab::learners::{Link, LinkStage};

/// A learner's sync.
#[derive(Debug)]
struct Sync {
    link: LinkId,
    /// Committed before it is answered.
    through: Zxid,
    /// The first round of pings whose answers count for it.
    round: u64,
}

#[derive(Debug, Default)]
pub(super) struct Syncs {
    learners: VecDeque<Sync>,
    /// Of this server's clients, whose answers wait for their commits elsewhere: their rounds.
    own: VecDeque<u64>,
}

impl Syncs {
    /// The answer to a sync has to leave before the commit of `zxid`.
    pub fn hold_up(&self, zxid: Zxid) -> bool {
        self.learners.front().is_some_and(|sync| sync.through < zxid)
    }

    pub fn are_waiting(&self) -> bool {
        !self.learners.is_empty() || !self.own.is_empty()
    }

    /// The last round that any of them needs.
    fn last_round(&self) -> Option<u64> {
        let own = self.own.back().copied();
        self.learners.back().map(|sync| sync.round).max(own)
    }
}

impl Leader {
    pub fn pending_sync_count(&self) -> usize {
        self.syncs.own.len() + self.syncs.learners.iter().filter(|sync| self.learners.has(sync.link)).count()
    }

    /// A learner's `sync`.
    pub fn sync(&mut self, link: LinkId, out: &mut Vec<LeaderEffect>) {
        let sync = Sync { link, through: self.last_proposed, round: self.learners.round() + 1 };
        self.syncs.learners.push_back(sync);
        self.commit(out);
        self.ask_if_waiting(out);
    }

    /// A `sync` of this server's own client: [`LeaderEffect::Confirmed`] says when this server has led meanwhile.
    pub fn sync_own(&mut self, out: &mut Vec<LeaderEffect>) {
        self.syncs.own.push_back(self.learners.round() + 1);
        self.commit(out);
        self.ask_if_waiting(out);
    }

    /// Answers what can be answered, oldest first, and has the rest on its way.
    pub(super) fn answer_syncs(&mut self, out: &mut Vec<LeaderEffect>) {
        if !self.syncs.are_waiting() {
            return;
        }
        while let Some(sync) = self.syncs.learners.front() {
            let asker = self.learners.get(sync.link);
            if let Some(asker) = asker
                && (sync.through > self.last_committed || !self.led_in(sync.round, asker.votes.then_some(asker.server)))
            {
                break;
            }
            let link = sync.link;
            self.syncs.learners.pop_front();
            self.learners.send(link, &Packet::bare(PacketKind::Sync, Zxid::ZERO), out);
        }
        while self.syncs.own.front().is_some_and(|round| self.led_in(*round, None)) {
            self.syncs.own.pop_front();
            out.push(LeaderEffect::Confirmed);
        }
        let latest = self.learners.round();
        if self.syncs.last_round().is_some_and(|round| round > latest) && self.led_in(latest, None) {
            self.learners.ping(self.last_proposed, out);
        }
    }

    /// Whether a quorum, with `asker` if it votes, has followed this server in a round of pings.
    fn led_in(&self, round: u64, asker: Option<ServerId>) -> bool {
        if self.oracle.grants(round) {
            return true;
        }
        let follows = |id: ServerId| {
            let answers = |link: &Link| {
                link.server == id && link.votes && link.stage >= LinkStage::Acked && link.rounds_answered >= round
            };
            id == self.me || asker == Some(id) || self.learners.iter().any(|(_, link)| answers(link))
        };
        self.view.has_quorum_of(follows)
    }
}

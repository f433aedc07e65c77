//! The leader: an epoch is agreed on, learners are brought up to date, and then proposals become commits.
//!
//! ```text
//!   Gathering --quorum of FOLLOWERINFO--> Promising --own acceptedEpoch durable--> Acking
//!     --quorum of ACKEPOCH--> Adopting --own currentEpoch durable--> Synchronizing --quorum of NEWLEADER acks--> Established
//! ```
//!
//! Every learner passes through the same steps on its own link, early or late. What a learner must be sent to know
//! our history is the owner's affair ([`MasterEffect::Sync`]); everything afterwards is here.
//!
//! Source: Zab (DSN 2011), phases 1 to 3; ZK: Leader, LearnerHandler (spec: quorum 7 to 10).

mod broadcast;
mod discovery;
mod lone;
mod packets;
mod syncs;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::learners::{LearnerLimits, Learners, LinkStage, MasterEffect};
use super::view::View;
use crate::base::{Instant, ServerId, Zxid};
use crate::codec::Chunks;

/// What the leader asks of its owner.
#[derive(Debug)]
pub enum LeaderEffect {
    /// Of one learner.
    Learner(MasterEffect),
    /// Make `acceptedEpoch` durable, then [`Leader::on_promised`].
    Promise { epoch: i64 },
    /// Make `currentEpoch` durable, then [`Leader::on_adopted`].
    Adopt { epoch: i64 },
    /// A quorum has our history: serve.
    Established { epoch: i64 },
    /// Everything up to here has a quorum; its record, oldest first, one effect each.
    Commit { zxid: Zxid, record: Bytes },
    /// The oldest [`Leader::sync_own`] is answered, as far as this server's leadership goes.
    Confirmed,
    /// Ask the oracle, then [`Leader::on_oracle`].
    AskOracle,
    /// The reason for what follows is a voter that changed its mind, which is counted.
    Disloyal,
    /// Leadership is over.
    Abdicate { why: String },
}

impl From<MasterEffect> for LeaderEffect {
    fn from(effect: MasterEffect) -> LeaderEffect {
        LeaderEffect::Learner(effect)
    }
}

/// Where an epoch stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Stage {
    Gathering,
    Promising,
    Acking,
    Adopting,
    Synchronizing,
    Established,
    /// Given up; nothing is done any more.
    Over,
}

/// A proposal without a quorum so far.
#[derive(Debug)]
struct Outstanding {
    zxid: Zxid,
    record: Bytes,
}

/// A server that was elected to lead.
#[derive(Clone, Debug)]
pub struct Elected {
    pub me: ServerId,
    /// Who voted for it, as far as is known.
    pub by: BTreeSet<ServerId>,
    /// It gives up when it has waited longer for its epoch than this and one of those looks for a leader again; `None` =
    /// then it waits on (`leader.maxTimeToWaitForEpoch`, ZOOKEEPER-3109).
    pub epoch_wait_ms_max: Option<u64>,
    /// Its epochs on disk.
    pub accepted: i64,
    pub current: i64,
    /// Its last logged transaction.
    pub last: Zxid,
    /// There is an oracle for the case that the other one of two voters is gone (`oraclePath`).
    pub has_oracle: bool,
}

/// One term of leadership. Lives on: the replication core.
#[derive(Debug)]
pub struct Leader {
    me: ServerId,
    electors: BTreeSet<ServerId>,
    epoch_wait_ms_max: Option<u64>,
    view: Arc<View>,
    stage: Stage,
    stage_since: Instant,
    /// The highest anybody needs so far; fixed from [`Stage::Promising`] on.
    epoch: i64,
    /// Our own currentEpoch and last transaction when the term began.
    summary: (i64, Zxid),
    learners: Learners,
    /// Voters that want to join the epoch, ourselves included.
    joined: BTreeSet<ServerId>,
    /// Voters that promised it, ourselves included.
    promised: BTreeSet<ServerId>,
    outstanding: VecDeque<Outstanding>,
    /// Where packets for all of them are made.
    packets: Chunks,
    last_proposed: Zxid,
    last_committed: Zxid,
    own_durable: Zxid,
    syncs: syncs::Syncs,
    next_ping: Instant,
    next_check: Instant,
    oracle: lone::Oracle,
}

impl Leader {
    /// A term that begins: elected, but nobody follows yet. All of our history is durable.
    pub fn new(
        elected: Elected,
        view: Arc<View>,
        limits: LearnerLimits,
        now: Instant,
        out: &mut Vec<LeaderEffect>,
    ) -> Leader {
        let Elected { me, accepted, current, last, .. } = elected;
        let exists = elected.has_oracle && view.voters().count() == 2;
        let mut leader = Leader {
            me,
            electors: elected.by,
            epoch_wait_ms_max: elected.epoch_wait_ms_max,
            view,
            stage: Stage::Gathering,
            stage_since: now,
            epoch: accepted + 1,
            summary: (current, last),
            learners: Learners::new(limits),
            joined: BTreeSet::from([me]),
            promised: BTreeSet::new(),
            outstanding: VecDeque::new(),
            packets: Chunks::default(),
            last_proposed: last,
            last_committed: last,
            own_durable: last,
            syncs: syncs::Syncs::default(),
            next_ping: now,
            next_check: now.plus_ms(limits.timing.tick_ms),
            oracle: lone::Oracle::new(exists),
        };
        leader.gather(now, out); // Alone it may be a quorum.
        leader
    }

    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    pub fn is_established(&self) -> bool {
        self.stage == Stage::Established
    }

    pub fn learners(&self) -> &Learners {
        &self.learners
    }

    pub fn learners_mut(&mut self) -> &mut Learners {
        &mut self.learners
    }

    pub fn last_committed(&self) -> Zxid {
        self.last_committed
    }

    /// Proposed and never committed, oldest first: what the end of a term leaves behind.
    pub fn into_outstanding(self) -> VecDeque<(Zxid, Bytes)> {
        self.outstanding.into_iter().map(|proposal| (proposal.zxid, proposal.record)).collect()
    }

    /// How long a quorum has had our history; 0 before it has.
    pub fn established_ms(&self, now: Instant) -> u64 {
        if self.is_established() { now.millis_since(self.stage_since) } else { 0 }
    }

    pub fn outstanding_count(&self) -> usize {
        self.outstanding.len()
    }

    fn enter(&mut self, stage: Stage, now: Instant) {
        self.stage = stage;
        self.stage_since = now;
    }

    fn abdicate(&mut self, why: String, out: &mut Vec<LeaderEffect>) {
        if self.stage != Stage::Over {
            self.stage = Stage::Over;
            out.push(LeaderEffect::Abdicate { why });
        }
    }

    /// Time passes: pings, silent learners, and whether a quorum still listens.
    pub fn on_tick(&mut self, now: Instant, out: &mut Vec<LeaderEffect>) {
        if self.stage == Stage::Over {
            return;
        }
        let timing = self.learners.timing();
        if self.stage < Stage::Established && now.millis_since(self.stage_since) > timing.init_ms {
            let why = format!("no quorum came together within initLimit ({} ms)", timing.init_ms);
            return self.abdicate(why, out);
        }
        self.learners.drop_silent(now, out);
        self.drop_debtors(now, out);
        if now >= self.next_ping {
            // Counted from when it was due, so that late ticks do not add up.
            self.next_ping = self.next_ping.plus_ms(timing.ping_ms).max(now);
            self.learners.ping(self.last_proposed, out);
            self.ask_if_waiting(out);
        }
        if self.stage == Stage::Established && now >= self.next_check {
            self.next_check = now.plus_ms(timing.tick_ms);
            if !self.hears_quorum() && !self.may_go_on(out) {
                self.abdicate("fewer than a quorum of voters are heard".into(), out);
            }
        }
    }

    /// Whether these decide, or the oracle has just said that we do alone.
    fn has_quorum(&self, servers: &BTreeSet<ServerId>) -> bool {
        self.view.has_quorum(servers) || self.oracle.grants_through().is_some()
    }

    /// Whether a quorum of voters, ourselves included, is connected and past its handshake.
    fn hears_quorum(&self) -> bool {
        let voters = self.learners.iter().filter(|(_, link)| link.votes && link.stage >= LinkStage::Acked);
        self.has_quorum(&voters.map(|(_, link)| link.server).chain([self.me]).collect())
    }
}

//! The leader: an epoch is agreed on, learners are brought up to date, and then proposals become commits.
//!
//! ```text
//!   Gathering --quorum of FOLLOWERINFO--> Promising --own acceptedEpoch durable--> Acking
//!     --quorum of ACKEPOCH--> Adopting --own currentEpoch durable--> Synchronizing --quorum of NEWLEADER acks--> Established
//! ```
//!
//! Every learner passes through the same steps on its own link, early or late. What a learner must be sent to know
//! our history is the owner's affair ([`LeaderEffect::Sync`]); everything afterwards is here.
//!
//! Source: Zab (DSN 2011), phases 1 to 3; ZK: Leader, LearnerHandler (spec: quorum 7 to 10).

mod backlog;
mod broadcast;
mod discovery;
mod links;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::view::View;
use crate::base::{Id, Instant, LinkId, ServerId, SessionId, Zxid};
use crate::codec::peer::Forwarded;
use links::{Link, LinkStage};

/// Limits of time, in milliseconds (spec: quorum 16).
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub tick_ms: u64,
    /// `initLimit`: to agree on an epoch and to synchronize.
    pub init_ms: u64,
    /// `syncLimit`: to be silent, or to leave a proposal unacknowledged.
    pub sync_ms: u64,
    /// How often learners are spoken to; at most half a tick.
    pub ping_ms: u64,
}

/// What the leader asks of its owner.
#[derive(Debug)]
pub enum LeaderEffect {
    Send {
        link: LinkId,
        bytes: Bytes,
    },
    /// Say when everything sent so far has left, with [`Leader::on_drained`].
    TellDrained {
        link: LinkId,
    },
    Close {
        link: LinkId,
    },
    /// Make `acceptedEpoch` durable, then [`Leader::on_promised`].
    Promise {
        epoch: i64,
    },
    /// Make `currentEpoch` durable, then [`Leader::on_adopted`].
    Adopt {
        epoch: i64,
    },
    /// This learner's last transaction is `peer` (-1: it has nothing): send it what it lacks with [`Leader::feed`]
    /// or [`Leader::feed_snapshot`], then [`Leader::follow`].
    Sync {
        link: LinkId,
        server: ServerId,
        peer: Zxid,
    },
    /// A quorum has our history: serve.
    Established {
        epoch: i64,
    },
    /// Everything up to here has a quorum; its record, oldest first, one effect each.
    Commit {
        zxid: Zxid,
        record: Bytes,
    },
    /// A learner's client wants something ordered.
    Request {
        link: LinkId,
        request: Forwarded,
        ids: Vec<Id>,
    },
    Revalidate {
        link: LinkId,
        session: SessionId,
        timeout_ms: i32,
    },
    /// A learner heard these sessions since it last said so.
    Heard {
        sessions: Vec<(SessionId, i32)>,
    },
    /// Leadership is over.
    Abdicate {
        why: String,
    },
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

/// One term of leadership. Lives on: the replication core.
#[derive(Debug)]
pub struct Leader {
    me: ServerId,
    view: Arc<View>,
    timing: Timing,
    stage: Stage,
    stage_since: Instant,
    /// The highest anybody needs so far; fixed from [`Stage::Promising`] on.
    epoch: i64,
    /// Our own currentEpoch and last transaction when the term began.
    summary: (i64, Zxid),
    links: BTreeMap<LinkId, Link>,
    /// Voters that want to join the epoch, ourselves included.
    joined: BTreeSet<ServerId>,
    /// Voters that promised it, ourselves included.
    promised: BTreeSet<ServerId>,
    outstanding: VecDeque<Outstanding>,
    last_proposed: Zxid,
    last_committed: Zxid,
    own_durable: Zxid,
    /// A sync waits until this is committed.
    syncs: VecDeque<(Zxid, LinkId)>,
    next_ping: Instant,
    next_check: Instant,
    field_bytes_max: usize,
}

impl Leader {
    /// A term that begins: elected, but nobody follows yet. All of our history is durable.
    ///
    /// `accepted`, `current`: our epochs on disk. `last`: our last logged transaction. `field_bytes_max`: what a
    /// packet's fields may be long (`jute.maxbuffer` and its extra size).
    #[allow(clippy::too_many_arguments, reason = "what a server knows of itself when it is elected")]
    pub fn new(
        me: ServerId,
        view: Arc<View>,
        timing: Timing,
        (accepted, current): (i64, i64),
        last: Zxid,
        field_bytes_max: usize,
        now: Instant,
        out: &mut Vec<LeaderEffect>,
    ) -> Leader {
        let mut leader = Leader {
            me,
            view,
            timing,
            stage: Stage::Gathering,
            stage_since: now,
            epoch: accepted + 1,
            summary: (current, last),
            links: BTreeMap::new(),
            joined: BTreeSet::from([me]),
            promised: BTreeSet::new(),
            outstanding: VecDeque::new(),
            last_proposed: last,
            last_committed: last,
            own_durable: last,
            syncs: VecDeque::new(),
            next_ping: now,
            next_check: now.plus_ms(timing.tick_ms),
            field_bytes_max,
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

    /// Learners that follow, for the operator.
    pub fn learners(&self) -> impl Iterator<Item = LearnerReport> {
        self.links.values().filter(|link| link.stage >= LinkStage::Syncing).map(|link| LearnerReport {
            server: link.server,
            votes: link.votes,
            observes: link.observes,
            synced: link.stage == LinkStage::Live,
            acked: link.acked,
        })
    }

    /// Proposed and never committed, oldest first: what the end of a term leaves behind.
    pub fn into_outstanding(self) -> VecDeque<(Zxid, Bytes)> {
        self.outstanding.into_iter().map(|proposal| (proposal.zxid, proposal.record)).collect()
    }

    /// How long a quorum has had our history; 0 before it has.
    pub fn established_ms(&self, now: Instant) -> u64 {
        if self.is_established() { now.millis_since(self.stage_since) } else { 0 }
    }

    pub fn pending_sync_count(&self) -> usize {
        self.syncs.len()
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
        if self.stage < Stage::Established && now.millis_since(self.stage_since) > self.timing.init_ms {
            let why = format!("no quorum came together within initLimit ({} ms)", self.timing.init_ms);
            return self.abdicate(why, out);
        }
        self.drop_silent(now, out);
        if now >= self.next_ping {
            // Counted from when it was due, so that late ticks do not add up.
            self.next_ping = self.next_ping.plus_ms(self.timing.ping_ms).max(now);
            self.ping(out);
        }
        if self.stage == Stage::Established && now >= self.next_check {
            self.next_check = now.plus_ms(self.timing.tick_ms);
            if !self.hears_quorum() {
                self.abdicate("fewer than a quorum of voters are heard".into(), out);
            }
        }
    }

    /// Whether a quorum of voters, ourselves included, is connected and past its handshake.
    fn hears_quorum(&self) -> bool {
        let voters = self.links.values().filter(|link| link.votes && link.stage >= LinkStage::Acked);
        self.view.has_quorum(&voters.map(|link| link.server).chain([self.me]).collect())
    }
}

/// One learner, as an operator sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LearnerReport {
    pub server: ServerId,
    pub votes: bool,
    pub observes: bool,
    pub synced: bool,
    pub acked: Zxid,
}

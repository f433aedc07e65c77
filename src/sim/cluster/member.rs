//! One member: its machines of this life, and what outlives them: the disk, the clocks, and what the world knows
//! of its history.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::disk::{Disk, Flip};
use super::super::rng::Rng;
use super::super::server::Mailbox;
use super::desk::Standing;
use super::epochs::EpochFiles;
use super::plan::Plan;
use crate::base::{Instant, LinkId, Now, WallMs};
use crate::journal::BatchId;
use crate::mail::{ToReplica, ToShard};
use crate::replica::{EpochFile, Stretch};
use crate::shard::Shard;

/// One life of a member: from a boot to the next end.
pub struct Server<M> {
    pub machine: M,
    pub shards: Vec<Shard>,
    /// What each shard has been told is committed.
    pub applied: Vec<i64>,
    pub to_replica: Vec<Mailbox<ToReplica>>,
    pub to_shard: Vec<Mailbox<ToShard>>,
    /// Until when each shard, and last the replica, stands still.
    pub stopped_until: Vec<u64>,
}

impl<M> Server<M> {
    pub fn new(machine: M, shards: Vec<Shard>, applied: i64) -> Server<M> {
        let count = shards.len();
        Server {
            machine,
            shards,
            applied: vec![applied; count],
            to_replica: (0..count).map(|_| Mailbox::default()).collect(),
            to_shard: (0..count).map(|_| Mailbox::default()).collect(),
            stopped_until: vec![0; count + 1],
        }
    }

    pub fn replica_stopped_until(&self) -> u64 {
        self.stopped_until.last().copied().unwrap_or(0)
    }
}

/// Both clocks of a member: one runs a little fast or slow, the other is anybody's guess.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Since the machine was switched on, as members are not switched on together.
    offset_us: u64,
    drift_per_mille: u64,
    pub wall_offset_ms: i64,
}

impl Clock {
    fn draw(skewed: bool, dice: &mut Rng) -> Clock {
        let (drift, wall) = (dice.below(21), dice.below(20_000) as i64);
        Clock {
            offset_us: dice.below(1_000_000_000),
            drift_per_mille: if skewed { 990 + drift } else { 1000 },
            wall_offset_ms: if skewed { wall - 10_000 } else { 0 },
        }
    }

    pub fn now(&self, world: u64) -> Now {
        let mono = self.offset_us + world / 1000 * self.drift_per_mille + world % 1000 * self.drift_per_mille / 1000;
        Now { mono: Instant(mono), wall: WallMs(1_700_000_000_000 + (world / 1000) as i64 + self.wall_offset_ms) }
    }
}

/// Parts in a thousand by which a clock may be slow or fast.
pub const DRIFT_PER_MILLE: u64 = 10;

pub struct Member<M> {
    pub id: usize,
    pub votes: bool,
    /// Counts its lives; what was under way in an earlier one is void.
    pub life: u32,
    pub server: Option<Server<M>>,
    pub disk: Disk,
    pub epochs: EpochFiles,
    /// Reported as written before they were (sabotage), still to be told.
    pub told_epochs: VecDeque<(EpochFile, i64)>,
    /// Stretches of the journal being read for learners.
    pub stretches: BTreeMap<LinkId, Stretch>,
    /// Batches reported landed before they are (sabotage).
    pub early: BTreeSet<BatchId>,
    /// The history it believes to have published is not on its disk (sabotage).
    pub stale: bool,
    pub clock: Clock,
    /// Effects until its power is cut.
    pub fuse: Option<u64>,
    /// A write failed: it must stop by itself.
    pub must_halt: bool,
    /// Ends what it has written.
    pub logged: i64,
    /// Ends what is on its disk.
    pub durable: i64,
    /// The journal segment with which its history begins.
    pub floor: u64,
    /// Its disk was damaged or replaced, and it has not caught up since: whatever it promised is void.
    pub lost: bool,
    /// The byte on its disk that lies.
    pub flip: Option<Flip>,
    /// When its life began, in microseconds.
    pub since: u64,
    /// It has been started before.
    pub has_lived: bool,
    /// Its machine is without power: nobody even refuses a call.
    pub dark: bool,
    pub stalled_until: u64,
}

impl<M> Member<M> {
    pub fn new(id: usize, votes: bool, plan: &Plan, dice: &mut Rng) -> Member<M> {
        Member {
            id,
            votes,
            life: 0,
            server: None,
            disk: Disk::default(),
            epochs: EpochFiles::default(),
            told_epochs: VecDeque::new(),
            stretches: BTreeMap::new(),
            early: BTreeSet::new(),
            stale: false,
            clock: Clock::draw(plan.clock_skew, dice),
            fuse: None,
            must_halt: false,
            logged: 0,
            durable: 0,
            floor: 0,
            lost: false,
            flip: None,
            since: 0,
            has_lived: false,
            dark: false,
            stalled_until: 0,
        }
    }

    /// What the snapshots on its disk say of its history: a cut may have been late for the one that replaces it.
    pub fn take_stock(&mut self) {
        self.floor = self.disk.heads().map(|head| head.floor.0).max().unwrap_or(0);
        let ours = self.disk.heads().filter(|head| head.floor.0 == self.floor);
        self.epochs.vouched = ours.map(|head| head.epoch).max().unwrap_or(0);
    }

    pub fn standing(&self) -> Standing {
        Standing {
            member: self.id,
            life: self.life,
            durable: self.durable,
            logged: self.logged,
            accepted: self.epochs.accepted,
            current: self.epochs.in_force(),
            votes: self.votes,
        }
    }

    /// Its power went in the middle of a turn: it does nothing any more.
    pub fn is_cut(&self) -> bool {
        self.fuse == Some(0)
    }

    /// One effect is carried out; false when the power goes right after it.
    pub fn burn(&mut self) -> bool {
        match &mut self.fuse {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                *left > 0
            }
        }
    }
}

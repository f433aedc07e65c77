//! The world: one server's two machines, its disk, clients, clocks and a mailbox, stepped by a queue of events.
//!
//! Everything that happens is an [`Happening`] at a microsecond; ties go in the order they were planned. All
//! dice come from the seed, so a world is its seed: run it again with a trace and it does the same to the byte.

use std::collections::{BTreeMap, VecDeque};

use super::chaos::Plan;
use super::commit::Commits;
use super::crowd::Client;
use super::disk::{Disk, Flip};
use super::net::Link;
use super::night::{self, Violation};
use super::rng::Rng;
use super::server::Server;
use crate::base::{Instant, Now, Origin, SessionId, WallMs, Zxid};
use crate::journal::{BatchId, SegmentId};

/// What may be broken on purpose, in the driver, to see whether the checks notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// A batch is reported landed while it is only queued.
    AckBeforeDisk,
    /// The disk says a write is synced and keeps it in its cache: only a power cut shows it.
    LyingDisk,
    /// A watch event leaves after the reply it should precede.
    EventAfterReply,
    /// Hard limits refuse nothing.
    QuotaIgnored,
}

pub type Options = night::Options<Sabotage>;

/// What a run amounted to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    pub steps: u64,
    pub replies: u64,
    pub events: u64,
    pub transactions: u64,
    pub crashes: u64,
    pub refused_boots: u64,
    pub snapshots: u64,
    pub expired: u64,
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Summary) {
        self.steps += other.steps;
        self.replies += other.replies;
        self.events += other.events;
        self.transactions += other.transactions;
        self.crashes += other.crashes;
        self.refused_boots += other.refused_boots;
        self.snapshots += other.snapshots;
        self.expired += other.expired;
    }
}

#[derive(Debug)]
pub enum Happening {
    /// Bytes reach the server's socket; `whole` if they end a request.
    AtServer {
        link: u64,
        bytes: Vec<u8>,
        whole: bool,
    },
    /// The client's end of the stream reaches the server.
    EndAtServer {
        link: u64,
    },
    AtClient {
        link: u64,
        bytes: Vec<u8>,
    },
    EndAtClient {
        link: u64,
    },
    /// The shard may look at the socket again.
    Readable {
        link: u64,
    },
    /// The client has taken bytes in: there is room again.
    Writable {
        link: u64,
    },
    MailAtReplica {
        life: u32,
        shard: usize,
    },
    MailAtShard {
        life: u32,
        shard: usize,
    },
    BatchLands {
        life: u32,
        batch: BatchId,
    },
    /// The write under way is on the disk, which had been reported before (sabotage).
    DiskLands {
        life: u32,
    },
    WriteFails {
        life: u32,
    },
    SegmentReady {
        life: u32,
        segment: SegmentId,
    },
    SnapshotWritable {
        life: u32,
    },
    SnapshotDone {
        life: u32,
        zxid: Zxid,
    },
    SnapshotFails {
        life: u32,
        zxid: Zxid,
    },
    ShardTick {
        life: u32,
        shard: usize,
    },
    ReplicaTick {
        life: u32,
    },
    Boot,
    Act {
        client: usize,
    },
    Chaos,
    Watchman,
}

/// How a session has been heard.
#[derive(Clone, Copy, Debug)]
pub struct Hearing {
    /// Hearing times (see [`World::ears`]) of the last request that arrived.
    pub least: u64,
    pub most: u64,
    /// While the answer to a handshake is under way it may be the old or the new one.
    pub timeout_least_ms: i32,
    pub timeout_most_ms: i32,
    /// Whose handshake the replica took last: by its answer the timeout is known. Answers of different shards
    /// may overtake each other.
    pub latest: Option<Origin>,
    /// When it had last been silent for its whole timeout and then was heard after all: its end may have been
    /// on its way to the disk already. Microseconds; 0 if never.
    pub lapsed_at: u64,
}

pub struct World {
    pub(super) options: Options,
    pub(super) plan: Plan,
    pub(super) dice: Rng,
    pub(super) net_dice: Rng,
    pub(super) disk_dice: Rng,
    pub(super) now: u64,
    pub(super) wall_ms: i64,
    pub(super) queue: BTreeMap<(u64, u64), Happening>,
    pub(super) planned: u64,
    /// Counts the server's lives; what was under way in an earlier one is void.
    pub(super) life: u32,
    pub(super) server: Option<Server>,
    pub(super) disk: Disk,
    pub(super) commits: Commits,
    pub(super) links: BTreeMap<u64, Link>,
    pub(super) next_link: u64,
    pub(super) clients: Vec<Client>,
    pub(super) hearing: BTreeMap<i64, Hearing>,
    /// When the replica took the handshakes of sessions whose beginning is not in the commit order yet, in hearing
    /// time at most, in order.
    pub(super) opening: VecDeque<u64>,
    /// Microseconds in which some part of the server was stopped, all of them, and those that a server may
    /// still count as heard.
    pub(super) deaf: u64,
    pub(super) deaf_most: u64,
    /// When the running pause ends, and what of it is in `deaf_most`.
    pub(super) pause_ends: u64,
    pub(super) pause_deaf_most: u64,
    /// Sessions that were refused while they lived: the commit order must end them soon.
    pub(super) doomed: Vec<i64>,
    /// The newest zxid shown to anybody.
    pub(super) shown: i64,
    /// Effects until the power is cut.
    pub(super) fuse: Option<u64>,
    pub(super) flips: Vec<Flip>,
    /// A write or preparation failed: the server must stop by itself.
    pub(super) must_halt: bool,
    /// No more faults and no more requests: everything must come to rest.
    pub(super) calm: bool,
    /// Nobody acts any more.
    pub(super) stopped: bool,
    pub(super) stalled_until: u64,
    pub(super) summary: Summary,
    trace: VecDeque<String>,
}

const TRACE_LINES: usize = 120;

impl World {
    pub fn new(options: Options) -> World {
        let mut root = Rng::new(options.seed);
        let plan = Plan::draw(&mut root.fork());
        let (mut crowd_dice, net_dice, disk_dice, dice) = (root.fork(), root.fork(), root.fork(), root.fork());
        let clients = (0..plan.client_count)
            .map(|number| Client::new(crowd_dice.fork(), format!("127.0.0.{}", 1 + number % 2)))
            .collect();
        World {
            options,
            commits: Commits::new(plan.extended_types, plan.never_used_ms, plan.quotas),
            plan,
            dice,
            net_dice,
            disk_dice,
            now: 1_000_000_000,
            wall_ms: 1_700_000_000_000,
            queue: BTreeMap::new(),
            planned: 0,
            life: 0,
            server: None,
            disk: Disk::default(),
            links: BTreeMap::new(),
            next_link: 1,
            clients,
            hearing: BTreeMap::new(),
            opening: VecDeque::new(),
            deaf: 0,
            deaf_most: 0,
            pause_ends: 0,
            pause_deaf_most: 0,
            doomed: Vec::new(),
            shown: 0,
            fuse: None,
            flips: Vec::new(),
            must_halt: false,
            calm: false,
            stopped: false,
            stalled_until: 0,
            summary: Summary::default(),
            trace: VecDeque::new(),
        }
    }

    /// Lives through the whole night, then lets everything come to rest.
    pub fn run(mut self) -> Result<Summary, Violation> {
        let outcome = self.live();
        self.summary.transactions = self.commits.model.step_count() as u64;
        match outcome {
            Ok(()) => Ok(self.summary),
            Err(what) => Err(Violation {
                test: "simulation",
                seed: self.options.seed,
                step: self.summary.steps,
                what,
                trace: self.trace.into_iter().collect(),
            }),
        }
    }

    fn live(&mut self) -> Result<(), String> {
        self.plan_at(self.now, Happening::Boot);
        for client in 0..self.clients.len() {
            let at = self.now + self.dice.below(200_000);
            self.plan_at(at, Happening::Act { client });
        }
        self.plan_in(50_000, Happening::Chaos);
        self.plan_in(100_000, Happening::Watchman);
        let end = self.now + self.plan.night_ms * 1000;
        self.run_until(end)?;
        self.come_to_rest()
    }

    pub(super) fn run_until(&mut self, end: u64) -> Result<(), String> {
        // Looked at before it is taken: put back, it would come behind others of its microsecond, and the pieces of
        // a stream out of order.
        while let Some(next) = self.queue.first_entry().filter(|next| next.key().0 < end) {
            let ((at, _), happening) = next.remove_entry();
            self.pass_time(at);
            self.summary.steps += 1;
            self.happen(happening)?;
            if self.fuse == Some(0) {
                self.cut_power()?;
            }
        }
        self.pass_time(end);
        Ok(())
    }

    fn pass_time(&mut self, to: u64) {
        let to = to.max(self.now);
        // The wall clock runs with the other one between its jumps, by whole milliseconds.
        self.wall_ms += (to / 1000 - self.now / 1000) as i64;
        self.now = to;
    }

    pub(super) fn clock(&self) -> Now {
        Now { mono: Instant(self.now), wall: WallMs(self.wall_ms) }
    }

    /// The server's hearing time, at least and at most. Neither ever goes back: of a pause that is under way only
    /// what has passed counts as deaf, and at most as if all that counts of it came first.
    pub(super) fn ears(&self) -> (u64, u64) {
        let to_come = self.pause_ends.saturating_sub(self.now);
        (self.now - (self.deaf - to_come), self.now - (self.deaf_most - to_come.min(self.pause_deaf_most)))
    }

    pub(super) fn plan_at(&mut self, at: u64, happening: Happening) {
        self.planned += 1;
        self.queue.insert((at.max(self.now), self.planned), happening);
    }

    pub(super) fn plan_in(&mut self, micros: u64, happening: Happening) {
        self.plan_at(self.now + micros, happening);
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if self.options.trace {
            if self.trace.len() == TRACE_LINES {
                self.trace.pop_front();
            }
            let (step, now, life) = (self.summary.steps, self.now, self.life);
            self.trace.push_back(format!("{step:6} {:10.3} ms  life {life}  {}", now as f64 / 1000.0, line()));
        }
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::AtServer { link, bytes, whole } => self.at_server(link, &bytes, whole),
            Happening::EndAtServer { link } => self.end_at_server(link),
            Happening::AtClient { link, bytes } => self.at_client(link, &bytes),
            Happening::EndAtClient { link } => {
                self.end_at_client(link);
                Ok(())
            }
            Happening::Readable { link } => self.read_socket(link),
            Happening::Writable { link } => self.flush(link),
            Happening::Boot => self.boot(),
            Happening::Act { client } => self.act(client),
            Happening::Chaos => self.chaos(),
            Happening::Watchman => self.watchman(),
            of_a_life => self.happen_in_life(of_a_life),
        }
    }

    /// Forgets a session's hearing once the commit order ended it.
    pub(super) fn session_ended(&mut self, session: SessionId) {
        self.hearing.remove(&session.0);
        self.doomed.retain(|doomed| *doomed != session.0);
    }
}

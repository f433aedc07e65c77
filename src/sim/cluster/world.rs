//! The ensemble's world: members, the network between them, clients who go from one to another, and one queue of
//! events, stepped by the seed.

use std::collections::{BTreeMap, VecDeque};

use super::super::commit::Commits;
use super::super::crowd::Client;
use super::super::net::Link;
use super::super::rng::Rng;
use super::expiry::Ears;
use super::history::History;
use super::machine::Machine;
use super::member::Member;
use super::network::{Network, OnWire};
use super::plan::Plan;
use super::{Options, Summary, Violation};
use crate::base::{LinkId, Zxid};
use crate::journal::{BatchId, SegmentId};
use crate::replica::PeerPort;

#[derive(Debug)]
pub enum Happening {
    /// Void if the member has begun another life since.
    Member {
        member: usize,
        life: u32,
        news: News,
    },
    Boot {
        member: usize,
    },
    /// A call reaches its goal.
    Called {
        caller: usize,
        life: u32,
        link: LinkId,
        goal: usize,
        port: PeerPort,
    },
    /// Nobody answered in time.
    CallFails {
        caller: usize,
        life: u32,
        link: LinkId,
    },
    Wire {
        wire: u64,
        side: usize,
        what: OnWire,
    },
    /// What was held back at an end may come through now.
    WireResumes {
        wire: u64,
        side: usize,
    },
    /// All that a member sent on a link has left it.
    Drained {
        member: usize,
        life: u32,
        link: LinkId,
    },
    /// The sender's patience ends, if nothing has come through since.
    WireGivenUp {
        wire: u64,
        side: usize,
    },
    AtServer {
        link: u64,
        bytes: Vec<u8>,
    },
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
    Readable {
        link: u64,
    },
    Writable {
        link: u64,
    },
    Act {
        client: usize,
    },
    Chaos,
    /// A fault that lasted ends.
    Unblock {
        paths: Vec<(usize, usize)>,
    },
}

/// What reaches a member's machines from its own inside.
#[derive(Clone, Debug)]
pub enum News {
    MailAtReplica {
        shard: usize,
    },
    MailAtShard {
        shard: usize,
    },
    BatchLands(BatchId),
    /// On the disk at last, reported before (sabotage).
    DiskLands,
    WriteFails,
    SegmentReady(SegmentId),
    SnapshotWritable,
    SnapshotDone(Zxid),
    EpochLands,
    /// Reported before it is on the disk (sabotage).
    EpochTold,
    /// A stretch of the journal is read for a learner.
    StretchSteps(LinkId),
    ShardTick {
        shard: usize,
    },
    ReplicaTick,
}

/// A client's connection to a member.
pub struct Visit {
    pub member: usize,
    pub link: Link,
    /// The front of a request that is not whole yet.
    pub heard: Vec<u8>,
}

pub struct Cluster<M: Machine> {
    pub(super) options: Options,
    pub(super) plan: Plan,
    pub(super) dice: Rng,
    pub(super) net_dice: Rng,
    pub(super) peer_dice: Rng,
    pub(super) disk_dice: Rng,
    pub(super) now: u64,
    pub(super) queue: BTreeMap<(u64, u64), Happening>,
    pub(super) planned: u64,
    pub(super) members: Vec<Member<M>>,
    pub(super) network: Network,
    pub(super) history: History,
    pub(super) visits: BTreeMap<u64, Visit>,
    pub(super) next_link: u64,
    pub(super) clients: Vec<Client>,
    /// Where each client went last.
    pub(super) homes: Vec<Option<usize>>,
    pub(super) ears: Ears,
    /// The newest zxid shown to anybody.
    pub(super) shown: i64,
    pub(super) doomed: Vec<i64>,
    /// No more faults.
    pub(super) calm: bool,
    /// Clients only ping.
    pub(super) idle: bool,
    /// Nobody asks any more.
    pub(super) stopped: bool,
    /// Members that stay down in the calm.
    pub(super) away: Vec<usize>,
    pub(super) summary: Summary,
    trace: VecDeque<String>,
    trace_max: usize,
}

/// `RINGKEEPER_TRACE` sets another length.
const TRACE_LINES: usize = 200;

impl<M: Machine> Cluster<M> {
    pub fn new(options: Options) -> Cluster<M> {
        Cluster::with_plan(options, |_| ())
    }

    /// A night whose plan is drawn and then bent.
    pub fn with_plan(options: Options, bend: impl FnOnce(&mut Plan)) -> Cluster<M> {
        let mut root = Rng::new(options.seed);
        let mut plan = Plan::draw(&mut root.fork());
        bend(&mut plan);
        let (mut crowd_dice, net_dice, disk_dice, dice, peer_dice, mut clock_dice) =
            (root.fork(), root.fork(), root.fork(), root.fork(), root.fork(), root.fork());
        let clients: Vec<Client> = (0..plan.client_count)
            .map(|number| Client::new(crowd_dice.fork(), format!("127.0.0.{}", 1 + number % 2)))
            .collect();
        let members =
            plan.votes.iter().enumerate().map(|(id, votes)| Member::new(id, *votes, &plan, &mut clock_dice)).collect();
        let ears = Ears::with_grace(plan.word_us());
        let told = std::env::var("RINGKEEPER_TRACE").ok().and_then(|lines| lines.parse().ok());
        let trace_max = told.unwrap_or(TRACE_LINES);
        let mut commits = Commits::new(plan.extended_types, plan.never_used_ms, false);
        if let Some(view) = plan.view().filter(|_| M::SPEAKS_ZAB) {
            commits.model.show_members(&view.to_text());
        }
        Cluster {
            options,
            history: History::new(commits, plan.voters(), M::SPEAKS_ZAB && plan.votes.len() > 1),
            plan,
            dice,
            net_dice,
            peer_dice,
            disk_dice,
            now: 1_000_000_000,
            queue: BTreeMap::new(),
            planned: 0,
            members,
            network: Network::default(),
            visits: BTreeMap::new(),
            next_link: 1,
            homes: vec![None; clients.len()],
            clients,
            ears,
            shown: 0,
            doomed: Vec::new(),
            calm: false,
            idle: false,
            stopped: false,
            away: Vec::new(),
            summary: Summary::default(),
            trace: VecDeque::new(),
            trace_max,
        }
    }

    /// Lives through the whole night, then heals and comes to rest.
    pub fn run(mut self) -> Result<Summary, Violation> {
        // A machine that panics breaks a promise like any other, and is told of with its trace and seed. (Where
        // panics abort, the seed printed by the test before each night has to do.)
        let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.live()));
        let outcome = lived.unwrap_or_else(|what| {
            let text = what.downcast_ref::<String>().map(String::as_str).or(what.downcast_ref::<&str>().copied());
            Err(format!("a machine panics: {}", text.unwrap_or("without a word")))
        });
        self.summary.transactions = self.history.commits.model.step_count() as u64;
        self.summary.epochs = self.history.reigns.values().filter(|reign| reign.established).count() as u64;
        match outcome {
            Ok(()) => Ok(self.summary),
            Err(what) => Err(Violation {
                test: "cluster_simulation",
                seed: self.options.seed,
                step: self.summary.steps,
                what,
                trace: self.trace.into_iter().collect(),
            }),
        }
    }

    fn live(&mut self) -> Result<(), String> {
        for member in 0..self.members.len() {
            // Some come late, as when an operator starts one after the other.
            let late = if self.dice.chance(300) { self.dice.below(2_000_000) } else { self.dice.below(20_000) };
            self.plan_in(late, Happening::Boot { member });
        }
        for client in 0..self.clients.len() {
            let at = self.dice.below(500_000);
            self.plan_in(at, Happening::Act { client });
        }
        self.plan_in(200_000, Happening::Chaos);
        let end = self.now + self.plan.night_ms * 1000;
        self.run_until(end)?;
        self.come_to_rest()
    }

    pub(super) fn run_until(&mut self, end: u64) -> Result<(), String> {
        while let Some(next) = self.queue.first_entry().filter(|next| next.key().0 < end) {
            let ((at, _), happening) = next.remove_entry();
            self.now = at.max(self.now);
            self.summary.steps += 1;
            self.happen(happening)?;
            for member in 0..self.members.len() {
                if self.members[member].is_cut() {
                    self.cut_power(member)?;
                }
            }
        }
        self.now = end.max(self.now);
        Ok(())
    }

    pub(super) fn plan_at(&mut self, at: u64, happening: Happening) {
        self.planned += 1;
        self.queue.insert((at.max(self.now), self.planned), happening);
    }

    pub(super) fn plan_in(&mut self, micros: u64, happening: Happening) {
        self.plan_at(self.now + micros, happening);
    }

    pub(super) fn plan_member(&mut self, member: usize, micros: u64, news: News) {
        let life = self.members[member].life;
        self.plan_in(micros, Happening::Member { member, life, news });
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if self.options.trace {
            if self.trace.len() >= self.trace_max {
                self.trace.pop_front();
            }
            self.trace.push_back(format!("{:6} {:10.3} ms  {}", self.summary.steps, self.now as f64 / 1000.0, line()));
        }
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Member { member, life, news } => self.happen_in_member(member, life, news),
            Happening::Boot { member } => self.boot(member),
            Happening::Called { caller, life, link, goal, port } => self.called(caller, life, link, goal, port),
            Happening::CallFails { caller, life, link } => self.call_fails(caller, life, link),
            Happening::Wire { wire, side, what } => self.at_wire(wire, side, what),
            Happening::WireResumes { wire, side } => self.wire_resumes(wire, side),
            Happening::Drained { member, life, link } => self.drained(member, life, link),
            Happening::WireGivenUp { wire, side } => self.wire_given_up(wire, side),
            Happening::AtServer { link, bytes } => self.at_server(link, &bytes),
            Happening::EndAtServer { link } => self.end_at_server(link),
            Happening::AtClient { link, bytes } => self.at_client(link, &bytes),
            Happening::EndAtClient { link } => {
                self.end_at_client(link);
                Ok(())
            }
            Happening::Readable { link } => self.read_socket(link),
            Happening::Writable { link } => self.flush(link),
            Happening::Act { client } => self.act(client),
            Happening::Chaos => self.chaos(),
            Happening::Unblock { paths } => {
                self.unblock(&paths);
                Ok(())
            }
        }
    }
}

//! One executor's loop: a turn takes in all the news there is, lets the machines answer, and sends what they said.
//!
//! An executor hosts the replica, a shard, or both. Both on one executor exchange mail within the turn, through
//! plain vectors: no lock, no wake, no system call.
//!
//! A shard's tick means "every byte that had arrived by `now` has been read", and after a pause of the process
//! (or of the whole machine) that must still be true, or sessions would expire because *we* slept. So `now` is
//! read before the poller is emptied, every ready connection is read after that, and a turn that could not do so
//! (more events than fit, mail blocked) leaves the tick to the next.
//!
//! An executor with nothing to do sleeps in the poller itself, with one system call, as long as its driver is the only
//! task there is. While the disk has chores, and once a tick whatever else there is, it sleeps inside glommio's ring.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use rustix::event::Timespec;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};

use super::accept::{Acceptor, Arrival};
use super::clock;
use super::company::Company;
use super::disk::{DiskNews, DiskPort};
use super::files::DataDirs;
use super::host::Board;
use super::machines::{ReplicaMachine, ShardMachine};
use super::mailbox::{Inbox, Outbox};
use super::net::Net;
use super::peers::{self, Peers};
use super::poller::{Poller, Ready};
use super::stop::{Phase, Stop};
use super::stretches::Stretches;
use super::wake::Wake;
use crate::base::{Instant, Now};
use crate::journal::DiskEffect;
use crate::mail::{ToReplica, ToShard};
use crate::{replica, shard};

/// A way out to the other machine.
pub enum Post<T> {
    /// It lives on this executor.
    Here,
    There(Outbox<T>),
}

impl<T> Post<T> {
    /// Whether all that was posted has been delivered; tries once more if not.
    fn has_room(&mut self) -> bool {
        match self {
            Post::Here => true,
            Post::There(outbox) => {
                if outbox.is_blocked() {
                    outbox.send();
                }
                !outbox.is_blocked()
            }
        }
    }
}

/// A shard and what belongs to it.
pub struct ShardSide<S> {
    pub machine: S,
    pub net: Net,
    /// New connections from an acceptor on another executor.
    pub arrivals: Option<Inbox<Arrival>>,
    pub acceptor: Option<Acceptor>,
    pub to_replica: Post<ToReplica>,
    /// `None` when the replica is here.
    pub from_replica: Option<Inbox<ToShard>>,
}

/// The replica and what belongs to it.
pub struct ReplicaSide<R> {
    pub machine: R,
    /// One per shard that lives elsewhere.
    pub from_shards: Vec<Inbox<ToReplica>>,
    /// Indexed by shard.
    pub to_shards: Vec<Post<ToShard>>,
    pub disk: Rc<DiskPort>,
    /// The same disk, to be read again.
    pub dirs: DataDirs,
    pub host: Arc<Board>,
    /// Connections to the other members; `None` when there are none.
    pub peers: Option<Peers>,
    /// Reads the journal for learners; `None` when there are none.
    pub stretches: Option<Stretches>,
}

pub struct Driver<S, R> {
    shard: Option<ShardSide<S>>,
    replica: Option<ReplicaSide<R>>,
    wake: Arc<Wake>,
    stop: Arc<Stop>,
    poller: Poller,
    ticker: OwnedFd,
    tick_due: bool,
    spin_micros: u64,
    events: Vec<Ready>,
    arrived: Vec<Arrival>,
    shard_says: shard::Effects,
    replica_says: replica::Effects,
    /// Mail within this executor.
    up: Vec<ToReplica>,
    down: Vec<ToShard>,
    news: Vec<DiskNews>,
    company: Company,
    shard_tick_due: bool,
    /// The last turn could not do everything.
    work_left: bool,
    /// A tick has passed since glommio last looked at its other tasks and its ring.
    look_around: bool,
    said_serving: bool,
    said_quiet: bool,
    /// As this turn began, no shard had anything left to say.
    saw_all_quiet: bool,
    closing_since: Option<Instant>,
}

/// How much of what was ready as a turn began it has heard of.
#[derive(PartialEq)]
enum Heard {
    All,
    /// What ended the last wait; more may have come since, of which the next wait tells at once.
    Enough,
    /// There was more than one call tells.
    Part,
}

const WAKE: u64 = u64::MAX;
const TICK: u64 = u64::MAX - 1;
const ACCEPT: u64 = u64::MAX - 2;

/// How long turns may follow each other before the executor's other tasks, and its ring, are looked at.
const BURST_MICROS: u64 = 1_000;

/// The stop waits this long for clients to take their last replies.
const LAST_REPLIES_MS: u64 = 1_000;

const TICK_MS: u64 =
    if shard::Shard::TICK_MS < replica::Replica::TICK_MS { shard::Shard::TICK_MS } else { replica::Replica::TICK_MS };

impl<S: ShardMachine, R: ReplicaMachine> Driver<S, R> {
    /// `spin_micros`: how long to look for news before sleeping; 0 where the CPU is shared.
    pub fn new(
        shard: Option<ShardSide<S>>,
        mut replica: Option<ReplicaSide<R>>,
        wake: Arc<Wake>,
        stop: Arc<Stop>,
        spin_micros: u64,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        let ticker = ticker()?;
        poller.watch(wake.bell(), WAKE, false)?;
        poller.watch(&ticker, TICK, false)?;
        if let Some(acceptor) = shard.as_ref().and_then(|shard| shard.acceptor.as_ref()) {
            acceptor.watch(&poller, ACCEPT)?;
        }
        if let Some(peers) = replica.as_mut().and_then(|replica| replica.peers.as_mut()) {
            peers.watch(&poller)?;
        }
        Ok(Driver {
            shard,
            replica,
            wake,
            stop,
            poller,
            ticker,
            tick_due: false,
            spin_micros,
            events: Vec::new(),
            arrived: Vec::new(),
            shard_says: shard::Effects::default(),
            replica_says: replica::Effects::default(),
            up: Vec::new(),
            down: Vec::new(),
            news: Vec::new(),
            company: Company::new(clock::now()),
            shard_tick_due: false,
            work_left: false,
            look_around: true,
            said_serving: false,
            said_quiet: false,
            saw_all_quiet: false,
            closing_since: None,
        })
    }

    /// Turns until the server stops. `boot`: what the replica wants first.
    pub async fn run(mut self, boot: replica::Effects) {
        self.replica_says = boot;
        self.carry_out_replica(clock::now());
        let mut burst_since = clock::now().mono;
        let mut busy_at = burst_since;
        loop {
            let now = clock::now();
            let phase = self.stop.phase();
            let busy = self.turn(now, phase);
            if self.has_ended(now, phase) {
                return;
            }
            if busy {
                busy_at = now.mono;
            }
            if let Some(replica) = &self.replica {
                replica.disk.end_turn();
            }
            let may_spin = now.mono.micros_since(busy_at) < self.spin_micros;
            if !self.is_alone() {
                // The next turn follows at once, or after a look around, but a burst must not starve the other tasks.
                let in_burst = busy && now.mono.micros_since(burst_since) < BURST_MICROS;
                if self.awaits_epoch() || !(in_burst || may_spin) {
                    self.sleep(phase).await;
                    burst_since = clock::now().mono;
                }
            } else if !self.work_left && !may_spin {
                self.wait(phase);
            }
        }
    }

    /// Everything there is to do now. Returns whether there was anything.
    fn turn(&mut self, now: Now, phase: Phase) -> bool {
        let heard = self.look(now);
        let quieting = phase >= Phase::Quieting;
        self.saw_all_quiet = quieting && self.stop.all_quiet();
        let mut busy = false;
        let mut read_all = true;

        if let Some(shard) = &mut self.shard {
            let says = &mut self.shard_says;
            if quieting {
                shard.acceptor = None;
            }
            if phase > Phase::Starting
                && let Some(acceptor) = &mut shard.acceptor
            {
                busy |= acceptor.turn(now, &mut self.arrived);
            }
            if let Some(arrivals) = &mut shard.arrivals {
                self.arrived.extend(arrivals.drain());
            }
            for arrival in self.arrived.drain(..) {
                busy = true;
                shard.net.open(arrival, &self.poller, &mut shard.machine, now, says);
            }
            if let Some(inbox) = &mut shard.from_replica {
                for mail in inbox.drain() {
                    busy = true;
                    shard.machine.on_mail(mail, now, says);
                }
            }
            read_all = !quieting && shard.to_replica.has_room();
            if read_all {
                busy |= shard.net.read(&mut shard.machine, now, says);
            }
        }
        self.tick(now, heard == Heard::All && read_all);
        busy |= self.exchange(now);
        if let Some(shard) = &mut self.shard {
            shard.net.settle(&mut shard.machine, now, &mut self.shard_says);
            shard.net.show_out();
        }
        self.post();
        self.keep_stopping(phase);
        // None of this rings again: mail for the replica here, sockets half read, events that did not fit.
        self.work_left = heard == Heard::Part
            || !self.shard_says.mail.is_empty()
            || self.shard.as_ref().is_some_and(|shard| shard.net.has_leaving() || read_all && shard.net.has_ready())
            || self.peers().is_some_and(Peers::has_work);
        busy || self.work_left
    }

    /// Hears from the poller what is ready.
    fn look(&mut self, now: Now) -> Heard {
        if self.poller.has_waited() {
            self.poller.tell_waited(&mut self.events);
            self.note_events(now);
            if !self.tick_due && !self.shard_tick_due {
                return Heard::Enough;
            }
        }
        // It fails only for a bad descriptor or buffer, which would be a fault of ours.
        let all = self.poller.poll(&mut self.events).expect("epoll_wait on our own descriptor");
        self.note_events(now);
        if all { Heard::All } else { Heard::Part }
    }

    fn note_events(&mut self, now: Now) {
        for ready in self.events.drain(..) {
            match ready.token {
                WAKE => {}
                TICK => {
                    // The timer is armed again by being read.
                    let mut count = [0; 8];
                    let _ = rustix::io::read(&self.ticker, &mut count);
                    self.tick_due = true;
                    self.look_around = true;
                }
                ACCEPT => {
                    self.company.hear(ACCEPT, now);
                    if let Some(acceptor) = self.shard.as_mut().and_then(|shard| shard.acceptor.as_mut()) {
                        acceptor.note();
                    }
                }
                token if peers::is_ours(token) => {
                    if let Some(peers) = self.replica.as_mut().and_then(|replica| replica.peers.as_mut()) {
                        peers.note(ready);
                    }
                }
                _ => {
                    self.company.hear(ready.token, now);
                    if let Some(shard) = &mut self.shard {
                        shard.net.note(ready, &mut self.shard_says);
                    }
                }
            }
        }
    }

    fn tick(&mut self, now: Now, heard_all: bool) {
        let due = std::mem::take(&mut self.tick_due);
        if due && let Some(replica) = &mut self.replica {
            if let Some(facts) = replica.host.take() {
                replica.machine.on_host(facts);
            }
            if let Some(peers) = &mut replica.peers {
                peers.tick(&self.poller, now);
            }
            replica.machine.on_tick(now, &mut self.replica_says);
        }
        self.shard_tick_due |= due;
        if self.shard_tick_due
            && heard_all
            && let Some(shard) = &mut self.shard
        {
            self.shard_tick_due = false;
            shard.net.tick(now);
            shard.machine.on_tick(now, &mut self.shard_says);
        }
    }

    /// Lets the replica hear the shards and the disk, and a shard here hear the replica.
    fn exchange(&mut self, now: Now) -> bool {
        let Some(replica) = &mut self.replica else { return false };
        let says = &mut self.replica_says;
        let mut busy = false;
        if let Some(peers) = &mut replica.peers {
            busy |= peers.hear(&mut replica.machine, &self.poller, now, says);
        }
        for inbox in &mut replica.from_shards {
            for mail in inbox.drain() {
                busy = true;
                self.company.hear_many(now);
                replica.machine.on_mail(mail, now, says);
            }
        }
        if let Some(shard) = &mut self.shard
            && matches!(shard.to_replica, Post::Here)
        {
            self.up.append(&mut self.shard_says.mail);
            for mail in self.up.drain(..) {
                busy = true;
                if matches!(mail, ToReplica::Submit(_)) {
                    self.company.hear_write();
                }
                replica.machine.on_mail(mail, now, says);
            }
        }
        replica.disk.take_news(&mut self.news);
        for news in self.news.drain(..) {
            busy = true;
            match news {
                DiskNews::Landed(batch) => replica.machine.on_batch_landed(batch, now, says),
                DiskNews::Failed(what) => replica.machine.on_disk_failed(&what, says),
                DiskNews::SegmentReady(segment) => replica.machine.on_segment_ready(segment, now, says),
                DiskNews::SnapshotReady => replica.machine.on_snapshot_ready(says),
                DiskNews::SnapshotWritten(zxid) => replica.machine.on_snapshot_written(zxid, now),
                DiskNews::SnapshotFailed(zxid, what) => replica.machine.on_snapshot_failed(zxid, &what),
            }
        }
        for news in replica.stretches.iter().flat_map(Stretches::take_news) {
            busy = true;
            replica.machine.on_stretch(news, now, says);
        }
        if !self.said_serving && replica.machine.may_serve() {
            self.said_serving = true;
            self.stop.serve();
        }
        replica.machine.on_turn_end(now, says);
        self.carry_out_replica(now);
        if let Some(shard) = &mut self.shard {
            for mail in self.down.drain(..) {
                busy = true;
                shard.machine.on_mail(mail, now, &mut self.shard_says);
            }
        }
        busy
    }

    fn carry_out_replica(&mut self, now: Now) {
        let Some(replica) = &mut self.replica else { return };
        if let Some(peers) = &mut replica.peers {
            peers.carry_out(&mut self.replica_says.peer, &self.poller, now);
            peers.settle();
        }
        // A member that is told several transactions at once has a leader with several writers, and more to hear meanwhile. A
        // leader has its followers to hear: two of them may be ready before its own disk is.
        let several = |effect: &DiskEffect| matches!(effect, DiskEffect::WriteBatch(batch) if batch.record_count > 1);
        if replica.peers.is_some() && self.replica_says.disk.iter().any(several) {
            self.company.hear_many(now);
        }
        let nothing_to_read = self.shard.as_ref().is_none_or(|shard| !shard.net.has_ready());
        let quiet = nothing_to_read && self.company.is_out_of_the_way(now) && !replica.machine.leads();
        for effect in self.replica_says.disk.drain(..) {
            replica.disk.submit(effect, quiet);
        }
        for effect in self.replica_says.stretches.drain(..) {
            replica.stretches.as_ref().expect("only members of an ensemble have learners").submit(effect);
        }
        for (to, mail) in self.replica_says.mail.drain(..) {
            match &mut replica.to_shards[usize::from(to.0)] {
                Post::Here => self.down.push(mail),
                Post::There(outbox) => outbox.push(mail),
            }
        }
        if let Some(halt) = self.replica_says.halt.take() {
            self.stop.halt(halt.0);
        }
        if let Some(what) = self.replica_says.reload.take() {
            // The member has no leader and serves nobody: the core may be busy with its disk for a while.
            replica.machine.on_reload(what, &replica.dirs, now, &mut self.replica_says);
            self.carry_out_replica(now);
        }
    }

    /// Sends the turn's mail to other executors, one batch and at most one wake each. Returns whether any went: once more before
    /// sleeping, because the room in a full mailbox may have been made before the bell was set, and then nobody rings.
    fn post(&mut self) -> bool {
        let mut sent = 0;
        if let Some(ShardSide { to_replica: Post::There(outbox), .. }) = &mut self.shard {
            self.shard_says.mail.drain(..).for_each(|mail| outbox.push(mail));
            sent += outbox.send();
        }
        if let Some(replica) = &mut self.replica {
            for post in &mut replica.to_shards {
                if let Post::There(outbox) = post {
                    sent += outbox.send();
                }
            }
        }
        if let Some(acceptor) = self.shard.as_mut().and_then(|shard| shard.acceptor.as_mut()) {
            sent += acceptor.pass_on();
        }
        sent > 0
    }

    fn keep_stopping(&mut self, phase: Phase) {
        if phase != Phase::Quieting {
            return;
        }
        if let Some(shard) = &mut self.shard
            && !self.said_quiet
            && self.shard_says.mail.is_empty()
            && shard.to_replica.has_room()
        {
            self.said_quiet = true;
            self.stop.shard_is_quiet();
        }
        // All shards were quiet before this turn took in their mail, so nothing can follow what it saw.
        if let Some(replica) = &self.replica
            && self.saw_all_quiet
            && replica.disk.journal_is_idle()
        {
            self.stop.enter(Phase::Flushed);
        }
    }

    fn has_ended(&mut self, now: Now, phase: Phase) -> bool {
        match phase {
            Phase::Starting | Phase::Running | Phase::Quieting => false,
            Phase::Halted => true,
            Phase::Flushed => {
                if let Some(peers) = self.replica.as_mut().and_then(|replica| replica.peers.as_mut()) {
                    peers.close_all();
                }
                let Some(shard) = &mut self.shard else { return true };
                let since = *self.closing_since.get_or_insert(now.mono);
                let done = shard.net.close_all(&mut shard.machine, now);
                done || now.mono.millis_since(since) >= LAST_REPLIES_MS
            }
        }
    }

    /// No other task of this executor has anything to do, and glommio has looked for one since the last tick.
    fn is_alone(&self) -> bool {
        let has_chores = self.replica.as_ref().is_some_and(|replica| replica.disk.has_chores());
        !(self.look_around || has_chores || self.awaits_epoch())
    }

    /// Blocks the thread until a descriptor or another executor has news.
    fn wait(&mut self, phase: Phase) {
        self.wake.prepare_to_sleep();
        // Looked at after the bell was set, so that whoever comes later rings it.
        if !(self.has_news(phase) || self.post()) {
            self.poller.wait().expect("epoll_wait on our own descriptor");
        }
        self.wake.awake();
    }

    /// Leaves the executor to its other tasks and its ring until a descriptor, the disk or another executor has
    /// news; if work is left or a look around is due, only for one look at them.
    ///
    /// This is the only place where the task gives way, and it never does so by waking itself: glommio looks at its
    /// ring when no task is ready (or its preempt timer fires, which we keep out of the way, see `placement`).
    async fn sleep(&mut self, phase: Phase) {
        self.wake.prepare_to_sleep();
        // Looked at after the bell was set, so that whoever comes later rings it.
        if self.work_left || self.look_around || self.has_news(phase) || self.post() {
            self.wake.wake();
        }
        poll_fn(|cx| {
            if let Some(replica) = &self.replica
                && replica.disk.poll_news(cx).is_ready()
            {
                return Poll::Ready(());
            }
            if let Some(peers) = self.peers()
                && peers.poll_news(cx).is_ready()
            {
                return Poll::Ready(());
            }
            self.poller.poll_sleep(cx)
        })
        .await;
        self.look_around = false;
        self.wake.awake();
    }

    /// An epoch file is being written by a task of this executor.
    fn awaits_epoch(&self) -> bool {
        self.peers().is_some_and(Peers::awaits_disk)
    }

    fn peers(&self) -> Option<&Peers> {
        self.replica.as_ref().and_then(|replica| replica.peers.as_ref())
    }

    fn has_news(&self, phase: Phase) -> bool {
        let shard_has = self.shard.as_ref().is_some_and(|shard| {
            shard.from_replica.as_ref().is_some_and(Inbox::has_mail)
                || shard.arrivals.as_ref().is_some_and(Inbox::has_mail)
                || (phase > Phase::Starting && shard.acceptor.as_ref().is_some_and(Acceptor::has_pending))
        });
        let replica_has = self.replica.as_ref().is_some_and(|replica| {
            replica.disk.has_news()
                || replica.from_shards.iter().any(Inbox::has_mail)
                || replica.stretches.as_ref().is_some_and(Stretches::has_news)
        });
        // A phase that has moved on, also by this executor's own doing.
        shard_has
            || replica_has
            || self.peers().is_some_and(Peers::has_news)
            || self.stop.phase() != phase
            || (phase == Phase::Quieting && self.stop.all_quiet() && !self.saw_all_quiet)
    }
}

fn ticker() -> io::Result<OwnedFd> {
    let ticker = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    let each = Timespec { tv_sec: 0, tv_nsec: TICK_MS as i64 * 1_000_000 };
    timerfd_settime(&ticker, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: each, it_value: each })?;
    Ok(ticker)
}

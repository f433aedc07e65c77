//! Connections to the other members, on the replication core: carries out [`PeerEffect`]s and tells [`PeerNews`].
//!
//! ```text
//!   Dial --> names (resolve.rs) --> attempts (dial.rs) --first that answers--+
//!                                                                            v
//!   listeners (listen.rs) --> Accepted --------------------------------> a link (link.rs) --Close--> lingering
//! ```
//!
//! The same poller as the clients', edge triggered. A turn reads one chunk of every ready link and sends what is
//! queued on every link with one call each, so no member holds up another. News is never told from within an effect:
//! what an effect brings about at once waits for the turn that follows.
//!
//! Does not know: what a byte means, who is a member, or which of two links to a member is the better one.

mod dial;
mod link;
mod listen;
mod oracle;
mod resolve;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_driver;
mod traffic;

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::task::{Context, Poll};

use dial::Dial;
use link::{Conn, Lingering, Output, Sent};
pub use listen::{BindError, PeerListen, RETRY_PAUSE_MS, Unbound, bind_all};
pub use oracle::Oracle;
pub use resolve::Resolver;

use super::epochs::EpochPort;
use super::machines::ReplicaMachine;
use super::net::abort;
use super::poller::{Poller, Ready};
use crate::base::{Instant, LinkId, Now};
use crate::replica::{Effects, PeerEffect, PeerNews, PeerPort};

/// The sockets of this member's links. Lives on: the replication core.
pub struct Peers {
    listeners: Vec<Door>,
    links: BTreeMap<LinkId, Link>,
    /// Whose each number at the poller is.
    owners: BTreeMap<u32, Owner>,
    last_serial: u32,
    next_accepted: u64,
    accepted: usize,
    /// Links that may have bytes waiting; each at most once (`Conn::queued`).
    ready: Vec<LinkId>,
    /// Links with something to send; each at most once (`Conn::dirty`).
    dirty: Vec<LinkId>,
    /// Dials of which an attempt was woken.
    woken: Vec<LinkId>,
    /// Found out, and to be told.
    outcomes: Vec<(LinkId, Outcome)>,
    lingering: BTreeMap<u32, Lingering>,
    scratch: Box<[u8]>,
    resolver: Resolver,
    epochs: Rc<EpochPort>,
    oracle: Option<Oracle>,
    keepalive: bool,
    complaints: Complaints,
    /// Emptied by `carry_out`; kept for its capacity.
    spare: Vec<PeerEffect>,
}

struct Door {
    port: PeerPort,
    listener: TcpListener,
    /// More may wait to be accepted.
    pending: bool,
    /// The last attempt failed for want of something; the tick tries again.
    stumbled: bool,
}

/// A link the replica has not closed.
struct Link {
    state: State,
    output: Output,
    /// The replica waits for the output to be empty.
    tells_drained: bool,
}

enum State {
    Dialling(Dial),
    Open(Conn),
    /// Gone; the replica is told, or about to be.
    Lost,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Connected,
    Drained,
    Closed,
}

#[derive(Clone, Copy, Debug)]
enum Owner {
    Door(usize),
    Attempt(LinkId),
    Link(LinkId),
    Lingering,
}

/// Our tokens: those a client's connection cannot have, up to where the driver's own begin.
const TOKENS: u64 = (u32::MAX as u64) << 32;
const SERIALS: u32 = 0xffff_0000;

/// Bytes read from a link in one turn.
const READ_BYTES: usize = 256 << 10;

/// How long a closed link's last bytes may wait for the peer to take them.
const LINGER_MS: u64 = 5_000;

/// Descriptors that links may take, which clients then do not get: those others open, and about as many as there are
/// members for those we dial.
pub const DESCRIPTORS_MAX: usize = traffic::ACCEPTED_MAX + 64;

/// Whether the poller saw something of ours.
pub fn is_ours(token: u64) -> bool {
    token >= TOKENS && (token as u32) < SERIALS
}

impl Peers {
    /// The listeners come from [`bind_all`], which makes them non-blocking.
    pub fn new(
        listeners: Vec<(PeerPort, TcpListener)>,
        resolver: Resolver,
        epochs: Rc<EpochPort>,
        oracle: Option<Oracle>,
        keepalive: bool,
    ) -> Peers {
        let doors =
            listeners.into_iter().map(|(port, listener)| Door { port, listener, pending: true, stumbled: false });
        Peers {
            listeners: doors.collect(),
            links: BTreeMap::new(),
            owners: BTreeMap::new(),
            last_serial: 0,
            next_accepted: 1,
            accepted: 0,
            ready: Vec::new(),
            dirty: Vec::new(),
            woken: Vec::new(),
            outcomes: Vec::new(),
            lingering: BTreeMap::new(),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            resolver,
            epochs,
            oracle,
            keepalive,
            complaints: Complaints::default(),
            spare: Vec::new(),
        }
    }

    /// Watches the listeners. Call it once, before anything else.
    pub fn watch(&mut self, poller: &Poller) -> io::Result<()> {
        for index in 0..self.listeners.len() {
            let serial = self.claim(Owner::Door(index));
            poller.watch(&self.listeners[index].listener, token(serial), false)?;
        }
        Ok(())
    }

    /// Notes what the poller saw; the work is done by `hear` and `settle`.
    pub fn note(&mut self, ready: Ready) {
        let serial = ready.token as u32;
        match self.owners.get(&serial) {
            // Closed since.
            None => {}
            Some(Owner::Door(index)) => self.listeners[*index].pending = true,
            Some(Owner::Attempt(link)) => self.woken.push(*link),
            Some(Owner::Link(link)) => {
                let link = *link;
                let Some(conn) = conn(&mut self.links, link) else { return };
                conn.ended |= ready.ended;
                if ready.writable && std::mem::take(&mut conn.full) {
                    self.mark_dirty(link);
                }
                if ready.readable {
                    self.mark_ready(link);
                }
            }
            Some(Owner::Lingering) => self.work_lingering(serial),
        }
    }

    /// Takes in everything there is to hear, tells it to the machine, and carries out what it wants of us in between.
    /// Returns whether there was anything.
    pub fn hear(&mut self, machine: &mut impl ReplicaMachine, poller: &Poller, now: Now, out: &mut Effects) -> bool {
        self.carry_out(&mut out.peer, poller, now);
        self.take_addresses(poller, now);
        self.judge_attempts(poller, now);
        let mut busy = false;
        for news in self.epochs.take_news() {
            busy = true;
            match news {
                Ok((file, epoch)) => self.tell(machine, PeerNews::EpochWritten { file, epoch }, poller, now, out),
                Err(what) => machine.on_disk_failed(&what, out),
            }
        }
        for yes in self.oracle.as_ref().map(Oracle::take).unwrap_or_default() {
            busy = true;
            self.tell(machine, PeerNews::OracleSays { yes }, poller, now, out);
        }
        busy |= self.accept(machine, poller, now, out);
        for (link, outcome) in std::mem::take(&mut self.outcomes) {
            busy = true;
            self.tell_outcome(link, outcome, machine, poller, now, out);
        }
        busy | self.read(machine, poller, now, out)
    }

    /// Carries out effects, in order; nothing is sent before [`Peers::settle`].
    pub fn carry_out(&mut self, effects: &mut Vec<PeerEffect>, poller: &Poller, now: Now) {
        if effects.is_empty() {
            return;
        }
        let mut work = std::mem::replace(effects, std::mem::take(&mut self.spare));
        for effect in work.drain(..) {
            match effect {
                PeerEffect::Dial { link, to, timeout_ms } => self.dial(link, to, timeout_ms, poller, now),
                PeerEffect::Send { link, bytes } => self.queue(link, bytes),
                PeerEffect::TellDrained { link } => self.tell_drained(link),
                PeerEffect::Close { link } => self.close(link, now),
                PeerEffect::WriteEpoch { file, epoch } => self.epochs.submit(file, epoch),
                PeerEffect::AskOracle => {
                    if let Some(oracle) = &self.oracle {
                        oracle.ask();
                    }
                }
            }
        }
        self.spare = work;
    }

    /// Sends what is queued, with one call a link; what is left follows in the next turn.
    pub fn settle(&mut self) {
        let mut turn = std::mem::take(&mut self.dirty);
        for id in turn.drain(..) {
            let Some(Link { state: State::Open(conn), output, tells_drained }) = self.links.get_mut(&id) else {
                continue;
            };
            conn.dirty = false;
            if conn.full || conn.mute {
                continue;
            }
            match output.send(&conn.stream) {
                Sent::All => {
                    if std::mem::take(tells_drained) {
                        self.outcomes.push((id, Outcome::Drained));
                    }
                }
                Sent::Some => self.mark_dirty(id),
                Sent::Full => conn.full = true,
                Sent::Failed => {
                    // What the peer said last is read before its end is told.
                    conn.mute = true;
                    output.clear();
                    self.mark_ready(id);
                }
            }
        }
        if self.dirty.is_empty() {
            self.dirty = turn;
        }
    }

    /// Whether the next turn has something to do that nobody rings for.
    pub fn has_work(&self) -> bool {
        let idle = self.ready.is_empty() && self.dirty.is_empty() && self.woken.is_empty() && self.outcomes.is_empty();
        !idle || self.listeners.iter().any(|door| door.pending)
    }

    /// News from other threads, which ring once. Look after the bell was set.
    pub fn has_news(&self) -> bool {
        self.resolver.has_answers() || self.oracle.as_ref().is_some_and(Oracle::has_answers)
    }

    /// An epoch is on its way to the disk, or its news on the way here.
    pub fn awaits_disk(&self) -> bool {
        !self.epochs.is_idle()
    }

    /// Ready when an epoch was written; wakes the driver's task when one will be.
    pub fn poll_news(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.epochs.poll_news(cx)
    }

    /// Time passes: dials end, closed links are given up, and what had no descriptor is accepted.
    pub fn tick(&mut self, poller: &Poller, now: Now) {
        let mut late = Vec::new();
        let mut next = Vec::new();
        for (&id, link) in &self.links {
            let State::Dialling(dial) = &link.state else { continue };
            if now.mono >= dial.deadline {
                late.push(id);
            } else if !dial.later.is_empty() && now.mono.millis_since(dial.last_start) >= dial::STAGGER_MS {
                next.push(id);
            }
        }
        late.into_iter().for_each(|id| self.lose(id));
        next.into_iter().for_each(|id| self.start_next(id, poller, now.mono));
        let lingering: Vec<u32> = self.lingering.keys().copied().collect();
        for serial in lingering {
            self.work_lingering(serial);
            if let Some(link) = self.lingering.get(&serial)
                && now.mono.millis_since(link.since) >= LINGER_MS
            {
                abort(&link.stream);
                self.forget_lingering(serial);
            }
        }
        for door in &mut self.listeners {
            door.pending |= std::mem::take(&mut door.stumbled);
        }
    }

    /// The server stops: sends what goes out without waiting, and closes everything.
    pub fn close_all(&mut self) {
        for link in std::mem::take(&mut self.links).into_values() {
            if let Link { state: State::Open(conn), mut output, .. } = link
                && !conn.mute
            {
                while matches!(output.send(&conn.stream), Sent::Some) {}
            }
        }
        self.lingering.clear();
        self.owners.clear();
        self.listeners.clear();
    }

    // Telling.

    fn tell_outcome(
        &mut self,
        id: LinkId,
        outcome: Outcome,
        machine: &mut impl ReplicaMachine,
        poller: &Poller,
        now: Now,
        out: &mut Effects,
    ) {
        let Some(link) = self.links.get(&id) else { return }; // Closed by the replica, which wants no news of it.
        match (outcome, &link.state) {
            (Outcome::Connected, State::Open(_)) => {
                self.tell(machine, PeerNews::Connected { link: id }, poller, now, out);
            }
            (Outcome::Drained, State::Open(_)) => {
                self.tell(machine, PeerNews::Drained { link: id }, poller, now, out);
            }
            (Outcome::Closed, State::Lost) => {
                self.links.remove(&id);
                self.tell(machine, PeerNews::Closed { link: id }, poller, now, out);
            }
            // It connected and was lost before that could be told; the loss is told next.
            _ => {}
        }
    }

    fn tell(
        &mut self,
        machine: &mut impl ReplicaMachine,
        news: PeerNews<'_>,
        poller: &Poller,
        now: Now,
        out: &mut Effects,
    ) {
        machine.on_peer(news, now, out);
        // At once, because no news may follow a close.
        self.carry_out(&mut out.peer, poller, now);
    }

    fn mark_ready(&mut self, id: LinkId) {
        if let Some(conn) = conn(&mut self.links, id) {
            conn.readable = true;
            if !std::mem::replace(&mut conn.queued, true) {
                self.ready.push(id);
            }
        }
    }

    fn mark_dirty(&mut self, id: LinkId) {
        if let Some(conn) = conn(&mut self.links, id)
            && !conn.full
            && !std::mem::replace(&mut conn.dirty, true)
        {
            self.dirty.push(id);
        }
    }

    /// A number nobody has.
    fn claim(&mut self, owner: Owner) -> u32 {
        loop {
            self.last_serial = (self.last_serial + 1) % SERIALS;
            if let std::collections::btree_map::Entry::Vacant(free) = self.owners.entry(self.last_serial) {
                free.insert(owner);
                return self.last_serial;
            }
        }
    }
}

fn token(serial: u32) -> u64 {
    TOKENS | u64::from(serial)
}

fn conn(links: &mut BTreeMap<LinkId, Link>, id: LinkId) -> Option<&mut Conn> {
    match &mut links.get_mut(&id)?.state {
        State::Open(conn) => Some(conn),
        _ => None,
    }
}

fn dialling(links: &mut BTreeMap<LinkId, Link>, id: LinkId) -> Option<&mut Dial> {
    match &mut links.get_mut(&id)?.state {
        State::Dialling(dial) => Some(dial),
        _ => None,
    }
}

/// What goes wrong again and again is said now and then.
#[derive(Default)]
struct Complaints {
    last: Option<Instant>,
    unsaid: u64,
}

const COMPLAINT_MS: u64 = 10_000;

impl Complaints {
    fn say(&mut self, now: Instant, what: impl FnOnce() -> String) {
        if self.last.is_some_and(|last| now.millis_since(last) < COMPLAINT_MS) {
            self.unsaid += 1;
            return;
        }
        self.last = Some(now);
        tracing::warn!(unsaid = std::mem::take(&mut self.unsaid), "{}", what());
    }
}

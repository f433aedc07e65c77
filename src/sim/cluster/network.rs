//! The invented network between members: TCP as it is when things go wrong.
//!
//! A wire is one connection with two ends. What is sent arrives in order, in any pieces, late. A path from one
//! member to another may be blocked, each way by itself: what arrives there waits, as if sent again and again, and
//! comes through when the path is open, or the sender's end gives up. A wire may die alone: then nothing arrives
//! any more and only a sender finds out. A process that ends resets its wires; a machine that loses its power
//! says nothing, and resets what reaches it once it is back.

use std::collections::{BTreeMap, BTreeSet};

use super::super::net::pieces;
use super::super::rng::Rng;
use super::desk::Desk;
use super::packets::Cutter;
use crate::base::LinkId;
use crate::replica::PeerPort;

/// What travels to one end of a wire.
#[derive(Debug)]
pub enum OnWire {
    /// The other side took the call.
    Connected,
    Bytes(Vec<u8>),
    /// The stream ended as it should.
    End,
    Reset,
}

/// One end of a connection: a member in one of its lives.
#[derive(Debug)]
pub struct End {
    pub member: usize,
    pub life: u32,
    pub link: LinkId,
    /// The machine may send here, and hears from here.
    pub open: bool,
    /// Nothing reaches this end any more, and nobody is told.
    pub dead: bool,
    /// Arrived, but the path is blocked or the member stands still.
    pub held: Vec<OnWire>,
    /// Bytes on their way to this end.
    pub under_way: usize,
    /// The sender to this end waits until nothing is under way.
    pub drain_asked: bool,
    /// The sender to this end has begun to doubt.
    pub doubted: bool,
    arrives: u64,
}

pub struct Wire {
    pub port: PeerPort,
    /// Who called, who was called.
    pub ends: [End; 2],
    pub desk: Desk,
    /// What has reached the end that was called.
    pub arrived: Cutter,
}

#[derive(Default)]
pub struct Network {
    pub wires: BTreeMap<u64, Wire>,
    wire_count: u64,
    /// From whom to whom nothing passes.
    pub blocked: BTreeSet<(usize, usize)>,
    ends: BTreeMap<(usize, LinkId), (u64, usize)>,
    /// Calls that were not answered yet, with what is to be sent then.
    pub dials: BTreeMap<(usize, LinkId), Vec<u8>>,
    accepted_count: u64,
}

/// Something to happen: at which microsecond, on which wire, at which end.
pub type Planned = (u64, u64, usize, OnWire);

impl Network {
    /// A call reaches its goal: there is a wire now. Returns its number.
    pub fn connect(&mut self, port: PeerPort, caller: (usize, u32, LinkId), called: (usize, u32)) -> u64 {
        self.wire_count += 1;
        self.accepted_count += 1;
        let end = |member, life, link, open| End {
            member,
            life,
            link,
            open,
            dead: false,
            held: Vec::new(),
            under_way: 0,
            drain_asked: false,
            doubted: false,
            arrives: 0,
        };
        let accepted = LinkId(2 * self.accepted_count + 1);
        let ends = [end(caller.0, caller.1, caller.2, false), end(called.0, called.1, accepted, true)];
        self.ends.insert((called.0, accepted), (self.wire_count, 1));
        self.wires.insert(self.wire_count, Wire { port, ends, desk: Desk::new(), arrived: Cutter::default() });
        self.wire_count
    }

    /// The caller knows that its call was taken.
    pub fn opened(&mut self, wire: u64) {
        if let Some(caller) = self.wires.get_mut(&wire).map(|wire| &mut wire.ends[0]) {
            caller.open = true;
            self.ends.insert((caller.member, caller.link), (wire, 0));
        }
    }

    /// The wire and the end that a member calls `link`.
    pub fn find(&self, member: usize, link: LinkId) -> Option<(u64, usize)> {
        self.ends.get(&(member, link)).copied()
    }

    pub fn is_blocked(&self, wire: u64, to: usize) -> bool {
        let path = self.wires.get(&wire).map(|wire| (wire.ends[1 - to].member, wire.ends[to].member));
        path.is_some_and(|path| self.blocked.contains(&path))
    }

    /// Whether what is sent to an end is never acknowledged: it does not arrive, or the acknowledgement does not.
    pub fn is_unheard(&self, wire: u64, to: usize) -> bool {
        let dead = self.wires.get(&wire).is_some_and(|wire| wire.ends.iter().any(|end| end.dead));
        dead || self.is_blocked(wire, to) || self.is_blocked(wire, 1 - to)
    }

    /// Whether some path is blocked, or some wire in use is dead, or a learner or its master is gone and the other has not
    /// noticed.
    pub fn is_troubled(&self) -> bool {
        let is_gone = |wire: &Wire, end: &End| end.dead || (!end.open && wire.port != PeerPort::Election);
        let lost = |wire: &Wire| wire.ends.iter().any(|end| end.open) && wire.ends.iter().any(|end| is_gone(wire, end));
        !self.blocked.is_empty() || self.wires.values().any(lost)
    }

    /// Puts bytes on their way to the other end.
    pub fn send(&mut self, wire: u64, from: usize, bytes: &[u8], now: u64, delay: u64, dice: &mut Rng) -> Vec<Planned> {
        let Some(end) = self.wires.get_mut(&wire).map(|wire| &mut wire.ends[1 - from]) else { return Vec::new() };
        end.under_way += bytes.len();
        let parts = pieces(bytes, dice);
        parts.into_iter().map(|part| (end.arrival(now, delay, dice), wire, 1 - from, OnWire::Bytes(part))).collect()
    }

    /// Puts anything else on its way to an end, behind what is.
    pub fn tell(
        &mut self,
        wire: u64,
        to: usize,
        what: OnWire,
        now: u64,
        delay: u64,
        dice: &mut Rng,
    ) -> Option<Planned> {
        let end = self.wires.get_mut(&wire).map(|wire| &mut wire.ends[to])?;
        Some((end.arrival(now, delay, dice), wire, to, what))
    }

    /// An end is given up by its member, or was never heard of again. A wire with no ends is gone.
    pub fn shut(&mut self, wire: u64, side: usize) {
        let Some(found) = self.wires.get_mut(&wire) else { return };
        let end = &mut found.ends[side];
        end.open = false;
        end.held.clear();
        self.ends.remove(&(end.member, end.link));
    }

    /// Forgets wires that nobody holds and nothing travels on.
    pub fn sweep(&mut self) {
        self.wires.retain(|_, wire| wire.ends.iter().any(|end| end.open) || !wire.ends[0].held.is_empty());
    }

    /// Every wire with an open end at the member, and which end.
    pub fn of_member(&self, member: usize) -> Vec<(u64, usize)> {
        let ends = self.wires.iter().flat_map(|(id, wire)| (0..2).map(move |side| (*id, side, &wire.ends[side])));
        ends.filter(|(_, _, end)| end.member == member && end.open).map(|(id, side, _)| (id, side)).collect()
    }
}

impl End {
    fn arrival(&mut self, now: u64, delay: u64, dice: &mut Rng) -> u64 {
        self.arrives = (now + dice.latency(delay)).max(self.arrives);
        self.arrives
    }
}

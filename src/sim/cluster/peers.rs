//! Between members: calls, bytes, ends of wires, and what of it a witness learns on the way.

use super::Sabotage;
use super::machine::Machine;
use super::network::{OnWire, Wire};
use super::packets;
use super::world::{Cluster, Happening};
use crate::base::{LinkId, PeerAddress};
use crate::replica::{PeerNews, PeerPort};

/// Where members listen: `member-1:2888:3888` and so on.
pub const QUORUM_PORT: u16 = 2888;
pub const ELECTION_PORT: u16 = 3888;
pub const OBSERVERS_PORT: u16 = 2191;

/// A call that nobody answers is made again this much later (Linux: net.ipv4.tcp_syn_linear_timeouts).
const CALL_AGAIN_US: u64 = 1_000_000;

/// The name of a member's host.
pub fn host(member: usize) -> String {
    format!("member-{}", member + 1)
}

impl<M: Machine> Cluster<M> {
    /// The member and port behind an address.
    fn resolve(&self, address: &PeerAddress) -> Option<(usize, PeerPort)> {
        let port = match address.port {
            QUORUM_PORT => PeerPort::Quorum,
            ELECTION_PORT => PeerPort::Election,
            OBSERVERS_PORT => PeerPort::Observers,
            _ => return None,
        };
        let number: usize = address.host.strip_prefix("member-")?.parse().ok()?;
        (1..=self.members.len()).contains(&number).then(|| (number - 1, port))
    }

    pub(super) fn dial(&mut self, caller: usize, link: LinkId, to: &[PeerAddress], timeout_ms: u64) {
        let life = self.members[caller].life;
        self.note(|| format!("member {caller} dials {to:?} by {link:?}"));
        self.network.dials.insert((caller, link), Vec::new());
        let delay = self.peer_dice.latency(self.plan.peer_delay_us);
        let mut patience = timeout_ms * 1000;
        match to.iter().find_map(|address| self.resolve(address)) {
            Some((goal, port)) => self.plan_in(delay, Happening::Called { caller, life, link, goal, port }),
            None => patience = delay,
        }
        self.plan_in(patience, Happening::CallFails { caller, life, link });
    }

    pub(super) fn called(
        &mut self,
        caller: usize,
        life: u32,
        link: LinkId,
        goal: usize,
        port: PeerPort,
    ) -> Result<(), String> {
        let blocked = &self.network.blocked;
        let lost = blocked.contains(&(caller, goal)) || blocked.contains(&(goal, caller)) || self.members[goal].dark;
        if self.members[caller].life != life || !self.network.dials.contains_key(&(caller, link)) {
            return Ok(());
        }
        if lost {
            self.plan_in(CALL_AGAIN_US, Happening::Called { caller, life, link, goal, port });
            return Ok(());
        }
        let delay = self.peer_dice.latency(self.plan.peer_delay_us);
        let Some(server) = &self.members[goal].server else {
            self.plan_in(delay, Happening::CallFails { caller, life, link });
            return Ok(());
        };
        let stopped = server.replica_stopped_until();
        if stopped > self.now {
            self.plan_at(stopped, Happening::Called { caller, life, link, goal, port });
            return Ok(());
        }
        let wire = self.network.connect(port, (caller, life, link), (goal, self.members[goal].life));
        self.tell_wire(wire, 0, OnWire::Connected);
        let accepted = self.network.wires.get(&wire).map_or(link, |wire| wire.ends[1].link);
        let from = ([127, 0, 1, caller as u8 + 1], 1024 + (wire % 60_000) as u16).into();
        self.note(|| format!("member {caller} calls {goal} for {port:?}: wire {wire}"));
        self.summary.mastered += u64::from(port == PeerPort::Observers);
        self.peer_turn(goal, PeerNews::Accepted { link: accepted, port, from })
    }

    pub(super) fn call_fails(&mut self, caller: usize, life: u32, link: LinkId) -> Result<(), String> {
        if self.members[caller].life != life || !self.network.dials.contains_key(&(caller, link)) {
            return Ok(());
        }
        let stopped = self.members[caller].server.as_ref().map_or(0, |server| server.replica_stopped_until());
        if stopped > self.now {
            self.plan_at(stopped, Happening::CallFails { caller, life, link });
            return Ok(());
        }
        self.network.dials.remove(&(caller, link));
        self.peer_turn(caller, PeerNews::Closed { link })
    }

    fn tell_wire(&mut self, wire: u64, to: usize, what: OnWire) {
        let delay = self.plan.peer_delay_us;
        if let Some((at, wire, side, what)) = self.network.tell(wire, to, what, self.now, delay, &mut self.peer_dice) {
            self.plan_at(at, Happening::Wire { wire, side, what });
        }
    }

    pub(super) fn send_peer(&mut self, member: usize, link: LinkId, bytes: &[u8]) -> Result<(), String> {
        if let Some(waiting) = self.network.dials.get_mut(&(member, link)) {
            waiting.extend_from_slice(bytes);
            return Ok(());
        }
        let Some((id, side)) = self.network.find(member, link) else { return Ok(()) };
        let standing = self.members[member].standing();
        let is_learner = side == 0 && self.network.wires.get(&id).is_some_and(|wire| wire.port == PeerPort::Quorum);
        let forgets = is_learner && self.is_sabotaged(Sabotage::ForgetsTouches) && self.history.reigns.len() > 1;
        let rewritten = forgets.then(|| packets::without_touches(bytes));
        let bytes = rewritten.as_deref().unwrap_or(bytes);
        if M::SPEAKS_ZAB
            && let Some(wire) = self.network.wires.get_mut(&id).filter(|wire| wire.port == PeerPort::Quorum)
        {
            if side == 0 {
                wire.desk.on_learner(bytes, &standing, &mut self.history)?;
            } else {
                let news = wire.desk.on_leader(bytes, &standing, self.now, &mut self.history)?;
                for body in news.proposed {
                    self.judge_proposal(member, &body)?;
                }
                self.ended(news.expired);
            }
        }
        let (now, delay) = (self.now, self.plan.peer_delay_us);
        for (at, wire, side, what) in self.network.send(id, side, bytes, now, delay, &mut self.peer_dice) {
            self.plan_at(at, Happening::Wire { wire, side, what });
        }
        let under_way = self.network.wires.get(&id).map_or(0, |wire| wire.ends[1 - side].under_way);
        if under_way > self.plan.wire_bytes_max {
            self.note(|| format!("wire {id}: {under_way} bytes wait for {}, it is cut", 1 - side));
            self.tell_wire(id, side, OnWire::Reset);
            self.kill_end(id, 1 - side);
        }
        Ok(())
    }

    /// The member wants to know when all it sent has left: here, when all of it has arrived.
    pub(super) fn tell_drained(&mut self, member: usize, link: LinkId) {
        let Some((id, side)) = self.network.find(member, link) else { return };
        if let Some(end) = self.network.wires.get_mut(&id).map(|wire| &mut wire.ends[1 - side]) {
            end.drain_asked = true;
        }
        self.look_if_drained(id, 1 - side);
    }

    /// Something arrived at an end, or its sender asks.
    fn look_if_drained(&mut self, id: u64, side: usize) {
        let Some(wire) = self.network.wires.get_mut(&id) else { return };
        let sender = &wire.ends[1 - side];
        let (member, life, link) = (sender.member, sender.life, sender.link);
        let end = &mut wire.ends[side];
        if end.under_way == 0 && std::mem::take(&mut end.drain_asked) {
            let delay = self.peer_dice.latency(self.plan.peer_delay_us);
            self.plan_in(delay, Happening::Drained { member, life, link });
        }
    }

    pub(super) fn drained(&mut self, member: usize, life: u32, link: LinkId) -> Result<(), String> {
        if self.members[member].life != life || self.network.find(member, link).is_none() {
            return Ok(());
        }
        let stopped = self.members[member].server.as_ref().map_or(0, |server| server.replica_stopped_until());
        if stopped > self.now {
            self.plan_at(stopped, Happening::Drained { member, life, link });
            return Ok(());
        }
        self.peer_turn(member, PeerNews::Drained { link })
    }

    /// A member is done with its end of a wire. What it had to say on one that was dead, or to somebody who was gone
    /// without its knowing, was lost until now.
    fn shut(&mut self, wire: u64, side: usize) {
        let loses = |wire: &Wire| wire.port != PeerPort::Election || wire.ends.iter().any(|end| end.dead);
        if self.network.wires.get(&wire).is_some_and(loses) {
            self.ears.fault_until(self.now);
        }
        self.network.shut(wire, side);
    }

    /// Nothing reaches that end any more.
    pub(super) fn kill_end(&mut self, wire: u64, side: usize) {
        if let Some(wire) = self.network.wires.get_mut(&wire) {
            wire.ends[side].dead = true;
        }
    }

    pub(super) fn close_peer(&mut self, member: usize, link: LinkId) {
        self.network.dials.remove(&(member, link));
        if let Some((wire, side)) = self.network.find(member, link) {
            self.shut(wire, side);
            self.tell_wire(wire, 1 - side, OnWire::End);
        }
    }

    /// Something arrives at an end, if nothing keeps it.
    pub(super) fn at_wire(&mut self, wire: u64, side: usize, what: OnWire) -> Result<(), String> {
        let blocked = self.network.is_blocked(wire, side);
        let is_unheard = self.network.is_unheard(wire, side);
        let Some(found) = self.network.wires.get_mut(&wire) else { return Ok(()) };
        let end = &mut found.ends[side];
        let stopped = match &self.members[end.member].server {
            Some(server) if self.members[end.member].life == end.life => server.replica_stopped_until(),
            _ => 0,
        };
        let keep = blocked || !end.held.is_empty() || stopped > self.now;
        if end.dead {
            if let OnWire::Bytes(bytes) = &what {
                end.under_way -= bytes.len();
            }
            self.doubt(wire, side);
            return Ok(());
        }
        if is_unheard {
            self.doubt(wire, side);
        }
        if !keep {
            return self.arrive(wire, side, what);
        }
        if let Some(found) = self.network.wires.get_mut(&wire) {
            found.ends[side].held.push(what);
        }
        if !blocked {
            self.plan_at(stopped, Happening::WireResumes { wire, side });
        }
        Ok(())
    }

    fn arrive(&mut self, id: u64, side: usize, what: OnWire) -> Result<(), String> {
        let Some(wire) = self.network.wires.get_mut(&id) else { return Ok(()) };
        let end = &mut wire.ends[side];
        let (member, link) = (end.member, end.link);
        if let OnWire::Bytes(bytes) = &what {
            end.under_way -= bytes.len();
        }
        let alive = self.members[member].life == end.life && self.members[member].server.is_some();
        self.look_if_drained(id, side);
        let Some(wire) = self.network.wires.get_mut(&id) else { return Ok(()) };
        let end = &mut wire.ends[side];
        if let OnWire::Connected = what {
            // Of an earlier life it would name a link that is dialled anew by now.
            let dial = if alive { self.network.dials.remove(&(member, link)) } else { None };
            return match dial {
                Some(waiting) => {
                    self.network.opened(id);
                    self.peer_turn(member, PeerNews::Connected { link })?;
                    if waiting.is_empty() { Ok(()) } else { self.send_peer(member, link, &waiting) }
                }
                None => {
                    self.tell_wire(id, 1 - side, OnWire::Reset);
                    Ok(())
                }
            };
        }
        if !alive || !end.open {
            // What reaches nobody is answered by a reset, unless nobody is there to answer.
            if !self.members[member].dark && matches!(what, OnWire::Bytes(_)) {
                self.tell_wire(id, 1 - side, OnWire::Reset);
            }
            return Ok(());
        }
        match what {
            OnWire::Bytes(bytes) => {
                if M::SPEAKS_ZAB && side == 1 && wire.port == PeerPort::Quorum {
                    wire.arrived.push(&bytes);
                    self.overhear(id, member);
                }
                self.peer_turn(member, PeerNews::Bytes { link, bytes: &bytes })
            }
            OnWire::End | OnWire::Reset => {
                self.shut(id, side);
                self.note(|| format!("wire {id} ends at member {member}, by {link:?}"));
                self.peer_turn(member, PeerNews::Closed { link })
            }
            OnWire::Connected => Ok(()),
        }
    }

    /// What a leader learns of sessions from a learner's packets.
    fn overhear(&mut self, id: u64, leader: usize) {
        let now = self.now;
        let Some(wire) = self.network.wires.get_mut(&id) else { return };
        while let Some(packet) = wire.arrived.next() {
            match packet.kind {
                packets::PING | packets::REVALIDATE => {
                    for (session, timeout_ms) in packet.touches() {
                        self.ears.on_leader(session, leader, Some(timeout_ms), now);
                    }
                }
                packets::REQUEST => {
                    if let Some(session) = packet.body().first_chunk() {
                        self.ears.on_leader(i64::from_be_bytes(*session), leader, None, now);
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn wire_resumes(&mut self, id: u64, side: usize) -> Result<(), String> {
        if self.network.is_blocked(id, side) {
            return Ok(()); // It was blocked again.
        }
        let Some(wire) = self.network.wires.get_mut(&id) else { return Ok(()) };
        let end = &mut wire.ends[side];
        let stopped = match &self.members[end.member].server {
            Some(server) if self.members[end.member].life == end.life => server.replica_stopped_until(),
            _ => 0,
        };
        if stopped > self.now {
            self.plan_at(stopped, Happening::WireResumes { wire: id, side });
            return Ok(());
        }
        for what in std::mem::take(&mut end.held) {
            self.arrive(id, side, what)?;
        }
        Ok(())
    }

    /// The sender to this end gets no acknowledgement. Some time it will have had enough.
    fn doubt(&mut self, id: u64, side: usize) {
        let patience = self.peer_dice.between(500_000, 8_000_000);
        let Some(end) = self.network.wires.get_mut(&id).map(|wire| &mut wire.ends[side]) else { return };
        if !std::mem::replace(&mut end.doubted, true) {
            self.plan_in(patience, Happening::WireGivenUp { wire: id, side });
        }
    }

    pub(super) fn wire_given_up(&mut self, id: u64, side: usize) -> Result<(), String> {
        let is_unheard = self.network.is_unheard(id, side);
        let Some(wire) = self.network.wires.get_mut(&id) else { return Ok(()) };
        wire.ends[side].doubted = false;
        if !is_unheard {
            return Ok(());
        }
        let sender = &wire.ends[1 - side];
        let (member, link) = (sender.member, sender.link);
        let alive = sender.open && self.members[member].life == sender.life;
        let Some(server) = self.members[member].server.as_ref().filter(|_| alive) else { return Ok(()) };
        let stopped = server.replica_stopped_until();
        if stopped > self.now {
            self.plan_at(stopped, Happening::WireGivenUp { wire: id, side });
            return Ok(());
        }
        wire.ends[side].dead = true;
        wire.ends[side].held.clear();
        self.shut(id, 1 - side);
        self.note(|| format!("wire {id}: member {member} gives it up"));
        self.peer_turn(member, PeerNews::Closed { link })
    }

    pub(super) fn unblock(&mut self, paths: &[(usize, usize)]) {
        for path in paths {
            self.network.blocked.remove(path);
        }
        self.ears.fault_until(self.now);
        let waiting: Vec<(u64, usize)> = self
            .network
            .wires
            .iter()
            .flat_map(|(id, wire)| (0..2).map(move |side| (*id, side, &wire.ends[side])))
            .filter(|(_, _, end)| !end.held.is_empty())
            .map(|(id, side, _)| (id, side))
            .collect();
        for (wire, side) in waiting {
            let late = self.peer_dice.below(200_000);
            self.plan_in(late, Happening::WireResumes { wire, side });
        }
    }

    /// The member's connections end with it; loudly, if its machine goes on.
    pub(super) fn fail_wires(&mut self, member: usize, loud: bool) {
        self.network.dials.retain(|(caller, _), _| *caller != member);
        for (wire, side) in self.network.of_member(member) {
            self.shut(wire, side);
            if loud {
                self.tell_wire(wire, 1 - side, OnWire::Reset);
            }
        }
        self.network.sweep();
    }
}

//! What goes wrong: one thing at a time, many at once by and by, and never more than a majority of disks can bear.

use super::machine::Machine;
use super::world::{Cluster, Happening};

impl<M: Machine> Cluster<M> {
    pub(super) fn chaos(&mut self) -> Result<(), String> {
        if self.calm {
            return Ok(());
        }
        let next = self.dice.between(20_000, 800_000);
        self.plan_in(next, Happening::Chaos);
        self.network.sweep();
        let member = self.dice.index(self.members.len());
        let plan = &self.plan;
        match self.dice.below(12) {
            0 | 1 if plan.power_cuts && self.members[member].server.is_some() => {
                // In the middle of something, not between two things.
                self.members[member].fuse = Some(self.dice.between(1, 60));
                self.note(|| format!("the fuse of member {member} is lit"));
            }
            2 | 3 if plan.kills => self.kill(member),
            // Leaders are few, and the most interesting to lose.
            4 if plan.kills || plan.power_cuts => {
                if let Some(reign) = self.history.reigns.values().next_back() {
                    self.members[reign.member].fuse = Some(self.dice.between(1, 30));
                }
            }
            5 | 6 if plan.partitions => self.partition(),
            7 if plan.bad_wires => self.hurt_wire(),
            8 if plan.bad_network => self.hurt_visit(),
            9 if plan.pauses => self.pause(member),
            10 => self.trouble_machine(member),
            11 if plan.blackouts && self.dice.chance(300) => {
                for member in 0..self.members.len() {
                    self.members[member].fuse = Some(self.dice.between(1, 40));
                }
                self.note(|| "the lights go out".into());
            }
            _ => {}
        }
        Ok(())
    }

    /// Clocks, slow disks, lost disks.
    fn trouble_machine(&mut self, member: usize) {
        match self.dice.below(3) {
            0 if self.plan.clock_jumps => {
                let jump = self.dice.below(20_000) as i64 - 10_000;
                self.members[member].clock.wall_offset_ms += jump;
                self.note(|| format!("the wall clock of member {member} jumps by {jump} ms"));
            }
            1 if self.plan.stalls => {
                let stall = self.disk_dice.between(10_000, 1_500_000);
                self.members[member].stalled_until = self.now + stall;
                self.ears.fault_until(self.now + stall);
                self.note(|| format!("the disk of member {member} stalls for {} ms", stall / 1000));
            }
            2 if self.plan.lost_disks => self.hurt_disk(member),
            _ => {}
        }
    }

    /// A disk is replaced or damaged, if a majority of voters keeps theirs.
    fn hurt_disk(&mut self, member: usize) {
        let lost = self.members.iter().filter(|other| other.votes && other.lost).count() as u32;
        let bearable = !self.members[member].votes || self.members[member].lost || lost < self.plan.minority();
        if !bearable || !self.members[member].has_lived {
            return;
        }
        self.kill(member);
        // Who leads may know what nobody else but this one held.
        let leader = self.history.reigns.values().next_back().map(|reign| reign.member);
        if let Some(leader) = leader.filter(|_| self.dice.chance(500)) {
            self.kill(leader);
        }
        if self.members[member].lost || self.dice.chance(500) || !self.damage_disk(member) {
            self.lose_disk(member);
        }
    }

    /// Some paths between two groups are blocked, both ways or one.
    fn partition(&mut self) {
        let count = self.members.len();
        let mut here: Vec<bool> = (0..count).map(|_| self.peer_dice.chance(500)).collect();
        if self.peer_dice.chance(400) {
            // One against all: at times the leader.
            let alone = match self.history.reigns.values().next_back() {
                Some(reign) if self.peer_dice.chance(500) => reign.member,
                _ => self.peer_dice.index(count),
            };
            here = (0..count).map(|member| member == alone).collect();
        }
        let one_way = self.plan.one_way && self.peer_dice.chance(400);
        let mut paths = Vec::new();
        for from in 0..count {
            for to in 0..count {
                if here[from] != here[to] && (!one_way || here[from]) {
                    paths.push((from, to));
                }
            }
        }
        paths.retain(|path| self.network.blocked.insert(*path));
        if paths.is_empty() {
            return;
        }
        self.summary.partitions += 1;
        self.ears.fault_until(self.now);
        let lasts = self.peer_dice.between(10_000, 4_000_000);
        self.note(|| format!("blocked for {} ms: {paths:?}", lasts / 1000));
        self.plan_in(lasts, Happening::Unblock { paths });
    }

    /// One connection between members is reset, or goes dead one way or both.
    fn hurt_wire(&mut self) {
        let open: Vec<u64> = self
            .network
            .wires
            .iter()
            .filter(|(_, wire)| wire.ends.iter().all(|end| end.open))
            .map(|(id, _)| *id)
            .collect();
        if open.is_empty() {
            return;
        }
        let wire = *self.peer_dice.pick(&open);
        self.ears.fault_until(self.now);
        let how = self.peer_dice.below(4);
        self.note(|| format!("wire {wire} {}", if how < 2 { "is reset" } else { "goes dead" }));
        match how {
            0 | 1 => {
                for side in 0..2 {
                    self.plan_in(0, Happening::Wire { wire, side, what: super::network::OnWire::Reset });
                }
            }
            2 => {
                let side = self.peer_dice.index(2);
                self.kill_end(wire, side);
            }
            _ => (0..2).for_each(|side| self.kill_end(wire, side)),
        }
    }

    /// One client's connection is reset, or goes dead.
    fn hurt_visit(&mut self) {
        let open: Vec<u64> = self
            .visits
            .iter()
            .filter(|(_, visit)| visit.link.at_server && visit.link.at_client)
            .map(|(id, _)| *id)
            .collect();
        if open.is_empty() {
            return;
        }
        let id = *self.net_dice.pick(&open);
        if self.net_dice.chance(500) {
            if let Some(visit) = self.visits.get_mut(&id) {
                visit.link.severed = true;
            }
        } else {
            self.plan_in(0, Happening::EndAtServer { link: id });
            self.plan_in(0, Happening::EndAtClient { link: id });
        }
    }

    /// The whole member, a shard or its replica stands still.
    fn pause(&mut self, member: usize) {
        let micros = self.dice.between(1_000, 3_000_000);
        let whom = self.dice.index(usize::from(self.plan.shard_count) + 2);
        let until = self.now + micros;
        let Some(server) = &mut self.members[member].server else { return };
        match server.stopped_until.get_mut(whom) {
            Some(at) => *at = until.max(*at),
            None => server.stopped_until.iter_mut().for_each(|at| *at = until.max(*at)),
        }
        self.ears.fault_until(until);
        self.note(|| format!("actor {whom} of member {member} stands still for {} ms", micros / 1000));
    }
}

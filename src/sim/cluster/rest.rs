//! The morning: faults end, a majority of voters is up and connected. It must soon have a leader, serve every
//! client's write, and come to agree on everything (invariants 29, 30, 39).

use super::super::chaos::same_tree;
use super::machine::Machine;
use super::network::Wire;
use super::world::{Cluster, Happening};

impl<M: Machine> Cluster<M> {
    pub(super) fn come_to_rest(&mut self) -> Result<(), String> {
        self.calm = true;
        self.stay_away();
        let blocked: Vec<(usize, usize)> = self.network.blocked.iter().copied().collect();
        self.unblock(&blocked);
        for member in 0..self.members.len() {
            self.members[member].fuse = None;
            self.members[member].stalled_until = 0;
            if let Some(server) = &mut self.members[member].server {
                server.stopped_until.fill(0);
            }
            if !self.away.contains(&member) {
                let soon = self.dice.below(100_000);
                self.plan_in(soon, Happening::Boot { member });
            }
        }
        // The dead are buried: both ends find out at once, as they would soon enough.
        let dead = |wire: &Wire| wire.ends.iter().any(|end| end.dead);
        let dead: Vec<u64> = self.network.wires.iter().filter(|(_, wire)| dead(wire)).map(|(id, _)| *id).collect();
        for wire in dead {
            (0..2).for_each(|side| self.plan_in(0, Happening::WireGivenUp { wire, side }));
        }
        self.must_serve()?;
        self.must_hear()?;
        self.must_agree()?;
        self.must_end()
    }

    /// At times a minority stays down for good.
    fn stay_away(&mut self) {
        let voters: Vec<usize> = (0..self.members.len()).filter(|member| self.members[*member].votes).collect();
        // Whose disk was lost cannot vote until it has caught up, so it is as good as away.
        let lost = voters.iter().filter(|voter| self.members[**voter].lost).count();
        let spare = (self.plan.minority() as usize).saturating_sub(lost);
        for member in 0..self.members.len() {
            let may = match self.members[member].votes {
                true => self.away.iter().filter(|away| self.members[**away].votes).count() < spare,
                false => true,
            };
            if may && !self.members[member].lost && self.dice.chance(150) {
                self.away.push(member);
                if self.members[member].server.is_some() {
                    self.end_life(member, true);
                }
                self.note(|| format!("member {member} stays away"));
            }
        }
    }

    fn present(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|member| !self.away.contains(member)).collect()
    }

    /// Every client has a write done, asked for after the healing.
    fn must_serve(&mut self) -> Result<(), String> {
        let healed = self.now;
        let floor = self.history.commits.ledger.len();
        let before = self.history.committed();
        let end = healed + self.plan.election_us();
        let mut done = vec![false; self.clients.len()];
        while self.now < end {
            self.run_until(self.now + 20_000)?;
            for (client, done) in self.clients.iter().zip(&mut done) {
                // Committed since the healing, and its client has the answer.
                let mut writes =
                    self.history.commits.ledger.range((client.session, i32::MIN)..=(client.session, i32::MAX));
                *done |= client.link.is_some()
                    && writes
                        .any(|((_, xid), zxid)| *zxid > before && client.asked.iter().all(|(asked, _)| asked != xid));
            }
            if done.iter().all(|done| *done) && (done.is_empty() || self.history.commits.ledger.len() > floor) {
                self.summary.elections_ms = (self.now - healed) / 1000;
                self.note(|| "every client is served".into());
                return Ok(());
            }
        }
        Err(format!(
            "after {} ms of calm the writes of clients {:?} are not done; the last leader is {:?}, members {:?} are \
             present (invariant 39)",
            (self.now - healed) / 1000,
            done.iter().enumerate().filter(|(_, done)| !**done).map(|(client, _)| client).collect::<Vec<_>>(),
            self.history.reigns.iter().next_back(),
            self.present()
        ))
    }

    /// Clients that only ping keep their sessions, whatever member hears them (invariant 19).
    fn must_hear(&mut self) -> Result<(), String> {
        self.idle = true;
        let longest = self.clients.iter().filter(|client| client.link.is_some()).map(|client| client.timeout_ms);
        let wait_ms = longest.max().unwrap_or(0) as u64 + 3 * self.plan.tick_ms as u64;
        self.run_until(self.now + wait_ms * 1000)
    }

    /// Everybody present has the same state.
    fn must_agree(&mut self) -> Result<(), String> {
        self.stopped = true;
        let end = self.now + self.plan.election_us();
        loop {
            // Nobody asks, and sessions do not end this soon after their last word.
            self.run_until(self.now + 100_000)?;
            match self.differences() {
                None => return Ok(()),
                Some(why) if self.now > end => return Err(format!("in the calm: {why} (invariant 29)")),
                Some(_) => {}
            }
        }
    }

    fn differences(&self) -> Option<String> {
        let model = &self.history.commits.model;
        let committed = self.history.committed();
        for member in self.present() {
            let this = &self.members[member];
            let Some(server) = &this.server else { return Some(format!("member {member} is not up")) };
            if let Err(why) = same_tree(server.machine.tree(), model, committed) {
                return Some(format!("member {member} at {committed:#x}: {why}"));
            }
            let late = server.applied.iter().find(|applied| self.history.place(**applied) != committed);
            if let Some(applied) = late.filter(|_| M::SPEAKS_ZAB) {
                return Some(format!("a shard of member {member} is at {applied:#x} of {committed:#x}"));
            }
            if this.durable != committed && M::SPEAKS_ZAB {
                return Some(format!("member {member} has {:#x} of {committed:#x} on its disk", this.durable));
            }
            if let Some(sessions) = server.machine.sessions()
                && !sessions.iter().copied().eq(model.sessions_at(committed))
            {
                return Some(format!("member {member} knows the sessions {sessions:?}"));
            }
        }
        None
    }

    /// Everybody leaves, and nothing of them stays (invariants 16, 19).
    fn must_end(&mut self) -> Result<(), String> {
        for client in 0..self.clients.len() {
            self.leave(client);
        }
        let longest = 20 * self.plan.tick_ms as u64 * 1000;
        let end = self.now + longest * 2 + self.plan.election_us();
        while self.now < end && self.history.commits.model.sessions_at(i64::MAX).next().is_some() {
            self.run_until(self.now + 100_000)?;
        }
        let model = &self.history.commits.model;
        if let Some((session, _)) = model.sessions_at(i64::MAX).next() {
            return Err(format!("session {session:#x} outlived its client (invariant 19)"));
        }
        if let Some((path, node)) = model.tree_at(i64::MAX).find(|(_, node)| node.session().is_some()) {
            return Err(format!("{path} outlived its session: {node:?} (invariant 16)"));
        }
        self.must_agree()
    }
}

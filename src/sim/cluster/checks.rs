//! What must hold at every moment: on a member's disk, in its tree, in what it proposes.

use super::super::commit::Expired;
use super::Sabotage;
use super::machine::Machine;
use super::world::Cluster;
use crate::base::{SessionId, Zxid};
use crate::codec::txn::{self, Txn};

impl<M: Machine> Cluster<M> {
    /// The batch under way is on the disk.
    pub(super) fn disk_lands(&mut self, member: usize) -> Result<(), String> {
        if let Some(Zxid(through)) = self.members[member].disk.land() {
            if self.members[member].stale {
                return Ok(());
            }
            self.members[member].durable = through;
            if M::SPEAKS_ZAB {
                self.history.on_durable(member, through);
            }
        }
        self.look_at_disk(member)
    }

    /// A snapshot gets its name; unless sabotage keeps the history that it was to replace.
    pub(super) fn snapshot_done(&mut self, member: usize, zxid: i64) -> Result<(), String> {
        let replaces = self.members[member].disk.draft_floor() > self.members[member].floor;
        if replaces && self.is_sabotaged(Sabotage::KeepsTruncated) {
            self.note(|| format!("member {member}: the snapshot of {zxid:#x} is not published"));
            let this = &mut self.members[member];
            this.disk.snapshot_abort();
            (this.stale, this.logged) = (true, zxid);
            return Ok(());
        }
        self.members[member].disk.snapshot_done();
        self.snapshot_named(member, zxid, replaces)
    }

    /// A snapshot has its name. One that is not of the member's own history replaces it.
    fn snapshot_named(&mut self, member: usize, zxid: i64, replaces: bool) -> Result<(), String> {
        self.summary.snapshots += 1;
        self.note(|| format!("member {member}: snapshot of {zxid:#x} written"));
        // A higher floor: from here on this is the history, and the journal before it does not count.
        if M::SPEAKS_ZAB {
            self.members[member].take_stock();
            if replaces {
                (self.members[member].durable, self.members[member].logged) = (zxid, zxid);
                self.history.on_durable(member, zxid);
            }
        }
        self.look_at_disk(member)
    }

    /// Invariant 24, of what a power cut right now would leave.
    pub(super) fn look_at_disk(&mut self, member: usize) -> Result<(), String> {
        if !self.history.has_leaders {
            return Ok(());
        }
        let this = &mut self.members[member];
        let (Some(current), accepted) = (this.epochs.in_force(), this.epochs.accepted) else { return Ok(()) };
        if accepted.is_none_or(|accepted| accepted < current) {
            return Err(format!(
                "member {member}: epoch {current:#x} is current, accepted {accepted:?} (invariant 24)"
            ));
        }
        let reign = self.history.reigns.get(&current);
        // What no quorum took over may be gone again: the histories of later leaders need not have it.
        let due = reign.map_or(0, |reign| if reign.established { reign.history } else { reign.committed });
        let has_history = self.history.holds(this.durable, due);
        if this.lost {
            // Of an epoch that began with nothing, nothing is missing; that does not make the disk whole.
            this.lost = !(reign.is_some() && has_history && this.durable > 0);
            return Ok(());
        }
        // While a history is taken over it is logged as it comes, before its epoch is current. Until then nothing of
        // it may be acknowledged or voted with (the desk asks for both), and a boot cuts it off. What the leader of
        // an epoch never promised to has sent is wrong even so.
        let ahead = this.durable >> 32;
        if ahead > current && accepted.is_none_or(|accepted| accepted < ahead) {
            return Err(format!(
                "member {member}: {:#x} is on the disk, epoch {current:#x} is current, {accepted:?} accepted \
                 (invariant 24)",
                this.durable
            ));
        }
        if !has_history && this.votes {
            return Err(format!(
                "member {member}: epoch {current:#x} is current, but only {:#x} on the disk, not its history {:#x} \
                 (invariant 24)",
                this.durable, due
            ));
        }
        Ok(())
    }

    /// The tree is what the history makes of it (invariants 2, 22, 42), whoever holds it.
    pub(super) fn look_at_state(&mut self, member: usize) -> Result<(), String> {
        let Some(server) = self.members[member].server.as_ref().filter(|_| M::SPEAKS_ZAB) else { return Ok(()) };
        let Some(applied) = server.machine.applied() else { return Ok(()) };
        let told = server.machine.tree().digest();
        match self.history.digest(applied) {
            Some(due) if due != told => Err(format!(
                "member {member}: the digest at {applied:#x} is {told}, due was {due} (invariants 2, 22, 42)"
            )),
            _ => self.look_at_owners(member, applied),
        }
    }

    /// No ephemeral without its session (invariants 16, 17), where the commit order can tell.
    fn look_at_owners(&self, member: usize, applied: i64) -> Result<(), String> {
        let place = self.history.place(applied);
        if place != self.history.committed() || !self.summary.steps.is_multiple_of(16) {
            return Ok(());
        }
        let Some(server) = &self.members[member].server else { return Ok(()) };
        let model = &self.history.commits.model;
        let orphan = server
            .machine
            .tree()
            .sessions_with_ephemerals()
            .find(|SessionId(owner)| model.session_at(*owner, place).is_none());
        match orphan {
            Some(owner) => {
                Err(format!("member {member}: ephemerals of {owner} at {applied:#x}, which is over (invariant 16)"))
            }
            None => Ok(()),
        }
    }

    /// A leader proposes something new.
    pub(super) fn judge_proposal(&mut self, leader: usize, body: &[u8]) -> Result<(), String> {
        let entry = txn::decode(body).map_err(|error| error.to_string())?;
        if let Txn::CloseSession { .. } = entry.txn
            && entry.header.cxid.0 == 0
        {
            let session = entry.header.session.0;
            self.note(|| format!("member {leader}: session {session:#x} expires"));
            self.summary.expired += 1;
            if self.network.is_troubled() {
                self.ears.fault_until(self.now);
            }
            let since = self.history.reigns.get(&entry.header.zxid.epoch()).map_or(0, |reign| reign.since);
            self.ears.judge(session, leader, since.max(self.members[leader].since), self.now)?;
        }
        Ok(())
    }

    pub(super) fn ended(&mut self, expired: Vec<Expired>) {
        for ended in expired {
            self.ears.forget(ended.session);
        }
    }
}

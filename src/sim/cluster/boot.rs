//! A member's lives: how one begins, and how it ends.

use super::super::disk::Disk;
use super::Sabotage;
use super::epochs::EpochFiles;
use super::machine::{Machine, Start};
use super::member::Server;
use super::world::{Cluster, Happening, News};
use crate::base::Zxid;
use crate::shard::Shard;

impl<M: Machine> Cluster<M> {
    pub(super) fn boot(&mut self, member: usize) -> Result<(), String> {
        if self.members[member].server.is_some() || self.away.contains(&member) {
            return Ok(());
        }
        let seed = self.dice.next();
        let this = &self.members[member];
        let now = this.clock.now(self.now);
        let start = Start {
            member,
            votes: &self.plan.votes,
            is_replaced: this.lost && this.flip.is_none(),
            settings: self.plan.replica_settings(member),
            init_limit: self.plan.init_limit,
            sync_limit: self.plan.sync_limit,
            seed,
            disk: &this.disk,
            epochs: &this.epochs,
        };
        let booted = M::boot(&start, now)
            .map_err(|error| format!("member {member}: boot refused without a reason: {error} (invariants 33, 35)"))?;
        let zxid = booted.zxid;
        self.note(|| format!("member {member} boots at {zxid:#x}, {}", booted.story));
        self.judge_boot(member, zxid, booted.machine.tree().digest())?;
        let shards = (0..self.plan.shard_count)
            .map(|shard| {
                let tree = booted.machine.tree().replicate();
                Shard::new(self.plan.shard_settings(shard), tree, Zxid(zxid.max(0)), now.mono)
            })
            .collect();
        let world = self.now;
        let this = &mut self.members[member];
        let server = Server::new(booted.machine, shards, zxid.max(0));
        this.server = Some(server);
        (this.has_lived, this.dark, this.since) = (true, false, world);
        self.ears.fault_until(self.now);
        self.plan_member(member, 0, News::ReplicaTick);
        for shard in 0..usize::from(self.plan.shard_count) {
            self.plan_member(member, 0, News::ShardTick { shard });
        }
        self.carry_out(member, booted.effects)
    }

    /// What came back holds all that ever was on the disk, and nothing that was never written (invariants 31, 33).
    fn judge_boot(&mut self, member: usize, zxid: i64, digest: i64) -> Result<(), String> {
        let this = &mut self.members[member];
        let floor = this.floor;
        this.take_stock();
        if this.floor > floor {
            // The snapshot of another history got its name as the power went.
            let begins = this.disk.heads().filter(|head| head.floor.0 == this.floor).map(|head| head.zxid.0).min();
            this.durable = begins.unwrap_or(this.durable);
        }
        if let Some(flip) = this.flip.take() {
            if zxid < 0 {
                // Noticed. What is left counts for nothing.
                (this.durable, this.logged, this.floor) = (0, 0, 0);
                return Ok(());
            }
            // Not in the way of anything, so nothing may be missing; and honest again, before it is.
            this.disk.toggle(flip);
            this.lost = false;
        }
        if !M::SPEAKS_ZAB {
            if zxid < this.durable {
                return Err(format!("member {member} comes back at {zxid}, {} was on its disk", this.durable));
            }
            (this.durable, this.logged) = (zxid, zxid);
            return Ok(());
        }
        if zxid < 0 {
            if !this.lost {
                return Err(format!("member {member} has nothing to show for itself, but its disk is whole"));
            }
            return Ok(());
        }
        if !this.lost && !self.history.holds(zxid, this.durable) {
            return Err(format!(
                "member {member} comes back at {zxid:#x}, {:#x} was on its disk (invariant 33)",
                this.durable
            ));
        }
        match self.history.digest(zxid) {
            None => {
                return Err(format!("member {member} comes back at {zxid:#x}, which nobody proposed (invariant 20)"));
            }
            Some(due) if due != digest => {
                return Err(format!(
                    "member {member} comes back at {zxid:#x} with digest {digest}, due was {due} (invariants 2, 34)"
                ));
            }
            Some(_) => {}
        }
        (this.durable, this.logged) = (zxid, zxid);
        if !self.history.has_leaders {
            self.history.forget_after(zxid);
        }
        self.history.on_durable(member, zxid);
        Ok(())
    }

    /// Power goes. What was not synced is in the hands of chance, and nobody is told.
    pub(super) fn cut_power(&mut self, member: usize) -> Result<(), String> {
        self.end_life(member, false);
        let down = self.dice.between(1_000, 1_500_000);
        self.plan_in(down, Happening::Boot { member });
        Ok(())
    }

    /// The process is killed: its sockets are reset at once.
    pub(super) fn kill(&mut self, member: usize) {
        if self.members[member].server.is_none() {
            return;
        }
        self.end_life(member, true);
        let down = self.dice.between(1_000, 1_000_000);
        self.plan_in(down, Happening::Boot { member });
    }

    pub(super) fn end_life(&mut self, member: usize, loud: bool) {
        self.ears.fault_until(self.now);
        self.summary.crashes += 1;
        let this = &mut self.members[member];
        this.fuse = None;
        this.must_halt = false;
        this.server = None;
        this.life += 1;
        this.dark = !loud;
        this.told_epochs.clear();
        this.stretches.clear();
        this.early.clear();
        this.stale = false;
        let story = this.disk.cut(&mut self.disk_dice);
        this.epochs.cut(&mut self.disk_dice);
        self.note(|| format!("member {member} {}: {story}", if loud { "is killed" } else { "loses power" }));
        self.fail_wires(member, loud);
        self.fail_visits(member, loud);
    }

    /// A byte of the log or of a snapshot changes. Returns whether there was one.
    pub(super) fn damage_disk(&mut self, member: usize) -> bool {
        let hides = self.is_sabotaged(Sabotage::HidesDamage);
        let this = &mut self.members[member];
        let Some(flip) = this.disk.flip(&mut self.disk_dice) else { return false };
        if hides {
            this.disk.forget_from(flip);
        }
        (this.lost, this.flip) = (true, Some(flip));
        self.summary.damaged_disks += 1;
        self.note(|| format!("a byte lies on the disk of member {member}: {flip:?}"));
        true
    }

    /// The disk is replaced by an empty one.
    pub(super) fn lose_disk(&mut self, member: usize) {
        self.note(|| format!("member {member} gets an empty disk"));
        self.summary.lost_disks += 1;
        let this = &mut self.members[member];
        (this.disk, this.epochs, this.flip) = (Disk::default(), EpochFiles::default(), None);
        (this.lost, this.durable, this.logged, this.floor) = (true, 0, 0, 0);
    }
}

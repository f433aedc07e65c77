//! Carries the effects of a member's replica out in the invented world, and brings it the news of its disk and its
//! mailboxes. Every effect is a place where the power may be cut.

use super::super::disk::{Preparing, records};
use super::Sabotage;
use super::machine::{Machine, MemberMedia};
use super::member::Member;
use super::world::{Cluster, Happening, News};
use crate::base::{Now, ShardId};
use crate::journal::{Batch, DiskEffect};
use crate::mail::ToShard;
use crate::replica::{EpochFile, PeerEffect, PeerNews, Reload};
use crate::{codec::txn, replica};

impl<M: Machine> Cluster<M> {
    pub(super) fn happen_in_member(&mut self, member: usize, life: u32, news: News) -> Result<(), String> {
        let this = &self.members[member];
        let Some(server) = this.server.as_ref().filter(|_| this.life == life) else { return Ok(()) };
        let stopped = match &news {
            News::MailAtShard { shard } | News::ShardTick { shard } => server.stopped_until[*shard],
            News::DiskLands => 0,
            _ => server.replica_stopped_until(),
        };
        if stopped > self.now {
            self.plan_at(stopped, Happening::Member { member, life, news });
            return Ok(());
        }
        match news {
            News::MailAtShard { shard } => self.mail_at_shard(member, shard),
            News::ShardTick { shard } => self.shard_tick(member, shard),
            News::MailAtReplica { shard } => self.mail_at_replica(member, shard),
            News::ReplicaTick => {
                let late = self.dice.below(2_000);
                self.plan_member(member, replica::Replica::TICK_MS * 1000 + late, News::ReplicaTick);
                self.replica_turn(member, |machine, now, out| machine.on_tick(now, out))
            }
            News::BatchLands(batch) => {
                if !self.members[member].early.remove(&batch) {
                    self.disk_lands(member)?;
                }
                self.note(|| format!("member {member}: batch {} landed", batch.0));
                self.replica_turn(member, |machine, now, out| machine.on_batch_landed(batch, now, out))
            }
            News::DiskLands => self.disk_lands(member),
            News::WriteFails => {
                self.members[member].must_halt = true;
                self.note(|| format!("member {member}: the journal's disk fails"));
                self.replica_turn(member, |machine, _, out| machine.on_disk_failed("invented failure", out))?;
                if self.members[member].server.is_some() && !self.members[member].is_cut() {
                    return Err(format!("member {member}: the disk failed and the replica goes on"));
                }
                Ok(())
            }
            News::SegmentReady(segment) => {
                self.members[member].disk.prepared(segment);
                self.replica_turn(member, |machine, now, out| machine.on_segment_ready(segment, now, out))
            }
            News::SnapshotWritable => self.replica_turn(member, |machine, _, out| machine.on_snapshot_ready(out)),
            News::SnapshotDone(zxid) => {
                self.snapshot_done(member, zxid.0)?;
                self.replica_turn(member, |machine, now, out| machine.on_snapshot_written(zxid, now, out))
            }
            News::StretchSteps(link) => self.stretch_steps(member, link),
            News::EpochLands => match self.members[member].epochs.land()? {
                Some((file, epoch)) => {
                    self.look_at_disk(member)?;
                    match self.is_sabotaged(Sabotage::EpochBeforeDisk) {
                        true => Ok(()),
                        false => self.epoch_written(member, file, epoch),
                    }
                }
                None => Ok(()),
            },
            News::EpochTold => match self.members[member].told_epochs.pop_front() {
                Some((file, epoch)) => self.epoch_written(member, file, epoch),
                None => Ok(()),
            },
        }
    }

    pub(super) fn is_sabotaged(&self, how: Sabotage) -> bool {
        self.options.sabotage == Some(how)
    }

    fn epoch_written(&mut self, member: usize, file: EpochFile, epoch: i64) -> Result<(), String> {
        self.peer_turn(member, PeerNews::EpochWritten { file, epoch })
    }

    pub(super) fn peer_turn(&mut self, member: usize, news: PeerNews<'_>) -> Result<(), String> {
        self.replica_turn(member, |machine, now, out| {
            machine.on_peer(news, now, out);
            machine.on_turn_end(now, out);
        })
    }

    pub(super) fn replica_turn(
        &mut self,
        member: usize,
        call: impl FnOnce(&mut M, Now, &mut replica::Effects),
    ) -> Result<(), String> {
        if self.members[member].is_cut() {
            return Ok(());
        }
        let now = self.members[member].clock.now(self.now);
        let Some(server) = &mut self.members[member].server else { return Ok(()) };
        let mut out = replica::Effects::default();
        call(&mut server.machine, now, &mut out);
        self.carry_out(member, out)?;
        self.look_at_state(member)
    }

    pub(super) fn carry_out(&mut self, member: usize, out: replica::Effects) -> Result<(), String> {
        for effect in out.disk {
            self.disk_effect(member, effect).map_err(|why| format!("member {member}: {why}"))?;
            if !self.members[member].burn() {
                return Ok(());
            }
        }
        for effect in out.peer {
            self.peer_effect(member, effect).map_err(|why| format!("member {member}: {why}"))?;
            if !self.members[member].burn() {
                return Ok(());
            }
        }
        for effect in out.stretches {
            self.stretch_effect(member, effect);
        }
        for (ShardId(shard), mail) in out.mail {
            self.mail_shard(member, usize::from(shard), mail);
            if !self.members[member].burn() {
                return Ok(());
            }
        }
        if let Some(what) = out.reload {
            self.reload(member, what)?;
        }
        if let Some(halt) = out.halt {
            if !self.members[member].must_halt {
                return Err(format!("member {member} stops without a reason: {}", halt.0));
            }
            self.members[member].fuse = Some(0);
        }
        Ok(())
    }

    /// The disk is read again, as it is now.
    fn reload(&mut self, member: usize, what: Reload) -> Result<(), String> {
        self.note(|| format!("member {member}: reload {what:?}"));
        let Member { disk, epochs, server, clock, .. } = &mut self.members[member];
        let Some(server) = server else { return Ok(()) };
        let mut out = replica::Effects::default();
        server.machine.on_reload(what, &MemberMedia { disk, epochs }, clock.now(self.now), &mut out);
        self.carry_out(member, out)
    }

    fn peer_effect(&mut self, member: usize, effect: PeerEffect) -> Result<(), String> {
        match effect {
            PeerEffect::Dial { link, to, timeout_ms } => self.dial(member, link, &to, timeout_ms),
            PeerEffect::Send { link, bytes } => self.send_peer(member, link, &bytes)?,
            PeerEffect::TellDrained { link } => self.tell_drained(member, link),
            PeerEffect::Close { link } => self.close_peer(member, link),
            PeerEffect::AskOracle => return Err("there is no oracle in this world".into()),
            PeerEffect::WriteEpoch { file, epoch } => {
                self.note(|| format!("member {member}: writes {file:?} epoch {epoch}"));
                let latency = self.disk_latency(member);
                self.members[member].epochs.write(file, epoch);
                self.plan_member(member, latency, News::EpochLands);
                if self.is_sabotaged(Sabotage::EpochBeforeDisk) {
                    // Told in a turn of its own, as the honest news would be.
                    self.members[member].told_epochs.push_back((file, epoch));
                    self.plan_member(member, 1, News::EpochTold);
                }
            }
        }
        Ok(())
    }

    pub(super) fn disk_latency(&mut self, member: usize) -> u64 {
        let stall = self.members[member].stalled_until.saturating_sub(self.now);
        self.disk_dice.latency(self.plan.disk_delay_us).max(1) + stall
    }

    fn disk_effect(&mut self, member: usize, effect: DiskEffect) -> Result<(), String> {
        let latency = self.disk_latency(member);
        match effect {
            DiskEffect::WriteBatch(batch) => return self.write_batch(member, batch, latency),
            DiskEffect::PrepareSegment { segment, bytes, recycle } => {
                self.members[member].disk.prepare(Preparing { segment, bytes, recycle })?;
                self.plan_member(member, latency * 3, News::SegmentReady(segment));
            }
            DiskEffect::DeleteSegment(segment) => self.members[member].disk.delete_segment(segment),
            DiskEffect::SnapshotOpen { zxid } => {
                self.note(|| format!("member {member}: snapshot of {zxid} begins"));
                self.members[member].disk.snapshot_open(zxid)?;
                self.plan_member(member, latency, News::SnapshotWritable);
            }
            DiskEffect::SnapshotChunk { bytes } => {
                self.members[member].disk.snapshot_chunk(&bytes)?;
                self.plan_member(member, latency, News::SnapshotWritable);
            }
            DiskEffect::SnapshotClose { zxid } => {
                self.members[member].disk.snapshot_close(zxid)?;
                self.plan_member(member, latency, News::SnapshotDone(zxid));
            }
            DiskEffect::SnapshotAbort { .. } => self.members[member].disk.snapshot_abort(),
            DiskEffect::DeleteSnapshot(zxid) | DiskEffect::SetAsideSnapshot(zxid) => {
                self.members[member].disk.delete_snapshot(zxid);
            }
            // Under another name it is as good as gone.
            DiskEffect::SetAsideSegment(segment) => self.members[member].disk.delete_segment(segment),
        }
        Ok(())
    }

    fn write_batch(&mut self, member: usize, batch: Batch, latency: u64) -> Result<(), String> {
        let id = batch.id;
        self.note(|| {
            format!(
                "member {member}: batch {} of {} records through {} at {:?}+{}",
                id.0, batch.record_count, batch.through, batch.segment, batch.offset
            )
        });
        let bodies = records(&batch.bytes)?;
        if bodies.len() != batch.record_count as usize {
            return Err(format!("a batch of {} records claims {}", bodies.len(), batch.record_count));
        }
        for body in bodies {
            self.on_record(member, body)?;
        }
        let this = &mut self.members[member];
        let takes_over = this.epochs.current < this.epochs.accepted;
        let early = match self.options.sabotage {
            Some(Sabotage::AckBeforeDisk) => true,
            Some(Sabotage::EpochBeforeHistory) => takes_over,
            _ => false,
        };
        this.disk.write(batch, self.options.sabotage.is_some())?;
        if self.plan.failing_writes && !self.calm && self.disk_dice.chance(1) {
            self.plan_member(member, latency, News::WriteFails);
        } else if early {
            self.members[member].early.insert(id);
            self.plan_member(member, 0, News::BatchLands(id));
            // Late enough for the epoch to overtake it.
            self.plan_member(member, 20 * latency, News::DiskLands);
        } else {
            self.plan_member(member, latency, News::BatchLands(id));
        }
        Ok(())
    }

    /// A record leaves for the journal: known, or new and its leader's (invariants 20, 21, 27).
    fn on_record(&mut self, member: usize, body: &[u8]) -> Result<(), String> {
        if !M::SPEAKS_ZAB {
            return Ok(());
        }
        let zxid = txn::decode(body).map_err(|error| error.to_string())?.header.zxid.0;
        let last = self.members[member].logged;
        if self.history.on_sight(member, last, zxid, body)? {
            self.judge_proposal(member, body)?;
        }
        self.members[member].logged = zxid;
        Ok(())
    }

    fn mail_shard(&mut self, member: usize, shard: usize, mail: ToShard) {
        let lag = self.dice.latency(self.plan.mail_lag_us);
        let now = self.now;
        let swap = self.is_sabotaged(Sabotage::CommitsOutOfOrder) && self.is_learner(member);
        let Some(server) = &mut self.members[member].server else { return };
        let mailbox = &mut server.to_shard[shard];
        mailbox.arrives = (now + lag).max(mailbox.arrives);
        let wait = mailbox.arrives - now;
        mailbox.queue.push_back(mail);
        if swap && mailbox.queue.len() > 1 {
            let last = mailbox.queue.len() - 1;
            mailbox.queue.swap(last - 1, last);
        }
        self.plan_member(member, wait, News::MailAtShard { shard });
    }

    /// Somebody else leads.
    fn is_learner(&self, member: usize) -> bool {
        self.history.reigns.values().next_back().is_some_and(|reign| reign.member != member)
    }

    fn mail_at_replica(&mut self, member: usize, shard: usize) -> Result<(), String> {
        // One message or all that is due: turns differ in what they hold.
        let all = self.dice.chance(500);
        let Some(server) = &mut self.members[member].server else { return Ok(()) };
        let queue = &mut server.to_replica[shard].queue;
        let take = if all { queue.len() } else { queue.len().min(1) };
        let mail: Vec<_> = queue.drain(..take).collect();
        if mail.is_empty() {
            return Ok(());
        }
        self.replica_turn(member, |machine, now, out| {
            for mail in mail {
                machine.on_mail(mail, now, out);
            }
            machine.on_turn_end(now, out);
        })
    }
}

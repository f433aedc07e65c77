//! The driver proper: carries the effects of both machines out in the invented world, and brings them its news.
//!
//! Every effect is a place where the power may be cut: the fuse burns by one per effect carried out.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Read};

use super::disk::{Disk, Preparing};
use super::line::{Phase, Scene};
use super::net::{Link, pieces};
use super::world::{Happening, Hearing, Sabotage, World};
use crate::base::{Now, Origin, SessionId, ShardId, Zxid};
use crate::journal::{Batch, DiskEffect, SegmentId};
use crate::mail::{ToReplica, ToShard};
use crate::replica::{self, BootMedia, Replica};
use crate::shard::{self, Shard};

/// One life of the server: from a boot to the next cut.
pub struct Server {
    pub replica: Replica,
    pub shards: Vec<Shard>,
    /// What each shard has been told is committed.
    pub applied: Vec<i64>,
    to_replica: Vec<Mailbox<ToReplica>>,
    to_shard: Vec<Mailbox<ToShard>>,
    /// Until when each shard, and last the replica, is stopped.
    pub stopped_until: Vec<u64>,
}

/// A one-way queue between two machines.
pub struct Mailbox<T> {
    pub queue: VecDeque<T>,
    pub arrives: u64,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Mailbox<T> {
        Mailbox { queue: VecDeque::new(), arrives: 0 }
    }
}

impl Server {
    pub fn new(replica: Replica, shards: Vec<Shard>, applied: i64) -> Server {
        let count = shards.len();
        Server {
            replica,
            shards,
            applied: vec![applied; count],
            to_replica: (0..count).map(|_| Mailbox::default()).collect(),
            to_shard: (0..count).map(|_| Mailbox::default()).collect(),
            stopped_until: vec![0; count + 1],
        }
    }

    /// Are clients let in?
    pub fn is_open(&self) -> bool {
        self.replica.may_serve()
    }

    pub fn stopped_until(&self, shard: usize) -> u64 {
        self.stopped_until[shard]
    }

    fn replica_stopped_until(&self) -> u64 {
        self.stopped_until.last().copied().unwrap_or(0)
    }
}

/// The disk as boot reads it; `hide` leaves the newest snapshots out.
pub struct Media<'a> {
    pub disk: &'a Disk,
    pub hide: usize,
}

impl BootMedia for Media<'_> {
    fn snapshots(&self) -> io::Result<Vec<Zxid>> {
        Ok(self.disk.snapshot_zxids().split_off(self.hide.min(self.disk.snapshot_zxids().len())))
    }

    fn read_snapshot(&self, zxid: Zxid) -> io::Result<Box<dyn Read>> {
        let bytes = self.disk.snapshot(zxid).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(io::Cursor::new(bytes.clone())))
    }

    fn segments(&self) -> io::Result<Vec<SegmentId>> {
        Ok(self.disk.segment_ids())
    }

    fn read_segment(&self, segment: SegmentId, bytes: &mut Vec<u8>) -> io::Result<()> {
        bytes.clone_from(self.disk.segment(segment).ok_or(io::ErrorKind::NotFound)?);
        Ok(())
    }
}

impl World {
    pub(super) fn happen_in_life(&mut self, happening: Happening) -> Result<(), String> {
        let (life, actor) = match &happening {
            Happening::MailAtShard { life, shard } | Happening::ShardTick { life, shard } => (*life, Some(*shard)),
            Happening::MailAtReplica { life, .. }
            | Happening::BatchLands { life, .. }
            | Happening::WriteFails { life }
            | Happening::SegmentReady { life, .. }
            | Happening::SnapshotWritable { life }
            | Happening::SnapshotDone { life, .. }
            | Happening::SnapshotFails { life, .. }
            | Happening::ReplicaTick { life } => (*life, None),
            Happening::DiskLands { life } => {
                if *life == self.life {
                    self.disk.land();
                }
                return Ok(());
            }
            other => return Err(format!("{other:?} is of no life")),
        };
        let Some(server) = self.server.as_ref().filter(|_| life == self.life) else { return Ok(()) };
        let stopped = match actor {
            Some(shard) => server.stopped_until(shard),
            None => server.replica_stopped_until(),
        };
        if stopped > self.now {
            self.plan_at(stopped, happening);
            return Ok(());
        }
        match happening {
            Happening::MailAtShard { shard, .. } => self.mail_at_shard(shard),
            Happening::ShardTick { shard, .. } => self.shard_tick(shard),
            Happening::MailAtReplica { shard, .. } => self.mail_at_replica(shard),
            Happening::ReplicaTick { life } => {
                let late = self.dice.below(2_000);
                self.plan_in(Replica::TICK_MS * 1000 + late, Happening::ReplicaTick { life });
                self.replica_turn(|replica, now, out| replica.on_tick(now, out))
            }
            Happening::BatchLands { batch, .. } => {
                if self.options.sabotage != Some(Sabotage::AckBeforeDisk) {
                    if self.options.sabotage == Some(Sabotage::LyingDisk) {
                        self.disk.land_in_cache();
                    } else {
                        self.disk.land();
                    }
                }
                self.note(|| format!("batch {} landed", batch.0));
                self.replica_turn(|replica, now, out| replica.on_batch_landed(batch, now, out))
            }
            Happening::WriteFails { .. } => {
                self.must_halt = true;
                self.note(|| "the journal's disk fails".into());
                self.replica_turn(|replica, _, out| replica.on_disk_failed("invented failure", out))?;
                if self.server.is_some() && self.fuse != Some(0) {
                    return Err("the disk failed and the replica goes on".into());
                }
                Ok(())
            }
            Happening::SegmentReady { segment, .. } => {
                self.disk.prepared(segment);
                self.replica_turn(|replica, now, out| replica.on_segment_ready(segment, now, out))
            }
            Happening::SnapshotWritable { .. } => self.replica_turn(|replica, _, out| replica.on_snapshot_ready(out)),
            Happening::SnapshotDone { zxid, .. } => {
                self.disk.snapshot_done();
                self.summary.snapshots += 1;
                self.note(|| format!("snapshot of {zxid} written"));
                self.replica_turn(|replica, now, _| replica.on_snapshot_written(zxid, now))
            }
            Happening::SnapshotFails { zxid, .. } => {
                self.disk.snapshot_abort();
                self.note(|| format!("snapshot of {zxid} failed"));
                self.replica_turn(|replica, _, _| replica.on_snapshot_failed(zxid, "invented failure"))
            }
            _ => Ok(()),
        }
    }

    /// One effect is carried out; false when the power goes right after it.
    fn burn(&mut self) -> bool {
        match &mut self.fuse {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                *left > 0
            }
        }
    }

    fn replica_turn(&mut self, call: impl FnOnce(&mut Replica, Now, &mut replica::Effects)) -> Result<(), String> {
        let now = self.clock();
        let Some(server) = &mut self.server else { return Ok(()) };
        let mut out = replica::Effects::default();
        call(&mut server.replica, now, &mut out);
        self.carry_out(out)
    }

    pub(super) fn carry_out(&mut self, out: replica::Effects) -> Result<(), String> {
        for effect in out.disk {
            self.disk_effect(effect)?;
            if !self.burn() {
                return Ok(());
            }
        }
        for (ShardId(shard), mail) in out.mail {
            self.mail_shard(usize::from(shard), mail);
            if !self.burn() {
                return Ok(());
            }
        }
        if let Some(halt) = out.halt {
            if !self.must_halt {
                return Err(format!("the replica stops without a reason: {}", halt.0));
            }
            self.fuse = Some(0);
        }
        Ok(())
    }

    fn mail_shard(&mut self, shard: usize, mail: ToShard) {
        let (life, now) = (self.life, self.now);
        let lag = self.dice.latency(self.plan.mail_lag_us);
        let Some(server) = &mut self.server else { return };
        let mailbox = &mut server.to_shard[shard];
        mailbox.arrives = (now + lag).max(mailbox.arrives);
        let at = mailbox.arrives;
        mailbox.queue.push_back(mail);
        self.plan_at(at, Happening::MailAtShard { life, shard });
    }

    fn mail_at_shard(&mut self, shard: usize) -> Result<(), String> {
        let Some(server) = &mut self.server else { return Ok(()) };
        let Some(mail) = server.to_shard[shard].queue.pop_front() else { return Ok(()) };
        let before = server.applied[shard];
        if let ToShard::Batch(entries) = &mail {
            let through = entries.iter().map(|entry| entry.zxid.0).max().unwrap_or(before);
            if through < before || entries.iter().any(|entry| entry.zxid.0 < before) {
                return Err(format!("the committed stream goes back from {before:#x}"));
            }
            if through > self.disk.durable {
                return Err(format!("{through:#x} is committed, {:#x} on disk (invariant 33)", self.disk.durable));
            }
            server.applied[shard] = through;
        }
        self.shard_turn_from(before, shard, |machine, now, out| machine.on_mail(mail, now, out))
    }

    fn mail_at_replica(&mut self, shard: usize) -> Result<(), String> {
        // One message or all that is due: turns differ in what they hold.
        let all = self.dice.chance(500);
        let Some(server) = &mut self.server else { return Ok(()) };
        let take = if all { server.to_replica[shard].queue.len() } else { 1 };
        let mail: Vec<ToReplica> = {
            let queue = &mut server.to_replica[shard].queue;
            let take = take.min(queue.len());
            queue.drain(..take).collect()
        };
        if mail.is_empty() {
            return Ok(());
        }
        let committed = server.replica.last_committed();
        let (_, most) = self.ears();
        for mail in &mail {
            if let ToReplica::Connect(connect) = mail
                && connect.session == SessionId::NONE
                && connect.last_zxid_seen <= committed
            {
                self.opening.push_back(most);
            }
            if let ToReplica::Connect(connect) = mail
                && let Some(heard) = self.hearing.get_mut(&connect.session.0)
            {
                heard.timeout_least_ms = heard.timeout_least_ms.min(connect.timeout_ms);
                heard.timeout_most_ms = heard.timeout_most_ms.max(connect.timeout_ms);
                heard.latest = Some(connect.origin);
            }
        }
        self.replica_turn(|replica, now, out| {
            for mail in mail {
                replica.on_mail(mail, now, out);
            }
            replica.on_turn_end(now, out);
        })
    }

    fn shard_tick(&mut self, shard: usize) -> Result<(), String> {
        // The promise that goes with a tick: every readable socket was read before it.
        let links: Vec<u64> =
            self.links.iter().filter(|(_, link)| link.line.shard as usize == shard).map(|(id, _)| *id).collect();
        for link in links {
            self.read_socket(link)?;
        }
        let (life, late) = (self.life, self.dice.below(2_000));
        self.plan_in(Shard::TICK_MS * 1000 + late, Happening::ShardTick { life, shard });
        self.shard_turn(shard, |machine, now, out| machine.on_tick(now, out))
    }

    pub(super) fn shard_turn(
        &mut self,
        shard: usize,
        call: impl FnOnce(&mut Shard, Now, &mut shard::Effects),
    ) -> Result<(), String> {
        let before = self.server.as_ref().map_or(0, |server| server.applied[shard]);
        self.shard_turn_from(before, shard, call)
    }

    fn shard_turn_from(
        &mut self,
        before: i64,
        shard: usize,
        call: impl FnOnce(&mut Shard, Now, &mut shard::Effects),
    ) -> Result<(), String> {
        let now = self.clock();
        let Some(server) = &mut self.server else { return Ok(()) };
        let mut out = shard::Effects::default();
        call(&mut server.shards[shard], now, &mut out);
        self.judge_outputs(shard, before, &out)?;
        // Known before anything is flushed: flushing the last of it leads back into the shard.
        for (_, link) in
            self.links.iter_mut().filter(|(_, link)| link.at_server && usize::from(link.line.shard) == shard)
        {
            link.closing |= out.close.iter().any(|close| close.conn == link.line.conn);
        }
        for mail in out.mail {
            self.mail_replica(shard, mail);
            if !self.burn() {
                return Ok(());
            }
        }
        let find = |world: &World, conn| {
            let mut links = world.links.iter();
            links
                .find(|(_, link)| link.at_server && usize::from(link.line.shard) == shard && link.line.conn == conn)
                .map(|(id, _)| *id)
        };
        for conn in out.dirty {
            if let Some(link) = find(self, conn) {
                self.flush(link)?;
            }
            if !self.burn() {
                return Ok(());
            }
        }
        for close in out.close {
            if let Some(id) = find(self, close.conn) {
                self.note(|| format!("link {id} is closed by the server{}", if close.abort { ", reset" } else { "" }));
                if close.abort { self.hang_up(id)? } else { self.flush(id)? }
            }
            if !self.burn() {
                return Ok(());
            }
        }
        for conn in out.resume {
            if let Some(link) = find(self, conn) {
                let now = self.now;
                self.plan_at(now, Happening::Readable { link });
            }
        }
        Ok(())
    }

    /// Shows the witness what every connection of the shard has to say, before the network can touch it.
    fn judge_outputs(&mut self, shard: usize, before: i64, out: &shard::Effects) -> Result<(), String> {
        let reorder = self.options.sabotage == Some(Sabotage::EventAfterReply);
        let ears = self.ears();
        let World { server, links, commits, disk, shown, doomed, plan, hearing, summary, .. } = self;
        let Some(server) = server else { return Ok(()) };
        let mut scene = Scene {
            model: &commits.model,
            ledger: &commits.ledger,
            durable: disk.durable,
            applied: (before, server.applied[shard]),
            granted_through: server.applied[shard],
            shown,
            doomed,
            min_timeout_ms: plan.tick_ms * 2,
            max_timeout_ms: plan.tick_ms * 20,
        };
        let dirty: BTreeSet<_> = out.dirty.iter().map(|conn| (conn.slot, conn.generation)).collect();
        for (id, link) in links.iter_mut().filter(|(_, link)| link.at_server && usize::from(link.line.shard) == shard) {
            let conn = link.line.conn;
            let output = server.shards[shard].output(conn);
            let judged = link.line.judged;
            if output.len() > judged {
                if !dirty.contains(&(conn.slot, conn.generation)) && judged == 0 {
                    return Err(format!("link {id}: output that nobody was told of"));
                }
                if reorder && !link.line.hostile && matches!(link.line.phase, Phase::Live) {
                    put_events_last(&mut output[judged..]);
                }
                let was_greeting = matches!(link.line.phase, Phase::Greeting(_));
                let fresh = output[judged..].to_vec();
                let (replies, events) = (link.line.replies, link.line.events);
                let verdict = link.line.on_output(&fresh, &mut scene);
                summary.replies += link.line.replies - replies;
                summary.events += link.line.events - events;
                verdict.map_err(|why| format!("link {id}: {why}"))?;
                if was_greeting && link.line.session != 0 {
                    granted(hearing, link, ears);
                }
            }
            if link.closing || out.close.iter().any(|close| close.conn == conn) {
                continue; // Its watches went with it.
            }
            link.line.on_turn(&scene).map_err(|why| format!("link {id}: {why}"))?;
        }
        Ok(())
    }

    fn mail_replica(&mut self, shard: usize, mail: ToReplica) {
        let (life, now) = (self.life, self.now);
        let lag = self.dice.latency(self.plan.mail_lag_us);
        let Some(server) = &mut self.server else { return };
        let mailbox = &mut server.to_replica[shard];
        mailbox.arrives = (now + lag).max(mailbox.arrives);
        let at = mailbox.arrives;
        mailbox.queue.push_back(mail);
        self.plan_at(at, Happening::MailAtReplica { life, shard });
    }

    /// Sends what fits into the client's window; closes when all is out and the shard wants that.
    pub(super) fn flush(&mut self, id: u64) -> Result<(), String> {
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        let Some(server) = self.server.as_mut().filter(|_| link.at_server) else { return Ok(()) };
        let (shard, conn) = (usize::from(link.line.shard), link.line.conn);
        if server.stopped_until(shard) > self.now {
            let at = server.stopped_until(shard);
            self.plan_at(at, Happening::Writable { link: id });
            return Ok(());
        }
        let output = server.shards[shard].output(conn);
        let sent = link.take(output);
        let empty = output.is_empty();
        if !link.severed && !sent.is_empty() {
            for bytes in pieces(&sent, &mut self.net_dice) {
                let at = link.arrive_at_client(self.now, &mut self.net_dice, self.plan.net_delay_us);
                self.planned += 1;
                self.queue.insert((at, self.planned), Happening::AtClient { link: id, bytes });
            }
        }
        let closing = link.closing;
        if closing && empty {
            return self.hang_up(id);
        }
        if !sent.is_empty() {
            self.shard_turn(shard, |machine, now, out| machine.on_flushed(conn, now, out))?;
        }
        Ok(())
    }

    /// The server's end of the connection is gone.
    pub(super) fn hang_up(&mut self, id: u64) -> Result<(), String> {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.at_server) else { return Ok(()) };
        link.at_server = false;
        let (shard, conn) = (usize::from(link.line.shard), link.line.conn);
        if !link.severed {
            let at = link.arrive_at_client(self.now, &mut self.net_dice, self.plan.net_delay_us);
            self.plan_at(at, Happening::EndAtClient { link: id });
        }
        self.shard_turn(shard, |machine, _, out| machine.on_hangup(conn, out))
    }

    fn disk_effect(&mut self, effect: DiskEffect) -> Result<(), String> {
        let life = self.life;
        let latency = self.disk_dice.latency(self.plan.disk_delay_us).max(1) + self.disk_stall();
        match effect {
            DiskEffect::WriteBatch(batch) => return self.write_batch(batch, latency),
            DiskEffect::PrepareSegment { segment, bytes, recycle } => {
                self.note(|| format!("prepare {segment:?} of {bytes} bytes, recycling {recycle:?}"));
                self.disk.prepare(Preparing { segment, bytes, recycle })?;
                if self.plan.full_disk && self.disk_dice.chance(100) {
                    self.plan_in(latency, Happening::WriteFails { life });
                } else {
                    self.plan_in(latency * 3, Happening::SegmentReady { life, segment });
                }
            }
            DiskEffect::DeleteSegment(segment) => self.disk.delete_segment(segment),
            DiskEffect::SnapshotOpen { zxid } => {
                self.note(|| format!("snapshot of {zxid} begins"));
                self.disk.snapshot_open(zxid)?;
                self.plan_snapshot(latency, Happening::SnapshotWritable { life });
            }
            DiskEffect::SnapshotChunk { bytes } => {
                self.disk.snapshot_chunk(&bytes)?;
                self.plan_snapshot(latency, Happening::SnapshotWritable { life });
            }
            DiskEffect::SnapshotClose { zxid } => {
                if zxid.0 > self.disk.durable {
                    return Err(format!("a snapshot of {zxid} gets its name, {:#x} is on disk", self.disk.durable));
                }
                self.disk.snapshot_close(zxid)?;
                self.plan_snapshot(latency, Happening::SnapshotDone { life, zxid });
            }
            DiskEffect::SnapshotAbort { .. } => self.disk.snapshot_abort(),
            DiskEffect::DeleteSnapshot(zxid) => self.disk.delete_snapshot(zxid),
            // Under another name it is as good as gone; and as little durable until the directory is synced.
            DiskEffect::SetAsideSegment(segment) => self.disk.delete_segment(segment),
            DiskEffect::SetAsideSnapshot(zxid) => self.disk.delete_snapshot(zxid),
        }
        Ok(())
    }

    /// A step of a snapshot, which may fail instead.
    fn plan_snapshot(&mut self, latency: u64, step: Happening) {
        let life = self.life;
        match self.disk.draft_zxid().filter(|_| self.plan.failing_snapshots && self.disk_dice.chance(100)) {
            Some(zxid) => self.plan_in(latency, Happening::SnapshotFails { life, zxid }),
            None => self.plan_in(latency, step),
        }
    }

    fn write_batch(&mut self, batch: Batch, latency: u64) -> Result<(), String> {
        let (life, id) = (self.life, batch.id);
        self.note(|| {
            format!(
                "batch {} of {} records through {} at {:?}+{}",
                id.0, batch.record_count, batch.through, batch.segment, batch.offset
            )
        });
        for expired in self.commits.on_batch(&batch)? {
            self.judge_expiry(expired.session)?;
        }
        self.disk.write(batch, self.options.sabotage == Some(Sabotage::AckBeforeDisk))?;
        self.count_sessions();
        if self.plan.failing_writes && self.disk_dice.chance(2) {
            self.plan_in(latency, Happening::WriteFails { life });
        } else if self.options.sabotage == Some(Sabotage::AckBeforeDisk) {
            let now = self.now;
            self.plan_at(now, Happening::BatchLands { life, batch: id });
            self.plan_in(latency, Happening::DiskLands { life });
        } else {
            self.plan_in(latency, Happening::BatchLands { life, batch: id });
        }
        Ok(())
    }

    /// Brings the list of who may be heard in line with the commit order.
    pub(super) fn count_sessions(&mut self) {
        let (least, _) = self.ears();
        let model = &self.commits.model;
        let over: Vec<i64> = self.hearing.keys().copied().filter(|id| model.session(*id).is_none()).collect();
        let fresh: Vec<(i64, i32)> =
            model.sessions_at(i64::MAX).filter(|(id, _)| !self.hearing.contains_key(id)).collect();
        // In the order of their ids, which is that of their handshakes.
        for (session, timeout_ms) in fresh {
            let most = self.opening.pop_front().unwrap_or(0);
            self.hearing.insert(
                session,
                Hearing {
                    least,
                    most,
                    timeout_least_ms: timeout_ms,
                    timeout_most_ms: timeout_ms,
                    latest: None,
                    lapsed_at: 0,
                },
            );
        }
        over.into_iter().for_each(|session| self.session_ended(SessionId(session)));
    }
}

/// The session is this connection's now, with the timeout it negotiated; unless another was later.
fn granted(hearing: &mut std::collections::BTreeMap<i64, Hearing>, link: &Link, ears: (u64, u64)) {
    if let Some(heard) = hearing.get_mut(&link.line.session) {
        heard.least = ears.0.max(heard.least);
        if heard.latest.is_some_and(|latest| latest != Origin { shard: ShardId(link.line.shard), conn: link.line.conn })
        {
            return;
        }
        heard.timeout_least_ms = link.line.timeout_ms;
        heard.timeout_most_ms = link.line.timeout_ms;
    }
}

/// The sabotage: swaps each notification with the reply behind it.
pub fn put_events_last(output: &mut [u8]) {
    let frame = |bytes: &[u8], at: usize| {
        let word = bytes.get(at..at + 8)?;
        let length = 4 + u32::from_be_bytes([word[0], word[1], word[2], word[3]]) as usize;
        let is_event = word[4..] == [0xff; 4];
        (at + length <= bytes.len()).then_some((length, is_event))
    };
    let mut at = 0;
    while let Some((length, is_event)) = frame(output, at) {
        if is_event && let Some((next, false)) = frame(output, at + length) {
            output[at..at + length + next].rotate_left(length);
            at += next;
        }
        at += length;
    }
}

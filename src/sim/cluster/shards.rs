//! A member's shards: committed batches in, and every byte they have for a client shown to its witness before the
//! network can touch it.

use std::collections::BTreeSet;

use super::super::line::{Phase, Scene};
use super::super::net::pieces;
use super::machine::Machine;
use super::world::{Cluster, Happening, News, Visit};
use crate::base::{ConnId, Now};
use crate::mail::{ToReplica, ToShard};
use crate::shard::{self, Shard};

impl<M: Machine> Cluster<M> {
    pub(super) fn mail_at_shard(&mut self, member: usize, shard: usize) -> Result<(), String> {
        let Some(server) = &mut self.members[member].server else { return Ok(()) };
        let Some(mail) = server.to_shard[shard].queue.pop_front() else { return Ok(()) };
        let mut before = server.applied[shard];
        if let ToShard::Reset(past) = &mail {
            // Another history from here on. Whether a client may see it is judged with what it is answered.
            before = past.zxid.0;
            server.applied[shard] = before;
        }
        if let ToShard::Batch(entries) = &mail {
            let mut through = before;
            for entry in entries.iter() {
                if entry.zxid.0 < through {
                    return Err(format!(
                        "member {member}: the committed stream of shard {shard} goes back from {through:#x} to {} \
                         (invariant 32)",
                        entry.zxid
                    ));
                }
                through = entry.zxid.0;
            }
            server.applied[shard] = through;
            let expired = self.history.on_claim(&format!("member {member}"), through)?;
            self.ended(expired);
        }
        self.shard_turn_from(member, before, shard, |machine, now, out| machine.on_mail(mail, now, out))
    }

    pub(super) fn shard_tick(&mut self, member: usize, shard: usize) -> Result<(), String> {
        // The promise that goes with a tick: every readable socket was read before it.
        for link in self.visits_of(member, shard) {
            self.read_socket(link)?;
        }
        let late = self.dice.below(2_000);
        self.plan_member(member, Shard::TICK_MS * 1000 + late, News::ShardTick { shard });
        self.shard_turn(member, shard, |machine, now, out| machine.on_tick(now, out))
    }

    fn visits_of(&self, member: usize, shard: usize) -> Vec<u64> {
        let at = |visit: &Visit| visit.member == member && usize::from(visit.link.line.shard) == shard;
        self.visits.iter().filter(|(_, visit)| at(visit) && visit.link.at_server).map(|(id, _)| *id).collect()
    }

    pub(super) fn shard_turn(
        &mut self,
        member: usize,
        shard: usize,
        call: impl FnOnce(&mut Shard, Now, &mut shard::Effects),
    ) -> Result<(), String> {
        let before = self.members[member].server.as_ref().map_or(0, |server| server.applied[shard]);
        self.shard_turn_from(member, before, shard, call)
    }

    fn shard_turn_from(
        &mut self,
        member: usize,
        before: i64,
        shard: usize,
        call: impl FnOnce(&mut Shard, Now, &mut shard::Effects),
    ) -> Result<(), String> {
        if self.members[member].is_cut() {
            return Ok(());
        }
        let now = self.members[member].clock.now(self.now);
        let Some(server) = &mut self.members[member].server else { return Ok(()) };
        let mut out = shard::Effects::default();
        call(&mut server.shards[shard], now, &mut out);
        self.judge_outputs(member, shard, before, &out)?;
        let visits = self.visits_of(member, shard);
        // Known before anything is flushed: flushing the last of it leads back into the shard.
        for id in &visits {
            if let Some(visit) = self.visits.get_mut(id) {
                visit.link.closing |= out.close.iter().any(|close| close.conn == visit.link.line.conn);
            }
        }
        for mail in out.mail {
            self.mail_replica(member, shard, mail);
            if !self.members[member].burn() {
                return Ok(());
            }
        }
        let find = |world: &Self, conn: ConnId| {
            let is = |id: &&u64| {
                world.visits.get(id).is_some_and(|visit| visit.link.at_server && visit.link.line.conn == conn)
            };
            visits.iter().find(is).copied()
        };
        for conn in out.dirty {
            if let Some(link) = find(self, conn) {
                self.flush(link)?;
            }
            if !self.members[member].burn() {
                return Ok(());
            }
        }
        for close in out.close {
            if let Some(id) = find(self, close.conn) {
                self.note(|| format!("link {id} is closed by member {member}"));
                if close.abort { self.hang_up(id)? } else { self.flush(id)? }
            }
            if !self.members[member].burn() {
                return Ok(());
            }
        }
        for conn in out.resume {
            if let Some(link) = find(self, conn) {
                self.plan_in(0, Happening::Readable { link });
            }
        }
        Ok(())
    }

    fn judge_outputs(&mut self, member: usize, shard: usize, before: i64, out: &shard::Effects) -> Result<(), String> {
        let Cluster { members, visits, history, shown, doomed, plan, ears, summary, .. } = self;
        let Some(server) = &mut members[member].server else { return Ok(()) };
        let mut scene = Scene {
            model: &history.commits.model,
            ledger: &history.commits.ledger,
            durable: history.shown_most(),
            applied: (before, server.applied[shard]),
            granted_through: history.committed(),
            shown,
            doomed,
            min_timeout_ms: plan.tick_ms * 2,
            max_timeout_ms: plan.tick_ms * 20,
        };
        let dirty: BTreeSet<_> = out.dirty.iter().map(|conn| (conn.slot, conn.generation)).collect();
        let of_shard = |visit: &Visit| {
            visit.member == member && visit.link.at_server && usize::from(visit.link.line.shard) == shard
        };
        for (id, Visit { link, .. }) in visits.iter_mut().filter(|(_, visit)| of_shard(visit)) {
            let conn = link.line.conn;
            let output = server.shards[shard].output(conn);
            let judged = link.line.judged;
            if output.len() > judged {
                if !dirty.contains(&(conn.slot, conn.generation)) && judged == 0 {
                    return Err(format!("link {id}: output that nobody was told of"));
                }
                let was_greeting = matches!(link.line.phase, Phase::Greeting(_));
                let fresh = output[judged..].to_vec();
                let (replies, events) = (link.line.replies, link.line.events);
                let verdict = link.line.on_output(&fresh, &mut scene);
                summary.replies += link.line.replies - replies;
                summary.events += link.line.events - events;
                verdict.map_err(|why| format!("link {id} at member {member}: {why}"))?;
                if was_greeting && link.line.session != 0 {
                    ears.on_timeout(link.line.session, link.line.timeout_ms, true);
                }
            }
            if link.closing || out.close.iter().any(|close| close.conn == conn) {
                continue; // Its watches went with it.
            }
            link.line.on_turn(&scene).map_err(|why| format!("link {id} at member {member}: {why}"))?;
        }
        Ok(())
    }

    fn mail_replica(&mut self, member: usize, shard: usize, mail: ToReplica) {
        let lag = self.dice.latency(self.plan.mail_lag_us);
        let now = self.now;
        let Some(server) = &mut self.members[member].server else { return };
        let mailbox = &mut server.to_replica[shard];
        mailbox.arrives = (now + lag).max(mailbox.arrives);
        let wait = mailbox.arrives - now;
        mailbox.queue.push_back(mail);
        self.plan_member(member, wait, News::MailAtReplica { shard });
    }

    /// Sends what fits into the client's window; closes when all is out and the shard wants that.
    pub(super) fn flush(&mut self, id: u64) -> Result<(), String> {
        let Some(Visit { member, link, .. }) = self.visits.get_mut(&id) else { return Ok(()) };
        let member = *member;
        let Some(server) = self.members[member].server.as_mut().filter(|_| link.at_server) else { return Ok(()) };
        let (shard, conn) = (usize::from(link.line.shard), link.line.conn);
        let stopped = server.stopped_until[shard];
        if stopped > self.now {
            self.plan_at(stopped, Happening::Writable { link: id });
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
        if link.closing && empty {
            return self.hang_up(id);
        }
        if !sent.is_empty() {
            self.shard_turn(member, shard, |machine, now, out| machine.on_flushed(conn, now, out))?;
        }
        Ok(())
    }

    /// The server's end of the connection is gone.
    pub(super) fn hang_up(&mut self, id: u64) -> Result<(), String> {
        let Some(Visit { member, link, .. }) = self.visits.get_mut(&id).filter(|visit| visit.link.at_server) else {
            return Ok(());
        };
        link.at_server = false;
        let (member, shard, conn) = (*member, usize::from(link.line.shard), link.line.conn);
        if !link.severed {
            let at = link.arrive_at_client(self.now, &mut self.net_dice, self.plan.net_delay_us);
            self.plan_at(at, Happening::EndAtClient { link: id });
        }
        self.shard_turn(member, shard, |machine, _, out| machine.on_hangup(conn, out))
    }

    /// The member's client connections end with it; its clients are told, or left to wonder.
    pub(super) fn fail_visits(&mut self, member: usize, loud: bool) {
        let Cluster { visits, net_dice, plan, now, .. } = self;
        let mut ends = Vec::new();
        for (id, Visit { link, .. }) in visits.iter_mut().filter(|(_, visit)| visit.member == member) {
            if !std::mem::replace(&mut link.at_server, false) {
                continue;
            }
            link.inbox.clear();
            if loud && !link.severed {
                ends.push((link.arrive_at_client(*now, net_dice, plan.net_delay_us), *id));
            } else {
                link.severed = true;
            }
        }
        for (at, link) in ends {
            self.plan_at(at, Happening::EndAtClient { link });
        }
        self.visits.retain(|_, visit| visit.link.at_client || visit.link.at_server);
    }
}

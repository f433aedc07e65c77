//! The replica as follower or observer: the leader's stream is logged and applied here, clients' writes go to it.
//!
//! A proposal is applied to the tree when it comes, as on the leader, and waits for its COMMIT before any shard sees
//! it. Until UPTODATE nothing at all is shown: what a leader says is committed is so only once a quorum follows it.
//!
//! TRUNC and SNAP change the past. The new state is kept in memory alone until NEWLEADER; then it becomes a snapshot
//! with a journal of its own, published by one rename. A link that breaks before that leaves the disk as it was, and
//! memory is read again from it (ZOOKEEPER-2872, 3642, 5094).
//!
//! Source: ZK: Learner.syncWithLeader, Follower, Observer, FollowerZooKeeperServer.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::dialling::Dialling;
use super::ensemble::Role;
use super::forwarding::Pending;
use super::history::{self, State};
use super::{BootMedia, Effects, EpochFile, PeerEffect, Reload, Replica};
use crate::base::{ErrorCode, Instant, LinkId, Now, Origin, ServerId, SessionId, ShardId, Zxid};
use crate::codec::txn::{self, DIGEST_VERSION, Txn, TxnHeader};
use crate::mail::metrics::{Basic, Counter};
use crate::mail::{Answer, AnswerKind, Body, Changes, Entry, Past, Service, ToShard};
use crate::session::Owner;
use crate::snapshot::StreamReader;
use crate::zab::{Learner, LearnerEffect, ObserverMaster};

/// Lives on: the replication core of a learner.
pub(super) struct Following {
    pub(super) learner: Learner,
    /// Empty between two calls; kept for its capacity.
    learner_says: Vec<LearnerEffect>,
    pub(super) link: LinkId,
    pub(super) dialling: Dialling,
    /// Observers learn from this server; `None` while it has not caught up, or if nobody asked for it.
    pub(super) master: Option<Box<ObserverMaster>>,
    reader: Option<Box<StreamReader>>,
    snapshot_zxid: Zxid,
    /// The state in memory has another past than the disk: nothing is logged until it is published.
    rebasing: bool,
    /// Where a snapshot of it is being written.
    publishing: bool,
    /// The disk has what memory had when the synchronization ended.
    published: bool,
    /// Up to here the leader says it is committed.
    committed: Zxid,
    /// UPTODATE has been carried out, not only read.
    is_live: bool,
    /// The snapshot may show transactions that follow it: digests mean nothing until the first that fits.
    is_fuzzy: bool,
    digest_faults: u64,
    /// Sessions heard since the last ping, with their timeouts.
    pub(super) heard: BTreeMap<SessionId, i32>,
    began: Instant,
}

impl Following {
    pub(super) fn new(learner: Learner, dialling: Dialling, now: Instant) -> Following {
        Following {
            learner,
            learner_says: Vec::new(),
            link: LinkId(0), // Until the first attempt.
            dialling,
            master: None,
            reader: None,
            snapshot_zxid: Zxid::ZERO,
            rebasing: false,
            publishing: false,
            published: false,
            committed: Zxid::ZERO,
            is_live: false,
            is_fuzzy: false,
            digest_faults: 0,
            heard: BTreeMap::new(),
            began: now,
        }
    }

    pub(super) fn epoch(&self) -> i64 {
        self.learner.epoch()
    }

    /// The leader, or an observer's master.
    pub(super) fn leader(&self) -> ServerId {
        self.learner.leader()
    }

    /// Of observers that learn from this server and are up to date.
    pub(super) fn observer_count(&self) -> Option<u64> {
        let master = self.master.as_ref()?;
        Some(master.learners().reports().filter(|learner| learner.synced).count() as u64)
    }
}

impl Replica {
    pub(super) fn following(&mut self) -> Option<&mut Following> {
        match &mut self.ensemble.as_mut()?.role {
            Role::Following(following) => Some(following),
            _ => None,
        }
    }

    pub(super) fn with_learner(
        &mut self,
        now: Now,
        out: &mut Effects,
        hear: impl FnOnce(&mut Learner, &mut Vec<LearnerEffect>),
    ) {
        if let Some(following) = self.following() {
            let mut effects = std::mem::take(&mut following.learner_says);
            hear(&mut following.learner, &mut effects);
            self.on_learner_effects(&mut effects, now, out);
            if let Some(following) = self.following() {
                following.learner_says = effects;
            }
        }
    }

    pub(super) fn on_leader_connected(&mut self, now: Now, out: &mut Effects) {
        self.with_learner(now, out, |learner, effects| learner.on_connected(now.mono, effects));
    }

    pub(super) fn on_leader_bytes(&mut self, bytes: &[u8], now: Now, out: &mut Effects) {
        self.with_learner(now, out, |learner, effects| learner.on_bytes(bytes, now.mono, effects));
    }

    pub(super) fn tick_following(&mut self, now: Now, out: &mut Effects) {
        self.dial_when_due(now, out);
        self.with_learner(now, out, |learner, effects| learner.on_tick(now.mono, effects));
        self.tick_observers(now, out);
    }

    /// What is durable here may be acknowledged, and a settling learner may be at the end of it.
    pub(super) fn on_learner_durable(&mut self, now: Now, out: &mut Effects) {
        let through = self.journal.last_durable();
        if self.following().is_some_and(|following| !following.rebasing) {
            self.with_learner(now, out, |learner, effects| learner.on_durable(through, effects));
        }
        self.settle(now, out);
    }

    /// Empties `effects`.
    fn on_learner_effects(&mut self, effects: &mut Vec<LearnerEffect>, now: Now, out: &mut Effects) {
        for effect in effects.drain(..) {
            let Some(following) = self.following() else { return };
            match effect {
                LearnerEffect::Send { bytes } => out.peer.push(PeerEffect::Send { link: following.link, bytes }),
                LearnerEffect::Promise { epoch } => self.write_epoch(EpochFile::Accepted, epoch, out),
                LearnerEffect::Adopt { epoch } => self.adopt_epoch(epoch, now, out),
                LearnerEffect::Diff => tracing::info!(mode = "Diff", after = %self.last_proposed, "synchronizing"),
                LearnerEffect::Truncate { to } => self.truncate(to, now, out),
                LearnerEffect::Snapshot { zxid } => self.await_snapshot(zxid),
                LearnerEffect::Stream { bytes } => self.on_stream(&bytes, now, out),
                LearnerEffect::Proposal { zxid, record } => {
                    self.watch.metrics.count(Counter::LearnerProposalReceivedCount);
                    self.take_in(zxid, record, now, out);
                }
                LearnerEffect::Inform { zxid, record } => {
                    self.take_in(zxid, record, now, out);
                    self.on_commit(zxid, now, out);
                }
                LearnerEffect::Commit { zxid } => {
                    self.watch.metrics.count(Counter::LearnerCommitReceivedCount);
                    self.on_commit(zxid, now, out);
                }
                LearnerEffect::Settle => self.settle(now, out),
                LearnerEffect::Live { epoch } => self.on_live(epoch, now, out),
                LearnerEffect::Ping { zxid } => {
                    let heard: Vec<(SessionId, i32)> = std::mem::take(&mut following.heard).into_iter().collect();
                    self.with_learner(now, out, |learner, effects| learner.pong(zxid, &heard, effects));
                }
                LearnerEffect::Revalidated { session, valid } => self.on_revalidated(session, valid, now, out),
                LearnerEffect::Synced => self.on_synced(now, out),
                LearnerEffect::Leave { why } => return self.leave_role(&why, now, out),
            }
        }
        self.release(out);
    }

    /// The leader wants everything above `to` cut: memory is read again from disk up to there.
    fn truncate(&mut self, to: Zxid, now: Now, out: &mut Effects) {
        tracing::warn!(mode = "Trunc", to = %to, from = %self.last_proposed, "synchronizing: cutting what was never committed");
        if to == self.journal.last_durable() && to == self.last_proposed {
            return self.with_learner(now, out, |learner, effects| learner.on_truncated(now.mono, effects));
        }
        self.mark_astray();
        if let Some(following) = self.following() {
            following.rebasing = true;
        }
        out.reload = Some(Reload::Through(to));
    }

    fn mark_astray(&mut self) {
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.is_astray = true;
        }
    }

    /// Whether memory is a history that the disk does not have.
    pub(super) fn is_astray(&self) -> bool {
        self.ensemble.as_ref().is_some_and(|ensemble| ensemble.is_astray)
    }

    /// The reload for a TRUNC is done. `Err`: the disk has no such point in its history.
    fn on_truncated(&mut self, outcome: Result<(), String>, now: Now, out: &mut Effects) {
        if self.following().is_none() {
            return;
        }
        match outcome {
            Ok(()) => self.with_learner(now, out, |learner, effects| learner.on_truncated(now.mono, effects)),
            Err(why) => {
                // Not a zxid of ours: only a snapshot can bring the histories together (spec: quorum 25, T-9, D-11).
                tracing::error!(why, "cannot cut the history where the leader says; a snapshot is asked for");
                if let Some(ensemble) = &mut self.ensemble {
                    ensemble.is_dataless = true;
                }
                self.leave_role("TRUNC to a zxid that is not in the history here", now, out);
            }
        }
    }

    /// The state at `zxid` comes as a stream.
    fn await_snapshot(&mut self, zxid: Zxid) {
        tracing::info!(mode = "Snap", %zxid, "synchronizing");
        let rules = self.tree.rules();
        let Some(ensemble) = &mut self.ensemble else { return };
        if let Role::Following(following) = &mut ensemble.role {
            following.snapshot_zxid = zxid;
            following.reader = Some(Box::new(StreamReader::new(rules, ensemble.settings.field_bytes_max)));
        }
    }

    fn on_stream(&mut self, bytes: &[u8], now: Now, out: &mut Effects) {
        let Some(following) = self.following() else { return };
        let zxid = following.snapshot_zxid;
        let Some(reader) = &mut following.reader else { return };
        let used = match reader.push(bytes) {
            Ok(None) => return,
            Ok(Some(used)) => used,
            Err(what) => return self.leave_role(&format!("the leader's snapshot is bad: {what}"), now, out),
        };
        let Some(reader) = following.reader.take() else { return };
        let loaded = match reader.into_loaded(zxid, now.wall) {
            Ok(loaded) => loaded,
            Err(what) => return self.leave_role(&format!("the leader's snapshot is bad: {what}"), now, out),
        };
        following.rebasing = true;
        following.is_fuzzy = true;
        tracing::info!(zxid = %loaded.zxid, znodes = loaded.tree.znode_count(), "snapshot received");
        self.mark_astray();
        self.adopt_elsewhere(loaded.into(), now, out);
        self.with_learner(now, out, |learner, effects| learner.on_streamed(&bytes[used..], now.mono, effects));
    }

    /// Memory is a state the disk does not have, or has again: nothing that waits or is remembered belongs to it.
    fn adopt_elsewhere(&mut self, state: State, now: Now, out: &mut Effects) {
        self.take_over(state, out);
        self.show_membership(now);
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.uncommitted.clear();
            ensemble.history.restart(self.last_proposed);
        }
        self.show_shards(out);
    }

    /// What [`Effects::reload`](super::Effects) asked for: `media` is the disk as it is now.
    pub fn on_reload(&mut self, what: Reload, media: &dyn BootMedia, now: Now, out: &mut Effects) {
        match what {
            Reload::All => match history::reload(media, &self.settings, self.last_durable()) {
                Ok(state) => {
                    self.adopt_elsewhere(state, now, out);
                    self.on_memory_restored(now, out);
                }
                // It was readable at the start, and nothing but this process has written to it.
                Err(what) => self.on_disk_failed(&format!("it cannot be read again: {what}"), out),
            },
            // A marker left meanwhile: asked for again when it has landed.
            Reload::Below(_) if !self.journal.is_idle() => self.on_memory_restored(now, out),
            Reload::Below(bound) => {
                match history::reload_below(media, &self.settings, bound) {
                    Ok(state) => {
                        self.adopt_elsewhere(state, now, out);
                        self.publish_rebase(now, out);
                    }
                    Err(what) => {
                        tracing::error!(%what, "no history of an epoch this server has adopted; a snapshot is asked for");
                        if let Some(ensemble) = &mut self.ensemble {
                            ensemble.is_dataless = true;
                        }
                    }
                }
                self.on_memory_restored(now, out);
            }
            Reload::Through(to) => {
                let state = history::reload(media, &self.settings, to);
                let outcome = state.map(|state| self.adopt_elsewhere(state, now, out)).map_err(|what| what.to_string());
                self.on_truncated(outcome, now, out);
            }
        }
    }

    /// Gives every shard a copy of the tree as it is now.
    pub(super) fn show_shards(&mut self, out: &mut Effects) {
        for shard in 0..self.settings.shard_count {
            let past = Past { tree: self.tree.replicate(), zxid: self.last_proposed };
            out.mail.push((ShardId(shard), ToShard::Reset(Box::new(past))));
        }
        // An epoch's beginning below it, for one, is nothing to tell them any more.
        self.last_released = self.last_proposed;
    }

    /// A transaction of the leader: applied to the tree that runs ahead, logged, kept until it is committed.
    fn take_in(&mut self, zxid: Zxid, record: Bytes, now: Now, out: &mut Effects) {
        let upgraded = match self.absorb(zxid, &record, now) {
            Ok(upgraded) => upgraded,
            Err(what) => return self.leave_role(&format!("transaction {zxid}: {what}"), now, out),
        };
        self.last_proposed = zxid;
        let is_disk_elsewhere = self.following().is_some_and(|following| following.rebasing && !following.publishing);
        if !is_disk_elsewhere && self.logs() {
            self.journal.append(zxid, |bytes| bytes.extend_from_slice(&record));
            self.snapshots.on_record();
            self.watch.on_record(now);
        }
        let Some(ensemble) = &mut self.ensemble else { return };
        ensemble.uncommitted.push_back((zxid, record));
        let held = upgraded.map(|session| ensemble.forwarding.take_held(session)).unwrap_or_default();
        for connect in held {
            self.on_connect(&connect, now, out);
        }
    }

    /// Applies a transaction of the leader. Returns the session of ours that it makes everybody's, if it does that.
    fn absorb(&mut self, zxid: Zxid, record: &[u8], now: Now) -> Result<Option<SessionId>, String> {
        let entry = txn::decode(record).map_err(|malformed| malformed.0.to_owned())?;
        if entry.header.zxid != zxid {
            return Err(format!("it carries zxid {}", entry.header.zxid));
        }
        let header = entry.header;
        let Some(ensemble) = &mut self.ensemble else { return Ok(None) };
        let pending = ensemble.forwarding.take_write(header.session, header.cxid);
        let mut changes = Changes::new();
        let answer = self.apply_remote(&header, &entry.txn, pending, &mut changes);
        self.check_digest(zxid, entry.digest)?;
        self.watch.note_digest(zxid, self.tree.digest());
        let mut upgraded = None;
        match entry.txn {
            Txn::CreateSession { timeout_ms } => {
                // Of ours too, from a life whose journal was lost with its disk.
                self.session_ids.note(header.session);
                self.sessions.open(header.session, timeout_ms, self.hearing.at(now.mono));
                if let Some(Answer { to, .. }) = &answer {
                    self.sessions.set_owner(header.session, Some(Owner::Conn(*to)));
                }
                upgraded = self.finish_upgrade(header.session).then_some(header.session);
            }
            Txn::CloseSession { .. } => {
                let owner = self.sessions.close(header.session).and_then(Owner::conn);
                if let Some(ensemble) = &mut self.ensemble {
                    ensemble.forwarding.forget(header.session);
                }
                // Closed by its client, which is answered, or expired by the leader, then it is hung up on.
                let hangup = owner.map(|to| Answer { to, kind: AnswerKind::Hangup });
                self.wait(zxid, changes, answer.or(hangup));
                return Ok(None);
            }
            _ => {}
        }
        self.wait(zxid, changes, answer);
        Ok(upgraded)
    }

    /// Applies a transaction judged by the leader; what its client here is answered, if it has one here.
    fn apply_remote(
        &mut self,
        header: &TxnHeader,
        txn: &Txn<'_>,
        pending: Option<Pending>,
        changes: &mut Changes,
    ) -> Option<Answer> {
        let Some(Pending { asker: Some(origin), xid, op, timeout_ms, refusal }) = pending else {
            // A snapshot of the reference may show what follows it: the digest tells whether all is well.
            let _ = self.tree.apply(header, txn, changes);
            return None;
        };
        let reply = |error, body| AnswerKind::Reply { xid, error, body };
        let kind = match txn {
            Txn::Error { .. } if refusal.is_some() => reply(refusal, Body::None),
            Txn::Error { code } => match ErrorCode::from_code(*code) {
                // Not an answer but the end of this connection (parity SE-21).
                Some(ErrorCode::SessionExpired | ErrorCode::SessionMoved) => AnswerKind::Hangup,
                error => reply(Some(error.unwrap_or(ErrorCode::RuntimeInconsistency)), Body::None),
            },
            Txn::CreateSession { .. } => {
                let _ = self.tree.apply(header, txn, changes);
                AnswerKind::Granted { session: header.session, timeout_ms }
            }
            Txn::Multi(ops) => reply(None, self.apply_multi(header, ops, refusal, changes)),
            txn => {
                let _ = self.tree.apply(header, txn, changes);
                reply(None, self.reply_body(op, changes))
            }
        };
        Some(Answer { to: origin, kind })
    }

    fn check_digest(&mut self, zxid: Zxid, promised: Option<txn::TxnDigest>) -> Result<(), String> {
        let digest = self.tree.digest();
        let Some(promised) = promised.filter(|promised| promised.version == DIGEST_VERSION) else { return Ok(()) };
        let Some(following) = self.following() else { return Ok(()) };
        if promised.tree == digest {
            following.is_fuzzy = false;
        } else if !following.is_fuzzy {
            following.digest_faults += 1;
            // Serving a tree that is not the leader's would be a lie: the next synchronization is a snapshot.
            tracing::error!(%zxid, leader = promised.tree, here = digest, "the tree differs from the leader's");
            if let Some(ensemble) = &mut self.ensemble {
                ensemble.is_dataless = true;
            }
            return Err("the tree's digest is not the one the leader has".into());
        }
        Ok(())
    }

    fn on_commit(&mut self, zxid: Zxid, now: Now, out: &mut Effects) {
        let Some(following) = self.following() else { return };
        if zxid <= following.committed {
            return;
        }
        following.committed = zxid;
        if !following.is_live {
            return;
        }
        if let Some(ensemble) = &mut self.ensemble {
            match ensemble.uncommitted.pop_front() {
                Some((first, record)) if first == zxid => {
                    ensemble.history.push(zxid, record.clone());
                    self.last_committed = zxid;
                    self.inform_observers(zxid, &record, now, out);
                }
                _ => self.leave_role("the leader commits out of order", now, out),
            }
        }
    }

    /// NEWLEADER came: the history so far must be on disk before the epoch is.
    fn settle(&mut self, now: Now, out: &mut Effects) {
        let at_rest = self.journal.is_idle();
        let Some(following) = self.following() else { return };
        if !following.learner.is_settling() {
            return;
        }
        if !following.rebasing {
            if at_rest {
                self.with_learner(now, out, |learner, effects| learner.on_settled(now.mono, effects));
            }
        } else if at_rest && !std::mem::replace(&mut following.publishing, true) {
            // A marker of the old journal may still have been under way: it has to land in its own.
            self.publish_rebase(now, out);
        }
    }

    /// The log ends in an epoch that is not current yet, so it may have to be cut again. A snapshot of it would sooner or
    /// later take the place of those before the cut.
    pub(super) fn is_unadopted(&self) -> bool {
        let current = self.ensemble.as_ref().map(|ensemble| ensemble.current_epoch);
        self.logs() && current.is_some_and(|current| self.last_proposed.epoch() > current)
    }

    /// The newest epoch whose whole initial history is part of what this server has logged.
    pub(super) fn vouched_epoch(&self) -> i64 {
        let Some(ensemble) = &self.ensemble else { return 0 };
        match &ensemble.role {
            Role::Following(following) if following.learner.is_settling() => following.learner.epoch(),
            _ => ensemble.current_epoch,
        }
    }

    /// The new past is on disk, under its final name, and with it `epoch` is current.
    pub(super) fn on_rebased(&mut self, epoch: i64, now: Now, out: &mut Effects) {
        let through = self.journal.last_durable();
        let has_leader = self.following().is_some();
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.is_astray = false;
            ensemble.is_dataless = false;
            if epoch > ensemble.current_epoch && !has_leader {
                // Nobody is left to be told that it is adopted, but it is: the file follows the snapshot.
                self.write_epoch(EpochFile::Current, epoch, out);
            }
        }
        self.look_when_at_rest(now, out); // The leader may be gone meanwhile.
        let Some(following) = self.following() else { return };
        following.rebasing = false;
        following.publishing = false;
        following.published = true;
        self.with_learner(now, out, |learner, effects| {
            learner.on_durable(through, effects);
            learner.on_settled(now.mono, effects);
        });
    }

    /// What was synchronized is durable, so the epoch may be. An observer that does not log leaves the file as it is: the
    /// epoch would vouch for a history that is in its memory only, should it be made a voter one day.
    fn adopt_epoch(&mut self, epoch: i64, now: Now, out: &mut Effects) {
        if self.logs() || self.following().is_some_and(|following| following.published) {
            self.write_epoch(EpochFile::Current, epoch, out);
        } else {
            self.with_learner(now, out, |learner, effects| learner.on_adopted(now.mono, effects));
        }
    }

    /// UPTODATE: a quorum follows this leader, so its history is everybody's.
    fn on_live(&mut self, epoch: i64, now: Now, out: &mut Effects) {
        let Some(following) = self.following() else { return };
        following.is_live = true;
        let committed = following.committed;
        let took_ms = now.mono.millis_since(following.began);
        tracing::info!(leader = %following.learner.leader(), epoch, took_ms, "following");
        self.note_available(now);
        let observes = self.ensemble.as_ref().is_some_and(|ensemble| ensemble.settings.observer);
        self.watch.metrics.add(if observes { Basic::ObserverSyncTime } else { Basic::FollowerSyncTime }, took_ms);
        let Some(ensemble) = &mut self.ensemble else { return };
        ensemble.election.on_established(epoch);
        while ensemble.uncommitted.front().is_some_and(|(zxid, _)| zxid.epoch() < epoch || *zxid <= committed) {
            let (zxid, record) = ensemble.uncommitted.pop_front().expect("seen above");
            ensemble.history.push(zxid, record);
        }
        self.release_epoch(epoch, out);
        self.last_committed = self.last_committed.max(committed);
        self.serve_clients(Service::Everybody, out);
        self.serve_observers(now);
    }

    /// An answer that waits for nothing but what is committed already.
    pub(super) fn answer_now(&mut self, to: Origin, kind: AnswerKind, out: &mut Effects) {
        self.release(out);
        let entry = Entry { zxid: self.last_released, changes: Changes::new(), answer: Some(Answer { to, kind }) };
        self.tell_shards(std::iter::once(entry).collect(), out);
    }

    /// Sessions of clients here gave a sign of life: the leader hears of it with the next ping.
    pub(super) fn note_heard(&mut self, sessions: &[(SessionId, Instant)]) {
        let timeouts: Vec<(SessionId, i32)> =
            sessions.iter().filter_map(|(id, _)| Some((*id, self.sessions.live_timeout_ms(*id)?))).collect();
        if let Some(following) = self.following() {
            following.heard.extend(timeouts);
        }
    }
}

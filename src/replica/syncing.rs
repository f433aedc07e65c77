//! How those who learn from this server are brought to its history: DIFF, TRUNC or SNAP, then the live stream.
//!
//! Source: ZK: LearnerHandler.syncFollower.

use bytes::Bytes;

use super::ensemble::Role;
use super::stretch::put_committed;
use super::{Effects, PeerEffect, Replica, StretchEffect, StretchNews, StretchOrder};
use crate::base::{LinkId, Now, Zxid};
use crate::codec::peer::{Packet, PacketKind};
use crate::mail::metrics::{Basic, Counter};
use crate::snapshot::{StreamWriter, stream};
use crate::zab::{Learners, MasterEffect, Plan, SyncKind};

/// Znodes walked at a time for a snapshot to be sent.
const NODES_PER_SLICE: usize = 4096;

impl Replica {
    /// Lets the learners' links hear something and carries out what they say. With the last commit.
    pub(super) fn with_learners(
        &mut self,
        now: Now,
        out: &mut Effects,
        hear: impl FnOnce(&mut Learners, Zxid, &mut Vec<MasterEffect>),
    ) {
        let Some(ensemble) = &mut self.ensemble else { return };
        let (committed, learners) = match &mut ensemble.role {
            Role::Leading(leader) => (leader.last_committed(), leader.learners_mut()),
            Role::Following(following) => match &mut following.master {
                Some(master) => (master.last_committed(), master.learners_mut()),
                None => return,
            },
            Role::Resting | Role::Looking => return,
        };
        let mut effects = Vec::new();
        hear(learners, committed, &mut effects);
        self.on_master_effects(effects, now, out);
    }

    /// To the leader if this server leads, else to the observer master it is.
    pub(super) fn on_learner_bytes(&mut self, link: LinkId, bytes: &[u8], now: Now, out: &mut Effects) {
        self.with_leader(now, out, |leader, effects| leader.on_bytes(link, bytes, now.mono, effects));
        self.with_leader(now, out, |leader, effects| leader.commit(effects));
        self.with_master(now, out, |master, effects| master.on_bytes(link, bytes, now.mono, effects));
    }

    pub(super) fn on_learner_closed(&mut self, link: LinkId, now: Now, out: &mut Effects) {
        self.forget_stretch(link, out);
        self.with_learners(now, out, |learners, _, _| learners.on_gone(link));
    }

    pub(super) fn on_learner_drained(&mut self, link: LinkId, now: Now, out: &mut Effects) {
        self.with_learners(now, out, |learners, _, effects| learners.on_drained(link, now.mono, effects));
    }

    pub(super) fn on_master_effects(&mut self, effects: Vec<MasterEffect>, now: Now, out: &mut Effects) {
        for effect in effects {
            self.on_master_effect(effect, now, out);
        }
    }

    pub(super) fn on_master_effect(&mut self, effect: MasterEffect, now: Now, out: &mut Effects) {
        match effect {
            MasterEffect::Send { link, bytes } => out.peer.push(PeerEffect::Send { link, bytes }),
            MasterEffect::TellDrained { link } => out.peer.push(PeerEffect::TellDrained { link }),
            MasterEffect::Close { link } => self.close_link(link, out),
            MasterEffect::Sync { link, server, peer } => {
                tracing::info!(%server, zxid = %peer, "learner synchronizes");
                self.synchronize(link, peer, now, out);
            }
            MasterEffect::ReadOn { link } => out.stretches.push(StretchEffect::ReadOn { link }),
            MasterEffect::Request { link, request, ids } if self.is_observer_master() => {
                self.relay_request(link, &request, ids, now, out);
            }
            MasterEffect::Request { link, request, ids } => self.on_forwarded(link, request, ids, now, out),
            MasterEffect::Revalidate { link, session, timeout_ms } if self.is_observer_master() => {
                self.relay_renewal(link, session, timeout_ms, now, out);
            }
            MasterEffect::Revalidate { link, session, timeout_ms } => {
                self.on_revalidate(link, session, timeout_ms, now, out);
            }
            MasterEffect::Heard { sessions } if self.is_observer_master() => self.relay_heard(sessions),
            MasterEffect::Heard { sessions } => {
                let heard = self.hearing.now();
                for (session, timeout_ms) in sessions {
                    self.sessions.vouch(session, heard, Some(timeout_ms));
                }
            }
        }
    }

    /// Sends a learner whose last transaction is `peer` what it lacks.
    fn synchronize(&mut self, link: LinkId, peer: Zxid, now: Now, out: &mut Effects) {
        self.send_proposals(now, out);
        let Some(ensemble) = &self.ensemble else { return };
        match ensemble.history.plan(peer, ensemble.settings.force_snapshot_sync) {
            Plan::Diff { zxid, after } => {
                self.send_history(link, Packet::bare(PacketKind::Diff, zxid), after, now, out);
            }
            Plan::Trunc { to } => self.send_history(link, Packet::bare(PacketKind::Trunc, to), to, now, out),
            Plan::Older if self.await_stretch(link, peer, now, out) => {}
            Plan::Older | Plan::Snap => self.send_snapshot(link, now, out),
        }
    }

    /// Its last transaction is older than those kept in memory: perhaps the journal on disk leads from there to them, with
    /// less than a snapshot would be worth. False if that is out of the question.
    ///
    /// Until it is known nothing is sent, but from here on all that is committed waits for the learner, so what is read
    /// can never be too old for what follows it.
    fn await_stretch(&mut self, link: LinkId, peer: Zxid, now: Now, out: &mut Effects) -> bool {
        let Some(ensemble) = &self.ensemble else { return false };
        let (Some(factor), history) = (ensemble.settings.snapshot_size_factor, &ensemble.history) else { return false };
        let through = history.oldest().unwrap_or(history.last());
        let segments = self.journal.segments_from(peer);
        if segments.is_empty() || through > self.journal.last_durable() {
            return false;
        }
        if !self.begin_sync(link, SyncKind::Diff, now, out) {
            return true;
        }
        let Some(ensemble) = &mut self.ensemble else { return false };
        ensemble.stretches.insert(link);
        let last = ensemble.history.last();
        let behind: Vec<(Zxid, Bytes)> = ensemble.history.above(through).cloned().collect();
        // ZK: ZKDatabase.calculateTxnLogSizeLimit, where 0 is no limit.
        let snapshot_bytes = stream::bytes(&self.tree, self.sessions.iter().count());
        let bytes_max = if factor == 0.0 { u64::MAX } else { (snapshot_bytes as f64 * factor) as u64 };
        tracing::info!(mode = "Diff", after = %peer, through = %through, bytes_max, "looking for what a learner lacks on disk");
        let order = StretchOrder { link, journal: self.journal.identity(), segments, after: peer, through, bytes_max };
        out.stretches.push(StretchEffect::Read(order));
        self.with_learners(now, out, |learners, _, effects| {
            learners.await_stretch(link, Packet::bare(PacketKind::Diff, last).to_bytes());
            for (zxid, record) in behind {
                let mut bytes = Vec::new();
                put_committed(&mut bytes, zxid, record);
                learners.feed(link, bytes.into(), effects);
            }
        });
        self.let_follow(link, Bytes::new(), last, now, out);
        true
    }

    /// News of a stretch of the journal that is read for a learner.
    pub fn on_stretch(&mut self, news: StretchNews, now: Now, out: &mut Effects) {
        let (StretchNews::Proven { link }
        | StretchNews::Refused { link, .. }
        | StretchNews::Chunk { link, .. }
        | StretchNews::Broken { link, .. }) = news;
        let Some(ensemble) = &mut self.ensemble else { return };
        if !ensemble.stretches.contains(&link) {
            return; // The learner is gone.
        }
        if !matches!(news, StretchNews::Proven { .. } | StretchNews::Chunk { is_last: false, .. }) {
            ensemble.stretches.remove(&link);
        }
        match news {
            StretchNews::Proven { .. } => {
                self.watch.metrics.count(Counter::DiffCount);
                tracing::info!(mode = "Diff", "synchronizing a learner from the journal on disk");
                self.with_learners(now, out, |learners, _, effects| {
                    learners.on_stretch_proven(link, now.mono, effects);
                });
            }
            StretchNews::Refused { why, .. } => {
                tracing::info!(why, "a learner gets a snapshot");
                self.with_learners(now, out, |learners, _, _| learners.on_stretch_refused(link, now.mono));
                self.send_proposals(now, out);
                self.send_snapshot(link, now, out);
            }
            StretchNews::Chunk { bytes, is_last, .. } => self.with_learners(now, out, |learners, _, effects| {
                learners.feed_stretch(link, bytes, is_last, now.mono, effects);
            }),
            StretchNews::Broken { why, .. } => self.with_learners(now, out, |learners, _, effects| {
                learners.drop_link(link, &format!("the journal on disk cannot be read on: {why}"), effects);
            }),
        }
    }

    /// This link wants nothing any more.
    pub(super) fn forget_stretch(&mut self, link: LinkId, out: &mut Effects) {
        if let Some(ensemble) = &mut self.ensemble
            && ensemble.stretches.remove(&link)
        {
            out.stretches.push(StretchEffect::Forget { link });
        }
    }

    /// Whether there is room for one more synchronization of this kind; if not, the link is closed.
    fn begin_sync(&mut self, link: LinkId, kind: SyncKind, now: Now, out: &mut Effects) -> bool {
        let mut under_way = None;
        self.with_learners(now, out, |learners, _, effects| under_way = learners.begin_sync(link, kind, effects));
        let metric = match kind {
            SyncKind::Diff => Basic::InflightDiffCount,
            SyncKind::Snap => Basic::InflightSnapCount,
        };
        under_way.inspect(|count| self.watch.metrics.add(metric, *count as u64)).is_some()
    }

    fn send_history(&mut self, link: LinkId, first: Packet, after: Zxid, now: Now, out: &mut Effects) {
        if !self.begin_sync(link, SyncKind::Diff, now, out) {
            return;
        }
        let Some(ensemble) = &self.ensemble else { return };
        self.watch.metrics.count(Counter::DiffCount);
        tracing::info!(mode = ?first.kind, zxid = %first.zxid, after = %after, "synchronizing a learner");
        let mut bytes = Vec::new();
        first.encode(&mut bytes);
        for (zxid, record) in ensemble.history.above(after) {
            put_committed(&mut bytes, *zxid, record.clone());
        }
        let committed = ensemble.history.last();
        self.let_follow(link, Bytes::from(bytes), committed, now, out);
    }

    /// The state as it is in memory, proposals without a quorum included: so nothing of it leaves before they have one.
    fn send_snapshot(&mut self, link: LinkId, now: Now, out: &mut Effects) {
        if !self.begin_sync(link, SyncKind::Snap, now, out) {
            return;
        }
        let zxid = self.last_proposed;
        self.watch.metrics.count(Counter::SnapCount);
        tracing::info!(mode = "Snap", %zxid, znodes = self.tree.znode_count(), "synchronizing a learner");
        // A copy of the index, because the tree's own walk may be busy with a snapshot to disk.
        let mut tree = self.tree.replicate();
        tree.snapshot_begin();
        let mut writer = StreamWriter::begin(self.sessions.iter(), self.tree.acls());
        while tree.snapshot_next(NODES_PER_SLICE, &mut |node| writer.node(node)) {}
        let snap = Packet::bare(PacketKind::Snap, zxid).to_bytes();
        self.with_learners(now, out, |learners, committed, effects| {
            learners.feed_snapshot(link, (zxid, committed), snap, writer.finish(), effects);
        });
        self.let_follow(link, Bytes::new(), zxid, now, out);
    }

    fn let_follow(&mut self, link: LinkId, bytes: Bytes, through: Zxid, now: Now, out: &mut Effects) {
        let Some(ensemble) = &self.ensemble else { return };
        let config = ensemble.settings.config_text();
        if !bytes.is_empty() {
            self.with_learners(now, out, |learners, _, effects| learners.feed(link, bytes, effects));
        }
        self.with_leader(now, out, |leader, effects| leader.follow(link, through, through, &config, effects));
        self.with_master(now, out, |master, effects| master.follow(link, through, &config, effects));
    }
}

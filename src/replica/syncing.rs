//! How those who learn from this server are brought to its history: DIFF, TRUNC or SNAP, then the live stream.
//!
//! Source: ZK: LearnerHandler.syncFollower.

use bytes::Bytes;

use super::ensemble::Role;
use super::{Effects, PeerEffect, Replica};
use crate::base::{LinkId, Now, Zxid};
use crate::codec::peer::{Packet, PacketKind};
use crate::mail::metrics::Counter;
use crate::snapshot::StreamWriter;
use crate::zab::{Learners, MasterEffect, Plan};

/// Znodes walked at a time for a snapshot to be sent.
const NODES_PER_SLICE: usize = 4096;

impl Replica {
    /// Lets the learners' links hear something and carries out what they say. With the last commit.
    fn with_learners(
        &mut self,
        now: Now,
        out: &mut Effects,
        hear: impl FnOnce(&mut Learners, Zxid, &mut Vec<MasterEffect>),
    ) {
        let Some(ensemble) = &mut self.ensemble else { return };
        if let Role::Leading(leader) = &mut ensemble.role {
            let (committed, mut effects) = (leader.last_committed(), Vec::new());
            hear(leader.learners_mut(), committed, &mut effects);
            for effect in effects {
                self.on_master_effect(effect, now, out);
            }
        }
    }

    pub(super) fn on_learner_closed(&mut self, link: LinkId, now: Now, out: &mut Effects) {
        self.with_learners(now, out, |learners, _, _| learners.on_gone(link));
    }

    pub(super) fn on_learner_drained(&mut self, link: LinkId, now: Now, out: &mut Effects) {
        self.with_learners(now, out, |learners, _, effects| learners.on_drained(link, now.mono, effects));
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
            MasterEffect::Request { link, request, ids } => self.on_forwarded(link, request, ids, now, out),
            MasterEffect::Revalidate { link, session, timeout_ms } => {
                self.on_revalidate(link, session, timeout_ms, now, out);
            }
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
            Plan::Older | Plan::Snap => self.send_snapshot(link, now, out),
        }
    }

    fn send_history(&mut self, link: LinkId, first: Packet, after: Zxid, now: Now, out: &mut Effects) {
        let Some(ensemble) = &self.ensemble else { return };
        self.watch.metrics.count(Counter::DiffCount);
        tracing::info!(mode = ?first.kind, zxid = %first.zxid, after = %after, "synchronizing a learner");
        let mut bytes = Vec::new();
        first.encode(&mut bytes);
        for (zxid, record) in ensemble.history.above(after) {
            Packet::with(PacketKind::Proposal, *zxid, record.clone()).encode(&mut bytes);
            Packet::bare(PacketKind::Commit, *zxid).encode(&mut bytes);
        }
        let committed = ensemble.history.last();
        self.let_follow(link, Bytes::from(bytes), committed, now, out);
    }

    /// The state as it is in memory, proposals without a quorum included: so nothing of it leaves before they have one.
    fn send_snapshot(&mut self, link: LinkId, now: Now, out: &mut Effects) {
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
        self.with_leader(now, out, |leader, effects| {
            if !bytes.is_empty() {
                leader.learners_mut().feed(link, bytes, effects);
            }
            leader.follow(link, through, through, &config, effects);
        });
    }
}

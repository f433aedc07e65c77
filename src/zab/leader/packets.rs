//! What learners say to a leader, and what they owe it.

use super::{Leader, LeaderEffect, Stage};
use crate::base::{Instant, LinkId};
use crate::codec::peer::{Packet, PacketKind};
use crate::zab::learners::LinkStage;

impl Leader {
    /// A learner connected.
    pub fn on_link(&mut self, link: LinkId, now: Instant) {
        self.learners.add(link, now);
    }

    /// Bytes of a learner. Whatever is wrong with them costs its own link only.
    ///
    /// What it acknowledges counts with [`Leader::commit`], to be called once everything else it said is carried out: a
    /// sync that came in the same piece would otherwise find nothing to wait for, and be answered in front of the commit.
    pub fn on_bytes(&mut self, link: LinkId, bytes: &[u8], now: Instant, out: &mut Vec<LeaderEffect>) {
        self.learners.receive(link, bytes, now);
        while let Some(packet) = self.learners.next_packet(link, out) {
            if let Err(fault) = self.on_packet(link, packet, now, out) {
                self.learners.drop_link(link, fault, out);
            }
        }
    }

    fn on_packet(
        &mut self,
        link: LinkId,
        packet: Packet,
        now: Instant,
        out: &mut Vec<LeaderEffect>,
    ) -> Result<(), &'static str> {
        let epoch_zxid = self.epoch_zxid();
        let Some(state) = self.learners.get_mut(link) else { return Ok(()) };
        match (packet.kind, state.stage) {
            (PacketKind::FollowerInfo | PacketKind::ObserverInfo, LinkStage::Greeting) => {
                self.on_info(link, &packet, now, out)
            }
            (_, LinkStage::Greeting) => Err("its first packet is no FOLLOWERINFO or OBSERVERINFO"),
            (PacketKind::AckEpoch, LinkStage::Informed) => self.on_ack_epoch(link, &packet, now, out),
            (_, LinkStage::Waiting | LinkStage::Informed | LinkStage::Promised) => Err("it spoke before its turn"),
            (PacketKind::Ack, LinkStage::Syncing) if packet.zxid == epoch_zxid => {
                state.stage = LinkStage::Acked;
                self.on_new_leader_ack(now, out);
                Ok(())
            }
            (PacketKind::Ack, _) => {
                // Of a proposal (some versions of the reference send these before NEWLEADER's), or of UPTODATE.
                state.acked = state.acked.max(packet.zxid);
                if packet.zxid > self.last_proposed {
                    return Err("it acknowledges what was never proposed");
                }
                Ok(())
            }
            (PacketKind::Ping, _) => {
                state.rounds_answered += 1;
                self.learners.on_packet(link, packet, out)
            }
            _ => self.learners.on_packet(link, packet, out),
        }
    }

    /// A voter that does not acknowledge holds up nobody for longer than syncLimit.
    pub(super) fn drop_debtors(&mut self, now: Instant, out: &mut Vec<LeaderEffect>) {
        let sync_ms = self.learners.timing().sync_ms;
        let mut debtors = Vec::new();
        for (link, state) in self.learners.iter_mut() {
            if state.stage != LinkStage::Live || !state.votes || state.observes {
                continue;
            }
            let owes = self.outstanding.iter().map(|proposal| proposal.zxid).find(|zxid| *zxid > state.acked);
            state.owes = match (state.owes, owes) {
                (Some((zxid, since)), Some(_)) if zxid > state.acked => {
                    if now.millis_since(since) > sync_ms {
                        debtors.push(link);
                    }
                    Some((zxid, since))
                }
                (_, owes) => owes.map(|zxid| (zxid, now)),
            };
        }
        for link in debtors {
            self.learners.drop_link(link, "it acknowledged nothing for syncLimit", out);
        }
    }

    pub(super) fn has_decided(&self) -> bool {
        self.stage > Stage::Promising
    }
}
